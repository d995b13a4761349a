"""Where joules, dollars and carbon go, part by part; each table sums to its total.

Everything is per output token (energy) or per million of them (cost, carbon), prefill charged; the cost of a
device is its added bill of materials, paid once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import BITS, OPERATORS, PnmSite
from dse.core.units import FloatArray
from dse.hardware.machine import Machine
from dse.hardware.ownership import economics
from dse.physics import carbon, cost
from dse.serving.operating_points import Estimate, FleetCost, Mode, PromptMode, Usage, resident_power, wear
from dse.serving.results import PlanResults
from dse.serving.step_work import StepWork
from dse.space.scenario import Scenario

MILLION = 1e6

Terms = Mapping[str, float]

BESIDE = {PnmSite.FAST: "fast memory", PnmSite.FLASH: "flash", PnmSite.FAR: "far memory"}
"""ledger term of the memory that an engine sits beside"""

PREFILL = "prefill: "
DECODE = "decode: "
PROGRAMMING = "flash programming"
ELECTRICITY = "electricity"


def scalar(x: FloatArray | float) -> float:
    """The one number of an array of size 1."""
    return float(np.ravel(x)[0])


@dataclass(frozen=True)
class OperatingPoint:
    """One machine under one plan, and what it was found to do."""

    machine: Machine
    work: StepWork
    results: PlanResults
    estimate: Estimate
    fleet: FleetCost
    scenario: Scenario
    usage: Usage

    @property
    def prompt_mode(self) -> PromptMode:
        """Where prompts are computed."""
        if PromptMode.SERIAL in self.fleet.modes:
            return PromptMode.SERIAL
        return PromptMode.POOL if self.estimate.chosen[0].disaggregated[0, 0] > 0 else PromptMode.SHARED

    @property
    def mode(self) -> Mode:
        """Fleet, time and energy with prompts computed there."""
        return self.fleet.modes[self.prompt_mode]

    @property
    def busy(self) -> float:
        """Package-seconds that an output token keeps busy, prompts included."""
        return scalar(self.mode.busy)

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
        return scalar(self.work.plans.group) / (scalar(self.work.plans.batch) * self.work.tokens_per_step)

    @property
    def prompts(self) -> float:
        """1 where prompts are computed at all."""
        return 1.0 if self.scenario.mix.computed_tokens > 0 else 0.0

    @property
    def prompt_share(self) -> float:
        """Share of the package-seconds that prompts take.

        Of the shared machine's time, or their pool's packages.
        """
        shared, pool = self.fleet.modes[PromptMode.SHARED], self.fleet.modes[PromptMode.POOL]
        if self.prompt_mode is PromptMode.POOL:
            return 1.0 - scalar(shared.fleet) / scalar(pool.fleet)
        return 1.0 - scalar(pool.tpot) / scalar(shared.tpot)


def energies(point: OperatingPoint, ledger: Terms, prompt: Terms, near: Terms) -> dict[str, float]:
    """J per output token at the wall, or from the battery, by component.

    ``ledger``, ``prompt`` and ``near`` are the terms noted while serving: of a step, of a mean prompt, of the
    PNM engine. Voltage conversion and what PUE adds stand on their own.
    """
    machine, usage, lines = point.machine, point.usage, point.machine.lines
    inside = {n: v * point.per_token for n, v in _decode(machine, point.work, ledger, near).items()}
    inside |= _prompts(point, prompt)
    inside |= {line.value: scalar(watts) * point.present for line, watts in lines.static.items()}
    if scalar(machine.flash.capacity):
        written = scalar(wear(machine, point.results, point.scenario))
        inside[PROGRAMMING] = written * scalar(machine.flash.program_energy) * point.provisioned
    if usage.resident_wait:
        kept = scalar(resident_power(machine, point.work, point.results, usage))
        inside["refresh while resident"] = kept * point.busy
    outside = {line.value: scalar(watts) * point.present for line, watts in lines.outside.items()}
    lost = sum(inside.values()) * (scalar(machine.power.conversion_loss) - 1.0)
    parts = inside | {"voltage conversion": lost} | outside
    parts["facility (PUE)"] = sum(parts.values()) * (usage.pue - 1.0)
    return {n: v for n, v in parts.items() if v}


def _decode(machine: Machine, work: StepWork, ledger: Terms, near: Terms) -> dict[str, float]:
    """J of a rank's decode step.

    Arithmetic by precision, clocks, each memory by its parts, the PNM engine.
    """
    passes = 2.0 if np.ravel(work.plans.sub_batch_interleaving)[0] else 1.0
    engine, arithmetic = near.get("reads", 0.0) * passes, near.get("arithmetic", 0.0) * passes
    beside = BESIDE.get(PnmSite(int(machine.pnm.site[0])), "")
    noted = ledger.get("logic", 0.0)
    out = {
        f"{DECODE}arithmetic, {bits} bit": noted * share for bits, share in _precisions(machine, work).items()
    }
    out[f"{DECODE}clocks"] = ledger.get("clocks", 0.0)
    out[f"{DECODE}on-chip SRAM and wires"] = ledger.get("on chip", 0.0)
    doubled = ledger.get("doubled refresh", 0.0)
    fast, held, far = (
        ledger.get(name, 0.0) - (engine + arithmetic if name == beside else 0.0) for name in BESIDE.values()
    )
    out |= _read(DECODE, machine, fast - doubled)
    if scalar(machine.flash.energy):
        array = scalar(machine.lines.flash_array) / scalar(machine.flash.energy)
        out |= {
            f"{DECODE}flash, array": held * array,
            f"{DECODE}flash, interface and links": held * (1.0 - array),
        }
    return out | {
        f"{DECODE}far memory": far,
        f"{DECODE}PNM reads": engine,
        f"{DECODE}PNM arithmetic": arithmetic,
        f"{DECODE}doubled refresh": doubled,
    }


def _precisions(machine: Machine, work: StepWork) -> dict[int, float]:
    """Share of the host's arithmetic energy by bits of its operands; operators weigh by FLOP and J/FLOP."""
    found: dict[int, float] = {}
    for i in range(len(OPERATORS)):
        column = int(np.ravel(work.bits[i])[0])
        joules = (
            scalar(work.flop[i]) * scalar(work.mean_flop[i]) * scalar(machine.compute.flop_energy[:, column])
        )
        if joules:
            found[BITS[column]] = found.get(BITS[column], 0.0) + joules
    return {bits: v / sum(found.values()) for bits, v in found.items()}


