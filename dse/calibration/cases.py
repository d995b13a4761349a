"""Rows of a serving table -> cases: device, model, number formats and the plan that really ran.

The columns are those of published serving samples (``system``, ``model_path``, ``tp_size`` ...). Their
traps are handled here and nowhere else, by rules that look at labels, never at times.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from typing import Final

from scipy.optimize import brentq

from dse.calibration.form_files import OFF
from dse.calibration.resolve import (
    device_name,
    llm_entry,
    number_format,
    stack_name,
    units_of,
)
from dse.catalog.catalog import Catalog
from dse.catalog.formats import STORED_BITS, arithmetic_bits
from dse.catalog.llm import LlmEntry
from dse.catalog.transformer import transformer
from dse.core.axes import GROUPS
from dse.core.errors import DataError
from dse.space.scenario import ModelLoad

DRAWN: Final = 0.9
"""mean over label of prompt and output lengths in results databases, which draw them between 0.8 and 1"""


REQUANTISED: Final = ("nvfp4", "mxfp4", "fp8")
"""formats into which a checkpoint published in INT4 is converted"""


MOST_RANKS: Final = 4096


MOST_TOKENS: Final = 1e8


MOST_DRAFTS: Final = 64.0


MOST_SHARED: Final = 0.999


MOST_FAILED: Final = 0.01
"""share of requests that may fail before a row says nothing of the batch it states"""


WIDE: Final = 16
"""labelled ranks from which a square of ranks is read as tensor and expert ranks multiplied"""


@dataclass(frozen=True)
class RankPlan:
    """Ranks of one worker."""

    group: int
    replicas: int
    expert_parallel: int
    batch: float
    """sequences in the whole group"""
    stages: int = 1


@dataclass(frozen=True)
class Case:
    """One row, read: what to predict and, where measured, what was seen; times in s."""

    id: str
    device: str
    llm: str
    software: str
    version: str
    load: ModelLoad
    format: str
    """number formats of weights and experts"""
    mode: str
    plan: RankPlan
    prefill: RankPlan | None
    """the prefill worker of a disaggregated row"""
    input_tokens: float
    output_tokens: float
    ttft: float | None = None
    tpot: float | None = None
    attention_dp: int = 1
    """as labelled"""
    tensor: int = 1
    """as labelled"""
    source: str = ""
    stated: float = 0.0
    """requests in flight that the source states, 0 where it does not"""
    labelled: float = 0.0
    """batch times attention data-parallel size, as labelled"""
    workers: tuple[int, int] = (1, 1)
    """prefill and decode workers of a disaggregated row"""
    prefix_share: float = 0.0
    """share of the prompt whose KV cache an earlier request left"""

    @property
    def configuration(self) -> tuple[object, ...]:
        """What makes two rows repeats of one another."""
        return (
            self.device,
            self.llm,
            self.software,
            self.version,
            self.format,
            self.mode,
            self.plan,
            self.prefill,
            self.input_tokens,
            self.output_tokens,
            self.load.draft_tokens,
            self.load.acceptance,
            self.prefix_share,
        )


def case_of(row: Mapping[str, str], catalog: Catalog) -> Case:
    """Read one row.

    Raises:
        DataError: what keeps it from being predicted, in a sentence.

    """
    device = device_name(catalog, row.get("system", ""))
    entry = llm_entry(catalog, row.get("model_path", ""))
    stack = stack_name(catalog, row.get("backend", ""))
    load, fmt = workload(row, entry.name, device, stack, catalog)
    mode = (row.get("mode") or "agg").strip().lower()
    if mode not in {"agg", "disagg"}:
        raise DataError(f"mode {mode!r}: expected agg or disagg")
    pools = [row.get(p + "tp_size", "") for p in ("prefill_", "decode_")]
    if mode == "disagg" and not all((p or "").strip() for p in pools):
        raise DataError(
            "mode disagg: the ranks of a pool are not said; expected prefill_tp_size and decode_tp_size"
        )
    plan = ranks(row, "" if mode == "agg" else "decode_", catalog.value("device", device, "domain", 8.0))
    prefill = (
        ranks(row, "prefill_", catalog.value("device", device, "domain", 8.0)) if mode == "disagg" else None
    )
    _startable(row, entry, (plan, prefill))
    for prefix in ("",) if mode == "agg" else ("decode_", "prefill_"):
        _dealt(row, entry, prefix)
    _answered(row)
    label = "" if mode == "agg" else "decode_"
    draft_tokens, acceptance = drafts(row)
    load = replace(load, draft_tokens=draft_tokens, acceptance=acceptance)
    longest = entry.shape["max_context"]
    if _number(row, "isl") + _number(row, "osl") > longest:
        asked = f"{_number(row, 'isl') + _number(row, 'osl'):,.0f} tokens"
        raise DataError(f"isl and osl: {asked}, {entry.name} takes at most {longest:,.0f}")
    drawn = DRAWN if dumped(row.get("silicon_data_source", "")) else 1.0
    return Case(
        id=row.get("id", ""),
        device=device,
        llm=entry.name,
        software=stack,
        version=row.get("backend_version", ""),
        load=load,
        format=fmt,
        mode=mode,
        plan=plan,
        prefill=prefill,
        input_tokens=_number(row, "isl") * drawn,
        output_tokens=_number(row, "osl") * drawn,
        ttft=_milliseconds(row, "silicon_ttft_ms"),
        tpot=_milliseconds(row, "silicon_tpot_ms"),
        attention_dp=_count(row, label + "attention_dp_size"),
        tensor=_count(row, label + "tp_size"),
        source=row.get("silicon_data_source", ""),
        stated=_stated(row),
        labelled=_number(row, label + "batch_size") * _count(row, label + "attention_dp_size"),
        workers=(_count(row, "prefill_num_workers"), _count(row, "decode_num_workers")),
        prefix_share=prefix_share(row),
    )


def _startable(row: Mapping[str, str], entry: LlmEntry, plans: Sequence[RankPlan | None]) -> None:
    """What engines refuse: heads that ranks do not divide, more stages than layers.

    Raises:
        DataError: which, and why.

    """
    for name in ("tp_size", "pp_size"):
        _count(row, name)  # also where a disaggregated row does not ask for it
    if row.get("batch_size", "").strip():
        _number(row, "batch_size")
    for p in filter(None, plans):
        fault = transformer(entry).tensor_fault(p.group // p.replicas)
        if fault:
            raise DataError(f"tp_size: {fault}: engines refuse to start")
        if p.stages > entry.shape["layers"]:
            raise DataError(f"pp_size: got {p.stages}, {entry.name} has {entry.shape['layers']} layers")


def _dealt(row: Mapping[str, str], entry: LlmEntry, prefix: str) -> None:
    """Ranks of experts are those of attention, dealt once more: what engines refuse of a run's own labels.

    Raises:
        DataError: expert ranks of a dense model, more of them than experts, or as many as no group has.

    """
    if dumped(row.get("silicon_data_source", "")):
        return
    tp, dp = _count(row, prefix + "tp_size"), _count(row, prefix + "attention_dp_size")
    slices, dealt = _count(row, prefix + "moe_tp_size"), _count(row, prefix + "moe_ep_size")
    named = f"{prefix}moe_ep_size {dealt}"
    if not entry.experts:
        if dealt > 1 or slices not in {1, tp}:
            raise DataError(f"{named}, {prefix}moe_tp_size {slices}: {entry.name} has no experts")
        return
    if dealt > entry.shape.get("experts", dealt):
        raise DataError(f"{named}: {entry.name} has {entry.shape['experts']} experts")
    told = bool((row.get(prefix + "moe_tp_size") or "").strip())
    whole = slices * dealt
    fits = whole in {1, tp * dp} or (not told and (tp * dp) % dealt == 0)
    wider = dealt == 1 and dp == 1 and whole % tp == 0  # attention is then data-parallel over the rest
    if not (fits or wider):
        raise DataError(
            f"{named} times {prefix}moe_tp_size {slices}: expected the {tp * dp} ranks of {prefix}tp_size "
            f"times {prefix}attention_dp_size, which experts are dealt over once more"
        )


def _answered(row: Mapping[str, str]) -> None:
    """What was in flight is what was asked for only where requests were answered.

    Raises:
        DataError: more than a few requests failed.

    """
    lost = _optional(row, "failed", 0.0, MOST_TOKENS) or 0.0
    done = _optional(row, "completed", 0.0, MOST_TOKENS)
    if done is not None and lost > MOST_FAILED * (lost + done):
        raise DataError(
            f"failed: {lost:,.0f} of {lost + done:,.0f} requests, so that fewer were in flight than the "
            "row says"
        )


def drafts(row: Mapping[str, str]) -> tuple[float, float]:
    """Tokens drafted per pass and the chance that one is taken; zeros where nothing is drafted.

    Engines tell the mean tokens won by a pass of k drafts instead, 1 + a + ... + a^k, or the share of drafts
    that were accepted, that less 1 over k.

    Raises:
        DataError: the row drafts and does not say how many tokens, or how many are taken.

    """
    kind = (row.get("spec_decoding") or "").strip().lower()
    won = _optional(row, "accept_length", 1.0, MOST_DRAFTS + 1.0)
    tokens = _optional(row, "draft_tokens", 0.0, MOST_DRAFTS)
    taken = _optional(row, "acceptance", 0.0, 1.0)
    share = _optional(row, "accepted_share", 0.0, 1.0)
    if share is not None and tokens and won is None:
        won = 1.0 + share * tokens
    if sum(x is not None for x in (won, taken)) > 1:
        raise DataError("acceptance: stands beside the length or share that was accepted; leave one out")
    if kind in OFF and (won or 1.0) <= 1.0:
        if tokens:
            raise DataError(
                f"spec_decoding: {kind or 'empty'} beside draft_tokens {tokens:g}; say which drafts"
            )
        return 0.0, 0.0
    if not tokens or (taken is None and won is None):
        raise DataError(
            f"spec_decoding: {kind or 'accept_length above 1'}: drafts change the time of a token; expected "
            "also draft_tokens and acceptance (columns, or --given), e.g. 3 and 0.7"
        )
    if taken is None:
        k, target = int(tokens), won or 1.0
        if target > k + 1:
            raise DataError(f"accept_length: got {target:g}, a pass of {k} drafts wins at most {k + 1}")
        taken = (
            float(brentq(lambda a: sum(a**i for i in range(k + 1)) - target, 0.0, 1.0)) if target > 1 else 0.0
        )
    return tokens, taken


def prefix_share(row: Mapping[str, str]) -> float:
    """Share of the prompt that an earlier request left in the cache.

    Raises:
        DataError: prefixes are cached and the row does not say what share of prompts they are.

    """
    share = _optional(row, "prefix_share", 0.0, MOST_SHARED)
    if share is None and (row.get("enable_prefix_caching") or "").strip().lower() not in OFF:
        raise DataError(
            "enable_prefix_caching: the time of a first token hangs on the share of the prompt that is "
            "found; expected also prefix_share (a column, or --given), 0 where prompts have nothing in common"
        )
    return share or 0.0


def _optional(row: Mapping[str, str], key: str, low: float, high: float) -> float | None:
    """A number that a row may leave out."""
    text = (row.get(key) or "").strip()
    if text.lower() in {"", "none", "null", "nan"}:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise DataError(f"{key}: got {text[:20]!r}, expected a number from {low:g} to {high:g}")
    return value


def workload(
    row: Mapping[str, str], llm: str, device: str, stack: str, catalog: Catalog
) -> tuple[ModelLoad, str]:
    """Bits by class, stored and multiplied, of a row's precision columns.

    Served checkpoints keep LM head and embedding in 16 bit, and scores are computed in 16 bit. A model
    published in MXFP4 has those experts whatever the label says; one in INT4 unless the label names a format
    with units of its own; both have 16-bit attention. The KV cache follows FP8 weights, but for SGLang, whose
    default keeps it in 16 bit.
    """
    entry = catalog.llm(llm)
    named = re.search(r"nvfp4|mxfp4|fp8|int4|awq|gptq|w4a16|w8a8|int8|fp4", row.get("model_path", "").lower())
    overall = number_format(row.get("precision", ""), number_format(named[0] if named else "", "bf16"))
    dense = number_format(row.get("gemm_quant_mode", ""), overall)
    experts = number_format(row.get("moe_quant_mode", ""), dense) if entry.experts else dense
    published = entry.precision.removesuffix(" (experts)")
    if entry.precision.endswith("(experts)"):
        asked = "nvfp4" if "nvfp4" in row.get("model_path", "").lower() else experts
        dense, experts = "bf16", asked if published == "int4" and asked in REQUANTISED else published
    cache = row.get("kvcache_quant_mode", "").strip().lower()
    kv = 8.0 if dense in {"fp8", "nvfp4"} and stack != "sglang" else 16.0
    if cache == "auto" and stack == "vllm":
        kv = 16.0  # vLLM's own word for the width of the model's activations
    elif cache not in {"", "auto", "none", "nan"}:
        kv = STORED_BITS[number_format(cache)]
    attention = dense if dense != "nvfp4" else _attention_of_fp4(entry.attention)
    units = units_of(catalog, device)
    return ModelLoad(
        llm,
        1.0,
        1e9,
        STORED_BITS[dense],
        kv,
        float(arithmetic_bits(units, dense)),
        expert_bits=STORED_BITS[experts],
        attention_bits=STORED_BITS[attention],
        head_bits=16.0,
        expert_compute_bits=float(arithmetic_bits(units, experts)),
        attention_compute_bits=float(arithmetic_bits(units, attention)),
        score_compute_bits=16.0,
        head_compute_bits=16.0,
    ), f"{dense}/{experts}" if experts != dense else dense


def _attention_of_fp4(attention: str) -> str:
    """Published NVFP4 checkpoints of MLA models keep their attention projections in 16 bit."""
    return "bf16" if attention == "mla" else "nvfp4"


def ranks(row: Mapping[str, str], prefix: str, domain: float) -> RankPlan:
    """The ranks that really ran, from labels that sometimes multiply tensor by expert ranks.

    Dumps of a results database, and aggregated labels wider than the domain, write tensor times expert ranks:
    a square with equal expert slices and ranks (2 x 2, 4 x 4, 8 x 8), or with its root or all of it in
    attention data-parallel, stands for its root. Workers of a disaggregated row do span nodes and are read as
    labelled but for equal slices and ranks of a dump. Where experts name more ranks than attention and
    data-parallel ranks are not given, attention is data-parallel over the rest.
    """
    tp, pp = _count(row, prefix + "tp_size"), _count(row, prefix + "pp_size")
    dp = _count(row, prefix + "attention_dp_size")
    slices, dealt = _count(row, prefix + "moe_tp_size"), _count(row, prefix + "moe_ep_size")
    width = max(tp * dp, slices * dealt)
    root = dealt if slices == dealt > 1 else isqrt(width)
    believed = not dumped(row.get("silicon_data_source", "")) and (bool(prefix) or width <= domain)
    data_parallel = root * root == width >= WIDE and dealt == width and dp in {root, width} and not prefix
    multiplied = slices == dealt > 1 and root * root == width
    squared = not believed and root > 1 and (multiplied or data_parallel)
    batch = _number(row, prefix + "batch_size") * dp
    if _stated(row) and not prefix:
        batch = min(batch, _stated(row))
    if squared:
        group, replicas, dealt = root, (root if dp > 1 else 1), root
    else:
        group, replicas = width, max(width // tp, 1)
        told = bool((row.get(prefix + "moe_tp_size") or "").strip())
        if slices * dealt > 1 and (told or group % dealt):
            dealt = max(min(dealt, group), group // max(slices, 1))
    if group > GROUPS[-1] or group % replicas or group % dealt:
        raise DataError(
            f"plan: {group} ranks ({replicas} attention replicas, {dealt} expert ranks), expected "
            f"divisors of a group of up to {GROUPS[-1]}"
        )
    return RankPlan(group, replicas, dealt, max(batch, float(replicas)), pp)


def dumped(source: str) -> bool:
    """Whether a row comes from a dump of a results database rather than from a run's own file."""
    return re.search(r"db-dump|source_file=(\d{4}-\d\d-\d\d|[\w.-]*gap-analysis)\.csv", source) is not None


