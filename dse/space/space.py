"""A search space: target, scenario, variables, objectives, limits, levers and baselines. Knows nothing of any sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dse.core.errors import SpaceError, nearest
from dse.space.scenario import Scenario
from dse.space.targets import Target
from dse.space.variables import Value, Variable


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
    target: Target
    variables: tuple[Variable, ...]
    objectives: tuple[str, ...]
    tpot_targets: tuple[float, ...]
    scenario: Scenario
    thresholds: Mapping[str, float]
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
    def operating_points(self) -> tuple[tuple[int, ...], ...]:
        """Rung of each workload at every operating point of a design.

        First every rung for all workloads alike, then each workload one rung faster than the others: without
        those a machine would win for being unable to do what is cheapest on a rung.
        """
        count = len(self.scenario.workloads)
        alike = [(k,) * count for k in range(len(self.tpot_targets))]
        faster = [
            tuple(k - (j == i) for j in range(count)) for i in range(count) for k in range(1, len(self.tpot_targets))
        ]
        return tuple(alike + (faster if count > 1 else []))

    def tpot_target_at(self, point: int) -> float:
        """TPOT target [s] of an operating point: that of its slowest workload."""
        return self.tpot_targets[max(self.operating_points[point])]

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
