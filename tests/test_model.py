"""The whole model: identities, invariance, monotonicity, equal accounting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dse import evaluate
from dse.catalog.catalog import Catalog, load_catalog
from dse.catalog.prices import price_factor
from dse.core.errors import InfeasibleError
from dse.evaluator.explain import explain
from dse.evaluator.first_order import FirstOrderModel
from dse.space.design import Design, complete, encode, sample
from dse.space.limits import Limit
from dse.space.overrides import load_space
from dse.space.space import Space
from dse.space.variables import parse_value

LLAMA: dict[str, Any] = {"llm": "Llama-3.1-70B", "tensor_parallel": 4}


H100: dict[str, Any] = {"device": "h100_sxm", **LLAMA}


@pytest.fixture(scope="module")
def some(datacenter: Space) -> Design:
    return sample(datacenter, 300, np.random.default_rng(7))


@pytest.mark.parametrize(("device", "floor_ms"), [("a100_sxm", 22.31), ("h100_sxm", 13.58)])
def test_ideal_decode_lies_on_the_floor_of_streamed_bytes(
    device: str, floor_ms: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Llama-3.1-70B, batch 32, context 4096, 16 bit, TP4: within 1.00 to 1.08 of the floor."""
    e = evaluate(
        "datacenter",
        device=device,
        **LLAMA,
        batch=32,
        context=4096,
        weight_bits=16,
        kv_bits=16,
        software="ideal",
    )
    ratio = e.decode_time * 1e3 / floor_ms
    with capsys.disabled():
        print(f"\n{device}: decode {e.decode_time * 1e3:.2f} ms, floor {floor_ms} ms, ratio {ratio:.3f}")
    assert 1.00 <= ratio <= 1.08


@pytest.mark.parametrize("kind", ["times", "energies", "costs", "carbons"])
@pytest.mark.parametrize("device", ["h100_sxm", "gb200", "h3_b200_hbf", "son_7hbf_1hbm4"])
def test_parts_sum_to_the_total(device: str, kind: str) -> None:
    e = evaluate("datacenter", device=device, **LLAMA, batch=64)
    total = {
        "times": e.tpot,
        "energies": e.objectives["energy_per_token"],
        "costs": e.objectives["cost_per_mtoken"],
        "carbons": e.objectives["carbon_per_mtoken"],
    }
    assert sum(getattr(e, kind).values()) == pytest.approx(total[kind], rel=1e-9)
    assert all(v >= 0 for v in getattr(e, kind).values())


@pytest.mark.parametrize("kind", ["times", "energies", "costs", "carbons"])
def test_parts_sum_on_a_phone(kind: str) -> None:
    e = evaluate("mobile", device="snapdragon_8_gen3")
    total = {
        "times": e.tpot,
        "energies": e.objectives["energy_per_token"],
        "costs": e.objectives["bom"],
        "carbons": e.objectives["carbon_per_mtoken"],
    }
    assert sum(getattr(e, kind).values()) == pytest.approx(total[kind], rel=1e-9)


def test_explain_gives_what_the_search_was_told(
    model: FirstOrderModel, some: Design, datacenter: Space
) -> None:
    outcomes = model.evaluate(some)
    weights = [w.weight for w in datacenter.scenario.workloads]
    rows, rungs = np.nonzero(outcomes.feasible)
    assert len(rows) > 5
    for row, rung in list(zip(rows, rungs, strict=True))[::7]:
        plans = [int(outcomes.detail[f"plan.{i}"][row, rung]) for i in range(2)]
        parts = explain(
            model,
            model.machine(some.take(np.array([row]))),
            plans,
            datacenter.tpot_targets_at(int(rung)),
        )
        for kind, name in (("costs", "cost_per_mtoken"), ("energies", "energy_per_token"), ("times", "tpot")):
            total = sum(
                w * sum(getattr(p, kind).values()) for w, p in zip(weights, parts, strict=True)
            ) / sum(weights)
            assert total == pytest.approx(outcomes.objectives[name][row, rung], rel=1e-9), (row, rung, name)


def test_a_batch_equals_its_rows_bit_for_bit(model: FirstOrderModel, some: Design) -> None:
    whole = model.evaluate(some)
    for row in range(0, 300, 23):
        one = model.evaluate(some.take(np.array([row])))
        for name, values in whole.objectives.items():
            assert np.array_equal(one.objectives[name][0], values[row]), name
        for name, values in whole.limit_ratios.items():
            assert np.array_equal(one.limit_ratios[name][0], values[row]), name


