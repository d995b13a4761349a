"""What both reports say of a run: chosen designs, why, what was rejected, baselines, breakdowns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.money import Basis
from dse.core.units import FloatArray, IntArray, show
from dse.evaluator.explain import Evaluation, explain
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.nearest_design import nearest_design
from dse.evaluator.protocol import Evaluator
from dse.evaluator.site import BreakEven
from dse.run.front import Scale, epsilon_survivors, extremes, knee
from dse.run.run import Run
from dse.space.design import Design, decode, encode
from dse.space.genome import Genome
from dse.space.limits import limit_sentence
from dse.space.objectives import OBJECTIVES, Goal
from dse.space.space import Space
from dse.space.variables import Value

BASES = {Goal.COST: Basis.OWNED, Goal.MATERIALS: Basis.MATERIALS}
"""what the money of an objective is"""


BINDS = 0.9
"""value over limit from which a limit is said to bind"""


BEST = {
    Goal.TPOT: "fastest",
    Goal.COST: "cheapest",
    Goal.ENERGY: "most frugal",
    Goal.MATERIALS: "cheapest",
    Goal.CARBON: "least carbon",
    Goal.TTFT: "first to answer",
}
"""what the best design in an objective is called"""


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

    @property
    def inside(self) -> IntArray:
        """Points of the front inside the box; all where none is, or where there is no box."""
        points = self.run.front.points
        some = np.arange(len(points))
        held = some if self.box is None else some[(points <= self.box).all(axis=1)]
        return held if len(held) else some

    @property
    def scale(self) -> Scale:
        """Of the axes on which a knee is looked for: from the best inside the box to its worst corner."""
        scale = Scale.of(self.run.front.points[self.inside])
        return scale if self.box is None else Scale(scale.ideal, np.maximum(np.log10(self.box), scale.nadir))

    @property
    def ours(self) -> FirstOrderModel | None:
        """Our model, where it judged the run.

        Another simulator gives no breakdowns and judges no machine on sale.
        """
        return self.model if isinstance(self.model, FirstOrderModel) else None


def shown(name: str, value: float) -> str:
    """An objective for a person, with its unit."""
    return show(value, OBJECTIVES[name].unit)


def variable_text(run: Run, name: str, value: Value) -> str:
    """A design variable for a person, with its unit."""
    if isinstance(value, str):
        return value
    unit = run.space.variable(name).unit
    if unit == "B":  # memories are sized in binary units
        size, prefix = (2.0**30, "GiB") if value >= 2.0**30 else (2.0**20, "MiB")
        return f"{float(value) / size:.4g} {prefix}"
    return show(float(value), unit)


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
        box=_box(run),
    )
    ours = facts.ours
    facts.baselines = [] if ours is None else baselines(run, ours)
    inside = facts.inside
    picks = [("knee", int(inside[knee(run.front.points[inside], facts.scale)]))]
    for k, i in enumerate(extremes(run.front.points[inside])):
        picks.append((BEST[Goal(run.space.objectives[k])], int(inside[i])))
    near = None if ours is None else closest_to_existing(run, ours)
    if near is not None:
        picks.append(("closest to what exists", near))
    for label, index in picks:
        facts.chosen.append(_chosen(facts, label, index))
    return facts


def _box(run: Run) -> FloatArray | None:
    """The box of the question, as the run's study has it."""
    said = run.study.get("reference_point")
    return np.array([said["values"][o] for o in run.space.objectives]) if said else None


def _chosen(facts: Facts, label: str, index: int) -> Chosen:
    run, ours = facts.run, facts.ours
    design, _ = run.archive.joined()
    row, rung = int(run.front.rows[index]), int(run.front.operating_points[index])
    c = Chosen(
        label=label,
        index=index,
        row=row,
        rung=rung,
        values=decode(run.space, design, row),
        objectives=[float(x) for x in run.front.points[index]],
        binds=facts.binds[index],
    )
    if ours is not None:
        c.parts = point_parts(run, ours, index)
    c.why = _why(facts, c)
    c.rejected = _rejected(facts, c)
    return c


def point_parts(run: Run, ours: FirstOrderModel, index: int) -> list[Evaluation]:
    """Breakdowns of a point of a front, a workload each, under the plans that the search chose."""
    design, outcomes = run.archive.joined()
    row, rung = int(run.front.rows[index]), int(run.front.operating_points[index])
    machine = ours.machine(design.take(np.array([row])))
    plans = [int(outcomes.detail[f"plan.{i}"][row, rung]) for i in range(len(run.space.scenario.workloads))]
    return explain(ours, machine, plans, run.space.tpot_targets_at(rung))


