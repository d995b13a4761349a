"""The memories of a package as tiers: fast memory, on-chip SRAM, flash, far modules."""

from __future__ import annotations

import numpy as np

from dse.core.axes import FlashAttach, PnmSite
from dse.core.table import total
from dse.core.units import FloatArray
from dse.hardware.machine import Fast, Flash, ReadLine, Tier
from dse.hardware.part_values import PartValues
from dse.hardware.parts import UNBOUNDED
from dse.physics import flash, memory, package
from dse.space.scenario import Scenario

LEAST_FAST = 0.01
"""share of the fast memory that counts as free where applications and engines leave none: a limit says so"""
LENT = 0.5
"""share of SRAM that is the fast tier which streams of flash may be staged in"""


def fast_reads(values: PartValues) -> tuple[dict[ReadLine, FloatArray], FloatArray]:
    """Energy [J/B] of a read of fast memory by its parts.

    Traffic between two dies over what their edge carries.

    Behind two compute dies a share of what a die reads lies in the other's memory.
    """
    memories = values.parts.memory
    link = values.catalog.the("link", "die_to_die")
    share, energy, density = (
        values.catalog.value("link", link, f) for f in ("remote_share", "energy", "shoreline_density")
    )
    logic = values.parts.logic
    ours = (values.on_chip == 0) & (logic.clock > 0)  # a machine that exists is measured with it
    remote = np.where((logic.dies > 1) & ours, share, 0.0)
    load = package.joint_load(remote * memories.host_bandwidth, logic.area, logic.dies, density)
    reads = {
        ReadLine.ARRAY: values.memory("read_energy"),
        ReadLine.IN_STACK_WIRES: memory.mean_tsv_energy(
            values.memory("tsv_energy_per_layer"), memories.stack_height
        ),
        ReadLine.INTERFACE: memories.interface_energy,
        ReadLine.BETWEEN_DIES: remote * energy,
    }
    return reads, load


def fast_tier(
    values: PartValues, reads: dict[ReadLine, FloatArray], staged: FloatArray, scenario: Scenario
) -> Fast:
    """The fast memory that engines, ``staged`` flash reads [B], applications and the runtime's reserve leave.

    Runtimes claim a share of the memory (``memory_share`` of the software stack): the rest goes to the
    driver, to fragments and to activations of prompts.
    """
    memories = values.parts.memory
    inside = values.pnm_site == PnmSite.FAST
    usable = memories.capacity * (1.0 - np.where(inside, values.pnm("capacity_loss"), 0.0))
    claimed = usable * values.catalog.value("software", scenario.software, "memory_share")
    left = claimed - staged - scenario.applications
    refresh = usable * values.memory("refresh_power_per_byte")
    idle = values.memory("static_power_per_byte") + values.memory("refresh_power_per_byte")
    return Fast(
        bandwidth=memories.host_bandwidth,
        write_bandwidth=memories.host_bandwidth,
        capacity=np.maximum(left, np.maximum(LEAST_FAST * usable, 1.0)),
        latency=values.memory("access_latency"),
        energy=total(reads.values()),
        standby_power=usable * idle,
        installed=usable,
        refresh_power=refresh,
        on_chip=values.on_chip,
    )


def scratchpad(values: PartValues) -> Tier:
    """SRAM that may hold weights: what software manages, less the staging of streams.

    None where it is the memory.

    With flash it is all kept for reads ahead of use, which a layer's worth of it serves in every layer.
    """
    parts = values.parts
    streams = 2.0 * parts.memory.host_bandwidth * values.memory("access_latency")
    sram = values.catalog.the("memory", "sram", attribute="form")
    free = np.where((parts.flash.units > 0) | (values.on_chip > 0), 0.0, parts.logic.scratchpad)
    bandwidth = np.maximum(values.catalog.value("memory", sram, "bandwidth_per_byte") * parts.logic.sram, 1.0)
    none = np.zeros(len(parts))
    return Tier(
        bandwidth=bandwidth,
        write_bandwidth=bandwidth,
        capacity=np.maximum(free - np.where(free > 0, streams, 0.0), 0.0),
        latency=none,
        energy=none,
        standby_power=none,
    )


def far_tier(values: PartValues) -> Tier:
    """Memory modules behind links; harmless numbers without."""
    parts = values.parts
    bandwidth = np.where(parts.far.modules > 0, parts.far.modules * values.far("bandwidth_per_stack"), 1.0)
    idle = values.far("static_power_per_byte") + values.far("refresh_power_per_byte")
    return Tier(
        bandwidth=bandwidth,
        write_bandwidth=bandwidth,
        capacity=parts.far.modules * values.far("capacity_per_package"),
        latency=values.far("access_latency"),
        energy=values.far("read_energy") + values.far("interface_energy"),
        standby_power=parts.far.modules * values.far("capacity_per_package") * idle,
    )


