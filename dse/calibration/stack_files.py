"""Write calibrated stacks into catalogue files: factors with their range, rows, error and spread."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from dse.calibration.fit import FITTED, FOLLOW, PRIOR, Fit
from dse.calibration.scores import Rows, Split, ratios, score, split
from dse.catalog.catalog import Catalog
from dse.catalog.schema import KINDS
from dse.core.text import inert
from dse.core.units import BoolArray, FloatArray
from dse.serving.software import FIELDS

POOLED: Final = "pooled"


COVER: Final = (0.08, 0.92)
"""quantiles of measured over predicted that low and high stand for: about four rows in five of a model
that neither the factors nor the range has seen"""


NARROWEST: Final = 0.05
"""share by which a factor's range goes out from its value at least: a bound is no certainty"""


TITLES: Final = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}


@dataclass(frozen=True)
class Calibration:
    """What a calibration found, ready to be written."""

    fit: Fit
    everything: Split
    """predictions by the fit itself"""
    by_model: Split
    by_device: Split
    rows: Rows

    @property
    def ids(self) -> tuple[str, ...]:
        """Rows the stored factors were fitted to."""
        return self.fit.rows


def calibrate(rows: Rows, catalog: Catalog) -> Calibration:
    """Fit all clean rows, and again without each model and each later device, for ranges and errors."""
    everything = split(rows, catalog, "none")
    return Calibration(
        everything.fits[""], everything, split(rows, catalog, "model"), split(rows, catalog, "device"), rows
    )


def stack_files(c: Calibration, catalog: Catalog, on: date) -> dict[str, str]:
    """File name -> TOML text of every calibrated stack and of the pooled one.

    ``pooled`` holds the common values: what a machine is judged with that no stack has run on. Its
    range spans the stacks.
    """
    return {f"{name}.toml": _text(name, c, catalog, on) for name in (*c.fit.stacks, POOLED)}


def _factors(name: str, c: Calibration) -> dict[str, tuple[float, float, float]]:
    """Field -> low, nominal, high of the fitted factors; the range is that of the refits without a model."""
    fits = [c.fit, *c.by_model.fits.values()]
    out = {}
    for factor in FITTED:
        nominal = c.fit.value(name, factor)
        seen = [f.value(s, factor) for f in fits for s in (f.stacks if name == POOLED else (name,))]
        out[FIELDS[factor]] = _spread(factor, nominal, seen)
    return out


def _spread(factor: str, nominal: float, seen: Sequence[float]) -> tuple[float, float, float]:
    """Range of refits, not narrower than 5 % either way; a share stays one."""
    low, high = min(*seen, nominal * (1 - NARROWEST)), max(*seen, nominal * (1 + NARROWEST))
    return low, nominal, min(high, 1.0) if KINDS["software"].fields[FIELDS[factor]].share else high


def balanced_quantiles(values: FloatArray, models: Sequence[str], at: Sequence[float]) -> tuple[float, ...]:
    """Quantiles in which every model weighs the same, however many rows it has."""
    names = np.array(models)
    weight = np.array([1.0 / np.sum(names == m) for m in models])
    order = np.argsort(values)
    reached = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    return tuple(float(np.interp(q, reached, values[order])) for q in at)


def nested_cover(rows: Rows, by_model: Split, metric: str) -> float:
    """Share of clean rows inside a range made without their model, as their prediction was."""
    seen = 1.0 / ratios(rows, by_model, metric, rows.clean)
    models = np.array([c.llm for c in rows.cases])[rows.clean]
    inside = np.zeros(len(seen), dtype=bool)
    for m in set(models):
        others = (models != m) & np.isfinite(seen)
        if others.any():
            low, high = balanced_quantiles(seen[others], list(models[others]), COVER)
            inside |= (models == m) & (seen >= low) & (seen <= high)
    return float(np.mean(inside[np.isfinite(seen)]))


