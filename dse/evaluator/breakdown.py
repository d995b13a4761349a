"""Where joules, dollars and carbon go, part by part; each table sums to its total.

Everything is per output token (energy) or per million of them (cost, carbon), prefill charged; the cost of a
device is its added bill of materials, paid once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import BITS, PnmSite
from dse.core.units import FloatArray
from dse.hardware.machine import Machine
from dse.hardware.ownership import economics
from dse.physics import carbon, cost
from dse.serving.accounting import Mode, resident_power
from dse.serving.operating_points import Estimate, PromptMode, Usage
from dse.serving.records import PlanRow
from dse.serving.trace import Trace
from dse.space.scenario import ModelLoad, Scenario

MILLION = 1e6

Terms = Mapping[str, float]

PREFILL = "prefill: "
DECODE = "decode: "

ROUNDING = 1e-12
"""share of a total below which a part is what rounding left of a difference"""
PROGRAMMING = "flash programming"
ELECTRICITY = "electricity"


def scalar(x: FloatArray | float) -> float:
    """The one number of an array of size 1."""
    return float(np.ravel(x)[0])


@dataclass(frozen=True)
class OperatingPoint:
    """One machine under one plan, and what it was found to do."""

    machine: Machine
    trace: Trace
    load: ModelLoad
    estimate: Estimate
    scenario: Scenario
    usage: Usage

    @property
    def prompt_mode(self) -> PromptMode:
        """Where prompts are computed."""
        if self.usage.one_user:
            return PromptMode.SERIAL
        return PromptMode.POOL if self.trace.result.disaggregated > 0 else PromptMode.SHARED

    @property
    def mode(self) -> Mode:
        """Fleet, time and energy with prompts computed there."""
        return self.trace.mode

    @property
    def busy(self) -> float:
        """Package-seconds that an output token keeps busy, prompts included."""
        return self.mode.busy

    @property
    def present(self) -> float:
        """Package-seconds of standing power that an output token pays."""
        return self.busy * self.usage.standing

    @property
    def provisioned(self) -> float:
        """Package-seconds that stand for an output token, busy or idle: what capital is spread over."""
        return self.busy / self.usage.duty

    @property
    def per_token(self) -> float:
        """Steps of all ranks that an output token takes."""
        plan: PlanRow = self.trace.plan
        return plan.group / (plan.batch * self.load.tokens_per_step)

    @property
    def prompts(self) -> float:
        """1 where prompts are computed at all."""
        return 1.0 if self.scenario.mix.computed_tokens > 0 else 0.0

    @property
    def prompt_share(self) -> float:
        """Share of the package-seconds that prompts take.

        Of the shared machine's time, or their pool's packages.
        """
        shared, pool = self.trace.shared, self.trace.pool
        if self.prompt_mode is PromptMode.POOL:
            return 1.0 - shared.packages / pool.packages
        return 1.0 - pool.tpot / shared.tpot


def energies(point: OperatingPoint) -> dict[str, float]:
    """J per output token at the wall, or from the battery, by component.

    Voltage conversion and what PUE adds stand on their own.
    """
    machine, usage, lines = point.machine, point.usage, point.machine.lines
    inside = {n: v * point.per_token for n, v in _decode(point).items()}
    inside |= _prompts(point)
    inside |= {line.value: scalar(watts) * point.present for line, watts in lines.static.items()}
    if scalar(machine.flash.capacity):
        inside[PROGRAMMING] = point.trace.written * scalar(machine.flash.program_energy) * point.provisioned
    if usage.resident_wait:
        share = point.trace.pair.placed.fast_tier_share
        kept = resident_power(point.trace.machine, point.trace.plan, point.trace.site, share)
        inside["refresh while resident"] = kept * point.busy
    outside = {line.value: scalar(watts) * point.present for line, watts in lines.outside.items()}
    lost = sum(inside.values()) * (scalar(machine.power.conversion_loss) - 1.0)
    parts = inside | {"voltage conversion": lost} | outside
    parts["facility (PUE)"] = sum(parts.values()) * (usage.pue - 1.0)
    total = sum(parts.values())
    return {n: v for n, v in parts.items() if abs(v) > ROUNDING * total}  # differences leave their last bits


def _decode(point: OperatingPoint) -> dict[str, float]:
    """J of a rank's decode step.

    Arithmetic by precision, clocks, each memory by its parts, the PNM engine.
    """
    machine, joules = point.machine, point.trace.joules
    engine = joules.pnm_reads + joules.pnm_arithmetic
    site = PnmSite(int(machine.pnm.site[0]))
    out = {
        f"{DECODE}arithmetic, {bits} bit": joules.arithmetic * share
        for bits, share in _precisions(point.trace).items()
    }
    out[f"{DECODE}clocks"] = joules.clocks
    out[f"{DECODE}on-chip SRAM and wires"] = joules.on_chip
    fast = joules.fast - joules.doubled_refresh - (engine if site is PnmSite.FAST else 0.0)
    flash = joules.flash - (engine if site is PnmSite.FLASH else 0.0)
    out |= _read(DECODE, machine, fast)
    if scalar(machine.flash.energy):
        array = scalar(machine.lines.flash_array) / scalar(machine.flash.energy)
        out |= {
            f"{DECODE}flash, array": flash * array,
            f"{DECODE}flash, interface and links": flash * (1.0 - array),
        }
    return out | {
        f"{DECODE}far memory": joules.far - (engine if site is PnmSite.FAR else 0.0),
        f"{DECODE}PNM reads": joules.pnm_reads,
        f"{DECODE}PNM arithmetic": joules.pnm_arithmetic,
        f"{DECODE}doubled refresh": joules.doubled_refresh,
    }


def _precisions(trace: Trace) -> dict[int, float]:
    """Share of the host's arithmetic energy by bits of its operands; operators weigh by FLOP and J/FLOP."""
    found = {
        bits: flop * energy
        for bits, flop, energy in zip(BITS, trace.plan.joule_flop, trace.machine.flop_energy, strict=True)
        if flop * energy
    }
    return {bits: v / sum(found.values()) for bits, v in found.items()}


