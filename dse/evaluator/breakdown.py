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
        return self.busy / self.scenario["utilisation"]

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


def energies(r: OperatingPoint, ledger: Terms, prompt: Terms, near: Terms) -> dict[str, float]:
    """J per output token at the wall by component.

    ``ledger``, ``prompt`` and ``near`` are the terms noted while serving: of a step, of a mean prompt, of the
    PNM engine. Voltage conversion and what PUE adds stand on their own.
    """
    m, s = r.machine, r.scenario
    inside = {n: v * r.per_token for n, v in _decode(m, r.traffic, ledger, near).items()} | _prompts(r, prompt)
    inside |= {
        n.removeprefix("static: "): scalar(v) * r.present for n, v in m.report.items() if n.startswith("static: ")
    }
    if scalar(m.flash_capacity):
        inside["flash programming"] = scalar(wear(m, r.pairs, s)) * scalar(m.flash_program_energy) * r.present
    outside = {
        n.removeprefix("outside: "): scalar(v) * r.present for n, v in m.report.items() if n.startswith("outside: ")
    }
    within = sum(inside.values())
    parts = inside | {"voltage conversion": within * (scalar(m.power_loss) - 1.0)} | outside
    parts["facility (PUE)"] = sum(parts.values()) * (s["pue"] - 1.0)
    return {n: v for n, v in parts.items() if v}


def _decode(m: Machine, t: StepWork, ledger: Terms, near: Terms) -> dict[str, float]:
    """J of a rank's decode step: arithmetic by precision, clocks, each memory by its parts, the PNM engine."""
    twice = 2.0 if t.plans.sub_batch_interleaving[0] else 1.0
    engine, arithmetic = near.get("reads", 0.0) * twice, near.get("arithmetic", 0.0) * twice
    tier = {1: "fast memory", 2: "flash", 3: "far memory"}.get(int(m.pnm_site[0]), "")
    out = {
        f"decode: arithmetic, {bits} bit": ledger.get("logic", 0.0) * share for bits, share in _precisions(m, t).items()
    }
    out["decode: clocks"] = ledger.get("clocks", 0.0)
    out["decode: on-chip SRAM and wires"] = ledger.get("on chip", 0.0)
    left = {
        n: ledger.get(n, 0.0) - (engine + arithmetic if n == tier else 0.0)
        for n in ("fast memory", "flash", "far memory")
    }
    left["fast memory"] -= ledger.get("doubled refresh", 0.0)
    out |= _read("decode", m, left["fast memory"])
    if scalar(m.flash_energy):
        array = scalar(m.report["flash read: array"]) / scalar(m.flash_energy)
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


def _precisions(m: Machine, t: StepWork) -> dict[int, float]:
    """Share of the host's arithmetic energy by bits of its operands; operators weigh by FLOP and J/FLOP."""
    found: dict[int, float] = {}
    for i in range(len(OPERATORS)):
        column = int(np.ravel(t.bits[i])[0])
        joules = scalar(t.flop[i]) * scalar(t.mean_flop[i]) * scalar(m.flop_energy[:, column])
        if joules:
            found[BITS[column]] = found.get(BITS[column], 0.0) + joules
    return {bits: v / sum(found.values()) for bits, v in found.items()}


def mobile_energies(
    m: Machine, t: StepWork, whole: Terms, present: float, s: Scenario, notes: tuple[Terms, Terms, Terms]
) -> dict[str, float]:
    """J per output token from the battery by component; ``notes`` of a step, of a mean prompt, of the PNM engine.

    ``whole`` are the terms that the evaluator adds up: what is kept in DRAM between questions is one of them;
    ``present`` [s] is the time of the device that a token takes.
    """
    ledger, prompt, near = notes
    inside = {n: v / t.tokens_per_step for n, v in _decode(m, t, ledger, near).items()}
    charged = 1.0 if s.mix.computed_tokens > 0 else 0.0
    inside |= {n: v * charged / s.mix.output_tokens for n, v in _prompt(m, prompt).items()}
    inside |= {n.removeprefix("static: "): scalar(v) * present for n, v in m.report.items() if n.startswith("static: ")}
    inside["refresh while resident"] = whole["refresh while resident"] / scalar(m.power_loss)
    parts = inside | {"voltage conversion": sum(inside.values()) * (scalar(m.power_loss) - 1.0)}
    return {n: v for n, v in parts.items() if v}


def _prompt(m: Machine, noted: Terms) -> dict[str, float]:
    """J of a rank's mean prompt: arithmetic and clocks, on-chip bytes, memories by their parts."""
    out = {f"prefill: {n}": v for n, v in noted.items() if n != "fast memory"}
    return out | _read("prefill", m, noted.get("fast memory", 0.0))


def _read(phase: str, m: Machine, joules: float) -> dict[str, float]:
    """The host's reads of fast memory by array, wires and interface."""
    ways = {n.removeprefix("read: "): scalar(v) for n, v in m.report.items() if n.startswith("read: ")}
    return {f"{phase}: fast memory, {n}": joules * v / sum(ways.values()) for n, v in ways.items() if v}


