"""Design variables and catalogue entries as integer codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.errors import SpaceError
from dse.core.units import FloatArray, IntArray
from dse.space.design import Design, codes
from dse.space.space import Space

HOSTED_BY = {"fast": "memory", "flash": "flash"}
"""catalogue kind whose ``form`` decides whether a PNM engine can sit beside a tier"""


UNKNOWN = -2
"""stands for a combination that was not asked for yet"""


def choice_codes(
    space: Space, design: Design, variable: str, order: Sequence[str], *, lower: bool = False
) -> IntArray:
    """Codes of a categorical variable in an ``order`` of names; absent or unnamed -> -1."""
    if variable not in design.columns:
        return np.full(len(design), -1, dtype=np.int64)
    position = {name: i for i, name in enumerate(order)}
    choices = [str(c).lower() if lower else str(c) for c in space.variable(variable).choices]
    table = np.array([*(position.get(c, -1) for c in choices), -1], dtype=np.int64)
    return table[codes(design, variable)]


def numbers(space: Space, design: Design, variable: str, absent: float = 0.0) -> FloatArray:
    """Numbers of a variable, whether it is a column of numbers or of codes; ``absent`` elsewhere."""
    column = design.columns.get(variable)
    if column is None:
        return np.full(len(design), absent)
    v = space.variable(variable)
    if not v.discrete:
        return np.where(np.isnan(column), absent, column)
    table = np.array([*(float(c) for c in v.choices), absent])
    out: FloatArray = table[column]
    return out


def called(catalog: Catalog, kind: str, name: str) -> set[str]:
    """What a space may call an entry: its name, or its attribute ``choice``."""
    return {name, catalog.entry(kind, name).attributes.get("choice", name)}


def pnm_code(catalog: Catalog, choice: str, memory: str, flash: str) -> int:
    """The PNM entry that a ``choice`` means beside a memory and a flash (names, "" none); -1 without an
    engine.

    Raises:
        SpaceError: no engine of that name can sit there.

    """
    if choice in {"", "none"}:
        return -1
    refused = []
    for code, name in enumerate(catalog.names("pnm")):
        if choice not in called(catalog, "pnm", name):
            continue
        said = catalog.entry("pnm", name).attributes
        where = {"fast": memory, "flash": flash}.get(said["beside"], "")
        kind = HOSTED_BY.get(said["beside"])
        form = (
            catalog.entry(kind, where).attributes["form"]
            if kind and where
            else "far"
            if kind is None
            else "none"
        )
        if form in said["hosts"].split():
            return code
        refused.append(
            f"{name} sits beside {said['beside']} memory of form {said['hosts']}, "
            f"{where or 'what is there'} is {form}"
        )
    raise SpaceError(
        f"pnm: got {choice!r}: {'; '.join(refused) or 'no such entry'}; say what it needs in the "
        "space's variables.pnm.needs"
    )


def pnm_codes(
    catalog: Catalog, choices: Sequence[str], chosen: IntArray, memory: IntArray, flash: IntArray
) -> IntArray:
    """``pnm_code`` of n designs: ``chosen`` indexes ``choices``, ``memory`` and ``flash`` their entries; -1
    absent.
    """
    memories, flashes = catalog.names("memory"), catalog.names("flash")
    shape = (len(choices) + 1, len(memories) + 1, len(flashes) + 1)
    key = np.ravel_multi_index((chosen + 1, memory + 1, flash + 1), shape)
    known: IntArray = catalog.kept(("pnm_code", *choices), lambda: [np.full(np.prod(shape), UNKNOWN)])[0]
    for one in np.unique(key[known[key] == UNKNOWN]):
        i, m, f = (int(x) - 1 for x in np.unravel_index(one, shape))
        said = (choices[i] if i >= 0 else "", memories[m] if m >= 0 else "", flashes[f] if f >= 0 else "")
        known[one] = pnm_code(catalog, *said)
    out: IntArray = known[key]
    return out
