"""Search: seeds, resume, duplicates, conditional variables, samplers, sweep as the oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dse.catalog.catalog import Catalog
from dse.core.errors import InfeasibleError, RunError, SpaceError
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.loading import OURS
from dse.evaluator.nearest_design import consistent
from dse.evaluator.protocol import Outcomes
from dse.run.folder import FOUND, FRONT, LOG, Folder
from dse.run.front import Scale, front_of, hypervolume, non_dominated
from dse.space.design import decode, encode, sample
from dse.space.overrides import Overrides, load_space
from dse.space.space import Space
from dse.space.variables import Value
from dse.study.ablation import study
from dse.study.convergence import ablation_loss, hypervolume_ratio
from dse.study.job import add_found, load_run, search
from dse.study.local_search import front_additions, local_search
from dse.study.samplers import SAMPLERS, variable_of
from dse.study.search import Search
from dse.study.sweep import sweep


def run(
    space: Space, out: Path, trials: int = 150, seed: int = 1, *, resume: bool = False, sampler: str = "nsga2"
) -> str:
    search(space, out, trials=trials, sampler=sampler, seed=seed, resume=resume, command="test")
    return (out / FRONT).read_text()


def test_same_seed_same_bytes_other_seed_other(
    tmp_path: Path, datacenter: Space, searched: Callable[[str], Path]
) -> None:
    a = (searched("datacenter") / FRONT).read_text()
    assert a == run(datacenter, tmp_path / "b")
    assert a != run(datacenter, tmp_path / "c", seed=2)


@pytest.mark.parametrize(
    "sampler",
    ["nsga2", "qmc", *(pytest.param(s, marks=pytest.mark.slow) for s in ("nsga3", "random"))],
)
def test_a_cut_log_resumes_to_the_same_front(sampler: str, tmp_path: Path, datacenter: Space) -> None:
    whole = run(datacenter, tmp_path / "a", 400, sampler=sampler)
    run(datacenter, tmp_path / "b", 250, sampler=sampler)
    log = tmp_path / "b" / LOG
    log.write_text(log.read_text()[:-300])  # a kill in the middle of a line
    assert run(datacenter, tmp_path / "b", 400, resume=True, sampler=sampler) == whole
    assert len(Folder(tmp_path / "b").trials()) == 400


def test_a_run_is_never_overwritten(run_copy: Path, datacenter: Space) -> None:
    with pytest.raises(RunError, match="already holds a run"):
        run(datacenter, run_copy, 50)
    with pytest.raises(SpaceError, match="seed"):
        run(datacenter, run_copy, 50, seed=9, resume=True)


def test_a_run_resumes_only_under_its_own_question(run_copy: Path) -> None:
    other = load_space("datacenter", Overrides(limit=("ttft=1 s",)))
    with pytest.raises(SpaceError, match="overrides"):
        run(other, run_copy, 100, resume=True)


def test_a_short_run_resumes_to_the_same_front(tmp_path: Path, datacenter: Space) -> None:
    whole = run(datacenter, tmp_path / "a", 200)
    run(datacenter, tmp_path / "b", 5)
    assert run(datacenter, tmp_path / "b", 200, resume=True) == whole


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        load_run(tmp_path)


def test_load_gives_back_the_same_front(tmp_path: Path) -> None:
    space = load_space("datacenter", Overrides(fix=("pnm=none",), year=2028))
    done = search(space, tmp_path / "a", trials=150, sampler="nsga2", seed=1, resume=False, command="test")
    again, _ = load_run(tmp_path / "a")
    assert np.array_equal(again.front.points, done.run.front.points)
    assert again.space.overrides == space.overrides


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_sampler_runs_and_asks_only_active_variables(
    sampler: str, mobile: Space, phone: FirstOrderModel
) -> None:
    s = Search(mobile, phone, sampler, 3)
    s.run(100 if sampler != "tpe" else 60)
    for trial in s.trials:
        params = {variable_of(k): v for k, v in trial["params"].items()}
        assert ("pnm_flops" in params) == (params["pnm"] != "none")
        assert ("dram_channels" in params) == (params["dram_mount"] != "3d_on_soc")


class Counting:
    """An evaluator that counts the designs it is asked about."""

    name, version, seconds_hint = "counting", "1", 1e-3

    def __init__(self, inner: FirstOrderModel) -> None:
        self.inner, self.asked, self.calls = inner, 0, 0

    def evaluate(self, design: object) -> Outcomes:
        self.calls += 1
        self.asked += len(design)  # type: ignore[arg-type]
        return self.inner.evaluate(design)  # type: ignore[arg-type]


def test_one_call_a_batch_and_no_design_twice(mobile: Space, catalog: Catalog) -> None:
    tight = mobile
    for name, number in (("npu_area", 1e-5), ("npu_sram", 8e6), ("npu_clock", 1e9)):
        tight = tight.restrict(name, [number])
    for name, value in (
        ("soc_node", "N3"),
        ("dram", "lpddr5x"),
        ("dram_mount", "pop"),
        ("pnm", "none"),
        ("flash", "ufs4"),
    ):
        tight = tight.restrict(name, [value])
    counting = Counting(FirstOrderModel(tight, catalog))
    s = Search(tight, counting, "random", 1)
    s.run(1000)
    assert counting.calls <= 20
    assert counting.asked < 1000
    design, _ = s.archive.joined()
    assert len(set(design.row_keys())) == len(design)


def test_nsga2_beats_random_at_equal_designs(datacenter: Space, model: FirstOrderModel) -> None:
    s = Search(datacenter, model, "nsga2", 1)
    front = s.run(600)
    outcomes = model.evaluate(sample(datacenter, 600, np.random.default_rng(1)))
    rows, rungs = np.nonzero(outcomes.feasible)
    points = np.stack([outcomes.objectives[o][rows, rungs] for o in datacenter.objectives], axis=1)
    scale = Scale.of(front.points)
    assert hypervolume(front.points, scale) > hypervolume(points[non_dominated(points)], scale)


def test_sweep_of_a_small_grid_is_exact(mobile: Space, catalog: Catalog) -> None:
    small = mobile.restrict("npu_area", [1e-5]).restrict("npu_sram", [8e6]).restrict("npu_clock", [1e9])
    for name, value in (
        ("soc_node", "N3"),
        ("dram", "lpddr5x"),
        ("flash", "ufs4"),
        ("on_package_link", "bus"),
        ("flash_cell", "tlc"),
    ):
        small = small.restrict(name, [value])
    small = small.on_grid()
    m = FirstOrderModel(small, catalog)
    done = sweep(small, m, block=50)
    whole = sweep(small, m, block=10**6)
    assert done.designs == whole.designs
    assert np.array_equal(done.front.points, whole.front.points)
    s = Search(small, m, "nsga2", 1)
    found = s.run(400)
    assert 0.8 < hypervolume_ratio(done.front, found) <= 1.0 + 1e-9


def test_nothing_feasible_names_the_limit_and_the_relaxation(tmp_path: Path) -> None:
    space = load_space("datacenter", Overrides(limit=("ttft=1 ms",)))
    with pytest.raises(InfeasibleError) as error:
        search(space, tmp_path / "a", trials=100, sampler="random", seed=1, resume=False, command="test")
    assert "ttft" in str(error.value)
    assert "relaxation" in str(error.value) or "No single limit" in str(error.value)


def test_front_counts_hardware_once(tmp_path: Path, datacenter: Space) -> None:
    done = search(
        datacenter, tmp_path / "a", trials=200, sampler="nsga2", seed=1, resume=False, command="test"
    )
    assert 0 < len(done.run.hardware) <= len(done.run.front)


def test_a_lever_is_never_worth_less_than_nothing() -> None:
    whole = np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0]])
    scale = Scale.of(whole)
    same = ablation_loss(whole, whole, scale)
    assert (same["hypervolume"], same["factor"], same["typical"]) == (1.0, 1.0, 1.0)
    less = ablation_loss(whole[:1], whole, scale)
    # by hand: (1, 4) serves (2, 2) at 4/2 and (4, 1) at 4/1
    assert (less["typical"], less["factor"]) == (2.0, 4.0)
    assert 0 < less["hypervolume"] < 1
    assert not ablation_loss(whole[:0], whole, scale)["feasible"]


def test_what_the_lever_study_finds_joins_the_front(tmp_path: Path, mobile: Space, catalog: Catalog) -> None:
    out = tmp_path / "run"
    run(mobile, out, trials=100)
    loaded, model = load_run(out, catalog)
    before, own = loaded.front.points, loaded.own
    made, found = study(loaded, OURS, trials=100, seed=1)
    assert found
    assert all(
        0 <= v["hypervolume"] <= 1 and (not v["feasible"] or v["factor"] >= 1)
        for v in made["levers"].values()
    )
    Folder(out).keep_designs(FOUND, found)
    add_found(loaded.archive, model, found)
    after = front_of(mobile, loaded.archive.joined()[1]).points
    scale = Scale.of(after)
    assert hypervolume(after, scale) > hypervolume(before, scale)
    again, _ = load_run(out, catalog)
    assert (again.own, len(again.archive)) == (own, len(loaded.archive))
    assert np.array_equal(np.sort(again.front.points, axis=0), np.sort(after, axis=0))
    # the search's own log is untouched, so that a resume still replays it
    run(mobile, out, trials=150, resume=True)
    assert len(Folder(out).trials()) == 150


IDLE: dict[str, Value] = {"compute_node": "N2", "compute_area": 1.6e-3, "mac_share": 0.35, "sram": 128e6, "clock": 1.5e9,
        "fast_memory": "hbm4", "stacks": 8, "stack_height": 12, "flash": "hbf_gen1", "flash_stacks": 1, "flash_height": 8,
        "flash_cell": "pslc", "flash_attach": "far", "far_memory": "none", "pnm": "none", "domain": 16, "topology": "switch",
        "link_bandwidth": 9e11, "collective_engine": "device"}  # fmt: skip


def test_parts_that_hold_nothing_leave_a_polished_front(datacenter: Space, model: FirstOrderModel) -> None:
    design = consistent(datacenter, IDLE)
    assert design["flash"] == "hbf_gen1"
    before = model.evaluate(encode(datacenter, [design]))
    assert before.feasible.any()
    points, designs = local_search(datacenter, model, [design], 400, 1)
    mine = np.stack([before.objectives[o][before.feasible] for o in datacenter.objectives], axis=1)
    assert all((points <= p).all(axis=1).any() for p in mine), "polishing never loses"
    assert any("flash_stacks" not in d for d in designs)
    assert design not in designs, (
        "the same machine without its idle flash is better in cost and no worse in time"
    )


def test_a_polished_front_is_no_worse_and_stays_inside_the_space(
    mobile: Space, phone: FirstOrderModel
) -> None:
    job = Search(mobile, phone, "nsga2", 3)
    front = job.run(150)
    design, _ = job.archive.joined()
    start = [decode(mobile, design, int(r)) for r in np.unique(front.rows)]
    points, designs = local_search(mobile, phone, start, 150, 3)
    again = local_search(mobile, phone, start, 150, 3)
    assert np.array_equal(points, again[0])
    assert designs == again[1]
    assert non_dominated(points).all()
    assert all((points <= p).all(axis=1).any() for p in front.points)
    scale = Scale.of(points)
    assert hypervolume(points, scale) > hypervolume(front.points, scale)
    outcomes = phone.evaluate(encode(mobile, designs))
    assert outcomes.feasible.any(axis=1).all()


def test_a_dominated_point_always_leaves_a_front() -> None:
    own = np.array([[1.0, 2.0], [2.0, 1.0]])
    found = np.array([[0.5, 1.995], [1.995, 0.999], [0.9, 1.5], [1.99, 1.0]])
    kept = front_additions(own, (found, [{"i": i} for i in range(4)]))
    for p in own:
        assert any((found[int(d["i"])] <= p).all() for d in kept)
    assert len(kept) < len(found)
    assert front_additions(found, (own, [{"i": 0}, {"i": 1}])) == []
