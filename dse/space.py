"""Search spaces in TOML: variables with conditions, scenario, limits, levers and baselines.

Knows nothing of any sampler. A variable is *active* where its condition on earlier variables
holds, and a choice is *allowed* where its own needs hold; an inactive variable is absent.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

from dse.catalog import Catalog
from dse.errors import Faults, SpaceError, UnitError, nearest
from dse.units import convert, parse
from dse.workload import Mix, RequestClass

KINDS: Final = ("categorical", "ordinal", "int", "float")
Value = str | float

# SI unit of each design variable that carries one.
VARIABLE_UNITS: Final = {
    "compute_area": "m2", "sram": "B", "clock": "1/s", "pnm_flops": "FLOP/s", "link_bandwidth": "B/s",
    "npu_area": "m2", "npu_sram": "B", "npu_clock": "1/s", "dram_capacity": "B",
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
LIMIT_UNITS: Final = {
    "ttft": "s", "flash_life": "s", "rack_power": "W", "skin_temperature": "K", "burst_power": "W",
    "cold_start": "s", "z_height": "m", "dram_temperature": "K", "package_area": "m2",
    "package_power": "W", "carbon_per_mtoken": "kgCO2e", "cost_per_mtoken": "USD", "tpot": "s",
    "energy_per_token": "J",
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
    """One model of the scenario and how it is asked for."""

    llm: str
    weight: float
    concurrency: float
    weight_bits: float
    kv_bits: float
    compute_bits: float


@dataclass(frozen=True)
class Scenario:
    """What the machine must serve, when and where; numbers in SI."""

    software: str
    numbers: Mapping[str, float]
    mix: Mix
    workloads: tuple[Workload, ...]
    sources: Mapping[str, str]

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

    def variable(self, name: str) -> Variable:
        """Return a variable.

        Raises:
            SpaceError: there is none of that name.
        """
        for v in self.variables:
            if v.name == name:
                return v
        raise SpaceError(f"{self.name}: got variable {name!r}, expected {nearest(name, [v.name for v in self.variables])}")

    def restrict(self, name: str, choices: Sequence[Value]) -> Space:
        """Return the space with a variable held to ``choices`` (one choice fixes it)."""
        old = self.variable(name)
        if old.discrete:
            new = replace(old, choices=tuple(c for c in old.choices if c in choices), grid=())
            if not new.choices:
                raise SpaceError(f"{self.name}: {name}: got {list(choices)}, expected one of {list(old.choices)}")
        else:
            numbers = [float(c) for c in choices]
            if min(numbers) < old.low or max(numbers) > old.high:
                raise SpaceError(f"{self.name}: {name}: got {choices[0]!r}, expected {old.low:g} to {old.high:g} {old.unit}")
            new = replace(old, low=min(numbers), high=max(numbers), grid=tuple(numbers))
        space = replace(self, variables=tuple(new if v.name == name else v for v in self.variables))
        return space._possible(old, new) if len(new.choices) == 1 else space

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
            space = space.restrict(name, choices)
        return space


def parse_value(variable: Variable, text: object, where: str) -> Value:
    """Read one value of a variable as written by a person.

    Raises:
        SpaceError: not a choice, outside the range, or a wrong unit.
    """
    if variable.kind == "categorical":
        if str(text) not in variable.choices:
            raise SpaceError(f"{where}: {variable.name}: got {text!r}, expected {nearest(str(text), map(str, variable.choices))}")
        return str(text)
    try:
        number = parse(str(text), variable.unit)
    except UnitError as error:
        raise SpaceError(f"{where}: {variable.name}: {error}") from error
    if variable.kind == "ordinal":
        if number not in variable.choices:
            raise SpaceError(f"{where}: {variable.name}: got {text!r}, expected one of {', '.join(f'{c:g}' for c in variable.choices if not isinstance(c, str))}")
        return number
    slack = 1e-9 * max(abs(variable.low), abs(variable.high))
    if not variable.low - slack <= number <= variable.high + slack:
        raise SpaceError(f"{where}: {variable.name}: got {text!r}, expected {variable.low:g} to {variable.high:g} {variable.unit}")
    if variable.kind == "int" and number != int(number):
        raise SpaceError(f"{where}: {variable.name}: got {text!r}, expected a whole number")
    return number


class _Reader:
    """Turns the raw TOML of one space into a Space, gathering faults."""

    def __init__(self, raw: dict[str, Any], where: str) -> None:
        self.raw = raw
        self.faults = Faults(where)

    def keys(self, table: Mapping[str, Any], allowed: Sequence[str], prefix: str = "") -> None:
        for key in sorted(set(table) - set(allowed)):
            self.faults.add(prefix + key, table[key], nearest(key, allowed))

    def number(self, key: str, raw: object, unit: str) -> float:
        """A sourced number: ``{ value = 2, unit = "s", source = "..." }`` or ``value = "2 s"``."""
        if not isinstance(raw, dict):
            self.faults.add(key, raw, "a table with value, unit and source", f'{{ value = 1, unit = "{unit}", source = "..." }}')
            return math.nan
        self.keys(raw, ("value", "unit", "source"), key + ".")
        if not str(raw.get("source", "")).strip():
            self.faults.add(f"{key}.source", raw.get("source"), "where the number comes from", '"estimate: reason"')
        value = raw.get("value")
        try:
            if isinstance(value, str):
                return parse(value, unit)
            if isinstance(value, bool) or not isinstance(value, int | float):
                self.faults.add(f"{key}.value", value, f"a number in {unit}")
                return math.nan
            return convert(float(value), str(raw.get("unit", unit)), unit)
        except UnitError as error:
            self.faults.add(f"{key}.value", value, f"a finite number in {unit} ({error})")
            return math.nan

    def conditions(self, key: str, raw: object, known: Mapping[str, Variable]) -> dict[str, frozenset[Value]]:
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
            for value in values:
                if known[name].choices and value not in known[name].choices:
                    self.faults.add(f"{key}.{name}", value, f"a choice of {name}: {list(known[name].choices)}")
            out[name] = frozenset(values)
        return out

    def variable(self, name: str, raw: dict[str, Any], known: Mapping[str, Variable]) -> Variable:
        key = f"variables.{name}"
        self.keys(raw, ("kind", "choices", "low", "high", "log", "grid", "active_if", "needs"), key + ".")
        kind = raw.get("kind")
        if kind not in KINDS:
            self.faults.add(f"{key}.kind", kind, "one of " + ", ".join(KINDS))
            kind = "float"
        active = self.conditions(f"{key}.active_if", raw.get("active_if", {}), known)
        if kind in {"categorical", "ordinal"}:
            choices = tuple(raw.get("choices", ()))
            if not choices:
                self.faults.add(f"{key}.choices", raw.get("choices"), "a list with at least one choice")
            if kind == "ordinal":
                choices = tuple(self._edge(f"{key}.choices", c, name) for c in choices)
            by_text = {(f"{c:g}" if isinstance(c, float) else str(c)): c for c in choices}
            needs: dict[Value, Mapping[str, frozenset[Value]]] = {}
            for choice, need in raw.get("needs", {}).items():
                if str(choice) not in by_text:
                    self.faults.add(f"{key}.needs.{choice}", choice, f"a choice of {name}: {list(by_text)}")
                else:
                    needs[by_text[str(choice)]] = self.conditions(f"{key}.needs.{choice}", need, known)
            variable = Variable(name, kind, choices, active_if=active, needs=needs)
        else:
            low, high = self._edge(f"{key}.low", raw.get("low"), name), self._edge(f"{key}.high", raw.get("high"), name)
            if not low < high:
                self.faults.add(key, [raw.get("low"), raw.get("high")], "low below high")
            if raw.get("log") and not low > 0:
                self.faults.add(f"{key}.low", raw.get("low"), "a number above 0 on a log scale")
            variable = Variable(name, kind, low=low, high=high, log=bool(raw.get("log", False)), active_if=active)
        grid = []
        for item in raw.get("grid", ()):
            try:
                grid.append(parse_value(variable, item, key))
            except SpaceError as error:
                self.faults.lines.append(str(error).removeprefix(f"{key}: "))
        return replace(variable, grid=tuple(grid))

    def _edge(self, key: str, raw: object, name: str) -> float:
        try:
            return parse(str(raw), VARIABLE_UNITS.get(name, "1"))
        except UnitError as error:
            self.faults.add(key, raw, f"a finite number in {VARIABLE_UNITS.get(name, '1')} ({error})")
            return math.nan

    def scenario(self, raw: dict[str, Any], target: str) -> Scenario:
        units = SCENARIO_UNITS[target]
        self.keys(raw, ("software", "traffic", "workload", *units), "scenario.")
        numbers, sources = {}, {}
        for name, unit in units.items():
            if name not in raw:
                self.faults.add(f"scenario.{name}", None, f"a number in {unit}", f'{{ value = 1, unit = "{unit}", source = "..." }}')
            else:
                numbers[name] = self.number(f"scenario.{name}", raw[name], unit)
                sources[name] = str(raw[name].get("source", "")) if isinstance(raw[name], dict) else ""
        classes = []
        for i, item in enumerate(raw.get("traffic", [])):
            key = f"scenario.traffic[{i}]"
            self.keys(item, ("name", "share", "input_tokens", "output_tokens", "prefix_share", "prefix_reuse", "source"), key + ".")
            try:
                request = RequestClass(str(item["name"]), *(float(item[k]) for k in ("share", "input_tokens", "output_tokens")),
                                       float(item.get("prefix_share", 0.0)), float(item.get("prefix_reuse", 1.0)))  # fmt: skip
                ok = all(map(math.isfinite, (request.share, request.input_tokens, request.output_tokens, request.prefix_share)))
                if not ok or min(request.share, request.input_tokens, request.output_tokens, request.prefix_reuse) <= 0 or not 0 <= request.prefix_share < 1:
                    self.faults.add(key, item, "finite shares and token counts above 0, prefix_share in [0, 1)")
                else:
                    classes.append(request)
            except (KeyError, TypeError, ValueError):
                self.faults.add(key, item, "name, share, input_tokens, output_tokens")
        loads = []
        for i, item in enumerate(raw.get("workload", [])):
            key = f"scenario.workload[{i}]"
            self.keys(item, ("llm", "weight", "concurrency", "weight_bits", "kv_bits", "compute_bits", "source"), key + ".")
            try:
                numbers5 = [float(item[k]) for k in ("weight", "concurrency", "weight_bits", "kv_bits", "compute_bits")]
            except (KeyError, TypeError, ValueError):
                self.faults.add(key, item, "llm, weight, concurrency, weight_bits, kv_bits, compute_bits")
                continue
            if not all(math.isfinite(x) and x > 0 for x in numbers5):
                self.faults.add(key, item, "finite numbers above 0")
            loads.append(Workload(str(item.get("llm")), *numbers5))
        if not classes:
            self.faults.add("scenario.traffic", None, "at least one class of requests")
        if not loads:
            self.faults.add("scenario.workload", None, "at least one model")
        return Scenario(str(raw.get("software", "textbook")), numbers, Mix(tuple(classes)), tuple(loads), sources)

    def space(self, text: str, objectives: Sequence[str]) -> Space:
        raw = self.raw
        self.keys(raw, ("name", "title", "target", "objectives", "tpot_target", "scenario", "limits", "variables", "levers", "baseline"))
        target = raw.get("target")
        if target not in SCENARIO_UNITS:
            self.faults.add("target", target, "one of " + ", ".join(SCENARIO_UNITS))
            self.faults.raise_if_any(SpaceError)
        for name in raw.get("objectives", []):
            if name not in objectives:
                self.faults.add("objectives", name, nearest(str(name), objectives))
        if not raw.get("objectives"):
            self.faults.add("objectives", raw.get("objectives"), "at least one objective", '["tpot", "cost_per_mtoken"]')
        known: dict[str, Variable] = {}
        for name, item in raw.get("variables", {}).items():
            known[name] = self.variable(name, item, known)
        rungs = []
        for item in raw.get("tpot_target", []):
            try:
                rungs.append(parse(str(item), "s"))
            except UnitError as error:
                self.faults.add("tpot_target", item, str(error))
        if not rungs:
            self.faults.add("tpot_target", None, "a ladder of times per output token", '["10 ms", "50 ms"]')
        limits = {}
        for name, item in raw.get("limits", {}).items():
            if name not in LIMIT_UNITS:
                self.faults.add(f"limits.{name}", name, nearest(name, LIMIT_UNITS))
            else:
                limits[name] = self.number(f"limits.{name}", item, LIMIT_UNITS[name])
                if not limits[name] > 0:
                    self.faults.add(f"limits.{name}", item, "a number above 0")
        scenario = self.scenario(raw.get("scenario", {}), str(target))
        levers = tuple(self._lever(name, item, known) for name, item in raw.get("levers", {}).items())
        baselines = tuple(Baseline(str(b.get("device")), tuple(b.get("only", ()))) for b in raw.get("baseline", []))
        self.faults.raise_if_any(SpaceError)
        return Space(str(raw.get("name")), str(raw.get("title", "")), str(target), tuple(known.values()),
                     tuple(raw["objectives"]), tuple(sorted(rungs)), scenario, limits, levers, baselines, text=text)  # fmt: skip

    def _lever(self, name: str, raw: dict[str, Any], known: Mapping[str, Variable]) -> Lever:
        wanted = {str(raw.get("variable")): raw.get("off"), **raw.get("and", {})}
        fixed: dict[str, tuple[Value, ...]] = {}
        for variable, off in wanted.items():
            if variable not in known:
                self.faults.add(f"levers.{name}", variable, nearest(variable, known))
                continue
            values = tuple(float(v) if isinstance(v, int) else v for v in (off if isinstance(off, list) else [off]))
            for value in values:
                if known[variable].choices and value not in known[variable].choices:
                    self.faults.add(f"levers.{name}", value, f"a choice of {variable}: {list(known[variable].choices)}")
            fixed[variable] = values
        return Lever(name, fixed)


def space_text(name: str) -> tuple[str, str]:
    """Return the text of a space and where it was found: a path, or a shipped name.

    Raises:
        SpaceError: neither a file nor a shipped space.
    """
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SpaceError(f"{name}: cannot be read ({error})") from error
    shipped = {p.name.removesuffix(".toml"): p for p in shipped_spaces()}
    if name not in shipped:
        raise SpaceError(f"got space {name!r}, expected a .toml file or {nearest(name, shipped)}")
    return shipped[name].read_text(encoding="utf-8"), f"{name}.toml"


def shipped_spaces() -> list[Any]:
    """Return the shipped space files: inside the wheel, or beside the package in a checkout."""
    inside = resources.files("dse") / "search_spaces"
    if not inside.is_dir():
        inside = Path(__file__).resolve().parent.parent / "search_spaces"
    return sorted((p for p in inside.iterdir() if p.name.endswith(".toml")), key=lambda p: p.name)


def read_space(text: str, where: str, objectives: Sequence[str], catalog: Catalog) -> Space:
    """Read a space and check every name in it against the catalogue.

    Raises:
        SpaceError: every fault of the file, one line each.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpaceError(f"{where}: not valid TOML: {error}") from error
    space = _Reader(raw, where).space(text, objectives)
    faults = Faults(where)
    for load in space.scenario.workloads:
        if load.llm not in catalog.llms:
            faults.add("scenario.workload.llm", load.llm, nearest(load.llm, catalog.llms))
    for baseline in space.baselines:
        if baseline.device not in catalog.entries["device"]:
            faults.add("baseline.device", baseline.device, nearest(baseline.device, catalog.entries["device"]))
    if space.scenario.software not in catalog.entries["software"]:
        faults.add("scenario.software", space.scenario.software, nearest(space.scenario.software, catalog.entries["software"]))
    faults.raise_if_any(SpaceError)
    return space
