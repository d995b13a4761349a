"""Published measurements of a machine, to set beside a prediction of the same configuration."""

from __future__ import annotations

from math import log2
from typing import Any

from dse.calibration.cases import Case
from dse.calibration.predict import prepare
from dse.calibration.rows import intervals, notes, read_cases, shipped_rows
from dse.catalog.catalog import Catalog


def measured_cases(device: str, llm: str, catalog: Catalog) -> list[Case]:
    """Measured serving points of a device and model, disaggregated ones apart."""
    cases, _, _ = read_cases(shipped_rows(), catalog)
    return [
        c for c in cases if c.device == device and c.llm == llm and c.mode == "agg" and c.tpot is not None
    ]


def nearest_rows(
    cases: list[Case], batch: float, group: int, inputs: float, outputs: float, most: int
) -> list[Case]:
    """The cases nearest to a plan, in octaves of batch, group and lengths."""

    def away(c: Case) -> float:
        return (
            abs(log2(c.plan.batch / batch))
            + 2 * abs(log2(c.plan.group / group))
            + abs(log2(c.input_tokens / max(inputs, 1.0)))
            + abs(log2(c.output_tokens / max(outputs, 1.0)))
        )

    return sorted(cases, key=away)[:most]


def beside(cases: list[Case], catalog: Catalog) -> list[dict[str, Any]]:
    """Each case as plain values with our prediction of it, in s."""
    if not cases:
        return []
    served = prepare(cases, catalog)
    first, each = intervals(served, catalog)
    said = notes(served, catalog, each.value, first.value)
    return [
        {
            "id": c.id,
            "llm": c.llm,
            "software": c.software,
            "batch": c.plan.batch,
            "group": c.plan.group,
            "attention_replicas": c.plan.replicas,
            "input_tokens": c.input_tokens,
            "output_tokens": c.output_tokens,
            "measured_tpot": c.tpot,
            "measured_ttft": c.ttft,
            "source": c.source,
            "predicted_tpot": float(each.value[i]),
            "predicted_tpot_low": float(each.low[i]),
            "predicted_tpot_high": float(each.high[i]),
            "predicted_ttft": float(first.value[i]),
            "ratio": float(each.value[i]) / (c.tpot or 1.0),
            "note": said[i],
        }
        for i, c in enumerate(cases)
    ]
