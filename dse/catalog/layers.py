"""Groups of equal layers: what their mixers and feed-forward blocks weigh, keep, read and compute.

A model is a list of such groups. Mixers take in other positions (attention, recurrences, convolutions);
feed-forward blocks work on one position. Each class holds the sizes that its family publishes and counts from
them, for one layer; 1 MAC = 2 FLOP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

CONVOLUTION_BYTES: Final = 2
"""of an element of a convolution's last inputs: kept in 16 bit"""


@dataclass(frozen=True)
class MixerCount:
    """One layer of a mixer."""

    parameters: float
    norms: float = 0.0
    """parameters of norms inside it"""
    held_elements: float = 0.0
    """cache elements an entry adds to what a sequence holds"""
    read_elements: float = 0.0
    """cache elements of an entry that a token reads"""
    decode_flops: float = 0.0
    """FLOP of a token for each entry it reads (latent attention absorbed)"""
    prefill_flops: float = 0.0
    """FLOP of a prompt's token for each entry it reads (latent attention not absorbed)"""
    width: float = 0.0
    """query and output elements a token"""
    shards: float = 1.0
    """ranks over which its cache or state can be spread by head"""
    state_bytes: float = 0.0
    """what a sequence keeps however long it is"""
    state_traffic: float = 0.0
    """bytes of it that a token reads and writes"""
    fixed_flops: float = 0.0
    """FLOP of a token however long its context is"""
    window: int = 0
    """entries it keeps (0: all)"""
    tokens_per_entry: int = 1
    topk: int = 0
    """entries it selects (0: all)"""
    index_bytes: float = 0.0
    """bytes of an entry's index key"""
    index_flops: float = 0.0
    """FLOP of a token for each index key"""
    kernels: int = 0


class Mixer(Protocol):
    """A group of equal mixers."""

    kind: ClassVar[str]
    caches: ClassVar[bool]
    """whether it keeps entries of positions, or a state alone"""

    @property
    def layers(self) -> int:
        """Layers of the group."""

    @property
    def beside(self) -> bool:
        """Whether it stands beside another mixer in the same layer, their outputs added."""

    @property
    def shared_heads(self) -> int:
        """Heads that tensor-parallel ranks share; 0 where any number of ranks will do."""

    def count(self, hidden: int) -> MixerCount:
        """One layer of it on ``hidden`` elements a token."""


ATTENTION_KERNELS: Final = 6
"""norm, QKV, rotary, cache write, attention, output"""

LATENT_KERNELS: Final = 11
"""latent attention adds two down-projections' norms, the query's up-projection and two absorbed products"""

INDEXER_KERNELS: Final = 10
"""three projections, norm, rotary, two quantisations, scores, top k, gather"""

COMPRESSOR_KERNELS: Final = 4
"""projection, gate, weighted sum, norm"""

FEED_FORWARD_KERNELS: Final = 4
"""norm, gate and up, activation, down; what routing adds is the stack's ``moe_layer_overhead``"""

INDEX_KEY_BITS: Final = 8
"""DeepSeek-V3.2 keeps its index keys in FP8 (arXiv 2512.02556)"""


