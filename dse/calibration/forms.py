"""Measured and predicted points in the form of the tool that wrote them -> rows of a serving table.

A form is known by its own column names: InferenceX results, ``vllm bench serve``, ``sglang.bench_serving``,
GenAI-Perf and AIPerf exports, aiconfigurator's tables, and the serving tables that ship with this tool. What
a file leaves out (a benchmark client does not know the device) is asked for and given with ``--given``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dse.calibration.form_files import OFF, ON, own_rows
from dse.calibration.resolve import STACKS
from dse.catalog.hf_checkpoint import named_count
from dse.core.errors import DataError, nearest

NEEDED: Final = ("backend", "model_path", "system", "isl", "osl")
BATCHES: Final = ("batch_size", "decode_batch_size")

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "system": ("hw", "hardware", "gpu", "gpu_name", "device", "accelerator", "(p)system", "(d)system"),
    "model_path": ("model", "model_id", "model_name"),
    "backend": ("framework", "engine", "inference_backend", "(p)backend", "(d)backend"),
    "backend_version": ("version", "framework_version"),
    "precision": ("quantization", "weight_precision"),
    "gemm_quant_mode": ("gemm",),
    "moe_quant_mode": ("moe",),
    "kvcache_quant_mode": ("kvcache", "kv_cache_dtype"),
    "isl": (
        "input_len",
        "random_input_len",
        "input_tokens",
        "input_sequence_length",
        "synthetic_input_tokens",
    ),
    "osl": ("output_len", "random_output_len", "output_tokens", "output_sequence_length"),
    "batch_size": ("bs",),
    "concurrency": ("conc", "max_concurrency"),
    "tp_size": ("tp", "tensor_parallel_size", "tensor_parallel", "tp_degree"),
    "pp_size": ("pp", "pipeline_parallel_size", "pipeline_parallel"),
    "attention_dp_size": ("dp", "dp_size", "data_parallel_size"),
    "moe_tp_size": ("moe_tp",),
    "moe_ep_size": ("moe_ep", "ep", "ep_size", "expert_parallel_size"),
    "silicon_ttft_ms": ("mean_ttft_ms", "ttft_ms", "ttft"),
    "silicon_tpot_ms": ("mean_tpot_ms", "tpot_ms", "tpot"),
    "spec_decoding": ("speculative", "speculative_algorithm", "speculative_decoding", "spec_method"),
    "draft_tokens": (
        "num_speculative_tokens",
        "speculative_num_steps",
        "spec_decode_num_speculative_tokens",
        "nextn",
    ),
    "prefix_tokens": ("prefix", "prefix_len", "prefix_length", "random_prefix_len"),
    "acceptance": (),
    "accepted_share": (
        "acceptance_rate",
        "accept_rate",
        "draft_acceptance_rate",
        "spec_decode_acceptance_rate",
    ),
    "accept_length": ("spec_decode_acceptance_length", "mean_acceptance_length"),
    "prefix_share": ("prefix_cache_hit_rate", "cached_share"),
    "enable_prefix_caching": ("prefix_caching", "enable_prefix_cache"),
    "mode": (),
    "disagg": ("disaggregated",),
}
"""column of a serving table -> the names that tools write it under"""

SETTINGS: Final = frozenset(
    {
        "precision",
        "gemm_quant_mode",
        "moe_quant_mode",
        "kvcache_quant_mode",
        "tp_size",
        "pp_size",
        "attention_dp_size",
        "moe_tp_size",
        "moe_ep_size",
        "draft_tokens",
        "prefix_tokens",
        "accepted_share",
    }
)
"""columns that were set and not measured, so that two names for one of them must agree"""

BEARING: Final = (
    "speculative_config",
    "beam_width",
    "best_of",
    "use_beam_search",
    "image_tokens",
    "num_images",
)
"""columns that change the answer in ways that are not modelled; off, or 1, they change nothing"""

WORKERS: Final = {
    "tp": "tp_size",
    "pp": "pp_size",
    "dp": "attention_dp_size",
    "ep": "moe_ep_size",
    "moe_tp": "moe_tp_size",
    "moe_ep": "moe_ep_size",
    "bs": "batch_size",
    "workers": "num_workers",
    "num_workers": "num_workers",
    "dp_attention": "dp_attention",
}
"""what a pool of workers writes behind ``(p)``, ``prefill_`` and the like -> a serving table's ending"""

POOLS: Final = {
    "prefill_": ("prefill_", "prefill_", "(p)"),
    "decode_": ("decode_", "decode_", "(d)"),
}

