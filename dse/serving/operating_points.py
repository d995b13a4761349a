"""Operating points: per design and rung of TPOT, each workload's cheapest admissible plan.

Equal accounting happens here: prefill is charged (on the same machine, or on a rate-matched
pool of the same design, whichever is cheaper), demand is finite and domains are bought whole,
idle time costs static power and capital, flash must live, TTFT must hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np

from dse.core.table import Table, total
from dse.core.units import FloatArray
from dse.hardware.machine import Machine
from dse.physics import flash
from dse.serving.placement import LARGE
from dse.serving.results import PlanResults
from dse.serving.step_work import StepWork
from dse.space.scenario import Scenario

REFUSED: Final = 1e30
"""USD; stands for a plan that is not admissible"""


MOST_BROKEN: Final = 10.0
"""largest such share that is told apart"""


CAP: Final = 1e6
"""largest value over limit that is told apart"""


@dataclass
class Estimate(Table):
    """Operating points of n designs on r rungs, for one workload or the token-weighted sum."""

    tpot: FloatArray
    """(n, r) s"""
    cost: FloatArray
    """(n, r) USD per output token, all-in"""
    energy: FloatArray
    """(n, r) J per output token at the wall"""
    carbon: FloatArray
    """(n, r) kgCO2e per output token"""
    ttft: FloatArray
    packages: FloatArray
    """(n, r) packages for the demand, whole domains"""
    limit_ratios: dict[str, FloatArray]
    """(n, r) value over limit of each check"""
    chosen: dict[str, FloatArray] = field(default_factory=dict)
    """(n, r) what the chosen plan is: plan index, stages, share, disaggregated, parts of cost"""

    def pick(self, rungs: list[int]) -> Estimate:
        """Operating points on some rungs, in the order asked for."""

        def some(value: Any) -> Any:
            return {k: v[:, rungs] for k, v in value.items()} if isinstance(value, dict) else value[:, rungs]

        return Estimate(**{f.name: some(getattr(self, f.name)) for f in fields(self)})


def fleet_cost(machine: Machine, work: StepWork, results: PlanResults, scenario: Scenario) -> dict[str, FloatArray]:
    """Cost, energy and fleet of every pair, prefill shared and disaggregated, (n, p) each.

    A scenario's requests arrive out of step, so decoding sequences meet all the time of the prompts that
    join them; a benchmark's lockstep, in which some of it is met while waiting, is a matter of its rows.
    """
    g, batch, demand = work.plans.group, work.plans.batch, work.load.concurrency
    output_tokens = scenario.mix.output_tokens
    charged = 1.0 if scenario.mix.computed_tokens > 0 else 0.0
    unit = np.minimum(g * results.stages, LARGE)
    domain = machine.domain[:, None]
    per_domain = np.maximum(domain / unit, 1.0)
    step_up = np.maximum(domain, unit)
    replicas = np.ceil(np.maximum(demand / (batch * results.stages), 1e-9) - 1e-9)
    fleet = np.ceil(replicas / per_domain - 1e-9) * step_up
    prompt_s = charged * results.prompt / work.prompts  # package-group seconds per prompt
    disagg = results.step * (1.0 / work.tokens_per_step)
    shared = disagg + results.prefill_interference * (1.0 / work.tokens_per_step)
    pool = np.ceil(demand / (disagg * output_tokens) * prompt_s / (results.stages * per_domain) - 1e-9) * step_up
    energy = (
        g * results.energy / (batch * work.tokens_per_step)
        + charged * g / work.prompts * results.prompt_energy / output_tokens
    )
    transfer = work.prompt_kv * g / work.prompts * machine.scale_out_energy[:, None] * charged
    return {
        "standby": spare_overhead(machine, unit),
        "shared_tpot": shared, "disagg_tpot": disagg, "shared_fleet": fleet, "disagg_fleet": fleet + pool,
        "shared_busy": fleet * shared / demand, "disagg_busy": (fleet + pool) * disagg / demand,
        "shared_energy": energy, "disagg_energy": energy + transfer / output_tokens,
    }  # fmt: skip


def spare_overhead(machine: Machine, unit: FloatArray) -> FloatArray:
    """Capital beside that which works, over it: of replicas of ``unit`` packages that wait for a repair, or of spares.

    Whichever is less: a broken package holds up its replica until it is repaired, or spares are kept in the
    domain and the replica waits until one has taken the place.
    """
    stops = unit * machine.failure_rate[:, None]
    waiting = stops * machine.repair_time[:, None]
    np.minimum(waiting, stops * machine.recovery_time[:, None] + machine.spare_share[:, None], out=waiting)
    return np.minimum(waiting, MOST_BROKEN, out=waiting)


def _wall(machine: Machine, scenario: Scenario, busy: FloatArray, dynamic: FloatArray) -> FloatArray:
    """J per token at the wall: dynamic energy, and static, link and host power always."""
    u = scenario.utilisation
    standing = busy * (1.0 / u)
    inside = dynamic + machine.static_power[:, None] * standing
    return scenario.pue * (inside * machine.power_loss[:, None] + machine.outside_power[:, None] * standing)


def wear(machine: Machine, results: PlanResults, scenario: Scenario) -> FloatArray:
    """Bytes programmed per second and package: reclaim, retention, updates, KV and prefixes written.

    Reading, and so reclaim, happens for the busy share of the time; retention always.
    """
    duty = scenario.utilisation
    reclaim = results.flash_read * machine.flash_reclaim[:, None]
    ingested = results.flash_written / results.step
    always = machine.flash_refresh[:, None] + 1.0 / scenario.weight_update_interval
    return (reclaim + ingested) * duty + results.stored * always


def plan_limits(
    machine: Machine, work: StepWork, results: PlanResults, limits: dict[str, float], writes: FloatArray
) -> dict[str, FloatArray]:
    """Value over limit of every check on a pair but TPOT and TTFT, broadcastable to (n, p)."""
    out = dict(results.limit_ratios)
    out["demand"] = work.plans.batch * results.stages / work.load.concurrency
    has = (machine.flash_capacity > 0)[:, None]
    if has.any():
        life = flash.life(np.ones(1), machine.flash_endurance[:, None], np.ones(1), writes)
        out["flash_life"] = np.where(has, limits.get("flash_life", 0.0) / np.minimum(life, LARGE), 0.0)
        out["flash_program"] = np.where(has, writes / machine.flash_write_bandwidth[:, None], 0.0)
    else:
        out["flash_life"] = out["flash_program"] = np.zeros((1, 1))
    return out


def choose(machine: Machine, work: StepWork, results: PlanResults, scenario: Scenario, limits: dict[str, float],
           rungs: tuple[float, ...]) -> Estimate:  # fmt: skip
    """Pick, per design and rung, the cheapest admissible plan; the least bad if there is none."""
    flashy = bool((machine.flash_capacity > 0).any())
    writes = wear(machine, results, scenario) if flashy else np.zeros((1, 1))
    a = fleet_cost(machine, work, results, scenario)
    if flashy:  # programming is paid at the rate it happens, busy or not
        program = writes * machine.flash_program_energy[:, None]
        for mode in ("shared", "disagg"):
            a[f"{mode}_energy"] = a[f"{mode}_energy"] + program * a[f"{mode}_busy"] / scenario.utilisation
    checks = plan_limits(machine, work, results, limits, writes)
    wait = limits.get("ttft", LARGE)
    shift = work.prompt_kv / machine.scale_out_bandwidth[:, None]
    ttft = {"shared": results.ttft + results.step, "disagg": results.ttft + shift + results.step}
    u, price, grid = scenario.utilisation, scenario.electricity_price, machine.grid[:, None]
    rate = (1.0 + a["standby"]) * (machine.capital_rate[:, None] / u)
    common = np.ones(results.step.shape)
    for r in checks.values():  # the product of excesses orders plans as the sum of their logs does
        common *= np.maximum(r, 1.0)
    n, r_count = len(machine.domain), len(rungs)
    both: dict[str, dict[str, FloatArray]] = {}
    for mode in ("shared", "disagg"):
        energy = _wall(machine, scenario, a[f"{mode}_busy"], a[f"{mode}_energy"])
        cost = a[f"{mode}_busy"] * rate + energy * price
        bad = common * np.maximum(ttft[mode] * (1.0 / wait), 1.0)
        both[mode] = {"tpot": a[f"{mode}_tpot"], "cost": cost, "energy": energy, "bad": bad,
                      "key": np.where(bad > 1.0, REFUSED, cost)}  # fmt: skip
    pick = np.empty((n, r_count), dtype=np.int64)
    mode_of = np.zeros((n, r_count), dtype=np.int64)
    quick, slow = both["disagg"], both["shared"]  # a pool's TPOT is never above the shared one
    either = np.minimum(quick["key"], slow["key"])
    rows = np.arange(n)
    for i, rung in enumerate(rungs):
        keys = np.where(slow["tpot"] <= rung, either, np.where(quick["tpot"] <= rung, quick["key"], REFUSED))
        best = np.argmin(keys, axis=1)
        found = keys[rows, best]
        none = found >= REFUSED
        if none.any():  # the plan with the least total violation speaks for the design
            worst = [q["bad"][none] * np.maximum(q["tpot"][none] / rung, 1.0) for q in (slow, quick)]
            at_least = np.argmin(np.minimum(worst[0], worst[1]), axis=1)
            best[none] = at_least
            few = np.arange(len(at_least))
            mode_of[none, i] = worst[1][few, at_least] < worst[0][few, at_least]
        ok = ~none
        mode_of[ok, i] = (quick["key"][rows, best] == found)[ok]
        pick[:, i] = best
    flat = rows[:, None] * results.step.shape[1] + pick

    def at(x: FloatArray) -> FloatArray:
        return (
            x.reshape(-1)[flat]
            if x.shape == results.step.shape
            else np.take_along_axis(np.broadcast_to(x, results.step.shape), pick, axis=1)
        )

    def by_mode(key: str) -> FloatArray:
        return np.where(mode_of > 0, at(both["disagg"][key]), at(both["shared"][key]))

    tpot, energy = by_mode("tpot"), by_mode("energy")
    busy = np.where(mode_of > 0, at(a["disagg_busy"]), at(a["shared_busy"]))
    first = np.where(mode_of > 0, at(ttft["disagg"]), at(ttft["shared"]))
    violation = {name: at(r) for name, r in checks.items()}
    violation["ttft"] = first / wait
    violation["tpot"] = tpot / np.array(rungs)[None, :]
    standby = at(a["standby"])
    embodied = busy * (1.0 + standby) * machine.embodied[:, None] / (u * scenario.lifetime)
    return Estimate(
        tpot=tpot, cost=by_mode("cost"), energy=energy, carbon=embodied + energy * grid, ttft=first,
        packages=np.where(mode_of > 0, at(a["disagg_fleet"]), at(a["shared_fleet"])), limit_ratios=violation,
        chosen={"plan": pick.astype(np.float64), "stages": at(results.stages), "share": at(results.fast_tier_share), "disaggregated": mode_of.astype(np.float64),
                "busy": busy, "standby": standby, "step": at(results.step), "prompt": at(results.prompt), "flash_read": at(results.flash_read)},
    )  # fmt: skip


def weighted(estimates: list[Estimate], weights: list[float]) -> Estimate:
    """Token-weighted sum of the workloads; a check is as bad as its worst workload."""
    shares = [w / sum(weights) for w in weights]

    def mean(f: str) -> FloatArray:
        return total(w * getattr(e, f) for e, w in zip(estimates, shares, strict=True))

    names = sorted({k for e in estimates for k in e.limit_ratios})
    zero = np.zeros_like(estimates[0].tpot)
    violation = {}
    for name in names:
        worst = zero
        for e in estimates:
            worst = np.maximum(worst, e.limit_ratios.get(name, zero))
        violation[name] = worst
    chosen = {f"{k}.{i}": v for i, e in enumerate(estimates) for k, v in e.chosen.items()}
    return Estimate(mean("tpot"), mean("cost"), mean("energy"), mean("carbon"),
                    np.maximum.reduce([e.ttft for e in estimates]), total(e.packages for e in estimates),
                    violation, chosen)  # fmt: skip