def _prompts(r: OperatingPoint, prompt: Terms) -> dict[str, float]:
    """J per output token of prompts, and of moving their KV cache where they have a pool of their own."""
    t, s = r.traffic, r.scenario
    scale = r.prompts * scalar(t.plans.group) / scalar(t.prompts) / s.mix.output_tokens
    out = {n: v * scale for n, v in _prompt(r.machine, prompt).items()}
    if r.mode == "disagg":
        out["prefill: KV cache moved"] = scalar(t.prompt_kv) * scale * scalar(r.machine.scale_out_energy)
    return out


def idle(r: OperatingPoint) -> dict[str, float]:
    """Watts of a package and its surroundings at the wall while it waits, and the share of its energy that is spent so."""
    m, s = r.machine, r.scenario
    standing = (scalar(m.static_power) * scalar(m.power_loss) + scalar(m.outside_power)) * s["pue"]
    waiting = standing * r.present * (1.0 - s["utilisation"])
    return {
        "idle power per package, at the wall": standing,
        "share of energy spent idle": waiting / scalar(r.estimate.energy),
    }


def powers(r: OperatingPoint) -> dict[str, float]:
    """Watts of a package at its operating point beside its limits, and of a rack full of them."""
    m, step = r.machine, scalar(r.pairs.step)
    decode = scalar(r.pairs.energy) / step + scalar(m.static_power)
    prompts = scalar(r.pairs.prompt)
    prefill = scalar(r.pairs.prompt_energy) / prompts + scalar(m.static_power) if prompts else 0.0
    worst = max(decode, prefill)
    beside = scalar(m.outside_power)
    held = 1.0 / max(scalar(m.report["racks"]), 1e-12)
    return {
        "package power, decode": decode, "package power, prefill": prefill, "package power limit": scalar(m.report["power_limit"]),
        "packages per rack": held, "rack power": held * (worst * scalar(m.power_loss) + beside), "rack power limit": scalar(m.report["rack_limit"]),
    }  # fmt: skip


def costs(r: OperatingPoint, catalog: Catalog) -> dict[str, float]:
    """USD per million output tokens by line: what is bought, kept, housed and burnt."""
    m, s = r.machine, r.scenario
    scale = r.present * MILLION
    lines = {n.removeprefix("cost: "): scalar(v) for n, v in m.report.items() if n.startswith("cost: ") and scalar(v)}
    out = {n: v / s["lifetime"] * scale for n, v in lines.items()}
    whole = sum(lines.values())
    interest = catalog.value("economics", "datacenter", "discount_rate")
    out["cost of capital"] = (
        scalar(cost.capital_charge(np.array([whole]), s["lifetime"], interest)) - whole / s["lifetime"]
    ) * scale
    out["maintenance"] = whole * catalog.value("economics", "datacenter", "maintenance") * scale
    out["facility"] = scalar(m.report["facility rate"]) * scale
    out["standby for failures"] = scalar(r.fleet["standby"]) * sum(out.values())
    out["electricity"] = scalar(r.estimate.energy) * s["electricity_price"] * MILLION
    return out


def carbons(r: OperatingPoint) -> dict[str, float]:
    """kgCO2e per million output tokens by line, embodied over the life and operational by grid."""
    m, s = r.machine, r.scenario
    scale = r.present * MILLION / s["lifetime"]
    out = {
        n.removeprefix("carbon: "): scalar(v) * scale
        for n, v in m.report.items()
        if n.startswith("carbon: ") and scalar(v)
    }
    out["standby for failures"] = scalar(r.fleet["standby"]) * sum(out.values())
    out["electricity"] = scalar(carbon.operational(r.estimate.energy, scalar(m.grid))) * MILLION
    return out


def by_side(r: OperatingPoint, cost: Mapping[str, float], energy: Mapping[str, float]) -> dict[str, float]:
    """USD per million tokens of input and of output, were each charged its own share.

    Prompts are charged the package-seconds they take and the energy they burn; cached prefixes count as input.
    input x tokens in + output x tokens out = the all-in cost of a request.
    """
    s = r.scenario
    spent = sum(cost.values())
    burnt = cost["electricity"]
    own = sum(v for n, v in energy.items() if n.startswith("prefill: "))
    still = sum(energy.values())
    dynamic = sum(v for n, v in energy.items() if n.startswith(("prefill: ", "decode: ", "flash programming")))
    share = own / still + (still - dynamic) / still * r.prompt_share  # what stands goes by time
    asked = sum(c.share * c.input_tokens for c in s.mix.classes) / sum(c.share for c in s.mix.classes)
    prompts = r.prompts * ((spent - burnt) * r.prompt_share + burnt * share)
    return {
        "USD per million input tokens": prompts * s.mix.output_tokens / max(asked, 1e-12),
        "USD per million output tokens, without its prompt": spent - prompts,
    }
