"""Machines as the rows that serving reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from dse.core.axes import CLOCK_LEVELS, GROUPS, LINES, HeatLimit
from dse.core.records import filled, plain
from dse.hardware.machine import Machine
from dse.serving.records import MachineRow


def machine_rows(machine: Machine) -> Any:
    """Rows of n machines."""
    m = machine
    n = len(m)
    heat = np.zeros((3, n, len(HeatLimit)))
    for i, row in enumerate(m.heat.rows.values()):
        heat[0, :, i], heat[1, :, i], heat[2, :, i] = row.logic, row.fast, row.flash
    doubling = m.heat.refresh_doubling
    return filled(
        MachineRow,
        n,
        {
            "memory": (memory := m.fast.capacity + m.flash.capacity + m.far.capacity),
            "inverse_memory": 1.0 / memory,
            "fast_capacity": m.fast.capacity,
            "fast_installed": m.fast.installed,
            "fast_bandwidth": m.fast.bandwidth,
            "fast_inverse": 1.0 / m.fast.bandwidth,
            "fast_energy": m.fast.energy,
            "fast_refresh_power": m.fast.refresh_power,
            "fast_on_chip": m.fast.on_chip,
            "sram_capacity": m.sram.capacity,
            "sram_inverse": 1.0 / m.sram.bandwidth,
            "flash_capacity": m.flash.capacity,
            "flash_bandwidth": m.flash.bandwidth,
            "flash_inverse": 1.0 / m.flash.bandwidth,
            "flash_write_inverse": 1.0 / m.flash.write_bandwidth,
            "flash_energy": m.flash.energy,
            "program_energy": m.flash.program_energy,
            "writable_bytes": m.flash.writable_bytes,
            "reclaim_share": m.flash.reclaim_share,
            "retention_refresh_rate": m.flash.retention_refresh_rate,
            "page_bytes": m.flash.page_bytes,
            "stripe_bytes": m.flash.stripe_bytes,
            "read_ahead_buffer": m.flash.read_ahead_buffer,
            "shares_fast_phy": m.flash.shares_fast_phy,
            "far_capacity": m.far.capacity,
            "far_bandwidth": m.far.bandwidth,
            "far_inverse": 1.0 / m.far.bandwidth,
            "far_energy": m.far.energy,
            "lower_latency": m.lower_latency,
            "peak": m.compute.peak,
            "flop_energy": m.compute.flop_energy,
            "clock_power": m.compute.clock_power,
            "byte_energy": m.compute.byte_energy,
            "levels": np.where(m.compute.level_energy[:, -1] <= 1.0, len(CLOCK_LEVELS), 1),
            "level_energy": m.compute.level_energy,
            "pnm_site": m.pnm.site,
            "pnm_serves": m.pnm.serves,
            "pnm_inverse": 1.0 / m.pnm.bandwidth,
            "pnm_flops": m.pnm.flops,
            "pnm_energy": m.pnm.energy,
            "pnm_flop_energy": m.pnm.flop_energy,
            "pnm_clock_power": m.pnm.clock_power,
            "switch_latency": m.pnm.switch_latency,
            "copies": m.pnm.copies,
            "heat_limits": len(m.heat.rows),
            "heat_logic": heat[0],
            "heat_fast": heat[1],
            "heat_flash": heat[2],
            "refresh_doubling": np.stack([doubling.logic, doubling.fast, doubling.flash], axis=1),
            "hot_bandwidth_loss": m.heat.hot_bandwidth_loss,
            "domain": m.network.domain,
            "reduce_alpha": m.network.reduce_alpha.reshape(n, len(GROUPS) * len(LINES)),
            "reduce_rate": m.network.reduce_rate.reshape(n, len(GROUPS) * len(LINES)),
            "exchange_alpha": m.network.exchange_alpha,
            "exchange_rate": m.network.exchange_rate,
            "gather_alpha": m.network.gather_alpha,
            "point_to_point_alpha": m.network.point_to_point_alpha,
            "link_inverse": 1.0 / np.maximum(m.network.link_bandwidth, 1.0),
            "scale_out_inverse": 1.0 / m.network.scale_out_bandwidth,
            "scale_out_latency": m.network.scale_out_latency,
            "scale_out_energy": m.network.scale_out_energy,
            "static_power": m.power.static,
            "outside_power": m.power.outside,
            "conversion_loss": m.power.conversion_loss,
            "capital_rate": m.ownership.capital_rate,
            "embodied_carbon": m.ownership.embodied_carbon,
            "electricity_carbon": m.ownership.electricity_carbon,
            "failure_rate": m.reliability.failure_rate,
            "repair_time": m.reliability.repair_time,
            "recovery_time": m.reliability.recovery_time,
            "spare_share": m.reliability.spare_share,
        },
    )


def machine_row(machine: Machine, row: int = 0) -> Any:
    """One machine as a plain row."""
    return plain(machine_rows(machine)[row])
