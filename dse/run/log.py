"""The durable log of a search: whole batches as framed arrays, forced to disk at their ends.

A frame is ``DSEB``, the length and the CRC-32 of what follows, and that many bytes of an ``.npz`` archive. A
frame cut short by a kill ends the log.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from dse.core.errors import RunError
from dse.run.batch import Batch

MARK: Final = b"DSEB"
HEAD: Final = struct.Struct("<4sQI")

KINDS: Final = {"rows": np.int32, "tags": np.int16, "asked": np.int16}
"""how indices are stored"""


def framed(batch: Batch) -> bytes:
    """A batch as it is stored."""
    stored: dict[str, Any] = {}
    for f in fields(batch):
        value = np.asarray(getattr(batch, f.name))
        if value.size or f.name in {"codes", "points"}:
            stored[f.name] = value.astype(KINDS.get(f.name, value.dtype))
    body = io.BytesIO()
    np.savez(body, **stored)
    content = body.getvalue()
    return HEAD.pack(MARK, len(content), zlib.crc32(content)) + content


class BatchLog:
    """Batches of one independent search in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, batch: Batch) -> None:
        """Append a batch and force it to disk.

        Raises:
            RunError: it cannot be written.

        """
        frame = framed(batch)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(frame)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written ({error.strerror or error})") from error

    def batches(self, *, mend: bool = False) -> Iterator[Batch]:
        """Batches in order; ``mend`` cuts off a frame that a kill left unfinished, so that more can follow.

        Raises:
            RunError: a frame in the middle is damaged.

        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            while True:
                start = file.tell()
                head = file.read(HEAD.size)
                if not head:
                    return
                mark, length, check = HEAD.unpack(head) if len(head) == HEAD.size else (MARK, end, 0)
                content = file.read(length) if mark == MARK else b""
                if len(content) == length and zlib.crc32(content) == check:
                    yield _read(content)
                    continue
                if mark != MARK or start + HEAD.size + length < end:
                    raise RunError(
                        f"{self.path}: damaged at byte {start} of {end}; cut it there "
                        f"(truncate -s {start} FILE) and --resume: what follows is searched again"
                    )
                break
        if mend:
            os.truncate(self.path, start)


class MemoryLog:
    """The same for a search that keeps nothing: batches in memory."""

    def __init__(self, batches: Iterable[Batch] = ()) -> None:
        self.kept = list(batches)

    def append(self, batch: Batch) -> None:
        """Keep a batch."""
        self.kept.append(batch)

    def batches(self, *, mend: bool = False) -> Iterator[Batch]:
        """Batches in order."""
        del mend
        yield from list(self.kept)


Log = BatchLog | MemoryLog


def _read(content: bytes) -> Batch:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        found = {name: stored[name] for name in stored.files}
    for name in ("generation", "size"):
        found[name] = int(found[name])
    for name in KINDS:
        if name in found:
            found[name] = found[name].astype(np.int64)
    for name in ("rows", "tags"):
        found.setdefault(name, np.empty(0, dtype=np.int64))
    return Batch(**found)
