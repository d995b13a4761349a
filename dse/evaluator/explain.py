"""One design or machine under one plan, with its breakdown: the same code, another ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog, load_catalog
from dse.core.axes import GROUPS, OPERATORS
from dse.core.errors import SpaceError
from dse.core.units import FloatArray
from dse.evaluator import breakdown
from dse.evaluator.breakdown import OperatingPoint, scalar
from dse.evaluator.first_order import DAY, DatacenterModel, MobileModel, model_of
from dse.evaluator.site import site
from dse.hardware.machine import Machine
from dse.hardware.network import MEDIA
from dse.physics import flash
from dse.serving.operating_points import choose, fleet_cost
from dse.serving.plan import single_plan
from dse.serving.results import PlanResults
from dse.serving.serve import serve
from dse.serving.step_work import StepWork, lower_step
from dse.space.design import absent, encode, fill
from dse.space.reader import read_space, space_text
from dse.space.scenario import ModelLoad, RequestClass, RequestMix, mix_of
from dse.space.space import Space
from dse.space.variables import Value, parse_value

FAR_TOO_DEEP = 999_999
"""shown where no depth makes a model fit"""


@dataclass
class Evaluation:
    """What a design or machine does under one plan; SI units, scalars."""

    name: str
    target: str
    plan: dict[str, Any]
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
    """J per output token at the wall by part; sums to the objective"""
    costs: dict[str, float]
    """USD per million output tokens by part (datacenter) or USD of parts (mobile)"""
    carbons: dict[str, float]
    """kgCO2e per million output tokens by part"""
    engines: dict[str, str]
    """host or pnm per operator"""
    limits: dict[str, float]
    """value over limit of every check"""
    figures: dict[str, float] = field(default_factory=dict)
    """bandwidths, capacities, flash break-even and the like, SI"""
    site: dict[str, float] = field(default_factory=dict)
    """what the scenario's demand takes (datacenter), as ``dse.evaluator.site``"""


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


def evaluate(
    target: str | Space, *, variables: Mapping[str, object] | None = None, device: str | None = None,
    llm: str | None = None, batch: int = 1, tensor_parallel: int = 1, attention: str = "tp",
    context: float | None = None, input_tokens: float | None = None, output_tokens: float | None = None,
    weight_bits: float | None = None, kv_bits: float | None = None, compute_bits: float | None = None,
    software: str | None = None, catalog: Catalog | None = None,
) -> Evaluation:  # fmt: skip
    """Evaluate one design (``variables``) or existing machine (``device``) under one plan.

    ``context`` asks about a decode step at that context, prompts not charged;
    ``input_tokens`` and ``output_tokens`` about a closed loop of such requests; neither about
    the scenario's mix; demand fills every domain. ``tensor_parallel`` is the group that shares the model; ``attention``
    is ``tp``, ``dp`` or ``sp`` (tensor-parallel with the KV cache split by position).

    Raises:
        SpaceError: an unknown variable, a value outside its range, a plan that cannot be.
        DataError: an unknown device, model or software stack.

    """
    catalog = catalog or load_catalog()
    space = _asked(target, catalog, llm, software, (weight_bits, kv_bits, compute_bits))
    mix = _mix(space, context, input_tokens, output_tokens)
    scenario = replace(
        space.scenario,
        mix=mix,
        workloads=(replace(space.scenario.workloads[0], concurrency=float(batch * GROUPS[-1])),),
    )
    space = replace(space, scenario=scenario, tpot_targets=(1e9,))
    model = model_of(space, catalog, 1)
    machine, name = _machine(model, space, variables, device)
    if (
        tensor_parallel not in GROUPS
        or attention not in {"tp", "dp", "sp"}
        or (attention == "dp" and batch < tensor_parallel)
    ):
        raise SpaceError(f"plan: got tensor_parallel {tensor_parallel}, attention {attention!r}, batch {batch}; expected a "
                         f"power of two up to {GROUPS[-1]}, tp, dp or sp, and with dp a batch of at least the group")  # fmt: skip
    if space.target.one_user and (batch, tensor_parallel, attention) != (1, 1, "tp"):
        raise SpaceError("plan: a phone serves one user on one package: leave batch and tensor_parallel at 1")
    with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
        plans = single_plan(tensor_parallel, data_parallel=attention == "dp", batch=batch, sequence=attention == "sp")
        traffic = lower_step(scenario.workloads[0], plans, catalog, scenario)
        ledger = Ledger()
        pairs = serve(machine, traffic, model.software, ledger)
        if isinstance(model, MobileModel):
            out = _mobile(model, machine, pairs, ledger)
        else:
            out = _datacenter(model, machine, traffic, pairs, ledger)
    out.name = name
    out.plan = {"llm": scenario.workloads[0].llm, "batch": batch, "group": tensor_parallel, "attention": attention,
                "pipeline depth": int(min(pairs.stages[0, 0], FAR_TOO_DEEP)), "context": mix.context, "software": scenario.software}  # fmt: skip
    return out


