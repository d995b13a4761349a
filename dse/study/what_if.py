"""Answers to what a space asks beyond its front: fronts of other worlds, and designs side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.errors import DseError, InfeasibleError, SpaceError
from dse.core.units import FloatArray
from dse.core.version import __version__
from dse.evaluator.explain import evaluate
from dse.evaluator.figures import HEAT, FigureName
from dse.evaluator.loading import OURS
from dse.evaluator.request import PlanRequest, Request
from dse.run.front import envelope
from dse.run.run import Run
from dse.space.design import decode, levels, unfit
from dse.space.questions import CONTROL
from dse.space.space import Comparison, Space, WhatIf
from dse.space.variables import Value
from dse.study.cluster import Cluster
from dse.study.convergence import Agreement, box_rows
from dse.study.search import Search, Stopping
from dse.study.worth import MEASURES, Reference, difference, span, widened, worth

Watch = Callable[[str, Any], None]


WARM: Final = 150
"""designs of a run's front that the search of another world starts from"""

EACH: Final = 160_000
"""most designs of each half of such a search: with 40,000 both halves missed the cheap machines of a world
without DRAM on logic by 7 %, for they start from a front that is all DRAM on logic
"""


@dataclass
class WorldFront:
    """Front of a space searched in another world."""

    points: FloatArray
    designs: list[dict[str, Value]]
    halves: list[FloatArray]
    """what each half found, from the same designs"""
    doubled: tuple[FloatArray, FloatArray] | None
    """at half of the designs and at all of them, before the polish; None where they were compared once"""
    agreement: Agreement | None


def search_front(
    space: Space,
    catalog: Catalog,
    *,
    stopping: Stopping,
    seed: int,
    known: Sequence[dict[str, Value]] = (),
    stop: Callable[[], bool] = lambda: False,
) -> WorldFront:
    """Search a space as ``dse search`` does, in memory, by our model; ``known`` and the baselines' nearest
    first.
    """
    fitting = [d for d in known if _within(space, d)]
    job = Search(space, OURS, catalog, seed=seed, trials=stopping.trials, known=fitting)
    job.run(stopping, stop)
    front = job.common.front(0)
    codes = job.common.codes(front.owners)
    design = job.genome.design(codes, job.genome.repair(codes))
    order = np.lexsort(tuple(front.points.T[::-1]))
    doubled = job.seeds[0].doubled
    return WorldFront(
        front.points[order],
        [decode(space, design, int(r)) for r in order],
        [h.archives.whole.points for s in job.seeds for h in s.halves],
        (doubled[0].fronts[0], doubled[1].fronts[0]) if doubled else None,
        job.agreement,
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
    stopping: Stopping,
    *,
    seed: int,
    watch: Watch,
    stop: Callable[[], bool],
    keep: Callable[[list[dict[str, Any]]], None],
    cluster: Cluster | None = None,
) -> list[dict[str, Any]]:
    """Search the space in each of its other worlds; each front against that of this one.

    ``keep`` is given the worlds so far after each, and those that the run's study already holds, asked in the
    same way, are not searched again: an hour of them outlives a kill.
    Each search starts from designs of the run's own front, so that what differs is the world and not the
    luck; it ends when it has converged or after so many designs, and each figure stands with what its halves
    say and what more designs would still bring. With a cluster each world is a task.
    """
    rows = np.unique(run.front.rows[box_rows(run.front.points)])
    known = [run.values(int(rows[i])) for i in np.unique(np.linspace(0, len(rows) - 1, WARM).astype(int))]
    said = run.study["reference_point"]
    worst = np.array([said["values"][o] for o in run.space.objectives])
    reference = Reference.of(run.space, worst, said["source"])
    control = WhatIf(CONTROL, CONTROL.capitalize(), (), {})
    worlds: list[tuple[WhatIf, Space]] = []
    for asked in (control, *run.space.what_ifs) if run.space.what_ifs else ():
        with suppress(SpaceError):  # the run itself may hold something else
            worlds.append((asked, _held(run.space, asked)))
    stopping = replace(stopping, most=EACH)
    had = {w.get("asked"): w for w in run.study.get("what_if", ())}
    codes = [_code(space, catalog, asked, stopping, seed) for asked, space in worlds]
    search = partial(search_front, stopping=stopping, seed=seed, known=known)
    tasks = [
        (search, space, catalog.with_numbers(asked.catalogue))
        for (asked, space), code in zip(worlds, codes, strict=True)
        if code not in had
    ]
    fronts: Iterable[WorldFront] = (
        cluster.in_order(tasks, stop)
        if cluster
        else (search(space, changed, stop=stop) for _, space, changed in tasks if not stop())
    )
    coming, out = iter(fronts), []
    for (asked, space), code in zip(worlds, codes, strict=True):
        if code not in had:
            found = next(coming, None)
            if found is None or stop():
                break
            had[code] = _against(run, reference, asked, space, found) | {"asked": code}
        watch("what if", asked.name)
        out.append(had[code])
        keep(out)
    return out


def _code(space: Space, catalog: Catalog, asked: WhatIf, stopping: Stopping, seed: int) -> str:
    """What a world's front hangs on besides the run's own, in short."""
    parts = (space.text, space.overrides, catalog.digest, asked, stopping, seed, __version__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _against(
    run: Run, reference: Reference, asked: WhatIf, space: Space, found: WorldFront
) -> dict[str, Any]:
    """The front of another world as data, with what it keeps of the run's."""
    whole = run.front.points
    lost = worth(run.space, reference, found.points, whole)
    each = [lost, *(worth(run.space, reference, h, whole) for h in found.halves)]
    moved = [worth(run.space, reference, x, whole) for x in found.doubled or ()]
    for name in MEASURES:
        drift = span([difference(a[name], b[name]) for a, b in pairwise(moved)])
        lost[f"{name}_range"] = widened([x[name] for x in each], drift)
    best = [x["best"] for x in each if x["best"] is not None]
    before_after = [x["best"] for x in moved if x["best"] is not None]
    drifts = [span([b[k] - a[k] for a, b in pairwise(before_after)]) for k in range(whole.shape[1])]
    lost["best_range"] = [
        widened(x, drift) for x, drift in zip(zip(*best, strict=True), drifts, strict=False)
    ]
    return {
        "name": asked.name,
        "question": asked.question,
        **lost,
        "agreement": None if found.agreement is None else found.agreement.as_data(),
        "converged": found.agreement is not None and found.agreement.converged,
        "error": found.agreement.error if found.agreement and np.isfinite(found.agreement.error) else None,
        "levels": levels(space, found.designs),
        "front": [f"{x:.4g} {y:.4g}" for x, y in envelope(found.points[:, :2])],
    }


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
                    plan=PlanRequest(batch, c.tensor_parallel, c.attention),
                    catalog=catalog.with_numbers(r.catalogue),
                )
            except InfeasibleError:
                cells.append({"fault": "does not fit"})
                continue
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
                    "prompt": e.space_ttft,
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
