"""Cooling class, thermal limits and provisioned power of a package.

Temperatures are linear in the power of logic, fast memory and flash (physics/thermal.py), all under
one lid, so each limit becomes a row of s/J: a step of energies E takes at least sum_i c_i E_i.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from dse.core.units import FloatArray
from dse.hardware.datacenter import ATTACH
from dse.hardware.part_values import PartValues
from dse.physics import package, thermal
from dse.space.scenario import Scenario

CLASSES = ("air", "cold_plate")


Row = tuple[FloatArray, FloatArray, FloatArray]


LEAST_HEADROOM = 0.01
"""share of a limit kept as headroom when static power alone breaks it (and a limit says so)"""


def rises(values: PartValues, resistance: FloatArray) -> tuple[Row, Row, Row]:
    """Rise [K/W] of logic, hottest DRAM die and flash per watt of (logic, fast, flash).

    ``resistance`` is that from lid to coolant. Each source has its column (TIM, silicon, layers) under a lid
    that all share; memory bonded to the logic shares its column.
    """
    parts = values.parts
    n = len(parts.logic_area)
    area = np.maximum(parts.logic_area, 1e-9)
    on, up = values.on_logic > 0, parts.logic_above > 0
    sram = (values.stacked + values.packaged + values.on_logic) == 0
    beside = ~(on | sram)
    memory_foot = np.where(beside, np.maximum(values.memory("footprint_area"), 1e-9), area)
    memories = np.where(beside, np.maximum(parts.stacks, 1.0), 1.0)
    near = (parts.flash_stacks > 0) & (parts.flash_attach != ATTACH.index("far"))
    flash_foot = np.where(near, values.flash("footprint_area"), 1e-4)
    flashes = np.where(near, parts.flash_stacks, 1.0)
    lid = area + np.where(beside, memories * memory_foot, 0.0) + np.where(near, flashes * flash_foot, 0.0)
    lid = package.substrate_area(lid)
    length = thermal.spreading_length(values.thermal("lid_conductivity"), values.thermal("lid_thickness"), resistance)

    def over_lid(foot: FloatArray, count: FloatArray) -> tuple[FloatArray, FloatArray]:
        return thermal.lid_rises(resistance, thermal.spreading_share(foot, lid, length), foot, count, lid)

    logic_own, logic_other = over_lid(area, np.ones(n))
    memory_own, memory_other = over_lid(memory_foot, memories)
    flash_own, flash_other = over_lid(flash_foot, flashes)
    layer, tim = values.bond("layer_resistance"), values.thermal("tim_lid_resistance")
    layers = np.where(values.packaged > 0, values.memory("reference_height"), np.maximum(parts.height, 1.0))
    # on the logic: the lid's own rise over the die's area, then the column that both share; where the stacks
    # leave some of the die bare, their heat has the less area and that of the logic a detour
    top = logic_own * area + tim
    thin = values.thermal("logic_resistance") * np.ones(n)
    cover = values.thermal("stack_cover")
    below = thermal.logic_rise_below(top, layer, thin, layers, area)
    below_memory = thermal.memory_rise_below(top, layer, layers, area)
    above = thermal.rises_above(top, layer, thin, layers, area)
    column = top + layers * layer + thin
    gaps = (
        thermal.parallel_resistance(values.thermal("stack_cover"), column, top + values.thermal("gap_resistance"))
        / column
    )
    bare = logic_own + (tim + values.thermal("bulk_resistance")) / area
    spot = _hot_spot(
        values, np.where(on & ~up, column, (tim + values.thermal("bulk_resistance")) + logic_own * area), area
    )
    memory_column = memory_own + (tim + layer * (layers + 1.0) / 2.0) / (memory_foot * memories)
    micro = values.catalog.value("bond", "microbump", "layer_resistance")
    flash_column = flash_own + (tim + micro * (parts.flash_height + 1.0) / 2.0) / (flash_foot * flashes)
    apart = np.where(near, 1.0, 0.0)
    logic_row = (
        np.where(on, np.where(up, above[0], below[0] * gaps), bare) + spot,
        np.where(on, np.where(up, above[1], below[1] / cover), np.where(sram, bare, memory_other)),
        apart * flash_other,
    )
    dram_row = (
        np.where(on, np.where(up, above[2], below_memory[0] * gaps), np.where(beside, logic_other, 0.0)),
        np.where(on, np.where(up, above[3], below_memory[1] / cover), np.where(sram, 0.0, memory_column)),
        np.where(sram, 0.0, apart * flash_other),
    )
    flash_row = (apart * logic_other, apart * np.where(beside, memory_other, logic_other), apart * flash_column)
    return logic_row, dram_row, flash_row


def _hot_spot(values: PartValues, column: FloatArray, area: FloatArray) -> FloatArray:
    """Rise [K/W] of the hottest spot over the mean of its die; ``column`` [m2 K/W] is all that lies above it."""
    length = thermal.spreading_length(
        values.thermal("silicon_conductivity"), values.thermal("silicon_thickness"), column
    )
    return thermal.hot_spot_rise(
        values.thermal("hot_spot_ratio"), values.thermal("hot_spot_radius"), length, column, area
    )


def cooled(look: PartValues, scenario: Scenario, draw: dict[str, FloatArray]) -> dict[str, Any]:
    """Cheapest cooling class that fits both phases unthrottled, else the strongest.

    Returns throttle rows, refresh-doubling row, package power limit, rack limit, cost per
    watt, fan share, provisioned package power and limits.
    """
    options = [_option(look, scenario, draw, name) for name in CLASSES]
    fits = [o["fits"] for o in options]
    pick = np.where(fits[0] > 0, 0, len(options) - 1)

    def chosen(values: list[FloatArray]) -> FloatArray:
        out: FloatArray = np.choose(pick, values)
        return out

    def rows(key: str, k: int) -> Row:
        a, b, d = (chosen([o[key][k][i] for o in options]) for i in range(3))
        return a, b, d

    flat = (
        "power_limit",
        "max_rack_power",
        "cost_per_watt",
        "fan_share",
        "package_power",
        "static_heat",
        "unthrottled",
    )
    out: dict[str, Any] = {key: chosen([o[key] for o in options]) for key in flat}
    out["throttle"] = tuple(rows("rows", k) for k in range(4))
    out["hot"] = rows("hot", 0)
    out["hot_loss"] = np.where(look.memory("refresh_power_per_byte") > 0, look.thermal("hot_bandwidth_loss"), 0.0)
    compute, stream = _phases(look, scenario, draw)
    out["logic_power"] = draw["logic_static"] + np.maximum(compute, stream[2])
    out["class"] = pick
    return out


def _option(values: PartValues, scenario: Scenario, draw: dict[str, FloatArray], name: str) -> dict[str, Any]:
    parts, catalog = values.parts, values.catalog
    n = len(parts.logic_area)
    cool = partial(catalog.value, "cooling", name)
    logic, dram, flash = rises(values, np.full(n, cool("area_resistance")))
    statics = (draw["logic_static"], draw["fast_static"], draw["flash_static"])
    tops = (np.full(n, values.thermal("logic_max_temperature")), values.memory("max_temperature"),
            np.where(parts.flash_stacks > 0, values.flash("max_temperature"), 1e4))  # fmt: skip
    built: list[Row] = []
    worst = np.zeros(n)
    for row, top in zip((logic, dram, flash), tops, strict=True):
        span = top - cool("coolant_temperature")
        at_rest = sum(r * s for r, s in zip(row, statics, strict=True))
        headroom = np.maximum(span - at_rest, LEAST_HEADROOM * span)
        worst = np.maximum(worst, at_rest / span)
        built.append((row[0] / headroom, row[1] / headroom, row[2] / headroom))
    limit = np.minimum(cool("max_package_power"), parts.power_cap)
    worst = np.maximum(worst, draw["static"] / limit)
    left = np.maximum(limit - draw["static"], LEAST_HEADROOM * limit)
    built.append((1.0 / left, 1.0 / left, 1.0 / left))
    span = values.memory("refresh_doubling_temperature") - cool("coolant_temperature")
    at_rest = sum(r * s for r, s in zip(dram, statics, strict=True))
    hot = tuple(r / np.maximum(span - at_rest, LEAST_HEADROOM * np.abs(span)) for r in dram)
    compute, stream = _phases(values, scenario, draw)
    need = np.zeros(n)
    for row in built:
        need = np.maximum(need, row[0] * compute)
        need = np.maximum(need, row[0] * stream[2] + row[1] * stream[0] + row[2] * stream[1])
    # decode on the engines: their reads and arithmetic in the memory, the clocks of the logic
    near = np.where(draw["near"] > 0, draw["near"] + stream[2], 0.0)
    peak = draw["static"] + np.maximum(np.maximum(compute, stream[0] + stream[1] + stream[2]), near)
    lost = catalog.value("power_delivery", "lateral", "efficiency")
    domain_power = parts.domain * (np.minimum(peak, limit) / lost + draw["beside"]) * (1.0 + cool("fan_share"))
    one_rack = (parts.domain == 1) | (domain_power <= cool("max_rack_power"))  # copper reaches within a rack
    return {
        "rows": built, "hot": [hot], "fits": (need <= 1.0) & (worst <= 1.0) & one_rack,
        "power_limit": limit, "package_power": np.minimum(peak, limit), "unthrottled": peak, "static_heat": worst,
        "max_rack_power": np.full(n, cool("max_rack_power")), "cost_per_watt": np.full(n, cool("cost_per_watt")),
        "fan_share": np.full(n, cool("fan_share")),
    }  # fmt: skip


def _phases(values: PartValues, scenario: Scenario, draw: dict[str, FloatArray]) -> tuple[FloatArray, Row]:
    """Sustained dynamic power [W]: prefill (compute), decode (fast, flash and on-chip streams)."""
    parts = values.parts
    software = partial(values.catalog.value, "software", scenario.software)
    compute = parts.peak[:, 1] * parts.flop_energy[:, 1] * software("flop_efficiency") + draw["active"]
    eff = software("bandwidth_efficiency")
    flash = np.where(parts.flash_stacks > 0, draw["flash_bandwidth"] * draw["flash_energy"], 0.0)
    bytes_in = eff * (parts.fast_bandwidth + np.where(parts.flash_stacks > 0, draw["flash_bandwidth"], 0.0))
    return compute, (
        eff * parts.fast_bandwidth * draw["fast_energy"],
        eff * flash,
        bytes_in * draw["on_chip"] + draw["active"],
    )
