"""How far two independent searches of one space agree: the error bar of a front, and when to stop.

Both fronts are compared with what they found together. A prototype's 71 pairs that agreed within 1 % were
never off by over 2 %, whereas the gain in hypervolume alone was wrong in up to a quarter of the cases. A
dense region hides a thin end, so points count by boxes and the hypervolume has to agree too. What one half
has just found and the other has not is few boxes at first: 99 % of them have to agree within 3 %. What both
halves miss at first they may both find later, so their common front may have moved by little over the last
doubling of designs, and few designs are not believed at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import moocore
import numpy as np

from dse.core.pareto import worst_factors
from dse.core.units import FloatArray, IntArray
from dse.run.front import Front, non_dominated

BOX: Final = 0.01
"""relative size of the boxes of objectives by which fronts are compared"""

WITHIN: Final = 0.01
"""largest disagreement of 95 % of the boxes at which a search has converged"""

SHARE: Final = 0.995
"""least share of the common hypervolume that each half has then"""

COVERED: Final = 0.95

NEARLY: Final = (0.99, 0.03)
"""share of the boxes that have to agree within so much besides: a pocket that one half misses is few boxes"""

DRIFT: Final = 0.01
"""largest move of the common front over the last doubling of designs at which a search has converged"""

STILL_TO_COME: Final = 2.0
"""times that move which more designs would still bring: 0.8 to 2.3, measured on datacenter searches against
ten times as many designs
"""

BELIEVED: Final = 300_000
"""designs of two halves from which their agreement is believed: of phone searches with half as many, one in
eleven agreed within 1 % where both halves lacked the same part of the front
"""

MOVING: Final = (0.005, 500_000)
"""a front that moved by more than the first over the last doubling is believed from the second on: of eleven
datacenter searches the three that ended at 370,000 designs had moved by 0.9 to 1.0 %, and 4 to 6 % of their
points were over 1 % worse in every objective than those of ten times the designs; by this rule it is 2 %
"""

RULE: Final = (
    f"from {BELIEVED:,} designs on, {MOVING[1]:,} where the front moves by over {100 * MOVING[0]:g} % a "
    f"doubling, when {100 * COVERED:g} % of the {100 * BOX:g} % boxes of the common front "
    f"are reached within {100 * WITHIN:g} % by each half and {100 * NEARLY[0]:g} % within "
    f"{100 * NEARLY[1]:g} %, each has at least {100 * SHARE:g} % of the common hypervolume, and their common "
    f"front moved by at most {100 * DRIFT:g} % over the last doubling"
)
"""when a search has converged, in words"""

BEYOND: Final = 0.1
"""of the front's range, in logarithms: how far beyond its worst values the hypervolume is measured"""


def box_rows(points: FloatArray) -> IntArray:
    """Rows of one point of every box that a front touches: the one with the least sum of logarithms."""
    if len(points) == 0:
        return np.empty(0, dtype=np.int64)
    logs = np.log(points)
    order = np.lexsort((*logs.T, logs.sum(axis=1)))
    cells = np.floor(logs[order] / np.log1p(BOX)).astype(np.int64)
    rows: IntArray = order[np.sort(np.unique(cells, axis=0, return_index=True)[1])]
    return rows


def boxes(points: FloatArray) -> FloatArray:
    """Those points, (m, objectives)."""
    return points[box_rows(points)]


