"""The page: one self-contained HTML with plotly.js inside and no network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import numpy as np
from plotly.offline import get_plotlyjs

from dse.report.document import Document
from dse.report.facts import Facts, weighted
from dse.report.recommendation import answer, describe, lever_worth
from dse.run.front import epsilon_survivors
from dse.space.limits import Limit
from dse.space.objectives import OBJECTIVES, Goal

MOST = 600
"""points of the front the page draws; a larger front is thinned by epsilon-dominance"""


def page_html(facts: Facts) -> str:
    """The page of a run."""
    template = (resources.files("dse.report") / "page.html").read_text(encoding="utf-8")
    data = json.dumps(page_data(facts), separators=(",", ":"), sort_keys=True, allow_nan=False)
    # inside a script element only these can end it or open a comment
    data = (
        data.replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )
    return template.replace("/*PLOTLY*/", get_plotlyjs()).replace("/*DATA*/null", data)


def _kept(facts: Facts) -> list[int]:
    points = facts.run.front.points
    if len(points) <= MOST:
        return list(range(len(points)))
    epsilon, keep = 0.002, np.ones(len(points), dtype=bool)
    while keep.sum() > MOST:
        keep = epsilon_survivors(points, epsilon)
        epsilon *= 1.5
    for c in facts.chosen:
        keep[c.index] = True
    return [int(i) for i in np.nonzero(keep)[0]]


def _told(objectives: Sequence[str], values: Iterable[float]) -> list[float]:
    """Objectives in the units that the page shows: times of tokens in milliseconds."""
    return [
        float(v) * (1e3 if OBJECTIVES[o].unit == "s" else 1.0)
        for o, v in zip(objectives, values, strict=True)
    ]


def _unit(name: str) -> str:
    return "ms" if OBJECTIVES[name].unit == "s" else OBJECTIVES[name].unit


def _front_data(facts: Facts) -> list[dict[str, Any]]:
    """Points of the front that the page draws."""
    run = facts.run
    design, _ = run.archive.joined()
    kept = _kept(facts)
    keys = design.take(run.front.rows).row_keys()
    hardware: dict[bytes, int] = {}
    front = []
    for i in kept:
        row, rung = int(run.front.rows[i]), int(run.front.operating_points[i])
        front.append(
            {
                "id": i,
                "hw": hardware.setdefault(keys[i], len(hardware)),
                "obj": _told(run.space.objectives, run.front.points[i]),
                "values": run.values(row),
                "rung": run.space.tpot_target_at(rung),
                "binds": facts.binds[i],
            }
        )
    return front


def _levers(facts: Facts) -> list[dict[str, Any]]:
    """Paragraphs and tables of what each lever is worth, as the document has them."""
    made = Document("")
    lever_worth(made, facts)
    out: list[dict[str, Any]] = []
    for kind, body in made.blocks:
        if kind == "table" and isinstance(body, tuple):
            out.append({"header": body[0], "rows": body[1]})
        else:
            out.append({"text": str(body)})
    return out


def page_data(facts: Facts) -> dict[str, Any]:
    """What the page draws, as plain JSON."""
    run = facts.run
    front = _front_data(facts)
    weights = [w.weight for w in run.space.scenario.workloads]
    breakdown = [
        {
            "label": c.label,
            "times": {n: 1e3 * v for n, v in weighted(c.parts, "times", weights).items()},
            **{k: weighted(c.parts, k, weights) for k in ("energies", "costs", "carbons")},
        }
        for c in facts.chosen
    ]
    variables = [
        {"name": v.name, "unit": v.unit, "discrete": v.discrete, "choices": list(v.choices), "log": v.log}
        for v in run.space.variables
    ]
    return {
        "title": run.space.title,
        "answer": answer(facts),
        "target": run.space.target.name,
        "overrides": list(run.space.overrides),
        "objectives": [
            {"key": o, "label": OBJECTIVES[o].label, "unit": _unit(o)} for o in run.space.objectives
        ],
        "variables": variables,
        "front": front,
        "whole": len(run.front),
        "hardware": facts.hardware,
        "chosen": [
            {
                "label": c.label,
                "id": c.index,
                "what": describe(facts, c),
                "why": c.why,
                "rejected": c.rejected,
            }
            for c in facts.chosen
        ],
        "baselines": [
            b | {"points": [_told(run.space.objectives, p) for p in b["points"]]} for b in facts.baselines
        ],
        "curves": curves(facts),
        "breakdown": breakdown,
        "levers": _levers(facts),
        "convergence": facts.study.get("agreement"),
        "agreement": run.about.get("agreement", ""),
        "rule": facts.study.get("rule", ""),
        "swept": facts.study.get("sweep"),
        "constraints": {limit.value: limit.sentence for limit in Limit},
        "command": run.about.get("command", ""),
        "estimates": list(facts.catalog.estimates()),
        "judge": f"{facts.model.name} {facts.model.version}",
        "ours": facts.ours is not None,
    }


def curves(facts: Facts) -> list[dict[str, Any]]:
    """Throughput per package and cost against interactivity of chosen and existing machines."""
    run = facts.run
    _, outcomes = run.archive.joined()
    out: list[dict[str, Any]] = []
    ours = facts.ours
    if ours is None or not run.space.target.fleet:
        return out
    weights = np.array([w.weight for w in run.space.scenario.workloads])
    for c in facts.chosen:
        ok = np.nonzero(outcomes.feasible[c.row, : len(run.space.tpot_targets)])[0]
        busy = np.stack([outcomes.detail[f"busy.{i}"][c.row, ok] for i in range(len(weights))])
        out.append(
            {
                "name": c.label,
                "baseline": False,
                "interactivity": (1 / outcomes.objectives[Goal.TPOT][c.row, ok]).tolist(),
                "throughput": (weights.sum() / (weights[:, None] * busy).sum(axis=0)).tolist(),
                "cost": outcomes.objectives[Goal.COST][c.row, ok].tolist(),
            }
        )
    for b in facts.baselines:
        if not b["points"] or b["only"]:
            continue
        machine = ours.devices([b["device"]])
        t = ours.judge(machine)
        ok = np.nonzero(t.feasible[0, : len(run.space.tpot_targets)])[0]
        busy = np.stack([t.detail[f"busy.{i}"][0, ok] for i in range(len(weights))])
        out.append(
            {
                "name": b["title"],
                "baseline": True,
                "interactivity": (1 / t.objectives[Goal.TPOT][0, ok]).tolist(),
                "throughput": (weights.sum() / (weights[:, None] * busy).sum(axis=0)).tolist(),
                "cost": t.objectives[Goal.COST][0, ok].tolist(),
            }
        )
    return out
