"""Mixers of a layer, read from the keys of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from dse.catalog.hf_config import Config
from dse.catalog.hf_families import Family
from dse.catalog.hf_patterns import FULL, WINDOW
from dse.catalog.layers import (
    Attention,
    CompressedAttention,
    LatentAttention,
)
from dse.catalog.recurrences import (
    GatedDeltaNet,
    GatedRecurrence,
    KimiDelta,
    LightningAttention,
    Mamba,
    Mamba2,
    ShortConvolution,
)
from dse.core.errors import DataError


def head_width(c: Config, family: Family, heads: int) -> int:
    """Width of a head: as named, or the hidden size over the heads."""
    named = c.number("head_dim", 0)
    hidden = c.number("hidden")
    if named or family.head_dim:
        return named or family.head_dim
    if not heads or hidden % heads:
        raise c.wrong(c.sought("heads")[0], f"a divisor of the hidden size {hidden}, or a head_dim")
    return hidden // heads


def kv_heads(c: Config, family: Family, heads: int) -> int:
    """Key-value heads; the queries' where the family has no others."""
    if family.name == "falcon" and not c.flag("new_decoder_architecture"):
        c.number("kv_heads", 0)
        return 1 if c.flag("multi_query", default=True) else heads
    if c.flag("multi_query"):
        return c.number("kv_heads", 1)
    c.flag("multi_query_attention")
    groups = c.number("kv_heads", 0)
    if not groups and not family.multi_head:
        c.assumed.append(f"kv_heads = {heads}, as many as queries: the configuration names none")
    return groups or heads


def _bias(c: Config, family: Family) -> str:
    """Which attention projections carry a bias."""
    named = next((k for k in family.bias_keys if c.has(k)), None)
    if named is None:
        return family.bias
    on = c.flag(named)
    if "no_" in named:
        on = not on
    both = family.bias_on if on else family.bias_unset
    if c.has("attention_out_bias"):
        out = c.flag("attention_out_bias")
        both = both.removesuffix("+o") + ("+o" if out and both else "")
    return both


def _gate(c: Config, family: Family, heads: int, values: int) -> int:
    """Columns of an output gate's projection: one a head, or one an element."""
    kind = family.gate
    named = c.get("gating")
    if named is not None:  # Laguna: true or "per-head", "per-element"
        known = {True: "head", False: "", "per-head": "head", "per-element": "element"}
        if not isinstance(named, bool | str) or named not in known:
            raise c.wrong("gating", "true, false, per-head or per-element")
        kind = known[named]
    if kind and c.has("attn_output_gate", "use_attention_gate"):
        kind = kind if c.flag("attn_output_gate", "use_attention_gate") else ""
    elif c.flag("attn_output_gate"):
        kind = "element"
    return {"": 0, "head": heads, "element": heads * values}[kind]


def softmax_attention(c: Config, family: Family, kind: str, heads: int, keys: int) -> Attention:
    """Attention of one layer of a kind, with ``heads`` queries and ``keys`` key-value heads."""
    wide = c.number("swa_head_dim", 0) if kind == WINDOW else c.number("global_head_dim", 0)
    dim = wide or head_width(c, family, heads)
    values = (c.number("swa_v_head_dim", 0) if kind == WINDOW else 0) or c.number("v_head_dim", 0)
    one = Attention(
        layers=1,
        heads=heads,
        kv_heads=keys,
        head_dim=dim,
        value_dim=values if values != dim else 0,
        window=window(c, family) if kind == WINDOW else 0,
        query_rank=c.number("share_q_dim", 0),
        biased=_bias(c, family),
        norm_width=_norm(c, family, heads, keys, dim),
        gate_width=_gate(c, family, heads, values or dim),
        value_from_key=kind == FULL and c.flag("attention_k_eq_v"),
    )
    if heads % keys:
        raise c.wrong(c.sought("kv_heads")[0], f"a divisor of the {heads} query heads")
    return one


def _norm(c: Config, family: Family, heads: int, keys: int, dim: int) -> int:
    """Parameters of the norms of queries and keys."""
    kind = family.query_key_norm
    for key in ("use_qk_norm", "qk_norm", "qk_layernorm", "use_qk_layernorm", "qk_layer_norms"):
        if c.has(key):
            kind = (kind or "head") if c.flag(key) else ""
    return {"": 0, "head": 2 * dim, "every": (heads + keys) * dim}[kind]


def window(c: Config, family: Family) -> int:
    """Positions that a windowed layer sees.

    Raises:
        DataError: layers are said to have one, and none is named.

    """
    width = c.number("window", 0) or c.number("attention_chunk_size", 0) or family.window
    if not width:
        raise c.wrong("sliding_window", "a number of positions: some layers have a window")
    return width


