"""Heat of a package: rows of s/J under a lid with coolant, or in the body of a device.

Temperatures are linear in the power of logic, fast memory and flash (physics/thermal.py), so each limit
becomes a row of s/J: a step of energies E takes at least sum_i c_i E_i. A site's package has the cheapest
cooling class that fits both phases. A device is two lumps, the chip with what lies near it and the body; the
warmest skin stands over the chip, between the two. Known limit: the skin is two temperatures, not a map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import FlashAttach, HeatLimit, Mount
from dse.core.table import Table
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.hardware.machine import Compute, Fast, Flash, Heat, HeatRow, Pnm
from dse.hardware.part_values import PartValues
from dse.hardware.pnm import engine_power
from dse.physics import package, thermal
from dse.space.limits import Limit
from dse.space.scenario import Scenario

LEAST_HEADROOM = 0.01
"""share of a limit kept as headroom when static power alone breaks it (and a limit says so)"""

FAR_FLASH_AREA = 1e-4  # m2; of flash that stands elsewhere, so that its column has a number
COOL_FLASH = 1e4  # K; of flash that is not there


@dataclass(frozen=True)
class Draw:
    """Powers and energies that heat asks of the parts of a package."""

    compute: Compute
    fast: Fast
    flash: Flash
    pnm: Pnm
    static: FloatArray
    """W of the package at rest"""
    logic_static: FloatArray
    """W of the compute dies at rest: leakage, collective engine, links"""
    beside: FloatArray
    """W beside the package in its rack"""

    @property
    def clocked(self) -> FloatArray:
        """W of clocked logic of host and engines while the machine works."""
        return self.compute.clock_power + self.pnm.clock_power


@dataclass(frozen=True)
class Thermal(Table):
    """What cooling makes of a package."""

    heat: Heat
    package_power: FloatArray
    """W sustained, as far as cooling lets it"""
    power_limit: FloatArray
    logic_power: FloatArray
    """W of the compute dies in their worse phase"""
    rack_limit: FloatArray
    """W that a rack of its cooling class takes"""
    cost_per_watt: FloatArray
    fan_share: FloatArray
    limit_ratios: dict[Limit, FloatArray]


@dataclass(frozen=True)
class _Lid:
    """What stands under the lid of n packages."""

    area: FloatArray
    """m2 of compute dies"""
    lid: FloatArray
    on_logic: BoolArray
    above: BoolArray
    """logic between its memory and the coolant"""
    sram: BoolArray
    """no memory beside or on the dies"""
    memory_foot: FloatArray
    memories: FloatArray
    near_flash: BoolArray
    flash_foot: FloatArray
    flashes: FloatArray

    @classmethod
    def of(cls, values: PartValues) -> _Lid:
        """Footprints, and the lid over all of them."""
        parts = values.parts
        area = np.maximum(parts.logic.area, 1e-9)
        on = values.on_logic > 0
        sram = (values.stacked + values.packaged + values.on_logic) == 0
        beside = ~(on | sram)
        foot = np.where(beside, np.maximum(values.memory("footprint_area"), 1e-9), area)
        memories = np.where(beside, np.maximum(parts.memory.units, 1.0), 1.0)
        near = (parts.flash.units > 0) & (parts.flash.attach != FlashAttach.FAR)
        flash_foot = np.where(near, values.flash("footprint_area"), FAR_FLASH_AREA)
        flashes = np.where(near, parts.flash.units, 1.0)
        lid = area + np.where(beside, memories * foot, 0.0) + np.where(near, flashes * flash_foot, 0.0)
        return cls(
            area=area,
            lid=package.substrate_area(lid),
            on_logic=on,
            above=parts.memory.logic_above > 0,
            sram=sram,
            memory_foot=foot,
            memories=memories,
            near_flash=near,
            flash_foot=flash_foot,
            flashes=flashes,
        )


def rises(values: PartValues, resistance: FloatArray) -> tuple[HeatRow, HeatRow, HeatRow]:
    """Rise [K/W] of logic, hottest DRAM die and flash per watt of (logic, fast, flash).

    ``resistance`` [m2 K/W] is that from lid to coolant. Each source has its column (thermal interface,
    silicon, layers) under a lid that all share; memory bonded to the logic shares its column.
    """
    u, t = _Lid.of(values), values.thermal
    length = thermal.spreading_length(t("lid_conductivity"), t("lid_thickness"), resistance)

    feet = np.stack([u.area, u.memory_foot, u.flash_foot])
    counts = np.stack([np.ones(len(u.area)), u.memories, u.flashes])
    share = thermal.spreading_share(feet, u.lid, length)
    own, elsewhere = thermal.lid_rises(resistance, share, feet, counts, u.lid)
    (logic_own, memory_own, flash_own), (logic_other, memory_other, flash_other) = own, elsewhere
    layer, tim = values.bond("layer_resistance"), t("tim_lid_resistance")
    layers = _layers(values)
    stack = _on_logic(values, u, logic_own, layers)
    bare = logic_own + (tim + t("bulk_resistance")) / u.area
    spot = _hot_spot(
        values,
        np.where(u.on_logic & ~u.above, stack.column, (tim + t("bulk_resistance")) + logic_own * u.area),
        u.area,
    )
    memory_column = memory_own + (tim + layer * (layers + 1.0) / 2.0) / (u.memory_foot * u.memories)
    flash_layers = values.bond_of(0, "layer_resistance") * (values.parts.flash.stack_height + 1.0) / 2.0
    flash_column = flash_own + (tim + flash_layers) / (u.flash_foot * u.flashes)
    apart = np.where(u.near_flash, 1.0, 0.0)
    beside = ~(u.on_logic | u.sram)
    logic_row = HeatRow(
        np.where(u.on_logic, stack.logic_per_logic, bare) + spot,
        np.where(u.on_logic, stack.logic_per_memory, np.where(u.sram, bare, memory_other)),
        apart * flash_other,
    )
    dram_row = HeatRow(
        np.where(u.on_logic, stack.memory_per_logic, np.where(beside, logic_other, 0.0)),
        np.where(u.on_logic, stack.memory_per_memory, np.where(u.sram, 0.0, memory_column)),
        np.where(u.sram, 0.0, apart * flash_other),
    )
    flash_row = HeatRow(
        apart * logic_other, apart * np.where(beside, memory_other, logic_other), apart * flash_column
    )
    return logic_row, dram_row, flash_row


def _layers(values: PartValues) -> FloatArray:
    """Dies of a memory stack that heat crosses."""
    tall = np.maximum(values.parts.memory.stack_height, 1.0)
    return np.where(values.packaged > 0, values.memory("reference_height"), tall)


@dataclass(frozen=True)
class _Bonded:
    """Rises [K/W] of logic with memory bonded to it, per watt of either."""

    column: FloatArray
    """m2 K/W above the logic where it lies below"""
    logic_per_logic: FloatArray
    logic_per_memory: FloatArray
    memory_per_logic: FloatArray
    memory_per_memory: FloatArray


def _on_logic(values: PartValues, u: _Lid, logic_own: FloatArray, layers: FloatArray) -> _Bonded:
    """Memory bonded to logic: the lid's own rise over the die's area, then the column that both share.

    Where the stacks leave some of the die bare, their heat has the less area and that of the logic a detour.
    """
    t, layer = values.thermal, values.bond("layer_resistance")
    top = logic_own * u.area + t("tim_lid_resistance")
    thin, cover = t("logic_resistance") * np.ones(len(u.area)), t("stack_cover")
    below = thermal.logic_rise_below(top, layer, thin, layers, u.area)
    below_memory = thermal.memory_rise_below(top, layer, layers, u.area)
    above = thermal.rises_above(top, layer, thin, layers, u.area)
    column = top + layers * layer + thin
    gaps = thermal.parallel_resistance(cover, column, top + t("gap_resistance")) / column
    return _Bonded(
        column=column,
        logic_per_logic=np.where(u.above, above[0], below[0] * gaps),
        logic_per_memory=np.where(u.above, above[1], below[1] / cover),
        memory_per_logic=np.where(u.above, above[2], below_memory[0] * gaps),
        memory_per_memory=np.where(u.above, above[3], below_memory[1] / cover),
    )


def _hot_spot(values: PartValues, column: FloatArray, area: FloatArray) -> FloatArray:
    """Rise [K/W] of the hottest spot over the mean of its die; ``column`` [m2 K/W] lies above it."""
    t = values.thermal
    length = thermal.spreading_length(t("silicon_conductivity"), t("silicon_thickness"), column)
    return thermal.hot_spot_rise(t("hot_spot_ratio"), t("hot_spot_radius"), length, column, area)


@dataclass(frozen=True)
class _Phases:
    """Sustained dynamic power [W]: of prefill in the logic; of decode in logic, fast memory and flash."""

    prefill: FloatArray
    logic: FloatArray
    fast: FloatArray
    flash: FloatArray

    @classmethod
    def of(cls, values: PartValues, scenario: Scenario, draw: Draw) -> _Phases:
        """Both phases at the efficiencies of the scenario's software."""
        stack = partial(values.catalog.value, "software", scenario.software)
        peak, energy = draw.compute.peak[:, 1], draw.compute.flop_energy[:, 1]
        streamed, there = stack("bandwidth_efficiency"), values.parts.flash.units > 0
        flash = np.where(there, draw.flash.bandwidth * draw.flash.energy, 0.0)
        bytes_in = streamed * (draw.fast.bandwidth + np.where(there, draw.flash.bandwidth, 0.0))
        return cls(
            prefill=peak * energy * stack("flop_efficiency") + draw.clocked,
            logic=bytes_in * draw.compute.byte_energy + draw.clocked,
            fast=streamed * draw.fast.bandwidth * draw.fast.energy,
            flash=streamed * flash,
        )


