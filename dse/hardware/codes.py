"""Design variables as columns in the order of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dse.core.units import FloatArray, IntArray
from dse.space.design import Design, codes
from dse.space.space import Space


def _recode(space: Space, design: Design, variable: str, order: Sequence[str], *, lower: bool = False) -> IntArray:
    """Codes of a categorical variable in the order of the catalogue; absent or unnamed -> -1."""
    if variable not in design.columns:
        return np.full(len(design), -1, dtype=np.int64)
    position = {name: i for i, name in enumerate(order)}
    choices = [str(c).lower() if lower else str(c) for c in space.variable(variable).choices]
    table = np.array([*(position.get(c, -1) for c in choices), -1], dtype=np.int64)
    return table[codes(design, variable)]


def numbers(space: Space, design: Design, variable: str, absent: float = 0.0) -> FloatArray:
    """Numbers of a variable, whether it is a column of numbers or of codes; ``absent`` elsewhere."""
    column = design.columns.get(variable)
    if column is None:
        return np.full(len(design), absent)
    v = space.variable(variable)
    if not v.discrete:
        return np.where(np.isnan(column), absent, column)
    table = np.array([*(float(c) for c in v.choices), absent])
    out: FloatArray = table[column]
    return out