def test_large_batches_group_by_domain_and_agree(
    model: FirstOrderModel, datacenter: Space, catalog: Catalog
) -> None:
    many = sample(datacenter, 20_000, np.random.default_rng(3))
    threaded = FirstOrderModel(datacenter, catalog, 2).evaluate(many)
    few = model.evaluate(many.take(slice(0, 200)))
    for name in few.objectives:
        assert np.array_equal(threaded.objectives[name][:200], few.objectives[name]), name
    assert np.array_equal(threaded.feasible[:200], few.feasible)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_permuting_rows_permutes_results(seed: int, model: FirstOrderModel, some: Design) -> None:
    order = np.random.default_rng(seed).permutation(300)[:60]
    a, b = model.evaluate(some.take(np.sort(order))), model.evaluate(some.take(order))
    back = np.argsort(np.argsort(order))
    for name in a.objectives:
        assert np.array_equal(a.objectives[name][back], b.objectives[name])


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1.01, 4), batch=st.sampled_from([1, 8, 64]))
def test_more_bandwidth_is_never_slower(factor: float, batch: int) -> None:
    from dse.catalog.catalog import load_catalog

    catalog = load_catalog()
    more = catalog.replace(
        "device",
        "h100_sxm",
        "memory_bandwidth",
        catalog.value("device", "h100_sxm", "memory_bandwidth") * factor,
    )
    slow = evaluate("datacenter", **H100, batch=batch, catalog=catalog)
    fast = evaluate("datacenter", **H100, batch=batch, catalog=more)
    assert fast.unthrottled_time <= slow.unthrottled_time * (1 + 1e-12)


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(0.2, 0.99))
def test_cheaper_memory_never_costs_more(factor: float) -> None:
    from dse.catalog.catalog import load_catalog

    catalog = load_catalog()
    less = catalog.replace(
        "memory", "hbm3", "price_per_byte", catalog.value("memory", "hbm3", "price_per_byte") * factor
    )
    assert (
        evaluate("datacenter", **H100, batch=8, catalog=less).objectives["cost_per_mtoken"]
        <= evaluate("datacenter", **H100, batch=8, catalog=catalog).objectives["cost_per_mtoken"]
    )


def test_prefill_is_charged() -> None:
    long = evaluate("datacenter", **H100, batch=32, input_tokens=8192, output_tokens=1024)
    short = evaluate("datacenter", **H100, batch=32, input_tokens=128, output_tokens=1024)
    assert long.tpot - long.decode_time > 10 * (short.tpot - short.decode_time)
    assert long.objectives["energy_per_token"] > short.objectives["energy_per_token"]


def test_prefill_of_one_token_is_no_dearer_than_a_decode_step() -> None:
    """One new token on an empty cache: the same weights streamed. Joining a step it costs next to nothing."""
    e = evaluate(
        "datacenter",
        device="h100_sxm",
        llm="Llama-3.1-8B",
        batch=1,
        input_tokens=1,
        output_tokens=1,
        software="ideal",
    )
    assert e.figures["prompt alone"].value == pytest.approx(e.decode_time, rel=0.02)
    assert e.tpot - e.decode_time < 0.02 * e.decode_time


def test_no_flash_has_no_endurance_limit(model: FirstOrderModel, some: Design) -> None:
    outcomes = model.evaluate(some)
    without = some.columns["flash"] == 0
    assert (outcomes.limit_ratios["flash_life"][without] == 0).all()
    assert (outcomes.limit_ratios["flash_life"][~without] > 0).any()


def test_a_lower_disturb_limit_shortens_flash_life(catalog: Catalog) -> None:
    weak = catalog.replace("flash", "hbf_gen1", "read_disturb_limit.pslc", 1e4)
    a = evaluate("datacenter", device="son_7hbf_1hbm4", llm="Llama-3.1-405B", batch=4, catalog=catalog)
    b = evaluate("datacenter", device="son_7hbf_1hbm4", llm="Llama-3.1-405B", batch=4, catalog=weak)
    assert b.limits["flash_life"] > 5 * a.limits["flash_life"]
    assert a.figures["break-even read-disturb limit"].value == pytest.approx(
        b.figures["break-even read-disturb limit"].value, rel=1e-6
    )


