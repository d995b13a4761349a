"""A run as an Optuna study: its front and a sample of what else was judged, for Optuna's own tools.

To tell Optuna every design costs more than to judge them (200,000 trials: 41 s, 1.3 GB), and a picture of
some thousand says as much.
"""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, create_trial

from dse.core.errors import InfeasibleError
from dse.core.units import FloatArray
from dse.run.batch import Batch
from dse.run.folder import Folder
from dse.run.run import Run
from dse.space.design import Design, decode
from dse.space.genome import Genome
from dse.space.variables import Value, Variable

MOST: Final = 3000
"""trials of a study, as many as its front leaves room for beside it"""

ON_FRONT: Final = 2000
"""most designs of the front told"""


def study_of_run(run: Run, storage: BaseStorage | str | None = None, name: str | None = None) -> Study:
    """Tell a new study the front of a run and a sample of its log, in the units of the space.

    A feasible trial has the objectives of one operating point; one that breaks a limit has the worst that any
    trial told has, so that a picture keeps its axes, and its violation as the constraint ``limits``.

    Raises:
        InfeasibleError: the run has no feasible design.

    """
    if not len(run.front):
        raise InfeasibleError(f"{run.space.name}: the run has no feasible design to tell Optuna of")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        directions=["minimize"] * len(run.space.objectives), storage=storage, study_name=name
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(map(str, run.space.objectives)))
    known = {v.name: distribution_of(v) for v in run.space.variables}
    study.add_trials([*_front(run, known), *_sample(run, known, MOST - min(len(run.front), ON_FRONT))])
    return study


def distribution_of(v: Variable) -> BaseDistribution:
    """A variable as Optuna knows it."""
    if v.discrete:
        return CategoricalDistribution(v.choices)
    if v.kind == "int":
        return IntDistribution(int(v.low), int(v.high), log=v.log)
    return FloatDistribution(v.low, v.high, log=v.log)


def _trial(
    known: dict[str, BaseDistribution], values: dict[str, Value], objectives: FloatArray, **more: Any
) -> FrozenTrial:
    distributions = {name: known[name] for name in values}
    params = {
        n: float(np.clip(float(x), d.low, d.high))
        if isinstance(d := distributions[n], FloatDistribution)
        else x
        for n, x in values.items()
    }
    return create_trial(params=params, distributions=distributions, values=objectives.tolist(), **more)


def _front(run: Run, known: dict[str, BaseDistribution]) -> list[FrozenTrial]:
    rows = np.unique(np.linspace(0, len(run.front) - 1, min(len(run.front), ON_FRONT)).astype(int))
    return [
        _trial(
            known,
            run.values(int(run.front.rows[i])),
            run.front.points[i],
            user_attrs={
                "front": True,
                "tpot_target": run.space.tpot_target_at(int(run.front.operating_points[i])),
            },
            constraints={"limits": -1.0},
        )
        for i in rows
    ]


def _sample(run: Run, known: dict[str, BaseDistribution], count: int) -> list[FrozenTrial]:
    """Designs drawn evenly from the logs, in the order in which they were judged."""
    genome = Genome(run.space.variables)
    batches = [b for log in Folder(run.path).logs() for b in log.batches()]
    total = sum(map(len, batches))
    wanted = np.unique(np.linspace(0, max(total - 1, 0), min(count, total)).astype(int))
    worst = run.front.points.max(axis=0)
    picked: list[tuple[Batch, int]] = []
    start = 0
    for b in batches:
        mine = wanted[(wanted >= start) & (wanted < start + len(b))] - start
        picked += [(b, int(i)) for i in mine]
        start += len(b)
    out = []
    points = {}
    for k, (b, i) in enumerate(picked):
        at = np.nonzero(b.rows == i)[0]
        at = at[np.all(b.points[at] / np.array(run.space.bounds) <= 1.0, axis=1)]
        if len(at):
            points[k] = b.points[at[0]]
            worst = np.maximum(worst, points[k])
    for k, (b, i) in enumerate(picked):
        broken = float(b.violation[i])
        values = decode(run.space, _design(genome, b, i), 0)
        limits = {"limits": broken if broken > 0 else -1.0}
        out.append(
            _trial(known, values, points.get(k, worst), user_attrs={"front": False}, constraints=limits)
        )
    return out


def _design(genome: Genome, batch: Batch, i: int) -> Design:
    codes = batch.codes[i : i + 1].copy()
    return genome.design(codes, genome.repair(codes))
