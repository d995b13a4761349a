"""Search spaces in TOML: variables with conditions, scenario, limits, levers and baselines.

Knows nothing of any sampler. A variable is *active* where its condition on earlier variables
holds, and a choice is *allowed* where its own needs hold; an inactive variable is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from dse.core.errors import SpaceError, UnitError, nearest
from dse.core.units import parse
from dse.workload import Mix

KINDS: Final = ("categorical", "ordinal", "int", "float")


Value = str | float


# SI unit of each design variable that carries one.
VARIABLE_UNITS: Final = {
    "compute_area": "m2", "sram": "B", "clock": "1/s", "pnm_flops": "FLOP/s", "link_bandwidth": "B/s",
    "npu_area": "m2", "npu_sram": "B", "npu_clock": "1/s", "dram_capacity": "B", "bond_pitch": "m",
}  # fmt: skip


SCENARIO_UNITS: Final = {
    "datacenter": {
        "year": "1", "volume": "1", "pue": "1", "electricity_price": "USD/J", "lifetime": "s",
        "utilisation": "1", "weight_update_interval": "s", "ttft_input": "token", "longest_request": "token",
    },
    "mobile": {
        "year": "1", "volume": "1", "battery": "J", "ambient": "K", "lifetime": "s", "daily_use": "s", "resident_day": "s",
        "application_memory": "B", "sustained_after": "s", "ttft_input": "token", "weight_update_interval": "s",
    },
}  # fmt: skip


SCENARIO_OPTIONAL: Final = {"datacenter": {"popularity_life": "s", "site_power": "W"}, "mobile": dict[str, str]()}


_OBJECTIVE_LIMITS: Final = {"tpot": "s", "energy_per_token": "J", "carbon_per_mtoken": "kgCO2e"}


LIMIT_UNITS: Final = {
    "datacenter": {"ttft": "s", "flash_life": "s", "rack_power": "W", "cost_per_mtoken": "USD", **_OBJECTIVE_LIMITS},
    "mobile": {
        "ttft": "s", "flash_life": "s", "skin_temperature": "K", "burst_power": "W", "cold_start": "s", "z_height": "m",
        "dram_temperature": "K", "bom": "USD", **_OBJECTIVE_LIMITS,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Variable:
    """One design variable: its range or choices, and when it is active."""

    name: str
    kind: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    active_if: Mapping[str, frozenset[Value]] = field(default_factory=dict)
    needs: Mapping[Value, Mapping[str, frozenset[Value]]] = field(default_factory=dict)
    grid: tuple[Value, ...] = ()

    @property
    def unit(self) -> str:
        """SI unit, ``"1"`` for a pure number."""
        return VARIABLE_UNITS.get(self.name, "1")

    @property
    def discrete(self) -> bool:
        """Whether the variable picks from a list."""
        return self.kind in {"categorical", "ordinal"}

    def is_active(self, values: Mapping[str, Value]) -> bool:
        """Whether every condition on earlier variables holds."""
        return all(values.get(name) in allowed for name, allowed in self.active_if.items())

    def allowed(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        """Choices whose own needs hold, given earlier values."""
        return tuple(
            c for c in self.choices
            if all(values.get(n) in ok for n, ok in self.needs.get(c, {}).items())
        )  # fmt: skip


@dataclass(frozen=True)
class Workload:
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
        own = {"projections": self.attention_compute_bits, "attention": self.score_compute_bits,
               "experts": self.expert_compute_bits, "head": self.head_compute_bits}  # fmt: skip
        return int(own.get(operator, 0.0) or self.compute_bits)

    @property
    def positions(self) -> float:
        """Positions computed per sequence and pass."""
        return self.block_tokens or 1.0 + self.draft_tokens

    @property
    def accepted(self) -> float:
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
    mix: Mix
    workloads: tuple[Workload, ...]
    sources: Mapping[str, str]
    sequence_parallel: bool = False
    """whether plans may split a KV cache by position over tensor-parallel ranks"""
    grid: str = "usa"
    """entry of the catalogue whose electricity is used"""
    body: str = "phone"
    """entry of the catalogue that a mobile package stands in"""

    def __getitem__(self, name: str) -> float:
        return self.numbers[name]


@dataclass(frozen=True)
class Baseline:
    """A machine that exists or that a paper describes, judged under the same accounting."""

    device: str
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lever:
    """How to lock a lever off: fixes and, where a list is given, a restriction of choices."""

    name: str
    fixed: Mapping[str, tuple[Value, ...]]


@dataclass(frozen=True)
class WhatIf:
    """Another world to search the space in: catalogue numbers changed, variables held."""

    name: str
    question: str
    """heading it stands under in the recommendation"""
    catalogue: tuple[tuple[str, str, str, float], ...]
    """(kind, entry, field, SI value)"""
    fixed: Mapping[str, tuple[Value, ...]]
    demand: float = 1.0
    """concurrency of every workload over that of the scenario"""
    year: float | None = None
    """year in the scenario's place: its prices, and what can be had"""


@dataclass(frozen=True)
class Contender:
    """One row of a comparison: a design as a person writes it, and catalogue numbers changed for it."""

    name: str
    design: Mapping[str, object]
    catalogue: tuple[tuple[str, str, str, float], ...]


