"""The compiled core: the same source compiled and plain, bounds that hold, threads, order and cache that do not matter."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dse.catalog.catalog import Catalog
from dse.core.compilation import threads, use_threads
from dse.core.errors import DseError
from dse.core.records import empty, plain, require_finite
from dse.core.rounding import ceiling
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.protocol import Outcomes
from dse.serving import kernels
from dse.serving.accounting import flash_ratios, lasting_wear, worth
from dse.serving.bounds import (
    LeastStep,
    least_anywhere,
    least_excess,
    least_of,
    least_operators,
    least_prompts,
    least_prompts_anywhere,
    least_step,
    prepare_bounds,
    prepare_prompts,
)
from dse.serving.decode import host_charges, read_ahead
from dse.serving.machine_rows import machine_rows
from dse.serving.operating_points import choose
from dse.serving.pairs import pair_work, serve_pairs
from dse.serving.pnm_split import EQUAL, charged, governed_step, summed
from dse.serving.prefill import prompt_times
from dse.serving.records import OPS, ResultRow, ScratchRow
from dse.serving.trace import trace
from dse.space.design import sample
from dse.space.overrides import load_space
from dse.space.space import Space

SPACES = (
    "datacenter",
    "mobile",
    "laptop",
    "xr",
    "vehicle",
    "hbf",
    "pnm",
    "stacking",
    "interconnect",
    "prices",
)
HOME = Path(__file__).parents[1]


def model_of(name: str, catalog: Catalog, **how: Any) -> FirstOrderModel:
    return FirstOrderModel(load_space(name), catalog, **how)


def assert_equal(a: Outcomes, b: Outcomes) -> None:
    """Bit for bit."""
    for one, other in ((a.objectives, b.objectives), (a.limit_ratios, b.limit_ratios), (a.detail, b.detail)):
        assert one.keys() == other.keys()
        for name, column in one.items():
            assert np.array_equal(column, other[name]), name


@pytest.mark.parametrize("name", SPACES)
def test_bounds_change_nothing(name: str, catalog: Catalog) -> None:
    designs = sample(load_space(name), 1500, np.random.default_rng(11))
    assert_equal(
        model_of(name, catalog, bounds=True).evaluate(designs),
        model_of(name, catalog, bounds=False).evaluate(designs),
    )


@pytest.mark.plain
@pytest.mark.parametrize("name", ["datacenter", "mobile", "hbf", "pnm"])
def test_every_bound_holds_for_every_pair(name: str, catalog: Catalog) -> None:
    """The inequality of each docstring, on random pairs served in plain Python."""
    model, rng = model_of(name, catalog, threads=1), np.random.default_rng(5)
    machines = machine_rows(model.machine(sample(model.space, 200, rng)))
    more = 1.0 + 1e-9
    for _ in range(150):
        machine = plain(machines[rng.integers(len(machines))])
        work = model.step_work[rng.integers(len(model.step_work))]
        number = int(rng.integers(len(work.rows)))
        if not kernels.admitted(machine, plain(work.rows[number])):
            continue
        found = trace(machine, work, number, model.site)
        plan, scratch, pair, waits = found.plan, found.scratch, found.pair, found.parts.waits
        prepare_bounds(machine, scratch)
        request, first = (plain(work.prompts[plan.plan_shape + i * len(work.prompts) // 2]) for i in range(2))
        prepare_prompts(machine, found.work, plan, request, first, scratch)
        scratch.prompt_known[plan.plan_shape] = 0.0  # before the prompts of the shape are served, and after
        fewest, few = (
            least_prompts_anywhere(plan, scratch),
            least_prompts(machine, plan, pair.placed, scratch),
        )
        served = prompt_times(
            machine, found.work, plan, request=request, first=first, place=pair.placed, scratch=scratch
        )
        for prompts in (fewest, few):
            assert all(least <= found * more for least, found in zip(prompts, served, strict=True))
        able = scratch.pnm_operators & sum(1 << i for i, inside in enumerate(scratch.inside) if inside > 0)
        ahead = read_ahead(machine, found.work, pair.placed)
        life, program = flash_ratios(machine, found.site, lasting_wear(machine, found.site, pair.placed))
        excess = least_excess(plan, pair.fitted, scratch) * max(life, 1.0) * max(program, 1.0)
        for prompts in (fewest, few, served):
            for step in (
                least_anywhere(machine, plan, pair.fitted, waits, scratch),
                least_step(machine, plan, pair.placed, waits, scratch),
                least_operators(
                    machine,
                    found.work,
                    plan,
                    scratch,
                    waits=waits,
                    chip=pair.placed.chip,
                    buffered=ahead,
                    able=able,
                ),
                LeastStep(time=pair.step.step, energy=pair.step.energy),
            ):
                least = least_of(
                    machine,
                    found.work,
                    plan,
                    site=found.site,
                    fitted=pair.fitted,
                    fleet=found.fleet,
                    scratch=scratch,
                    tokens=request.tokens,
                    prompts=prompts,
                    excess=excess,
                    least=step,
                )
                assert step.time <= pair.step.step * more
                assert step.energy <= pair.step.energy * more
                assert least.shared_tpot <= found.shared.tpot * more
                assert least.pool_tpot <= found.pool.tpot * more
                if found.checks.excess <= 1.0:
                    assert least.shared_worth <= worth(found.site, found.shared) * more
                    assert least.pool_worth <= worth(found.site, found.pool) * more
                late = min(found.shared.ttft, found.pool.ttft) * found.site.inverse_ttft_limit
                assert excess <= found.checks.excess * more
                assert least.excess <= found.checks.excess * max(late, 1.0) * more


@pytest.mark.plain
@pytest.mark.parametrize("name", ["datacenter", "mobile", "pnm"])
def test_plain_python_gives_the_compiled_result_bit_for_bit(name: str, catalog: Catalog) -> None:
    """The same loop over record arrays, with numpy raising on every undefined operation."""
    model = model_of(name, catalog, threads=1)
    work = model.step_work[-1]
    few = replace(work, rows=work.rows[:: max(len(work.rows) // 40, 1)].copy())
    rows = machine_rows(model.machine(sample(model.space, 3, np.random.default_rng(2))))
    compiled = choose(rows, few, model.site)
    out = empty(ResultRow, len(rows), int(model.site.targets[0]))
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        kernels.judge(
            rows, few.workload, model.site, plans=few.rows, prompts=few.prompts,
            scratch=empty(ScratchRow, 1), bounds=True, out=out,
        )  # fmt: skip
    for field in out.dtype.names or ():
        assert np.array_equal(out[field], compiled[field]), field
        assert np.isfinite(out[field]).all(), field


def test_the_chosen_plan_traced_alone_is_what_the_search_found(model: FirstOrderModel) -> None:
    machines = machine_rows(model.machine(sample(model.space, 4, np.random.default_rng(3))))
    for work in model.step_work:
        chosen = choose(machines, work, model.site)
        for row in range(len(machines)):
            best = chosen[row, int(model.site.targets[0]) - 1]
            found = trace(plain(machines[row]), work, int(best.plan), model.site)
            assert found.pair.step.step == best.step
            assert found.fleet.spare_overhead == best.spare_overhead


def test_neither_threads_nor_blocks_nor_the_order_of_plans_matter(catalog: Catalog) -> None:
    designs = sample(load_space("pnm"), 300, np.random.default_rng(4))
    one, many = (model_of("pnm", catalog, threads=n) for n in (1, 5))
    whole = one.evaluate(designs)
    assert_equal(whole, many.evaluate(designs))
    assert_equal(
        whole, Outcomes.concat([one.evaluate(designs.take(slice(i, i + 7))) for i in range(0, 300, 7)])
    )
    work, rows = one.step_work[0], machine_rows(one.machine(designs))
    order = np.random.default_rng(0).permutation(len(work.rows))
    shuffled = choose(rows, replace(work, rows=work.rows[order].copy()), one.site)
    plain_order = choose(rows, work, one.site)
    for field in ("cost", "tpot", "energy", "excess", "step"):
        if field in (plain_order.dtype.names or ()):
            assert np.array_equal(shuffled[field], plain_order[field]), field


def test_a_pair_does_not_depend_on_the_one_served_before_it(catalog: Catalog) -> None:
    """A model without experts after one with them, on the same scratch row, in halves beside an engine."""
    model = model_of("pnm", catalog, threads=1)
    moe, dense = sorted(model.step_work, key=lambda w: not w.model.experts)
    assert moe.model.experts
    assert not dense.model.experts
    machine = model.machine(sample(model.space, 60, np.random.default_rng(1)))
    rows = machine_rows(machine)
    rows = rows[rows.pnm_site > 0]
    halves = int(np.flatnonzero(dense.rows.sub_batch_interleaving > 0)[-1])
    other = int(np.flatnonzero(moe.rows.sub_batch_interleaving > 0)[-1])
    both = pair_work([moe, dense])
    alone = serve_pairs(rows, both.take(np.full(len(rows), len(moe.rows) + halves)))
    turns = np.tile([other, len(moe.rows) + halves], len(rows))
    mixed = serve_pairs(rows[np.repeat(np.arange(len(rows)), 2)], both.take(turns))[1::2]
    for field in alone.dtype.names:
        assert np.array_equal(alone[field], mixed[field]), field


def test_no_design_has_no_outcome(catalog: Catalog) -> None:
    """A block of a sweep in which no design passes its own limits."""
    model = model_of("datacenter", catalog, threads=1)
    none = sample(model.space, 3, np.random.default_rng(0)).take(slice(0, 0))
    assert all(column.shape[0] == 0 for column in model.evaluate(none).objectives.values())


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dse", *command], cwd=HOME, env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_command_runs_without_compiled_code(tmp_path: Path) -> None:
    done = run(
        "search",
        "mobile",
        "--trials",
        "12",
        "--sampler",
        "random",
        "--out",
        str(tmp_path / "a"),
        NUMBA_DISABLE_JIT="1",
    )
    assert done.returncode == 0, done.stderr
    again = run("search", "mobile", "--trials", "12", "--sampler", "random", "--out", str(tmp_path / "b"))
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "a" / "front.csv").read_text() == (tmp_path / "b" / "front.csv").read_text()


def test_evaluate_imports_no_compiler() -> None:
    """One plan is served in plain Python: nothing to compile or to load."""
    code = (
        "import sys, dse; dse.evaluate('datacenter', device='h100_sxm', llm='Llama-3.1-8B');"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HOME)


@pytest.mark.slow
def test_compiled_code_is_kept_by_source_and_does_without_a_home(tmp_path: Path) -> None:
    """A writable cache is filled once; with none the command still works and leaves nothing behind."""
    search = ("search", "mobile", "--trials", "40", "--sampler", "random", "--out")
    done = run(*search, str(tmp_path / "a"), DSE_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    kept = sorted(p for p in (tmp_path / "cache").rglob("*.nbi"))
    assert kept
    blocked = tmp_path / "file"
    blocked.touch()
    done = run(*search, str(tmp_path / "b"), DSE_CACHE_DIR=str(blocked))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "front.csv").read_text() == (tmp_path / "b" / "front.csv").read_text()
    assert sorted(p for p in (tmp_path / "cache").rglob("*.nbi")) == kept


def test_threads_are_a_whole_number_from_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSE_THREADS", "0")
    with pytest.raises(DseError, match="DSE_THREADS"):
        threads()
    use_threads(3)
    assert threads() == 3


def test_a_demand_beyond_64_bits_keeps_its_sign(datacenter: Space, catalog: Catalog) -> None:
    """Whole numbers stay floats in compiled code: packages grow with the demand however large it is."""
    designs, found = sample(datacenter, 20, np.random.default_rng(0)), []
    for users in (1e12, 1e20, 1e24):
        loads = tuple(replace(w, concurrency=users) for w in datacenter.scenario.workloads)
        asked = replace(datacenter, scenario=replace(datacenter.scenario, workloads=loads))
        outcomes = FirstOrderModel(asked, catalog).evaluate(designs)
        assert (outcomes.detail["packages"] > 0).all()
        found.append(outcomes.objectives["cost_per_mtoken"])
    assert np.allclose(found[1], found[2], rtol=1e-6)


def test_rounding_up_is_that_of_the_library() -> None:
    for x in (-1.5, -0.0, 0.0, 1e-12, 1.0, 1.0 + 2e-16, 2.5, 4503599627370495.5, 1e19):
        assert ceiling(x) == math.ceil(x)


def test_a_number_that_is_not_finite_is_refused() -> None:
    rows = empty(ResultRow, 2, 3)
    require_finite(rows, "rows")
    rows["cost"][1, 2] = np.nan
    with pytest.raises(FloatingPointError, match=r"cost of row \[1, 2\]"):
        require_finite(rows, "rows")


def test_what_fields_mean_is_part_of_what_the_cache_is_named_by(tmp_path: Path) -> None:
    """A catalogue kept in its parsed form is read anew when the declaration of its fields changes."""
    shutil.copytree(HOME / "dse", tmp_path / "dse", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HOME / "search_spaces", tmp_path / "search_spaces")
    fields = tmp_path / "dse" / "data" / "fields.toml"
    code = (
        "import dse; print(dse.load_catalog().entries['memory']['hbm4'].values['bandwidth_per_stack'].unit)"
    )

    def unit() -> str:
        here = {**os.environ, "DSE_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=here, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else "refused"

    assert unit() == unit() == "B/s"
    fields.write_text(
        fields.read_text().replace(
            'bandwidth_per_stack = { unit = "B/s"', 'bandwidth_per_stack = { unit = "W"', 1
        )
    )
    assert unit() == "refused"


def test_columns_that_all_share_are_not_to_be_written_to(catalog: Catalog) -> None:
    column = catalog.column("memory", catalog.names("memory"), "bandwidth_per_stack")
    with pytest.raises(ValueError, match="read-only"):
        column[0] = 0.0


@pytest.mark.plain
@pytest.mark.parametrize("name", ["pnm", "datacenter", "laptop"])
def test_the_assignment_is_the_best_of_all(name: str, catalog: Catalog) -> None:
    """Against every subset of the operators, each summed on its own: what is decided early, and sums kept up, lose nothing."""
    model, rng = model_of(name, catalog, threads=1), np.random.default_rng(8)
    machines = machine_rows(model.machine(sample(model.space, 300, rng)))
    machines = machines[machines.pnm_site > 0]
    seen = set()
    for _ in range(60):
        machine, work = plain(machines[rng.integers(len(machines))]), model.step_work[-1]
        number = int(rng.integers(len(work.rows)))
        if not kernels.admitted(machine, plain(work.rows[number])):
            continue
        found = trace(machine, work, number, model.site)
        plan, scratch, waits = found.plan, found.scratch, found.parts.waits
        able = scratch.pnm_operators & sum(1 << i for i, inside in enumerate(scratch.inside) if inside > 0)
        host, _ = host_charges(machine, plan, found.pair.placed)
        ahead = read_ahead(machine, found.work, found.pair.placed)
        steps, joules = {}, {}
        for bits in range(1 << OPS):
            if bits & ~able == 0:
                charges = charged(machine, scratch, bits, host)
                steps[bits] = governed_step(
                    machine, plan, waits, summed(found.work, scratch, bits, ahead), charges
                )
                joules[bits] = (
                    charges.clocked + charges.unclocked + charges.fast + charges.flash + charges.far
                )
        chosen, least = found.parts.decoded.assigned, min(steps.values())
        assert EQUAL * steps[chosen] <= least * (1 + 1e-12)
        alike = [bits for bits in steps if EQUAL * steps[bits] <= least * (1 - 1e-12)]
        assert joules[chosen] <= min((joules[bits] for bits in alike), default=np.inf) * (1 + 1e-12)
        seen.add(chosen)
    assert len(seen) > 1
