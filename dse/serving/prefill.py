"""Prompts: alone on a machine, and joining the decode steps of others."""

from __future__ import annotations

from typing import NamedTuple

from dse.core.axes import CLOCK_LEVELS
from dse.core.compilation import compilable
from dse.core.rounding import ceiling
from dse.serving.collectives import all_reduce, all_reduce_bytes, exchange
from dse.serving.placement import Placement
from dse.serving.pnm_split import level_watts
from dse.serving.rates import ATTENTION, EXPERTS, FFN, governed
from dse.serving.records import OPS, MachineRow, PlanRow, PromptRow, ScratchRow, WorkloadRow


class Prompt(NamedTuple):
    """A prompt on its own."""

    time: float
    """s, limits of heat held"""
    products: float
    """s of its matrix products, stretched as the whole is"""
    scores: float
    """s of attention and of what its messages add to those of a step that sends its own anyway"""
    logic: float
    """J of arithmetic, clocks and bytes moved on chip, per rank"""
    on_chip: float
    """J of them that bytes moved on chip take"""
    fast: float
    flash: float
    far: float

    # the sum of the last five but ``on_chip``, which ``logic`` holds
    joules: float


class PromptTimes(NamedTuple):
    """What prompts take under a pair's placement, whatever its step."""

    alone: float
    """s of the mean prompt on its own"""
    products: float
    """s of its matrix products, stretched as the whole is"""
    scores: float
    """s of what joins a step on top of it: attention, bytes of messages"""
    first: float
    """s of the prompt that the TTFT limit asks about, on its own"""
    joules: float
    """J per rank of the mean prompt"""


@compilable
def chunks_of(work: WorkloadRow, tokens: float) -> float:
    """Chunks that a prompt is taken in."""
    return max(ceiling(tokens / work.chunk), 1.0)


@compilable
def carrying(work: WorkloadRow, plan: PlanRow, scratch: ScratchRow, tokens: float) -> float:
    """Share of a step's kernels that run with arriving prompts of ``tokens`` in them.

    With n prompts of c chunks and T tokens a step, max(min(n c, 1), n T / chunk): above 1 where they fill
    more than a step.
    """
    if plan.arriving * tokens <= 0.0:
        return min(plan.arriving, 1.0)
    return max(
        min(plan.arriving * chunks_of(work, tokens), 1.0), plan.arriving * tokens * scratch.inverse_chunk
    )


@compilable
def seconds_per_byte(machine: MachineRow, place: Placement, share: float) -> float:
    """Time [s/B] of streaming weights of which the fast tier holds a share; behind one PHY flash's cross
    it.
    """
    below = 1.0 - share
    crossing = share + below * place.in_flash * machine.shares_fast_phy
    return max(crossing * machine.fast_inverse, below * place.per_byte)


@compilable
def prompt_alone(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    prompt: PromptRow,
    place: Placement,
    scratch: ScratchRow,
) -> Prompt:
    """Serve one prompt on its own: weights stream and kernels launch once a chunk, and the host computes.

    The activations of a chunk fill the chip's SRAM: no weights count as held there.
    """
    chunks = chunks_of(work, prompt.tokens)
    per_dense = seconds_per_byte(machine, place, place.home)
    per_expert = seconds_per_byte(machine, place, place.popular_expert_share)
    time = scratch.launch * chunks
    products = scores = shared = 0.0
    for i in range(OPS):
        busy = prompt.flop[i] * scratch.rate[i]
        if i == ATTENTION:
            scores += busy
        else:
            products += busy
        per_byte = per_expert if i == EXPERTS else per_dense
        spent = max(chunks * prompt.weights[i] * scratch.inverse[i] * per_byte, busy)
        if i == FFN:
            shared = work.shared_share * spent
        time += spent
    arithmetic = products + scores
    message, sent = prompt.reduce_bytes * scratch.inverse_link, prompt.exchange_bytes * scratch.inverse_link
    time += machine.gather_alpha[plan.group_index]
    if plan.reduces > 0.0:
        time += plan.reduces * all_reduce(scratch, plan.tensor_index, message)
        scores += plan.reduces * all_reduce_bytes(scratch, plan.tensor_index, message)
    if plan.exchanges > 0.0:
        time += max(exchange(machine, plan.group_index, sent, plan.exchanges) - shared, 0.0)
        scores += plan.exchanges * (sent * machine.exchange_rate[plan.group_index])
    dense, routed = chunks * prompt.joule_weights, chunks * prompt.joule_experts
    on_chip = (dense + routed) * machine.byte_energy
    clocked = 0.0
    for column in range(len(prompt.joule_flop)):
        clocked += prompt.joule_flop[column] * machine.flop_energy[column]
    in_fast = dense * place.home + routed * place.popular_expert_share
    below = dense * (1.0 - place.home) + routed * (1.0 - place.popular_expert_share)
    fast = in_fast * machine.fast_energy + prompt.kv * machine.fast_energy
    flash = below * (place.in_flash * machine.flash_energy)
    far = below * ((1.0 - place.in_flash) * machine.far_energy)
    held, logic = held_prompt(
        machine, time, arithmetic, clocked=clocked, on_chip=on_chip, fast=fast, flash=flash
    )
    stretch = held / time  # a hot package is slow in either case
    return Prompt(
        time=held,
        products=products * stretch,
        scores=scores * stretch,
        logic=logic,
        on_chip=on_chip,
        fast=fast,
        flash=flash,
        far=far,
        joules=logic + fast + flash + far,
    )


