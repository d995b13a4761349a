"""Shipped spaces by name, and what a command line or a person changes about one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dse.catalog.catalog import Catalog, load_catalog
from dse.core.errors import SpaceError, nearest
from dse.space.reader import read_space, space_text
from dse.space.request_classes import with_traffic
from dse.space.space import Space
from dse.space.variables import parse_value


@dataclass(frozen=True)
class Overrides:
    """What a command line changes about a space."""

    fix: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    model: str | None = None
    objectives: tuple[str, ...] = ()
    traffic: str | None = None
    year: float | None = None
    grid: bool = False


def load_space(name: str, overrides: Overrides | None = None, catalog: Catalog | None = None) -> Space:
    """Read a space and apply overrides, each recorded.

    Raises:
        SpaceError: the space or an override is at fault.

    """
    catalog = catalog or load_catalog()
    space = read_space(*space_text(name), catalog)
    return space if overrides is None else apply(space, overrides, catalog)


def apply(space: Space, o: Overrides, catalog: Catalog) -> Space:
    """Apply overrides to a space; the list of them travels with it."""
    done: list[str] = []
    for text in o.fix:
        name, value = _pair(text, "--fix")
        space = space.restrict(name, [parse_value(space.variable(name), value, "--fix")])
        done.append(f"--fix {text}")
    for text in o.limit:
        space = _limited(space, *_pair(text, "--limit"))
        done.append(f"--limit {text}")
    if o.model is not None:
        catalog.llm(o.model)
        first = space.scenario.workloads[0]
        total = sum(w.concurrency for w in space.scenario.workloads)
        load = replace(first, llm=o.model, weight=1.0, concurrency=total)
        space = replace(space, scenario=replace(space.scenario, workloads=(load,)))
        done.append(f"--model {o.model}")
    if o.traffic is not None:
        kept = tuple(c for c in space.scenario.mix.classes if c.name == o.traffic)
        names = [c.name for c in space.scenario.mix.classes]
        if not kept and o.traffic not in catalog.entries["traffic"]:
            raise SpaceError(
                f"--traffic: got {o.traffic!r}, expected {nearest(o.traffic, {*names, *catalog.entries['traffic']})}"
            )
        mix = replace(space.scenario.mix, classes=kept)
        scenario = replace(space.scenario, mix=mix) if kept else with_traffic(space.scenario, catalog, o.traffic)
        space = replace(space, scenario=scenario)
        done.append(f"--traffic {o.traffic}")
    if o.year is not None:
        if not 2000 <= o.year <= 2100:
            raise SpaceError(f"--year: got {o.year:g}, expected a year from 2000 to 2100")
        numbers = {**space.scenario.numbers, "year": float(o.year)}
        space = replace(space, scenario=replace(space.scenario, numbers=numbers))
        done.append(f"--year {o.year:g}")
    if o.objectives:
        for name in o.objectives:
            if name not in space.target.objectives:
                known = ", ".join(space.target.objectives)
                raise SpaceError(f"--objective: got {name!r}, expected one of {known}")
        space = replace(space, objectives=tuple(o.objectives))
        done += [f"--objective {x}" for x in o.objectives]
    space = replace(space, overrides=space.overrides + tuple(done))
    return space.on_grid() if o.grid else space


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name or not value:
        raise SpaceError(f"{flag}: got {text!r}, expected name=value")
    return name.strip(), value.strip()


def _limited(space: Space, name: str, value: str) -> Space:
    from dse.core.errors import UnitError
    from dse.core.units import parse

    if name not in space.target.thresholds:
        raise SpaceError(f"--limit: got {name!r}, expected {nearest(name, space.target.thresholds)}")
    try:
        number = parse(value, space.target.threshold_unit(name))
    except UnitError as error:
        raise SpaceError(f"--limit {name}: {error}") from error
    if number <= 0:
        raise SpaceError(f"--limit {name}: got {value!r}, expected a number above 0")
    return replace(space, thresholds={**space.thresholds, name: number})


def overrides_of(texts: list[str]) -> Overrides:
    """Read recorded overrides back."""
    found: dict[str, list[str]] = {}
    for text in texts:
        flag, _, value = text.partition(" ")
        found.setdefault(flag.removeprefix("--"), []).append(value)
    return Overrides(tuple(found.get("fix", ())), tuple(found.get("limit", ())), found["model"][0] if "model" in found else None,
                     tuple(found.get("objective", ())), found["traffic"][0] if "traffic" in found else None,
                     float(found["year"][0]) if "year" in found else None, "grid" in found)  # fmt: skip
