"""A Hugging Face ``config.json`` -> a catalogue file of a language model, and what could not be mapped."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dse.catalog import LlmEntry, read_llm
from dse.errors import DataError
from dse.llm_keys import OTHER, PLAIN, WITHOUT_EFFECT
from dse.schema import PRECISIONS

FP32: Final = 4  # bytes; recurrent states are kept in it

GEGLU: Final = ("gemma",)


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
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not a readable config.json ({error})") from error
    if not isinstance(raw, dict):
        raise DataError(
            f"{path}: got a {type(raw).__name__}, expected an object with num_hidden_layers, hidden_size ..."
        )
    inner = raw.get("text_config")
    config: dict[str, Any] = {**raw, **inner} if isinstance(inner, dict) else raw
    reader = _Config(config, str(path))
    shape = reader.shape()
    title = (
        name
        or str(raw.get("_name_or_path") or config.get("_name_or_path") or "").rsplit("/", 1)[-1]
        or path.resolve().parent.name
    )
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
            if not isinstance(value, int | float) or not math.isfinite(value) or value < 0 or value != int(value):
                raise DataError(f"{self.where}: {key}: got {value!r}, expected a whole number not below 0")
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
        s["kv_heads"] = (
            1
            if self.raw.get("multi_query")
            else self.number("num_key_value_heads", "n_kv_heads", default=s["query_heads"])
        )
        s["head_dim"] = self.number("head_dim", "kv_channels", default=0) or s["hidden"] // max(s["query_heads"], 1)
        if s["kv_lora_rank"]:
            s["head_dim"] = s["qk_nope_head_dim"] + s["qk_rope_head_dim"]
            s["kv_heads"] = s["query_heads"]
        self._attention(s)
        self._feed_forward(s)
        if self.raw.get("hybrid_override_pattern"):
            self._pattern(s, str(self.raw["hybrid_override_pattern"]))
        return {
            k: v
            for k, v in s.items()
            if v or k in {"layers", "hidden", "query_heads", "kv_heads", "head_dim", "vocab", "max_context"}
        }

    def _attention(self, s: dict[str, int]) -> None:
        """Full, windowed and linear layers."""
        kinds = self.raw.get("layer_types")
        layers = s["layers"]
        window = self.number("sliding_window", "attention_chunk_size", default=0)
        if isinstance(kinds, list) and kinds:
            s["linear_attention_layers"] = sum("linear" in str(k) for k in kinds)
            windowed = sum("sliding" in str(k) or "chunked" in str(k) for k in kinds)
        elif s["linear_value_heads"]:
            every = self.number("full_attention_interval", default=4)
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
        width = self.number("intermediate_size", "n_inner", "mlp_hidden_size", default=4 * s["hidden"])
        if not s["experts"] or s["experts"] == 1:
            s["experts"] = s["experts_per_token"] = 0
            s["ffn_hidden"] = width
            return
        s["expert_hidden"] = self.number("moe_intermediate_size", "expert_ffn_hidden_size", default=width)
        s["experts_per_token"] = s["experts_per_token"] or 1
        layers = s["layers"]
        every = self.number("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_freq", default=1) or 1
        dense = self.raw.get("mlp_only_layers")
        first = self.number("first_k_dense_replace", default=0)
        s["moe_layers"] = (layers - first) // every - (len(dense) if isinstance(dense, list) else 0)
        shared = self.number("moe_shared_expert_intermediate_size", "shared_expert_intermediate_size", default=0)
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
        s["linear_state_bytes"] = s["linear_value_heads"] * s["linear_value_head_dim"] * s["linear_key_head_dim"] * FP32
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
        groups = 1 if self.raw.get("multi_query") else self.number("num_key_value_heads", "n_kv_heads", default=heads)
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
        return bool(self.raw.get("tie_word_embeddings", self.kind.startswith("gemma")))

    @property
    def precision(self) -> str:
        """Number format of the checkpoint."""
        made = self.raw.get("quantization_config")
        if isinstance(made, dict):
            method = (
                str(made.get("quant_method", ""))
                + json.dumps(made.get("config_groups", ""))
                + str(made.get("quant_algo", ""))
            )
            for fmt, sign in (
                ("mxfp4", "mxfp4"),
                ("nvfp4", "nvfp4"),
                ("fp8", "fp8"),
                ("int4", '"num_bits": 4'),
                ("int4", "awq"),
                ("int4", "gptq"),
            ):
                if sign in method.lower():
                    return fmt + (
                        " (experts)"
                        if fmt in {"mxfp4", "int4"}
                        and self.raw.get("num_local_experts", self.raw.get("n_routed_experts"))
                        else ""
                    )
            self.assumed.append(f"precision = bf16: quantisation {made.get('quant_method')!r} is unknown")
        given = (
            str(self.raw.get("torch_dtype") or self.raw.get("dtype") or "bf16")
            .replace("bfloat16", "bf16")
            .replace("float16", "fp16")
        )
        return given if given in PRECISIONS else "bf16"


def _toml(title: str, file: str, reader: _Config, shape: Mapping[str, int]) -> str:
    """The catalogue file."""
    from dse.workload import transformer

    lines = [f"name = {json.dumps(title)}", f"title = {json.dumps(title)}", f"source = {json.dumps(f'{file} of {title}')}",
             f'attention = "{reader.attention}"', f'ffn = "{reader.ffn}"', f'precision = "{reader.precision}"',
             f"tied_embeddings = {str(reader.tied).lower()}"]  # fmt: skip
    if reader.bias:
        lines.append(f'attention_bias = "{reader.bias}"')
    if reader.kind == "gpt_oss":
        lines.append("expert_bias = true")
    if reader.raw.get("hybrid_override_pattern"):
        lines.append('linear = "mamba2"')
    body = ["", "[shape]", *(f"{k} = {v}" for k, v in shape.items())]
    t = transformer(read_llm("\n".join([*lines, *body]), file))
    return "\n".join([*lines, *body, "", "[published]", "# computed from the configuration, to be set beside the published count",
                      f"params_total = {round(t.parameters)}", f"kv_bytes_per_token_16bit = {round(t.kv_bytes_per_token(16))}"]) + "\n"  # fmt: skip
