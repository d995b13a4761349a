"""What carries a package: interposer or substrate, die edge, bonds; the room in the body of a device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from dse.core.axes import Mount
from dse.core.units import FloatArray
from dse.hardware.logic import far_link_bandwidth
from dse.hardware.part_values import PartValues
from dse.physics import cost, package
from dse.space.limits import Limit
from dse.space.scenario import Scenario

PACKAGE_DIES = 4.0
"""dies of the package that a memory entry's capacity and height are of"""
LEAST_HEIGHT = 0.5
"""height of a package of fewer dies over that of the entry's: substrate and mould stay"""
BONDED_HEIGHT = 0.5
"""height that memory bonded to the SoC adds, over that of its package: no substrate of its own"""


@dataclass(frozen=True)
class Carrier:
    """What n packages are assembled on, were all of one kind or each on its own."""

    area: FloatArray
    price: FloatArray
    """USD"""
    good: FloatArray
    """yield of assembly"""
    carbon: FloatArray
    """kgCO2e"""


@dataclass(frozen=True)
class Packaging:
    """The carrier of each package and the limits that it meets."""

    carrier: Carrier
    kind: FloatArray
    """0 a substrate, else which interposer, from the smallest"""
    limit_ratios: dict[Limit, FloatArray]


def interposers(values: PartValues, year: float) -> list[str]:
    """Kinds of interposers, from the smallest that a year makes to the largest."""
    catalog = values.catalog
    found = catalog.with_role("package", "interposer")
    return sorted(found, key=lambda name: catalog.in_year("package", name, "max_area", year))


def _built(values: PartValues, kind: str, carried: FloatArray, chips: FloatArray) -> Carrier:
    """Area, price, yield and carbon were all packages of this kind.

    An interposer of another size than its price speaks of yields by its own area; every chip that is placed
    may fail to join.
    """
    field = partial(values.catalog.value, "package", kind)
    alpha, defects = values.rule("cluster_alpha"), field("defect_density")
    area = package.interposer_area(carried, np.full(len(carried), field("area_scale")))
    good = cost.die_yield(area, np.full(len(carried), defects), alpha)
    usual = cost.die_yield(np.array([field("reference_area")]), np.array([defects]), alpha)
    below = package.substrate_area(carried) * field("substrate_cost_per_area")
    return Carrier(
        area=area,
        price=area * field("cost_per_area") * usual / good + below + field("test_assembly_cost"),
        good=np.power(field("assembly_yield"), chips / field("assembly_chips")),
        carbon=np.full(len(carried), field("carbon")),
    )


def packaging(values: PartValues, year: float) -> Packaging:
    """Each package on the cheapest kind that carries it.

    Limits of the interposer, the die edge and the bonds.
    """
    parts, near = values.parts, values.near_flash
    on = values.on_interposer > 0
    stacks = parts.memory.units * values.stacked
    carried = (
        parts.logic.area + stacks * values.memory("footprint_area") + near * values.flash("footprint_area")
    )
    chips = parts.logic.dies + stacks + near
    kinds = interposers(values, year)
    options = [_built(values, kind, carried, chips) for kind in kinds]
    most = [values.catalog.in_year("package", kind, "max_area", year) for kind in kinds]
    pick = np.full(len(carried), len(kinds) - 1)
    for i in reversed(range(len(kinds) - 1)):
        pick = np.where(options[i].area <= most[i], i, pick)
    substrate = _built(values, values.catalog.the("package", "substrate"), carried, chips)

    def chosen(field: str) -> FloatArray:
        out: FloatArray = np.where(
            on, np.choose(pick, [getattr(o, field) for o in options]), getattr(substrate, field)
        )
        return out

    largest = np.array(most)[pick]
    return Packaging(
        Carrier(area=chosen("area"), price=chosen("price"), good=chosen("good"), carbon=chosen("carbon")),
        kind=np.where(on, pick + 1.0, 0.0),
        limit_ratios={
            Limit.SHORELINE: shoreline(values, kinds),
            Limit.BOND_PITCH: finest_pitch(values, year) / parts.memory.bond_pitch * (values.on_logic > 0),
            Limit.INTERPOSER: np.where(on, chosen("area") / largest, 0.0),
        },
    )


def finest_pitch(values: PartValues, year: float) -> FloatArray:
    """Finest pitch [m] that a year's bonding makes, of the kind that the design has."""
    finest = [values.catalog.in_year("bond", name, "finest_pitch", year) for name in values.bonds]
    out: FloatArray = np.array(finest)[values.bond_code]
    return out


def shoreline(values: PartValues, kinds: list[str]) -> FloatArray:
    """Die edge that memory PHYs and links ask for, over the edge there is on the largest of ``kinds``."""
    parts = values.parts
    usable = values.catalog.value("package", kinds[-1], "shoreline_use")
    edge = package.die_edge(parts.logic.area, parts.logic.dies) * usable
    used = parts.memory.units * values.memory("shoreline") + values.own_flash * values.flash("shoreline")
    joined = np.where(parts.network.domain > 1, parts.network.link_bandwidth, 0.0)
    links = (joined + far_link_bandwidth(values)) / values.rule("serdes_shoreline_density")
    return (used + links) / np.maximum(edge, 1e-9)


def body_room(values: PartValues, scenario: Scenario, z_height: float) -> dict[Limit, FloatArray]:
    """Area and height of a package in a body.

    Dies that stacks of this height hold, in the packages that channels take.

    Bonded to the SoC a layer holds what memory made for that holds on the SoC's area.
    """
    del scenario
    parts, device = values.parts, values.parts.device
    assert device is not None  # noqa: S101 - a package in a body has its mount
    usable = parts.memory.capacity * (1.0 - values.pnm("capacity_loss"))
    dies = usable / values.memory("capacity_per_package") * PACKAGE_DIES
    stacks = np.maximum(np.ceil(dies / parts.memory.stack_height - 1e-9), parts.memory.units)
    on_soc, beside = device.mount == Mount.ON_SOC, device.mount == Mount.SIDE_BY_SIDE
    swell = 1.0 / (1.0 - values.pnm("capacity_loss"))  # engines in the banks are paid in area
    footprint = values.memory("footprint_area")
    area = parts.logic.area + np.where(beside, stacks * footprint * swell, 0.0)
    budget = values.body("package_area") + np.where(beside, footprint, 0.0)
    thick = values.memory("z_height") * np.maximum(parts.memory.stack_height / PACKAGE_DIES, LEAST_HEIGHT)
    soc = values.body("soc_z_height")
    height = soc + np.where(
        beside, np.maximum(thick - soc, 0.0), np.where(on_soc, BONDED_HEIGHT * thick, thick)
    )
    layer = (
        values.catalog.value("memory", values.bonded_memory, "capacity_per_layer_per_area") * parts.logic.area
    )
    held = np.where(on_soc, usable / (parts.memory.stack_height * layer), np.where(beside, 0.0, stacks))
    over = np.where(held > 1.0 + 1e-9, held, 0.0)  # one stack on top
    return {Limit.PACKAGE_AREA: np.maximum(area / budget, over), Limit.Z_HEIGHT: height / z_height}