SECONDS: Final = {
    "silicon_ttft_ms": ("mean_ttft", "median_ttft"),
    "silicon_tpot_ms": ("mean_tpot", "median_tpot"),
}
"""InferenceX writes latencies in seconds"""

LONGEST: Final = 300.0
"""s of a first token above which a column is not in seconds; a hundredth of it for a token"""

CLIENTS: Final = (
    "openai",
    "openai-chat",
    "openai-audio",
    "openai-embeddings",
    "openai-completions",
    "vllm-chat",
    "sglang-oai",
    "sglang-oai-chat",
    "sglang-native",
    "trt",
    "lmdeploy",
    "lmdeploy-chat",
)
"""what clients of a benchmark name the protocol they speak; those of one engine name it"""


KNOWN: Final = frozenset(
    {
        *NAMES,
        *(name for names in NAMES.values() for name in names),
        *(f"{mine}{end}" for mine in POOLS for end in WORKERS.values()),
        *(f"{theirs}{end}" for names in POOLS.values() for theirs in names for end in WORKERS),
        *(name for names in SECONDS.values() for name in names),
        "id",
        "silicon_data_source",
        "dp_attention",
        "accept_length",
        "backend",
        "endpoint_type",
        "completed",
        "failed",
        "num_prompts",
        "request_rate",
        "num_gpus",
        *BEARING,
        "total_input_tokens",
        "total_output_tokens",
        "note",
    }
)
"""columns that are read"""


@dataclass
class Table:
    """A file: its columns, its rows with those of a serving table added, and what was not read."""

    header: list[str]
    rows: list[dict[str, str]]
    unread: list[str] = field(default_factory=list)
    """columns that bear on nothing here, or that nobody knows"""
    defaulted: list[str] = field(default_factory=list)
    """columns that no row states, with the value they are taken at"""


def read_table(path: Path, given: Mapping[str, str] | None = None) -> Table:
    """Rows of a file in any of the forms, with what ``given`` says for what the file leaves out.

    Raises:
        DataError: cannot be read, is of no known form, or leaves out what must be known.

    """
    header, own = own_rows(path)
    own = [{_canonical(k, header): v for k, v in row.items()} for row in own]
    header = [_canonical(h, header) for h in header]
    given = dict(given or {})
    for name in given:
        if name not in KNOWN:
            raise DataError(
                f"--given {name}: not a column of a serving table; {nearest(name, sorted(KNOWN))}"
            )
    stated = {n for row in _serving_rows(path, own, {}) for n, text in row.items() if text.strip()}
    stated |= {name for row in own for name, text in row.items() if text.strip()}
    for name, text in given.items():
        means = [n for n in _serving_row({name: text}) if n in stated] or [name] * (name in stated)
        if means:
            raise DataError(f"--given {name}: {path} states {means[0]} itself; leave one out")
    unread = [name for name in header if name not in KNOWN]
    for name in unread:
        close = [k for k in _near(name) if k not in header and k not in given]
        if close:
            raise DataError(f"{path}: column {name!r} is not known; did you mean {close[0]!r}?")
    rows = [{**row, **read} for row, read in zip(own, _serving_rows(path, own, given), strict=True)]
    missing = _missing(rows or [_serving_row(dict.fromkeys(header, "1"))])
    if missing:
        hint = "; the separator looks like ';', expected ','" if len(header) == 1 and ";" in header[0] else ""
        told = "; ".join(f"{n}: also read as {', '.join(NAMES[n])}" for n in missing if NAMES.get(n))
        if "batch_size" in missing:
            told += ", or concurrency, conc, max_concurrency: requests in flight"
        ask = " ".join(f"--given {n}=..." for n in missing)
        raise DataError(f"{path}: no column {', '.join(missing)}{hint} ({told}); or say it: {ask}")
    if not rows:
        raise DataError(f"{path}: a header and no row, expected at least one serving point")
    whole = [n for n in ("tp_size", "pp_size") if not any(_told(r, n) for r in rows)]
    taken = [f"{n} = 1" for n in whole]
    if not any(r.get("kvcache_quant_mode", "").strip() for r in rows):
        taken.append("KV cache 8 bit beside FP8 and NVFP4 weights (sglang: 16 bit), else 16 bit")
    return Table(header, _named(rows), unread, taken)


