"""A Hugging Face ``config.json`` -> a catalogue file of a language model, and what could not be mapped."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dse.catalog.hf_keys import OTHER, PLAIN, WITHOUT_EFFECT
from dse.catalog.llm import LlmEntry, read_llm
from dse.catalog.schema import PRECISIONS
from dse.core.errors import DataError

LARGEST: Final = 1e9
"""of any size in a configuration"""


FP32: Final = 4  # bytes; recurrent states are kept in it


GEGLU: Final = ("gemma",)


TIED: Final = ("gemma", "falcon", "gpt2")
"""families whose head is the embedding unless they say otherwise"""


MULTI_HEAD: Final = ("gptj", "gpt2", "opt", "gpt_neox", "phi", "bloom", "falcon")
"""families without grouped keys, whose configurations do not count them"""


ATTENTION_NAMES: Final = ("attn", "attention")


LEFT_OUT: Final[Mapping[str, Mapping[str, int]]] = {
    "gemma3_text": {
        "vocab_size": 262208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
    }
}
"""model_type -> values that its files leave out where they equal the family's default"""


@dataclass(frozen=True)
class Imported:
    """A model read from its configuration."""

    entry: LlmEntry
    text: str
    """the TOML file"""
    unmapped: tuple[str, ...]
    """keys of the configuration that no rule knows, with their values"""
    assumed: tuple[str, ...]
    """what was taken for granted because the configuration does not say"""


