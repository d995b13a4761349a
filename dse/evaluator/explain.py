"""One design or machine under one plan, with its breakdown: the same code as the search's, with a ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from dse.catalog.catalog import Catalog, load_catalog
from dse.core.axes import GROUPS, OPERATORS
from dse.core.errors import SpaceError
from dse.core.units import Figure, FloatArray
from dse.evaluator import breakdown
from dse.evaluator.breakdown import OperatingPoint, scalar
from dse.evaluator.device_figures import device_figures
from dse.evaluator.figures import FigureName, figures
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.site import site
from dse.hardware.machine import Machine
from dse.serving.operating_points import choose, fleet_cost
from dse.serving.plan import Plans, single_plan
from dse.serving.results import PlanResults
from dse.serving.serve import serve
from dse.serving.step_work import StepWork, lower_step
from dse.space.design import complete, encode, unfit
from dse.space.limits import Limit
from dse.space.objectives import OBJECTIVES, Goal
from dse.space.reader import read_space, space_text
from dse.space.scenario import ModelLoad, RequestClass, RequestMix, mix_of
from dse.space.space import Space
from dse.space.variables import Value, parse_value

FAR_TOO_DEEP = 999_999
"""shown where no depth makes a model fit"""
ANY_TPOT = 1e9
"""s; a target that every plan meets"""
LONGEST_BITS = 32
COMPUTE_BITS = (4, 8, 16)
ATTENTION = ("tp", "dp", "sp")


@dataclass
class Evaluation:
    """What a design or machine does under one plan; SI units, scalars."""

    name: str
    target: str
    plan: dict[str, str | float | bool]
    decode_time: float
    """s of one decode step, thermal limits held"""
    unthrottled_time: float
    tpot: float
    """s per output token, arriving prompts included where they share the machine"""
    ttft: float
    throughput: float
    """output tokens/s of one copy of the model"""
    objectives: dict[str, float]
    times: dict[str, float]
    """s per output token by part; sums to ``tpot``"""
    energies: dict[str, float]
    """J per output token at the wall, or from the battery, by part; sums to the objective"""
    costs: dict[str, float]
    """USD per million output tokens by part, or USD that a device pays once"""
    carbons: dict[str, float]
    """kgCO2e per million output tokens by part"""
    engines: dict[str, str]
    """host or pnm per operator"""
    limits: dict[str, float]
    """value over limit of every check"""
    figures: dict[str, Figure] = field(default_factory=dict)
    """bandwidths, capacities, flash break-even and the like, by ``FigureName``"""
    site: dict[str, Figure] = field(default_factory=dict)
    """what the scenario's demand takes of a site, by ``SiteFigure``; empty for a device"""


class Ledger:
    """Stores every term that serving notes, as scalars of the one row asked about."""

    def __init__(self) -> None:
        self.terms: dict[tuple[str, str], float] = {}

    def __call__(self, kind: str, name: str, value: FloatArray) -> None:
        """Store a term; terms of one name add up."""
        key = (kind, name)
        self.terms[key] = self.terms.get(key, 0.0) + float(np.ravel(value)[0])

    def of(self, kind: str) -> dict[str, float]:
        """Terms of one kind."""
        return {n: v for (k, n), v in self.terms.items() if k == kind}


@dataclass(frozen=True)
class Request:
    """A workload as a person asks about it; what is left out is the space's own."""

    llm: str | None = None
    software: str | None = None
    weight_bits: float | None = None
    kv_bits: float | None = None
    compute_bits: float | None = None
    context: float | None = None
    """a decode step at this context, prompts not charged"""
    input_tokens: float | None = None
    output_tokens: float | None = None


def evaluate(
    target: str | Space,
    *,
    variables: Mapping[str, object] | None = None,
    device: str | None = None,
    request: Request | None = None,
    batch: int = 1,
    tensor_parallel: int = 1,
    attention: str = "tp",
    catalog: Catalog | None = None,
) -> Evaluation:
    """Evaluate one design (``variables``) or existing machine (``device``) under one plan.

    ``tensor_parallel`` is the group that shares the model; ``attention`` is ``tp``, ``dp`` or ``sp``
    (tensor-parallel with the KV cache split by position). Demand fills every domain.

    Raises:
        SpaceError: an unknown variable, a value outside its range, a plan that cannot be.
        DataError: an unknown device, model or software stack.

    """
    if device is not None and variables:
        raise SpaceError("give variables or device, not both: a machine that exists has its own")
    _check_numbers(request or Request(), batch, tensor_parallel)
    catalog = catalog or load_catalog()
    asked = _asked(target, catalog, request or Request(), batch)
    model = FirstOrderModel(asked, catalog, 1)
    machine, name = _machine(model, variables, device)
    _check_plan(asked, batch, tensor_parallel, attention)
    plans = single_plan(
        tensor_parallel, data_parallel=attention == "dp", batch=batch, context_parallel=attention == "sp"
    )
    out = evaluation(model, machine, 0, plans)
    out.name = name
    out.plan = {
        "llm": asked.scenario.workloads[0].llm,
        "batch": batch,
        "group": tensor_parallel,
        "attention": attention,
        "pipeline depth": out.plan["pipeline depth"],
        "context": asked.scenario.mix.context,
        "software": asked.scenario.software,
    }
    return out


