"""Our first-order model of every target, behind the evaluator protocol."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from dse import __version__
from dse.catalog.catalog import Catalog
from dse.catalog.transformer import transformer
from dse.core.table import chunks, total
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.evaluator.protocol import Outcomes, objective_ratio
from dse.hardware.assemble import assemble
from dse.hardware.datacenter import datacenter_parts
from dse.hardware.devices import device_parts
from dse.hardware.machine import Machine
from dse.hardware.mobile import lumps, mobile_machine
from dse.hardware.phone import phone_design, phone_devices
from dse.physics import flash, thermal
from dse.serving.operating_points import CAP, Estimate, choose, weighted
from dse.serving.placement import LARGE
from dse.serving.plan import Plans, plan_grid, single_plan
from dse.serving.results import PlanResults
from dse.serving.serve import serve
from dse.serving.software import software_of
from dse.serving.step_work import StepWork, lower_step
from dse.space.design import Design
from dse.space.objectives import OBJECTIVES
from dse.space.space import Space


def model_of(space: Space, catalog: Catalog, threads: int = 2) -> DatacenterModel | MobileModel:
    """Return our model for the target of a space."""
    if space.target.one_user:
        return MobileModel(space, catalog, threads)
    return DatacenterModel(space, catalog, threads)


ELEMENTS = 80_000
"""most pairs of a block: what the arrays of one operator keep in cache (measured)"""


LEAST_ROWS, MOST_ROWS = 64, 1024
"""of a block, whatever its plans"""


PARALLEL_FROM = 2048
"""designs from which two threads are faster than one (the interpreter lock costs the rest)"""


class DatacenterModel:
    """The first-order model of a datacenter space."""

    name = "dse-datacenter"
    version = __version__
    seconds_hint = 1e-4

    def __init__(self, space: Space, catalog: Catalog, threads: int = 2) -> None:
        self.space, self.catalog, self.threads = space, catalog, threads
        scenario = space.scenario
        self.software = software_of(catalog, scenario.software)
        self.plans = [
            plan_grid(transformer(catalog.llm(w.llm)), tiers=True, near=True, sequence=scenario.context_parallel)
            for w in scenario.workloads
        ]
        self._lowered: dict[tuple[bool, bool], list[StepWork]] = {}

    def traffic(self, *, tiers: bool, near: bool) -> list[StepWork]:
        """Lowered workloads with the plans that a machine's memories and engine admit."""
        key = (tiers, near)
        if key not in self._lowered:
            scenario = self.space.scenario
            kept = [_compact(p, self.admitted(p, tiers=tiers, near=near)) for p in self.plans]
            self._lowered[key] = [
                lower_step(w, p, self.catalog, scenario) for w, p in zip(scenario.workloads, kept, strict=True)
            ]
        return self._lowered[key]

    @staticmethod
    def admitted(plans: Plans, *, tiers: bool, near: bool) -> BoolArray:
        """Plans of some machines: what overflows needs memory below, what runs in halves an engine.

        A group wider than a domain crosses the scale-out network.
        """
        return (tiers | ~plans.fill_fast_tier) & (near | ~plans.sub_batch_interleaving)

    @property
    def pairs_per_design(self) -> int:
        """Size of the plan grid of the scenario's workloads on a machine of one memory and no PNM engine."""
        return sum(int((~(p.fill_fast_tier | p.sub_batch_interleaving)).sum()) for p in self.plans)

    def machine(self, design: Design) -> Machine:
        """Build n designs."""
        scenario = self.space.scenario
        parts = datacenter_parts(self.space, design, self.catalog, scenario)
        with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
            return assemble(parts, self.catalog, scenario, self.space.thresholds.get("rack_power", 1e12))

    def screen(self, design: Design) -> BoolArray:
        """Which designs break no limit of their own, whatever the plan: all that a sweep need judge."""
        return self.machine(design).unbroken()

    def devices(self, devices: list[str]) -> Machine:
        """Build machines that exist from their device files."""
        scenario = self.space.scenario
        return assemble(
            device_parts(self.catalog, devices), self.catalog, scenario, self.space.thresholds.get("rack_power", 1e12)
        )

    def evaluate(self, design: Design) -> Outcomes:
        """Judge n designs at every operating point of the space; shape (n, points) throughout, rungs first."""
        n = len(design)
        if self.threads < 2 or n < PARALLEL_FROM:
            return self.judge(self.machine(design))
        cuts = np.linspace(0, n, self.threads + 1).astype(int)
        parts = [design.take(slice(a, b)) for a, b in pairwise(cuts)]
        with ThreadPoolExecutor(self.threads) as pool:
            return Outcomes.concat(list(pool.map(lambda d: self.judge(self.machine(d)), parts)))

    def judge(self, machine: Machine, workloads: tuple[int, ...] | None = None) -> Outcomes:
        """Judge machines however they were built; ``workloads`` restricts to some models."""
        out: dict[str, Any] = {}
        with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
            for rows in self._jobs(machine):
                e = self._estimate(machine.take(rows), workloads)
                if not out:
                    out = _room(e, len(machine.domain))
                _put(out, e, rows)
            return self._outcomes(machine, Estimate(**out))

    def _estimate(self, machine: Machine, workloads: tuple[int, ...] | None) -> Estimate:
        scenario = self.space.scenario
        tiers, near = bool(machine.flash_capacity[0] + machine.far_capacity[0] > 0), bool(machine.pnm_site[0] > 0)
        estimates, weights = [], []
        for i, t in enumerate(self.traffic(tiers=tiers, near=near)):
            if workloads is not None and i not in workloads:
                continue
            pairs = serve(machine, t, self.software)
            e = choose(machine, t, pairs, scenario, dict(self.space.thresholds), self.space.tpot_targets)
            e.chosen["plan"] = self._index(i, tiers=tiers, near=near)[e.chosen["plan"].astype(np.int64)]
            estimates.append(e.pick([point[i] for point in self.space.operating_points]))
            weights.append(t.load.weight)
        return weighted(estimates, weights)

    def _index(self, workload: int, *, tiers: bool, near: bool) -> FloatArray:
        """Index into the full grid of the plans that were evaluated."""
        return np.nonzero(self.admitted(self.plans[workload], tiers=tiers, near=near))[0].astype(np.float64)

    def _jobs(self, machine: Machine) -> list[IntArray]:
        """Rows to evaluate together.

        A block is uniform in which memories lie below the fast one and where the PNM engine sits, so that
        it pays for no other term.
        """
        key = ((machine.flash_capacity > 0) * 2 + (machine.far_capacity > 0)) * 4 + machine.pnm_site
        jobs = []
        for value in np.unique(key):
            rows = np.nonzero(key == value)[0]
            first = rows[0]
            tiers, near = (
                bool(machine.flash_capacity[first] + machine.far_capacity[first] > 0),
                bool(machine.pnm_site[first] > 0),
            )
            plans = max(len(t.plans) for t in self.traffic(tiers=tiers, near=near))
            size = min(max(ELEMENTS // max(plans, 1), LEAST_ROWS), MOST_ROWS)
            jobs += [rows[c] for c in chunks(len(rows), size)]
        return jobs

    def _outcomes(self, machine: Machine, estimate: Estimate) -> Outcomes:
        asked = {name: OBJECTIVES[name] for name in self.space.target.objectives}
        objectives = {name: getattr(estimate, o.attribute) * o.scale for name, o in asked.items()}
        shape = estimate.tpot.shape
        ratios = {k: np.broadcast_to(np.minimum(v, CAP)[:, None], shape) for k, v in machine.limits.items()}
        ratios |= {k: np.minimum(v, CAP) for k, v in estimate.limit_ratios.items()}
        worst = objective_ratio(objectives, self.space.thresholds)
        if worst is not None:
            ratios["objective"] = np.minimum(worst, CAP)
        detail = {"ttft": estimate.ttft, "packages": estimate.packages, "capital": np.broadcast_to(machine.capital[:, None], shape),
                  "site_power": estimate.packages * machine.provisioned[:, None] * self.space.scenario.pue, **estimate.chosen}  # fmt: skip
        return Outcomes(objectives, ratios, detail)


def _room(estimate: Estimate, n: int) -> dict[str, Any]:
    """Empty columns for n designs, shaped as those of an estimate."""
    width = estimate.tpot.shape[1]

    def empty(value: Any) -> Any:
        return {k: np.empty((n, width)) for k in value} if isinstance(value, dict) else np.empty((n, width))

    return {f.name: empty(getattr(estimate, f.name)) for f in fields(estimate)}


def _put(out: dict[str, Any], estimate: Estimate, rows: Any) -> None:
    """Write the rows of an estimate into the columns."""
    for name, place in out.items():
        value = getattr(estimate, name)
        if isinstance(place, dict):
            for k, column in place.items():
                column[rows] = value[k]
        else:
            place[rows] = value


def _compact(plans: Plans, rows: BoolArray) -> Plans:
    """Some plans, with their shapes renumbered."""
    kept = plans.take(rows)
    _, renumbered = np.unique(kept.plan_shape, return_inverse=True)
    return replace(kept, plan_shape=renumbered.astype(np.int64))


CHUNK = 8192


DAY = 86400.0  # s


BURST = 1  # row of the throttle that is the supply's


LONGEST = 36000.0  # s


TIMES = np.geomspace(1.0, LONGEST, 120)  # s, on which a burst's end is looked for


def _spots(catalog: Catalog, body: str) -> FloatArray:
    """Rises [K/W] of the warmest skin after each of TIMES per watt into chip and body, (times, 2)."""
    inside, share = lumps(catalog, body), catalog.value("mobile", body, "spot_share")
    return np.array([thermal.spot_rise(thermal.lump_rises(*inside, float(t)), share) for t in TIMES])


class MobileModel:
    """One user, batch 1, one model: sustained TPOT, joules a token, added bill of materials."""

    name = "dse-mobile"
    version = __version__
    seconds_hint = 1e-5

    def __init__(self, space: Space, catalog: Catalog, threads: int = 1) -> None:
        del threads
        self.space, self.catalog = space, catalog
        self.software = software_of(catalog, space.scenario.software)
        plan = single_plan(1, data_parallel=False, batch=1)
        self.lowered: StepWork = lower_step(space.scenario.workloads[0], plan, catalog, space.scenario)
        self.weights = float(self.lowered.resident[0])
        self.spots = _spots(catalog, space.scenario.body)

    @property
    def pairs_per_design(self) -> int:
        """One plan: a phone serves one user."""
        return 1

    def machine(self, design: Design) -> Machine:
        """Build n phones."""
        return mobile_machine(phone_design(self.space, design, self.catalog), self.catalog, self.space.scenario,
                              dict(self.space.thresholds), self.weights, built=False)  # fmt: skip

    def screen(self, design: Design) -> BoolArray:
        """Which designs break no limit of their own, whatever the plan: all that a sweep need judge."""
        return self.machine(design).unbroken()

    def devices(self, devices: list[str]) -> Machine:
        """Build machines that exist from their device files, each in its own body."""
        built = []
        for name in devices:
            body = self.catalog.entry("device", name).attributes.get("body", self.space.scenario.body)
            built.append(mobile_machine(phone_devices(self.catalog, [name]), self.catalog, replace(self.space.scenario, body=body),
                                        dict(self.space.thresholds), self.weights, built=True))  # fmt: skip
        return Machine.concat(built)

    def evaluate(self, design: Design) -> Outcomes:
        """Judge n designs on every rung; shape (n, rungs)."""
        with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
            return self.judge(self.machine(design))

    def judge(self, machine: Machine, workloads: tuple[int, ...] | None = None) -> Outcomes:
        """Judge machines however they were built."""
        del workloads
        key = (machine.flash_capacity > 0) * 4 + machine.pnm_site
        jobs = [np.nonzero(key == value)[0] for value in np.unique(key)]
        blocks = [rows[c] for rows in jobs for c in chunks(len(rows), CHUNK)]
        parts = []
        with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
            for rows in blocks:
                m = machine.take(rows)
                parts.append(self.outcomes(m, serve(m, self.lowered, self.software)))
        return Outcomes.concat(parts).take(np.argsort(np.concatenate(blocks), kind="stable"))

    def present(self, results: PlanResults) -> FloatArray:
        """Seconds of the device that an output token takes, its prompt's share included, (n, 1)."""
        scenario, t = self.space.scenario, self.lowered
        return (
            results.step / t.tokens_per_step
            + (scenario.mix.computed_tokens > 0) * results.prompt / scenario.mix.output_tokens
        )

    def energy(self, machine: Machine, results: PlanResults) -> dict[str, FloatArray]:
        """J per token from the battery by component, (n, 1)."""
        scenario, t = self.space.scenario, self.lowered
        present = self.present(results)
        loss = machine.power_loss[:, None]
        kept = results.fast_tier_share * t.resident  # weight bytes that stay in DRAM between questions
        waiting = (
            kept
            * machine.report["refresh_per_byte"][:, None]
            * max(scenario.resident_day / scenario.daily_use - 1.0, 0.0)
        )
        return {
            "decoding": loss * results.energy / t.tokens_per_step,
            "prefill": loss * results.prompt_energy / scenario.mix.output_tokens * (1.0 if scenario.mix.computed_tokens > 0 else 0.0),
            "static and refresh": loss * machine.static_power[:, None] * present,
            "refresh while resident": loss * waiting * present,
        }  # fmt: skip

    def lasts(self, power: FloatArray) -> FloatArray:
        """Time [s] from rest that work at ``power`` [W], (n, 1), may go on until the skin's limit; at most LONGEST."""
        body = partial(self.catalog.value, "mobile", self.space.scenario.body)
        warm = power / body("power_conversion") * self.spots[:, 0] + body("background_power") * self.spots[:, 1]
        over = warm > self.space.thresholds["skin_temperature"] - self.space.scenario.ambient
        return TIMES[np.where(over.any(axis=1), np.argmax(over, axis=1), len(TIMES) - 1)][:, None]

    def outcomes(self, machine: Machine, results: PlanResults) -> Outcomes:
        """Objectives, limits and details of served phones on every rung."""
        scenario, t = self.space.scenario, self.lowered
        limits = dict(self.space.thresholds)
        rungs = np.array(self.space.tpot_targets)
        shape = (len(machine.domain), len(rungs))

        def spread(x: FloatArray) -> FloatArray:
            return np.broadcast_to(x[:, None] if x.ndim == 1 else x[:, :1], shape)

        drawn = sum(self.catalog.value("mobile", scenario.body, f, 0.0) for f in ("background_power", "aside_power"))
        energy = total(self.energy(machine, results).values())
        tpot, present = results.step / t.tokens_per_step, self.present(results)
        quick = np.maximum(
            results.unthrottled, machine.throttle[BURST][0][:, None] * results.energy
        )  # the supply holds a burst too
        burst = results.energy / quick + machine.static_power[:, None]
        load = results.fast_tier_share * t.resident / machine.report["flash_load"][:, None]
        duty = scenario.daily_use / DAY
        read = results.flash_read * duty * machine.flash_reclaim[:, None]
        writes = read + results.stored * (machine.flash_refresh[:, None] + 1.0 / scenario.weight_update_interval)
        life = flash.life(np.ones(1), machine.flash_endurance[:, None], np.ones(1), writes)
        has = (machine.flash_capacity > 0)[:, None]
        ratios: dict[str, Any] = {**machine.limits, **results.limit_ratios}
        ratios |= {
            "ttft": results.ttft / limits["ttft"], "cold_start": load / limits["cold_start"],
            "flash_life": np.where(has, limits["flash_life"] / np.minimum(life, LARGE), 0.0),
        }  # fmt: skip
        told_ratios = {k: np.minimum(spread(v), CAP) for k, v in ratios.items()}
        told_ratios["tpot"] = np.minimum(tpot / rungs[None, :], CAP)
        carbon = (
            machine.embodied[:, None] / (scenario.lifetime * duty) * present + energy * machine.grid[:, None]
        ) * 1e6
        detail = {"ttft": results.ttft, "burst": quick / t.tokens_per_step, "share.0": results.fast_tier_share, "burst_power": burst, "cold_start": load,
                  "tokens_per_charge": scenario.battery / (energy + drawn * present), "burst_duration": self.lasts(burst),
                  "memory_left": (machine.report["memory"] - np.minimum(results.fast_tier_share[:, 0] * float(t.resident[0]) + float(t.live_p95[0]), machine.report["memory"]))[:, None], "stages.0": results.stages, "flash_read.0": results.flash_read}  # fmt: skip
        objectives = {
            "tpot": spread(tpot),
            "energy_per_token": spread(energy),
            "bom": spread(machine.capital),
            "carbon_per_mtoken": spread(carbon),
            "ttft": spread(results.ttft),
        }
        asked = objective_ratio(objectives, self.space.thresholds)
        if asked is not None:
            told_ratios["objective"] = np.minimum(asked, CAP)
        return Outcomes(objectives, told_ratios, {k: spread(v) for k, v in detail.items()})
