"""What a recommendation needs beside the run.

Each lever's worth, lost levels, convergence, share of a sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog, load_catalog
from dse.core.errors import SpaceError
from dse.evaluator.loading import EvaluatorSource
from dse.evaluator.protocol import Evaluator
from dse.run.front import Scale, front_of, non_dominated
from dse.run.run import Run
from dse.space.design import encode
from dse.space.limits import Limit
from dse.space.objectives import Goal
from dse.space.space import Space
from dse.space.variables import Value
from dse.study.convergence import ablation_loss, convergence
from dse.study.local_search import FrontDesigns, front_additions, local_search
from dse.study.what_if import search_front, side_by_side, what_if_fronts

Watch = Callable[[str, Any], None]


def study(
    run: Run,
    source: EvaluatorSource,
    *,
    trials: int,
    seed: int,
    watch: Watch | None = None,
    catalog: Catalog | None = None,
) -> tuple[dict[str, Any], list[dict[str, Value]]]:
    """What a recommendation needs beside the run: levers' worth, lost levels, convergence.

    Returns the study and the designs found on the way that belong on the run's front: a design
    found with a lever locked is a design of the whole space. Other worlds and comparisons change the
    catalogue, which only our model reads: for another evaluator there are none.
    """
    say = watch or (lambda stage, detail: None)
    run = searched_alone(run)
    catalog = catalog or load_catalog()
    model = source.make(run.space, catalog)
    mine = local_search(
        run.space, model, [run.values(int(r)) for r in np.unique(run.front.rows)], len(run.trials), seed
    )
    again, taken = _restricted(run, source, catalog, trials=trials, seed=seed, say=say)
    say("random", "")
    some = [mine, *(x for kind in again.values() for x in kind.values() if len(x[0]))]
    points = np.concatenate([x[0] for x in some])
    found = front_additions(run.front.points, (points, [d for x in some for d in x[1]]))
    # a part that a search was held to need not earn anything: with the hold gone, what is idle goes
    near = local_search(run.space, model, found, trials, seed)
    found = front_additions(run.front.points, near)
    # the worth is judged at one budget: this run's share counts its first trials alone
    own = local_search(run.space, model, early_front(run, trials), min(trials, run.own), seed)[0]
    whole = np.concatenate([own, *(x[0] for x in some)])
    whole = whole[non_dominated(whole)]
    scale = Scale.of(whole)
    made = {
        kind: {
            name: ablation_loss(x[0], whole, scale) | {"binds": held_by(run.space, model, x[1])}
            for name, x in each.items()
        }
        for kind, each in again.items()
    }
    for name, level in taken.items():
        made["lost"][name]["to"] = level
    points = np.concatenate([points, near[0]])
    shown = convergence(run, model, seed, Scale.of(points[non_dominated(points)]))
    other: list[dict[str, Any]] = []
    if source.ours:
        other = what_if_fronts(run, catalog, mine[1], whole, trials=trials, seed=seed, watch=say)
    content = {
        "trials": trials,
        "itself": ablation_loss(own, whole, scale),
        **made,
        "convergence": shown,
        "what_if": other,
        "compare": side_by_side(run.space, catalog) if source.ours else [],
    }
    return content, found


def _restricted(
    run: Run, source: EvaluatorSource, catalog: Catalog, *, trials: int, seed: int, say: Watch
) -> tuple[dict[str, dict[str, FrontDesigns]], dict[str, str]]:
    """Fronts without each lever and with each missing level locked on; what the run uses in its place."""
    again: dict[str, dict[str, FrontDesigns]] = {"levers": {}, "lost": {}}
    for lever in run.space.levers:
        say("without", lever.name)
        try:
            space = run.space.without(lever)
        except SpaceError:
            continue  # the run itself held the lever on
        again["levers"][lever.name] = search_front(space, source, catalog, trials=trials, seed=seed)
    taken = {}
    for variable, level in missing_levels(run):
        say("locked on", f"{variable}={level}")
        again["lost"][f"{variable}={level}"] = search_front(
            run.space.restrict(variable, [level]), source, catalog, trials=trials, seed=seed
        )
        taken[f"{variable}={level}"] = usual(run, variable)
    return again, taken


def searched_alone(run: Run) -> Run:
    """The run with the front of its own search, so that a study made again finds what it found the first
    time.
    """
    _, outcomes = run.archive.joined()
    front = front_of(run.space, outcomes.take(np.arange(run.own)))
    return replace(run, front=front) if len(front) else run


def early_front(run: Run, trials: int) -> list[dict[str, Value]]:
    """Designs of the front after the first ``trials`` designs: what an equal budget found."""
    _, outcomes = run.archive.joined()
    front = front_of(run.space, outcomes.take(np.arange(min(trials, run.own))))
    return [run.values(int(r)) for r in np.unique(front.rows if len(front) else run.front.rows)]


def usual(run: Run, variable: str) -> str:
    """The value a variable has most often on the front, with its share."""
    values = [run.values(int(r)).get(variable, "-") for r in run.front.rows]
    names, counts = np.unique([str(v) for v in values], return_counts=True)
    top = int(np.argmax(counts))
    return f"{names[top]} ({100 * counts[top] / len(values):.0f} % of the front)"


def held_by(space: Space, model: Evaluator, designs: Sequence[Mapping[str, Value]]) -> dict[str, float]:
    """Share of designs that stand within 10 % of each limit at their first feasible operating point, most
    first.
    """
    if not designs:
        return {}
    outcomes = model.evaluate(encode(space, designs))
    some = np.nonzero(outcomes.feasible.any(axis=1))[0]
    at = np.argmax(outcomes.feasible[some], axis=1)
    if not len(some):
        return {}
    shares = {
        name: float(np.mean(r[some, at] > NEAR))
        for name, r in outcomes.limit_ratios.items()
        if name not in space.target.untold | {Limit.TPOT}  # the target asked for says nothing of a design
    }
    if "burst" in outcomes.detail:
        slowed = outcomes.detail["burst"][some, at] < SLOWED * outcomes.objectives[Goal.TPOT][some, at]
        shares["heat"] = float(np.mean(slowed))
    return dict(sorted(((n, v) for n, v in shares.items() if v > 0), key=lambda x: -x[1]))


SLOWED = 0.98
"""time of a burst over that sustained below which heat is said to hold a design"""


NEAR = 0.9
"""value over limit from which a limit is said to hold a design"""


def missing_levels(run: Run) -> list[tuple[str, Value]]:
    """Levels to lock on and search again: those of each lever that never stand on the front.

    On a mobile target, whose searches are quick, every level that is not a lever's off or a variable's first.
    """
    design, _ = run.archive.joined()
    every = run.space.target.lock_every_level
    off = {name: choices for lever in run.space.levers for name, choices in lever.fixed.items()}
    out: list[tuple[str, Value]] = []
    for name in run.space.target.locked_levels:
        if name not in design.columns:
            continue
        variable = run.space.variable(name)
        present = set() if every else set(design.columns[name][np.unique(run.front.rows)].tolist())
        usual = off.get(name, variable.choices[:1]) if every else ()
        out += [(name, c) for i, c in enumerate(variable.choices) if i not in present and c not in usual]
    return out