def _text(name: str, c: Calibration, catalog: Catalog, on: date) -> str:
    prior = catalog.entry("software", PRIOR)
    fitted = _factors(name, c)
    mine = np.array([name in {POOLED, case.software} for case in c.rows.cases])
    used = mine & c.rows.clean
    title = (
        f"Software stack: {TITLES.get(name, name)}"
        if name != POOLED
        else "Common values of the calibrated stacks"
    )
    devices = sorted({case.device for case, on_it in zip(c.rows.cases, used, strict=True) if on_it})
    lines = [
        f'name = "{name}"',
        f'title = "{title}"',
        'readiness = "shipping"',
        (
            f'available = {{ low = {on.year}, nominal = {on.year}, high = {on.year}, unit = "year", '
            f'source = "date of the calibration" }}'
        ),
        f'calibrated = "{on.isoformat()}"',
        f'devices = "{" ".join(devices)}"',
        "",
        "[values]",
    ]
    source = f"fitted by dse calibrate to {int(used.sum())} served points of {', '.join(devices)}"
    for field in prior.values:
        quantity = prior.values[field]
        if field in fitted:
            lines.append(
                _line(field, fitted[field], quantity.unit, source, "range: refits without each model")
            )
        elif (lead := _leader(field)) is not None:
            ratio = quantity.nominal / prior.values[lead].nominal
            lines.append(
                _line(
                    field,
                    tuple(ratio * v for v in fitted[lead]),
                    quantity.unit,
                    source,
                    f"{ratio:.3g} times {lead}, as in {PRIOR}",
                )
            )
        else:
            lines.append(
                _line(
                    field,
                    (quantity.low, quantity.nominal, quantity.high),
                    quantity.unit,
                    quantity.source,
                    quantity.note,
                )
            )
    lines += _errors(c, mine)
    return "\n".join(lines) + "\n"


def _leader(field: str) -> str | None:
    """Field that a factor keeps its ratio to."""
    for follower, lead in FOLLOW.items():
        if FIELDS[follower] == field:
            return FIELDS[lead]
    return None


def _errors(c: Calibration, mine: BoolArray) -> list[str]:
    """Errors held out by model, and the ranges of measured over predicted."""
    out = [
        _line(
            "calibration_rows",
            (int((mine & c.rows.clean).sum()),) * 3,
            "1",
            "rows of this stack that were fitted",
            "",
        )
    ]
    for metric in ("tpot", "ttft"):
        inside, apart = (
            score(ratios(c.rows, s, metric, mine & c.rows.clean)) for s in (c.everything, c.by_model)
        )
        held = max(apart.mape, inside.mape) if apart.n else inside.mape
        errors = (min(inside.mape, held), held, max(inside.p90, held))
        what = "mean relative error: in sample, leave-one-model-out; high the 90th percentile in sample"
        out.append(_line(f"{metric}_error", errors, "ratio", what, ""))
        for name, made in (("ratio", c.by_model), ("ratio_unseen", c.by_device)):
            seen = 1.0 / ratios(c.rows, made, metric, c.rows.clean)
            models = np.array([case.llm for case in c.rows.cases])[c.rows.clean]
            ok = np.isfinite(seen)
            if ok.any():
                low, middle, high = balanced_quantiles(seen[ok], list(models[ok]), (COVER[0], 0.5, COVER[1]))
                how = "models left out one by one" if name == "ratio" else "devices the fit did not see"
                what = (
                    f"measured over predicted, all stacks, {how}, each model weighing the same: 8th, "
                    f"50th and 92nd percentile of {int(ok.sum())} rows"
                )
                out.append(_line(f"{metric}_{name}", (low, middle, high), "ratio", what, ""))
    return out


def _line(field: str, values: Sequence[float], unit: str, source: str, note: str) -> str:
    low, nominal, high = (f"{v:.4g}" for v in values)
    said = f', note = "{note}"' if note else ""
    return (
        f'{field} = {{ low = {low}, nominal = {nominal}, high = {high}, unit = "{unit}", source '
        f'= "{source}"{said} }}'
    )


def rows_text(c: Calibration) -> str:
    """CSV of every row with its part in the calibration: the record of what was fitted and what held out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "id",
            "stack",
            "device",
            "model",
            "clean",
            "excluded_by",
            "fitted",
            "fold_by_model",
            "fold_by_device",
        ]
    )
    clean = c.rows.clean  # a fit takes every clean row and no other
    for i, case in enumerate(c.rows.cases):
        row = [
            case.id,
            case.software,
            case.device,
            case.llm,
            int(clean[i]),
            c.rows.why[i],
            int(clean[i]),
            c.by_model.fold[i],
            c.by_device.fold[i],
        ]
        writer.writerow([inert(str(x)) for x in row])
    return text.getvalue()


def widths(
    rows: Rows, made: Split, metric: str, bounds: Mapping[str, tuple[float, float]]
) -> tuple[float, float]:
    """Share of clean rows inside their stack's range, and the median of high over low."""
    seen = 1.0 / ratios(rows, made, metric, rows.clean)
    stack = np.array([c.software for c in rows.cases])[rows.clean]
    low, high = (np.array([bounds[s][k] for s in stack]) for k in (0, 1))
    ok = np.isfinite(seen)
    return float(np.mean(((seen >= low) & (seen <= high))[ok])), float(np.median(high / low))
