"""Exhaustive sweep of a space's grid: the exact front, and the oracle for what a search reached.

Blocks of bounded memory are judged in one order, and only what stands on the front so far is kept. The state
is written every few seconds, so that a sweep that was stopped goes on where it stood.
"""

from __future__ import annotations

import io
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice, tee
from pathlib import Path
from threading import Lock
from typing import Any, Final
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.errors import RunError
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.loading import EvaluatorSource
from dse.evaluator.protocol import Evaluator, Outcomes
from dse.run.archive import Archive
from dse.run.folder import write_bytes
from dse.run.front import Front, front_of
from dse.space.design import Design, grid
from dse.space.space import Space
from dse.study.cluster import Cluster

BLOCK: Final = 4096
"""designs at a time: what they are found to do takes some 40 MB"""

SAVED: Final = 5.0
"""s between two savings of the state"""

SPAN: Final = 8
"""blocks that a worker sweeps at a time, in some seconds"""

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

    def take_in(self, part: Swept) -> None:
        """Add what was swept next."""
        self.designs += part.designs
        self.feasible += part.feasible
        self.blocks += part.blocks
        if len(part.archive):
            self.archive.add(*part.archive.joined())
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


@dataclass(frozen=True)
class SweepQuestion:
    """What a worker needs to sweep any blocks of a grid."""

    space: Space
    source: EvaluatorSource
    catalog: Catalog
    judged_by: str
    """name and version of the evaluator: a worker may have another by the same name"""
    block: int = BLOCK
    token: str = field(default_factory=lambda: uuid4().hex)
    """names this sweep among all that a worker serves"""


def sweep(
    space: Space,
    evaluator: Evaluator,
    watch: Callable[[int], None] | None = None,
    block: int = BLOCK,
    *,
    state: SweepState | None = None,
    stop: Callable[[], bool] = lambda: False,
    cluster: Cluster | None = None,
    asked: SweepQuestion | None = None,
) -> Swept:
    """Judge every design of the grid block by block, keeping the front so far.

    With ``state`` it goes on from what that holds, and is saved there; ``stop`` ends it between blocks. With
    a cluster its workers judge spans of blocks of what is ``asked``, which are taken in in the same order.
    """
    done = state.load(space, evaluator) if state else Swept(Archive(space))
    start = time.monotonic() - done.seconds
    saved = time.monotonic()
    if cluster and asked:
        tasks = ((swept_span, asked, first, SPAN) for first in count(done.blocks, SPAN))
        parts: Iterator[Swept] = cluster.in_order(tasks, lambda: done.finished or stop())
    else:
        parts = _blocks(space, evaluator, islice(grid(space, block), done.blocks, None), stop)
    for part in parts:
        done.finished = part.finished
        done.take_in(part)
        done.seconds = time.monotonic() - start
        if watch:
            watch(done.designs)
        if state and time.monotonic() > saved + SAVED:
            state.save(done)
            saved = time.monotonic()
    if state:
        state.save(done)
    return done


def _blocks(
    space: Space, evaluator: Evaluator, blocks: Iterable[Design], stop: Callable[[], bool]
) -> Iterator[Swept]:
    """Each block swept; the last, which holds nothing, says that it is finished."""
    for design, outcomes, designs in _judged(evaluator, blocks):
        part = Swept(Archive(space), designs, blocks=1)
        if len(design):
            part.feasible = int(outcomes.feasible.any(axis=1).sum())
            kept = np.unique(front_of(space, outcomes).rows)
            part.archive.add(design.take(kept), outcomes.take(kept))
        yield part
        if stop():
            return
    yield Swept(Archive(space), finished=True)


_GRIDS: OrderedDict[str, list[tuple[int, Iterator[Design], Evaluator]]] = OrderedDict()
"""where each of a worker's threads stands in the grids that it enumerates"""

_LOCK = Lock()
KEPT: Final = 4
"""grids of which a worker knows where it stands"""


def swept_span(asked: SweepQuestion, first: int, blocks: int) -> Swept:
    """Sweep so many blocks from ``first``, on a worker, which goes on enumerating where it was."""
    with _LOCK:
        known = _GRIDS.setdefault(asked.token, [])
        behind = [i for i, (position, _, _) in enumerate(known) if position <= first]
        taken = known.pop(behind[-1]) if behind else None
        while len(_GRIDS) > KEPT:
            _GRIDS.popitem(last=False)
    if taken is not None:
        position, designs, evaluator = taken
    else:
        position, designs = 0, grid(asked.space, asked.block)
        evaluator = asked.source.make_as(asked.judged_by, asked.space, asked.catalog)
        if isinstance(evaluator, FirstOrderModel):
            evaluator.threads = 1  # as many spans are swept at a time as there are threads
    whole = Swept(Archive(asked.space))
    for part in _blocks(
        asked.space, evaluator, islice(designs, first - position, first - position + blocks), bool
    ):
        whole.take_in(part)
    whole.finished = whole.blocks < blocks
    with _LOCK:
        known.append((first + whole.blocks, designs, evaluator))
    return whole


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

    def check(self) -> None:
        """Refuse a state of another question.

        Raises:
            RunError: it is, or cannot be read.

        """
        if self.question and self.path.exists() and str(self._read()["question"]) != self.question:
            raise RunError(
                f"{self.path}: is of another space, grid, catalogue or evaluator; use the same, or "
                "another --out"
            )

    def load(self, space: Space, evaluator: Evaluator) -> Swept:
        """What was swept so far; its front is judged again.

        Raises:
            RunError: the state is of another question, or cannot be read.

        """
        if not self.path.exists():
            return Swept(Archive(space))
        self.check()
        raw = self._read()
        columns = {k.removeprefix("column "): v for k, v in raw.items() if k.startswith("column ")}
        archive = Archive(space)
        if columns:
            design = Design({v.name: columns[v.name] for v in space.variables})
            archive.add(design, evaluator.evaluate(design))
        blocks, designs, feasible = (int(x) for x in raw["counts"])
        return Swept(archive, designs, feasible, float(raw["seconds"]), blocks, bool(raw["finished"]))

    def _read(self) -> dict[str, Any]:
        try:
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise RunError(f"{self.path}: cannot be read ({error}); remove it to sweep anew") from error
