"""Language models and traffic mixes: parameters, KV bytes and moments of the context length.

Counts follow the published configurations; they are checked against the published
parameter count (within 1 %) and KV bytes per token (exactly) for every catalogued model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from dse.catalog.llm import LlmEntry


@dataclass(frozen=True)
class Transformer:
    """Parameters of a model by class, and the sizes its operators need (all layers summed)."""

    name: str
    layers: float
    """pairs of a mixer (attention or linear) and a feed-forward block; half of the blocks where they stand
    alone
    """
    moe_layers: int
    hidden: int
    vocab: int
    query_heads: int
    kv_heads: int
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
    kv_elements: float
    """KV elements a token leaves behind in layers with full attention, all layers summed"""
    kv_windowed_elements: float
    window: int
    attention_flops: float
    """decode FLOP per token and context position, full-attention layers (MLA absorbed)"""
    windowed_flops: float
    prefill_flops: float
    """prefill FLOP per token and context position, full-attention layers (MLA not absorbed)"""
    windowed_prefill_flops: float
    state_bytes: float
    """recurrent state per sequence, all linear-attention layers"""
    latent: bool
    """MLA: the cache has no heads to shard, tensor-parallel ranks hold copies"""
    tied: bool
    head_width: float
    """query plus output elements of attention per token and layer"""
    topk: int = 0
    """positions a sparse attention selects (0: all)"""
    index_elements: float = 0.0
    """8-bit elements of the indexer's key cache per token, all layers"""
    index_flops: float = 0.0
    """indexer FLOP per token and context position, all layers"""
    attention_layers: float = 1.0
    """layers that keep a KV cache"""
    mtp_layers: int = 0
    launches: float = 0.0
    """kernel launches of all layers, in dense GQA layers: latent, sparse and linear attention take more"""
    shared: float = 0.0
    """parameters of shared experts, all MoE layers: of ``ffn`` the part that needs no routing"""

    @property
    def parameters(self) -> float:
        """Total parameter count; a tied head is the embedding itself."""
        head = 0.0 if self.tied else self.head
        return self.attention + self.ffn + self.expert * self.experts + head + self.embedding + self.norms

    @property
    def streamed(self) -> float:
        """Parameters that live in memory and are read by a step: all but an untied embedding."""
        return self.attention + self.ffn + self.expert * self.experts + self.head + self.norms

    def kv_bytes_per_token(self, bits: float) -> float:
        """KV bytes one token leaves behind over all attention layers, windows not yet full."""
        return (self.kv_elements + self.kv_windowed_elements) * bits / 8

    def held_bytes(self, context: float, bits: float) -> float:
        """Cache bytes of one sequence of ``context`` tokens; windowed layers stop growing."""
        windowed = min(context, float(self.window)) if self.window else 0.0
        elements = self.kv_elements * context + self.kv_windowed_elements * windowed
        return elements * bits / 8 + self.index_elements * context

    def seen(self, context: float) -> float:
        """Positions that a full-attention layer reads of ``context``: a sparse one reads its top k."""
        return min(context, float(self.topk)) if self.topk else context

    def read_bytes(self, context: float, bits: float) -> float:
        """Cache bytes one token reads at ``context``, recurrent state apart."""
        windowed = min(context, float(self.window)) if self.window else 0.0
        elements = self.kv_elements * self.seen(context) + self.kv_windowed_elements * windowed
        return elements * bits / 8 + self.index_elements * context

    def decode_flops(self, context: float) -> float:
        """Attention FLOP of one token at ``context`` (MLA absorbed, indexer included)."""
        windowed = min(context, float(self.window)) if self.window else 0.0
        return (
            self.attention_flops * self.seen(context)
            + self.windowed_flops * windowed
            + self.index_flops * context
        )

    def prompt_flops(self, tokens: float, pairs: float) -> float:
        """Attention FLOP of ``tokens`` new tokens with ``pairs`` query-key pairs (MLA not absorbed)."""
        chosen = min(pairs, tokens * self.topk) if self.topk else pairs
        windowed = min(pairs, tokens * float(self.window)) if self.window else 0.0
        return self.prefill_flops * chosen + self.windowed_prefill_flops * windowed + self.index_flops * pairs


