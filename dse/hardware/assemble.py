"""From parts to a machine: tiers, PNM, heat, collectives, cost and carbon."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog, names
from dse.core.axes import ON_FAR, ON_FAST, ON_FLASH, OPERATORS
from dse.core.units import FloatArray, IntArray
from dse.hardware.availability import too_late
from dse.hardware.datacenter import ENGINES, FAR_AWAY, PNM, far_links
from dse.hardware.heat import cooled
from dse.hardware.logic import clock_levels
from dse.hardware.machine import FIXED_CLOCK, Machine
from dse.hardware.network import MEDIA, RackSpan, beside, fabric, link_power, rack_span, radix_limits, router_power
from dse.hardware.ownership import cost_of_ownership, pnm_units
from dse.hardware.part_values import TALL, PartValues
from dse.hardware.parts import Parts
from dse.hardware.reliability import standby
from dse.physics import flash, memory, package, pnm, stack
from dse.space.scenario import Scenario


def assemble(parts: Parts, catalog: Catalog, scenario: Scenario, rack_limit: float) -> Machine:
    """Complete a build; shape (n,) throughout. Sources are those of the physics modules."""
    values = PartValues(catalog, parts)
    limits = dict(parts.limits)
    tier: dict[str, Any] = dict(flash_tier(values))
    near = pnm_engine(values, tier, limits)
    in_memory = (parts.pnm > 0) & (near["site"] == ON_FAST)
    loss = np.where(in_memory, values.pnm("capacity_loss"), 0.0)
    wires = memory.mean_tsv_energy(values.memory("tsv_energy_per_layer"), parts.height)
    crossing = values.memory("interface_energy")
    reference_pitch = np.maximum(values.memory("reference_pitch"), 1e-9)
    crossing = np.where(values.on_logic > 0, stack.pitch_energy(crossing, parts.bond_pitch, reference_pitch), crossing)
    between = remote_reads(values, limits)
    fast_energy = values.memory("read_energy") + crossing + wires + between
    idle = values.memory("static_power_per_byte") + values.memory("refresh_power_per_byte")
    fast_static = parts.fast_capacity * idle
    taller = parts.flash_height - values.flash("reference_height")
    flash_static = parts.flash_stacks * (
        values.flash("idle_power_per_stack") + values.flash("idle_power_per_die") * taller
    )
    local = catalog.column("collective", ENGINES[:2] + ENGINES[1:2], "power")[parts.engine]
    engine_power = np.where(parts.domain > 1, local, 0.0)
    links = link_power(values) + router_power(values)
    static = parts.leakage + fast_static + flash_static + engine_power + links
    chip: dict[str, Any] = dict(scratchpad(values))
    distant: dict[str, Any] = dict(far_tier(values))
    clocked = values.rule("clock_power_share")
    active = clocked * parts.peak[:, 0] * parts.flop_energy[:, 0]
    near_active = clocked * np.where(near["site"] > 0, near["flops"], 0.0) * near["flop_energy"]
    on_chip = np.full(len(static), 2.0 * values.rule("sram_energy"))
    limits["available"] = too_late(latest_year(values), scenario.year)
    limits["shoreline"] = shoreline(values)
    limits["bond_pitch"] = finest_pitch(values, scenario.year) / parts.bond_pitch * (values.on_logic > 0)
    heat: dict[str, Any] = cooled(values, scenario, {
        "fast_energy": fast_energy, "fast_static": fast_static,
        "flash_static": flash_static,
        "flash_energy": tier["energy"], "flash_bandwidth": tier["bandwidth"], "static": static, "near": near_power(near),
            "active": active + near_active,
        "logic_static": parts.leakage + engine_power + links, "on_chip": on_chip, "beside": beside(values),
    })  # fmt: skip
    limits["static_heat"] = heat["static_heat"]
    heat["rack_limit"] = np.full(len(static), rack_limit)
    rack_most = np.minimum(rack_limit, heat["max_rack_power"])
    spread = rack_span(values, in_rack(values, heat["package_power"], heat["fan_share"]), rack_most)
    net: dict[str, Any] = dict(fabric(values, scenario, spread))
    longer = np.array([catalog.entry("link", name).available.nominal for name in MEDIA])[spread.medium]
    limits["available"] = np.maximum(
        limits["available"], too_late(np.where(net["far"] > 0, longer, 0.0), scenario.year)
    )
    if not np.all(parts.power_cap < FAR_AWAY):  # the radix of a machine that exists is a fact
        limits |= radix_limits(values, net)
    broken: dict[str, Any] = standby(values, net)
    money: dict[str, Any] = cost_of_ownership(values, scenario, heat, net, limits)
    money["report"] |= {
        "cooling": heat["class"].astype(np.float64),
        **_network(net, spread, broken),
        "link_power": links,
        "unthrottled_power": heat["unthrottled"],
        **_parts_of_energy(
            values,
            {"in-stack wires": wires, "interface": crossing, "between dies": between},
            flash_static,
            engine_power,
        ),
    }
    kept = ("reduce_alpha", "reduce_rate", "exchange_alpha", "exchange_rate", "gather_alpha", "hop_time")
    paid = ("outside_power", "power_loss", "provisioned", "capital", "capital_rate", "embodied", "report")
    return Machine(
        peak=parts.peak, flop_energy=parts.flop_energy, fast_bandwidth=parts.fast_bandwidth,
        fast_capacity=np.maximum(parts.fast_capacity * (1.0 - loss) - tier.pop("staged"), 1.0), fast_energy=fast_energy, fast_static=fast_static,
        **{f"flash_{k}": v for k, v in tier.items() if k not in {"shared_phy", "latency"}}, shared_phy=tier["shared_phy"],
        **{f"pnm_{k}": v for k, v in near.items()},
        **chip, **{f"far_{k}": v for k, v in distant.items() if k != "latency"},
        slow_latency=np.maximum(tier["latency"], distant["latency"]), level_energy=level_energy(values),
        static_power=static, active_power=active, near_active_power=near_active, on_chip_energy=on_chip, throttle=heat["throttle"], hot=heat["hot"], hot_loss=heat["hot_loss"],
        refresh_power=parts.fast_capacity * values.memory("refresh_power_per_byte"), fast_on_chip=values.on_chip,
        grid=np.full(len(static), catalog.value("grid", scenario.electricity_grid, "intensity")), domain=parts.domain, link_bandwidth=parts.link_bandwidth, limits=limits,
        **{k: v for k, v in net.items() if k.startswith("scale_out")},
        **{k: net[k] for k in kept}, **{k: money[k] for k in paid}, **broken,
    )  # fmt: skip


def _parts_of_energy(
    values: PartValues, read: dict[str, FloatArray], flash_static: FloatArray, engine_power: FloatArray
) -> dict[str, FloatArray]:
    """What a breakdown tells of a byte's energy [J/B] beyond the array, and of the power that stands [W]."""
    parts = values.parts
    return {
        "read: array": values.memory("read_energy"), **{f"read: {n}": v for n, v in read.items()},
        "flash read: array": values.flash("read_energy") - values.flash("interface_energy"),
        "static: leakage": parts.leakage, "static: DRAM standby": parts.fast_capacity * values.memory("static_power_per_byte"),
        "static: DRAM refresh": parts.fast_capacity * values.memory("refresh_power_per_byte"), "static: flash idle": flash_static,
        "static: collective engine": engine_power, "static: links": link_power(values), "static: routers": router_power(values),
    }  # fmt: skip


