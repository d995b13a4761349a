"""What a package on a site costs to make and own, what it embodies, and what stands around it.

One bill-of-materials model for designs and for today's devices; one gross margin and one NRE
line (by node and custom die, over the scenario's volume) for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from dse.catalog.catalog import Catalog
from dse.catalog.prices import price_factors
from dse.core.axes import FlashAttach, PnmSite
from dse.core.table import total
from dse.core.units import FloatArray
from dse.hardware.availability import latest_year, link_years, too_late
from dse.hardware.heat import Thermal
from dse.hardware.machine import (
    CarbonLine,
    CostLine,
    Installation,
    Network,
    Ownership,
    Power,
    Reliability,
    StandingLine,
)
from dse.hardware.network import (
    RackSpan,
    Wiring,
    adds_in_network,
    cables_by_reach,
    domain_network,
    power_beside,
    rack_span,
    radix_limit,
    wiring,
)
from dse.hardware.packaging import Packaging, packaging
from dse.hardware.part_values import PartValues
from dse.hardware.power_delivery import PowerDelivery, power_delivery
from dse.hardware.reliability import Standby, standby
from dse.physics import carbon, cost, stack
from dse.space.limits import Limit
from dse.space.scenario import Scenario


@dataclass(frozen=True)
class Surroundings:
    """What a package costs, and what it stands among."""

    network: Network
    reliability: Reliability
    power: Power
    """with the static power of the package still 0"""
    ownership: Ownership
    installation: Installation
    cost: dict[CostLine, FloatArray]
    carbon: dict[CarbonLine, FloatArray]
    outside: dict[StandingLine, FloatArray]
    limit_ratios: dict[Limit, FloatArray]


def economics(catalog: Catalog, field: str) -> float:
    """A figure of what a site costs."""
    return catalog.value("economics", catalog.only("economics"), field)


def fab_carbon(catalog: Catalog, energy: FloatArray, gas: FloatArray) -> FloatArray:
    """Carbon [kgCO2e/m2] of processed wafer, made with the electricity of the catalogue's fab."""
    common = catalog.only("carbon")
    grid = catalog.value("grid", catalog.entry("carbon", common).attributes["fab_grid"], "intensity")
    return carbon.per_area(grid, energy, gas, catalog.value("carbon", common, "raw_materials"))


def grid_carbon(catalog: Catalog, scenario: Scenario, n: int) -> FloatArray:
    """Carbon [kgCO2e/J] of the electricity that n machines use."""
    return np.full(n, catalog.value("grid", scenario.electricity_grid, "intensity"))


def silicon(values: PartValues) -> tuple[FloatArray, FloatArray]:
    """Cost [USD] and carbon [kgCO2e] of the compute dies, known good."""
    logic = values.parts.logic
    one = logic.area / np.maximum(logic.dies, 1.0)
    rules = (values.rule("wafer_diameter"), values.rule("edge_exclusion"), values.rule("scribe"))
    gross = cost.dies_per_wafer(one, *rules)
    good = cost.die_yield(one, values.logic("defect_density"), values.rule("cluster_alpha"))
    price = logic.dies * cost.die_cost(values.logic("wafer_price"), gross, good, values.rule("die_test_cost"))
    per_area = fab_carbon(values.catalog, values.logic("fab_energy"), values.logic("fab_gas"))
    wasted = carbon.wafer_waste(one, gross, rules[0])
    return price, logic.dies * (carbon.die_carbon(one, per_area, good) + wasted * per_area)


@dataclass(frozen=True)
class _FastMemory:
    """Cost [USD] and carbon [kgCO2e] of the fast memory; the yield of bonding it onto the logic."""

    price: FloatArray
    bonds: FloatArray
    carbon: FloatArray
    joint: FloatArray


