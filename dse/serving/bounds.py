"""What a pair can at best be: lower bounds by which plans are skipped that cannot be chosen.

Each holds exactly, up to rounding that ``MARGIN`` covers, so the chosen plans are those of the full search.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dse.core.compilation import compilable
from dse.serving.accounting import Fleet, Mode, dynamic_energy, priced, worth
from dse.serving.collectives import all_reduce, all_reduce_bytes
from dse.serving.placement import LARGE, Fit, Placement, on_chip
from dse.serving.pnm_operator import FAR, FAST, FLASH
from dse.serving.pnm_split import level_watts, passes, quickest
from dse.serving.prefill import PromptTimes, carrying, chunks_of, known_times, seconds_per_byte
from dse.serving.rates import ATTENTION, EXPERTS, RATED
from dse.serving.records import OPS, SHAPES, MachineRow, PlanRow, PromptRow, ScratchRow, SiteRow, WorkloadRow
from dse.serving.results import Waits

MARGIN: Final = 1e-9
"""relative; sums in another order differ by less"""


class Least(NamedTuple):
    """Lower bounds of a pair, by where its prompts are computed."""

    shared_tpot: float
    shared_worth: float
    """USD per output token of an admissible plan, or J for one user"""
    pool_tpot: float
    pool_worth: float
    excess: float
    """product of what breaks limits over them, but TPOT"""


class LeastStep(NamedTuple):
    """Lower bounds of a step."""

    time: float
    """s"""
    energy: float
    """J per rank, dynamic"""


@compilable
def least_excess(plan: PlanRow, fitted: Fit, scratch: ScratchRow) -> float:
    """Product of what breaks the limits that memory and demand set, over them."""
    demand = plan.batch * fitted.depth * scratch.inverse_concurrency
    return max(fitted.capacity, 1.0) * max(fitted.longest_request, 1.0) * max(demand, 1.0)


@compilable
def least_step(
    machine: MachineRow, plan: PlanRow, place: Placement, waits: Waits, scratch: ScratchRow
) -> LeastStep:
    """Lower bound of a step: what each memory reads of its bytes, and every FLOP on all engines at once.

    An operator takes at least as long as each memory that gives its bytes, and what is read ahead still
    keeps its memory busy: sum_i t_i >= bytes of a memory / its bandwidth, or the engine's beside it where
    that is quicker. It takes as long as each engine computes: sum_i t_i >= sum FLOP / sum FLOP/s. Launches
    and messages but dispatch and combine come on top. In halves host and engine work side by side, a memory
    gives both its own and the engine's bandwidth, and the step is twice the longer: 2 max(host + messages,
    engine) >= 2 max(the same of a half, messages). Writes, refresh, lower clocks and limits of heat only
    add.
    """
    arithmetic = 0.0
    for column in range(len(plan.computed)):
        arithmetic += plan.computed[column] * scratch.least_flop[column]
    dense = plan.streamed_dense * (1.0 - place.chip)
    fast = dense * place.dense + plan.streamed_experts * place.experts
    cached = plan.streamed_cache * cache_share(plan, place)
    below = dense * (1.0 - place.dense)
    experts, cache = plan.streamed_experts * (1.0 - place.experts), plan.streamed_cache - cached
    crossing = below + experts + cache if machine.pnm_site == 0 else 0.0  # an engine's share crosses no PHY
    if machine.far_capacity <= 0.0:  # pages read whole
        experts, cache = experts * place.expert_stretch, cache * place.kv_pages
    fast, below = fast + cached, below + experts + cache
    fast += crossing * place.in_flash * machine.shares_fast_phy
    in_flash = below * place.in_flash
    in_far = below - in_flash
    if plan.sub_batch_interleaving > 0:
        read = max(fast * scratch.both_fast, in_flash * scratch.both_flash, in_far * scratch.both_far)
        time = 2.0 * max(read * waits.pace, arithmetic * waits.pace, waits.fixed)
    else:
        read = max(fast * scratch.either_fast, in_flash * scratch.either_flash, in_far * scratch.either_far)
        time = max(read, arithmetic) * waits.pace + waits.fixed
    return least_governed(machine, plan, scratch, place.chip, time)


@compilable
def least_anywhere(
    machine: MachineRow, plan: PlanRow, fitted: Fit, waits: Waits, scratch: ScratchRow
) -> LeastStep:
    """Lower bound of a step wherever its bytes lie: all of them from all memories at once.

    Of bytes B_j in memories of r_j B/s a step takes max_j B_j / r_j >= sum B_j / sum r_j. The rest is as in
    ``least_step``.
    """
    arithmetic = 0.0
    for column in range(len(plan.computed)):
        arithmetic += plan.computed[column] * scratch.least_flop[column]
    chip = on_chip(machine, plan, fitted.depth)
    read = plan.streamed_dense * (1.0 - chip) + plan.streamed_experts + plan.streamed_cache
    if plan.sub_batch_interleaving > 0:
        time = 2.0 * max(max(read * scratch.both_all, arithmetic) * waits.pace, waits.fixed)
    else:
        time = max(read * scratch.either_all, arithmetic) * waits.pace + waits.fixed
    return least_governed(machine, plan, scratch, chip, time)


@compilable
def cache_share(plan: PlanRow, place: Placement) -> float:
    """Share of the KV bytes read that the fast tier serves."""
    if place.live >= 1.0 and place.prefix >= 1.0:
        return 1.0
    read = place.live * plan.kv_live + place.prefix * plan.kv_prefix
    return min(read / (plan.kv_live + plan.kv_prefix), 1.0)


@compilable
def least_governed(
    machine: MachineRow, plan: PlanRow, scratch: ScratchRow, chip: float, time: float
) -> LeastStep:
    """Lower bound of a step under limits of heat, from one of its time [s] without them.

    A limit asks sum_i c_i E_i, and no coefficient is negative: each byte that is not on chip takes at least
    the joules of the memory, or the engine, that takes or heats it least; what the host computes is counted
    where there is no engine to take it; clocks draw at least the lower level's watts all the time.
    """
    runs = passes(plan)
    moved = runs * (plan.joule_dense + plan.joule_experts + plan.kv_live + plan.kv_prefix)
    read = moved - runs * plan.joule_dense * chip
    logic = scratch.least_watts * time
    if machine.pnm_site == 0:
        computed = 0.0
        for column in range(len(plan.joule_flop)):
            computed += plan.joule_flop[column] * machine.flop_energy[column]
        logic += runs * computed * scratch.least_level + moved * machine.byte_energy
    out = time
    for i in range(machine.heat_limits):
        out = max(out, machine.heat_logic[i] * logic + scratch.least_heat[i] * read)
    return LeastStep(time=out, energy=logic + read * scratch.least_byte_energy)


@compilable
def least_operators(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    scratch: ScratchRow,
    waits: Waits,
    chip: float,
    buffered: float,
    able: int,
) -> LeastStep:
    """Lower bound of a step from its operators, whichever of them the engine takes a part of.

    Read ahead or not, a step takes what no read ahead hides, what the memories below are busy, and all of
    it but what the buffer holds (``buffered`` s); in halves 2 max(host + messages, engine) >= their sum.
    """
    quick = quickest(work, plan, scratch, able)
    longest = max(quick.unhidden, quick.below, quick.host - buffered)
    fixed = waits.fixed + max(waits.exchange - quick.shared, 0.0)
    time = longest * waits.pace + fixed
    if plan.sub_batch_interleaving > 0:
        time = max(2.0 * max(time, quick.engine * waits.pace), quick.both * waits.pace + fixed)
    return least_governed(machine, plan, scratch, chip, time)


@compilable
def cheapest_byte(machine: MachineRow, of_fast: float, of_flash: float, of_far: float) -> float:
    """The least of what a byte takes in the memory or engine that takes least, each J/B times a weight."""
    fast, flash, far = machine.fast_energy, machine.flash_energy, machine.far_energy
    if machine.pnm_site == FAST:
        fast = min(fast, machine.pnm_energy)
    elif machine.pnm_site == FLASH:
        flash = min(flash, machine.pnm_energy)
    elif machine.pnm_site == FAR:
        far = min(far, machine.pnm_energy)
    least = of_fast * fast
    if machine.flash_capacity > 0.0:
        least = min(least, of_flash * flash)
    if machine.far_capacity > 0.0:
        least = min(least, of_far * far)
    return least


@compilable
def prepare_bounds(machine: MachineRow, scratch: ScratchRow) -> None:
    """What bounds take of a design, whatever the plan, into ``scratch``.

    Seconds per byte of each memory and of all at once, by host, engine or both; seconds per FLOP of all
    engines; the least watts of clocks, joules of a byte and seconds that a byte asks of a limit of heat.
    """
    site, engine = machine.pnm_site, machine.pnm_inverse
    share = machine.pnm_flops / machine.peak[RATED] if site > 0 else 0.0
    for column in range(len(scratch.least_flop)):
        scratch.least_flop[column] = 1.0 / (machine.peak[column] * (1.0 + share))
    fast, flash, far = machine.fast_inverse, machine.flash_inverse, machine.far_inverse
    scratch.either_fast = scratch.both_fast = fast
    scratch.either_flash = scratch.both_flash = flash
    scratch.either_far = scratch.both_far = far
    if site == FAST:
        scratch.either_fast, scratch.both_fast = min(fast, engine), 1.0 / (1.0 / fast + 1.0 / engine)
    elif site == FLASH:
        scratch.either_flash, scratch.both_flash = min(flash, engine), 1.0 / (1.0 / flash + 1.0 / engine)
    elif site == FAR:
        scratch.either_far, scratch.both_far = min(far, engine), 1.0 / (1.0 / far + 1.0 / engine)
    either, both = 1.0 / scratch.either_fast, 1.0 / scratch.both_fast
    all_memories = machine.fast_bandwidth
    if machine.flash_capacity > 0.0:
        either, both = either + 1.0 / scratch.either_flash, both + 1.0 / scratch.both_flash
        all_memories += machine.flash_bandwidth
    if machine.far_capacity > 0.0:
        either, both = either + 1.0 / scratch.either_far, both + 1.0 / scratch.both_far
        all_memories += machine.far_bandwidth
    scratch.either_all, scratch.both_all, scratch.all_inverse = 1.0 / either, 1.0 / both, 1.0 / all_memories
    scratch.least_watts, scratch.least_level = level_watts(machine, 0), 1.0
    if machine.levels > 1:
        scratch.least_watts = min(scratch.least_watts, level_watts(machine, 1))
        scratch.least_level = min(1.0, machine.level_energy[1])
    for i in range(machine.heat_limits):
        scratch.least_heat[i] = cheapest_byte(machine, machine.heat_fast[i], machine.heat_flash[i], 0.0)
    scratch.least_byte_energy = cheapest_byte(machine, 1.0, 1.0, 1.0)


@compilable
def prepare_prompts(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    request: PromptRow,
    first: PromptRow,
    scratch: ScratchRow,
) -> None:
    """What the prompts of a shape of plan take wherever its weights lie, into ``scratch``."""
    shape = plan.plan_shape
    prepare_prompt(machine, work, plan, request, scratch, shape)
    prepare_prompt(machine, work, plan, first, scratch, shape + SHAPES)
    scores = request.flop[ATTENTION] * scratch.rate[ATTENTION]
    if plan.reduces > 0.0:
        message = request.reduce_bytes * scratch.inverse_link
        scores += plan.reduces * all_reduce_bytes(scratch, plan.tensor_index, message)
    if plan.exchanges > 0.0:
        sent = request.exchange_bytes * scratch.inverse_link
        scores += plan.exchanges * (sent * machine.exchange_rate[plan.group_index])
    scratch.least_scores[shape] = scores


@compilable
def prepare_prompt(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    prompt: PromptRow,
    scratch: ScratchRow,
    at: int,
) -> None:
    """One prompt's arithmetic, weights streamed, and what comes on top of both, into row ``at`` of
    ``scratch``.
    """
    chunks = chunks_of(work, prompt.tokens)
    computed = streamed = 0.0
    for i in range(OPS):
        if i != ATTENTION:
            computed += prompt.flop[i] * scratch.rate[i]
            if i != EXPERTS:
                streamed += prompt.weights[i] * scratch.inverse[i]
    scratch.prompt_computed[at], scratch.prompt_dense[at] = computed, chunks * streamed
    scratch.prompt_experts[at] = chunks * prompt.weights[EXPERTS] * scratch.inverse[EXPERTS]
    rest = scratch.launch * chunks + prompt.flop[ATTENTION] * scratch.rate[ATTENTION]
    rest += machine.gather_alpha[plan.group_index]
    if plan.reduces > 0.0:
        message = prompt.reduce_bytes * scratch.inverse_link
        rest += plan.reduces * all_reduce(scratch, plan.tensor_index, message)
    scratch.prompt_rest[at] = rest


@compilable
def least_prompts(machine: MachineRow, plan: PlanRow, place: Placement, scratch: ScratchRow) -> PromptTimes:
    """Lower bounds of the prompts of a pair, or those of its shape where they are known already.

    A prompt takes sum_i max(stream_i, compute_i) >= max(sum stream_i, sum compute_i), launches, attention
    and all-reduces on top; limits of heat and lower clocks stretch it all, and take joules.
    """
    shape = plan.plan_shape
    if scratch.prompt_known[shape] > 0.0:
        return known_times(scratch, shape)
    dense = seconds_per_byte(machine, place, place.home)
    experts = seconds_per_byte(machine, place, place.popular_expert_share)
    return streamed_prompts(scratch, shape, dense, experts)


@compilable
def least_prompts_anywhere(plan: PlanRow, scratch: ScratchRow) -> PromptTimes:
    """Lower bounds of the prompts of a pair wherever its weights lie: all memories give them at once."""
    return streamed_prompts(scratch, plan.plan_shape, scratch.all_inverse, scratch.all_inverse)


@compilable
def streamed_prompts(scratch: ScratchRow, shape: int, dense: float, experts: float) -> PromptTimes:
    """Lower bounds of a shape's prompts, from seconds per byte of dense weights and of experts."""
    asked = shape + SHAPES
    streamed = scratch.prompt_dense[shape] * dense + scratch.prompt_experts[shape] * experts
    streamed_first = scratch.prompt_dense[asked] * dense + scratch.prompt_experts[asked] * experts
    return PromptTimes(
        alone=max(streamed, scratch.prompt_computed[shape]) + scratch.prompt_rest[shape],
        products=scratch.prompt_computed[shape],
        scores=scratch.least_scores[shape],
        first=max(streamed_first, scratch.prompt_computed[asked]) + scratch.prompt_rest[asked],
        joules=0.0,
    )