def explain(
    model: DatacenterModel | MobileModel, machine: Machine, plans: list[int], rungs: Sequence[float]
) -> list[Evaluation]:
    """Break down one machine (n = 1) under chosen plans, one index per workload of the space.

    ``rungs`` (s per output token) are the targets the plans were chosen for, one a workload: whether prompts
    run on machines of their own is decided against them, as the search did.
    """
    out = []
    with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
        if isinstance(model, MobileModel):
            ledger = Ledger()
            pairs = serve(machine, model.lowered, model.software, ledger)
            return [_mobile(model, machine, pairs, ledger)]
        for i, plan in enumerate(plans):
            scenario = model.space.scenario
            grid = model.plans[i]
            one = grid.take(np.arange(len(grid)) == plan)
            one = replace(one, plan_shape=np.zeros(1, dtype=np.int64))
            traffic = lower_step(scenario.workloads[i], one, model.catalog, scenario)
            ledger = Ledger()
            pairs = serve(machine, traffic, model.software, ledger)
            e = _datacenter(with_rung(model, rungs[i]), machine, traffic, pairs, ledger)
            e.plan = {"llm": scenario.workloads[i].llm, "batch": int(one.batch[0]), "group": int(one.group[0]),
                      "attention": "dp" if one.data_parallel[0] else "sp" if one.context_parallel[0] else "tp", "halves": bool(one.sub_batch_interleaving[0]), "pipeline depth": int(min(pairs.stages[0, 0], FAR_TOO_DEEP))}  # fmt: skip
            out.append(e)
    return out


def with_rung(model: DatacenterModel, rung: float) -> DatacenterModel:
    """The model with one TPOT target."""
    return DatacenterModel(replace(model.space, tpot_targets=(rung,)), model.catalog, 1)


def _asked(target: str | Space, catalog: Catalog, llm: str | None, software: str | None,
           bits: tuple[float | None, float | None, float | None]) -> Space:  # fmt: skip
    """The space with one workload, as asked."""
    space = target if isinstance(target, Space) else read_space(*space_text(target), catalog)
    load = space.scenario.workloads[0]
    for w in space.scenario.workloads:
        if llm is None or w.llm == llm:
            load = w
            break
    wanted = bits[2] if bits[2] is not None else (16.0 if (bits[0] or load.weight_bits) >= 16 else load.compute_bits)
    load = ModelLoad(catalog.llm(llm or load.llm).name, 1.0, load.concurrency, bits[0] or load.weight_bits,
                    bits[1] or load.kv_bits, wanted)  # fmt: skip
    if load.compute_bits not in {4, 8, 16} or not 1 <= load.weight_bits <= 32 or not 1 <= load.kv_bits <= 32:
        raise SpaceError(
            f"precision: got {load.weight_bits:g}/{load.kv_bits:g}/{load.compute_bits:g} bit, expected 1 to 32, compute 4, 8 or 16"
        )
    stack = software or space.scenario.software
    catalog.entry("software", stack)
    return replace(space, scenario=replace(space.scenario, workloads=(load,), software=stack))


def _mix(space: Space, context: float | None, inputs: float | None, outputs: float | None) -> RequestMix:
    if context is not None:
        return mix_of(context)
    if inputs is not None or outputs is not None:
        return RequestMix((RequestClass("asked", 1.0, inputs or 1.0, outputs or 1.0),))
    return space.scenario.mix