def _network(net: dict[str, Any], spread: RackSpan, broken: dict[str, Any]) -> dict[str, FloatArray]:
    """What a breakdown tells of the network; takes it out of ``broken``."""
    return {
        "medium": spread.medium.astype(np.float64), "racks of a domain": spread.racks, "ports": net["ports"],
        "cables": net["cables"], "cables between racks": net["far"], "switch chips": net["chips"],
        "spare packages": broken.pop("spares"), "failures of a domain": broken.pop("failures"),
    }  # fmt: skip


def remote_reads(values: PartValues, limits: dict[str, FloatArray]) -> FloatArray:
    """Energy [J/B] that reads of another compute die's memory add to the mean read; the limit of the joint they cross.

    A machine that exists is measured with it.
    """
    parts = values.parts
    between = partial(values.catalog.value, "link", "die_to_die")
    remote = np.where((parts.dies > 1) & (values.on_chip == 0) & (parts.clock > 0), between("remote_share"), 0.0)
    limits["die_to_die"] = package.joint_load(
        remote * parts.fast_bandwidth, parts.logic_area, parts.dies, between("shoreline_density")
    )
    return remote * between("energy")


def in_rack(values: PartValues, package_power: FloatArray, fan_share: FloatArray) -> FloatArray:
    """Power [W] that a package asks of its rack, regulators, host, switches and fans included."""
    lost = values.catalog.value("power_delivery", "lateral", "efficiency")
    return (package_power / lost + beside(values)) * (1.0 + fan_share)


