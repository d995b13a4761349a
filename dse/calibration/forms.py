"""Measured and predicted points in the form of the tool that wrote them -> rows of a serving table.

A form is known by its own column names: InferenceX results, ``vllm bench serve``, ``sglang.bench_serving``,
GenAI-Perf and AIPerf exports, aiconfigurator's tables, and the serving tables that ship with this tool. What
a file leaves out (a benchmark client does not know the device) is asked for and given with ``--given``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dse.calibration.resolve import STACKS
from dse.core.errors import DataError, nearest

NEEDED: Final = ("backend", "model_path", "system", "isl", "osl")
BATCHES: Final = ("batch_size", "decode_batch_size")

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "system": ("hw", "hardware", "gpu", "gpu_name", "device", "accelerator"),
    "model_path": ("model", "model_id", "model_name"),
    "backend": ("framework", "engine", "inference_backend"),
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
    "tp_size": ("tp", "tensor_parallel_size", "tensor_parallel"),
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

OFF: Final = ("", "none", "false", "off", "no", "0", "0.0", "null", "nan")
ON: Final = ("true", "yes", "on", "1", "1.0")

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
    header, own = _own_rows(path)
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
    return Table(header, _named(rows), unread, [f"{n} = 1" for n in whole])


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


def _own_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if text.lstrip()[:1] in {"{", "["}:
        found = [_flat(x) for x in _json_rows(path, text)]
    else:
        header, found = _csv_rows(path, text)
        if header[:2] == ["Metric", "avg"]:
            found = [_exported(found)]
        else:
            return header, found
    return list(dict.fromkeys(k for row in found for k in row)), found


def _json_rows(path: Path, text: str) -> list[Mapping[str, Any]]:
    """Objects of a JSON file or of JSON lines."""
    try:
        read = json.loads(text)
    except RecursionError as error:
        raise DataError(f"{path}: nested too deep to be a table of results") from error
    except ValueError:
        try:
            read = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: neither JSON nor JSON lines ({error})") from error
    if isinstance(read, Mapping) and isinstance(read.get("results"), list):
        read = read["results"]
    rows = read if isinstance(read, list) else [read]
    if not rows or not all(isinstance(r, Mapping) for r in rows):
        raise DataError(f"{path}: expected an object per served point, or a list of them")
    return rows


def _flat(item: Mapping[str, Any]) -> dict[str, str]:
    """One object's plain values as text; a GenAI-Perf export's statistics by their mean."""
    if isinstance(item.get("time_to_first_token"), Mapping):
        return _exported_object(item)
    out = {k: "" if v is None else str(v) for k, v in item.items() if not isinstance(v, Mapping | list)}
    inner = item.get("server_info")
    if isinstance(inner, Mapping):  # SGLang's server tells its own flags
        for mine in SERVER:
            if inner.get(mine) is not None and mine not in out:
                out[mine] = str(inner[mine])
        out.setdefault("model_path", str(inner.get("model_path", "")))
        if str(inner.get("disaggregation_mode", "null")).lower() not in OFF:
            out["disagg"] = "true"
        if str(inner.get("enable_dp_attention", "")).lower() in ON:  # its ranks are among those of tp_size
            out["dp_attention"] = "true"
            out.pop("dp_size", None)
    return out


SERVER: Final = (
    "tp_size",
    "pp_size",
    "dp_size",
    "ep_size",
    "quantization",
    "speculative_algorithm",
    "speculative_num_steps",
    "kv_cache_dtype",
)
"""what SGLang's server tells of its own flags that bears on times"""

MILLI: Final = {"ms": 1.0, "s": 1e3, "us": 1e-3, "ns": 1e-6}

EXPORTED: Final = {
    "time_to_first_token": "silicon_ttft_ms",
    "inter_token_latency": "silicon_tpot_ms",
    "input_sequence_length": "isl",
    "output_sequence_length": "osl",
    "request_count": "completed",
    "error_request_count": "failed",
}
"""statistic of a GenAI-Perf or AIPerf export -> column"""


def _exported_object(item: Mapping[str, Any]) -> dict[str, str]:
    out = {}
    for theirs, mine in EXPORTED.items():
        found = item.get(theirs)
        if isinstance(found, Mapping) and "avg" in found:
            scale = MILLI.get(str(found.get("unit", "ms")), 1.0) if mine.endswith("_ms") else 1.0
            try:
                out[mine] = repr(float(found["avg"]) * scale)
            except (TypeError, ValueError):
                raise DataError(f"{theirs}.avg: got {found['avg']!r}, expected a number") from None
    for key, text in _leaves(item.get("input_config", {})):
        if key in {"concurrency", "request_concurrency"} and text not in {"", "None"}:
            out["concurrency"] = text
        if key in {"model", "model_names", "models"} and text:
            out.setdefault("model_path", text)
        if key in {"prefix_prompt_length", "prefix_prompt.length"} and text not in {"", "None"}:
            out["prefix_tokens"] = text
    return out


def _leaves(item: object, key: str = "", depth: int = 0) -> list[tuple[str, str]]:
    """(key, text) of what lies at the ends of a nested object; a list by its first.

    The length of ``prefix_prompt`` is told from other lengths by its table's name.
    """
    if depth > 8:
        return []
    if isinstance(item, Mapping):
        inside = f"{key}." if key == "prefix_prompt" else ""
        return [leaf for k, v in item.items() for leaf in _leaves(v, f"{inside}{k}", depth + 1)]
    if isinstance(item, list):
        return _leaves(item[0], key, depth + 1) if item else []
    return [(key, "" if item is None else str(item))]


def _exported(lines: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """A GenAI-Perf CSV: a line per statistic, ``Time To First Token (ms)`` with its mean."""
    out = {}
    for line in lines:
        name, _, unit = line.get("Metric", "").partition("(")
        key = "_".join(name.lower().split())
        if key in EXPORTED and line.get("avg", "").strip():
            mine = EXPORTED[key]
            scale = MILLI.get(unit.rstrip(") "), 1.0) if mine.endswith("_ms") else 1.0
            try:
                out[mine] = repr(float(line["avg"].replace(",", "")) * scale)
            except ValueError:
                raise DataError(f"{line['Metric']}: got {line['avg']!r}, expected a number") from None
    return out


def _csv_rows(path: Path, text: str) -> tuple[list[str], list[dict[str, str]]]:
    try:
        lines = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV: {error}") from error
    header = [name.strip() for name in lines[0]] if lines else []
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {twice[0]!r} stands {header.count(twice[0])} times, expected once")
    body = [line for line in lines[1:] if any(cell.strip() for cell in line)]
    for n, line in enumerate(body, 1):
        if len(line) > len(header) and header[:2] != ["Metric", "avg"]:
            raise DataError(
                f"{path}: row {n} has {len(line)} cells, the header {len(header)}; quote cells that "
                "hold commas"
            )
    return header, [
        dict(zip(header, [*line, *[""] * (len(header) - len(line))], strict=False)) for line in body
    ]


def _serving_row(row: Mapping[str, str]) -> dict[str, str]:
    """The columns of a serving table that a row of any form states."""
    out: dict[str, str] = {}
    for mine, theirs in NAMES.items():
        stated = [n for n in (mine, *theirs) if row.get(n, "").strip()]
        said = [n for n in stated if row[n].strip().lower() not in OFF] or stated
        if said:
            out[mine] = row[said[0]].strip()
        if mine in SETTINGS and len({_plain(row[n]) for n in said}) > 1:
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
    _lost(row, out)
    _prefix(out)
    _engine(row, out)
    _pools(row, out)
    _ranks(row, out)
    return out


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
