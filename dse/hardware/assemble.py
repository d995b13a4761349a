"""From parts to machines, one way for every target: what differs between targets is a row of ``FORMS``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.table import total
from dse.core.units import FloatArray
from dse.hardware.datacenter import datacenter_parts
from dse.hardware.device_cost import in_device
from dse.hardware.devices import datacenter_devices, mobile_devices
from dse.hardware.heat import Draw, Thermal, in_body, under_lid
from dse.hardware.logic import compute
from dse.hardware.machine import Fast, Flash, Lines, Machine, StandingLine
from dse.hardware.mobile import mobile_parts
from dse.hardware.network import link_power, power_beside, router_power
from dse.hardware.ownership import Surroundings, on_site
from dse.hardware.part_values import PartValues
from dse.hardware.parts import UNBOUNDED, Parts
from dse.hardware.pnm import engine
from dse.hardware.tiers import far_tier, fast_reads, fast_tier, flash_tier, scratchpad
from dse.space.design import Design
from dse.space.limits import Limit
from dse.space.scenario import Scenario
from dse.space.space import Space

HeatPath = Callable[[PartValues, Scenario, Mapping[str, float], Draw], Thermal]
"""(values, scenario, thresholds, powers) -> rows of heat and what cooling costs"""

SurroundingsOf = Callable[[PartValues, Scenario, Mapping[str, float], Thermal, float], Surroundings]
"""(values, scenario, thresholds, thermal, bytes of weights) -> network, money, carbon and room of a package
"""


@dataclass(frozen=True)
class Form:
    """What makes machines of one target differ from those of others."""

    parts: Callable[[Space, Design, Catalog], Parts]
    """parts of designs"""
    device_parts: Callable[[Catalog, Sequence[str], str], Parts]
    """parts of machines that exist, in a body where the target has one"""
    heat: HeatPath
    surroundings: SurroundingsOf


def _on_site(
    values: PartValues, scenario: Scenario, thresholds: Mapping[str, float], thermal: Thermal, weights: float
) -> Surroundings:
    del weights
    return on_site(values, scenario, thermal, thresholds.get(Limit.RACK_POWER, UNBOUNDED))


def _in_device(
    values: PartValues, scenario: Scenario, thresholds: Mapping[str, float], thermal: Thermal, weights: float
) -> Surroundings:
    return in_device(values, scenario, thermal, thresholds[Limit.Z_HEIGHT], weights)


FORMS: Final[Mapping[str, Form]] = {
    "datacenter": Form(datacenter_parts, datacenter_devices, under_lid, _on_site),
    "mobile": Form(mobile_parts, mobile_devices, in_body, _in_device),
}
"""the form of each target, by its name"""


MEMORIES: Final = (StandingLine.DRAM_STANDBY, StandingLine.DRAM_REFRESH, StandingLine.FLASH_IDLE)
"""lines of standing power that warm the memories and not the logic"""


def assemble(
    parts: Parts,
    form: Form,
    catalog: Catalog,
    scenario: Scenario,
    thresholds: Mapping[str, float],
    weights: float = 0.0,
) -> Machine:
    """Complete parts to machines; ``weights`` [B] are what the storage of a device must hold.

    Shape (n,) throughout; sources are those of the physics modules.
    """
    values = PartValues(catalog, parts, scenario.body)
    reads, joint_load = fast_reads(values)
    flash, staged = flash_tier(values)
    fast = fast_tier(values, reads, staged, scenario)
    pnm, pnm_limits = engine(values)
    host = compute(values)
    standing = _standing(values, fast, flash)
    static = total(standing.values())
    draw = Draw(
        compute=host,
        fast=fast,
        flash=flash,
        pnm=pnm,
        static=static,
        logic_static=total(watts for line, watts in standing.items() if line not in MEMORIES),
        beside=power_beside(values),
    )
    thermal = form.heat(values, scenario, thresholds, draw)
    around = form.surroundings(values, scenario, thresholds, thermal, weights)
    ours = np.any(parts.logic.clock > 0) or parts.device is None
    return Machine(
        compute=host,
        fast=fast,
        sram=scratchpad(values),
        flash=flash,
        far=far_tier(values),
        pnm=pnm,
        heat=thermal.heat,
        network=around.network,
        power=replace(around.power, static=static),
        ownership=around.ownership,
        reliability=around.reliability,
        installation=around.installation,
        lines=Lines(
            cost=around.cost,
            carbon=around.carbon,
            static=standing,
            outside=around.outside,
            fast_read=reads,
            flash_array=values.flash("read_energy"),
        ),
        limit_ratios=parts.limit_ratios
        | (pnm_limits if ours else {})
        | {Limit.DIE_TO_DIE: joint_load}
        | thermal.limit_ratios
        | around.limit_ratios,
    )


def _standing(values: PartValues, fast: Fast, flash: Flash) -> dict[StandingLine, FloatArray]:
    """Power [W] that stands in a package, line by line."""
    parts = values.parts
    network = parts.network
    return {
        StandingLine.LOGIC: parts.logic.rest_power,
        StandingLine.DRAM_STANDBY: fast.standby_power - fast.refresh_power,
        StandingLine.DRAM_REFRESH: fast.refresh_power,
        StandingLine.FLASH_IDLE: flash.standby_power,
        StandingLine.COLLECTIVE_ENGINE: np.where(network.domain > 1, values.local_engine("power"), 0.0),
        StandingLine.LINKS: link_power(values),
        StandingLine.ROUTERS: router_power(values),
    }
