"""Where joules, dollars and carbon go, part by part; each table sums to its total.

Everything is per output token (energy) or per million of them (cost, carbon), prefill charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import BITS, OPERATORS
from dse.core.units import FloatArray
from dse.hardware.machine import Machine
from dse.physics import carbon, cost
from dse.serving.operating_points import Estimate, wear
from dse.serving.results import PlanResults
from dse.serving.step_work import StepWork
from dse.space.scenario import Scenario

MILLION = 1e6


Terms = Mapping[str, float]


def scalar(x: FloatArray | float) -> float:
    """The one number of an array of size 1."""
    return float(np.ravel(x)[0])


@dataclass(frozen=True)
class OperatingPoint:
    """One machine under one plan, and what it was found to do."""

    machine: Machine
    traffic: StepWork
    pairs: PlanResults
    estimate: Estimate
    fleet: Mapping[str, FloatArray]
    """what ``dse.serving.choose.account`` says"""
    scenario: Scenario

    @property
    def mode(self) -> str:
        """Whether prompts share the machine or have a pool of their own."""
        return "disagg" if self.estimate.chosen["disaggregated"][0, 0] > 0 else "shared"

    @property
    def busy(self) -> float:
        """Package-seconds that an output token keeps busy, prompts included."""
        return scalar(self.fleet[f"{self.mode}_busy"])

    @property
    def present(self) -> float:
        """Package-seconds that stand for an output token, busy or idle."""
        return self.busy / self.scenario.utilisation

    @property
    def per_token(self) -> float:
        """Steps of all ranks that an output token takes."""
        return scalar(self.traffic.plans.group) / (scalar(self.traffic.plans.batch) * self.traffic.tokens_per_step)

    @property
    def prompts(self) -> float:
        """1 where prompts are computed at all."""
        return 1.0 if self.scenario.mix.computed_tokens > 0 else 0.0

    @property
    def prompt_share(self) -> float:
        """Share of the package-seconds that prompts take: of the shared machine's time, or their pool's packages."""
        a = self.fleet
        if self.mode == "disagg":
            return 1.0 - scalar(a["shared_fleet"]) / scalar(a["disagg_fleet"])
        return 1.0 - scalar(a["disagg_tpot"]) / scalar(a["shared_tpot"])


def energies(point: OperatingPoint, ledger: Terms, prompt: Terms, near: Terms) -> dict[str, float]:
    """J per output token at the wall by component.

    ``ledger``, ``prompt`` and ``near`` are the terms noted while serving: of a step, of a mean prompt, of the
    PNM engine. Voltage conversion and what PUE adds stand on their own.
    """
    machine, scenario = point.machine, point.scenario
    inside = {n: v * point.per_token for n, v in _decode(machine, point.traffic, ledger, near).items()} | _prompts(
        point, prompt
    )
    inside |= {
        n.removeprefix("static: "): scalar(v) * point.present
        for n, v in machine.report.items()
        if n.startswith("static: ")
    }
    if scalar(machine.flash_capacity):
        inside["flash programming"] = (
            scalar(wear(machine, point.pairs, scenario)) * scalar(machine.flash_program_energy) * point.present
        )
    outside = {
        n.removeprefix("outside: "): scalar(v) * point.present
        for n, v in machine.report.items()
        if n.startswith("outside: ")
    }
    within = sum(inside.values())
    parts = inside | {"voltage conversion": within * (scalar(machine.power_loss) - 1.0)} | outside
    parts["facility (PUE)"] = sum(parts.values()) * (scenario.pue - 1.0)
    return {n: v for n, v in parts.items() if v}


def _decode(machine: Machine, work: StepWork, ledger: Terms, near: Terms) -> dict[str, float]:
    """J of a rank's decode step: arithmetic by precision, clocks, each memory by its parts, the PNM engine."""
    twice = 2.0 if work.plans.sub_batch_interleaving[0] else 1.0
    engine, arithmetic = near.get("reads", 0.0) * twice, near.get("arithmetic", 0.0) * twice
    tier = {1: "fast memory", 2: "flash", 3: "far memory"}.get(int(machine.pnm_site[0]), "")
    out = {
        f"decode: arithmetic, {bits} bit": ledger.get("logic", 0.0) * share
        for bits, share in _precisions(machine, work).items()
    }
    out["decode: clocks"] = ledger.get("clocks", 0.0)
    out["decode: on-chip SRAM and wires"] = ledger.get("on chip", 0.0)
    left = {
        n: ledger.get(n, 0.0) - (engine + arithmetic if n == tier else 0.0)
        for n in ("fast memory", "flash", "far memory")
    }
    left["fast memory"] -= ledger.get("doubled refresh", 0.0)
    out |= _read("decode", machine, left["fast memory"])
    if scalar(machine.flash_energy):
        array = scalar(machine.report["flash read: array"]) / scalar(machine.flash_energy)
        out |= {
            "decode: flash, array": left["flash"] * array,
            "decode: flash, interface and links": left["flash"] * (1.0 - array),
        }
    out["decode: far memory"] = left["far memory"]
    return out | {
        "decode: PNM reads": engine,
        "decode: PNM arithmetic": arithmetic,
        "decode: doubled refresh": ledger.get("doubled refresh", 0.0),
    }


