"""A model's ``config.json``, read key by key: what no rule has read is not known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dse.catalog.layer_groups import LARGEST
from dse.core.errors import DataError

MOST_BYTES: Final = 20_000_000
"""of a configuration: files of released models have at most a few hundred kB"""

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers"),
    "hidden": ("hidden_size", "n_embd", "n_embed", "d_model", "model_dim"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"),
    "kv_heads": (
        "num_key_value_heads",
        "n_kv_heads",
        "num_kv_heads",
        "n_head_kv",
        "multi_query_group_num",
        "num_attention_groups",
        "num_query_groups",
    ),
    "head_dim": ("head_dim", "attention_head_dim", "kv_channels", "d_head"),
    "vocab": ("padded_vocab_size", "vocab_size", "embedding_size"),
    "width": (
        "intermediate_size",
        "n_inner",
        "ffn_hidden_size",
        "ffn_dim",
        "mlp_hidden_size",
        "d_ff",
        "block_ff_dim",
    ),
    "context": (
        "max_position_embeddings",
        "n_positions",
        "max_sequence_length",
        "max_seq_len",
        "model_max_length",
        "seq_length",
        "context_length",
        "max_context_length",
        "n_ctx",
    ),
    "experts": (
        "num_experts",
        "n_routed_experts",
        "num_local_experts",
        "moe_num_experts",
        "num_moe_experts",
    ),
    "per_token": (
        "num_experts_per_tok",
        "num_experts_per_token",
        "experts_per_token",
        "num_selected_experts",
        "moe_top_k",
        "moe_topk",
        "top_k_experts",
        "moe_k",
        "moe_router_topk",
    ),
    "expert_width": ("moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size"),
    "shared_experts": (
        "n_shared_experts",
        "num_shared_experts",
        "num_shared_expert",
        "moe_num_shared_experts",
    ),
    "shared_width": (
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_experts_intermediate_size",
        "share_expert_dim",
        "shared_intermediate_size",
    ),
    "window": ("sliding_window", "sliding_window_size", "window_size", "attention_window_size"),
    "mtp_layers": (
        "num_nextn_predict_layers",
        "num_mtp_modules",
        "mtp_num_hidden_layers",
        "num_mtp_layers",
        "mtp_num_layers",
        "n_predict",
    ),
}
"""what is sought -> names that configurations use for it, first come first taken"""


PER_LAYER: Final = frozenset(
    (
        "head_dim",
        "num_attention_heads",
        "num_key_value_heads",
        "v_head_dim",
        "kv_lora_rank",
        "q_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "sliding_window",
        "index_topk",
    )
)
"""keys that a layer may have of its own"""


MOST_LAYERS: Final = 10_000


class Config:
    """A configuration whose keys are ticked off as rules read them.

    Raises:
        DataError: from every reading method, a value of another kind; file, key, value and what is allowed.

    """

    def __init__(self, raw: Mapping[str, Any], where: str, kind: str) -> None:
        self.raw, self.where, self.kind = raw, where, kind
        self.read: set[str] = set()
        self.asked: set[str] = set()
        """names that rules looked for, there or not"""
        self.assumed: list[str] = []
        """what was taken for granted because the configuration does not say"""

    def layer(self, i: int) -> Config:
        """The configuration as layer ``i`` sees it: ``per_layer_config`` overrides single keys.

        Raises:
            DataError: it is no table of tables.

        """
        every = self.raw.get("per_layer_config")
        if every is None:
            return self
        self.read.add("per_layer_config")
        if not isinstance(every, Mapping):
            raise self.wrong("per_layer_config", "a table of layers, each with the keys that differ")
        own = next((v for k, v in every.items() if str(k).isdigit() and int(k) == i), None)
        if own is None:
            return self
        if not isinstance(own, Mapping) or own.keys() - PER_LAYER:
            raise self.wrong("per_layer_config", f"layers with some of {', '.join(sorted(PER_LAYER))}")
        seen = Config({**self.raw, **own}, f"{self.where}: layer {i}", self.kind)
        seen.read, seen.asked, seen.assumed = self.read, self.asked, self.assumed
        return seen

    def wrong(self, key: str, expected: str) -> DataError:
        """What to raise for a key that cannot be used."""
        return DataError(f"{self.where}: {key}: got {_shown(self.raw.get(key))}, expected {expected}")

    def has(self, *names: str) -> bool:
        """Whether one of the names has a value."""
        self.asked.update(names)
        return any(self.raw.get(n) is not None for n in names)

    def get(self, *names: str) -> Any:
        """The value under the first name that has one, as it stands; None where there is none."""
        found = None
        self.asked.update(names)
        for n in names:
            if self.raw.get(n) is not None:
                self.read.add(n)
                found = self.raw[n] if found is None else found
        return found

    def sought(self, what: str) -> tuple[str, ...]:
        """Names under which a size is looked for."""
        return NAMES.get(what, (what,))

    def number(self, what: str, default: int | None = None) -> int:
        """A whole number; one for every layer is taken where all are equal.

        Where two names hold different numbers the configuration contradicts itself.
        """
        names = self.sought(what)
        self.asked.update(names)
        found = {n: self._whole(n, self.raw[n]) for n in names if self.raw.get(n) is not None}
        self.read.update(found)
        if not found:
            if default is None:
                raise DataError(
                    f"{self.where}: none of {', '.join(names)}; expected a whole number, "
                    f"e.g. {names[0]} = {EXAMPLE.get(what, 32)}"
                )
            return default
        if found.get("padded_vocab_size", math.inf) < found.get("vocab_size", 0):
            raise self.wrong("padded_vocab_size", f"at least vocab_size, {found['vocab_size']}")
        if what == "layers" and max(found.values()) > MOST_LAYERS:
            name = max(found, key=lambda n: found[n])
            raise self.wrong(name, f"a whole number up to {MOST_LAYERS}")
        if len(set(found.values())) > 1 and what not in {"vocab", "context"}:
            shown = " and ".join(f"{n} = {v}" for n, v in found.items())
            raise DataError(
                f"{self.where}: {shown} contradict each other; expected one of them, or equal ones"
            )
        if what == "context" and len(set(found.values())) > 1:
            longest = max(found, key=lambda n: found[n])
            shown = ", ".join(f"{n} = {v}" for n, v in found.items())
            self.assumed.append(f"max_context = {found[longest]}, the longest of {shown}")
            return found[longest]
        return next(iter(found.values()))

    def _whole(self, key: str, value: Any) -> int:
        if isinstance(value, list) and value and all(v == value[0] for v in value):
            value = value[0]
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or not 0 <= value <= LARGEST
            or value != int(value)
        ):
            raise self.wrong(key, f"a whole number from 0 to {LARGEST:g}")
        return int(value)

    def each(self, what: str, layers: int, default: int | None = None) -> list[int]:
        """A whole number for each layer: from a list, or one for all."""
        for n in self.sought(what):
            value = self.raw.get(n)
            if isinstance(value, list) and value:
                self.read.add(n)
                if len(value) < layers:
                    raise self.wrong(n, f"a number for each of the {layers} layers")
                return [self._whole(n, v) for v in value[:layers]]
        return [self.number(what, default)] * layers

    def flag(self, *names: str, default: bool = False) -> bool:
        """True or false."""
        self.asked.update(names)
        for n in names:
            value = self.raw.get(n)
            if value is None:
                continue
            self.read.add(n)
            if not isinstance(value, bool | int) or value not in (0, 1):
                raise self.wrong(n, "true or false")
            return bool(value)
        return default

    def text(self, *names: str, default: str = "") -> str:
        """A word."""
        for n in names:
            value = self.raw.get(n)
            if value is None:
                continue
            self.read.add(n)
            if not isinstance(value, str):
                raise self.wrong(n, "a word")
            return value
        return default

    def listed(self, key: str, layers: int = 0) -> list[Any] | None:
        """A list, of at least ``layers`` members where that is asked; None where the key has no value."""
        value = self.raw.get(key)
        if value is None:
            return None
        self.read.add(key)
        if not isinstance(value, list) or len(value) < layers:
            raise self.wrong(key, f"a list of {layers} members, one a layer" if layers else "a list")
        return value[:layers] if layers else value

    def table(self, key: str) -> Config | None:
        """A table inside, read by the same rules; None where the key has no value."""
        value = self.raw.get(key)
        if value is None:
            return None
        self.read.add(key)
        if not isinstance(value, Mapping):
            raise self.wrong(key, "a table")
        return Config(value, f"{self.where}: {key}", self.kind)

    def unread(self) -> dict[str, Any]:
        """Keys with a value that no rule has read."""
        return {
            k: v for k, v in self.raw.items() if k not in self.read and v not in (None, False, [], {}, "")
        }


EXAMPLE: Final = {"layers": 32, "hidden": 4096, "heads": 32, "vocab": 128256, "width": 14336}


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def read_json(path: Path) -> dict[str, Any]:
    """An object of a JSON file; a byte-order mark in front of it is passed over.

    Raises:
        DataError: not readable, or something else than an object.

    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(
                f"{path}: {path.stat().st_size} bytes, expected a config.json of at most {MOST_BYTES}"
            )
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a readable config.json ({str(error)[:200]})") from error
    if not isinstance(raw, dict):
        raise DataError(
            f"{path}: got a {type(raw).__name__}, expected an object with num_hidden_layers, hidden_size ..."
        )
    return raw


def config_file(path: Path) -> Path:
    """The configuration that a path means: a file, a folder with one, or a hub's cache folder of a model.

    Raises:
        DataError: there is none, or several.

    """
    if not path.is_dir():
        return path
    if (path / "config.json").is_file():
        return path / "config.json"
    snapshots = sorted((path / "snapshots").glob("*/config.json")) if (path / "snapshots").is_dir() else []
    main = path / "refs" / "main"
    if main.is_file():
        revision = main.read_text(encoding="utf-8").strip()
        snapshots = [s for s in snapshots if s.parent.name == revision] or snapshots
    if len(snapshots) == 1:
        return snapshots[0]
    if snapshots:
        raise DataError(f"{path}: {len(snapshots)} snapshots; name one, e.g. {snapshots[-1]}")
    raise DataError(f"{path}: no config.json in it; expected a file, or a folder that holds one")
