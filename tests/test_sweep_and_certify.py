"""Exact fronts of grids, their resume, and certificates of runs, by the command line and by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dse.catalog.catalog import Catalog, load_catalog
from dse.core.errors import RunError, SpaceError
from dse.evaluator.first_order import FirstOrderModel
from dse.run.front import non_dominated
from dse.space.design import grid
from dse.space.overrides import Overrides, load_space, read_grid
from dse.space.overrides import again as applied_again
from dse.space.space import Space
from dse.study.certify import against_exact, neighbourhood
from dse.study.job import Settings, load_run, load_sweep, search
from dse.study.sweep import STATE, SweepState, sweep

HOME = Path(__file__).resolve().parent.parent

SMALL = ("soc_node=N3", "dram=lpddr5x", "flash=ufs4", "npu_clock=1 GHz")


def dse(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dse", *arguments],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(HOME)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def small() -> Space:
    return load_space("mobile", Overrides(fix=SMALL))


def test_the_front_is_that_of_all_designs_whatever_the_block(catalog: Catalog) -> None:
    space = small()
    model = FirstOrderModel(space, catalog)
    done = sweep(space, model, block=300)
    every = [model.evaluate(d) for d in grid(space)]
    points = np.concatenate(
        [np.stack([o.objectives[g][o.feasible] for g in space.objectives], axis=1) for o in every]
    )
    exact = np.unique(points[non_dominated(points)], axis=0)
    assert np.array_equal(np.unique(done.front.points, axis=0), exact)
    assert done.finished
    assert done.designs == sum(len(o.feasible) for o in every)
    assert done.feasible == sum(int(o.feasible.any(axis=1).sum()) for o in every)


def test_a_stopped_sweep_goes_on_where_it_stood(tmp_path: Path, catalog: Catalog) -> None:
    space = small()
    model = FirstOrderModel(space, catalog)
    whole = sweep(space, model, block=200)
    state = SweepState(tmp_path / STATE, "a question")
    blocks = iter(range(100))
    part = sweep(space, model, block=200, state=state, stop=lambda: next(blocks) >= 3)
    assert not part.finished
    assert state.unfinished
    assert part.designs < whole.designs
    done = sweep(space, model, block=200, state=state)
    assert done.finished
    assert (done.designs, done.feasible) == (whole.designs, whole.feasible)
    assert np.array_equal(done.front.points, whole.front.points)
    again = sweep(space, model, block=200, state=state)  # nothing is left to judge
    assert np.array_equal(again.front.points, whole.front.points)
    with pytest.raises(RunError, match="another space, grid"):
        sweep(space, model, state=SweepState(tmp_path / STATE, "another question"))
    (tmp_path / STATE).write_bytes(b"PK")
    with pytest.raises(RunError, match="cannot be read"):
        sweep(space, model, state=state)


def test_a_sweep_writes_nothing_before_it_knows_that_it_may(tmp_path: Path) -> None:
    fixed = [
        x for f in (*SMALL, "dram_mount=pop", "on_package_link=bus", "npu_sram=16MiB") for x in ("--fix", f)
    ]
    swept = dse("sweep", "mobile", *fixed, "--out", "s", cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr[-2000:]
    before = {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()}
    for arguments, message in (
        (("sweep", "mobile", "--fix", "pnm=none", "--out", "s", "--resume"), "another space, grid"),
        (("sweep", "mobile", *fixed, "--out", "s"), "holds a finished sweep"),
        (("search", "mobile", "--trials", "100", "--out", "s"), "holds a sweep"),
        (("sweep", "mobile", *fixed, "--out", "nowhere", "--resume"), "no sweep to go on with"),
    ):
        refused = dse(*arguments, cwd=tmp_path)
        assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr
    assert {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()} == before
    run = dse("search", "mobile", "--trials", "300", "--out", "r", cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    over = dse("sweep", "mobile", *fixed, "--out", "r", cwd=tmp_path)
    assert (over.returncode, "holds a run" in over.stderr) == (2, True)
    other = dse("certify", "r", "--sweep", "s", cwd=tmp_path)
    assert (other.returncode, "--fix" in other.stderr) == (2, True), other.stderr


def test_fronts_of_other_ranges_or_choices_are_of_another_question(mobile: Space) -> None:
    """Levels of a grid are no other question: a search held to them is compared with the sweep of the whole."""

    def changed(name: str, **to: Any) -> Space:
        return replace(
            mobile, variables=tuple(replace(v, **to) if v.name == name else v for v in mobile.variables)
        )

    assert mobile.asked_otherwise(changed("npu_area", high=1e-5)) == ["ranges"]
    assert mobile.asked_otherwise(changed("dram", choices=("lpddr6",))) == ["choices"]
    assert mobile.asked_otherwise(mobile.fix(dram="lpddr6")) == ["--fix", "choices"]
    for same in (mobile.on_grid(), mobile.with_grid(npu_area=["5 mm2"]), mobile.with_grid(dram=["lpddr6"])):
        assert not mobile.asked_otherwise(same)
        assert not same.asked_otherwise(mobile)


def test_a_grid_that_leaves_a_variable_without_a_level_is_refused(mobile: Space) -> None:
    held = mobile.with_grid(dram_channels=[1])
    with pytest.raises(SpaceError, match="dram_channels: none of 1 is possible with dram lpddr5x"):
        held.on_grid()
    assert held.with_grid(dram=["lpddr6"]).on_grid().variable("dram_channels").choices == (1.0,)


@pytest.mark.slow
def test_kill_9_of_a_sweep_and_resume(tmp_path: Path) -> None:
    command = ["sweep", "mobile", "--out", "s", "--fix", "soc_node=N3"]
    child = subprocess.Popen(
        [sys.executable, "-m", "dse", *command],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(HOME)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(400):
        if (tmp_path / "s" / STATE).exists() or child.poll() is not None:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    if not load_sweep(tmp_path / "s").finished:  # a fast machine may have been done
        refused = dse(*command, cwd=tmp_path)
        assert refused.returncode == 2
        assert "unfinished sweep" in refused.stderr
    done = dse(*command, "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fresh = dse(*command[:3], "t", *command[4:], cwd=tmp_path)
    assert fresh.returncode == 0, fresh.stderr
    assert (tmp_path / "s" / "front.csv").read_text() == (tmp_path / "t" / "front.csv").read_text()


def test_a_grid_file_sets_levels(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text('npu_area = ["5 mm2", "12 mm2"]\ndram = ["lpddr6"]\nflash_dies = [2, 8]\n')
    space = load_space("mobile", Overrides(grid=read_grid(file)))
    assert space.variable("npu_area").grid == pytest.approx((5e-6, 1.2e-5))
    assert space.variable("dram").grid == ("lpddr6",)
    again = applied_again(load_space("mobile"), space.overrides, load_catalog())
    assert again.variable("npu_area").grid == pytest.approx(space.variable("npu_area").grid)
    for text, message in (
        ('npu_area = ["5 kg"]', "npu_area"),
        ('npu_aera = ["5 mm2"]', "npu_aera"),
        ("npu_area = 5", "expected a list of levels"),
        ("npu_area = []", "expected a list of levels"),
        ("npu_area", "cannot be read"),
    ):
        file.write_text(text)
        with pytest.raises(SpaceError, match=message):
            load_space("mobile", Overrides(grid=read_grid(file)))


def test_a_search_held_to_the_grid_reaches_its_exact_front(tmp_path: Path, catalog: Catalog) -> None:
    held = load_space("mobile", Overrides(fix=SMALL, grid=("coarse",)))
    done = search(held, tmp_path / "r", Settings(), resume=False, command="test")
    exact = sweep(small(), FirstOrderModel(small(), catalog))
    beside = against_exact(done.run, exact)
    assert 0.995 < beside.hypervolume <= 1.0 + 1e-9
    assert 0.0 <= beside.largest < 0.02
    assert beside.missed == []


def test_a_certificate_counts_what_is_one_step_away(tmp_path: Path) -> None:
    """A poor front has neighbours that better it; a converged one has next to none."""
    space = load_space("mobile")
    poor = search(space, tmp_path / "poor", Settings(trials=300), resume=False, command="test")
    good = search(space, tmp_path / "good", Settings(), resume=False, command="test")
    first, then = (neighbourhood(x.run, x.evaluator) for x in (poor, good))
    assert first.judged >= first.feasible > 0
    assert first.hypervolume < then.hypervolume <= 1.0 + 1e-12
    assert first.within > then.within >= 0.0
    assert then.within < 0.02
    assert then.hypervolume > 0.99


def test_certify_writes_and_says(tmp_path: Path, run_copy: Path) -> None:
    swept = dse("sweep", "datacenter", "--out", "s", "--grid", str(few(tmp_path)), cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr
    done = dse("certify", str(run_copy), "--sweep", "s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one step from the" in done.stdout
    assert "Of the exact front of the grid" in done.stdout
    made = json.loads((run_copy / "certificate.json").read_text())
    assert made["neighbours"]["judged"] > made["neighbours"]["feasible"] > 0
    assert made["exact"]["points"] > 0
    assert load_run(run_copy)[0].study["certificate"] == made
    other = dse(
        "sweep", "datacenter", "--out", "t", "--grid", str(few(tmp_path)), "--limit", "ttft=1 s", cwd=tmp_path
    )
    assert other.returncode == 0, other.stderr
    apart = dse("certify", str(run_copy), "--sweep", "t", cwd=tmp_path)
    assert apart.returncode == 2
    assert "another question than the run (limits)" in apart.stderr
    wrong = dse("certify", str(run_copy), "--sweep", str(run_copy), cwd=tmp_path)
    assert wrong.returncode == 2
    assert "holds no sweep" in wrong.stderr


def few(folder: Path) -> Path:
    """A grid of the datacenter small enough to sweep in a second."""
    file = folder / "few.toml"
    file.write_text(
        'compute_node = ["N2"]\nflash = ["none"]\npnm = ["none"]\nfast_memory = ["hbm4", "dram3d"]\ndomain = [1, 8]\n'
    )
    return file
