"""Mixers that keep a state of one size instead of a cache: linear attention, state spaces, convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from dse.catalog.layers import CONVOLUTION_BYTES, MixerCount

STATE_BYTES: Final = 4
"""of an element of a recurrent state: kept in 32 bit, as published kernels do"""

RECURRENT_KERNELS: Final = 8
"""projections, convolution, gates, the recurrence, norm, output"""


def _recurrent(parameters: float, norms: float, width: float, shards: float, state: float) -> MixerCount:
    """A layer that keeps ``state`` elements of a recurrence."""
    return MixerCount(
        parameters=parameters,
        norms=norms,
        width=width,
        shards=shards,
        state_bytes=state * STATE_BYTES,
        state_traffic=2.0 * state * STATE_BYTES,
        kernels=RECURRENT_KERNELS,
    )


@dataclass(frozen=True)
class GatedDeltaNet:
    """Gated delta rule: a matrix of ``key_dim`` x ``value_dim`` a value head (arXiv 2412.06464)."""

    kind: ClassVar[str] = "gated_deltanet"
    caches: ClassVar[bool] = False
    layers: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int
    beside: bool = False

    @property
    def shared_heads(self) -> int:
        """Heads that tensor-parallel ranks share."""
        return self.value_heads

    def count(self, hidden: int) -> MixerCount:
        """One layer: projections of q, k, v, gate, two scalars a head; convolution; output."""
        keys, values = self.key_heads * self.key_dim, self.value_heads * self.value_dim
        weights = hidden * (2 * keys + 2 * values + 2 * self.value_heads)
        weights += (2 * keys + values) * self.conv_kernel + values * hidden + 2 * self.value_heads
        state = self.value_heads * self.key_dim * self.value_dim
        return _recurrent(weights + self.value_dim, 0.0, 2.0 * keys + 2 * values, self.value_heads, state)


@dataclass(frozen=True)
class KimiDelta:
    """Kimi delta attention: a delta rule whose decay is a vector a head (arXiv 2510.26692)."""

    kind: ClassVar[str] = "kimi_delta"
    caches: ClassVar[bool] = False
    layers: int
    heads: int
    head_dim: int
    conv_kernel: int
    full_rank_gate: bool = False
    """the output gate is one matrix instead of two of rank ``head_dim``"""
    full_rank_decay: bool = False
    beside: bool = False

    @property
    def shared_heads(self) -> int:
        """Heads that tensor-parallel ranks share."""
        return self.heads

    def count(self, hidden: int) -> MixerCount:
        """One layer: q, k, v, output; low-rank decay and output gate; three convolutions."""
        inner, low = self.heads * self.head_dim, self.head_dim
        weights = 4 * hidden * inner + hidden * self.heads
        narrow = hidden * low + low * inner
        weights += hidden * inner if self.full_rank_decay else narrow
        weights += hidden * inner if self.full_rank_gate else narrow
        weights += 3 * inner * self.conv_kernel + inner + self.heads + self.head_dim
        return _recurrent(weights, 0.0, 4.0 * inner, self.heads, inner * self.head_dim)


@dataclass(frozen=True)
class Mamba2:
    """State-space duality: ``head_dim`` x ``state`` a head (arXiv 2405.21060)."""

    kind: ClassVar[str] = "mamba2"
    caches: ClassVar[bool] = False
    layers: int
    heads: int
    head_dim: int
    groups: int
    state: int
    conv_kernel: int
    conv_bias: bool = True
    projection_bias: bool = False
    normed: bool = True
    """whether a norm stands before the output projection"""
    inner_matrices: int = 1
    """copies of the hidden state that it takes in: Zamba2 joins the embedding to it"""
    beside: bool = False

    @property
    def shared_heads(self) -> int:
        """Heads that tensor-parallel ranks share."""
        return self.heads

    def count(self, hidden: int) -> MixerCount:
        """One layer: input projection, convolution, decay, norm, output."""
        inner, states = self.heads * self.head_dim, self.groups * self.state
        entering = 2 * inner + 2 * states + self.heads
        weights = hidden * entering + (inner + 2 * states) * (self.conv_kernel + self.conv_bias)
        weights += 3 * self.heads + (inner if self.normed else 0) + inner * hidden
        weights += (entering + hidden) if self.projection_bias else 0
        return _recurrent(weights, 0.0, 2.0 * inner, self.heads, inner * self.state)


@dataclass(frozen=True)
class Mamba:
    """Selective state spaces: ``state`` elements a channel (arXiv 2312.00752)."""

    kind: ClassVar[str] = "mamba"
    caches: ClassVar[bool] = False
    layers: int
    inner: int
    state: int
    rank: int
    """of the step size's projection"""
    conv_kernel: int
    conv_bias: bool = True
    projection_bias: bool = False
    norm_width: int = 0
    heads: int = 1
    beside: bool = False

    @property
    def shared_heads(self) -> int:
        """Heads that tensor-parallel ranks share."""
        return self.inner

    def count(self, hidden: int) -> MixerCount:
        """One layer: input projection, convolution, B, C and step size, decay, output."""
        n, per_head = self.inner, self.inner // max(self.heads, 1)
        weights = 2 * hidden * n + n * (self.conv_kernel + self.conv_bias)
        weights += self.heads * per_head * (self.rank + 2 * self.state) + self.rank * n + n
        weights += n * self.state + n + n * hidden
        weights += 2 * n + hidden if self.projection_bias else 0
        return _recurrent(weights, self.norm_width, 2.0 * n, n, n * self.state)


