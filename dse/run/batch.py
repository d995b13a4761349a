"""What one batch of designs was found to be: the grain of a search, of its log and of a resume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dse.core.units import FloatArray, IntArray
from dse.space.genome import Codes


def _nothing() -> FloatArray:
    return np.empty((0, 0))


@dataclass
class Batch:
    """Designs judged together, in the order in which they were asked."""

    generation: int
    size: int
    """designs of the generation, of which this batch may be a part"""
    codes: Codes
    """(n, variables)"""
    violation: NDArray[np.float32]
    """(n,) sum of logs of broken limits at the best operating point, 0 where one is feasible"""
    points: FloatArray
    """(k, objectives) operating points that no other of the same design dominates, of those that hold every
    limit but those on objectives themselves
    """
    rows: IntArray
    """(k,) row of the batch that each point is of"""
    tags: IntArray
    """(k,) operating point"""
    nearest: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    """(n, objectives) of designs that break a limit, at their best operating point; NaN where not served"""
    open_violation: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    """(n,) violation without the limits on objectives, where there are any"""
    objectives: FloatArray = field(default_factory=_nothing)
    """(n, objectives) values at the operating point that an Optuna sampler asked for, else empty"""
    asked: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """(n,) that operating point"""
    excess: FloatArray = field(default_factory=lambda: np.empty(0))
    """(n,) sum of logs of broken limits there"""

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        """The parts of one generation as one batch."""
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(len(p) for p in parts[:-1])])
        return cls(
            generation=parts[0].generation,
            size=parts[0].size,
            codes=np.concatenate([p.codes for p in parts]),
            violation=np.concatenate([p.violation for p in parts]),
            points=np.concatenate([p.points for p in parts]),
            rows=np.concatenate([p.rows + s for p, s in zip(parts, starts, strict=True)]),
            tags=np.concatenate([p.tags for p in parts]),
            nearest=np.concatenate([p.nearest for p in parts]),
            open_violation=np.concatenate([p.open_violation for p in parts]),
            objectives=np.concatenate([p.objectives for p in parts]),
            asked=np.concatenate([p.asked for p in parts]),
            excess=np.concatenate([p.excess for p in parts]),
        )
