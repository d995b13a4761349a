"""What a package adds to a device.

Bill of materials and embodied carbon, by the same methods as a site's package.

Counted is what a device with its applications' memory and storage would not have: memory beyond the
applications' share; storage only as far as the weights fill it, other flash whole; the SoC's added area and
its share of the node's NRE; engines; mounting. Memory bonded to the SoC takes more silicon a byte, layers are
lost with those below them, and the joint to the SoC may lose the whole SoC.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.catalog.prices import price_factors
from dse.core.axes import LINES, Mount
from dse.core.table import total
from dse.core.units import FloatArray
from dse.hardware.availability import latest_year, too_late
from dse.hardware.heat import Thermal
from dse.hardware.machine import CarbonLine, CostLine, Installation, Network, Ownership, Power, Reliability
from dse.hardware.ownership import Surroundings, fab_carbon, grid_carbon
from dse.hardware.packaging import body_room
from dse.hardware.part_values import PartValues
from dse.physics import carbon, cost, stack
from dse.space.limits import Limit
from dse.space.scenario import Scenario


@dataclass(frozen=True)
class _Soc:
    """What is lost in making n SoCs."""

    good: FloatArray
    """yield of the die"""
    tiles: FloatArray
    """memory dies side by side in a layer bonded to it; 0 where none are"""
    joint: FloatArray
    """yield of bonding a layer of them"""
    layers: FloatArray
    """layers bonded to it"""

    @classmethod
    def of(cls, values: PartValues) -> _Soc:
        """Memory on a SoC is bonded in dies no larger than those the bond's yield speaks of."""
        logic, on = values.parts.logic, _on_soc(values)
        reference = values.bond_of(-1, "reference_area")
        tiles = np.where(on, np.ceil(logic.area / reference), 0.0)
        per_layer = np.full(len(on), values.bond_of(-1, "yield_per_layer"))
        one = stack.bond_yield(per_layer, logic.area / np.maximum(tiles, 1.0), np.full(len(on), reference))
        return cls(
            good=cost.die_yield(logic.area, values.logic("defect_density"), values.rule("cluster_alpha")),
            tiles=tiles,
            joint=np.where(on, np.power(one, tiles), 1.0),
            layers=np.where(on, values.parts.memory.stack_height, 0.0),
        )


def _on_soc(values: PartValues) -> FloatArray:
    device = values.parts.device
    assert device is not None  # noqa: S101 - a package in a body has its mount
    out: FloatArray = device.mount == Mount.ON_SOC
    return out


def added_flash(values: PartValues, held: FloatArray, weights: float) -> FloatArray:
    """Flash [B] that is charged: a device has its storage anyway, which ``weights`` [B] only fill.

    Other flash is whole.
    """
    storage = values.attribute("flash", values.parts.flash.code, "role", "storage")
    return np.where(storage, np.minimum(weights, held), held)


def _flash_held(values: PartValues) -> FloatArray:
    parts = values.parts.flash
    held = parts.dies * values.cell("capacity_per_die")
    return np.where(parts.published_capacity > 0, parts.published_capacity, held)


def cost_lines(
    values: PartValues, scenario: Scenario, soc: _Soc, weights: float
) -> dict[CostLine, FloatArray]:
    """Added bill of materials [USD], line by line; ``weights`` [B] is what the storage must hold."""
    parts, on, catalog = values.parts, _on_soc(values), values.catalog
    gross = cost.dies_per_wafer(
        parts.logic.area, values.rule("wafer_diameter"), values.rule("edge_exclusion"), values.rule("scribe")
    )
    die = values.logic("wafer_price") / (gross * soc.good)
    usable = _usable(values)
    per_byte = values.memory("price_per_byte") * price_factors(
        catalog, "memory", parts.memory.code, scenario.year
    )
    applications = np.minimum(scenario.application_memory, usable) * per_byte
    premium = np.where(on, values.body("stacked_dram_premium"), 1.0)
    stacked = premium / np.power(soc.joint, np.maximum(soc.layers - 1.0, 0.0))
    dram = parts.memory.capacity * per_byte * stacked
    bonds = soc.layers * soc.tiles * values.bond_of(-1, "cost_per_layer")
    custom = np.where(
        on, catalog.value("memory", values.bonded_memory, "nre"), 0.0
    )  # a memory die for this SoC alone
    share = parts.logic.added_area / parts.logic.area
    per_flash_byte = values.cell("price_per_byte") * price_factors(
        catalog, "flash", parts.flash.code, scenario.year
    )
    designed = share * (values.logic("design_nre") + values.logic("mask_set"))
    mounted = np.where(
        on, values.body("stack_assembly_cost"), values.body("assembly_cost") * parts.memory.units
    )
    return {
        CostLine.ADDED_LOGIC: die * share,
        CostLine.MEMORY: dram - applications,
        CostLine.HYBRID_BONDS: bonds,
        CostLine.LOST_IN_BONDING: (die + dram + bonds) * (1.0 / soc.joint - 1.0),
        CostLine.FLASH: added_flash(values, _charged_flash(values), weights) * per_flash_byte,
        CostLine.PNM_ENGINES: values.pnm("cost_per_stack") * values.pnm_units,
        CostLine.MOUNTING: mounted,
        CostLine.NRE: (values.pnm("nre") + custom + designed) / scenario.volume,
    }


