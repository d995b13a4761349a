"""What a mobile package adds to a device: bill of materials and embodied carbon, by the same methods as a datacenter's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from dse.catalog.catalog import names
from dse.catalog.prices import price_factors
from dse.core.table import total
from dse.core.units import FloatArray
from dse.hardware.ownership import fab_carbon
from dse.hardware.phone import MOUNTS, PNM, Phone, Pick
from dse.physics import carbon, cost, stack
from dse.space.scenario import Scenario


@dataclass(frozen=True)
class Soc:
    """Areas [m2] of n SoCs and what is lost in making them."""

    added: FloatArray
    """NPU, SRAM, links and DRAM PHYs: what the device would not have"""
    whole: FloatArray
    good: FloatArray
    """yield of the die"""
    tiles: FloatArray
    """DRAM dies side by side in a layer bonded to it; 0 where none are"""
    joint: FloatArray
    """yield of bonding a layer of them"""


def soc_area(c: Pick, p: Phone) -> Soc:
    """Areas and yields of the SoCs; DRAM on them is bonded in dies no larger than those the bond's yield speaks of."""
    cat = c.catalog
    per_channel = c.dram("host_phy_area") * c.dram("bandwidth_per_channel") / c.dram("bandwidth_per_stack")
    added = p.npu_area + p.sram * c.body("sram_area") + c.link("area") * c.links + p.channels * per_channel
    whole = added + c.body("soc_base_area")
    defects = cat.take("logic", names(cat, "logic"), p.node, "defect_density")
    bond = partial(cat.value, "bond", "hybrid_bond")
    on = p.mount == MOUNTS.index("3d_on_soc")
    tiles = np.where(on, np.ceil(whole / bond("reference_area")), 0.0)
    one = stack.bond_yield(
        np.full(len(on), bond("yield_per_layer")),
        whole / np.maximum(tiles, 1.0),
        np.full(len(on), bond("reference_area")),
    )
    good = cost.die_yield(whole, defects, cat.value("logic_rules", "common", "cluster_alpha"))
    return Soc(added, whole, good, tiles, np.where(on, np.power(one, tiles), 1.0))


def pnm_units(c: Pick, p: Phone) -> FloatArray:
    """Packages that carry a PNM engine: one of flash, or each of DRAM."""
    return np.where(p.pnm == PNM.index("flash_base_die"), 1.0, c.packages)


def added_flash(c: Pick, p: Phone, whole: FloatArray, weights: float) -> FloatArray:
    """Flash [B] that is charged: a device has its storage anyway, which the weights only fill; other flash is whole."""
    is_storage = p.flash == names(c.catalog, "flash").index("ufs4")
    return np.where(is_storage, np.minimum(weights, whole), whole)


def materials(c: Pick, p: Phone, scenario: Scenario, weights: float) -> dict[str, FloatArray]:
    """Added bill of materials [USD]: what a device with its applications' DRAM and storage would not have.

    DRAM beyond the applications' share; storage only as far as the weights fill it, other flash whole; NPU, SRAM,
    link and PHY area, of the node's NRE their share of the die; PNM; mounting. DRAM bonded to the SoC takes
    more silicon a byte, layers are lost with those below them, and the joint to the SoC may lose the whole SoC.
    """
    cat = c.catalog
    logic = partial(cat.take, "logic", names(cat, "logic"), p.node)
    rule = partial(cat.value, "logic_rules", "common")
    soc = soc_area(c, p)
    gross = cost.dies_per_wafer(soc.whole, rule("wafer_diameter"), rule("edge_exclusion"), rule("scribe"))
    die = logic("wafer_price") / (gross * soc.good)
    on = p.mount == MOUNTS.index("3d_on_soc")
    layers = np.where(on, p.height, 0.0)
    per_byte = c.dram("price_per_byte") * price_factors(cat, "memory", p.dram, scenario.year)
    per_flash_byte = c.cell("price_per_byte") * price_factors(cat, "flash", p.flash, scenario.year)
    applications = np.minimum(scenario.application_memory, p.capacity) * per_byte
    stacked = np.where(on, c.body("stacked_dram_premium"), 1.0) / np.power(soc.joint, np.maximum(layers - 1.0, 0.0))
    dram = p.capacity * per_byte * c.swell * stacked
    bonds = layers * soc.tiles * cat.value("bond", "hybrid_bond", "cost_per_layer")
    custom = np.where(on, cat.value("pnm", "in_bank_hbm", "nre"), 0.0)  # a DRAM die for this SoC alone
    share = soc.added / soc.whole
    lines = {
        "NPU, SRAM, link and PHY area": die * share, "DRAM": dram - applications, "hybrid bonds": bonds,
        "SoC and DRAM lost in bonding": (die + dram + bonds) * (1.0 / soc.joint - 1.0),
        "flash": added_flash(c, p, p.flash_dies * c.cell("capacity_per_die"), weights) * per_flash_byte,
        "PNM": c.pnm("cost_per_stack") * pnm_units(c, p),
        "mounting": np.where(on, c.body("stack_assembly_cost"), c.body("assembly_cost") * c.packages),
        "NRE": (c.pnm("nre") + custom + share * (logic("design_nre") + logic("mask_set"))) / scenario.volume,
    }  # fmt: skip
    return lines | {"total": total(lines.values())}


def embodied(c: Pick, p: Phone, scenario: Scenario, flash: FloatArray, weights: float) -> dict[str, FloatArray]:
    """Embodied carbon [kgCO2e] of what is added, as the bill of materials counts it, with packages (ACT)."""
    cat = c.catalog
    logic = partial(cat.take, "logic", names(cat, "logic"), p.node)
    soc = soc_area(c, p)
    package = cat.value("carbon", "common", "package_embodied")
    one, none = np.ones(len(soc.whole)), np.zeros(len(soc.whole))
    on = p.mount == MOUNTS.index("3d_on_soc")
    per_area = fab_carbon(cat, logic("fab_energy"), logic("fab_gas"))
    premium = np.where(on, c.body("stacked_dram_premium"), 1.0) / np.power(soc.joint, np.where(on, p.height, 0.0))
    beyond = p.capacity * c.swell * premium - np.minimum(scenario.application_memory, p.capacity)
    return {
        "NPU, SRAM, link and PHY area": carbon.packaged(soc.added, per_area, soc.good, none, package),
        "SoC lost in bonding": carbon.packaged(soc.whole, per_area, soc.good, none, package) * (1.0 / soc.joint - 1.0),
        "DRAM": carbon.packaged(beyond, c.dram("carbon_per_byte"), one, c.packages, package),
        "flash": carbon.packaged(added_flash(c, p, flash, weights), c.cell("carbon_per_byte"), one, one, package),
    }
