"""Answers to what a space asks beyond its front: fronts of other worlds, and designs side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dse.catalog import Catalog
from dse.design import decode, levels
from dse.errors import DseError, SpaceError
from dse.evaluator import model_of
from dse.evaluator.point import evaluate
from dse.front import Scale
from dse.nearest import nearest_design
from dse.questions import changed
from dse.run import Run
from dse.search import Search
from dse.search.samplers import DEFAULT
from dse.space import Comparison, Space, Value, WhatIf
from dse.units import FloatArray

Watch = Callable[[str, Any], None]


def searched(space: Space, catalog: Catalog, trials: int, seed: int) -> tuple[FloatArray, list[dict[str, Value]]]:
    """Points of a space's front and the design of each, nearest designs of its baselines first."""
    model = model_of(space, catalog)
    first = [v for v, _ in (nearest_design(space, catalog, model, b.device) for b in space.baselines)]
    search = Search(space, model, DEFAULT, seed, first=first)
    front = search.run(trials)
    design, _ = search.archive.joined()
    return front.points, [decode(space, design, int(r)) for r in front.rows]


def worlds(run: Run, catalog: Catalog, trials: int, seed: int, whole: FloatArray, worth: Callable[..., dict[str, Any]],
           watch: Watch) -> list[dict[str, Any]]:  # fmt: skip
    """Search the space in each of its other worlds; each front against ``whole``, that of this one."""
    out = []
    for asked in run.space.what_ifs:
        watch("what if", asked.name)
        try:
            space = _held(run.space, asked)
        except SpaceError:
            continue  # the run itself holds something else
        points, designs = searched(space, changed(catalog, asked.catalogue), trials, seed)
        found = worth(points, whole, Scale.of(whole))
        out.append({"name": asked.name, "question": asked.question, **found, "levels": levels(space, designs)})
    return out


def _held(space: Space, asked: WhatIf) -> Space:
    for name, choices in asked.fixed.items():
        space = space.restrict(name, choices)
    return space


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
                    c.space or replace(space, what_ifs=(), comparisons=()), variables=dict(r.design), llm=c.llm, batch=batch,
                    tensor_parallel=c.tensor_parallel, attention=c.attention, context=c.context, catalog=changed(catalog, r.catalogue),
                )  # fmt: skip
            except DseError as error:
                cells.append({"fault": str(error).splitlines()[0]})
                continue
            heat = {k.removeprefix("heat: "): v for k, v in e.figures.items() if k.startswith("heat: ")}
            broken = [k for k, v in e.limits.items() if v > 1.0 and k not in {"ttft", "available"}]
            cells.append({
                "time": e.decode_time, "unthrottled": e.unthrottled_time, "energy": e.objectives["energy_per_token"],
                "engine": [op for op, where in e.engines.items() if where == "pnm"], "heat": heat, "clock": e.figures.get("clock level", 1.0),
                "cost": e.objectives.get("cost_per_mtoken", e.objectives.get("bom", 0.0)), "broken": broken,
            })  # fmt: skip
        rows.append({"name": r.name, "cells": cells})
    return {
        "title": c.title,
        "llm": c.llm,
        "context": c.context,
        "batches": list(c.batches),
        "shown": list(c.shown),
        "rows": rows,
    }
