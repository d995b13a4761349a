"""What a space asked beyond its front, in a recommendation.

Other worlds, designs side by side, levels on the front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from dse.core.units import show
from dse.report.document import Document
from dse.report.facts import Facts, shown
from dse.space.design import levels
from dse.space.objectives import OBJECTIVES
from dse.space.questions import CONTROL
from dse.space.space import Space
from dse.space.variables import Value

LIKE = 4
"""levels named in a cell"""


LEAST = 0.005
"""share of a front below which a level is not named"""


NEAR, OFTEN = 0.01, 0.25
"""share of a range that counts as its end, and share of points that is worth a sentence"""


def on_the_front(d: Document, facts: Facts) -> None:
    """How often each level stands on the front, by points and by distinct machines."""
    run = facts.run
    points = [run.values(int(r)) for r in run.front.rows]
    machines = list({repr(sorted(v.items())): v for v in points}.values())
    by_point, by_machine = levels(run.space, points), levels(run.space, machines)
    rows = [
        [name, _shares(by_point[name], len(points)), _shares(by_machine[name], len(machines))]
        for name in by_point
        if len(by_point[name]) > 1 or name in facts.study.get("levers", {})
    ]
    d.table(["variable", f"points ({len(points)})", f"machines ({len(machines)})"], rows)
    for sentence in at_the_ends(run.space, points):
        d.text(sentence)
    for by, what in (("domain", "packages in a domain"), ("collective_engine", "collective engine")):
        table = crossed(run.space, points, by, "topology")
        if len(table) > 1:
            d.text(f"Topologies by {what}, points:")
            d.table(table[0], table[1:])


def crossed(space: Space, points: Sequence[Mapping[str, Value]], by: str, what: str) -> list[list[str]]:
    """Count the levels of ``what`` for each of ``by`` on a front.

    A header, and a row per level of ``by`` that is there.
    """
    known = {v.name: v for v in space.variables}
    if by not in known or what not in known:
        return []
    columns = [c for c in known[what].choices if any(p.get(what) == c for p in points)]
    header = [by, *(str(c) for c in columns), "needs none", "all"]
    out = [header]
    for level in known[by].choices:
        some = [p for p in points if p.get(by) == level]
        if some:
            counts = [sum(p.get(what) == c for p in some) for c in columns]
            out.append(
                [
                    show(level, known[by].unit) if isinstance(level, float) else str(level),
                    *(str(n) for n in counts),
                    str(len(some) - sum(counts)),
                    str(len(some)),
                ]
            )
    return out


def at_the_ends(space: Space, points: Sequence[Mapping[str, Value]]) -> list[str]:
    """Say which ranges hold the front.

    A sentence for each end that at least a quarter of a variable's points stand at.

    At an end is within 1 % of the range, on a log axis where the variable has one.
    """
    said = []
    for v in space.variables:
        here = np.array(
            [p[v.name] for p in points if v.name in p] if v.kind == "float" else [], dtype=np.float64
        )
        if not len(here):
            continue
        low, high, at = (np.log10(x) if v.log else x for x in (v.low, v.high, here))
        for end, name, value in ((low, "lowest", v.low), (high, "highest", v.high)):
            count = int((np.abs(at - end) <= NEAR * (high - low)).sum())
            if high > low and count >= OFTEN * len(here):
                said.append(
                    f"{count} of the {len(here)} points that have {v.name} take the {name} that the "
                    "space allows, "
                    f"{show(value, v.unit)}: a wider range could move the front."
                )
    return said


def _shares(found: dict[str, float], n: int) -> str:
    return ", ".join(f"{name} {round(share * n)}" for name, share in found.items())


def what_ifs(d: Document, facts: Facts) -> None:
    """Fronts of other worlds beside this one's, by question."""
    found: list[dict[str, Any]] = facts.study.get("what_if", [])
    if not found:
        return
    from dse.report.plots import pictures

    d.heading("What if")
    goals = facts.run.space.objectives
    d.text(
        "Each line is the space searched again in another world: a catalogue number changed or a variable "
        "held. The typical factor says how much worse (above 1) or better its "
        "front is for a median box of this run's, in the worst objective; hypervolume is relative to this "
        "run's, inside the box of the question. Intervals are over the two halves of each search, which both "
        "start from this run's front, widened by twice what its last doubling of designs moved. The first "
        "line, the unchanged world, says what such a search finds, and the others are to be read against it. "
        "What both halves miss, a part of a front that lies far from this run's, is in no interval: search "
        "such a world on its own before relying on a few per cent. "
        f"{sum(w.get('converged', False) for w in found)} of these {len(found)} searches converged by the "
        "rule of the run with the designs that a world is given."
    )
    header = [
        "world",
        "typical factor",
        "hypervolume",
        *(f"best {OBJECTIVES[o].label.lower()}" for o in goals),
        "on its front",
        "error bar of its search",
    ]
    drawn = pictures(facts)
    for question in dict.fromkeys(w["question"] for w in found):
        some = [w for w in found if w["question"] == question]
        d.heading(question, 3)
        d.table(header, [_world(facts, w) for w in some])
        if question in drawn:
            d.picture(drawn[question].name, drawn[question].caption, drawn[question].svg)
            d.items(moves(facts, some))