@dataclass(frozen=True)
class Attention:
    """Softmax attention of ``heads`` queries over the keys and values of ``kv_heads``."""

    kind: ClassVar[str] = "attention"
    caches: ClassVar[bool] = True
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int = 0
    """of a value head (0: as a key's)"""
    window: int = 0
    """positions it sees (0: all)"""
    query_rank: int = 0
    """width through which queries are projected (0: directly)"""
    biased: str = ""
    """"qkv", "o" or "qkv+o": which projections carry a bias"""
    norm_width: int = 0
    """parameters of the norms of queries and keys"""
    gate_width: int = 0
    """columns of the output gate's projection"""
    value_from_key: bool = False
    """values are projected by the keys' matrix; runtimes cache both"""
    reuses_cache: bool = False
    """reads what an earlier layer has cached: no keys or values of its own"""
    beside: bool = False

    @property
    def shared_heads(self) -> int:
        """Heads that tensor-parallel ranks share."""
        return self.heads

    def count(self, hidden: int) -> MixerCount:
        """One layer: four projections, 2 kv_heads head_dim cached elements."""
        values = self.value_dim or self.head_dim
        queries = self.heads * self.head_dim
        keys, valued = self.kv_heads * self.head_dim, self.kv_heads * values
        projected = 0 if self.reuses_cache else keys + (0 if self.value_from_key else valued)
        through = hidden * queries
        if self.query_rank:
            through = hidden * self.query_rank + self.query_rank * queries
        weights = through + hidden * projected + self.heads * values * hidden + hidden * self.gate_width
        if "qkv" in self.biased:
            weights += queries + projected
        if self.biased.endswith("o"):
            weights += hidden
        flops = 2.0 * self.heads * (self.head_dim + values)
        return MixerCount(
            parameters=weights,
            norms=self.norm_width + self.query_rank,
            held_elements=0 if self.reuses_cache else keys + valued,
            read_elements=keys + valued,
            decode_flops=flops,
            prefill_flops=flops,
            width=self.heads * (self.head_dim + values),
            shards=self.kv_heads,
            window=self.window,
            kernels=ATTENTION_KERNELS,
        )


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention: one latent and one rotary key a position (arXiv 2405.04434).

    With ``index_heads`` it reads the ``index_topk`` positions that an indexer selects: queries of the indexer
    from the query's latent, one key head and a weight a head from the hidden state (arXiv 2512.02556).
    """

    kind: ClassVar[str] = "latent_attention"
    caches: ClassVar[bool] = True
    layers: int
    heads: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    q_lora_rank: int = 0
    """0: queries are projected directly"""
    index_heads: int = 0
    index_head_dim: int = 0
    index_topk: int = 0
    index_shared: bool = False
    """takes the positions that the indexer of an earlier layer selected"""
    window: int = 0
    gate_width: int = 0
    with_bias: bool = False
    beside: bool = False

    @property
    def shared_heads(self) -> int:
        """Heads that tensor-parallel ranks share."""
        return self.heads

    def count(self, hidden: int) -> MixerCount:
        """One layer; decode multiplies in the latent space, 2 heads (2 latent + rope) FLOP a position."""
        h, heads, latent, q = hidden, self.heads, self.kv_lora_rank, self.q_lora_rank
        nope, rope, v = self.qk_nope_head_dim, self.qk_rope_head_dim, self.v_head_dim
        queries = h * q + q * heads * (nope + rope) if q else h * heads * (nope + rope)
        weights = queries + h * (latent + rope) + latent * heads * (nope + v) + heads * v * h
        weights += h * self.gate_width + (q + latent + rope + h if self.with_bias else 0)
        own = self.index_heads and not self.index_shared
        if own:
            weights += (q or h) * self.index_heads * self.index_head_dim
            weights += h * (self.index_head_dim + self.index_heads)
        return MixerCount(
            parameters=weights,
            norms=q + latent,
            held_elements=latent + rope,
            read_elements=latent + rope,
            decode_flops=2.0 * heads * (latent + rope) + 2.0 * heads * latent,
            prefill_flops=2.0 * heads * (nope + rope + v),
            width=heads * (2 * latent + rope),
            window=self.window,
            topk=self.index_topk,
            index_bytes=self.index_head_dim * INDEX_KEY_BITS / 8 if own else 0.0,
            index_flops=2.0 * self.index_heads * self.index_head_dim if own else 0.0,
            kernels=LATENT_KERNELS + (INDEXER_KERNELS if own else 0),
        )


@dataclass(frozen=True)
class CompressedAttention:
    """Attention over one key-value head, of which ``tokens_per_entry`` positions share an entry.

    The last ``window`` positions stay as they are, in a ring that is allocated whole, and are read beside the
    entries. Queries and outputs pass through low ranks, outputs in ``output_groups`` groups. With
    ``index_heads`` an indexer with compressed keys of its own selects ``index_topk`` entries (DeepSeek-V4).
    """

    kind: ClassVar[str] = "compressed_attention"
    caches: ClassVar[bool] = True
    layers: int
    heads: int
    head_dim: int
    q_lora_rank: int
    o_lora_rank: int
    output_groups: int
    window: int
    tokens_per_entry: int = 0
    """0: the window alone"""
    overlap: int = 1
    """entries that a position goes into"""
    index_heads: int = 0
    index_head_dim: int = 0
    index_topk: int = 0
    beside: bool = False

    @property
    def shared_heads(self) -> int:
        """Heads that tensor-parallel ranks share."""
        return self.heads

    def count(self, hidden: int) -> MixerCount:
        """One layer; an entry is both key and value, kept in 16 bit like its index key."""
        d, q, every = self.head_dim, self.q_lora_rank, self.tokens_per_entry
        weights = hidden * q + q * self.heads * d + hidden * d + self.heads * d * self.o_lora_rank
        weights += self.output_groups * self.o_lora_rank * hidden
        index = self.index_heads if every else 0
        if every:  # keys and gates of an entry, and a position's bias of the gate
            weights += self.overlap * d * (2 * hidden + every)
        if index:
            weights += q * index * self.index_head_dim + hidden * index
            weights += self.overlap * self.index_head_dim * (2 * hidden + every)
        return MixerCount(
            parameters=weights,
            norms=q + d + self.heads + (d if every else 0) + (self.index_head_dim if index else 0),
            held_elements=d if every else 0,
            read_elements=d if every else 0,
            decode_flops=4.0 * self.heads * d if every else 0.0,
            prefill_flops=4.0 * self.heads * d if every else 0.0,
            width=2 * self.heads * d,
            state_bytes=float(self.window * d * CONVOLUTION_BYTES),
            state_traffic=float((self.window + 1) * d * CONVOLUTION_BYTES),
            fixed_flops=4.0 * self.heads * d * self.window,
            tokens_per_entry=max(every, 1),
            topk=self.index_topk if index else 0,
            index_bytes=self.index_head_dim * 2.0 if index else 0.0,
            index_flops=2.0 * index * self.index_head_dim,
            kernels=LATENT_KERNELS
            + (COMPRESSOR_KERNELS if every else 0)
            + (INDEXER_KERNELS + COMPRESSOR_KERNELS if index else 0),
        )


@dataclass(frozen=True)
class Dense:
    """Feed-forward blocks of ``width``: two matrices, three where they are gated."""

    kind: ClassVar[str] = "dense"
    layers: int
    width: int
    gated: bool = True
    biased: bool = False
    beside: bool = False
    """stands beside another block in the same layer, their outputs added"""

    def parameters(self, hidden: int) -> float:
        """One layer."""
        n = (3 if self.gated else 2) * hidden * self.width
        return float(n + ((2 if self.gated else 1) * self.width + hidden if self.biased else 0))


@dataclass(frozen=True)
class Experts:
    """Mixture of ``experts``, of which a token takes ``per_token``; shared ones serve every token."""

    kind: ClassVar[str] = "experts"
    layers: int
    experts: int
    per_token: int
    width: int
    gated: bool = True
    shared_width: int = 0
    """of all shared experts together"""
    latent: int = 0
    """width on which routed experts work, projected down to and back (0: the hidden size)"""
    biased: bool = False
    shared_gate: bool = False
    """a scalar gate on the shared expert"""
    router_inner: int = 0
    """width of a router of two matrices (0: one)"""
    zero_experts: int = 0
    """routes that compute nothing"""
    shared_gated: bool = True
    """whether shared experts are gated where routed ones are"""
    beside: bool = False

    @property
    def computed_per_token(self) -> int:
        """Routed experts that a token computes in the mean: the rest of its routes compute nothing."""
        return max(round(self.per_token * self.experts / (self.experts + self.zero_experts)), 1)

    def parameters(self, hidden: int) -> float:
        """One layer: router, projections to the latent, shared experts; routed experts apart."""
        routes = self.experts + self.zero_experts
        inner = self.router_inner
        router = hidden * inner + inner * routes if inner else routes * hidden
        return float(router + 2 * hidden * self.latent + (hidden if self.shared_gate else 0)) + self.shared(
            hidden
        )

    def shared(self, hidden: int) -> float:
        """Parameters of the shared experts of one layer."""
        return float((3 if self.gated and self.shared_gated else 2) * hidden * self.shared_width)

    def expert(self, hidden: int) -> float:
        """Parameters of one routed expert of one layer."""
        n = (3 if self.gated else 2) * (self.latent or hidden) * self.width
        return float(n + ((2 if self.gated else 1) * self.width + hidden if self.biased else 0))
