"""Spaces and catalogue files made wrong on purpose, each with whether it is wrong now."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from dse.catalog.catalog import Catalog, _unknown_names, load_catalog
from dse.catalog.entries import read_entry
from dse.catalog.llm import read_llm
from dse.catalog.schema import KINDS
from dse.core.errors import DseError
from dse.evaluator.first_order import FirstOrderModel
from dse.space.reader import read_space, shipped_spaces
from dse.space.targets import SCENARIO_BOUNDS, SCENARIO_UNITS

DATA = Path(__file__).parent.parent / "dse" / "data"
Line = tuple[int, str, str, str]


@dataclass(frozen=True)
class Case:
    """One input: what was done to a good one, and whether it is wrong now (None: either way)."""

    kind: str
    change: str
    wrong: bool | None
    content: Any


def typo(rng: random.Random, word: str) -> str:
    """A word with one letter dropped, doubled, swapped or replaced; never the word itself."""
    while True:
        i = rng.randrange(len(word))
        letter = rng.choice(string.ascii_lowercase)
        made = rng.choice(
            (word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:], word[:i] + letter + word[i + 1 :])
        )
        if made and made != word and re.fullmatch(r"[A-Za-z_][\w.-]*", made):
            return made


FREE: Final = ("source", "title", "note", "question", "name", "calibrated", "devices", "price_trend")
"""keys whose text may be anything"""

OTHER_UNITS: Final = ("kg", "kgCO2e", "furlong", "")


def _lines(text: str) -> list[Line]:
    """(row, section, key, value) of each line that sets a key."""
    out, section = [], ""
    for i, line in enumerate(text.split("\n")):
        if line.startswith("["):
            section = line.strip("[] ")
        found = re.match(r"^([A-Za-z_][\w.]*|\d+) = (.+)$", line)
        if found:
            out.append((i, section, found[1], found[2]))
    return out


def _with(text: str, row: int, line: str) -> str:
    lines = text.split("\n")
    lines[row] = line
    return "\n".join(lines)


@cache
def shipped_catalog() -> Catalog:
    return load_catalog()


@cache
def _spaces() -> tuple[str, ...]:
    return tuple(p.read_text(encoding="utf-8").partition("[[what_if]]")[0] for p in shipped_spaces())


def _space_key(rng: random.Random, text: str, lines: list[Line]) -> Case:
    fields = [x for x in lines if not x[1].startswith("levers") and not x[2].isdigit()]
    row, section, key, value = rng.choice(fields)
    made = typo(rng, key)
    clash = any(s == section and k == made for _, s, k, _ in lines)
    change = f"{section}.{key} -> {made}"
    return Case("space", change, None if clash else True, _with(text, row, f"{made} = {value}"))


def _space_header(rng: random.Random, text: str, _: list[Line]) -> Case:
    headers = [(i, x) for i, x in enumerate(text.split("\n")) if x.startswith("[") and "levers" not in x]
    row, header = rng.choice(headers)
    word = rng.choice(re.findall(r"[A-Za-z_]\w*", header))
    changed = header.replace(word, typo(rng, word), 1)
    known = changed in text.split("\n")
    return Case("space", f"{header} -> {changed}", None if known else True, _with(text, row, changed))


NAMED: Final = ("choices", "target", "software", "llm", "device", "kind", "grid", "use")


def _space_choice(rng: random.Random, text: str, lines: list[Line]) -> Case:
    row, _, key, value = rng.choice([x for x in lines if x[2] in NAMED])
    words = re.findall(r'"([A-Za-z_][\w.-]*)"', value)
    if not words:
        return Case("space", "a comment", False, text + "\n# a comment\n")
    word = rng.choice(words)
    made = typo(rng, word)
    real = any(made in group or made.lower() in group for group in shipped_catalog().entries.values())
    changed = value.replace(f'"{word}"', f'"{made}"', 1)
    return Case(
        "space", f"{key}: {word} -> {made}", None if real else True, _with(text, row, f"{key} = {changed}")
    )


def _space_type(rng: random.Random, text: str, lines: list[Line]) -> Case:
    row, section, key, _ = rng.choice(lines)
    wrong = key not in {"log", "context_parallel", *FREE}
    return Case("space", f"{section}.{key} = true", wrong or None, _with(text, row, f"{key} = true"))


def _space_unit(rng: random.Random, text: str, lines: list[Line]) -> Case:
    row, _, key, value = rng.choice([x for x in lines if re.search(r'"[\d.]+ [A-Za-z]', x[3])])
    quantity = rng.choice(re.findall(r'"([\d.]+ [A-Za-z][\w/*^]*)"', value) or ["1 s"])
    number, _, unit = quantity.partition(" ")
    other = rng.choice(OTHER_UNITS)
    changed = value.replace(f'"{quantity}"', f'"{number} {other}"'.replace(' "', '"'), 1)
    either = (unit in {"USD", "token", "year", "1"} and not other) or changed == value
    change = f"{key}: {quantity} -> {number} {other}"
    return Case("space", change, None if either else True, _with(text, row, f"{key} = {changed}"))


def _space_bound(rng: random.Random, text: str, lines: list[Line]) -> Case:
    named = [x for x in lines if x[1] == "scenario" and x[2] in SCENARIO_BOUNDS and "value" in x[3]]
    row, _, key, _ = rng.choice(named)
    low, high = SCENARIO_BOUNDS[key]
    bad = rng.choice((-1.0, high * 1.5 + 1, 0.0 if low > 0 else -2.0))
    changed = f'{key} = {{ value = {bad!r}, unit = "{SCENARIO_UNITS[key]}", source = "x" }}'
    return Case("space", changed, True, _with(text, row, changed))


def _space_share(rng: random.Random, text: str, lines: list[Line]) -> Case:
    row, section, key, _ = rng.choice([x for x in lines if x[2] in {"share", "weight"}])
    bad = rng.choice(("1.7", "-0.2", "0.05", "nan", '"half"'))
    return Case("space", f"{section}.{key} = {bad}", True, _with(text, row, f"{key} = {bad}"))


def _space_objective(_: random.Random, text: str, lines: list[Line]) -> Case:
    row, _section, key, value = next(x for x in lines if x[2] == "objectives")
    first = re.findall(r'"(\w+)"', value)[0]
    changed = f'{key} = {value.rstrip("]")}, "{first}"]'
    return Case("space", "an objective twice", True, _with(text, row, changed))


def _space_fine(rng: random.Random, text: str, lines: list[Line]) -> Case:
    row, _, key, value = rng.choice(lines)
    return Case("space", "a comment", False, _with(text, row, f"{key} = {value}  # as it was"))


def _space_noise(rng: random.Random, text: str, _: list[Line]) -> Case:
    row = rng.randrange(text.count("\n"))
    line = text.split("\n")[row]
    at = rng.randrange(len(line) + 1)
    changed = line[:at] + rng.choice('"[]{}=,\\#\x00é') + line[at:]
    return Case("space", "noise", None, _with(text, row, changed))


SPACE_CHANGES: Final[tuple[Callable[[random.Random, str, list[Line]], Case], ...]] = (
    _space_key,
    _space_header,
    _space_choice,
    _space_type,
    _space_unit,
    _space_bound,
    _space_share,
    _space_objective,
    _space_fine,
    _space_noise,
)


def space_case(rng: random.Random) -> Case:
    """A shipped space with one change."""
    text = rng.choice(_spaces())
    return rng.choice(SPACE_CHANGES)(rng, text, _lines(text))


def run_space(content: str) -> str:
    """Read a space and build its model, as ``check`` does."""
    space = read_space(content, "fuzz.toml", shipped_catalog())
    FirstOrderModel(space, shipped_catalog(), 1)
    return ""


@cache
def _entries() -> tuple[tuple[str, str, str], ...]:
    out = []
    for kind in [*KINDS, "llm"]:
        for p in sorted((DATA / kind).glob("*.toml")):
            out.append((kind, p.stem, p.read_text(encoding="utf-8")))
    return tuple(out)


def _entry_key(rng: random.Random, _kind: str, text: str, lines: list[Line]) -> tuple[str, bool | None, str]:
    row, section, key, value = rng.choice(lines)
    if section == "published":
        return "a published figure of another name", None, text
    made = typo(rng, key.split(".")[0])
    clash = any(k == made for _, _, k, _ in lines)
    return f"{key} -> {made}", None if clash else True, _with(text, row, f"{made} = {value}")


def _entry_value(rng: random.Random, kind: str, text: str, lines: list[Line]) -> tuple[str, bool | None, str]:
    tables = [x for x in lines if x[3].startswith("{") and "nominal" in x[3]]
    if not tables:
        return "a comment", False, text + "\n# a comment\n"
    row, _, key, value = rng.choice(tables)
    how = rng.choice(("inner", "unit", "order", "negative", "share"))
    wrong: bool | None = True
    if how == "inner":
        word = rng.choice(("low", "nominal", "high", "source"))
        changed = value.replace(f"{word} =", f"{typo(rng, word)} =", 1)
    elif how == "unit":
        changed = re.sub(r'unit = "[^"]*"', f'unit = "{rng.choice(("kg", "furlong"))}"', value)
    elif how == "share":
        spec = KINDS.get(kind)
        field = spec.fields.get(key.split(".")[0]) if spec else None
        changed = re.sub(r"high = [-\d.e+]+", "high = 3e9", value)
        wrong = True if field and field.share else None
    else:
        changed = re.sub(r"low = [-\d.e+]+", "low = 1e33" if how == "order" else "low = -1", value)
    return f"{key}: {how}", wrong, _with(text, row, f"{key} = {changed}")


def _entry_name(rng: random.Random, kind: str, text: str, lines: list[Line]) -> tuple[str, bool | None, str]:
    if kind not in KINDS:
        return "a comment", False, text + "\n# a comment\n"
    spec = KINDS[kind]
    checked = {*spec.names, *spec.words, *(a for a, w in spec.attributes.items() if w), "readiness"}
    named = [x for x in lines if x[2] in checked and re.fullmatch(r'"[A-Za-z_][\w -]*"', x[3])]
    if not named:
        return "a comment", False, text + "\n# a comment\n"
    row, _, key, value = rng.choice(named)
    word = value.strip('"').split()[0]
    made = typo(rng, word)
    real = made in shipped_catalog().entries.get(spec.names.get(key, ""), {}) or made in spec.words.get(
        key, ()
    )
    changed = _with(text, row, f"{key} = {value.replace(word, made, 1)}")
    return f"{key}: {word} -> {made}", None if real else True, changed


def _entry_noise(rng: random.Random, _kind: str, text: str, *_: object) -> tuple[str, bool | None, str]:
    at = rng.randrange(len(text))
    return "noise", None, text[:at] + rng.choice('"[]{}=,\\#\x00é') + text[at:]


def catalogue_case(rng: random.Random) -> Case:
    """A shipped catalogue file with one change."""
    kind, stem, text = rng.choice(_entries())
    how = rng.choice((_entry_key, _entry_value, _entry_value, _entry_value, _entry_name, _entry_noise))
    change, wrong, changed = how(rng, kind, text, _lines(text))
    return Case("catalogue", change, wrong, (kind, stem, changed))


def run_catalogue(content: tuple[str, str, str]) -> str:
    """Read an entry and look up the names in it, as loading a catalogue does."""
    kind, stem, text = content
    if kind == "llm":
        read_llm(text, f"llm/{stem}.toml")
        return ""
    entry = read_entry(kind, text, f"{kind}/{stem}.toml")
    entries = shipped_catalog().entries
    problems = _unknown_names({**entries, kind: {**entries[kind], stem: entry}})
    if problems:
        raise DseError(problems[0])
    return ""