def import_llm(path: Path, name: str | None = None) -> Imported:
    """Read a configuration file.

    Raises:
        DataError: not a configuration, or a size without which no parameter can be counted is missing.

    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a readable config.json ({str(error)[:200]})") from error
    if not isinstance(raw, dict):
        raise DataError(
            f"{path}: got a {type(raw).__name__}, expected an object with num_hidden_layers, hidden_size ..."
        )
    inner = raw.get("text_config")
    config: dict[str, Any] = {**raw, **inner} if isinstance(inner, dict) else raw
    left_out = {
        k: v for k, v in LEFT_OUT.get(str(config.get("model_type", "")), {}).items() if config.get(k) is None
    }
    reader = _Config({**config, **left_out}, str(path))
    reader.assumed += [
        f"{k} = {v}: the family's default, the configuration leaves it out" for k, v in left_out.items()
    ]
    shape = reader.shape()
    title = (
        name
        or str(raw.get("_name_or_path") or config.get("_name_or_path") or "").rsplit("/", 1)[-1]
        or path.resolve().parent.name
    )
    title = re.sub(r"[^\w.-]+", "-", title).strip("-.") or "model"
    text = _toml(title, path.name, reader, shape)
    entry = read_llm(text, str(path))
    known = {k for names in PLAIN.values() for k in names} | OTHER | WITHOUT_EFFECT
    unmapped = tuple(
        f"{k} = {json.dumps(v)[:60]}"
        for k, v in sorted(config.items())
        if k not in known and v not in (None, False, [], {})
    )
    return Imported(entry, text, unmapped, tuple(reader.assumed))


class _Config:
    """A configuration with the rules that need more than one key."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self.raw, self.where = raw, where
        self.assumed: list[str] = []
        self.kind = str(raw.get("model_type", "")).lower()

    def number(self, *names: str, default: int | None = None) -> int:
        """A whole number under the first name that is there."""
        for key in names:
            value = self.raw.get(key)
            if isinstance(value, list) and value and all(v == value[0] for v in value):
                value = value[0]
            if value is None or isinstance(value, bool):
                continue
            if (
                not isinstance(value, int | float)
                or not math.isfinite(value)
                or not 0 <= value <= LARGEST
                or value != int(value)
            ):
                raise DataError(
                    f"{self.where}: {key}: got {value!r}, expected a whole number from 0 to {LARGEST:g}"
                )
            return int(value)
        if default is None:
            raise DataError(
                f"{self.where}: none of {', '.join(names)}; expected a whole number, e.g. {names[0]} = 4096"
            )
        return default

    def shape(self) -> dict[str, int]:
        """Every field of the shape that is not 0."""
        required = ("layers", "hidden", "query_heads", "vocab")
        s = {k: self.number(*names, default=None if k in required else 0) for k, names in PLAIN.items()}
        if not s["max_context"]:
            s["max_context"] = 4096
            self.assumed.append("max_context = 4096: the configuration names none")
        s["kv_heads"] = self._kv_heads(s["query_heads"])
        s["head_dim"] = self.number("head_dim", "kv_channels", default=0) or s["hidden"] // max(
            s["query_heads"], 1
        )
        if s["kv_lora_rank"]:
            s["head_dim"] = s["qk_nope_head_dim"] + s["qk_rope_head_dim"]
            s["kv_heads"] = s["query_heads"]
        self._attention(s)
        self._feed_forward(s)
        if self.raw.get("hybrid_override_pattern"):
            self._pattern(s, str(self.raw["hybrid_override_pattern"]))
        self._possible(s)
        return {
            k: v
            for k, v in s.items()
            if v or k in {"layers", "hidden", "query_heads", "kv_heads", "head_dim", "vocab", "max_context"}
        }

    def _kv_heads(self, heads: int) -> int:
        """Key-value heads; Falcon's newer architecture counts them even where ``multi_query`` is set."""
        groups = self.number("num_key_value_heads", "n_kv_heads", "num_kv_heads", default=0)
        if self.raw.get("multi_query") and not self.raw.get("new_decoder_architecture"):
            return 1
        if not groups and self.kind not in MULTI_HEAD:
            self.assumed.append(f"kv_heads = {heads}, as many as queries: the configuration names none")
        return groups or heads

    def _possible(self, s: dict[str, int]) -> None:
        """Sizes that no model can have.

        Raises:
            DataError: one of them, and what is allowed.

        """
        wrong = [k for k in ("layers", "hidden", "query_heads", "kv_heads", "head_dim", "vocab") if s[k] < 1]
        if wrong:
            raise DataError(f"{self.where}: {', '.join(wrong)}: got 0, expected at least 1")
        if s["query_heads"] % s["kv_heads"]:
            raise DataError(
                f"{self.where}: num_key_value_heads: got {s['kv_heads']}, expected a divisor of the "
                f"{s['query_heads']} query heads"
            )
        if s["experts_per_token"] > s["experts"]:
            raise DataError(
                f"{self.where}: num_experts_per_tok: got {s['experts_per_token']}, expected at most "
                f"the {s['experts']} experts"
            )
        for key in ("moe_layers", "full_attention_layers", "linear_attention_layers"):
            if not 0 <= s.get(key, 0) <= s["layers"]:
                raise DataError(
                    f"{self.where}: {key}: comes to {s[key]} of {s['layers']} layers; see "
                    "first_k_dense_replace, mlp_only_layers, layer_types"
                )

    def _attention(self, s: dict[str, int]) -> None:
        """Full, windowed and linear layers."""
        kinds = self.raw.get("layer_types")
        layers = s["layers"]
        window = self.number("sliding_window", "attention_chunk_size", default=0)
        if isinstance(kinds, list) and kinds:
            s["linear_attention_layers"] = sum("linear" in str(k) for k in kinds)
            windowed = sum("sliding" in str(k) or "chunked" in str(k) for k in kinds)
        elif s["linear_value_heads"]:
            every = max(self.number("full_attention_interval", default=4), 1)
            s["linear_attention_layers"], windowed = layers - layers // every, 0
        else:
            windowed = self._windowed(layers, window)
        if s.get("linear_attention_layers"):
            s["linear_state_bytes"] = (
                s["linear_value_heads"] * s["linear_key_head_dim"] * s["linear_value_head_dim"] * FP32
            )
        attending = layers - s.get("linear_attention_layers", 0)
        s["sliding_window"] = window if windowed else 0
        s["full_attention_layers"] = attending - windowed

    def _windowed(self, layers: int, window: int) -> int:
        """Layers with a window where ``layer_types`` does not list them."""
        if not window or self.raw.get("use_sliding_window") is False:
            return 0
        no_rope = self.raw.get("no_rope_layers")
        if isinstance(no_rope, list) and no_rope:  # Llama 4: chunked where there is rotary
            return sum(bool(v) for v in no_rope)
        pattern = self.number("sliding_window_pattern", default=0)
        if self.kind.startswith(("gemma2", "gpt_oss")):
            pattern = 2
        elif self.kind.startswith("gemma3"):
            pattern = pattern or 6
        elif self.kind.startswith("llama4"):
            pattern = pattern or 4
        return layers - layers // pattern if pattern else layers

    def _feed_forward(self, s: dict[str, int]) -> None:
        """Dense and expert widths, and how many layers route."""
        width = self.number("intermediate_size", "n_inner", "mlp_hidden_size", "ffn_hidden_size", default=0)
        if not width:
            width = 4 * s["hidden"]
            self.assumed.append(
                f"ffn_hidden = {width}, four times the hidden size: the configuration names none"
            )
        if not s["experts"] or s["experts"] == 1:
            s["experts"] = s["experts_per_token"] = 0
            s["ffn_hidden"] = width
            return
        s["expert_hidden"] = self.number("moe_intermediate_size", "expert_ffn_hidden_size", default=width)
        s["experts_per_token"] = s["experts_per_token"] or 1
        layers = s["layers"]
        every = (
            self.number("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_freq", default=1) or 1
        )
        dense = self.raw.get("mlp_only_layers")
        first = self.number("first_k_dense_replace", default=0)
        s["moe_layers"] = (layers - first) // every - (len(dense) if isinstance(dense, list) else 0)
        shared = self.number(
            "moe_shared_expert_intermediate_size", "shared_expert_intermediate_size", default=0
        )
        s["shared_experts"] = self.number("n_shared_experts", "num_shared_experts", default=0)
        if shared:
            s["shared_experts"] = s["shared_experts"] or max(shared // max(s["expert_hidden"], 1), 1)
            if shared != s["shared_experts"] * s["expert_hidden"]:
                s["shared_expert_hidden"] = shared
        if self.kind.startswith("llama4"):
            s["shared_experts"] = 1
            self.assumed.append("one shared expert a layer: Llama 4 has it without naming it")
        s["moe_latent"] = self.number("moe_latent_size", default=0)
        if s["moe_layers"] < layers:
            s["dense_layers_ffn_hidden"] = self.number("intermediate_size_mlp", default=width)

    def _pattern(self, s: dict[str, int], pattern: str) -> None:
        """A string of blocks: M Mamba-2, * attention, E experts, - feed-forward (Nemotron-H)."""
        s["linear_attention_layers"], s["attention_layers"] = pattern.count("M"), pattern.count("*")
        s["full_attention_layers"], s["moe_layers"], s["ffn_layers"] = (
            pattern.count("*"),
            pattern.count("E"),
            pattern.count("-"),
        )
        s["linear_value_heads"], s["linear_value_head_dim"] = (
            self.number("mamba_num_heads"),
            self.number("mamba_head_dim"),
        )
        s["linear_key_heads"], s["linear_key_head_dim"] = (
            self.number("n_groups", "mamba_n_groups"),
            self.number("ssm_state_size"),
        )
        s["linear_conv_kernel"] = self.number("conv_kernel", default=4)
        s["linear_state_bytes"] = (
            s["linear_value_heads"] * s["linear_value_head_dim"] * s["linear_key_head_dim"] * FP32
        )
        s.pop("dense_layers_ffn_hidden", None)
        s["ffn_hidden"] = self.number("intermediate_size", default=0) if s["ffn_layers"] else 0

    @property
    def attention(self) -> str:
        """Kind of attention."""
        if self.raw.get("kv_lora_rank"):
            return "mla"
        if self.raw.get("hybrid_override_pattern") or self.raw.get("linear_num_value_heads"):
            return "hybrid"
        heads = self.number("num_attention_heads", "n_head", "n_heads")
        already = len(self.assumed)
        groups = self._kv_heads(heads)
        del self.assumed[already:]  # it is told once
        return "mha" if groups == heads else "mqa" if groups == 1 else "gqa"

    @property
    def ffn(self) -> str:
        """Kind of feed-forward layer."""
        act = str(
            next(
                (
                    self.raw[k]
                    for k in ("mlp_hidden_act", "hidden_act", "hidden_activation", "activation_function")
                    if self.raw.get(k)
                ),
                "silu",
            )
        )
        if self.kind.startswith("falcon"):
            return "gelu"
        if "relu2" in act or self.kind.startswith("nemotron"):
            return "relu2"
        if self.kind.startswith(GEGLU):
            return "geglu"
        return "gelu" if "gelu" in act else "swiglu"

    @property
    def bias(self) -> str:
        """Which attention projections carry a bias."""
        if self.kind == "qwen2":
            return "qkv"
        if not self.raw.get("attention_bias"):
            return ""
        return "qkv" if self.kind.startswith("glm4") else "qkv+o"

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding."""
        named = self.raw.get("tie_word_embeddings")
        if named is None and not self.kind.startswith(TIED):
            self.assumed.append("tied_embeddings = false: the configuration does not say")
        return bool(named) if named is not None else self.kind.startswith(TIED)

    @staticmethod
    def _quantised(made: Mapping[str, Any]) -> str:
        """Number format of a quantisation block, "" where it is unknown."""
        method = str(made.get("quant_method", "")).lower()
        nested = made.get("quantization")
        algorithm = made.get("quant_algo") or (nested.get("quant_algo") if isinstance(nested, dict) else "")
        named = f"{method} {made.get('format', '')} {algorithm} {made.get('fmt', '')}".lower()
        for fmt in ("nvfp4", "mxfp4"):
            if fmt in named:
                return fmt
        groups = made.get("config_groups")
        weights = (
            [g.get("weights") or {} for g in groups.values() if isinstance(g, dict)]
            if isinstance(groups, dict)
            else []
        )
        for w in [*weights, made]:
            bits, kind = w.get("num_bits", w.get("bits")), str(w.get("type", "int"))
            if bits == 4:
                return "nvfp4" if kind == "float" else "int4"
            if bits == 8:
                return "fp8" if kind == "float" else "int8"
        if "fp8" in named or "e4m3" in named:
            return "fp8"
        return "int4" if method in {"awq", "gptq"} else ""

    @property
    def precision(self) -> str:
        """Number format of the checkpoint; ``(experts)`` where its attention is left as it was."""
        made = self.raw.get("quantization_config")
        if isinstance(made, dict):
            fmt = self._quantised(made)
            if fmt:
                left = " ".join(
                    str(x)
                    for k in ("ignore", "modules_to_not_convert", "exclude_modules")
                    for x in made.get(k) or ()
                )
                routed = (
                    self.number(
                        "num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts", default=0
                    )
                    > 1
                )
                alone = fmt == "mxfp4" or any(name in left for name in ATTENTION_NAMES)
                return fmt + (" (experts)" if routed and alone and fmt in {"mxfp4", "int4"} else "")
            self.assumed.append(f"precision = bf16: quantisation {made.get('quant_method')!r} is unknown")
        given = (
            str(self.raw.get("torch_dtype") or self.raw.get("dtype") or "bf16")
            .replace("bfloat16", "bf16")
            .replace("float16", "fp16")
        )
        return given if given in PRECISIONS else "bf16"


def _toml(title: str, file: str, reader: _Config, shape: Mapping[str, int]) -> str:
    """The catalogue file."""
    from dse.catalog.transformer import transformer

    lines = [
        f"name = {json.dumps(title, ensure_ascii=False)}",
        f"title = {json.dumps(title, ensure_ascii=False)}",
        f"source = {json.dumps(f'{file} of {title}')}",
        f'attention = "{reader.attention}"',
        f'ffn = "{reader.ffn}"',
        f'precision = "{reader.precision}"',
        f"tied_embeddings = {str(reader.tied).lower()}",
    ]
    if reader.bias:
        lines.append(f'attention_bias = "{reader.bias}"')
    if reader.kind == "gpt_oss":
        lines.append("expert_bias = true")
    if reader.raw.get("hybrid_override_pattern"):
        lines.append('linear = "mamba2"')
    body = ["", "[shape]", *(f"{k} = {v}" for k, v in shape.items())]
    t = transformer(read_llm("\n".join([*lines, *body]), file))
    return (
        "\n".join(
            [
                *lines,
                *body,
                "",
                "[published]",
                "# computed from the configuration, to be set beside the published count",
                f"params_total = {round(t.parameters)}",
                f"kv_bytes_per_token_16bit = {round(t.kv_bytes_per_token(16))}",
            ]
        )
        + "\n"
    )
