"""What serving decides for a pair as a whole: depth, placement, and what heat takes of memory's time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dse import evaluate
from dse.catalog.catalog import Catalog
from dse.core.axes import PnmSite
from dse.core.records import empty, plain
from dse.evaluator.first_order import FirstOrderModel
from dse.hardware.machine import HeatRow
from dse.serving.bounds import least_excess
from dse.serving.machine_rows import machine_rows
from dse.serving.operating_points import choose
from dse.serving.placement import fit
from dse.serving.rates import prepare
from dse.serving.records import ScratchRow
from dse.space.design import decode, sample
from dse.space.overrides import load_space
from tests.records import altered
from tests.test_tiers import A, made, one, pool, with_engine
from tests.validation.evidence.reference_machines import traced


@pytest.mark.parametrize("site", [PnmSite.FAST, PnmSite.FLASH])
def test_an_engine_with_nothing_to_do_slows_no_halves(site: PnmSite) -> None:
    """The host reads past it at its own rate, however slow the engine is."""
    m, c = made(capacity=2e11, bandwidth=4e12, flash=pool(1e12))
    steps = [
        one(with_engine(m, site, bandwidth=bandwidth, serves=np.zeros((1, 5))), c, "Llama-3.1-70B", batch=8, halves=True).pairs.step[0, 0]
        for bandwidth in (1e10, 1e13)
    ]  # fmt: skip
    assert steps[0] == pytest.approx(steps[1], rel=1e-12)


@pytest.mark.parametrize("gain", [1.0, 8.0])
def test_doubled_refresh_takes_its_share_of_the_time_that_memory_is_read(gain: float) -> None:
    """In a step that arithmetic bounds: bytes over the bandwidth of whichever reads them, host or engine."""
    m, c = made(capacity=1e13, bandwidth=4e12, peak=1e12)
    if gain > 1.0:
        m = with_engine(m, PnmSite.FAST, bandwidth=gain * 4e12, flops=1e13)
    hot = HeatRow(logic=A([1e12]), fast=A([1e12]), flash=A([0.0]))
    m = altered(m, heat={"hot_bandwidth_loss": A([0.1]), "refresh_doubling": hot})
    served = one(m, c, "Llama-3.1-8B", batch=8)
    found, work = traced(m, served), served.traffic
    assert all(near == (gain > 1.0) for _, near in found.operators.values())
    read = work.weights.sum() + work.kv_live.sum() + work.kv_prefix.sum()
    assert found.parts.refresh_time == pytest.approx(0.1 * read / (gain * 4e12), rel=1e-2)
    assert found.parts.refresh_time < 0.02 * found.pair.step.step


@pytest.mark.parametrize("name", ["pnm", "stacking"])
def test_more_memory_keeps_every_plan_that_fitted(name: str, catalog: Catalog) -> None:
    """Fewer stages would hold the weights, but not one longest request beside them."""
    model = FirstOrderModel(load_space(name), catalog, threads=1)
    rows = machine_rows(model.machine(sample(model.space, 40, np.random.default_rng(17))))
    deeper = 0
    for work in model.step_work:
        w, plans = plain(work.workload[0]), [plain(p) for p in work.rows[::7]]
        for row in rows:
            machine, scratch = plain(row), plain(empty(ScratchRow, 1)[0])
            prepare(machine, w, scratch)
            larger = plain(row)
            larger.fast_capacity *= 1.3
            larger.memory += 0.3 * machine.fast_capacity
            larger.inverse_memory = 1.0 / larger.memory
            for plan in plans:
                before, after = fit(machine, plan, scratch), fit(larger, plan, scratch)
                if least_excess(plan, before, scratch) <= 1.0:
                    assert least_excess(plan, after, scratch) <= 1.0
                    least = plan.resident / (machine.memory - before.live - plan.prefix_held)
                    deeper += before.depth >= 2.0 * max(least, 1.0)
    assert deeper > 0


@pytest.mark.parametrize("name", ["mobile", "xr"])
def test_a_device_with_flash_takes_the_better_placement(name: str, catalog: Catalog) -> None:
    """Filling DRAM first or letting DRAM and flash finish together: at a target less energy within the limits,
    beyond the targets less time.
    """
    space = load_space(name)
    model, designs = FirstOrderModel(space, catalog, threads=1), sample(space, 1500, np.random.default_rng(5))
    rows, work = machine_rows(model.machine(designs)), model.step_work[0]
    flash = np.flatnonzero(rows.flash_capacity > 0)
    rows = rows[flash]
    either = choose(rows, work, model.site)
    level, filled = (
        choose(rows, replace(work, rows=work.rows[i : i + 1].copy()), model.site) for i in range(2)
    )

    def least(found: Any) -> Any:
        ratios = (found.capacity, found.longest_request, found.flash_life, found.flash_program)
        fits = np.maximum.reduce([*ratios, found.ttft_ratio, found.tpot_ratio]) <= 1.0
        compared = found.energy.copy()
        compared[:, -1] = found.tpot[:, -1]
        return np.where(fits, compared, np.inf)

    assert np.array_equal(least(either), np.minimum(least(level), least(filled)))
    wins = (least(filled)[:, :-1] < 0.99 * least(level)[:, :-1]).any(axis=1)
    assert wins.any()
    row = int(flash[np.flatnonzero(wins)[0]])
    outcomes = model.evaluate(designs.take(np.array([row])))
    point = evaluate(space, variables=decode(space, designs, row), catalog=catalog)
    found = [column[0] for goal, column in outcomes.objectives.items() if goal == "energy_per_token"]
    assert point.objectives["energy_per_token"] == pytest.approx(found[0].min(), rel=1e-9)