@compilable
def least_shared(
    work: WorkloadRow,
    plan: PlanRow,
    scratch: ScratchRow,
    tokens: float,
    products: float,
    scores: float,
    step: float,
) -> float:
    """Lower bound of a step and of the prompts that join it [s], from one of the step.

    The compute that a step leaves idle is part of it, so of prompts' products P a step of D with a share c of
    its kernels carrying prompts leaves at least P - c D: D + max(P - c D, 0) >= max(D, P + (1 - c) D), which
    grows with D where c <= 1; attention of the prompts and eager launches come on top.
    """
    carried = carrying(work, plan, scratch, tokens)
    joined = products * plan.arriving
    whole = max(step, joined + (1.0 - carried) * step) if carried <= 1.0 else step
    return whole + scores * plan.arriving + work.eager_launch_share * scratch.launch * carried


@compilable
def least_of(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    site: SiteRow,
    fitted: Fit,
    fleet: Fleet,
    scratch: ScratchRow,
    tokens: float,
    prompts: PromptTimes,
    excess: float,
    least: LeastStep,
) -> Least:
    """Lower bounds of a pair from those of its step, of its prompts and of what breaks limits but TTFT and
    TPOT (``excess``).

    ``tokens`` are those of the mean prompt. Packages are exact, and energy is that of the step and what
    stands. Prompts joined to steps add what ``least_shared`` says; a pool of them holds at least rate x
    prompt / (stages x replicas of a domain) domains, so its package-seconds per token are prompt x domain /
    (output tokens x stages x replicas); one user waits for both.
    """
    step, dynamic = least.time, dynamic_energy(work, plan, scratch, least.energy, prompts.joules)
    apart, first = step * scratch.inverse_tokens, prompts.first
    prompt = work.prompt_charged * prompts.alone * plan.inverse_prompts * scratch.inverse_output
    per_user = fleet.packages * scratch.inverse_concurrency
    if site.one_user > 0:
        cost = least_worth(machine, site, fleet, per_user * (apart + prompt), dynamic)
        late = max(first * site.inverse_ttft_limit, 1.0)
        return Least(
            shared_tpot=apart, shared_worth=cost, pool_tpot=apart, pool_worth=cost, excess=excess * late
        )
    joined = (
        least_shared(
            work, plan, scratch, tokens=tokens, products=prompts.products, scores=prompts.scores, step=step
        )
        * scratch.inverse_tokens
    )
    pooled = per_user * apart + prompt * fleet.increment * fitted.share / fleet.per_domain
    return Least(
        shared_tpot=joined,
        shared_worth=least_worth(machine, site, fleet, per_user * joined, dynamic),
        pool_tpot=apart,
        pool_worth=least_worth(machine, site, fleet, pooled, dynamic),
        excess=excess * max((first + step) * site.inverse_ttft_limit, 1.0),
    )