def _stated(row: Mapping[str, str]) -> float:
    """Requests in flight that the source states, 0 where it does not."""
    asked = re.search(r"concurrency=(\d+)", row.get("silicon_data_source", ""))
    return float(asked[1]) if asked else 0.0


def _count(row: Mapping[str, str], key: str) -> int:
    """A rank count; empty means one, and so does a zero of ranks that deal experts, copies or workers.

    Raises:
        DataError: not a whole number in range.

    """
    text = (row.get(key) or "").strip()
    try:
        value = float(text or 1)
    except ValueError:
        value = -1.0
    least = 1 if key.endswith(("pp_size", "tp_size")) and not key.endswith("moe_tp_size") else 0
    if not least <= value <= MOST_RANKS or value != int(value):
        raise DataError(f"{key}: got {text[:20]!r}, expected a whole number from 1 to {MOST_RANKS}, e.g. 8")
    return max(int(value), 1)


def _number(row: Mapping[str, str], key: str) -> float:
    text = (row.get(key) or "").strip()
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{key}: got {text[:20]!r}, expected a number above 0, e.g. 1024") from None
    if not 1 <= value <= MOST_TOKENS:
        raise DataError(f"{key}: got {text[:20]!r}, expected a number from 1 to {MOST_TOKENS:.0e}, e.g. 1024")
    return value


def _milliseconds(row: Mapping[str, str], key: str) -> float | None:
    """A measured time in s, None where the file has none."""
    text = (row.get(key) or "").strip()
    if text.lower() in {"", "nan", "none", "null"}:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise DataError(f"{key}: got {text[:20]!r}, expected milliseconds above 0, or nothing")
    return value / 1e3 if value else None
