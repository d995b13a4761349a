"""Archives of points, the agreement of two halves, what levers are worth: closed forms and properties."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dse.catalog.catalog import Catalog
from dse.core.pareto import ParetoArchive, worst_factors
from dse.evaluator.loading import OURS
from dse.report.recommendation import interval, levers_in_a_sentence, low_high
from dse.run.front import non_dominated
from dse.space.overrides import Overrides, load_space
from dse.space.space import Space
from dse.study.convergence import Agreement, agreement, boxes, drifted, volume
from dse.study.search import Search, Stopping
from dse.study.worth import Reference, reference_point, study_of, widened, worth

MANY = 520_000
"""designs of halves whose agreement is believed"""

POINTS = arrays(np.float64, st.tuples(st.integers(1, 80), st.just(3)), elements=st.floats(1e-3, 1e3))


def inserted(points: np.ndarray, slack: float = 0.0) -> ParetoArchive:
    archive = ParetoArchive(points.shape[1], slack)
    half = len(points) // 2
    index = np.arange(len(points))
    for part in (slice(0, half), slice(half, None)):
        archive.insert(points[part], index[part], index[part])
    return archive


@given(POINTS)
def test_an_archive_holds_what_nothing_dominates(points: np.ndarray) -> None:
    archive = inserted(points)
    expected = points[non_dominated(points)]
    assert sorted(map(tuple, archive.points)) == sorted(map(tuple, expected))
    assert np.array_equal(points[archive.owners], archive.points)
    assert np.array_equal(archive.owners, archive.tags)


@given(POINTS, st.floats(0.001, 0.5))
def test_slack_leaves_a_point_near_every_one(points: np.ndarray, slack: float) -> None:
    archive = inserted(points, slack)
    assert non_dominated(archive.points).sum() == len(archive)
    for p in points:  # refused points are near one that was there, which may have been beaten since
        assert (archive.points <= p * (1 + slack) + 1e-12).all(axis=1).any()


@settings(max_examples=30)
@given(POINTS, POINTS)
def test_factors_are_the_multiplicative_epsilon(points: np.ndarray, targets: np.ndarray) -> None:
    by_hand = (points[None, :, :] / targets[:, None, :]).max(axis=2).min(axis=1)
    np.testing.assert_allclose(worst_factors(points, targets), by_hand, rtol=1e-12)


def test_volume_of_two_points_by_hand() -> None:
    """Below (e^4, e^4) in logarithms: (1, 3) and (3, 1) cover 3 x 1 + 1 x 3 - 1 x 1 = 5."""
    points = np.exp(np.array([[1.0, 3.0], [3.0, 1.0]]))
    assert volume(points, np.exp(np.array([4.0, 4.0]))) == pytest.approx(5.0)
    assert volume(points[:0], np.exp(np.array([4.0, 4.0]))) == 0.0
    assert volume(points, np.exp(np.array([1.0, 1.0]))) == 0.0


def line(count: int, off: float = 0.0) -> np.ndarray:
    x = np.linspace(0.0, 2.0, count)
    return np.exp(np.column_stack([x, 2.0 - x])) * (1 + off)


def test_halves_that_are_alike_agree_and_a_shifted_one_by_its_shift() -> None:
    same = agreement([line(400), line(400)], MANY)
    assert (same.within, same.largest, same.hypervolume) == (0.0, 0.0, 1.0)
    assert replace(same, drift=0.0).converged
    assert not same.converged  # nothing is known of its drift yet
    shifted = agreement([line(4000), line(4000, 0.03)], MANY)
    assert shifted.within == pytest.approx(0.03, abs=1e-3)
    assert not shifted.converged
    assert shifted.hypervolume < 0.99
    assert shifted.sentence.startswith("not converged: ")


def test_a_dense_region_does_not_hide_a_thin_end() -> None:
    """10,000 points agree to the last digit; the end that one half lacks is a few points, but many boxes."""
    dense = np.exp(np.column_stack([np.linspace(0, 0.01, 10_000), np.linspace(0.01, 0, 10_000)]))
    x = np.linspace(0.02, 3.0, 40)
    thin = np.exp(np.column_stack([x, -x]))
    both = agreement([np.concatenate([dense, thin]), dense], MANY)
    assert both.within > 1.0
    assert not both.converged


def test_one_search_alone_or_an_empty_one_never_converges() -> None:
    for halves in ([line(50)], [line(50), np.empty((0, 2))], []):
        found = agreement(halves, 10)
        assert not found.converged
        assert found.sentence.startswith("not converged")
        assert found.as_data()["within"] is None


@given(POINTS)
def test_boxes_touch_every_point(points: np.ndarray) -> None:
    kept = boxes(points)
    assert (worst_factors(kept, points) <= 1.01**2).all()
    assert len(np.unique(kept, axis=0)) == len(kept)


SQUARE = Reference(np.array([10.0, 10.0]), "by hand", np.array([10.0, 20.0]))


def plain(targets: tuple[float, ...] = (1.0, 4.0)) -> Any:
    return SimpleNamespace(objectives=("tpot", "cost_per_mtoken"), tpot_targets=targets)


def test_a_lever_is_worth_what_a_pencil_says() -> None:
    whole = np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0]])
    same = worth(plain(), SQUARE, whole, whole)
    assert (same["hypervolume"], same["factor"], same["typical"], same["mean"]) == (1.0, 1.0, 1.0, 1.0)
    assert same["ladder"] == [4.0, 1.0]
    less = worth(plain(), SQUARE, whole[:1], whole)
    # (1, 4) serves (2, 2) at 4/2 and (4, 1) at 4/1
    assert (less["typical"], less["factor"]) == (2.0, 4.0)
    assert less["mean"] == pytest.approx((1 + 2 + 4) / 3)
    a = math.log(10) * math.log(2.5)
    b = a + math.log(5) * math.log(2) + math.log(2.5) * math.log(2)
    assert less["hypervolume"] == pytest.approx(a / b)
    a += math.log(10) * math.log(2)  # what cost above the box adds: both serve it from 1
    b += math.log(10) * math.log(2)
    assert less["wider"] == pytest.approx(a / b)
    assert less["ladder"] == [4.0, 4.0]
    none = worth(plain(), SQUARE, whole[:0], whole)
    assert not none["feasible"]
    assert none["hypervolume"] == 0.0
    outside = worth(plain(), SQUARE, whole * 100, whole)
    assert outside["feasible"]
    assert (outside["hypervolume"], outside["mean"]) == (0.0, None)


@given(POINTS, POINTS)
def test_a_restricted_front_never_keeps_more_than_all(points: np.ndarray, more: np.ndarray) -> None:
    whole = np.concatenate([points, more])
    whole = whole[non_dominated(whole)]
    space = SimpleNamespace(objectives=("a", "b", "c"), tpot_targets=())
    box = Reference(np.full(3, 2e3), "by hand", np.full(3, 4e3))
    some = worth(space, box, points[non_dominated(points)], whole)  # type: ignore[arg-type]
    assert 0.0 <= some["hypervolume"] <= 1.0 + 1e-9
    assert some["factor"] >= 1.0


def test_the_yardstick_hangs_on_the_question_alone(datacenter: Space, catalog: Catalog) -> None:
    front = np.ones((1, 3))
    said = reference_point(datacenter, OURS.make(datacenter, catalog), front)
    assert said.source == "stated by the space"
    assert said.point.tolist() == [datacenter.reference_point[o] for o in datacenter.objectives]
    tighter = datacenter.limit(cost_per_mtoken="0.5 USD")
    assert reference_point(tighter, OURS.make(tighter, catalog), front).point[1] == 0.5
    bare = replace(datacenter, reference_point={})
    model = OURS.make(bare, catalog)
    drawn = [reference_point(bare, model, front * k).point for k in (1.0, 7.0)]
    assert np.array_equal(drawn[0], drawn[1])
    assert drawn[0][0] == max(datacenter.tpot_targets)
    wider = dict(zip(datacenter.objectives, said.wider / said.point, strict=True))
    assert wider == {"tpot": 1.0, "cost_per_mtoken": 1.0, "energy_per_token": 2.0}  # limits end where they do
    assert reference_point(tighter, OURS.make(tighter, catalog), front).wider[1] == 0.5


def told(low: float, high: float, **more: Any) -> dict[str, Any]:
    middle = {"hypervolume": high, "hypervolume_range": [low, high], "mean": 1.1, "typical": 1.1}
    return middle | {"feasible": True, "hypervolume_drift": 0.0} | more


def test_a_sentence_ranks_only_what_intervals_separate() -> None:
    apart = levers_in_a_sentence({"pnm": told(0.5, 0.51), "stack": told(0.8, 0.82)})
    assert apart.startswith("The lever that matters most is pnm")
    assert "80.0 to 82.0 % without stack" in apart
    close = levers_in_a_sentence(
        {"pnm": told(0.79, 0.81), "stack": told(0.8, 0.82), "flash": told(0.99, 0.99)}
    )
    assert close.startswith("The levers that matter most, not told apart, are pnm and stack")
    nothing = levers_in_a_sentence({"pnm": told(0.9995, 1.0), "flash": told(0.9991, 1.0)})
    assert nothing.startswith("No lever is worth anything")
    little = levers_in_a_sentence({"pnm": told(0.9995, 1.0), "flash": told(0.996, 0.998)})
    assert little.startswith(
        "No lever is worth more than 1 % of the hypervolume: the front keeps 99.6 to 99.8 %"
    )
    elsewhere = levers_in_a_sentence(
        {"pnm": told(0.995, 1.0, wider=0.9), "flash": told(0.996, 0.998, wider=1.0)}
    )
    assert "(90.0 % in a wider box)" in elsewhere
    one = levers_in_a_sentence({"pnm": told(0.981, 0.984)})
    assert one.startswith(
        "The one lever that is asked about is pnm: without it the front keeps 98.1 to 98.4 %"
    )
    turned = levers_in_a_sentence({"pnm": told(0.5, 0.51, wider=0.9), "stack": told(0.8, 0.82, wider=0.85)})
    assert turned.startswith("The levers that matter most, in another order in a wider box, are pnm and")
    blurred = levers_in_a_sentence({"pnm": told(0.5, 0.51, wider=0.9), "stack": told(0.8, 0.82, wider=0.9)})
    assert blurred.startswith("The levers that matter most, not told apart in a wider box, are pnm and")
    assert "(90.0 % in a wider box)" in turned
    gone = levers_in_a_sentence({"pnm": told(0.0, 0.0, feasible=False), "flash": told(0.99, 1.0)})
    assert "nothing is feasible" in gone


def test_an_interval_covers_what_more_designs_would_bring() -> None:
    """Searches say 0.80 to 0.82, their figures moved by -0.05 to +0.01 over the last doubling: twice that more."""
    assert widened([0.80, None, 0.82], [-0.05, 0.01]) == pytest.approx([0.70, 0.84])
    assert widened([0.80, 0.82], None) == [0.80, 0.82]
    assert widened([None], [0.1]) is None
    v = told(0.70, 0.84)
    assert interval(v, "hypervolume", 100.0, 0) == "70 to 84"
    assert low_high(told(0.99, 1.3), "hypervolume") == (0.99, 1.0)  # no share is above all


def test_niches_of_a_run_agree_with_a_search_of_the_locked_space(mobile: Space, catalog: Catalog) -> None:
    """PNM off: the niche of the whole search keeps what a search that never had PNM finds, within 2 %."""
    job = Search(mobile, OURS, catalog, trials=20_000)
    job.run(Stopping(converged=False, trials=20_000), lambda: False)
    study = study_of(job)
    box = np.array([study["reference_point"]["values"][o] for o in mobile.objectives])
    whole = volume(job.common.front(0).points, box)
    lever = next(x for x in mobile.levers if x.name == "pnm")
    locked = Search(mobile.without(lever), OURS, catalog, trials=20_000)
    locked.run(Stopping(converged=False, trials=20_000), lambda: False)
    alone = volume(locked.common.front(0).points, box) / whole
    assert study["levers"]["pnm"]["hypervolume"] == pytest.approx(alone, abs=0.02)
    for v in [*study["levers"].values(), *study["lost"].values()]:
        assert 0 <= v["hypervolume"] <= 1
        low, high = v["hypervolume_range"]
        assert low <= v["hypervolume"] <= high <= 1
        for own, whole_space in zip(v["ladder_range"], study["ladder_range"], strict=True):
            assert not own or own[0] >= whole_space[0]  # no part is cheaper than the whole
        assert v["factor"] is None or v["factor"] >= 1


def test_a_lever_that_a_run_holds_is_left_out(catalog: Catalog) -> None:
    space = load_space("mobile", Overrides(fix=("pnm=in_bank",)))
    job = Search(space, OURS, catalog, trials=400)
    job.run(Stopping(converged=False, trials=400), lambda: False)
    assert "pnm" not in study_of(job)["levers"]
    assert "flash" in study_of(job)["levers"]


def test_an_agreement_is_told_by_its_worst_figure() -> None:
    assert Agreement(MANY, 0.004, 0.1, 0.1 / 10, 0.996, 0.0).sentence == "converged within 0.4 %"
    assert Agreement(MANY, 0.001, 0.1, 0.1 / 10, 0.996, 0.0).sentence == "converged within 0.4 %"
    assert Agreement(MANY, 0.001, 0.1, 0.1 / 10, 0.996, 0.007).sentence == "converged within 1.4 %"
    assert Agreement(MANY, 0.001, 0.1, 0.1 / 10, 0.98, 0.0).sentence == "not converged: 2 %"
    assert Agreement(MANY, 0.001, 0.1, 0.1 / 10, 1.0, 0.03).sentence == "not converged: 6 %"
    pocket = Agreement(MANY, 0.004, 0.2, 0.05, 0.996, 0.0)
    assert pocket.sentence == "not converged: 5 %"
    assert Agreement(10, 0.5, 0.5, 0.5, 0.5, exhausted=True).converged


def test_neither_few_designs_nor_an_unknown_drift_make_a_front_converged() -> None:
    few, unknown = Agreement(280_000, 0.004, 0.1, 0.01, 1.0, 0.0), Agreement(MANY, 0.004, 0.1, 0.01, 1.0)
    assert not few.converged
    assert few.sentence == "not converged: 0.4 %, from too few designs to be believed"
    assert not unknown.converged
    assert "how far both halves still move is not known" in unknown.sentence


def test_a_front_that_still_moves_is_believed_from_more_designs_on() -> None:
    moves, stands = (Agreement(370_000, 0.004, 0.1, 0.01, 1.0, drift) for drift in (0.009, 0.002))
    assert stands.sentence == "converged within 0.4 %"
    assert moves.sentence == "not converged: 1.8 %, from too few designs to be believed"
    assert replace(moves, designs=MANY).sentence == "converged within 1.8 %"


def test_a_front_drifts_against_one_of_half_the_designs(mobile: Space, catalog: Catalog) -> None:
    """Compared again after few more designs, or with nothing of half as many, a search does not seem to stand."""
    job = Search(mobile, OURS, catalog)
    one = job.seeds[0]
    drifts = []
    for most in (1000, 2000, 2200, 4400):
        for half in one.halves:
            half.advance(most, lambda: False, exact=True)
        drifts.append(one.compare().drift)
    assert np.isinf(drifts[0])
    assert all(0 < x < np.inf for x in drifts[1:])
    assert one.doubled is not None
    assert [s.designs for s in one.doubled] == [4400, 8800]


def test_every_seed_has_its_share_of_the_time(mobile: Space, catalog: Catalog) -> None:
    job = Search(mobile, OURS, catalog, seeds=3)
    job.run(Stopping(seconds=3.0), lambda: False)
    assert all(one.evaluated for one in job.seeds)
    assert study_of(job)["seeds"] == 3


def test_the_seed_that_agrees_least_speaks_for_all(mobile: Space, catalog: Catalog) -> None:
    job = Search(mobile, OURS, catalog, seeds=2)
    near, drifting = (
        Agreement(MANY, 0.006, 0.1, 0.01, 1.0, 0.001),
        Agreement(MANY, 0.004, 0.1, 0.01, 1.0, 0.008),
    )
    for one, said in zip(job.seeds, (near, drifting), strict=True):
        one.agreements.append(said)
    assert job.agreement is drifting


def test_a_front_that_moved_over_the_last_doubling_has_not_converged() -> None:
    assert drifted(line(400), line(400)) == 0.0
    assert drifted(line(4000, 0.05), line(4000)) == pytest.approx(0.05, abs=2e-3)
    assert drifted(line(4000), line(4000, 0.05)) == 0.0  # a front is never taken back
    assert drifted(np.empty((0, 2)), line(10)) == np.inf
