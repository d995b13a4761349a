"""What a (design, plan) pair is judged from, as flat records: a row a design, a plan, a prompt, a workload.

Declared as ``core.records`` says.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Annotated, Final

import numpy as np

from dse.core.axes import BITS, CLOCK_LEVELS, GROUPS, LINES, OPERATORS, HeatLimit
from dse.core.units import FloatArray

OPS: Final = len(OPERATORS)
KNOTS: Final = 16
"""steps of the curve of popular experts' reads"""
SHAPES: Final = 64
"""most shapes of plan of a workload"""
TARGETS: Final = 32
"""most TPOT targets of a space"""

PerOperator = Annotated[MutableSequence[float], (OPS,)]
PerGroup = Annotated[Sequence[float], (len(GROUPS),)]
PerLine = Annotated[Sequence[float], (len(GROUPS) * len(LINES),)]
PerHeatLimit = Annotated[MutableSequence[float], (len(HeatLimit),)]
PerPrecision = Annotated[MutableSequence[float], (len(BITS),)]
PerAssignment = Annotated[MutableSequence[float], (1 << OPS,)]
PerShape = Annotated[MutableSequence[float], (SHAPES,)]
PerPrompt = Annotated[MutableSequence[float], (2 * SHAPES,)]
PerTarget = Annotated[MutableSequence[float], (TARGETS,)]


class MachineRow:
    """A design, per package; SI units.

    ``inverse`` figures are one over a figure, of bandwidths s/B: a division takes as long as ten products.
    """

    memory: float
    """bytes of the fast memory and all below"""
    inverse_memory: float
    fast_capacity: float
    fast_installed: float
    fast_bandwidth: float
    fast_inverse: float
    fast_energy: float
    fast_refresh_power: float
    fast_on_chip: float
    """1 where the fast memory is the scratchpad itself"""
    sram_capacity: float
    sram_inverse: float
    flash_capacity: float
    flash_bandwidth: float
    flash_inverse: float
    flash_write_inverse: float
    flash_energy: float
    program_energy: float
    writable_bytes: float
    reclaim_share: float
    retention_refresh_rate: float
    page_bytes: float
    stripe_bytes: float
    read_ahead_buffer: float
    shares_fast_phy: float
    far_capacity: float
    far_bandwidth: float
    far_inverse: float
    far_energy: float
    lower_latency: float
    """s from asking memory below the fast tier for a page until it comes"""
    peak: PerPrecision
    flop_energy: PerPrecision
    clock_power: float
    byte_energy: float
    levels: int
    """clock levels that it may run a pass at"""
    level_energy: Annotated[Sequence[float], (len(CLOCK_LEVELS),)]
    pnm_site: int
    pnm_serves: PerOperator
    pnm_inverse: float
    pnm_flops: float
    pnm_energy: float
    pnm_flop_energy: float
    pnm_clock_power: float
    switch_latency: float
    copies: float
    heat_limits: int
    """how many limits of heat there are, the first of the next"""
    heat_logic: PerHeatLimit
    """s/J of the logic that each limit of heat asks"""
    heat_fast: PerHeatLimit
    heat_flash: PerHeatLimit
    refresh_doubling: Annotated[Sequence[float], (3,)]
    hot_bandwidth_loss: float
    domain: float
    reduce_alpha: PerLine
    reduce_rate: PerLine
    exchange_alpha: PerGroup
    exchange_rate: PerGroup
    gather_alpha: PerGroup
    point_to_point_alpha: float
    link_inverse: float
    scale_out_inverse: float
    scale_out_latency: float
    scale_out_energy: float
    static_power: float
    outside_power: float
    conversion_loss: float
    capital_rate: float
    embodied_carbon: float
    electricity_carbon: float
    failure_rate: float
    repair_time: float
    recovery_time: float
    spare_share: float


