"""What a space asks beyond its front: other worlds to search it in, and designs to set side by side.

``[[what_if]]`` changes catalogue numbers or holds variables and has the space searched again;
``[[compare]]`` evaluates named designs over batches. Both end in the recommendation.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Any

from dse.catalog.catalog import Catalog
from dse.catalog.schema import KINDS
from dse.core.errors import DataError, Faults, SpaceError, UnitError, nearest
from dse.core.units import parse
from dse.space.space import Comparison, Contender, WhatIf
from dse.space.variables import Value, Variable, parse_value

Known = Mapping[str, Variable]


CONTROL = "this world again"
"""a search of the unchanged space as all the others: what they are to be compared with"""


def what_ifs(raw: object, known: Known, catalog: Catalog, faults: Faults) -> tuple[WhatIf, ...]:
    """Read the ``[[what_if]]`` tables of a space."""
    out = []
    for i, table in enumerate(_tables(raw, "what_if", faults)):
        key = f"what_if[{i}]"
        _keys(table, ("name", "question", "catalogue", "fix", "demand", "year"), key, faults)
        numbers = catalogue_numbers(table.get("catalogue", {}), catalog, f"{key}.catalogue", faults)
        fixed = {n: _choices(known, n, v, f"{key}.fix", faults) for n, v in table.get("fix", {}).items()}
        demand = table.get("demand", 1.0)
        if isinstance(demand, bool) or not isinstance(demand, int | float) or not demand > 0:
            faults.add(f"{key}.demand", demand, "a factor above 0 on the scenario's concurrency", "0.1")
            demand = 1.0
        year = table.get("year")
        if year is not None and (
            isinstance(year, bool) or not isinstance(year, int | float) or not 2000 <= year <= 2100
        ):
            faults.add(f"{key}.year", year, "a year from 2000 to 2100", "2028")
            year = None
        if not {"catalogue", "fix", "year"} & set(table) and demand == 1.0:
            faults.add(
                key,
                table,
                "catalogue numbers, variables to fix, a demand or a year",
                'fix = { pnm = "none" }',
            )
        out.append(
            WhatIf(
                _text(table, "name", key, faults),
                str(table.get("question", "What if")),
                tuple(numbers),
                fixed,
                float(demand),
                None if year is None else float(year),
            )
        )
    return tuple(out)


def comparisons(raw: object, catalog: Catalog, faults: Faults) -> tuple[Comparison, ...]:
    """Read the ``[[compare]]`` tables of a space; their designs are checked when they are evaluated."""
    out = []
    for i, table in enumerate(_tables(raw, "compare", faults)):
        key = f"compare[{i}]"
        _keys(
            table,
            (
                "title",
                "space",
                "design",
                "llm",
                "tensor_parallel",
                "attention",
                "context",
                "batch",
                "row",
                "show",
            ),
            key,
            faults,
        )
        common = dict(table.get("design", {}))
        rows = []
        for j, row in enumerate(_tables(table.get("row"), f"{key}.row", faults)):
            _keys(row, ("name", "set", "catalogue"), f"{key}.row[{j}]", faults)
            numbers = catalogue_numbers(
                row.get("catalogue", {}), catalog, f"{key}.row[{j}].catalogue", faults
            )
            rows.append(
                Contender(
                    _text(row, "name", f"{key}.row[{j}]", faults),
                    {**common, **row.get("set", {})},
                    tuple(numbers),
                )
            )
        if table.get("llm") not in catalog.llms:
            faults.add(f"{key}.llm", table.get("llm"), nearest(str(table.get("llm")), catalog.llms))
        shown = tuple(table.get("show", ("time", "energy")))
        for name in set(shown) - set(SHOWN):
            faults.add(f"{key}.show", name, nearest(str(name), SHOWN))
        out.append(
            Comparison(
                title=_text(table, "title", key, faults),
                space=str(table.get("space", "")),
                llm=str(table.get("llm")),
                tensor_parallel=int(table.get("tensor_parallel", 1)),
                attention=str(table.get("attention", "tp")),
                context=float(table.get("context", 0.0)) or None,
                batches=tuple(int(b) for b in table.get("batch", [1])),
                rows=tuple(rows),
                shown=shown,
            )
        )
    return tuple(out)


SHOWN = ("time", "rate", "messages", "prompt", "energy", "engine", "heat", "clock", "cost")
"""what a comparison can show in its cells"""


def catalogue_numbers(
    raw: object, catalog: Catalog, key: str, faults: Faults
) -> list[tuple[str, str, str, float]]:
    """Read ``"kind/name.field" = "1 us"`` pairs as (kind, name, field, SI value).

    A name may stand for several (``memory/hbm*``); ``"x 1.5"`` is that much of what the entry states.
    """
    out: list[tuple[str, str, str, float]] = []
    if not isinstance(raw, dict):
        faults.add(
            key, raw, "a table of catalogue numbers", '{ "flash/hbf_gen1.read_latency.pslc" = "1 us" }'
        )
        return out
    for path, text in raw.items():
        kind, _, rest = str(path).partition("/")
        name, _, field = rest.partition(".")
        if kind not in catalog.entries:
            faults.add(f"{key}.{path}", kind, nearest(kind, catalog.entries))
            continue
        names = fnmatch.filter(catalog.entries[kind], name) if "*" in name else [name]
        if not names:
            faults.add(
                f"{key}.{path}", name, f"an entry of {kind}, or several", '"memory/hbm*.price_per_byte"'
            )
        try:
            unit = KINDS[kind].field_of(field).unit
        except DataError:
            faults.add(f"{key}.{path}", field, nearest(field, KINDS[kind].paths()))
            continue
        if unit != "1" and _bare(text):
            faults.add(f"{key}.{path}", text, f"a number in {unit} with its unit, or a factor", '"x 0.5"')
            continue
        for each in names:
            try:
                known = catalog.entry(kind, each).values
                if field not in known:
                    faults.add(f"{key}.{path}", field, nearest(field, known))
                    break
                factor = str(text).removeprefix("x ") if str(text).startswith("x ") else None
                stated = known[field].nominal
                out.append(
                    (
                        kind,
                        each,
                        field,
                        parse(str(text), unit) if factor is None else stated * parse(factor, "1"),
                    )
                )
            except (DataError, UnitError) as error:
                faults.add(
                    f"{key}.{path}",
                    text,
                    str(error),
                    '"flash/hbf_gen1.read_latency.pslc" = "1 us", or "x 0.5"',
                )
                break
    return out


def _bare(text: object) -> bool:
    """Whether a person wrote a number without a unit."""
    try:
        float(str(text))
    except ValueError:
        return False
    return True


def _tables(raw: object, key: str, faults: Faults) -> list[dict[str, Any]]:
    if raw is None:
        return []
    if not isinstance(raw, list) or not all(isinstance(t, dict) for t in raw):
        faults.add(key, raw, f"tables: [[{key}]]")
        return []
    return raw


def _keys(table: Mapping[str, Any], allowed: tuple[str, ...], key: str, faults: Faults) -> None:
    for name in sorted(set(table) - set(allowed)):
        faults.add(f"{key}.{name}", table[name], nearest(name, allowed))


def _text(table: Mapping[str, Any], name: str, key: str, faults: Faults) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value.strip():
        faults.add(f"{key}.{name}", value, "a line of text")
    return str(value)


def _choices(known: Known, name: str, value: object, key: str, faults: Faults) -> tuple[Value, ...]:
    if name not in known:
        faults.add(f"{key}.{name}", name, nearest(name, known))
        return ()
    try:
        return tuple(
            parse_value(known[name], str(v), key) for v in (value if isinstance(value, list) else [value])
        )
    except SpaceError as error:
        faults.lines.append(str(error))
        return ()
