"""Runs as pandas tables, for notebooks: numbers in SI, their units in ``.attrs["units"]``.

The model never sees pandas.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from dse.core.units import BoolArray
from dse.run.batch import Batch
from dse.run.folder import Folder
from dse.run.run import Run
from dse.space.design import decode
from dse.space.genome import Genome
from dse.space.objectives import OBJECTIVES
from dse.space.space import Space

DETAIL_UNITS: Final = {
    "ttft": "s",
    "capital": "USD",
    "site_power": "W",
    "step": "s",
    "unthrottled": "s",
    "prompt": "s",
    "busy": "s",
    "step_energy": "J",
    "flash_read": "B/s",
    "burst": "s",
    "burst_power": "W",
    "burst_duration": "s",
    "cold_start": "s",
    "memory_left": "B",
    "tokens_per_charge": "token",
}
"""SI unit of our details; a workload's index may follow a dot; the rest are counts and shares"""


def _units(run: Run, details: list[str]) -> dict[str, str]:
    units = {str(o): OBJECTIVES[o].unit for o in run.space.objectives} | {"tpot_target": "s"}
    units |= {v.name: v.unit for v in run.space.variables}
    return units | {d: DETAIL_UNITS.get(d.partition(".")[0], "1") for d in details}


def front_frame(run: Run) -> pd.DataFrame:
    """The front: a row an operating point, with objectives, TPOT target, design variables and details."""
    design, outcomes = run.archive.joined()
    front, space = run.front, run.space
    details = sorted(outcomes.detail)
    at = (front.rows, front.operating_points)
    columns: dict[str, Any] = {str(o): front.points[:, k] for k, o in enumerate(space.objectives)}
    columns["tpot_target"] = [space.tpot_target_at(int(q)) for q in front.operating_points]
    values = [decode(space, design, int(row)) for row in front.rows]
    columns |= {v.name: [each.get(v.name) for each in values] for v in space.variables}
    columns |= {d: outcomes.detail[d][at] for d in details}
    out = pd.DataFrame(columns)
    out.index.name = "point"
    out.attrs["units"] = _units(run, details)
    return out


def trials_frame(run: Run) -> pd.DataFrame:
    """Every design judged, in order of each independent search: what its variables are, and how it fared.

    An objective is the least over the operating points at which the design met every limit, NaN where there
    is none; ``violation`` is then the sum of logarithms of the limits it breaks at its best one.
    """
    space = run.space
    genome = Genome(space.variables)
    parts = [
        _batch_rows(space, genome, log.path.stem, b) for log in Folder(run.path).logs() for b in log.batches()
    ]
    if not parts:
        parts = [_judged_rows(run)]
    names = [*(str(o) for o in space.objectives), *(v.name for v in space.variables)]
    columns = {c: np.concatenate([p[c] for p in parts]) for c in parts[0]}
    out = pd.DataFrame({c: columns[c] for c in [*names, "feasible", "violation", "search"]})
    for v in space.variables:
        if v.discrete:
            choices = np.array([*v.choices, None], dtype=object)
            out[v.name] = choices[columns[v.name].astype(np.int64)]
    out.index.name = "trial"
    units = _units(run, [])
    out.attrs["units"] = {n: units.get(n, "1") for n in out.columns}
    return out


def _batch_rows(space: Space, genome: Genome, name: str, batch: Batch) -> dict[str, Any]:
    design = genome.design(batch.codes, genome.repair(batch.codes))
    least = np.full((len(batch), len(space.objectives)), np.inf)
    fits = np.all(batch.points / np.array(space.bounds) <= 1.0, axis=1)
    np.minimum.at(least, batch.rows[fits], batch.points[fits])
    least[np.isinf(least)] = np.nan
    return {
        **{str(o): least[:, k] for k, o in enumerate(space.objectives)},
        **design.columns,
        "feasible": batch.violation == 0,
        "violation": batch.violation.astype(np.float64),
        "search": np.full(len(batch), name),
    }


def _judged_rows(run: Run) -> dict[str, Any]:
    """The same of a run before batches, whose designs were judged again."""
    design, outcomes = run.archive.joined()
    least = {o: np.where(outcomes.feasible, outcomes.objectives[o], np.nan) for o in run.space.objectives}
    feasible: BoolArray = np.any(outcomes.feasible, axis=1)
    safe = {o: np.where(feasible[:, None], x, 0.0) for o, x in least.items()}
    return {
        **{str(o): np.where(feasible, np.nanmin(x, axis=1), np.nan) for o, x in safe.items()},
        **design.columns,
        "feasible": feasible,
        "violation": np.where(feasible, 0.0, np.nan),
        "search": np.full(len(design), "log"),
    }
