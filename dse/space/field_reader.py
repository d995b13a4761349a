"""Fields of a space file: tables, lists and sourced numbers, whose faults are gathered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dse.catalog.catalog import Catalog
from dse.core.errors import Faults, UnitError, nearest
from dse.core.units import TWO_READINGS, convert, parse


class FieldReader:
    """Reads fields of one file; what is wrong is noted in ``faults``."""

    def __init__(self, raw: dict[str, Any], where: str, catalog: Catalog) -> None:
        self.raw, self.catalog = raw, catalog
        self.faults = Faults(where)

    def keys(self, table: Mapping[str, Any], allowed: Sequence[str], prefix: str = "") -> None:
        """Note keys of a table that are not allowed."""
        for key in sorted(set(table) - set(allowed)):
            self.faults.add(prefix + key, table[key], nearest(key, allowed))

    def listed(self, key: str, raw: object) -> list[Any]:
        """A list; anything else is a fault."""
        if isinstance(raw, list):
            return raw
        self.faults.add(key, raw, "a list")
        return []

    def tables(self, key: str, raw: object) -> dict[str, Any]:
        """A table; anything else is a fault."""
        if isinstance(raw, dict):
            return raw
        self.faults.add(key, raw, "a table")
        return {}

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
            if "unit" not in raw and unit in TWO_READINGS:
                examples = " or ".join(f"'{value} {u}'" for u in TWO_READINGS[unit])
                self.faults.add(f"{key}.unit", None, f"a unit: {value} may be read in two ways, {examples}")
                return math.nan
            return convert(float(value), str(raw.get("unit", unit)), unit)
        except UnitError as error:
            self.faults.add(f"{key}.value", value, f"a finite number in {unit} ({error})")
            return math.nan
