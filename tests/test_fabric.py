"""Networks, packages and racks of whole machines: limiting cases by hand, what must only grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from dse.api import evaluate
from dse.catalog.catalog import Catalog
from dse.core.axes import GROUPS, LINES
from dse.evaluator.first_order import FirstOrderModel
from dse.hardware.collective_tables import NEVER
from dse.hardware.machine import CostLine, Machine
from dse.physics import experts, package
from dse.serving.accounting import spare_overhead
from dse.serving.collectives import exchange
from dse.serving.machine_rows import machine_row, machine_rows
from dse.serving.operating_points import Usage, site_row
from dse.serving.plan import single_plan
from dse.serving.software import software_of
from dse.serving.step_work import lower_step
from dse.serving.trace import trace
from dse.space.design import Design, encode
from dse.space.limits import Limit
from dse.space.overrides import load_space
from dse.space.space import Space
from dse.space.variables import Value

BASE: dict[str, Value] = {
    "compute_node": "N3", "compute_area": 8e-4, "mac_share": 0.25, "sram": 64 * 2.0**20, "clock": 1.4e9, "fast_memory": "hbm4e",
    "stacks": 8, "stack_height": 12, "flash": "none", "far_memory": "none", "pnm": "none", "domain": 64, "topology": "switch",
    "link_bandwidth": 1e12, "collective_engine": "device",
}  # fmt: skip


AT_64 = GROUPS.index(64)


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("datacenter")


def design(space: Space, *changes: Mapping[str, Value]) -> Design:
    return encode(space, [{**BASE, **c} for c in changes])


def built(space: Space, catalog: Catalog, *changes: Mapping[str, Value]) -> Machine:
    return FirstOrderModel(space, catalog, 1).machine(design(space, *changes))


def best(machine: Machine, group: int, message: float) -> np.ndarray:
    at = GROUPS.index(group)
    out: np.ndarray = (
        machine.network.reduce_alpha[:, at] + machine.network.reduce_rate[:, at] * message
    ).min(axis=1)
    return out


def test_all_reduce_over_a_switch_by_hand(space: Space, catalog: Catalog) -> None:
    """Launch 2.5 us, a step of 0.35 us, two links of 35 ns, a switch of 250 ns; 62 further peers of 50 ns."""
    m = built(space, catalog, {})
    at = dict(zip(LINES, m.network.reduce_alpha[0, AT_64], strict=True))
    step, late = 0.35e-6 + 2 * 35e-9 + 250e-9, 1e-8  # what late messages add stays below 10 ns
    assert at["recursive_doubling", "flags"] == pytest.approx(2.5e-6 + 6 * step, abs=late)
    assert at["one_shot", "direct"] == pytest.approx(2.5e-6 + step + 62 * 50e-9, abs=late)
    assert at["ring", "flags"] == pytest.approx(2.5e-6 + 126 * step, abs=20 * late)
    assert at["in_network", "switch"] == NEVER  # of an engine that the design has not


def test_engines_run_what_their_entries_name(space: Space, catalog: Catalog) -> None:
    """A host's library has rings alone; only the switch adds; a faster engine is never slower."""
    m = built(space, catalog, *({"collective_engine": e} for e in ("host", "device", "in_network")))
    able = m.network.reduce_alpha[:, AT_64] < NEVER
    assert [name for name, ok in zip(LINES, able[0], strict=True) if ok] == [
        ("ring", "flags"),
        ("ring", "bulk"),
    ]
    assert able[2].all()
    for size in (1e2, 1e5, 1e8):
        took = best(m, 64, size)
        assert took[0] >= took[1] >= took[2]
    other = [
        a for a, line in enumerate(LINES) if line[0] != "in_network"
    ]  # what ranks send starts no sooner with it
    assert m.network.reduce_alpha[2, AT_64, other] == pytest.approx(m.network.reduce_alpha[1, AT_64, other])
    assert m.network.exchange_alpha[2] == pytest.approx(m.network.exchange_alpha[1])


