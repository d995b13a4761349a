"""Exhaustive sweep of a space's coarse grid: the oracle for what a search reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import tee

import numpy as np

from dse.evaluator.protocol import Evaluator, Outcomes
from dse.run.archive import Archive
from dse.run.front import Front, front_of
from dse.space.design import Design, grid
from dse.space.space import Space

BLOCK = 4096
"""designs at a time: what they are found to do takes some 40 MB"""


@dataclass
class Swept:
    """The exact front of a grid, and what it took."""

    archive: Archive
    front: Front
    designs: int
    feasible: int
    seconds: float


def sweep(
    space: Space, evaluator: Evaluator, watch: Callable[[int], None] | None = None, block: int = BLOCK
) -> Swept:
    """Evaluate every design of the coarse grid block by block, keeping the front so far."""
    start = time.monotonic()
    archive = Archive(space)
    designs = feasible = 0
    for design, outcomes, asked in _judged(evaluator, grid(space, block)):
        designs += asked
        feasible += int(outcomes.feasible.any(axis=1).sum()) if len(design) else 0
        kept = np.unique(front_of(space, outcomes).rows) if len(design) else np.zeros(0, np.int64)
        if len(kept):
            archive.add(design.take(kept), outcomes.take(kept))
            _shrink(space, archive)
        if watch:
            watch(designs)
    front = (
        front_of(space, archive.joined()[1])
        if len(archive)
        else Front(np.zeros(0, int), np.zeros(0, int), np.empty((0, len(space.objectives))))
    )
    return Swept(archive, front, designs, feasible, time.monotonic() - start)


def _judged(evaluator: Evaluator, blocks: Iterable[Design]) -> Iterator[tuple[Design, Outcomes, int]]:
    """Designs judged, what they were found to do, and how many were asked, block by block.

    A design that breaks a limit of its own needs no plan to be judged: an evaluator that can tell leaves it
    out, and judges other blocks meanwhile.
    """
    screened = getattr(evaluator, "screened", None)
    if screened is None:
        for design in blocks:
            yield design, evaluator.evaluate(design), len(design)
        return
    ours, theirs = tee(blocks)
    for design, (rows, outcomes, _) in zip(ours, screened(theirs), strict=True):
        yield design.take(rows), outcomes, len(design)


def _shrink(space: Space, archive: Archive) -> None:
    """Drop archived designs that no longer stand on the front."""
    design, outcomes = archive.joined()
    rows = np.unique(front_of(space, outcomes).rows)
    archive.designs = [design.take(rows)]
    archive.outcomes = [outcomes.take(rows)]
