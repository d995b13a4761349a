"""The shape of a language model, read from its catalogue file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dse.catalog.formats import CACHE_FORMATS, CLASSES, STORED_BITS
from dse.catalog.layer_groups import FEED_FORWARDS, MIXERS, read_groups
from dse.catalog.layers import Experts
from dse.catalog.schema import (
    ATTENTION,
    FFN,
    LINEAR,
    LLM_GROUPED,
    LLM_OPTIONAL,
    LLM_SHAPE,
    LLM_TEXT,
    PRECISIONS,
)
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
    mixers: tuple[Any, ...] = ()
    """groups of equal mixers where layers differ; empty where ``shape`` says all"""
    feed_forwards: tuple[Any, ...] = ()
    own_formats: Mapping[str, str] = field(default_factory=dict)
    """number format of a class where it is not what ``precision`` implies"""
    unverified: tuple[str, ...] = ()
    """keys of the configuration that were not known and taken to change nothing, by the user's word"""

    @property
    def experts(self) -> int:
        """Routed experts of a layer, 0 where there are none."""
        return max(
            (b.experts for b in self.feed_forwards if isinstance(b, Experts)), default=self.shape["experts"]
        )

    def format_of(self, name: str) -> str:
        """Number format of a class (``CLASSES``) in the published checkpoint.

        Served checkpoints keep the LM head in 16 bit. A cache is in 16 bit unless the checkpoint says so.
        """
        if name in self.own_formats:
            return self.own_formats[name]
        fmt, _, only = self.precision.partition(" ")
        wide = fmt if fmt in {"bf16", "fp16"} else "bf16"
        if name in {"head", "kv_cache"} or (only and name != "experts"):
            return wide
        return fmt


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
    for key in LLM_GROUPED if "mixer" in raw else LLM_SHAPE:
        if key not in shape:
            faults.add(f"shape.{key}", None, "a whole number", "80")
    for key, value in shape.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            faults.add(f"shape.{key}", value, "a whole number not below 0", "80")
    return shape


def _words(raw: dict[str, Any], faults: Faults) -> None:
    """Note what is wrong with texts and lists of a file."""
    for key, default, allowed in (
        ("ffn", "swiglu", FFN),
        ("linear", LINEAR[0], LINEAR),
        ("precision", "bf16", PRECISIONS),
    ):
        if str(raw.get(key, default)).removesuffix(" (experts)") not in allowed:
            faults.add(key, raw.get(key), "one of " + ", ".join(allowed))
    for key in ("aliases", "unverified"):
        if not isinstance(raw.get(key, []), list):
            faults.add(key, raw.get(key), "a list of texts", '["nvidia/..."]')
    for key in ("name", "title", "attention_bias", "hf_id"):
        if not isinstance(raw.get(key, "-"), str) or raw.get(key) == "":
            faults.add(key, raw[key], "text", f'{key} = "my-model"')


def read_llm(text: str, where: str) -> LlmEntry:
    """Read the TOML file of a language model.

    Raises:
        DataError: every fault of the file, one line each.

    """
    faults = Faults(where)
    raw = toml_table(text, where)
    for key in sorted(raw.keys() - {*LLM_TEXT, *TABLES}):
        faults.add(key, raw[key], nearest(key, [*LLM_TEXT, *TABLES]))
    if not str(raw.get("source", "")).strip():
        faults.add("source", raw.get("source"), "where the shape comes from", '"config.json of ..."')
    if raw.get("attention") not in ATTENTION:
        faults.add("attention", raw.get("attention"), "one of " + ", ".join(ATTENTION))
    _words(raw, faults)
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
    mixers, blocks = _groups(raw, faults)
    formats = _formats(raw, faults)
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
        mixers=mixers,
        feed_forwards=blocks,
        own_formats=formats,
        unverified=tuple(str(a) for a in raw.get("unverified", [])),
    )


TABLES: Final = ("shape", "published", "mixer", "feed_forward", "formats")


def _groups(raw: dict[str, Any], faults: Faults) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Groups of mixers and of feed-forward blocks; both or none are given."""
    if "mixer" not in raw and "feed_forward" not in raw:
        return (), ()
    mixers = read_groups(raw.get("mixer"), "mixer", MIXERS, faults)
    blocks = read_groups(raw.get("feed_forward", []), "feed_forward", FEED_FORWARDS, faults)
    routed = {(b.experts, b.per_token) for b in blocks if isinstance(b, Experts)}
    if len(routed) > 1:
        shown = ", ".join(f"{n} of which {k} a token" for n, k in sorted(routed))
        faults.add("feed_forward", shown, "the same number of experts, and as many a token, in every layer")
    for b in blocks:
        if isinstance(b, Experts) and b.per_token > b.experts + b.zero_experts:
            faults.add("feed_forward.per_token", b.per_token, f"at most the {b.experts} experts")
    layers = raw.get("shape", {}).get("layers") if isinstance(raw.get("shape"), dict) else None
    for key, groups in (("mixer", mixers), ("feed_forward", blocks)):
        count = sum(g.layers for g in groups if not g.beside)
        if isinstance(layers, int) and count > layers:
            faults.add(key, count, f"at most the {layers} layers of the shape in all groups together")
    return mixers, blocks


def _formats(raw: dict[str, Any], faults: Faults) -> dict[str, str]:
    """Number formats by class."""
    given = raw.get("formats", {})
    if not isinstance(given, dict):
        faults.add("formats", given, "a table of number formats", 'experts = "mxfp4"')
        return {}
    for name in sorted(given.keys() - set(CLASSES)):
        faults.add(f"formats.{name}", given[name], nearest(name, CLASSES))
    for name in given.keys() & set(CLASSES):
        known = CACHE_FORMATS if name == "kv_cache" else STORED_BITS
        if given[name] not in known:
            faults.add(f"formats.{name}", given[name], "one of " + ", ".join(known))
    return {str(k): str(v) for k, v in given.items()}


def toml_table(text: str, where: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        DataError: it is none.

    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{where}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise DataError(f"{where}: nested too deeply, expected tables of a few levels") from error