@dataclass(frozen=True)
class LightningAttention:
    """Linear attention with a fixed decay: ``head_dim`` squared a head (MiniMax-01, arXiv 2501.08313)."""

    kind: ClassVar[str] = "lightning_attention"
    caches: ClassVar[bool] = False
    layers: int
    heads: int
    head_dim: int
    norm_width: int = 0
    kv_heads: int = 0
    """0: as many as queries"""
    gate_width: int = -1
    """columns of the output gate's projection (-1: as many as the output's)"""
    beside: bool = False

    @property
    def shared_heads(self) -> int:
        """Heads that tensor-parallel ranks share."""
        return self.heads

    def count(self, hidden: int) -> MixerCount:
        """One layer: q, k, v, output gate, output, norm."""
        inner, keys = self.heads * self.head_dim, (self.kv_heads or self.heads) * self.head_dim
        gate = inner if self.gate_width < 0 else self.gate_width
        weights = hidden * (2 * inner + 2 * keys + gate)
        return _recurrent(
            weights, self.norm_width or inner, 2.0 * inner + gate, self.heads, inner * self.head_dim
        )


@dataclass(frozen=True)
class ShortConvolution:
    """Gated convolution over the last ``conv_kernel`` positions (LFM2, arXiv 2511.23404)."""

    kind: ClassVar[str] = "short_convolution"
    caches: ClassVar[bool] = False
    layers: int
    conv_kernel: int
    inner: int = 0
    """0: as the hidden size"""
    biased: bool = False
    beside: bool = False

    @property
    def shared_heads(self) -> int:
        """Heads that tensor-parallel ranks share."""
        return 0

    def count(self, hidden: int) -> MixerCount:
        """One layer: two gates and a value in, convolution, output."""
        n = self.inner or hidden
        weights = 3 * hidden * n + n * self.conv_kernel + n * hidden
        weights += (3 * n + n + hidden) if self.biased else 0
        return MixerCount(
            parameters=weights,
            width=4.0 * n,
            shards=n,
            state_bytes=float(n * self.conv_kernel * CONVOLUTION_BYTES),
            state_traffic=2.0 * n * self.conv_kernel * CONVOLUTION_BYTES,
            kernels=RECURRENT_KERNELS,
        )


@dataclass(frozen=True)
class GatedRecurrence:
    """Real-gated linear recurrent unit: one element a channel (Griffin, arXiv 2402.19427)."""

    kind: ClassVar[str] = "gated_recurrence"
    caches: ClassVar[bool] = False
    layers: int
    width: int
    heads: int
    conv_kernel: int
    beside: bool = False

    @property
    def shared_heads(self) -> int:
        """Heads that tensor-parallel ranks share."""
        return self.heads

    def count(self, hidden: int) -> MixerCount:
        """One layer: two branches in, convolution, two block-diagonal gates, output."""
        w = self.width
        weights = 2 * (hidden * w + w) + w * (self.conv_kernel + 1) + w * hidden + hidden
        weights += 2 * (w * w // self.heads + w) + w
        return _recurrent(weights, 0.0, 2.0 * w, self.heads, w)
