"""What a package costs to make and own, what it embodies, and what stands around it.

One bill-of-materials model for designs and for today's devices; one gross margin and one NRE
line (by node and custom die, over the scenario's volume) for both.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog
from dse.catalog.prices import price_factors
from dse.core.table import total
from dse.core.units import FloatArray
from dse.hardware.datacenter import ATTACH, ENGINES, PNM
from dse.hardware.packaging import delivery, packaging
from dse.hardware.part_values import PartValues
from dse.physics import carbon, cost, stack
from dse.space.scenario import Scenario

FAR = ATTACH.index("far")


def pnm_units(values: PartValues) -> FloatArray:
    """Stacks, packages or modules that carry a PNM engine."""
    parts = values.parts
    units = np.where(parts.pnm == PNM.index("flash_base_die"), parts.flash_stacks, parts.stacks)
    out: FloatArray = np.where(parts.pnm == PNM.index("far_module"), parts.far_modules, units)
    return out


def far_power(values: PartValues) -> tuple[FloatArray, FloatArray]:
    """Power [W] of far memory modules: standing, and of reading at full rate."""
    parts = values.parts
    standing = (
        parts.far_modules
        * values.far("capacity_per_package")
        * (values.far("static_power_per_byte") + values.far("refresh_power_per_byte"))
    )
    energy = values.far("read_energy") + values.far("interface_energy")
    return standing, parts.far_modules * values.far("bandwidth_per_stack") * energy


def silicon(values: PartValues) -> tuple[FloatArray, FloatArray]:
    """Cost [USD] and carbon [kgCO2e] of the compute dies, known good."""
    parts = values.parts
    one = parts.logic_area / np.maximum(parts.dies, 1.0)
    rules = (values.rule("wafer_diameter"), values.rule("edge_exclusion"), values.rule("scribe"))
    gross = cost.dies_per_wafer(one, *rules)
    good = cost.die_yield(one, values.logic("defect_density"), values.rule("cluster_alpha"))
    price = parts.dies * cost.die_cost(values.logic("wafer_price"), gross, good, values.rule("die_test_cost"))
    per_area = fab_carbon(values.catalog, values.logic("fab_energy"), values.logic("fab_gas"))
    wasted = carbon.wafer_waste(one, gross, rules[0])
    return price, parts.dies * (carbon.die_carbon(one, per_area, good) + wasted * per_area)


def fab_carbon(catalog: Catalog, energy: FloatArray, gas: FloatArray) -> FloatArray:
    """Carbon [kgCO2e/m2] of processed wafer, made with the electricity of the catalogue's fab."""
    grid = catalog.value("grid", catalog.entry("carbon", "common").attributes["fab_grid"], "intensity")
    return carbon.per_area(grid, energy, gas, catalog.value("carbon", "common", "raw_materials"))


def _hybrid_good(values: PartValues) -> FloatArray:
    """Known-good share of dies with hybrid-bond surfaces."""
    value = partial(values.catalog.value, "bond", "hybrid_bond")
    return stack.known_good(np.array([value("die_yield")]), np.array([value("test_coverage")]))


