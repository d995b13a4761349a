"""One design or machine under one plan, with its breakdown: the functions of the search, run as plain
Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog, load_catalog
from dse.core.errors import InfeasibleError, SpaceError
from dse.core.records import filled
from dse.core.units import Figure
from dse.evaluator import breakdown
from dse.evaluator.breakdown import OperatingPoint, scalar
from dse.evaluator.device_figures import device_figures
from dse.evaluator.figures import FigureName, figures
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.fitting import Fits, Fitting, fits_of, requests_described, served_plan, used_share
from dse.evaluator.request import (
    PlanRequest,
    Request,
    asked,
    bits_described,
    check,
    check_model,
    formats_from,
)
from dse.evaluator.runnable import copied, obstacle
from dse.evaluator.site import site as site_of
from dse.hardware.machine import Machine
from dse.serving.accounting import worth
from dse.serving.machine_rows import machine_row
from dse.serving.operating_points import estimate_of, site_row
from dse.serving.pnm_split import passes
from dse.serving.records import ResultRow
from dse.serving.step_work import StepWork, lower_step
from dse.serving.trace import Trace, trace
from dse.space.design import complete, encode, unfit
from dse.space.limits import Limit
from dse.space.objectives import OBJECTIVES, Goal
from dse.space.reader import read_space, space_text
from dse.space.scenario import RequestMix
from dse.space.space import Space
from dse.space.variables import Value, parse_value

FAR_TOO_DEEP = 999_999
"""shown where no depth makes a model fit"""
ANY_TPOT = 1e9
"""s; a target that every plan meets"""


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
    ttft: float | None
    """s to the first token of the prompt asked about; None for a decode step whose prompts are not charged"""
    space_ttft: float
    """s to the first token of the prompt that was asked about, or else of the space's ``ttft_input``"""
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
    memory: dict[str, Figure] = field(default_factory=dict)
    """bytes of a package by class, at the p95 of what is held; sums to its memory"""
    unset: dict[str, str] = field(default_factory=dict)
    """design variables that were not given, with the values they took, as ``--set`` reads them"""
    notes: list[str] = field(default_factory=list)
    """what every reader must know: keys of the model's configuration that were not known"""


def evaluate(
    target: str | Space,
    *,
    variables: Mapping[str, object] | None = None,
    device: str | None = None,
    request: Request | None = None,
    plan: PlanRequest | None = None,
    catalog: Catalog | None = None,
) -> Evaluation:
    """Evaluate one design (``variables``) or existing machine (``device``) under one plan.

    Demand fills every domain. With memory below the fast one, of both placements the better.

    Raises:
        SpaceError: an unknown variable, a value outside its range, a plan that cannot be.
        DataError: an unknown device, model or software stack.
        InfeasibleError: a plan that cannot run: it does not fit the packages asked for, ranks do not divide
            the heads, or requests are longer than the model takes; with the nearest that runs.

    """
    if device is not None and variables:
        raise SpaceError("give variables or device, not both: a machine that exists has its own")
    request, plan = request or Request(), plan or PlanRequest()
    catalog = catalog or load_catalog()
    space, question = _question(target, request, plan, catalog, device)
    posed = replace(question, tpot_targets=(ANY_TPOT,))
    model = FirstOrderModel(posed, catalog, 1)
    machine, name, unset = _machine(model, variables, device)
    load, entry = posed.scenario.workloads[0], catalog.llm(posed.scenario.workloads[0].llm)
    fitting = Fitting.of(machine, posed.scenario, catalog)
    fault = obstacle(fitting, plan, entry, one_user=space.target.one_user)
    if fault:
        raise InfeasibleError(f"{name}: {fault}")
    plans = served_plan(plan, entry.experts, either_placement=bool(machine.tiered[0]))
    work = lower_step(load, plans, catalog, posed.scenario, model.software)
    out = evaluation(model, machine, work, _better(model, machine, work), ANY_TPOT)
    out.name, out.unset, out.plan = name, unset, _asked_plan(posed, plan)
    out.plan["requests"] = requests_described(posed.scenario.mix)
    formats = bits_described(load, routed=bool(entry.experts))
    out.plan["formats"] = f"{formats} ({formats_from(space, request)})"
    if posed.scenario.mix.computed_tokens > 0 and not posed.target.one_user:
        own = "packages of their own"
        out.plan["prompts"] = f"on {'these packages' if 'arriving prompts' in out.times else own}"
    memory = fitting.memory(plan)
    out.memory = {name: Figure(v, "B") for name, v in memory.items()}
    out.limits[Limit.CAPACITY.value] = min(used_share(memory), 1.0)  # it fits: what is over is rounding
    out.notes = [f"{entry.name}: imported with {u}: not known, taken by word" for u in entry.unverified]
    out.notes += copied(fitting.model, plan, entry.name)
    if request.context is not None:
        _without_first_token(out)
    return out