def moves(facts: Facts, some: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how each world moves the front against this one searched again.

    A typical point, the least of each objective.
    """
    own = next((w for w in facts.study["what_if"] if w["name"] == CONTROL and w["feasible"]), None)
    said = []
    for w in some:
        if not w["feasible"] or own is None or w["typical"] is None or own["typical"] is None:
            said.append(f"{w['name']}: nothing is feasible.")
            continue
        best = ", ".join(
            f"{OBJECTIVES[o].label.lower()} {shown(o, w['best'][k])} "
            f"({moved(w['best'][k] / own['best'][k]) if apart(least(w, k), least(own, k)) else SAME})"
            for k, o in enumerate(facts.run.space.objectives)
        )
        typical = moved(w["typical"] / own["typical"])
        if apart(ends(w, "typical"), ends(own, "typical")):
            typical += " in its worst objective"
        else:
            typical = SAME
        said.append(f"{w['name']}: a typical point {typical}; least {best}.")
    return said


def _world(facts: Facts, w: dict[str, Any]) -> list[str]:
    goals = facts.run.space.objectives
    if not w["feasible"]:
        return [w["name"], "-", "nothing feasible", *("-" for _ in goals), "-", "-"]
    best = [" to ".join(dict.fromkeys(shown(o, x) for x in least(w, k))) for k, o in enumerate(goals)]
    return [
        w["name"],
        "-" if w["typical"] is None else ranged(w, "typical", 1.0, 2),
        f"{ranged(w, 'hypervolume', 100.0, 0)} %",
        *best,
        _mostly(facts, w["levels"]),
        _error_bar(w),
    ]


def _error_bar(w: Mapping[str, Any]) -> str:
    """How far the search of a world had come."""
    error = w.get("error")
    known = "not known" if error is None else f"{100 * error:.2g} %"
    return known if w.get("converged") else f"{known}, not converged"


def ranged(w: Mapping[str, Any], measure: str, scale: float, digits: int) -> str:
    """A figure with its range over halves, one number where both ends read the same."""
    low, high = (f"{scale * x:.{digits}f}" for x in ends(w, measure))
    return low if low == high else f"{low} to {high}"


SAME: Final = "no different"


def apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two ranges do not touch."""
    return one[0] > other[1] or one[1] < other[0]


def least(w: Mapping[str, Any], objective: int) -> tuple[float, float]:
    """Range over halves of the least of an objective; of runs of before the one number."""
    ranges = w.get("best_range") or [(x, x) for x in w["best"]]
    low, high = ranges[objective]
    return low, high


def moved(factor: float) -> str:
    """How far a figure moved, in whole per cent."""
    percent = round(100 * (factor - 1))
    return f"{percent:+d} %" if percent else SAME


def ends(w: Mapping[str, Any], measure: str) -> tuple[float, float]:
    """Least and largest of a figure over halves."""
    low, high = w.get(f"{measure}_range") or (w[measure], w[measure])
    return low, high


def _mostly(facts: Facts, found: dict[str, dict[str, float]]) -> str:
    """The levers' variables on a front, most frequent levels first."""
    names = dict.fromkeys(v for lever in facts.run.space.levers for v in lever.fixed)
    said = []
    for name in names:
        if name in found and len(found[name]) > 0:
            some = sorted((x for x in found[name].items() if x[1] >= LEAST), key=lambda x: -x[1])[:LIKE]
            said.append(f"{name} " + ", ".join(f"{level} {100 * share:.0f} %" for level, share in some))
    return "; ".join(said)


def side_by_side(d: Document, facts: Facts) -> None:
    """Tables of the designs that the space sets side by side."""
    found: list[dict[str, Any]] = facts.study.get("compare", [])
    if not found:
        return
    d.heading("Side by side")
    for c in found:
        at = f", context {c['context']:,.0f}" if c["context"] else ""
        d.heading(f"{c['title']} ({c['llm']}{at})", 3)
        for what in c["shown"]:
            d.text(TITLES[what])
            d.table(
                ["", *(f"batch {b}" for b in c["batches"])],
                [[r["name"], *(_cell(what, x) for x in r["cells"])] for r in c["rows"]],
            )


TITLES = {
    "time": "Decode step; in brackets what it would take without limits of heat and power, "
    "where that is less:",
    "rate": "Tokens per second of a user:",
    "messages": "Share of the step that messages take [%]:",
    "prompt": "Time to first token of the scenario's longest prompt, limits of heat and power held:",
    "energy": "Energy per output token [J]:",
    "cost": "Cost per million output tokens (datacenter) or added bill of materials (phone) [USD]:",
    "engine": "Operators that run near memory:",
    "heat": "Share of the headroom between coolant and limit that a decode step uses [%], logic / "
    "fast memory / flash / electric power of the package:",
    "clock": "Clock of the step over the design clock:",
}


def _cell(what: str, x: dict[str, Any]) -> str:
    if "fault" in x:
        return str(x["fault"])
    if {"capacity", "longest_request"} & set(x["broken"]):
        return "does not fit"
    wrong = f" (breaks {', '.join(x['broken'])})" if x["broken"] and what == "time" else ""
    if what == "time":
        free = f" ({show(x['unthrottled'], 's', 3)})" if x["unthrottled"] < 0.99 * x["time"] else ""
        return show(x["time"], "s", 3) + free + wrong
    if what == "rate":
        return f"{x['rate']:.4g}"
    if what == "messages":
        return f"{100 * x['messages']:.0f}"
    if what == "engine":
        return ", ".join(x["engine"]) or "none"
    if what == "heat":
        return " / ".join(f"{100 * v:.0f}" for v in x["heat"]) or "-"
    if what == "clock":
        return f"{x['clock']:.2f}"
    return show(x[what], {"energy": "J", "prompt": "s"}.get(what, "USD"), 3)
