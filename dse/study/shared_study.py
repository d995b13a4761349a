"""One Optuna study that many processes search, for evaluators that take seconds or hours a design.

Each process asks for a trial, judges its design at every operating point and tells it; it learns what the
others told before it asks again. A trial whose process is gone, so that nothing was heard of it for some
time, is put back for another to take. Trials are counted in the storage: of those that are neither failed nor
put back the first so many count, whoever made them.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from dse.catalog.catalog import Catalog
from dse.core.errors import DseError, RunError
from dse.core.units import FloatArray
from dse.run.batch import Batch
from dse.space.design import decode
from dse.space.genome import Codes, Genome
from dse.space.space import Space
from dse.study.archives import Keys, first_of_each
from dse.study.cluster import running_code
from dse.study.evolution import EARLY, Evolution
from dse.study.optuna_study import distribution_of
from dse.study.tasks import Question

BEAT: Final = 2.0
"""s between two signs of life of a trial"""

SILENCE: Final = 20.0
"""s without one after which its process is taken for dead: more than a server takes to restart"""

POLL: Final = 0.5
"""s between two looks at trials that others are at"""

CHILDREN: Final = 16
"""designs bred at a time: then what others found since is taken into account"""

CODES, FOUND, ALIVE, PUT_BACK = "codes", "found", "alive", "put back"
"""attributes of a trial: its design, what it was found to be, its last sign of life, the trial it takes up"""


def study_name(space: Space, catalog: Catalog, judge: str) -> str:
    """Name of the study of a question: another question is another study."""
    asked = "\n".join([space.text, *space.overrides, catalog.digest, judge])
    return f"dse {space.name} {hashlib.sha256(asked.encode()).hexdigest()[:12]}"


class Proposed(BaseSampler):
    """Hands a trial the parameters of a design chosen before."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing is drawn when a trial is made: its design is chosen then."""
        del study, trial
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        del study, trial, search_space
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of the design."""
        del study, trial, param_distribution
        return self.values[param_name]


@dataclass
class Watched:
    """The last sign of life that this process saw of a trial, by its own clock."""

    sign: Any
    seen: float


@dataclass
class SharedSearch:
    """What one process does of the search of a shared study."""

    question: Question
    storage: BaseStorage
    seed: int
    trials: int | None
    """trials to be told by all processes together"""
    _watched: dict[int, Watched] = field(default_factory=dict)
    _queue: list[Codes] = field(default_factory=list)

    def __post_init__(self) -> None:
        planned = 0 if self.trials is None else self.trials // EARLY
        self.space, self.first = self.question.space, self.question.first
        self.judge = self.question.judge(1)
        self.archives = self.question.archives()
        self.genome: Genome = self.archives.genome
        self.sampler = Proposed()
        judge = self.question.judged_by
        if self.question.source.ours:
            judge += f" {running_code()}"  # another state of our model is another evaluator
        name = study_name(self.space, self.question.catalog, judge)
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=name,
            directions=["minimize"] * len(self.space.objectives),
            sampler=self.sampler,
            load_if_exists=True,
        )
        self._learnt: set[int] = set()
        self._seeds = Evolution(self.archives, [self.seed, 0], self.first, seeds=planned).ask(0)[0]

    def run(self, seconds: float | None, stop: Callable[[], bool], look: Callable[[int], None]) -> bool:
        """Take part until the study has its trials, for so long, or until ``stop``; whether it has them."""
        end = np.inf if seconds is None else time.monotonic() + seconds
        wanted = np.inf if self.trials is None else self.trials
        while True:
            trials = self._hear()
            complete = sum(t.state == TrialState.COMPLETE for t in trials)
            look(complete)
            if complete >= wanted:
                return True
            if stop() or time.monotonic() > end:
                return False
            waiting = any(t.state == TrialState.WAITING for t in trials)
            if len(trials) >= wanted and not waiting:
                time.sleep(POLL)  # others are at the last ones
                continue
            self._one(wanted)

    def _hear(self) -> list[FrozenTrial]:
        """Learn what was told since, put back what dead processes left; every trial that is not failed."""
        asked = time.monotonic()
        trials = [t for t in self.study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
        now = time.monotonic()
        if now - asked > BEAT:  # the storage was away: nobody could give signs of life
            self._watched = {}
        new = [t for t in trials if t.state == TrialState.COMPLETE and t.number not in self._learnt]
        if new:
            self.archives.learn(batch_of(new, len(self.space.objectives)))
            self._learnt |= {t.number for t in new}
        running = [t for t in trials if t.state == TrialState.RUNNING]
        for t in running:
            sign = t.user_attrs.get(ALIVE)
            known = self._watched.get(t.number)
            if known is None or known.sign != sign:
                self._watched[t.number] = Watched(sign, now)
            elif now - known.seen > SILENCE:
                self._put_back(t)
                del self._watched[t.number]
        return trials

    def _put_back(self, trial: FrozenTrial) -> None:
        """Fail a trial of a dead process, and queue its design again if it had one."""
        try:
            self.study.tell(trial.number, state=TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError):
            return  # another process did, or it was told after all
        if CODES in trial.user_attrs:
            self.study.add_trial(
                create_trial(
                    state=TrialState.WAITING,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs={CODES: trial.user_attrs[CODES], PUT_BACK: trial.number},
                )
            )

    def _one(self, wanted: float) -> None:
        """Make or take a trial, judge it and tell it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = self.study.ask()
            if self._is_surplus(trial, wanted):
                self.study.tell(trial, state=TrialState.FAIL)
                return
            try:
                with _alive(trial):
                    values = self._judged(trial)
            except UpdateFinishedTrialError:
                return  # was taken for dead, and its design put back
            except RunError:
                raise  # the storage is away: others put the design back when it gives no more signs of life
            except DseError:  # the evaluator's word on this design: others would only fail at it too
                self.study.tell(trial, state=TrialState.FAIL)
                raise
            except BaseException:
                self._put_back(self.study.get_trials(deepcopy=False)[trial.number])
                raise
            try:
                self.study.tell(trial, values.tolist())
            except (UpdateFinishedTrialError, ValueError):
                if not self.study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                    raise
                return  # the same, at the last moment

    def _judged(self, trial: Trial) -> FloatArray:
        """Judge the design of a trial at every operating point; the objectives of one of them to tell."""
        codes = self._design(trial)
        middle = np.array([len(self.space.operating_points) // 2])
        batch = self.judge.batch(codes, 0, 1, middle)
        trial.set_user_attr(FOUND, found_of(batch))
        broken = float(batch.violation[0])
        trial.set_constraint("limits", broken if broken > 0 else -1.0)
        values: FloatArray = batch.points[0] if len(batch.points) else batch.objectives[0]
        return values

    def _is_surplus(self, trial: Trial, wanted: float) -> bool:
        """Whether so many others were made at the same moment that this is one too many, or it was put back
        twice.
        """
        trials = [t for t in self.study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
        before = [t for t in trials if t.number < trial.number]
        again = trial.user_attrs.get(PUT_BACK)
        twice = again is not None and any(t.user_attrs.get(PUT_BACK) == again for t in before)
        return twice or len(before) >= wanted

    def _design(self, trial: Trial) -> Codes:
        """Codes of a trial: those it was put back with, else the next of this search."""
        known = trial.user_attrs.get(CODES)
        if known is not None:
            return np.array([known], dtype=np.int16)
        codes = self._next(trial.number)[None, :].copy()
        design = self.genome.design(codes, self.genome.repair(codes))
        values = decode(self.space, design, 0)
        self.sampler.values = values
        for v in self.space.variables:
            if v.name in values:
                _suggest(trial, v.name, distribution_of(v))
        trial.set_user_attr(CODES, codes[0].tolist())
        return codes

    def _next(self, number: int) -> Codes:
        """One of the designs that fill the space, by the number of the trial; then children."""
        if number < len(self._seeds):
            seed: Codes = self._seeds[number]
            return seed
        if not self._queue:
            evolution = Evolution(self.archives, [self.seed, number], self.first, seeds=len(self._seeds))
            children = evolution.ask(1)[0]
            running = self._running()
            keys = self.genome.keys(children, self.genome.repair(children.copy()))
            fresh = first_of_each(keys) & ~np.isin(keys, running)
            self._queue = list(children[fresh][:CHILDREN])
        if not self._queue:
            rng = np.random.default_rng([self.seed, number])
            drawn: Codes = self.genome.draw(rng.random((1, len(self.genome.genes))))
            row: Codes = drawn[0]
            return row
        child: Codes = self._queue.pop(0)
        return child

    def _running(self) -> Keys:
        """Keys of designs that are being judged."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
        codes = [t.user_attrs[CODES] for t in trials if CODES in t.user_attrs]
        if not codes:
            return np.empty(0, dtype=np.uint64)
        rows: Codes = np.array(codes, dtype=np.int16)
        keys: Keys = self.genome.keys(rows, self.genome.repair(rows))
        return keys

    def complete(self) -> Batch:
        """All trials told, in the order in which they were made; no more than were asked for."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return batch_of(trials[: self.trials], len(self.space.objectives))


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    """Have a trial ask its sampler for a parameter."""
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    elif isinstance(distribution, FloatDistribution):
        trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


@contextmanager
def _alive(trial: Trial) -> Iterator[None]:
    """Give signs of life of a trial while it is judged."""
    done = Event()

    def beat() -> None:
        count = 0
        while not done.wait(BEAT):
            count += 1
            try:
                trial.set_user_attr(ALIVE, count)
            except (UpdateFinishedTrialError, RuntimeError, OSError):
                return  # was taken for dead, or the storage is away

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def found_of(batch: Batch) -> str:
    """What one design was found to be, as text that keeps every digit."""
    return json.dumps(
        {
            "violation": float(batch.violation[0]),
            "open": [float(x) for x in batch.open_violation],
            "points": batch.points.tolist(),
            "tags": batch.tags.tolist(),
            "nearest": [float(x) for x in batch.nearest[0]],
        }
    )


def batch_of(trials: Sequence[FrozenTrial], objectives: int) -> Batch:
    """Trials as one batch."""
    found = [json.loads(t.user_attrs[FOUND]) for t in trials]
    counts = [len(f["tags"]) for f in found]
    points: FloatArray = np.array([p for f in found for p in f["points"]], dtype=np.float64)
    return Batch(
        generation=0,
        size=len(trials),
        codes=np.array([t.user_attrs[CODES] for t in trials], dtype=np.int16),
        violation=np.array([f["violation"] for f in found], dtype=np.float32),
        points=points.reshape(-1, objectives),
        rows=np.repeat(np.arange(len(trials)), counts),
        tags=np.array([x for f in found for x in f["tags"]], dtype=np.int64),
        nearest=np.array([f["nearest"] for f in found], dtype=np.float32).reshape(-1, objectives),
        open_violation=np.array([x for f in found for x in f["open"]], dtype=np.float32),
    )
