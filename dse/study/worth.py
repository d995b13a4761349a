"""What levers and levels are worth, from the niches of one search: with intervals, on a scale fixed by the
question.

A lever's worth is what the front loses without it: the best designs of the niche in which it is locked off
against those of the whole space. Both are of the same searches, and every search says it on its own: the
spread of halves and seeds, and the drift over the last doubling of designs, stand beside each figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dse.core.pareto import ParetoArchive, worst_factors
from dse.core.units import FloatArray
from dse.evaluator.protocol import Evaluator
from dse.space.genome import Genome
from dse.space.limits import Limit
from dse.space.objectives import MONEY, Goal
from dse.space.space import Space
from dse.space.variables import Value
from dse.study.archives import Common
from dse.study.convergence import RULE, STILL_TO_COME, beyond, box_rows, boxes, volume
from dse.study.judging import Judge
from dse.study.niches import at, off
from dse.study.search import Search

DRAWN: Final = 4096
"""random designs whose median feasible point is the reference where a space states none"""

ENOUGH: Final = 50
"""feasible points of them that make a median"""

NEAR: Final = 0.9
"""value over limit from which a limit is said to hold a design"""

SLOWED: Final = 0.98
"""time of a burst over that sustained below which heat is said to hold a design"""


@dataclass(frozen=True)
class Reference:
    """The worst values that count, in every objective: the box in which fronts are compared."""

    point: FloatArray
    source: str
    wider: FloatArray
    """twice these where neither a limit nor the slowest target ends what counts"""

    @classmethod
    def of(cls, space: Space, point: FloatArray, source: str) -> Reference:
        """A box, and the wider one."""
        ended = {*space.thresholds, *((Goal.TPOT,) if space.tpot_targets else ())}
        return cls(point, source, np.where([o in ended for o in space.objectives], 1.0, WIDER) * point)


def reference_point(space: Space, evaluator: Evaluator, front: FloatArray) -> Reference:
    """The box of a question: as its space states, else limits and targets, else the median random machine.

    It hangs on no search. Only where next to nothing drawn at random is feasible it is that of ``front``.
    """
    said = dict(space.reference_point)
    for name, limit in space.thresholds.items():
        if name in space.objectives:
            said[name] = min(limit, said.get(name, np.inf))
    said.setdefault(Goal.TPOT, max(space.tpot_targets))
    missing = [o for o in space.objectives if o not in said]
    if not missing:
        source = "stated by the space" if space.reference_point else "its limits and its slowest target"
        return Reference.of(space, np.array([said[o] for o in space.objectives]), source)
    genome = Genome(space.variables)
    rng = np.random.default_rng(0)
    codes = genome.draw(rng.random((DRAWN, len(genome.genes))))
    genome.repair(codes, rng)
    points = Judge(evaluator, genome, space).batch(codes, 0, DRAWN).points
    source = f"median feasible point of {DRAWN:,} random designs"
    typical = np.median(points, axis=0) if len(points) >= ENOUGH else beyond(front)
    if len(points) < ENOUGH:
        source = (
            "a tenth beyond the worst of the front found, which moves with the seed; state [reference_point]"
        )
    for k, name in enumerate(space.objectives):
        said.setdefault(name, float(typical[k]))
    return Reference.of(space, np.array([said[o] for o in space.objectives]), source)


@dataclass(frozen=True)
class View:
    """Fronts of every niche as one search, or several together, see them."""

    label: str
    fronts: Sequence[FloatArray]


def study_of(job: Search) -> dict[str, Any]:
    """What a finished search says beside its front, as plain data."""
    space, common = job.space, job.common
    count = range(len(job.niches))
    fronts = [common.front(i) for i in count]
    whole = View("all", [f.points for f in fronts])
    reference = reference_point(space, job.evaluator, whole.fronts[0])
    if not (whole.fronts[0] <= reference.point).all(axis=1).any():
        source = f"a tenth beyond the worst of the front found: none of it lies in the box {reference.source}"
        reference = Reference.of(space, beyond(whole.fronts[0]), source)
    halves = [
        View(f"seed {s.seed}, half {k + 1}", [f.points for f in h.archives.fronts])
        for s in job.seeds
        for k, h in enumerate(s.halves)
        if len(s.halves) > 1
    ]
    seeds = [
        View(f"seed {s.seed}", [Common([h.archives for h in s.halves]).front(i).points for i in count])
        for s in job.seeds
        if len(job.seeds) > 1
    ]
    doubled = [
        (View("before", s.doubled[0].fronts), View("after", s.doubled[1].fronts))
        for s in job.seeds
        if s.doubled
    ]
    views = [v for v in (*halves, *seeds) if len(v.fronts[0])]  # a search that never began says nothing
    doubled = [(a, b) for a, b in doubled if len(a.fronts[0])]
    index = {n.name: i for i, n in enumerate(job.niches)}
    levers = {lever.name: index[off(lever.name)] for lever in space.levers if off(lever.name) in index}
    lost = missing_levels(job, fronts[0], index)
    ladders = _ladders(space, 0, whole, views, doubled)
    least = ladders["ladder_range"]
    found = {
        name: _told(space, reference, i, whole, views, doubled, least=least)
        | {"binds": held_by(job, fronts[i])}
        for name, i in [*levers.items(), *((n, index[n]) for n, _ in lost)]
    }
    return {
        "designs": job.evaluated,
        "seeds": sum(s.evaluated > 0 for s in job.seeds),
        "agreement": [[a.as_data() for a in s.agreements] for s in job.seeds],
        "rule": RULE,
        "reference_point": {
            "values": dict(zip(map(str, space.objectives), reference.point.tolist(), strict=True)),
            "source": reference.source,
            "wider": dict(zip(map(str, space.objectives), reference.wider.tolist(), strict=True)),
        },
        **ladders,
        "levers": {name: found[name] for name in levers},
        "lost": {name: found[name] | {"to": to} for name, to in lost},
    }


def _told(
    space: Space,
    reference: Reference,
    niche: int,
    whole: View,
    views: Sequence[View],
    doubled: Sequence[tuple[View, View]],
    *,
    least: Sequence[list[float] | None],
) -> dict[str, Any]:
    """Worth of one niche: by all together, with the range over searches, widened by what more designs would
    still move it, and the smallest and largest drift of a seed over its last doubling.

    No part of a space is better than the whole, nor cheaper than its ``least`` money at any target.
    """
    out = worth(space, reference, whole.fronts[niche], whole.fronts[0])
    each = [worth(space, reference, v.fronts[niche], v.fronts[0]) for v in views]
    moved = [[worth(space, reference, v.fronts[niche], v.fronts[0]) for v in pair] for pair in doubled]
    for name in MEASURES:
        drift = out[f"{name}_drift"] = span([difference(a[name], b[name]) for a, b in moved])
        found = widened([x[name] for x in (out, *each)], drift) if each else None
        out[f"{name}_range"] = found and np.clip(found, *POSSIBLE[name]).tolist()
    ladders = _ladders(space, niche, whole, views, doubled)
    for mine, floor in zip(ladders["ladder_range"], least, strict=True):
        if mine and floor:
            mine[:] = (max(x, floor[0]) for x in mine)
    return out | ladders


def _ladders(
    space: Space, niche: int, whole: View, views: Sequence[View], doubled: Sequence[tuple[View, View]]
) -> dict[str, Any]:
    """Least money of a niche at each TPOT target, with its interval."""
    own, *each = (_ladder(space, v.fronts[niche]) for v in (whole, *views))
    moved = [[_ladder(space, v.fronts[niche]) for v in pair] for pair in doubled]
    ranges = [
        widened([x[i] for x in (own, *each)], span([difference(a[i], b[i]) for a, b in moved]))
        for i in range(len(own))
    ]
    return {"ladder": own, "ladder_range": ranges if each else [None] * len(own)}


def widened(values: Sequence[float | None], drift: Sequence[float] | None) -> list[float] | None:
    """The range of a figure over searches, and of what its drift says more designs would make of it."""
    found = span(values)
    if found is None:
        return None
    low, high = found
    ends = [0.0, *(STILL_TO_COME * x for x in drift or ())]
    return [low + min(ends), high + max(ends)]


def difference(before: float | None, after: float | None) -> float | None:
    """How far a figure moved, where both are known."""
    return None if before is None or after is None else after - before


def span(values: Sequence[float | None]) -> list[float] | None:
    """The least and the largest of what is known; None of nothing."""
    known = [v for v in values if v is not None]
    return [min(known), max(known)] if known else None


POSSIBLE: Final = {
    "hypervolume": (0.0, 1.0),
    "wider": (0.0, 1.0),
    "mean": (1.0, np.inf),
    "typical": (1.0, np.inf),
}
"""values that a figure of a part of a space can have"""

MEASURES: Final = tuple(POSSIBLE)
"""figures of a lever that carry an interval"""

WIDER: Final = 2.0
"""times the worst values that only an estimate sets: a share of hypervolume is given in that box too"""


def worth(space: Space, reference: Reference, points: FloatArray, whole: FloatArray) -> dict[str, Any]:
    """What a restricted front ``points`` loses against ``whole``, both (m, objectives), inside the box.

    ``hypervolume`` kept (of logarithms, below the reference point), and ``wider`` in the wider box;
    ``mean``, ``typical`` (median) and largest ``factor`` by which it is worse in its worst objective over
    the boxes of the whole front, the ``best`` of each objective, and the ``ladder``: the least money at each
    TPOT target.
    """
    targets = boxes(whole[(whole <= reference.point).all(axis=1)])
    common = volume(whole, reference.point)
    inside = points[(points <= reference.point).all(axis=1)] if len(points) else points
    empty = {
        "feasible": bool(len(points)),
        "points": len(points),
        "mean": None,
        "typical": None,
        "factor": None,
    }
    out: dict[str, Any] = empty | {
        "hypervolume": 0.0,
        "wider": 0.0,
        "best": None,
        "ladder": _ladder(space, points),
    }
    if len(points):
        out["best"] = [float(x) for x in points.min(axis=0)]
        wide = volume(whole, reference.wider)
        out["wider"] = volume(points, reference.wider) / wide if wide > 0 else 0.0
    if len(inside) and len(targets) and common > 0:
        factors = worst_factors(points, targets)
        out["hypervolume"] = volume(points, reference.point) / common
        out["mean"], out["typical"] = float(factors.mean()), float(np.median(factors))
        out["factor"] = float(factors.max())
    return out


def _ladder(space: Space, points: FloatArray) -> list[float | None]:
    """Least money at each TPOT target; None where no point is so quick."""
    goals = list(space.objectives)
    money = next((goals.index(m) for m in MONEY if m in goals), None)
    if money is None or Goal.TPOT not in goals:
        return []
    quick = points[:, goals.index(Goal.TPOT)] if len(points) else np.empty(0)
    rungs = [points[quick <= t, money] for t in space.tpot_targets]
    return [float(r.min()) if len(r) else None for r in rungs]


def missing_levels(job: Search, front: ParetoArchive, index: Mapping[str, int]) -> list[tuple[str, str]]:
    """Levels to say the worth of, with what the front has most often in their place.

    Those of each lever that never stand on the front; where one user owns the machine, every level that is
    not a lever's off or a variable's first.
    """
    space, genome = job.space, job.genome
    codes = job.common.codes(front.owners)
    present = genome.repair(codes)
    every = space.target.lock_every_level
    usual = {name: choices for lever in space.levers for name, choices in lever.fixed.items()}
    out: list[tuple[str, str]] = []
    for name in space.target.locked_levels:
        if name not in genome.index:
            continue
        i = genome.index[name]
        choices = genome.genes[i].variable.choices
        here = np.where(present[:, i], codes[:, i], -1)
        skip: Sequence[Value] = usual.get(name, choices[:1]) if every else ()
        counts = np.bincount(here + 1, minlength=len(choices) + 1)
        top = int(np.argmax(counts))
        label = "-" if top == 0 else str(choices[top - 1])
        to = f"{label} ({100 * counts[top] / max(len(here), 1):.0f} % of the front)"
        out += [
            (at(name, c), to)
            for k, c in enumerate(choices)
            if at(name, c) in index and c not in skip and (every or counts[k + 1] == 0)
        ]
    return out


def held_by(job: Search, front: ParetoArchive) -> dict[str, float]:
    """Share of the best designs of a niche, one a box, that stand within 10 % of each limit, most first.

    Of our model alone: another evaluator, which may take hours a design, is not asked again.
    """
    if not len(front) or not job.ours:
        return {}
    chosen = box_rows(front.points)
    codes = job.common.codes(front.owners[chosen])
    outcomes = job.evaluator.evaluate(job.genome.design(codes, job.genome.repair(codes)))
    each, tags = np.arange(len(chosen)), front.tags[chosen]
    untold = job.space.target.untold | {Limit.TPOT}  # the target asked for says nothing of a design
    shares = {
        str(name): float(np.mean(r[each, tags] > NEAR))
        for name, r in outcomes.limit_ratios.items()
        if name not in untold
    }
    if "burst" in outcomes.detail:
        slowed = outcomes.detail["burst"][each, tags] < SLOWED * outcomes.objectives[Goal.TPOT][each, tags]
        shares["heat"] = float(np.mean(slowed))
    return dict(sorted(((n, v) for n, v in shares.items() if v > 0), key=lambda x: (-x[1], x[0])))
