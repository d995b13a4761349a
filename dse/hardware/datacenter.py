"""Parts of a datacenter package from its design variables."""

from __future__ import annotations

from functools import partial

import numpy as np

from dse.catalog.catalog import Catalog, names
from dse.core.axes import BITS
from dse.core.units import FloatArray, IntArray
from dse.hardware.codes import _recode, numbers
from dse.hardware.logic import clock_ceiling, flop_energies, voltage
from dse.hardware.parts import Parts
from dse.physics import memory, package, power, stack
from dse.space.design import Design
from dse.space.scenario import Scenario
from dse.space.space import Space

ATTACH = ("own_shoreline", "behind_hbm", "far")


PNM = ("none", "memory_base_die", "in_bank", "flash_base_die", "memory_package", "far_module")


ENGINES = ("host", "device", "in_network")


USUAL_PITCH = 9e-6  # m: of a bond that nothing is said about


FAR_AWAY = 1e9  # W: no rating of its own


def datacenter_parts(space: Space, design: Design, catalog: Catalog, scenario: Scenario) -> Parts:
    """Choose the parts of n designs; checks on the choice go to ``limits`` as value over limit."""
    del scenario
    n = len(design)
    r = partial(catalog.value, "logic_rules", "common")
    nodes, memories, flashes = (names(catalog, k) for k in ("logic", "memory", "flash"))
    node = _recode(space, design, "compute_node", nodes, lower=True)
    logic = partial(catalog.take, "logic", nodes, node)
    area = numbers(space, design, "compute_area")
    dies = package.dies_needed(area, r("usable_reticle"))
    mac_area = numbers(space, design, "mac_share") * area
    clock = numbers(space, design, "clock")
    ratio = clock / logic("clock_nominal")
    volts = voltage(catalog, ratio)
    peak16 = mac_area * logic("mac_density") * clock
    energy = logic("flop_energy") * power.dynamic_scale(volts, r("v_nominal"), r("dynamic_voltage_exponent"))
    leakage = (
        logic("leakage_density") * area * power.leakage_scale(volts, r("v_nominal"), r("leakage_voltage_coefficient"))
    )
    memory_code = _recode(space, design, "fast_memory", memories)
    stacks = numbers(space, design, "stacks")
    height = numbers(space, design, "stack_height", 1.0)
    sram = numbers(space, design, "sram")
    pitch = np.where(height > 0, numbers(space, design, "bond_pitch", USUAL_PITCH), USUAL_PITCH)
    bandwidth, capacity = fast_tier(catalog, memory_code, stacks, height, area, sram, pitch)
    above = (_recode(space, design, "orientation", ("logic_below", "logic_above")) == 1).astype(np.float64)
    memories_of = partial(catalog.take, "memory", memories, memory_code)
    through = above * (memories_of("capacity_per_layer_per_area") > 0)  # its supply crosses the DRAM
    density = (peak16 * energy + leakage) / np.maximum(area, 1e-9)
    left = 1.0 - np.minimum(
        through * stack.supply_share(density, np.maximum(memories_of("power_per_tsv"), 1e-9), memories_of("tsv_area")),
        0.9,
    )
    bandwidth, capacity = bandwidth * left, capacity * left
    flash = _recode(space, design, "flash", flashes)
    attach = _recode(space, design, "flash_attach", ATTACH)
    pnm = np.maximum(_recode(space, design, "pnm", PNM), 0)
    domain = numbers(space, design, "domain", 1.0)
    topologies = names(catalog, "topology")
    topology = _recode(space, design, "topology", topologies)
    topology = np.where(topology < 0, topologies.index("full"), topology)  # one or two packages: a cable
    parts = Parts(
        node=node, logic_area=area, dies=dies, clock=clock,
        peak=peak16[:, None] * np.array([1.0, r("rate_8bit"), r("rate_4bit")]),
        flop_energy=flop_energies(catalog, energy), leakage=leakage, sram=sram, scratchpad=sram,
        memory=memory_code, stacks=stacks, height=height, bond_pitch=pitch,
        logic_above=above,
        fast_bandwidth=bandwidth, fast_capacity=capacity,
        flash=flash, flash_stacks=numbers(space, design, "flash_stacks"), flash_height=numbers(space, design, "flash_height", 0.0),
        flash_tlc=(_recode(space, design, "flash_cell", ("pslc", "tlc")) == 1).astype(np.float64),
        flash_attach=attach, far=_recode(space, design, "far_memory", memories), far_modules=numbers(space, design, "far_modules"),
        pnm=pnm, pnm_flops=numbers(space, design, "pnm_flops"),
        domain=domain, topology=topology,
        link_bandwidth=numbers(space, design, "link_bandwidth"), link_latency=np.zeros(n),
        engine=np.maximum(_recode(space, design, "collective_engine", ENGINES), 0),
        power_cap=np.full(n, FAR_AWAY), limits={},
    )  # fmt: skip
    parts.limits["clock"] = ratio / clock_ceiling(catalog)
    parts.limits["die_area"] = used_area(catalog, parts, mac_area) / area
    return parts


