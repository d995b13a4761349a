"""One (design, plan) pair: the decode step, what it writes and refreshes, its clock, and the prompts it
takes in.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dse.core.axes import CLOCK_LEVELS
from dse.core.compilation import compilable
from dse.serving.collectives import pipeline_transfer
from dse.serving.decode import Decoded, decode, operators, read_of, waits_of
from dse.serving.placement import Fit, Placement, fit, place
from dse.serving.pnm_operator import FAST
from dse.serving.pnm_split import level_watts, passes, step_times
from dse.serving.prefill import PromptTimes, interference, prompt_times
from dse.serving.rates import governed
from dse.serving.records import OPS, MachineRow, PlanRow, PromptRow, ScratchRow, WorkloadRow
from dse.serving.results import Waits
from dse.serving.step_work import ACTIVATION_BYTES

TIE: Final = 0.99
"""clocks within 1 % of each other's time count as equally fast: energy decides"""


class Writes(NamedTuple):
    """What a step writes."""

    time: float
    """s of it"""
    to_flash: float
    """bytes of KV cache and prefixes written to flash per step and package"""


class Clocked(NamedTuple):
    """A step at the clock that finishes first under the limits of heat."""

    step: float
    unthrottled: float
    """s of a step that no limit of heat slows, at this clock"""
    level: int
    clocks: float
    """J of clocked logic whatever it computes"""
    logic: float
    """J of arithmetic and of bytes moved on chip"""


class Step(NamedTuple):
    """A decode step of a pair."""

    step: float
    """s, limits of heat held"""
    unthrottled: float
    energy: float
    """J of a step per rank, dynamic"""
    slack: float
    """s of compute that a step leaves to prompts that join it"""
    flash_read: float
    """B/s read from flash per package"""
    to_flash: float
    """bytes of KV cache and prefixes written to flash per step and package"""
    clock: float
    """clock of the step over the design clock"""


class StepParts(NamedTuple):
    """What a step is made of: a breakdown's numbers."""

    decoded: Decoded
    waits: Waits
    written: float
    """s of KV cache and experts moved"""
    refresh_time: float
    refresh_energy: float
    """J of doubled refresh in a step"""
    clocked: Clocked
    design_clock: float
    """s of a step at the design clock"""
    alternation: float
    """s that halves at work side by side save, below 0"""


class Prompts(NamedTuple):
    """Prompts of a pair."""

    alone: float
    """s of a mean prompt on its own"""
    interference: float
    """s that arriving prompts add to a step, mean over steps"""
    energy: float
    """J per rank of a mean prompt"""
    ttft: float
    """s of the prompt that the TTFT limit asks about, in all stages of a pipeline"""


@compilable
def writes_of(machine: MachineRow, work: WorkloadRow, plan: PlanRow, placed: Placement) -> Writes:
    """Time [s] that writing KV takes per step, and the bytes that go to flash, prefixes included.

    What overflows the fast tier, and prefixes kept below it, are programmed once; DRAM takes writes as
    fast as reads.
    """
    fresh = plan.per_rank * work.tokens_per_step * plan.prefix_written / work.output_tokens
    moved = (1.0 - placed.live) * plan.kv_written + (1.0 - placed.prefix) * fresh
    flash = moved * placed.in_flash
    time = placed.live * (plan.kv_written * machine.fast_inverse) + flash * machine.flash_write_inverse
    if machine.far_capacity > 0.0:
        time += (moved - flash) * machine.far_inverse
    return Writes(time=time, to_flash=flash)


@compilable
def promotion(work: WorkloadRow, plan: PlanRow, placed: Placement, depth: float) -> float:
    """Bytes a second that move up as other experts become popular.

    Where memory below has room for a copy of every expert, what cools down is only forgotten.
    """
    if placed.popular_expert_share >= 1.0:
        return 0.0
    return placed.popular_expert_share * plan.resident_experts / (depth * work.popularity_life)


@compilable
def refresh_loss(
    machine: MachineRow,
    plan: PlanRow,
    placed: Placement,
    scratch: ScratchRow,
    decoded: Decoded,
    time: float,
) -> float:
    """Time [s] that doubled refresh takes of a step; below 0 where DRAM is below the temperature for it.

    A share of the time in which the fast memory is read, by the host or by the engine, each at its own rate.
    """
    runs, charges = passes(plan), decoded.charges
    logic = (charges.clocked + charges.unclocked) * runs + machine.clock_power * time
    doubling = machine.refresh_doubling
    if doubling[0] * logic + doubling[1] * (charges.fast * runs) <= time:
        return -1.0
    busy = 0.0
    for i in range(OPS):
        near = machine.pnm_site == FAST and decoded.assigned >> i & 1
        inverse = machine.pnm_inverse if near else machine.fast_inverse
        busy += runs * read_of(plan, placed, i).fast * (scratch.inverse[i] * inverse)
    return machine.hot_bandwidth_loss * min(busy, time)


