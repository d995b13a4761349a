"""Prompts: alone on a machine, and joining the decode steps of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dse.core.axes import OPERATORS
from dse.core.units import FloatArray
from dse.hardware.machine import Machine
from dse.physics import thermal
from dse.serving.collectives import Note, all_reduce, at, exchanged
from dse.serving.placement import Placement
from dse.serving.rates import Rates, arithmetic_energy, limits_of, rates_of
from dse.serving.software import SoftwareStack
from dse.serving.step_work import Prefill, StepWork


@dataclass(frozen=True)
class Served:
    """Prompts served, (n, p) each."""

    alone: FloatArray
    """s of a mean prompt on its own"""
    prefill_interference: FloatArray
    """s that arriving prompts add to a step, mean over steps: weights are read once, launches paid once"""
    energy: FloatArray
    """J per rank of a mean prompt"""
    first: FloatArray
    """s of the prompt of the TTFT limit"""


@dataclass(frozen=True)
class _Streams:
    """Seconds and joules per byte of weights, at the width of the prompts asked about."""

    dense: FloatArray
    experts: FloatArray
    joules_dense: tuple[FloatArray, FloatArray, FloatArray]
    """J/B of (fast memory, flash, far memory)"""
    joules_experts: tuple[FloatArray, FloatArray, FloatArray]


def _streams(rates: Rates, placement: Placement, cols: Any) -> _Streams:
    """What streaming a byte of weights takes; columns doubled for the two prompts of a shape.

    The activations of a chunk of prompts fill the chip's SRAM: no weights count as held there.
    """
    zero = np.zeros((1, 1))

    def wide(x: Any) -> FloatArray:
        out: FloatArray = np.asarray(x, dtype=np.float64)
        return out if out.ndim < 2 or out.shape[1] == 1 else out[:, cols]

    lower = placement.lower_tiers
    e_fast, e_flash, e_far = rates.energy[1], rates.energy[2], rates.energy[3]
    if lower is None:
        return _Streams(rates.fast, rates.fast, (e_fast, zero, zero), (e_fast, zero, zero))
    share, hot, in_flash = wide(lower.home), wide(lower.popular_expert_share), wide(lower.in_flash)

    def seconds(part: FloatArray, inverse: FloatArray) -> FloatArray:
        below = 1.0 - part
        return np.maximum((part + below * rates.shared) * rates.fast, below * inverse)

    def joules(part: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        below = 1.0 - part
        return (
            part * e_fast,
            below * (in_flash * e_flash) if in_flash.any() else zero,
            below * ((1.0 - in_flash) * e_far) if (in_flash < 1.0).any() else zero,
        )

    inverse = wide(lower.per_byte)
    return _Streams(seconds(share, inverse), seconds(hot, inverse), joules(share), joules(hot))


def prefill(
    machine: Machine,
    t: StepWork,
    software: SoftwareStack,
    placement: Placement,
    slack: FloatArray,
    note: Note | None = None,
) -> Served:
    """Serve the mean prompt and the TTFT prompt.

    A prompt is taken in chunks. Alone, weights stream and kernels launch once per chunk, and the host
    computes. A chunk that joins a decode step reads no weight again: its matrix products first use the
    compute that the step leaves idle (``slack``), max(W, D + P) - max(W, D) = max(P - slack, 0). With n
    prompts of c chunks and T tokens a step, k = max(min(n c, 1), n T / chunk) of a step's kernels run with
    prompts in them, so n P - k slack remain. Limits of heat hold. Without flash plans of a shape share an
    answer.
    """
    k, work = rates_of(machine, t), t.prefill
    by_plan, half = placement.lower_tiers is not None, len(t.plan_of_shape)
    cols: tuple[Any, Any]
    if t.aligned:
        count, cols = 1, (..., slice(None))
        doubled: Any = np.array([0, 0])
        index = (np.repeat(t.plans.tensor_index, 2, axis=1), np.repeat(t.plans.group_index, 2, axis=1))
    else:
        plans = np.arange(len(t.plans)) if by_plan else t.plan_of_shape
        shape = t.plans.plan_shape[plans]
        count, cols = len(plans), (..., np.concatenate([shape, shape + half]))
        doubled = np.concatenate([plans, plans])
        index = (
            np.concatenate([t.plans.tensor_index[plans]] * 2),
            np.concatenate([t.plans.group_index[plans]] * 2),
        )
    width = (len(machine.network.domain), 2 * count)
    stream = _streams(k, placement, doubled)
    chunks = np.maximum(np.ceil(work.tokens[cols] / software.chunk), 1.0)
    time = software.once(t) * chunks * np.ones(width)
    products, scores, shared = np.zeros(width), np.zeros(width), np.zeros((1, 1))
    for i, op in enumerate(OPERATORS):
        flop = work.flop[i][cols]
        if flop.any():
            busy = flop * (k.host_flop[i] / software.compute(op, t.bits[i]))
            target = scores if op == "attention" else products
            target += busy
            weights = chunks * work.weights[i][cols]
            if weights.any():
                per_byte = stream.experts if op == "experts" else stream.dense
                reads = (weights * software.inverse_bandwidth(op, t.emulated[i])) * per_byte
                busy = np.maximum(reads, busy, out=busy if reads.shape == busy.shape else None)
            if op == "ffn":
                shared = t.shared_share * busy
            time += busy
    weights, routed = chunks * work.joule_weights[cols], chunks * work.joule_experts[cols]
    still = (weights + routed) * k.energy[0]
    dynamic = arithmetic_energy(k, t, [flop[cols] for flop in work.joule_flop])
    moe = bool(np.any(routed))
    fast, flash, far = (
        weights * d + routed * e if moe else weights * d
        for d, e in zip(stream.joules_dense, stream.joules_experts, strict=True)
    )
    fast = fast + work.kv[cols] * k.energy[1]
    arithmetic = products + scores
    waited, more = _messages(machine, t, software, index, cols, shared)
    time += waited
    scores += more
    held, logic = _held(machine, time, arithmetic, dynamic, still, (fast, flash))
    stretch = held / time  # a hot package is slow in either case
    joules = logic + fast + flash + far
    _tell(note, logic, still, (fast, flash, far))
    own, pay = products[:, :count] * stretch[:, :count], scores[:, :count] * stretch[:, :count]
    if not (by_plan or t.aligned):
        by = t.plans.plan_shape
        own, pay, held = (
            np.take(own, by, axis=1),
            np.take(pay, by, axis=1),
            np.take(held, np.concatenate([by, by + count]), axis=1),
        )
        joules = np.take(joules, by, axis=1)
        count = len(by)
    join = own * t.arriving
    join -= _carried(t, software, work, chunks) * slack
    np.maximum(join, 0.0, out=join)
    join += pay * t.arriving
    join += software.eager_launch_share * software.once(t) * _carried(t, software, work, chunks)
    return Served(held[:, :count], join, joules[:, :count], held[:, count:])


def _tell(note: Note | None, logic: FloatArray, still: FloatArray, memories: tuple[FloatArray, ...]) -> None:
    """Note the joules of a mean prompt.

    Arithmetic and clocks, bytes on chip, fast memory, flash, far memory.
    """
    names = ("on-chip SRAM and wires", "fast memory", "flash", "far memory")
    if note:
        note("prompt", "arithmetic and clocks", logic - still)
        for name, each in zip(names, (still, *memories), strict=True):
            note("prompt", name, each)


def _held(
    machine: Machine,
    time: FloatArray,
    busy: FloatArray,
    dynamic: FloatArray,
    still: FloatArray,
    memories: tuple[FloatArray, FloatArray],
) -> tuple[FloatArray, FloatArray]:
    """Time and logic energy of a prompt at the clock level that finishes first under the limits.

    A slower clock stretches all arithmetic, hidden behind reads or not: an upper bound. Only machines that
    some limit slows need be asked.
    """
    limits = limits_of(machine)
    power = machine.compute.clock_power[:, None] + machine.pnm.clock_power[:, None]
    energy = dynamic + still + power * time
    step = thermal.governed([time], [energy], memories, limits)[0]
    hot = np.nonzero((step > time).any(axis=1))[0]
    if len(machine.compute.levels()) == 1 or not len(hot):
        return step, energy

    def of(x: FloatArray) -> FloatArray:
        return x if len(x) == 1 else x[hot]

    rows = tuple(tuple(of(c) for c in row) for row in limits)
    some = (of(memories[0]), of(memories[1]))
    for i, level in enumerate(machine.compute.levels()[1:], start=1):
        scale = machine.compute.level_energy[hot, i : i + 1]
        slower = time[hot] + busy[hot] * (1.0 / level - 1.0)
        watts = machine.compute.clock_power[hot, None] * (level * scale) + machine.pnm.clock_power[hot, None]
        joules = of(dynamic) * scale + of(still) + watts * slower
        each = thermal.governed([slower], [joules], some, rows)[0]
        better = each < step[hot]
        step[hot] = np.where(better, each, step[hot])
        energy[hot] = np.where(better, joules, energy[hot])
    return step, energy


def _carried(t: StepWork, software: SoftwareStack, work: Prefill, chunks: FloatArray) -> FloatArray:
    """Share of a step's kernels that run with arriving prompts in them.

    May exceed 1 where they fill more than a step.
    """
    if t.aligned:
        tokens, each = work.tokens[..., :1], chunks[..., :1]
    else:  # one mean prompt for all shapes
        tokens, each = work.tokens[:1], chunks.reshape(-1)[:1]
    carried: FloatArray = np.maximum(np.minimum(t.arriving * each, 1.0), t.arriving * tokens / software.chunk)
    return carried


def _messages(
    machine: Machine,
    work: StepWork,
    software: SoftwareStack,
    index: tuple[Any, Any],
    cols: Any,
    shared: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Time of a prompt's messages, and what they add to those of a step that sends its own anyway.

    As many all-reduces and all-to-alls as a decode step has; ``index`` holds the columns of the tables,
    ``shared`` the time of the shared experts.
    """
    if work.aligned:
        reduces, exchanges = np.repeat(work.reduces, 2, axis=1), np.repeat(work.exchanges, 2, axis=1)
    else:
        plans = np.arange(len(work.plans)) if len(index[0]) == 2 * len(work.plans) else work.plan_of_shape
        reduces, exchanges = (
            np.concatenate([work.reduces[plans]] * 2),
            np.concatenate([work.exchanges[plans]] * 2),
        )
    message, sent = (
        work.prefill.reduce_bytes[cols] / software.link,
        work.prefill.exchange_bytes[cols] / software.link,
    )
    time = reduces * all_reduce(machine, index[0], message) + exchanged(
        machine, index[1], sent, exchanges, shared
    )
    more = reduces * all_reduce(machine, index[0], message, launched=False) + exchanges * (
        sent * at(machine.network.exchange_rate, index[1])
    )
    return time + at(machine.network.gather_alpha, index[1]), more
