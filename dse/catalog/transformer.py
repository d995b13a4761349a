"""Language models and traffic mixes: parameters, KV bytes and moments of the context length.

Counts follow the published configurations; they are checked against the published
parameter count (within 1 %) and KV bytes per token (exactly) for every catalogued model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from dse.catalog.layers import (
    ATTENTION_KERNELS,
    FEED_FORWARD_KERNELS,
    Attention,
    Dense,
    Experts,
    LatentAttention,
    Mixer,
    MixerCount,
)
from dse.catalog.llm import LlmEntry
from dse.catalog.recurrences import GatedDeltaNet, Mamba2


@dataclass(frozen=True)
class Cache:
    """What mixers of one kind keep of a sequence: entries of its positions, or a state of one size."""

    shards: float
    """ranks over which it can be spread by head (1: every rank of a group holds it whole)"""
    held_elements: float = 0.0
    """elements an entry adds to what a sequence holds, all layers"""
    read_elements: float = 0.0
    """elements of an entry that a token reads, all layers; more than are held where layers share a cache"""
    window: float = 0.0
    """entries kept (0: all)"""
    tokens_per_entry: float = 1.0
    topk: float = 0.0
    """entries that a sparse attention selects (0: all)"""
    index_bytes: float = 0.0
    """bytes of an entry's index keys, all layers"""
    index_flops: float = 0.0
    """indexer FLOP for each entry, all layers"""
    decode_flops: float = 0.0
    """decode FLOP per token and entry read (latent attention absorbed)"""
    prefill_flops: float = 0.0
    """prefill FLOP per token and entry read (latent attention not absorbed)"""
    state_bytes: float = 0.0
    """what a sequence keeps however long it is, all layers: recurrent states, rings of last positions"""
    state_traffic: float = 0.0
    """bytes of it that a token reads and writes"""
    fixed_flops: float = 0.0
    """FLOP per token however long its context is"""

    def growth(self, bits: float) -> float:
        """KV bytes a token adds, index keys apart; a window not yet full."""
        return self.held_elements * bits / 8 / self.tokens_per_entry

    def _kept(self, context: float) -> float:
        """Entries of ``context`` positions."""
        entries = context / self.tokens_per_entry
        return min(entries, self.window) if self.window else entries

    def _seen(self, context: float) -> float:
        """Entries that a token reads."""
        return min(self._kept(context), self.topk) if self.topk else self._kept(context)

    def held_bytes(self, context: float, bits: float) -> float:
        """Bytes of a sequence of ``context`` tokens, state apart; a window stops growing."""
        entries = self._kept(context)
        return self.held_elements * entries * bits / 8 + self.index_bytes * entries

    def read_bytes(self, context: float, bits: float) -> float:
        """Bytes a token reads at ``context``, state apart."""
        return self.read_elements * self._seen(context) * bits / 8 + self.index_bytes * self._kept(context)

    def flops(self, context: float) -> float:
        """Attention FLOP of one token at ``context``, indexer included."""
        growing = self.decode_flops * self._seen(context) + self.index_flops * self._kept(context)
        return growing + self.fixed_flops

    def prompt_flops(self, tokens: float, pairs: float) -> float:
        """Attention FLOP of ``tokens`` new tokens with ``pairs`` query-key pairs."""
        entries = pairs / self.tokens_per_entry
        limit = self.window or self.topk
        chosen = min(entries, tokens * limit) if limit else entries
        return self.prefill_flops * chosen + self.index_flops * entries + self.fixed_flops * tokens


