"""One independent search: it asks, has judged, remembers and logs; a run is made of at least two."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import numpy as np

from dse.core.units import BoolArray, IntArray
from dse.run.batch import Batch
from dse.run.log import Log
from dse.space.genome import Codes
from dse.study.archives import Archives, Keys, known
from dse.study.judging import Judge

DURABLE: Final = 5.0
"""s: a slow evaluator is given as many designs at a time as it judges in this, so that no more is ever lost
"""

FEWEST: Final = 1
"""designs a slow evaluator is given at first: one may take minutes"""


MOST_AT_ONCE: Final = 4096
"""designs of our model judged, and forced to disk, at once: what they are found to do takes some 40 MB"""


class Strategy(Protocol):
    """What decides which designs come next."""

    def ask(self, generation: int) -> tuple[Codes, IntArray | None]:
        """The next designs, and the operating points that an Optuna sampler is to be told at."""
        ...

    def tell(self, batch: Batch) -> None:
        """Hear what a whole generation that was asked was found to be."""
        ...

    def replay(self, batch: Batch) -> None:
        """Hear the same of a generation from a log, which was not asked in this process."""
        ...


class Half:
    """An independent search that can be stopped between batches and taken up again from its log."""

    def __init__(
        self,
        judge: Judge,
        archives: Archives,
        strategy: Strategy,
        log: Log | None,
        *,
        slow: bool = False,
    ) -> None:
        self.judge, self.archives, self.strategy, self.log = judge, archives, strategy, log
        self.generation = self.evaluated = 0
        self.pending: list[Batch] = []
        """parts of a generation that is not whole yet"""
        self.exhausted = False
        """whether the space had no design left that was not known"""
        self._logged: Iterator[Batch] = log.batches(mend=True) if log else iter(())
        self._slow = slow
        self.rows: float = FEWEST if slow else MOST_AT_ONCE
        """designs that are judged at once"""

    def advance(self, most: int, stop: Callable[[], bool], *, exact: bool = False) -> None:
        """Go on until ``most`` designs are judged, the space is exhausted, or ``stop`` says so.

        What the log holds is taken in first, whatever ``stop`` says. Ends between generations, at ``exact``
        within one.
        """
        while self.wants(most, exact=exact) and not stop():
            self._judge_generation(most if exact else 2**62, stop)

    def wants(self, most: int, *, exact: bool) -> bool:
        """Whether it has to go on for ``most`` designs, once all is taken in that its log holds."""
        while self._short(most, exact=exact) and (logged := next(self._logged, None)):
            self._take(logged)
        return self._short(most, exact=exact) and not self.exhausted

    def receive(self, batches: Sequence[Batch], *, exhausted: bool) -> None:
        """Take in what was judged elsewhere, in the order in which it was."""
        for batch in batches:
            if self.log:
                self.log.append(batch)
            self._take(batch)
        self.exhausted = exhausted

    def _short(self, most: int, *, exact: bool) -> bool:
        return (self.evaluated if exact else len(self.archives)) < most

    def _take(self, logged: Batch) -> None:
        """Take in a batch of the log; what is left of a generation stays pending."""
        if self.pending and logged.generation != self.pending[0].generation:
            self._learn(self.strategy.replay)  # one that was never finished
        self.pending.append(logged)
        self.evaluated += len(logged)
        if sum(map(len, self.pending)) >= logged.size:
            self._learn(self.strategy.replay)

    def _judge_generation(self, most: int, stop: Callable[[], bool]) -> None:
        """Ask a generation and judge it, or what is left of it."""
        codes, asked = self.strategy.ask(self.generation)
        done = sum(map(len, self.pending))
        if done and not np.array_equal(Batch.joined(self.pending).codes, codes[:done]):
            self._learn(self.strategy.replay)  # was asked by another version of this code
            return
        self.exhausted = len(codes) == 0
        first = done  # what was asked is judged in part at least: a sampler of Optuna's waits for it
        while done < len(codes) and self.evaluated < most and (done == first or not stop()):
            rows = slice(done, int(min(len(codes), done + self.rows, done + most - self.evaluated)))
            start = time.monotonic()
            at = None if asked is None else asked[rows]
            part = self.judge.batch(codes[rows], self.generation, len(codes), at)
            self._pace(len(part), time.monotonic() - start)
            if self.log:
                self.log.append(part)
            self.pending.append(part)
            done += len(part)
            self.evaluated += len(part)
        if 0 < done == len(codes):
            self._learn(self.strategy.tell)

    def knows(self, keys: Keys) -> BoolArray:
        """Which designs it has judged, learnt or pending."""
        out = known(self.archives.seen, keys)
        if self.pending:
            codes = Batch.joined(self.pending).codes
            out |= np.isin(keys, self.archives.genome.keys(codes, self.archives.genome.repair(codes)))
        return out

    def close(self) -> None:
        """Take in what the log still holds and what is pending, at the end of a run: its front counts all."""
        for logged in self._logged:
            self._take(logged)
        if self.pending:
            self.archives.learn(Batch.joined(self.pending))
            self.generation = self.pending[0].generation + 1  # what comes after, if anything, is another
            self.pending = []

    def _learn(self, hear: Callable[[Batch], None]) -> None:
        whole = Batch.joined(self.pending)
        hear(whole)
        self.archives.learn(whole)
        self.pending = []
        self.generation = whole.generation + 1

    def _pace(self, count: int, seconds: float) -> None:
        """Ask a slow evaluator for what it judges in some seconds."""
        if self._slow:
            self.rows = float(np.clip(count * DURABLE / max(seconds, 1e-3), FEWEST, 8 * count))
