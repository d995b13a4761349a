"""The folder of a run, written so that a kill leaves the old or the new.

- ``run.json``: question, provenance, how it ended
- ``space.toml``: the space as it was read
- ``designs/``: every design judged, batch by batch, a file for each independent search: what a resume replays
- ``front.csv``: the non-dominated operating points, 9 significant digits
- ``front.npz``: codes of the designs of the front
- ``study.json``: what halves and niches of the search say: error bar, worth of levers

Files are written beside their place and moved over it; batches are appended and forced to disk.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from dse.catalog.catalog import OWN
from dse.core.errors import RunError
from dse.core.units import IntArray
from dse.core.version import __version__
from dse.run.archive import Archive
from dse.run.batch import Batch
from dse.run.front import Front, front_rows
from dse.run.log import BatchLog, framed
from dse.space.genome import Codes
from dse.space.space import Space
from dse.space.variables import Value

STUDY = "study.json"


def save_study(path: Path, content: Mapping[str, Any]) -> None:
    """Keep a study beside its run."""
    write_atomically(path / STUDY, json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_study(path: Path) -> dict[str, Any] | None:
    """Read the study of a run, if one was made.

    Raises:
        RunError: it cannot be read.

    """
    file = path / STUDY
    if not file.exists():
        return None
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error}); remove it, a search makes it again") from error
    if not isinstance(raw, dict):
        raise RunError(f"{file}: is no study of ours; remove it, a search makes it again")
    return raw


SWEPT: Final = "sweep.json"
"""question of a sweep, beside its state and its space"""

MANIFEST, DESIGNS, FRONT, CODES, SPACE = "run.json", "designs", "front.csv", "front.npz", "space.toml"

OLD_LOGS = ("log.jsonl", "polished.jsonl", "levers.jsonl")
"""of runs before batches: a JSON line a trial, and designs found beside them"""


PACKAGES = ("optuna", "numpy", "numba", "scipy", "moocore")


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside its place and move it over.

    Raises:
        RunError: the folder cannot be written.

    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same for bytes, which are on the disk before they take the place.

    Raises:
        RunError: the folder cannot be written.

    """
    if not path.name or path.is_dir():
        raise RunError(f"{path}: is a folder, expected the name of a file; choose another --out")
    if path.exists() and not path.is_file():  # a pipe or a terminal cannot be replaced
        path.write_bytes(content)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the new name on an empty file
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


@dataclass(frozen=True)
class KeptFront:
    """Operating points of a front by codes of their designs."""

    codes: Codes
    """(n, variables), each design once"""
    rows: IntArray
    """row of ``codes`` of each point"""
    points: IntArray
    """operating point of each"""


class Folder:
    """The folder of a run: manifest, durable log, front."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, space: Space, about: Mapping[str, Any], *, fresh: bool) -> None:
        """Write the manifest and the space; refuse to overwrite another run.

        Raises:
            RunError: the folder holds a run already, or cannot be written.

        """
        if fresh and (self.holds_run() or self.holds_front_alone()):
            raise RunError(f"{self.path}: already holds a run; use --resume to go on, or another --out")
        if (self.path / SWEPT).exists():
            raise RunError(f"{self.path}: holds a sweep; use another --out")
        versions = {p: metadata.version(p) for p in PACKAGES}
        write_atomically(self.path / SPACE, space.text)
        manifest = {"dse": __version__, "packages": versions, "overrides": list(space.overrides), **about}
        write_atomically(self.path / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True) + "\n")

    def keep_catalog(self, own: Mapping[tuple[str, str], str]) -> None:
        """Keep the catalogue files that were added to the shipped ones: they travel with the run."""
        for (kind, name), text in own.items():
            write_atomically(self.path / OWN / kind / f"{name}.toml", text)

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

    def holds_run(self) -> bool:
        """Whether designs have been judged into it."""
        return any(self.logs()) or any((self.path / name).exists() for name in OLD_LOGS[:1])

    def holds_front_alone(self) -> bool:
        """Whether a front is there without the designs that were judged for it, as fronts are shipped."""
        return (self.path / CODES).exists() and not self.holds_run()

    def move_aside(self) -> Path:
        """Move the whole folder beside its place, under the first free name; return where it went.

        Raises:
            RunError: it cannot be moved.

        """
        numbered = (self.path.with_name(f"{self.path.name}-earlier-{n}") for n in itertools.count(1))
        beside = next(path for path in numbered if not path.exists())
        try:
            self.path.rename(beside)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be moved to {beside} ({error})") from error
        return beside

    def log(self, name: str) -> BatchLog:
        """The log of one independent search of the run."""
        return BatchLog(self.path / DESIGNS / f"{name}.bin")

    def write_log(self, name: str, batch: Batch) -> None:
        """Write the log of an independent search whose one batch is kept elsewhere too, in place of any."""
        write_bytes(self.log(name).path, framed(batch))

    def logs(self) -> list[BatchLog]:
        """Logs that are there, by name."""
        return [BatchLog(p) for p in sorted((self.path / DESIGNS).glob("*.bin"))]

    def old_designs(self) -> list[dict[str, Value]]:
        """Designs of a run before batches, one a line; a line cut short by a kill ends a log.

        Raises:
            RunError: a line in the middle is not ours.

        """
        out: list[dict[str, Value]] = []
        for path in (self.path / name for name in OLD_LOGS):
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            for i, line in enumerate(lines):
                try:
                    found = json.loads(line)
                except ValueError:
                    if i == len(lines) - 1:
                        break
                    raise RunError(f"{path}: line {i + 1} is damaged; remove it") from None
                params: dict[str, Value] = found.get("params", found)
                out.append({name.partition("|")[0]: value for name, value in params.items()})
        return out

    def keep_front(self, kept: KeptFront) -> None:
        """Keep the designs of the front by their codes."""
        body = io.BytesIO()
        np.savez_compressed(body, codes=kept.codes, rows=kept.rows, points=kept.points)
        write_bytes(self.path / CODES, body.getvalue())

    def forget_front(self) -> None:
        """Drop the front of an earlier end: until there is a new one the logs are what the run has."""
        (self.path / CODES).unlink(missing_ok=True)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Put manifest and front back as they were where a run turns out not to be readable."""
        files = [self.path / name for name in (MANIFEST, CODES)]
        before = {file: file.read_bytes() for file in files if file.is_file()}
        try:
            yield
        except RunError:
            for file, content in before.items():
                if not file.exists() or file.read_bytes() != content:
                    write_bytes(file, content)
            raise

    def kept_front(self) -> KeptFront | None:
        """Designs of the front by their codes, None where a search was killed before it had one."""
        path = self.path / CODES
        if not path.exists():
            return None
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                return KeptFront(stored["codes"], stored["rows"], stored["points"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise RunError(f"{path}: cannot be read ({error}); remove it, the logs have it all") from error

    def write_front(self, space: Space, archive: Archive, front: Front) -> None:
        """Write front.csv."""
        design, outcomes = archive.joined()
        write_atomically(self.path / FRONT, csv_text(front_rows(space, design, outcomes, front)))
