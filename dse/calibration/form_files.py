"""Files of measured points -> rows under the names that the tool which wrote them gave."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dse.core.errors import DataError

OFF: Final = ("", "none", "false", "off", "no", "0", "0.0", "null", "nan")
ON: Final = ("true", "yes", "on", "1", "1.0")
"""cells that say no, and yes"""


def own_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a file under its own names: CSV, JSON, JSON lines, or an export of GenAI-Perf.

    Raises:
        DataError: it cannot be read, or is none of these.

    """
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
