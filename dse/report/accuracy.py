"""The accuracy report: scores by split and stratum, worst rows, ablations, parity plots.

One page and one CSV.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dse.calibration.exclusions import RULES
from dse.calibration.rows import intervals
from dse.calibration.scores import Rows, Score, Split, ratios, score, strata, worst
from dse.calibration.stack_files import nested_cover, widths
from dse.catalog.catalog import Catalog
from dse.core.text import inert
from dse.report.document import STYLE

WORST: Final = 12


TITLES: Final[Mapping[str, str]] = {
    "none": "In sample (fitted to all clean rows)",
    "device": "By device (fitted on the first by name, tested on the others)",
    "model": "By model (each model predicted by a fit to the others)",
}


METRICS: Final = ("tpot", "ttft")


COLOURS: Final = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#9467bd",
    "#17becf",
    "#e377c2",
    "#d62728",
    "#7f7f7f",
    "#111111",
    "#bcbd22",
    "#8c564b",
)


TICKS: Final = tuple(m * 10.0**e for e in range(-1, 7) for m in (1, 2, 5))


@dataclass
class Findings:
    """Everything the report shows."""

    rows: Rows
    splits: list[Split]
    catalog: Catalog
    ablations: list[tuple[str, dict[str, Score]]] | None = None
    cover: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """metric -> share of held-out clean rows inside the catalogued range, median of high over low, share
    inside a range that was made without their model too
    """
    others: list[tuple[str, list[str]]] = field(default_factory=list)
    """title -> lines of what is measured elsewhere: phones, operators, claims"""

    def lines(self) -> list[tuple[str, list[str]]]:
        """What the command prints: title and lines."""
        out: list[tuple[str, list[str]]] = []
        for made in self.splits:
            block = []
            for metric in METRICS:
                block.append(
                    f"{metric.upper()} clean rows  "
                    f"{score(ratios(self.rows, made, metric, self.rows.clean)).line()}"
                )
                block.append(
                    f"{metric.upper()} all rows    "
                    f"{score(ratios(self.rows, made, metric, self.rows.distinct)).line()}"
                )
            out.append((TITLES[made.name], block))
        last = self.splits[-1]
        for metric in METRICS:
            table = [
                f"{kind:26s} {name:22s} {clean.line()}"
                for kind, name, clean, _ in strata(self.rows, last, metric)
                if clean.n
            ]
            out.append((f"{metric.upper()} by stratum, clean rows, split {last.name}", table))
        for metric, (share, width, nested) in self.cover.items():
            out.append(
                (
                    f"{metric.upper()} range",
                    [
                        (
                            f"{100 * share:.0f} % of clean rows, each predicted without its model, lie "
                            "between "
                            f"low and high; {100 * nested:.0f} % where the range is made without their model "
                            f"too; median high / low {width:.2f}"
                        )
                    ],
                )
            )
        return [*out, *self._rules_and_worst(), *self.others]

    def _rules_and_worst(self) -> list[tuple[str, list[str]]]:
        """What rules exclude, what each term is worth, and the rows that are predicted worst."""
        out: list[tuple[str, list[str]]] = []
        last = self.splits[-1]
        out.append(
            (
                "Excluded rows, by rules that look at labels and measurements only",
                [
                    f"{n:4d}  {why}: {RULES[why]}"
                    for why, n in Counter(w for w in self.rows.why if w).most_common()
                ]
                + [
                    f"{n:4d}  not read: {why}"
                    for why, n in Counter(why for _, why in self.rows.unread).most_common()
                ],
            )
        )
        if self.ablations:
            out.append(
                (
                    "Error without each term (TPOT MAPE, refitted): in sample, by device, by model",
                    [
                        f"{term:46s} " + "  ".join(f"{100 * s.mape:5.1f} %" for s in scores.values())
                        for term, scores in self.ablations
                    ],
                )
            )
        out.append(
            (
                f"Worst clean rows, split {last.name}",
                [
                    f"{c.software:7s} {c.llm:20s} {c.device:9s} batch {c.plan.batch:4.0f}  "
                    f"{c.input_tokens:.0f}/{c.output_tokens:.0f}  "
                    f"measured {1e3 * seen:7.2f} ms  predicted {1e3 * value:7.2f} ms  {c.id}"
                    for c, seen, value in worst(self.rows, last, "tpot", WORST)
                ],
            )
        )
        return out


def findings(
    rows: Rows,
    splits: Sequence[Split],
    catalog: Catalog,
    ablations: list[tuple[str, dict[str, Score]]] | None = None,
) -> Findings:
    """Gather a report; the catalogued ranges are scored on the split by model where it was made."""
    made = Findings(rows, list(splits), catalog, ablations)
    held_out = next((s for s in splits if s.name == "model"), None)
    stacks = {c.software for c in rows.cases}
    for metric in METRICS:
        bounds = {}
        for stack in stacks:
            known = catalog.entry("software", stack).values.get(f"{metric}_ratio")
            if known is not None:
                bounds[stack] = (known.low, known.high)
        if held_out is not None and set(bounds) == stacks:
            made.cover[metric] = (
                *widths(rows, held_out, metric, bounds),
                nested_cover(rows, held_out, metric),
            )
    return made


def accuracy_csv(made: Findings) -> str:
    """Every row with its exclusion, measured and predicted times, range and fold, per split."""
    rows = made.rows
    text = io.StringIO()
    columns = [
        "id",
        "stack",
        "version",
        "device",
        "model",
        "format",
        "gpus",
        "attention_replicas",
        "expert_parallel",
        "batch",
        "input_tokens",
        "output_tokens",
        "excluded_by",
        "measured_tpot_ms",
        "measured_ttft_ms",
        "catalogue_tpot_ms",
        "catalogue_tpot_low_ms",
        "catalogue_tpot_high_ms",
        "catalogue_ttft_ms",
    ]
    for s in made.splits:
        columns += [f"{s.name}_fold", f"{s.name}_tpot_ms", f"{s.name}_ttft_ms"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    first, each = intervals(rows.served, made.catalog)

    def ms(value: float | None) -> str:
        return "" if value is None or not np.isfinite(value) else f"{1e3 * value:.6g}"

    for i, c in enumerate(rows.cases):
        line = [
            c.id,
            c.software,
            c.version,
            c.device,
            c.llm,
            c.format,
            c.plan.group,
            c.plan.replicas,
            c.plan.expert_parallel,
            f"{c.plan.batch:g}",
            f"{c.input_tokens:g}",
            f"{c.output_tokens:g}",
            rows.why[i],
            ms(c.tpot),
            ms(c.ttft),
            ms(each.value[i]),
            ms(each.low[i]),
            ms(each.high[i]),
            ms(first.value[i]),
        ]
        for s in made.splits:
            line += [s.fold[i], ms(s.tpot[i]), ms(s.ttft[i])]
        writer.writerow([inert(str(x)) for x in line])
    return text.getvalue()


def _guides(figure: go.Figure, low: float, high: float) -> None:
    """Lines of equality and of 20 % over and under, from ``low`` to ``high`` [ms]."""
    for name, factor, dash in (
        ("equal", 1.0, "solid"),
        ("20 % over", 1.2, "dot"),
        ("20 % under", 0.8, "dot"),
    ):
        figure.add_trace(
            go.Scatter(
                x=[low, high],
                y=[low * factor, high * factor],
                mode="lines",
                name=name,
                showlegend=name == "equal",
                line={"color": "#8a96a3", "dash": dash, "width": 1},
                hoverinfo="skip",
            )
        )


def _log_axes(figure: go.Figure, metric: str, low: float, high: float) -> None:
    """Both axes logarithmic, from ``low`` to ``high`` [ms]."""
    axis = {
        "type": "log",
        "gridcolor": "#e3e9ef",
        "range": [float(np.log10(low)), float(np.log10(high))],
        "tickvals": list(TICKS),
        "ticktext": [f"{t:g}" for t in TICKS],
        "minor": {"showgrid": False},
    }
    figure.update_layout(
        height=560,
        margin={"l": 70, "r": 20, "t": 30, "b": 60},
        plot_bgcolor="#fff",
        font={"size": 13},
        xaxis={**axis, "title": f"measured {metric.upper()} [ms]"},
        yaxis={**axis, "title": f"predicted {metric.upper()} [ms]"},
        legend={"font": {"size": 12}},
    )


def _parity(made: Findings, s: Split, metric: str) -> str:
    """Predicted against measured on log axes, a colour per model; excluded rows hollow."""
    rows = made.rows
    value = s.tpot if metric == "tpot" else s.ttft
    seen = rows.measured(metric)
    ok = np.isfinite(value) & np.isfinite(seen)
    if not ok.any():
        return (
            "<p>Nothing to draw: this split needs rows of two "
            f"{s.name + 's' if s.name != 'none' else 'kinds'}, with a measured {metric.upper()}.</p>"
        )
    models = np.array([c.llm for c in rows.cases])
    figure = go.Figure()
    low, high = float(np.min(seen[ok])) * 800, float(np.quantile(np.maximum(seen, value)[ok], 0.999)) * 1200
    _guides(figure, low, high)
    for k, model in enumerate(sorted(set(models))):
        for clean in (True, False):
            here = ok & (models == model) & (rows.clean == clean)
            if here.any():
                figure.add_trace(
                    go.Scatter(
                        x=1e3 * seen[here],
                        y=1e3 * value[here],
                        mode="markers",
                        name=model,
                        legendgroup=model,
                        showlegend=clean or not (ok & (models == model) & rows.clean).any(),
                        text=[
                            rows.cases[i].id + (f" ({rows.why[i]})" if not clean else "")
                            for i in np.nonzero(here)[0]
                        ],
                        hovertemplate="%{text}<br>measured %{x:.4g} "
                        "ms<br>predicted %{y:.4g} ms<extra></extra>",
                        marker={
                            "color": COLOURS[k % len(COLOURS)],
                            "size": 5,
                            "symbol": "circle" if clean else "circle-open",
                            "opacity": 0.75 if clean else 0.4,
                        },
                    )
                )
    _log_axes(figure, metric, low, high)
    data = json.loads(figure.to_json())
    body = json.dumps(
        {"data": data["data"], "layout": data["layout"]}, separators=(",", ":"), allow_nan=False
    )
    body = body.replace("<", "\\u003c").replace(">", "\\u003e")
    spot = f"p_{s.name}_{metric}"
    return (
        f'<div id="{spot}"></div><script>(function(){{var '
        f'f={body};Plotly.newPlot("{spot}",f.data,f.layout,'
        "{responsive:true,displaylogo:false});})();</script>"
    )


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    head = "".join(
        f"<th{' style=text-align:right' if k and body and _numeric(body[0][k]) else ''}>{escape(h)}</th>"
        for k, h in enumerate(header)
    )
    lines = "".join(
        "<tr>"
        + "".join(
            f'<td class="{"n" if k and _numeric(x) else ""}">{escape(x)}</td>' for k, x in enumerate(row)
        )
        + "</tr>"
        for row in body
    )
    return f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>'


def _numeric(text: str) -> bool:
    return not text or text.lstrip("+-").replace(".", "", 1).isdigit()


def _cells(s: Score) -> list[str]:
    if not s.n:
        return ["0", "", "", "", "", ""]
    return [
        str(s.n),
        *(f"{100 * v:.1f}" for v in (s.mape, s.median)),
        f"{100 * s.bias:+.1f}",
        f"{100 * s.p90:.1f}",
        f"{100 * s.within:.0f}",
    ]


SCORES: Final = ("n", "MAPE [%]", "median [%]", "bias [%]", "p90 [%]", "within 20 % [%]")


def _split_table(made: Findings) -> str:
    """Scores of every split and metric, clean rows and all."""
    rows = made.rows
    body = []
    for s in made.splits:
        for metric in METRICS:
            for label, mask in (("clean", rows.clean), ("all", rows.distinct)):
                body.append(
                    [
                        f"{TITLES[s.name]}, {metric.upper()}, {label} rows",
                        *_cells(score(ratios(rows, s, metric, mask))),
                    ]
                )
    return _table(["split", *SCORES], body)


def _strata_tables(made: Findings) -> list[str]:
    """Scores by stratum of the last split."""
    rows, last, parts = made.rows, made.splits[-1], list[str]()
    for metric in METRICS:
        parts.append(f"<h2>{metric.upper()} by stratum, split {escape(last.name)}: clean rows, then all</h2>")
        parts.append(
            _table(
                ["stratum", *SCORES, *(f"all: {h}" for h in SCORES[:4])],
                [
                    [f"{kind}: {name}", *_cells(clean), *_cells(every)[:4]]
                    for kind, name, clean, every in strata(rows, last, metric)
                ],
            )
        )
    return parts


def _ablation_table(made: Findings) -> list[str]:
    """Error without each term of the fit."""
    parts = list[str]()
    if made.ablations:
        parts.append("<h2>Error without each term: TPOT MAPE [%], clean rows, the rest refitted</h2>")
        parts.append(
            _table(
                ["left out", *(TITLES[n].split(" (")[0] for n in made.ablations[0][1])],
                [
                    [term, *(f"{100 * v.mape:.1f}" for v in scores.values())]
                    for term, scores in made.ablations
                ],
            )
        )
    return parts


def _rules_and_worst(made: Findings) -> list[str]:
    """Rules that exclude rows, and the clean rows that are predicted worst."""
    rows, last, parts = made.rows, made.splits[-1], list[str]()
    parts.append(
        "<h2>Rules that exclude rows</h2><p>They look at labels and measurements, never at our error.</p>"
    )
    counts = Counter(rows.why)
    parts.append(
        _table(["rule", "rows", "meaning"], [[why, str(counts[why]), text] for why, text in RULES.items()])
    )
    parts.append(f"<h2>Worst clean rows, split {escape(last.name)}</h2>")
    parts.append(
        _table(
            ["id", "measured [ms]", "predicted [ms]", "ratio"],
            [
                [c.id, f"{1e3 * seen:.2f}", f"{1e3 * value:.2f}", f"{value / seen:.2f}"]
                for c, seen, value in worst(rows, last, "tpot", WORST)
            ],
        )
    )
    return parts


def accuracy_html(made: Findings) -> str:
    """The page: plotly inside, no network."""
    rows = made.rows
    parts = [
        "<h1>How far predictions lie from measurements</h1>",
        (
            f"<p>{len(rows.cases)} served points of "
            f"{escape(', '.join(sorted({c.device for c in rows.cases})))}; {int(rows.clean.sum())} clean, "
            f"{int(rows.distinct.sum())} without duplicates. Relative error of predicted over "
            "measured; bias is the median.</p>"
        ),
    ]
    parts.append(_split_table(made))
    for metric, (share, width, nested) in made.cover.items():
        parts.append(
            f"<p>{metric.upper()}: {100 * share:.0f} % of clean rows, each predicted without its "
            f"model, lie between the stated low and high, {100 * nested:.0f} % if the range is made "
            f"without their model too; the median of high over low is {width:.2f}.</p>"
        )
    for s in made.splits:
        parts.append(f"<h2>{escape(TITLES[s.name])}</h2>")
        for metric in METRICS:
            parts.append(
                f"<h3>{metric.upper()}: predicted against measured (hollow: excluded "
                f"rows)</h3>{_parity(made, s, metric)}"
            )
    parts += [*_strata_tables(made), *_ablation_table(made), *_rules_and_worst(made)]
    for title, lines in made.others:
        parts.append(f"<h2>{escape(title)}</h2><pre>{escape(chr(10).join(lines))}</pre>")
    style = (
        STYLE
        + "body{max-width:72rem}td:first-child{overflow-wrap:anywhere}"
        + "pre{white-space:pre;overflow-x:auto;font-size:.78rem}"
    )
    return (
        '<!doctype html><html lang="en"><head><meta '
        f'charset="utf-8"><title>Accuracy</title><style>{style}</style>'
        f"<script>{get_plotlyjs()}</script></head><body>{''.join(parts)}</body></html>"
    )