class PlanRow:
    """What a plan of a workload asks of any machine; per rank and step unless said otherwise."""

    group: float
    inverse_group: float
    batch: float
    inverse_batch: float
    attention_dp: float
    expert_parallel: float
    group_index: int
    tensor_index: int
    plan_shape: int
    fill_fast_tier: int
    sub_batch_interleaving: int
    stages: float
    """least pipeline depth"""
    flop: PerOperator
    weights: PerOperator
    """weight bytes read"""
    kv_live: float
    """KV bytes read that were written while serving"""
    kv_prefix: float
    """KV bytes read of shared, read-only prefixes"""
    mean_flop: PerOperator
    """mean over most loaded rank: what joules follow where time follows the latter"""
    mean_weights: PerOperator
    joule_flop: PerPrecision
    """FLOP by precision, mean over ranks"""
    joule_dense: float
    """weight bytes of all operators but routed experts, mean over ranks"""
    joule_experts: float
    streamed_dense: float
    """weight bytes of all operators but routed experts over their reads' efficiency, most loaded rank"""
    streamed_experts: float
    streamed_cache: float
    computed: PerPrecision
    """FLOP over the efficiency of their arithmetic by precision, most loaded rank"""
    crossing: PerOperator
    """bytes of inputs and outputs an operator hands over to another engine"""
    kv_pieces: float
    """sequences times KV heads of a rank, which a partition of the KV leaves whole"""
    resident: float
    """weight bytes held by a rank at pipeline depth 1"""
    resident_experts: float
    inverse_dense: float
    """1 / the resident weight bytes that are no routed experts'"""
    popular: Annotated[Sequence[float], (KNOTS + 1,)]
    """share of expert bytes read that the most popular experts of a rank take"""
    expert_slice: float
    """contiguous bytes of an expert in a layer and rank; 1 without experts"""
    experts_held: float
    experts_read: float
    """mean share of them that a step reads"""
    kv_run: float
    """contiguous KV bytes of a sequence in a layer and rank; of a token where attention gathers"""
    kv_written: float
    """KV bytes a rank writes per step: of new tokens, and of the prompts that arrive meanwhile"""
    activations: float
    """bytes of activations that stay on chip between operators"""
    live_p95: float
    prefix_held: float
    longest: float
    """KV bytes per rank of one request of the longest length"""
    prefix_written: float
    """prefix KV bytes a rank writes per request"""
    prompt_kv: float
    """KV bytes of a whole mean prompt, per rank"""
    reduce_bytes: float
    reduces: float
    exchange_bytes: float
    """bytes of a dispatch or combine, mean of both, that the most loaded rank moves"""
    exchanges: float
    stage_bytes: float
    per_rank: float
    """sequences per attention rank"""
    inverse_prompts: float
    """1 / the prompts that a group prefills side by side"""
    arriving: float
    """prompts that arrive per step and attention replica of a closed loop"""


class PromptRow:
    """Work of one prompt under a shape of plan, per rank."""

    tokens: float
    """new tokens of the prompt"""
    flop: PerOperator
    weights: PerOperator
    kv: float
    """KV bytes a rank writes"""
    reduce_bytes: float
    exchange_bytes: float
    joule_flop: PerPrecision
    joule_weights: float
    joule_experts: float


class WorkloadRow:
    """A model as it is served, whatever the plan, and the factors of the software stack that serves it."""

    layers: float
    moe_layers: float
    launches: float
    """kernel launches of a pass, in dense layers"""
    hidden: float
    tokens_per_step: float
    output_tokens: float
    prompt_charged: float
    """1 where prompts are computed at all"""
    popularity_life: float
    shared_share: float
    """share of the feed-forward operator that waits for no dispatch: shared experts"""
    concurrency: float
    bits: Annotated[Sequence[int], (OPS,)]
    """column of the machine's peaks that an operator multiplies in"""
    emulated: PerOperator
    """1 where weights are narrower than the arithmetic and are widened on the way"""
    bandwidth_dense: float
    bandwidth_attention: float
    bandwidth_experts: float
    emulation: float
    flop_dense: float
    flop_experts: float
    narrow: float
    eager_launch_share: float
    link: float
    layer_overhead: float
    moe_layer_overhead: float
    step_overhead: float
    sequence_overhead: float
    chunk: float