def transformer(entry: LlmEntry) -> Transformer:
    """Count parameters, KV elements and attention FLOP of a catalogued model.

    1 MAC = 2 FLOP. GQA: QK and AV take 4 x query heads x head width per token and position;
    absorbed MLA 2 x heads x (2 x latent + rope). Source: the model's config.json.
    """
    s = entry.shape
    layers, hidden = s["layers"], s["hidden"]
    linear = s["linear_attention_layers"]
    attention_layers = s["attention_layers"] or layers - linear
    full = min(
        s["full_attention_layers"] or (0 if s["sliding_window"] else attention_layers), attention_layers
    )
    windowed = attention_layers - full
    per_layer, norm, kv, flops, prefill, width = _attention(entry)
    indexer, index_width, index_flops = _indexer(entry)
    attention = attention_layers * (per_layer + indexer) + linear * LINEAR_LAYERS[entry.linear](entry)
    moe, experts = s["moe_layers"], s["experts"]
    dense_layers = s["ffn_layers"] or (layers - moe if not s["attention_layers"] else 0)
    dense, expert = _feed_forward(entry, dense_layers)
    embedding = float(s["vocab"] * hidden)
    return Transformer(
        name=entry.name,
        layers=(attention_layers + linear + dense_layers + moe) / 2,
        moe_layers=moe,
        hidden=hidden,
        vocab=s["vocab"],
        query_heads=s["query_heads"],
        kv_heads=s["kv_heads"],
        attention=float(attention),
        ffn=float(dense),
        expert=expert,
        experts=experts,
        experts_per_token=s["experts_per_token"],
        expert_hidden=s["expert_hidden"],
        head=embedding,
        embedding=embedding,
        norms=float(2 * layers * hidden + hidden + attention_layers * norm),
        kv_elements=float(full * kv),
        kv_windowed_elements=float(windowed * kv),
        window=s["sliding_window"],
        attention_flops=float(full * flops),
        windowed_flops=float(windowed * flops),
        prefill_flops=float(full * prefill),
        windowed_prefill_flops=float(windowed * prefill),
        state_bytes=float(linear * s["linear_state_bytes"]),
        latent=entry.attention == "mla",
        tied=entry.tied_embeddings,
        head_width=float(width),
        topk=s["index_topk"],
        index_elements=float(attention_layers * index_width),
        index_flops=float(attention_layers * index_flops),
        attention_layers=max(float(attention_layers), 1.0),
        mtp_layers=s["mtp_layers"],
        launches=_launches(entry, attention_layers, linear, dense_layers + moe),
        shared=_shared(entry),
    )


MIXER_KERNELS: Final = {"gqa": 6, "mla": 11, "linear": 8}
"""kernels of a mixer: norm, QKV, rotary, cache write, attention, output; MLA adds two down-projections'
norms, the query's up-projection and the two absorbed products; a linear layer its convolution, gates and norm
"""


INDEXER_KERNELS: Final = 10
"""kernels of a sparse attention's indexer: three projections, norm, rotary, two quantisations, scores, top k,
gather
"""


FEED_FORWARD_KERNELS: Final = 4
"""norm, gate and up, activation, down; what routing adds is the stack's ``moe_layer_overhead``"""


def _launches(entry: LlmEntry, attention: int, linear: int, feed_forward: int) -> float:
    """Kernel launches of all layers over those of one dense GQA layer."""
    mixer = MIXER_KERNELS["mla" if entry.attention == "mla" else "gqa"]
    mixer += INDEXER_KERNELS if entry.shape["index_heads"] else 0
    every = attention * mixer + linear * MIXER_KERNELS["linear"] + feed_forward * FEED_FORWARD_KERNELS
    return every / (MIXER_KERNELS["gqa"] + FEED_FORWARD_KERNELS)


def _feed_forward(entry: LlmEntry, dense_layers: int) -> tuple[float, float]:
    """Parameters of dense, shared and router layers, and of one routed expert over all MoE layers.

    A latent MoE projects to ``moe_latent`` before its experts and back; gpt-oss experts carry biases.
    """
    s = entry.shape
    moe, hidden, experts = s["moe_layers"], s["hidden"], s["experts"]
    matrices = 3 if entry.ffn in {"swiglu", "geglu"} else 2
    width = s["dense_layers_ffn_hidden"] or s["ffn_hidden"]
    dense = matrices * hidden * (s["ffn_width_total"] or dense_layers * width)
    if entry.attention_bias == "qkv+o" and entry.ffn == "gelu":
        dense += dense_layers * (width + hidden)
    latent = s["moe_latent"]
    router = moe * (experts * hidden + 2 * hidden * latent)
    expert = float(moe * matrices * (latent or hidden) * s["expert_hidden"]) if experts else 0.0
    if entry.expert_bias:
        expert += moe * (2 * s["expert_hidden"] + hidden)
    return float(dense + router) + _shared(entry), expert


