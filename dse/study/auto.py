"""``auto`` as a sampler for any Optuna study of two objectives or more, conditional variables included.

    study = optuna.create_study(directions=["minimize", "minimize"], sampler=AutoSampler(seed=1))
    study.optimize(objective, n_trials=2000)

The search of a space drives the same ``Evolution`` in batches instead (``dse.study.search``): a trial of
Optuna's costs more than a design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dse.run.batch import Batch
from dse.space.genome import Codes, Genome
from dse.space.variables import Variable
from dse.study.archives import Archives
from dse.study.evolution import Evolution
from dse.study.niches import niches_of

SEEDS: Final = 64
"""trials that fill the space first"""


class AutoSampler(BaseSampler):
    """Children of an elitist archive of all trials of a study, with a niche for each choice of a categorical.

    It knows parameters as trials ask for them, so that the space may be conditional; one that a trial did not
    ask for has a random value if a child does. Numbers move on a grid of a thousandth of their range.
    Constraints are those of ``Trial.set_constraint``. Several processes may share one study: each learns what
    the others told.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._random = RandomSampler(seed=seed)
        self._distributions: dict[str, BaseDistribution] = {}
        self._learnt: set[int] = set()
        self._queue: list[dict[str, Any]] = []
        self._archives: Archives | None = None

    def reseed_rng(self) -> None:
        """Draw otherwise than other workers with this sampler."""
        self._random.reseed_rng()
        self.seed = int(np.random.SeedSequence().generate_state(1)[0])

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter that a finished trial has had.

        Raises:
            ValueError: the study has one objective; Optuna's TPE or CMA-ES is for those.

        """
        del trial
        if len(study.directions) < 2:
            raise ValueError(
                f"AutoSampler: the study has {len(study.directions)} objective, expected two or more; "
                "take optuna.samplers.TPESampler for one"
            )
        self._hear(study)
        return {n: d for n, d in self._distributions.items() if not d.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next child, of the queue of a generation."""
        del study
        if not search_space or self._archives is None:
            return {}
        if not self._queue:
            evolution = Evolution(self._archives, [self.seed, trial.number], seeds=SEEDS, logarithmic=False)
            codes, _ = evolution.ask(len(self._learnt) if len(self._archives) >= SEEDS else 0)
            self._queue = [_parameters(self._archives.genome, row, search_space) for row in codes]
        return self._queue.pop(0) if self._queue else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value of a parameter not seen before."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _hear(self, study: Study) -> None:
        """Learn what trials were told since; all of them again where one has a new parameter."""
        done = [
            t
            for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if t.number not in self._learnt
        ]
        fresh = {n: d for t in done for n, d in t.distributions.items() if n not in self._distributions}
        if fresh:
            self._distributions |= fresh
            self._queue, self._learnt = [], set()
            done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            genome = Genome([variable_of(n, d) for n, d in self._distributions.items()])
            held = [n for n, d in self._distributions.items() if isinstance(d, CategoricalDistribution)]
            self._archives = Archives(genome, niches_of(genome, held=held), len(study.directions), slack=0.0)
        if done and self._archives is not None:
            self._archives.learn(_batch(self._archives.genome, done, study.directions, self.seed))
            self._learnt |= {t.number for t in done}


def variable_of(name: str, distribution: BaseDistribution) -> Variable:
    """A distribution of Optuna's as a variable of a space; a step makes it a list of numbers."""
    if isinstance(distribution, CategoricalDistribution):
        return Variable(name, "categorical", tuple(range(len(distribution.choices))))
    assert isinstance(distribution, IntDistribution | FloatDistribution)  # noqa: S101 - there are three kinds
    low, high, log = float(distribution.low), float(distribution.high), distribution.log
    step = distribution.step
    if step is not None and (isinstance(distribution, FloatDistribution) or step > 1):
        count = int(np.floor((high - low) / step + 1e-9)) + 1
        return Variable(name, "ordinal", tuple(float(x) for x in low + step * np.arange(count)))
    return Variable(name, "int" if isinstance(distribution, IntDistribution) else "float", (), low, high, log)


def _parameters(genome: Genome, row: Codes, wanted: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """What a design of codes means to Optuna."""
    out: dict[str, Any] = {}
    for code, gene in zip(row, genome.genes, strict=True):
        name = gene.variable.name
        distribution = wanted.get(name)
        if isinstance(distribution, CategoricalDistribution):
            out[name] = distribution.choices[int(code)]
        elif distribution is not None:
            value = gene.variable.choices[int(code)] if gene.variable.discrete else gene.levels[int(code)]
            out[name] = int(value) if isinstance(distribution, IntDistribution) else float(value)
    return out


def _codes(genome: Genome, trial: FrozenTrial, seed: int) -> Codes:
    """Codes of a trial; what it did not ask for is drawn."""
    rng = np.random.default_rng([seed, trial.number])
    row: Codes = genome.draw(rng.random((1, len(genome.genes))))[0]
    for i, gene in enumerate(genome.genes):
        name = gene.variable.name
        if name not in trial.params:
            continue
        distribution, value = trial.distributions[name], trial.params[name]
        if isinstance(distribution, CategoricalDistribution):
            row[i] = distribution.choices.index(value)
        else:
            levels = np.array(gene.variable.choices, dtype=float) if gene.variable.discrete else gene.levels
            row[i] = int(np.argmin(np.abs(levels - float(value))))
    return row


def _batch(
    genome: Genome, trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], seed: int
) -> Batch:
    """Finished trials as one batch of minimised objectives."""
    sign = np.array([-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in directions])
    points = np.array([t.values for t in trials], dtype=np.float64) * sign
    violation = np.array([sum(max(c, 0.0) for c in t.constraints.values()) for t in trials])
    rows = np.nonzero(violation == 0)[0]
    return Batch(
        generation=0,
        size=len(trials),
        codes=np.stack([_codes(genome, t, seed) for t in trials]),
        violation=violation.astype(np.float32),
        points=points[rows],
        rows=rows.astype(np.int64),
        tags=np.zeros(len(rows), dtype=np.int64),
    )