def _fast_memory(values: PartValues, year: float) -> _FastMemory:
    """Stacks from dies, each tested before it is placed; DRAM on logic is stacked from dies like HBM's.

    A quoted price holds the losses of the quoted stack: DRAM on logic as for a die like HBM's, HBM with
    bumps.
    """
    logic, parts = values.parts.logic, values.parts.memory
    on = values.on_logic > 0
    layers = np.where(
        values.packaged > 0, values.memory("reference_height"), np.maximum(parts.stack_height, 1.0)
    )
    unit_bytes = values.memory("capacity_per_die") * layers + values.memory("capacity_per_package")
    unit_bytes = unit_bytes + values.memory("capacity_per_layer_per_area") * layers * logic.area
    each = parts.capacity / np.maximum(parts.units, 1.0)
    unit_bytes = np.where(parts.units > 0, np.where(on, unit_bytes, each), unit_bytes)
    units = np.where(on, 1.0, parts.units)
    reference_area = values.bond("reference_area")
    whole = np.where(on, logic.area / np.maximum(logic.dies, 1.0), reference_area)
    tiles = np.ceil(whole / reference_area)
    die = whole / tiles
    joint = stack.bond_yield(values.bond("yield_per_layer"), die, reference_area)
    signals = np.where(on, values.memory("signal_share") * die / np.square(parts.bond_pitch), 0.0)
    joint = joint * stack.pad_yield(values.bond("pad_failure"), signals)
    reference = np.maximum(values.memory("reference_height"), 1.0)
    usual = np.where(on, values.bond_of(-1, "yield_per_layer"), values.bond_of(0, "yield_per_layer"))
    quoted = stack.stack_yield(usual, reference, np.where(on, values.bond_good(-1), values.bond_good(0)))
    built = values.bond_stack(joint, layers)
    fine = on | (values.bond_code > 0)
    bonds = np.where(fine, values.bond("cost_per_layer") * np.where(on, logic.dies * tiles, 1.0), 0.0)
    per_byte = values.memory("price_per_byte") * price_factors(values.catalog, "memory", parts.code, year)
    price = units * stack.stack_price(per_byte * unit_bytes, quoted, bonds, layers, built)
    bonded = units * bonds * np.maximum(layers - 1.0, 0.0) / built
    return _FastMemory(
        price=price - bonded,
        bonds=bonded,
        carbon=values.memory("carbon_per_byte") * unit_bytes * units * quoted / built,
        joint=np.where(on, np.power(joint, tiles), 1.0),  # the joints to the compute die lose both
    )


def _flash(values: PartValues, year: float) -> tuple[FloatArray, FloatArray]:
    """Cost [USD] and carbon [kgCO2e] of flash stacks, from a quoted price that holds the quoted height's
    losses.
    """
    parts = values.parts.flash
    held = parts.dies * values.cell("capacity_per_die")
    reference = np.maximum(values.flash("reference_height"), 1.0)
    height = np.maximum(parts.stack_height, 1.0)
    bumps = np.array([values.bond_of(0, "yield_per_layer")])
    per_byte = values.cell("price_per_byte") * price_factors(values.catalog, "flash", parts.code, year)
    quoted = stack.stack_yield(bumps, reference, values.bond_good(0))
    built = stack.stack_yield(bumps, height, values.bond_good(0))
    price = stack.stack_price(per_byte * held, quoted, np.zeros(len(held)), height, built)
    return price, values.cell("carbon_per_byte") * held * quoted / built


def _far(values: PartValues, year: float) -> tuple[FloatArray, FloatArray]:
    """Cost [USD] of far memory with its engines and of the link to far flash; carbon [kgCO2e]."""
    parts, catalog = values.parts, values.catalog
    link = partial(catalog.value, "link", catalog.the("link", "far"))
    reached = np.where(
        parts.flash.attach == FlashAttach.FAR, link("bandwidth") * link("price_per_bandwidth"), 0.0
    )
    modules = parts.far.modules * values.far("capacity_per_package")
    per_byte = values.far("price_per_byte") * price_factors(catalog, "memory", parts.far.code, year)
    engines = np.where(values.pnm_site == PnmSite.FAR, values.pnm("cost_per_stack") * values.pnm_units, 0.0)
    return reached + modules * per_byte + engines, modules * values.far("carbon_per_byte")


def nre(values: PartValues) -> FloatArray:
    """NRE [USD]: node design and masks, and each custom die."""
    return values.logic("design_nre") + values.logic("mask_set") + values.pnm("nre") + values.memory("nre")


@dataclass(frozen=True)
class _Made:
    """A package as it is made: lines of cost and carbon, and the standard parts around it."""

    cost: dict[CostLine, FloatArray]
    carbon: dict[CarbonLine, FloatArray]


def _made(values: PartValues, carrier: Packaging, year: float) -> _Made:
    """Parts of a package, with what is lost in assembly and in bonding memory onto the logic."""
    die_price, die_carbon = silicon(values)
    memory = _fast_memory(values, year)
    flash_price, flash_carbon = _flash(values, year)
    far_price, far_carbon = _far(values, year)
    inside = (values.pnm_site == PnmSite.FAST) | (values.pnm_site == PnmSite.FLASH)
    engines = np.where(inside, values.pnm("cost_per_stack") * values.pnm_units, 0.0)
    good = carrier.carrier.good
    lost = good * memory.joint
    return _Made(
        cost={
            CostLine.COMPUTE_DIES: die_price / lost,
            CostLine.MEMORY: memory.price / lost,
            CostLine.HYBRID_BONDS: memory.bonds / lost,
            CostLine.PNM_ENGINES: engines / lost,
            CostLine.FLASH: flash_price / good,
            CostLine.PACKAGING: carrier.carrier.price / lost,
            CostLine.FAR_MEMORY: far_price,
        },
        carbon={
            CarbonLine.COMPUTE_DIES: die_carbon / lost,
            CarbonLine.MEMORY: memory.carbon / lost,
            CarbonLine.FLASH: flash_carbon / good,
            CarbonLine.FAR_MEMORY: far_carbon,
            CarbonLine.PACKAGING: carrier.carrier.carbon,
        },
    )


