"""The keys of a configuration -> groups of equal layers.

One reading for every family; what a family does in its own way stands in ``data/families.toml``, and a few
have a layout of their own below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dse.catalog.hf_config import Config
from dse.catalog.hf_families import Family
from dse.catalog.hf_keys import INHERITED, WITHOUT_EFFECT
from dse.catalog.hf_mixers import (
    RECURRENCES,
    compress_ratios,
    compressed_attention,
    either,
    kv_heads,
    latent_attention,
    mamba2,
    softmax_attention,
)
from dse.catalog.hf_patterns import FULL, RECURRENT, WINDOW, block_kinds, mixer_kinds, routed_layers
from dse.catalog.layers import Attention, Dense, Experts, LatentAttention
from dse.core.errors import DataError


@dataclass
class Layers:
    """The layers of a model, one by one, and what stands outside of them."""

    mixers: list[Any] = field(default_factory=list)
    blocks: list[Any] = field(default_factory=list)
    outside: dict[str, int] = field(default_factory=dict)
    """further sizes of the shape"""
    numbered: list[list[Any]] = field(default_factory=list)
    """mixers and blocks by the number of their layer in the names of modules"""


def read_layers(c: Config, family: Family) -> Layers:
    """Every layer of a configuration, in groups of equal ones.

    Raises:
        DataError: a key that is missing, impossible, or not modelled.

    """
    found = LAYOUTS[family.layout](c, family)
    numbered = found.numbered or _numbered(found)
    return Layers(_grouped(found.mixers), _grouped(found.blocks), found.outside, numbered)


def _numbered(found: Layers) -> list[list[Any]]:
    """A mixer and a block in every layer; what stands beside others where these are routed, or in all."""
    main = [
        [replace(m, layers=1) for m in some if not m.beside for _ in range(m.layers)]
        for some in (found.mixers, found.blocks)
    ]
    out: list[list[Any]] = [[] for _ in range(max(map(len, main)))]
    for some in main:
        for at, m in enumerate(some):
            out[at].append(m)
    for some in (found.mixers, found.blocks):
        side = [replace(m, layers=1) for m in some if m.beside for _ in range(m.layers)]
        routed = [at for at, parts in enumerate(out) if any(isinstance(p, Experts) for p in parts)]
        places = routed if len(side) == len(routed) else range(len(out))
        for at, m in zip(places, side, strict=False):
            out[at].append(m)
    return out


def _grouped(members: Sequence[Any]) -> list[Any]:
    """Equal layers together, in the order in which they first stand."""
    groups: dict[Any, int] = {}
    for m in members:
        one = replace(m, layers=1)
        groups[one] = groups.get(one, 0) + m.layers
    return [replace(m, layers=n) for m, n in groups.items()]


def dense_width(c: Config, family: Family) -> int:
    """Width of a dense feed-forward block."""
    width = c.number("intermediate_size_mlp", 0) or c.number("prefix_dense_intermediate_size", 0)
    named = c.number("width", 0)
    width = width or named
    if not width and c.has("expansion_ratio", "ffn_ratio"):
        width = c.number("hidden") * either(c, "expansion_ratio", "ffn_ratio")
    if not width and c.has("mlp_ratio"):
        width = c.number("mlp_ratio") * c.number("hidden")
    c.number("mlp_ratio", 0)
    factor = c.number("ff_factor", 0)
    if not width and factor:
        width = factor * c.number("hidden")
    if not width and family.width_ratio:
        width = family.width_ratio * c.number("hidden")
        c.assumed.append(f"width = {width}, {family.width_ratio} times the hidden size: the family's default")
    if not width:
        raise c.wrong(c.sought("width")[0], "the width of the feed-forward block")
    if any(c.has(k) for k in family.joined_keys):
        return width // 2
    multiple = c.number("block_multiple_of", 0)
    if c.flag("block_auto_adjust_ff_dim"):  # LFM2: the width of an ungated block of the same size
        times = c.get("block_ffn_dim_multiplier") or 1.0
        if not isinstance(times, int | float) or not 0 < times < 100:
            raise c.wrong("block_ffn_dim_multiplier", "a number above 0")
        width = int(times * int(2 * width / 3))
        width = -(-width // max(multiple, 1)) * max(multiple, 1)
    c.get("block_ffn_dim_multiplier")
    return width


def _mlp_bias(c: Config, family: Family) -> bool:
    for key in family.block_bias_keys:
        if c.has(key):
            on = c.flag(key)
            return not on if "no_" in key else on
    return family.block_bias


def experts_of(c: Config, family: Family) -> Experts:
    """The experts of a routed layer.

    Raises:
        DataError: sizes that are missing or impossible, or layers that differ in them.

    """
    experts, per_token = c.number("experts"), c.number("per_token")
    width = c.number("expert_width", 0) or c.number("width")
    shared = c.number("shared_width", 0)
    count = c.number("shared_experts", family.shared_experts)
    shared = shared or count * width
    if not 1 <= per_token <= experts:
        raise c.wrong(next(n for n in c.sought("per_token") if c.has(n)), f"from 1 to the {experts} experts")
    latent = c.number("moe_latent_size", 0) or c.number("routed_expert_hidden_size", 0)
    return Experts(
        layers=1,
        experts=experts,
        per_token=per_token,
        width=width,
        gated=family.gated,
        shared_width=shared,
        latent=latent if latent != c.number("hidden") else 0,
        biased=family.expert_bias,
        shared_gate=family.shared_gate,
        zero_experts=c.number("zero_expert_num", 0),
    )


def _pairs(c: Config, family: Family) -> Layers:
    """A mixer and a feed-forward block in every layer."""
    layers = c.number("layers")
    kinds = mixer_kinds(c, family, layers)
    latent = family.attention == LatentAttention.kind
    out = Layers(blocks=_feed_forwards(c, family, layers))
    out.mixers = _latents(c, family, kinds) if latent else _attentions(c, family, kinds)
    if family.beside:
        out.mixers += [replace(RECURRENCES[family.beside](c), beside=True)] * layers
    if family.recurrence and RECURRENT not in kinds:
        _tick_recurrence(c, family)
    _outside(c, out)
    return out


def _tick_recurrence(c: Config, family: Family) -> None:
    """Sizes of a recurrence that no layer of this model has bear on nothing."""
    with suppress(DataError):
        RECURRENCES[family.recurrence](c)
    c.read |= {k for k in c.raw if k.startswith("mamba_")}


def _outside(c: Config, out: Layers) -> None:
    """Parameters that belong to no mixer and no block: hyper-connections, AltUp, Laurel."""
    hidden, layers = c.number("hidden"), c.number("layers")
    lanes = c.number("hc_mult", 0)
    if lanes > 1:  # before and after each half of a layer, from all lanes (arXiv 2409.19606)
        each = lanes * (2 + lanes) if not c.has("hc_magnitude") else 2 * lanes
        out.outside["other_parameters"] = 2 * layers * each * lanes * hidden + lanes * lanes * hidden
        c.get("hc_magnitude")
    inputs, rank = c.number("altup_num_inputs", 0), c.number("laurel_rank", 0)
    if inputs or rank:
        mixing = layers * inputs * (hidden + inputs * (inputs + 1)) + 2 * (inputs - 1) * hidden * hidden
        out.outside["other_parameters"] = mixing + 2 * layers * rank * hidden


def _compressed(c: Config, family: Family) -> Layers:
    """Compressed attention and a feed-forward block in every layer (DeepSeek-V4)."""
    out = Layers(blocks=_feed_forwards(c, family, c.number("layers")))
    out.mixers = [compressed_attention(c, r) for r in compress_ratios(c)]
    c.get("layer_types")
    _outside(c, out)
    return out


def _latents(c: Config, family: Family, kinds: Sequence[str]) -> list[Any]:
    """Latent attention, or the family's recurrence, for each layer."""
    out: list[Any] = []
    for i, (kind, shared) in enumerate(zip(kinds, _shared_indexers(c, len(kinds)), strict=True)):
        if kind == RECURRENT:
            out.append(RECURRENCES[family.recurrence](c))
        else:
            out.append(latent_attention(c.layer(i), family, kind, shares_index=shared))
    return out


