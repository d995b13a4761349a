"""A search: for each seed two independent halves that go on until they agree, then a polish of all they
found.

Half of the designs of a seed are judged by each half, which knows nothing of the other: what they disagree by
is the error bar of the front. Everything else is in ``Half``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.compilation import threads as core_threads
from dse.core.errors import SpaceError, nearest
from dse.core.units import FloatArray
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.loading import EvaluatorSource
from dse.evaluator.protocol import Evaluator
from dse.run.folder import Folder
from dse.run.log import Log, MemoryLog
from dse.space.design import encode
from dse.space.genome import Codes, Genome
from dse.space.space import Space
from dse.space.variables import Value
from dse.study.archives import Common
from dse.study.cluster import Cluster, Patience
from dse.study.convergence import Agreement, agreement, drifted
from dse.study.evolution import EARLY, ENUMERATED, SEEDS
from dse.study.half import Half
from dse.study.judging import Judge
from dse.study.polish import SHARE as POLISHED
from dse.study.polish import Neighbours
from dse.study.samplers import AUTO, SAMPLERS
from dse.study.tasks import SLICE, Assignment, Question, SharedJudge, advance

HALVES: Final = 2

COMPARED: Final = 1000
"""trials of a seed from which they are halved: fewer are one search, whose front has no error bar"""

FIRST: Final = 80_000
"""designs of each half at which the halves are compared first; then at every doubling and between"""

FIRST_OF_OTHERS: Final = 500
"""the same where the evaluator is another than ours: its halves take turns, and it may be slow"""

HALVED: Final = 0.6
"""most of a front's designs after which an earlier one was kept that tells its move over a doubling"""

MOST: Final = 640_000
"""designs of each half after which a search gives up converging"""

TICK: Final = 0.2
"""s between two looks at a running search"""

DOUBLINGS: Final = 3
"""comparisons of a search with a fixed number of trials: at its end, at half of them, at a quarter"""


@dataclass(frozen=True)
class Stopping:
    """When a search is done: converged, so many trials, so many seconds; the first that holds."""

    converged: bool = True
    trials: int | None = None
    """designs judged, of every seed and the polish together"""
    seconds: float | None = None
    most: int = MOST
    """designs of each half after which it gives up converging"""

    @classmethod
    def asked(cls, *, until: str | None, trials: object, timeout: object, sampler: str) -> Stopping:
        """Read what a person asked for.

        Raises:
            SpaceError: not a number above 0, another word than ``converged``, or no end for a sampler that
            has none.

        """
        if sampler not in SAMPLERS:
            raise SpaceError(f"--sampler: got {sampler!r}, expected {nearest(sampler, SAMPLERS)}")
        if until not in {None, "converged"}:
            raise SpaceError(f"--until: got {until!r}, expected 'converged' (or --trials, --timeout)")
        if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int) or trials < 1):
            raise SpaceError(f"--trials: got {trials!r}, expected a whole number from 1")
        seconds: float | None = None
        if timeout is not None:
            ok = isinstance(timeout, int | float) and not isinstance(timeout, bool) and 0 < timeout < np.inf
            if not ok:
                raise SpaceError(f"--timeout: got {timeout!r}, expected seconds above 0")
            seconds = float(timeout)  # type: ignore[arg-type]
        if sampler != AUTO and trials is None and seconds is None:
            raise SpaceError(
                f"--sampler {sampler}: keeps every trial in memory and takes a millisecond and more for "
                "each; say when it ends with --trials or --timeout"
            )
        return cls(until is not None or trials is None, trials, seconds)


@dataclass
class Progress:
    """What a watcher is shown now and then."""

    trials: int
    wanted: int | None
    """trials asked for, None where the search goes on until it has converged"""
    feasible: float
    agreement: Agreement | None
    """of the last comparison of the halves"""
    seconds: float


Watch = Callable[[Progress], None]


@dataclass
class Snapshot:
    """Fronts of every niche at one comparison, halves together."""

    designs: int
    bounded: bool
    """whether they hold the limits on objectives: while no design does they are of all"""
    fronts: list[FloatArray]


