"""Engines beside the memory: what they read and compute, what they take, and their own limits."""

from __future__ import annotations

import numpy as np

from dse.core.axes import OPERATORS, PnmSite
from dse.core.units import FloatArray, IntArray
from dse.hardware.machine import Pnm
from dse.hardware.part_values import PartValues
from dse.hardware.tiers import flash_array_bandwidth, flash_interface, powered
from dse.physics import flash, pnm
from dse.space.limits import Limit


def _inside_flash(values: PartValues) -> FloatArray:
    """Bandwidth [B/s] that an engine beside the flash reads.

    Of the planes, as far as what the entry states allows.

    An entry that states no bandwidth of a die's planes bounds the engine by its interface; one with a
    base-die buffer by that; one with a power by that.
    """
    parts = values.parts.flash
    latency = np.where(parts.code >= 0, values.cell("read_latency"), 1.0)
    buffer = parts.units * values.flash("base_die_buffer")
    known = (values.flash("internal_bandwidth_per_die") > 0) | (parts.published_inner_bandwidth > 0)
    inside = flash_array_bandwidth(values)
    inside = np.where(known, inside, np.minimum(inside, flash_interface(values)))
    inside = np.minimum(inside, parts.units * powered(values))
    return np.where(buffer > 0, np.minimum(inside, flash.staged_bandwidth(buffer, latency)), inside)


def _reads(values: PartValues, site: IntArray, heat: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Bandwidth [B/s] of all engines and energy [J/B] of their reads; ``heat`` [W] is a unit's arithmetic.

    Where an entry's power bounds its reads too, they get what arithmetic leaves, and never less than the
    host's reads at full rate would bring: the stack bears those anyway.
    """
    parts = values.parts
    in_far = parts.far.modules * values.far("bandwidth_per_stack")
    own = np.select(
        [site == PnmSite.FLASH, site == PnmSite.FAR], [_inside_flash(values), in_far], parts.memory.bandwidth
    )
    energy = np.where(site == PnmSite.FLASH, values.flash("read_energy"), values.pnm("read_energy"))
    inner = own * values.pnm("bandwidth_gain")
    bounded = values.attribute("pnm", parts.pnm.code, "power_bounds", "arithmetic and reads")
    borne = np.maximum(
        values.pnm("power_budget"), values.memory("bandwidth_per_stack") * values.memory("read_energy")
    )
    most = values.pnm_units * np.maximum(borne - heat, 0.0) / np.maximum(energy, 1e-15)
    return np.where(bounded, np.clip(most, 1.0, inner), inner), energy


def engine(values: PartValues) -> tuple[Pnm, dict[Limit, FloatArray]]:
    """Bandwidth, FLOP/s, energies and hand-over of the engines, and the limits of their area and power."""
    parts = values.parts
    has, site = parts.pnm.code >= 0, values.pnm_site
    units = values.pnm_units
    wanted = np.where(has, parts.pnm.flops, 0.0)
    heat = wanted * values.pnm("flop_energy")
    by_area = values.pnm("free_area") * values.pnm("flop_density")
    room = np.where(by_area > 0, by_area, values.pnm("compute_limit"))
    limits = {
        Limit.PNM_COMPUTE: np.where(has, wanted / np.maximum(room, 1.0), 0.0),
        Limit.PNM_POWER: np.where(has, heat / np.maximum(values.pnm("power_budget"), 1e-9), 0.0),
    }
    bandwidth, energy = _reads(values, site, heat)
    used = np.where((site == PnmSite.FLASH) & (parts.flash.holds == 0), PnmSite.NONE, site)
    flops = np.where(has, wanted * units, 1.0)
    clocked = values.rule("clock_power_share") * np.where(used > 0, flops, 0.0) * values.pnm("flop_energy")
    crossing = values.pnm("mode_switch_latency") + values.package_link("latency")
    return Pnm(
        site=used,
        serves=values.pnm_serves(OPERATORS),
        bandwidth=np.where(has, bandwidth, 1.0),
        flops=flops,
        energy=energy,
        flop_energy=values.pnm("flop_energy"),
        switch_latency=np.where(has, crossing, 0.0),
        copies=_copies(values),
        clock_power=clocked,
    ), limits


def _copies(values: PartValues) -> FloatArray:
    """Times that inputs and partial sums cross: those of a partition over all shards."""
    return pnm.partition_copies(values.pnm_units * values.pnm("shards_per_stack"))


def engine_power(engines: Pnm) -> FloatArray:
    """Power [W] of the engines in a package at full rate: reads and arithmetic."""
    watts = engines.bandwidth * engines.energy + engines.flops * engines.flop_energy
    inside = (engines.site == PnmSite.FAST) | (engines.site == PnmSite.FLASH)
    return np.where(inside, watts, 0.0)
