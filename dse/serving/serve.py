"""Every pair of a chunk of designs and the plans of one workload.

The decode step and the prompts it takes in.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dse.core.axes import CLOCK_LEVELS
from dse.core.units import FloatArray
from dse.hardware.machine import Machine
from dse.physics import thermal
from dse.serving.collectives import Note, collectives, pipeline_transfer
from dse.serving.decode import Waits, decode
from dse.serving.placement import LARGE, Placement, place_data
from dse.serving.pnm_split import TIE
from dse.serving.prefill import prefill
from dse.serving.rates import limits_of
from dse.serving.results import Decoded, PlanResults
from dse.serving.software import SoftwareStack
from dse.serving.step_work import ACTIVATION_BYTES, StepWork


def serve(machine: Machine, work: StepWork, software: SoftwareStack, note: Note | None = None) -> PlanResults:
    """Evaluate every pair of a chunk of designs and the plans of one workload."""
    placement = place_data(machine, work)
    waits = _waits(machine, work, software, placement)
    d = decode(machine, work, software, placement, waits, note)
    times, passes_per_step, slack = _passes(machine, work, software, placement, d, note)
    written, to_flash = _written(machine, work, placement)
    promoted, swapped = _promoted(work, placement)
    if promoted is not None and placement.lower_tiers is not None:
        written = written + times[0] * (promoted * placement.lower_tiers.per_byte)
        demoted = swapped * placement.lower_tiers.in_flash
        written = written + times[0] * (demoted * (1.0 / machine.flash.write_bandwidth)[:, None])
        to_flash = to_flash + times[0] * demoted
    for time in times:
        time += written
    if machine.heat.hot_bandwidth_loss.any():
        warm, joules = _refreshed(
            machine=machine,
            work=work,
            software=software,
            placement=placement,
            decoded=d,
            time=times[0],
            passes_per_step=passes_per_step,
        )
        if note:
            note("energy", "doubled refresh", joules)
        d.fast = d.fast + joules / passes_per_step
        for time in times:
            time += warm
    step, energy, clock, unthrottled = _clocked(machine, d, times, passes_per_step, note)
    if note:
        note("time", "KV cache and experts moved", np.broadcast_to(written, step.shape))
        note("time", "throttling", step - unthrottled)
    # at a slower clock the products finish no sooner, and what they leave is worth less by the clock
    served = prefill(
        machine,
        work,
        software,
        placement,
        np.maximum(slack - (1.0 - clock) * d.products * passes_per_step, 0.0),
        note,
    )
    zero = np.zeros((1, 1))
    below = placement.lower_tiers
    chunk = np.minimum(
        work.prefill.tokens[..., -1:], software.chunk
    )  # of the prompt that the TTFT limit asks about
    passed = pipeline_transfer(
        machine, work, placement.depth, chunk * work.model.hidden * ACTIVATION_BYTES
    )  # later chunks follow while it computes
    return PlanResults(
        step=step,
        unthrottled=unthrottled,
        energy=energy,
        stages=placement.depth,
        fast_tier_share=placement.fast_tier_share,
        prompt=served.alone,
        prefill_interference=served.prefill_interference,
        prompt_energy=served.energy,
        ttft=served.first + passed,
        flash_read=zero
        if below is None
        else d.flash_bytes * passes_per_step / step
        + (0.0 if promoted is None else promoted * below.in_flash),
        flash_written=to_flash,
        stored=zero if below is None else below.stored,
        clock=clock,
        limit_ratios=placement.limit_ratios,
    )


def _pace(work: StepWork, placement: Placement) -> FloatArray:
    """The stage with most layers sets it: its layers times stages, over layers."""
    held = np.minimum(placement.depth, work.layers)
    out: FloatArray = np.ceil(work.layers / held) * held / work.layers
    return out


def _overhead(work: StepWork, software: SoftwareStack) -> Any:
    """Launches and scheduling of a pass [s]."""
    halves = work.plans.sub_batch_interleaving
    return software.once(work) + software.sequence * (work.per_rank * np.where(halves, 0.5, 1.0))


def _waits(machine: Machine, work: StepWork, software: SoftwareStack, placement: Placement) -> Waits:
    """What a step takes beside its operators."""
    boundless = np.full((1, 1), LARGE)  # shared experts so long that they hide every exchange
    fixed = collectives(machine, work, software, placement.depth, boundless, None)
    whole = collectives(machine, work, software, placement.depth, np.zeros((1, 1)), None)
    return Waits(_pace(work, placement), fixed + _overhead(work, software), whole - fixed)


def _passes(
    machine: Machine,
    work: StepWork,
    software: SoftwareStack,
    placement: Placement,
    decoded: Decoded,
    note: Note | None,
) -> tuple[list[FloatArray], Any, FloatArray]:
    """Time of a step at each clock level, messages and overheads included; how often operators run.

    Slack [s].

    In halves, one half is on the host, its messages and its launches while the other is near its data; what
    the host reads of the engine's memory and the engine's work share the bandwidth inside it:
    2 x max(host, engine + host's reads at the inner rate).
    """
    depth, pace = placement.depth, _pace(work, placement)
    spent = collectives(machine, work, software, depth, decoded.shared, note)
    halves = work.plans.sub_batch_interleaving
    overhead = _overhead(work, software)
    times = [time * pace + spent + overhead for time in decoded.times]
    if note:
        note("time", "overhead", np.broadcast_to(overhead * np.where(halves, 2.0, 1.0), depth.shape))
    own = decoded.halves
    if own is None or not halves.any():
        return times, 1.0, decoded.slack
    pair = 2.0 * np.maximum(own.host * pace + spent + overhead, (own.engine + own.contention) * pace)
    whole = times[0].copy()
    # what one half does while the other waits is no longer idle
    slack = np.where(
        halves, np.maximum(2.0 * decoded.slack - np.maximum(2.0 * whole - pair, 0.0), 0.0), decoded.slack
    )
    for time in times:
        time[...] = np.where(halves, pair + 2.0 * (time - whole), time)
    if note and halves.all():
        note("time", "done by the other half", pair - 2.0 * whole)
    return times, np.where(halves, 2.0, 1.0), slack


def _promoted(work: StepWork, placement: Placement) -> tuple[FloatArray | None, FloatArray]:
    """Bytes a second that move up as other experts become popular, and down.

    None where there is nothing to choose.

    Where memory below has room for a copy of every expert, what cools down is only forgotten.
    """
    lower = placement.lower_tiers
    if lower is None or not work.resident_experts.any():
        return None, np.zeros((1, 1))
    up = np.where(
        lower.popular_expert_share < 1.0,
        lower.popular_expert_share * work.resident_experts / (placement.depth * work.popularity_life),
        0.0,
    )
    return up, up * lower.evicts_to_flash


def _written(machine: Machine, work: StepWork, placement: Placement) -> tuple[FloatArray, FloatArray]:
    """Time [s] that writing KV takes per step, and the bytes that go to flash, prefixes included.

    What overflows the fast tier, and prefixes kept below it, are programmed once; DRAM takes writes as
    fast as reads.
    """
    below, fast = placement.lower_tiers, work.kv_written * (1.0 / machine.fast.bandwidth)[:, None]
    if below is None:
        return fast, np.zeros((1, 1))
    fresh = work.per_rank * work.tokens_per_step * work.prefix_written / work.output_tokens
    moved = (1.0 - below.live) * work.kv_written + (1.0 - below.prefix) * fresh
    flash = moved * below.in_flash
    time = below.live * fast + flash * (1.0 / machine.flash.write_bandwidth)[:, None]
    if machine.far.capacity[0] > 0:
        time = time + (moved - flash) * (1.0 / machine.far.bandwidth)[:, None]
    return time, np.broadcast_to(flash, time.shape)


def _refreshed(
    machine: Machine,
    work: StepWork,
    software: SoftwareStack,
    placement: Placement,
    decoded: Decoded,
    time: FloatArray,
    passes_per_step: Any,
) -> tuple[FloatArray, FloatArray]:
    """Time [s] and energy [J] that doubled refresh takes where DRAM is above the temperature for it."""
    logic = (
        decoded.clocked_energy + decoded.unclocked_energy
    ) * passes_per_step + machine.compute.clock_power[:, None] * time
    warm = (
        machine.heat.refresh_doubling.logic[:, None] * logic
        + machine.heat.refresh_doubling.fast[:, None] * (decoded.fast * passes_per_step)
    ) > time
    if placement.lower_tiers is None:
        streamed: Any = work.weights.sum(axis=0) + work.kv_prefix
    else:
        streamed = placement.fast_tier_share * (work.weights.sum(axis=0) + work.kv_prefix)
    busy = (
        passes_per_step * (work.kv_live + streamed) * (1.0 / machine.fast.bandwidth)[:, None] / software.dense
    )
    lost = np.where(warm, machine.heat.hot_bandwidth_loss[:, None] * np.minimum(busy, time), 0.0)
    return lost, np.where(warm, machine.fast.refresh_power[:, None] * time, 0.0)


def _clocked(
    machine: Machine, decoded: Decoded, times: list[FloatArray], passes_per_step: Any, note: Note | None
) -> tuple[FloatArray, ...]:
    """Step, energy, clock and unthrottled time at the best clock level.

    The level that finishes first under the limits wins; within 1 % the one that takes less energy.
    """
    logic, clocks = [], []
    steady = machine.pnm.clock_power[:, None]
    for i, time in enumerate(times):
        level, scale = CLOCK_LEVELS[i], machine.compute.level_energy[:, i : i + 1]
        clocked = (
            machine.compute.clock_power[:, None] * (level * scale) + steady
        ) * time  # gated while a throttled step waits
        clocks.append(clocked)
        logic.append((decoded.clocked_energy * scale + decoded.unclocked_energy) * passes_per_step + clocked)
    fast, flash, far = (
        decoded.fast * passes_per_step,
        decoded.flash * passes_per_step,
        decoded.far * passes_per_step,
    )
    steps = thermal.governed(times, logic, (fast, flash), limits_of(machine))
    step, energy, free = steps[0], logic[0], times[0]
    clock: FloatArray = np.ones((1, 1))
    best = [clocks[0], logic[0] - clocks[0]]
    for i in range(1, len(times)):
        better = (steps[i] < TIE * step) | ((TIE * steps[i] <= step) & (logic[i] < energy))
        step, energy, free = (
            np.where(better, new, old)
            for new, old in ((steps[i], step), (logic[i], energy), (times[i], free))
        )
        clock = np.where(better, CLOCK_LEVELS[i], clock)
        if note:
            best = [np.where(better, clocks[i], best[0]), np.where(better, logic[i] - clocks[i], best[1])]
    if note:
        note("energy", "clocks", best[0])
        note("energy", "on chip", decoded.unclocked_energy * passes_per_step)
        note("energy", "logic", best[1] - decoded.unclocked_energy * passes_per_step)
        for name, e in (("fast memory", fast), ("flash", flash), ("far memory", far)):
            note("energy", name, e)
        note("clock", "level", np.broadcast_to(clock, step.shape))
        note("time", "slower clock", free - times[0])
    joules = energy + fast
    for each in (flash, far):
        if each.size > 1 or each.any():
            joules = joules + each
    return step, joules, clock, free