def test_break_even_limit_breaks_even(catalog: Catalog) -> None:
    e = evaluate(
        "datacenter", device="son_7hbf_1hbm4", llm="Llama-3.1-405B", batch=4, context=8192, catalog=catalog
    )
    at = catalog.replace(
        "flash", "hbf_gen1", "read_disturb_limit.pslc", e.figures["break-even read-disturb limit"].value
    )
    again = evaluate(
        "datacenter", device="son_7hbf_1hbm4", llm="Llama-3.1-405B", batch=4, context=8192, catalog=at
    )
    assert again.limits["flash_life"] == pytest.approx(1.0, rel=0.02)


def test_pipeline_depth_fits_what_one_stage_cannot() -> None:
    asked: dict[str, Any] = {"device": "h100_sxm", "llm": "Llama-3.1-405B", "formats": {"weights": "fp8"}}
    with pytest.raises(InfeasibleError, match="does not fit 1 package"):
        evaluate("datacenter", **asked, context=8192)
    deep = evaluate("datacenter", **asked, context=8192, batch=8, pipeline=8)
    assert (deep.plan["pipeline depth"], deep.figures["packages"].value) == (8, 8)
    deeper = evaluate("datacenter", **asked, context=8192, batch=16, pipeline=16)
    assert deeper.throughput == pytest.approx(
        2 * deep.throughput, rel=0.05
    )  # twice the stages work side by side


def test_whole_domains_are_paid_for(datacenter: Space, catalog: Catalog) -> None:
    scenario = replace(
        datacenter.scenario,
        workloads=tuple(replace(w, concurrency=8.0) for w in datacenter.scenario.workloads),
    )
    tiny = FirstOrderModel(replace(datacenter, scenario=scenario), catalog, 1)
    outcomes = tiny.judge(tiny.devices(["gb200"]))
    assert (outcomes.detail["packages"] >= 64).all()


def test_later_years_admit_more(datacenter: Space, catalog: Catalog, some: Design) -> None:
    feasible = []
    for year in (2026.0, 2028.0, 2032.0):
        scenario = replace(datacenter.scenario, numbers={**datacenter.scenario.numbers, "year": year})
        outcomes = FirstOrderModel(replace(datacenter, scenario=scenario), catalog, 1).evaluate(some)
        feasible.append(int((outcomes.limit_ratios["available"][:, 0] <= 1).sum()))
    assert feasible == sorted(feasible)
    assert feasible[0] < feasible[2]


def test_every_lever_changes_the_result() -> None:
    base = {"compute_node": "N3", "compute_area": "800 mm2", "mac_share": 0.25, "sram": "96 MiB", "clock": "1.5 GHz", "fast_memory": "hbm4",
            "stacks": 4, "stack_height": 12, "flash": "none", "pnm": "none", "domain": 8, "topology": "switch", "link_bandwidth": "0.9 TB/s",
            "collective_engine": "device"}  # fmt: skip
    flash = {
        "flash": "hbf_gen1",
        "flash_stacks": 2,
        "flash_height": 16,
        "flash_cell": "pslc",
        "flash_attach": "own_shoreline",
    }
    seen = set()
    for change in ({}, flash, flash | {"flash_cell": "tlc"}, flash | {"flash_height": 8}, {"pnm": "memory_base_die", "pnm_flops": "16 TFLOP/s"},
                   {"stack_height": 8}, {"stack_height": 20}, {"topology": "ring"}, {"topology": "torus3d"}, {"collective_engine": "in_network"}):  # fmt: skip
        e = evaluate("datacenter", variables=base | change, llm="Llama-3.1-70B", batch=64, tensor_parallel=8)
        seen.add(tuple(round(x, 12) for x in e.objectives.values()))
    assert len(seen) == 10


def test_phone_throttles_when_hot(mobile: Space, catalog: Catalog) -> None:
    hot = replace(
        mobile, scenario=replace(mobile.scenario, numbers={**mobile.scenario.numbers, "ambient": 311.0})
    )
    cool = FirstOrderModel(mobile, catalog)
    warm = FirstOrderModel(hot, catalog)
    names = ["snapdragon_8_gen3", "lincoln"]
    assert (
        warm.judge(warm.devices(names)).objectives["tpot"]
        >= cool.judge(cool.devices(names)).objectives["tpot"]
    ).all()
    assert (
        warm.judge(warm.devices(["lincoln"])).objectives["tpot"][0, 0]
        > cool.judge(cool.devices(["lincoln"])).objectives["tpot"][0, 0]
    )