def _charged_flash(values: PartValues) -> FloatArray:
    """Flash [B] of the dies that are bought."""
    return values.parts.flash.dies * values.cell("capacity_per_die")


def _usable(values: PartValues) -> FloatArray:
    """Memory [B] that engines in the banks leave."""
    return values.parts.memory.capacity * (1.0 - values.pnm("capacity_loss"))


def carbon_lines(
    values: PartValues, scenario: Scenario, soc: _Soc, weights: float
) -> dict[CarbonLine, FloatArray]:
    """Embodied carbon [kgCO2e] of what is added, as the bill of materials counts it, with packages (ACT)."""
    parts, on, catalog = values.parts, _on_soc(values), values.catalog
    package = catalog.value("carbon", catalog.only("carbon"), "package_embodied")
    one, none = np.ones(len(parts)), np.zeros(len(parts))
    per_area = fab_carbon(catalog, values.logic("fab_energy"), values.logic("fab_gas"))
    premium = np.where(on, values.body("stacked_dram_premium"), 1.0) / np.power(soc.joint, soc.layers)
    beyond = parts.memory.capacity * premium - np.minimum(scenario.application_memory, _usable(values))
    added = carbon.packaged(parts.logic.added_area, per_area, soc.good, none, package)
    whole = carbon.packaged(parts.logic.area, per_area, soc.good, none, package)
    flash = added_flash(values, _flash_held(values), weights)
    return {
        CarbonLine.ADDED_LOGIC: added,
        CarbonLine.LOST_IN_BONDING: whole * (1.0 / soc.joint - 1.0),
        CarbonLine.MEMORY: carbon.packaged(
            beyond, values.memory("carbon_per_byte"), one, parts.memory.units, package
        ),
        CarbonLine.FLASH: carbon.packaged(flash, values.cell("carbon_per_byte"), one, one, package),
    }


def in_device(
    values: PartValues, scenario: Scenario, thermal: Thermal, z_height: float, weights: float
) -> Surroundings:
    """A package in the body of a device.

    What it adds to the device's cost and carbon, and whether it has room.
    """
    del thermal
    n = len(values.parts)
    soc = _Soc.of(values)
    lines = cost_lines(values, scenario, soc, weights)
    carbons = carbon_lines(values, scenario, soc, weights)
    capital, none = total(lines.values()), np.zeros(n)
    usable = _usable(values)
    fits = usable > scenario.application_memory
    limits = {Limit.APPLICATION_MEMORY: np.where(fits, 0.0, 2.0)}
    if np.any(values.parts.logic.clock > 0):  # what exists has found its room
        limits |= body_room(values, scenario, z_height)
        limits[Limit.AVAILABLE] = too_late(latest_year(values), scenario.year)
    return Surroundings(
        network=Network.absent(n, len(LINES)),
        reliability=Reliability.perfect(n),
        power=Power(
            static=none, outside=none, conversion_loss=np.full(n, 1.0 / values.body("power_conversion"))
        ),
        ownership=Ownership(
            capital=capital,
            capital_rate=none,
            bill_of_materials=capital,
            nre=none,
            facility=none,
            facility_rate=none,
            provisioned_power=none,
            embodied_carbon=total(carbons.values()),
            electricity_carbon=grid_carbon(values.catalog, scenario, n),
        ),
        installation=Installation.alone(n),
        cost=lines,
        carbon=carbons,
        outside={},
        limit_ratios=limits,
    )
