"""Our first-order model of every target, behind the evaluator protocol.

A target is a row (``dse.space.targets``) and a form (``dse.hardware.assemble``): a phone is a demand of one
user, a plan of one and a fleet of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property
from typing import Final, TypeVar

import numpy as np

from dse.catalog.catalog import Catalog
from dse.catalog.transformer import transformer
from dse.core.compilation import threads as core_threads
from dse.core.compilation import workers
from dse.core.errors import Faults, SpaceError
from dse.core.table import chunks, total
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.core.version import __version__
from dse.evaluator.device_figures import device_figures
from dse.evaluator.protocol import Outcomes, objective_ratio
from dse.hardware.assemble import FORMS, assemble
from dse.hardware.machine import Machine
from dse.hardware.parts import Parts
from dse.hardware.vocabulary import check_variables
from dse.serving.machine_rows import machine_rows
from dse.serving.operating_points import (
    CAP,
    Chosen,
    Estimate,
    Usage,
    choose,
    columns_of,
    estimate_of,
    site_row,
    weighted,
)
from dse.serving.plan import Plans, plan_grid, single_plan
from dse.serving.software import software_of
from dse.serving.step_work import StepWork, lower_step
from dse.space.design import Design
from dse.space.limits import Limit
from dse.space.objectives import OBJECTIVES
from dse.space.space import Space

T = TypeVar("T")

BLOCK: Final = 4096
"""designs built and judged together: what keeps the memory of a block at some tens of megabytes"""

BLOCKS_FROM: Final = 1024
"""designs from which on threads build machines too, a block each"""

PARALLEL_FROM: Final = 64
"""designs from which threads are faster than one"""


TTFT, PACKAGES, CAPITAL, SITE_POWER = "ttft", "packages", "capital", "site_power"
"""details of every operating point"""


class FirstOrderModel:
    """The first-order model of a space: hardware, serving, money, energy and carbon."""

    name = "dse-first-order"
    version = __version__
    seconds_hint = 1e-4

    def __init__(self, space: Space, catalog: Catalog, threads: int = 0, *, bounds: bool = True) -> None:
        self.space, self.catalog, self.bounds = space, catalog, bounds
        self.threads = threads or core_threads()
        self.form = FORMS[space.target.name]
        _check(space, catalog)
        scenario = space.scenario
        self.software = software_of(catalog, scenario.software)
        self.usage = Usage.of(scenario, one_user=space.target.one_user)
        self.site = site_row(
            scenario,
            self.usage,
            space.thresholds,
            space.tpot_targets,
            fastest=space.target.one_user,
        )

    @cached_property
    def plans(self) -> list[Plans]:
        """Plans of each workload."""
        return [self._plans(w.llm) for w in self.space.scenario.workloads]

    def _plans(self, llm: str) -> Plans:
        """Every plan that some machine of the target can run a model under."""
        if self.space.target.one_user:
            return single_plan(1, data_parallel=False, batch=1, either_placement=True)
        model = transformer(self.catalog.llm(llm))
        return plan_grid(model, tiers=True, near=True, context_parallel=self.space.scenario.context_parallel)

    @cached_property
    def step_work(self) -> list[StepWork]:
        """Lowered workloads, every plan that some machine of the target can run."""
        s = self.space.scenario
        return [
            lower_step(w, p, self.catalog, s, self.software)
            for w, p in zip(s.workloads, self.plans, strict=True)
        ]

    @staticmethod
    def admitted(plans: Plans, *, tiers: bool, near: bool) -> BoolArray:
        """Plans of some machines.

        What fills fast memory needs memory below, what runs in sub-batches an engine.

        A group wider than a domain crosses the scale-out network.
        """
        return (tiers | ~plans.fill_fast_tier) & (near | ~plans.sub_batch_interleaving)

    @property
    def weights(self) -> float:
        """Bytes of all models' weights: what the storage of a device must hold."""
        if not self.space.target.one_user:
            return 0.0
        return float(sum(w.rows.resident[0] for w in self.step_work))

    def machine(self, design: Design) -> Machine:
        """Build n designs."""
        return self._assembled(self.form.parts(self.space, design, self.catalog))

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
        return Outcomes.concat(list(self.blocks(design)))

    def blocks(self, design: Design) -> Iterator[Outcomes]:
        """Outcomes block by block, in order: memory does not grow with the number of designs."""
        n = len(design)
        if n < BLOCKS_FROM:  # built at once: to build takes thousands of calls, however few designs there are
            threads = self.threads if n >= PARALLEL_FROM else 1
            return iter([self.judge(self.machine(design), threads=threads)])
        blocks = -(-n // (BLOCK * self.threads)) * self.threads  # as many for every thread
        parts = (design.take(cut) for cut in chunks(n, -(-n // blocks)))
        return self._each(parts, lambda d: self.judge(self.machine(d)))

    def screened(self, designs: Iterable[Design]) -> Iterator[tuple[IntArray, Outcomes, FloatArray]]:
        """Of each block the rows that break no limit of their own, whatever the plan, and their outcomes.

        All that a search or a sweep need judge; with the sum of logs of what each row breaks of its own,
        (n,).
        """

        def judged(block: Design) -> tuple[IntArray, Outcomes, FloatArray]:
            machine = self.machine(block)
            broken = total(np.log(np.clip(r, 1.0, CAP)) for r in machine.limit_ratios.values())
            rows = np.nonzero(machine.unbroken())[0]
            return rows, self.judge(machine.take(rows)), np.broadcast_to(broken, (len(block),)).copy()

        return self._each(designs, judged)

    def _each(self, parts: Iterable[Design], work: Callable[[Design], T]) -> Iterator[T]:
        """``work`` on every block, in order, by as many threads as there are."""
        if self.threads < 2:
            yield from map(work, parts)
            return
        self.step_work  # noqa: B018 - lowered once, before threads ask for it
        waiting: deque[Future[T]] = deque()
        try:
            for part in parts:
                waiting.append(workers(self.threads).submit(work, part))
                if len(waiting) > 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # of a caller who asks for no more
            for left in waiting:
                left.cancel()

    def judge(
        self, machine: Machine, workloads: tuple[int, ...] | None = None, *, threads: int = 1
    ) -> Outcomes:
        """Judge machines however they were built; ``workloads`` restricts to some models."""
        rows = machine_rows(machine)
        estimates, weights = [], []
        for i, work in enumerate(self.step_work):
            if workloads is not None and i not in workloads:
                continue
            chosen = choose(rows, work, self.site, bounds=self.bounds, threads=threads)
            columns = columns_of(chosen, [point[i] for point in self.space.operating_points])
            estimates.append(estimate_of(columns, machine.ownership.capital, self.space.thresholds))
            weights.append(work.load.weight)
        with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
            return self._outcomes(machine, weighted(estimates, weights))

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
            drawn = {Limit.SITE_POWER: detail[SITE_POWER], Limit.SITE_CAPITAL: e.packages * e.capital}
            for limit, amount in drawn.items():
                if limit in space.thresholds:
                    ratios[limit] = np.minimum(amount / space.thresholds[limit], CAP)
        else:
            detail |= device_figures(space, self.catalog, machine, e, self.step_work)
        for i, chosen in enumerate(e.chosen):
            detail |= {f"{name}.{i}": getattr(chosen, name) for name in Chosen.__dataclass_fields__}
        return Outcomes(objectives, ratios, detail)


def model_of(space: Space, catalog: Catalog, threads: int = 0) -> FirstOrderModel:
    """Return our model of a space; ``threads`` 0 takes every core that the process may use."""
    return FirstOrderModel(space, catalog, threads)


def _check(space: Space, catalog: Catalog) -> None:
    """Refuse variables of a space that the model does not read, and choices that it does not know.

    Raises:
        SpaceError: those that it does not, a line each.

    """
    faults = Faults(space.name)
    check_variables(space, catalog, faults)
    faults.raise_if_any(SpaceError)
