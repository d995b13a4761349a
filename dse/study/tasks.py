"""What a search hands out to workers: a half for some seconds, or designs to judge."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final
from uuid import uuid4

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.units import IntArray
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.loading import EvaluatorSource
from dse.run.batch import Batch
from dse.run.log import Log, MemoryLog
from dse.space.genome import Codes, Genome
from dse.space.space import Space
from dse.study.archives import Archives
from dse.study.cluster import Cluster
from dse.study.evolution import Evolution
from dse.study.half import Half, Strategy
from dse.study.judging import Judge
from dse.study.niches import niches_of
from dse.study.samplers import AUTO, OptunaStrategy

SLICE: Final = 5.0
"""s that a worker searches before it says what it found: what a lost worker or Ctrl-C can cost"""

LEAST: Final = 256
"""designs of our model that are worth a task of their own"""


@dataclass(frozen=True)
class Question:
    """What halves of a search have in common: all that a worker needs to take any of them up."""

    space: Space
    source: EvaluatorSource
    catalog: Catalog
    sampler: str
    first: Codes
    """designs that are judged before any other"""
    planned: int
    """designs that fill the space first, of ``auto``"""
    judged_by: str
    """name and version of the evaluator: a worker may have another by the same name"""
    token: str = field(default_factory=lambda: uuid4().hex)
    """names this search among all that a worker serves"""

    def archives(self) -> Archives:
        """Empty archives of the space."""
        genome = Genome(self.space.variables)
        niches = niches_of(genome, self.space.levers, self.space.target.locked_levels)
        return Archives(genome, niches, len(self.space.objectives), self.space.bounds)

    def judge(self, threads: int) -> Judge:
        """An evaluator of the space; ours judges on so many threads.

        Raises:
            SpaceError: it is of another version here than where the search was begun.

        """
        evaluator = self.source.make_as(self.judged_by, self.space, self.catalog)
        if isinstance(evaluator, FirstOrderModel):
            evaluator.threads = threads
        return Judge(evaluator, Genome(self.space.variables), self.space)

    def half(self, seed: int, number: int, log: Log | None, *, threads: int) -> Half:
        """A half that has an evaluator of its own."""
        archives, judge = self.archives(), self.judge(threads)
        strategy: Strategy = (
            Evolution(archives, [seed, number], self.first, seeds=self.planned)
            if self.sampler == AUTO
            else OptunaStrategy(
                archives, self.sampler, [seed, number], len(self.space.operating_points), self.first
            )
        )
        return Half(judge, archives, strategy, log, slow=not isinstance(judge.evaluator, FirstOrderModel))


@dataclass(frozen=True)
class Assignment:
    """How far a worker is to take a half."""

    seed: int
    number: int
    designs: int
    exact: bool
    seconds: float
    share: int
    """tasks that may share the threads of one worker"""


@dataclass
class Found:
    """What a worker found, and who it was: the next task goes there by preference."""

    batches: list[Batch]
    exhausted: bool
    worker: str


_HALVES: OrderedDict[tuple[str, int, int], Half] = OrderedDict()
_JUDGES: OrderedDict[str, list[Judge]] = OrderedDict()
_LOCK = Lock()
KEPT: Final = 32
"""halves, and searches' judges, that a worker keeps between tasks"""


def advance(
    question: Question, asked: Assignment, evaluated: int, batches: Sequence[Batch] | None
) -> Found | None:
    """Take a half on, on a worker; None where it must be sent the batches that it had so far.

    The worker that had the half last has it still; another, or one that was told of more since, builds it
    again from its batches, as a resume does.
    """
    from distributed import get_worker

    worker = get_worker()
    key = (question.token, asked.seed, asked.number)
    with _LOCK:
        half = _HALVES.pop(key, None)
    if half is None or half.evaluated != evaluated:
        if evaluated and batches is None:
            return None
        threads = max(worker.state.nthreads // asked.share, 1)
        half = question.half(asked.seed, asked.number, MemoryLog(batches or ()), threads=threads)
    assert isinstance(half.log, MemoryLog)  # noqa: S101 - made above
    half.wants(evaluated, exact=True)  # takes in what was sent
    half.log.kept.clear()
    end = time.monotonic() + asked.seconds
    half.advance(asked.designs, lambda: time.monotonic() > end, exact=asked.exact)
    found = Found(list(half.log.kept), half.exhausted, worker.address)
    with _LOCK:
        _HALVES[key] = half
        while len(_HALVES) > KEPT:
            _HALVES.popitem(last=False)
    return found


def judged(question: Question, codes: Codes, generation: int, size: int, asked: IntArray | None) -> Batch:
    """Judge designs, on a worker."""
    with _LOCK:
        free = _JUDGES.setdefault(question.token, [])
        judge = free.pop() if free else None
        while len(_JUDGES) > KEPT:
            _JUDGES.popitem(last=False)
    judge = judge or question.judge(1)
    batch = judge.batch(codes, generation, size, asked)
    with _LOCK:
        free.append(judge)
    return batch


class SharedJudge(Judge):
    """A judge whose designs are judged by workers."""

    def __init__(self, question: Question, cluster: Cluster) -> None:
        judge = question.judge(1)
        super().__init__(judge.evaluator, judge.genome, question.space)
        self.question, self.cluster = question, cluster
        self.least = LEAST if isinstance(judge.evaluator, FirstOrderModel) else 1

    def batch(self, codes: Codes, generation: int, size: int, asked: IntArray | None = None) -> Batch:
        """Judge designs at every operating point, in as many parts as there are threads."""
        parts = max(min(self.cluster.threads, len(codes) // self.least), 1)
        rows = np.array_split(np.arange(len(codes)), parts)
        tasks: list[tuple[Any, ...]] = [
            (judged, self.question, codes[r], generation, size, None if asked is None else asked[r])
            for r in rows
        ]
        return Batch.joined(list(self.cluster.in_order(tasks)))
