"""A simulator of one's own in thirty lines: a roofline of memory and link that knows nothing of our model."""

from __future__ import annotations

import numpy as np

from dse import Outcomes, Space
from dse.core.units import FloatArray
from dse.space.design import Design, decode

BYTES_A_TOKEN, FLOP_A_TOKEN = 70e9, 140e9


class Roofline:
    """Time of a token by bandwidth and arithmetic; cost and energy by what is bought and moved."""

    name, version, seconds_hint = "roofline", "1.0", 1e-5

    def __init__(self, space: Space) -> None:
        self.space = space

    def evaluate(self, design: Design) -> Outcomes:
        """Judge n designs at every operating point."""
        rows = [decode(self.space, design, i) for i in range(len(design))]
        stacks = np.array([float(r.get("stacks", 1) or 1) for r in rows])
        area = np.array([float(r["compute_area"]) for r in rows])
        slowest = np.maximum(BYTES_A_TOKEN / (stacks * 2e12), FLOP_A_TOKEN / (area * 1e18))
        points = len(self.space.operating_points)
        targets = np.array([self.space.tpot_target_at(q) for q in range(points)])
        wide: FloatArray = np.ones((len(rows), points))
        price = 500.0 * stacks + 2e7 * area
        objectives = {
            "tpot": slowest[:, None] * wide,
            "cost_per_mtoken": (price * slowest)[:, None] * wide * 1e-2,
            "energy_per_token": (BYTES_A_TOKEN * 5e-11 + 300.0 * area * 1e3 * slowest)[:, None] * wide,
        }
        return Outcomes(objectives, {"tpot": slowest[:, None] / targets}, {})