def _shared_indexers(c: Config, layers: int) -> list[bool]:
    """For each layer whether it takes the positions that an earlier layer's indexer chose."""
    kinds = c.listed("indexer_types", layers)
    if kinds is None:
        return [False] * layers
    if not all(k in {"full", "shared"} for k in kinds):
        raise c.wrong("indexer_types", "full or shared for each layer")
    return [k == "shared" for k in kinds]


def _attentions(c: Config, family: Family, kinds: Sequence[str]) -> list[Any]:
    """Attention, or the family's recurrence, for each layer."""
    layers = len(kinds)
    own = c.has("num_attention_heads_per_layer")
    heads = c.each("num_attention_heads_per_layer" if own else "heads", layers)
    if own:
        c.number("heads", 0)
    groups = c.each("kv_heads", layers) if _lists(c, "kv_heads") else None
    narrow = (c.number("swa_num_attention_heads", 0), c.number("swa_num_key_value_heads", 0))
    if family.window_heads and WINDOW in kinds and not narrow[1]:
        raise c.wrong("swa_num_key_value_heads", "a number: windowed layers of this family have their own")
    wide = c.number("num_global_key_value_heads", 0)
    reuses = _reused(c, layers)
    out: list[Any] = []
    for i, kind in enumerate(kinds):
        if kind == RECURRENT:
            out.append(RECURRENCES[family.recurrence](c))
            continue
        seen = c.layer(i)
        h = heads[i] if seen is c else seen.number("heads")
        k = groups[i] if groups else kv_heads(seen, family, h)
        if kind == WINDOW:
            h, k = narrow[0] or h, narrow[1] or k
        elif wide and c.flag("attention_k_eq_v"):
            k = wide
        out.append(replace(softmax_attention(seen, family, kind, h, k), reuses_cache=reuses[i]))
    return out