def flash_tier(values: PartValues) -> dict[str, FloatArray]:
    """Capacity, bandwidth, latency, energy and wear of the flash; harmless numbers without."""
    parts = values.parts
    has = parts.flash >= 0
    dies = parts.flash_stacks * parts.flash_height
    latency = np.where(has, values.cell("read_latency"), 1.0)
    planes, page = dies * values.flash("planes_per_die"), values.flash("page_bytes")
    array = flash.plane_bandwidth(planes, page, latency)
    behind, far = parts.flash_attach == 1, parts.flash_attach == 2
    link = partial(values.catalog.value, "link", "far")
    unstaged = np.minimum(
        np.minimum(array, parts.flash_stacks * values.flash("read_bandwidth")), parts.flash_stacks * powered(values)
    )
    unstaged = np.where(far, np.minimum(unstaged, link("bandwidth")), unstaged)
    in_stacks = parts.flash_stacks * values.flash("base_die_buffer")
    lent = np.where(
        values.on_chip > 0, 0.5 * parts.sram, parts.sram
    )  # SRAM that is the fast tier keeps half for its own bytes
    staging = in_stacks + lent
    bandwidth = np.minimum(unstaged, flash.staged_bandwidth(staging, latency))
    energy = values.flash("read_energy") + np.where(behind, values.memory("interface_energy"), 0.0)
    extra = np.where(behind, values.flash("hop_latency"), 0.0) + np.where(far, link("latency"), 0.0)
    capacity = dies * values.cell("capacity_per_die")
    writable = values.cell("endurance") * capacity / np.maximum(values.flash("write_amplification"), 1.0)
    write = flash.program_bandwidth(
        planes, page, values.cell("pages_per_shot"), np.where(has, values.cell("program_latency"), 1.0)
    )
    wanted = 2.0 * bandwidth * latency  # what keeps the planes streaming
    limit = np.maximum(values.cell("read_disturb_limit"), 1.0)
    return {
        "bandwidth": np.where(has, bandwidth, 1.0),
        "capacity": np.where(has, capacity, 0.0),
        "energy": energy + np.where(far, link("energy"), 0.0),
        "latency": np.where(has, latency + extra, 0.0),
        "write_bandwidth": np.where(has, np.minimum(write, np.where(far, link("bandwidth"), write)), 1.0),
        "program_energy": values.flash("program_energy"),
        "endurance": np.where(has, writable, 1.0),
        "reclaim": flash.reclaim_rate(np.where(has, 1.0, 0.0), values.flash("pages_per_block"), limit),
        "pages": values.flash("pages_per_block"),
        "refresh": np.where(has, 1.0 / np.maximum(values.cell("retention_refresh_interval"), 1.0), 0.0),
        "shared_phy": behind.astype(np.float64),
        "page": np.where(has, page, 1.0),
        "stripe": np.where(has, planes * page, 1.0),
        "buffer": np.where(
            has, np.maximum(np.where(behind, in_stacks, staging) - wanted, 0.0), 0.0
        ),  # before a shared PHY
        "staged": np.where(has & (values.on_chip > 0), lent, 0.0),
    }