def _shared(entry: LlmEntry) -> float:
    """Parameters of the shared experts of all MoE layers."""
    s = entry.shape
    matrices = 3 if entry.ffn in {"swiglu", "geglu"} else 2
    width = s["shared_expert_hidden"] or s["shared_experts"] * s["expert_hidden"]
    return float(s["moe_layers"] * matrices * s["hidden"] * width)


def _attention(entry: LlmEntry) -> tuple[int, int, int, int, int, int]:
    """Per layer: parameters, norm parameters, KV elements, decode and prefill FLOP, width."""
    s = entry.shape
    h, heads, kv_heads, dim = s["hidden"], s["query_heads"], s["kv_heads"], s["head_dim"]
    if entry.attention == "mla":
        nope, rope, v, latent, q = (
            s["qk_nope_head_dim"],
            s["qk_rope_head_dim"],
            s["v_head_dim"],
            s["kv_lora_rank"],
            s["q_lora_rank"],
        )
        queries = h * q + q * heads * (nope + rope) if q else h * heads * (nope + rope)
        weights = queries + h * (latent + rope) + latent * heads * (nope + v) + heads * v * h
        decode = 2 * heads * (latent + rope) + 2 * heads * latent
        return (
            weights,
            q + latent,
            latent + rope,
            decode,
            2 * heads * (nope + rope + v),
            heads * (2 * latent + rope),
        )
    gate = (
        2 if entry.attention == "hybrid" and entry.linear == "gated_deltanet" else 1
    )  # gated output doubles queries
    weights = h * heads * dim * gate + 2 * h * kv_heads * dim + heads * dim * h
    if "qkv" in entry.attention_bias:
        weights += (heads + 2 * kv_heads) * dim
    if "+o" in entry.attention_bias:
        weights += h
    return weights, 0, 2 * kv_heads * dim, 4 * heads * dim, 4 * heads * dim, 2 * heads * dim


def _indexer(entry: LlmEntry) -> tuple[int, int, int]:
    """Per layer of a sparse attention: parameters, key elements and FLOP per position.

    DeepSeek-V3.2 sparse attention: queries of ``index_heads`` heads from the query latent, one key
    head and one weight per head from the hidden state (arXiv 2512.02556).
    """
    s = entry.shape
    heads, dim = s["index_heads"], s["index_head_dim"]
    if not heads:
        return 0, 0, 0
    weights = (s["q_lora_rank"] or s["hidden"]) * heads * dim + s["hidden"] * (dim + heads)
    return weights, dim, 2 * heads * dim


def _delta_net(entry: LlmEntry) -> int:
    """Parameters of one gated-delta-net layer (Qwen3-Next config.json)."""
    s = entry.shape
    keys = s["linear_key_heads"] * s["linear_key_head_dim"]
    values = s["linear_value_heads"] * s["linear_value_head_dim"]
    projections = s["hidden"] * (2 * keys + 2 * values + 2 * s["linear_value_heads"])
    convolution = (2 * keys + values) * s["linear_conv_kernel"]
    return (
        projections
        + convolution
        + values * s["hidden"]
        + s["linear_value_head_dim"]
        + 2 * s["linear_value_heads"]
    )


def _mamba2(entry: LlmEntry) -> int:
    """Parameters of one Mamba-2 layer.

    Input projection, convolution, decay, norm, output (Nemotron-H config.json).
    """
    s = entry.shape
    inner = s["linear_value_heads"] * s["linear_value_head_dim"]
    states = s["linear_key_heads"] * s["linear_key_head_dim"]
    projections = s["hidden"] * (2 * inner + 2 * states + s["linear_value_heads"])
    convolution = (inner + 2 * states) * (s["linear_conv_kernel"] + 1)
    return projections + convolution + 3 * s["linear_value_heads"] + inner + inner * s["hidden"]


LINEAR_LAYERS: Final[Mapping[str, Callable[[LlmEntry], int]]] = {
    "gated_deltanet": _delta_net,
    "mamba2": _mamba2,
}


TAIL: Final = 3
"""standard deviations of a length that the longest request of a mix lies out"""