@dataclass(frozen=True)
class Transformer:
    """Parameters of a model by class, and the sizes its operators need (all layers summed)."""

    name: str
    layers: float
    """pairs of a mixer (attention or recurrence) and a feed-forward block; half of the blocks where they
    stand alone, none for one that stands beside another
    """
    moe_layers: int
    hidden: int
    vocab: int
    query_heads: int
    kv_heads: int
    """of the mixers that keep most of the cache; 1 where a latent has no heads to shard"""
    attention: float
    """parameters of the attention projections, all layers"""
    ffn: float
    """parameters of dense and shared feed-forward layers and of the routers, all layers"""
    expert: float
    """parameters of one routed expert, all MoE layers summed"""
    experts: int
    experts_per_token: int
    expert_hidden: int
    head: float
    """parameters of the LM head"""
    embedding: float
    """parameters of the embedding table: gathered, never streamed"""
    norms: float
    caches: tuple[Cache, ...]
    """one for each kind of mixer, by what it keeps"""
    crossing_width: float
    """query plus output elements of attention per token, all layers"""
    tied: bool
    gathered: float = 0.0
    """parameters of other tables of which a token takes a row: positions, embeddings of each layer"""
    attention_layers: float = 1.0
    """layers that keep a KV cache"""
    mtp_layers: int = 0
    launches: float = 0.0
    """kernel launches of all layers, in dense GQA layers: latent, sparse and linear attention take more"""
    shared: float = 0.0
    """parameters of shared experts, all MoE layers: of ``ffn`` the part that needs no routing"""
    query_counts: tuple[int, ...] = ()
    """heads of each kind of mixer, which tensor-parallel ranks divide"""
    key_counts: tuple[int, ...] = ()
    """key-value heads of each kind of attention"""

    def tensor_fault(self, ranks: int) -> str:
        """Why engines refuse to split attention over so many ranks; empty where they do not.

        vLLM, SGLang and TensorRT-LLM deal whole heads: ranks divide the query heads, and key-value heads
        divide by the ranks or are copied to several of them.
        """
        odd = [h for h in self.query_counts if h % ranks]
        if odd:
            return f"{odd[0]} heads do not divide by {ranks} tensor-parallel ranks"
        odd = [k for k in self.key_counts if k % ranks and ranks % k]
        if odd:
            return f"{odd[0]} key-value heads neither divide by {ranks} tensor-parallel ranks nor into them"
        return ""

    @property
    def parameters(self) -> float:
        """Total parameter count; a tied head is the embedding itself."""
        head = 0.0 if self.tied else self.head
        tables = self.embedding + self.gathered
        return self.attention + self.ffn + self.expert * self.experts + head + tables + self.norms

    @property
    def active(self) -> float:
        """Parameters that one token multiplies with: all but the tables it takes a row of."""
        routed = self.expert * self.experts_per_token
        return self.attention + self.ffn + routed + self.head + self.norms

    @property
    def streamed(self) -> float:
        """Parameters that live in memory and are read by a step: all but an untied embedding."""
        return self.attention + self.ffn + self.expert * self.experts + self.head + self.norms

    @cached_property
    def state_bytes(self) -> float:
        """What a sequence keeps however long it is, all layers."""
        return sum(c.state_bytes for c in self.caches)

    @property
    def sparse(self) -> bool:
        """Whether some attention reads entries that it selects."""
        return any(c.topk for c in self.caches)

    @cached_property
    def index_bytes_per_token(self) -> float:
        """Index keys a token leaves behind, B."""
        return sum(c.index_bytes / c.tokens_per_entry for c in self.caches)

    def kv_bytes_per_token(self, bits: float, *, windows: bool = True) -> float:
        """KV bytes one token leaves behind over all attention layers, index keys apart.

        Windows count as not yet full, or not at all.
        """
        return sum(c.growth(bits) for c in self.caches if windows or not c.window)

    def held_bytes(self, context: float, bits: float) -> float:
        """Cache bytes of one sequence of ``context`` tokens; windowed layers stop growing."""
        return sum(c.held_bytes(context, bits) for c in self.caches)

    def read_bytes(self, context: float, bits: float) -> float:
        """Cache bytes one token reads at ``context``, recurrent state apart."""
        return sum(c.read_bytes(context, bits) for c in self.caches)

    def decode_flops(self, context: float) -> float:
        """Attention FLOP of one token at ``context`` (MLA absorbed, indexer included)."""
        return sum(c.flops(context) for c in self.caches)

    def prompt_flops(self, tokens: float, pairs: float) -> float:
        """Attention FLOP of ``tokens`` new tokens with ``pairs`` query-key pairs (MLA not absorbed)."""
        return sum(c.prompt_flops(tokens, pairs) for c in self.caches)