def latent_attention(c: Config, family: Family, kind: str, *, shares_index: bool = False) -> LatentAttention:
    """Latent attention of one layer."""
    heads = c.number("heads")
    c.number("kv_heads", 0)
    c.number("head_dim", 0)
    nope, rope = c.number("qk_nope_head_dim"), c.number("qk_rope_head_dim")
    if c.has("qk_head_dim") and c.number("qk_head_dim") != nope + rope:
        raise c.wrong("qk_head_dim", f"qk_nope_head_dim + qk_rope_head_dim = {nope + rope}")
    if not c.has("v_head_dim") and family.value_width_hidden:
        values = c.number("hidden") // heads
    else:
        values = c.number("v_head_dim")
    return LatentAttention(
        layers=1,
        heads=heads,
        kv_lora_rank=c.number("kv_lora_rank"),
        qk_nope_head_dim=nope,
        qk_rope_head_dim=rope,
        v_head_dim=values,
        q_lora_rank=c.number("q_lora_rank", 0),
        index_heads=c.number("index_n_heads", 0),
        index_head_dim=c.number("index_head_dim", 0),
        index_topk=c.number("index_topk", 0),
        index_shared=shares_index,
        window=window(c, family) if kind == WINDOW else 0,
        gate_width=_gate(c, family, heads, values),
        with_bias=c.flag("attention_bias"),
    )


def compressed_attention(c: Config, every: int) -> CompressedAttention:
    """DeepSeek-V4's attention of one layer, of which ``every`` positions share an entry (0: window alone)."""
    heads, dim = c.number("heads"), c.number("head_dim")
    if c.number("kv_heads", 1) != 1:
        raise c.wrong("num_key_value_heads", "1: compressed attention has one latent for keys and values")
    c.number("qk_rope_head_dim", 0)
    sparse = bool(every) and every == min(r for r in compress_ratios(c) if r)
    index = [c.number(k) if sparse else 0 for k in ("index_n_heads", "index_head_dim", "index_topk")]
    return CompressedAttention(
        layers=1,
        heads=heads,
        head_dim=dim,
        q_lora_rank=c.number("q_lora_rank"),
        o_lora_rank=c.number("o_lora_rank"),
        output_groups=c.number("o_groups"),
        window=c.number("window"),
        tokens_per_entry=every,
        overlap=2 if sparse else 1,
        index_heads=index[0],
        index_head_dim=index[1],
        index_topk=index[2],
    )


def compress_ratios(c: Config) -> list[int]:
    """Positions an entry holds, for each layer; 0 where a layer has a window alone."""
    layers = c.number("layers")
    ratios = c.listed("compress_ratios", layers)
    if ratios is not None:
        if not all(isinstance(r, int) and 0 <= r <= 1 << 20 for r in ratios) or not any(ratios):
            raise c.wrong("compress_ratios", "whole numbers, some of them above 0")
        return [int(r) for r in ratios]
    rates = c.table("compress_rates")
    kinds = c.listed("layer_types", layers)
    if rates is None or kinds is None:
        raise c.wrong("compress_ratios", "a number for each layer, or compress_rates and layer_types")
    return [0 if k == "sliding_attention" else rates.number(str(k)) for k in kinds]


def _delta_net(c: Config) -> GatedDeltaNet:
    return GatedDeltaNet(
        layers=1,
        key_heads=c.number("linear_num_key_heads"),
        value_heads=c.number("linear_num_value_heads"),
        key_dim=c.number("linear_key_head_dim"),
        value_dim=c.number("linear_value_head_dim"),
        conv_kernel=c.number("linear_conv_kernel_dim", 4),
    )


def _full_rank_delta(c: Config) -> KimiDelta:
    """Kimi's delta attention with decay and gate of one matrix each (Ling 2.5)."""
    return replace(_kimi_delta(c), full_rank_gate=True, full_rank_decay=True)


def _kimi_delta(c: Config) -> KimiDelta:
    inner = c.table("linear_attn_config")
    if inner is not None:
        for key in ("full_attn_layers", "kda_layers", "gate_lower_bound"):
            inner.get(key)
        found = KimiDelta(
            layers=1,
            heads=inner.number("num_heads"),
            head_dim=inner.number("head_dim"),
            conv_kernel=inner.number("short_conv_kernel_size", 4),
            full_rank_gate=inner.flag("use_full_rank_gate"),
        )
        if inner.unread():
            key, value = next(iter(inner.unread().items()))
            raise c.wrong(f"linear_attn_config.{key}", f"no such key: {value!r} is not known in this family")
        return found
    return KimiDelta(
        layers=1,
        heads=c.number("linear_num_heads"),
        head_dim=c.number("linear_head_dim"),
        conv_kernel=either(c, "linear_conv_kernel_dim", "short_conv_kernel_size", default=4),
    )


