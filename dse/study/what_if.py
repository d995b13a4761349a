"""Answers to what a space asks beyond its front: fronts of other worlds, and designs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.errors import DseError, SpaceError
from dse.core.units import FloatArray
from dse.evaluator.explain import Request, evaluate
from dse.evaluator.figures import HEAT, FigureName
from dse.evaluator.loading import OURS, EvaluatorSource
from dse.run.front import Scale, envelope
from dse.run.run import Run
from dse.space.design import decode, levels, unfit
from dse.space.questions import CONTROL
from dse.space.space import Comparison, Space, WhatIf
from dse.space.variables import Value
from dse.study.convergence import ablation_loss
from dse.study.local_search import FrontDesigns, local_search
from dse.study.samplers import DEFAULT
from dse.study.search import Search

Watch = Callable[[str, Any], None]


WARM = 150
"""designs of a run's front that the search of another world starts from"""


def search_front(
    space: Space,
    source: EvaluatorSource,
    catalog: Catalog,
    *,
    trials: int,
    seed: int,
    known: Sequence[dict[str, Value]] = (),
) -> FrontDesigns:
    """Points of a space's polished front with their designs; ``known`` and the baselines' nearest first."""
    model = source.make(space, catalog)
    first = source.nearest_to_baselines(space, catalog, model)
    first += [d for d in known if _within(space, d)]
    search = Search(space, model, DEFAULT, seed, first=first)
    front = search.run(trials)
    design, _ = search.archive.joined()
    return local_search(
        space, model, [decode(space, design, int(r)) for r in np.unique(front.rows)], trials, seed
    )


def _within(space: Space, design: dict[str, Value]) -> bool:
    """Whether a design of a wider space is one of this one."""
    for v in space.variables:
        if v.name in design:
            value = design[v.name]
            inside = value in v.choices if v.discrete else v.low <= float(value) <= v.high
            if not inside:
                return False
    return not unfit(space, design)


def what_if_fronts(
    run: Run,
    catalog: Catalog,
    mine: Sequence[dict[str, Value]],
    whole: FloatArray,
    *,
    trials: int,
    seed: int,
    watch: Watch,
) -> list[dict[str, Any]]:
    """Search the space in each of its other worlds; each front against ``whole``, that of this one.

    Each search starts from designs of the run's own front (``mine``), so that what differs is the world and
    not the luck.
    """
    out = []
    known = [mine[i] for i in np.unique(np.linspace(0, len(mine) - 1, WARM).astype(int))] if mine else []
    control = WhatIf(CONTROL, CONTROL.capitalize(), (), {})
    for asked in (control, *run.space.what_ifs) if run.space.what_ifs else ():
        watch("what if", asked.name)
        try:
            space = _held(run.space, asked)
        except SpaceError:
            continue  # the run itself holds something else
        points, designs = search_front(
            space, OURS, catalog.with_numbers(asked.catalogue), trials=trials, seed=seed, known=known
        )
        found = ablation_loss(points, whole, Scale.of(whole))
        out.append(
            {
                "name": asked.name,
                "question": asked.question,
                **found,
                "levels": levels(space, designs),
                "front": [f"{x:.4g} {y:.4g}" for x, y in envelope(points[:, :2])] if len(points) else [],
            }
        )
    return out


def _held(space: Space, asked: WhatIf) -> Space:
    for name, choices in asked.fixed.items():
        space = space.restrict(name, choices)
    loads = tuple(replace(w, concurrency=w.concurrency * asked.demand) for w in space.scenario.workloads)
    numbers = dict(space.scenario.numbers)
    if asked.year is not None:
        numbers["year"] = asked.year
    return replace(space, scenario=replace(space.scenario, workloads=loads, numbers=numbers))


def side_by_side(space: Space, catalog: Catalog) -> list[dict[str, Any]]:
    """Evaluate the designs of every comparison of a space at each of its batches."""
    return [_compared(space, c, catalog) for c in space.comparisons]


def _compared(space: Space, c: Comparison, catalog: Catalog) -> dict[str, Any]:
    rows = []
    for r in c.rows:
        cells: list[dict[str, Any]] = []
        for batch in c.batches:
            try:
                e = evaluate(
                    c.space or replace(space, what_ifs=(), comparisons=()),
                    variables=dict(r.design),
                    request=Request(llm=c.llm, context=c.context),
                    batch=batch,
                    tensor_parallel=c.tensor_parallel,
                    attention=c.attention,
                    catalog=catalog.with_numbers(r.catalogue),
                )
            except DseError as error:
                cells.append({"fault": str(error).splitlines()[0]})
                continue
            heat = [f.value for name, f in e.figures.items() if name.startswith(HEAT)]
            broken = [k for k, v in e.limits.items() if v > 1.0 and k not in {"ttft", "available"}]
            cells.append(
                {
                    "time": e.decode_time,
                    "rate": 1.0 / e.decode_time,
                    "messages": e.times.get("collectives", 0.0) / e.decode_time,
                    "unthrottled": e.unthrottled_time,
                    "energy": e.objectives["energy_per_token"],
                    "prompt": e.ttft,
                    "engine": [op for op, where in e.engines.items() if where == "pnm"],
                    "heat": heat,
                    "clock": e.figures[FigureName.CLOCK_LEVEL].value,
                    "cost": e.objectives.get("cost_per_mtoken", e.objectives.get("bom", 0.0)),
                    "broken": broken,
                }
            )
        rows.append({"name": r.name, "cells": cells})
    return {
        "title": c.title,
        "llm": c.llm,
        "context": c.context,
        "batches": list(c.batches),
        "shown": list(c.shown),
        "rows": rows,
    }