class SiteRow:
    """How machines are used, paid for and limited in a scenario."""

    duty: float
    inverse_duty: float
    standing: float
    pue: float
    electricity_price: float
    one_user: int
    resident_wait: float
    lifetime: float
    weight_update_interval: float
    inverse_ttft_limit: float
    cold_start_limit: float
    """s; 0 where there is none"""
    flash_life_limit: float
    """s; 0 where there is none"""
    targets: int
    tpot_targets: PerTarget
    inverse_targets: PerTarget
    fastest: int
    """target at which the plan of least TPOT is chosen, where one user has the machine; -1 for none"""


class ScratchRow:
    """What a design under a workload keeps from pair to pair, and an operator's figures within one."""

    rate: PerOperator
    """s/FLOP of the host"""
    pnm_rate: PerOperator
    """s/FLOP of the engine"""
    inverse: PerOperator
    """1 / bandwidth efficiency"""
    pnm_joule: PerOperator
    """J/FLOP of the engine"""
    pnm_operators: int
    """bits of the operators that the engine can run"""
    inverse_layers: float
    inverse_deepest: float
    """1 / the most stages of a pipeline"""
    inverse_tokens: float
    """1 / the tokens that a pass wins"""
    inverse_output: float
    """1 / the tokens of a mean answer"""
    inverse_concurrency: float
    inverse_link: float
    """1 / the share of the link rate that a collective reaches"""
    inverse_chunk: float
    launch: float
    """s of kernel launches and scheduling of a pass"""
    host: PerOperator
    """s of an operator on the host at the design clock"""
    host_slower: PerOperator
    """at the lower clock"""
    unhidden: PerOperator
    """s with the tiers below read ahead"""
    unhidden_slower: PerOperator
    busy: PerOperator
    """s of arithmetic at the design clock"""
    below: PerOperator
    """s that the tiers below are read for it"""
    pnm_time: PerOperator
    """s with the part beside the engine run there"""
    pnm_slower: PerOperator
    """at the lower clock of the host"""
    pnm_below: PerOperator
    """s that the tiers below are busy with it then"""
    pnm_unhidden: PerOperator
    """s it takes then with all that the host reads of the tiers below read ahead"""
    pnm_unhidden_slower: PerOperator
    """the same at the lower clock of the host"""
    near: PerOperator
    """s that the engine works"""
    inside: PerOperator
    """s that reading the engine's part takes at the engine's bandwidth"""
    rest: PerOperator
    """s of what the host does beside it"""
    rest_slower: PerOperator
    """at the host's lower clock"""
    rest_below: PerOperator
    """s of it that the tiers below are busy"""
    rest_unhidden: PerOperator
    """s of it with the tiers below read ahead"""
    rest_unhidden_slower: PerOperator
    """the same at the host's lower clock"""
    spared: PerOperator
    """J of arithmetic that the host does not do"""
    wired: PerOperator
    """J that moving bytes on chip changes by"""
    beyond: PerOperator
    """J that the memory beside the engine changes by, arithmetic of the engine included"""
    pnm_reads: PerOperator
    """J of the engine's reads"""
    pnm_arithmetic: PerOperator
    tried: Annotated[MutableSequence[int], (1 << OPS,)]
    """assignments under trial: bits of the operators that the engine takes a part of; the next are theirs"""
    tried_host: PerAssignment
    """s of all operators at the design clock, nothing read ahead; in halves of the host's part alone"""
    tried_unhidden: PerAssignment
    """s of the same with the tiers below read ahead"""
    tried_below: PerAssignment
    """s that the tiers below are busy with the same"""
    tried_engine: PerAssignment
    """s that the engine works and its memory is read, in halves"""
    tried_shared: PerAssignment
    """s of shared experts"""
    kept_step: PerAssignment
    """s of a step of the assignments that are worked out in full"""
    kept_joules: PerAssignment
    """J of a pass under them"""
    lines: Annotated[MutableSequence[int], (len(GROUPS),)]
    """algorithms of an all-reduce of each group size that no other beats in both its time and its rate"""
    line_alpha: Annotated[MutableSequence[float], (len(GROUPS) * len(LINES),)]
    """s of them without their bytes"""
    line_rate: Annotated[MutableSequence[float], (len(GROUPS) * len(LINES),)]
    """s per message byte"""
    either_fast: float
    """s/B of the fast memory, or of the engine beside it where that is quicker"""
    either_flash: float
    either_far: float
    both_fast: float
    """s/B of the fast memory and the engine beside it at once"""
    both_flash: float
    both_far: float
    either_all: float
    """s/B of all memories at once, by whichever is quicker at each"""
    both_all: float
    """s/B of all memories and engines at once"""
    all_inverse: float
    """s/B of all memories at once, by the host"""
    least_flop: PerPrecision
    """s/FLOP of host and engine at once"""
    least_watts: float
    """W of clocks at the level that draws least"""
    least_level: float
    """energy of arithmetic at the level that takes least, over that at the design clock"""
    least_byte_energy: float
    """J/B of the memory or engine that takes least"""
    least_heat: PerHeatLimit
    """s that each limit of heat asks of a byte from the memory that heats it least"""
    prompt_prepared: PerShape
    """1 where the next are known"""
    least_scores: PerShape
    """s of attention and bytes of messages of a shape's mean prompt"""
    prompt_computed: PerPrompt
    """s of matrix products; the mean prompt of each shape, then the prompt of the TTFT limit, as the next"""
    prompt_dense: PerPrompt
    """weight bytes streamed over their reads' efficiency"""
    prompt_experts: PerPrompt
    prompt_rest: PerPrompt
    """s of launches, attention and all-reduces"""
    prompt_known: PerShape
    """1 where the prompts of a shape are known: without memory below, they are the same for all its plans"""
    prompt_alone: PerShape
    prompt_products: PerShape
    prompt_scores: PerShape
    prompt_joules: PerShape
    prompt_first: PerShape
    tolerated: float
    """largest total violation of the least bad plans of the targets that no admissible plan meets yet"""
    best_worth: PerTarget
    """USD per token of the best admissible plan so far"""
    best_plan: PerTarget
    best_pools: PerTarget
    """1 where its prompts have a pool of their own"""
    least_excess: PerTarget
    """product of what breaks limits over them, of the least bad plan so far"""
    least_plan: PerTarget
    least_pools: PerTarget


