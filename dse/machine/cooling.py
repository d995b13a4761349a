"""Cooling class, thermal limits and provisioned power of a package.

Temperatures are linear in the power of logic, fast memory and flash (physics/thermal.py), so
each limit becomes a row of s/J: a step of energies E takes at least sum_i c_i E_i.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from dse.machine.look import Look
from dse.physics import thermal
from dse.space import Scenario
from dse.units import FloatArray

CLASSES = ("air", "cold_plate")
Row = tuple[FloatArray, FloatArray, FloatArray]
LEAST_HEADROOM = 0.01
"""share of a limit kept as headroom when static power alone breaks it (and a limit says so)"""


def rises(look: Look, base: FloatArray) -> tuple[Row, Row, Row]:
    """Rise [K/W] of logic, hottest DRAM die and flash per watt of (logic, fast, flash)."""
    p = look.parts
    layer, logic_r = look.bond("layer_resistance"), look.thermal("logic_resistance")
    area = np.maximum(p.logic_area, 1e-9)
    zero = np.zeros(len(area))
    flat = (base + logic_r) / area
    layers = np.where(look.packaged > 0, look.memory("reference_height"), np.maximum(p.height, 1.0))
    footprint = np.maximum(p.stacks * look.memory("footprint_area"), 1e-9)
    beside = (base + layer * (layers + 1.0) / 2.0) / footprint
    below_logic = thermal.logic_rise_below(base, layer, logic_r * np.ones_like(area), layers, area)
    below_memory = thermal.memory_rise_below(base, layer, layers, area)
    above = thermal.rises_above(base, layer, logic_r * np.ones_like(area), layers, area)
    up = p.logic_above > 0
    on = look.on_logic > 0
    sram = (look.stacked + look.packaged + look.on_logic) == 0
    logic_row = (
        np.where(on, np.where(up, above[0], below_logic[0]), flat),
        np.where(on, np.where(up, above[1], below_logic[1]), np.where(sram, flat, 0.0)),
        zero,
    )
    dram_row = (
        np.where(on, np.where(up, above[2], below_memory[0]), 0.0),
        np.where(on, np.where(up, above[3], below_memory[1]), np.where(sram, 0.0, beside)),
        zero,
    )
    flash_foot = np.maximum(p.flash_stacks * look.flash("footprint_area"), 1e-9)
    micro = look.catalog.value("bond", "microbump", "layer_resistance")
    flash_rise = np.where(p.flash_stacks > 0, (base + micro * (p.flash_height + 1.0) / 2.0) / flash_foot, 0.0)
    return logic_row, dram_row, (zero, zero, flash_rise)


def cooled(look: Look, scenario: Scenario, draw: dict[str, FloatArray]) -> dict[str, Any]:
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
    out["class"] = pick
    return out


def _option(look: Look, scenario: Scenario, draw: dict[str, FloatArray], name: str) -> dict[str, Any]:
    p, c = look.parts, look.catalog
    n = len(p.logic_area)
    cool = partial(c.value, "cooling", name)
    base = np.full(n, cool("area_resistance") + look.thermal("tim_lid_resistance"))
    logic, dram, flash = rises(look, base)
    statics = (draw["logic_static"], draw["fast_static"], draw["flash_static"])
    tops = (np.full(n, look.thermal("logic_max_temperature")), look.memory("max_temperature"),
            np.where(p.flash_stacks > 0, look.flash("max_temperature"), 1e4))  # fmt: skip
    built: list[Row] = []
    worst = np.zeros(n)
    for row, top in zip((logic, dram, flash), tops, strict=True):
        span = top - cool("coolant_temperature")
        at_rest = sum(r * s for r, s in zip(row, statics, strict=True))
        headroom = np.maximum(span - at_rest, LEAST_HEADROOM * span)
        worst = np.maximum(worst, at_rest / span)
        built.append((row[0] / headroom, row[1] / headroom, row[2] / headroom))
    limit = np.minimum(cool("max_package_power"), p.power_cap)
    worst = np.maximum(worst, draw["static"] / limit)
    left = np.maximum(limit - draw["static"], LEAST_HEADROOM * limit)
    built.append((1.0 / left, 1.0 / left, 1.0 / left))
    span = look.memory("refresh_doubling_temperature") - cool("coolant_temperature")
    at_rest = sum(r * s for r, s in zip(dram, statics, strict=True))
    hot = tuple(r / np.maximum(span - at_rest, LEAST_HEADROOM * np.abs(span)) for r in dram)
    compute, stream = _phases(look, scenario, draw)
    need = np.zeros(n)
    for row in built:
        need = np.maximum(need, row[0] * compute)
        need = np.maximum(need, row[0] * stream[2] + row[1] * stream[0] + row[2] * stream[1])
    peak = draw["static"] + np.maximum(compute, stream[0] + stream[1] + stream[2])
    domain_power = p.domain * (np.minimum(peak, limit) + c.value("economics", "datacenter", "host_power"))
    one_rack = (p.domain == 1) | (domain_power <= cool("max_rack_power"))  # copper reaches within a rack
    return {
        "rows": built, "hot": [hot], "fits": (need <= 1.0) & (worst <= 1.0) & one_rack,
        "power_limit": limit, "package_power": np.minimum(peak, limit), "unthrottled": peak, "static_heat": worst,
        "max_rack_power": np.full(n, cool("max_rack_power")), "cost_per_watt": np.full(n, cool("cost_per_watt")),
        "fan_share": np.full(n, cool("fan_share")),
    }  # fmt: skip


def _phases(look: Look, scenario: Scenario, draw: dict[str, FloatArray]) -> tuple[FloatArray, Row]:
    """Sustained dynamic power [W]: prefill (compute), decode (fast, flash and on-chip streams)."""
    p = look.parts
    soft = partial(look.catalog.value, "software", scenario.software)
    compute = p.peak[:, 1] * p.flop_energy[:, 1] * soft("flop_efficiency") + draw["active"]
    eff = soft("bandwidth_efficiency")
    flash = np.where(p.flash_stacks > 0, draw["flash_bandwidth"] * draw["flash_energy"], 0.0)
    bytes_in = eff * (p.fast_bandwidth + np.where(p.flash_stacks > 0, draw["flash_bandwidth"], 0.0))
    return compute, (
        eff * p.fast_bandwidth * draw["fast_energy"],
        eff * flash,
        bytes_in * draw["on_chip"] + draw["active"],
    )