@pytest.mark.parametrize("topology", ["full", "switch", "ring", "torus2d", "torus3d", "hyperx", "dragonfly", "clos", "tree"])  # fmt: skip
def test_longer_messages_and_narrower_links_take_longer(
    topology: str, space: Space, catalog: Catalog
) -> None:
    m = built(space, catalog, *(dict[str, Value](topology=topology, domain=16, link_bandwidth=b) for b in (4e11, 8e11, 1.6e12)))  # fmt: skip
    for size in (0.0, 1e3, 1e6, 1e9):
        took = best(m, 16, size)
        assert (np.diff(took) <= 0).all()
        assert (best(m, 16, 2 * size + 1) >= took).all()
        assert (took >= 2 * 15 / 16 * size / np.array([4e11, 8e11, 1.6e12]) * (1 - 1e-9)).all()
    assert (np.diff(m.network.exchange_rate[:, GROUPS.index(16)]) < 0).all()


def test_a_group_wider_than_its_domain_crosses_cards(space: Space, catalog: Catalog) -> None:
    """64 ranks in one domain, in eight of 8, and each on its own: time grows with what crosses."""
    m = built(space, catalog, {}, {"domain": 8}, {"domain": 1})
    for size in (1e3, 1e6, 1e8):
        took = best(m, 64, size)
        assert took[0] < took[1] < took[2]
    card = catalog.value("link", "scale_out", "bandwidth")
    assert m.network.exchange_rate[1, AT_64] == pytest.approx((64 - 8) / 63 / card)
    assert m.network.exchange_rate[2, AT_64] == pytest.approx(1 / card)
    assert (best(m, 8, 1e6)[:2] > 0).all()


def test_full_connection_of_many_needs_more_links_than_there_are_lanes(
    space: Space, catalog: Catalog
) -> None:
    m = built(space, catalog, {"topology": "full", "domain": 64}, {"topology": "full", "domain": 8}, {"topology": "switch", "domain": 128})  # fmt: skip
    assert m.limit_ratios[Limit.RADIX][0] == pytest.approx(63 / 40)  # 1 TB/s is 40 lanes of 25 GB/s
    assert m.limit_ratios[Limit.RADIX][1] < 1
    assert m.limit_ratios[Limit.RADIX][2] == pytest.approx(128 / 72)


def test_cables_and_chips_are_paid_by_topology(space: Space, catalog: Catalog) -> None:
    """A direct link is shared by two packages; a Clos has two cables a package and three chips' ports."""
    m = built(space, catalog, {"topology": "full", "domain": 8}, {"topology": "switch", "domain": 8}, {"topology": "clos", "domain": 64},
              {"topology": "tree", "domain": 64})  # fmt: skip
    bandwidth = 1e12
    assert m.installation.cables / bandwidth == pytest.approx([0.5, 1.0, 2.0, 1.25])
    assert m.installation.switch_chips[0] == 0
    assert m.installation.switch_chips[1] == pytest.approx(
        np.ceil(20 / 9) / 8
    )  # 20 planes, nine of them on a chip of 72 ports
    paid = m.lines.cost[CostLine.SWITCHES] + m.lines.cost[CostLine.CABLES]
    assert paid[0] < paid[1] < paid[3] < paid[2]


def test_domains_that_fill_racks_need_longer_cables(space: Space, catalog: Catalog) -> None:
    """Cables by reach: passive in a rack, retimed to a few racks, optical beyond; each dearer a bandwidth."""
    m = built(space, catalog, *({"topology": "hyperx", "domain": n} for n in (16, 64, 256, 512)))
    racks, medium = m.installation.domain_racks, m.installation.long_medium
    assert (np.diff(racks) >= 0).all()
    assert (np.diff(medium) >= 0).all()
    assert medium[0] == 0
    assert medium[-1] > 0
    cheap = catalog.replace("cooling", "cold_plate", "max_rack_power", 1e9)
    one = FirstOrderModel(replace(space, thresholds={**space.thresholds, "rack_power": 1e9}), cheap, 1)
    near = one.machine(design(space, {"topology": "hyperx", "domain": 512}))
    assert near.installation.domain_racks[0] == 1
    assert near.lines.cost[CostLine.CABLES][0] < m.lines.cost[CostLine.CABLES][-1]
    assert best(near, 512, 1e3)[0] <= best(m, 512, 1e3)[-1]


