"""Mobile packages completed to the same Machine record: tiers, PNM, heat, bill of materials.

One package, one user, batch 1. Heat: two lumps, the chip with what lies near it and the body; the warmest
skin stands over the chip, between the two. Work is held so that skin and DRAM stay within their limits after
the scenario's sustained time. Known limit: the skin is two temperatures, not a map.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog, names
from dse.core.axes import GROUPS
from dse.core.table import total
from dse.core.units import FloatArray, IntArray
from dse.hardware.availability import too_late
from dse.hardware.collective_tables import LINES
from dse.hardware.machine import Machine
from dse.hardware.mobile_account import embodied, materials, pnm_units, soc_area
from dse.hardware.phone import LINKS, MOUNTS, PNM, POP_TALL, Phone, Pick
from dse.physics import flash as cells
from dse.physics import thermal
from dse.space.scenario import Scenario

HALF = 0.5  # of the chip's rise over the body reaches DRAM beside it


LEAST = 0.01  # share of a span that stays for work where what stands takes it all: the limit says so


def mobile_machine(
    p: Phone, catalog: Catalog, scenario: Scenario, limits: dict[str, float], weights: float, *, built: bool
) -> Machine:
    """Complete phones to machines; ``built`` devices keep their published DRAM bandwidth."""
    c = Pick(catalog, p, scenario.body)
    n = len(p.node)
    on_soc = p.mount == MOUNTS.index("3d_on_soc")
    bus = p.link == 0
    link_bw = c.link("bandwidth") * c.links
    fast_bw = p.bandwidth if built else np.where(on_soc, p.bandwidth, np.minimum(p.bandwidth, link_bw))
    plain = c.dram("interface_energy")  # a bus is LPDDR's own, as machines that exist have it
    io = (
        plain * np.ones(n)
        if built
        else np.where(on_soc, c.body("io_energy_3d"), np.where(bus, plain, c.link("energy")))
    )
    fast_energy = c.dram("read_energy") + io
    tier = _flash(c, p, link_bw, built=built)
    used = p.home > 0
    static_fast = p.capacity * (c.dram("static_power_per_byte") + c.dram("refresh_power_per_byte"))
    idle_flash = (
        p.flash_dies
        * c.flash("idle_power")
        * np.where(c.flash("interface_per_die") > 0, 1.0, 1.0 / np.maximum(p.flash_dies, 1.0))
    )
    static = static_fast + idle_flash + c.body("soc_static_power")
    rows, hot, heat = _heat(c, p, scenario, limits, static)
    checks = dict(p.limits) | heat
    if not built:
        checks |= _space_limits(c, p, limits)
        checks["available"] = too_late(_years(c, p), scenario.year)
    near = _pnm(c, p, tier, fast_bw, checks, built=built)
    bom = materials(c, p, scenario, weights)
    kg = embodied(c, p, scenario, tier["capacity"], weights)
    one = np.ones(n)
    planes = p.flash_dies * c.flash("planes_per_die")
    free = np.maximum(p.capacity - scenario.application_memory, p.capacity * 0.01)
    checks["application_memory"] = np.where(p.capacity > scenario.application_memory, 0.0, 2.0)
    groups = np.zeros((n, len(GROUPS)))
    return Machine(
        peak=p.peak, flop_energy=p.flop_energy, fast_bandwidth=fast_bw, fast_capacity=free, fast_energy=fast_energy,
        fast_static=static_fast, flash_bandwidth=np.where(used, tier["bandwidth"], 1.0),
        flash_capacity=np.where(used, tier["capacity"], 0.0), flash_energy=tier["energy"],
        slow_latency=np.where(used, c.cell("read_latency"), 0.0), flash_write_bandwidth=tier["write"],
        flash_program_energy=c.flash("program_energy"), flash_endurance=tier["endurance"], flash_reclaim=tier["reclaim"],
        flash_page=c.flash("page_bytes"), flash_stripe=np.maximum(planes * c.flash("page_bytes"), 1.0), flash_buffer=tier["buffer"],
        sram_bandwidth=one, sram_capacity=0 * one, far_bandwidth=one, far_capacity=0 * one, far_energy=0 * one,
        flash_pages=c.flash("pages_per_block"), flash_refresh=1.0 / np.maximum(c.cell("retention_refresh_interval"), 1.0),
        shared_phy=np.where(used & (bus | (c.flash("interface_per_die") > 0)), 1.0, 0.0) if not built else np.zeros(n),
        **{f"pnm_{k}": v for k, v in near.items()}, static_power=static,
        active_power=catalog.value("logic_rules", "common", "clock_power_share") * p.peak[:, 0] * p.flop_energy[:, 0],
        near_active_power=0 * one, level_energy=p.level_energy,
        on_chip_energy=np.full(n, 2.0 * catalog.value("logic_rules", "common", "sram_energy")),
        outside_power=np.zeros(n), power_loss=one / c.body("power_conversion"), throttle=rows,
        hot=hot, hot_loss=np.full(n, catalog.value("thermal", "common", "hot_bandwidth_loss")), refresh_power=p.capacity * c.dram("refresh_power_per_byte"), fast_on_chip=0 * one, domain=one,
        reduce_alpha=np.zeros((n, len(GROUPS), len(LINES))), reduce_rate=np.zeros((n, len(GROUPS), len(LINES))),
        exchange_alpha=groups, exchange_rate=groups, gather_alpha=groups, hop_time=0 * one, link_bandwidth=one,
        scale_out_bandwidth=one, scale_out_latency=0 * one, scale_out_energy=0 * one, provisioned=static, capital=bom["total"],
        capital_rate=0 * one, failure_rate=0 * one, spare_share=0 * one, repair_time=0 * one, recovery_time=0 * one, embodied=total(kg.values()), grid=np.full(n, catalog.value("grid", scenario.electricity_grid, "intensity")), limits=checks,
        report={f"cost: {k}": v for k, v in bom.items() if k != "total"} | {f"carbon: {k}": v for k, v in kg.items()}
        | {"bom": bom["total"], "flash_load": tier["bandwidth"], "refresh_per_byte": c.dram("refresh_power_per_byte"),
           "read: array": c.dram("read_energy"), "read: interface": io, "flash read: array": c.flash("read_energy"),
           "static: DRAM standby": p.capacity * c.dram("static_power_per_byte"), "static: DRAM refresh": p.capacity * c.dram("refresh_power_per_byte"),
           "static: flash idle": idle_flash, "static: SoC rails": np.full(n, c.body("soc_static_power")), "memory": p.capacity},
    )  # fmt: skip


def _flash(c: Pick, p: Phone, link_bw: FloatArray, *, built: bool) -> dict[str, FloatArray]:
    per_die = c.flash("interface_per_die") > 0
    phy = c.flash("interface_bandwidth") * np.where(per_die, p.flash_dies, 1.0)
    latency = c.cell("read_latency")
    array = cells.plane_bandwidth(p.flash_dies * c.flash("planes_per_die"), c.flash("page_bytes"), latency)
    inner = np.minimum(array, p.flash_dies * c.flash("internal_bandwidth_per_die"))
    inner = np.where(p.flash_inner > 0, p.flash_inner, inner)
    staged = cells.staged_bandwidth(p.sram, latency)
    reach = np.minimum(np.minimum(phy, inner), np.minimum(staged, phy if built else link_bw))
    capacity = np.where(p.flash_capacity > 0, p.flash_capacity, p.flash_dies * c.cell("capacity_per_die"))
    planes = p.flash_dies * c.flash("planes_per_die")
    shots = c.cell("pages_per_shot")
    return {
        "buffer": np.maximum(p.sram - 2.0 * reach * latency, 0.0),
        "bandwidth": reach, "inner": inner, "capacity": capacity,
        "energy": c.flash("read_energy") + c.flash("interface_energy"),
        "endurance": c.cell("endurance") * capacity / np.maximum(c.flash("write_amplification"), 1.0),
        "reclaim": cells.reclaim_rate(np.ones(len(phy)), c.flash("pages_per_block"), np.maximum(c.cell("read_disturb_limit"), 1.0)),
        "write": cells.program_bandwidth(planes, c.flash("page_bytes"), shots, c.cell("program_latency")),
    }  # fmt: skip


def lumps(catalog: Catalog, body: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Resistances [K/W] (chip to body, body to air) and heat capacities [J/K] (chip, body) of a body's two lumps."""
    v = partial(catalog.value, "mobile", body)
    return (v("junction_resistance"), v("skin_resistance")), (v("local_heat_capacity"), v("heat_capacity"))


