"""A search space: target, scenario, variables, objectives, limits, levers and baselines.

Knows nothing of any sampler.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dse.catalog.catalog import Catalog, load_catalog
from dse.core.errors import SpaceError, UnitError, nearest
from dse.core.units import parse
from dse.space.objectives import Goal
from dse.space.request_classes import with_traffic
from dse.space.scenario import Scenario
from dse.space.targets import Target
from dse.space.variables import Value, Variable, parse_value

FIX, OBJECTIVE = "--fix ", "--objective "
"""how changes of the two kinds begin in the list of those that a run records"""

COARSELY = "--grid coarse"
"""the change that holds a space to the levels of its grid, in that list"""


def _said(value: object, unit: str) -> str:
    """A value as a person would write it: a number of the API is in SI."""
    bare = isinstance(value, int | float) and not isinstance(value, bool)
    if not bare:
        return str(value)
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    return text if unit == "1" else f"{text} {unit}"


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
    reference_point: Mapping[str, float] = field(default_factory=dict)
    """worst values of objectives that count: the box in which fronts are compared, where the question states
    it
    """

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

    def asked_otherwise(self, other: Space) -> list[str]:
        """What another space asks otherwise, levels of its grid apart: fronts of the two are not to be
        compared.
        """
        kinds: dict[str, tuple[object, ...]] = {
            "objectives": (self.objectives, other.objectives),
            "target": (self.target.name, other.target.name),
            "TPOT targets": (self.tpot_targets, other.tpot_targets),
            "limits": (self.thresholds, other.thresholds),
            "scenario": (self.scenario, other.scenario),
            "--fix": tuple({x for x in s.overrides if x.startswith(FIX)} for s in (self, other)),
            "ranges": tuple({v.name: (v.low, v.high) for v in s.variables} for s in (self, other)),
        }
        if not any(COARSELY in s.overrides for s in (self, other)):  # that narrows choices to the grid's
            kinds["choices"] = tuple({v.name: v.choices for v in s.variables} for s in (self, other))

        return [kind for kind, (mine, theirs) in kinds.items() if mine != theirs]

    @property
    def operating_points(self) -> tuple[tuple[int, ...], ...]:
        """Rung of each workload at every operating point of a design.

        First every rung for all workloads alike, then each workload one rung faster than the others: without
        those a machine would win for being unable to do what is cheapest on a rung. For the same reason the
        machine of one user has a last rung beyond the targets, on which it is as fast as it can be: its few
        plans lie between targets.
        """
        count, rungs = len(self.scenario.workloads), len(self.tpot_targets)
        alike = [(k,) * count for k in range(rungs)]
        faster = [tuple(k - (j == i) for j in range(count)) for i in range(count) for k in range(1, rungs)]
        fastest = [(rungs,) * count] if self.target.one_user else []
        return tuple(alike + (faster if count > 1 else []) + fastest)

    @property
    def bounds(self) -> tuple[float, ...]:
        """Limit set on each objective, infinite where none is; a limit on TTFT is judged with the prompts."""
        return tuple(
            self.thresholds.get(o, math.inf) if o != Goal.TTFT else math.inf for o in self.objectives
        )

    def tpot_targets_at(self, point: int) -> tuple[float, ...]:
        """TPOT target [s] of each workload at an operating point; as fast as it can be, it has to meet the
        slowest.
        """
        slowest = len(self.tpot_targets) - 1
        return tuple(self.tpot_targets[min(rung, slowest)] for rung in self.operating_points[point])

    def tpot_target_at(self, point: int) -> float:
        """TPOT target [s] of an operating point: that of its slowest workload."""
        return max(self.tpot_targets_at(point))

    def restrict(self, name: str, choices: Sequence[Value], *, reach: bool = True) -> Space:
        """Return the space with a variable held to ``choices`` (one choice fixes it).

        With ``reach`` what a single choice needs is held too, so that every design has it.
        """
        old = self.variable(name)
        if old.discrete:
            new = replace(old, choices=tuple(c for c in old.choices if c in choices), grid=())
            if not new.choices:
                raise SpaceError(
                    f"{self.name}: {name}: got {list(choices)}, expected one of {list(old.choices)}"
                )
        else:
            numbers = [float(c) for c in choices]
            if min(numbers) < old.low or max(numbers) > old.high:
                raise SpaceError(
                    f"{self.name}: {name}: got {choices[0]!r}, expected {old.low:g} to {old.high:g} "
                    f"{old.unit}"
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

    def narrowed(self, whole: Space) -> list[tuple[str, list[str], list[str]]]:
        """Variables with fewer choices than in ``whole``: the name, what is kept and what is dropped."""
        out = []
        for v in self.variables:
            before = whole.variable(v.name)
            dropped = [str(c) for c in before.choices if c not in v.choices] if v.discrete else []
            if before.discrete and dropped:
                out.append((v.name, [str(c) for c in v.choices], dropped))
        return out

    def fix(self, **values: object) -> Space:
        """Return the space with variables held to values, in SI or as text with a unit.

        >>> from dse import load_space
        >>> load_space("datacenter").fix(pnm="none", sram="64 MiB").overrides
        ('--fix pnm=none', '--fix sram=64 MiB')

        Raises:
            SpaceError: no such variable, or a value outside its range or choices.

        """
        space = self
        for name, value in values.items():
            held = space.restrict(name, [parse_value(space.variable(name), value, "--fix")])
            space = held.noted(f"--fix {name}={_said(value, space.variable(name).unit)}")
        return space

    def limit(self, **limits: object) -> Space:
        """Return the space with limits set, in SI or as text with a unit.

        >>> from dse import load_space
        >>> load_space("datacenter").limit(ttft="500 ms").thresholds["ttft"]
        0.5

        Raises:
            SpaceError: no such limit, a wrong unit, or a number not above 0.

        """
        space = self
        for name, value in limits.items():
            if name not in space.target.thresholds:
                raise SpaceError(f"--limit: got {name!r}, expected {nearest(name, space.target.thresholds)}")
            try:
                unit = space.target.threshold_unit(name)
                si = isinstance(value, int | float) and not isinstance(value, bool)
                number = float(value) if si else parse(str(value), unit)  # type: ignore[arg-type]
            except UnitError as error:
                raise SpaceError(f"--limit {name}: {error}") from error
            if number <= 0:
                raise SpaceError(f"--limit {name}: got {value!r}, expected a number above 0")
            space = replace(space, thresholds={**space.thresholds, name: number}).noted(
                f"--limit {name}={_said(value, space.target.threshold_unit(name))}"
            )
        return space

    def in_year(self, year: float) -> Space:
        """Return the space in a year: its prices, and what can be had.

        >>> from dse import load_space
        >>> load_space("datacenter").in_year(2028).scenario.year
        2028.0

        Raises:
            SpaceError: a year before 2000 or after 2100.

        """
        if isinstance(year, bool) or not isinstance(year, int | float) or not 2000 <= year <= 2100:
            raise SpaceError(f"--year: got {year!r}, expected a year from 2000 to 2100")
        numbers = {**self.scenario.numbers, "year": float(year)}
        return replace(self, scenario=replace(self.scenario, numbers=numbers)).noted(f"--year {year:g}")

    def with_model(self, llm: str, catalog: Catalog | None = None) -> Space:
        """Return the space with one language model, which takes all of the demand.

        >>> from dse import load_space
        >>> [w.llm for w in load_space("datacenter").with_model("Llama-3.1-70B").scenario.workloads]
        ['Llama-3.1-70B']

        Raises:
                DataError: the catalogue has no such model.
            SpaceError: it does not take requests as long as the space's.

        """
        most = (catalog or load_catalog()).llm(llm).shape["max_context"]
        if most and self.scenario.longest_request > most:
            raise SpaceError(
                f"--model: {llm} takes contexts of up to {most} tokens, the space's longest request has "
                f"{self.scenario.longest_request:g}: a model that takes them, or a space of shorter requests"
            )
        first = self.scenario.workloads[0]
        total = sum(w.concurrency for w in self.scenario.workloads)
        load = replace(first, llm=llm, weight=1.0, concurrency=total)
        scenario = replace(self.scenario, workloads=(load,))
        return replace(self, scenario=scenario, reference_point={}).noted(f"--model {llm}")

    def with_traffic(self, traffic: str, catalog: Catalog | None = None) -> Space:
        """Return the space with one class of requests, of its own or of the catalogue.

        Raises:
            SpaceError: neither has one of that name.

        """
        catalog = catalog or load_catalog()
        kept = tuple(c for c in self.scenario.mix.classes if c.name == traffic)
        known = {c.name for c in self.scenario.mix.classes} | set(catalog.entries["traffic"])
        if traffic not in known:
            raise SpaceError(f"--traffic: got {traffic!r}, expected {nearest(traffic, known)}")
        mix = replace(self.scenario.mix, classes=kept)
        scenario = replace(self.scenario, mix=mix) if kept else with_traffic(self.scenario, catalog, traffic)
        return replace(self, scenario=scenario, reference_point={}).noted(f"--traffic {traffic}")

    def with_objectives(self, *names: str) -> Space:
        """Return the space judged by these objectives of its target.

        Raises:
            SpaceError: the target has no objective of that name.

        """
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise SpaceError(
                f"--objective: got {', '.join(twice)} more than once, expected every objective once"
            )
        for name in names:
            if name not in self.target.objectives:
                raise SpaceError(
                    f"--objective: got {name!r}, expected one of {', '.join(self.target.objectives)}"
                )
        kept = tuple(change for change in self.overrides if not change.startswith(OBJECTIVE))
        space = replace(self, objectives=tuple(names), overrides=kept)
        return space.noted(*(f"{OBJECTIVE}{name}" for name in names))

    def noted(self, *changes: str) -> Space:
        """Return the space with changes added to the list that a run records."""
        return replace(self, overrides=self.overrides + changes)

    def with_grid(self, **levels: Sequence[object]) -> Space:
        """Return the space with the levels of its grid set for some variables, in SI or as text with a unit.

        >>> from dse import load_space
        >>> load_space("datacenter").with_grid(domain=[8, 64]).variable("domain").grid
        (8.0, 64.0)

        Raises:
            SpaceError: no such variable, or a level outside its range or choices.

        """
        space = self
        for name, texts in levels.items():
            old = space.variable(name)
            parsed = tuple(dict.fromkeys(parse_value(old, t, "--grid") for t in texts))
            if not parsed:
                raise SpaceError(f"--grid: {name}: got no level, expected at least one")
            changed = tuple(replace(v, grid=parsed) if v.name == name else v for v in space.variables)
            said = ",".join(
                _said(float(f"{v:.12g}"), old.unit) if isinstance(v, float) else v for v in parsed
            )
            space = replace(space, variables=changed).noted(f"--grid {name}={said}")
        return space

    def on_grid(self) -> Space:
        """Return the space with every variable held to its coarse levels: what a sweep enumerates.

        Raises:
            SpaceError: a level of one variable leaves another, which hangs on it, without any.

        """
        held = []
        for v in self.variables:
            if v.discrete:
                kept = tuple(c for c in v.choices if not v.grid or c in v.grid)
                held.append(replace(v, choices=kept))
            elif v.grid:
                held.append(replace(v, kind="ordinal", choices=v.grid))
            else:
                held.append(v)
        for whole, v in zip(self.variables, held, strict=True):
            for earlier in held:
                for level in earlier.choices if v.discrete else ():
                    if whole.possible_with(earlier.name, level) and not v.possible_with(earlier.name, level):
                        raise SpaceError(
                            f"--grid: {v.name}: none of {_listed(v.choices)} is possible with "
                            f"{earlier.name} {_listed([level])}; add a level that is, or leave "
                            f"{_listed([level])} out of {earlier.name}"
                        )
        return replace(self, variables=tuple(held), overrides=(*self.overrides, COARSELY))

    def without(self, lever: Lever) -> Space:
        """Return the space with a lever locked off."""
        space = self
        for name, choices in lever.fixed.items():
            space = space.restrict(name, choices, reach=False)
        return space


def _listed(levels: Sequence[Value]) -> str:
    return ", ".join(level if isinstance(level, str) else f"{level:g}" for level in levels)