def _machine(model: DatacenterModel | MobileModel, space: Space, variables: Mapping[str, object] | None,
             device: str | None) -> tuple[Machine, str]:  # fmt: skip
    if device is not None:
        entry = model.catalog.entry("device", device)
        if entry.attributes.get("target") != space.target.name:
            raise SpaceError(
                f"device {device}: is for target {entry.attributes.get('target')!r}, this space is for {space.target.name!r}"
            )
        return model.devices([device]), entry.title
    values: dict[str, Value] = {}
    for name, text in (variables or {}).items():
        values[name] = parse_value(space.variable(name), text, space.name)
    faults = absent(space, fill(space, values))
    if faults:
        raise SpaceError("\n".join(f"{space.name}: {f}" for f in faults))
    return model.machine(encode(space, [fill(space, values)])), space.name


def _times(ledger: Ledger, pairs: PlanResults, tpot: float, accepted: float) -> dict[str, float]:
    """Parts of a token's time: a step's over the tokens it wins."""
    terms = {n: v / accepted for n, v in ledger.of("time").items() if v != 0.0}
    saved = sum(v for v in terms.values() if v < 0)  # read ahead, done by the other half: off every operator alike
    spent = sum(terms.values()) - saved
    times = {n: v * (1.0 + saved / spent) for n, v in terms.items() if v > 0}
    step = float(pairs.step[0, 0]) / accepted
    rest = step - sum(times.values())
    if abs(rest) > 1e-9 * step:
        times["uneven stages and refresh"] = rest
    if tpot > step:
        times["arriving prompts"] = tpot - step
    return times


def _datacenter(
    model: DatacenterModel, machine: Machine, work: StepWork, results: PlanResults, ledger: Ledger
) -> Evaluation:
    scenario = model.space.scenario
    e = choose(machine, work, results, scenario, dict(model.space.thresholds), model.space.tpot_targets)
    ran = OperatingPoint(machine, work, results, e, fleet_cost(machine, work, results, scenario), scenario)
    batch = scalar(work.plans.batch)
    energies = breakdown.energies(ran, ledger.of("energy"), ledger.of("prompt"), ledger.of("near"))
    costs = breakdown.costs(ran, model.catalog)
    limits = {k: scalar(v) for k, v in {**machine.limits, **e.limit_ratios}.items() if k not in {"tpot", "demand"}}
    figures = {"fast memory bandwidth": scalar(machine.fast_bandwidth), "fast memory capacity": scalar(machine.fast_capacity),
               "flash bandwidth": scalar(machine.flash_bandwidth) if scalar(machine.flash_capacity) else 0.0, "flash capacity": scalar(machine.flash_capacity),
               "peak": scalar(machine.peak[:, work.bits[2]]), "package power, sustained": scalar(machine.report["package_power"]), "capital per package": scalar(machine.capital),
               "bill of materials": scalar(machine.report["bom"]), "NRE": scalar(machine.report["nre"]), "embodied carbon": scalar(machine.embodied), "share in fast memory": scalar(results.fast_tier_share),
               "packages": scalar(work.plans.group) * scalar(results.stages), "prompt alone": scalar(results.prompt)}  # fmt: skip
    figures |= breakdown.powers(ran) | breakdown.idle(ran) | breakdown.by_side(ran, costs, energies)
    if scalar(machine.flash_capacity):
        figures |= _breakeven(model, machine, results)
    figures |= _engine(machine)
    figures |= _network(machine)
    figures |= _heat(machine, ledger, results)
    tpot = scalar(e.tpot)
    return Evaluation(
        "", "datacenter", {}, scalar(results.step), scalar(results.unthrottled), tpot, scalar(e.ttft), batch * scalar(results.stages) / tpot,
        {"tpot": tpot, "cost_per_mtoken": scalar(e.cost) * 1e6, "energy_per_token": scalar(e.energy), "carbon_per_mtoken": scalar(e.carbon) * 1e6},
        _times(ledger, results, tpot, work.tokens_per_step), energies, costs, breakdown.carbons(ran), _engines(ledger), limits, figures, site(ran),
    )  # fmt: skip


HOT = ("logic", "fast memory", "flash", "package")
"""limits of a package, in the order of its throttle rows"""


def _heat(machine: Machine, ledger: Ledger, results: PlanResults) -> dict[str, float]:
    """Share of each limit's headroom that a decode step uses, 1 where it throttles; the clock it runs at."""
    e = ledger.of("energy")
    joules = (
        e.get("clocks", 0.0) + e.get("logic", 0.0) + e.get("on chip", 0.0),
        e.get("fast memory", 0.0),
        e.get("flash", 0.0),
    )
    step = scalar(results.step)
    used = [sum(scalar(c) * j for c, j in zip(row, joules, strict=True)) / step for row in machine.throttle]
    return {f"heat: {name}": x for name, x in zip(HOT, used, strict=False)} | {"clock level": scalar(results.clock)}