@dataclass(frozen=True)
class _Option(Table):
    """A cooling class as if all packages had it."""

    fits: BoolArray
    thermal: Thermal


def under_lid(values: PartValues, scenario: Scenario, thresholds: Mapping[str, float], draw: Draw) -> Thermal:
    """Cheapest cooling class that fits both phases unthrottled, else the strongest."""
    del thresholds
    catalog = values.catalog
    classes = sorted(catalog.names("cooling"), key=lambda n: catalog.value("cooling", n, "max_package_power"))
    phases = _Phases.of(values, scenario, draw)
    options = [_option(values, name, draw, phases) for name in classes]
    pick = np.full(len(values.parts), len(options) - 1)
    for i in reversed(range(len(options) - 1)):
        pick = np.where(options[i].fits, i, pick)
    return _choose(pick, [o.thermal for o in options])


def _choose(pick: IntArray, options: Sequence[Thermal]) -> Thermal:
    """Row by row the option that ``pick`` names."""
    n = len(pick)
    stacked = Thermal.concat(options)
    return stacked.take(pick * n + np.arange(n))


def _option(values: PartValues, name: str, draw: Draw, phases: _Phases) -> _Option:
    parts, cool = values.parts, partial(values.catalog.value, "cooling", name)
    n = len(parts)
    coolant = cool("coolant_temperature")
    logic, dram, flash = rises(values, np.full(n, cool("area_resistance")))
    hottest = {
        HeatLimit.LOGIC: np.full(n, values.thermal("logic_max_temperature")),
        HeatLimit.FAST_MEMORY: values.memory("max_temperature"),
        HeatLimit.FLASH: np.where(parts.flash.units > 0, values.flash("max_temperature"), COOL_FLASH),
    }
    statics = (draw.logic_static, draw.fast.standby_power, draw.flash.standby_power)
    rows: dict[HeatLimit, HeatRow] = {}
    worst = np.zeros(n)
    for (held, top), row in zip(hottest.items(), (logic, dram, flash), strict=True):
        span = top - coolant
        at_rest = _sum(row, statics)
        rows[held] = _over(row, np.maximum(span - at_rest, LEAST_HEADROOM * span))
        worst = np.maximum(worst, at_rest / span)
    limit = np.minimum(cool("max_package_power"), parts.power_cap)
    worst = np.maximum(worst, draw.static / limit)
    left = 1.0 / np.maximum(limit - draw.static, LEAST_HEADROOM * limit)
    rows[HeatLimit.PACKAGE] = HeatRow(left, left, left)
    span = values.memory("refresh_doubling_temperature") - coolant
    doubling = _over(dram, np.maximum(span - _sum(dram, statics), LEAST_HEADROOM * np.abs(span)))
    need = np.zeros(n)
    for row in rows.values():
        need = np.maximum(need, row.logic * phases.prefill)
        need = np.maximum(need, row.logic * phases.logic + row.fast * phases.fast + row.flash * phases.flash)
    peak = _peak(draw, phases)
    sustained = np.minimum(peak, limit)
    rack = cool("max_rack_power")
    weakest = min(
        values.catalog.names("power_delivery"),
        key=lambda d: values.catalog.value("power_delivery", d, "max_current_density"),
    )
    lost = values.catalog.value("power_delivery", weakest, "efficiency")
    domain = parts.network.domain * (sustained / lost + draw.beside) * (1.0 + cool("fan_share"))
    one_rack = (parts.network.domain == 1) | (domain <= rack)  # copper reaches within a rack
    loss = np.where(values.memory("refresh_power_per_byte") > 0, values.thermal("hot_bandwidth_loss"), 0.0)
    return _Option(
        fits=(need <= 1.0) & (worst <= 1.0) & one_rack,
        thermal=Thermal(
            heat=Heat(rows=rows, refresh_doubling=doubling, hot_bandwidth_loss=loss),
            package_power=sustained,
            power_limit=limit,
            logic_power=draw.logic_static + np.maximum(phases.prefill, phases.logic),
            rack_limit=np.full(n, rack),
            cost_per_watt=np.full(n, cool("cost_per_watt")),
            fan_share=np.full(n, cool("fan_share")),
            limit_ratios={Limit.STATIC_HEAT: worst},
        ),
    )