class PairRow:
    """What serving finds of one pair, whatever it costs."""

    step: float
    unthrottled: float
    energy: float
    """J of a step per rank, dynamic"""
    stages: float
    fast_tier_share: float
    prompt: float
    """s of a mean prompt on its own"""
    prefill_interference: float
    """s that the prompts which arrive per step add to it"""
    ttft: float
    flash_read: float
    flash_written: float
    """bytes of KV cache and prefixes written to flash per step and package"""
    stored: float
    """bytes of weights and prefixes held in flash per package"""
    clock: float
    capacity: float
    """value over limit, as the next"""
    longest_request: float


class ResultRow:
    """The chosen plan of a design for one TPOT target, and what it does."""

    plan: float
    tpot: float
    cost: float
    energy: float
    carbon: float
    ttft: float
    packages: float
    stages: float
    fast_tier_share: float
    disaggregated: float
    busy: float
    spare_overhead: float
    step: float
    unthrottled: float
    step_energy: float
    prompt: float
    flash_read: float
    capacity: float
    longest_request: float
    demand: float
    cold_start: float
    flash_life: float
    flash_program: float
    ttft_ratio: float
    tpot_ratio: float


def per_precision(bits: Sequence[int], flop: FloatArray) -> FloatArray:
    """(n, precisions) FLOP of operators (ops, n) summed by the precision that each multiplies in."""
    out = np.zeros((flop.shape[1], len(BITS)))
    for column, each in zip(bits, flop, strict=True):
        out[:, column] += each
    return out