def _check_numbers(request: Request, batch: object, tensor_parallel: object) -> None:
    """Refuse counts that are no whole numbers from 1, and request numbers that are not finite and above 0."""
    for name, count in (("batch", batch), ("tensor_parallel", tensor_parallel)):
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise SpaceError(f"{name}: got {count!r}, expected a whole number from 1")
    for f in fields(request):
        value = getattr(request, f.name)
        if value is None or f.name in {"llm", "software"}:
            continue
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not (number and np.isfinite(value) and value > 0):
            raise SpaceError(f"{f.name}: got {value!r}, expected a number above 0")


def explain(
    model: FirstOrderModel, machine: Machine, plans: Sequence[int], targets: Sequence[float]
) -> list[Evaluation]:
    """Break down one machine (n = 1) under chosen plans, one index per workload of the space.

    ``targets`` (s per output token) are those the plans were chosen for, one a workload: whether prompts
    run on machines of their own is decided against them, as the search did.
    """
    out = []
    for i, plan in enumerate(plans):
        grid = model.plans[i]
        one = replace(grid.take(np.arange(len(grid)) == plan), plan_shape=np.zeros(1, dtype=np.int64))
        out.append(evaluation(with_target(model, targets[i]), machine, i, one))
    return out


def with_target(model: FirstOrderModel, target: float) -> FirstOrderModel:
    """The model with one TPOT target [s]."""
    return FirstOrderModel(replace(model.space, tpot_targets=(target,)), model.catalog, 1)


def evaluation(model: FirstOrderModel, machine: Machine, workload: int, plans: Plans) -> Evaluation:
    """Serve one workload of a model's space on a machine under one plan, and break it down."""
    space, scenario, usage = model.space, model.space.scenario, model.usage
    with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
        load = scenario.workloads[workload]
        work = lower_step(load, plans, model.catalog, scenario)
        ledger = Ledger()
        results = serve(machine, work, model.software, ledger)
        estimate = choose(
            machine, work, results, scenario, usage, thresholds=space.thresholds, targets=space.tpot_targets
        )
        point = OperatingPoint(
            machine=machine,
            work=work,
            results=results,
            estimate=estimate,
            fleet=fleet_cost(machine, work, results, scenario, usage),
            scenario=scenario,
            usage=usage,
        )
        return _told(model, point, ledger)


def _told(model: FirstOrderModel, point: OperatingPoint, ledger: Ledger) -> Evaluation:
    space, e, work, results = model.space, point.estimate, point.work, point.results
    energies = breakdown.energies(point, ledger.of("energy"), ledger.of("prompt"), ledger.of("near"))
    costs = breakdown.costs(point, model.catalog)
    ratios = {**point.machine.limit_ratios, **e.limit_ratios}
    found = figures(point, space, model.catalog, ledger.of("energy"), costs, energies)
    if not space.target.fleet:
        device = device_figures(space, model.catalog, point.machine, e, [work])
        found |= {name: Figure(scalar(v), FigureName(name).unit) for name, v in device.items()}
    tpot = scalar(e.tpot)
    goals = [OBJECTIVES[name] for name in space.target.objectives if name != Goal.TTFT]
    return Evaluation(
        name="",
        target=space.target.name,
        plan=_plan(work, results),
        decode_time=scalar(results.step),
        unthrottled_time=scalar(results.unthrottled),
        tpot=tpot,
        ttft=scalar(e.ttft),
        throughput=scalar(work.plans.batch) * scalar(results.stages) / tpot,
        objectives={goal.value: scalar(getattr(e, goal.attribute)) * goal.scale for goal in goals},
        times=_times(ledger, results, tpot, work.tokens_per_step),
        energies=energies,
        costs=costs,
        carbons=breakdown.carbons(point),
        engines=_engines(ledger),
        limits={
            name.value: scalar(v) for name, v in ratios.items() if name not in {Limit.TPOT, Limit.DEMAND}
        },
        figures=found,
        site=site(point) if space.target.fleet else {},
    )


def _plan(work: StepWork, results: PlanResults) -> dict[str, str | float | bool]:
    """A plan as people name it."""
    plans = work.plans
    attention = "dp" if plans.data_parallel[0] else "sp" if plans.context_parallel[0] else "tp"
    return {
        "llm": work.load.llm,
        "batch": int(plans.batch[0]),
        "group": int(plans.group[0]),
        "attention": attention,
        "sub-batches": bool(plans.sub_batch_interleaving[0]),
        "pipeline depth": int(min(results.stages[0, 0], FAR_TOO_DEEP)),
    }


