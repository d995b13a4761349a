"""Exhaustive sweep of a space's grid: the exact front, and the oracle for what a search reached.

Blocks of bounded memory are judged in one order, and only what stands on the front so far is kept. The state
is written every few seconds, so that a sweep that was stopped goes on where it stood.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, tee
from pathlib import Path
from typing import Any, Final

import numpy as np

from dse.core.errors import RunError
from dse.evaluator.protocol import Evaluator, Outcomes
from dse.run.archive import Archive
from dse.run.folder import write_bytes
from dse.run.front import Front, front_of
from dse.space.design import Design, grid
from dse.space.space import Space

BLOCK: Final = 4096
"""designs at a time: what they are found to do takes some 40 MB"""

SAVED: Final = 5.0
"""s between two savings of the state"""

STATE: Final = "sweep.npz"


@dataclass
class Swept:
    """The exact front of a grid, and what it took."""

    archive: Archive
    designs: int = 0
    feasible: int = 0
    seconds: float = 0.0
    blocks: int = 0
    finished: bool = False
    front: Front = field(init=False)

    def __post_init__(self) -> None:
        self.shrink()

    def shrink(self) -> None:
        """Drop archived designs that no longer stand on the front."""
        if not len(self.archive):
            none = np.zeros(0, dtype=np.int64)
            self.front = Front(none, none, np.empty((0, len(self.archive.space.objectives))))
            return
        design, outcomes = self.archive.joined()
        rows = np.unique(front_of(self.archive.space, outcomes).rows)
        self.archive.designs, self.archive.outcomes = [design.take(rows)], [outcomes.take(rows)]
        self.front = front_of(self.archive.space, self.archive.outcomes[0])


def sweep(
    space: Space,
    evaluator: Evaluator,
    watch: Callable[[int], None] | None = None,
    block: int = BLOCK,
    *,
    state: SweepState | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Swept:
    """Judge every design of the grid block by block, keeping the front so far.

    With ``state`` it goes on from what that holds, and is saved there; ``stop`` ends it between blocks.
    """
    done = state.load(space, evaluator) if state else Swept(Archive(space))
    start = time.monotonic() - done.seconds
    saved = time.monotonic()
    for design, outcomes, count in _judged(evaluator, islice(grid(space, block), done.blocks, None)):
        done.designs += count
        done.feasible += int(outcomes.feasible.any(axis=1).sum()) if len(design) else 0
        kept = np.unique(front_of(space, outcomes).rows) if len(design) else np.zeros(0, np.int64)
        if len(kept):
            done.archive.add(design.take(kept), outcomes.take(kept))
            done.shrink()
        done.blocks += 1
        done.seconds = time.monotonic() - start
        if watch:
            watch(done.designs)
        if state and time.monotonic() > saved + SAVED:
            state.save(done)
            saved = time.monotonic()
        if stop():
            break
    else:
        done.finished = True
    if state:
        state.save(done)
    return done


def _judged(evaluator: Evaluator, blocks: Iterable[Design]) -> Iterator[tuple[Design, Outcomes, int]]:
    """Designs judged, what they were found to do, and how many were asked, block by block.

    A design that breaks a limit of its own needs no plan to be judged: an evaluator that can tell leaves it
    out, and judges other blocks meanwhile.
    """
    screened = getattr(evaluator, "screened", None)
    if screened is None:
        for design in blocks:
            yield design, evaluator.evaluate(design), len(design)
        return
    ours, theirs = tee(blocks)
    for design, (rows, outcomes, _) in zip(ours, screened(theirs), strict=True):
        yield design.take(rows), outcomes, len(design)


@dataclass(frozen=True)
class SweepState:
    """Where a sweep stands, in a file of its folder."""

    path: Path
    question: str = ""
    """what is swept and who judges it: a state of anything else is refused, empty to take what is there"""

    @property
    def unfinished(self) -> bool:
        """Whether there is a sweep to go on with."""
        return self.path.exists() and not bool(self._read()["finished"])

    def save(self, done: Swept) -> None:
        """Write the state; a kill leaves the old or the new."""
        columns = done.archive.joined()[0].columns if len(done.archive) else {}
        body = io.BytesIO()
        np.savez_compressed(
            body,
            question=self.question,
            counts=np.array([done.blocks, done.designs, done.feasible]),
            seconds=done.seconds,
            finished=done.finished,
            **{f"column {name}": column for name, column in columns.items()},
        )
        write_bytes(self.path, body.getvalue())

    def load(self, space: Space, evaluator: Evaluator) -> Swept:
        """What was swept so far; its front is judged again.

        Raises:
            RunError: the state is of another question, or cannot be read.

        """
        if not self.path.exists():
            return Swept(Archive(space))
        raw = self._read()
        if self.question and str(raw["question"]) != self.question:
            raise RunError(
                f"{self.path}: is of another space, grid, catalogue or evaluator; use the same, or "
                "another --out"
            )
        columns = {k.removeprefix("column "): v for k, v in raw.items() if k.startswith("column ")}
        archive = Archive(space)
        if columns:
            design = Design({v.name: columns[v.name] for v in space.variables})
            archive.add(design, evaluator.evaluate(design))
        blocks, designs, feasible = (int(x) for x in raw["counts"])
        return Swept(archive, designs, feasible, float(raw["seconds"]), blocks, bool(raw["finished"]))

    def _read(self) -> dict[str, Any]:
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise RunError(f"{self.path}: cannot be read ({error}); remove it to sweep anew") from error
