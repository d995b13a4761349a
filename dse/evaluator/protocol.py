"""The evaluator protocol: rows of design variables -> objectives and constraints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dse.core.table import Table
from dse.core.units import BoolArray, FloatArray
from dse.space.design import Design


@dataclass
class Outcomes(Table):
    """What an evaluator finds of n designs at r operating points.

    >>> import numpy as np
    >>> from dse import Outcomes
    >>> found = Outcomes({"tpot": np.ones((2, 1))}, {"capacity": np.array([[0.5], [1.5]])}, {})
    >>> found.feasible.ravel().tolist()
    [True, False]
    """

    objectives: dict[str, FloatArray]
    """(n, r), all minimised"""
    limit_ratios: dict[str, FloatArray]
    """(n, r) value over limit; a design is feasible at an operating point where all are <= 1"""
    detail: dict[str, FloatArray]
    """(n, r) further figures and the chosen plans"""

    @property
    def feasible(self) -> BoolArray:
        """(n, r) whether every limit holds."""
        ok = np.ones(next(iter(self.objectives.values())).shape, dtype=bool)
        for ratio in self.limit_ratios.values():
            ok &= ratio <= 1.0
        return ok


class Evaluator(Protocol):
    """Anything that judges designs: search, sweep and certification know only this.

    >>> import dse
    >>> isinstance(dse.search("mobile", trials=60, seed=1).evaluator.name, str)
    True
    """

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