def _heat(
    c: Pick, p: Phone, scenario: Scenario, limits: dict[str, float], static: FloatArray
) -> tuple[Any, Any, dict[str, FloatArray]]:
    """Throttle rows (skin after the sustained time, burst power, DRAM junction), the row of hot DRAM, and shares at rest.

    The governor holds the burst limit as it holds the skin: by spreading work out.
    """
    n = len(static)
    rises = thermal.lump_rises(*lumps(c.catalog, scenario.body), scenario.sustained_after)
    spot = thermal.spot_rise(rises, c.body("spot_share"))
    loss = 1.0 / c.body("power_conversion")
    rest, background = static * loss, c.body("background_power")
    span = limits["skin_temperature"] - scenario.ambient
    at_rest = spot[0] * rest + spot[1] * background
    room = np.maximum(span - at_rest, LEAST * span)
    skin = loss * spot[0] / room
    idle = rest + background
    burst = loss / np.maximum(limits["burst_power"] - idle, LEAST * limits["burst_power"])
    warmed = rises[1] + np.where(p.mount == MOUNTS.index("side_by_side"), HALF, 1.0)[:, None] * (rises[0] - rises[1])
    layers = np.where(
        p.mount == MOUNTS.index("3d_on_soc"), p.height * c.body("dram_layer_resistance") / c.body("soc_base_area"), 0.0
    )
    height = limits["dram_temperature"] - scenario.ambient
    dram_rest = warmed[:, 0] * rest + warmed[:, 1] * background
    headroom = np.maximum(height - dram_rest, LEAST * height)
    near = loss * warmed[:, 0]
    rows = ((skin, skin, skin), (burst, burst, burst), ((near + layers) / headroom, near / headroom, np.zeros(n)))
    warm = np.maximum(c.dram("refresh_doubling_temperature") - scenario.ambient - dram_rest, LEAST * height)
    return (
        rows,
        ((near + layers) / warm, near / warm, np.zeros(n)),
        {
            "skin_temperature": at_rest / span,
            "burst_power": idle / limits["burst_power"],
            "dram_temperature": dram_rest / height,
        },
    )