def _serving_rows(
    path: Path, own: Sequence[Mapping[str, str]], given: Mapping[str, str]
) -> list[dict[str, str]]:
    """The serving columns of every row.

    Raises:
        DataError: two columns of a row contradict each other.

    """
    out = []
    for n, row in enumerate(own, 1):
        try:
            out.append(_serving_row({**row, **given}))
        except DataError as error:
            raise DataError(f"{path}: row {n}: {error}") from error
    return out


def _named(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows with an id each: where the file has none, or twice the same, the row's number is added."""
    seen: set[str] = set()
    for n, row in enumerate(rows, 1):
        if "id" in row:
            if not row["id"] or row["id"] in seen:
                row["id"] = f"{row['id']} row {n}".strip()
            seen.add(row["id"])
    return rows


def _missing(rows: Sequence[Mapping[str, str]]) -> list[str]:
    missing = [n for n in NEEDED if not any(r.get(n, "").strip() for r in rows)]
    if not any(r.get(n, "").strip() for r in rows for n in BATCHES):
        missing.append(BATCHES[0])
    return missing


def _near(name: str) -> list[str]:
    """Columns that a name nearly is: one letter off, and long enough for that to mean something."""
    from difflib import get_close_matches

    bearing = [
        k for k in KNOWN if len(k) >= 3 and k not in {"note", "mode", "moe", "gemm", "version", "model"}
    ]
    return get_close_matches(name.strip().lower(), bearing, n=1, cutoff=0.87)


def _told(row: Mapping[str, str], name: str) -> bool:
    return any(row.get(p + name, "").strip() for p in ("", "prefill_", "decode_"))


def _canonical(name: str, header: Sequence[str]) -> str:
    """A column's name as it is known: people write ``TP Size`` for ``tp_size``."""
    plain = "_".join(name.lower().replace("-", "_").split())
    return plain if name not in KNOWN and plain in KNOWN and plain not in header else name


def _serving_row(row: Mapping[str, str]) -> dict[str, str]:
    """The columns of a serving table that a row of any form states."""
    out: dict[str, str] = {}
    for mine, theirs in NAMES.items():
        stated = [n for n in (mine, *theirs) if row.get(n, "").strip()]
        said = [n for n in stated if row[n].strip().lower() not in OFF] or stated
        if said:
            out[mine] = row[said[0]].strip()
        if len(said) > 1 and _contradict(mine, [row[n] for n in said]):
            both = " and ".join(f"{n} {row[n].strip()}" for n in said)
            raise DataError(f"{mine}: {both} contradict each other, expected one of them")
    for mine, theirs in SECONDS.items():
        found = [row[n] for n in theirs if row.get(n, "").strip()]
        if found and mine not in out:
            out[mine] = _milliseconds(found[0], theirs[0])
    for tokens, column in (("total_input_tokens", "isl"), ("total_output_tokens", "osl")):
        mean = _ratio(row.get(tokens, ""), row.get("completed", ""))
        if mean:  # what was really sent and answered, where lengths were drawn
            out[column] = mean
    _refused(row, out)
    _lost(row, out)
    _prefix(out)
    _engine(row, out)
    _pools(row, out)
    _ranks(row, out)
    return out


def _contradict(column: str, texts: Sequence[str]) -> bool:
    """Whether cells under two names for one column say different things."""
    if column in SETTINGS:
        return len({_plain(t) for t in texts}) > 1
    if column in {"isl", "osl"}:
        try:
            sizes = [float(t) for t in texts]
        except ValueError:
            return True
        return max(sizes) > ALIKE * min(sizes)
    if column == "system":
        bare = sorted(("".join(re.findall("[a-z0-9]", t.lower())) for t in texts), key=len)
        return any(bare[0] not in b for b in bare)
    if column == "model_path":
        counts = {c for t in texts if (c := named_count(t)) is not None}
        return len(counts) > 1
    return False


ALIKE: Final = 1.1
"""by how much lengths that were asked for and lengths that were measured may differ"""


def _lost(row: Mapping[str, str], out: dict[str, str]) -> None:
    """Requests that failed, where a file says how many were sent and how many were answered."""
    try:
        lost = float(row.get("num_prompts", "")) - float(row.get("completed", ""))
    except ValueError:
        return
    if lost > 0 and not row.get("failed", "").strip():
        out["failed"] = repr(lost)


def _plain(text: str) -> str:
    """A cell for comparison: numbers alike however they are written."""
    try:
        return repr(float(text))
    except ValueError:
        return text.strip().lower().replace("_", "-")


def _refused(row: Mapping[str, str], out: Mapping[str, str]) -> None:
    """What changes the answer and is not modelled.

    Raises:
        DataError: which column, and what is allowed.

    """
    for name in BEARING:
        said = row.get(name, "").strip().lower()
        if said not in OFF and said not in ON:
            raise DataError(
                f"{name}: got {row[name][:40]!r}, which changes times and is not modelled; leave it out"
            )
    rate = row.get("request_rate", "").strip().lower()
    if rate not in {*OFF, "inf", "infinity"} and not out.get("batch_size"):
        raise DataError(
            f"request_rate: got {rate}: requests came by the clock, so that max_concurrency does not say how "
            "many were in flight; expected inf, or the mean number in flight as batch_size"
        )
    cards = row.get("num_gpus", "").strip()
    told = any(out.get(p + n) for p in ("", "prefill_", "decode_") for n in ("tp_size", "pp_size"))
    if cards not in {"", "1", "1.0"} and not told and not row.get("(p)tp", "").strip():
        raise DataError(f"num_gpus: got {cards}: how they share the work is not said; expected tp_size")


def _prefix(out: dict[str, str]) -> None:
    """Tokens that every prompt begins with, as a share of the prompt."""
    shared = out.pop("prefix_tokens", "")
    if not shared or shared.lower() in OFF or out.get("prefix_share"):
        return
    out["prefix_share"] = _ratio(shared, out.get("isl", "")) or shared


def _engine(row: Mapping[str, str], out: dict[str, str]) -> None:
    """A client's protocol says which engine it spoke to, or nothing."""
    name = (out.get("backend") or row.get("endpoint_type", "")).lower()
    if name in CLIENTS:
        engine = name.split("-")[0]
        out["backend"] = engine if engine in STACKS else ""
    elif not out.get("backend") and name in STACKS:
        out["backend"] = name


def _pools(row: Mapping[str, str], out: dict[str, str]) -> None:
    """Prefill and decode workers of a disaggregated row, under either tool's names."""
    for mine, prefixes in POOLS.items():
        for prefix in prefixes:
            for theirs, ending in WORKERS.items():
                text = row.get(prefix + theirs, "").strip()
                if text and ending != "dp_attention":
                    out.setdefault(mine + ending, text)
        if row.get(mine + "dp_attention", "").strip().lower() in ON and out.get(mine + "tp_size"):
            out[mine + "attention_dp_size"], out[mine + "tp_size"] = out[mine + "tp_size"], "1"
    apart = row.get("disagg", row.get("disaggregated", "")).strip().lower()
    pools = any(k.startswith("(p)") and v.strip() for k, v in row.items())
    if apart in ON or (pools and "mode" not in out):
        out["mode"] = "disagg"
    elif apart not in OFF and apart:
        out["mode"] = apart


def _ranks(row: Mapping[str, str], out: dict[str, str]) -> None:
    """Attention data-parallel ranks and requests in flight, as a serving table counts them."""
    for name in ("dp_attention", "prefill_dp_attention", "decode_dp_attention"):
        said = row.get(name, "").strip().lower()
        if said not in ON and said not in OFF:
            raise DataError(f"{name}: got {row[name]!r}, expected true or false")
    if row.get("dp_attention", "").strip().lower() in ON and out.get("tp_size"):
        out["attention_dp_size"], out["tp_size"] = out["tp_size"], "1"
    flight = out.pop("concurrency", "")
    if not flight:
        return
    disagg = out.get("mode") == "disagg"
    label = "decode_" if disagg else ""
    if out.get(label + "batch_size"):
        return
    try:
        shares = float(out.get(label + "attention_dp_size") or 1)
        if disagg:
            shares *= float(out.get("decode_num_workers") or 1)
        out[label + "batch_size"] = repr(float(flight) / max(shares, 1.0))
    except ValueError:
        out[label + "batch_size"] = flight
    if disagg and not out.get("prefill_batch_size"):
        out["prefill_batch_size"] = "1"


def _milliseconds(text: str, name: str) -> str:
    """InferenceX writes seconds; what would be hours is another unit under the same name."""
    try:
        value = float(text)
    except ValueError:
        return text
    if value > (LONGEST if "ttft" in name else LONGEST / 100):
        raise DataError(
            f"{name}: {text} read as seconds, as InferenceX writes it; expected e.g. {name}_ms = {text}"
        )
    return repr(value * 1e3)


def _ratio(total: str, count: str) -> str:
    try:
        return repr(float(total) / float(count)) if float(count) > 0 and float(total) > 0 else ""
    except ValueError:
        return ""
