"""``auto`` alone in a plain Optuna study, on textbook problems; and a run as a study."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import moocore
import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import dse
from dse.study.auto import AutoSampler
from dse.study.optuna_study import MOST, study_of_run

optuna.logging.set_verbosity(optuna.logging.WARNING)

VARIABLES = 6


def zdt(number: int) -> Callable[[optuna.Trial], tuple[float, float]]:
    """Zitzler, Deb & Thiele (2000), problems 1 to 3 with six variables."""

    def f(trial: optuna.Trial) -> tuple[float, float]:
        x = np.array([trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(VARIABLES)])
        g = 1.0 + 9.0 * x[1:].mean()
        h = {
            1: 1.0 - np.sqrt(x[0] / g),
            2: 1.0 - (x[0] / g) ** 2,
            3: 1.0 - np.sqrt(x[0] / g) - x[0] / g * np.sin(10 * np.pi * x[0]),
        }[number]
        return float(x[0]), float(g * h)

    return f


def share(study: optuna.Study, exact: np.ndarray, reference: tuple[float, ...]) -> float:
    """Hypervolume of a study over that of a known front."""
    ref = np.array(reference)
    points = np.array([t.values for t in study.trials])
    points = points[(points < ref).all(axis=1)]
    return float(moocore.hypervolume(points, ref=ref) / moocore.hypervolume(exact, ref=ref))


def searched(
    objective: Callable[[optuna.Trial], tuple[float, ...]],
    sampler: optuna.samplers.BaseSampler,
    trials: int,
    goals: int = 2,
) -> optuna.Study:
    study = optuna.create_study(directions=["minimize"] * goals, sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


X = np.linspace(0.0, 1.0, 2001)
FRONTS = {
    1: np.column_stack([X, 1 - np.sqrt(X)]),
    2: np.column_stack([X, 1 - X**2]),
    3: np.column_stack([X, 1 - np.sqrt(X) - X * np.sin(10 * np.pi * X)]),
}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_zdt_by_ask_and_tell(number: int) -> None:
    study = optuna.create_study(directions=["minimize"] * 2, sampler=AutoSampler(seed=1))
    for _ in range(1500):
        trial = study.ask()
        study.tell(trial, zdt(number)(trial))
    assert share(study, FRONTS[number], (1.1, 1.1)) > 0.88


def test_it_beats_optunas_nsga2_at_equal_trials() -> None:
    ours = searched(zdt(1), AutoSampler(seed=1), 600)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = searched(zdt(1), optuna.samplers.NSGAIISampler(seed=1), 600)
    reference = (1.1, 1.1)
    assert share(ours, FRONTS[1], reference) > share(theirs, FRONTS[1], reference)


def mixed(trial: optuna.Trial) -> tuple[float, float]:
    """A conditional mixed problem with a known front: on branch b the cost is (1 - x)^2 + a price, by 2 to 5 parts.

    Branch "thin" (no parts) serves x from 0.5 up for nothing; "thick" needs a number of parts, of which 2 is best.
    """
    x = trial.suggest_float("x", 0.0, 1.0)
    branch = trial.suggest_categorical("branch", ["thin", "thick"])
    waste = trial.suggest_int("waste", 0, 9)
    if branch == "thin":
        return max(x, 0.5), (1 - x) ** 2 + 0.1 * waste
    parts = trial.suggest_int("parts", 2, 5)
    grade = trial.suggest_float("grade", 1e-3, 1e1, log=True)
    return x, (1 - x) ** 2 + 0.05 * parts + 0.1 * waste + abs(np.log10(grade))


def mixed_front() -> np.ndarray:
    """Points of its front: thin where it serves, thick below."""
    x = np.linspace(0, 1, 2001)
    thin, thick = x[x >= 0.5], x[x < 0.5]
    return np.concatenate(
        [np.column_stack([thin, (1 - thin) ** 2]), np.column_stack([thick, (1 - thick) ** 2 + 0.1])]
    )


def test_a_conditional_mixed_problem_with_a_known_front() -> None:
    study = searched(mixed, AutoSampler(seed=3), 1200)
    assert share(study, mixed_front(), (1.1, 1.5)) > 0.95
    assert {"thin", "thick"} <= {t.params["branch"] for t in study.best_trials}


def test_directions_and_constraints_are_kept() -> None:
    """Maximised x against minimised x^2, with x + y <= 1 told as a constraint."""

    def f(trial: optuna.Trial) -> tuple[float, float]:
        x, y = trial.suggest_float("x", 0, 2), trial.suggest_float("y", 0, 2)
        trial.set_constraint("sum", x + y - 1)
        return x, (x - y) ** 2

    study = optuna.create_study(directions=["maximize", "minimize"], sampler=AutoSampler(seed=2))
    study.optimize(f, n_trials=400)
    late = study.trials[200:]
    feasible = [t for t in late if t.constraints["sum"] <= 0]
    assert len(feasible) > 4 * 0.125 * len(late)  # by chance an eighth of the square holds the constraint
    assert max(t.values[0] for t in feasible) > 0.9  # (1, 0) is the end of the front


def test_one_objective_is_refused_with_what_to_take() -> None:
    study = optuna.create_study(sampler=AutoSampler(seed=1))
    with pytest.raises(ValueError, match="TPESampler"):
        study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=2)


def test_the_same_seed_asks_the_same() -> None:
    first, again = (searched(zdt(1), AutoSampler(seed=7), 150) for _ in range(2))
    assert [t.params for t in first.trials] == [t.params for t in again.trials]


def test_a_run_as_a_study_holds_its_front_and_a_sample(tmp_path: Path) -> None:
    run = dse.search("mobile", trials=6000, seed=1, out=tmp_path / "r")
    study = run.study
    assert len(study.trials) <= MOST
    on_front = [t for t in study.trials if t.user_attrs["front"]]
    assert len(on_front) == len(run.front)
    assert sorted(t.values[0] for t in on_front) == pytest.approx(sorted(run.front["tpot"]))
    worst = np.max([t.values for t in study.trials], axis=0)
    broken = [t for t in study.trials if t.constraints["limits"] > 0]
    assert broken
    assert all(np.array_equal(t.values, worst) for t in broken)
    assert {t.params["pnm"] for t in study.trials} >= {"none", "in_bank"}
    stored = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    again = study_of_run(run.run, stored, "mobile")
    assert len(optuna.load_study(study_name="mobile", storage=stored).trials) == len(again.trials)