def _reused(c: Config, layers: int) -> list[bool]:
    """For each layer whether it reads what an earlier one has cached."""
    last = layers - c.number("num_kv_shared_layers", 0)
    out = [i >= last for i in range(layers)]
    if c.flag("use_cla"):  # cross-layer attention (arXiv 2405.12981)
        every = max(c.number("cla_share_factor"), 1)
        out = [o or bool(i % every) for i, o in enumerate(out)]
    c.get("cla_share_factor")
    return out


def _lists(c: Config, what: str) -> bool:
    return any(isinstance(c.raw.get(n), list) for n in c.sought(what))


def _feed_forwards(c: Config, family: Family, layers: int) -> list[Any]:
    """A feed-forward block for each layer: dense, or routed."""
    dense_only = c.number("experts", 0) <= 1 or family.dense_only or c.flag("is_moe", default=True) is False
    if dense_only or c.flag("enable_moe_block", default=True) is False:
        shared = c.number("shared_width", 0) if family.shared_alone else 0
        widths = [shared or dense_width(c, family)] * layers
        if _lists(c, "width"):
            widths = c.each("width", layers, 0)
        if shared:
            c.number("width", 0)
        for what in ("experts", "per_token", "expert_width"):
            c.get(*c.sought(what))
        if c.flag("use_double_wide_mlp"):
            widths = [2 * w if r else w for w, r in zip(widths, _reused(c, layers), strict=True)]
        return [Dense(layers=1, width=w, gated=family.gated, biased=_mlp_bias(c, family)) for w in widths]
    routed = routed_layers(c, layers)
    one = experts_of(c, family)
    for what in ("expert_width", "per_token", "shared_experts"):
        if _lists(c, what):
            c.each(what, layers)
    if all(routed) and not family.dense_beside_experts:
        for unused in ("width", "intermediate_size_mlp", "prefix_dense_intermediate_size"):
            c.number(unused, 0)
        return [one] * layers
    width = c.number("hidden") if family.residual_width_hidden else dense_width(c, family)
    dense = Dense(layers=1, width=width, gated=family.gated)
    out: list[Any] = [one if r else dense for r in routed]
    if family.dense_beside_experts:
        out += [replace(dense, beside=True)] * sum(routed)
    return out


