"""Optuna samplers behind one flag, with genetic ones that inherit conditional variables.

Optuna's genetic samplers cross over only parameters that every trial has, so a conditional
variable would be drawn at random in every child. ``ConditionalChild`` breeds over all
variables: one that is absent in a parent comes from the other, one absent in both is drawn.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

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

    def _number(self, d: BaseDistribution, a: float, b: float, *, mutate: bool) -> float | int:
        assert isinstance(d, FloatDistribution | IntDistribution)  # noqa: S101 - the caller told them apart
        log = d.log
        lo, hi = (np.log(d.low), np.log(d.high)) if log else (float(d.low), float(d.high))
        x, y = (np.log(a), np.log(b)) if log else (a, b)
        u = self.rng.random()
        beta = (2 * u) ** (1 / (SPREAD + 1)) if u <= 0.5 else (1 / (2 * (1 - u))) ** (1 / (SPREAD + 1))
        sign = 1.0 if self.rng.random() < 0.5 else -1.0
        z = 0.5 * ((x + y) + sign * beta * (x - y))
        if mutate:
            u = self.rng.random()
            delta = (2 * u) ** (1 / (SPREAD + 1)) - 1 if u < 0.5 else 1 - (2 * (1 - u)) ** (1 / (SPREAD + 1))
            z += delta * (hi - lo)
        z = min(max(z, lo), hi)
        value = float(np.exp(z)) if log else float(z)
        if isinstance(d, IntDistribution):
            return int(min(max(round(value), d.low), d.high))
        return min(max(value, d.low), d.high)


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


SAMPLERS: Final[Mapping[str, Callable[[int], BaseSampler]]] = {
    "random": _quiet(lambda seed: RandomSampler(seed=seed)),
    "qmc": _quiet(lambda seed: QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)),
    "nsga2": _quiet(Nsga2),
    "nsga3": _quiet(Nsga3),
    "tpe": _quiet(lambda seed: TPESampler(seed=seed, group=True, multivariate=True, constant_liar=True)),
}


DEFAULT: Final = "nsga2"
