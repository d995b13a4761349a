"""Search: seeds, resume, duplicates, conditional variables, samplers, limits, sweep as the oracle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dse
from dse.catalog.catalog import Catalog
from dse.core.errors import InfeasibleError, RunError, SpaceError
from dse.core.pareto import ParetoArchive, worst_factors
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.loading import OURS, EvaluatorSource, evaluator_source
from dse.evaluator.protocol import Outcomes
from dse.run.folder import FRONT, Folder
from dse.run.front import Scale, hypervolume
from dse.space.design import Design, sample
from dse.space.overrides import Overrides, load_space
from dse.space.space import Space
from dse.space.variables import Value
from dse.study.archives import SLACK, Common
from dse.study.convergence import hypervolume_ratio, volume
from dse.study.job import Settings, load_run, search
from dse.study.polish import Neighbours
from dse.study.samplers import SAMPLERS
from dse.study.search import COMPARED, Search, Stopping
from dse.study.sweep import sweep


def run(space: Space, out: Path, *, resume: bool = False, **asked: Any) -> str:
    search(space, out, Settings(**({"trials": 150} | asked)), resume=resume, command="test")
    return (out / FRONT).read_text()


def judged(out: Path) -> int:
    """Designs in the logs of a run."""
    return sum(len(b) for log in Folder(out).logs() for b in log.batches())


def in_memory(space: Space, catalog: Catalog, source: EvaluatorSource = OURS, **asked: Any) -> Search:
    settings = Settings(**({"trials": 400} | asked))
    job = Search(
        space,
        source,
        catalog,
        sampler=settings.sampler,
        seed=settings.seed,
        seeds=settings.seeds,
        trials=settings.trials,
    )
    job.run(settings.stopping, lambda: False)
    return job


def points_of(job: Search) -> np.ndarray:
    return job.common.front(0).points


def test_same_seed_same_bytes_other_seed_other(
    tmp_path: Path, datacenter: Space, searched: Callable[[str], Path]
) -> None:
    a = (searched("datacenter") / FRONT).read_text()
    assert a == run(datacenter, tmp_path / "b")
    assert a != run(datacenter, tmp_path / "c", seed=2)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_front_does_not_depend_on_threads(
    threads: str, tmp_path: Path, mobile: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(mobile, tmp_path / "a", trials=3000)
    monkeypatch.setenv("DSE_THREADS", threads)
    assert run(mobile, tmp_path / "b", trials=3000) == whole


@pytest.mark.parametrize(
    ("sampler", "trials"),
    [
        ("auto", 400),
        ("auto", COMPARED + 200),
        ("qmc", 400),
        *(
            pytest.param(sampler, trials, marks=pytest.mark.slow)
            for sampler in ("nsga2", "nsga3", "qmc", "random")
            for trials in (400, COMPARED + 200)
            if (sampler, trials) != ("qmc", 400)
        ),
    ],
)
def test_a_cut_log_resumes_to_the_same_front(
    sampler: str, trials: int, tmp_path: Path, datacenter: Space, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every log of a finished run cut somewhere, as a kill leaves it: what is missing is judged again."""
    whole = run(datacenter, tmp_path / "a", trials=trials, sampler=sampler)
    assert run(datacenter, tmp_path / "b", trials=trials, sampler=sampler) == whole
    for k, log in enumerate(Folder(tmp_path / "b").logs()):
        size = log.path.stat().st_size
        os.truncate(log.path, int(size * (0.4 + 0.25 * k)))
    (tmp_path / "b" / "front.npz").unlink()
    assert run(datacenter, tmp_path / "b", trials=trials, sampler=sampler, resume=True) == whole
    assert judged(tmp_path / "b") == trials
    assert "[W " not in capfd.readouterr().err  # no warning of Optuna's, a line a trial


def test_a_damaged_log_is_told_and_not_taken(tmp_path: Path, mobile: Space) -> None:
    run(mobile, tmp_path / "a", trials=400)
    log = Folder(tmp_path / "a").logs()[-1].path
    raw = bytearray(log.read_bytes())
    raw[40] ^= 0xFF
    log.write_bytes(bytes(raw))
    with pytest.raises(RunError, match="damaged at byte 0"):
        run(mobile, tmp_path / "a", trials=450, resume=True)


