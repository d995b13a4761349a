"""A quick look into a space: size, feasible share, what kills, dead variables, correlated objectives."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import spearmanr

from dse.catalog.catalog import Catalog
from dse.evaluator.first_order import model_of
from dse.evaluator.nearest_design import nearest_design
from dse.evaluator.protocol import Outcomes
from dse.run.front import front_of
from dse.space.design import Design, active, allowed, grid_size, sample
from dse.space.limits import limit_sentence
from dse.space.space import Space

DRAWN, MOVED = 4000, 120


ALIKE = 0.95
"""Spearman correlation on the front from which two objectives do not trade"""


def probe(space: Space, catalog: Catalog, seed: int = 0) -> Iterator[str]:
    """Lines that tell a person what a search of this space will meet."""
    model = model_of(space, catalog)
    rng = np.random.default_rng(seed)
    design = sample(space, DRAWN, rng)
    outcomes = model.evaluate(design)
    feasible = outcomes.feasible.any(axis=1)
    yield (
        f"size: {grid_size(space):,} designs on the coarse grid; "
        f"{sum(not v.discrete for v in space.variables)} variables are numbers."
    )
    yield f"feasible: {100 * feasible.mean():.1f} % of {DRAWN} random designs on at least one TPOT target."
    kills = sorted(
        ((float((r > 1.0).all(axis=1).mean()), n) for n, r in outcomes.limit_ratios.items()), reverse=True
    )
    for share, name in kills:
        if share > 0:
            yield f"  {name:20s} kills {100 * share:5.1f} %: {limit_sentence(name)}"
    dead = [v.name for v in space.variables if not moves(space, model, design, outcomes, v.name, rng)]
    yield "variables that move no objective and no limit: " + (", ".join(dead) if dead else "none") + "."
    yield from correlations(space, outcomes)
    for b in space.baselines:
        loads = tuple(i for i, w in enumerate(space.scenario.workloads) if w.llm in b.only) or None
        t = model.judge(model.devices([b.device]), loads)
        _, distance = nearest_design(space, catalog, model, b.device)
        ok = bool(t.feasible.any())
        broken = [n for n, r in t.limit_ratios.items() if (r > 1).all()]
        yield (
            f"baseline {b.device}: "
            f"{'feasible' if ok else 'infeasible (' + ', '.join(broken) + ')'}, nearest point of "
            f"the space {distance:.2f} octaves away."
        )


def moves(
    space: Space, model: object, design: Design, outcomes: Outcomes, name: str, rng: np.random.Generator
) -> bool:
    """Whether redrawing one variable changes any objective or limit of some designs."""
    variable = space.variable(name)
    n = len(design)
    on = np.nonzero(active(space, variable, design.columns, n))[0][:MOVED]
    if len(on) == 0:
        return False
    some = design.take(on)
    fresh = sample(space, len(on), rng)
    columns = dict(some.columns)
    new = fresh.columns[name].copy()
    if variable.discrete:
        ok = allowed(space, variable, some.columns, len(on))
        bad = (new < 0) | ~ok[np.arange(len(on)), np.maximum(new, 0)]
        new = np.where(bad, some.columns[name], new)
    else:
        new = np.where(np.isnan(new), some.columns[name], new)
    columns[name] = new
    whole = np.ones(len(on), dtype=bool)
    for v in space.variables:  # what the change switched off is removed, what it switched on is drawn
        now = active(space, v, columns, len(on))
        column, drawn = columns[v.name], fresh.columns[v.name]
        if v.discrete:
            ok = allowed(space, v, columns, len(on))
            column = np.where(now & (column < 0), drawn, np.where(now, column, -1))
            whole &= ~now | ((column >= 0) & ok[np.arange(len(on)), np.maximum(column, 0)])
        else:
            column = np.where(now & np.isnan(column), drawn, np.where(now, column, np.nan))
            whole &= ~now | ~np.isnan(column)
        columns[v.name] = column
    if not whole.any():
        return False
    on = on[whole]
    other = model.evaluate(Design(columns).take(whole))  # type: ignore[attr-defined]
    for key, value in outcomes.objectives.items():
        if not np.allclose(np.log(other.objectives[key]), np.log(value[on]), rtol=0, atol=1e-9):
            return True
    return any(
        not np.allclose(other.ratios[k], outcomes.limit_ratios[k][on], rtol=1e-9, atol=1e-12)
        for k in outcomes.limit_ratios
    )


def correlations(space: Space, outcomes: Outcomes) -> Iterator[str]:
    """Spearman correlation of objectives on the front; above 0.95 they do not trade."""
    front = front_of(space, outcomes)
    if len(front) < 5:
        yield "correlation of objectives: too few points on the front of the probe."
        return
    for i, a in enumerate(space.objectives):
        for j in range(i + 1, len(space.objectives)):
            rho = float(spearmanr(front.points[:, i], front.points[:, j]).statistic)
            warning = "  WARNING: these two do not trade; drop one" if rho > ALIKE else ""
            yield f"correlation on the front, {a} and {space.objectives[j]}: {rho:+.2f}{warning}"