def _times(ledger: Ledger, results: PlanResults, tpot: float, tokens_per_step: float) -> dict[str, float]:
    """Parts of a token's time: a step's over the tokens it wins."""
    terms = {n: v / tokens_per_step for n, v in ledger.of("time").items() if v != 0.0}
    saved = sum(
        v for v in terms.values() if v < 0
    )  # read ahead, done by the other half: off every operator alike
    spent = sum(terms.values()) - saved
    times = {n: v * (1.0 + saved / spent) for n, v in terms.items() if v > 0}
    step = float(results.step[0, 0]) / tokens_per_step
    rest = step - sum(times.values())
    if abs(rest) > 1e-9 * step:
        times |= {"uneven stages and refresh": rest}
    if tpot > step:
        times |= {"arriving prompts": tpot - step}
    return times


def _engines(ledger: Ledger) -> dict[str, str]:
    flags = ledger.of("engine")
    used = ledger.of("time")
    return {op: "pnm" if flags.get(op, 0.0) > 0 else "host" for op in OPERATORS if op in used}


def _asked(target: str | Space, catalog: Catalog, request: Request, batch: int) -> Space:
    """The space with one workload, as asked, and a demand that fills every domain."""
    space = target if isinstance(target, Space) else read_space(*space_text(target), catalog)
    scenario = space.scenario
    load = next((w for w in scenario.workloads if w.llm == request.llm), scenario.workloads[0])
    weight_bits, kv_bits = request.weight_bits or load.weight_bits, request.kv_bits or load.kv_bits
    usual = float(COMPUTE_BITS[-1]) if weight_bits >= COMPUTE_BITS[-1] else load.compute_bits
    compute_bits = usual if request.compute_bits is None else request.compute_bits
    stored = (weight_bits, kv_bits)
    if compute_bits not in COMPUTE_BITS or not all(1 <= bits <= LONGEST_BITS for bits in stored):
        raise SpaceError(
            f"precision: got {weight_bits:g}/{kv_bits:g}/{compute_bits:g} bit, expected 1 to 32, "
            "compute 4, 8 or 16"
        )
    software = request.software or scenario.software
    catalog.entry("software", software)
    alone = ModelLoad(
        llm=catalog.llm(request.llm or load.llm).name,
        weight=1.0,
        concurrency=1.0 if space.target.one_user else float(batch * GROUPS[-1]),
        weight_bits=weight_bits,
        kv_bits=kv_bits,
        compute_bits=compute_bits,
    )
    mix = _mix(scenario.mix, request)
    scenario = replace(scenario, workloads=(alone,), software=software, mix=mix)
    return replace(space, scenario=scenario, tpot_targets=(ANY_TPOT,))


def _mix(usual: RequestMix, request: Request) -> RequestMix:
    """Neither a context nor tokens asks about the scenario's own mix."""
    if request.context is not None:
        return mix_of(request.context)
    if request.input_tokens is not None or request.output_tokens is not None:
        asked = RequestClass("asked", 1.0, request.input_tokens or 1.0, request.output_tokens or 1.0)
        return RequestMix((asked,))
    return usual


def _check_plan(space: Space, batch: int, tensor_parallel: int, attention: str) -> None:
    """Refuse a plan that cannot be.

    Raises:
        SpaceError: it cannot.

    """
    lone = attention == "dp" and batch < tensor_parallel
    if tensor_parallel not in GROUPS or attention not in ATTENTION or lone:
        raise SpaceError(
            f"plan: got tensor_parallel {tensor_parallel}, attention {attention!r}, batch {batch}; "
            "expected a "
            f"power of two up to {GROUPS[-1]}, tp, dp or sp, and with dp a batch of at least the group"
        )
    if space.target.one_user and (batch, tensor_parallel, attention) != (1, 1, "tp"):
        raise SpaceError(
            f"plan: {space.name} serves one user on one package: leave batch and tensor_parallel at 1"
        )


def _machine(
    model: FirstOrderModel, variables: Mapping[str, object] | None, device: str | None
) -> tuple[Machine, str]:
    space = model.space
    if device is not None:
        entry = model.catalog.entry("device", device)
        said = entry.attributes.get("target")
        if said != space.target.name:
            raise SpaceError(
                f"device {device}: is for target {said!r}, this space is for {space.target.name!r}"
            )
        return model.devices([device]), entry.title
    values: dict[str, Value] = {}
    for name, text in (variables or {}).items():
        values[name] = parse_value(space.variable(name), text, space.name)
    made = complete(space, values)
    faults = unfit(space, made)
    if faults:
        raise SpaceError("\n".join(f"{space.name}: {f}" for f in faults))
    return model.machine(encode(space, [made])), space.name