def _precisions(machine: Machine, work: StepWork) -> dict[int, float]:
    """Share of the host's arithmetic energy by bits of its operands; operators weigh by FLOP and J/FLOP."""
    found: dict[int, float] = {}
    for i in range(len(OPERATORS)):
        column = int(np.ravel(work.bits[i])[0])
        joules = scalar(work.flop[i]) * scalar(work.mean_flop[i]) * scalar(machine.flop_energy[:, column])
        if joules:
            found[BITS[column]] = found.get(BITS[column], 0.0) + joules
    return {bits: v / sum(found.values()) for bits, v in found.items()}


def mobile_energies(
    machine: Machine,
    work: StepWork,
    whole: Terms,
    present: float,
    scenario: Scenario,
    notes: tuple[Terms, Terms, Terms],
) -> dict[str, float]:
    """J per output token from the battery by component; ``notes`` of a step, of a mean prompt, of the PNM engine.

    ``whole`` are the terms that the evaluator adds up: what is kept in DRAM between questions is one of them;
    ``present`` [s] is the time of the device that a token takes.
    """
    ledger, prompt, near = notes
    inside = {n: v / work.tokens_per_step for n, v in _decode(machine, work, ledger, near).items()}
    charged = 1.0 if scenario.mix.computed_tokens > 0 else 0.0
    inside |= {n: v * charged / scenario.mix.output_tokens for n, v in _prompt(machine, prompt).items()}
    inside |= {
        n.removeprefix("static: "): scalar(v) * present for n, v in machine.report.items() if n.startswith("static: ")
    }
    inside["refresh while resident"] = whole["refresh while resident"] / scalar(machine.power_loss)
    parts = inside | {"voltage conversion": sum(inside.values()) * (scalar(machine.power_loss) - 1.0)}
    return {n: v for n, v in parts.items() if v}


def _prompt(machine: Machine, noted: Terms) -> dict[str, float]:
    """J of a rank's mean prompt: arithmetic and clocks, on-chip bytes, memories by their parts."""
    out = {f"prefill: {n}": v for n, v in noted.items() if n != "fast memory"}
    return out | _read("prefill", machine, noted.get("fast memory", 0.0))


def _read(phase: str, machine: Machine, joules: float) -> dict[str, float]:
    """The host's reads of fast memory by array, wires and interface."""
    ways = {n.removeprefix("read: "): scalar(v) for n, v in machine.report.items() if n.startswith("read: ")}
    return {f"{phase}: fast memory, {n}": joules * v / sum(ways.values()) for n, v in ways.items() if v}


def _prompts(point: OperatingPoint, prompt: Terms) -> dict[str, float]:
    """J per output token of prompts, and of moving their KV cache where they have a pool of their own."""
    work, scenario = point.traffic, point.scenario
    scale = point.prompts * scalar(work.plans.group) / scalar(work.prompts) / scenario.mix.output_tokens
    out = {n: v * scale for n, v in _prompt(point.machine, prompt).items()}
    if point.mode == "disagg":
        out["prefill: KV cache moved"] = scalar(work.prompt_kv) * scale * scalar(point.machine.scale_out_energy)
    return out


