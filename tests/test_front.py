"""Fronts: closed forms and properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dse.api import load_run
from dse.report.choices import box_of, inside_of
from dse.run.front import Scale, epsilon_survivors, extremes, hypervolume, knee, non_dominated, proper

RESULTS = Path(__file__).parents[1] / "results"

POINTS = arrays(np.float64, st.tuples(st.integers(1, 60), st.just(3)), elements=st.floats(1e-3, 1e3))


def test_hypervolume_of_a_staircase() -> None:
    """Points (i, n - i) on unit log axes against (1.1, 1.1): sum of strips by hand."""
    n = 10
    unit = np.array([(i / n, 1 - i / n) for i in range(n + 1)])
    points = 10.0**unit
    by_hand = sum(
        (1.1 - unit[i, 1]) * ((unit[i + 1, 0] if i < n else 1.1) - unit[i, 0]) for i in range(n + 1)
    )
    assert hypervolume(points, Scale.of(points)) == pytest.approx(by_hand)


@given(POINTS)
def test_front_is_mutually_non_dominated_and_idempotent(points: np.ndarray) -> None:
    front = points[non_dominated(points)]
    assert non_dominated(front).all()
    for p in front:
        assert not ((front <= p).all(axis=1) & (front < p).any(axis=1)).any()


@given(POINTS, st.integers(0, 1000))
def test_front_does_not_depend_on_the_order(points: np.ndarray, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(points))
    a = points[non_dominated(points)]
    b = points[order][non_dominated(points[order])]
    assert sorted(map(tuple, a)) == sorted(map(tuple, b))


@settings(max_examples=50)
@given(POINTS)
def test_more_points_never_lose_hypervolume(points: np.ndarray) -> None:
    scale = Scale(np.full(3, -3.0), np.full(3, 3.0))
    half = points[: max(len(points) // 2, 1)]
    assert hypervolume(points, scale) >= hypervolume(half, scale) - 1e-12


def test_epsilon_survivors_cover_the_rest() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(1, 10, (300, 2))
    points = points[non_dominated(points)]
    kept = points[epsilon_survivors(points, 0.05)]
    for p in points:
        assert (kept <= p * 1.05 + 1e-12).all(axis=1).any()


def test_knee_and_extremes_of_a_convex_front() -> None:
    points = 10.0 ** np.array([[0.0, 1.0], [0.1, 0.1], [1.0, 0.0]])
    assert knee(points) == 1
    assert extremes(points).tolist() == [0, 2]


def test_one_absurd_point_moves_no_knee_inside_a_box_of_the_question() -> None:
    """Scaled by the front's own nadir the knee follows its dearest point; scaled by a stated box it does not."""
    line = np.linspace(0.0, 1.0, 101)
    points = 10.0 ** np.column_stack([line, (1 - np.sqrt(line)) ** 2])
    absurd = np.concatenate([points, 10.0 ** np.array([[-0.01, 6.0]])])
    box = Scale(np.zeros(2), np.ones(2))
    assert knee(points, box) == knee(absurd, box)
    assert knee(points) != knee(absurd)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(0.5, 3.0))
def test_no_one_point_moves_the_knee_of_a_dense_front(seed: int, spread: float) -> None:
    """Adding any absurd point, or removing any point, moves it no further than between neighbours."""
    rng = np.random.default_rng(seed)
    u = np.sort(rng.uniform(0.0, 1.0, 400))
    points = 10.0 ** np.column_stack([spread * u, -np.sqrt(1.0 - (1.0 - u) ** 2)])
    points = points[non_dominated(points)]
    at = points[knee(points)]
    gap = 10 ** (0.05 * spread)
    for gone in rng.integers(0, len(points), 30):
        rest = np.delete(points, gone, axis=0)
        moved = rest[knee(rest)] / at
        assert np.maximum(moved, 1 / moved).max() < gap
    for absurd in ([points[0, 0] * 0.3, points[:, 1].max() * 1e3], [points[:, 0].max() * 1e4, 1e-3]):
        more = np.vstack([points, absurd])
        moved = more[knee(more)] / at
        assert np.maximum(moved, 1 / moved).max() < gap


def test_a_point_whose_last_percent_costs_a_multiple_is_no_choice() -> None:
    """One percent faster at three times the price is left out; five percent faster, or at 1.5 times, is not."""
    points = np.array([[1.0, 1.0], [0.995, 3.0], [0.94, 3.5], [0.932, 5.0], [0.9, 20.0]])
    assert proper(points).tolist() == [True, False, True, True, True]
    assert proper(points[:1]).tolist() == [True]


@pytest.mark.parametrize("name", ["datacenter", "mobile", "laptop", "xr", "vehicle", "hbf", "pnm"])
def test_no_one_point_moves_the_knee_of_a_reference_run(name: str) -> None:
    """Without its best points, without its knee and without some at random it stays within 5 %."""
    run = load_run(RESULTS / name).run
    box = box_of(run)
    points = run.front.points[inside_of(run, box)]
    points = points[proper(points)]

    def found(some: np.ndarray) -> np.ndarray:
        at: np.ndarray = some[knee(some, Scale.robust(some, box))]
        return at

    at = found(points)
    chosen = knee(points, Scale.robust(points, box))
    for gone in {chosen, *extremes(points), *np.random.default_rng(1).integers(0, len(points), 20)}:
        moved = found(np.delete(points, gone, axis=0)) / at
        assert np.maximum(moved, 1 / moved).max() < 1.05
