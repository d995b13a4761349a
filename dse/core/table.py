"""Structs of arrays: records whose fields share a first axis of n rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dse.core.units import FloatArray

Rows = NDArray[np.intp] | NDArray[np.bool_] | slice


def _take(value: Any, rows: Rows) -> Any:
    if isinstance(value, np.ndarray):
        if value.strides[:1] == (0,) and not isinstance(rows, slice):  # rows that are all one stay one
            count = int(np.count_nonzero(rows)) if rows.dtype == np.bool_ else len(rows)
            return np.broadcast_to(value[:1], (count, *value.shape[1:]))
        return value[rows]
    if isinstance(value, Table):
        return value.take(rows)
    if isinstance(value, dict):
        return {k: _take(v, rows) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_take(v, rows) for v in value)
    return value


def _concat(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, np.ndarray):
        return np.concatenate(values)
    if isinstance(first, Table):
        return type(first).concat(values)
    if isinstance(first, dict):
        return {k: _concat([v[k] for v in values]) for k in first}
    if isinstance(first, tuple):
        return tuple(_concat([v[i] for v in values]) for i in range(len(first)))
    return first


class Table:
    """A dataclass of arrays with n rows; records, dicts and tuples of arrays nest."""

    def take(self, rows: Rows) -> Self:
        """Return the rows picked by an index array, mask or slice."""
        assert is_dataclass(self)  # noqa: S101 - every record of ours is one
        return replace(self, **{f.name: _take(getattr(self, f.name), rows) for f in fields(self)})

    @classmethod
    def concat(cls, tables: Sequence[Self]) -> Self:
        """Join tables of the same fields along the first axis."""
        first = tables[0]
        if len(tables) == 1:
            return first
        assert is_dataclass(first)  # noqa: S101 - every record of ours is one
        return replace(
            first, **{f.name: _concat([getattr(t, f.name) for t in tables]) for f in fields(first)}
        )


def total(parts: Iterable[FloatArray]) -> FloatArray:
    """Sum of arrays, in order."""
    out: FloatArray | None = None
    for part in parts:
        out = part if out is None else out + part
    return np.zeros(1) if out is None else out


def chunks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` rows that cover n rows."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
