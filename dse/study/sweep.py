"""Exhaustive sweep of a space's coarse grid: the oracle for what a search reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dse.evaluator.protocol import Evaluator
from dse.run.archive import Archive
from dse.run.front import Front, front_of
from dse.space.design import grid
from dse.space.space import Space

BLOCK = 100_000


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
    for design in grid(space, block):
        designs += len(design)
        screen = getattr(evaluator, "screen", None)
        if screen is not None:  # a design that breaks a limit of its own needs no plan to be judged
            design = design.take(screen(design))
            if len(design) == 0:
                continue
        outcomes = evaluator.evaluate(design)
        feasible += int(outcomes.feasible.any(axis=1).sum())
        kept = np.unique(front_of(space, outcomes).rows)
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


def _shrink(space: Space, archive: Archive) -> None:
    """Drop archived designs that no longer stand on the front."""
    design, outcomes = archive.joined()
    rows = np.unique(front_of(space, outcomes).rows)
    archive.designs = [design.take(rows)]
    archive.outcomes = [outcomes.take(rows)]
