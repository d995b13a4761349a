"""Language models and traffic mixes: parameters, KV bytes and moments of the context length.

Counts follow the published configurations; they are checked against the published
parameter count (within 1 %) and KV bytes per token (exactly) for every catalogued model.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from dse.catalog.transformer import TAIL


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
    input_spread: float = 0.0
    """standard deviation over mean of the input length, log-normal"""
    output_spread: float = 0.0

    @property
    def longest(self) -> float:
        """Context that three standard deviations of either length reach."""
        return self.input_tokens * (1 + TAIL * self.input_spread) + self.output_tokens * (1 + TAIL * self.output_spread)


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
            c.input_tokens**2 * (1 + c.input_spread**2) * (1 - c.prefix_share) * (1 - (1 - c.prefix_share) / 2)
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
        """Mean context of a decoding sequence: input plus half the output, over resident time.

        Long outputs are resident for longer: the half is of E[o^2] / E[o].
        """
        return self._resident([c.input_tokens + c.output_tokens / 2 * (1 + c.output_spread**2) for c in self.classes])

    @property
    def prefix_context(self) -> float:
        """Mean of the shared, read-only part of the context, over resident time."""
        return self._resident([c.input_tokens * c.prefix_share for c in self.classes])

    @property
    def deviation(self) -> float:
        """Standard deviation of a resident context: uniform within a request's growth, log-normal over requests."""
        second = self._resident([
            c.input_tokens**2 * (1 + c.input_spread**2) + c.input_tokens * c.output_tokens * (1 + c.output_spread**2)
            + c.output_tokens**2 / 3 * (1 + c.output_spread**2) ** 3
            for c in self.classes
        ])  # fmt: skip
        return sqrt(max(second - self.context**2, 0.0))

    @property
    def longest(self) -> float:
        """The longest context of the mix."""
        return max(c.longest for c in self.classes)


def mix_of(context: float) -> Mix:
    """A mix whose every sequence stands at ``context`` tokens: for asking about one decode step."""
    return Mix((RequestClass("point", 1.0, context, 1e-9),), decode_only=True)
