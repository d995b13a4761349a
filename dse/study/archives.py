"""What an independent search remembers: codes of every design, a front for the whole space and each niche."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dse.core.pareto import ParetoArchive
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.run.batch import Batch
from dse.space.genome import Codes, Genome
from dse.study.niches import Niche

LEAST_VIOLATING: Final = 50
"""designs that a niche without a feasible one breeds from"""

SLACK: Final = 0.001
"""a point that betters a front by less in every objective (relative) is not kept: on a phone nineteen of
twenty points are such, and all of them together hold 0.02 % of the hypervolume
"""

ENOUGH: Final = 30
"""points of a front within limits on objectives from which only they are bred on"""

INFEASIBLE_SLACK: Final = 0.02
"""the same of the front of designs that break limits"""

Keys = NDArray[np.uint64]


class Grown:
    """Rows appended to one array that doubles when it is full."""

    def __init__(self, width: tuple[int, ...], kind: Any) -> None:
        self.count = 0
        self._rows: NDArray[Any] = np.empty((1024, *width), dtype=kind)

    @property
    def rows(self) -> NDArray[Any]:
        """What was appended."""
        return self._rows[: self.count]

    def append(self, new: NDArray[Any]) -> int:
        """Append rows; return the index of the first."""
        first, self.count = self.count, self.count + len(new)
        if self.count > len(self._rows):
            grown = np.empty(
                (max(2 * len(self._rows), self.count), *self._rows.shape[1:]), dtype=self._rows.dtype
            )
            grown[:first] = self._rows[:first]
            self._rows = grown
        self._rows[first : self.count] = new
        return first


class Archives:
    """Codes and violation of every design judged, keys of what is known, a front for every niche."""

    def __init__(
        self,
        genome: Genome,
        niches: Sequence[Niche],
        objectives: int,
        bounds: Sequence[float] = (),
        slack: float = SLACK,
    ) -> None:
        self.genome, self.niches, self.objectives = genome, tuple(niches), objectives
        self.bounds: FloatArray = np.array(bounds or [np.inf] * objectives)
        """limit on each objective"""
        self._codes = Grown((len(genome.genes),), np.int16)
        self._combinations = Grown((), np.uint64)
        self._inside = Grown((-(-len(niches) // 8),), np.uint8)
        self._violation, self._open_violation = Grown((), np.float32), Grown((), np.float32)
        self.fronts = self._fronts(slack)
        self.open = self._fronts(slack) if np.isfinite(self.bounds).any() else self.fronts
        """the same without the limits on objectives: what is bred on while few designs hold those"""
        self.least: list[IntArray] = [np.empty(0, dtype=np.int64) for _ in niches]
        """designs nearest to feasible in each niche that has no feasible one"""
        self.infeasible = ParetoArchive(objectives + 1, INFEASIBLE_SLACK)
        """designs that break limits, by violation and objectives, as long as none is feasible"""
        self.seen: Keys = np.empty(0, dtype=np.uint64)

    def _fronts(self, slack: float) -> list[ParetoArchive]:
        return [ParetoArchive(self.objectives, slack) for _ in self.niches]

    def __len__(self) -> int:
        return self._codes.count

    @property
    def codes(self) -> Codes:
        """(n, variables) of every design, in order of judging."""
        return self._codes.rows

    @property
    def combinations(self) -> Keys:
        """(n,) key of what each design chooses of all that has no order."""
        return self._combinations.rows

    @property
    def violation(self) -> NDArray[np.float32]:
        """(n,) 0 where a design is feasible."""
        return self._violation.rows

    @property
    def whole(self) -> ParetoArchive:
        """The front of everything learnt."""
        return self.fronts[0]

    def learn(self, batch: Batch) -> None:
        """Take in a batch."""
        present = self.genome.repair(batch.codes)
        self.seen = merged(self.seen, self.genome.keys(batch.codes, present))
        first = self._codes.append(batch.codes)
        self._combinations.append(self.genome.combinations(batch.codes, present))
        self._violation.append(batch.violation)
        open_violation = batch.open_violation if len(batch.open_violation) else batch.violation
        self._open_violation.append(open_violation)
        broken = open_violation > 0
        if not len(self.open[0]) and len(batch.nearest):
            served = np.nonzero(broken & ~np.isnan(batch.nearest).any(axis=1))[0]
            points = np.column_stack([1.0 + open_violation[served], batch.nearest[served]]).astype(np.float64)
            self.infeasible.insert(points, served + first, np.zeros(len(served), dtype=np.int64))
        inside = np.stack([niche.holds(batch.codes, present) for niche in self.niches], axis=1)
        self._inside.append(np.packbits(inside, axis=1))
        self._insert(self.open, batch, inside, first)
        if self.open is not self.fronts:
            fits: BoolArray = np.all(batch.points / self.bounds <= 1.0, axis=1)
            self._insert(self.fronts, batch, inside, first, fits)
        for i, front in enumerate(self.open):
            here = inside[:, i] & broken
            if not len(front) and here.any():
                some = np.concatenate([self.least[i], np.nonzero(here)[0] + first])
                order = np.argsort(self._open_violation.rows[some], kind="stable")
                self.least[i] = some[order[:LEAST_VIOLATING]]

    def _insert(
        self,
        fronts: Sequence[ParetoArchive],
        batch: Batch,
        inside: BoolArray,
        first: int,
        fits: BoolArray | None = None,
    ) -> None:
        """Insert points of a batch into the fronts of the niches that they lie in.

        What refuses a point on the whole front refuses it in every niche that both lie in: it is not tried
        there.
        """
        rows = batch.rows if fits is None else batch.rows[fits]
        points = batch.points if fits is None else batch.points[fits]
        tags = batch.tags if fits is None else batch.tags[fits]
        if not len(rows):
            return
        refused_by = fronts[0].insert(points, rows + first, tags)
        count = len(self.niches)
        tried = inside[rows]
        known_by = np.nonzero(refused_by >= 0)[0]
        tried[known_by] &= ~np.unpackbits(
            self._inside.rows[refused_by[known_by]], axis=1, count=count
        ).astype(bool)
        for i in range(1, count):
            some = np.nonzero(tried[:, i])[0]
            if len(some):
                fronts[i].insert(points[some], rows[some] + first, tags[some])


class Common:
    """Several searches seen together: the fronts of every niche, and the designs that stand on them."""

    def __init__(self, sides: Sequence[Archives]) -> None:
        self.sides = list(sides)
        self._starts = np.cumsum([0, *(len(side) for side in sides)])

    def front(self, niche: int, *, bounded: bool = True) -> ParetoArchive:
        """The common front of a niche; owners count on from one search to the next.

        Without ``bounded`` the limits on objectives are left out.
        """
        out = ParetoArchive(self.sides[0].objectives)
        for side, start in zip(self.sides, self._starts[:-1], strict=True):
            mine = (side.fronts if bounded else side.open)[niche]
            out.insert(mine.points.copy(), mine.owners + start, mine.tags.copy())
        return out

    @property
    def least(self) -> IntArray:
        """Designs nearest to feasible, by owner."""
        return np.concatenate([s.least[0] + x for s, x in zip(self.sides, self._starts[:-1], strict=True)])

    def codes(self, owners: IntArray) -> Codes:
        """Codes of designs by owner."""
        out = np.empty((len(owners), len(self.sides[0].genome.genes)), dtype=np.int16)
        for side, start in zip(self.sides, self._starts[:-1], strict=True):
            mine = (owners >= start) & (owners < start + len(side))
            out[mine] = side.codes[owners[mine] - start]
        return out


def first_of_each(keys: Keys) -> BoolArray:
    """Mark the first row of every key."""
    out = np.zeros(len(keys), dtype=bool)
    out[np.unique(keys, return_index=True)[1]] = True
    return out


def merged(sorted_keys: Keys, new: Keys) -> Keys:
    """Sorted union of sorted keys and new ones."""
    new = np.unique(new)
    new = new[~known(sorted_keys, new)]
    return np.insert(sorted_keys, np.searchsorted(sorted_keys, new), new)


def known(sorted_keys: Keys, keys: Keys) -> BoolArray:
    """Which keys are among sorted ones."""
    if not len(sorted_keys):
        return np.zeros(len(keys), dtype=bool)
    at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    out: BoolArray = sorted_keys[at] == keys
    return out
