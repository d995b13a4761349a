"""The error tree: every fault a person can mend, told so that they can mend it.

    DseError
    ├── DataError   (ValueError)  a catalogue file
    ├── UnitError   (ValueError)  a number with a wrong or missing unit
    ├── SpaceError  (ValueError)  a search space, an override, a design
    └── RunError    (OSError)     a run folder that cannot be read or written

A file's faults are gathered and raised once: ``file: key: got X, expected Y, e.g. Z``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NoReturn

OK, BAD_INPUT, NOTHING, INTERRUPTED = 0, 2, 3, 130
"""exit codes of every command"""


class DseError(Exception):
    """Base of all errors that end a command with exit code 2.

    >>> import dse
    >>> try:
    ...     dse.load_space("datacentre")
    ... except dse.DseError as error:
    ...     print("did you mean" in str(error))
    True
    """


class DataError(DseError, ValueError):
    """A catalogue file is at fault."""


class UnitError(DseError, ValueError):
    """A quantity has a wrong, unknown or missing unit."""


class SpaceError(DseError, ValueError):
    """A search space, an override or a design is at fault."""


class RunError(DseError, OSError):
    """A run folder cannot be read or written."""


class InfeasibleError(DseError):
    """No design met every limit; ends a command with exit code 3."""


def masked(text: str) -> str:
    """A text without the passwords of the URLs in it."""
    text = re.sub(r"(\w://[^:/\s]*):[^\n]*@", r"\1:***@", text)
    return re.sub(r"(password=)[^&\s'\"]*", r"\1***", text, flags=re.IGNORECASE)


class Faults:
    """Gathers the faults of one file and raises them together."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lines: list[str] = []

    def add(self, key: str, got: object, expected: str, example: str = "") -> None:
        """Record one fault: the key, the value found, what is allowed and an example."""
        tail = f", e.g. {example}" if example else ""
        self.lines.append(f"{key}: got {got!r}, expected {expected}{tail}")

    def raise_if_any(self, kind: type[DseError]) -> None:
        """Raise ``kind`` with every recorded fault, if there is one."""
        if self.lines:
            fail(kind, self.where, self.lines)


def fail(kind: type[DseError], where: str, lines: Iterable[str]) -> NoReturn:
    """Raise ``kind`` with one line per fault, each prefixed by the file it is in."""
    raise kind("\n".join(f"{where}: {line}" for line in lines))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for a misspelt name, else the known names."""
    from difflib import get_close_matches

    names = sorted(str(name) for name in known)
    close = get_close_matches(name, names, n=1)
    if close:
        return f"one of the known names (did you mean {close[0]!r}?)"
    return "one of " + ", ".join(names)