def _why(facts: Facts, c: Chosen) -> str:
    """Why a design won, from its objectives, its time and the limits that hold it."""
    run = facts.run
    points = run.front.points[facts.inside]
    where = "point of the front" if len(points) == len(run.front) else "point inside the box of the question"
    say = []
    for k, name in enumerate(run.space.objectives if c.index in facts.inside else ()):
        order = np.sort(points[:, k])
        if c.objectives[k] <= order[0] * (1 + 1e-12) and len(order) > 1:
            say.append(f"no {where} has a lower {OBJECTIVES[name].label.lower()} ({shown(name, order[0])})")
    if c.label == "knee":
        unit = facts.scale.unit(run.front.points[c.index])
        far = ", ".join(f"{n} {100 * u:.0f} %" for n, u in zip(run.space.objectives, unit, strict=True))
        worst = "nadir" if facts.box is None else "the worst corner of the question's box"
        say.append(f"it lies nearest the ideal point on log axes (of the way from ideal to {worst}: {far})")
    times = weighted(c.parts, "times", [w.weight for w in run.space.scenario.workloads])
    if times:
        total = sum(times.values())
        top = sorted(times.items(), key=lambda kv: -kv[1])[:2]
        say.append("its time goes to " + " and ".join(f"{n} ({100 * v / total:.0f} %)" for n, v in top))
    say.append("held by " + ", ".join(c.binds[:3]) if c.binds else "no limit within 10 % of binding")
    return "; ".join(say) + "."


STEPS: Final = (100, 30)
"""of a number's range, in thousandths: how far the neighbours of a chosen design are from it"""

FEW: Final = 30
"""neighbours that another evaluator, which may take long, is asked about"""


def _rejected(facts: Facts, c: Chosen) -> str:
    """The best of the designs one step away, and the limit that rejects it or what it loses."""
    run = facts.run
    genome = Genome(run.space.variables)
    mine = genome.codes(encode(run.space, [c.values]))
    codes = genome.neighbours(mine, STEPS)
    keys = genome.keys(codes, genome.repair(codes))
    codes = codes[np.sort(np.unique(keys, return_index=True)[1])]
    if facts.ours is None and len(codes) > FEW:
        codes = codes[np.random.default_rng(0).permutation(len(codes))[:FEW]]
    if not len(codes):
        return "The space has no other design one step away."
    design = genome.design(codes, genome.repair(codes))
    outcomes = facts.model.evaluate(design)
    stack = np.stack([outcomes.objectives[o][:, c.rung] for o in run.space.objectives], axis=1)
    feasible = outcomes.feasible[:, c.rung]
    worst = np.maximum.reduce([r[:, c.rung] for r in outcomes.limit_ratios.values()])
    better = (stack <= np.array(c.objectives)).all(axis=1) & ~feasible
    if better.any():
        row = int(np.argmin(np.where(better, worst, np.inf)))
        factor, name = max((float(r[row, c.rung]), n) for n, r in outcomes.limit_ratios.items())
        how = f"by {100 * (factor - 1):.2g} %" if factor < 2 else f"{factor:.3g} times over"
        other = decode(run.space, design, row)
        return (
            f"A design with {_differs(run, c.values, other)} would beat it, but breaks {name} {how}: "
            f"{limit_sentence(name)}."
        )
    if not feasible.any():
        return f"None of the {len(codes)} designs one step away is feasible at this operating point."
    loss = (stack / np.array(c.objectives)).max(axis=1)
    row = int(np.argmin(np.where(feasible, loss, np.inf)))
    changes = [
        f"{n} {v / m - 1:+.1%}"
        for n, v, m in zip(run.space.objectives, stack[row], c.objectives, strict=True)
    ]
    other = decode(run.space, design, row)
    return (
        f"Of the {len(codes)} designs one step away the nearest in worth, with "
        f"{_differs(run, c.values, other)}, gives {', '.join(changes)}."
    )


def _differs(run: Run, a: Mapping[str, Value], b: Mapping[str, Value]) -> str:
    out = []
    for v in run.space.variables:
        x, y = a.get(v.name), b.get(v.name)
        if x == y:
            continue
        if v.discrete or x is None or y is None or abs(float(y) / float(x) - 1) > 0.01:
            out.append(
                f"{v.name} {'absent' if y is None else variable_text(run, v.name, y)} instead of "
                f"{'absent' if x is None else variable_text(run, v.name, x)}"
            )
    return (
        " and ".join(out[:3]) + (f" and {len(out) - 3} more changes" if len(out) > 3 else "")
        if out
        else "slightly other numbers"
    )


def gower(space: Space, design: Design, row: int) -> FloatArray:
    """Mean difference of every design to one of them, each variable scaled to [0, 1] (Gower 1971)."""
    total = np.zeros(len(design))
    for v in space.variables:
        x = design.columns[v.name]
        if v.discrete:
            total += (x != x[row]).astype(float)
            continue
        lo, hi = (np.log(v.low), np.log(v.high)) if v.log else (v.low, v.high)
        y = (np.log(np.where(np.isnan(x), v.low, x)) if v.log else np.where(np.isnan(x), v.low, x)) - lo
        gap = np.abs(y - y[row]) / max(hi - lo, 1e-300)
        total += np.where(np.isnan(x) != np.isnan(x[row]), 1.0, np.minimum(gap, 1.0))
    return total / len(space.variables)


def closest_to_existing(run: Run, model: FirstOrderModel) -> int | None:
    """Front point whose hardware is nearest to any baseline's nearest point of the space."""
    design, _ = run.archive.joined()
    best: tuple[float, int] | None = None
    on_front = design.take(run.front.rows)
    for b in run.space.baselines:
        if model.catalog.entry("device", b.device).readiness == "paper":
            continue
        values, _ = nearest_design(run.space, model.catalog, model, b.device)
        away = gower(run.space, Design.concat([encode(run.space, [values]), on_front]), 0)[1:]
        at = int(np.argmin(away))
        if best is None or away[at] < best[0]:
            best = (float(away[at]), at)
    return best[1] if best else None


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