def test_late_messages_wait_and_a_timeout_caps_it(space: Space, catalog: Catalog) -> None:
    """Ma & Patterson 2.4: past the timeout the previous result is used."""
    often = catalog.replace("reliability", "common", "late_share", 1e-3)
    capped = often.replace("reliability", "common", "timeout", 2e-6)
    plain, slow, quick = (best(built(space, c, {}), 64, 1e3)[0] for c in (catalog, often, capped))
    assert plain < quick < slow
    assert slow - plain < 20e-6
    assert quick - plain < 2e-6


def test_standby_by_hand(space: Space, catalog: Catalog) -> None:
    """A replica waits for the repair of its packages, or a spare of its domain stands by; where packages route none can."""
    m = built(space, catalog, {"domain": 64}, {"domain": 64, "topology": "torus3d"})
    v = {
        f: catalog.value("reliability", "common", f)
        for f in ("package_failure_rate", "repair_time", "recovery_time")
    }
    each = v["package_failure_rate"] * v["repair_time"]
    assert 64 * each == pytest.approx(0.0388, rel=0.01)
    spare = 1 / 64 + 1 - np.exp(-64 * each) * (1 + 64 * each)
    whole = np.array([spare_overhead(row, 64.0) for row in machine_rows(m)])
    assert whole[0] == pytest.approx(spare + 64 * v["package_failure_rate"] * v["recovery_time"], rel=1e-6)
    assert m.installation.domain_spares.tolist() == [1, 0]
    assert 64 * each < whole[1] < 1.1 * 64 * each  # its cables break too
    few = np.array([spare_overhead(row, 4.0) for row in machine_rows(m)])
    assert few[0] == pytest.approx(4 * each)  # cheaper than a spare
    assert all(spare_overhead(row, 0.0) == 0.0 for row in machine_rows(m))


def test_dies_read_each_other_through_their_joint(space: Space, catalog: Catalog) -> None:
    """8 TB/s over the edge of two dies of 800 mm2: 658 GB/s/mm x 28.3 mm; one die has none."""
    load = package.joint_load(np.array([8e12, 8e12]), np.array([16e-4, 8e-4]), np.array([2.0, 1.0]), 658e12)
    assert load == pytest.approx([8e12 / (658e12 * np.sqrt(8e-4)), 0.0])
    m = built(space, catalog, {"compute_area": 16e-4}, {"compute_area": 8e-4})
    assert m.limit_ratios[Limit.DIE_TO_DIE][0] > 0 == m.limit_ratios[Limit.DIE_TO_DIE][1]
    assert m.fast.energy[0] > m.fast.energy[1]


def test_interposers_grow_with_the_years_and_larger_ones_cost_more(space: Space, catalog: Catalog) -> None:
    def largest(name: str, year: int) -> float:
        return catalog.in_year("package", name, "max_area", year)

    sizes = [largest("cowos_l", y) for y in (2024, 2025, 2026, 2027, 2028, 2029, 2030, 2035)]
    assert sizes == sorted(sizes)
    assert sizes[0] == pytest.approx(2.8e-3)
    assert sizes[-1] == pytest.approx(13.728e-3)
    assert largest("cowos_s", 2030) == pytest.approx(2.7e-3)
    m = built(space, catalog, {"stacks": 2}, {"stacks": 12, "compute_area": 16e-4})
    assert m.installation.carrier.tolist() == [1, 2]  # on silicon to 2,700 mm2, then on local silicon
    assert m.lines.cost[CostLine.PACKAGING][1] > 1.5 * m.lines.cost[CostLine.PACKAGING][0]


