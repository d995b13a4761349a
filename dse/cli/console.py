"""What a command says: lines for a person, or one JSON object; progress only where somebody watches."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dse.core.errors import DataError


@dataclass
class Console:
    """How the running command speaks, and what it has told of itself."""

    quiet: bool = False
    json: bool = False
    payload: dict[str, Any] = field(default_factory=dict)


_running: ContextVar[Console | None] = ContextVar("console", default=None)


def _console() -> Console:
    return _running.get() or Console()


@contextmanager
def speaking(options: argparse.Namespace) -> Iterator[None]:
    """Speak as ``--quiet`` and ``--json`` ask; at the end what was told is printed as one object."""
    console = Console(options.quiet, options.json)
    token = _running.set(console)
    try:
        yield
    finally:
        _running.reset(token)
        if console.json and console.payload:
            print(json.dumps(console.payload, indent=1, sort_keys=True, default=str))


def say(text: object = "") -> None:
    """A line for a person; neither with ``--quiet`` nor with ``--json``."""
    console = _console()
    if not (console.quiet or console.json):
        print(text)


def note(text: str) -> None:
    """A remark beside the answer, on stderr; not with ``--quiet``."""
    if not _console().quiet:
        print(text, file=sys.stderr)


def result(text: object) -> None:
    """What was asked for, a file written or a figure: with ``--quiet`` too, not with ``--json``."""
    if not _console().json:
        print(text)


def written(path: Path) -> None:
    """A file that the command wrote."""
    _console().payload.setdefault("files", []).append(str(path))
    result(path)


def tell(**facts: Any) -> None:
    """What ``--json`` prints beside the files."""
    _console().payload.update(facts)


def progress(name: str, *, unit: str = "design", total: int | None = None) -> tqdm[Any]:
    """A bar on a terminal, nothing into a pipe or with ``--quiet``."""
    return tqdm(
        desc=name,
        unit=unit,
        total=total,
        file=sys.stderr,
        dynamic_ncols=True,
        mininterval=0.3,
        disable=True if _console().quiet else None,
    )


def given_of(items: Sequence[str]) -> dict[str, str]:
    """What ``--given KEY=VALUE`` says of what a file leaves out.

    Raises:
        DataError: not a pair.

    """
    out = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not text:
            raise DataError(f"--given {item}: expected KEY=VALUE, e.g. --given system=h200_sxm")
        if key.strip() in out:
            raise DataError(f"--given {key.strip()}: given twice, expected once")
        out[key.strip()] = text.strip()
    return out
