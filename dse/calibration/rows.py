"""A table of serving rows in, the same table with predictions out."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dse.calibration.cases import Case, case_of
from dse.calibration.predict import Served, over_cards, prepare, soft_rows, times
from dse.catalog.catalog import DATA, Catalog
from dse.core.errors import DataError
from dse.core.text import inert
from dse.core.units import FloatArray

ADDED: Final = (
    "predicted_ttft_ms", "predicted_ttft_low_ms", "predicted_ttft_high_ms",
    "predicted_tpot_ms", "predicted_tpot_low_ms", "predicted_tpot_high_ms", "reason", "note",
)  # fmt: skip


NARROWEST_SEEN: Final = 8
"""bits of the narrowest arithmetic in the calibration rows"""


MOST: Final = 20_000
"""rows predicted together: a few hundred megabytes of columns"""


@dataclass(frozen=True)
class Interval:
    """Predictions of n rows with the range that four in five held-out measurements fell into, in s.

    Low and high are NaN where nobody calibrated the stack.
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray


def shipped_rows() -> list[dict[str, str]]:
    """The measured serving rows that ship with the tool."""
    return list(csv.DictReader(io.StringIO((DATA / "measured" / "serving.csv").read_text(encoding="utf-8"))))


def read_cases(
    rows: Sequence[Mapping[str, str]], catalog: Catalog
) -> tuple[list[Case], list[int], dict[int, str]]:
    """Cases of rows, the row of each, and why the others are none."""
    cases, where, refused = [], [], {}
    for i, row in enumerate(rows):
        try:
            cases.append(case_of(row, catalog))
            where.append(i)
        except DataError as error:
            refused[i] = str(error)
    return cases, where, refused


def intervals(served: Served, catalog: Catalog) -> tuple[Interval, Interval]:
    """TTFT and TPOT under the catalogued factors of each case's stack, with their ranges."""
    t = times(served, soft_rows(catalog, served.cases))
    return _ranged(served, catalog, t.ttft, "ttft"), _ranged(served, catalog, t.tpot, "tpot")


def _ranged(served: Served, catalog: Catalog, value: FloatArray, metric: str) -> Interval:
    """The stack's range of measured over predicted; a device it never ran on has the wider of two."""
    low, high = np.full(len(served), np.nan), np.full(len(served), np.nan)
    for i, c in enumerate(served.cases):
        entry = catalog.entry("software", c.software)
        names = [f"{metric}_ratio"]
        if c.device not in entry.attributes.get("devices", "").split():
            names.append(f"{metric}_ratio_unseen")
        known = [entry.values[n] for n in names if n in entry.values]
        if known:  # a range of few rows may lie to one side of the prediction
            low[i], high[i] = min(1.0, *(q.low for q in known)), max(1.0, *(q.high for q in known))
    return Interval(value, value * low, value * high)


def notes(s: Served, catalog: Catalog, each: FloatArray, first: FloatArray) -> list[str]:
    """What a reader must know of a prediction: a queue, or weights that do not fit by our count.

    ``each`` and ``first`` are the predicted TPOT and TTFT. A prefill pool queues where decode workers
    finish requests faster than it serves prompts.
    """
    out = []
    for c, room, tpot, ttft in zip(s.cases, s.room, each, first, strict=True):
        if c.prefill is not None:
            asked = c.workers[1] * c.plan.batch / (c.output_tokens * tpot)
            served = c.workers[0] * c.prefill.batch / ttft
            if asked > served:
                out.append(
                    f"a queue forms: {asked:.3g} prompts a second asked of prefill workers that serve "
                    f"{served:.3g}; TTFT without the wait"
                )
                continue
        flight = c.plan.batch / c.plan.stages
        if flight > room:
            out.append(
                f"a queue forms: KV cache for {room:.0f} of {flight:.0f} requests; TTFT without the wait"
            )
        else:
            if over_cards(catalog, c.device, c.plan.group):
                out.append(
                    f"{c.plan.group} ranks span more than a domain of {c.device}: their messages cross "
                    "network cards"
                )
                continue
            narrowest = min(c.load.computed("ffn"), c.load.computed("experts"))
            out.append(
                "beyond calibration: no calibrated chip multiplies in 4 bit"
                if narrowest < NARROWEST_SEEN
                else ""
            )
    return out


def predict_rows(rows: Sequence[Mapping[str, str]], catalog: Catalog) -> list[dict[str, str]]:
    """Rows with predictions added, or the reason why one has none."""
    out = [{**row, **dict.fromkeys(ADDED, "")} for row in rows]
    cases, where, refused = read_cases(rows, catalog)
    for i, why in refused.items():
        out[i]["reason"] = why
    for start in range(0, len(cases), MOST):
        part = prepare(cases[start : start + MOST], catalog)
        first, each = intervals(part, catalog)
        said = notes(part, catalog, each.value, first.value)
        for j, i in enumerate(where[start : start + MOST]):
            if part.room[j] <= 0:
                c = part.cases[j]
                out[i]["reason"] = f"{c.llm} in {c.format} does not fit in {c.plan.group} x {c.device}"
                continue
            if part.longest[j] > 1.0:
                c = part.cases[j]
                out[i]["reason"] = (
                    f"isl and osl: one request of {c.input_tokens + c.output_tokens:,.0f} tokens does not "
                    f"fit beside {c.llm} in {c.format} on {c.plan.group} x {c.device}"
                )
                continue
            for metric, r in (("ttft", first), ("tpot", each)):
                out[i][f"predicted_{metric}_ms"] = f"{1e3 * r.value[j]:.6g}"
                if np.isfinite(r.low[j]):
                    out[i][f"predicted_{metric}_low_ms"] = f"{1e3 * r.low[j]:.6g}"
                    out[i][f"predicted_{metric}_high_ms"] = f"{1e3 * r.high[j]:.6g}"
                else:
                    said[j] = said[j] or f"no range: nobody calibrated {part.cases[j].software}"
            out[i]["note"] = said[j]
    return out


def write_rows(header: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV text of rows, the file's own columns first."""
    columns = [*header, *(name for name in ADDED if name not in header)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writerow({k: inert(k) for k in columns})
    writer.writerows({k: _cell(str(row.get(k, ""))) for k in columns} for row in rows)
    return text.getvalue()


def _cell(text: str) -> str:
    """A cell that a spreadsheet will not run as a formula; numbers stay."""
    try:
        float(text)
    except ValueError:
        return inert(text)
    return text