def test_hot_dies_take_their_current_from_below(space: Space, catalog: Catalog) -> None:
    """Regulators beside the package deliver 1 A/mm2, below it 2 at less loss and more cost."""
    m = built(space, catalog, {"clock": 0.8e9, "mac_share": 0.1}, {"clock": 2.0e9, "mac_share": 0.4})
    assert m.installation.regulators.tolist() == [0, 1]
    assert m.power.conversion_loss[1] < m.power.conversion_loss[0]
    assert m.limit_ratios[Limit.CURRENT][1] > m.limit_ratios[Limit.CURRENT][0]


def test_messages_hide_behind_shared_experts_and_nothing_else(space: Space, catalog: Catalog) -> None:
    """min(messages, shared experts), layer by layer alike; dense models have neither."""
    m = built(space, catalog, {})
    plans = single_plan(64, data_parallel=True, batch=512)
    scenario = space.scenario
    load = next(w for w in scenario.workloads if w.llm == "DeepSeek-V3")
    work = lower_step(load, plans, catalog, scenario, software_of(catalog, "ideal"))
    row = machine_row(m)
    whole = exchange(row, AT_64, work.rows.exchange_bytes[0], work.rows.exchanges[0])
    assert whole == pytest.approx(
        2
        * 58
        * (
            m.network.exchange_alpha[0, AT_64]
            + work.rows.exchange_bytes[0] * m.network.exchange_rate[0, AT_64]
        )
    )
    at = site_row(scenario, Usage.of(scenario, one_user=False), {}, (1.0,))
    found = trace(row, work, 0, at)
    shared = found.operators["ffn"][0] * work.workload.shared_share[0]
    bare = {"projections", "attention", "ffn", "experts", "head"} & found.operators.keys()
    waits = found.parts.waits
    assert found.parts.design_clock == pytest.approx(
        sum(found.operators[op][0] for op in bare)
        + waits.fixed
        + max(whole - shared, 0.0)
        + found.parts.written
    )
    shares = {load.llm: work.workload.shared_share[0]}
    # one shared expert of 2,048 in 58 layers beside three dense layers of 18,432 and the routers
    shared = 58 * 3 * 7168 * 2048
    assert float(shares["DeepSeek-V3"]) == pytest.approx(
        shared / (shared + 3 * 3 * 7168 * 18432 + 58 * 256 * 7168)
    )


def test_the_rank_of_popular_experts_receives_more(space: Space, catalog: Catalog) -> None:
    """Dispatch and combine take as long as the most loaded rank, never more than all tokens of the others."""
    load = next(w for w in space.scenario.workloads if w.llm == "DeepSeek-V3")
    plans = single_plan(64, data_parallel=True, batch=4096)

    def sent(skew: float) -> float:
        scenario = replace(space.scenario, numbers={**space.scenario.numbers, "routing_skew": skew})
        return float(
            lower_step(load, plans, catalog, scenario, software_of(catalog, "ideal")).rows.exchange_bytes[0]
        )

    even, skewed, wild = sent(0.0), sent(0.4), sent(2.0)
    assert even < skewed < wild
    reach = experts.ranks_reached(np.array([64.0]), 8.0)[0] * 63 / 64
    assert even >= 64 * 7168 * reach * 1.5 * (1 - 1e-9)
    assert wild <= 64 * 7168 * 63 * 1.5 * (1 + 1e-9)


def test_a_breakdown_shows_what_messages_take(catalog: Catalog) -> None:
    e = evaluate("datacenter", variables={**{k: str(v) for k, v in BASE.items() if k not in {"compute_area", "sram", "clock", "link_bandwidth"}},
                 "compute_area": "800 mm2", "sram": "64 MiB", "clock": "1.4 GHz", "link_bandwidth": "1 TB/s"}, llm="Llama-3.1-70B", batch=8,
                 tensor_parallel=8, context=8192.0, catalog=catalog)  # fmt: skip
    assert e.times["collectives"] > 160 * 3e-6
    assert sum(e.times.values()) == pytest.approx(e.decode_time)
    assert e.costs["standby for failures"] > 0
