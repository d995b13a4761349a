"""The shape of a language model, read from its catalogue file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dse.catalog.schema import ATTENTION, FFN, LINEAR, LLM_OPTIONAL, LLM_SHAPE, LLM_TEXT, PRECISIONS
from dse.core.errors import DataError, Faults, nearest

NAMED = ".toml"


@dataclass(frozen=True)
class LlmEntry:
    """The shape of a language model, as published."""

    name: str
    source: str
    attention: str
    ffn: str
    tied_embeddings: bool
    attention_bias: str
    shape: Mapping[str, int]
    published: Mapping[str, float]
    title: str = ""
    expert_bias: bool = False
    linear: str = "gated_deltanet"
    """kind of the linear-attention layers"""
    precision: str = "bf16"
    """number format of the published checkpoint; ``experts`` alone where it says so"""
    hf_id: str = ""
    aliases: tuple[str, ...] = ()
    """other names of the same shape, as files of measurements use them"""


def _shape(raw: dict[str, Any], faults: Faults) -> dict[str, int]:
    """Whole numbers of the shape; faults of them, and of the published numbers beside, are noted."""
    published = raw.get("published", {})
    if not isinstance(published, dict) or not all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in published.values()
    ):
        faults.add("published", published, "a table of numbers", "params_total = 70e9")
    shape = raw.get("shape", {})
    if not isinstance(shape, dict):
        faults.add("shape", shape, "a table of whole numbers", "layers = 80")
        shape = {}
    for key in sorted(shape.keys() - set(LLM_SHAPE + LLM_OPTIONAL)):
        faults.add(f"shape.{key}", shape[key], nearest(key, LLM_SHAPE + LLM_OPTIONAL))
    for key in LLM_SHAPE:
        if key not in shape:
            faults.add(f"shape.{key}", None, "a whole number", "80")
    for key, value in shape.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            faults.add(f"shape.{key}", value, "a whole number not below 0", "80")
    return shape


def read_llm(text: str, where: str) -> LlmEntry:
    """Read the TOML file of a language model.

    Raises:
        DataError: every fault of the file, one line each.

    """
    faults = Faults(where)
    raw = toml_table(text, where)
    for key in sorted(raw.keys() - {*LLM_TEXT, "shape", "published"}):
        faults.add(key, raw[key], nearest(key, LLM_TEXT))
    if not str(raw.get("source", "")).strip():
        faults.add("source", raw.get("source"), "where the shape comes from", '"config.json of ..."')
    if raw.get("attention") not in ATTENTION:
        faults.add("attention", raw.get("attention"), "one of " + ", ".join(ATTENTION))
    for key, default, allowed in (
        ("ffn", "swiglu", FFN),
        ("linear", LINEAR[0], LINEAR),
        ("precision", "bf16", PRECISIONS),
    ):
        if str(raw.get(key, default)).removesuffix(" (experts)") not in allowed:
            faults.add(key, raw.get(key), "one of " + ", ".join(allowed))
    if not isinstance(raw.get("aliases", []), list):
        faults.add("aliases", raw.get("aliases"), "a list of names", '["nvidia/..."]')
    for key in ("name", "title", "attention_bias", "hf_id"):
        if not isinstance(raw.get(key, "-"), str) or raw.get(key) == "":
            faults.add(key, raw[key], "text", f'{key} = "my-model"')
    if "name" not in raw:
        faults.add("name", None, "text", 'name = "my-model"')
    elif (
        where.endswith(f"{NAMED}")
        and isinstance(raw["name"], str)
        and where.rsplit("/", 1)[-1] != f"{raw['name']}{NAMED}"
    ):
        faults.add(
            "name", raw["name"], f"the name of its file, {where.rsplit('/', 1)[-1].removesuffix(NAMED)}"
        )
    for key in ("tied_embeddings", "expert_bias"):
        if not isinstance(raw.get(key, False), bool):
            faults.add(key, raw[key], "true or false")
    shape = _shape(raw, faults)
    faults.raise_if_any(DataError)
    full = dict.fromkeys(LLM_SHAPE + LLM_OPTIONAL, 0) | dict(shape)
    return LlmEntry(
        name=str(raw["name"]),
        source=str(raw["source"]),
        attention=str(raw["attention"]),
        ffn=str(raw.get("ffn", "swiglu")),
        tied_embeddings=bool(raw.get("tied_embeddings", False)),
        attention_bias=str(raw.get("attention_bias", "")),
        shape=full,
        published=dict(raw.get("published", {})),
        title=str(raw.get("title", raw["name"])),
        expert_bias=bool(raw.get("expert_bias", False)),
        linear=str(raw.get("linear", LINEAR[0])),
        precision=str(raw.get("precision", "bf16")),
        hf_id=str(raw.get("hf_id", "")),
        aliases=tuple(str(a) for a in raw.get("aliases", [])),
    )


def toml_table(text: str, where: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        DataError: it is none.

    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{where}: not valid TOML: {error}") from error