@dataclass(frozen=True)
class Comparison:
    """Designs set side by side under one plan, over batches."""

    title: str
    space: str
    """the space whose accounting is used, "" for the one it stands in"""
    llm: str
    tensor_parallel: int
    attention: str
    context: float | None
    batches: tuple[int, ...]
    rows: tuple[Contender, ...]
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """A question: target, scenario, variables, objectives, limits, levers, baselines."""

    name: str
    title: str
    target: str
    variables: tuple[Variable, ...]
    objectives: tuple[str, ...]
    rungs: tuple[float, ...]
    scenario: Scenario
    limits: Mapping[str, float]
    levers: tuple[Lever, ...]
    baselines: tuple[Baseline, ...]
    overrides: tuple[str, ...] = ()
    text: str = ""
    what_ifs: tuple[WhatIf, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    def variable(self, name: str) -> Variable:
        """Return a variable.

        Raises:
            SpaceError: there is none of that name.

        """
        for v in self.variables:
            if v.name == name:
                return v
        raise SpaceError(
            f"{self.name}: got variable {name!r}, expected {nearest(name, [v.name for v in self.variables])}"
        )

    @property
    def points(self) -> tuple[tuple[int, ...], ...]:
        """Rung of each workload at every operating point of a design.

        First every rung for all workloads alike, then each workload one rung faster than the others: without
        those a machine would win for being unable to do what is cheapest on a rung.
        """
        count = len(self.scenario.workloads) if self.target == "datacenter" else 1
        alike = [(k,) * count for k in range(len(self.rungs))]
        faster = [tuple(k - (j == i) for j in range(count)) for i in range(count) for k in range(1, len(self.rungs))]
        return tuple(alike + (faster if count > 1 else []))

    def rung_at(self, point: int) -> float:
        """TPOT target [s] of an operating point: that of its slowest workload."""
        return self.rungs[max(self.points[point])]

    def restrict(self, name: str, choices: Sequence[Value], *, reach: bool = True) -> Space:
        """Return the space with a variable held to ``choices`` (one choice fixes it).

        With ``reach`` what a single choice needs is held too, so that every design has it.
        """
        old = self.variable(name)
        if old.discrete:
            new = replace(old, choices=tuple(c for c in old.choices if c in choices), grid=())
            if not new.choices:
                raise SpaceError(f"{self.name}: {name}: got {list(choices)}, expected one of {list(old.choices)}")
        else:
            numbers = [float(c) for c in choices]
            if min(numbers) < old.low or max(numbers) > old.high:
                raise SpaceError(
                    f"{self.name}: {name}: got {choices[0]!r}, expected {old.low:g} to {old.high:g} {old.unit}"
                )
            new = replace(old, low=min(numbers), high=max(numbers), grid=tuple(numbers))
        space = replace(self, variables=tuple(new if v.name == name else v for v in self.variables))
        return space._possible(old, new) if reach and len(new.choices) == 1 else space

    def _possible(self, old: Variable, new: Variable) -> Space:
        """Hold earlier variables to what a locked choice needs, so that it is always reached."""
        space = self
        needs = dict(new.needs.get(new.choices[0], {}))
        for earlier, values in new.active_if.items():
            if len(old.choices) > 1:
                needs[earlier] = needs.get(earlier, values) & values
        for earlier, values in needs.items():
            v = space.variable(earlier)
            kept = [c for c in v.choices if c in values]
            if len(kept) < len(v.choices):
                space = space.restrict(earlier, kept)
        return space

    def on_grid(self) -> Space:
        """Return the space with every variable held to its coarse levels: what a sweep enumerates."""
        held = []
        for v in self.variables:
            if v.discrete:
                kept = tuple(c for c in v.choices if not v.grid or c in v.grid)
                held.append(replace(v, choices=kept))
            elif v.grid:
                held.append(replace(v, kind="ordinal", choices=v.grid))
            else:
                held.append(v)
        return replace(self, variables=tuple(held), overrides=(*self.overrides, "--grid coarse"))

    def without(self, lever: Lever) -> Space:
        """Return the space with a lever locked off."""
        space = self
        for name, choices in lever.fixed.items():
            space = space.restrict(name, choices, reach=False)
        return space


def parse_value(variable: Variable, text: object, where: str) -> Value:
    """Read one value of a variable as written by a person.

    Raises:
        SpaceError: not a choice, outside the range, or a wrong unit.

    """
    if variable.kind == "categorical":
        if str(text) not in variable.choices:
            raise SpaceError(
                f"{where}: {variable.name}: got {text!r}, expected {nearest(str(text), map(str, variable.choices))}"
            )
        return str(text)
    try:
        number = parse(str(text), variable.unit)
    except UnitError as error:
        raise SpaceError(f"{where}: {variable.name}: {error}") from error
    if variable.kind == "ordinal":
        if number not in variable.choices:
            raise SpaceError(
                f"{where}: {variable.name}: got {text!r}, expected one of {', '.join(f'{c:g}' for c in variable.choices if not isinstance(c, str))}"
            )
        return number
    slack = 1e-9 * max(abs(variable.low), abs(variable.high))
    if not variable.low - slack <= number <= variable.high + slack:
        raise SpaceError(
            f"{where}: {variable.name}: got {text!r}, expected {variable.low:g} to {variable.high:g} {variable.unit}"
        )
    if variable.kind == "int" and number != int(number):
        raise SpaceError(f"{where}: {variable.name}: got {text!r}, expected a whole number")
    return number