def _blocks(c: Config, family: Family) -> Layers:
    """One block a layer, mixer or feed-forward (Nemotron-H)."""
    kinds = block_kinds(c)
    layers = c.number("layers", len(kinds))
    if len(kinds) != layers:
        raise c.wrong("num_hidden_layers", f"the {len(kinds)} blocks that the pattern lists")
    out = Layers(outside={"layers": layers})
    heads = c.number("heads")
    for kind in kinds:
        before = len(out.mixers), len(out.blocks)
        if kind == "attention":
            out.mixers.append(softmax_attention(c, family, FULL, heads, kv_heads(c, family, heads)))
        elif kind == "mamba":
            out.mixers.append(mamba2(c))
        elif kind == "moe":
            out.blocks.append(experts_of(c, family))
        else:
            out.blocks.append(
                Dense(layers=1, width=dense_width(c, family), gated=family.gated, biased=c.flag("mlp_bias"))
            )
        out.numbered.append([*out.mixers[before[0] :], *out.blocks[before[1] :]])
    c.number("width", 0)
    c.number("mamba_expand", 0)
    c.number("expand", 0)
    return out


def _twofold(c: Config, family: Family) -> Layers:
    """Two attentions, two dense blocks and one of experts in every layer (LongCat-Flash)."""
    layers = c.number("layers")
    out = Layers()
    dense = Dense(layers=2, width=dense_width(c, family), gated=family.gated)
    for _ in range(layers):
        out.mixers.append(replace(latent_attention(c, family, FULL), layers=2))
        out.blocks += [dense, replace(experts_of(c, family), beside=True)]
    out.outside["layers"] = 2 * layers
    return out


def _nested(c: Config, family: Family) -> Layers:
    """Attention and experts in tables of their own (DBRX, MPT)."""
    attention, blocks = c.table("attn_config"), c.table("ffn_config")
    flat = dict(c.raw)
    if attention is not None:
        kind = attention.text("attn_type", default="")
        known = {"": 0, "multihead_attention": 0, "multiquery_attention": 1, "grouped_query_attention": 0}
        if kind not in known:
            raise c.wrong("attn_config", "attn_type one of " + ", ".join(k for k in known if k))
        flat["num_key_value_heads"] = known[kind] or attention.number("kv_n_heads", 0) or c.number("heads")
        _only(attention, "attn_config", NESTED_ATTENTION)
    if blocks is not None and blocks.has("moe_num_experts"):
        flat |= {
            "num_experts": blocks.number("moe_num_experts"),
            "num_experts_per_tok": blocks.number("moe_top_k"),
            "moe_intermediate_size": blocks.number("ffn_hidden_size"),
        }
        act = blocks.table("ffn_act_fn")
        if act is not None:
            flat["hidden_act"] = act.text("name")
    if blocks is not None:
        _only(blocks, "ffn_config", NESTED_BLOCKS)
    seen = Config(flat, c.where, c.kind)
    seen.read, seen.assumed = c.read, c.assumed
    return _pairs(seen, family)


NESTED_ATTENTION: Final = frozenset(
    [
        "alibi",
        "alibi_bias_max",
        "attn_impl",
        "attn_pdrop",
        "attn_type",
        "attn_uses_sequence_id",
        "clip_qkv",
        "kv_n_heads",
        "prefix_lm",
        "qk_gn",
        "qk_ln",
        "rope",
        "rope_theta",
        "rope_impl",
        "rope_dail_config",
        "rope_hf_config",
        "softmax_scale",
        "model_type",
    ]
)
NESTED_BLOCKS: Final = frozenset(
    [
        "ffn_act_fn",
        "ffn_hidden_size",
        "ffn_type",
        "fc_type",
        "model_type",
        "moe_jitter_eps",
        "moe_loss_weight",
        "moe_normalize_expert_weights",
        "moe_num_experts",
        "moe_top_k",
        "uniform_expert_assignment",
    ]
)