def _space_limits(c: Pick, p: Phone, limits: dict[str, float]) -> dict[str, FloatArray]:
    """Package area and height; DRAM dies that stacks of this height hold, in the packages that the channels take.

    Bonded to the SoC a layer holds what DRAM for stacking holds on the SoC's area.
    """
    dies = p.capacity / c.dram("capacity_per_package") * POP_TALL
    stacks = np.maximum(np.ceil(dies / p.height - 1e-9), c.packages)
    on_soc, beside = p.mount == MOUNTS.index("3d_on_soc"), p.mount == MOUNTS.index("side_by_side")
    soc = soc_area(c, p)
    area = soc.whole + np.where(beside, stacks * c.dram("footprint_area") * c.swell, 0.0)
    budget = c.body("package_area") + np.where(beside, c.dram("footprint_area"), 0.0)
    thick = c.dram("z_height") * np.maximum(p.height / POP_TALL, HALF)
    z = c.body("soc_z_height") + np.where(
        beside, np.maximum(thick - c.body("soc_z_height"), 0.0), np.where(on_soc, HALF * thick, thick)
    )
    layer = c.catalog.value("memory", "dram3d", "capacity_per_layer_per_area") * soc.whole
    held = np.where(on_soc, p.capacity / (p.height * layer), np.where(p.mount == 0, stacks, 0.0))  # one stack on top
    return {
        "package_area": np.maximum(area / budget, np.where(held > 1.0 + 1e-9, held, 0.0)),
        "z_height": z / limits["z_height"],
    }


def _years(c: Pick, p: Phone) -> FloatArray:
    cat = c.catalog

    def when(kind: str, code: IntArray) -> FloatArray:
        out: FloatArray = np.array([cat.entry(kind, x).available.nominal for x in names(cat, kind)])[code]
        return out

    engines = np.array(
        [0.0, *(cat.entry("pnm", x).available.nominal for x in ("in_bank_lpddr", "lpddr_package", "flash_base_die"))]
    )
    links = np.array([cat.entry("link", x).available.nominal for x in LINKS])
    bonded = np.where(p.mount == MOUNTS.index("3d_on_soc"), cat.entry("memory", "dram3d").available.nominal, 0.0)
    latest = np.maximum.reduce(
        [when("logic", p.node), when("memory", p.dram), when("flash", p.flash), engines[p.pnm], links[p.link], bonded]
    )
    out: FloatArray = latest
    return out


def _pnm(
    c: Pick, p: Phone, tier: dict[str, FloatArray], fast_bw: FloatArray, checks: dict[str, FloatArray], *, built: bool
) -> dict[str, Any]:
    on_flash = p.pnm == PNM.index("flash_base_die")
    has = p.pnm > 0
    bandwidth = np.where(on_flash, tier["inner"], p.bandwidth * c.pnm("bandwidth_gain"))
    room = np.where(p.pnm == PNM.index("in_bank"), c.pnm("compute_limit"), c.pnm("free_area") * c.pnm("flop_density"))
    if not built:
        units = pnm_units(c, p)
        checks["pnm_compute"] = np.where(has, p.pnm_flops / np.maximum(units * room, 1.0), 0.0)
        checks["pnm_power"] = np.where(
            has, p.pnm_flops * c.pnm("flop_energy") / np.maximum(units * c.pnm("power_budget"), 1e-9), 0.0
        )
    del fast_bw
    return {
        "site": np.where(on_flash & (p.home > 0), 2, np.where(has & ~on_flash, 1, 0)),
        "bandwidth": np.where(has, bandwidth, 1.0), "flops": np.where(has, p.pnm_flops, 1.0),
        "energy": np.where(on_flash, c.flash("read_energy"), c.pnm("read_energy")), "flop_energy": c.pnm("flop_energy"),
        "switch": np.where(has, c.pnm("mode_switch_latency") + c.link("latency"), 0.0),
        "serves": c.pnm_serves(),
        "copies": np.sqrt(np.maximum(np.where(on_flash, p.flash_dies, c.pnm("shards_per_stack")), 1.0)),
    }  # fmt: skip
