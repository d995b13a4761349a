"""Read a search space from TOML: every fault of the file is gathered and told at once."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from dse.catalog.catalog import Catalog
from dse.core.errors import Faults, SpaceError, UnitError, nearest
from dse.core.units import parse, show
from dse.space.groups import groups_of, is_group, members
from dse.space.objectives import OBJECTIVES, Goal
from dse.space.questions import comparisons, what_ifs
from dse.space.references import check_names
from dse.space.scenario_reader import ScenarioReader
from dse.space.space import Baseline, Lever, Space
from dse.space.targets import TARGETS, Target
from dse.space.variables import KINDS, VARIABLE_UNITS, Value, Variable, parse_value

TABLES: Final = (
    "name",
    "title",
    "target",
    "objectives",
    "tpot_target",
    "scenario",
    "limits",
    "variables",
    "reference_point",
    "levers",
    "baseline",
    "what_if",
    "compare",
)
"""keys of a space file"""


THRESHOLDS: Final = {
    "s": (1e-6, 3.2e9),
    "W": (1e-3, 1e13),
    "J": (1e-9, 1e9),
    "USD": (1e-9, 1e15),
    "K": (200.0, 500.0),
    "m": (1e-5, 10.0),
}
"""least and most that a limit or a worst value may be, by its unit"""

SLOWEST: Final = 1e4
"""s; no time per output token is asked for beyond"""

MOST_BYTES: Final = 5_000_000
"""of a space file"""


class _Reader(ScenarioReader):
    """Turns the raw TOML of one space into a Space, gathering faults."""

    def conditions(self, key: str, raw: object, known: Mapping[str, Variable]) -> dict[str, frozenset[Value]]:
        """Read a table of earlier variables and the values each must have."""
        out: dict[str, frozenset[Value]] = {}
        if not isinstance(raw, dict):
            self.faults.add(key, raw, "a table of variable = [values]", "{ flash = ['hbf_gen1'] }")
            return out
        for name, values in raw.items():
            if name not in known:
                self.faults.add(f"{key}.{name}", name, "an earlier variable: " + nearest(name, known))
                continue
            if not isinstance(values, list):
                self.faults.add(f"{key}.{name}", values, "a list of values", "['hbf_gen1']")
                continue
            out[name] = frozenset(self.choices_of(f"{key}.{name}", known[name], values))
        return out

    def choices_of(self, key: str, variable: Variable, values: Sequence[Any]) -> list[Value]:
        """Choices of a variable that a list names, one by one or by group."""
        out: list[Value] = []
        for value in values:
            if is_group(value) and value not in variable.choices:
                found = members(variable, str(value), self.catalog)
                if not found:
                    groups = ", ".join(groups_of(variable, self.catalog))
                    self.faults.add(key, value, f"a group with a choice of {variable.name} in it: {groups}")
                out += found
            elif variable.choices and value not in variable.choices:
                listed = f"a choice of {variable.name}: {list(variable.choices)}"
                self.faults.add(
                    key, value, f"{listed}, or a group: {', '.join(groups_of(variable, self.catalog))}"
                )
            else:
                out.append(float(value) if isinstance(value, int) else value)
        return out

    def variable(self, name: str, raw: dict[str, Any], known: Mapping[str, Variable]) -> Variable:
        """Read one variable; ``known`` holds those above it, which its conditions may name."""
        key = f"variables.{name}"
        self.keys(raw, ("kind", "choices", "low", "high", "log", "grid", "active_if", "needs"), key + ".")
        kind = raw.get("kind")
        if kind not in KINDS:
            self.faults.add(f"{key}.kind", kind, "one of " + ", ".join(KINDS))
            kind = "float"
        active = self.conditions(f"{key}.active_if", raw.get("active_if", {}), known)
        if kind in {"categorical", "ordinal"}:
            choices = tuple(self.listed(f"{key}.choices", raw.get("choices", [])))
            if len({str(c) for c in choices}) < len(choices):
                self.faults.add(f"{key}.choices", raw["choices"], "every choice once")
            if kind == "categorical" and not all(isinstance(c, str) for c in choices):
                self.faults.add(f"{key}.choices", raw["choices"], 'words, or kind = "ordinal" for numbers')
            if not choices:
                self.faults.add(f"{key}.choices", raw.get("choices"), "a list with at least one choice")
            if kind == "ordinal":
                choices = tuple(self._edge(f"{key}.choices", c, name) for c in choices)
            by_text = {(f"{c:g}" if isinstance(c, float) else str(c)): c for c in choices}
            needs: dict[Value, Mapping[str, frozenset[Value]]] = {}
            for choice, need in self.tables(f"{key}.needs", raw.get("needs", {})).items():
                if str(choice) not in by_text:
                    self.faults.add(f"{key}.needs.{choice}", choice, f"a choice of {name}: {list(by_text)}")
                else:
                    needs[by_text[str(choice)]] = self.conditions(f"{key}.needs.{choice}", need, known)
            variable = Variable(name, kind, choices, active_if=active, needs=needs)
        else:
            low, high = (
                self._edge(f"{key}.low", raw.get("low"), name),
                self._edge(f"{key}.high", raw.get("high"), name),
            )
            if low >= high:
                self.faults.add(key, [raw.get("low"), raw.get("high")], "low below high")
            if raw.get("log") and low <= 0:
                self.faults.add(f"{key}.low", raw.get("low"), "a number above 0 on a log scale")
            variable = Variable(
                name, kind, low=low, high=high, log=bool(raw.get("log", False)), active_if=active
            )
        grid: list[Value] = []
        if any(
            math.isnan(n) for n in (variable.low, variable.high, *variable.choices) if isinstance(n, float)
        ):
            return variable  # said already
        for item in self.listed(f"{key}.grid", raw.get("grid", [])):
            try:
                grid.append(parse_value(variable, str(item), key))
            except SpaceError as error:
                self.faults.lines.append(str(error).replace(f"{key}: {name}:", f"{key}.grid:"))
        return replace(variable, grid=tuple(grid))

    def _edge(self, key: str, raw: object, name: str) -> float:
        unit = VARIABLE_UNITS.get(name, "1")
        try:
            return parse(str(raw), unit)
        except UnitError as error:
            wanted = f"a finite number in {unit}" if unit != "1" else "a finite number"
            close = "" if name in VARIABLE_UNITS else f"; with a unit: {nearest(name, VARIABLE_UNITS)}"
            self.faults.add(key, raw, f"{wanted} ({error}{close})")
            return math.nan

    def space(self, text: str) -> Space:
        """Read the whole file."""
        raw = self.raw
        self.keys(raw, TABLES)
        named = str(raw.get("target", ""))
        if named not in TARGETS:
            self.faults.add("target", named, "one of " + ", ".join(TARGETS))
            self.faults.raise_if_any(SpaceError)
        target = TARGETS[named]
        goals = [str(name) for name in self.listed("objectives", raw.get("objectives", []))]
        self._objectives(goals, target)
        self._names(raw.get("name"), raw.get("title", ""))
        known: dict[str, Variable] = {}
        for name, item in self.tables("variables", raw.get("variables", {})).items():
            known[name] = self.variable(name, self.tables(f"variables.{name}", item), known)
        if not known:
            self.faults.add("variables", None, "at least one design variable")
        rungs = self._ladder(self.listed("tpot_target", raw.get("tpot_target", [])))
        limits = self._limits(self.tables("limits", raw.get("limits", {})), target)
        reference = self._reference(self.tables("reference_point", raw.get("reference_point", {})), target)
        slowest = reference.get(Goal.TPOT, math.inf)
        if rungs and slowest < min(rungs):
            self.faults.add(
                "reference_point.tpot",
                show(slowest, "s"),
                f"at least the fastest target, {show(min(rungs), 's')}",
            )
        scenario = self.scenario(self.tables("scenario", raw.get("scenario", {})), target)
        levers = tuple(
            self._lever(name, self.tables(f"levers.{name}", item), known)
            for name, item in self.tables("levers", raw.get("levers", {})).items()
        )
        baselines = tuple(self._baselines(raw.get("baseline", [])))
        asked = what_ifs(raw.get("what_if"), known, self.catalog, self.faults)
        beside = comparisons(raw.get("compare"), self.catalog, self.faults)
        self.faults.raise_if_any(SpaceError)
        return Space(
            name=str(raw["name"]),
            title=str(raw.get("title", "")),
            target=target,
            variables=tuple(known.values()),
            objectives=tuple(raw["objectives"]),
            tpot_targets=tuple(sorted(rungs)),
            scenario=scenario,
            thresholds=limits,
            levers=levers,
            baselines=baselines,
            text=text,
            what_ifs=asked,
            comparisons=beside,
            reference_point=reference,
        )

    def _objectives(self, goals: Sequence[str], target: Target) -> None:
        for name in goals:
            if name not in target.objectives:
                self.faults.add("objectives", name, nearest(name, target.objectives))
        twice = sorted({n for n in goals if goals.count(n) > 1})
        if twice:
            self.faults.add("objectives", twice, "every objective once")
        if not goals:
            self.faults.add("objectives", None, "at least one objective", '["tpot", "cost_per_mtoken"]')

    def _names(self, name: object, title: object) -> None:
        if not isinstance(title, str):
            self.faults.add("title", title, "words")
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
            self.faults.add("name", name, "letters, digits, dots and dashes", '"my-space"')

    def _baselines(self, raw: object) -> Iterator[Baseline]:
        """Machines that exist, each for all models or for some."""
        for i, item in enumerate(self.listed("baseline", raw)):
            table = self.tables(f"baseline[{i}]", item)
            self.keys(table, ("device", "only"), f"baseline[{i}].")
            only = self.listed(f"baseline[{i}].only", table.get("only", []))
            yield Baseline(str(table.get("device")), tuple(str(name) for name in only))

    def _ladder(self, items: Sequence[Any]) -> list[float]:
        """TPOT targets [s]."""
        rungs = []
        for item in items:
            try:
                seconds = parse(str(item), "s")
            except UnitError as error:
                self.faults.add("tpot_target", item, str(error))
                continue
            if not 0 < seconds <= SLOWEST:
                self.faults.add("tpot_target", item, f"a time above 0 and up to {SLOWEST:g} s")
            elif seconds in rungs:
                self.faults.add("tpot_target", item, "every target once")
            rungs.append(seconds)
        if not rungs:
            self.faults.add("tpot_target", None, "a ladder of times per output token", '["10 ms", "50 ms"]')
        return rungs

    def _reference(self, items: Mapping[str, Any], target: Target) -> dict[str, float]:
        """Worst values of objectives that count, SI."""
        out = {}
        for name, item in items.items():
            if name not in target.objectives:
                self.faults.add(f"reference_point.{name}", name, nearest(name, target.objectives))
                continue
            out[name] = self._bounded(f"reference_point.{name}", item, OBJECTIVES[name].unit)
        return out

    def _bounded(self, key: str, item: object, unit: str) -> float:
        """A sourced number above 0, within what its unit can mean here."""
        value = self.number(key, item, unit)
        low, high = THRESHOLDS.get(unit, (0.0, math.inf))
        if not math.isnan(value) and not (value > 0 and low <= value <= high):
            told = "a number above 0" if value <= 0 else f"from {show(low, unit)} to {show(high, unit)}"
            self.faults.add(key, show(value, unit), told)
        return value

    def _limits(self, items: Mapping[str, Any], target: Target) -> dict[str, float]:
        """Thresholds by name, SI."""
        limits = {}
        for name, item in items.items():
            if name not in target.thresholds:
                self.faults.add(f"limits.{name}", name, nearest(name, target.thresholds))
            else:
                limits[name] = self._bounded(f"limits.{name}", item, target.threshold_unit(name))
        for name in target.required_thresholds:
            if name not in limits:
                self.faults.add(f"limits.{name}", None, f"a number in {target.threshold_unit(name)}")
        return limits

    def _lever(self, name: str, raw: dict[str, Any], known: Mapping[str, Variable]) -> Lever:
        self.keys(raw, ("variable", "off", "and"), f"levers.{name}.")
        wanted = {
            str(raw.get("variable")): raw.get("off"),
            **self.tables(f"levers.{name}.and", raw.get("and", {})),
        }
        fixed: dict[str, tuple[Value, ...]] = {}
        for variable, off in wanted.items():
            if variable not in known:
                self.faults.add(f"levers.{name}", variable, nearest(variable, known))
                continue
            listed = off if isinstance(off, list) else [off]
            found = tuple(self.choices_of(f"levers.{name}", known[variable], listed))
            if variable == str(raw.get("variable")) and found and set(found) >= set(known[variable].choices):
                self.faults.add(f"levers.{name}.off", off, f"not all choices of {variable}: some must be on")
            fixed[variable] = found
        return Lever(name, fixed)


def space_text(name: str) -> tuple[str, str]:
    """Return the text of a space and where it was found: a path, or a shipped name.

    Raises:
        SpaceError: neither a file nor a shipped space.

    """
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        try:
            if path.is_file() and path.stat().st_size > MOST_BYTES:
                raise SpaceError(
                    f"{name}: {path.stat().st_size} bytes, expected a space of at most {MOST_BYTES}"
                )
            return path.read_text(encoding="utf-8-sig"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SpaceError(f"{name}: cannot be read ({error})") from error
    if path.name == name and (shipped_folder() / f"{name}.toml").is_file():
        return (shipped_folder() / f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml"
    shipped = [p.name.removesuffix(".toml") for p in shipped_spaces()]
    raise SpaceError(f"got space {name!r}, expected a .toml file or {nearest(name, shipped)}")


@cache
def shipped_folder() -> Any:
    """Where the shipped spaces are: inside the wheel, or beside the package in a checkout."""
    inside = resources.files("dse") / "search_spaces"
    return inside if inside.is_dir() else Path(__file__).resolve().parent.parent.parent / "search_spaces"


def shipped_spaces() -> list[Any]:
    """Return the shipped space files."""
    return sorted((p for p in shipped_folder().iterdir() if p.name.endswith(".toml")), key=lambda p: p.name)


def read_space(text: str, where: str, catalog: Catalog) -> Space:
    """Read a space and check every name in it against the catalogue.

    Raises:
        SpaceError: every fault of the file, one line each.

    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpaceError(f"{where}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise SpaceError(f"{where}: nested too deeply, expected tables of a few levels") from error
    space = _Reader(raw, where, catalog).space(text)
    faults = Faults(where)
    check_names(space, catalog, faults)
    faults.raise_if_any(SpaceError)
    return space
