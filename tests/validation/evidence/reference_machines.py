"""Machines of papers, built from their own inputs, and decode steps of many plans on one of them.

Papers simulate: no launch overheads, full efficiencies. All of their rigs run the ``ideal`` stack, with no
limit on power or heat where the paper has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from dse.calibration.predict import NO_LIMIT, SITE
from dse.catalog.catalog import Catalog
from dse.core.units import FloatArray
from dse.hardware.assemble import FORMS, assemble
from dse.hardware.logic import fixed_clock
from dse.hardware.machine import Machine
from dse.hardware.parts import FarParts
from dse.serving.machine_rows import machine_row
from dse.serving.operating_points import Usage, site_row
from dse.serving.pairs import serve_plans
from dse.serving.plan import plans_of
from dse.serving.software import software_of
from dse.serving.step_work import StepWork, lower_step
from dse.serving.trace import Trace, trace
from dse.space.limits import Limit
from dse.space.scenario import ModelLoad, RequestMix, Scenario

STACK: Final = "ideal"


ANYWHERE: Final = Usage(
    duty=1.0, standing=1.0, pue=1.0, electricity_price=0.0, one_user=False, resident_wait=0.0
)


FORM: Final = FORMS["datacenter"]


BOUNDLESS: Final[Mapping[str, float]] = {Limit.RACK_POWER: NO_LIMIT}


RIG: Final = "rig"


BASE: Final = "son_7hbf_1hbm4"
"""device file whose die, node and attributes a rig starts from"""


FLASH: Final = "hbf_gen1"


FAR: Final = "ddr5_cxl"


@dataclass(frozen=True)
class Flash:
    """Flash stacks of a rig; SI units, per stack where not said otherwise."""

    stacks: float
    dies: float
    planes: float
    page: float
    read_latency: float
    program_latency: float
    bandwidth: float
    capacity: float
    buffer: float
    behind: bool = False


@dataclass(frozen=True)
class Served:
    """One machine's plans: the rows asked for, and what they take."""

    rows: Sequence[tuple[int, int, int, int]]
    work: StepWork
    pairs: Any
    """(1, p) ``PairRow``"""

    @property
    def traffic(self) -> Any:
        """(p,) ``PlanRow``"""
        return self.work.rows

    @property
    def fits(self) -> FloatArray:
        """(p,) largest value over limit of the capacity checks."""
        worst: FloatArray = np.maximum(self.pairs.capacity, self.pairs.longest_request)[0]
        return worst


def traced(machine: Machine, served: Served, number: int = 0) -> Trace:
    """A plan served once more in plain Python, with every part of it."""
    at = site_row(scenario(RequestMix((), decode_only=True)), ANYWHERE, {}, (NO_LIMIT,))
    return trace(machine_row(machine), served.work, number, at)


def reference_machine(
    catalog: Catalog, *, peak: float, bandwidth: float, capacity: float, link: float, sram: float = 1.26e8,
    flash: Flash | None = None, far: tuple[float, float] | None = None, domain: float = 8.0, scale_out: float = 1e11,
) -> tuple[Machine, Catalog]:  # fmt: skip
    """A machine of one row and the catalogue it was built from.

    ``peak`` FLOP/s at 16 bit; ``bandwidth`` and ``capacity`` of the fast memory (0 B: SRAM alone, of ``sram``
    bytes); ``link`` B/s per direction; ``far`` (B, B/s) of memory behind a link.
    """
    base = catalog.entry("device", BASE)
    attributes = {k: v for k, v in base.attributes.items() if not k.startswith("flash")}
    attributes["memory"] = "hbm4" if capacity else "none"
    if flash:
        attributes |= {
            "flash": FLASH,
            "flash_cell": "pslc",
            "flash_attach": "behind_hbm" if flash.behind else "own_shoreline",
        }
    c = catalog.put(replace(base, name=RIG, attributes=attributes), "rig")
    on_chip = catalog.value("memory", "none", "bandwidth_per_byte") * sram
    values = {
        "peak_16bit": peak, "peak_8bit": 2 * peak, "peak_4bit": 4 * peak, "link_bandwidth": link, "domain": domain, "sram": sram,
        "memory_capacity": capacity or sram, "memory_bandwidth": bandwidth or on_chip, "tdp": 1e8,
        "flash_stacks": flash.stacks if flash else 0.0, "flash_height": flash.dies if flash else 0.0,
    }  # fmt: skip
    for field, value in values.items():
        c = c.replace("device", RIG, field, value)
    c = c.replace("link", "scale_out", "bandwidth", scale_out)
    if flash:
        made = {
            "planes_per_die": flash.planes, "page_bytes": flash.page, "read_bandwidth": flash.bandwidth, "base_die_buffer": flash.buffer,
            "reference_height": flash.dies, "power_per_stack": 1e6, "read_latency.pslc": flash.read_latency,
            "program_latency.pslc": flash.program_latency, "capacity_per_die.pslc": flash.capacity / flash.dies,
        }  # fmt: skip
        for field, value in made.items():
            c = c.replace("flash", FLASH, field, value)
    parts = FORM.device_parts(c, [RIG], "")
    if far:
        c = c.replace("memory", FAR, "capacity_per_package", far[0]).replace(
            "memory", FAR, "bandwidth_per_stack", far[1]
        )
        parts = replace(
            parts, far=FarParts(code=np.array([c.names("memory").index(FAR)]), modules=np.ones(1))
        )
    return unlimited(assemble(parts, FORM, c, scenario(RequestMix((), decode_only=True)), BOUNDLESS)), c


def unlimited(machine: Machine) -> Machine:
    """A machine (n = 1) that no limit of heat slows, at its own clock alone."""
    heat = replace(machine.heat, rows={}, hot_bandwidth_loss=0.0 * machine.heat.hot_bandwidth_loss)
    return replace(machine, heat=heat, compute=replace(machine.compute, level_energy=fixed_clock(1)))


def scenario(mix: RequestMix, skew: float = 0.0) -> Scenario:
    """A scenario of one mix; nothing but the mix touches a step."""
    numbers = {**SITE, "ttft_input": 1.0, "longest_request": 1.0, "routing_skew": skew}
    return Scenario(STACK, numbers, mix, (), {})


def decoded(
    machine: Machine, catalog: Catalog, load: ModelLoad, mix: RequestMix, rows: Sequence[tuple[int, int, int, int]], *,
    overflow: bool = False, sequence: bool = False, halves: bool = False, skew: float = 0.0, software: str = STACK,
) -> Served:  # fmt: skip
    """Decode steps of the plans (group, replicas, expert ranks, batch) of one workload on one machine."""
    n = len(rows)
    plans = plans_of(rows, list(range(n)), np.full(n, overflow), np.full(n, sequence), np.full(n, halves))
    work = lower_step(load, plans, catalog, scenario(mix, skew), software_of(catalog, software))
    return Served(rows, work, serve_plans(machine, work))
