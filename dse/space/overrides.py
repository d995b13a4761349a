"""Shipped spaces by name, and what a command line or a person changes about one."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dse.catalog.catalog import Catalog, load_catalog
from dse.core.errors import SpaceError
from dse.space.reader import read_space, space_text
from dse.space.space import OBJECTIVE, Space


@dataclass(frozen=True)
class Overrides:
    """What a command line changes about a space."""

    fix: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    model: str | None = None
    objectives: tuple[str, ...] = ()
    traffic: str | None = None
    year: float | None = None
    grid: tuple[str, ...] = ()
    """``coarse`` to hold the space to the levels of its grid, ``name=level,level`` to set those of a variable
    """


def load_space(name: str, overrides: Overrides | None = None, catalog: Catalog | None = None) -> Space:
    """Read a space and apply overrides, each recorded.

    >>> import dse
    >>> dse.load_space("mobile").target.name
    'mobile'

    Raises:
        SpaceError: the space or an override is at fault.

    """
    catalog = catalog or load_catalog()
    space = read_space(*space_text(name), catalog)
    return space if overrides is None else apply(space, overrides, catalog)


def apply(space: Space, o: Overrides, catalog: Catalog) -> Space:
    """Apply overrides to a space; the list of them travels with it."""
    for flag, texts in (("--fix", o.fix), ("--limit", o.limit)):
        names = [_pair(text, flag)[0] for text in texts]
        for name in sorted({n for n in names if names.count(n) > 1}):
            raise SpaceError(f"{flag} {name}: given {names.count(name)} times, expected once")
    for text in o.fix:
        name, value = _pair(text, "--fix")
        space = space.fix(**{name: value})
    _acts(space, [_pair(text, "--fix")[0] for text in o.fix])
    for text in o.limit:
        name, value = _pair(text, "--limit")
        space = space.limit(**{name: value})
    if o.model is not None:
        space = space.with_model(o.model, catalog)
    if o.traffic is not None:
        space = space.with_traffic(o.traffic, catalog)
    if o.year is not None:
        space = space.in_year(o.year)
    if o.objectives:
        space = space.with_objectives(*o.objectives)
    for text in o.grid:
        if text != COARSE:
            name, value = _pair(text, "--grid")
            space = space.with_grid(**{name: value.split(",")})
    return space.on_grid() if COARSE in o.grid else space


def _acts(space: Space, fixed: Sequence[str]) -> None:
    """Refuse to hold what no design has beside what else is held.

    Raises:
        SpaceError: a variable that is never active, and what keeps it so.

    """
    for name in fixed:
        for other, allowed in space.variable(name).active_if.items():
            left = space.variable(other).choices
            if left and not allowed & set(left):
                needs = ", ".join(sorted(map(str, allowed)))
                raise SpaceError(
                    f"--fix {name}: no design here has it: {other} is held to {', '.join(map(str, left))}, "
                    f"it needs one of {needs}; leave one of the two out"
                )


def _recorded(text: str, flag: str) -> dict[str, object]:
    """A change as an earlier version may have recorded it: a bare number is in SI."""
    name, value = _pair(text, flag)
    return {name: _number(value)}


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


COARSE: Final = "coarse"
"""the grid as the space has it"""


def read_grid(path: Path) -> tuple[str, ...]:
    """Read a grid file: a TOML list of levels for each variable named.

    Raises:
        SpaceError: it cannot be read, or holds something else.

    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpaceError(
            f"--grid {path}: cannot be read ({error}); expected 'coarse' or a TOML file"
        ) from error
    for name, levels in raw.items():
        plain = isinstance(levels, list) and levels and all(isinstance(x, str | int | float) for x in levels)
        if not plain or any(isinstance(x, bool) or "," in str(x) for x in levels):
            raise SpaceError(
                f'{path}: {name}: got {levels!r}, expected a list of levels, e.g. ["200 mm2", "400 mm2"]'
            )
    return tuple(f"{name}={','.join(map(str, levels))}" for name, levels in raw.items())


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name or not value:
        raise SpaceError(f"{flag}: got {text!r}, expected name=value")
    return name.strip(), value.strip()


def again(space: Space, texts: Sequence[str], catalog: Catalog) -> Space:
    """Apply recorded overrides to a space again, in the order in which they were applied.

    Raises:
        SpaceError: one is at fault, or of a kind that this version does not know.

    """
    objectives = tuple(text.removeprefix(OBJECTIVE) for text in texts if text.startswith(OBJECTIVE))
    for text in texts:
        flag, _, value = text.partition(" ")
        one = Overrides()
        match flag:
            case "--fix":
                space = space.fix(**_recorded(value, "--fix"))
                continue
            case "--limit":
                space = space.limit(**_recorded(value, "--limit"))
                continue
            case "--grid" if value != COARSE:
                name, levels = _pair(value, "--grid")
                space = space.with_grid(**{name: [_number(x) for x in levels.split(",")]})
                continue
            case "--grid":
                one = Overrides(grid=(value,))
            case "--model":
                one = Overrides(model=value)
            case "--traffic":
                one = Overrides(traffic=value)
            case "--year":
                one = Overrides(year=float(value))
            case "--objective":  # all of them are one change
                one, objectives = Overrides(objectives=objectives), ()
            case _:
                raise SpaceError(f"{space.name}: recorded override {text!r} is of no kind that is known")
        space = apply(space, one, catalog)
    return space
