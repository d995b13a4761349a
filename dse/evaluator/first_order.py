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
from dse.space.targets import TARGET_OBJECTIVES


def model_of(space: Space, catalog: Catalog, threads: int = 2) -> DatacenterModel | MobileModel:
    """Return our model for the target of a space."""
    if space.target == "mobile":
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
        s = space.scenario
        self.soft = software_of(catalog, s.software)
        self.plans = [
            plan_grid(transformer(catalog.llm(w.llm)), tiers=True, near=True, sequence=s.context_parallel)
            for w in s.workloads
        ]
        self._lowered: dict[tuple[bool, bool], list[StepWork]] = {}

    def traffic(self, *, tiers: bool, near: bool) -> list[StepWork]:
        """Lowered workloads with the plans that a machine's memories and engine admit."""
        key = (tiers, near)
        if key not in self._lowered:
            s = self.space.scenario
            kept = [_compact(p, self.admitted(p, tiers=tiers, near=near)) for p in self.plans]
            self._lowered[key] = [lower_step(w, p, self.catalog, s) for w, p in zip(s.workloads, kept, strict=True)]
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
        s = self.space.scenario
        parts = datacenter_parts(self.space, design, self.catalog, s)
        with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
            return assemble(parts, self.catalog, s, self.space.thresholds.get("rack_power", 1e12))

    def screen(self, design: Design) -> BoolArray:
        """Which designs break no limit of their own, whatever the plan: all that a sweep need judge."""
        return self.machine(design).unbroken()

    def devices(self, devices: list[str]) -> Machine:
        """Build machines that exist from their device files."""
        s = self.space.scenario
        return assemble(device_parts(self.catalog, devices), self.catalog, s, self.space.thresholds.get("rack_power", 1e12))

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
            return self._told(machine, Estimate(**out))

    def _estimate(self, m: Machine, workloads: tuple[int, ...] | None) -> Estimate:
        s = self.space.scenario
        tiers, near = bool(m.flash_capacity[0] + m.far_capacity[0] > 0), bool(m.pnm_site[0] > 0)
        estimates, weights = [], []
        for i, t in enumerate(self.traffic(tiers=tiers, near=near)):
            if workloads is not None and i not in workloads:
                continue
            pairs = serve(m, t, self.soft)
            e = choose(m, t, pairs, s, dict(self.space.thresholds), self.space.tpot_targets)
            e.chosen["plan"] = self._index(i, tiers=tiers, near=near)[e.chosen["plan"].astype(np.int64)]
            estimates.append(e.pick([point[i] for point in self.space.operating_points]))
            weights.append(t.load.weight)
        return weighted(estimates, weights)

    def _index(self, workload: int, *, tiers: bool, near: bool) -> FloatArray:
        """Index into the full grid of the plans that were evaluated."""
        return np.nonzero(self.admitted(self.plans[workload], tiers=tiers, near=near))[0].astype(np.float64)

    def _jobs(self, m: Machine) -> list[IntArray]:
        """Rows to evaluate together.

        A block is uniform in which memories lie below the fast one and where the PNM engine sits, so that
        it pays for no other term.
        """
        key = ((m.flash_capacity > 0) * 2 + (m.far_capacity > 0)) * 4 + m.pnm_site
        jobs = []
        for value in np.unique(key):
            rows = np.nonzero(key == value)[0]
            first = rows[0]
            tiers, near = bool(m.flash_capacity[first] + m.far_capacity[first] > 0), bool(m.pnm_site[first] > 0)
            plans = max(len(t.plans) for t in self.traffic(tiers=tiers, near=near))
            size = min(max(ELEMENTS // max(plans, 1), LEAST_ROWS), MOST_ROWS)
            jobs += [rows[c] for c in chunks(len(rows), size)]
        return jobs

    def _told(self, m: Machine, e: Estimate) -> Outcomes:
        asked = {name: OBJECTIVES[name] for name in TARGET_OBJECTIVES["datacenter"]}
        objectives = {name: getattr(e, o.attribute) * o.scale for name, o in asked.items()}
        shape = e.tpot.shape
        ratios = {k: np.broadcast_to(np.minimum(v, CAP)[:, None], shape) for k, v in m.limits.items()}
        ratios |= {k: np.minimum(v, CAP) for k, v in e.limit_ratios.items()}
        worst = objective_ratio(objectives, self.space.thresholds)
        if worst is not None:
            ratios["objective"] = np.minimum(worst, CAP)
        detail = {"ttft": e.ttft, "packages": e.packages, "capital": np.broadcast_to(m.capital[:, None], shape),
                  "site_power": e.packages * m.provisioned[:, None] * self.space.scenario["pue"], **e.chosen}  # fmt: skip
        return Outcomes(objectives, ratios, detail)


def _room(e: Estimate, n: int) -> dict[str, Any]:
    """Empty columns for n designs, shaped as those of an estimate."""
    width = e.tpot.shape[1]

    def empty(value: Any) -> Any:
        return {k: np.empty((n, width)) for k in value} if isinstance(value, dict) else np.empty((n, width))

    return {f.name: empty(getattr(e, f.name)) for f in fields(e)}


def _put(out: dict[str, Any], e: Estimate, rows: Any) -> None:
    """Write the rows of an estimate into the columns."""
    for name, place in out.items():
        value = getattr(e, name)
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
        self.soft = software_of(catalog, space.scenario.software)
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
                parts.append(self.told(m, serve(m, self.lowered, self.soft)))
        return Outcomes.concat(parts).take(np.argsort(np.concatenate(blocks), kind="stable"))

    def present(self, p: PlanResults) -> FloatArray:
        """Seconds of the device that an output token takes, its prompt's share included, (n, 1)."""
        s, t = self.space.scenario, self.lowered
        return p.step / t.tokens_per_step + (s.mix.computed_tokens > 0) * p.prompt / s.mix.output_tokens

    def energy(self, m: Machine, p: PlanResults) -> dict[str, FloatArray]:
        """J per token from the battery by component, (n, 1)."""
        s, t = self.space.scenario, self.lowered
        present = self.present(p)
        loss = m.power_loss[:, None]
        kept = p.fast_tier_share * t.resident  # weight bytes that stay in DRAM between questions
        waiting = kept * m.report["refresh_per_byte"][:, None] * max(s["resident_day"] / s["daily_use"] - 1.0, 0.0)
        return {
            "decoding": loss * p.energy / t.tokens_per_step,
            "prefill": loss * p.prompt_energy / s.mix.output_tokens * (1.0 if s.mix.computed_tokens > 0 else 0.0),
            "static and refresh": loss * m.static_power[:, None] * present,
            "refresh while resident": loss * waiting * present,
        }  # fmt: skip

    def lasts(self, power: FloatArray) -> FloatArray:
        """Time [s] from rest that work at ``power`` [W], (n, 1), may go on until the skin's limit; at most LONGEST."""
        body = partial(self.catalog.value, "mobile", self.space.scenario.body)
        warm = power / body("power_conversion") * self.spots[:, 0] + body("background_power") * self.spots[:, 1]
        over = warm > self.space.thresholds["skin_temperature"] - self.space.scenario["ambient"]
        return TIMES[np.where(over.any(axis=1), np.argmax(over, axis=1), len(TIMES) - 1)][:, None]

    def told(self, m: Machine, p: PlanResults) -> Outcomes:
        """Objectives, limits and details of served phones on every rung."""
        s, t = self.space.scenario, self.lowered
        limits = dict(self.space.thresholds)
        rungs = np.array(self.space.tpot_targets)
        shape = (len(m.domain), len(rungs))

        def spread(x: FloatArray) -> FloatArray:
            return np.broadcast_to(x[:, None] if x.ndim == 1 else x[:, :1], shape)

        drawn = sum(self.catalog.value("mobile", s.body, f, 0.0) for f in ("background_power", "aside_power"))
        energy = total(self.energy(m, p).values())
        tpot, present = p.step / t.tokens_per_step, self.present(p)
        quick = np.maximum(p.unthrottled, m.throttle[BURST][0][:, None] * p.energy)  # the supply holds a burst too
        burst = p.energy / quick + m.static_power[:, None]
        load = p.fast_tier_share * t.resident / m.report["flash_load"][:, None]
        duty = s["daily_use"] / DAY
        read = p.flash_read * duty * m.flash_reclaim[:, None]
        writes = read + p.stored * (m.flash_refresh[:, None] + 1.0 / s["weight_update_interval"])
        life = flash.life(np.ones(1), m.flash_endurance[:, None], np.ones(1), writes)
        has = (m.flash_capacity > 0)[:, None]
        ratios: dict[str, Any] = {**m.limits, **p.limit_ratios}
        ratios |= {
            "ttft": p.ttft / limits["ttft"], "cold_start": load / limits["cold_start"],
            "flash_life": np.where(has, limits["flash_life"] / np.minimum(life, LARGE), 0.0),
        }  # fmt: skip
        told_ratios = {k: np.minimum(spread(v), CAP) for k, v in ratios.items()}
        told_ratios["tpot"] = np.minimum(tpot / rungs[None, :], CAP)
        carbon = (m.embodied[:, None] / (s["lifetime"] * duty) * present + energy * m.grid[:, None]) * 1e6
        detail = {"ttft": p.ttft, "burst": quick / t.tokens_per_step, "share.0": p.fast_tier_share, "burst_power": burst, "cold_start": load,
                  "tokens_per_charge": s["battery"] / (energy + drawn * present), "burst_duration": self.lasts(burst),
                  "memory_left": (m.report["memory"] - np.minimum(p.fast_tier_share[:, 0] * float(t.resident[0]) + float(t.live_p95[0]), m.report["memory"]))[:, None], "stages.0": p.stages, "flash_read.0": p.flash_read}  # fmt: skip
        objectives = {
            "tpot": spread(tpot),
            "energy_per_token": spread(energy),
            "bom": spread(m.capital),
            "carbon_per_mtoken": spread(carbon),
            "ttft": spread(p.ttft),
        }
        asked = objective_ratio(objectives, self.space.thresholds)
        if asked is not None:
            told_ratios["objective"] = np.minimum(asked, CAP)
        return Outcomes(objectives, told_ratios, {k: spread(v) for k, v in detail.items()})
