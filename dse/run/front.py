"""Pareto fronts of minimised objectives: non-dominated rows, hypervolume, knee, epsilon-dominance.

Hypervolume is measured on log10 objectives scaled from the ideal to the nadir point of a
reference front, against the reference point 1.1 in every axis (moocore underneath).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import moocore
import numpy as np

from dse.core.text import inert, number
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.evaluator.protocol import Outcomes
from dse.space.design import Design, decode
from dse.space.objectives import OBJECTIVES
from dse.space.space import Space

REFERENCE = 1.1

TAIL: Final = 0.05
"""share of a front at either end of an objective that has no say in its scale"""

LAST: Final = 0.01
MULTIPLE: Final = 2.0
"""a point that wins no more than ``LAST`` anywhere and costs ``MULTIPLE`` somewhere is no choice"""

ROWS: Final = 256
"""points compared with all others at a time"""


def non_dominated(points: FloatArray) -> BoolArray:
    """Which rows of (n, d) minimised points no other row dominates; of equal rows the first."""
    if len(points) == 0:
        return np.zeros(0, dtype=bool)
    out: BoolArray = moocore.is_nondominated(points, maximise=False, keep_weakly=False)
    return out


@dataclass(frozen=True)
class Scale:
    """Ideal and nadir point of a reference front, in log10."""

    ideal: FloatArray
    nadir: FloatArray

    @classmethod
    def of(cls, front: FloatArray) -> Scale:
        """Scale of a front of positive objectives, shape (n, d)."""
        logs = np.log10(front)
        return cls(logs.min(axis=0), logs.max(axis=0))

    @classmethod
    def robust(cls, front: FloatArray, box: FloatArray | None = None) -> Scale:
        """Scale that no one point of a front (n, d) makes.

        From the best twentieth in each objective to the worst, or to the worst values that a question takes.
        """
        logs = np.log10(front)
        low, high = np.quantile(logs, (TAIL, 1.0 - TAIL), axis=0)
        return cls(low, high if box is None else np.maximum(np.log10(box), low))

    def unit(self, points: FloatArray) -> FloatArray:
        """Points in log10, 0 at the ideal and 1 at the nadir."""
        span = np.where(self.nadir > self.ideal, self.nadir - self.ideal, 1.0)
        return (np.log10(points) - self.ideal) / span


def hypervolume(points: FloatArray, scale: Scale) -> float:
    """Hypervolume that ``points`` dominate below the reference point, in units of the scale."""
    if len(points) == 0:
        return 0.0
    inside = scale.unit(points)
    inside = inside[(inside < REFERENCE).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    return float(moocore.hypervolume(np.maximum(inside, -1.0), ref=np.full(points.shape[1], REFERENCE)))


def knee(points: FloatArray, scale: Scale | None = None) -> int:
    """Index of the knee: the point nearest the ideal on log10 axes; a ``Scale.robust`` of them without one.

    What is better than the ideal of the scale in an objective is as good as there.
    """
    beyond = np.maximum((scale or Scale.robust(points)).unit(points), 0.0)
    return int(np.argmin(np.linalg.norm(beyond, axis=1)))


def proper(points: FloatArray) -> BoolArray:
    """Which rows of (n, d) minimised points are choices: not those whose last percent costs a multiple.

    A row is none where another is at most ``LAST`` worse in every objective and ``MULTIPLE`` times better in
    one: a trade-off without bound. Source: after Geoffrion, Proper efficiency and the theory of vector
    maximization, 1968, with a bound on the rate.
    """
    keep = np.ones(len(points), dtype=bool)
    for start in range(0, len(points), ROWS):
        mine = points[start : start + ROWS, None, :]
        near = (points <= mine * (1.0 + LAST)).all(axis=2)
        cheaper = (points * MULTIPLE <= mine).max(axis=2)
        keep[start : start + ROWS] = ~(near & cheaper).any(axis=1)
    return keep


def epsilon_survivors(points: FloatArray, epsilon: float) -> BoolArray:
    """Rows that remain when a point within ``epsilon`` (relative) of a kept one is dropped.

    Additive epsilon-dominance in the logarithm: rows are visited by the sum of their scaled
    objectives, and a row stays unless a kept row is no worse than (1 + epsilon) times it in
    every objective.
    """
    keep = np.zeros(len(points), dtype=bool)
    if len(points) == 0:
        return keep
    order = np.argsort(Scale.of(points).unit(points).sum(axis=1), kind="stable")
    kept = np.empty((0, points.shape[1]))
    for i in order:
        if not ((kept <= points[i] * (1.0 + epsilon)).all(axis=1)).any():
            keep[i] = True
            kept = np.vstack([kept, points[i]])
    return keep


def extremes(points: FloatArray) -> IntArray:
    """Index of the best point in each objective, ties by the sum of the others."""
    unit = Scale.of(points).unit(points)
    total = unit.sum(axis=1)
    return np.array([np.lexsort((total, points[:, k]))[0] for k in range(points.shape[1])], dtype=np.int64)


def envelope(points: FloatArray) -> FloatArray:
    """The lower-left staircase of points (n, 2): non-dominated ones, in order of the first column."""
    order = points[np.lexsort((points[:, 1], points[:, 0]))]
    best = np.minimum.accumulate(order[:, 1])
    kept = np.r_[True, order[1:, 1] < best[:-1]] if len(order) else np.zeros(0, dtype=bool)
    out: FloatArray = order[kept]
    return out


@dataclass
class Front:
    """Non-dominated operating points: rows into an archive, with their objectives."""

    rows: IntArray
    operating_points: IntArray
    """operating point of each row, as in ``Space.points``"""
    points: FloatArray
    """(m, objectives), minimised"""

    def __len__(self) -> int:
        return len(self.rows)


def front_of(space: Space, outcomes: Outcomes) -> Front:
    """Feasible, non-dominated operating points, sorted by the objectives in order."""
    rows, rungs = np.nonzero(outcomes.feasible)
    return front_at(space, outcomes, rows, rungs)


def front_at(space: Space, outcomes: Outcomes, rows: IntArray, points: IntArray) -> Front:
    """The front of some operating points: what is feasible and non-dominated of them, sorted."""
    fits = outcomes.feasible[rows, points]
    rows, rungs = rows[fits], points[fits]
    found = (
        np.stack([outcomes.objectives[o][rows, rungs] for o in space.objectives], axis=1)
        if len(rows)
        else np.empty((0, len(space.objectives)))
    )
    keep = np.nonzero(non_dominated(found))[0]
    same = np.column_stack([rows[keep], found[keep]])  # one machine, one plan on several rungs: one point
    keep = keep[np.unique(same, axis=0, return_index=True)[1]] if len(keep) else keep
    rows, rungs, found = rows[keep], rungs[keep], found[keep]
    order = np.lexsort(tuple(found[:, k] for k in reversed(range(found.shape[1]))))
    return Front(rows[order].astype(np.int64), rungs[order].astype(np.int64), found[order])


def front_rows(space: Space, design: Design, outcomes: Outcomes, front: Front) -> Iterator[list[str]]:
    """Header and rows of front.csv: objectives with units, variables, details."""
    labels = [f"{o} [{OBJECTIVES[o].unit}]" for o in space.objectives]
    names = [v.name + (f" [{v.unit}]" if v.unit != "1" else "") for v in space.variables]
    details = sorted(outcomes.detail)
    yield ["point", "hardware", *labels, "tpot_target [s]", *names, *details]
    hardware: dict[bytes, int] = {}
    keys = design.take(front.rows).row_keys()
    for i, (row, rung) in enumerate(zip(front.rows, front.operating_points, strict=True)):
        at = hardware.setdefault(keys[i], len(hardware))
        values = decode(space, design, int(row))
        shown = [
            inert(v) if isinstance(v, str) else number(v)
            for v in (values.get(x.name, "") for x in space.variables)
        ]
        yield [
            str(i),
            str(at),
            *(number(p) for p in front.points[i]),
            number(space.tpot_target_at(int(rung))),
            *shown,
            *(number(outcomes.detail[d][row, rung]) for d in details),
        ]
