"""How often a package stops its group, and what spares cost."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from dse.core.units import FloatArray
from dse.hardware.part_values import PartValues
from dse.physics import reliability

NO_SPARE: Final = 1e3
"""share of a domain that stands for a spare that cannot take the place of a broken package"""


def standby(values: PartValues, net: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """How often a package stops its group, and what spares in its domain would cost.

    A group stops where a package of it fails, where packages route also where a cable of it does; a plane
    that fails costs a switched network only its share. Behind switches a spare takes any place of the domain
    after the recovery time; where packages route, the place has its links, and the group waits for the repair.
    ``spare_share`` is the least of spares over packages plus the time with more broken than spare.
    """
    parts = values.parts
    v = partial(values.catalog.value, "reliability", "common")
    switched = net["chips"] > 0
    rate = v("package_failure_rate") + np.where(switched, 0.0, net["cable_failures"])
    tails = reliability.unserved(parts.domain * rate * v("repair_time"))[:, 1:]
    share = np.arange(1, tails.shape[1] + 1) / parts.domain[:, None] + tails
    best = np.argmin(share, axis=1)
    return {
        "failure_rate": rate,
        "spare_share": np.where(switched, share[np.arange(len(best)), best], NO_SPARE),
        "repair_time": np.full(len(rate), v("repair_time")),
        "recovery_time": np.full(len(rate), v("recovery_time")),
        "spares": np.where(switched, best + 1.0, 0.0),
        "failures": parts.domain * (rate + net["chips"] * v("switch_failure_rate")),
    }