def _read(phase: str, machine: Machine, joules: float) -> dict[str, float]:
    """The host's reads of fast memory by array, wires and interface."""
    ways = {line.value: scalar(v) for line, v in machine.lines.fast_read.items()}
    return {f"{phase}fast memory, {n}": joules * v / sum(ways.values()) for n, v in ways.items() if v}


def _prompts(point: OperatingPoint) -> dict[str, float]:
    """J per output token of prompts, and of moving their KV cache where they have a pool of their own."""
    plan, prompt = point.trace.plan, point.trace.prompt
    scale = point.prompts * plan.group * plan.inverse_prompts / point.scenario.mix.output_tokens
    parts = {
        "arithmetic and clocks": prompt.logic - prompt.on_chip,
        "on-chip SRAM and wires": prompt.on_chip,
        "flash": prompt.flash,
        "far memory": prompt.far,
    }
    out = {f"{PREFILL}{n}": v * scale for n, v in parts.items()}
    out |= {n: v * scale for n, v in _read(PREFILL, point.machine, prompt.fast).items()}
    if point.prompt_mode is PromptMode.POOL:
        moved = plan.prompt_kv * scale
        out[f"{PREFILL}KV cache moved"] = moved * scalar(point.machine.network.scale_out_energy)
    return out


def costs(point: OperatingPoint, catalog: Catalog) -> dict[str, float]:
    """USD per million output tokens by line: what is bought, kept, housed and burnt.

    Of a device what it adds, once.
    """
    machine, scenario = point.machine, point.scenario
    lines = {line.value: scalar(v) for line, v in machine.lines.cost.items() if scalar(v)}
    if point.usage.one_user:
        return lines
    scale = point.provisioned * MILLION
    out = {n: v / scenario.lifetime * scale for n, v in lines.items()}
    whole = sum(lines.values())
    charge = scalar(
        cost.capital_charge(np.array([whole]), scenario.lifetime, economics(catalog, "discount_rate"))
    )
    out["cost of capital"] = (charge - whole / scenario.lifetime) * scale
    out["maintenance"] = whole * economics(catalog, "maintenance") * scale
    out["facility"] = scalar(machine.ownership.facility_rate) * scale
    out["standby for failures"] = point.trace.fleet.spare_overhead * sum(out.values())
    out[ELECTRICITY] = scalar(point.estimate.energy) * scenario.electricity_price * MILLION
    return out


def carbons(point: OperatingPoint) -> dict[str, float]:
    """kgCO2e per million output tokens by line, embodied over the life and operational by grid."""
    machine = point.machine
    scale = point.provisioned * MILLION / point.scenario.lifetime
    out = {line.value: scalar(v) * scale for line, v in machine.lines.carbon.items() if scalar(v)}
    out["standby for failures"] = point.trace.fleet.spare_overhead * sum(out.values())
    burnt = carbon.operational(point.estimate.energy, scalar(machine.ownership.electricity_carbon))
    out[ELECTRICITY] = scalar(burnt) * MILLION
    return {n: v for n, v in out.items() if v}


def by_side(point: OperatingPoint, cost: Terms, energy: Terms) -> tuple[float, float]:
    """USD per million tokens of input, and of output, were each charged its own share.

    Prompts are charged the package-seconds they take and the energy they burn; cached prefixes count as
    input. input x tokens in + output x tokens out = the all-in cost of a request.
    """
    mix = point.scenario.mix
    spent, burnt = sum(cost.values()), cost.get(ELECTRICITY, 0.0)
    own = sum(v for n, v in energy.items() if n.startswith(PREFILL))
    whole = sum(energy.values())
    dynamic = sum(v for n, v in energy.items() if n.startswith((PREFILL, DECODE, PROGRAMMING)))
    share = own / whole + (whole - dynamic) / whole * point.prompt_share  # what stands goes by time
    asked = sum(c.share * c.input_tokens for c in mix.classes) / sum(c.share for c in mix.classes)
    prompts = point.prompts * ((spent - burnt) * point.prompt_share + burnt * share)
    return prompts * mix.output_tokens / max(asked, 1e-12), spent - prompts
