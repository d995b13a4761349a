"""When a design can be had."""

from __future__ import annotations

import numpy as np

from dse.core.units import FloatArray


def too_late(year: FloatArray, scenario_year: float) -> FloatArray:
    """Above 1 for what comes after the scenario's year, e-fold by year."""
    out: FloatArray = np.exp(np.clip(year - scenario_year, -3.0, 10.0))
    return out
