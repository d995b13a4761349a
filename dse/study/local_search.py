"""What a search leaves undone: one step in each variable from every design of its front.

A sampler draws designs whole, so that its front keeps parts that earn nothing (flash that holds no byte) and
sizes a few percent off. Every search is finished this way, so that all are compared at their best.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dse.core.units import FloatArray
from dse.evaluator.nearest_design import consistent
from dse.run.archive import Archive
from dse.run.front import epsilon_survivors, front_of, non_dominated
from dse.space.design import decode, encode
from dse.space.space import Space
from dse.space.variables import Value, Variable

STEPS = (0.2, 0.1, 0.05)
"""of each round: share of a number, or of its range where that is not logarithmic"""


PER_TRIAL = 5
"""most designs a round evaluates, per trial of the search"""


EPSILON = 0.02
"""a design that betters a front by less than this (relative) in every objective is not added to it"""


FrontDesigns = tuple[FloatArray, list[dict[str, Value]]]
"""points of a front and the design of each"""


def local_search(
    space: Space, evaluator: Any, front: Sequence[Mapping[str, Value]], trials: int, seed: int
) -> FrontDesigns:
    """Points of the front around the designs ``front`` of a search of ``trials`` trials, and the design of
    each.

    A round evaluates neighbours of every machine on the front: first those that leave parts out, then others
    in a random order. Deterministic for a seed; never worse than ``front``.
    """
    if not front:
        return np.empty((0, len(space.objectives))), []
    archive, seen, rng = Archive(space), set[bytes](), np.random.default_rng(seed)
    centres: list[dict[str, Value]] = [dict(d) for d in front]
    _add(archive, evaluator, centres, seen, len(centres))
    for step in STEPS:
        wanted = [n for d in centres for n in neighbours(space, d, step)]
        order = rng.permutation(len(wanted))
        fewer = np.array([x[1] for x in wanted], dtype=bool)[order]
        order = order[np.argsort(~fewer, kind="stable")]
        _add(archive, evaluator, [wanted[i][0] for i in order], seen, PER_TRIAL * trials)
        design, outcomes = archive.joined()
        rows = front_of(space, outcomes).rows
        centres = [decode(space, design, int(r)) for r in np.unique(rows)]
    design, outcomes = archive.joined()
    best = front_of(space, outcomes)
    return best.points, [decode(space, design, int(r)) for r in best.rows]


def front_additions(own: FloatArray, found: FrontDesigns) -> list[dict[str, Value]]:
    """Designs of ``found`` that belong on a front with points ``own``, thinned to ``EPSILON``.

    A point of ``own`` that a found design dominates always leaves the front: where no kept design dominates
    it, its best dominator is kept too.
    """
    points, designs = found
    both = np.concatenate([own, points])
    best = non_dominated(both)
    best[best] = epsilon_survivors(both[best], EPSILON)
    kept = best[len(own) :]
    for p in own:
        better = (points <= p).all(axis=1) & (points < p).any(axis=1)
        if better.any() and not (better & kept).any():
            kept[np.argmin(np.where(better, (points / p).sum(axis=1), np.inf))] = True
    return list({repr(d): d for d, stays in zip(designs, kept, strict=True) if stays}.values())


def neighbours(
    space: Space, design: Mapping[str, Value], step: float
) -> Iterator[tuple[dict[str, Value], bool]]:
    """Designs that differ in one variable (and those that hang on it); whether they leave a part out."""
    for v in space.variables:
        if v.name not in design:
            continue
        for value in _levels(v, design[v.name], step):
            made = consistent(space, {**design, v.name: value})
            if made.get(v.name) == value:
                yield made, len(made) < len(design)


def _levels(v: Variable, now: Value, step: float) -> list[Value]:
    """Other levels of a variable: all of a list, a step up and down of a number."""
    if v.discrete:
        return [c for c in v.choices if c != now]
    x = float(now)
    if v.kind == "int":
        moved = [x - 1.0, x + 1.0]
    elif v.log:
        moved = [x / (1.0 + step), x * (1.0 + step)]
    else:
        moved = [x - step * (v.high - v.low), x + step * (v.high - v.low)]
    moved = [min(max(y, v.low), v.high) for y in moved]
    return [int(y) if v.kind == "int" else y for y in moved if y != x]


def _add(
    archive: Archive, evaluator: Any, designs: Sequence[Mapping[str, Value]], seen: set[bytes], most: int
) -> None:
    """Evaluate at most ``most`` designs that are new."""
    if not designs:
        return
    columns = encode(archive.space, designs)
    fresh: list[int] = []
    for i, key in enumerate(columns.row_keys()):
        if key not in seen and len(fresh) < most:
            seen.add(key)
            fresh.append(i)
    if fresh:
        new = columns.take(np.array(fresh))
        archive.add(new, evaluator.evaluate(new))
