"""Logic dies: voltage and energy at a clock, arithmetic, leakage, and the area that parts ask for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import BITS, CLOCK_LEVELS
from dse.core.units import FloatArray, IntArray
from dse.hardware.machine import Compute
from dse.hardware.part_values import PartValues
from dse.physics import power


def rules(catalog: Catalog) -> Callable[[str], float]:
    """Rules that hold for every node, by field."""
    return partial(catalog.value, "logic_rules", catalog.only("logic_rules"))


def voltage(catalog: Catalog, ratio: FloatArray) -> FloatArray:
    """Supply voltage [V] for a clock over the node's nominal clock."""
    r = rules(catalog)
    return power.voltage_for(
        ratio,
        r("v_min"),
        r("v_max"),
        nominal=r("v_nominal"),
        threshold=r("threshold_voltage"),
        alpha=r("alpha_power"),
    )


def clock_ceiling(catalog: Catalog) -> float:
    """Highest clock over nominal: the alpha-power law at the highest voltage."""
    r = rules(catalog)
    top = power.frequency_ratio(
        np.array(r("v_max")), r("v_nominal"), r("threshold_voltage"), r("alpha_power")
    )
    return float(top)


def clock_levels(catalog: Catalog, ratio: FloatArray) -> FloatArray:
    """(n, levels) dynamic energy at each clock level over that at the design clock, on the node's V-f curve.

    ``ratio`` is the design clock over the node's nominal one.
    """
    r = rules(catalog)

    def scale(clock: FloatArray) -> FloatArray:
        return power.dynamic_scale(voltage(catalog, clock), r("v_nominal"), r("dynamic_voltage_exponent"))

    design = scale(ratio)
    return np.stack(
        [np.ones(len(ratio)) if level == 1.0 else scale(ratio * level) / design for level in CLOCK_LEVELS],
        axis=1,
    )


def fixed_clock(n: int) -> FloatArray:
    """``level_energy`` of machines that exist: their own clock, and no slower one on offer."""
    return np.tile(np.array([1.0, *(2.0 for _ in CLOCK_LEVELS[1:])]), (n, 1))


def flop_energies(catalog: Catalog, at_16bit: FloatArray) -> FloatArray:
    """J/FLOP at each precision, shape (n, bits)."""
    r = rules(catalog)
    out: FloatArray = at_16bit[:, None] * np.array([1.0, r("energy_8bit"), r("energy_4bit")])
    return out


def peaks(catalog: Catalog, at_16bit: FloatArray) -> FloatArray:
    """FLOP/s at each precision, shape (n, bits)."""
    r = rules(catalog)
    out: FloatArray = at_16bit[:, None] * np.array([1.0, r("rate_8bit"), r("rate_4bit")])
    return out


def designed(
    catalog: Catalog, node: IntArray, mac_area: FloatArray, clock: FloatArray
) -> tuple[FloatArray, ...]:
    """FLOP/s at 16 bit, J/FLOP at 16 bit, supply voltage [V] and clock over nominal of ``mac_area`` [m2] at a
    clock [1/s].
    """
    logic, r = partial(catalog.take, "logic", node), rules(catalog)
    ratio = clock / logic("clock_nominal")
    volts = voltage(catalog, ratio)
    scale = power.dynamic_scale(volts, r("v_nominal"), r("dynamic_voltage_exponent"))
    return mac_area * logic("mac_density") * clock, logic("flop_energy") * scale, volts, ratio


def compute(values: PartValues) -> Compute:
    """Arithmetic of the host: peaks, energies, and the power of clocks that tick while it works."""
    logic = values.parts.logic
    return Compute(
        peak=logic.peak,
        flop_energy=logic.flop_energy,
        level_energy=logic.level_energy,
        clock_power=values.rule("clock_power_share") * logic.peak[:, 0] * logic.flop_energy[:, 0],
        byte_energy=np.full(len(logic.node), 2.0 * values.rule("sram_energy")),
    )


def link_area(values: PartValues) -> FloatArray:
    """Area [m2] of links on the compute dies, routers of packages that forward for others, and the collective
    engine.
    """
    network = values.parts.network
    links = (network.link_bandwidth + far_link_bandwidth(values)) * values.rule("serdes_area_per_bandwidth")
    routed = network.link_bandwidth * values.topology("router_area_per_bandwidth")
    links += np.where(network.domain > 2, routed, 0.0)
    return links + np.where(network.domain > 1, values.local_engine("area"), 0.0)


def used_area(values: PartValues, mac_area: FloatArray) -> FloatArray:
    """Compute-die area [m2] that MACs, SRAM, PHYs, memory controllers, links, routers, NoC and the rest ask
    for.
    """
    logic, memory, own = values.parts.logic, values.parts.memory, values.own_flash
    sram = logic.sram * values.logic("sram_area")
    phys = memory.units * values.memory("host_phy_area")
    phys += own * values.flash("host_phy_area")
    wired = np.where(values.on_chip > 0, 0.0, memory.bandwidth)
    phys += wired * values.memory("phy_area_per_bandwidth")
    wired += own * values.flash("read_bandwidth")
    controllers = wired * values.rule("controller_area_per_bandwidth")
    joint = np.where(logic.dies > 1, values.rule("die_to_die_area_share"), 0.0)
    fixed = (values.rule("noc_share") + values.rule("other_share") + joint) * logic.area
    arithmetic = mac_area * (1.0 + values.rule("core_overhead"))
    return arithmetic + sram + phys + controllers + link_area(values) + fixed


def far_link_bandwidth(values: PartValues) -> FloatArray:
    """Bandwidth [B/s] of the links to far flash and far memory modules.

    SerDes on the compute die carry it.
    """
    flash = values.parts.flash
    far_flash = np.where(values.near_flash < flash.units, flash.link_bandwidth, 0.0)
    return far_flash + values.parts.far.modules * values.far("bandwidth_per_stack")


assert BITS == (16, 8, 4)  # noqa: S101 - the order of the precision columns above
