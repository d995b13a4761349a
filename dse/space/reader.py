"""Read a search space from TOML: every fault of the file is gathered and told at once."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from dse.catalog.catalog import Catalog
from dse.core.errors import DataError, Faults, SpaceError, UnitError, nearest
from dse.core.units import convert, parse
from dse.space.objectives import OBJECTIVES
from dse.space.questions import comparisons, what_ifs
from dse.space.references import check_names, read_site
from dse.space.request_classes import DECODING, traffic_values
from dse.space.scenario import ModelLoad, RequestClass, RequestMix, Scenario
from dse.space.space import Baseline, Lever, Space
from dse.space.targets import SCENARIO_UNITS, TARGETS, Target
from dse.space.variables import KINDS, VARIABLE_UNITS, Value, Variable, parse_value

COMPUTE_BITS = (0.0, 4.0, 8.0, 16.0)


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


class _Reader:
    """Turns the raw TOML of one space into a Space, gathering faults."""

    def __init__(self, raw: dict[str, Any], where: str, catalog: Catalog) -> None:
        self.raw, self.catalog = raw, catalog
        self.faults = Faults(where)

    def keys(self, table: Mapping[str, Any], allowed: Sequence[str], prefix: str = "") -> None:
        for key in sorted(set(table) - set(allowed)):
            self.faults.add(prefix + key, table[key], nearest(key, allowed))

    def number(self, key: str, raw: object, unit: str) -> float:
        """A sourced number: ``{ value = 2, unit = "s", source = "..." }`` or ``value = "2 s"``."""
        if not isinstance(raw, dict):
            self.faults.add(
                key,
                raw,
                "a table with value, unit and source",
                f'{{ value = 1, unit = "{unit}", source = "..." }}',
            )
            return math.nan
        self.keys(raw, ("value", "unit", "source"), key + ".")
        if not str(raw.get("source", "")).strip():
            self.faults.add(
                f"{key}.source", raw.get("source"), "where the number comes from", '"estimate: reason"'
            )
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
            for value in values:
                if known[name].choices and value not in known[name].choices:
                    self.faults.add(
                        f"{key}.{name}", value, f"a choice of {name}: {list(known[name].choices)}"
                    )
            out[name] = frozenset(values)
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
            low, high = (
                self._edge(f"{key}.low", raw.get("low"), name),
                self._edge(f"{key}.high", raw.get("high"), name),
            )
            if not low < high:
                self.faults.add(key, [raw.get("low"), raw.get("high")], "low below high")
            if raw.get("log") and not low > 0:
                self.faults.add(f"{key}.low", raw.get("low"), "a number above 0 on a log scale")
            variable = Variable(
                name, kind, low=low, high=high, log=bool(raw.get("log", False)), active_if=active
            )
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

    def scenario(self, raw: dict[str, Any], target: Target) -> Scenario:
        """Read the scenario: workloads, traffic, and numbers with their sources."""
        self.keys(
            raw,
            (
                "software",
                "grid",
                "body",
                "traffic",
                "workload",
                "context_parallel",
                *target.scenario,
                *target.scenario_optional,
            ),
            "scenario.",
        )
        if not isinstance(raw.get("context_parallel", False), bool):
            self.faults.add("scenario.context_parallel", raw["context_parallel"], "true or false")
        numbers, sources = {}, {}
        for name in (*target.scenario, *target.scenario_optional):
            unit = SCENARIO_UNITS[name]
            if name not in raw and name in target.scenario:
                self.faults.add(
                    f"scenario.{name}",
                    None,
                    f"a number in {unit}",
                    f'{{ value = 1, unit = "{unit}", source = "..." }}',
                )
            elif name in raw:
                numbers[name] = self.number(f"scenario.{name}", raw[name], unit)
                sources[name] = str(raw[name].get("source", "")) if isinstance(raw[name], dict) else ""
        classes, drawn = self._traffic(raw.get("traffic", []))
        loads = [
            w
            for i, item in enumerate(raw.get("workload", []))
            if (w := self._workload(i, item, drawn)) is not None
        ]
        if "routing_skew" in drawn:
            numbers["routing_skew"] = drawn["routing_skew"]
        if not classes:
            self.faults.add("scenario.traffic", None, "at least one class of requests")
        if not loads:
            self.faults.add("scenario.workload", None, "at least one model")
        grid, body = read_site(raw, target, self.catalog, self.faults)
        return Scenario(
            software=str(raw.get("software", "textbook")),
            numbers=numbers,
            mix=RequestMix(tuple(classes)),
            workloads=tuple(loads),
            sources=sources,
            context_parallel=raw.get("context_parallel", False) is True,
            electricity_grid=grid,
            body=body,
        )

    def _traffic(self, items: Sequence[Any]) -> tuple[list[RequestClass], dict[str, float]]:
        """Classes of requests, and what the catalogue's classes say of the workloads they go to."""
        fields = tuple(f.name for f in dataclass_fields(RequestClass))
        classes: list[RequestClass] = []
        said: list[tuple[float, dict[str, float]]] = []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            self.faults.add(
                "scenario.traffic",
                items,
                "tables [[scenario.traffic]] with use = and share =",
                'use = "chat"',
            )
            return [], {}
        for i, item in enumerate(items):
            key = f"scenario.traffic[{i}]"
            self.keys(item, (*fields, "use", "source"), key + ".")
            known: dict[str, float] = {}
            if "use" in item:
                try:
                    known = traffic_values(self.catalog, str(item["use"]))
                except DataError as error:
                    self.faults.add(f"{key}.use", item["use"], str(error))
                    continue
            try:
                own = {k: float(item[k]) for k in fields if k in item and k != "name"}
                values = {k: v for k, v in known.items() if k in fields} | own
                request = RequestClass(str(item.get("name", item.get("use"))), **values)
            except (KeyError, TypeError, ValueError):
                self.faults.add(key, item, "name, share, input_tokens, output_tokens; or use and share")
                continue
            sizes = (request.share, request.input_tokens, request.output_tokens, request.prefix_reuse)
            spreads = (request.input_spread, request.output_spread)
            if (
                not all(map(math.isfinite, (*sizes, *spreads, request.prefix_share)))
                or min(sizes) <= 0
                or min(spreads) < 0
                or not 0 <= request.prefix_share < 1
            ):
                self.faults.add(
                    key,
                    item,
                    "finite shares and token counts above 0, prefix_share in [0, 1), spreads not below 0",
                )
                continue
            classes.append(request)
            said.append((request.share, {k: v for k, v in known.items() if k not in fields}))
        return classes, self._agreed(said)

    def _agreed(self, said: Sequence[tuple[float, dict[str, float]]]) -> dict[str, float]:
        """Means over the classes of concurrency and skew; how tokens are won must be the same for all."""
        out: dict[str, float] = {}
        for name in ("concurrency", "routing_skew"):
            found = [(share, k[name]) for share, k in said if name in k]
            if found:
                out[name] = sum(s * v for s, v in found) / sum(s for s, _ in found)
        for name in DECODING:
            values = {k.get(name, 0.0) for _, k in said}
            if len(values) > 1:
                self.faults.add(
                    "scenario.traffic",
                    sorted(values),
                    f"classes that agree in {name}; or set {name} on the workload",
                    "one class alone",
                )
            elif values and max(values) > 0:
                out[name] = values.pop()
        return out

    def _workload(self, i: int, item: dict[str, Any], drawn: Mapping[str, float]) -> ModelLoad | None:
        """One model and its precision; concurrency and drafting may come from the traffic."""
        key = f"scenario.workload[{i}]"
        names = tuple(f.name for f in dataclass_fields(ModelLoad))
        self.keys(item, (*names, "source"), key + ".")
        needed = ("weight", "concurrency", "weight_bits", "kv_bits", "compute_bits")
        given = {k: v for k, v in drawn.items() if k in names} | {
            k: v for k, v in item.items() if k in names and k != "llm"
        }
        values: dict[str, Any] = {}
        for k, v in given.items():
            if isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) or v < 0:
                self.faults.add(f"{key}.{k}", v, "a finite number not below 0")
            elif k.endswith("compute_bits") and v not in COMPUTE_BITS:
                self.faults.add(f"{key}.{k}", v, "4, 8 or 16")
            elif k.endswith("_bits") and not (1 <= v <= 32 or (v == 0 and k not in needed)):
                self.faults.add(f"{key}.{k}", v, "1 to 32 bits")
            else:
                values[k] = float(v)
        missing = [k for k in needed if k not in given or (k in values and values[k] == 0)]
        if missing:
            self.faults.add(key, item, f"a number above 0 for {', '.join(missing)}")
        if any(k not in values for k in needed) or missing:
            return None
        self._decoding(key, values)
        return ModelLoad(str(item.get("llm")), **values)

    def _decoding(self, key: str, values: Mapping[str, float]) -> None:
        """Drafting and diffusion: each complete, one of them, and no more tokens than positions."""
        draft, accept, block, won = (values.get(k, 0.0) for k in DECODING)
        if (draft > 0) != (accept > 0) or accept > 1:
            self.faults.add(
                f"{key}.acceptance", accept, "draft_tokens and acceptance together, acceptance a share"
            )
        if (block > 0) != (won > 0) or won > block:
            self.faults.add(
                f"{key}.tokens_per_pass",
                won,
                f"block_tokens and tokens_per_pass together, at most the {block:g} positions of a block",
            )
        if draft > 0 and block > 0:
            self.faults.add(f"{key}.block_tokens", block, "drafting or diffusion, not both")

    def space(self, text: str) -> Space:
        """Read the whole file."""
        raw = self.raw
        self.keys(raw, TABLES)
        named = str(raw.get("target", ""))
        if named not in TARGETS:
            self.faults.add("target", named, "one of " + ", ".join(TARGETS))
            self.faults.raise_if_any(SpaceError)
        target = TARGETS[named]
        for name in raw.get("objectives", []):
            if name not in target.objectives:
                self.faults.add("objectives", name, nearest(str(name), target.objectives))
        if not raw.get("objectives"):
            self.faults.add(
                "objectives", raw.get("objectives"), "at least one objective", '["tpot", "cost_per_mtoken"]'
            )
        known: dict[str, Variable] = {}
        for name, item in raw.get("variables", {}).items():
            known[name] = self.variable(name, item, known)
        rungs = self._ladder(raw.get("tpot_target", []))
        limits = self._limits(raw.get("limits", {}), target)
        reference = self._reference(raw.get("reference_point", {}), target)
        scenario = self.scenario(raw.get("scenario", {}), target)
        levers = tuple(self._lever(name, item, known) for name, item in raw.get("levers", {}).items())
        baselines = tuple(
            Baseline(str(b.get("device")), tuple(b.get("only", ()))) for b in raw.get("baseline", [])
        )
        asked = what_ifs(raw.get("what_if"), known, self.catalog, self.faults)
        beside = comparisons(raw.get("compare"), self.catalog, self.faults)
        self.faults.raise_if_any(SpaceError)
        return Space(
            name=str(raw.get("name")),
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

    def _ladder(self, items: Sequence[Any]) -> list[float]:
        """TPOT targets [s]."""
        rungs = []
        for item in items:
            try:
                rungs.append(parse(str(item), "s"))
            except UnitError as error:
                self.faults.add("tpot_target", item, str(error))
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
            out[name] = self.number(f"reference_point.{name}", item, OBJECTIVES[name].unit)
            if not out[name] > 0:
                self.faults.add(f"reference_point.{name}", item, "a number above 0")
        return out

    def _limits(self, items: Mapping[str, Any], target: Target) -> dict[str, float]:
        """Thresholds by name, SI."""
        limits = {}
        for name, item in items.items():
            if name not in target.thresholds:
                self.faults.add(f"limits.{name}", name, nearest(name, target.thresholds))
            else:
                limits[name] = self.number(f"limits.{name}", item, target.threshold_unit(name))
                if not limits[name] > 0:
                    self.faults.add(f"limits.{name}", item, "a number above 0")
        for name in target.required_thresholds:
            if name not in limits:
                self.faults.add(f"limits.{name}", None, f"a number in {target.threshold_unit(name)}")
        return limits

    def _lever(self, name: str, raw: dict[str, Any], known: Mapping[str, Variable]) -> Lever:
        wanted = {str(raw.get("variable")): raw.get("off"), **raw.get("and", {})}
        fixed: dict[str, tuple[Value, ...]] = {}
        for variable, off in wanted.items():
            if variable not in known:
                self.faults.add(f"levers.{name}", variable, nearest(variable, known))
                continue
            values = tuple(
                float(v) if isinstance(v, int) else v for v in (off if isinstance(off, list) else [off])
            )
            for value in values:
                if known[variable].choices and value not in known[variable].choices:
                    self.faults.add(
                        f"levers.{name}", value, f"a choice of {variable}: {list(known[variable].choices)}"
                    )
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
    space = _Reader(raw, where, catalog).space(text)
    faults = Faults(where)
    check_names(space, catalog, faults)
    faults.raise_if_any(SpaceError)
    return space