@dataclass(frozen=True)
class _Outside:
    """Power around a package."""

    lines: dict[StandingLine, FloatArray]
    """W that stand"""
    wall: FloatArray
    """W at the wall of package and surroundings at full rate"""


def _outside(values: PartValues, thermal: Thermal, wires: Wiring, delivery: PowerDelivery) -> _Outside:
    """Host share, switches, cables, far modules and fans."""
    catalog, n = values.catalog, len(values.parts)
    chip = catalog.value("switch", catalog.the("switch", "scale_up"), "power")
    added = np.where(adds_in_network(values), values.engine("power"), 0.0)
    switches = wires.switch_chips * (chip + added)
    far = values.parts.far
    idle = values.far("static_power_per_byte") + values.far("refresh_power_per_byte")
    standing = far.modules * values.far("capacity_per_package") * idle
    energy = values.far("read_energy") + values.far("interface_energy")
    reading = far.modules * values.far("bandwidth_per_stack") * energy
    watts = thermal.package_power / delivery.efficiency
    host = economics(catalog, "host_power")
    outside = host + switches + wires.cable_power + standing
    fans = thermal.fan_share * (watts + outside)
    return _Outside(
        lines={
            StandingLine.HOST: np.full(n, host),
            StandingLine.SWITCHES: switches,
            StandingLine.CABLES: wires.cable_power,
            StandingLine.FAR_MEMORY: standing,
            StandingLine.FANS: fans,
        },
        wall=watts + outside + fans + reading,
    )


def cost_lines(
    values: PartValues,
    made: _Made,
    wires: Wiring,
    thermal: Thermal,
    delivery: PowerDelivery,
    wall: FloatArray,
    racks: FloatArray,
    volume: float,
) -> dict[CostLine, FloatArray]:
    """What the operator pays for a package, line by line [USD].

    Bill of materials, the maker's gross margin on it as one line, NRE over the ``volume``, what stands around
    the package, and spares of it all.
    """
    catalog, n = values.catalog, len(values.parts)
    e = partial(economics, catalog)
    chip = catalog.value("switch", catalog.the("switch", "scale_up"), "price")
    premium = np.where(adds_in_network(values), values.engine("switch_cost_share"), 0.0)
    card = partial(catalog.value, "link", catalog.the("link", "scale_out"))
    joined = {
        CostLine.SWITCHES: wires.switch_chips * chip * (1.0 + premium),
        CostLine.CABLES: wires.cable_price,
    }
    maker = total([*made.cost.values(), *joined.values()])
    margin = e("gross_margin")
    lines = (
        made.cost
        | joined
        | {
            CostLine.GROSS_MARGIN: maker * margin / (1.0 - margin),
            CostLine.NRE: nre(values) / volume,
            CostLine.HOST: np.full(n, e("host_cost")),
            CostLine.NETWORK_CARD: np.full(n, card("bandwidth") * card("price_per_bandwidth")),
            CostLine.BOARD: wall * e("board_cost_per_watt"),
            CostLine.REGULATORS: thermal.package_power * delivery.cost_per_watt,
            CostLine.COOLING: wall * thermal.cost_per_watt,
            CostLine.RACK: racks * e("rack_cost"),
        }
    )
    return lines | {CostLine.SPARES: total(lines.values()) * e("spares")}


def _carbon_lines(
    values: PartValues, made: _Made, wires: Wiring, facility_power: FloatArray, life: float
) -> dict[CarbonLine, FloatArray]:
    """Embodied carbon [kgCO2e] over ``life`` [s]: of the facility the share that it lasts."""
    catalog = values.catalog
    own = partial(catalog.value, "carbon", catalog.only("carbon"))
    shorter = life / economics(catalog, "facility_life")
    chip = catalog.value("switch", catalog.the("switch", "scale_up"), "carbon")
    lines = made.carbon | {
        CarbonLine.LINKS_AND_SWITCHES: wires.switch_chips * chip + wires.cable_carbon,
        CarbonLine.SERVER: np.full(len(facility_power), own("server_embodied")),
        CarbonLine.FACILITY: facility_power * own("facility_embodied_per_watt") * shorter,
    }
    bought = total(lines.values()) - lines[CarbonLine.FACILITY]
    return lines | {CarbonLine.SPARES: bought * economics(catalog, "spares")}