def _without_first_token(out: Evaluation) -> None:
    """A decode step at a context has no prompt of its own."""
    out.ttft = None
    out.limits.pop(Limit.TTFT, None)


def fit(
    target: str | Space,
    *,
    variables: Mapping[str, object] | None = None,
    device: str | None = None,
    request: Request | None = None,
    plan: PlanRequest | None = None,
    catalog: Catalog | None = None,
) -> Fits:
    """How a model fits one design or existing machine: memory by class, and the most that fits.

    Raises:
        SpaceError: an unknown variable, a value outside its range, a plan that cannot be.
        DataError: an unknown device, model or software stack.

    """
    request, plan, catalog = request or Request(), plan or PlanRequest(), catalog or load_catalog()
    space, posed = _question(target, request, plan, catalog, device)
    machine, name, _ = _machine(FirstOrderModel(posed, catalog, 1), variables, device)
    load = posed.scenario.workloads[0]
    entry = catalog.llm(load.llm)
    fitting = Fitting.of(machine, posed.scenario, catalog)
    formats = f"{bits_described(load, routed=bool(entry.experts))} ({formats_from(space, request)})"
    if request.prefix_share is not None:
        raise SpaceError(
            "prefix_share: what fits is counted with every prompt held whole; leave it out, or ask evaluate"
        )
    why = obstacle(fitting, plan, entry, one_user=space.target.one_user)
    return fits_of(fitting, plan, name, why, formats, one_user=space.target.one_user)


def _asked_plan(space: Space, plan: PlanRequest) -> dict[str, str | float | bool]:
    """The plan and what it serves, as it was asked for."""
    scenario = space.scenario
    out: dict[str, str | float | bool] = {
        "llm": scenario.workloads[0].llm,
        "batch": plan.batch,
        "group": plan.group,
        "attention": plan.attention,
        "pipeline depth": plan.pipeline,
        "context": scenario.mix.context,
        "software": scenario.software,
    }
    if plan.data_parallel > 1:
        out["data parallel"] = plan.data_parallel
    if plan.expert_parallel is not None:
        out["expert parallel"] = plan.expert_parallel
    if plan.context_parallel > 1:
        out["context parallel"] = plan.context_parallel
    return out


def _question(
    target: str | Space, request: Request, plan: PlanRequest, catalog: Catalog, device: str | None
) -> tuple[Space, Space]:
    """The space that is asked about, and the same as it was asked: with one workload."""
    check(request, plan)
    space, units = _space(target, catalog), _units(catalog, device)
    if space.target.one_user and plan != PlanRequest():
        raise SpaceError(
            f"plan: {device or space.name} serves one user on one package: leave batch and ranks at 1"
        )
    posed = asked(space, catalog, request, plan, units)
    entry = catalog.llm(posed.scenario.workloads[0].llm)
    check_model(request, plan, entry, units, device or space.name)
    return space, posed


def _space(target: str | Space, catalog: Catalog) -> Space:
    if isinstance(target, Space):
        return target
    said = space_text(target)
    return catalog.kept(("space", *said), lambda: read_space(*said, catalog))


def _units(catalog: Catalog, device: str | None) -> list[str] | None:
    """Number formats that a device multiplies in beside 16 bit; None for a design, which has all."""
    if device is None:
        return None
    return catalog.entry("device", device).attributes.get("formats", "").split()


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
        space_ttft=found.result.ttft,
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


def _machine(
    model: FirstOrderModel, variables: Mapping[str, object] | None, device: str | None
) -> tuple[Machine, str, dict[str, str]]:
    """The machine, its name, and the variables that were not given with the values they took."""
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
        made = model.catalog.kept((*key, model.weights), lambda: model.devices([device]))
        return made, entry.title, {}
    values: dict[str, Value] = {}
    for name, text in (variables or {}).items():
        values[name] = parse_value(space.variable(name), text, space.name)
    whole = complete(space, values)
    faults = unfit(space, whole)
    if faults:
        raise SpaceError("\n".join(f"{space.name}: {f}" for f in faults))
    unset = {k: space.variable(k).text(v) for k, v in whole.items() if k not in values}
    return model.machine(encode(space, [whole])), space.name, unset
