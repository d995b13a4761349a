"""Regulators of a package: beside it, or below it where the logic draws more current."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.core.units import FloatArray
from dse.hardware.availability import too_late
from dse.hardware.logic import voltage
from dse.hardware.part_values import PartValues
from dse.space.limits import Limit


@dataclass(frozen=True)
class PowerDelivery:
    """The regulators of each package."""

    kind: FloatArray
    """which, from that of least current"""
    efficiency: FloatArray
    cost_per_watt: FloatArray
    """USD/W"""
    limit_ratios: dict[Limit, FloatArray]


def power_delivery(values: PartValues, logic_power: FloatArray, year: float) -> PowerDelivery:
    """The least that carries the current of the compute dies at ``logic_power`` [W].

    The limit on that current.

    Current over the area of the dies. A machine that exists keeps what it has.
    """
    parts, catalog = values.parts, values.catalog
    ours = parts.logic.clock > 0
    ratio = np.where(ours, parts.logic.clock / np.maximum(values.logic("clock_nominal"), 1.0), 1.0)
    amperes = logic_power / voltage(catalog, ratio)
    density = np.where(ours, amperes / np.maximum(parts.logic.area, 1e-9), 0.0)
    kinds = sorted(
        catalog.names("power_delivery"),
        key=lambda n: catalog.value("power_delivery", n, "max_current_density"),
    )
    most = catalog.column("power_delivery", kinds, "max_current_density")
    pick = np.minimum(np.searchsorted(most, density), len(kinds) - 1)
    late = np.array([0.0, *(catalog.entry("power_delivery", n).available.nominal for n in kinds[1:])])[pick]
    return PowerDelivery(
        kind=pick.astype(np.float64),
        efficiency=catalog.column("power_delivery", kinds, "efficiency")[pick],
        cost_per_watt=catalog.column("power_delivery", kinds, "cost_per_watt")[pick],
        limit_ratios={Limit.CURRENT: density / most[-1], Limit.AVAILABLE: too_late(late, year)},
    )
