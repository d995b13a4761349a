"""Physics: each relation by hand, limiting cases, published anchors, graphs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import solve_banded
from scipy.special import i1, k1

from dse.physics import cost, experts, flash, memory, package, pnm, power, roofline, stack, thermal
from dse.serving.rates import governed

A = np.array


def test_reclaim_hand_check() -> None:
    """1.638e12 B/s x 256 pages / 1e6 reads = 0.42 GB/s, 78 % of 512 GB x 1e5 P/E over 3 years."""
    reclaim = flash.reclaim_rate(A([1.638e12]), A([256.0]), A([1e6]))[0]
    assert reclaim == pytest.approx(0.419e9, rel=0.002)
    budget = 512e9 * 1e5 / (3 * 365 * 86400)
    assert budget == pytest.approx(0.541e9, rel=0.002)
    assert reclaim / budget == pytest.approx(0.78, abs=0.01)


def test_flash_life_is_the_budget_over_the_writes() -> None:
    life = flash.life(1e5, 512e9, 1.02, 0.5e9)
    assert life == pytest.approx(1e5 * 512e9 / (1.02 * 0.5e9))


def test_break_even_disturb_limit_is_where_reclaim_meets_the_budget() -> None:
    limit = flash.breakeven_disturb_limit(1e12, 256.0, 0.5e9, 0.1e9)
    assert flash.reclaim_rate(A([1e12]), A([256.0]), A([limit]))[0] == pytest.approx(0.4e9)


def test_h3_staging_buffer() -> None:
    """H3: 40 MB hold 2 x 1 TB/s x 20 us."""
    assert flash.staged_bandwidth(A([40e6]), A([20e-6]))[0] == pytest.approx(1e12)


def test_planes_reach_524_gbs_at_4_us() -> None:
    """16 dies x 32 planes x 4 KiB / 4 us = 524 GB/s a stack."""
    assert flash.plane_bandwidth(A([16 * 32.0]), A([4096.0]), A([4e-6]))[0] == pytest.approx(524e9, rel=0.001)


@given(st.floats(1e6, 1e13), st.floats(1e6, 1e12))
def test_pipeline_depth_is_the_least_power_of_two_that_fits(needed: float, room: float) -> None:
    depth = roofline.pipeline_depth(needed, room)
    assert needed / depth <= room * (1 + 1e-12)
    assert depth == 1 or needed / (depth / 2) > room * (1 - 1e-12)
    assert depth == 2 ** round(np.log2(depth))


HOTSPOT = [(4, 323.16, 318.69), (8, 332.83, 321.14), (12, 345.24, 323.60), (16, 360.41, 326.06)]


@pytest.mark.parametrize(("dies", "logic_k", "top_k"), HOTSPOT)
def test_ladder_against_hotspot(dies: int, logic_k: float, top_k: float) -> None:
    """HotSpot ladder: 121 mm2, 2 W a DRAM die, 10 W logic at the bottom, 0.2 K/W to 313.15 K.

    Base: 0.2 K/W + 1 mm sink and 1 mm spreader of copper (2 x 2.5 mm2 K/W) + 30 um TIM at 4
    (7.5 mm2 K/W). A layer: 50 um at 120 plus 15 um at 1.5 = 10.42 mm2 K/W.
    """
    area = 121e-6
    base = 0.2 * area + (2.5 + 2.5 + 7.5) * 1e-6
    layer = (50 / 120 + 15 / 1.5) * 1e-6
    half = 30 / 120 * 1e-6  # heat of the logic enters at mid-die
    per_logic, per_memory = thermal.logic_rise_below(
        A([base]), A([layer]), A([half]), A([float(dies)]), A([area])
    )
    # in this stack the bond lies under each die: memory heat crosses one bond less than logic heat
    spread = per_memory[0] - (15 / 1.5 * 1e-6) / area
    assert 313.15 + 10 * per_logic[0] + 2 * dies * spread == pytest.approx(logic_k, abs=0.8)
    assert logic_k > top_k


def test_equal_layers_heat_the_logic_quadratically() -> None:
    rises = [
        float(thermal.logic_rise_below(A([0.0]), A([1.0]), A([0.0]), A([float(n)]), A([1.0]))[1][0]) * n
        for n in (4, 8, 16)
    ]
    assert rises == pytest.approx([10.0, 36.0, 136.0])


@given(st.integers(1, 15), st.floats(0.1, 50), st.floats(0.1, 50))
def test_taller_is_never_cooler_at_equal_power_per_layer(layers: int, q: float, p: float) -> None:
    def top(n: int) -> float:
        a, b = thermal.memory_rise_below(A([60e-6]), A([4e-6]), A([float(n)]), A([1e-4]))
        return float(a[0] * q + b[0] * p * n)

    assert top(layers + 1) >= top(layers)


def test_logic_above_is_cooler_than_logic_below() -> None:
    args = (A([60e-6]), A([4e-6]))
    below = thermal.logic_rise_below(*args, A([2e-6]), A([8.0]), A([4e-4]))
    above = thermal.rises_above(*args, A([2e-6]), A([8.0]), A([4e-4]))
    assert above[0] < below[0]
    assert above[1] < below[1]


def test_a_governed_step_holds_every_limit() -> None:
    """2 J of logic and 1 J of memory under (0.1, 0.2) and (0.05, 0.7) s/J: max(0.4, 0.8) s, or the step's own time.

    A clock level of half the logic energy asks (0.05 x 1 + 0.7 x 1) s. 5 J of flash at 0.3 s/J ask 1.5 s more.
    """
    row: Any = SimpleNamespace(
        heat_limits=2, heat_logic=[0.1, 0.05], heat_fast=[0.2, 0.7], heat_flash=[0.0, 0.0]
    )
    assert governed(row, 0.3, 2.0, 1.0, 5.0) == pytest.approx(0.8)
    assert governed(row, 0.4, 1.0, 1.0, 5.0) == pytest.approx(0.75)
    assert governed(row, 3.0, 2.0, 1.0, 5.0) == 3.0
    assert thermal.governed_time(2.0, 1.0, 5.0, 0.1, 0.2, 0.3) == pytest.approx(1.9)


def test_a_cache_in_more_pieces_than_shards_crosses_once() -> None:
    """64 shards are 8 copies of a matrix; a cache of 16 pieces is cut in four along the context."""
    assert pnm.cache_copies(8.0, 16.0) == 4.0
    assert pnm.cache_copies(8.0, 100.0) == 1.0


def test_voltage_inverts_the_alpha_power_law() -> None:
    volts = np.linspace(0.62, 0.94, 9)
    back = power.voltage_for(power.frequency_ratio(volts, 0.75, 0.3, 1.3), 0.6, 0.95, 0.75, 0.3, 1.3)
    assert back == pytest.approx(volts, abs=1e-4)


def test_die_cost_by_hand() -> None:
    """814 mm2 at 16,988 USD a wafer, D0 0.1/cm2: 63 dies gross, yield (1 + 0.814)^-10... = 45.6 %."""
    good = cost.die_yield(A([8.14e-4]), A([0.1e4]), 10.0)[0]
    assert good == pytest.approx((1 + 0.0814) ** -10, rel=1e-9)
    gross = cost.dies_per_wafer(A([8.14e-4]), 0.3, 0.0, 0.0)[0]
    assert gross == pytest.approx(np.pi * 0.09 / 4 / 8.14e-4 - np.pi * 0.3 / np.sqrt(2 * 8.14e-4), rel=1e-9)
    assert 60 < gross < 66


def test_stack_price_at_its_quoted_height_is_the_quote() -> None:
    y = stack.stack_yield(A([0.99]), A([12.0]), A([0.998]))
    assert stack.stack_price(A([560.0]), y, A([0.0]), A([12.0]), y)[0] == pytest.approx(560.0)


def test_bond_yield_falls_with_area() -> None:
    assert stack.bond_yield(A([0.985]), A([8.15e-4]), A([1.21e-4]))[0] == pytest.approx(
        0.985 ** (8.15 / 1.21)
    )


def test_3d_dram_bandwidth_stops_at_the_interface() -> None:
    b = memory.layered_bandwidth(A([15e15]), A([100e15]), A([4.0, 12.0]), A([4e-4]))
    assert b == pytest.approx([24e12, 40e12])


def test_p95_of_summed_context_lies_between_mean_and_longest() -> None:
    n = A([1.0, 16.0, 4096.0])
    p95 = memory.resident_p95(4821.0, 2820.0, 9216.0, n, 1.645)
    assert np.all(p95 >= 4821.0 * n)
    assert np.all(p95 <= 9216.0 * n)
    assert p95[2] / n[2] < p95[1] / n[1] < p95[0]


def test_two_dies_have_six_sides() -> None:
    assert package.die_edge(A([8e-4]), A([1.0]))[0] == pytest.approx(4 * np.sqrt(8e-4))
    assert package.die_edge(A([16e-4]), A([2.0]))[0] == pytest.approx(6 * np.sqrt(8e-4))


def test_ranks_reached_limits() -> None:
    assert experts.ranks_reached(A([1.0]), 8.0)[0] == pytest.approx(1.0)
    assert experts.ranks_reached(A([1e6]), 8.0)[0] == pytest.approx(8.0, rel=1e-4)


# the package's heat


@given(st.floats(1e-5, 2e-3), st.floats(1.0, 20.0), st.floats(1e-3, 3e-2))
def test_what_spreads_in_the_lid_is_not_lost(source: float, times: float, length: float) -> None:
    """Own rise x source + elsewhere x the rest = R, whatever spreads: all heat leaves through the lid."""
    lid = A([source * times + source * 1.001])
    share = thermal.spreading_share(A([source]), lid, A([length]))
    own, other = thermal.lid_rises(A([3.3e-5]), share, A([source]), A([1.0]), lid)
    assert 0 < share[0] <= 1
    assert own[0] * source + other[0] * (lid[0] - source) == pytest.approx(3.3e-5)


def test_a_lid_no_larger_than_its_die_spreads_nothing() -> None:
    assert thermal.spreading_share(A([6.6e-4]), A([6.6e-4]), A([6.3e-3]))[0] == pytest.approx(1.0)
    wide = thermal.spreading_share(A([6.6e-4]), A([1.0]), A([6.3e-3]))[0]
    x = np.sqrt(6.6e-4 / np.pi) / 6.3e-3
    assert wide == pytest.approx(1 - 2 * i1(x) * k1(x), rel=1e-6)  # boundless plate


def test_sources_on_one_plate_spread_as_each_alone() -> None:
    sources, lid, length = A([[6.6e-4, 1e-5], [1e-4, 8e-3]]), A([2e-3, 5e-3]), A([6.3e-3, 2e-3])
    together = thermal.spreading_share(sources, lid, length)
    for one, found in zip(sources, together, strict=True):
        assert np.array_equal(thermal.spreading_share(one, lid, length), found)
    assert together[1, 1] == 1.0  # larger than its plate


def test_the_spreading_plate_agrees_with_a_solved_fin() -> None:
    """Rings of a round plate solved by finite volumes: 660 mm2 on a lid of twice that, 400 W/m/K x 3 mm, 33 mm2 K/W."""
    conduct, above, rings = 400 * 3e-3, 33.3e-6, 4000
    edge = np.linspace(0, np.sqrt(1320e-6 / np.pi), rings + 1)
    area = np.pi * np.diff(edge**2)
    inside = 2 * np.pi * edge[1:-1] * conduct / np.diff((edge[:-1] + edge[1:]) / 2)
    heated = np.clip((660e-6 - np.pi * edge[:-1] ** 2) / area, 0, 1) * area
    main = area / above + np.append(inside, 0) + np.append(0, inside)
    rise = solve_banded((1, 1), np.array([np.append(0, -inside), main, np.append(-inside, 0)]), heated)
    mean = (rise * heated).sum() / heated.sum() / above
    length = thermal.spreading_length(400, 3e-3, A([above]))
    assert thermal.spreading_share(A([660e-6]), A([1320e-6]), length)[0] == pytest.approx(mean, rel=2e-3)


def test_measured_microbump_interfaces() -> None:
    """Colgan, Andry et al.: three interfaces of 8.0 (50 um pitch) and 19.0 mm2 K/W (100 um) at 50 W/cm2: 12.0 and 28.5 K."""
    for each, rise in ((8.0e-6, 12.0), (19.0e-6, 28.5)):
        per_watt, _ = thermal.logic_rise_below(A([0.0]), A([each]), A([0.0]), A([3.0]), A([1e-4]))
        assert per_watt[0] * 50 == pytest.approx(rise)


def test_an_uncovered_share_of_a_die_heats_it() -> None:
    stack, mould = A([110e-6]), A([310e-6])
    assert thermal.parallel_resistance(1.0, stack, mould)[0] == pytest.approx(110e-6)
    assert 110e-6 < thermal.parallel_resistance(0.73, stack, mould)[0] < 150e-6


def test_hot_spots_fade_with_their_size() -> None:
    args = (A([3e-3]), A([60e-6]), A([6.6e-4]))
    rises = [float(thermal.hot_spot_rise(2.0, r, *args)[0]) for r in (0.3e-3, 1.5e-3, 10e-3)]
    assert rises == sorted(rises)
    assert thermal.hot_spot_rise(1.0, 1.5e-3, *args)[0] == 0.0
    assert rises[-1] < 60e-6 / 6.6e-4  # no more than without any spreading


# bonds


def test_a_6_um_bond_carries_868_gbs_per_mm2() -> None:
    assert stack.pitch_bandwidth(A([6e-6]), A([0.25]), A([0.125e9]))[0] == pytest.approx(868e15, rel=0.001)


def test_energy_of_a_bond_by_pitch_meets_microbumps() -> None:
    """0.05 pJ/bit at 9 um, 0.15 to 0.25 at 25 to 40 um (UCIe)."""
    e = stack.pitch_energy(A([0.05]), A([9e-6, 25e-6, 40e-6]), A([9e-6]))
    assert e[0] == pytest.approx(0.05)
    assert 0.13 <= e[1] <= e[2] <= 0.25


def test_pads_that_failed_once_in_a_billion() -> None:
    assert stack.pad_yield(A([1e-9]), A([20e6]))[0] == pytest.approx(0.98, abs=0.001)


def test_known_good_dies() -> None:
    """Of dies that yield 0.9, 2 % of the bad ones slip through: 0.9 / 0.902."""
    assert stack.known_good(A([0.9]), A([0.98]))[0] == pytest.approx(0.9 / 0.902)
    assert stack.known_good(A([0.9]), A([1.0]))[0] == 1.0
    assert stack.stack_yield(A([0.99]), A([12.0]), A([0.998]))[0] == pytest.approx(0.99**11 * 0.998**12)


def test_tsvs_take_what_the_layers_above_send() -> None:
    assert stack.tsv_share(A([120e6]), A([100e-12]), A([12.0]))[0] == pytest.approx(0.078)