def _read(phase: str, machine: Machine, joules: float) -> dict[str, float]:
    """The host's reads of fast memory by array, wires and interface."""
    ways = {line.value: scalar(v) for line, v in machine.lines.fast_read.items()}
    return {f"{phase}fast memory, {n}": joules * v / sum(ways.values()) for n, v in ways.items() if v}


def _prompts(point: OperatingPoint, prompt: Terms) -> dict[str, float]:
    """J per output token of prompts, and of moving their KV cache where they have a pool of their own."""
    work = point.work
    scale = point.prompts * scalar(work.plans.group) / scalar(work.prompts) / point.scenario.mix.output_tokens
    fast = "fast memory"
    out = {f"{PREFILL}{n}": v * scale for n, v in prompt.items() if n != fast}
    out |= {n: v * scale for n, v in _read(PREFILL, point.machine, prompt.get(fast, 0.0)).items()}
    if point.prompt_mode is PromptMode.POOL:
        moved = scalar(work.prompt_kv) * scale
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
    out["standby for failures"] = scalar(point.fleet.spare_overhead) * sum(out.values())
    out[ELECTRICITY] = scalar(point.estimate.energy) * scenario.electricity_price * MILLION
    return out


def carbons(point: OperatingPoint) -> dict[str, float]:
    """kgCO2e per million output tokens by line, embodied over the life and operational by grid."""
    machine = point.machine
    scale = point.provisioned * MILLION / point.scenario.lifetime
    out = {line.value: scalar(v) * scale for line, v in machine.lines.carbon.items() if scalar(v)}
    out["standby for failures"] = scalar(point.fleet.spare_overhead) * sum(out.values())
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
