"""What both reports say of a run: chosen designs, why, what is one step away, baselines, breakdowns."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.money import Basis
from dse.core.units import FloatArray, IntArray, show
from dse.evaluator.explain import Evaluation, explain
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.nearest_design import nearest_design
from dse.evaluator.protocol import Evaluator
from dse.evaluator.site import BreakEven
from dse.report.choices import Pick, box_of, inside_of, one_step_away, picked
from dse.run.front import LAST, MULTIPLE, Scale, epsilon_survivors, proper
from dse.run.run import Run
from dse.space.design import decode
from dse.space.limits import limit_sentence
from dse.space.objectives import OBJECTIVES, Goal
from dse.space.space import Space
from dse.space.variables import Value

BASES = {Goal.COST: Basis.OWNED, Goal.MATERIALS: Basis.MATERIALS}
"""what the money of an objective is"""


BINDS = 0.9
"""value over limit from which a limit is said to bind"""


@dataclass
class Chosen:
    """A design picked from the front, and why."""

    label: str
    index: int
    """row of the front"""
    row: int
    rung: int
    values: dict[str, Value]
    objectives: list[float]
    binds: list[str]
    why: str = ""
    rejected: str = ""
    parts: list[Evaluation] = field(default_factory=list)


@dataclass
class Facts:
    """Everything the reports print, gathered once."""

    run: Run
    model: Evaluator
    """what judged the run"""
    catalog: Catalog
    study: dict[str, Any]
    chosen: list[Chosen]
    baselines: list[dict[str, Any]]
    binds: list[list[str]]
    """what binds each point of the front"""
    survivors: int
    hardware: int
    box: FloatArray | None = None
    """worst values that count, where the question fixes them: designs are chosen inside"""
    even: list[tuple[Chosen, list[BreakEven]]] | None = None
    """volumes from which each chosen design pays as a part of one's own, once they were asked for"""

    @cached_property
    def inside(self) -> IntArray:
        """Points of the front inside the box; all where none is, or where there is no box."""
        return inside_of(self.run, self.box)

    @property
    def scale(self) -> Scale:
        """Of the axes on which a knee is looked for: no one point of the front makes it."""
        return Scale.robust(self.run.front.points[self.choices], self.box)

    @cached_property
    def choices(self) -> IntArray:
        """Points inside the box of which none wins its last percent for a multiple of another objective."""
        inside = self.inside
        return inside[proper(self.run.front.points[inside])]

    @property
    def ours(self) -> FirstOrderModel | None:
        """Our model, where it judged the run.

        Another simulator gives no breakdowns and judges no machine on sale.
        """
        return self.model if isinstance(self.model, FirstOrderModel) else None


def shown(name: str, value: float) -> str:
    """An objective for a person, with its unit."""
    return show(value, OBJECTIVES[name].unit)


def binding(space: Space, ratios: dict[str, FloatArray], row: int, rung: int) -> list[str]:
    """Limits within 10 % of being broken, closest first."""
    close = [
        (float(r[row, rung]), n)
        for n, r in ratios.items()
        if float(r[row, rung]) > BINDS and n not in space.target.untold
    ]
    return [n for _, n in sorted(close, reverse=True)]


def gather(run: Run, model: Evaluator, catalog: Catalog) -> Facts:
    """Pick designs; explain them and judge the baselines where our model judged the run."""
    _, outcomes = run.archive.joined()
    binds = [
        binding(run.space, outcomes.limit_ratios, int(r), int(q))
        for r, q in zip(run.front.rows, run.front.operating_points, strict=True)
    ]
    facts = Facts(
        run=run,
        model=model,
        catalog=catalog,
        study=run.study,
        chosen=[],
        baselines=[],
        binds=binds,
        survivors=int(epsilon_survivors(run.front.points, 0.01).sum()),
        hardware=len(run.hardware),
        box=box_of(run),
    )
    ours = facts.ours
    facts.baselines = [] if ours is None else baselines(run, ours)
    for pick in picked(run, model):
        facts.chosen.append(_chosen(facts, pick))
    return facts


def _chosen(facts: Facts, pick: Pick) -> Chosen:
    run, ours, index = facts.run, facts.ours, pick.index
    design, _ = run.archive.joined()
    row, rung = int(run.front.rows[index]), int(run.front.operating_points[index])
    c = Chosen(
        label=pick.label,
        index=index,
        row=row,
        rung=rung,
        values=decode(run.space, design, row),
        objectives=[float(x) for x in run.front.points[index]],
        binds=facts.binds[index],
    )
    if ours is not None:
        c.parts = point_parts(run, ours, index)
    c.why = _why(facts, c, pick.near)
    c.rejected = one_step_away(run, facts.model, facts.catalog, c.values, (c.objectives, c.rung))
    return c


