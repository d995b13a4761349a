"""Collectives and point-to-point messages of every (design, plan) pair, from the machine's tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dse.core.units import FloatArray, IntArray
from dse.hardware.collective_tables import NEVER
from dse.hardware.machine import Machine
from dse.serving.software import SoftwareStack
from dse.serving.step_work import StepWork

Note = Callable[[str, str, FloatArray], None]
"""(kind, name, term): sees every term of a breakdown"""


def at(table: FloatArray, index: IntArray) -> FloatArray:
    """Columns of a table (n, groups): (n, p) for an index (p,), row by row for an aligned index (n, k)."""
    return np.take_along_axis(table, index, axis=1) if index.ndim == 2 else np.take(table, index, axis=1)


def all_reduce(
    machine: Machine, index: IntArray, message: FloatArray, *, launched: bool = True
) -> FloatArray:
    """Time of one all-reduce, (n, p): the fastest algorithm that some design of the chunk can run.

    ``launched`` False leaves out alpha: what a longer message adds to one that is sent anyway.
    """
    network = machine.network
    if not (index.any() or network.reduce_alpha[:, 0].any() or network.reduce_rate[:, 0].any()):
        return np.zeros(
            index.shape if index.ndim == 2 else (len(machine), len(index))
        )  # one rank sums nothing
    best: FloatArray | None = None
    for a in range(machine.network.reduce_alpha.shape[2]):
        if not (machine.network.reduce_alpha[:, 1:, a] < NEVER).any():
            continue
        each = at(machine.network.reduce_rate[:, :, a], index) * message
        if launched:
            each += at(machine.network.reduce_alpha[:, :, a], index)
        best = each if best is None else np.minimum(best, each, out=best)
    assert best is not None  # noqa: S101 - ring runs everywhere
    return best


def decode_reduces(machine: Machine, work: StepWork, software: SoftwareStack) -> FloatArray:
    """Time of one all-reduce of a decode step, (n, p); plans that send the same message share one answer."""
    if work.aligned:
        return all_reduce(machine, work.plans.tensor_index, work.reduce_bytes / software.link)
    few = work.distinct_reduces[0]
    each = all_reduce(machine, work.plans.tensor_index[few], work.reduce_bytes[few] / software.link)
    return np.take(each, work.distinct_reduces[1], axis=1)


def exchanged(
    machine: Machine, index: IntArray, sent: FloatArray, count: FloatArray, shared: FloatArray
) -> FloatArray:
    """Time of ``count`` dispatches and combines, less what shared experts compute meanwhile.

    ``shared`` is the time of the layer's work that waits for no message: its shared experts, all
    layers summed. Everything else in a layer needs the message before it.
    """
    time = count * (
        at(machine.network.exchange_alpha, index) + sent * at(machine.network.exchange_rate, index)
    )
    return np.maximum(time - shared, 0.0)


def collectives(
    machine: Machine,
    work: StepWork,
    software: SoftwareStack,
    depth: FloatArray,
    shared: FloatArray,
    note: Note | None,
) -> FloatArray:
    """Time of all-reduces, all-to-alls, the gather of sampled tokens and stage-to-stage messages.

    Of dispatch and combine as much is hidden as the ``shared`` experts' time, (n, p); nothing else is: every
    operator here needs the message before it. Links draw their power always, so messages cost no
    energy of their own.
    """
    time = work.reduces * decode_reduces(machine, work, software)
    if work.exchanges.any():
        time += exchanged(
            machine, work.plans.group_index, work.exchange_bytes / software.link, work.exchanges, shared
        )
    time += at(
        machine.network.gather_alpha, work.plans.group_index
    )  # best token and its score: bytes do not count
    stages = pipeline_transfer(machine, work, depth, work.stage_bytes)
    if note:
        note("time", "collectives", time)
        note("time", "pipeline", stages)
    return time + stages


def pipeline_transfer(machine: Machine, work: StepWork, depth: FloatArray, size: FloatArray) -> FloatArray:
    """Time of ``size`` bytes that go from stage to stage of a pipeline, over cards where it leaves the
    domain.
    """
    inside = depth * work.plans.group <= machine.network.domain[:, None]
    rate = np.where(
        inside,
        1.0 / np.maximum(machine.network.link_bandwidth, 1.0)[:, None],
        1.0 / machine.network.scale_out_bandwidth[:, None],
    )
    alpha = np.where(
        inside, machine.network.point_to_point_alpha[:, None], machine.network.scale_out_latency[:, None]
    )
    out: FloatArray = (depth - 1.0) * (alpha + size * rate)
    return out