def memories(values: PartValues, year: float) -> dict[str, FloatArray]:
    """Cost in ``year`` and carbon of fast memory and flash; the yield of bonding 3D DRAM onto the logic."""
    parts, catalog = values.parts, values.catalog
    layers = np.where(values.packaged > 0, values.memory("reference_height"), np.maximum(parts.height, 1.0))
    unit_bytes = values.memory("capacity_per_die") * layers + values.memory("capacity_per_package")
    unit_bytes = unit_bytes + values.memory("capacity_per_layer_per_area") * layers * parts.logic_area
    unit_bytes = np.where(
        parts.stacks > 0,
        np.where(values.on_logic > 0, unit_bytes, parts.fast_capacity / np.maximum(parts.stacks, 1.0)),
        unit_bytes,
    )
    units = np.where(values.on_logic > 0, 1.0, parts.stacks)
    micro = partial(catalog.value, "bond", "microbump")
    micro_good = stack.known_good(np.array([micro("die_yield")]), np.array([micro("test_coverage")]))
    on = values.on_logic > 0
    # DRAM on logic is stacked from dies like HBM's, each stack tested before it is bonded to the logic
    whole = np.where(on, parts.logic_area / np.maximum(parts.dies, 1.0), values.bond("reference_area"))
    tiles = np.ceil(whole / values.bond("reference_area"))
    die = whole / tiles
    joint = stack.bond_yield(values.bond("yield_per_layer"), die, values.bond("reference_area"))
    signals = np.where(on, values.memory("signal_share") * die / np.square(parts.bond_pitch), 0.0)
    joint = joint * stack.pad_yield(values.bond("pad_failure"), signals)
    reference = np.maximum(values.memory("reference_height"), 1.0)
    # a quoted price holds the losses of the quoted stack: DRAM on logic as for a die like HBM's, HBM with bumps
    usual = np.where(on, catalog.value("bond", "hybrid_bond", "yield_per_layer"), micro("yield_per_layer"))
    quoted = stack.stack_yield(usual, reference, np.where(on, _hybrid_good(values), micro_good))
    built = values.bond_stack(joint, layers)
    bonds = np.where(
        on | (values.hybrid_bonded > 0), values.bond("cost_per_layer") * np.where(on, parts.dies * tiles, 1.0), 0.0
    )
    per_byte = values.memory("price_per_byte") * price_factors(catalog, "memory", parts.memory, year)
    price = units * stack.stack_price(per_byte * unit_bytes, quoted, bonds, layers, built)
    bonded = units * bonds * np.maximum(layers - 1.0, 0.0) / built
    on_logic_yield = np.where(on, np.power(joint, tiles), 1.0)  # the joints to the compute die lose both
    extra = values.pnm("cost_per_stack") * pnm_units(values)
    modules = parts.far_modules * values.far("capacity_per_package")
    flash_bytes = parts.flash_stacks * parts.flash_height * values.cell("capacity_per_die")
    flash_ref = np.maximum(values.flash("reference_height"), 1.0)
    flash_height = np.maximum(parts.flash_height, 1.0)
    bumps = np.array([micro("yield_per_layer")])
    per_flash_byte = values.cell("price_per_byte") * price_factors(catalog, "flash", parts.flash, year)
    per_far_byte = values.far("price_per_byte") * price_factors(catalog, "memory", parts.far, year)
    flash_quoted = stack.stack_yield(bumps, flash_ref, micro_good)
    flash_built = stack.stack_yield(bumps, flash_height, micro_good)
    none = np.zeros(len(layers))
    flash_price = stack.stack_price(per_flash_byte * flash_bytes, flash_quoted, none, flash_height, flash_built)
    far = np.where(
        parts.flash_attach == FAR,
        catalog.value("link", "far", "bandwidth") * catalog.value("link", "far", "price_per_bandwidth"),
        0.0,
    )
    beyond = parts.pnm == PNM.index("far_module")
    return {
        "far": far + modules * per_far_byte + np.where(beyond, extra, 0.0),
        "far_carbon": modules * values.far("carbon_per_byte"),
        "memory": price - bonded,
        "bonds": bonded,
        "engines": np.where((parts.pnm > 0) & ~beyond, extra, 0.0),
        "flash": flash_price,
        "joint": on_logic_yield,
        "memory_carbon": values.memory("carbon_per_byte") * unit_bytes * units * quoted / built,
        "flash_carbon": values.cell("carbon_per_byte") * flash_bytes * flash_quoted / flash_built,
    }


def nre(values: PartValues, volume: float) -> FloatArray:
    """NRE [USD per package]: node design and masks, and each custom die, over the volume."""
    parts, catalog = values.parts, values.catalog
    total = values.logic("design_nre") + values.logic("mask_set")
    total = total + np.where(parts.pnm > 0, values.pnm("nre"), 0.0)
    total = total + np.where(
        values.on_logic > 0, catalog.value("pnm", "in_bank_hbm", "nre"), 0.0
    )  # a custom DRAM die too
    return total / volume


