"""Scores of predictions: in sample, held out by device and by model, per stratum, and term by term."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from dse.calibration.cases import Case
from dse.calibration.exclusions import reasons
from dse.calibration.fit import Fit, fit, predicted
from dse.calibration.predict import Served, prepare
from dse.calibration.rows import read_cases
from dse.catalog.catalog import Catalog
from dse.core.errors import DataError
from dse.core.units import BoolArray, FloatArray
from dse.physics import experts
from dse.serving.step_work import EXPERTS

UNMEASURED: Final = ("ideal", "textbook", "pooled")
"""stacks by definition: nothing ran on them"""


SPLITS: Final = ("none", "device", "model")


WITHIN: Final = 0.2


WIDE_TENSOR: Final = 16


@dataclass(frozen=True)
class Score:
    """Relative error of n predictions."""

    n: int
    mape: float
    median: float
    bias: float
    """median of predicted over measured less 1"""
    p90: float
    within: float
    """share of rows within 20 %"""

    def line(self) -> str:
        """As a person reads it, in percent."""
        if not self.n:
            return "n    0"
        return (
            f"n {self.n:4d}  MAPE {100 * self.mape:5.1f} %  median {100 * self.median:5.1f} %  bias "
            f"{100 * self.bias:+6.1f} %  "
            f"p90 {100 * self.p90:5.1f} %  within 20 %: {100 * self.within:3.0f} %"
        )


def score(ratio: FloatArray) -> Score:
    """Score of predicted over measured; rows without either are NaN and do not count."""
    seen = ratio[np.isfinite(ratio)]
    if not len(seen):
        return Score(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    error = np.abs(seen - 1.0)
    return Score(
        len(seen),
        float(error.mean()),
        float(np.median(error)),
        float(np.median(seen) - 1.0),
        float(np.quantile(error, 0.9)),
        float(np.mean(error <= WITHIN)),
    )


@dataclass(frozen=True)
class Rows:
    """Measured cases, prepared once, with the rule that excludes each ("" for a clean row)."""

    served: Served
    why: tuple[str, ...]
    unread: tuple[tuple[str, str], ...]
    """id and reason of every row that is no case"""

    @property
    def cases(self) -> tuple[Case, ...]:
        """Cases in order."""
        return self.served.cases

    @property
    def clean(self) -> BoolArray:
        """(n,) rows that a fit may use and a score counts."""
        return np.array([not w for w in self.why], dtype=bool)

    @property
    def distinct(self) -> BoolArray:
        """(n,) rows that are no duplicates: the all-rows score."""
        return np.array([w != "duplicate" for w in self.why], dtype=bool)

    def measured(self, metric: str) -> FloatArray:
        """(n,) TPOT or TTFT in s, NaN where there is none."""
        return np.array([getattr(c, metric) or np.nan for c in self.cases])


def measured_rows(
    rows: Sequence[Mapping[str, str]], catalog: Catalog, where: str = "the shipped rows"
) -> Rows:
    """Aggregated rows with a measured TPOT; a disaggregated row's labels do not fix its load.

    Raises:
        DataError: there is no such row, or none that a fit may use.

    """
    cases, places, refused = read_cases(rows, catalog)
    unread = [(rows[i].get("id", ""), why) for i, why in refused.items()]
    kept = []
    for c, i in zip(cases, places, strict=True):
        why = _unmeasured(c, rows[i])
        if why:
            unread.append((c.id, why))
        else:
            kept.append(c)
    if not kept:
        raise DataError(
            f"{where}: no aggregated row with a measured TPOT: {_commonest(why for _, why in unread)}"
        )
    served = prepare(kept, catalog)
    made = Rows(served, tuple(reasons(served, catalog)), tuple(unread))
    if not made.clean.any():
        raise DataError(f"{where}: none of {len(kept)} measured rows is clean: {_commonest(made.why)}")
    return made


def _unmeasured(case: Case, row: Mapping[str, str]) -> str:
    """Why a case cannot be scored, "" where it can."""
    if case.software in UNMEASURED:
        return f"backend {case.software}: no stack that was measured"
    if case.mode != "agg":
        return "disaggregated: workers and load are not fixed by its labels"
    if case.tpot is None:
        text = (row.get("silicon_tpot_ms") or "").strip()
        return (
            f"silicon_tpot_ms: got {text!r}, expected a number of ms above 0"
            if text
            else "no measured TPOT (silicon_tpot_ms)"
        )
    return ""


def _commonest(reasons_given: Iterable[str]) -> str:
    """The three commonest reasons with their counts."""
    return (
        "; ".join(f"{n} x {why}" for why, n in Counter(reasons_given).most_common(3))
        or "the file holds no row"
    )


@dataclass(frozen=True)
class Split:
    """Predictions of every row by fits that did not see it (``none``: by the fit to all clean rows)."""

    name: str
    tpot: FloatArray
    """(n,) predicted, NaN where the split does not test the row"""
    ttft: FloatArray
    fold: tuple[str, ...]
    """what each row was held out with, "" where it was not"""
    fits: Mapping[str, Fit]


def folds(rows: Rows, name: str) -> dict[str, tuple[BoolArray, BoolArray]]:
    """Rows fitted and rows tested, by fold; configurations never stand on both sides.

    ``device``: fitted on the first device by name, tested on the others; ``model``: each model tested by a
    fit to all others.
    """
    clean = rows.clean
    if name == "none":
        return {"": (clean, np.ones(len(clean), dtype=bool))}
    labels = np.array([c.device if name == "device" else c.llm for c in rows.cases])
    if name == "device":
        first = min(set(labels))
        return {f"fitted on {first}": (clean & (labels == first), labels != first)}
    return {str(label): (clean & (labels != label), labels == label) for label in sorted(set(labels))}


def split(
    rows: Rows,
    catalog: Catalog,
    name: str,
    held: Mapping[str, float] | None = None,
    served: Served | None = None,
) -> Split:
    """Fit and predict every fold of a split."""
    s = served or rows.served
    n = len(rows.cases)
    tpot, ttft, fold = np.full(n, np.nan), np.full(n, np.nan), [""] * n
    fits = {}
    for label, (train, test) in folds(rows, name).items():
        if not train.any() or not test.any():
            continue
        fits[label] = fit(s.take(np.nonzero(train)[0]), catalog, held)
        where = np.nonzero(test)[0]
        t = predicted(s.take(where), catalog, fits[label])
        tpot[where], ttft[where] = t.tpot, t.ttft
        for i in where:
            fold[i] = label
    return Split(name, tpot, ttft, tuple(fold), fits)


def ratios(rows: Rows, made: Split, metric: str, mask: BoolArray) -> FloatArray:
    """Predicted over measured of the rows of a mask that the split tests."""
    value = made.tpot if metric == "tpot" else made.ttft
    out: FloatArray = (value / rows.measured(metric))[mask]
    return out


STRATA: Final[Mapping[str, Callable[[Case], str]]] = {
    "device": lambda c: c.device,
    "model": lambda c: c.llm,
    "stack": lambda c: c.software,
    "precision": lambda c: c.format,
    "attention data-parallel": lambda c: (
        "more than 1 replica" if c.attention_dp > 1 or c.plan.replicas > 1 else "1"
    ),
    "tensor ranks as labelled": lambda c: (
        f"{WIDE_TENSOR} and more" if c.tensor >= WIDE_TENSOR else f"below {WIDE_TENSOR}"
    ),
    "GPUs a replica": lambda c: str(c.plan.group),
}


def strata(rows: Rows, made: Split, metric: str) -> list[tuple[str, str, Score, Score]]:
    """Kind of stratum, its name, score over clean rows, score over all."""
    out = []
    for kind, of in STRATA.items():
        labels = np.array([of(c) for c in rows.cases])
        for label in sorted(set(labels)):
            here = labels == label
            out.append(
                (
                    kind,
                    str(label),
                    score(ratios(rows, made, metric, here & rows.clean)),
                    score(ratios(rows, made, metric, here & rows.distinct)),
                )
            )
    return out


def worst(rows: Rows, made: Split, metric: str, most: int) -> list[tuple[Case, float, float]]:
    """Clean rows with the largest relative error: case, measured and predicted s."""
    value, seen = (made.tpot if metric == "tpot" else made.ttft), rows.measured(metric)
    error = np.where(rows.clean & np.isfinite(value) & np.isfinite(seen), np.abs(value / seen - 1.0), -1.0)
    return [
        (rows.cases[i], float(seen[i]), float(value[i])) for i in np.argsort(-error)[:most] if error[i] >= 0
    ]


def _no_skew(served: Served) -> Served:
    """Experts read as a uniform router would: E (1 - (1 - k/E)^tokens)."""
    return _experts(
        served,
        lambda model, tokens, ranks: experts.mean_load(
            model.experts, model.experts_per_token, tokens, ranks, 0.0
        )[1],
    )


def _all_experts(served: Served) -> Served:
    """Every expert read in every step."""
    return _experts(served, lambda model, _, ranks: model.experts / ranks)


def _experts(served: Served, distinct: Callable[[Any, float, int], Any]) -> Served:
    """Served cases whose steps read another number of experts."""
    from dse.calibration.predict import models_of

    plans = served.work.plans
    weights = plans.weights.copy()
    for i, model in enumerate(models_of(served)):
        if model.experts:
            ranks = int(plans.expert_parallel[i])
            bits = served.cases[i].load.stored("experts")
            slices = plans.group[i] / ranks
            weights[i, EXPERTS] = distinct(model, served.batch[i], ranks) * model.expert / slices * bits / 8
    return served.with_work(served.work.with_plans({"weights": weights}))


def _alike(served: Served) -> Served:
    """Every layer launches as many kernels as a dense one."""
    layers = served.work.workloads.layers
    return served.with_work(served.work.with_factors({"launches": layers}))


def _no_messages(served: Served) -> Served:
    """Collectives take no time."""
    none = np.zeros(len(served))
    return served.with_work(served.work.with_plans({"reduces": none, "exchanges": none}))


def _no_slack(served: Served) -> Served:
    """A joining prompt reads its weights again: it finds no idle compute."""
    return replace(served, alone=True)


ABLATIONS: Final[Mapping[str, tuple[Mapping[str, float], Callable[[Served], Served] | None]]] = {
    "nothing": ({}, None),
    "arriving prompts (prefill interference)": ({"prefill_share": 1e-9, "eager_launch_share": 0.0}, None),
    "prompts share the step's idle compute": ({}, _no_slack),
    "expected distinct experts: all are read": ({}, _all_experts),
    "skew of expert popularity and load": ({}, _no_skew),
    "overhead per layer": ({"layer": 0.0}, None),
    "overhead per MoE layer": ({"moe_layer": 0.0}, None),
    "kernels by kind of layer": ({}, _alike),
    "overhead per sequence": ({"sequence": 0.0}, None),
    "overhead per step": ({"step": 0.0}, None),
    "eager launches of prompt steps": ({"eager_launch_share": 0.0}, None),
    "FLOP efficiency by number format": ({"narrow": 1.0}, None),
    "emulated number formats": ({"emulation": 1.0}, None),
    "FLOP efficiency": ({"flop": 1.0, "flop_experts": 1.0}, None),
    "bandwidth efficiency": ({"dense": 1.0, "attention": 1.0, "experts": 1.0}, None),
    "collectives": ({}, _no_messages),
    "link efficiency": ({"link": 1.0}, None),
}
"""term -> factors held and change of the traffic that leave it out; the rest is fitted again"""


def ablate(rows: Rows, catalog: Catalog, watch: Callable[[str], None]) -> list[tuple[str, dict[str, Score]]]:
    """Scores of TPOT, clean rows, refitted without each term: in sample, by device, by model."""
    out = []
    for term, (held, change) in ABLATIONS.items():
        watch(term)
        served = change(rows.served) if change else rows.served
        out.append(
            (
                term,
                {
                    name: score(ratios(rows, split(rows, catalog, name, held, served), "tpot", rows.clean))
                    for name in SPLITS
                },
            )
        )
    return out
