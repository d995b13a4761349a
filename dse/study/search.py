"""Search: Optuna asks a batch, one vectorised evaluation judges it, Optuna is told.

The live study is in memory. Every batch is appended to the run folder's log; a resume replays
the log through the same path, so that the sampler stands where it stood. The sampler of a
batch is seeded by (seed, batch), which makes a resumed run equal to one never interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import Trial, TrialState

from dse.core.text import number
from dse.evaluator.protocol import Evaluator, Outcomes
from dse.run.archive import Archive
from dse.run.folder import Folder
from dse.run.front import Front, Scale, front_of, hypervolume
from dse.space.design import encode
from dse.space.space import Space
from dse.space.variables import Value
from dse.study.samplers import DEFAULT, POPULATION, SAMPLERS, Nsga2, Nsga3

BATCH: Final = POPULATION


TARGET: Final = "tpot_target"


LEAST: Final = 1e-12


@dataclass
class Progress:
    """What a watcher is shown after each batch."""

    trials: int
    wanted: int
    feasible: float
    hypervolume: float
    seconds: float


@dataclass
class PendingTrial:
    """A trial with the design it stands for and the rung it is judged on."""

    trial: Trial
    values: dict[str, Value]
    rung: int


class Search:
    """One search of one space with one evaluator, sampler and seed."""

    def __init__(
        self,
        space: Space,
        evaluator: Evaluator,
        sampler: str = DEFAULT,
        seed: int = 1,
        folder: Folder | None = None,
        first: list[dict[str, Value]] | None = None,
    ) -> None:
        self.space, self.evaluator, self.sampler_name, self.seed, self.folder = (
            space,
            evaluator,
            sampler,
            seed,
            folder,
        )
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study: Study = optuna.create_study(directions=["minimize"] * len(space.objectives))
        self.archive = Archive(space)
        self.seen: dict[bytes, tuple[int, int]] = {}
        self.outcomes: list[Outcomes] = []
        self.known: dict[str, BaseDistribution] = {}
        self.trials: list[dict[str, Any]] = []
        self.waiting = list(first or [])
        self.batch = 0
        self.scale: Scale | None = None
        self.start = time.monotonic()

    def run(self, trials: int, watch: Callable[[Progress], None] | None = None) -> Front:
        """Go on until ``trials`` trials are told; KeyboardInterrupt leaves whole batches behind."""
        while len(self.trials) < trials:
            self.step(min(BATCH, trials - len(self.trials)))
            if watch:
                watch(self.progress(trials))
        return self.front()

    def step(self, count: int, replay: list[dict[str, Any]] | None = None) -> None:
        """One batch: ask, evaluate what is new in one call, tell, log."""
        self._reseed()
        asked = []
        for i in range(count):
            if replay is not None:
                self.study.enqueue_trial(replay[i]["params"])
            elif self.waiting:
                self.study.enqueue_trial(self._as_params(self.waiting.pop(0)))
            asked.append(self._ask(self.study.ask()))
            if replay is not None:
                self._breed(asked[-1].trial)
        outcomes, places = self._judge(asked)
        lines = [self._tell(a, outcomes[b], row) for a, (b, row) in zip(asked, places, strict=True)]
        self.batch += 1
        self.trials += lines
        if self.folder is not None and replay is None:
            self.folder.append(lines)

    def front(self) -> Front:
        """The front of everything evaluated so far."""
        if len(self.archive) == 0:
            return Front(
                np.zeros(0, dtype=np.int64),
                np.zeros(0, dtype=np.int64),
                np.empty((0, len(self.space.objectives))),
            )
        return front_of(self.space, self.archive.joined()[1])

    def _reseed(self) -> None:
        made = SAMPLERS[self.sampler_name](
            int(np.random.SeedSequence([self.seed, self.batch]).generate_state(1)[0])
        )
        if isinstance(made, Nsga2 | Nsga3):
            made.child.known = self.known
        self.study.sampler = made

    def _breed(self, trial: Trial) -> None:
        """Give a replayed trial its generation and parents: Optuna skips both for fixed parameters."""
        sampler = self.study.sampler
        if isinstance(sampler, Nsga2 | Nsga3):
            frozen = self.study.get_trials(deepcopy=False)[trial.number]
            sampler.get_parent_population(self.study, sampler.get_trial_generation(self.study, frozen))

    def _as_params(self, values: dict[str, Value]) -> dict[str, Any]:
        """Optuna parameters of a design given as values (a baseline's nearest point)."""
        out: dict[str, Any] = {}
        seen: dict[str, Value] = {}
        for v in self.space.variables:
            if v.is_active(seen) and v.name in values:
                out[self._name(v.name, v.choices, v.allowed(seen))] = values[v.name]
                seen[v.name] = values[v.name]
        return out

    @staticmethod
    def _name(name: str, choices: tuple[Value, ...], allowed: tuple[Value, ...]) -> str:
        """Parameter name: a variable with fewer choices in this context is another parameter."""
        if len(allowed) == len(choices):
            return name
        return f"{name}|{','.join(str(choices.index(c)) for c in allowed)}"

    def _ask(self, trial: Trial) -> PendingTrial:
        values: dict[str, Value] = {}
        for v in self.space.variables:
            if not v.is_active(values):
                continue
            if v.discrete:
                allowed = v.allowed(values)
                parameter = self._name(v.name, v.choices, allowed)
                self.known.setdefault(parameter, CategoricalDistribution(allowed))
                chosen: Any = trial.suggest_categorical(parameter, allowed)
                values[v.name] = chosen
            elif v.kind == "int":
                self.known.setdefault(v.name, IntDistribution(int(v.low), int(v.high), log=v.log))
                values[v.name] = trial.suggest_int(v.name, int(v.low), int(v.high), log=v.log)
            else:
                self.known.setdefault(v.name, FloatDistribution(v.low, v.high, log=v.log))
                values[v.name] = trial.suggest_float(v.name, v.low, v.high, log=v.log)
        rungs = tuple(range(len(self.space.tpot_targets)))
        self.known.setdefault(TARGET, CategoricalDistribution(rungs))
        return PendingTrial(trial, values, int(trial.suggest_categorical(TARGET, rungs)))

    def _judge(self, asked: list[PendingTrial]) -> tuple[list[Outcomes], list[tuple[int, int]]]:
        """Evaluate designs not seen before in one call; return where each one's answer is."""
        design = encode(self.space, [a.values for a in asked])
        places: list[tuple[int, int]] = []
        fresh: list[int] = []
        for i, key in enumerate(design.row_keys()):
            if key not in self.seen:
                self.seen[key] = (self.batch, len(fresh))
                fresh.append(i)
            places.append(self.seen[key])
        if fresh:
            new = design.take(np.array(fresh))
            outcomes = self.evaluator.evaluate(new)
            self.archive.add(new, outcomes)
        else:
            outcomes = Outcomes({}, {}, {})
        self.outcomes.append(outcomes)
        return self.outcomes, places

    def _tell(self, asked: PendingTrial, outcomes: Outcomes, row: int) -> dict[str, Any]:
        """Tell Optuna log10 objectives and log constraint violations; return the log line."""
        values = [float(outcomes.objectives[o][row, asked.rung]) for o in self.space.objectives]
        worst, total = "", 0.0
        for name, ratio in outcomes.limit_ratios.items():
            violation = float(np.log(max(float(ratio[row, asked.rung]), LEAST)))
            asked.trial.set_constraint(name, violation)
            if violation > 0:
                total += violation
                worst = worst or name
        self.study.tell(
            asked.trial, [float(np.log10(max(v, LEAST))) for v in values], state=TrialState.COMPLETE
        )
        return {
            "number": asked.trial.number,
            "batch": self.batch,
            "params": asked.trial.params,
            "objectives": [float(number(v)) for v in values],
            "violation": float(number(total)),
            "breaks": worst,
        }

    def progress(self, wanted: int) -> Progress:
        """Where the search stands; the hypervolume scale is that of the first front."""
        front = self.front()
        if self.scale is None and len(front) > 1:
            self.scale = Scale.of(front.points)
        volume = hypervolume(front.points, self.scale) if self.scale else 0.0
        share = sum(1 for t in self.trials if t["violation"] == 0) / max(len(self.trials), 1)
        return Progress(len(self.trials), wanted, share, volume, time.monotonic() - self.start)


def resume_study(search: Search, lines: list[dict[str, Any]]) -> int:
    """Replay whole batches of a log into a fresh search; return how many trials were kept."""
    by_batch: dict[int, list[dict[str, Any]]] = {}
    for line in lines:
        by_batch.setdefault(int(line["batch"]), []).append(line)
    kept = 0
    for batch in sorted(by_batch):
        rows = by_batch[batch]
        if batch != search.batch or (len(rows) < BATCH and batch != max(by_batch)):
            break
        if len(rows) < BATCH:
            break  # cut short by a kill: asked again
        search.step(len(rows), replay=rows)
        kept += len(rows)
    return kept