def cost_of_ownership(values: PartValues, scenario: Scenario, heat: dict[str, Any], net: dict[str, FloatArray],
            limits: dict[str, FloatArray]) -> dict[str, Any]:  # fmt: skip
    """Capital, provisioned power, capital rate and embodied carbon per package.

    Capital is what the operator pays: bill of materials, the maker's gross margin on it as one line, NRE
    over the volume, what stands around the package, and spares of it all.
    """
    catalog = values.catalog
    e = partial(catalog.value, "economics", "datacenter")
    die_price, die_kg = silicon(values)
    mem = memories(values, scenario.year)
    pack = packaging(values, limits, scenario.year)
    lost = pack["yield"] * mem["joint"]
    fabric = _fabric_cost(values, net)
    parts = {
        "compute dies": die_price / lost, "memory": mem["memory"] / lost, "hybrid bonds": mem["bonds"] / lost,
        "PNM engines": mem["engines"] / lost, "flash": mem["flash"] / pack["yield"], "packaging": pack["price"] / lost,
        "far memory and links": mem["far"],
    }  # fmt: skip
    wires = {"switches": fabric["chips"], "cables and optics": fabric["cables"]}
    power = delivery(values, heat, scenario.year, limits)
    watts = heat["package_power"] / power["efficiency"]
    far = far_power(values)
    outside = e("host_power") + fabric["power"] + net["cable_power"] + far[0]
    fans = heat["fan_share"] * (watts + outside)
    wall = watts + outside + fans + far[1]
    out_bw = catalog.value("link", "scale_out", "bandwidth")
    rack = wall / np.minimum(heat["max_rack_power"], heat["rack_limit"])
    maker = total([*parts.values(), *wires.values()])
    one = np.ones(len(maker))
    lines = parts | wires | {
        "gross margin": maker * e("gross_margin") / (1.0 - e("gross_margin")), "NRE": nre(values, scenario.volume),
        "host": e("host_cost") * one, "network card": out_bw * catalog.value("link", "scale_out", "price_per_bandwidth") * one,
        "board and power supply": wall * e("board_cost_per_watt"), "regulators": heat["package_power"] * power["cost_per_watt"],
        "cooling": wall * heat["cost_per_watt"], "rack": rack * e("rack_cost"),
    }  # fmt: skip
    lines["spares"] = total(lines.values()) * e("spares")
    capital = total(lines.values())
    facility = wall * scenario.pue * e("facility_capex_per_watt")
    interest = e("discount_rate")
    housed = cost.capital_charge(facility, e("facility_life"), interest)
    rate = cost.owned(capital, scenario.lifetime, interest, e("maintenance")) + housed
    kg = _embodied(values, die_kg, mem, pack, fabric, wall * scenario.pue, scenario.lifetime)
    limits["rack_power"] = rack
    return {
        "outside_power": outside + fans, "power_loss": 1.0 / power["efficiency"], "provisioned": wall, "capital": capital,
        "capital_rate": rate, "embodied": total(kg.values()),
        "report": {f"cost: {k}": v for k, v in lines.items()} | {"facility rate": housed, "facility": facility}
        | {f"carbon: {k}": v for k, v in kg.items()} | {
            "bom": total(parts.values()), "nre": nre(values, 1.0), "package_power": heat["package_power"], "power_limit": heat["power_limit"],
            "racks": rack, "rack_limit": np.minimum(heat["max_rack_power"], heat["rack_limit"]), "rack_power": wall,
            "packaging": pack["class"], "power delivery": power["class"],
            "outside: host": e("host_power") * one, "outside: switches": fabric["power"], "outside: cables and optics": net["cable_power"],
            "outside: far memory": far[0], "outside: fans": fans,
        },
    }  # fmt: skip


def _embodied(values: PartValues, die_kg: FloatArray, mem: dict[str, FloatArray], pack: dict[str, FloatArray],
              fabric: dict[str, FloatArray], wall: FloatArray, life: float) -> dict[str, FloatArray]:  # fmt: skip
    """Embodied carbon [kgCO2e] over the scenario's ``life``: of the facility the share that it lasts."""
    catalog = values.catalog
    shorter = life / catalog.value("economics", "datacenter", "facility_life")
    own = partial(catalog.value, "carbon", "common")
    lost = pack["yield"] * mem["joint"]
    kg = {
        "compute dies": die_kg / lost, "memory": mem["memory_carbon"] / lost, "flash": mem["flash_carbon"] / pack["yield"], "far memory": mem["far_carbon"],
        "packaging": pack["carbon"], "links and switches": fabric["carbon"],
        "server": np.full(len(die_kg), own("server_embodied")), "facility": wall * own("facility_embodied_per_watt") * shorter,
    }  # fmt: skip
    kg["spares"] = (total(kg.values()) - kg["facility"]) * catalog.value("economics", "datacenter", "spares")
    return kg


def _fabric_cost(values: PartValues, net: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Switch chips, cables and engine shares per package: price, power, carbon."""
    parts = values.parts
    chip = partial(values.catalog.value, "switch", "scale_up")
    reducing = parts.engine == ENGINES.index("in_network")
    premium = np.where(reducing, values.engine("switch_cost_share"), 0.0)
    added = np.where(reducing, values.engine("power"), 0.0)
    return {
        "chips": net["chips"] * chip("price") * (1.0 + premium),
        "cables": net["cable_price"],
        "power": net["chips"] * (chip("power") + added),
        "carbon": net["chips"] * chip("carbon") + net["cable_carbon"],
    }


assert PNM[0] == "none"  # noqa: S101 - code 0 of Parts.pnm