@dataclass
class SeedSearch:
    """Halves of one seed, with what they said of each other as they went."""

    seed: int
    halves: list[Half]
    agreements: list[Agreement] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    """at the last comparisons, oldest first"""
    doubled: tuple[Snapshot, Snapshot] | None = None
    """of the last comparison, and of half as many designs; None where no such one was kept"""

    @property
    def evaluated(self) -> int:
        """Designs judged by all halves."""
        return sum(h.evaluated for h in self.halves)

    @property
    def exhausted(self) -> bool:
        """Whether every design of the space has been judged, by each half.

        Only what can be enumerated is known to be; in a large space no child may be new for other reasons.
        """
        if not all(h.exhausted for h in self.halves):
            return False
        every = len(self.halves[0].archives.genome.enumerated(ENUMERATED))
        return every > 0 and all(len(h.archives.seen) >= every for h in self.halves)

    def compare(self) -> Agreement:
        """Compare the halves, and keep their fronts.

        As long as no design holds the limits on objectives the fronts without those are compared.
        """
        last = self.agreements[-1] if self.agreements else None
        if last is None or (last.designs, last.exhausted) != (self.evaluated, self.exhausted):
            sides = [h.archives for h in self.halves]
            common = Common(sides)
            bounded = len(common.front(0)) > 0
            found = agreement([(a.fronts if bounded else a.open)[0].points for a in sides], self.evaluated)
            count = range(len(sides[0].niches))
            kept = [common.front(i, bounded=bounded).points for i in count]
            now = Snapshot(self.evaluated, bounded, kept)
            half = [s for s in self.snapshots if s.bounded == bounded and s.designs <= HALVED * now.designs]
            self.doubled = (half[-1], now) if half else None
            drift = drifted(half[-1].fronts[0], kept[0]) if half else np.inf
            self.agreements.append(replace(found, drift=drift, exhausted=self.exhausted))
            self.snapshots = [*self.snapshots, now][-DOUBLINGS:]
        return self.agreements[-1]


def half_name(seed: int, half: int) -> str:
    """Name of the log of a half."""
    return f"seed{seed}-half{half + 1}"


def in_threads(
    calls: Sequence[Callable[[Callable[[], bool]], None]],
    threads: int,
    halt: Callable[[], bool],
    look: Callable[[], None],
) -> None:
    """Make calls in threads, each with what tells it to halt, and look now and then while they run.

    Where one raises the others are told to halt, and it is raised here.
    """
    failed = False
    with ThreadPoolExecutor(threads) as pool:
        left = {pool.submit(call, lambda: failed or halt()) for call in calls}
        try:
            while left:
                done, left = wait(left, timeout=TICK)
                for each in done:
                    each.result()
                look()
        finally:
            failed = True


def _or_after(seconds: float, halt: Callable[[], bool]) -> Callable[[], bool]:
    """Halt from so many seconds on too."""
    end = time.monotonic() + seconds
    return lambda: halt() or time.monotonic() > end