def powered(values: PartValues) -> FloatArray:
    """Bandwidth [B/s] that a flash stack's power allows; unbounded where the entry states none."""
    parts = values.parts
    taller = parts.flash_height - values.flash("reference_height")
    idle = values.flash("idle_power_per_stack") + values.flash("idle_power_per_die") * taller
    limited = values.flash("power_per_stack") > 0
    allowed = flash.powered_bandwidth(values.flash("power_per_stack"), idle, values.flash("read_energy"))
    return np.where(limited, allowed, FAR_AWAY * FAR_AWAY)


def scratchpad(values: PartValues) -> dict[str, FloatArray]:
    """SRAM that may hold weights: what software manages, less the staging of streams; none where it is the memory.

    With flash it is all kept for reads ahead of use, which a layer's worth of it serves in every layer.
    """
    parts = values.parts
    streams = 2.0 * parts.fast_bandwidth * values.memory("access_latency")
    sram_only = values.catalog.value("memory", "none", "bandwidth_per_byte")
    free = np.where((parts.flash_stacks > 0) | (values.on_chip > 0), 0.0, parts.scratchpad)
    return {
        "sram_capacity": np.maximum(free - np.where(free > 0, streams, 0.0), 0.0),
        "sram_bandwidth": np.maximum(sram_only * parts.sram, 1.0),
    }


def far_tier(values: PartValues) -> dict[str, FloatArray]:
    """Capacity, bandwidth and energy of memory modules behind links; harmless numbers without."""
    parts = values.parts
    has = parts.far_modules > 0
    capacity = parts.far_modules * values.far("capacity_per_package")
    return {
        "bandwidth": np.where(has, parts.far_modules * values.far("bandwidth_per_stack"), 1.0),
        "capacity": capacity,
        "energy": values.far("read_energy") + values.far("interface_energy"),
        "latency": values.far("access_latency"),
    }


def level_energy(values: PartValues) -> FloatArray:
    """(n, levels) dynamic energy at each clock level; a machine that exists keeps its clock."""
    parts = values.parts
    ours = parts.clock > 0
    ratio = np.where(ours, parts.clock / np.maximum(values.logic("clock_nominal"), 1.0), 1.0)
    return np.where(ours[:, None], clock_levels(values.catalog, ratio), FIXED_CLOCK)