def test_mobile_batch_equals_its_rows(phone: FirstOrderModel, mobile: Space) -> None:
    some = sample(mobile, 200, np.random.default_rng(1))
    whole = phone.evaluate(some)
    for row in range(0, 200, 19):
        one = phone.evaluate(some.take(np.array([row])))
        for name in whole.objectives:
            assert np.array_equal(one.objectives[name][0], whole.objectives[name][row])


def test_compute_in_the_banks_of_a_phone_is_paid_as_die_area(catalog: Catalog) -> None:
    plain = {"dram": "lpddr5x", "dram_capacity": "8 GiB", "pnm": "none", "weights_home": "dram"}
    without = evaluate("mobile", variables=plain).costs
    within = evaluate("mobile", variables=plain | {"pnm": "in_bank"}).costs
    loss = catalog.value("pnm", "in_bank_lpddr", "capacity_loss")
    silicon = (
        8
        * 2**30
        * catalog.value("memory", "lpddr5x", "price_per_byte")
        * price_factor(catalog, "memory", "lpddr5x", 2030)
    )
    # by hand: the same bytes need 1 / (1 - loss) of the die area
    assert within["memory"] - without["memory"] == pytest.approx(silicon * loss / (1 - loss), rel=1e-9)
    assert loss > 0.05


def test_a_workload_may_be_one_rung_faster_than_the_others(
    model: FirstOrderModel, some: Design, datacenter: Space
) -> None:
    """Points beyond the rungs are sums of what the workloads do on theirs."""
    outcomes = model.evaluate(some)
    rungs = len(datacenter.tpot_targets)
    assert len(datacenter.operating_points) == rungs + 2 * (rungs - 1)
    for point, (a, b) in enumerate(datacenter.operating_points):
        for name in ("plan.0", "busy.0", "step.0"):
            assert np.array_equal(outcomes.detail[name][:, point], outcomes.detail[name][:, a])
        assert np.array_equal(outcomes.detail["plan.1"][:, point], outcomes.detail["plan.1"][:, b])
        assert datacenter.tpot_target_at(point) == datacenter.tpot_targets[max(a, b)]
    between = 1 + datacenter.operating_points[rungs:].index((0, 1))
    t = outcomes.objectives["tpot"]
    assert (t[:, rungs + between - 1] <= np.maximum(t[:, 0], t[:, 1]) * (1 + 1e-12)).all()


def test_the_machine_of_one_user_is_also_as_fast_as_it_can_be(phone: FirstOrderModel, mobile: Space) -> None:
    """Its last operating point is the fastest of its plans; what is cheapest at a target is never quicker."""
    outcomes = phone.evaluate(sample(mobile, 2000, np.random.default_rng(3)))
    tpot, energy = outcomes.objectives["tpot"], outcomes.objectives["energy_per_token"]
    fits = outcomes.feasible
    assert fits.shape[1] == len(mobile.tpot_targets) + 1
    assert mobile.tpot_target_at(fits.shape[1] - 1) == max(mobile.tpot_targets)
    some, last = fits[:, :-1].any(axis=1), fits[:, -1]
    assert last[some].all()
    assert (np.where(fits, tpot, np.inf)[some].min(axis=1) == tpot[some, -1]).all()
    two = some & (tpot[:, -1] < tpot[:, -2])  # a quicker plan that takes more energy
    assert two.sum() > 5
    assert (energy[two, -1] >= energy[two, -2]).all()


def test_a_faster_engine_is_no_slower_where_two_plans_change_places(
    phone: FirstOrderModel, mobile: Space
) -> None:
    """Which of two plans takes less energy turns with the size of an engine; the quicker one stays at hand."""
    rates = np.linspace(1.06e12, 1.19e12, 60)
    phones = encode(mobile, [STREAMING | {"pnm_flops": float(r)} for r in rates])
    outcomes = phone.evaluate(phones)
    assert outcomes.feasible[:, -1].all()
    tpot = outcomes.objectives["tpot"]
    assert np.ptp(tpot[:, -2]) > 0.1 * tpot[:, -2].min()  # the cheapest plan jumps
    assert (np.diff(tpot[:, -1]) <= 0).all()


