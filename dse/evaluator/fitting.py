"""Does a model fit a machine, and how much: memory by class, and the most that fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from dse.catalog.catalog import Catalog
from dse.catalog.transformer import Transformer
from dse.core.axes import GROUPS
from dse.core.records import empty, plain
from dse.evaluator.request import PlanRequest, dealt
from dse.hardware.machine import Machine
from dse.serving.machine_rows import machine_row
from dse.serving.placement import Fit, fit
from dse.serving.plan import DEEPEST, LARGEST_TENSOR, Plans, single_plan
from dse.serving.rates import prepare
from dse.serving.records import ScratchRow
from dse.serving.software import SoftwareStack, software_of
from dse.serving.step_work import StepWork, lower_step
from dse.space.scenario import RequestClass, RequestMix, Scenario, mix_of

MOST_REQUESTS: Final = 1 << 20
LONGEST: Final = 1 << 27
"""tokens; no context is looked for beyond"""


class MemoryClass(StrEnum):
    """What takes a package's memory."""

    WEIGHTS = "weights of attention, dense layers and head"
    EXPERTS = "routed experts"
    CACHE = "KV cache"
    STATE = "recurrent state"
    ACTIVATIONS = "activations"
    RESERVE = "reserve of the runtime"
    SYSTEM = "engines, staging and applications"
    FREE = "free"


@dataclass(frozen=True)
class Fits:
    """Whether a model fits a machine under a plan, and the most that does."""

    machine: str
    llm: str
    plan: str
    requests: str
    formats: str
    fits: bool
    why: str
    """why it does not; empty where it does"""
    memory: dict[str, float]
    """bytes of a package by class (``MemoryClass``); free is negative by what is missing"""
    largest_batch: int
    """most requests in flight on this plan, 0 where none fits"""
    longest_context: int
    """tokens of one request alone on this plan, at most what the model takes; 0 where none fits"""
    model_context: int
    """longest context that the model takes, 0 where it is not stated"""
    fewest: str
    """least packages on which the requests fit, as a plan in words; empty where none do"""
    at_fewest: dict[str, int]
    """largest batch and longest context there, and the packages"""


def served_plan(plan: PlanRequest, experts: int, *, either_placement: bool = False) -> Plans:
    """A plan as it was asked for, for a model of so many experts."""
    return single_plan(
        plan.group,
        batch=plan.stage_batch,
        attention_dp=plan.attention_dp,
        expert_parallel=dealt(plan, experts),
        stages=plan.pipeline,
        context_parallel=plan.by_position,
        either_placement=either_placement,
    )