class Search:
    """One search of one space: seeds, halves, polish; with a folder all of it is durable."""

    def __init__(
        self,
        space: Space,
        source: EvaluatorSource,
        catalog: Catalog,
        *,
        sampler: str = AUTO,
        seed: int = 1,
        seeds: int = 1,
        trials: int | None = None,
        folder: Folder | None = None,
        known: Sequence[dict[str, Value]] = (),
        cluster: Cluster | None = None,
    ) -> None:
        self.space, self.sampler, self.folder, self.cluster = space, sampler, folder, cluster
        few = trials is not None and trials < COMPARED * seeds
        self.genome = Genome(space.variables)
        self.evaluator: Evaluator = source.make(space, catalog)
        first = [*source.nearest_to_baselines(space, catalog, self.evaluator), *known]
        codes: Codes = (
            self.genome.codes(encode(space, first))
            if first
            else np.empty((0, len(self.genome.genes)), dtype=np.int16)
        )
        self.ours = isinstance(self.evaluator, FirstOrderModel)
        planned = SEEDS if trials is None else trials // (EARLY * seeds * (1 if few else HALVES))
        judged_by = f"{self.evaluator.name} {self.evaluator.version}"
        self.question = Question(
            space=space,
            source=source,
            catalog=catalog,
            sampler=sampler,
            first=codes,
            planned=planned,
            judged_by=judged_by,
        )
        self.seeds = []
        for one in range(seed, seed + seeds):
            single = few and not (folder and folder.log(half_name(one, 1)).path.exists())
            count = 1 if single else HALVES
            self.seeds.append(SeedSearch(one, [self._half(one, h, count) for h in range(count)]))
        archives = self.question.archives()
        self.niches = archives.niches
        everyone = [h for s in self.seeds for h in s.halves]
        judge = Judge(self.evaluator, self.genome, space)
        self.polish = Half(
            SharedJudge(self.question, cluster) if cluster else judge,
            archives,
            Neighbours(archives, everyone),
            folder.log("polish") if folder else None,
            slow=not self.ours,
        )
        self.start, self.end = time.monotonic(), np.inf

    def _half(self, seed: int, number: int, halves: int) -> Half:
        """A half with an evaluator of its own: ours judges for both side by side, each with its share of
        threads. Of another evaluator a cluster judges the designs, of ours whole halves.
        """
        log: Log | None = self.folder.log(half_name(seed, number)) if self.folder else None
        if self.cluster and self.ours:
            log = log or MemoryLog()
        half = self.question.half(seed, number, log, threads=max(core_threads() // halves, 1))
        if self.cluster and not self.ours:
            half.judge = SharedJudge(self.question, self.cluster)
            half.rows = max(half.rows, self.cluster.threads)
        return half

    @property
    def sides(self) -> list[Half]:
        """Every independent search and the polish."""
        return [*(h for s in self.seeds for h in s.halves), self.polish]

    @property
    def common(self) -> Common:
        """All of them seen together."""
        return Common([s.archives for s in self.sides])

    @property
    def evaluated(self) -> int:
        """Designs judged."""
        return sum(s.evaluated for s in self.sides)

    @property
    def agreement(self) -> Agreement | None:
        """What the halves of the seed that agrees least say of each other; None before any was compared."""
        said = [s.agreements[-1] for s in self.seeds if s.agreements]
        return max(said, key=lambda a: (not a.converged, a.error)) if said else None

    def run(self, stopping: Stopping, stop: Callable[[], bool], watch: Watch | None = None) -> None:
        """Go on until done, or until ``stop`` says so."""
        self.end = np.inf if stopping.seconds is None else self.start + stopping.seconds

        def halt() -> bool:
            return stop() or time.monotonic() > self.end

        self._run_seeds(stopping, halt, self._look(stopping, watch))
        found = sum(s.evaluated for s in self.seeds)
        if self.sampler == AUTO and not halt():
            left = 2**62 if stopping.trials is None else stopping.trials - found
            most = min(int(POLISHED * found), left) if stopping.converged else left
            self._advance([self.polish], most, halt, self._look(stopping, watch), exact=True)
        if stopping.trials is not None and not stopping.converged:
            self._use_up(stopping.trials, halt)
        for side in self.sides:
            side.close()
        for one in self.seeds:
            if one.evaluated:
                one.compare()  # a log may hold more than was asked for
        if watch:
            watch(self.progress(stopping))

    def _look(self, stopping: Stopping, watch: Watch | None) -> Callable[[], None]:
        return lambda: watch(self.progress(stopping)) if watch else None

    def _run_seeds(self, stopping: Stopping, halt: Callable[[], bool], look: Callable[[], None]) -> None:
        """Search with every seed: one after the other, on a cluster side by side."""
        if self.cluster is None:
            for k, one in enumerate(self.seeds):
                share = max(self.end - time.monotonic(), 0.0) / (len(self.seeds) - k)
                self._run_seed(one, stopping, _or_after(share, halt), look)
            return

        def search(one: SeedSearch, halt: Callable[[], bool]) -> None:
            self._run_seed(one, stopping, halt, lambda: None)

        in_threads([partial(search, one) for one in self.seeds], len(self.seeds), halt, look)

    def _run_seed(
        self, one: SeedSearch, stopping: Stopping, halt: Callable[[], bool], look: Callable[[], None]
    ) -> None:
        """Advance the halves from one comparison to the next."""
        for most, exact in self._marks(stopping):
            self._advance(one.halves, most, halt, look, exact=exact)
            if halt():
                for half in one.halves:
                    half.close()  # the front will count what is pending, and so does its error bar
                break
            found = one.compare()
            nothing = most >= FIRST and not any(len(h.archives.open[0]) for h in one.halves)
            ended = all(h.exhausted for h in one.halves)
            if (stopping.converged and found.converged) or ended or nothing:
                break

    def _marks(self, stopping: Stopping) -> Iterator[tuple[int, bool]]:
        """Designs of each half at which the halves are compared, and whether they are to be that many
        exactly.
        """
        most = stopping.most
        if stopping.trials is not None:
            share = 1.0 - (POLISHED if self.sampler == AUTO else 0.0)
            most = max(int(stopping.trials * share) // sum(len(s.halves) for s in self.seeds), 1)
        marks = [most >> k for k in range(DOUBLINGS) if most >> k]
        if stopping.converged:
            marks = [most]
            first = FIRST if self.ours else FIRST_OF_OTHERS
            while first < most:
                marks += [x for x in (first, first + first // 2) if x < most]
                first *= 2
        for mark in sorted(marks):
            yield mark, mark == most and stopping.trials is not None

    def _advance(
        self,
        halves: Sequence[Half],
        most: int,
        halt: Callable[[], bool],
        look: Callable[[], None],
        *,
        exact: bool,
    ) -> None:
        """Advance halves to ``most`` designs each: side by side where the evaluator is ours."""
        if self.cluster and self.ours and self.polish not in halves:
            self._assign(self.cluster, halves, most, halt, look, exact=exact)
            return

        def search(half: Half, halt: Callable[[], bool]) -> None:
            half.advance(most, halt, exact=exact)

        threads = len(halves) if self.ours or self.cluster else 1
        in_threads([partial(search, half) for half in halves], threads, halt, look)

    def _assign(
        self,
        cluster: Cluster,
        halves: Sequence[Half],
        most: int,
        halt: Callable[[], bool],
        look: Callable[[], None],
        *,
        exact: bool,
    ) -> None:
        """The same by workers, some seconds a task; what they had begun when it halts is taken in too."""
        share = -(-HALVES * len(self.seeds) // cluster.workers)
        where = {half: (s.seed, number) for s in self.seeds for number, half in enumerate(s.halves)}
        left: dict[Any, Half] = {}

        def assign(half: Half, near: str | None, *, sent: bool) -> None:
            if half.wants(most, exact=exact) and not halt():
                seconds = min(SLICE, max(self.end - time.monotonic(), 0.0))
                asked = Assignment(*where[half], most, exact, seconds, share)
                assert half.log is not None  # noqa: S101 - made with one
                known = list(half.log.batches()) if sent else None
                task = cluster.submit(advance, self.question, asked, half.evaluated, known, near=near)
                left[task] = half

        for half in halves:
            assign(half, None, sent=False)
        patience = Patience(halt)
        while left and not patience.over:
            for task in cluster.done(list(left), TICK):
                half, found = left.pop(task), cluster.result(task)
                if found is not None:
                    half.receive(found.batches, exhausted=found.exhausted)
                assign(half, found.worker if found else None, sent=found is None)
            look()

    def _use_up(self, trials: int, halt: Callable[[], bool]) -> None:
        """Spend what the polish left of a number of trials that was asked for, exactly."""
        halves = [(one, half) for one in self.seeds for half in one.halves]
        for k, (one, half) in enumerate(halves):
            share = -(-max(trials - self.evaluated, 0) // (len(halves) - k))
            if share and not halt():
                half.advance(half.evaluated + share, halt, exact=True)
                one.compare()

    def progress(self, stopping: Stopping) -> Progress:
        """Where the search stands."""
        total = feasible = 0
        for side in self.sides:
            violation = side.archives.violation
            total, feasible = total + len(violation), feasible + int((violation == 0).sum())
        wanted = None if stopping.converged else stopping.trials
        return Progress(
            self.evaluated, wanted, feasible / max(total, 1), self.agreement, time.monotonic() - self.start
        )