STREAMING: dict[str, float | str] = {"soc_node": "N3", "npu_area": 3.685e-6, "npu_sram": 7.005e6, "npu_clock": 1.192e9, "dram": "lpddr6", "dram_mount": "side_by_side", "dram_channels": 4, "dram_capacity": 2.0**33, "dram_height": 4, "flash": "hbf_mobile", "flash_dies": 1, "flash_cell": "pslc", "pnm": "in_bank", "weights_home": "flash_streamed", "on_package_link": "point_to_point"}  # fmt: skip

BARE = {"compute_node": "N3", "mac_share": 0.25, "sram": "64 MiB", "clock": "1.4 GHz", "flash": "none", "pnm": "none", "domain": 1}  # fmt: skip


def _built(**changed: Any) -> Any:
    return evaluate(
        "datacenter", variables=BARE | changed, llm="Llama-3.1-8B", batch=8, context=4096, software="ideal"
    )


def test_every_dram_pays_its_area_on_the_logic_die() -> None:
    """800 mm2: what memory adds is 16 mm2 a PHY of HBM4e and 2.5 mm2 a TB/s of controllers; DRAM on logic pays 0.25 a TB/s of pads."""
    space = load_space("datacenter")
    bare = complete(
        space,
        {
            k: parse_value(space.variable(k), v, "")
            for k, v in {**BARE, "compute_area": "800 mm2", "fast_memory": "none"}.items()
        },
    )
    alone = float(
        FirstOrderModel(space, load_catalog(), 1)
        .machine(encode(space, [bare]))
        .limit_ratios[Limit.DIE_AREA][0]
    )
    hbm = _built(compute_area="800 mm2", fast_memory="hbm4e", stacks=6, stack_height=12)
    on_logic = _built(
        compute_area="800 mm2",
        fast_memory="dram3d",
        stack_height=4,
        bond_pitch="9 um",
        orientation="logic_below",
    )
    rate = hbm.figures["fast memory bandwidth"].value / 1e12
    assert (hbm.limits["die_area"] - alone) * 800 == pytest.approx(6 * 16 + 2.5 * rate, rel=1e-6)
    rate = on_logic.figures["fast memory bandwidth"].value / 1e12
    assert rate == pytest.approx(48.0, rel=1e-6)  # 15 GB/s/mm2 x 4 x 800
    assert (on_logic.limits["die_area"] - alone) * 800 == pytest.approx(2.75 * rate, rel=1e-6)


@pytest.mark.parametrize(("memory", "bridged"), [({"fast_memory": "hbm4e", "stacks": 6, "stack_height": 12}, (True, True)), (
    {"fast_memory": "dram3d", "stack_height": 4, "bond_pitch": "9 um", "orientation": "logic_below"}, (False, True))])  # fmt: skip
def test_two_compute_dies_need_an_interposer_whatever_the_memory(
    memory: dict[str, Any], bridged: tuple[bool, bool]
) -> None:
    """Packaging per mm2 of one and of two dies: dear where there are two or HBM."""
    for area, dear in zip((800.0, 1600.0), bridged, strict=True):
        e = _built(compute_area=f"{area:g} mm2", **memory)
        assert (e.limits["interposer"] > 0) == dear


def test_banks_may_take_the_heat_that_the_hosts_reads_already_bring(catalog: Catalog) -> None:
    """A stack of HBM4e read by the host at 3.277 TB/s burns 80 W in its dies: banks with 32 TFLOP/s at 0.4 pJ get 80 - 12.8 W of reads."""
    bank = _built(
        compute_area="800 mm2",
        fast_memory="hbm4e",
        stacks=6,
        stack_height=12,
        pnm="in_bank",
        pnm_flops="32 TFLOP/s",
    )
    heat = catalog.value("memory", "hbm4e", "bandwidth_per_stack") * catalog.value(
        "memory", "hbm4e", "read_energy"
    )
    assert heat == pytest.approx(80.0, rel=0.01)
    reads = (heat - 32e12 * 0.4e-12) / catalog.value("pnm", "in_bank_hbm", "read_energy")
    assert bank.figures["PNM bandwidth"].value == pytest.approx(6 * reads, rel=1e-3)