def idle(point: OperatingPoint) -> dict[str, float]:
    """Watts of a package and its surroundings at the wall while it waits, and the share of its energy that is spent so."""
    machine, scenario = point.machine, point.scenario
    standing = (
        scalar(machine.static_power) * scalar(machine.power_loss) + scalar(machine.outside_power)
    ) * scenario.pue
    waiting = standing * point.present * (1.0 - scenario.utilisation)
    return {
        "idle power per package, at the wall": standing,
        "share of energy spent idle": waiting / scalar(point.estimate.energy),
    }


def powers(point: OperatingPoint) -> dict[str, float]:
    """Watts of a package at its operating point beside its limits, and of a rack full of them."""
    machine, step = point.machine, scalar(point.pairs.step)
    decode = scalar(point.pairs.energy) / step + scalar(machine.static_power)
    prompts = scalar(point.pairs.prompt)
    prefill = scalar(point.pairs.prompt_energy) / prompts + scalar(machine.static_power) if prompts else 0.0
    worst = max(decode, prefill)
    beside = scalar(machine.outside_power)
    held = 1.0 / max(scalar(machine.report["racks"]), 1e-12)
    return {
        "package power, decode": decode, "package power, prefill": prefill, "package power limit": scalar(machine.report["power_limit"]),
        "packages per rack": held, "rack power": held * (worst * scalar(machine.power_loss) + beside), "rack power limit": scalar(machine.report["rack_limit"]),
    }  # fmt: skip


def costs(point: OperatingPoint, catalog: Catalog) -> dict[str, float]:
    """USD per million output tokens by line: what is bought, kept, housed and burnt."""
    machine, scenario = point.machine, point.scenario
    scale = point.present * MILLION
    lines = {
        n.removeprefix("cost: "): scalar(v) for n, v in machine.report.items() if n.startswith("cost: ") and scalar(v)
    }
    out = {n: v / scenario.lifetime * scale for n, v in lines.items()}
    whole = sum(lines.values())
    interest = catalog.value("economics", "datacenter", "discount_rate")
    out["cost of capital"] = (
        scalar(cost.capital_charge(np.array([whole]), scenario.lifetime, interest)) - whole / scenario.lifetime
    ) * scale
    out["maintenance"] = whole * catalog.value("economics", "datacenter", "maintenance") * scale
    out["facility"] = scalar(machine.report["facility rate"]) * scale
    out["standby for failures"] = scalar(point.fleet["standby"]) * sum(out.values())
    out["electricity"] = scalar(point.estimate.energy) * scenario.electricity_price * MILLION
    return out


def carbons(point: OperatingPoint) -> dict[str, float]:
    """kgCO2e per million output tokens by line, embodied over the life and operational by grid."""
    machine, scenario = point.machine, point.scenario
    scale = point.present * MILLION / scenario.lifetime
    out = {
        n.removeprefix("carbon: "): scalar(v) * scale
        for n, v in machine.report.items()
        if n.startswith("carbon: ") and scalar(v)
    }
    out["standby for failures"] = scalar(point.fleet["standby"]) * sum(out.values())
    out["electricity"] = scalar(carbon.operational(point.estimate.energy, scalar(machine.grid))) * MILLION
    return out


def by_side(point: OperatingPoint, cost: Mapping[str, float], energy: Mapping[str, float]) -> dict[str, float]:
    """USD per million tokens of input and of output, were each charged its own share.

    Prompts are charged the package-seconds they take and the energy they burn; cached prefixes count as input.
    input x tokens in + output x tokens out = the all-in cost of a request.
    """
    scenario = point.scenario
    spent = sum(cost.values())
    burnt = cost["electricity"]
    own = sum(v for n, v in energy.items() if n.startswith("prefill: "))
    still = sum(energy.values())
    dynamic = sum(v for n, v in energy.items() if n.startswith(("prefill: ", "decode: ", "flash programming")))
    share = own / still + (still - dynamic) / still * point.prompt_share  # what stands goes by time
    asked = sum(c.share * c.input_tokens for c in scenario.mix.classes) / sum(c.share for c in scenario.mix.classes)
    prompts = point.prompts * ((spent - burnt) * point.prompt_share + burnt * share)
    return {
        "USD per million input tokens": prompts * scenario.mix.output_tokens / max(asked, 1e-12),
        "USD per million output tokens, without its prompt": spent - prompts,
    }
