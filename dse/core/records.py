"""Flat records that compiled code and plain Python read alike.

A record is declared once, as a class of annotated fields: types for readers and mypy, and the structured
dtype that compiled code reads. The same functions take rows of either form: of a record array, as compiled
code does, or ``plain`` rows of Python numbers, which plain Python reads ten times faster.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import numpy as np


@cache
def dtype_of(record: type) -> np.dtype[Any]:
    """The structured dtype of a record class."""
    fields: list[tuple[Any, ...]] = []
    for name, hint in get_type_hints(record, include_extras=True).items():
        kind, *shape = get_args(hint) or (hint,)
        whole = kind is int or get_args(kind)[:1] == (int,)
        code = np.int64 if whole else np.float64
        fields.append((name, code, shape[0]) if shape else (name, code))
    return np.dtype(fields, align=True)


def empty(record: type, *shape: int) -> Any:
    """Rows of zeros of a record class."""
    return np.zeros(shape, dtype_of(record)).view(np.recarray)


def filled(record: type, rows: int, columns: dict[str, Any]) -> Any:
    """Rows of a record class from columns; a column of one number fills all rows."""
    out = np.zeros(rows, dtype_of(record))  # a record array builds a view for every field written
    for name in out.dtype.names or ():
        out[name] = columns[name]
    return out.view(np.recarray)


def plain(row: Any) -> Any:
    """A row as Python numbers and lists: what plain Python reads fastest."""
    values = zip(row.dtype.names, row.item(), strict=True)
    return SimpleNamespace(**{n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in values})


def require_finite(rows: Any, what: str) -> None:
    """Refuse rows with a number that is not finite: compiled code itself says nothing of 0 / 0.

    Raises:
        FloatingPointError: the first field that has one.

    """
    if np.isfinite(rows.view(np.ndarray).view(np.float64)).all():  # all fields at once: 8 bytes each
        return
    for name in rows.dtype.names:
        if not np.isfinite(rows[name]).all():
            row = np.argwhere(~np.isfinite(rows[name]))[0].tolist()
            raise FloatingPointError(f"{what}: {name} of row {row} is not finite")


def plain_rows(rows: Any) -> list[Any]:
    """Every row as ``plain`` gives it."""
    return [plain(row) for row in rows]


def write_back(plain_ones: list[Any], rows: Any) -> None:
    """Write plain rows into those of a record array."""
    for i, row in enumerate(plain_ones):
        for name, value in vars(row).items():
            rows[name][i] = value