def on_site(values: PartValues, scenario: Scenario, thermal: Thermal, rack_power: float) -> Surroundings:
    """A package in its domain, racks of ``rack_power`` [W] and site.

    What it costs to buy and own, and embodies.
    """
    catalog, n = values.catalog, len(values.parts)
    rack_most = np.minimum(rack_power, thermal.rack_limit)
    kinds = catalog.names("power_delivery")
    weakest = min(kinds, key=lambda d: catalog.value("power_delivery", d, "max_current_density"))
    lost = catalog.value("power_delivery", weakest, "efficiency")
    asked = (thermal.package_power / lost + power_beside(values)) * (1.0 + thermal.fan_share)
    span = rack_span(values, asked, rack_most)
    network, wires = domain_network(values, scenario, span), wiring(values, span)
    waiting = standby(values, wires)
    carrier = packaging(values, scenario.year)
    delivery = power_delivery(values, thermal.logic_power, scenario.year)
    outside = _outside(values, thermal, wires, delivery)
    racks = outside.wall / rack_most
    made = _made(values, carrier, scenario.year)
    lines = cost_lines(
        values=values,
        made=made,
        wires=wires,
        thermal=thermal,
        delivery=delivery,
        wall=outside.wall,
        racks=racks,
        volume=scenario.volume,
    )
    carbons = _carbon_lines(values, made, wires, outside.wall * scenario.pue, scenario.lifetime)
    return Surroundings(
        network=network,
        reliability=waiting.reliability,
        power=Power(
            static=np.zeros(n),
            outside=total(outside.lines.values()),
            conversion_loss=1.0 / delivery.efficiency,
        ),
        ownership=_owned(
            values, scenario, total(lines.values()), made, outside.wall, total(carbons.values())
        ),
        installation=_installation(
            thermal=thermal,
            carrier=carrier,
            delivery=delivery,
            wires=wires,
            span=span,
            waiting=waiting,
            racks=racks,
            rack_most=rack_most,
        ),
        cost=lines,
        carbon=carbons,
        outside=outside.lines,
        limit_ratios=carrier.limit_ratios | _site_limits(values, scenario, wires, span, delivery, racks),
    )


def _owned(
    values: PartValues,
    scenario: Scenario,
    capital: FloatArray,
    made: _Made,
    wall: FloatArray,
    embodied: FloatArray,
) -> Ownership:
    """What ``capital`` [USD], ``wall`` [W] and ``embodied`` [kgCO2e] of a package cost a second on a site."""
    catalog = values.catalog
    facility = wall * scenario.pue * economics(catalog, "facility_capex_per_watt")
    interest = economics(catalog, "discount_rate")
    housed = cost.capital_charge(facility, economics(catalog, "facility_life"), interest)
    owned = cost.owned(capital, scenario.lifetime, interest, economics(catalog, "maintenance"))
    return Ownership(
        capital=capital,
        capital_rate=owned + housed,
        bill_of_materials=total(made.cost.values()),
        nre=nre(values),
        facility=facility,
        facility_rate=housed,
        provisioned_power=wall,
        embodied_carbon=embodied,
        electricity_carbon=grid_carbon(catalog, scenario, len(values.parts)),
    )


def _installation(
    thermal: Thermal,
    carrier: Packaging,
    delivery: PowerDelivery,
    wires: Wiring,
    span: RackSpan,
    waiting: Standby,
    racks: FloatArray,
    rack_most: FloatArray,
) -> Installation:
    return Installation(
        package_power=thermal.package_power,
        power_limit=thermal.power_limit,
        racks=racks,
        rack_power_limit=rack_most,
        carrier=carrier.kind,
        regulators=delivery.kind,
        ports=wires.ports,
        cables=wires.cables,
        long_cables=wires.long_cables,
        long_medium=span.medium,
        switch_chips=wires.switch_chips,
        domain_racks=span.racks,
        domain_spares=waiting.spares,
        domain_failures=waiting.domain_failures,
    )


def _site_limits(
    values: PartValues,
    scenario: Scenario,
    wires: Wiring,
    span: RackSpan,
    delivery: PowerDelivery,
    racks: FloatArray,
) -> dict[Limit, FloatArray]:
    """Limits of year, current, racks and ports; the ports of a machine that exists are a fact."""
    cables = link_years(values, cables_by_reach(values.catalog), span.medium, wires.long_cables)
    late = np.maximum(too_late(latest_year(values), scenario.year), too_late(cables, scenario.year))
    limits = {
        Limit.AVAILABLE: np.maximum(late, delivery.limit_ratios[Limit.AVAILABLE]),
        Limit.CURRENT: delivery.limit_ratios[Limit.CURRENT],
        Limit.RACK_POWER: racks,
    }
    return limits | (radix_limit(values, wires.ports) if np.any(values.parts.logic.clock > 0) else {})
