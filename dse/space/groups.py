"""Groups of choices that a condition may name: ``all stacks`` are those whose entry is of form ``stack``.

What belongs to a group follows the entries of the catalogue, so a space names a memory of one's own once,
among the choices, and every condition on its kind holds for it.
"""

from __future__ import annotations

from typing import Final

from dse.catalog.catalog import Catalog
from dse.catalog.entries import Entry
from dse.space.variables import Value, Variable

ALL: Final = "all"
AT_LEAST: Final = "at least "
NONE: Final = "none"

KINDS_OF: Final = {
    "compute_node": "logic",
    "soc_node": "logic",
    "fast_memory": "memory",
    "dram": "memory",
    "far_memory": "memory",
    "flash": "flash",
    "pnm": "pnm",
    "topology": "topology",
    "collective_engine": "collective",
    "on_package_link": "link",
}
"""design variables whose choices are entries of the catalogue, and their kind"""


def is_group(value: object) -> bool:
    """Whether a value of a condition names a group."""
    return isinstance(value, str) and (value == ALL or value.startswith((ALL + " ", AT_LEAST)))


def members(variable: Variable, group: str, catalog: Catalog) -> list[Value]:
    """Choices of a variable that belong to a group: ``all``, ``all stacks``, ``at least 4``; none if unknown.

    ``all`` is every choice but ``none``; ``all WORDS`` those whose entry has an attribute of that word, or of
    its singular.
    """
    if group.startswith(AT_LEAST):
        text = group.removeprefix(AT_LEAST).strip()
        try:
            least = float(text)
        except ValueError:
            return []
        return [c for c in variable.choices if isinstance(c, float) and c >= least]
    word = group.removeprefix(ALL).strip()
    if not word:
        return [c for c in variable.choices if c != NONE]
    entries = catalog.entries.get(KINDS_OF.get(variable.name, ""), {})
    return [c for c in variable.choices if _has(entries.get(str(c)) or entries.get(str(c).lower()), word)]


def _has(entry: Entry | None, word: str) -> bool:
    if entry is None:
        return False
    words = {w for text in entry.attributes.values() for w in text.split()}
    return word in words or word.removesuffix("s") in words


def groups_of(variable: Variable, catalog: Catalog) -> list[str]:
    """Groups that a condition on a variable may name."""
    entries = catalog.entries.get(KINDS_OF.get(variable.name, ""), {})
    forms = sorted({e.attributes["form"] for e in entries.values() if "form" in e.attributes})
    return [ALL, *(f"{ALL} {form}s" for form in forms)] + (
        [f"{AT_LEAST}2"] if variable.kind == "ordinal" else []
    )
