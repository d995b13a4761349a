"""Configurations, tables of points and flags made wrong on purpose, each with whether it is wrong now."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from dse.calibration.forms import read_table
from dse.calibration.rows import predict_rows, shipped_rows
from dse.catalog.hf_config import NAMES
from dse.catalog.hf_families import families
from dse.catalog.hf_import import import_llm
from dse.catalog.hf_keys import ACTIVATIONS, without_effect
from dse.cli.parser import main as command
from dse.core.errors import DseError
from tests.fuzz_text import Case, shipped_catalog, typo

HERE = Path(__file__).parent


@cache
def _configurations() -> tuple[dict[str, Any], ...]:
    with (HERE / "validation" / "public_configurations.csv").open(newline="", encoding="utf-8") as file:
        return tuple(json.loads(r["config"]) for r in csv.DictReader(file) if r["outcome"] == "read")


SIZES: Final = {
    n
    for what in ("layers", "hidden", "heads", "kv_heads", "vocab", "experts", "per_token")
    for n in NAMES[what]
}


def _whole(table: Mapping[str, Any]) -> list[str]:
    return [k for k, v in table.items() if k in SIZES and isinstance(v, int) and not isinstance(v, bool)]


def _config_key(rng: random.Random, raw: dict[str, Any], table: dict[str, Any]) -> Case:
    told = [k for k, v in table.items() if v not in (None, False, [], {}, "")]
    key = rng.choice([k for k in told if k not in {"model_type", "architectures"}])
    made = typo(rng, key)
    table[made] = table.pop(key)
    same = any(key in names and made in names for names in NAMES.values())  # another name of the same
    harmless = without_effect(made) or made.endswith("epsilon")
    known = same or harmless or made in families()[table["model_type"]].without_effect
    return Case("config", f"{key} -> {made}", None if known else True, raw)


def _config_size(rng: random.Random, raw: dict[str, Any], table: dict[str, Any]) -> Case:
    if not _whole(table):
        return Case("config", "as it was", False, raw)
    key = rng.choice(_whole(table))
    table[key] = rng.choice((-4, 2.5, "many", [1, "two"], {"a": 1}, 1e30, True))
    return Case("config", f"{key} = {table[key]!r}", True, raw)


def _config_drop(rng: random.Random, raw: dict[str, Any], table: dict[str, Any]) -> Case:
    if not _whole(table):
        return Case("config", "as it was", False, raw)
    key = rng.choice(_whole(table))
    del table[key]
    needed = key in {n for what in ("layers", "hidden", "vocab") for n in NAMES[what]} and table is raw
    return Case("config", f"without {key}", True if needed else None, raw)


def _config_list(rng: random.Random, raw: dict[str, Any], table: dict[str, Any]) -> Case:
    lists = [k for k in ("layer_types", "mlp_layer_types", "layers_block_type") if table.get(k)]
    if not lists:
        return Case("config", "as it was", False, raw)
    key = rng.choice(lists)
    short = table[key][: len(table[key]) // 2]
    table[key] = rng.choice((short, ["mystery", *table[key][1:]]))
    return Case("config", f"{key} cut short or of a mystery", True, raw)


def _config_word(rng: random.Random, raw: dict[str, Any], table: dict[str, Any]) -> Case:
    keys = [k for k in ("hidden_act", "hidden_activation", "activation_function") if table.get(k)]
    if not keys:
        return Case("config", "as it was", False, raw)
    made = table[keys[0]] = typo(rng, table[keys[0]])
    known = made in ACTIVATIONS
    return Case("config", f"{keys[0]} = {made}", None if known else True, raw)


BAD_FORMATS: Final = (
    {"quant_method": "magic"},
    {"quant_method": "gptq", "bits": 7},
    {"bits": "x"},
    [1],
    {"quant_algo": "W3"},
)


def _config_format(rng: random.Random, raw: dict[str, Any], _: dict[str, Any]) -> Case:
    raw["quantization_config"] = rng.choice(BAD_FORMATS)
    return Case("config", f"{raw['quantization_config']}", True, raw)


def _config_family(rng: random.Random, raw: dict[str, Any], table: dict[str, Any]) -> Case:
    made = table["model_type"] = typo(rng, str(table.get("model_type")))
    return Case("config", f"family {made}", None if made in families() else True, raw)


def _config_fine(rng: random.Random, raw: dict[str, Any], table: dict[str, Any]) -> Case:
    items = list(table.items())
    rng.shuffle(items)
    return Case("config", "in another order", False, dict(items) if table is raw else raw)


def config_case(rng: random.Random) -> Case:
    """A public configuration with one change."""
    raw = json.loads(json.dumps(rng.choice(_configurations())))
    changes = (
        _config_key,
        _config_size,
        _config_drop,
        _config_list,
        _config_word,
        _config_format,
        _config_family,
        _config_fine,
    )
    return rng.choice(changes)(rng, raw, raw.get("text_config", raw))


@cache
def _place() -> Path:
    return Path(tempfile.mkdtemp())


def run_config(content: Mapping[str, Any]) -> str:
    """Import a configuration."""
    file = _place() / "config.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    import_llm(file, "fuzz")
    return ""


def table_case(rng: random.Random) -> Case:
    """Rows of served points with one change."""
    rows = [dict(r) for r in rng.sample(_rows(), 2)]
    for r in rows:
        r.pop("", None)
    how = rng.choice(("column", "model", "device", "number", "format", "stack", "fine"))
    columns = {"model": "model_path", "device": "system", "format": "precision", "stack": "backend"}
    if how == "column":
        needed = rng.choice(("system", "model_path", "backend", "isl", "osl"))
        made = typo(rng, needed)
        rows = [{(made if k == needed else k): v for k, v in r.items()} for r in rows]
        return Case("table", f"column {needed} -> {made}", True, rows)
    if how in columns:
        key = columns[how]
        rows[0][key] = "x" + (rows[0].get(key) or "y") + "q7"
        return Case("table", f"{key} = {rows[0][key]}", True, rows)
    if how == "number":
        key = rng.choice(("isl", "osl", "batch_size", "tp_size"))
        rows[0][key] = rng.choice(("-1", "many", "1e99", "nan", "0.5"))
        return Case("table", f"{key} = {rows[0][key]}", True, rows)
    return Case("table", "as they were", False, rows)


@cache
def _rows() -> tuple[dict[str, str], ...]:
    return tuple(dict(r) for r in shipped_rows())


def run_table(content: list[dict[str, str]]) -> str:
    """Predict rows of a table; a row that is not predicted says why."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(k for r in content for k in r)))
    writer.writeheader()
    writer.writerows(content)
    file = _place() / "rows.csv"
    file.write_text(text.getvalue(), encoding="utf-8")
    out = predict_rows(read_table(file).rows, shipped_catalog())
    failed = [r["reason"] for r in out if not r["predicted_tpot_ms"]]
    if failed:
        raise DseError(failed[0])
    return ""


