"""Logic dies: voltage and energy at a clock."""

from __future__ import annotations

from functools import partial

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import CLOCK_LEVELS
from dse.core.units import FloatArray
from dse.physics import power


def voltage(catalog: Catalog, ratio: FloatArray) -> FloatArray:
    """Supply voltage for a clock over the node's nominal clock."""
    r = partial(catalog.value, "logic_rules", "common")
    return power.voltage_for(ratio, r("v_min"), r("v_max"), r("v_nominal"), r("threshold_voltage"), r("alpha_power"))


def clock_ceiling(catalog: Catalog) -> float:
    """Highest clock over nominal: the alpha-power law at the highest voltage."""
    r = partial(catalog.value, "logic_rules", "common")
    top = power.frequency_ratio(np.array(r("v_max")), r("v_nominal"), r("threshold_voltage"), r("alpha_power"))
    return float(top)


def clock_levels(catalog: Catalog, ratio: FloatArray) -> FloatArray:
    """(n, levels) dynamic energy at each clock level over that at the design clock, on the node's V-f curve.

    ``ratio`` is the design clock over the node's nominal one.
    """
    r = partial(catalog.value, "logic_rules", "common")

    def scale(clock: FloatArray) -> FloatArray:
        return power.dynamic_scale(voltage(catalog, clock), r("v_nominal"), r("dynamic_voltage_exponent"))

    return np.stack([scale(ratio * level) / scale(ratio) for level in CLOCK_LEVELS], axis=1)


def flop_energies(catalog: Catalog, at_16bit: FloatArray) -> FloatArray:
    """J/FLOP at each precision, shape (n, bits)."""
    r = partial(catalog.value, "logic_rules", "common")
    out: FloatArray = at_16bit[:, None] * np.array([1.0, r("energy_8bit"), r("energy_4bit")])
    return out