def flash_array_bandwidth(values: PartValues) -> FloatArray:
    """Bandwidth [B/s] that the planes of all dies deliver, before any interface."""
    parts = values.parts.flash
    latency = np.where(parts.code >= 0, values.cell("read_latency"), 1.0)
    array = flash.plane_bandwidth(
        parts.dies * values.flash("planes_per_die"), values.flash("page_bytes"), latency
    )
    inside = values.flash("internal_bandwidth_per_die")
    array = np.where(inside > 0, np.minimum(array, parts.dies * inside), array)
    return np.where(parts.published_inner_bandwidth > 0, parts.published_inner_bandwidth, array)


def flash_idle_power(values: PartValues) -> FloatArray:
    """Power [W] of flash that waits."""
    parts = values.parts.flash
    taller = parts.stack_height - values.flash("reference_height")
    return parts.units * (values.flash("idle_power_per_stack") + values.flash("idle_power_per_die") * taller)


def powered(values: PartValues) -> FloatArray:
    """Bandwidth [B/s] that the power of a flash stack allows; UNBOUNDED where the entry states none."""
    taller = values.parts.flash.stack_height - values.flash("reference_height")
    idle = values.flash("idle_power_per_stack") + values.flash("idle_power_per_die") * taller
    limited = values.flash("power_per_stack") > 0
    whole = values.flash("read_energy") + values.flash("interface_energy")
    allowed = flash.powered_bandwidth(values.flash("power_per_stack"), idle, whole)
    return np.where(limited, allowed, UNBOUNDED)


def flash_interface(values: PartValues) -> FloatArray:
    """Bandwidth [B/s] of the interfaces of all stacks or packages."""
    parts = values.parts.flash
    count = np.where(values.flash("interface_per_die") > 0, parts.dies, parts.units)
    return count * values.flash("read_bandwidth")


def flash_tier(values: PartValues) -> tuple[Flash, FloatArray]:
    """Capacity, bandwidth, latency, energy and wear of the flash, and the fast memory [B] that stages it.

    Bandwidth is the least of planes, interface, power, the way to the host and what staging sustains.
    Harmless numbers without flash.
    """
    parts, logic = values.parts.flash, values.parts.logic
    has = parts.code >= 0
    behind, far = parts.attach == FlashAttach.BEHIND_HBM, parts.attach == FlashAttach.FAR
    latency = np.where(has, values.cell("read_latency"), 1.0)
    planes, page = parts.dies * values.flash("planes_per_die"), values.flash("page_bytes")
    unstaged = np.minimum(flash_array_bandwidth(values), flash_interface(values))
    unstaged = np.minimum(np.minimum(unstaged, parts.units * powered(values)), parts.link_bandwidth)
    in_stacks = parts.units * values.flash("base_die_buffer")
    lent = np.where(values.on_chip > 0, LENT, 1.0) * logic.sram
    staging = in_stacks + lent
    bandwidth = np.minimum(unstaged, flash.staged_bandwidth(staging, latency))
    link = values.catalog.the("link", "far")
    further = np.where(behind, values.flash("hop_latency"), 0.0)
    further = further + np.where(far, values.catalog.value("link", link, "latency"), 0.0)
    over_link = np.where(behind, values.memory("interface_energy"), 0.0)
    over_link = over_link + np.where(far, values.catalog.value("link", link, "energy"), 0.0)
    capacity = parts.dies * values.cell("capacity_per_die")
    capacity = np.where(parts.published_capacity > 0, parts.published_capacity, capacity)
    write = flash.program_bandwidth(
        planes, page, values.cell("pages_per_shot"), np.where(has, values.cell("program_latency"), 1.0)
    )
    writable = values.cell("endurance") * capacity / np.maximum(values.flash("write_amplification"), 1.0)
    # reads ahead of use go beyond what keeps the planes streaming; behind the fast memory's PHY they wait in
    # the stacks
    ahead = np.where(parts.shares_phy > 0, in_stacks, staging) - 2.0 * bandwidth * latency
    disturb = np.maximum(values.cell("read_disturb_limit"), 1.0)
    tier = Flash(
        bandwidth=np.where(has, bandwidth, 1.0),
        write_bandwidth=np.where(has, np.where(far, np.minimum(write, parts.link_bandwidth), write), 1.0),
        capacity=np.where(has & (parts.holds > 0), capacity, 0.0),
        latency=np.where(has, latency + further, 0.0),
        energy=values.flash("read_energy") + values.flash("interface_energy") + over_link,
        standby_power=flash_idle_power(values),
        program_energy=values.flash("program_energy"),
        writable_bytes=np.where(has, writable, 1.0),
        reclaim_share=flash.reclaim_rate(np.where(has, 1.0, 0.0), values.flash("pages_per_block"), disturb),
        pages_per_block=values.flash("pages_per_block"),
        retention_refresh_rate=np.where(
            has, 1.0 / np.maximum(values.cell("retention_refresh_interval"), 1.0), 0.0
        ),
        page_bytes=np.where(has, page, 1.0),
        stripe_bytes=np.where(has, planes * page, 1.0),
        read_ahead_buffer=np.where(has, np.maximum(ahead, 0.0), 0.0),
        shares_fast_phy=parts.shares_phy,
    )
    return tier, np.where(has & (values.on_chip > 0), lent, 0.0)
