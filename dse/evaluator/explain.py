"""One design or machine under one plan, with its breakdown: the functions of the search, run as plain
Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog, load_catalog
from dse.core.axes import GROUPS
from dse.core.errors import SpaceError
from dse.core.records import filled
from dse.core.units import Figure
from dse.evaluator import breakdown
from dse.evaluator.breakdown import OperatingPoint, scalar
from dse.evaluator.device_figures import device_figures
from dse.evaluator.figures import FigureName, figures
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.site import site as site_of
from dse.hardware.machine import Machine
from dse.serving.accounting import worth
from dse.serving.machine_rows import machine_row
from dse.serving.operating_points import estimate_of, site_row
from dse.serving.plan import single_plan
from dse.serving.pnm_split import passes
from dse.serving.records import ResultRow
from dse.serving.step_work import StepWork, lower_step
from dse.serving.trace import Trace, trace
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
    (tensor-parallel with the KV cache split by position). Demand fills every domain. With memory below the
    fast one, of both placements the better.

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
        tensor_parallel,
        data_parallel=attention == "dp",
        batch=batch,
        context_parallel=attention == "sp",
        either_placement=bool(machine.tiered[0]),
    )
    work = lower_step(asked.scenario.workloads[0], plans, catalog, asked.scenario, model.software)
    out = evaluation(model, machine, work, _better(model, machine, work), ANY_TPOT)
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


def _better(model: FirstOrderModel, machine: Machine, work: StepWork) -> int:
    """Which of a few plans a machine (n = 1) is served under: the best of those that break limits least."""
    if len(work.rows) == 1:
        return 0
    space = model.space
    site = site_row(space.scenario, model.usage, space.thresholds, (ANY_TPOT,))
    row = machine_row(machine)

    def badness(number: int) -> tuple[float, float]:
        found = trace(row, work, number, site)
        return found.checks.excess * max(found.result.ttft_ratio, 1.0), worth(found.site, found.mode)

    return min(range(len(work.rows)), key=badness)


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
    return [evaluation(model, machine, model.step_work[i], plan, targets[i]) for i, plan in enumerate(plans)]


def evaluation(
    model: FirstOrderModel, machine: Machine, work: StepWork, number: int, target: float
) -> Evaluation:
    """Serve one workload on a machine (n = 1) under one plan for a TPOT target [s], and break it down."""
    space = model.space
    site = site_row(space.scenario, model.usage, space.thresholds, (target,))
    found = trace(machine_row(machine), work, number, site)
    with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
        point = OperatingPoint(
            machine=machine,
            trace=found,
            load=work.load,
            estimate=estimate_of(_one(found.result), machine.ownership.capital, space.thresholds),
            scenario=space.scenario,
            usage=model.usage,
        )
        return _evaluated(model, point, work, number)


def _one(result: Any) -> Any:
    """A plain result as a table of one design and one target."""
    return filled(ResultRow, 1, vars(result)).reshape(1, 1)


def _evaluated(model: FirstOrderModel, point: OperatingPoint, work: StepWork, number: int) -> Evaluation:
    space, e, found = model.space, point.estimate, point.trace
    pair = found.pair
    energies = breakdown.energies(point)
    costs = breakdown.costs(point, model.catalog)
    ratios = {**point.machine.limit_ratios, **e.limit_ratios}
    shown = figures(point, space, model.catalog, costs, energies)
    if not space.target.fleet:
        device = device_figures(space, model.catalog, point.machine, e, [work])
        shown |= {name: Figure(scalar(v), FigureName(name).unit) for name, v in device.items()}
    tpot = found.result.tpot
    goals = [OBJECTIVES[name] for name in space.target.objectives if name != Goal.TTFT]
    return Evaluation(
        name="",
        target=space.target.name,
        plan=_plan(work, number, pair.fitted.depth),
        decode_time=pair.step.step,
        unthrottled_time=pair.step.unthrottled,
        tpot=tpot,
        ttft=found.result.ttft,
        throughput=found.plan.batch * pair.fitted.depth / tpot,
        objectives={goal.value: scalar(getattr(e, goal.attribute)) * goal.scale for goal in goals},
        times=_times(found, tpot, work.tokens_per_step),
        energies=energies,
        costs=costs,
        carbons=breakdown.carbons(point),
        engines={op: "pnm" if near else "host" for op, (_, near) in found.operators.items()},
        limits={
            name.value: scalar(v) for name, v in ratios.items() if name not in {Limit.TPOT, Limit.DEMAND}
        },
        figures=shown,
        site=site_of(point) if space.target.fleet else {},
    )


def _plan(work: StepWork, number: int, depth: float) -> dict[str, str | float | bool]:
    """A plan as people name it."""
    plans = work.plans
    attention = "dp" if plans.data_parallel[number] else "sp" if plans.context_parallel[number] else "tp"
    return {
        "llm": work.load.llm,
        "batch": int(plans.batch[number]),
        "group": int(plans.group[number]),
        "attention": attention,
        "sub-batches": bool(plans.sub_batch_interleaving[number]),
        "pipeline depth": int(min(depth, FAR_TOO_DEEP)),
    }


def _times(found: Trace, tpot: float, tokens_per_step: float) -> dict[str, float]:
    """Parts of a token's time: a step's over the tokens it wins."""
    parts, sums, step = found.parts, found.parts.decoded.sums, found.pair.step.step
    terms = {name: seconds for name, (seconds, _) in found.operators.items()}
    terms |= {
        "read ahead": -sums.hidden,
        "collectives": parts.waits.messages + max(parts.waits.exchange - sums.shared, 0.0),
        "pipeline": parts.waits.stages,
        "overhead": parts.waits.launches * passes(found.plan),
        "done by the other half": parts.alternation,
        "KV cache and experts moved": parts.written,
        "throttling": step - parts.clocked.unthrottled,
        "slower clock": parts.clocked.unthrottled - parts.design_clock,
    }
    terms = {n: v / tokens_per_step for n, v in terms.items() if v != 0.0}
    # read ahead, done by the other half: off every operator alike
    saved = sum(v for v in terms.values() if v < 0)
    spent = sum(terms.values()) - saved
    times = {n: v * (1.0 + saved / spent) for n, v in terms.items() if v > 0}
    rest = step / tokens_per_step - sum(times.values())
    if abs(rest) > 1e-9 * step / tokens_per_step:
        times |= {"uneven stages and refresh": rest}
    if tpot > step / tokens_per_step:
        times |= {"arriving prompts": tpot - step / tokens_per_step}
    return times


def _asked(target: str | Space, catalog: Catalog, request: Request, batch: int) -> Space:
    """The space with one workload, as asked, and a demand that fills every domain."""
    space = target
    if not isinstance(space, Space):
        said = space_text(space)
        space = catalog.kept(("space", *said), lambda: read_space(*said, catalog))
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
        # a machine that exists does not depend on what it serves
        bare = replace(space.scenario, workloads=(), mix=RequestMix(()))
        key = ("machine", device, space.target.name, repr(bare), repr(sorted(space.thresholds.items())))
        return model.catalog.kept((*key, model.weights), lambda: model.devices([device])), entry.title
    values: dict[str, Value] = {}
    for name, text in (variables or {}).items():
        values[name] = parse_value(space.variable(name), text, space.name)
    made = complete(space, values)
    faults = unfit(space, made)
    if faults:
        raise SpaceError("\n".join(f"{space.name}: {f}" for f in faults))
    return model.machine(encode(space, [made])), space.name
