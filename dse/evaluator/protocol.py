"""The evaluator protocol: rows of design variables -> objectives and constraints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dse.core.units import FloatArray
from dse.space.design import Design


@dataclass
class Outcomes:
    """What an evaluator says of n designs on r rungs."""

    objectives: dict[str, FloatArray]
    """(n, r), all minimised"""
    ratios: dict[str, FloatArray]
    """(n, r) value over limit; a design is feasible on a rung where all are <= 1"""
    detail: dict[str, FloatArray]
    """(n, r) further figures and the chosen plans"""

    def take(self, rows: Any) -> Outcomes:
        """Rows of what was told."""

        def pick(columns: dict[str, FloatArray]) -> dict[str, FloatArray]:
            return {k: v[rows] for k, v in columns.items()}

        return Outcomes(pick(self.objectives), pick(self.ratios), pick(self.detail))

    @property
    def feasible(self) -> Any:
        """(n, r) whether every limit holds."""
        ok = np.ones(next(iter(self.objectives.values())).shape, dtype=bool)
        for r in self.ratios.values():
            ok &= r <= 1.0
        return ok


class Evaluator(Protocol):
    """Anything that judges designs: search, sweep and certification know only this."""

    name: str
    version: str
    seconds_hint: float

    def evaluate(self, design: Design) -> Outcomes:
        """Judge n designs on every rung of the space."""
        ...


def objective_ratio(objectives: Mapping[str, FloatArray], limits: Mapping[str, float]) -> FloatArray | None:
    """Worst objective over the limit set for it, or None where none is set (TTFT has its own)."""
    asked = [v / limits[k] for k, v in objectives.items() if k in limits and k != "ttft"]
    return np.maximum.reduce(asked) if asked else None


def join_outcomes(parts: Sequence[Outcomes]) -> Outcomes:
    """Join what was told of several batches."""

    def join(key: str) -> dict[str, FloatArray]:
        return {k: np.concatenate([getattr(p, key)[k] for p in parts]) for k in getattr(parts[0], key)}

    return Outcomes(join("objectives"), join("ratios"), join("detail"))