def _breakeven(model: DatacenterModel, machine: Machine, results: PlanResults) -> dict[str, float]:
    """Read-disturb limit below which reclaim alone ends the flash's life too early."""
    scenario = model.space.scenario
    wanted = model.space.thresholds.get("flash_life", scenario.lifetime)
    budget = machine.flash_endurance / wanted
    other = results.stored[:, 0] * (machine.flash_refresh + 1.0 / scenario.weight_update_interval)
    read = results.flash_read[:, 0] * scenario.utilisation
    limit = flash.breakeven_disturb_limit(read, machine.flash_pages, budget, other)
    return {"flash read rate": float(read[0]), "break-even read-disturb limit": float(limit[0]),
            "read-disturb limit": float(machine.flash_pages[0] / machine.flash_reclaim[0])}  # fmt: skip


def _network(machine: Machine) -> dict[str, float]:
    """Links, cables and switches of a package in its domain; nothing for a package of its own."""
    if scalar(machine.domain) < 2:
        return {}
    r, medium = machine.report, MEDIA[int(scalar(machine.report["medium"]))]
    out = {"links of a package": scalar(r["ports"]), "cables, bandwidth a package": scalar(r["cables"])}
    if scalar(r["cables between racks"]) > 0:
        out[f"of them {medium}, bandwidth"] = scalar(r["cables between racks"])
    return out | {"switch chips a package": scalar(r["switch chips"]), "racks of a domain": scalar(r["racks of a domain"]),
                  "spare packages of a domain": scalar(r["spare packages"]), "time between failures of a domain": 1.0 / scalar(r["failures of a domain"])}  # fmt: skip


def _engine(machine: Machine) -> dict[str, float]:
    """What the PNM engines of a package read and compute; nothing where there are none."""
    if not machine.pnm_site[0]:
        return {}
    return {"PNM bandwidth": scalar(machine.pnm_bandwidth), "PNM compute at 8 bit": scalar(machine.pnm_flops)}


def _mobile(model: MobileModel, machine: Machine, results: PlanResults, ledger: Ledger) -> Evaluation:
    outcomes = model.outcomes(machine, results)
    objectives = {k: scalar(v) for k, v in outcomes.objectives.items()}
    whole = {k: scalar(v) for k, v in model.energy(machine, results).items()}
    notes = (ledger.of("energy"), ledger.of("prompt"), ledger.of("near"))
    energies = breakdown.mobile_energies(
        machine, model.lowered, whole, scalar(model.present(results)), model.space.scenario, notes
    )
    costs = {k.removeprefix("cost: "): scalar(v) for k, v in machine.report.items() if k.startswith("cost: ")}
    carbons = {"electricity": objectives["energy_per_token"] * scalar(machine.grid) * 1e6}
    scenario = model.space.scenario
    scale = scalar(model.present(results)) / (scenario.lifetime * scenario.daily_use / DAY) * 1e6
    carbons |= {
        k.removeprefix("carbon: "): scalar(v) * scale for k, v in machine.report.items() if k.startswith("carbon: ")
    }
    figures = {"DRAM bandwidth": scalar(machine.fast_bandwidth), "DRAM free for the model": scalar(machine.fast_capacity), "peak": scalar(machine.peak[:, 1]),
               **_engine(machine), **{k: scalar(v) for k, v in outcomes.detail.items() if "." not in k and k != "ttft"}}  # fmt: skip
    step = scalar(results.step) / model.lowered.tokens_per_step
    return Evaluation(
        "", "mobile", {}, scalar(results.step), scalar(results.unthrottled), step, scalar(results.ttft), 1.0 / step, objectives,
        _times(ledger, results, step, model.lowered.tokens_per_step),
        energies, costs, carbons, _engines(ledger), {k: scalar(v) for k, v in outcomes.limit_ratios.items() if k != "tpot"}, figures,
    )  # fmt: skip


def _engines(ledger: Ledger) -> dict[str, str]:
    flags = ledger.of("engine")
    used = ledger.of("time")
    return {op: "pnm" if flags.get(op, 0.0) > 0 else "host" for op in OPERATORS if op in used}
