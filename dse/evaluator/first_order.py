"""Our first-order model of every target, behind the evaluator protocol.

A target is a row (``dse.space.targets``) and a form (``dse.hardware.assemble``): a phone is a demand of one
user, a plan of one and a fleet of one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.catalog.transformer import transformer
from dse.core.axes import PnmSite
from dse.core.table import blank, chunks, put
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.core.version import __version__
from dse.evaluator.device_figures import device_figures
from dse.evaluator.protocol import Outcomes, objective_ratio
from dse.hardware.assemble import FORMS, assemble
from dse.hardware.machine import Machine
from dse.hardware.parts import Parts
from dse.serving.operating_points import CAP, Chosen, Estimate, Usage, choose, weighted
from dse.serving.plan import Plans, plan_grid, single_plan
from dse.serving.serve import serve
from dse.serving.software import software_of
from dse.serving.step_work import StepWork, lower_step
from dse.space.design import Design
from dse.space.limits import Limit
from dse.space.objectives import OBJECTIVES
from dse.space.space import Space

ELEMENTS: Final = 80_000
"""most pairs of a block: what the arrays of one operator keep in cache (measured)"""
LEAST_ROWS, MOST_ROWS = 64, 1024
"""of a block, whatever its plans"""
PARALLEL_FROM: Final = 2048
"""designs from which two threads are faster than one (the interpreter lock costs the rest)"""
PARALLEL_PAIRS: Final = 500_000
"""pairs from which they are: machines of one plan are quicker judged in one thread"""


TTFT, PACKAGES, CAPITAL, SITE_POWER = "ttft", "packages", "capital", "site_power"
"""details of every operating point"""


class FirstOrderModel:
    """The first-order model of a space: hardware, serving, money, energy and carbon."""

    name = "dse-first-order"
    version = __version__
    seconds_hint = 1e-4

    def __init__(self, space: Space, catalog: Catalog, threads: int = 2) -> None:
        self.space, self.catalog, self.threads = space, catalog, threads
        self.form = FORMS[space.target.name]
        scenario = space.scenario
        self.software = software_of(catalog, scenario.software)
        self.usage = Usage.of(scenario, one_user=space.target.one_user)
        self.plans = [self._plans(w.llm) for w in scenario.workloads]
        self._lowered: dict[tuple[bool, bool], list[StepWork]] = {}

    def _plans(self, llm: str) -> Plans:
        """Every plan that some machine of the target can run a model under."""
        if self.space.target.one_user:
            return single_plan(1, data_parallel=False, batch=1)
        model = transformer(self.catalog.llm(llm))
        return plan_grid(model, tiers=True, near=True, context_parallel=self.space.scenario.context_parallel)

    def step_work(self, *, tiers: bool, near: bool) -> list[StepWork]:
        """Lowered workloads with the plans that a machine's memories and engine admit."""
        key = (tiers, near)
        if key not in self._lowered:
            s = self.space.scenario
            kept = [_compact(p, self.admitted(p, tiers=tiers, near=near)) for p in self.plans]
            self._lowered[key] = [
                lower_step(w, p, self.catalog, s) for w, p in zip(s.workloads, kept, strict=True)
            ]
        return self._lowered[key]

    @staticmethod
    def admitted(plans: Plans, *, tiers: bool, near: bool) -> BoolArray:
        """Plans of some machines.

        What fills fast memory needs memory below, what runs in sub-batches an engine.

        A group wider than a domain crosses the scale-out network.
        """
        return (tiers | ~plans.fill_fast_tier) & (near | ~plans.sub_batch_interleaving)

    @property
    def pairs_per_design(self) -> int:
        """Size of the plan grid of the scenario's workloads on a machine of one memory and no PNM engine."""
        return sum(int(self.admitted(p, tiers=False, near=False).sum()) for p in self.plans)

    @property
    def weights(self) -> float:
        """Bytes of all models' weights: what the storage of a device must hold."""
        if not self.space.target.one_user:
            return 0.0
        return float(sum(w.resident[0] for w in self.step_work(tiers=False, near=False)))

    def machine(self, design: Design) -> Machine:
        """Build n designs."""
        return self._assembled(self.form.parts(self.space, design, self.catalog))

    def screen(self, design: Design) -> BoolArray:
        """Which designs break no limit of their own, whatever the plan: all that a sweep need judge."""
        return self.machine(design).unbroken()

    def devices(self, devices: list[str]) -> Machine:
        """Build machines that exist from their device files, each in its own body."""
        usual = self.space.scenario.body
        if not usual:
            return self._assembled(self.form.device_parts(self.catalog, devices, ""))
        built = []
        for name in devices:
            body = self.catalog.entry("device", name).attributes.get("body", usual)
            built.append(self._assembled(self.form.device_parts(self.catalog, [name], body), body))
        return Machine.concat(built)

    def _assembled(self, parts: Parts, body: str | None = None) -> Machine:
        s = self.space.scenario
        scenario = s if body is None else replace(s, body=body)
        with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
            return assemble(parts, self.form, self.catalog, scenario, self.space.thresholds, self.weights)

    def evaluate(self, design: Design) -> Outcomes:
        """Judge n designs at every operating point of the space.

        Shape (n, points) throughout, targets first.
        """
        n = len(design)
        if self.threads < 2 or n < PARALLEL_FROM or n * self.pairs_per_design < PARALLEL_PAIRS:
            return self.judge(self.machine(design))
        cuts = np.linspace(0, n, self.threads + 1).astype(int)
        parts = [design.take(slice(a, b)) for a, b in pairwise(cuts)]
        with ThreadPoolExecutor(self.threads) as pool:
            return Outcomes.concat(list(pool.map(lambda d: self.judge(self.machine(d)), parts)))

    def judge(self, machine: Machine, workloads: tuple[int, ...] | None = None) -> Outcomes:
        """Judge machines however they were built; ``workloads`` restricts to some models."""
        out: Estimate | None = None
        bare = machine.without_lines()
        with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
            for rows in self._jobs(machine):
                part = self._estimate(bare.take(rows), workloads)
                if out is None:
                    out = blank(part, len(machine))
                put(out, part, rows)
            assert out is not None  # noqa: S101 - there is a job for every machine
            return self._outcomes(machine, out)

    def _estimate(self, machine: Machine, workloads: tuple[int, ...] | None) -> Estimate:
        s = self.space.scenario
        tiers, near = bool(machine.tiered[0]), bool(machine.pnm.site[0] > 0)
        estimates, weights = [], []
        for i, work in enumerate(self.step_work(tiers=tiers, near=near)):
            if workloads is not None and i not in workloads:
                continue
            results = serve(machine, work, self.software)
            e = choose(
                machine,
                work,
                results,
                s,
                self.usage,
                thresholds=self.space.thresholds,
                targets=self.space.tpot_targets,
            )
            chosen = e.chosen[0]
            index = self._index(i, tiers=tiers, near=near)[chosen.plan.astype(np.int64)]
            e = replace(e, chosen=(replace(chosen, plan=index),))
            estimates.append(e.pick([point[i] for point in self.space.operating_points]))
            weights.append(work.load.weight)
        return weighted(estimates, weights)

    def _index(self, workload: int, *, tiers: bool, near: bool) -> FloatArray:
        """Index into the full grid of the plans that were evaluated."""
        return np.nonzero(self.admitted(self.plans[workload], tiers=tiers, near=near))[0].astype(np.float64)

    def _jobs(self, machine: Machine) -> list[IntArray]:
        """Rows to evaluate together.

        A block is uniform in which memories lie below the fast one and where the PNM engine sits, so that
        it pays for no other term.
        """
        sites = len(PnmSite)
        key = ((machine.flash.capacity > 0) * 2 + (machine.far.capacity > 0)) * sites + machine.pnm.site
        jobs = []
        for value in np.unique(key):
            rows = np.nonzero(key == value)[0]
            tiers, near = bool(machine.tiered[rows[0]]), bool(machine.pnm.site[rows[0]] > 0)
            plans = max(len(w.plans) for w in self.step_work(tiers=tiers, near=near))
            size = min(max(ELEMENTS // max(plans, 1), LEAST_ROWS), MOST_ROWS)
            jobs += [rows[c] for c in chunks(len(rows), size)]
        return jobs

    def _outcomes(self, machine: Machine, e: Estimate) -> Outcomes:
        """Objectives, limits and details at every operating point."""
        space, shape = self.space, e.tpot.shape
        asked = {name: OBJECTIVES[name] for name in space.target.objectives}
        objectives = {name: getattr(e, o.attribute) * o.scale for name, o in asked.items()}
        ratios: dict[str, FloatArray] = {
            name: np.broadcast_to(np.minimum(v, CAP)[:, None], shape)
            for name, v in machine.limit_ratios.items()
        }
        ratios |= {name: np.minimum(v, CAP) for name, v in e.limit_ratios.items()}
        worst = objective_ratio(objectives, space.thresholds)
        if worst is not None:
            ratios[Limit.OBJECTIVE] = np.minimum(worst, CAP)
        detail = {TTFT: e.ttft, PACKAGES: e.packages, CAPITAL: e.capital}
        if space.target.fleet:
            detail[SITE_POWER] = e.packages * machine.ownership.provisioned_power[:, None] * self.usage.pue
        else:
            detail |= device_figures(space, self.catalog, machine, e, self.step_work(tiers=False, near=False))
        for i, chosen in enumerate(e.chosen):
            detail |= {f"{name}.{i}": getattr(chosen, name) for name in Chosen.__dataclass_fields__}
        return Outcomes(objectives, ratios, detail)


def model_of(space: Space, catalog: Catalog, threads: int = 2) -> FirstOrderModel:
    """Return our model of a space."""
    return FirstOrderModel(space, catalog, threads)


def _compact(plans: Plans, rows: BoolArray) -> Plans:
    """Some plans, with their shapes renumbered."""
    kept = plans.take(rows)
    _, renumbered = np.unique(kept.plan_shape, return_inverse=True)
    return replace(kept, plan_shape=renumbered.astype(np.int64))
