"""The Python API: what it shows, its examples, tables with units, and simulators of one's own everywhere."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import dse
import dse.api
import dse.catalog.catalog
import dse.space.space
from dse.core.errors import InfeasibleError, SpaceError
from dse.evaluator.testing import EvaluatorContract
from dse.space.design import Design, sample
from tests.simulator import Roofline

HOME = Path(__file__).resolve().parent.parent


class TestOurs(EvaluatorContract):
    """Our model keeps the contract that it asks of others."""


class TestSimulator(EvaluatorContract):
    """So does the simulator of these tests."""

    def source(self) -> str:
        """By name, as a run folder names it."""
        return "tests.simulator:Roofline"


def test_dir_shows_the_public_names() -> None:
    assert dir(dse) == sorted(dse.__all__)
    assert len(dse.__all__) <= 15
    for name in dse.__all__:
        assert getattr(dse, name).__doc__ or name == "__version__", name


@pytest.mark.parametrize("name", [n for n in dse.__all__ if n != "__version__"])
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    """In its own docstring, or in that of one of its methods."""
    public = getattr(dse, name)
    tests = [t for t in doctest.DocTestFinder(recurse=True).find(public, name) if t.examples]
    assert tests, name
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_breakdowns_are_series_that_sum_to_their_objective() -> None:
    for point, price in (
        (
            dse.evaluate("datacenter", device="h200_sxm", llm="DeepSeek-V3", batch=64, tensor_parallel=8),
            "cost_per_mtoken",
        ),
        (dse.evaluate("mobile", variables={}), "bom"),
    ):
        assert point.time.sum() == pytest.approx(point.tpot)
        assert point.energy.sum() == pytest.approx(point.objectives["energy_per_token"])
        assert point.cost.sum() == pytest.approx(point.objectives[price])
        assert point.carbon.sum() == pytest.approx(point.objectives["carbon_per_mtoken"])
        assert (point.time.attrs["unit"], point.energy.attrs["unit"], point.cost.attrs["unit"]) == (
            "s",
            "J",
            "USD",
        )


def test_tables_carry_units_and_equal_the_csv(tmp_path: Path) -> None:
    run = dse.search("mobile", trials=80, seed=3, out=tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "front.csv")
    assert len(run.front) == len(table)
    assert set(run.front.attrs["units"]) == set(run.front.columns)
    for name, unit in (("tpot", "s"), ("bom", "USD"), ("npu_area", "m2")):
        assert run.front.attrs["units"][name] == unit
        np.testing.assert_allclose(run.front[name], table[f"{name} [{unit}]"], rtol=1e-5)
    assert len(run.trials) == 80
    assert run.trials["feasible"].any()
    assert set(run.trials.attrs["units"]) == set(run.trials.columns)


def test_a_space_is_changed_by_methods_as_by_flags() -> None:
    from dse.space.overrides import Overrides
    from dse.space.overrides import load_space as flagged

    made = (
        dse.load_space("datacenter")
        .fix(pnm="none")
        .limit(ttft="1 s")
        .with_model("Llama-3.1-70B")
        .in_year(2028)
    )
    same = flagged(
        "datacenter", Overrides(fix=("pnm=none",), limit=("ttft=1 s",), model="Llama-3.1-70B", year=2028.0)
    )
    assert made == same
    with pytest.raises(SpaceError, match="did you mean 'pnm'"):
        dse.load_space("datacenter").fix(pmn="none")
    with pytest.raises(SpaceError, match="ttft"):
        dse.load_space("datacenter").limit(ttft="1 parsec")


def cli(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dse", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": f"{HOME}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_simulator_of_ones_own_is_searched_shown_recommended_and_reloaded(tmp_path: Path) -> None:
    """Search with baselines in the space, page, recommendation and reload: by the simulator alone."""
    own = ("--evaluator", "tests.simulator:Roofline")
    done = cli("explore", "datacenter", "--trials", "150", "--out", "out", *own, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out" / "datacenter"
    text = (folder / "recommendation.md").read_text()
    assert "roofline 1.0" in text
    assert "h100" not in text.lower()  # a machine on sale is judged by our model alone
    assert "estimates" not in text  # of our catalogue, which the simulator does not read
    assert "roofline 1.0" in (folder / "dashboard.html").read_text()
    loaded = dse.load_run(folder)
    table = pd.read_csv(folder / "front.csv")
    np.testing.assert_allclose(loaded.front["tpot"], table["tpot [s]"], rtol=1e-5)
    assert loaded.evaluator.name == "roofline"
    again = cli("recommend", str(folder), "--out", "again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    swept = cli("sweep", "datacenter", "--fix", "pnm=none", "--run", str(folder), "--out", "s", cwd=tmp_path)
    assert swept.returncode == 2
    assert "was judged by roofline 1.0" in swept.stderr


def test_a_run_is_never_judged_by_another_evaluator_in_silence(tmp_path: Path) -> None:
    class Local(Roofline):
        name = "local"

    dse.search("datacenter", trials=60, seed=1, out=tmp_path / "run", evaluator=Local)
    with pytest.raises(SpaceError, match="cannot be loaded"):
        dse.load_run(tmp_path / "run")
    with pytest.raises(SpaceError, match="was judged by evaluator 'local 1.0'"):
        dse.load_run(tmp_path / "run", evaluator=Roofline)
    assert len(dse.load_run(tmp_path / "run", evaluator=Local).front) > 0


def test_an_evaluator_that_breaks_the_protocol_is_refused_by_name() -> None:
    class Short(Roofline):
        def evaluate(self, design: Design) -> dse.Outcomes:
            found = super().evaluate(design)
            return dse.Outcomes({"tpot": found.objectives["tpot"][:, :1]}, {}, {})

    class Endless(Roofline):
        def evaluate(self, design: Design) -> dse.Outcomes:
            found = super().evaluate(design)
            found.objectives["tpot"] = np.full_like(found.objectives["tpot"], np.inf)
            return found

    from dse.evaluator.loading import evaluator_source

    space = dse.load_space("datacenter")
    design = sample(space, 3, np.random.default_rng(0))
    with pytest.raises(SpaceError, match="gives no objective 'cost_per_mtoken'"):
        evaluator_source(Short).make(space, dse.load_catalog()).evaluate(design)
    with pytest.raises(SpaceError, match="'tpot' is not finite"):
        evaluator_source(Endless).make(space, dse.load_catalog()).evaluate(design)
    for wrong in ("nothing", "no.such:Thing", "tests.simulator:BYTES_A_TOKEN"):
        with pytest.raises(SpaceError, match="--evaluator"):
            evaluator_source(wrong)
    with pytest.raises(SpaceError, match="expected a class or function"):
        evaluator_source(Roofline(space))  # type: ignore[arg-type]


def test_the_script_of_ten_lines_searches_and_plots(tmp_path: Path) -> None:
    text = (HOME / "results" / "front.py").read_text()
    (tmp_path / "front.py").write_text(text.replace("trials=500", "trials=60"))
    done = subprocess.run(
        [sys.executable, "front.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{HOME}", "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "energy_per_token" in done.stdout
    assert (tmp_path / "front.svg").read_text().startswith("<?xml")
    assert sum(1 for line in text.splitlines() if line and not line.startswith(('"', "import", "from"))) <= 10


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight_bits": 0}, "weight_bits: got 0"),
        ({"output_tokens": -3}, "output_tokens: got -3"),
        ({"context": float("nan")}, "context: got nan"),
        ({"context": "4k"}, "context: got '4k'"),
        ({"batch": 1.5}, "batch: got 1.5"),
        ({"batch": 0}, "batch: got 0"),
        ({"variables": {"domain": 8}}, "not both"),
        ({"formats": {"experts": "mxfp4"}}, "Llama-3.1-70B has no experts"),
        ({"tensor_parallel": 4, "expert_parallel": 4}, "expert_parallel: got 4"),
        ({"formats": {"weights": "fp8"}, "weight_bits": 4}, "which both say how wide"),
        ({"formats": {"kv_cache": "fp8"}, "kv_bits": 4}, "which both say how wide"),
        ({"weight_bits": 4, "compute_bits": 4}, "h100_sxm multiplies in 8 and 16 bit"),
        ({"weight_bits": 16, "compute_bits": 8}, "got 8 for weights of 16 bit"),
        ({"tensor_parallel": 4, "data_parallel": 2, "batch": 9}, "a multiple of 2.*nearest: 8 or 10"),
    ],
)
def test_evaluate_refuses_what_the_command_line_refuses(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        dse.evaluate("datacenter", device="h100_sxm", llm="Llama-3.1-70B", **wrong)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"sampler": "foo"}, "sampler"), ({"trials": 0}, "trials"), ({"seed": -1}, "seed")]
)
def test_search_refuses_bad_settings_before_it_writes(
    wrong: dict[str, Any], message: str, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"trials": 50, "out": tmp_path / "run"} | wrong
    with pytest.raises(SpaceError, match=message):
        dse.search("mobile", **asked)
    assert not (tmp_path / "run").exists()


def test_a_limit_that_an_evaluator_does_not_judge_is_refused() -> None:
    """One set with --limit is; the space's TPOT targets and limits on objectives are judged for it."""
    space = dse.load_space("datacenter")
    with pytest.raises(SpaceError, match="does not judge 'ttft'"):
        dse.search(space.limit(ttft="1 ms"), trials=50, evaluator=Roofline)
    bounded = dse.search(space.limit(cost_per_mtoken="0.3 USD"), trials=100, evaluator=Roofline)
    assert (bounded.front["cost_per_mtoken"] <= 0.3).all()

    class Unlimited(Roofline):
        def evaluate(self, design: Design) -> dse.Outcomes:
            return dse.Outcomes(super().evaluate(design).objectives, {}, {})

    free = dse.search("datacenter", trials=100, evaluator=Unlimited)
    assert (free.front["tpot"] <= free.front["tpot_target"] * (1 + 1e-9)).all()
    with pytest.raises(SpaceError, match="failed on"):
        dse.search("mobile", trials=50, evaluator=Roofline)


