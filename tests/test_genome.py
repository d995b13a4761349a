"""Designs as codes: repair, keys, neighbours and the way back, against the slow and plain forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.evaluator.nearest_design import consistent
from dse.space.design import decode, encode, sample, unfit
from dse.space.genome import STEPS, Genome, number_levels
from dse.space.overrides import load_space
from dse.space.space import Space
from dse.space.variables import Variable
from dse.study.niches import PARTS, WHOLE, niches_of

HOME = Path(__file__).resolve().parent.parent

SPACES = {name: load_space(name) for name in ("datacenter", "mobile", "hbf")}


def drawn(space: Space, count: int, seed: int) -> tuple[Genome, np.ndarray, np.ndarray]:
    genome = Genome(space.variables)
    rng = np.random.default_rng(seed)
    codes = genome.draw(rng.random((count, len(genome.genes))))
    return genome, codes, genome.repair(codes, rng)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 10**6))
def test_repaired_codes_are_designs_of_the_space(name: str, seed: int) -> None:
    space = SPACES[name]
    genome, codes, present = drawn(space, 40, seed)
    design = genome.design(codes, present)
    for row in range(len(design)):
        assert unfit(space, decode(space, design, row)) == []
    again = codes.copy()
    assert np.array_equal(genome.repair(again), present)
    assert np.array_equal(again, codes)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 10**6))
def test_codes_and_designs_go_both_ways(name: str, seed: int) -> None:
    space = SPACES[name]
    genome, codes, present = drawn(space, 40, seed)
    back = genome.codes(genome.design(codes, present))
    assert np.array_equal(np.where(present, back, 0), np.where(present, codes, 0))
    rows = sample(space, 40, np.random.default_rng(seed))
    made = genome.codes(rows)
    near = genome.design(made, genome.repair(made))
    for v in space.variables:
        if v.discrete or v.kind == "int":
            assert np.array_equal(near.columns[v.name], rows.columns[v.name], equal_nan=True)
        else:
            step = (v.high / v.low) ** (1 / STEPS) if v.log else 1.0
            slack = rows.columns[v.name] * (step - 1) if v.log else (v.high - v.low) / STEPS
            off = np.abs(near.columns[v.name] - rows.columns[v.name])
            assert (np.isnan(off) | (off <= 0.51 * slack + 1e-12 * v.high)).all()


def test_keys_tell_designs_apart_and_see_no_absent_variable() -> None:
    genome, codes, present = drawn(SPACES["datacenter"], 20_000, 1)
    keys = genome.keys(codes, present)
    shown = np.where(present, codes, -1)
    assert len(np.unique(keys)) == len(np.unique(shown, axis=0))
    other = codes.copy()
    absent = np.argwhere(~present)[:500]
    for row, gene in absent:
        other[row, gene] = (other[row, gene] + 1) % genome.sizes[gene]
    assert np.array_equal(genome.keys(other, present), keys)


def test_neighbours_are_those_of_the_plain_form() -> None:
    """Every level of a choice, the next whole numbers, steps of the others: one variable, and what hangs on it."""
    space = SPACES["mobile"]
    genome, codes, present = drawn(space, 3, 5)
    for row in range(3):
        made = genome.neighbours(codes[row : row + 1], (50,))
        keys = set(genome.keys(made, genome.repair(made)).tolist())
        start = decode(space, genome.design(codes[row : row + 1], present[row : row + 1]), 0)
        for v in space.variables:
            if v.name not in start or not v.discrete:
                continue
            for choice in v.choices:
                moved = consistent(space, {**start, v.name: choice})
                if choice == start[v.name] or moved.get(v.name) != choice:
                    continue
                mine = genome.codes(encode(space, [moved]))
                hidden = codes[row : row + 1].copy()  # sizes of parts that were absent are the genome's own
                seen = genome.repair(mine)
                hidden[:, genome.index[v.name]] = mine[:, genome.index[v.name]]
                assert int(genome.keys(hidden, genome.repair(hidden))[0]) in keys
                assert seen[0, genome.index[v.name]]
        design = genome.design(made, genome.repair(made))
        for k in range(len(design)):
            assert unfit(space, decode(space, design, k)) == []


@pytest.mark.parametrize(
    ("variable", "first", "last", "count"),
    [
        (Variable("x", "float", low=0.05, high=0.6), 0.05, 0.6, STEPS + 1),
        (Variable("x", "float", low=1e-3, high=1e3, log=True), 1e-3, 1e3, STEPS + 1),
        (Variable("x", "int", low=1, high=12), 1, 12, 12),
        (Variable("x", "int", low=1, high=10**6, log=True), 1, 10**6, None),
        (Variable("x", "float", low=2.0, high=2.0), 2.0, 2.0, 1),
    ],
)
def test_numbers_have_levels_from_low_to_high(
    variable: Variable, first: float, last: float, count: int | None
) -> None:
    levels = number_levels(variable)
    assert (levels[0], levels[-1]) == (first, last)
    assert (np.diff(levels) > 0).all()
    assert count is None or len(levels) == count
    if variable.log and variable.kind == "float":
        assert np.allclose(np.diff(np.log(levels)), np.log(last / first) / STEPS)


def test_a_forced_level_brings_what_it_needs() -> None:
    space = SPACES["datacenter"]
    genome = Genome(space.variables)
    rng = np.random.default_rng(0)
    for gene, choice in (
        ("pnm", "far_module"),
        ("collective_engine", "in_network"),
        ("flash_attach", "behind_hbm"),
    ):
        i = genome.index[gene]
        table = np.array([c == choice for c in space.variable(gene).choices] + [False])
        codes = genome.draw(rng.random((200, len(genome.genes))))
        for row in codes:
            genome.force(row, i, table, rng)
        present = genome.repair(codes, rng)
        assert (present[:, i] & table[codes[:, i]]).all(), gene


def test_every_shipped_space_has_a_genome() -> None:
    for name in sorted(p.stem for p in HOME.glob("search_spaces/*.toml")):
        genome, codes, present = drawn(load_space(name), 200, 0)
        assert present[:, 0].all()
        assert (codes < genome.sizes).all()


def test_every_number_has_its_parts_and_every_design_lies_in_one_of_each() -> None:
    space = load_space("mobile")
    genome = Genome(space.variables)
    codes = genome.draw(np.random.default_rng(1).random((500, len(genome.genes))))
    present = genome.repair(codes)
    niches = {n.name: n for n in niches_of(genome, space.levers)}
    assert niches[WHOLE].holds(codes, present).all()
    for name in ("npu_area", "npu_sram", "npu_clock", "pnm_flops"):
        there = present[:, genome.index[name]]
        parts = [n.holds(codes, present) for n in niches.values() if n.name.startswith(f"{name}, part")]
        assert len(parts) == PARTS
        assert np.array_equal(np.sum(parts, axis=0), there.astype(int))
        assert all(p[there].mean() == pytest.approx(1 / PARTS, abs=0.1) for p in parts)
    assert not any(n.startswith("flash_dies, part") for n in niches)  # few levels


def test_levers_used_together_are_niches() -> None:
    space = load_space("mobile")
    genome = Genome(space.variables)
    codes = genome.draw(np.random.default_rng(1).random((500, len(genome.genes))))
    present = genome.repair(codes)
    design = genome.design(codes, present)
    niches = {n.name: n for n in niches_of(genome, space.levers)}
    assert len([n for n in niches if " and " in n]) == 6 + 4 + 1  # of four levers two, three and all
    for k, held in enumerate(niches["flash and pnm"].holds(codes, present)):
        values = decode(space, design, k)
        assert held == (values["flash"] != "ufs4" and values["pnm"] != "none")


def test_a_small_space_is_enumerated_and_a_large_one_is_not() -> None:
    space = SPACES["mobile"]
    for name in ("npu_area", "npu_sram", "npu_clock", "pnm_flops"):
        space = space.restrict(name, [space.variable(name).low])
    space = space.restrict("dram_capacity", list(space.variable("dram_capacity").choices[:1]))
    genome, codes, present = drawn(space, 5000, 0)
    every = genome.enumerated(2_000_000)
    shown = genome.repair(every)
    keys = genome.keys(every, shown)
    assert len(np.unique(keys)) == len(every) > 5000
    assert np.isin(genome.keys(codes, present), keys).all()
    assert len(genome.enumerated(1000)) == 0
    assert len(Genome(SPACES["datacenter"].variables).enumerated(200_000)) == 0