def transformer(entry: LlmEntry) -> Transformer:
    """Count parameters, KV elements and attention FLOP of a catalogued model.

    1 MAC = 2 FLOP. GQA: QK and AV take 4 x query heads x head width per token and position;
    absorbed MLA 2 x heads x (2 x latent + rope). Source: the model's config.json.
    """
    s = entry.shape
    hidden = s["hidden"]
    mixers, blocks = entry.mixers or mixers_of(entry), entry.feed_forwards or feed_forwards_of(entry)
    counts = [(m, m.count(hidden)) for m in mixers]
    routed = [b for b in blocks if isinstance(b, Experts)]
    alone = sum(m.layers for m in mixers if not m.beside) + sum(b.layers for b in blocks if not b.beside)
    width = s["embedding_width"] or hidden
    embedding, extra = float(s["vocab"] * width), s["per_layer_embedding"]
    outside = float(s["other_parameters"]) + (0.0 if width == hidden else 2.0 * width * hidden)
    if extra:  # a gate and a projection in each layer, one projection of the embedding for all
        outside += s["layers"] * (3 * hidden * extra + hidden) + extra
    main = max(counts, key=lambda c: c[0].layers * c[1].held_elements, default=None)
    kernels = sum(m.layers * c.kernels for m, c in counts)
    kernels += sum(b.layers for b in blocks) * FEED_FORWARD_KERNELS
    return Transformer(
        name=entry.name,
        layers=alone / 2,
        moe_layers=sum(b.layers for b in routed),
        hidden=hidden,
        vocab=s["vocab"],
        query_heads=s["query_heads"],
        kv_heads=int(main[1].shards) if main else 1,
        attention=float(sum(m.layers * c.parameters for m, c in counts)) + outside,
        ffn=float(sum(b.layers * b.parameters(hidden) for b in blocks)),
        expert=sum(b.layers * b.expert(hidden) for b in routed),
        experts=routed[0].experts if routed else 0,
        experts_per_token=routed[0].computed_per_token if routed else 0,
        expert_hidden=max((b.width for b in routed), default=0),
        head=embedding,
        embedding=embedding,
        norms=float(2 * s["layers"] * hidden + hidden + sum(m.layers * c.norms for m, c in counts)),
        caches=_caches(counts),
        crossing_width=float(sum(m.layers * c.width for m, c in counts)),
        tied=entry.tied_embeddings,
        gathered=float(s["positions"] * hidden + s["layers"] * s["per_layer_vocab"] * extra),
        attention_layers=max(float(sum(m.layers for m in mixers if m.caches)), 1.0),
        mtp_layers=s["mtp_layers"],
        launches=kernels / (ATTENTION_KERNELS + FEED_FORWARD_KERNELS),
        shared=sum(b.layers * b.shared(hidden) for b in routed),
        query_counts=tuple(sorted({m.shared_heads for m in mixers})),
        key_counts=tuple(sorted({int(c.shards) for m, c in counts if m.caches})),
    )


def _caches(counts: list[tuple[Mixer, MixerCount]]) -> tuple[Cache, ...]:
    """What mixers keep; those that keep it in the same way are summed."""
    alike: dict[tuple[float, ...], list[tuple[int, MixerCount]]] = {}
    for mixer, c in counts:
        key = (c.shards, c.window, c.tokens_per_entry, c.topk)
        alike.setdefault(key, []).append((mixer.layers, c))

    def total(members: list[tuple[int, MixerCount]], name: str) -> float:
        return float(sum(layers * getattr(c, name) for layers, c in members))

    return tuple(
        Cache(
            shards=float(shards),
            window=float(window),
            tokens_per_entry=float(each),
            topk=float(topk),
            **{
                name: total(members, name)
                for name in (
                    "held_elements",
                    "read_elements",
                    "index_bytes",
                    "index_flops",
                    "decode_flops",
                    "prefill_flops",
                    "state_bytes",
                    "state_traffic",
                    "fixed_flops",
                )
            },
        )
        for (shards, window, each, topk), members in alike.items()
    )


