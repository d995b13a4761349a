"""The folder of a run, written so that a kill leaves the old or the new.

    run.json    question, provenance, how it ended
    space.toml  the space as it was read
    log.jsonl   one line per trial, appended and flushed batch by batch: what a resume replays
    front.csv   the non-dominated operating points, 9 significant digits

Files are written beside their place and moved over it.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from dse.core.errors import RunError
from dse.core.version import __version__
from dse.run.archive import Archive
from dse.run.front import Front, front_of, front_rows
from dse.space.space import Space
from dse.space.variables import Value

STUDY = "study.json"


def save_study(path: Path, content: Mapping[str, Any]) -> None:
    """Keep a study beside its run."""
    write_atomically(path / STUDY, json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_study(path: Path) -> dict[str, Any] | None:
    """Read the study of a run, if one was made."""
    file = path / STUDY
    if not file.exists():
        return None
    raw: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return raw


MANIFEST, LOG, FRONT, SPACE = "run.json", "log.jsonl", "front.csv", "space.toml"


POLISHED, FOUND = "polished.jsonl", "levers.jsonl"
"""designs beside the log: around the front of the search, and from searches with a lever locked"""


PACKAGES = ("optuna", "numpy", "numba", "scipy", "moocore")


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside its place and move it over.

    Raises:
        RunError: the folder cannot be written.

    """
    if not path.name or path.is_dir():
        raise RunError(f"{path}: is a folder, expected the name of a file; choose another --out")
    if path.exists() and not path.is_file():  # a pipe or a terminal cannot be replaced
        path.write_text(text, encoding="utf-8")
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(
            f"{path}: cannot be written ({error.strerror or error}); choose another --out"
        ) from error


def csv_text(rows: Iterator[list[str]]) -> str:
    """Rows as CSV text with plain newlines."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


class Folder:
    """The folder of a run: manifest, durable log, front."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, space: Space, about: Mapping[str, Any], *, fresh: bool) -> None:
        """Write the manifest and the space; refuse to overwrite another run.

        Raises:
            RunError: the folder holds a run already, or cannot be written.

        """
        if fresh and (self.path / LOG).exists():
            raise RunError(f"{self.path}: already holds a run; use --resume to go on, or another --out")
        versions = {p: metadata.version(p) for p in PACKAGES}
        write_atomically(self.path / SPACE, space.text)
        for name in (POLISHED, FOUND):
            if fresh and (self.path / name).exists():
                self.keep_designs(name, [])
        manifest = {"dse": __version__, "packages": versions, "overrides": list(space.overrides), **about}
        write_atomically(self.path / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True) + "\n")

    def manifest(self) -> dict[str, Any]:
        """Read the manifest.

        Raises:
            RunError: the folder is not a run.

        """
        try:
            raw = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{self.path}: not a run folder (no {MANIFEST}); give the --out of a search"
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path / MANIFEST}: cannot be read ({error})") from error
        if not isinstance(raw, dict) or "dse" not in raw or not (self.path / SPACE).is_file():
            raise RunError(f"{self.path}: not a run folder ({MANIFEST} or {SPACE} is not one of ours)")
        return raw

    def space_text(self) -> str:
        """The space as the run read it.

        Raises:
            RunError: it cannot be read.

        """
        try:
            return (self.path / SPACE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{self.path / SPACE}: cannot be read ({error})") from error

    def update(self, **changes: Any) -> None:
        """Change entries of the manifest."""
        manifest = self.manifest() | changes
        write_atomically(self.path / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True) + "\n")

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append a batch to the log and force it to disk."""
        try:
            with (self.path / LOG).open("a", encoding="utf-8") as log:
                log.writelines(
                    json.dumps(line, separators=(",", ":"), sort_keys=True) + "\n" for line in lines
                )
                log.flush()
                os.fsync(log.fileno())
        except OSError as error:
            raise RunError(f"{self.path / LOG}: cannot be written ({error.strerror or error})") from error

    def trials(self) -> list[dict[str, Any]]:
        """Logged trials; a line cut short by a kill ends the log.

        Raises:
            RunError: a line in the middle is not ours.

        """
        path = self.path / LOG
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").split("\n")
        out: list[dict[str, Any]] = []
        for i, line in enumerate(lines):
            if not line:
                continue
            try:
                out.append(json.loads(line))
            except ValueError:
                if i >= len(lines) - 2:
                    break
                raise RunError(f"{path}: line {i + 1} is damaged; remove it and --resume") from None
        return out

    def keep(self, count: int) -> None:
        """Cut the log to ``count`` whole trials, as a resume needs."""
        lines = (self.path / LOG).read_text(encoding="utf-8").split("\n")[:count] if count else []
        write_atomically(self.path / LOG, "".join(line + "\n" for line in lines))

    def keep_designs(self, name: str, designs: Sequence[Mapping[str, Value]]) -> None:
        """Keep front designs beside those of the log, each once; ``name`` is POLISHED or FOUND."""
        lines = dict.fromkeys(json.dumps(d, separators=(",", ":"), sort_keys=True) + "\n" for d in designs)
        write_atomically(self.path / name, "".join(lines))

    def designs(self, name: str) -> list[dict[str, Value]]:
        """Designs of ``keep_designs``; none before they were looked for."""
        path = self.path / name
        return [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def write_front(self, space: Space, archive: Archive) -> Front:
        """Write front.csv from an archive and return the front."""
        design, outcomes = archive.joined()
        front = front_of(space, outcomes)
        write_atomically(self.path / FRONT, csv_text(front_rows(space, design, outcomes, front)))
        return front