@compilable
def known_times(scratch: ScratchRow, shape: int) -> PromptTimes:
    """The prompts of a shape of plan as ``scratch`` keeps them."""
    return PromptTimes(
        alone=scratch.prompt_alone[shape],
        products=scratch.prompt_products[shape],
        scores=scratch.prompt_scores[shape],
        first=scratch.prompt_first[shape],
        joules=scratch.prompt_joules[shape],
    )


@compilable
def prompt_times(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    request: PromptRow,
    first: PromptRow,
    place: Placement,
    scratch: ScratchRow,
) -> PromptTimes:
    """The mean prompt and the prompt of the TTFT limit, each on its own.

    Without memory below, plans of a shape share an answer, which ``scratch`` keeps.
    """
    shape = plan.plan_shape
    if scratch.prompt_known[shape] > 0.0:
        return known_times(scratch, shape)
    mean = prompt_alone(machine, work, plan, request, place, scratch)
    asked = prompt_alone(machine, work, plan, first, place, scratch)
    if machine.flash_capacity + machine.far_capacity <= 0.0:
        scratch.prompt_known[shape] = 1.0
        scratch.prompt_alone[shape], scratch.prompt_joules[shape] = mean.time, mean.joules
        scratch.prompt_products[shape], scratch.prompt_scores[shape] = mean.products, mean.scores
        scratch.prompt_first[shape] = asked.time
    return PromptTimes(
        alone=mean.time, products=mean.products, scores=mean.scores, first=asked.time, joules=mean.joules
    )


@compilable
def held_prompt(
    machine: MachineRow,
    time: float,
    arithmetic: float,
    clocked: float,
    on_chip: float,
    fast: float,
    flash: float,
) -> tuple[float, float]:
    """Time [s] and energy [J] of the logic at the clock that finishes a prompt first under the limits of
    heat.

    A slower clock stretches all arithmetic, hidden behind reads or not: an upper bound.
    """
    joules = clocked + on_chip + level_watts(machine, 0) * time
    held = governed(machine, time, joules, fast, flash)
    if held <= time or machine.levels < 2:
        return held, joules
    slower = time + arithmetic * (1.0 / CLOCK_LEVELS[1] - 1.0)
    less = clocked * machine.level_energy[1] + on_chip + level_watts(machine, 1) * slower
    other = governed(machine, slower, less, fast, flash)
    if other < held:
        return other, less
    return held, joules


@compilable
def interference(
    work: WorkloadRow,
    plan: PlanRow,
    scratch: ScratchRow,
    tokens: float,
    products: float,
    scores: float,
    slack: float,
) -> float:
    """Time [s] that arriving prompts of ``tokens`` add to a step, mean over steps.

    A chunk that joins a decode step reads no weight again: its matrix products first use the compute that the
    step leaves idle (``slack``), max(W, D + P) - max(W, D) = max(P - slack, 0). With n prompts a step and a
    share k of its kernels carrying them, n P - k slack remain.
    """
    carried = carrying(work, plan, scratch, tokens)
    joined = max(products * plan.arriving - carried * slack, 0.0)
    return joined + scores * plan.arriving + work.eager_launch_share * scratch.launch * carried