@dataclass(frozen=True)
class Fitting:
    """A model on a machine (n = 1) under the requests of a scenario."""

    machine: Machine
    scenario: Scenario
    catalog: Catalog
    software: SoftwareStack

    @staticmethod
    def of(machine: Machine, scenario: Scenario, catalog: Catalog) -> Fitting:
        """For the first workload of a scenario."""
        return Fitting(machine, scenario, catalog, software_of(catalog, scenario.software))

    def work(self, plan: PlanRequest, mix: RequestMix | None = None) -> StepWork:
        """What a plan asks, for requests of another mix where one is given."""
        scenario = self.scenario
        if mix is not None:
            numbers = {k: v for k, v in scenario.numbers.items() if k != "longest_request"}
            scenario = replace(scenario, mix=mix, numbers=numbers)
        plans = served_plan(plan, self.catalog.llm(scenario.workloads[0].llm).experts)
        return lower_step(scenario.workloads[0], plans, self.catalog, scenario, self.software)

    def fit(self, work: StepWork, stages: int = 1) -> Fit:
        """How many stages the first plan of some work takes, and whether the fullest of them fits."""
        machine, scratch = machine_row(self.machine), plain(empty(ScratchRow, 1)[0])
        prepare(machine, plain(work.workload[0]), scratch)
        return fit(machine, _fullest(work, stages), scratch)

    def fits(self, plan: PlanRequest, mix: RequestMix | None = None) -> bool:
        """Whether a plan fits as many stages as it asks for."""
        found = self.fit(self.work(plan, mix), plan.pipeline)
        return found.depth <= plan.pipeline and found.capacity <= 1.0 and found.longest_request <= 1.0

    @property
    def model(self) -> Transformer:
        """The model that is asked about."""
        return self.work(PlanRequest()).model

    def largest_batch(self, plan: PlanRequest) -> int:
        """Most requests in flight that fit a plan's packages, 0 where not even one a copy does."""
        each = plan.pipeline * plan.attention_dp

        def many(times: int) -> bool:
            return self.fits(replace(plan, batch=each * times))

        return each * _most(many, MOST_REQUESTS // each)

    def longest_context(self, plan: PlanRequest, most: int) -> int:
        """Longest context at which a plan's requests all fit, in tokens; up to ``most``."""
        return _most(lambda tokens: self.fits(plan, mix_of(float(tokens))), most)

    def fewest_packages(self, plan: PlanRequest, most: int = GROUPS[-1]) -> PlanRequest | None:
        """The least packages on which a plan's requests fit, tensor-parallel first and then in stages.

        Groups divide the heads; stages are tried where no group does. The plan itself where it fits and
        nothing smaller does, None where nothing up to ``most`` fits.
        """
        model = self.model
        found = [plan] if not model.tensor_fault(plan.tensor_ranks) and self.fits(plan) else []
        for group in GROUPS:
            if group > min(LARGEST_TENSOR, most) or model.tensor_fault(group):
                continue
            deepest = min(most // group, DEEPEST, int(model.layers))

            def deep(stages: int, group: int = group) -> PlanRequest:
                batch = -(-max(plan.batch, stages) // stages) * stages
                return PlanRequest(batch=batch, tensor_parallel=group, pipeline=stages)

            low, high = 0, 1
            while high < deepest and not self.fits(deep(high)):
                low, high = high, min(2 * high, deepest)
            if not self.fits(deep(high)):
                continue
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if self.fits(deep(middle)) else (middle, high)
            found.append(deep(high))
        return min(found, key=lambda p: (p.packages, p.pipeline), default=None)

    def memory(self, plan: PlanRequest) -> dict[MemoryClass, float]:
        """Bytes of a package of the fullest stage by class, at the p95 of what a plan's requests hold.

        They sum to its memory.
        """
        work = self.work(plan)
        row, model = _fullest(work, plan.pipeline), work.model
        depth = float(plan.pipeline)
        ranks = plan.tensor_ranks
        over = [(c, ranks if plan.by_position else min(ranks, c.shards)) for c in model.caches]
        state = sum(row.per_rank * c.state_bytes / n for c, n in over)
        fast = self.machine.fast
        used = {
            MemoryClass.WEIGHTS: (row.resident - row.resident_experts) / depth,
            MemoryClass.EXPERTS: row.resident_experts / depth,
            MemoryClass.CACHE: row.live_p95 + row.prefix_held - state,
            MemoryClass.STATE: state,
            MemoryClass.ACTIVATIONS: row.activations,
        }
        share = self.catalog.value("software", self.scenario.software, "memory_share")
        installed = float(fast.installed[0])
        kept = installed * (1.0 - share)
        below = float(self.machine.flash.capacity[0] + self.machine.far.capacity[0])
        used[MemoryClass.RESERVE] = kept
        used[MemoryClass.SYSTEM] = max(installed - kept - float(fast.capacity[0]), 0.0)
        used[MemoryClass.FREE] = installed + below - sum(used.values())
        return used


def _fullest(work: StepWork, stages: int) -> Any:
    """The first plan of some work as the fullest of its stages sees it: layers are whole."""
    row, layers = plain(work.rows[0]), float(work.model.layers)
    uneven = math.ceil(layers / stages) * stages / layers
    for name in ("resident", "resident_experts", "live_p95", "prefix_held", "longest"):
        setattr(row, name, getattr(row, name) * uneven)
    return row


def _largest(fitting: Fitting, plan: PlanRequest, *, one_user: bool) -> int:
    return int(fitting.fits(plan)) if one_user else fitting.largest_batch(plan)


def fits_of(
    fitting: Fitting, plan: PlanRequest, name: str, why: str, formats: str, *, one_user: bool = False
) -> Fits:
    """Everything about how a model fits a machine of some name; ``why`` a plan cannot run, or nothing.

    A machine of ``one_user`` is one package that serves one request at a time.
    """
    scenario, entry = fitting.scenario, fitting.catalog.llm(fitting.scenario.workloads[0].llm)
    longest = entry.shape["max_context"]
    alone = replace(plan, batch=plan.pipeline * plan.attention_dp)
    runs = not fitting.model.tensor_fault(plan.tensor_ranks)
    fewest = fitting.fewest_packages(plan, 1 if one_user else GROUPS[-1])
    there = {}
    if fewest is not None:
        one = replace(fewest, batch=fewest.pipeline)
        there = {
            "packages": fewest.packages,
            "largest_batch": 1 if one_user else fitting.largest_batch(fewest),
            "longest_context": fitting.longest_context(one, longest or LONGEST),
        }
    return Fits(
        machine=name,
        llm=entry.name,
        plan=plan.described(),
        requests=f"batch {plan.batch}, {requests_described(scenario.mix)}",
        formats=formats,
        fits=not why,
        why=why,
        memory={k.value: v for k, v in fitting.memory(plan).items()},
        largest_batch=_largest(fitting, plan, one_user=one_user) if runs else 0,
        longest_context=fitting.longest_context(alone, longest or LONGEST) if runs else 0,
        model_context=longest,
        fewest="" if fewest is None else fewest.described(),
        at_fewest=there,
    )


def _most(possible: Callable[[int], bool], limit: int) -> int:
    """The largest number up to ``limit`` that is possible, where all smaller ones are; 0 where none is."""
    if limit < 1 or not possible(1):
        return 0
    low = 1
    while low < limit and possible(min(2 * low, limit)):
        low = min(2 * low, limit)
    high = min(2 * low, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if possible(middle) else (low, middle)
    return low


def used_share(memory: Mapping[MemoryClass, float]) -> float:
    """Share of the memory beside the runtime's and the system's that is held, of bytes by class."""
    kept = memory[MemoryClass.RESERVE] + memory[MemoryClass.SYSTEM]
    whole = sum(memory.values()) - kept
    return (whole - memory[MemoryClass.FREE]) / whole


def requests_described(mix: RequestMix) -> str:
    """The requests of a mix, in words."""
    if mix.decode_only:
        return f"a context of {mix.context:,.0f} tokens"
    if len(mix.classes) == 1:
        return f"{mix.classes[0].input_tokens:,.0f} tokens in and {mix.classes[0].output_tokens:,.0f} out"
    names = ", ".join(c.name for c in mix.classes)
    return f"the space's mix ({names}; mean context {mix.context:,.0f} tokens)"


def request_mix(inputs: float, outputs: float) -> RequestMix:
    """Requests of one length."""
    return RequestMix((RequestClass("asked", 1.0, inputs, outputs),))