@compilable
def clocked_step(
    machine: MachineRow, plan: PlanRow, decoded: Decoded, fast: float, time: float, slower: float
) -> Clocked:
    """The clock level that finishes first under the limits; within 1 % the one that takes less energy."""
    runs, charges = passes(plan), decoded.charges
    flash = charges.flash * runs
    clocks = level_watts(machine, 0) * time
    logic = (charges.clocked * machine.level_energy[0] + charges.unclocked) * runs
    step = governed(machine, time, logic + clocks, fast, flash)
    if machine.levels > 1:
        clocks_slower = level_watts(machine, 1) * slower
        less = (charges.clocked * machine.level_energy[1] + charges.unclocked) * runs
        other = governed(machine, slower, less + clocks_slower, fast, flash)
        saves = less + clocks_slower < logic + clocks
        if other < TIE * step or (TIE * other <= step and saves):
            return Clocked(step=other, unthrottled=slower, level=1, clocks=clocks_slower, logic=less)
    return Clocked(step=step, unthrottled=time, level=0, clocks=clocks, logic=logic)


@compilable
def serve_step(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    fitted: Fit,
    placed: Placement,
    waits: Waits,
    scratch: ScratchRow,
    able: int,
) -> tuple[Step, StepParts]:
    """A decode step: operators, messages, launches; what it writes, moves and refreshes; its clock."""
    decoded = decode(machine, work, plan, place=placed, waits=waits, scratch=scratch, able=able)
    runs, sums, charges = passes(plan), decoded.sums, decoded.charges
    time, slower = step_times(plan, sums, waits)
    slack, alternation = sums.slack, 0.0
    if plan.sub_batch_interleaving > 0:  # what one half does while the other waits is no longer idle
        spent = waits.fixed + max(waits.exchange - sums.shared, 0.0)
        alternation = time - 2.0 * (sums.time * waits.pace + spent)
        slack = max(2.0 * slack - max(-alternation, 0.0), 0.0)
    writes = writes_of(machine, work, plan, placed)
    promoted = promotion(work, plan, placed, fitted.depth)
    demoted = promoted * placed.evicts_to_flash * placed.in_flash
    written = writes.time + time * (promoted * placed.per_byte + demoted * machine.flash_write_inverse)
    to_flash = writes.to_flash + time * demoted
    time, slower = time + written, slower + written
    lost = joules = 0.0
    if machine.hot_bandwidth_loss > 0.0:
        lost = refresh_loss(machine, plan, placed, scratch, decoded, time)
        if lost >= 0.0:
            joules = machine.fast_refresh_power * time
            time, slower = time + lost, slower + lost
        lost = max(lost, 0.0)
    fast = charges.fast * runs + joules
    clocked = clocked_step(machine, plan, decoded, fast, time, slower)
    # at a slower clock the products finish no sooner, and what they leave is worth less by the clock
    clock = CLOCK_LEVELS[clocked.level]
    return Step(
        step=clocked.step,
        unthrottled=clocked.unthrottled,
        energy=clocked.logic + clocked.clocks + fast + (charges.flash + charges.far) * runs,
        slack=max(slack - (1.0 - clock) * sums.products * runs, 0.0),
        flash_read=decoded.flash_bytes * runs / clocked.step + promoted * placed.in_flash,
        to_flash=to_flash,
        clock=clock,
    ), StepParts(
        decoded=decoded,
        waits=waits,
        written=written,
        refresh_time=lost,
        refresh_energy=joules,
        clocked=clocked,
        design_clock=time,
        alternation=alternation,
    )


@compilable
def join_prompts(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    request: PromptRow,
    first: PromptRow,
    fitted: Fit,
    times: PromptTimes,
    slack: float,
    scratch: ScratchRow,
) -> Prompts:
    """Prompts that join a step which leaves ``slack`` [s] of compute, and pass through its stages."""
    chunk = min(first.tokens, work.chunk)  # later chunks follow while it computes
    passed = pipeline_transfer(machine, plan.group, fitted.depth, chunk * work.hidden * ACTIVATION_BYTES)
    return Prompts(
        alone=times.alone,
        interference=interference(
            work,
            plan,
            scratch,
            tokens=request.tokens,
            products=times.products,
            scores=times.scores,
            slack=slack,
        ),
        energy=times.joules,
        ttft=times.first + passed,
    )


class Pair(NamedTuple):
    """What serving finds of a pair."""

    fitted: Fit
    placed: Placement
    step: Step
    prompts: Prompts


@compilable
def serve(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    request: PromptRow,
    first: PromptRow,
    scratch: ScratchRow,
) -> tuple[Pair, StepParts]:
    """Serve one pair whole; also what its step is made of."""
    fitted = fit(machine, plan, scratch)
    placed = place(machine, plan, fitted)
    waits = waits_of(machine, work, plan, fitted.depth, scratch)
    able = operators(machine, work, plan, placed, scratch)
    step, parts = serve_step(
        machine, work, plan, fitted=fitted, placed=placed, waits=waits, scratch=scratch, able=able
    )
    times = prompt_times(machine, work, plan, request=request, first=first, place=placed, scratch=scratch)
    prompts = join_prompts(
        machine,
        work,
        plan,
        request=request,
        first=first,
        fitted=fitted,
        times=times,
        slack=step.slack,
        scratch=scratch,
    )
    return Pair(fitted=fitted, placed=placed, step=step, prompts=prompts), parts
