"""The catalogue: entries of every kind, gathered into columns, with files of a user's own on top."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace as dataclass_replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from dse.catalog.entries import Entry, Quantity, read_entry
from dse.catalog.llm import LlmEntry, read_llm
from dse.catalog.schema import KINDS
from dse.core.compilation import stored
from dse.core.errors import DataError, nearest
from dse.core.units import FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

DATA: Final = resources.files("dse") / "data"


class Catalog:
    """All entries, by kind and name, with columns of nominal (or low, high) SI values."""

    def __init__(
        self, entries: Mapping[str, Mapping[str, Entry]], llms: Mapping[str, LlmEntry], digest: str
    ) -> None:
        self.entries = entries
        self.llms = llms
        self.own: Mapping[tuple[str, str], str] = {}
        """files that were added to the shipped ones: text by kind and name"""
        self.digest = digest
        self._kept: dict[tuple[Any, ...], Any] = {}

    def names(self, kind: str) -> list[str]:
        """Entries of a kind in a fixed order: what the codes of a design's parts point at."""
        return self.kept(("names", kind), lambda: sorted(self.entries[kind]))

    def only(self, kind: str) -> str:
        """The one entry of a kind that has a single one.

        Raises:
            DataError: there are none, or several.

        """
        found = self.names(kind)
        if len(found) != 1:
            raise DataError(f"catalogue {kind}: got {len(found)} entries ({', '.join(found)}), expected one")
        return found[0]

    def with_role(self, kind: str, role: str, order: str | None = None, attribute: str = "role") -> list[str]:
        """Entries of a kind with a role (or another attribute), by name, or from the least to the most of a
        field.

        Raises:
            DataError: there are none.

        """
        return self.kept(
            ("role", kind, role, order, attribute), lambda: self._with_role(kind, role, order, attribute)
        )

    def _with_role(self, kind: str, role: str, order: str | None, attribute: str) -> list[str]:
        found = [n for n in self.names(kind) if self.entry(kind, n).attributes.get(attribute) == role]
        if not found:
            raise DataError(
                f"catalogue {kind}: got no entry with {attribute} {role!r}, expected at least one"
            )
        return found if order is None else sorted(found, key=lambda n: self.value(kind, n, order))

    def the(self, kind: str, role: str, attribute: str = "role") -> str:
        """The one entry of a kind with a role (or another attribute).

        Raises:
            DataError: there are none, or several.

        """
        found = self.with_role(kind, role, attribute=attribute)
        if len(found) != 1:
            raise DataError(
                f"catalogue {kind}: got {', '.join(found)} with {attribute} {role!r}, expected one"
            )
        return found[0]

    def kept(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """What ``make`` gives, made once for this catalogue: for tables that many designs read."""
        if key not in self._kept:
            made = make()
            if isinstance(made, np.ndarray):
                made.flags.writeable = False  # shared by all who ask
            self._kept[key] = made
        found: T = self._kept[key]
        return found

    def entry(self, kind: str, name: str) -> Entry:
        """Return one entry.

        Raises:
            DataError: there is none of that name.

        """
        found = self.entries.get(kind, {}).get(name)
        if found is None:
            raise DataError(
                f"catalogue {kind}: got {name!r}, expected {nearest(name, self.entries.get(kind, {}))}"
            )
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
        known: float | None = self._kept.get((kind, name, field_name))
        if known is not None:
            return known
        quantity = self.entry(kind, name).values.get(field_name)
        if quantity is None:
            if default is None:
                raise DataError(f"catalogue {kind}/{name}: no {field_name}")
            return default
        self._kept[kind, name, field_name] = quantity.nominal
        return quantity.nominal

    def column(self, kind: str, names: Sequence[str], field_name: str, default: float = 0.0) -> FloatArray:
        """Return the nominal SI values of ``field_name`` over ``names``, shape (len(names),)."""
        key = ("column", kind, field_name, default, *names)
        return self.kept(
            key, lambda: np.array([self.value(kind, n, field_name, default) for n in names], dtype=np.float64)
        )

    def take(self, kind: str, codes: IntArray, field_name: str) -> FloatArray:
        """Gather nominal SI values of a field at codes into ``names``; code -1 (absent) gives 0."""
        padded = self.kept(
            ("take", kind, field_name),
            lambda: np.append(self.column(kind, self.names(kind), field_name), 0.0),
        )
        out: FloatArray = padded[codes]
        return out

    def in_year(self, kind: str, name: str, field_name: str, year: float) -> float:
        """What an entry states for the latest year not after ``year``, of a field by year.

        Else for its first.
        """
        steps = self.entry(kind, name).by_key(field_name)
        latest = max((y for y in steps if y <= year), default=min(steps))
        return steps[latest].nominal

    def table(self, kind: str) -> pd.DataFrame:
        """Every number of a kind of entry: a row each, with low, nominal, high, unit (SI), source and note.

        >>> from dse import load_catalog
        >>> load_catalog().table("memory").loc[("hbm4e", "bandwidth_per_stack"), "unit"]
        'B/s'

        Raises:
            DataError: there is no such kind.

        """
        import pandas as pd

        if kind not in self.entries:
            raise DataError(f"catalogue: got kind {kind!r}, expected {nearest(kind, self.entries)}")
        columns = ("low", "nominal", "high", "unit", "source", "note")
        rows = {
            (name, path): [getattr(q, c) for c in columns]
            for name, entry in self.entries[kind].items()
            for path, q in entry.values.items()
        }
        index = pd.MultiIndex.from_tuples(list(rows), names=["entry", "field"])
        return pd.DataFrame(list(rows.values()), index=index, columns=list(columns))

    def estimates(self) -> tuple[int, int]:
        """Return how many numbers are estimates, and how many there are."""
        all_values = [q for kind in self.entries.values() for e in kind.values() for q in e.values.values()]
        return sum(q.is_estimate for q in all_values), len(all_values)

    def replace(self, kind: str, name: str, field_name: str, value: float) -> Catalog:
        """Return a catalogue in which one number (SI) has another nominal, low and high."""
        return self.with_numbers([(kind, name, field_name, value)])

    def with_numbers(self, numbers: Sequence[tuple[str, str, str, float]]) -> Catalog:
        """Return a catalogue with other numbers in it: (kind, entry, field, value in SI) each."""
        out = self
        for kind, name, field_name, value in numbers:
            unit = KINDS[kind].field_of(field_name).unit
            quantity = Quantity(value, value, value, unit, "estimate: set by the caller")
            old = out.entry(kind, name)
            entry = dataclass_replace(old, values={**old.values, field_name: quantity})
            out = out.put(entry, f"{field_name}={value:.9g}")
        if numbers:
            moved = {(kind, field_name) for kind, _, field_name, _ in numbers}
            out._kept = {key: kept for key, kept in self._kept.copy().items() if not _rests_on(key, moved)}
        return out

    def put(self, entry: Entry, why: str) -> Catalog:
        """Return a catalogue with ``entry`` added or in the place of its namesake; ``why`` tells the two
        apart.
        """
        entries = {**self.entries, entry.kind: {**self.entries.get(entry.kind, {}), entry.name: entry}}
        return Catalog(entries, self.llms, f"{self.digest}:{entry.kind}/{entry.name}.{why}")

    def at(self, level: str) -> Catalog:
        """Return a catalogue whose nominal is the ``low`` or ``high`` of each number."""

        def moved(q: Quantity) -> Quantity:
            return Quantity(q.low, float(getattr(q, level)), q.high, q.unit, q.source, q.note)

        entries = {
            kind: {
                n: Entry(
                    kind=e.kind,
                    name=e.name,
                    title=e.title,
                    readiness=e.readiness,
                    available=e.available,
                    values={f: moved(q) for f, q in e.values.items()},
                    attributes=e.attributes,
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


OWN: Final = "catalogue"
"""folder in that of a run, with the files that were added to the shipped catalogue"""

EXTRA = "DSE_CATALOG"
"""environment variable of a folder whose files are added to the catalogue"""


def _checked(folder: Path) -> Path:
    """A folder with catalogue files in it."""
    if not folder.is_dir() or not any((folder / kind).is_dir() for kind in [*KINDS, "llm"]):
        raise DataError(
            f"--catalog {folder}: expected a folder with one of {', '.join([*KINDS, 'llm'])} in it, "
            f"e.g. {folder}/llm/my_model.toml"
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

    >>> import dse
    >>> dse.load_catalog().entry("device", "h100_sxm").attributes["memory"]
    'hbm3'

    Without ``extra`` the folder that the environment variable DSE_CATALOG names is added, if it is set.

    Raises:
        DataError: faults of any file, all of them at once.

    """
    named = os.environ.get(EXTRA)
    return _load(extra or (_checked(Path(named)) if named else None))


def catalog_beside(run: Path) -> Catalog:
    """The catalogue of a run: with the own files that travel with it, unless others are asked for.

    Raises:
        DataError: faults of any file, all of them at once.

    """
    own = run / OWN
    return load_catalog(own if own.is_dir() and not os.environ.get(EXTRA) else None)


MOST_CHARACTERS: Final = 5_000_000
"""of a catalogue file"""


def _text(path: Any, where: str) -> str:
    try:
        text = str(path.read_text(encoding="utf-8")).removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: cannot be read ({error})") from error
    if len(text) > MOST_CHARACTERS:
        raise DataError(f"{where}: {len(text)} characters, expected an entry of at most {MOST_CHARACTERS}")
    return text


@lru_cache(maxsize=8)
def _load(extra: Path | None) -> Catalog:
    """Load and keep.

    Raises:
        DataError: faults of any file, all of them at once.

    """
    texts: dict[tuple[str, str], str] = {}
    problems: list[str] = []
    for kind in [*KINDS, "llm"]:
        for stem, path in _files([DATA, *([extra] if extra else [])], kind).items():
            try:
                texts[kind, stem] = _text(path, f"{kind}/{stem}.toml")
            except DataError as error:
                problems.append(str(error))
    digest = hashlib.sha256()
    for (kind, stem), text in texts.items():
        digest.update(f"{kind}/{stem}\n{text}".encode())
    if problems:
        raise DataError("\n".join(problems))
    code = digest.hexdigest()[:16]
    found = stored(f"catalog-{code}", lambda: _read(texts, code))
    shipped = {(kind, stem) for kind, stem in texts if extra is None or not _in(extra, kind, stem)}
    found.own = {key: text for key, text in texts.items() if key not in shipped}
    return found


def entry_text(kind: str, name: str) -> str:
    """The file of a shipped or added entry, to copy and change.

    Raises:
        DataError: there is no such file.

    """
    named = os.environ.get(EXTRA)
    found = _files([DATA, *([Path(named)] if named else [])], kind)
    if name not in found:
        raise DataError(f"{kind} {name!r}: not in the catalogue; {nearest(name, found)}")
    return _text(found[name], f"{kind}/{name}.toml")


def _in(folder: Path, kind: str, stem: str) -> bool:
    """Whether a folder holds an entry."""
    return (folder / kind / f"{stem}.toml").is_file()


def _read(texts: Mapping[tuple[str, str], str], digest: str) -> Catalog:
    """A catalogue from the texts of its files, by kind and stem.

    Raises:
        DataError: faults of any file, all of them at once.

    """
    entries: dict[str, dict[str, Entry]] = {}
    llms: dict[str, LlmEntry] = {}
    problems: list[str] = []
    for (kind, stem), text in texts.items():
        try:
            if kind == "llm":
                llms[stem] = read_llm(text, f"{kind}/{stem}.toml")
            else:
                entries.setdefault(kind, {})[stem] = read_entry(kind, text, f"{kind}/{stem}.toml")
        except DataError as error:
            problems.append(str(error))
    problems += _unknown_names(entries)
    problems += _beyond_an_exposure(entries)
    if problems:
        raise DataError("\n".join(problems))
    return Catalog(entries, llms, digest)


def _unknown_names(entries: Mapping[str, Mapping[str, Entry]]) -> list[str]:
    """Attributes that name an entry which is not there."""
    out = []
    for kind, group in entries.items():
        for attribute, other in KINDS[kind].names.items():
            known = entries.get(other, {})
            called = {e.attributes.get("choice", name) for name, e in known.items()} | set(known)
            for stem, entry in group.items():
                name = entry.attributes.get(attribute, "")
                if name and name not in called:
                    out.append(
                        f"{kind}/{stem}.toml: {attribute}: got {name!r}, expected {nearest(name, called)}"
                    )
    return out


def _beyond_an_exposure(entries: Mapping[str, Mapping[str, Entry]]) -> list[str]:
    """Devices whose dies no exposure makes: their yield, and so their price, would be nonsense."""
    largest = max(
        (e.values["usable_reticle"].high for e in entries.get("logic_rules", {}).values()), default=1.0
    )
    out = []
    for stem, entry in entries.get("device", {}).items():
        area, dies = entry.values.get("die_area"), entry.values.get("dies")
        if area and dies and area.nominal / dies.nominal > largest * (1.0 + 1e-9):
            said = f"got {dies.nominal:g} for a die_area of {area.nominal * 1e6:,.0f} mm2"
            most = f"one exposure makes at most {largest * 1e6:.0f} mm2"
            out.append(f"device/{stem}.toml: dies: {said}; {most}: say how many dies share the area")
    return out


def _rests_on(key: tuple[Any, ...], moved: set[tuple[str, str]]) -> bool:
    """Whether what is kept under a key may change with the values of some (kind, field).

    Columns and values of other fields do not. Keys that do not say what they were made from are taken to.
    """
    made_of = key[0]
    if made_of in {"column", "take"}:
        return (key[1], key[2]) in moved
    if made_of in KINDS:
        return (made_of, key[2]) in moved
    return made_of not in {"attribute", "available", "names", "pnm_code"}