def _only(inner: Config, key: str, known: frozenset[str]) -> None:
    """A table inside may hold known keys alone, and those every configuration has."""
    every = {*known, *WITHOUT_EFFECT, *INHERITED}
    other = sorted(k for k in inner.unread() if k not in every)
    if other:
        raise DataError(
            f"{inner.where}: {', '.join(other)}: not known to change nothing; expected {key} with some of "
            f"{', '.join(sorted(known))}"
        )


def _scaled(c: Config, family: Family) -> Layers:
    """Heads and widths that grow from layer to layer, each in a list (OpenELM)."""
    layers, hidden = c.number("layers"), c.number("hidden")
    dim = c.number("head_dim")
    heads, keys = c.each("num_query_heads", layers), c.each("num_kv_heads", layers)
    times = c.listed("ffn_multipliers", layers)
    if times is None or not all(isinstance(t, int | float) and 0 < t < 100 for t in times):
        raise c.wrong("ffn_multipliers", "a number above 0 for each layer")
    divisor = max(c.number("ffn_dim_divisor", 256), 1)
    out = Layers()
    for h, k, t in zip(heads, keys, times, strict=True):
        if not h or not k or h % k:
            raise c.wrong("num_kv_heads", "divisors of num_query_heads, layer by layer")
        out.mixers.append(Attention(layers=1, heads=h, kv_heads=k, head_dim=dim, biased=family.bias))
        exact = t * hidden
        width = max(divisor, int(exact + divisor / 2) // divisor * divisor)
        width += divisor if width < 0.9 * exact else 0
        out.blocks.append(Dense(layers=1, width=width, gated=c.flag("ffn_with_glu", default=True)))
    return out


def _searched(c: Config, family: Family) -> Layers:
    """Layers of unequal size from a search: ``block_configs`` gives each (Nemotron-NAS)."""
    layers, heads, hidden = c.number("layers"), c.number("heads"), c.number("hidden")
    blocks = c.listed("block_configs", layers)
    if blocks is None:
        raise c.wrong("block_configs", "a table for each layer")
    c.number("kv_heads", 0)
    c.number("width", 0)
    out = Layers()
    for i, block in enumerate(blocks):
        where = f"{c.where}: block_configs[{i}]"
        if not isinstance(block, Mapping):
            raise c.wrong(f"block_configs[{i}]", "a table")
        b = Config(block, where, c.kind)
        attention, ffn = b.table("attention"), b.table("ffn")
        for part, known in ((attention, _SEARCHED_ATTENTION), (ffn, _SEARCHED_FFN)):
            if part is None:
                continue
            other = {k: v for k, v in part.raw.items() if k not in known and v not in (None, False, 0)}
            if other:
                raise c.wrong(f"block_configs[{i}]", f"no {', '.join(other)}: not modelled")
        if attention is not None and not attention.flag("no_op"):
            groups = heads // max(attention.number("n_heads_in_group", 0), 1)
            groups = attention.number("num_key_value_heads", 0) or groups
            out.mixers.append(softmax_attention(c, family, FULL, heads, groups))
        if ffn is not None and not ffn.flag("no_op"):
            width = ffn.number("intermediate_size", 0)
            if not width:
                times = ffn.get("ffn_mult")
                if not isinstance(times, int | float) or not 0 < times < 100:
                    raise c.wrong(f"block_configs[{i}]", "an ffn_mult above 0, or an intermediate_size")
                width = -(-int(2 * times * hidden / 3) // 256) * 256
            out.blocks.append(Dense(layers=1, width=width, gated=family.gated))
    return out


_SEARCHED_ATTENTION: Final = ("no_op", "n_heads_in_group", "num_key_value_heads")
_SEARCHED_FFN: Final = ("no_op", "ffn_mult", "intermediate_size", "hidden_act")


LAYOUTS: Final[dict[str, Callable[[Config, Family], Layers]]] = {
    "pairs": _pairs,
    "blocks": _blocks,
    "searched": _searched,
    "compressed": _compressed,
    "twofold": _twofold,
    "nested": _nested,
    "scaled": _scaled,
}