@dataclass(frozen=True)
class Agreement:
    """What two halves of a search say of each other after ``designs`` designs."""

    designs: int
    within: float
    """factor less 1 within which the worse half reaches 95 % of the boxes of the common front"""
    largest: float
    """the same for every box"""
    nearly: float
    """the same for 99 % of the boxes"""
    hypervolume: float
    """least share of the common hypervolume that a half has"""
    drift: float = np.inf
    """factor less 1 within which the common front of half as many designs reaches 95 % of the boxes of this
    one; infinite where none was kept
    """
    exhausted: bool = False
    """whether the halves have judged every design of the space"""

    @property
    def converged(self) -> bool:
        """Whether the search is done: enough designs, halves agree, and did not both move over the last
        doubling.
        """
        agree = self.within <= WITHIN and self.hypervolume >= SHARE and self.nearly <= NEARLY[1]
        return self.exhausted or (agree and self.drift <= DRIFT and self.enough)

    @property
    def enough(self) -> bool:
        """Whether so many designs are judged that an agreement is believed."""
        return self.designs >= (MOVING[1] if self.drift > MOVING[0] else BELIEVED)

    @property
    def error(self) -> float:
        """The error bar: what the halves disagree by, and where known what more designs would still bring."""
        moved = STILL_TO_COME * self.drift if np.isfinite(self.drift) else 0.0
        worst = max(self.within, 1.0 - self.hypervolume, moved)
        return max(worst, self.nearly) if self.nearly > NEARLY[1] else worst

    @property
    def so_far(self) -> str:
        """The same of a search that goes on, in few words."""
        return f"error bar {100 * self.error:.2g} %" if np.isfinite(self.within) else "not compared yet"

    @property
    def sentence(self) -> str:
        """The error bar in words."""
        if self.exhausted:
            return "exact: every design of the space judged"
        if not np.isfinite(self.within):
            return "not converged: no two independent fronts to compare"
        error = f"{100 * self.error:.2g} %"
        if self.converged:
            return f"converged within {error}"
        if self.designs >= BELIEVED and not np.isfinite(self.drift):
            return f"not converged: {error}, how far both halves still move is not known"
        if not self.enough:
            return f"not converged: {error}, from too few designs to be believed"
        return f"not converged: {error}"

    def as_data(self) -> dict[str, Any]:
        """As plain numbers; None where a half found nothing."""
        return {k: v if np.isfinite(v) else None for k, v in asdict(self).items()}


def agreement(halves: Sequence[FloatArray], designs: int) -> Agreement:
    """Compare the fronts (m, objectives) of independent searches; of one alone nothing is known."""
    if len(halves) < 2 or any(len(h) == 0 for h in halves):
        return Agreement(designs, np.inf, np.inf, np.inf, 0.0)
    both = np.concatenate(halves)
    both = both[non_dominated(both)]
    targets = boxes(both)
    reference = beyond(both)
    common = volume(both, reference)
    within = largest = nearly = 0.0
    least = 1.0
    for points in halves:
        off = worst_factors(points, targets) - 1.0
        within = max(within, float(np.quantile(off, COVERED)))
        nearly = max(nearly, float(np.quantile(off, NEARLY[0])))
        largest = max(largest, float(off.max()))
        least = min(least, volume(points, reference) / common if common > 0 else 1.0)
    return Agreement(designs, within, largest, nearly, least)


def drifted(before: FloatArray, now: FloatArray) -> float:
    """Factor less 1 within which an earlier front reaches 95 % of the boxes of a later one."""
    if len(before) == 0 or len(now) == 0:
        return float(np.inf)
    both = np.concatenate([before, now])
    return float(np.quantile(worst_factors(before, boxes(both[non_dominated(both)])) - 1.0, COVERED))


def beyond(points: FloatArray) -> FloatArray:
    """A reference point beyond a front's worst values by a tenth of its range in logarithms."""
    logs = np.log(points)
    high = logs.max(axis=0)
    out: FloatArray = np.exp(high + np.maximum(BEYOND * (high - logs.min(axis=0)), BOX))
    return out


def volume(points: FloatArray, reference: FloatArray) -> float:
    """Hypervolume of logarithms that points dominate below a reference point."""
    inside = points[(points < reference).all(axis=1)]
    return float(moocore.hypervolume(np.log(inside), ref=np.log(reference))) if len(inside) else 0.0


def hypervolume_ratio(exact: Front, front: Front) -> float:
    """Share of an exact front's hypervolume that another front dominates."""
    reference = beyond(exact.points)
    return volume(front.points, reference) / volume(exact.points, reference)