FLAGS: Final = {
    "--device": "h100_sxm",
    "--model": "Llama-3.1-8B",
    "--batch": "4",
    "--tp": "2",
    "--input": "512",
    "--output": "128",
    "--software": "vllm",
}


def flag_case(rng: random.Random) -> Case:
    """An evaluation with one flag changed."""
    flags = dict(FLAGS)
    how = rng.choice(("flag", "name", "number", "format", "plan", "fine"))
    if how == "flag":
        key = rng.choice(list(flags))
        made = "--" + typo(rng, key[2:])
        flags[made] = flags.pop(key)
        short = [
            f
            for f in (*FLAGS, "--json", "--set", "--pp", "--dp", "--ep", "--cp", "--format")
            if f.startswith(made)
        ]
        return Case("flags", f"{key} -> {made}", None if short else True, flags)
    if how == "name":
        key = rng.choice(("--device", "--model", "--software"))
        flags[key] = "q" + typo(rng, flags[key].replace("-", "_").replace(".", "_"))
        return Case("flags", f"{key} {flags[key]}", True, flags)
    if how == "number":
        key = rng.choice(("--batch", "--tp", "--input", "--output"))
        flags[key] = rng.choice(("-1", "0", "many", "1e99", "nan", "1.5x", ""))
        return Case("flags", f"{key} {flags[key]}", True, flags)
    if how == "format":
        flags["--format"] = rng.choice(("weights=fp9", "wights=fp8", "fp8", "kv_cache=mxfp4", "experts="))
        return Case("flags", f"--format {flags['--format']}", True, flags)
    if how == "plan":
        key, value = rng.choice(
            (
                ("--tp", "3"),
                ("--tp", "64"),
                ("--ep", "5"),
                ("--cp", "7"),
                ("--pp", "3"),
                ("--batch", "1000000"),
                ("--input", "900000"),
            )
        )
        flags[key] = value
        return Case("flags", f"{key} {value}", True, flags)
    return Case("flags", "as they were", False, flags)


def run_flags(content: Mapping[str, str]) -> str:
    """Run the command in process; anything but exit 0 is a refusal."""
    words = ["evaluate", *(x for pair in content.items() for x in pair)]
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            code = command(words)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    if code not in {0, 2, 3}:
        raise RuntimeError(f"exit {code}: {said.getvalue()[:200]}")
    if code:
        raise DseError(said.getvalue()[:200])
    return ""
