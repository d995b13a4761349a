"""Runs as pandas tables, for notebooks: numbers in SI, their units in ``.attrs["units"]``.

The model never sees pandas.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from dse.run.run import Run
from dse.space.design import decode
from dse.space.objectives import OBJECTIVES

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
    """Every trial that the search asked for, in order.

    Variables, objectives, whether it is feasible, what it breaks.
    """
    space = run.space
    rows = []
    for trial in run.trials:
        row: dict[str, Any] = {v.name: None for v in space.variables}
        row |= {name.partition("|")[0]: value for name, value in trial["params"].items()}
        row |= {str(o): float(x) for o, x in zip(space.objectives, trial["objectives"], strict=True)}
        rows.append(row | {"feasible": float(trial["violation"]) == 0.0, "breaks": trial["breaks"] or None})
    names = [*(str(o) for o in space.objectives), *(v.name for v in space.variables), "feasible", "breaks"]
    out = pd.DataFrame(rows, columns=names)
    out.index = pd.Index(np.array([t["number"] for t in run.trials], dtype=np.int64), name="trial")
    units = _units(run, [])
    out.attrs["units"] = {n: units.get(n, "1") for n in names}
    return out