def point_parts(run: Run, ours: FirstOrderModel, index: int) -> list[Evaluation]:
    """Breakdowns of a point of a front, a workload each, under the plans that the search chose."""
    design, outcomes = run.archive.joined()
    row, rung = int(run.front.rows[index]), int(run.front.operating_points[index])
    machine = ours.machine(design.take(np.array([row])))
    plans = [int(outcomes.detail[f"plan.{i}"][row, rung]) for i in range(len(run.space.scenario.workloads))]
    return explain(ours, machine, plans, run.space.tpot_targets_at(rung))


def _why(facts: Facts, c: Chosen, near: str) -> str:
    """Why a design won, from its objectives, its time and the limits that hold it."""
    run = facts.run
    points = run.front.points[facts.choices]
    where = "point of the front" if facts.box is None else "point inside the box of the question"
    say = [f"it is like {near}"] if near else []
    for k, name in enumerate(run.space.objectives):
        best, label = points[:, k].min(), OBJECTIVES[name].label.lower()
        if c.objectives[k] <= best * (1 + 1e-12) and len(points) > 1:
            least = run.front.points[facts.inside, k].min()
            said = f"no {where} has a lower {label} ({shown(name, best)})"
            if least < best:
                said += (
                    f" but those that reach {shown(name, least)} at {MULTIPLE:g} times another objective or "
                    f"more for the last {100 * LAST:.0f} %"
                )
            say.append(said)
    if c.label == "knee":
        unit = facts.scale.unit(run.front.points[c.index])
        far = ", ".join(f"{n} {100 * u:.0f} %" for n, u in zip(run.space.objectives, unit, strict=True))
        worst = "worst twentieth" if facts.box is None else "worst corner of the question's box"
        say.append(
            "it lies nearest the ideal point on log axes (of the way from the best twentieth of the front to "
            f"the {worst}: {far})"
        )
    times = weighted(c.parts, "times", [w.weight for w in run.space.scenario.workloads])
    if times:
        total = sum(times.values())
        top = sorted(times.items(), key=lambda kv: -kv[1])[:2]
        say.append("its time goes to " + " and ".join(f"{n} ({100 * v / total:.0f} %)" for n, v in top))
    say.append("held by " + ", ".join(c.binds[:3]) if c.binds else "no limit within 10 % of binding")
    return "; ".join(say) + "."


def weighted(parts: list[Evaluation], which: str, weights: list[float]) -> dict[str, float]:
    """Token-weighted sum of a breakdown over the workloads."""
    out: dict[str, float] = {}
    for part, w in zip(parts, weights, strict=False):
        for name, value in getattr(part, which).items():
            out[name] = out.get(name, 0.0) + value * w / sum(weights[: len(parts)])
    return out


def baselines(run: Run, model: FirstOrderModel) -> list[dict[str, Any]]:
    """Machines that exist, judged by the same model on every rung."""
    out = []
    for b in run.space.baselines:
        entry = model.catalog.entry("device", b.device)
        loads = tuple(i for i, w in enumerate(run.space.scenario.workloads) if not b.only or w.llm in b.only)
        if not loads:
            continue
        machine = model.devices([b.device])
        outcomes = model.judge(machine, loads if b.only else None)
        shown = list(range(len(run.space.tpot_targets)))
        if run.space.target.one_user:  # as fast as it can be, as designs are judged too
            shown.insert(0, len(run.space.operating_points) - 1)
        ok = outcomes.feasible[0, shown]
        rung = shown[int(np.argmax(ok)) if ok.any() else -1]
        broken = sorted(
            ((float(r[0, rung]), n) for n, r in outcomes.limit_ratios.items() if r[0, rung] > 1.0),
            reverse=True,
        )
        _, distance = nearest_design(run.space, model.catalog, model, b.device)
        points = [
            [float(outcomes.objectives[o][0, q]) for o in run.space.objectives]
            for q, fits in zip(shown, ok, strict=True)
            if fits
        ]
        busy = (
            [
                float(np.mean([outcomes.detail[k][0, q] for k in outcomes.detail if k.startswith("busy.")]))
                for q, fits in zip(shown, ok, strict=True)
                if fits
            ]
            if run.space.target.fleet
            else []
        )
        out.append(
            {
                "device": b.device,
                "title": entry.title,
                "readiness": entry.readiness,
                "only": list(b.only),
                "points": points,
                "busy": busy,
                "rungs": [
                    float(run.space.tpot_target_at(q)) for q, fits in zip(shown, ok, strict=True) if fits
                ],
                "distance": distance,
                "why_not": f"{broken[0][1]}: {limit_sentence(broken[0][1])}"
                if broken and not ok.any()
                else "",
                "basis": {goal.value: basis.value for goal, basis in BASES.items()},
                "market_price": entry.values["market_price"].nominal
                if "market_price" in entry.values
                else None,
            }
        )
    return out


def token_weights(facts: Facts) -> list[float]:
    """Share of tokens of each workload, not normalised."""
    return [w.weight for w in facts.run.space.scenario.workloads]
