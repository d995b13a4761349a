"""Designs: columns of design variables, one row a machine, and how to draw and count them.

A discrete variable is an integer code (-1 absent), a number a float in SI (NaN absent).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dse.core.table import Table
from dse.core.units import BoolArray, FloatArray, IntArray, show
from dse.space.space import Space
from dse.space.variables import Value, Variable


@dataclass
class Design(Table):
    """n designs over the variables of a space: {name: codes (n,) or numbers (n,)}."""

    columns: dict[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def row_keys(self) -> list[bytes]:
        """One bytes key per row: equal keys are the same hardware."""
        packed = np.column_stack(
            [np.nan_to_num(np.asarray(c, dtype=np.float64), nan=-1.0) for c in self.columns.values()]
        )
        return [row.tobytes() for row in np.ascontiguousarray(packed)]


def _is(column: Any, variable: Variable, wanted: frozenset[Value]) -> BoolArray:
    """Where a column of ``variable`` takes one of the ``wanted`` values."""
    if variable.discrete:
        codes = [i for i, c in enumerate(variable.choices) if c in wanted]
        return np.isin(column, codes)
    return np.isin(column, [float(w) for w in wanted])


def active(space: Space, variable: Variable, columns: Mapping[str, Any], n: int) -> BoolArray:
    """Rows in which a variable is active, given the columns of earlier variables."""
    mask = np.ones(n, dtype=bool)
    for name, wanted in variable.active_if.items():
        mask &= _is(columns[name], space.variable(name), wanted)
    return mask


def allowed(space: Space, variable: Variable, columns: Mapping[str, Any], n: int) -> BoolArray:
    """Which choices are allowed, shape (n, choices)."""
    ok = np.ones((n, len(variable.choices)), dtype=bool)
    for i, choice in enumerate(variable.choices):
        for name, wanted in variable.needs.get(choice, {}).items():
            ok[:, i] &= _is(columns[name], space.variable(name), wanted)
    return ok


def encode(space: Space, rows: Sequence[Mapping[str, Value]]) -> Design:
    """Turn value dicts (as a person or a sampler writes them) into columns; missing is absent."""
    columns: dict[str, Any] = {}
    for v in space.variables:
        if v.discrete:
            code = {c: i for i, c in enumerate(v.choices)}
            columns[v.name] = np.array(
                [code.get(r[v.name], -1) if v.name in r else -1 for r in rows], dtype=np.int64
            )
        else:
            columns[v.name] = np.array([float(r.get(v.name, np.nan)) for r in rows], dtype=np.float64)
    return Design(columns)


def decode(space: Space, design: Design, row: int) -> dict[str, Value]:
    """Return the present variables of one row as plain values."""
    out: dict[str, Value] = {}
    for v in space.variables:
        x = design.columns[v.name][row]
        if v.discrete:
            if x >= 0:
                out[v.name] = v.choices[int(x)]
        elif not np.isnan(x):
            out[v.name] = int(x) if v.kind == "int" else float(x)
    return out


def unfit(space: Space, values: Mapping[str, Value]) -> list[str]:
    """Return active variables that ``values`` leaves out and inactive ones that it sets."""
    faults = []
    seen: dict[str, Value] = {}
    for v in space.variables:
        if not v.is_active(seen):
            if v.name in values:
                faults.append(f"{v.name}: set, but inactive here (needs {_conditions(v.active_if)})")
            continue
        if v.name not in values:
            faults.append(f"{v.name}: missing")
            continue
        if v.discrete and values[v.name] not in v.allowed(seen):
            faults.append(
                f"{v.name}: got {values[v.name]!r}, which needs {_conditions(v.needs[values[v.name]])}"
            )
        seen[v.name] = values[v.name]
    return faults


def _conditions(conditions: Mapping[str, frozenset[Value]]) -> str:
    return " and ".join(f"{n} {' or '.join(sorted(map(str, ok)))}" for n, ok in conditions.items())


def sample(space: Space, n: int, rng: np.random.Generator) -> Design:
    """Draw n random designs: uniform over allowed choices, log-uniform where the space says so."""
    columns: dict[str, Any] = {}
    for v in space.variables:
        on = active(space, v, columns, n)
        draw = rng.random(n)
        if v.discrete:
            ok = allowed(space, v, columns, n)
            rank = np.minimum((draw * ok.sum(axis=1)).astype(np.int64), ok.sum(axis=1) - 1)
            codes = np.argmax(np.cumsum(ok, axis=1) > rank[:, None], axis=1)
            columns[v.name] = np.where(on & ok.any(axis=1), codes, -1)
        else:
            columns[v.name] = np.where(on, _scale(v, draw), np.nan)
    return Design(columns)


def _scale(v: Variable, unit_draw: FloatArray) -> FloatArray:
    """Map [0, 1) onto the range of a number."""
    if v.kind == "int":
        return np.floor(v.low + unit_draw * (v.high - v.low + 1.0))
    if v.log:
        logs: FloatArray = np.exp(np.log(v.low) + unit_draw * (np.log(v.high) - np.log(v.low)))
        return logs
    return v.low + unit_draw * (v.high - v.low)


def grid(space: Space, block: int = 200_000) -> Iterator[Design]:
    """Enumerate the coarse grid of a space in blocks: every active combination, once.

    A variable without grid levels takes all its choices, or the middle of its range.
    """
    yield from _expand(space, {}, 1, 0, block)


def _levels(v: Variable) -> Any:
    if v.discrete:
        return np.array([i for i, c in enumerate(v.choices) if not v.grid or c in v.grid], dtype=np.int64)
    if v.grid:
        return np.array(v.grid, dtype=np.float64)
    return _scale(v, np.array([0.5]))


def _expand(space: Space, columns: dict[str, Any], n: int, depth: int, block: int) -> Iterator[Design]:
    for index in range(depth, len(space.variables)):
        v = space.variables[index]
        levels = _levels(v)
        on = active(space, v, columns, n)
        ok = np.tile(on[:, None], (1, len(levels)))
        if v.discrete:
            ok = ok & allowed(space, v, columns, n)[:, levels]
        none: BoolArray = np.logical_not(np.any(ok, axis=1))
        width = len(levels)
        spread = np.concatenate([ok, none[:, None]], axis=1)
        row, pick = np.nonzero(spread)
        empty: Any = -1 if v.discrete else np.nan
        padded = np.append(levels, np.array([empty], dtype=levels.dtype))
        columns = {name: c[row] for name, c in columns.items()}
        columns[v.name] = padded[np.minimum(pick, width)]
        n = len(row)
        if n > block and index + 1 < len(space.variables):
            for start in range(0, n, max(block // 8, 1)):
                part = slice(start, start + max(block // 8, 1))
                some = {name: c[part] for name, c in columns.items()}
                yield from _expand(space, some, len(next(iter(some.values()))), index + 1, block)
            return
    yield Design(columns)


def grid_size(space: Space) -> int:
    """Number of designs on the coarse grid."""
    return sum(len(d) for d in grid(space))


def codes(design: Design, name: str) -> IntArray:
    """Integer codes of a discrete variable, -1 where absent or unknown to the space."""
    column = design.columns.get(name)
    return np.full(len(design), -1, dtype=np.int64) if column is None else column


def levels(space: Space, designs: Sequence[Mapping[str, Value]]) -> dict[str, dict[str, float]]:
    """Share of designs at each level of the discrete variables that have more than one."""
    out: dict[str, dict[str, float]] = {}
    for v in space.variables:
        if v.kind == "float" or len(v.choices) == 1:
            continue
        values = [_level(d[v.name], v.unit) if v.name in d else "-" for d in designs]
        names, counts = np.unique(values, return_counts=True)
        ordered = sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda x: -x[1])
        out[v.name] = {n: c / len(designs) for n, c in ordered}
    return out


def _level(value: Value, unit: str) -> str:
    return value if isinstance(value, str) else f"{value:g}" if unit == "1" else show(float(value), unit)


def complete(space: Space, values: Mapping[str, Value]) -> dict[str, Value]:
    """Complete a partial design: a variable left out takes its first allowed choice or middle."""
    out: dict[str, Value] = {}
    for v in space.variables:
        if not v.is_active(out):
            if v.name in values:
                out[v.name] = values[v.name]  # reported as set but inactive
            continue
        if v.name in values:
            out[v.name] = values[v.name]
        elif v.discrete:
            allowed = v.allowed(out)
            out[v.name] = allowed[0]
        else:
            middle = (v.low * v.high) ** 0.5 if v.log else (v.low + v.high) / 2
            out[v.name] = float(round(middle)) if v.kind == "int" else middle
    return out
