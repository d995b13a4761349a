"""An unbounded archive of non-dominated points, kept up to date point by point in compiled code."""

from __future__ import annotations

import numpy as np

from dse.core.compilation import compilable, kernel
from dse.core.units import FloatArray, IntArray


@compilable
def without_dominated(
    points: FloatArray, owners: IntArray, tags: IntArray, new: FloatArray, j: int, first: int, count: int
) -> int:
    """Close the gaps that row j of ``new`` leaves by dominating rows from ``first`` on; return what stays."""
    d = new.shape[1]
    kept = first
    for i in range(first, count):
        dominated = True
        for x in range(d):
            if new[j, x] > points[i, x]:
                dominated = False
                break
        if not dominated:
            for x in range(d):
                points[kept, x] = points[i, x]
            owners[kept], tags[kept] = owners[i], tags[i]
            kept += 1
    return kept


def insert_points(
    points: FloatArray,
    owners: IntArray,
    tags: IntArray,
    new: FloatArray,
    new_owners: IntArray,
    new_tags: IntArray,
    refused_by: IntArray,
    count: int,
    slack: float,
) -> int:
    """Insert rows of ``new`` into the first ``count`` rows of an archive; return how many it then has.

    A new point is refused where an archived one is no worse than 1 + ``slack`` times it in every objective
    (equal points: the first stays), whose owner goes to ``refused_by``, else -1; archived points that it
    dominates leave. What refuses moves forward, so that the next point meets it early: most are refused by
    few.
    """
    d = points.shape[1]
    reach = np.empty(d)
    for j in range(len(new)):
        for x in range(d):
            reach[x] = new[j, x] + slack * abs(new[j, x])
        i, refused = 0, False
        while i < count:
            no_worse, no_better = True, True
            for x in range(d):
                no_worse &= points[i, x] <= reach[x]
                no_better &= points[i, x] >= new[j, x]
            if no_worse:
                refused = True
                break
            if no_better:
                break
            i += 1
        refused_by[j] = -1
        if refused:
            refused_by[j] = owners[i]
            k = i // 2
            for x in range(d):
                points[i, x], points[k, x] = points[k, x], points[i, x]
            owners[i], owners[k] = owners[k], owners[i]
            tags[i], tags[k] = tags[k], tags[i]
            continue
        kept = without_dominated(points, owners, tags, new, j=j, first=i, count=count)
        for x in range(d):
            points[kept, x] = new[j, x]
        owners[kept], tags[kept] = new_owners[j], new_tags[j]
        count = kept + 1
    return count


class ParetoArchive:
    """Non-dominated minimised points of any number, each with the design it is of and its operating point.

    ``slack`` above 0 keeps it small: a point that betters an archived one by less (relative) is refused.
    """

    def __init__(self, dimensions: int, slack: float = 0.0) -> None:
        self.slack, self.count = slack, 0
        self._points = np.empty((256, dimensions))
        self._owners, self._tags = np.empty(256, dtype=np.int64), np.empty(256, dtype=np.int64)

    def __len__(self) -> int:
        return self.count

    @property
    def points(self) -> FloatArray:
        """(m, objectives), in no order."""
        return self._points[: self.count]

    @property
    def owners(self) -> IntArray:
        """Design of each point."""
        return self._owners[: self.count]

    @property
    def tags(self) -> IntArray:
        """Operating point of each point."""
        return self._tags[: self.count]

    def insert(self, new: FloatArray, owners: IntArray, tags: IntArray) -> IntArray:
        """Insert points (k, objectives); return the owner of the point that refused each, -1 where it was
        taken.
        """
        need = self.count + len(new)
        if need > len(self._points):
            room = max(2 * len(self._points), need)
            self._points = np.concatenate([self._points, np.empty((room - len(self._points), new.shape[1]))])
            spare = np.empty(room - len(self._owners), dtype=np.int64)
            self._owners = np.concatenate([self._owners, spare])
            self._tags = np.concatenate([self._tags, spare])
        refused_by = np.full(len(new), -1, dtype=np.int64)
        if len(new):
            rows = (self._points, self._owners, self._tags, new, owners, tags)
            self.count = kernel(insert_points)(*rows, refused_by, self.count, self.slack)
        return refused_by


def least_factors(points: FloatArray, targets: FloatArray, out: FloatArray) -> None:
    """For each target the least factor within which a point reaches it in every objective."""
    d = points.shape[1]
    for j in range(len(targets)):
        best = np.inf
        for i in range(len(points)):
            worst = 0.0
            for x in range(d):
                ratio = points[i, x] / targets[j, x]
                worst = max(worst, ratio)
                if worst >= best:
                    break
            best = min(best, worst)
        out[j] = best


def worst_factors(points: FloatArray, targets: FloatArray) -> FloatArray:
    """How much worse the best of ``points`` is than each target in its worst objective, (m,).

    Multiplicative epsilon of positive minimised objectives (Zitzler et al. 2003), target by target; infinite
    where there are no points.
    """
    out = np.full(len(targets), np.inf)
    if len(points) and len(targets):
        kernel(least_factors)(np.ascontiguousarray(points), np.ascontiguousarray(targets), out)
    return out
