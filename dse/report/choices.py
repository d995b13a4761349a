"""Designs picked from a front, and what one step away from them is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.nearest_design import alike, octaves
from dse.evaluator.protocol import Evaluator
from dse.run.front import Scale, extremes, knee, proper
from dse.run.run import Run
from dse.space.design import decode, encode
from dse.space.genome import Genome
from dse.space.limits import excess, limit_sentence
from dse.space.objectives import Goal
from dse.space.variables import Value

BEST: Final = {
    Goal.TPOT: "fastest",
    Goal.COST: "cheapest",
    Goal.ENERGY: "most frugal",
    Goal.MATERIALS: "cheapest",
    Goal.CARBON: "least carbon",
    Goal.TTFT: "first to answer",
}
"""what the best design in an objective is called"""

CLOSEST: Final = "closest to what exists"

NEAR: Final = 1.0
"""octaves in any figure beyond which a design is not near a machine that exists"""

NOTHING: Final = 1e-3
"""share by which designs that differ on a front differ: less is no difference"""

STEPS: Final = (100, 30)
"""of a number's range, in thousandths: how far the neighbours of a chosen design are from it"""

FEW: Final = 30
"""neighbours that another evaluator, which may take long, is asked about"""


@dataclass(frozen=True)
class Pick:
    """A row of the front and what it was picked as; ``near`` says which machine it is like."""

    label: str
    index: int
    near: str = ""


def box_of(run: Run) -> FloatArray | None:
    """The worst values that the question takes, as the run's study has them."""
    said = run.study.get("reference_point")
    return np.array([said["values"][o] for o in run.space.objectives]) if said else None


def inside_of(run: Run, box: FloatArray | None) -> IntArray:
    """Points of the front inside the box; all where none is, or where there is no box."""
    points = run.front.points
    some = np.arange(len(points))
    held = some if box is None else some[(points <= box).all(axis=1)]
    return held if len(held) else some


def picked(run: Run, model: Evaluator) -> list[Pick]:
    """The chosen designs of a run, as every report has them."""
    box = box_of(run)
    inside = inside_of(run, box)
    choices = inside[proper(run.front.points[inside])]
    ours = model if isinstance(model, FirstOrderModel) else None
    return picks(run, choices, Scale.robust(run.front.points[choices], box), ours)


def picks(run: Run, choices: IntArray, scale: Scale, ours: FirstOrderModel | None) -> list[Pick]:
    """The knee, the best in each objective and what is nearest to a machine that exists, of some rows."""
    points = run.front.points[choices]
    out = [Pick("knee", int(choices[knee(points, scale)]))]
    for k, i in enumerate(extremes(points)):
        out.append(Pick(BEST[Goal(run.space.objectives[k])], int(choices[i])))
    near = None if ours is None else closest_to_existing(run, choices, ours)
    return [*out, near] if near is not None else out


def closest_to_existing(run: Run, choices: IntArray, model: FirstOrderModel) -> Pick | None:
    """The row whose machine is most like one that exists; None where none is within an octave of any.

    Like one: of its kind, and near it in peak FLOP/s, memory bandwidth, capacity and links.
    """
    design, _ = run.archive.joined()
    mine = model.machine(design.take(run.front.rows[choices]))
    values = [decode(run.space, design, int(row)) for row in run.front.rows[choices]]
    best: tuple[float, Pick] | None = None
    for b in run.space.baselines:
        entry = model.catalog.entry("device", b.device)
        if entry.readiness == "paper":
            continue
        away = octaves(mine, model.devices([b.device]))
        for at in np.argsort(away, kind="stable"):
            if away[at] > NEAR or (best is not None and away[at] >= best[0]):
                break
            if alike(model.catalog, b.device, values[at]):
                said = f"{entry.title}: no figure further from it than {2 ** away[at]:.2g} times"
                best = (float(away[at]), Pick(CLOSEST, int(choices[at]), said))
                break
    return best[1] if best else None


def model_error(run: Run, model: Evaluator, catalog: Catalog) -> float:
    """By what share two designs must differ for our model to tell them apart; 0 for someone else's.

    Half of the range, on a log axis, into which four in five measurements fell that were not fitted.
    """
    if not isinstance(model, FirstOrderModel):
        return 0.0
    known = catalog.entry("software", run.space.scenario.software).values
    found = known.get("tpot_ratio") or catalog.entry("software", "pooled").values["tpot_ratio"]
    return float(np.sqrt(found.high / found.low) - 1.0)


