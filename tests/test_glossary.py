"""Names of arguments and fields are the field's terms: abbreviations stand in the glossary, retired names nowhere."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
GLOSSARY = tomllib.loads((HOME / "dse" / "data" / "glossary.toml").read_text(encoding="utf-8"))

WORDS = {
    *(
        "all",
        "at",
        "box",
        "by",
        "cap",
        "cls",
        "far",
        "fit",
        "fix",
        "gap",
        "gas",
        "got",
        "hot",
        "id",
        "if",
        "ifs",
        "in",
        "no",
    ),
    *(
        "job",
        "key",
        "log",
        "low",
        "mix",
        "new",
        "now",
        "of",
        "old",
        "on",
        "one",
        "op",
        "out",
        "own",
        "per",
        "raw",
    ),
    *("row", "run", "say", "sub", "to", "why"),
}
"""whole words of three letters or less"""


def names() -> Iterator[tuple[str, str]]:
    """(file, name) of every argument and dataclass field."""
    for path in sorted((HOME / "dse").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                    yield path.name, a.arg
            elif isinstance(node, ast.ClassDef):
                for m in node.body:
                    if isinstance(m, ast.AnnAssign) and isinstance(m.target, ast.Name):
                        yield path.name, m.target.id


def test_abbreviations_stand_in_the_glossary() -> None:
    """Single letters are symbols of a formula; all else short or without a vowel is a word or a term."""
    for file, name in names():
        for token in name.strip("_").split("_"):
            short = 1 < len(token) <= 3 or (len(token) > 1 and not re.search("[aeiouy]", token))
            if short and not token.isdigit():
                assert token in WORDS or token in GLOSSARY["terms"], (file, name)


def test_retired_names_are_gone() -> None:
    found = {name for _, name in names()}
    assert not found & set(GLOSSARY["retired"])


def test_every_term_is_used_and_explained() -> None:
    tokens = {t for _, name in names() for t in name.split("_")}
    for term, meaning in GLOSSARY["terms"].items():
        assert term in tokens, term
        assert len(meaning) > 8, term