def test_fit_counts_the_fullest_stage_and_the_fewest_packages() -> None:
    """126 layers in 60 stages are 3 in some: 3 x 6.4 GB of weights, over what a TPU v5e has of 17.2."""
    asked: dict[str, Any] = {"device": "tpu_v5e", "llm": "Llama-3.1-405B", "published": True}
    asked |= {"input_tokens": 512, "output_tokens": 512}
    uneven = dse.fit("datacenter", **asked, pipeline=60, batch=60)
    assert not uneven.fits
    assert uneven.memory["weights of attention, dense layers and head"] == pytest.approx(
        3 / 126 * 2 * 405.85e9, rel=0.01
    )
    even = dse.fit("datacenter", **asked, pipeline=63, batch=63)
    assert even.fits
    assert even.at_fewest["packages"] <= 63


def test_what_fits_is_what_evaluate_takes() -> None:
    """The largest batch is evaluated, one more is refused; the model's own longest context is allowed."""
    asked: dict[str, Any] = {"device": "h100_sxm", "llm": "Qwen3-1.7B", "context": 40960}
    most = dse.fit("datacenter", **asked, batch=8)
    assert most.fits
    assert dse.evaluate("datacenter", **asked, batch=most.largest_batch).throughput > 0
    with pytest.raises(InfeasibleError, match=f"a batch of {most.largest_batch}"):
        dse.evaluate("datacenter", **asked, batch=most.largest_batch + 1)


