"""Language models and traffic mixes: parameters, KV bytes and moments of the context length.

Counts follow the published configurations; they are checked against the published
parameter count (within 1 %) and KV bytes per token (exactly) for every catalogued model.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from dse.catalog import LlmEntry


@dataclass(frozen=True)
class Transformer:
    """Parameters of a model by class, and the sizes its operators need (all layers summed)."""

    name: str
    layers: int
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
    """prefill FLOP per token and context position (MLA not absorbed)"""
    state_bytes: float
    """recurrent state per sequence, all linear-attention layers"""
    latent: bool
    """MLA: the cache has no heads to shard, tensor-parallel ranks hold copies"""
    tied: bool
    head_width: float
    """query plus output elements of attention per token and layer"""

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

    def context_elements(self, context: float) -> float:
        """KV elements of one sequence of ``context`` tokens; windowed layers stop growing."""
        windowed = min(context, float(self.window)) if self.window else 0.0
        return self.kv_elements * context + self.kv_windowed_elements * windowed


def transformer(entry: LlmEntry) -> Transformer:
    """Count parameters, KV elements and attention FLOP of a catalogued model.

    1 MAC = 2 FLOP. GQA: QK and AV take 4 x query heads x head width per token and position;
    absorbed MLA 2 x heads x (2 x latent + rope). Source: the model's config.json.
    """
    s = entry.shape
    layers, hidden = s["layers"], s["hidden"]
    linear = s["linear_attention_layers"]
    attention_layers = layers - linear
    full = min(s["full_attention_layers"] or attention_layers, attention_layers)
    windowed = attention_layers - full
    per_layer, norm, kv, flops, prefill, width = _attention(entry)
    attention = attention_layers * per_layer + linear * _linear_attention(entry)
    moe, experts = s["moe_layers"], s["experts"]
    matrices = 3 if entry.ffn == "swiglu" else 2
    dense_hidden = s["dense_layers_ffn_hidden"] or s["ffn_hidden"]
    dense = (layers - moe) * matrices * hidden * dense_hidden
    if entry.attention_bias == "qkv+o" and entry.ffn == "gelu":
        dense += (layers - moe) * (dense_hidden + hidden)
    shared = moe * s["shared_experts"] * matrices * hidden * s["expert_hidden"]
    router = moe * experts * hidden
    expert = float(moe * matrices * hidden * s["expert_hidden"]) if experts else 0.0
    if entry.name.startswith("gpt-oss"):
        expert += moe * (2 * s["expert_hidden"] + hidden)  # gpt-oss experts carry biases
    embedding = float(s["vocab"] * hidden)
    return Transformer(
        entry.name, layers, moe, hidden, s["vocab"], s["query_heads"], s["kv_heads"],
        float(attention), float(dense + shared + router), expert, experts, s["experts_per_token"],
        embedding, embedding, float(2 * layers * hidden + hidden + attention_layers * norm),
        float(full * kv), float(windowed * kv), s["sliding_window"],
        float(full * flops), float(windowed * flops), float(full * prefill),
        float(linear * s["linear_state_bytes"]), entry.attention == "mla", entry.tied_embeddings, float(width),
    )  # fmt: skip


def _attention(entry: LlmEntry) -> tuple[int, int, int, int, int, int]:
    """Per layer: parameters, norm parameters, KV elements, decode and prefill FLOP, width."""
    s = entry.shape
    h, heads, kv_heads, dim = s["hidden"], s["query_heads"], s["kv_heads"], s["head_dim"]
    if entry.attention == "mla":
        nope, rope, v, latent, q = (s["qk_nope_head_dim"], s["qk_rope_head_dim"], s["v_head_dim"],
                                    s["kv_lora_rank"], s["q_lora_rank"])  # fmt: skip
        queries = h * q + q * heads * (nope + rope) if q else h * heads * (nope + rope)
        weights = queries + h * (latent + rope) + latent * heads * (nope + v) + heads * v * h
        decode = 2 * heads * (latent + rope) + 2 * heads * latent
        return weights, q + latent, latent + rope, decode, 2 * heads * (nope + rope + v), heads * (2 * latent + rope)
    gate = 2 if entry.attention == "hybrid" else 1  # gated output doubles the query projection
    weights = h * heads * dim * gate + 2 * h * kv_heads * dim + heads * dim * h
    if "qkv" in entry.attention_bias:
        weights += (heads + 2 * kv_heads) * dim
    if "+o" in entry.attention_bias:
        weights += h
    return weights, 0, 2 * kv_heads * dim, 4 * heads * dim, 4 * heads * dim, 2 * heads * dim


def _linear_attention(entry: LlmEntry) -> int:
    """Parameters of one gated-delta-net layer (Qwen3-Next config.json)."""
    s = entry.shape
    keys = s["linear_key_heads"] * s["linear_key_head_dim"]
    values = s["linear_value_heads"] * s["linear_value_head_dim"]
    projections = s["hidden"] * (2 * keys + 2 * values + 2 * s["linear_value_heads"])
    convolution = (2 * keys + values) * s["linear_conv_kernel"]
    return projections + convolution + values * s["hidden"] + s["linear_value_head_dim"] + 2 * s["linear_value_heads"]


@dataclass(frozen=True)
class RequestClass:
    """One class of a traffic mix."""

    name: str
    share: float
    input_tokens: float
    output_tokens: float
    prefix_share: float = 0.0
    """share of the input already in the cache (shared by earlier requests)"""
    prefix_reuse: float = 1.0
    """requests that share one prefix before it is replaced"""


@dataclass(frozen=True)
class Mix:
    """Moments of a traffic mix, over requests and over resident time."""

    classes: tuple[RequestClass, ...]
    decode_only: bool = False
    """one point of a decode step, its prompts already served: prefill is not charged"""

    def mean(self, values: list[float]) -> float:
        """Mean over requests."""
        total = sum(c.share for c in self.classes)
        return sum(c.share * v for c, v in zip(self.classes, values, strict=True)) / total

    @property
    def output_tokens(self) -> float:
        """Output tokens per request."""
        if self.decode_only:
            return 1.0
        return self.mean([c.output_tokens for c in self.classes])

    @property
    def computed_tokens(self) -> float:
        """Input tokens per request that are not found in the prefix cache."""
        if self.decode_only:
            return 0.0
        return self.mean([c.input_tokens * (1 - c.prefix_share) for c in self.classes])

    @property
    def prefill_pairs(self) -> float:
        """Query-key pairs of a causal prefill per request: new x (input - new / 2)."""
        if self.decode_only:
            return 0.0
        return self.mean([
            c.input_tokens * (1 - c.prefix_share) * (c.input_tokens - c.input_tokens * (1 - c.prefix_share) / 2)
            for c in self.classes
        ])  # fmt: skip

    @property
    def prefix_written(self) -> float:
        """Prefix tokens newly written per request: a prefix serves ``prefix_reuse`` requests."""
        return self.mean([c.input_tokens * c.prefix_share / c.prefix_reuse for c in self.classes])

    def _resident(self, values: list[float]) -> float:
        """Mean over resident time: a request is resident for as many steps as it has outputs."""
        weights = [c.share * c.output_tokens for c in self.classes]
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)

    @property
    def context(self) -> float:
        """Mean context of a decoding sequence: input plus half the output, over resident time."""
        return self._resident([c.input_tokens + c.output_tokens / 2 for c in self.classes])

    @property
    def prefix_context(self) -> float:
        """Mean of the shared, read-only part of the context, over resident time."""
        return self._resident([c.input_tokens * c.prefix_share for c in self.classes])

    @property
    def deviation(self) -> float:
        """Standard deviation of a resident context, uniform within each request's growth."""
        second = self._resident([
            (c.input_tokens + c.output_tokens / 2) ** 2 + c.output_tokens**2 / 12 for c in self.classes
        ])  # fmt: skip
        return sqrt(max(second - self.context**2, 0.0))

    @property
    def longest(self) -> float:
        """The longest context of the mix."""
        return max(c.input_tokens + c.output_tokens for c in self.classes)