def mixers_of(entry: LlmEntry) -> tuple[Any, ...]:
    """The mixers that a ``shape`` without groups names: layers of one attention, some of them windowed,
    and recurrences.
    """
    s = entry.shape
    linear = s["linear_attention_layers"]
    attending = s["attention_layers"] or s["layers"] - linear
    full = min(s["full_attention_layers"] or (0 if s["sliding_window"] else attending), attending)
    out: list[Any] = []
    for layers, window in ((full, 0), (attending - full, s["sliding_window"])):
        if layers and entry.attention == "mla":
            out.append(_latent(entry, layers, window))
        elif layers:
            gated = entry.attention == "hybrid" and entry.linear == GatedDeltaNet.kind
            out.append(
                Attention(
                    layers=layers,
                    heads=s["query_heads"],
                    kv_heads=s["kv_heads"],
                    head_dim=s["head_dim"],
                    window=window,
                    biased=entry.attention_bias,
                    gate_width=s["query_heads"] * s["head_dim"] if gated else 0,
                )
            )
    if linear and entry.linear == Mamba2.kind:
        out.append(
            Mamba2(
                layers=linear,
                heads=s["linear_value_heads"],
                head_dim=s["linear_value_head_dim"],
                groups=s["linear_key_heads"],
                state=s["linear_key_head_dim"],
                conv_kernel=s["linear_conv_kernel"],
            )
        )
    elif linear:
        out.append(
            GatedDeltaNet(
                layers=linear,
                key_heads=s["linear_key_heads"],
                value_heads=s["linear_value_heads"],
                key_dim=s["linear_key_head_dim"],
                value_dim=s["linear_value_head_dim"],
                conv_kernel=s["linear_conv_kernel"],
            )
        )
    return tuple(out)


def _latent(entry: LlmEntry, layers: int, window: int) -> LatentAttention:
    s = entry.shape
    return LatentAttention(
        layers=layers,
        heads=s["query_heads"],
        kv_lora_rank=s["kv_lora_rank"],
        qk_nope_head_dim=s["qk_nope_head_dim"],
        qk_rope_head_dim=s["qk_rope_head_dim"],
        v_head_dim=s["v_head_dim"],
        q_lora_rank=s["q_lora_rank"],
        index_heads=s["index_heads"],
        index_head_dim=s["index_head_dim"],
        index_topk=s["index_topk"],
        window=window,
    )


def feed_forwards_of(entry: LlmEntry) -> tuple[Any, ...]:
    """The feed-forward blocks that a ``shape`` without groups names."""
    s = entry.shape
    moe, gated = s["moe_layers"], entry.ffn in {"swiglu", "geglu"}
    dense = s["ffn_layers"] or (s["layers"] - moe if not s["attention_layers"] else 0)
    biased = entry.attention_bias == "qkv+o" and entry.ffn == "gelu"
    out: list[Any] = []
    if s["ffn_width_total"]:  # blocks of unequal width: their sum at once, and the blocks that remain
        out += [Dense(layers=1, width=s["ffn_width_total"], gated=gated)]
        dense -= 1
        out += [Dense(layers=dense, width=0, gated=gated)] if dense else []
    elif dense:
        width = s["dense_layers_ffn_hidden"] or s["ffn_hidden"]
        out.append(Dense(layers=dense, width=width, gated=gated, biased=biased))
    if moe and s["experts"]:
        out.append(
            Experts(
                layers=moe,
                experts=s["experts"],
                per_token=s["experts_per_token"],
                width=s["expert_hidden"],
                gated=gated,
                shared_width=s["shared_expert_hidden"] or s["shared_experts"] * s["expert_hidden"],
                latent=s["moe_latent"],
                biased=entry.expert_bias,
            )
        )
    return tuple(out)


TAIL: Final = 3
"""standard deviations of a length that the longest request of a mix lies out"""
