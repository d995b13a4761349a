"""Published measurements that ship with the tool: rows of machines that exist, to set beside a prediction."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from math import log2
from typing import Any

from dse.catalog import DATA, Catalog
from dse.errors import DseError
from dse.evaluator.point import evaluate
from dse.plan import GROUPS


@dataclass(frozen=True)
class Row:
    """One measured serving point."""

    id: str
    device: str
    llm: str
    software: str
    weight_bits: float
    batch: int
    tensor_parallel: int
    attention_dp: int
    input_tokens: float
    output_tokens: float
    ttft: float | None
    tpot: float
    source: str


def rows(device: str, llm: str | None = None) -> list[Row]:
    """Measured rows of a device (and model)."""
    text = (DATA / "measured" / "serving.csv").read_text(encoding="utf-8")
    out = []
    for r in csv.DictReader(text.splitlines()):
        if r["device"] == device and (llm is None or r["llm"] == llm):
            out.append(Row(r["id"], r["device"], r["llm"], r["software"], float(r["weight_bits"]), int(r["batch"]), int(r["tensor_parallel"]),
                           int(r["attention_dp"]), float(r["input_tokens"]), float(r["output_tokens"]),
                           float(r["ttft_ms"]) / 1e3 if r["ttft_ms"] else None, float(r["tpot_ms"]) / 1e3, r["source"]))  # fmt: skip
    return out


def nearest(
    found: list[Row], batch: int, tensor_parallel: int, input_tokens: float, output_tokens: float, most: int
) -> list[Row]:
    """The measured rows nearest to a plan, in octaves of batch, group and lengths."""

    def away(r: Row) -> float:
        return (abs(log2(r.batch / batch)) + 2 * abs(log2(r.tensor_parallel / tensor_parallel))
                + abs(log2(max(r.input_tokens, 1) / max(input_tokens, 1))) + abs(log2(max(r.output_tokens, 1) / max(output_tokens, 1))))  # fmt: skip

    return sorted(found, key=away)[:most]


def beside(row: Row, target: str, catalog: Catalog) -> dict[str, Any]:
    """The measured row with our prediction of the same configuration, or why there is none."""
    out: dict[str, Any] = {"id": row.id, "llm": row.llm, "software": row.software, "batch": row.batch, "tensor_parallel": row.tensor_parallel,
                           "attention_dp": row.attention_dp, "input_tokens": row.input_tokens, "output_tokens": row.output_tokens,
                           "measured_tpot": row.tpot, "measured_ttft": row.ttft, "source": row.source}  # fmt: skip
    group = max(row.tensor_parallel, row.attention_dp)
    if group not in GROUPS:
        return out | {"reason": f"a group of {group} is not a power of two"}
    kv = 8.0 if row.weight_bits <= 8 and row.software != "llamacpp" else 16.0
    try:
        e = evaluate(target, device=row.device, llm=row.llm, batch=max(row.batch, group if row.attention_dp > 1 else 1), tensor_parallel=group,
                     attention="dp" if row.attention_dp > 1 else "tp", input_tokens=row.input_tokens, output_tokens=row.output_tokens,
                     weight_bits=row.weight_bits, kv_bits=kv, compute_bits=16.0 if row.weight_bits > 8 or row.weight_bits < 8 else 8.0,
                     software=row.software, catalog=catalog)  # fmt: skip
    except DseError as error:
        return out | {"reason": str(error)}
    if e.plan["pipeline depth"] > 1:
        return out | {
            "reason": "by our count the KV cache of this batch does not fit in the group (the run queued or spilled)"
        }
    tpot = e.decode_time if target == "mobile" else e.tpot
    return out | {"predicted_tpot": tpot, "predicted_ttft": e.ttft, "ratio": tpot / row.tpot}