def _sum(row: HeatRow, watts: tuple[FloatArray, FloatArray, FloatArray]) -> FloatArray:
    """Rise [K] of a row by watts of (logic, fast, flash)."""
    return row.logic * watts[0] + row.fast * watts[1] + row.flash * watts[2]


def _over(row: HeatRow, headroom: FloatArray) -> HeatRow:
    """A row of K/W over its headroom [K]."""
    return HeatRow(row.logic / headroom, row.fast / headroom, row.flash / headroom)


def _peak(draw: Draw, phases: _Phases) -> FloatArray:
    """Power [W] of a package at work.

    Of prefill, decode on the host, or decode on the engines with the logic's clocks.
    """
    near = engine_power(draw.pnm)
    near = np.where(near > 0, near + phases.logic, 0.0)
    return draw.static + np.maximum(
        np.maximum(phases.prefill, phases.fast + phases.flash + phases.logic), near
    )


def lumps(catalog: Catalog, body: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Resistances [K/W] (chip to body, body to air) and heat capacities [J/K] (chip, body) of a body's two
    lumps.
    """
    v = partial(catalog.value, "body", body)
    return (v("junction_resistance"), v("skin_resistance")), (v("local_heat_capacity"), v("heat_capacity"))


BESIDE_SHARE = 0.5
"""of the chip's rise over the body that reaches memory beside it; memory on the chip has all of it"""


def in_body(values: PartValues, scenario: Scenario, thresholds: Mapping[str, float], draw: Draw) -> Thermal:
    """Rows of the skin after the sustained time, of the supply and of the DRAM.

    Shares of their limits at rest.

    The governor holds the limit of the supply as it holds the skin: by spreading work out.
    """
    parts, n = values.parts, len(values.parts)
    assert parts.device is not None  # noqa: S101 - a package in a body has its mount
    skin_limit, supply = thresholds[Limit.SKIN_TEMPERATURE], thresholds[Limit.BURST_POWER]
    rises_after = thermal.lump_rises(*lumps(values.catalog, scenario.body), scenario.sustained_after)
    spot = thermal.spot_rise(rises_after, values.body("spot_share"))
    loss = 1.0 / values.body("power_conversion")
    rest, background = draw.static * loss, values.body("background_power")
    span = skin_limit - scenario.ambient
    at_rest = spot[0] * rest + spot[1] * background
    skin = loss * spot[0] / np.maximum(span - at_rest, LEAST_HEADROOM * span)
    idle = rest + background
    burst = loss / np.maximum(supply - idle, LEAST_HEADROOM * supply)
    share = np.where(parts.device.mount == Mount.SIDE_BY_SIDE, BESIDE_SHARE, 1.0)[:, None]
    warmed = rises_after[1] + share * (rises_after[0] - rises_after[1])
    on_soc = parts.device.mount == Mount.ON_SOC
    layer = values.body("dram_layer_resistance") / values.body("soc_base_area")
    layers = np.where(on_soc, parts.memory.stack_height * layer, 0.0)
    hottest = thresholds[Limit.DRAM_TEMPERATURE] - scenario.ambient
    dram_rest = warmed[:, 0] * rest + warmed[:, 1] * background
    near, none = loss * warmed[:, 0], np.zeros(n)
    dram = HeatRow(near + layers, near, none)
    doubling = values.memory("refresh_doubling_temperature") - scenario.ambient - dram_rest
    return Thermal(
        heat=Heat(
            rows={
                HeatLimit.SKIN: HeatRow(skin, skin, skin),
                HeatLimit.SUPPLY: HeatRow(burst, burst, burst),
                HeatLimit.FAST_MEMORY: _over(dram, np.maximum(hottest - dram_rest, LEAST_HEADROOM * hottest)),
            },
            refresh_doubling=_over(dram, np.maximum(doubling, LEAST_HEADROOM * hottest)),
            hot_bandwidth_loss=np.full(n, values.thermal("hot_bandwidth_loss")),
        ),
        package_power=none,
        power_limit=none,
        logic_power=none,
        rack_limit=none,
        cost_per_watt=none,
        fan_share=none,
        limit_ratios={
            Limit.SKIN_TEMPERATURE: at_rest / span,
            Limit.BURST_POWER: idle / supply,
            Limit.DRAM_TEMPERATURE: dram_rest / hottest,
        },
    )
