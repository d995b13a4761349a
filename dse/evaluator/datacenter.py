"""Our first-order model of a datacenter space, behind the evaluator protocol."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np

from dse import __version__
from dse.catalog.catalog import Catalog
from dse.catalog.transformer import transformer
from dse.core.table import chunks
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.evaluator.protocol import Told, join_told, objective_ratio
from dse.hardware.assemble import assemble
from dse.hardware.datacenter import datacenter_parts
from dse.hardware.devices import device_parts
from dse.hardware.machine import Machine
from dse.serving.operating_points import CAP, Estimate, choose, weighted
from dse.serving.plan import Plans, plan_grid
from dse.serving.serve import serve
from dse.serving.software import software_of
from dse.serving.step_work import StepWork, lower_step
from dse.space.design import Design
from dse.space.objectives import OBJECTIVES
from dse.space.space import Space
from dse.space.targets import TARGET_OBJECTIVES

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
            plan_grid(transformer(catalog.llm(w.llm)), tiers=True, near=True, sequence=s.sequence_parallel)
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
        return (tiers | ~plans.overflow) & (near | ~plans.halves)

    @property
    def pairs_per_design(self) -> int:
        """Size of the plan grid of the scenario's workloads on a machine of one memory and no PNM engine."""
        return sum(int((~(p.overflow | p.halves)).sum()) for p in self.plans)

    def machine(self, design: Design) -> Machine:
        """Build n designs."""
        s = self.space.scenario
        parts = datacenter_parts(self.space, design, self.catalog, s)
        with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
            return assemble(parts, self.catalog, s, self.space.limits.get("rack_power", 1e12))

    def screen(self, design: Design) -> BoolArray:
        """Which designs break no limit of their own, whatever the plan: all that a sweep need judge."""
        return self.machine(design).unbroken()

    def devices(self, devices: list[str]) -> Machine:
        """Build machines that exist from their device files."""
        s = self.space.scenario
        return assemble(device_parts(self.catalog, devices), self.catalog, s, self.space.limits.get("rack_power", 1e12))

    def evaluate(self, design: Design) -> Told:
        """Judge n designs at every operating point of the space; shape (n, points) throughout, rungs first."""
        n = len(design)
        if self.threads < 2 or n < PARALLEL_FROM:
            return self.judge(self.machine(design))
        cuts = np.linspace(0, n, self.threads + 1).astype(int)
        parts = [design.take(slice(a, b)) for a, b in pairwise(cuts)]
        with ThreadPoolExecutor(self.threads) as pool:
            return join_told(list(pool.map(lambda d: self.judge(self.machine(d)), parts)))

    def judge(self, machine: Machine, workloads: tuple[int, ...] | None = None) -> Told:
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
            e = choose(m, t, pairs, s, dict(self.space.limits), self.space.rungs)
            e.chosen["plan"] = self._index(i, tiers=tiers, near=near)[e.chosen["plan"].astype(np.int64)]
            estimates.append(e.pick([point[i] for point in self.space.points]))
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

    def _told(self, m: Machine, e: Estimate) -> Told:
        asked = {name: OBJECTIVES[name] for name in TARGET_OBJECTIVES["datacenter"]}
        objectives = {name: getattr(e, o.attribute) * o.scale for name, o in asked.items()}
        shape = e.tpot.shape
        ratios = {k: np.broadcast_to(np.minimum(v, CAP)[:, None], shape) for k, v in m.limits.items()}
        ratios |= {k: np.minimum(v, CAP) for k, v in e.violation.items()}
        worst = objective_ratio(objectives, self.space.limits)
        if worst is not None:
            ratios["objective"] = np.minimum(worst, CAP)
        detail = {"ttft": e.ttft, "packages": e.packages, "capital": np.broadcast_to(m.capital[:, None], shape),
                  "site_power": e.packages * m.provisioned[:, None] * self.space.scenario["pue"], **e.chosen}  # fmt: skip
        return Told(objectives, ratios, detail)


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
    _, renumbered = np.unique(kept.shape, return_inverse=True)
    return replace(kept, shape=renumbered.astype(np.int64))
