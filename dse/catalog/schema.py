"""What each kind of catalogue file may hold, read from ``data/fields.toml``.

Fields with unit and meaning, attributes.

One declaration serves the reader, the units of every printed header and the JSON Schemas that let an editor
complete keys (``dse catalog --schema DIR``).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

from dse.catalog.formats import STORED_BITS
from dse.core.errors import DataError, nearest

READINESS: Final = ("shipping", "sampled", "announced", "paper")

KEYS: Final[Mapping[str, tuple[str, ...]]] = {"cell": ("pslc", "tlc")}
"""keys of a field that has one number for each; of years and heights any whole number is one"""


@dataclass(frozen=True)
class Field:
    """One field of a kind: its SI unit and meaning."""

    unit: str
    description: str
    required: bool = True
    share: bool = False
    """whether it may not exceed 1"""
    bounds: tuple[float, float] = (0.0, math.inf)
    """least and most that a number can be, SI: a hundredth and a hundred times what is known, or what is
    real
    """
    whole: bool = False
    """whether it counts things"""
    per: str = ""
    """"cell", "year" or "height" where the field has one number for each"""

    def admits(self, key: str) -> bool:
        """Whether ``key`` may stand behind the dot of a field with one number for each."""
        return key in KEYS[self.per] if self.per in KEYS else key.isdigit()


@dataclass(frozen=True)
class Kind:
    """The fields that one kind of catalogue file must and may hold, and its text attributes."""

    name: str
    title: str
    fields: Mapping[str, Field]
    attributes: Mapping[str, tuple[str, ...]]
    """words that each attribute may take, none where any will do"""
    required: tuple[str, ...] = ()
    """attributes that every file has"""
    names: Mapping[str, str] = field(default_factory=dict)
    """attributes that name an entry, and its kind"""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """attributes that list words, and those that they may list"""
    demands: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """fields that a file must give where an attribute has a value"""

    def field_of(self, path: str) -> Field:
        """The field that ``path`` (``endurance.pslc``, ``read_energy``) names.

        Raises:
            DataError: there is none of that name.

        """
        name, _, key = path.partition(".")
        found = self.fields.get(name)
        if found is None or bool(found.per) != bool(key) or (key and not found.admits(key)):
            raise DataError(
                f"catalogue {self.name}: got field {path!r}, expected {nearest(path, self.paths())}"
            )
        return found

    def paths(self) -> list[str]:
        """Every path that a field of the kind may have; years and heights by an example."""
        out = []
        for name, found in self.fields.items():
            out += [f"{name}.{key}" for key in KEYS.get(found.per, ("2030",))] if found.per else [name]
        return out


def _field(values: Mapping[str, Any]) -> Field:
    low, high = values.get("bounds", (0.0, math.inf))
    return Field(**{**values, "bounds": (float(low), float(high))})


def _kinds() -> dict[str, Kind]:
    raw: dict[str, Any] = tomllib.loads(
        (resources.files("dse") / "data" / "fields.toml").read_text(encoding="utf-8")
    )
    return {
        name: Kind(
            name,
            kind["title"],
            {f: _field(values) for f, values in kind["fields"].items()},
            {a: tuple(words) for a, words in kind.get("attributes", {}).items()},
            required=tuple(kind.get("required", ())),
            names=kind.get("names", {}),
            words={a: tuple(words) for a, words in kind.get("words", {}).items()},
            demands=kind.get("demands", {}),
        )
        for name, kind in raw.items()
    }


KINDS: Final[Mapping[str, Kind]] = _kinds()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


LLM_TEXT: Final = _words(
    "name title source attention hf_id aliases ffn tied_embeddings attention_bias expert_bias "
    "linear precision note unverified"
)

LLM_SHAPE: Final = _words("layers hidden query_heads kv_heads head_dim vocab max_context")

LLM_GROUPED: Final = _words("layers hidden vocab max_context")
"""what a shape gives where groups of layers say the rest"""

LLM_OPTIONAL: Final = _words(
    "full_attention_layers q_lora_rank kv_lora_rank qk_rope_head_dim qk_nope_head_dim v_head_dim "
    "sliding_window ffn_hidden moe_layers experts experts_per_token shared_experts expert_hidden "
    "dense_layers_ffn_hidden linear_attention_layers linear_key_heads linear_value_heads "
    "linear_key_head_dim linear_value_head_dim linear_conv_kernel linear_state_bytes attention_layers "
    "ffn_layers ffn_width_total shared_expert_hidden moe_latent index_heads index_head_dim "
    "index_topk mtp_layers positions embedding_width per_layer_embedding per_layer_vocab "
    "other_parameters"
)

ATTENTION: Final = ("mha", "gqa", "mqa", "mla", "compressed", "hybrid")

LINEAR: Final = ("gated_deltanet", "mamba2")

FFN: Final = (
    "swiglu",
    "geglu",
    "gelu",
    "relu",
    "relu2",
    "silu",
    "xielu",
    "relu gated",
    "relu2 gated",
    "situ gated",
)

PRECISIONS: Final = tuple(STORED_BITS)
