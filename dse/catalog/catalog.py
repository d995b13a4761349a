"""The catalogue: sourced facts in TOML, read into entries and gathered into columns.

A file is refused, with all its faults at once, if a number lacks a source, has a wrong unit,
is not finite, or if low <= nominal <= high does not hold.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as dataclass_replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np

from dse.catalog.field_units import SHARES, unit_of
from dse.catalog.llm import LlmEntry, read_llm, toml_table
from dse.catalog.schema import KINDS, READINESS
from dse.core.errors import DataError, Faults, UnitError, nearest
from dse.core.units import FloatArray, IntArray, convert

DATA: Final = resources.files("dse") / "data"


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


def _quantity(faults: Faults, key: str, field_name: str, raw: object) -> Quantity | None:
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
        faults.add(f"{key}.{extra}", raw[extra], "no such key; allowed: low, nominal, high, unit, source, note")
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
                levels.append(convert(float(value), str(raw.get("unit", "")), unit_of(field_name)))
            except UnitError as error:
                faults.add(f"{key}.unit", raw.get("unit"), f"a unit of {unit_of(field_name)} ({error})")
                break
    if len(levels) == 3:
        if not levels[0] <= levels[1] <= levels[2]:
            faults.add(key, [raw[level] for level in _LEVELS], "low <= nominal <= high")
        if levels[0] < 0:
            faults.add(f"{key}.low", raw["low"], "a number not below 0")
        if field_name in SHARES and levels[2] > 1:
            faults.add(f"{key}.high", raw["high"], "a share not above 1", "0.85")
    if len(faults.lines) > before:
        return None
    return Quantity(levels[0], levels[1], levels[2], unit_of(field_name), source, str(raw.get("note", "")))


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
    values: dict[str, Quantity] = {}
    table = raw.get("values", {})
    if not isinstance(table, dict):
        faults.add("values", table, "a table of numbers")
        table = {}
    known = spec.required + spec.optional
    for name in sorted(table.keys() - set(known)):
        faults.add(f"values.{name}", table[name], nearest(name, known))
    for name in spec.required:
        if name not in table:
            faults.add(f"values.{name}", None, f"a number in {unit_of(name)} with low, nominal, high, unit, source")
    for name in known:
        if name in table:
            quantity = _quantity(faults, f"values.{name}", name, table[name])
            if quantity is not None:
                values[name] = quantity
    available = _quantity(faults, "available", "available", raw.get("available"))
    faults.raise_if_any(DataError)
    assert available is not None  # noqa: S101 - the faults above would have raised
    return Entry(
        kind, str(raw.get("name", "")), str(raw.get("title", "")), str(raw["readiness"]), available, values, attributes
    )


class Catalog:
    """All entries, by kind and name, with columns of nominal (or low, high) SI values."""

    def __init__(self, entries: Mapping[str, Mapping[str, Entry]], llms: Mapping[str, LlmEntry], digest: str) -> None:
        self.entries = entries
        self.llms = llms
        self.digest = digest

    def entry(self, kind: str, name: str) -> Entry:
        """Return one entry.

        Raises:
            DataError: there is none of that name.

        """
        found = self.entries.get(kind, {}).get(name)
        if found is None:
            raise DataError(f"catalogue {kind}: got {name!r}, expected {nearest(name, self.entries.get(kind, {}))}")
        return found

    def llm(self, name: str) -> LlmEntry:
        """Return one language model.

        Raises:
            DataError: there is none of that name.

        """
        found = self.llms.get(name)
        if found is None:
            raise DataError(f"catalogue llm: got {name!r}, expected {nearest(name, self.llms)}")
        return found

    def value(self, kind: str, name: str, field_name: str, default: float | None = None) -> float:
        """Return one nominal SI value; ``default`` where the entry does not carry the field."""
        quantity = self.entry(kind, name).values.get(field_name)
        if quantity is None:
            if default is None:
                raise DataError(f"catalogue {kind}/{name}: no {field_name}")
            return default
        return quantity.nominal

    def column(self, kind: str, names: Sequence[str], field_name: str, default: float = 0.0) -> FloatArray:
        """Return the nominal SI values of ``field_name`` over ``names``, shape (len(names),)."""
        return np.array([self.value(kind, name, field_name, default) for name in names], dtype=np.float64)

    def take(
        self, kind: str, names: Sequence[str], codes: IntArray, field_name: str, default: float = 0.0
    ) -> FloatArray:
        """Gather ``column`` at integer codes; a code of -1 (absent) gives 0."""
        padded = np.append(self.column(kind, names, field_name, default), 0.0)
        return padded[codes]

    def estimates(self) -> tuple[int, int]:
        """Return how many numbers are estimates, and how many there are."""
        all_values = [q for kind in self.entries.values() for e in kind.values() for q in e.values.values()]
        return sum(q.is_estimate for q in all_values), len(all_values)

    def replace(self, kind: str, name: str, field_name: str, value: float) -> Catalog:
        """Return a catalogue in which one number (SI) has another nominal, low and high."""
        old = self.entry(kind, name)
        quantity = Quantity(value, value, value, unit_of(field_name), "estimate: set by the caller")
        return self.put(
            dataclass_replace(old, values={**old.values, field_name: quantity}), f"{field_name}={value:.9g}"
        )

    def put(self, entry: Entry, why: str) -> Catalog:
        """Return a catalogue with ``entry`` added or in the place of its namesake; ``why`` tells the two apart."""
        entries = {**self.entries, entry.kind: {**self.entries.get(entry.kind, {}), entry.name: entry}}
        return Catalog(entries, self.llms, f"{self.digest}:{entry.kind}/{entry.name}.{why}")

    def at(self, level: str) -> Catalog:
        """Return a catalogue whose nominal is the ``low`` or ``high`` of each number."""

        def moved(q: Quantity) -> Quantity:
            return Quantity(q.low, float(getattr(q, level)), q.high, q.unit, q.source, q.note)

        entries = {
            kind: {
                n: Entry(
                    e.kind,
                    e.name,
                    e.title,
                    e.readiness,
                    e.available,
                    {f: moved(q) for f, q in e.values.items()},
                    e.attributes,
                )
                for n, e in group.items()
            }
            for kind, group in self.entries.items()
        }
        return Catalog(entries, self.llms, f"{self.digest}:{level}")


def _files(roots: Iterable[Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for root in roots:
        folder = root / kind
        if folder.is_dir():
            for path in sorted(folder.iterdir(), key=lambda p: p.name):
                if path.name.endswith(".toml"):
                    found[path.name.removesuffix(".toml")] = path
    return found


EXTRA = "DSE_CATALOG"
"""environment variable of a folder whose files are added to the catalogue"""


def _checked(folder: Path) -> Path:
    """A folder with catalogue files in it."""
    if not folder.is_dir() or not any((folder / kind).is_dir() for kind in [*KINDS, "llm"]):
        raise DataError(
            f"--catalog {folder}: expected a folder with one of {', '.join([*KINDS, 'llm'])} in it, e.g. {folder}/llm/my_model.toml"
        )
    return folder


def use_catalog(folder: Path) -> None:
    """Add a folder's files to every catalogue this process loads from now on.

    Raises:
        DataError: it is no folder, or has none of the catalogue's kinds.

    """
    _checked(folder)
    os.environ[EXTRA] = str(folder)


def load_catalog(extra: Path | None = None) -> Catalog:
    """Load the shipped catalogue, with the files of ``extra`` added or put in their place.

    Without ``extra`` the folder that the environment variable DSE_CATALOG names is added, if it is set.

    Raises:
        DataError: faults of any file, all of them at once.

    """
    named = os.environ.get(EXTRA)
    return _load(extra or (_checked(Path(named)) if named else None))


def _text(path: Any, where: str) -> str:
    try:
        return str(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: cannot be read ({error})") from error


@lru_cache(maxsize=8)
def _load(extra: Path | None) -> Catalog:
    """Load and keep.

    Raises:
        DataError: faults of any file, all of them at once.

    """
    roots: list[Any] = [DATA] + ([extra] if extra else [])
    digest = hashlib.sha256()
    entries: dict[str, dict[str, Entry]] = {}
    llms: dict[str, LlmEntry] = {}
    problems: list[str] = []
    for kind in [*KINDS, "llm"]:
        for stem, path in _files(roots, kind).items():
            where = f"{kind}/{stem}.toml"
            try:
                text = _text(path, where)
                digest.update(f"{kind}/{stem}\n{text}".encode())
                if kind == "llm":
                    llms[stem] = read_llm(text, where)
                else:
                    entries.setdefault(kind, {})[stem] = read_entry(kind, text, where)
            except DataError as error:
                problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return Catalog(entries, llms, digest.hexdigest()[:16])


def names(catalog: Catalog, kind: str) -> list[str]:
    """Entries of a kind in a fixed order: what the codes of Parts point at."""
    return sorted(catalog.entries[kind])
