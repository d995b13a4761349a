"""Optuna's samplers behind the flag of ours, with genetic ones that inherit conditional variables.

They work on codes: a choice by its index, a number by its step (``dse.space.genome``). Optuna's genetic
samplers cross over only parameters that every trial has, so a conditional variable would be drawn at random
in every child. ``ConditionalChild`` breeds over all variables: one that is absent in a parent comes from the
other, one absent in both is drawn.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from dse.core.units import BoolArray, IntArray
from dse.run.batch import Batch
from dse.space.genome import Codes, Gene
from dse.study.archives import Archives, known

POPULATION: Final = 50


CROSSOVER: Final = 0.9
"""chance that a child has two parents (Optuna's own default)"""


SPREAD: Final = 20.0
"""distribution index of simulated binary crossover and polynomial mutation (Deb & Agrawal 1995)"""


def variable_of(parameter: str) -> str:
    """Design variable behind an Optuna parameter (``pnm|0,2`` is ``pnm`` with fewer choices)."""
    return parameter.split("|", 1)[0]


class ConditionalChild:
    """Child of two tournament winners: uniform for choices, SBX and polynomial for numbers."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.known: dict[str, BaseDistribution] = {}

    def __call__(
        self, study: Study, space: dict[str, BaseDistribution], parents: list[FrozenTrial]
    ) -> dict[str, Any]:
        """Return parameters of a child; what is left out is drawn independently (a mutation)."""
        del study
        first = self._genes(self._winner(parents))
        second = self._genes(self._winner(parents)) if self.rng.random() < CROSSOVER else first
        by_variable: dict[str, list[str]] = {}
        for parameter in space:
            by_variable.setdefault(variable_of(parameter), []).append(parameter)
        child: dict[str, Any] = {}
        chance = 1.0 / max(len(first), 1)
        for variable, parameters in by_variable.items():
            a, b = first.get(variable, second.get(variable)), second.get(variable, first.get(variable))
            if a is None or b is None:
                continue
            mutate = self.rng.random() < chance
            distribution = space[parameters[0]]
            if isinstance(distribution, CategoricalDistribution):
                if mutate:
                    continue
                value = a if self.rng.random() < 0.5 else b
                for p in parameters:
                    choices = space[p]
                    if isinstance(choices, CategoricalDistribution) and value in choices.choices:
                        child[p] = value
            else:
                child[parameters[0]] = self._number(distribution, float(a), float(b), mutate=mutate)
        return child

    def _genes(self, trial: FrozenTrial) -> dict[str, Any]:
        return {variable_of(k): v for k, v in trial.params.items()}

    def _winner(self, parents: list[FrozenTrial]) -> FrozenTrial:
        i, j = self.rng.integers(0, len(parents), 2)
        a, b = parents[int(i)], parents[int(j)]
        va, vb = _violation(a), _violation(b)
        if va != vb:
            return a if va < vb else b
        better = all(x <= y for x, y in zip(a.values, b.values, strict=True))
        return a if better else b

    def _number(self, d: BaseDistribution, a: float, b: float, *, mutate: bool) -> int:
        assert isinstance(d, IntDistribution)  # noqa: S101 - the caller told them apart
        u = self.rng.random()
        beta = (2 * u) ** (1 / (SPREAD + 1)) if u <= 0.5 else (1 / (2 * (1 - u))) ** (1 / (SPREAD + 1))
        sign = 1.0 if self.rng.random() < 0.5 else -1.0
        z = 0.5 * ((a + b) + sign * beta * (a - b))
        if mutate:
            u = self.rng.random()
            delta = (2 * u) ** (1 / (SPREAD + 1)) - 1 if u < 0.5 else 1 - (2 * (1 - u)) ** (1 / (SPREAD + 1))
            z += delta * (d.high - d.low)
        return int(min(max(round(z), d.low), d.high))


def _violation(trial: FrozenTrial) -> float:
    return sum(v for v in trial.constraints.values() if v > 0)


class Inherits(BaseSampler):
    """A genetic sampler whose relative space is every parameter seen, so that children inherit all."""

    child: ConditionalChild

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter seen so far."""
        del study, trial
        return self.child.known


class Nsga2(Inherits, NSGAIISampler):
    """NSGA-II with children that inherit conditional variables."""

    def __init__(self, seed: int) -> None:
        self.child = ConditionalChild(seed)
        super().__init__(population_size=POPULATION, seed=seed, child_generation_strategy=self.child)


class Nsga3(Inherits, NSGAIIISampler):
    """NSGA-III with the same children."""

    def __init__(self, seed: int) -> None:
        self.child = ConditionalChild(seed)
        super().__init__(population_size=POPULATION, seed=seed, child_generation_strategy=self.child)


def _quiet(build: Callable[[int], BaseSampler]) -> Callable[[int], BaseSampler]:
    def made(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return build(seed)

    return made


OPTUNA: Final[Mapping[str, Callable[[int], BaseSampler]]] = {
    "random": _quiet(lambda seed: RandomSampler(seed=seed)),
    "qmc": _quiet(lambda seed: QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)),
    "nsga2": _quiet(Nsga2),
    "nsga3": _quiet(Nsga3),
    "tpe": _quiet(lambda seed: TPESampler(seed=seed, group=True, multivariate=True, constant_liar=True)),
}
"""Optuna's own samplers"""

TARGET: Final = "operating_point"
"""parameter of the operating point whose objectives a trial is told: Optuna knows one a trial"""

AGAIN: Final = 20
"""trials asked, for each of a generation, before designs that are known already are given up on"""

LEAST: Final = 1e-12


class OptunaStrategy:
    """One of Optuna's samplers, a trial a design.

    The sampler of a generation is seeded by (seed, generation), and a log is told again in the same way, so
    that a resumed run equals one never interrupted.
    """

    def __init__(
        self, archives: Archives, name: str, seed: Sequence[int], operating_points: int, first: Codes
    ) -> None:
        # QMC warns at every trial that a space has conditions: what its sequence lacks is drawn on its own
        optuna.logging.set_verbosity(optuna.logging.ERROR if name == "qmc" else optuna.logging.WARNING)
        self.archives, self.genome, self.name, self.seed = archives, archives.genome, name, list(seed)
        self.operating_points, self.first = operating_points, first
        self.study: Study = optuna.create_study(directions=["minimize"] * archives.objectives)
        self.known: dict[str, BaseDistribution] = {}
        self.pending: list[Trial] = []

    def ask(self, generation: int) -> tuple[Codes, IntArray]:
        """The next designs, with the operating point that each is to be told at."""
        self._reseed(generation)
        for left in self.pending:  # asked and never judged
            self.study.tell(left, state=TrialState.FAIL)
        self.pending = []
        got: list[Codes] = []
        keys: set[int] = set()
        waiting = list(self.first) if generation == 0 else []
        asked: list[int] = []
        for _ in range(AGAIN * POPULATION):
            if len(got) == POPULATION:
                break
            if waiting:
                self.study.enqueue_trial(self._parameters(waiting.pop(0)))
            trial = self.study.ask()
            codes, point = self._suggested(trial)
            key = self.genome.keys(codes, self.genome.repair(codes))
            if int(key[0]) in keys or known(self.archives.seen, key)[0]:
                self.study.tell(trial, state=TrialState.FAIL)
                continue
            keys.add(int(key[0]))
            self.pending.append(trial)
            got.append(codes)
            asked.append(point)
        return np.concatenate(got) if got else self.archives.codes[:0], np.array(asked, dtype=np.int64)

    def tell(self, batch: Batch) -> None:
        """Tell Optuna log10 objectives and the log of what is broken."""
        for trial, values, excess in zip(self.pending, batch.objectives, batch.excess, strict=True):
            trial.set_constraint("limits", float(excess) if excess > 0 else -1.0)
            self.study.tell(trial, [float(np.log10(max(v, LEAST))) for v in values])
        self.pending = []

    def replay(self, batch: Batch) -> None:
        """Tell a generation of the log again, as if it had been asked."""
        self._reseed(batch.generation)
        for codes, point in zip(batch.codes, batch.asked, strict=True):
            self.study.enqueue_trial(self._parameters(codes) | {TARGET: int(point)})
            trial = self.study.ask()
            self._suggested(trial)
            self._breed(trial)
            self.pending.append(trial)
        self.tell(batch)

    def _reseed(self, generation: int) -> None:
        made = OPTUNA[self.name](int(np.random.SeedSequence([*self.seed, generation]).generate_state(1)[0]))
        if isinstance(made, Nsga2 | Nsga3):
            made.child.known = self.known
        self.study.sampler = made

    def _breed(self, trial: Trial) -> None:
        """Give a replayed trial its generation and parents: Optuna skips both for fixed parameters."""
        sampler = self.study.sampler
        if isinstance(sampler, Nsga2 | Nsga3):
            frozen = self.study.get_trials(deepcopy=False)[trial.number]
            sampler.get_parent_population(self.study, sampler.get_trial_generation(self.study, frozen))

    def _parameters(self, codes: Codes) -> dict[str, Any]:
        """Optuna parameters of a design."""
        row = codes[None, :].copy()
        present = self.genome.repair(row)
        out: dict[str, Any] = {}
        for i, gene in enumerate(self.genome.genes):
            if present[0, i]:
                name = _named(gene.variable.name, self._allowed(gene, row, present), gene.size)
                out[name] = int(row[0, i])
        return out

    def _allowed(self, gene: Gene, row: Codes, present: BoolArray) -> tuple[int, ...]:
        return tuple(np.nonzero(self.genome.allowed(gene, row, present)[0])[0].tolist())

    def _suggested(self, trial: Trial) -> tuple[Codes, int]:
        """The codes that a trial suggests, and its operating point."""
        row = np.zeros((1, len(self.genome.genes)), dtype=np.int16)
        present = np.zeros(row.shape, dtype=bool)
        for i, gene in enumerate(self.genome.genes):
            present[:, i] = self.genome.active(gene, row, present)
            if not present[0, i]:
                continue
            if gene.numeric:
                self.known.setdefault(gene.variable.name, IntDistribution(0, gene.size - 1))
                row[0, i] = trial.suggest_int(gene.variable.name, 0, gene.size - 1)
                continue
            allowed = self._allowed(gene, row, present)
            if not allowed:
                present[0, i] = False
                continue
            name = _named(gene.variable.name, allowed, gene.size)
            self.known.setdefault(name, CategoricalDistribution(allowed))
            row[0, i] = trial.suggest_categorical(name, allowed)
        points = tuple(range(self.operating_points))
        self.known.setdefault(TARGET, CategoricalDistribution(points))
        return row, int(trial.suggest_categorical(TARGET, points))


def _named(name: str, allowed: tuple[int, ...], size: int) -> str:
    """Parameter name: a variable with fewer choices in this context is another parameter."""
    return name if len(allowed) == size else f"{name}|{','.join(map(str, allowed))}"


AUTO: Final = "auto"

SAMPLERS: Final = (AUTO, *OPTUNA)
"""every sampler that a search may use, ours first"""
