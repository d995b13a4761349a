"""A certificate of a run's front: every design one step from it judged, and the exact front of a grid beside
it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dse.core.pareto import ParetoArchive, worst_factors
from dse.core.table import chunks
from dse.evaluator.protocol import Evaluator
from dse.run.folder import Folder
from dse.run.run import Run
from dse.space.design import Design
from dse.space.genome import Codes, Genome
from dse.space.space import Space
from dse.study.archives import first_of_each
from dse.study.convergence import COVERED, beyond, boxes, hypervolume_ratio, volume
from dse.study.judging import Judge
from dse.study.sweep import Swept

STEPS: Final = (50, 10)
"""of a number's range, in thousandths, up and down"""

BLOCK: Final = 8192
"""neighbours judged at a time"""

MATTERS: Final = 0.01
"""factor less 1 from which a neighbour is said to better the front"""


@dataclass(frozen=True)
class Neighbourhood:
    """What the designs one step from a front add to it."""

    centres: int
    judged: int
    feasible: int
    joined: int
    """operating points that they add to the front"""
    within: float
    """factor less 1 within which the front reaches 95 % of the boxes of the front with them"""
    largest: float
    """the same for every box"""
    hypervolume: float
    """share of the hypervolume of the front with them that the front has"""
    better: int
    """boxes of the front with them that the front misses by over 1 %"""
    of: int
    """those boxes"""


def neighbourhood(
    run: Run, evaluator: Evaluator, watch: Callable[[int, int], None] | None = None
) -> Neighbourhood:
    """Judge every design that is one step from a design of the front.

    A choice takes each other level, a whole number the next ones, another number steps of 1 and 5 % of its
    range.
    """
    space, genome = run.space, Genome(run.space.variables)
    centres = _codes_of_front(run, genome)
    codes = _distinct(genome, centres)
    judge = Judge(evaluator, genome, space)
    front = ParetoArchive(len(space.objectives))
    every = np.zeros(len(run.front), dtype=np.int64)
    front.insert(run.front.points.copy(), every - 1, every)
    feasible = 0
    bounds = np.array(space.bounds)
    for cut in chunks(len(codes), BLOCK):
        batch = judge.batch(codes[cut].copy(), 0, BLOCK)
        feasible += int((batch.violation == 0).sum())
        fits = np.all(batch.points / bounds <= 1.0, axis=1)
        front.insert(batch.points[fits], batch.rows[fits] + cut.start, batch.tags[fits])
        if watch:
            watch(min(cut.stop, len(codes)), len(codes))
    own, both = run.front.points, front.points
    targets = boxes(both)
    off = worst_factors(own, targets) - 1.0
    reference = beyond(both)
    return Neighbourhood(
        centres=len(centres),
        judged=len(codes),
        feasible=feasible,
        joined=int((front.owners >= 0).sum()),
        within=float(np.quantile(off, COVERED)),
        largest=float(off.max()),
        hypervolume=volume(own, reference) / volume(both, reference),
        better=int((off > MATTERS).sum()),
        of=len(targets),
    )


def _codes_of_front(run: Run, genome: Genome) -> Codes:
    """Codes of the designs of a front: as kept, with the sizes that a part has once a step switches it on."""
    kept = Folder(run.path).kept_front()
    if kept is not None:
        return kept.codes.copy()
    design, _ = run.archive.joined()
    return genome.codes(design.take(np.unique(run.front.rows)))


def _distinct(genome: Genome, centres: Codes) -> Codes:
    """Neighbours of designs, each once, the designs themselves left out."""
    found: list[Codes] = []
    own = genome.keys(centres, genome.repair(centres))
    keys = np.empty(0, dtype=np.uint64)
    for cut in chunks(len(centres), 512):
        codes = genome.neighbours(centres[cut], STEPS)
        mine = genome.keys(codes, genome.repair(codes))
        fresh = first_of_each(mine) & ~np.isin(mine, own) & ~np.isin(mine, keys)
        found.append(codes[fresh])
        keys = np.concatenate([keys, mine[fresh]])
    return np.concatenate(found)


@dataclass(frozen=True)
class AgainstExact:
    """A run's front beside the exact front of a grid."""

    points: int
    """operating points of the exact front"""
    hypervolume: float
    """share of its hypervolume that the run's front has"""
    within: float
    """factor less 1 within which the run reaches 95 % of its boxes; below 0 where it is better"""
    largest: float
    """the same for every box"""
    missed: list[str]
    """combinations of the levers' levels that stand on it, and on no point of the run that comes as near"""


def against_exact(run: Run, swept: Swept) -> AgainstExact:
    """Compare a run's front with the exact front of a sweep."""
    own, exact = run.front.points, swept.front.points
    targets = boxes(exact)
    off = worst_factors(own, targets) - 1.0
    archive, _ = run.archive.joined()
    mine = set(archetypes(run.space, archive.take(run.front.rows)))
    theirs = archetypes(swept.archive.space, swept.archive.joined()[0].take(swept.front.rows))
    far = worst_factors(own, exact) - 1.0 > MATTERS
    missed = sorted({a for a, x in zip(theirs, far, strict=True) if x and a not in mine})
    return AgainstExact(
        points=len(exact),
        hypervolume=hypervolume_ratio(swept.front, run.front),
        within=float(np.quantile(off, COVERED)),
        largest=float(off.max()),
        missed=missed,
    )


def archetypes(space: Space, design: Design) -> list[str]:
    """Levels of the variables of a space's levers, a line a design."""
    names = list(
        dict.fromkeys(n for lever in space.levers for n in lever.fixed if space.variable(n).discrete)
    )
    columns: list[Any] = []
    for name in names:
        choices = np.array([*map(str, space.variable(name).choices), "-"], dtype=object)
        columns.append(choices[np.asarray(design.columns[name], dtype=np.int64)])
    return [
        ", ".join(f"{n} {v}" for n, v in zip(names, row, strict=True)) for row in zip(*columns, strict=True)
    ]
