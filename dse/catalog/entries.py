"""Entries of the catalogue: numbers with their range, unit and source, read from TOML.

A file is refused, with all its faults at once, if a number lacks a source, has a wrong unit,
is not finite, or if low <= nominal <= high does not hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dse.catalog.llm import toml_table
from dse.catalog.schema import KEYS, KINDS, READINESS, Field, Kind
from dse.core.errors import DataError, Faults, UnitError, nearest
from dse.core.units import convert

YEAR: Final = Field("1", "year in which it can be had", bounds=(1950.0, 2100.0))


_LEVELS: Final = ("low", "nominal", "high")


@dataclass(frozen=True)
class Quantity:
    """A number with its range in SI units, its source and, where given, a note."""

    low: float
    nominal: float
    high: float
    unit: str
    source: str
    note: str = ""

    @property
    def is_estimate(self) -> bool:
        """Whether no public figure stands behind the number."""
        return self.source.startswith(("estimate", "recollection"))


@dataclass(frozen=True)
class Entry:
    """One catalogue file: text attributes, availability and quantities in SI units."""

    kind: str
    name: str
    title: str
    readiness: str
    available: Quantity
    values: Mapping[str, Quantity]
    attributes: Mapping[str, str] = field(default_factory=dict)

    def by_key(self, field_name: str) -> dict[int, Quantity]:
        """Numbers of a field that has one for each year or height."""
        prefix = field_name + "."
        return {int(f.removeprefix(prefix)): q for f, q in self.values.items() if f.startswith(prefix)}


def _told(value: float, spec: Field) -> str:
    """A bound for a person."""
    return f"{value:g} {'' if spec.unit == '1' else spec.unit}".strip()


def _quantity(faults: Faults, key: str, spec: Field, raw: object) -> Quantity | None:
    if not isinstance(raw, dict):
        faults.add(
            key,
            raw,
            "a table with low, nominal, high, unit, source",
            '{ low = 1, nominal = 2, high = 3, unit = "GB/s", source = "..." }',
        )
        return None
    before = len(faults.lines)
    for extra in sorted(raw.keys() - {"low", "nominal", "high", "unit", "source", "note"}):
        faults.add(
            f"{key}.{extra}", raw[extra], "no such key; allowed: low, nominal, high, unit, source, note"
        )
    source = raw.get("source", "")
    if not isinstance(source, str) or not source.strip():
        faults.add(f"{key}.source", source, "where the number comes from", '"estimate: reason" or an address')
    levels = []
    for level in _LEVELS:
        value = raw.get(level)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            faults.add(f"{key}.{level}", value, "a finite number", "1.5")
        else:
            try:
                levels.append(convert(float(value), str(raw.get("unit", "")), spec.unit))
            except UnitError as error:
                faults.add(f"{key}.unit", raw.get("unit"), f"a unit of {spec.unit} ({error})")
                break
    if len(levels) == 3:
        if not levels[0] <= levels[1] <= levels[2]:
            faults.add(key, [raw[level] for level in _LEVELS], "low <= nominal <= high")
        if spec.share and levels[2] > 1:
            faults.add(f"{key}.high", raw["high"], "a share not above 1", "0.85")
        least, most = spec.bounds
        for level, value in zip(_LEVELS, levels, strict=True):
            if not least <= value <= most:
                told = (
                    "a number from 0"
                    if most == math.inf
                    else f"from {_told(least, spec)} to {_told(most, spec)}"
                )
                faults.add(f"{key}.{level}", f"{raw[level]} {raw.get('unit', '')}".strip(), told)
            elif spec.whole and value != int(value):
                faults.add(f"{key}.{level}", raw[level], "a whole number: it counts things")
    if len(faults.lines) > before:
        return None
    return Quantity(levels[0], levels[1], levels[2], spec.unit, source, str(raw.get("note", "")))


def _values(table: Mapping[str, Any], spec: Kind, faults: Faults) -> dict[str, Quantity]:
    """Numbers of an entry by field, or by ``field.key`` where one has several: by cell, year or height."""
    out: dict[str, Quantity] = {}
    for name in sorted(table.keys() - spec.fields.keys()):
        faults.add(f"values.{name}", table[name], nearest(name, spec.fields))
    for name, found in spec.fields.items():
        if name not in table:
            if found.required:
                each = f" for each {found.per}" if found.per else ""
                faults.add(
                    f"values.{name}",
                    None,
                    f"a number in {found.unit}{each} with low, nominal, high, unit, source",
                )
            continue
        items = table[name] if found.per else {"": table[name]}
        if not isinstance(items, dict):
            faults.add(
                f"values.{name}",
                items,
                f"a number for each {found.per}",
                f"{name}.{'pslc' if found.per == 'cell' else 2030} = ...",
            )
            continue
        for key, item in items.items():
            path = f"{name}.{key}" if key else name
            if key and not found.admits(key):
                faults.add(f"values.{path}", item, f"a number for each {found.per}: no such key")
                continue
            quantity = _quantity(faults, f"values.{path}", found, item)
            if quantity is not None:
                out[path] = quantity
        for key in KEYS.get(found.per, ()) if found.required else ():
            if key not in items:
                faults.add(
                    f"values.{name}.{key}",
                    None,
                    f"a number in {found.unit} with low, nominal, high, unit, source",
                )
    return out


def read_entry(kind: str, text: str, where: str) -> Entry:
    """Read one catalogue file.

    Raises:
        DataError: every fault of the file, one line each.

    """
    faults = Faults(where)
    raw = toml_table(text, where)
    spec = KINDS[kind]
    allowed = {"name", "title", "readiness", "available", "values", "note", *spec.attributes}
    for key in sorted(raw.keys() - allowed):
        faults.add(key, raw[key], nearest(key, allowed))
    if raw.get("readiness") not in READINESS:
        faults.add("readiness", raw.get("readiness"), "one of " + ", ".join(READINESS))
    attributes: dict[str, str] = {}
    for name, choices in spec.attributes.items():
        value = raw.get(name)
        if value is not None and (not isinstance(value, str) or (choices and value not in choices)):
            faults.add(name, value, "one of " + ", ".join(choices or ("a name",)))
        elif isinstance(value, str):
            attributes[name] = value
            for word in value.split() if name in spec.words else ():
                if word not in spec.words[name]:
                    faults.add(name, word, nearest(word, spec.words[name]))
    for name in spec.required:
        if name not in attributes and raw.get(name) is None:
            choices = spec.attributes[name]
            expected = "one of " + ", ".join(choices) if choices else f"an entry of kind {spec.names[name]}"
            faults.add(name, None, expected)
    table = raw.get("values", {})
    if not isinstance(table, dict):
        faults.add("values", table, "a table of numbers")
        table = {}
    values = _values(table, spec, faults)
    for name, by_value in spec.demands.items():
        for needed in by_value.get(attributes.get(name, ""), ()):
            if needed not in table:
                unit = spec.fields[needed].unit
                faults.add(
                    f"values.{needed}",
                    None,
                    f"a number in {unit}, which a file of {name} {attributes[name]} must give: without it "
                    "its size would count as 0",
                    f'{{ low = 1, nominal = 2, high = 3, unit = "{unit}", source = "..." }}',
                )
    available = _quantity(faults, "available", YEAR, raw.get("available"))
    faults.raise_if_any(DataError)
    assert available is not None  # noqa: S101 - the faults above would have raised
    return Entry(
        kind=kind,
        name=str(raw.get("name", "")),
        title=str(raw.get("title", "")),
        readiness=str(raw["readiness"]),
        available=available,
        values=values,
        attributes=attributes,
    )