def one_step_away(
    run: Run,
    model: Evaluator,
    catalog: Catalog,
    values: Mapping[str, Value],
    at: tuple[Sequence[float], int],
) -> str:
    """What the designs one step from a chosen one give, ``at`` its objectives and operating point.

    Better ones that a limit forbids; the one that is as good within the model's error; the best of those that
    lose more than that somewhere and win no more than that anywhere, with what it loses.
    """
    objectives, point = at
    genome = Genome(run.space.variables)
    mine = genome.codes(encode(run.space, [dict(values)]))
    codes = genome.neighbours(mine, STEPS)
    keys = genome.keys(codes, genome.repair(codes))
    codes = codes[np.sort(np.unique(keys, return_index=True)[1])]
    if not isinstance(model, FirstOrderModel) and len(codes) > FEW:
        codes = codes[np.random.default_rng(0).permutation(len(codes))[:FEW]]
    if not len(codes):
        return "The space has no other design one step away."
    design = genome.design(codes, genome.repair(codes))
    outcomes = model.evaluate(design)
    stack = np.stack([outcomes.objectives[o][:, point] for o in run.space.objectives], axis=1)
    ratio = stack / np.array(objectives)
    feasible = outcomes.feasible[:, point]
    error = model_error(run, model, catalog)

    def described(row: int) -> str:
        return differs(run, values, decode(run.space, design, row))

    say = []
    worst = np.maximum.reduce([r[:, point] for r in outcomes.limit_ratios.values()])
    better = (ratio <= 1.0 + NOTHING).all(axis=1) & (ratio < 1.0 - NOTHING).any(axis=1) & ~feasible
    if better.any():
        row = int(np.argmin(np.where(better, worst, np.inf)))
        factor, name = max((float(r[row, point]), n) for n, r in outcomes.limit_ratios.items())
        say.append(
            f"A design with {described(row)} would beat it, but breaks {name} {excess(factor)}: "
            f"{limit_sentence(name)}."
        )
    say += _others(run, ratio, feasible, error, described)
    if not say and feasible.any():
        return "No design one step away is better in anything without being worse in something else."
    return (
        " ".join(say)
        or f"None of the {len(codes)} designs one step away is feasible at this operating point."
    )


def _others(
    run: Run, ratio: FloatArray, feasible: BoolArray, error: float, described: Callable[[int], str]
) -> list[str]:
    """The neighbour that is as good within ``error``, and the one that was rejected with what it loses."""
    loss, win = ratio.max(axis=1), ratio.min(axis=1)
    gone = np.log(ratio).mean(axis=1)
    say = []
    gain = feasible & (loss <= 1.0 + NOTHING) & (win < 1.0 - NOTHING)
    if gain.any():
        row = int(np.argmin(np.where(gain, gone, np.inf)))
        say.append(f"Better in everything: with {described(row)} ({_changes(run, ratio[row])}).")
    equal = feasible & (loss <= 1.0 + error) & (loss > 1.0 + NOTHING)
    if error > 0 and equal.any():
        row = int(np.argmin(np.where(equal, gone, np.inf)))
        say.append(
            f"As good within the model's error of {100 * error:.0f} %: with {described(row)} "
            f"({_changes(run, ratio[row])})."
        )
    lost = feasible & (loss > 1.0 + error) & (win >= 1.0 / (1.0 + error))
    if lost.any():
        row = int(np.argmin(np.where(lost, loss, np.inf)))
        name = run.space.objectives[int(np.argmax(ratio[row]))]
        say.append(f"Rejected with {described(row)}: worse in {name} ({_changes(run, ratio[row])}).")
    return say


def _changes(run: Run, ratio: FloatArray) -> str:
    return ", ".join(
        f"{n} {r - 1:+.1%}" if abs(r - 1) > NOTHING / 2 else f"{n} alike"
        for n, r in zip(run.space.objectives, ratio, strict=True)
    )


def differs(run: Run, a: Mapping[str, Value], b: Mapping[str, Value]) -> str:
    """How one design differs from another, in words."""
    out = []
    for v in run.space.variables:
        x, y = a.get(v.name), b.get(v.name)
        if x == y:
            continue
        if v.discrete or x is None or y is None or abs(float(y) / float(x) - 1) > 0.01:
            out.append(
                f"{v.name} {'absent' if y is None else v.text(y)} instead of "
                f"{'absent' if x is None else v.text(x)}"
            )
    return (
        " and ".join(out[:3]) + (f" and {len(out) - 3} more changes" if len(out) > 3 else "")
        if out
        else "slightly other numbers"
    )
