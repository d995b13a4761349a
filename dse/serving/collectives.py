"""Collectives and point-to-point messages of a (design, plan) pair, from the machine's tables."""

from __future__ import annotations

from dse.core.axes import LINES
from dse.core.compilation import compilable
from dse.serving.records import MachineRow, ScratchRow


@compilable
def all_reduce(scratch: ScratchRow, column: int, message: float) -> float:
    """Time [s] of one all-reduce of ``message`` bytes: the fastest algorithm that the fabric can run."""
    at = column * len(LINES)
    best = scratch.line_alpha[at] + scratch.line_rate[at] * message
    for line in range(at + 1, at + scratch.lines[column]):
        best = min(best, scratch.line_alpha[line] + scratch.line_rate[line] * message)
    return best


@compilable
def all_reduce_bytes(scratch: ScratchRow, column: int, message: float) -> float:
    """Time [s] that a longer message adds to an all-reduce that is sent anyway."""
    at = column * len(LINES)
    best = scratch.line_rate[at] * message
    for line in range(at + 1, at + scratch.lines[column]):
        best = min(best, scratch.line_rate[line] * message)
    return best


@compilable
def exchange(machine: MachineRow, column: int, sent: float, count: float) -> float:
    """Time [s] of ``count`` dispatches and combines of ``sent`` bytes a rank.

    Of it as much is hidden as the layer's work that waits for no message takes, its shared experts:
    everything else needs the message before it. Links draw their power always, so messages cost no energy
    of their own.
    """
    return count * (machine.exchange_alpha[column] + sent * machine.exchange_rate[column])


@compilable
def pipeline_transfer(machine: MachineRow, group: float, depth: float, size: float) -> float:
    """Time [s] of ``size`` bytes from stage to stage of a pipeline, over cards where it leaves the domain."""
    if depth * group <= machine.domain:
        return (depth - 1.0) * (machine.point_to_point_alpha + size * machine.link_inverse)
    return (depth - 1.0) * (machine.scale_out_latency + size * machine.scale_out_inverse)