def pnm_engine(values: PartValues, tier: dict[str, FloatArray], limits: dict[str, FloatArray]) -> dict[str, Any]:
    """Bandwidth, FLOP/s, energies and hand-over terms of the PNM engine; adds its own limits."""
    parts = values.parts
    on_flash, on_far = parts.pnm == PNM.index("flash_base_die"), parts.pnm == PNM.index("far_module")
    has = parts.pnm > 0
    units = pnm_units(values)
    latency = np.where(parts.flash >= 0, values.cell("read_latency"), 1.0)
    inside = np.minimum(flash.plane_bandwidth(tier["stripe"], np.ones(len(has)), latency),
                        parts.flash_stacks * np.minimum(values.flash("read_bandwidth"), powered(values)))  # fmt: skip
    inside = np.minimum(inside, flash.staged_bandwidth(parts.flash_stacks * values.flash("base_die_buffer"), latency))
    outside = parts.far_modules * values.far("bandwidth_per_stack")
    own = np.where(on_flash, inside, np.where(on_far, outside, parts.fast_bandwidth))
    energy = np.where(
        on_flash, values.flash("read_energy") - values.flash("interface_energy"), values.pnm("read_energy")
    )
    wanted = np.where(has, parts.pnm_flops, 0.0)
    by_area = values.pnm("free_area") * values.pnm("flop_density")
    room = np.where(by_area > 0, by_area, values.pnm("compute_limit"))
    limits["pnm_compute"] = np.where(has, wanted / np.maximum(room, 1.0), 0.0)
    heat = wanted * values.pnm("flop_energy")
    # banks of a stack on an interposer read no faster than its power allows, which bears the host's reads at full rate
    in_banks = (parts.pnm == PNM.index("in_bank")) & (values.stacked > 0)
    borne = np.maximum(values.pnm("power_budget"), values.memory("bandwidth_per_stack") * values.memory("read_energy"))
    most = units * np.maximum(borne - heat, 0.0) / np.maximum(energy, 1e-15)
    inner = own * values.pnm("bandwidth_gain")
    inner = np.where(in_banks, np.clip(most, 1.0, inner), inner)
    limits["pnm_power"] = np.where(has, heat / np.maximum(values.pnm("power_budget"), 1e-9), 0.0)
    return {
        "site": np.where(on_flash, ON_FLASH, np.where(on_far, ON_FAR, np.where(has, ON_FAST, 0))),
        "serves": values.pnm_serves(OPERATORS),
        "bandwidth": np.where(has, inner, 1.0),
        "flops": np.where(has, wanted * units, 1.0),
        "energy": energy,
        "flop_energy": values.pnm("flop_energy"),
        "switch": values.pnm("mode_switch_latency"),
        "copies": pnm.partition_copies(units * values.pnm("shards_per_stack")),
    }


def near_power(near: dict[str, Any]) -> FloatArray:
    """Power [W] of the PNM engines of a package at full rate: reads and arithmetic."""
    watts = near["bandwidth"] * near["energy"] + near["flops"] * near["flop_energy"]
    return np.where((near["site"] > 0) & (near["site"] != ON_FAR), watts, 0.0)


def latest_year(values: PartValues) -> FloatArray:
    """Nominal year in which the last of a design's parts can be had."""
    parts, catalog = values.parts, values.catalog

    def years(kind: str, code: IntArray) -> FloatArray:
        table = np.array([*(catalog.entry(kind, x).available.nominal for x in names(catalog, kind)), 0.0])
        out: FloatArray = table[code]
        return out

    latest = np.maximum(years("logic", parts.node), years("memory", parts.memory))
    latest = np.maximum(latest, years("flash", parts.flash))
    for field in catalog.entry("flash", "hbf_gen1").values:
        if field.startswith("available_height_"):
            tall = parts.flash_height == float(field.rsplit("_", 1)[1])
            latest = np.where(tall, np.maximum(latest, values.flash(field)), latest)

    latest = np.maximum(latest, years("memory", parts.far))
    bonded = np.where(
        (values.stacked > 0) & (parts.height >= TALL), catalog.entry("bond", "hybrid_bond").available.nominal, 0.0
    )
    out: FloatArray = np.maximum(np.maximum(latest, values.pnm_year()), bonded)
    return out


def finest_pitch(values: PartValues, year: float) -> FloatArray:
    """Finest pitch [m] that a year's bonding makes, of bumps or of hybrid bonds as the design has."""

    def finest(name: str) -> float:
        return values.in_year("bond", name, "finest_pitch_", year)

    return np.where(values.hybrid_bonded > 0, finest("hybrid_bond"), finest("microbump"))


def shoreline(values: PartValues) -> FloatArray:
    """Die edge that memory PHYs and links ask for, over the edge there is."""
    parts, catalog = values.parts, values.catalog
    own = np.where(parts.flash_attach == 0, parts.flash_stacks, 0.0)
    edge = package.die_edge(parts.logic_area, parts.dies) * catalog.value("package", "cowos_l", "shoreline_use")
    used = parts.stacks * values.memory("shoreline") + own * values.flash("shoreline")
    links = (np.where(parts.domain > 1, parts.link_bandwidth, 0.0) + far_links(catalog, parts)) / values.rule(
        "serdes_shoreline_density"
    )
    return (used + links) / np.maximum(edge, 1e-9)
