"""The families of language models that configurations name, and what each does in its own way."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Family:
    """What a ``model_type`` implies that its files do not say."""

    name: str
    source: str = ""
    refused: str = ""
    """why no such model is imported; empty where it is"""
    layout: str = "pairs"
    attention: str = "attention"
    recurrence: str = ""
    """mixer of the layers that do not attend"""
    beside: str = ""
    """mixer that stands beside attention in every layer"""
    gated: bool = True
    """whether feed-forward blocks have a gate: three matrices"""
    shared_gated: bool = True
    tied: bool = False
    """whether the head is the embedding where the file does not say"""
    multi_head: bool = False
    """whether as many keys as queries are usual: files do not count them"""
    head_dim: int = 0
    bias: str = ""
    """projections of attention with a bias where no key says so"""
    bias_keys: tuple[str, ...] = ("attention_bias",)
    bias_on: str = "qkv+o"
    bias_unset: str = ""
    block_bias: bool = False
    block_bias_keys: tuple[str, ...] = ("mlp_bias",)
    query_key_norm: str = ""
    """"head" or "every": norms of queries and keys, over a head or over all"""
    gate: str = ""
    """output gate of attention: "head" or "element\""""
    window: int = 0
    windowed: str = "never"
    """which layers have a window where no list says it: never, every, rotary, above"""
    full_every: int = 0
    """of how many layers one is full; 0: none"""
    joined_keys: tuple[str, ...] = ()
    """keys under which the width is of gate and up together"""
    window_heads: bool = False
    """whether windowed layers have key-value heads of their own"""
    residual_width_hidden: bool = False
    """whether the dense block beside experts is as wide as the hidden state"""
    width_ratio: int = 0
    """width over hidden size where the file names none"""
    dense_only: bool = False
    optional_experts: bool = False
    """whether some of its models have experts though its class has none by default"""
    dense_beside_experts: bool = False
    shared_alone: bool = False
    """whether a model without routed experts has the shared one alone as its dense block"""
    value_width_hidden: bool = False
    """whether a value head is the hidden size over the heads wide where the file does not say"""
    shared_experts: int = 0
    shared_gate: bool = False
    expert_bias: bool = False
    positions: int = -1
    """learned positions beyond those of the context (-1: none are learned)"""
    without_effect: tuple[str, ...] = ()
    """keys of the family that bear on no byte and no FLOP"""
    defaults: Mapping[str, Any] | None = None
    """values that files leave out where they are the family's"""


@cache
def families() -> Mapping[str, Family]:
    """Every family by its ``model_type``."""
    defaults = _toml("family_defaults.toml")
    out: dict[str, Family] = {}
    for name, raw in _toml("families.toml").items():
        base = out[raw.pop("like")] if "like" in raw else Family(name)
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        if "without_effect" in given:
            given["without_effect"] = (*base.without_effect, *given["without_effect"])
        unknown = given.keys() - {f.name for f in fields(Family)} - {"types"}
        if unknown:
            raise ValueError(f"families.toml: {name}: {', '.join(sorted(unknown))}")
        types = given.pop("types", (name,))
        for kind in types:
            out[kind] = replace(base, **{"name": kind, "defaults": defaults.get(kind), **given})
    return out


GENERATORS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "Model")
"""endings of classes that generate tokens"""


def family_of_class(architecture: str) -> Family | None:
    """The family whose class a name such as ``Qwen3MoeForCausalLM`` is, None where it is of none."""
    root = architecture
    for ending in GENERATORS:
        root = root.removesuffix(ending)
    return _by_class().get(root.lower().replace("_", ""))


@cache
def _by_class() -> Mapping[str, Family]:
    return {kind.removesuffix("_text").replace("_", ""): family for kind, family in families().items()}


def alike(a: Family, b: Family) -> bool:
    """Whether two families read a configuration in the same way."""
    own = {"name", "source", "defaults", "without_effect"}
    return all(getattr(a, f.name) == getattr(b, f.name) for f in fields(Family) if f.name not in own)


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("dse") / "data" / name).read_text(encoding="utf-8"))


def closest(kind: str) -> str:
    """A hint to the family that was perhaps meant."""
    close = get_close_matches(kind, [n for n, f in families().items() if not f.refused], n=1)
    return f"did you mean {close[0]!r}?" if close else "one of those that dse catalog families lists"