def mamba2(c: Config) -> Mamba2:
    """Mamba-2 in the spellings of Bamba, Falcon-H1, Granite, Nemotron-H and Zamba2."""
    hidden = c.number("hidden")
    heads = either(c, "mamba_num_heads", "mamba_n_heads", "n_mamba_heads")
    expanded = hidden * either(c, "mamba_expand", "expand", default=2)
    inner = c.number("mamba_d_ssm", 0) or expanded
    width = either(c, "mamba_head_dim", "mamba_d_head", "mamba_headdim", default=0) or inner // max(heads, 1)
    if c.has("mamba_d_ssm") and heads * width != inner:
        raise c.wrong("mamba_d_ssm", f"heads x head width = {heads * width}")
    if (
        c.has("mamba_expand")
        and c.has("mamba_d_head")
        and not c.has("mamba_d_ssm")
        and heads * width != inner
    ):
        raise c.wrong("mamba_expand", f"heads x head width over the hidden size = {heads * width}/{hidden}")
    return Mamba2(
        layers=1,
        heads=heads,
        head_dim=width,
        groups=either(c, "mamba_n_groups", "n_groups", "mamba_ngroups", default=1),
        state=either(c, "ssm_state_size", "mamba_d_state", "state_size"),
        conv_kernel=either(c, "conv_kernel", "mamba_d_conv", default=4),
        conv_bias=c.flag("mamba_conv_bias", "use_conv_bias", default=True),
        projection_bias=any([c.flag("mamba_proj_bias"), c.flag("use_bias")]),
        normed=c.flag("mamba_rms_norm", default=True),
    )


def either(c: Config, *names: str, default: int | None = None) -> int:
    """A number under one of several names."""
    found = {n: c.number(n) for n in names if c.has(n)}
    if len(set(found.values())) > 1:
        shown = " and ".join(f"{n} = {v}" for n, v in found.items())
        raise DataError(f"{c.where}: {shown} contradict each other; expected one of them, or equal ones")
    return next(iter(found.values())) if found else c.number(names[0], default)


def _mamba(c: Config) -> Mamba:
    """Mamba of the first kind (Jamba)."""
    hidden = c.number("hidden")
    rank = c.raw.get("mamba_dt_rank")
    state = either(c, "mamba_d_state", "ssm_state_size", "state_size")
    if rank == "auto":
        c.read.add("mamba_dt_rank")
    low = -(-hidden // 16) if rank in ("auto", None) else c.number("mamba_dt_rank")
    return Mamba(
        layers=1,
        inner=hidden * either(c, "mamba_expand", "expand", default=2),
        state=state,
        rank=low,
        conv_kernel=either(c, "mamba_d_conv", "conv_kernel", default=4),
        conv_bias=c.flag("mamba_conv_bias", "use_conv_bias", default=True),
        projection_bias=c.flag("mamba_proj_bias", "use_bias"),
        norm_width=low + 2 * state,
    )


def _lightning(c: Config) -> LightningAttention:
    heads = c.number("heads")
    return LightningAttention(
        layers=1, heads=heads, head_dim=c.number("head_dim", 0) or c.number("hidden") // heads
    )


def _short_convolution(c: Config) -> ShortConvolution:
    return ShortConvolution(
        layers=1,
        conv_kernel=either(c, "conv_L_cache", "conv_l_cache"),
        inner=c.number("conv_dim", 0) if c.number("conv_dim", 0) != c.number("hidden") else 0,
        biased=c.flag("conv_bias"),
    )


def _gated_recurrence(c: Config) -> GatedRecurrence:
    return GatedRecurrence(
        layers=1,
        width=c.number("lru_width", 0) or c.number("hidden"),
        heads=c.number("heads"),
        conv_kernel=c.number("conv1d_width", 4),
    )


RECURRENCES: Final[Mapping[str, Callable[[Config], Any]]] = {
    GatedDeltaNet.kind: _delta_net,
    KimiDelta.kind: _kimi_delta,
    "full_rank_kimi_delta": _full_rank_delta,
    Mamba2.kind: mamba2,
    Mamba.kind: _mamba,
    LightningAttention.kind: _lightning,
    ShortConvolution.kind: _short_convolution,
    GatedRecurrence.kind: _gated_recurrence,
}