def fast_tier(
    catalog: Catalog, code: IntArray, stacks: FloatArray, height: FloatArray, area: FloatArray, sram: FloatArray,
    pitch: FloatArray,
) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    """Bandwidth [B/s] and capacity [B] of the fast tier, whatever its form.

    DRAM on logic gets as much bandwidth as its layers and its bonds carry; wires to the layers cost area.
    """
    memories = names(catalog, "memory")
    m = partial(catalog.take, "memory", memories, code)
    stacked = stacks * m("bandwidth_per_stack")
    carried = stack.pitch_bandwidth(pitch, m("signal_share"), m("pad_rate"))
    layered = memory.layered_bandwidth(m("bandwidth_per_layer_per_area"), carried, height, area)
    on_chip = m("bandwidth_per_byte") * sram
    bandwidth = stacked + layered + on_chip  # a memory has one of the three figures
    wires = layered / np.maximum(area * height * m("pad_rate"), 1e-30)
    taken = stack.tsv_share(wires, m("tsv_area"), height) - stack.tsv_share(wires, m("tsv_area"), m("reference_height"))
    capacity = (
        stacks * (m("capacity_per_die") * height + m("capacity_per_package"))
        + m("capacity_per_layer_per_area") * height * area * (1.0 - np.where(layered > 0, taken, 0.0))
        + np.where(m("bandwidth_per_byte") > 0, sram, 0.0)
    )
    return bandwidth, capacity


def far_links(catalog: Catalog, parts: Parts) -> FloatArray:
    """Bandwidth [B/s] of the links to far flash and far memory modules: SerDes on the compute die carry it."""
    flash = np.where(parts.flash_attach == ATTACH.index("far"), catalog.value("link", "far", "bandwidth"), 0.0)
    module = catalog.take("memory", names(catalog, "memory"), parts.far, "bandwidth_per_stack")
    return flash + parts.far_modules * module


def used_area(catalog: Catalog, parts: Parts, mac_area: FloatArray) -> FloatArray:
    """Compute-die area [m2] that MACs, SRAM, PHYs, memory controllers, links, routers, NoC and the rest ask for."""
    r = partial(catalog.value, "logic_rules", "common")
    nodes, memories, flashes = (names(catalog, k) for k in ("logic", "memory", "flash"))
    sram = parts.sram * catalog.take("logic", nodes, parts.node, "sram_area")
    phys = parts.stacks * catalog.take("memory", memories, parts.memory, "host_phy_area")
    own = parts.flash_attach == 0
    phys += np.where(own, parts.flash_stacks, 0.0) * catalog.take("flash", flashes, parts.flash, "host_phy_area")
    on_chip = catalog.take("memory", memories, parts.memory, "bandwidth_per_byte") > 0
    wired = np.where(on_chip, 0.0, parts.fast_bandwidth)
    phys += wired * catalog.take("memory", memories, parts.memory, "phy_area_per_bandwidth")
    wired += np.where(own, parts.flash_stacks, 0.0) * catalog.take("flash", flashes, parts.flash, "read_bandwidth")
    controllers = wired * r("controller_area_per_bandwidth")
    links = (parts.link_bandwidth + far_links(catalog, parts)) * r("serdes_area_per_bandwidth")
    engine = np.where(
        parts.domain > 1, catalog.column("collective", ENGINES[:2] + ENGINES[1:2], "area")[parts.engine], 0.0
    )
    joint = np.where(parts.dies > 1, r("die_to_die_area_share"), 0.0)
    routed = catalog.take("topology", names(catalog, "topology"), parts.topology, "router_area_per_bandwidth")
    links += np.where(parts.domain > 2, parts.link_bandwidth * routed, 0.0)
    fixed = (r("noc_share") + r("other_share") + joint) * parts.logic_area
    return mac_area * (1.0 + r("core_overhead")) + sram + phys + controllers + links + engine + fixed


assert BITS == (16, 8, 4)  # noqa: S101 - the order of the precision columns above
