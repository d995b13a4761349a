"""What carries a package and keeps it running: interposer, regulators, standby for failures."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np

from dse.core.units import FloatArray
from dse.hardware.availability import too_late
from dse.hardware.datacenter import ATTACH
from dse.hardware.logic import voltage
from dse.hardware.part_values import PartValues
from dse.physics import cost, package

INTERPOSERS: Final = ("cowos_s", "cowos_l")
"""from the cheaper to the larger"""


DELIVERY: Final = ("lateral", "vertical")


def largest_interposer(values: PartValues, kind: str, year: float) -> float:
    """Largest interposer [m2] of a kind that a year makes."""
    return values.in_year("package", kind, "max_interposer_", year)


def packaging(values: PartValues, limits: dict[str, FloatArray], year: float) -> dict[str, FloatArray]:
    """Packaging cost, assembly yield and carbon, on the cheapest technology that carries it; the interposer limit.

    An interposer of another size than its price speaks of yields by its own area; every chip that is
    placed may fail to join.
    """
    parts, catalog = values.parts, values.catalog
    on = values.on_interposer > 0
    near = np.where(parts.flash_attach == ATTACH.index("far"), 0.0, parts.flash_stacks)
    carried = (
        parts.logic_area
        + parts.stacks * values.stacked * values.memory("footprint_area")
        + near * values.flash("footprint_area")
    )
    chips = parts.dies + parts.stacks * values.stacked + near

    def built(kind: str) -> dict[str, FloatArray]:
        """Area, price, yield and carbon were all packages of this kind."""
        v = partial(catalog.value, "package", kind)
        area = package.interposer_area(carried, np.full(len(carried), v("area_scale")))
        good = cost.die_yield(area, np.full(len(carried), v("defect_density")), values.rule("cluster_alpha"))
        usual = cost.die_yield(
            np.array([v("reference_area")]), np.array([v("defect_density")]), values.rule("cluster_alpha")
        )
        return {
            "area": area,
            "price": area * v("cost_per_area") * usual / good
            + package.substrate_area(carried) * v("substrate_cost_per_area")
            + v("test_assembly_cost"),
            "yield": np.power(v("assembly_yield"), chips / v("assembly_chips")),
            "carbon": np.full(len(carried), v("carbon")),
        }

    options = [built(kind) for kind in INTERPOSERS]
    most = [largest_interposer(values, kind, year) for kind in INTERPOSERS]
    small = options[0]["area"] <= most[0]
    organic = built("organic")
    out = {k: np.where(on, np.where(small, options[0][k], options[1][k]), organic[k]) for k in organic}
    limits["interposer"] = np.where(on, out.pop("area") / np.where(small, most[0], most[1]), 0.0)
    return out | {"class": np.where(on, np.where(small, 1.0, 2.0), 0.0)}


def delivery(
    values: PartValues, heat: dict[str, Any], year: float, limits: dict[str, FloatArray]
) -> dict[str, FloatArray]:
    """Regulators of a package: beside it, or below it where the logic draws more current; the limit on that current.

    Current of the compute dies at full rate over their area. A machine that exists keeps what it has.
    """
    parts, catalog = values.parts, values.catalog
    ours = parts.clock > 0
    ratio = np.where(ours, parts.clock / np.maximum(values.logic("clock_nominal"), 1.0), 1.0)
    density = np.where(ours, heat["logic_power"] / voltage(catalog, ratio) / np.maximum(parts.logic_area, 1e-9), 0.0)
    value = {name: partial(catalog.value, "power_delivery", name) for name in DELIVERY}
    below = density > value["lateral"]("max_current_density")
    limits["current"] = density / value["vertical"]("max_current_density")
    late = catalog.entry("power_delivery", "vertical").available.nominal
    limits["available"] = np.maximum(limits["available"], too_late(np.where(below, late, 0.0), year))
    return {f: np.where(below, value["vertical"](f), value["lateral"](f)) for f in ("efficiency", "cost_per_watt")} | {
        "class": below.astype(np.float64)
    }
