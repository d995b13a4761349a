"""Static pictures of fronts in other worlds, as SVG: what a review prints and a README shows."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from dse.report.facts import Facts
from dse.space.objectives import OBJECTIVES
from dse.space.questions import CONTROL

WIDTH, HEIGHT, LINE = 8.6, 4.4, 0.2  # inches; of a line of the legend


LINES = ("#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#b91c1c", "#0f766e", "#a16207", "#475569")


@dataclass(frozen=True)
class Picture:
    """One picture: where it is kept beside the document, what it shows, its SVG."""

    name: str
    caption: str
    svg: str


def pictures(facts: Facts) -> dict[str, Picture]:
    """A picture for each question that other worlds answer, by question.

    The second objective against the first.
    """
    found: list[dict[str, Any]] = [
        w for w in facts.study.get("what_if", []) if w["feasible"] and w.get("front")
    ]
    own = [w for w in found if w["name"] == CONTROL]
    out = {}
    for question in dict.fromkeys(w["question"] for w in found if w["name"] != CONTROL):
        some = [w for w in found if w["question"] == question and w["name"] != CONTROL]
        name = f"pictures/{re.sub(r'[^a-z0-9]+', '-', question.lower()).strip('-')}.svg"
        out[question] = Picture(name, question, _drawn(facts, question, own, some))
    return out


def _drawn(facts: Facts, question: str, own: list[dict[str, Any]], some: list[dict[str, Any]]) -> str:
    """SVG of the fronts of some worlds over this one's, in the plane of the first two objectives."""
    first, second = facts.run.space.objectives[:2]
    by_year = all(w["name"].isdigit() for w in some)
    shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(some)))
    with mpl.rc_context(
        {"svg.hashsalt": "dse", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}
    ):
        lines = len(own) + len(some)  # names of worlds are sentences: they stand below, a line each
        figure = Figure(figsize=(WIDTH, HEIGHT + LINE * lines), layout="constrained")
        axes = figure.add_subplot()
        for w in own:
            _line(axes, w, facts, {"color": "#94a3b8", "lw": 4, "label": "this world, searched again"})
        for i, w in enumerate(some):
            colour = shades[i] if by_year else LINES[i % len(LINES)]
            _line(
                axes,
                w,
                facts,
                {"color": colour, "lw": 1.6, "label": w["name"], "ls": "-" if i < len(LINES) else "--"},
            )
        axes.set(xscale="log", yscale="log", xlabel=_label(first), ylabel=_label(second))
        axes.set_title(question, loc="left", fontsize=11)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axis.set_minor_formatter(FuncFormatter(lambda *_: ""))
        axes.grid(visible=True, which="major", color="#e2e8f0")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower left", frameon=False, fontsize=9)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _scale(name: str) -> float:
    return 1e3 if OBJECTIVES[name].unit in {"s", "J"} else 1.0


def _label(name: str) -> str:
    unit = OBJECTIVES[name].unit
    return f"{OBJECTIVES[name].label} [{'m' if _scale(name) > 1 else ''}{unit}]"


def _line(axes: Any, world: dict[str, Any], facts: Facts, style: dict[str, Any]) -> None:
    scale = np.array([_scale(o) for o in facts.run.space.objectives[:2]])
    points = np.array([p.split() for p in world["front"]], dtype=np.float64) * scale
    axes.plot(points[:, 0], points[:, 1], drawstyle="steps-post", **style)
