"""What serving needs of n machines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.core.axes import CLOCK_LEVELS
from dse.core.table import Table
from dse.core.units import BoolArray, FloatArray, IntArray

FIXED_CLOCK: FloatArray = np.array([1.0, *(2.0 for _ in CLOCK_LEVELS[1:])])
"""``level_energy`` of a machine that exists: its own clock, and no slower one on offer"""


@dataclass
class Machine(Table):
    """What serving asks of a design; n rows, SI units, all per package unless said otherwise."""

    peak: FloatArray
    flop_energy: FloatArray
    fast_bandwidth: FloatArray
    fast_capacity: FloatArray
    fast_energy: FloatArray
    """J/B of a read by the host: array, interface, wires"""
    fast_static: FloatArray
    flash_bandwidth: FloatArray
    flash_capacity: FloatArray
    flash_energy: FloatArray
    flash_write_bandwidth: FloatArray
    flash_program_energy: FloatArray
    flash_endurance: FloatArray
    """P/E cycles x capacity / write amplification: bytes that may ever be written"""
    flash_reclaim: FloatArray
    """bytes rewritten per byte read: pages per block over read-disturb limit"""
    flash_pages: FloatArray
    """pages per block"""
    flash_refresh: FloatArray
    """1/s: share of the stored bytes rewritten for retention"""
    flash_page: FloatArray
    """bytes of a page, the least that is read"""
    flash_stripe: FloatArray
    """bytes of one page of every plane"""
    flash_buffer: FloatArray
    """bytes of staging beyond what keeps the planes streaming: for reads ahead of use"""
    slow_latency: FloatArray
    """s from asking memory below the fast tier for a page until it comes"""
    shared_phy: FloatArray
    """1 where flash reads cross the fast memory's PHY"""
    sram_bandwidth: FloatArray
    sram_capacity: FloatArray
    """bytes on chip that may hold weights, activations included"""
    far_bandwidth: FloatArray
    far_capacity: FloatArray
    far_energy: FloatArray
    pnm_site: IntArray
    """0 none, 1 on the fast tier, 2 on flash, 3 on far memory"""
    pnm_serves: FloatArray
    """(n, ops) 1 for operators that the engine can run"""
    pnm_bandwidth: FloatArray
    pnm_flops: FloatArray
    """FLOP/s at 8 bit, all stacks"""
    pnm_energy: FloatArray
    pnm_flop_energy: FloatArray
    pnm_switch: FloatArray
    pnm_copies: FloatArray
    static_power: FloatArray
    """W in the package whatever it does"""
    active_power: FloatArray
    """W of clocked logic on top, while it works"""
    near_active_power: FloatArray
    """W of a PNM engine's clocked logic, while the machine works"""
    level_energy: FloatArray
    """(n, levels) dynamic energy of the logic at each clock level over that at the design clock; FIXED_CLOCK in all of a chunk or none"""
    on_chip_energy: FloatArray
    """J/B of a byte that enters the compute die: into a buffer and out again"""
    outside_power: FloatArray
    """W outside the package: host share, switches, fans"""
    power_loss: FloatArray
    """wall watts per package watt inside the rack: voltage conversion"""
    throttle: tuple[tuple[FloatArray, FloatArray, FloatArray], ...]
    """rows of s/J for (logic, fast memory, flash): logic, DRAM, flash temperature, power"""
    hot: tuple[FloatArray, FloatArray, FloatArray]
    """s/J as ``throttle``: above 1 at the refresh-doubling temperature"""
    hot_loss: FloatArray
    """share of bandwidth that doubled refresh takes"""
    refresh_power: FloatArray
    """W of refresh, paid twice where DRAM is hot"""
    fast_on_chip: FloatArray
    """1 where the fast tier is the scratchpad itself, which activations and staging share"""
    domain: FloatArray
    reduce_alpha: FloatArray
    """(n, groups, lines) s of an all-reduce without its bytes, by algorithm and protocol"""
    reduce_rate: FloatArray
    """(n, groups, lines) s per message byte"""
    exchange_alpha: FloatArray
    """(n, groups) s of an all-to-all without its bytes"""
    exchange_rate: FloatArray
    """(n, groups) s per byte that a rank sends"""
    gather_alpha: FloatArray
    """(n, groups) s of an all-gather of a few bytes"""
    hop_time: FloatArray
    """(n,) s of a point-to-point message in the domain, without its bytes"""
    link_bandwidth: FloatArray
    scale_out_bandwidth: FloatArray
    """B/s a package has to other domains"""
    scale_out_latency: FloatArray
    scale_out_energy: FloatArray
    provisioned: FloatArray
    """W at the wall of package, host and switch share, for which facility is built"""
    capital: FloatArray
    """USD of package, host, switch, link and rack share, spares and NRE"""
    capital_rate: FloatArray
    """USD/s of capital, maintenance and facility"""
    embodied: FloatArray
    """kgCO2e"""
    failure_rate: FloatArray
    """1/s: how often a package stops its group"""
    spare_share: FloatArray
    """capital of spares in the domain over that of its packages, and the time that they do not suffice"""
    repair_time: FloatArray
    recovery_time: FloatArray
    """s until a spare works in the place of a broken package"""
    grid: FloatArray
    """kgCO2e/J of the electricity"""
    limits: dict[str, FloatArray]
    """value over limit for each check on the design alone"""
    report: dict[str, FloatArray]
    """parts of cost, carbon, area and power for the breakdown"""

    def unbroken(self) -> BoolArray:
        """Which machines break no limit of their own, whatever the plan; shape (n,)."""
        worst = [ratio <= 1.0 for ratio in self.limits.values()]
        return np.logical_and.reduce(worst, axis=0) if worst else np.ones(len(self.domain), dtype=bool)

    def levels(self) -> tuple[float, ...]:
        """Clock levels that these machines may run a pass at: all of those they have, or the design clock alone."""
        return CLOCK_LEVELS if self.level_energy[0, -1] <= 1.0 else CLOCK_LEVELS[:1]
