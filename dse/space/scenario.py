"""What a machine must serve: language models under load, request mixes, place and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from dse.catalog.transformer import TAIL
from dse.core.errors import SpaceError

DAY = 86400.0  # s


@dataclass(frozen=True)
class ModelLoad:
    """One model of the scenario and how it is asked for; bits by class, 0 where they follow another."""

    llm: str
    weight: float
    concurrency: float
    weight_bits: float
    kv_bits: float
    compute_bits: float
    expert_bits: float = 0.0
    """stored bits of routed experts (0: as the weights)"""
    attention_bits: float = 0.0
    """stored bits of the attention projections (0: as the weights)"""
    head_bits: float = 0.0
    """stored bits of the LM head and embedding (0: as the weights)"""
    expert_compute_bits: float = 0.0
    attention_compute_bits: float = 0.0
    """compute bits of the attention projections"""
    score_compute_bits: float = 0.0
    """compute bits of scores and values"""
    head_compute_bits: float = 0.0
    draft_tokens: float = 0.0
    """tokens drafted per sequence and pass (speculative decoding, multi-token prediction)"""
    acceptance: float = 0.0
    """probability that a drafted token is accepted if those before it were"""
    block_tokens: float = 0.0
    """positions a diffusion model computes per sequence and pass (0: autoregressive)"""
    tokens_per_pass: float = 0.0
    """tokens a diffusion model settles per pass"""

    def stored(self, operator: str) -> float:
        """Bits in which an operator's weights lie in memory."""
        own = {"projections": self.attention_bits, "experts": self.expert_bits, "head": self.head_bits}
        return own.get(operator, 0.0) or self.weight_bits

    def computed(self, operator: str) -> int:
        """Bits in which an operator multiplies."""
        own = {
            "projections": self.attention_compute_bits,
            "attention": self.score_compute_bits,
            "experts": self.expert_compute_bits,
            "head": self.head_compute_bits,
        }
        return int(own.get(operator, 0.0) or self.compute_bits)

    @property
    def positions(self) -> float:
        """Positions computed per sequence and pass."""
        return self.block_tokens or 1.0 + self.draft_tokens

    @property
    def tokens_per_step(self) -> float:
        """Tokens won per sequence and pass: 1 + a + a^2 + ... (Leviathan et al. 2023, equation 1)."""
        if self.block_tokens:
            return self.tokens_per_pass or 1.0
        if self.acceptance >= 1.0:
            return 1.0 + self.draft_tokens
        missed: float = self.acceptance ** (self.draft_tokens + 1.0)
        return (1.0 - missed) / (1.0 - self.acceptance)


@dataclass(frozen=True)
class Scenario:
    """What the machine must serve, when and where; numbers in SI."""

    software: str
    numbers: Mapping[str, float]
    mix: RequestMix
    workloads: tuple[ModelLoad, ...]
    sources: Mapping[str, str]
    context_parallel: bool = False
    """whether plans may split a KV cache by position over tensor-parallel ranks"""
    electricity_grid: str = "usa"
    """entry of the catalogue whose electricity is used"""
    body: str = "phone"
    """entry of the catalogue that a mobile package stands in"""

    def _number(self, name: str) -> float:
        """A number of the scenario.

        Raises:
            SpaceError: the scenario, of another target perhaps, does not give it.

        """
        if name not in self.numbers:
            raise SpaceError(
                f"scenario.{name}: got nothing, expected a number; this scenario gives "
                f"{', '.join(self.numbers)}"
            )
        return self.numbers[name]

    @property
    def year(self) -> float:
        """Year whose prices hold and whose parts can be had."""
        return self._number("year")

    @property
    def volume(self) -> float:
        """Packages over which NRE is spread."""
        return self._number("volume")

    @property
    def lifetime(self) -> float:
        """S that a machine is owned."""
        return self._number("lifetime")

    @property
    def weight_update_interval(self) -> float:
        """S between two versions of the weights, each written once."""
        return self._number("weight_update_interval")

    @property
    def ttft_input(self) -> float:
        """Tokens of the prompt that the TTFT limit asks about."""
        return self._number("ttft_input")

    @property
    def longest_request(self) -> float:
        """Tokens of the longest request that must fit: as stated, or what the traffic's lengths reach."""
        return self.numbers.get("longest_request", self.mix.longest)

    @property
    def pue(self) -> float:
        """Watts of the site per watt of its racks."""
        return self._number("pue")

    @property
    def electricity_price(self) -> float:
        """USD/J."""
        return self._number("electricity_price")

    @property
    def utilisation(self) -> float:
        """Share of the time that machines work."""
        return self._number("utilisation")

    @property
    def site_power(self) -> float:
        """W that a site gives its racks and cooling."""
        return self._number("site_power")

    @property
    def battery(self) -> float:
        """J of a full charge."""
        return self._number("battery")

    @property
    def ambient(self) -> float:
        """K of the air around the body."""
        return self._number("ambient")

    @property
    def daily_use(self) -> float:
        """S of generation a day."""
        return self._number("daily_use")

    @property
    def resident_day(self) -> float:
        """S a day that the model stays in DRAM."""
        return self._number("resident_day")

    @property
    def application_memory(self) -> float:
        """B of DRAM that system and applications keep."""
        return self._number("application_memory")

    @property
    def sustained_after(self) -> float:
        """S of work after which the limits of heat must hold."""
        return self._number("sustained_after")

    @property
    def applications(self) -> float:
        """B of fast memory that applications keep: none on a machine that serves alone."""
        return self.numbers.get("application_memory", 0.0)

    @property
    def duty(self) -> float:
        """Share of the time that a machine works: its utilisation, or its daily use over a day."""
        return self.numbers["utilisation"] if "utilisation" in self.numbers else self.daily_use / DAY


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
        return self.input_tokens * (1 + TAIL * self.input_spread) + self.output_tokens * (
            1 + TAIL * self.output_spread
        )


@dataclass(frozen=True)
class RequestMix:
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
        return self.mean(
            [
                c.input_tokens**2
                * (1 + c.input_spread**2)
                * (1 - c.prefix_share)
                * (1 - (1 - c.prefix_share) / 2)
                for c in self.classes
            ]
        )

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
        return self._resident(
            [c.input_tokens + c.output_tokens / 2 * (1 + c.output_spread**2) for c in self.classes]
        )

    @property
    def prefix_context(self) -> float:
        """Mean of the shared, read-only part of the context, over resident time."""
        return self._resident([c.input_tokens * c.prefix_share for c in self.classes])

    @property
    def deviation(self) -> float:
        """Standard deviation of a resident context.

        Uniform within a request's growth, log-normal over requests.
        """
        second = self._resident(
            [
                c.input_tokens**2 * (1 + c.input_spread**2)
                + c.input_tokens * c.output_tokens * (1 + c.output_spread**2)
                + c.output_tokens**2 / 3 * (1 + c.output_spread**2) ** 3
                for c in self.classes
            ]
        )
        return sqrt(max(second - self.context**2, 0.0))

    @property
    def longest(self) -> float:
        """The longest context of the mix."""
        return max(c.longest for c in self.classes)


def mix_of(context: float) -> RequestMix:
    """A mix whose every sequence stands at ``context`` tokens: for asking about one decode step."""
    return RequestMix((RequestClass("point", 1.0, context, 1e-9),), decode_only=True)