@compilable
def least_worth(machine: MachineRow, site: SiteRow, fleet: Fleet, busy: float, dynamic: float) -> float:
    """``worth`` of package-seconds ``busy`` and of ``dynamic`` [J], with what stands meanwhile."""
    mode: Mode = priced(
        machine, site, fleet, tpot=0.0, packages=0.0, busy=busy, dynamic=dynamic, standing=0.0, ttft=0.0
    )
    return worth(site, mode)


@compilable
def may_be_chosen(site: SiteRow, scratch: ScratchRow, least: Least) -> bool:
    """Whether a plan of these bounds could be the best so far for some TPOT target.

    For a target that an admissible plan meets it must be admissible, in time and no dearer, by either way of
    computing prompts; for one without, its total violation must not be larger than the least so far.
    """
    less = 1.0 - MARGIN
    fits = least.excess * less <= 1.0
    for i in range(site.targets):
        target = site.tpot_targets[i]
        shares, pools = least.shared_tpot * less <= target, least.pool_tpot * less <= target
        best = scratch.best_worth[i]
        if best >= 0.0 and i == site.fastest:
            if fits and shares and least.shared_tpot * less <= best:
                return True
        elif best >= 0.0:
            if fits and (
                (shares and least.shared_worth * less <= best) or (pools and least.pool_worth * less <= best)
            ):
                return True
        else:
            known, late = scratch.least_excess[i], max(least.pool_tpot * site.inverse_targets[i], 1.0)
            if known < 0.0 or (fits and pools) or least.excess * late * less <= known:
                return True
    return False


@compilable
def update_tolerated(site: SiteRow, scratch: ScratchRow) -> None:
    """The total violation above which a plan speaks for no target: 1 where admissible plans meet all of
    them.
    """
    tolerated = 1.0
    for i in range(site.targets):
        if scratch.best_worth[i] < 0.0:
            tolerated = max(
                tolerated, scratch.least_excess[i] if scratch.least_excess[i] >= 0.0 else LARGE**2
            )
    scratch.tolerated = tolerated