def test_going_on_loses_nothing_that_was_on_the_front(tmp_path: Path, datacenter: Space) -> None:
    """Case 59: every earlier front point is on the new front or beaten by it."""
    out = tmp_path / "a"
    for trials in (300, 350, COMPARED + 100):
        before = load_run(out)[0].front.points if trials > 300 else np.empty((0, 3))
        run(datacenter, out, trials=trials, resume=trials > 300)
        assert judged(out) == trials
        after = load_run(out)[0].front.points
        assert all((after <= p).all(axis=1).any() for p in before)


def test_a_run_is_never_overwritten(run_copy: Path, datacenter: Space) -> None:
    with pytest.raises(RunError, match="already holds a run"):
        run(datacenter, run_copy)
    with pytest.raises(SpaceError, match="seed"):
        run(datacenter, run_copy, seed=9, resume=True)


def test_a_run_resumes_only_under_its_own_question(run_copy: Path) -> None:
    other = load_space("datacenter", Overrides(limit=("ttft=1 s",)))
    with pytest.raises(SpaceError, match="overrides"):
        run(other, run_copy, resume=True)


def test_a_front_without_its_designs_is_not_gone_on_with(run_copy: Path, datacenter: Space) -> None:
    """As the reference runs are shipped: going on would begin anew, and lose the front."""
    shutil.rmtree(run_copy / "designs")
    front = (run_copy / "front.npz").read_bytes()
    with pytest.raises(RunError, match="without the designs"):
        run(datacenter, run_copy, resume=True)
    assert (run_copy / "front.npz").read_bytes() == front


def test_a_log_that_cannot_be_read_costs_no_front(tmp_path: Path, mobile: Space) -> None:
    run(mobile, tmp_path / "a", trials=400)
    log = Folder(tmp_path / "a").logs()[-1].path
    raw = bytearray(log.read_bytes())
    raw[40] ^= 0xFF
    log.write_bytes(bytes(raw))
    before = {name: (tmp_path / "a" / name).read_bytes() for name in ("front.npz", "run.json")}
    with pytest.raises(RunError, match="damaged"):
        run(mobile, tmp_path / "a", trials=450, resume=True)
    assert {name: (tmp_path / "a" / name).read_bytes() for name in before} == before


