"""Operating points: per design and TPOT target, each workload's cheapest admissible plan.

Equal accounting happens here: prefill is charged (on the same machine, on a rate-matched pool of the same
design, whichever is cheaper, or before decoding where one user has the machine to himself), demand is finite
and domains are bought whole, idle time costs static power and capital, flash must live, TTFT must hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np

from dse.core.table import Table, total
from dse.core.units import FloatArray, IntArray
from dse.hardware.machine import Machine
from dse.physics import flash
from dse.serving.placement import LARGE
from dse.serving.results import PlanResults
from dse.serving.step_work import StepWork
from dse.space.limits import Limit
from dse.space.scenario import Scenario

REFUSED: Final = 1e30
"""USD; stands for a plan that is not admissible"""
MOST_BROKEN: Final = 10.0
"""largest share of capital that stands for failures which is told apart"""
CAP: Final = 1e6
"""largest value over limit that is told apart"""


class PromptMode(StrEnum):
    """Where prompts are computed."""

    SHARED = "shared"
    """on the machine that decodes, joining its steps"""
    POOL = "disaggregated"
    """on a pool of their own, rate-matched"""
    SERIAL = "serial"
    """on the machine of the one user who waits for the answer, before decoding"""


@dataclass(frozen=True)
class Usage:
    """How machines are used and paid for in a scenario."""

    duty: float
    """share of the time that they work: what capital and embodied carbon are spread over"""
    standing: float
    """seconds of static power that are paid per second of work"""
    pue: float
    electricity_price: float
    """USD/J that are part of the cost"""
    one_user: bool
    """prompts run before decoding"""
    resident_wait: float
    """seconds that weights in fast memory are refreshed between uses, per second of work"""

    @classmethod
    def of(cls, scenario: Scenario, *, one_user: bool) -> Usage:
        """A site's machines stand powered all the time.

        A device sleeps between uses, with the weights refreshed.
        """
        if not one_user:
            standing, wait = 1.0 / scenario.duty, 0.0
            return cls(scenario.duty, standing, scenario.pue, scenario.electricity_price, one_user, wait)
        wait = max(scenario.resident_day / scenario.daily_use - 1.0, 0.0)
        return cls(scenario.duty, 1.0, 1.0, 0.0, one_user, wait)


@dataclass(frozen=True)
class Chosen(Table):
    """What the chosen plan of one workload is and does, (n, r) each."""

    plan: FloatArray
    """index into the plans"""
    stages: FloatArray
    """pipeline depth"""
    fast_tier_share: FloatArray
    disaggregated: FloatArray
    """1 where prompts have a pool of their own"""
    busy: FloatArray
    """package-seconds that an output token keeps busy, prompts included"""
    spare_overhead: FloatArray
    step: FloatArray
    unthrottled: FloatArray
    """s of a step that no limit of heat slows"""
    step_energy: FloatArray
    """J of a step per rank, dynamic"""
    prompt: FloatArray
    flash_read: FloatArray


@dataclass(frozen=True)
class Estimate(Table):
    """Operating points of n designs on r TPOT targets, of a workload or the token-weighted sum of several."""

    tpot: FloatArray
    """(n, r) s"""
    cost: FloatArray
    """(n, r) USD per output token, all-in"""
    energy: FloatArray
    """(n, r) J per output token at the wall, or from the battery"""
    carbon: FloatArray
    """(n, r) kgCO2e per output token"""
    ttft: FloatArray
    packages: FloatArray
    """(n, r) packages for the demand, whole domains"""
    capital: FloatArray
    """(n, r) USD of a package and what it brings along, paid once"""
    limit_ratios: dict[Limit, FloatArray]
    """(n, r) value over limit of each check"""
    chosen: tuple[Chosen, ...]
    """of each workload"""

    def pick(self, targets: Sequence[int]) -> Estimate:
        """Operating points on some targets, in the order asked for."""
        columns = list(targets)

        def some(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: v[:, columns] for k, v in value.items()}
            if isinstance(value, tuple):
                return tuple(
                    Chosen(**{f.name: getattr(c, f.name)[:, columns] for f in fields(Chosen)}) for c in value
                )
            return value[:, columns]

        return Estimate(**{f.name: some(getattr(self, f.name)) for f in fields(self)})


@dataclass
class Mode:
    """Every pair with its prompts computed one way, (n, p) each."""

    tpot: FloatArray
    fleet: FloatArray
    """packages for the demand"""
    busy: FloatArray
    """package-seconds that an output token keeps busy, prompts included"""
    energy: FloatArray
    """J per output token inside packages that work moves: without what stands"""
    ttft: FloatArray


@dataclass(frozen=True)
class FleetCost:
    """What the demand takes of every pair, by where its prompts are computed."""

    spare_overhead: FloatArray
    modes: dict[PromptMode, Mode]


def fleet_cost(
    machine: Machine, work: StepWork, results: PlanResults, scenario: Scenario, usage: Usage
) -> FleetCost:
    """Fleet, time and energy of every pair, prompts included, (n, p) each.

    A scenario's requests arrive out of step, so decoding sequences meet all the time of the prompts that
    join them; a benchmark's lockstep, in which some of it is met while waiting, is a matter of its rows.
    """
    group, batch, demand = work.plans.group, work.plans.batch, work.load.concurrency
    output = scenario.mix.output_tokens
    charged = 1.0 if scenario.mix.computed_tokens > 0 else 0.0
    unit = np.minimum(group * results.stages, LARGE)
    domain = machine.network.domain[:, None]
    per_domain = np.maximum(domain / unit, 1.0)
    step_up = np.maximum(domain, unit)
    replicas = np.ceil(np.maximum(demand / (batch * results.stages), 1e-9) - 1e-9)
    fleet = np.ceil(replicas / per_domain - 1e-9) * step_up
    prompt = charged * results.prompt / work.prompts  # seconds of a group per prompt
    apart = results.step * (1.0 / work.tokens_per_step)
    energy = group * results.energy / (batch * work.tokens_per_step)
    energy = energy + charged * group / work.prompts * results.prompt_energy / output
    spares = spare_overhead(machine, unit)
    if usage.one_user:
        busy = fleet * (apart + prompt / output) / demand
        return FleetCost(spares, {PromptMode.SERIAL: Mode(apart, fleet, busy, energy, results.ttft)})
    shared = apart + results.prefill_interference * (1.0 / work.tokens_per_step)
    pool = np.ceil(demand / (apart * output) * prompt / (results.stages * per_domain) - 1e-9) * step_up
    transfer = work.prompt_kv * group / work.prompts * machine.network.scale_out_energy[:, None] * charged
    shift = work.prompt_kv / machine.network.scale_out_bandwidth[:, None]
    return FleetCost(
        spares,
        {
            PromptMode.SHARED: Mode(
                shared, fleet, fleet * shared / demand, energy, results.ttft + results.step
            ),
            PromptMode.POOL: Mode(
                apart,
                fleet + pool,
                (fleet + pool) * apart / demand,
                energy + transfer / output,
                results.ttft + shift + results.step,
            ),
        },
    )


def spare_overhead(machine: Machine, unit: FloatArray) -> FloatArray:
    """Capital beside that which works, over it.

    Of replicas of ``unit`` packages that wait for a repair, or of spares.

    Whichever is less: a broken package holds up its replica until it is repaired, or spares are kept in the
    domain and the replica waits until one has taken the place.
    """
    failures = machine.reliability
    stops = unit * failures.failure_rate[:, None]
    waiting = stops * failures.repair_time[:, None]
    np.minimum(waiting, stops * failures.recovery_time[:, None] + failures.spare_share[:, None], out=waiting)
    return np.minimum(waiting, MOST_BROKEN, out=waiting)


def wall_energy(machine: Machine, usage: Usage, busy: FloatArray, dynamic: FloatArray) -> FloatArray:
    """J per token at the wall, or from the battery.

    Dynamic energy, and static, link and host power while they stand.
    """
    standing = busy * usage.standing
    inside = dynamic + machine.power.static[:, None] * standing
    return usage.pue * (
        inside * machine.power.conversion_loss[:, None] + machine.power.outside[:, None] * standing
    )


def resident_power(machine: Machine, work: StepWork, results: PlanResults, usage: Usage) -> FloatArray:
    """W of refreshing the weights that stay in fast memory between uses, per second of work that it stands
    for.
    """
    kept = results.fast_tier_share * work.resident
    per_byte = machine.fast.refresh_power / machine.fast.installed
    return kept * per_byte[:, None] * usage.resident_wait


def wear(machine: Machine, results: PlanResults, scenario: Scenario) -> FloatArray:
    """Bytes programmed per second and package: reclaim, retention, updates, KV and prefixes written.

    Reading, and so reclaim, happens for the busy share of the time; retention always.
    """
    reclaim = results.flash_read * machine.flash.reclaim_share[:, None]
    ingested = results.flash_written / results.step
    always = machine.flash.retention_refresh_rate[:, None] + 1.0 / scenario.weight_update_interval
    return (reclaim + ingested) * scenario.duty + results.stored * always


def plan_limits(
    machine: Machine,
    work: StepWork,
    results: PlanResults,
    thresholds: Mapping[str, float],
    writes: FloatArray,
) -> dict[Limit, FloatArray]:
    """Value over limit of every check on a pair but TPOT and TTFT, broadcastable to (n, p)."""
    out = dict(results.limit_ratios)
    out[Limit.DEMAND] = work.plans.batch * results.stages / work.load.concurrency
    if Limit.COLD_START in thresholds:  # weights are loaded from flash into fast memory
        load = results.fast_tier_share * work.resident / machine.flash.bandwidth[:, None]
        out[Limit.COLD_START] = load / thresholds[Limit.COLD_START]
    has = (machine.flash.capacity > 0)[:, None]
    if has.any():
        life = flash.life(np.ones(1), machine.flash.writable_bytes[:, None], np.ones(1), writes)
        wanted = thresholds.get(Limit.FLASH_LIFE, 0.0)
        out[Limit.FLASH_LIFE] = np.where(has, wanted / np.minimum(life, LARGE), 0.0)
        out[Limit.FLASH_PROGRAM] = np.where(has, writes / machine.flash.write_bandwidth[:, None], 0.0)
    else:
        out[Limit.FLASH_LIFE] = out[Limit.FLASH_PROGRAM] = np.zeros((1, 1))
    return out


@dataclass(frozen=True)
class _Priced:
    """A mode with its price: what a choice is made by, (n, p) each."""

    mode: Mode
    cost: FloatArray
    energy: FloatArray
    excess: FloatArray
    """product of what breaks limits over them, 1 where nothing does"""
    key: FloatArray
    """USD per token, REFUSED where a limit is broken"""


def _priced(
    machine: Machine,
    usage: Usage,
    mode: Mode,
    rate: FloatArray,
    *,
    excess: FloatArray,
    waiting: FloatArray | None,
    wait_limit: float,
) -> _Priced:
    """Price a mode: ``rate`` [USD/s] of a package, ``waiting`` [W] for weights kept between uses."""
    dynamic = mode.energy if waiting is None else mode.energy + waiting * mode.busy
    energy = wall_energy(machine, usage, mode.busy, dynamic)
    cost = mode.busy * rate + energy * usage.electricity_price
    excess = excess * np.maximum(mode.ttft * (1.0 / wait_limit), 1.0)
    return _Priced(mode, cost, energy, excess, np.where(excess > 1.0, REFUSED, cost))


def _picked(modes: Sequence[_Priced], targets: Sequence[float]) -> tuple[IntArray, IntArray]:
    """Per design and target the cheapest admissible plan, and which mode; (n, r) each.

    A pool's TPOT is never above the shared one, and wins where both cost the same. Where no plan is
    admissible, the one with the least total violation speaks for the design.
    """
    n = len(modes[0].key)
    pick, mode_of = np.empty((n, len(targets)), dtype=np.int64), np.zeros((n, len(targets)), dtype=np.int64)
    slow, quick = modes[0], modes[-1]
    either = np.minimum(quick.key, slow.key) if len(modes) > 1 else slow.key
    rows = np.arange(n)
    for i, target in enumerate(targets):
        late = REFUSED if quick is slow else np.where(quick.mode.tpot <= target, quick.key, REFUSED)
        keys = np.where(slow.mode.tpot <= target, either, late)
        best = np.argmin(keys, axis=1)
        found = keys[rows, best]
        none = found >= REFUSED
        if none.any():
            worst = [m.excess[none] * np.maximum(m.mode.tpot[none] / target, 1.0) for m in modes]
            least = np.argmin(np.minimum.reduce(worst), axis=1)
            best[none] = least
            few = np.arange(len(least))
            mode_of[none, i] = np.argmin([w[few, least] for w in worst], axis=0)
        ok = ~none
        if len(modes) > 1:
            mode_of[ok, i] = (quick.key[rows, best] == found)[ok]
        pick[:, i] = best
    return pick, mode_of


def choose(
    machine: Machine,
    work: StepWork,
    results: PlanResults,
    scenario: Scenario,
    usage: Usage,
    thresholds: Mapping[str, float],
    targets: Sequence[float],
) -> Estimate:
    """Pick, per design and TPOT target, the cheapest admissible plan; the least bad if there is none."""
    flashy = bool((machine.flash.capacity > 0).any())
    writes = wear(machine, results, scenario) if flashy else np.zeros((1, 1))
    fleet = fleet_cost(machine, work, results, scenario, usage)
    if flashy:  # programming is paid at the rate it happens, busy or not
        program = writes * machine.flash.program_energy[:, None]
        for mode in fleet.modes.values():
            mode.energy = mode.energy + program * mode.busy / usage.duty
    checks = plan_limits(machine, work, results, thresholds, writes)
    wait = thresholds.get(Limit.TTFT, LARGE)
    rate = (1.0 + fleet.spare_overhead) * (machine.ownership.capital_rate[:, None] / usage.duty)
    excess = np.ones(results.step.shape)
    for ratio in checks.values():  # the product of excesses orders plans as the sum of their logs does
        excess *= np.maximum(ratio, 1.0)
    waiting = resident_power(machine, work, results, usage) if usage.resident_wait else None
    modes = [
        _priced(machine, usage, m, rate, excess=excess, waiting=waiting, wait_limit=wait)
        for m in fleet.modes.values()
    ]
    pick, mode_of = _picked(modes, targets)
    flat = np.arange(len(machine))[:, None] * results.step.shape[1] + pick

    def at(x: FloatArray) -> FloatArray:
        if x.shape == results.step.shape:
            narrow: FloatArray = x.reshape(-1)[flat]
            return narrow
        wide: FloatArray = np.take_along_axis(np.broadcast_to(x, results.step.shape), pick, axis=1)
        return wide

    def of_mode(values: Sequence[FloatArray]) -> FloatArray:
        return at(values[0]) if len(values) == 1 else np.where(mode_of > 0, at(values[1]), at(values[0]))

    tpot, energy = of_mode([m.mode.tpot for m in modes]), of_mode([m.energy for m in modes])
    busy, ttft = of_mode([m.mode.busy for m in modes]), of_mode([m.mode.ttft for m in modes])
    overhead = at(fleet.spare_overhead)
    embodied = (
        busy
        * (1.0 + overhead)
        * machine.ownership.embodied_carbon[:, None]
        / (usage.duty * scenario.lifetime)
    )
    ratios = {name: at(ratio) for name, ratio in checks.items()}
    ratios |= {Limit.TTFT: ttft / wait, Limit.TPOT: tpot / np.array(targets)[None, :]}
    return Estimate(
        tpot=tpot,
        cost=of_mode([m.cost for m in modes]),
        energy=energy,
        carbon=embodied + energy * machine.ownership.electricity_carbon[:, None],
        ttft=ttft,
        packages=of_mode([m.mode.fleet for m in modes]),
        capital=np.broadcast_to(machine.ownership.capital[:, None], tpot.shape),
        limit_ratios=ratios,
        chosen=(
            Chosen(
                plan=pick.astype(np.float64),
                stages=at(results.stages),
                fast_tier_share=at(results.fast_tier_share),
                disaggregated=mode_of.astype(np.float64),
                busy=busy,
                spare_overhead=overhead,
                step=at(results.step),
                unthrottled=at(results.unthrottled),
                step_energy=at(results.energy),
                prompt=at(results.prompt),
                flash_read=at(results.flash_read),
            ),
        ),
    )


def weighted(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """Token-weighted sum of the workloads; a check is as bad as its worst workload."""
    shares = [w / sum(weights) for w in weights]

    def mean(field: str) -> FloatArray:
        return total(w * getattr(e, field) for e, w in zip(estimates, shares, strict=True))

    zero = np.zeros_like(estimates[0].tpot)
    ratios: dict[Limit, FloatArray] = {}
    for name in sorted({k for e in estimates for k in e.limit_ratios}):
        worst = zero
        for e in estimates:
            worst = np.maximum(worst, e.limit_ratios.get(name, zero))
        ratios[name] = worst
    return replace(
        estimates[0],
        tpot=mean("tpot"),
        cost=mean("cost"),
        energy=mean("energy"),
        carbon=mean("carbon"),
        ttft=np.maximum.reduce([e.ttft for e in estimates]),
        packages=total(e.packages for e in estimates),
        limit_ratios=ratios,
        chosen=tuple(c for e in estimates for c in e.chosen),
    )