def test_a_phone_serves_one_user_by_fit_as_by_evaluate() -> None:
    asked: dict[str, Any] = {"device": "iphone_16_pro", "llm": "Llama-3.2-1B"}
    found = dse.fit("mobile", **asked)
    assert (found.fits, found.largest_batch) == (True, 1)
    with pytest.raises(SpaceError, match="serves one user on one package"):
        dse.fit("mobile", **asked, tensor_parallel=2)
    assert not dse.fit("mobile", device="iphone_16_pro", llm="Llama-3.1-70B").fewest


def test_what_engines_copy_is_told() -> None:
    """Eight key-value heads over 16 ranks are held twice, a latent cache by every rank; over 8 ranks once."""
    asked: dict[str, Any] = {"device": "h100_sxm", "published": True, "batch": 16, "context": 1024}
    wide = dse.evaluate("datacenter", **asked, llm="Llama-3.1-70B", tensor_parallel=16)
    assert "holds it 2 times" in wide.notes[0]
    assert not dse.evaluate("datacenter", **asked, llm="Llama-3.1-70B", tensor_parallel=8).notes
    latent = dse.evaluate("datacenter", **asked, llm="DeepSeek-V3", tensor_parallel=16)
    assert "holds it 16 times" in latent.notes[0]


def test_experts_are_dealt_over_no_more_ranks_than_there_are() -> None:
    """Eight experts on 16 ranks: each in two slices; 16 ranks of experts are refused."""
    asked: dict[str, Any] = {"device": "h100_sxm", "llm": "Mixtral-8x22B", "published": True, "context": 1024}
    asked |= {"batch": 16, "tensor_parallel": 16}
    left = dse.evaluate("datacenter", **asked)
    assert left.tpot == dse.evaluate("datacenter", **asked, expert_parallel=8).tpot
    with pytest.raises(SpaceError, match="has 8 experts"):
        dse.evaluate("datacenter", **asked, expert_parallel=16)
    with pytest.raises(SpaceError, match="every prompt held whole"):
        dse.fit("datacenter", device="h100_sxm", llm="Mixtral-8x22B", prefix_share=0.5)