def test_damaged_files_of_a_run_are_told_by_name(run_copy: Path) -> None:
    whole = (run_copy / "front.npz").read_bytes()
    (run_copy / "front.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"front\.npz: cannot be read"):
        load_run(run_copy)
    (run_copy / "front.npz").write_bytes(whole)
    (run_copy / "study.json").write_text("{")
    with pytest.raises(RunError, match=r"study\.json: cannot be read"):
        load_run(run_copy)


def test_an_error_bar_is_of_all_designs_of_a_run(tmp_path: Path, mobile: Space) -> None:
    """Resumed with fewer trials than its logs hold: what the front is of is what the error bar is of."""
    settings = {"resume": True, "command": "test"}
    first = search(mobile, tmp_path / "a", Settings(trials=3000), resume=False, command="test")
    fewer = search(mobile, tmp_path / "a", Settings(trials=1000), **settings)  # type: ignore[arg-type]
    assert np.array_equal(fewer.run.front.points, first.run.front.points)
    agreements = [json.loads((tmp_path / "a" / "study.json").read_text())["agreement"][-1][-1]]
    assert agreements[0]["designs"] > 0.8 * 3000


def test_changes_made_twice_are_read_again_as_they_were(tmp_path: Path) -> None:
    space = load_space("mobile").in_year(2028).limit(bom="90 USD").in_year(2031)
    space = space.with_objectives("tpot", "bom", "energy_per_token").with_objectives("tpot", "bom")
    done = search(space, tmp_path / "a", Settings(trials=200), resume=False, command="test")
    read = load_run(tmp_path / "a")[0]
    assert read.space == space
    assert read.space.scenario.year == 2031
    assert np.array_equal(read.front.points, done.run.front.points)


def test_a_run_without_a_single_design_says_so(tmp_path: Path, mobile: Space) -> None:
    with pytest.raises(InfeasibleError, match="no design was judged"):
        search(mobile, tmp_path / "a", Settings(seeds=3, timeout=1e-9), resume=False, command="test")


def test_fewer_trials_than_seeds_are_refused() -> None:
    with pytest.raises(SpaceError, match="at least one for each"):
        _ = Settings(trials=3, seeds=5).stopping


def test_a_killed_run_says_how_many_designs_its_logs_hold(run_copy: Path) -> None:
    about = json.loads((run_copy / "run.json").read_text())
    told = about.pop("evaluated")
    (run_copy / "run.json").write_text(json.dumps(about))
    assert load_run(run_copy)[0].trials == told


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        load_run(tmp_path)


def test_a_run_of_before_batches_still_opens(run_copy: Path, datacenter: Space) -> None:
    """Its log held a JSON line a trial: the designs are read and judged again; it is not gone on with."""
    run_now, _ = load_run(run_copy)
    lines = [
        '{"params": ' + repr(run_now.values(int(r))).replace("'", '"') + "}\n" for r in run_now.front.rows
    ]
    (run_copy / "log.jsonl").write_text("".join(lines) + '{"params": {"fast_mem')
    (run_copy / "front.npz").unlink()
    for log in Folder(run_copy).logs():
        log.path.unlink()
    again, _ = load_run(run_copy)
    # the front of a search leaves out what betters it by less than the slack: nothing else may differ
    assert worst_factors(again.front.points, run_now.front.points).max() <= 1.0
    assert worst_factors(run_now.front.points, again.front.points).max() <= 1.0 + SLACK
    with pytest.raises(RunError, match="cannot be gone on with"):
        run(datacenter, run_copy, resume=True)


def test_load_gives_back_the_same_front(tmp_path: Path) -> None:
    space = load_space("datacenter", Overrides(fix=("pnm=none",), year=2028))
    done = search(space, tmp_path / "a", Settings(trials=150), resume=False, command="test")
    again, _ = load_run(tmp_path / "a")
    assert np.array_equal(again.front.points, done.run.front.points)
    assert again.space.overrides == space.overrides
    (tmp_path / "a" / "front.npz").unlink()  # killed before its end: the logs have it all
    assert np.array_equal(load_run(tmp_path / "a")[0].front.points, done.run.front.points)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_asks_only_active_variables_and_no_design_twice(
    sampler: str, mobile: Space, catalog: Catalog
) -> None:
    job = in_memory(mobile, catalog, sampler=sampler, trials=60 if sampler == "tpe" else 300)
    codes = np.concatenate([s.archives.codes for s in job.sides])
    present = job.genome.repair(codes)
    design = job.genome.design(codes, present)
    assert ((design.columns["pnm"] == 0) == np.isnan(design.columns["pnm_flops"])).all()
    stacked = mobile.variable("dram_mount").choices.index("3d_on_soc")
    channels = design.columns["dram_channels"]
    absent = np.isnan(channels) if channels.dtype.kind == "f" else channels < 0
    assert ((design.columns["dram_mount"] == stacked) == absent).all()
    assert len(np.unique(job.genome.keys(codes, present))) == len(codes) == job.evaluated


class Counting:
    """An evaluator that counts the designs it is asked about."""

    name, version, seconds_hint = "counting", "1", 1e-3
    asked = 0

    def __init__(self, space: Space) -> None:
        self.inner = FirstOrderModel(space, dse.load_catalog())

    def evaluate(self, design: Design) -> Outcomes:
        Counting.asked += len(design)
        return self.inner.evaluate(design)


def test_trials_are_designs_evaluated(tmp_path: Path, mobile: Space) -> None:
    """What the run, its table, its study and the evaluator call trials is one number."""
    Counting.asked = 0
    job = in_memory(mobile, dse.load_catalog(), evaluator_source(Counting), trials=260)
    assert Counting.asked == job.evaluated == 260
    result = dse.search(mobile, trials=260, seed=1, evaluator=Counting, out=tmp_path / "a")
    assert result.run.trials == len(result.trials) == judged(tmp_path / "a") == 260
    assert result.run.about["evaluated"] == 260


def test_halves_of_a_slow_evaluator_take_turns(mobile: Space, catalog: Catalog) -> None:
    """It never reaches the designs at which ours are compared: both halves have begun, and are compared."""
    job = Search(mobile, evaluator_source(Counting), catalog)
    job.run(Stopping(), lambda: job.evaluated > 1600)
    first, second = (half.evaluated for half in job.seeds[0].halves)
    assert min(first, second) >= 500
    assert job.agreement is not None
    assert "too few designs" in job.agreement.sentence


def test_a_small_space_ends_when_it_is_exhausted(mobile: Space, catalog: Catalog) -> None:
    tight = mobile
    for name, number in (("npu_area", 1e-5), ("npu_sram", 8e6), ("npu_clock", 1e9), ("flash_dies", 4.0)):
        tight = tight.restrict(name, [number])
    for name in ("soc_node", "dram", "pnm", "flash"):
        tight = tight.restrict(name, tight.variable(name).choices[:1])
    for asked in ({"trials": 100_000}, {"trials": None}):
        job = in_memory(tight, catalog, **asked)
        every = sum(1 for _ in _distinct(tight))
        for half in job.seeds[0].halves:
            assert len(half.archives) <= every
        assert all(s.exhausted for s in job.seeds)
        same_front(points_of(job), sweep_of_all(tight, catalog))


def same_front(found: np.ndarray, exact: np.ndarray) -> None:
    """Points of an exact front are found, those that are alike within a thousandth once."""
    assert worst_factors(found, exact).max() <= 1.0 + 2 * SLACK
    assert worst_factors(exact, found).max() <= 1.0 + 1e-12


def _distinct(space: Space) -> Any:
    from dse.space.design import grid
    from dse.space.genome import Genome

    held = _enumerated(space)
    genome = Genome(held.variables)
    seen = set()
    for block in grid(held):
        codes = genome.codes(block)
        for key in genome.keys(codes, genome.repair(codes)):
            if int(key) not in seen:
                seen.add(int(key))
                yield key


def _enumerated(space: Space) -> Space:
    """Whole numbers as lists, so that a grid holds them all."""
    from dataclasses import replace

    out = []
    for v in space.variables:
        if v.kind == "int":
            numbers = tuple(float(x) for x in range(int(v.low), int(v.high) + 1))
            out.append(replace(v, grid=numbers))
        else:
            out.append(replace(v, grid=()))
    return replace(space, variables=tuple(out))


def sweep_of_all(space: Space, catalog: Catalog) -> np.ndarray:
    held = _enumerated(space)
    return sweep(held, FirstOrderModel(held, catalog)).front.points


def test_auto_beats_random_and_nsga2_at_equal_designs(datacenter: Space, catalog: Catalog) -> None:
    """In the box of the question, median of five seeds."""
    box = np.array([datacenter.reference_point[o] for o in datacenter.objectives])
    kept = {
        sampler: np.median(
            [
                volume(points_of(in_memory(datacenter, catalog, trials=700, sampler=sampler, seed=s)), box)
                for s in (1, 2, 3, 4, 5)
            ]
        )
        for sampler in ("auto", "nsga2", "random")
    }
    assert kept["auto"] > 1.02 * kept["nsga2"] > 1.02 * kept["random"]


def test_sweep_of_a_small_grid_is_exact(mobile: Space, catalog: Catalog) -> None:
    small = mobile.restrict("npu_area", [1e-5]).restrict("npu_sram", [8e6]).restrict("npu_clock", [1e9])
    for name, value in (("soc_node", "N3"), ("dram", "lpddr5x"), ("pnm", "none")):
        small = small.restrict(name, [value])
    small = small.on_grid()
    m = FirstOrderModel(small, catalog)
    done = sweep(small, m, block=50)
    whole = sweep(small, m, block=10**6)
    assert done.designs == whole.designs
    assert np.array_equal(done.front.points, whole.front.points)
    job = in_memory(small, catalog, trials=900)
    same_front(points_of(job), done.front.points)


def test_nothing_feasible_names_the_limit_and_the_relaxation(tmp_path: Path) -> None:
    space = load_space("datacenter", Overrides(limit=("ttft=1 ms",)))
    with pytest.raises(InfeasibleError) as error:
        run(space, tmp_path / "a", trials=100)
    assert "ttft" in str(error.value)
    assert "none of 100 designs" in str(error.value)
    assert "relaxation" in str(error.value) or "No single limit" in str(error.value)


def test_a_limit_that_a_search_holds_without_it_is_held_with_it(datacenter: Space, catalog: Catalog) -> None:
    """Case 58: until designs hold a limit on an objective, a search goes as if there were none."""
    limited = datacenter.limit(cost_per_mtoken="0.15 USD")
    held = 0
    for seed in range(1, 7):
        free = points_of(in_memory(datacenter, catalog, trials=900, seed=seed))
        with_limit = points_of(in_memory(limited, catalog, trials=900, seed=seed))
        assert (with_limit[:, 1] <= 0.15).all()
        if (free[:, 1] <= 0.15).any():
            held += 1
            assert len(with_limit)
            assert with_limit[:, 1].min() <= 0.15
    assert held


def test_limits_near_what_can_be_are_bred_towards(catalog: Catalog) -> None:
    """None of 2,000 random designs holds them; breeding from those that violate least does."""
    for name, limits in (
        ("datacenter", {"cost_per_mtoken": "0.13 USD"}),
        ("datacenter", {"ttft": "0.3 s", "energy_per_token": "0.3 J"}),
        ("mobile", {"ttft": "0.4 s", "bom": "30 USD"}),
    ):
        space = load_space(name).limit(**limits)
        drawn = FirstOrderModel(space, catalog).evaluate(sample(space, 2000, np.random.default_rng(0)))
        assert not drawn.feasible.any(), (name, limits)
        assert len(points_of(in_memory(space, catalog, trials=8000))), (name, limits)


def test_front_counts_hardware_once(tmp_path: Path, datacenter: Space) -> None:
    done = search(datacenter, tmp_path / "a", Settings(trials=200), resume=False, command="test")
    assert 0 < len(done.run.hardware) <= len(done.run.front)


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong, message in (
        ({"until": "done"}, "--until"),
        ({"timeout": 0}, "--timeout"),
        ({"timeout": float("nan")}, "--timeout"),
        ({"seeds": 0}, "--seeds"),
        ({"sampler": "nsga2"}, "--trials or --timeout"),
        ({"sampler": "autoo"}, "did you mean 'auto'"),
    ):
        with pytest.raises(SpaceError, match=message):
            _ = Settings(**wrong).stopping
    assert Settings().stopping == Stopping(converged=True)
    assert not Settings(trials=10).stopping.converged
    assert Settings(trials=10, until="converged").stopping.converged


def test_a_time_limit_ends_a_search_and_is_said(tmp_path: Path, datacenter: Space) -> None:
    settings = Settings(timeout=0.5)
    done = search(datacenter, tmp_path / "a", settings, resume=False, command="test")
    assert not done.interrupted
    assert done.said.startswith("not converged")
    assert done.run.trials == judged(tmp_path / "a") < 60_000


IDLE: dict[str, Value] = {"compute_node": "N2", "compute_area": 1.6e-3, "mac_share": 0.35, "sram": 128e6, "clock": 1.5e9,
        "fast_memory": "hbm4", "stacks": 8, "stack_height": 12, "flash": "hbf_gen1", "flash_stacks": 1, "flash_height": 8,
        "flash_cell": "pslc", "flash_attach": "far", "far_memory": "none", "pnm": "none", "domain": 16, "topology": "switch",
        "link_bandwidth": 9e11, "collective_engine": "device"}  # fmt: skip


def test_parts_that_hold_nothing_leave_a_polished_front(datacenter: Space, catalog: Catalog) -> None:
    """Around a design with idle flash the polish finds the same machine without it."""
    job = Search(datacenter, OURS, catalog, known=[IDLE])
    half = job.seeds[0].halves[0]
    only = job.genome.codes(_encoded(datacenter, IDLE))
    half.archives.learn(half.judge.batch(only, 0, 1))
    before = half.archives.whole.points.copy()
    assert len(before)
    job.polish.advance(5000, lambda: False)
    job.polish.close()
    common = Common([half.archives, job.polish.archives])
    front = common.front(0)
    assert all((front.points <= p).all(axis=1).any() for p in before), "polishing never loses"
    codes = common.codes(front.owners)
    flash = job.genome.design(codes, job.genome.repair(codes)).columns["flash"]
    assert (flash == 0).any()
    assert 0 not in front.owners, "the machine with idle flash is beaten by the one without"


def _encoded(space: Space, values: dict[str, Value]) -> Design:
    from dse.space.design import encode

    return encode(space, [values])


def test_the_polish_asks_only_what_nobody_has_judged(mobile: Space, catalog: Catalog) -> None:
    job = in_memory(mobile, catalog, trials=1500)
    asked, _ = Neighbours(job.polish.archives, job.seeds[0].halves).ask(0)
    keys = job.genome.keys(asked, job.genome.repair(asked))
    assert len(np.unique(keys)) == len(keys)
    for side in job.sides:
        assert not np.isin(keys, side.archives.seen).any()


def test_halves_know_nothing_of_each_other(mobile: Space, catalog: Catalog) -> None:
    """A half of a search is what it is alone: nothing is shared but the designs nearest to machines on sale."""
    job = in_memory(mobile, catalog, trials=2000)
    alone = Search(mobile, OURS, catalog, trials=2000).seeds[0].halves[1]
    alone.advance(job.seeds[0].halves[1].evaluated, lambda: False, exact=True)
    alone.close()
    assert np.array_equal(alone.archives.codes, job.seeds[0].halves[1].archives.codes)
    assert np.array_equal(alone.archives.whole.points, job.seeds[0].halves[1].archives.whole.points)


def test_halves_are_compared_at_doublings_and_between(
    mobile: Space, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their common front is told to have moved since half as many designs, whatever came between."""
    monkeypatch.setattr("dse.study.search.FIRST", 500)
    job = Search(mobile, OURS, catalog)
    job.run(Stopping(converged=True, most=2000), lambda: False)
    (one,) = job.seeds
    at = np.array([a.designs for a in one.agreements]) / 2
    assert len(at) == 5
    assert (at >= [500, 750, 1000, 1500, 2000]).all()
    assert (at <= 1.1 * np.array([500, 750, 1000, 1500, 2000])).all()  # whole generations
    assert np.isfinite([a.drift for a in one.agreements]).tolist() == [False, False, True, True, True]
    assert one.doubled is not None
    before, after = one.doubled
    assert before.designs / after.designs == pytest.approx(0.5, abs=0.06)


def test_several_seeds_are_searched_each_on_its_own(mobile: Space, catalog: Catalog) -> None:
    many = in_memory(mobile, catalog, trials=4000, seed=5, seeds=2)
    one = in_memory(mobile, catalog, trials=2000, seed=6)
    assert [s.seed for s in many.seeds] == [5, 6]
    assert np.array_equal(many.seeds[1].halves[0].archives.codes, one.seeds[0].halves[0].archives.codes)
    both = ParetoArchive(3)
    for s in many.seeds:
        for h in s.halves:
            both.insert(h.archives.whole.points.copy(), h.archives.whole.owners, h.archives.whole.tags)
    assert hypervolume(points_of(many), Scale.of(both.points)) >= hypervolume(
        both.points, Scale.of(both.points)
    )


def test_a_share_of_an_exact_front_is_at_most_one(mobile: Space, catalog: Catalog) -> None:
    done = sweep_front(mobile, catalog)
    assert hypervolume_ratio(done, done) == pytest.approx(1.0)


def sweep_front(mobile: Space, catalog: Catalog) -> Any:
    small = (
        mobile.restrict("npu_area", [1e-5]).restrict("npu_sram", [8e6]).restrict("npu_clock", [1e9]).on_grid()
    )
    return sweep(
        small.restrict("soc_node", ["N3"]).restrict("flash", ["ufs4"]), FirstOrderModel(small, catalog)
    ).front
