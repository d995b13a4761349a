"""Spaces: every fault is told; conditions, sampling, grid and overrides hold."""

from __future__ import annotations

import numpy as np
import pytest

from dse.catalog.catalog import Catalog
from dse.core.errors import SpaceError
from dse.evaluator.first_order import FirstOrderModel
from dse.report.questions import at_the_ends
from dse.space.design import decode, encode, grid, sample, unfit
from dse.space.overrides import Overrides, load_space
from dse.space.reader import read_space, space_text
from dse.space.space import Space
from dse.study.what_if import side_by_side

TEXT = space_text("datacenter")[0]
TOPOLOGIES = '["full", "switch", "ring", "torus2d", "torus3d", "hyperx", "dragonfly", "clos", "tree"]'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "int"\nlow = 1\nhigh = 12', 'kind = "int"\nlow = 12\nhigh = 1', "low below high"),
        ('low = "100 mm2"', 'low = "100 GB"', "variables.compute_area.low"),
        ('low = "100 mm2"', "low = nan", "variables.compute_area.low"),
        ("pue = { value = 1.2", "pue = { value = inf", "scenario.pue"),
        (
            'unit = "USD/kWh", source = "blended US price for AI sites 0.065-0.09 USD/kWh (2026)"',
            'unit = "USD/kWh", source = ""',
            "scenario.electricity_price.source",
        ),
        (
            '"hbm4e", "dram3d"]\n\n[variables.stacks]',
            '"hbm4e"]\n\n[variables.stacks]',
            "a choice of fast_memory",
        ),
        ("[variables.sram]", "[variables.sram]\ncolor = 1", "variables.sram.color"),
        ('objectives = ["tpot",', 'objectives = ["tpott",', "did you mean 'tpot'"),
        ('llm = "DeepSeek-V3"', 'llm = "DeepSeek-V33"', "did you mean 'DeepSeek-V3'"),
        ('device = "gb200"', 'device = "gb2000"', "baseline.device"),
        ('software = "pooled"', 'software = "poled"', "did you mean 'pooled'"),
        ("share = 0.5", "share = -0.5", "scenario.traffic[0]"),
        ('ttft = { value = "2 s"', 'ttft = { value = "2 W"', "limits.ttft"),
        ('target = "datacenter"', 'target = "moon"', "target"),
        ("[scenario]", "[scenari", "not valid TOML"),
        ('tpot_target = ["5 ms"', 'tpot_target = ["5 ms", "5 ms"', "every target once"),
        ('tpot_target = ["5 ms"', 'tpot_target = ["-5 ms"', "a time above 0"),
        ('tpot = { value = "100 ms"', 'tpot = { value = "1 ms"', "at least the fastest target, 5 ms"),
        ('llm = "Llama-3.1-70B"', 'llm = "DeepSeek-V3"', "every model once"),
        ("prefix_reuse = 100", "prefix_reuse = 0.5", "scenario.traffic[1].prefix_reuse"),
        ("output_tokens = 8192", "output_tokens = 140000", "tokens of scenario.longest_request"),
        ('value = 4, unit = "y"', 'value = 4, unit = "s"', "got '4 s', expected a number from 1 day"),
        ('value = 0.07, unit = "USD/kWh"', 'value = 70, unit = "USD/kWh"', "up to 5 USD/kWh"),
        ("compute_bits = 8", "compute_bits = 4", "at least the 8 bits"),
        ('value = "132 kW"', 'value = "132 uW"', "limits.rack_power: got '132 uW', expected from 1 mW"),
        ('ttft = { value = "2 s"', "ttft = { value = 2", "may be read in two ways, '2 ms' or '2 s'"),
        ('name = "rag"', 'name = "chat"', "every class of requests once"),
        ('device = "gb200"', 'device = "iphone_16_pro"', "a machine for target 'datacenter'"),
        ('device = "gb200"', 'device = "h100_sxm"', "every machine once"),
        ('only = ["Llama-3.1-70B"]', 'only = ["Llama-3.1-8B"]', "a model that the space serves"),
        ("ttft_input = { value = 8192", "ttft_input = { value = 500000", "scenario.ttft_input"),
        ("kv_bits = 8", "kv_bits = 1", "2 to 32 bits"),
        ('title = "Datacenter', 'title = 5 # "', "expected words"),
        ('only = ["Llama-3.1-70B"]', 'only = ["Llama-3.1-71B"]', "baseline groq_lpu.only"),
        ('grid = ["own_shoreline"', 'grid = ["own_shorelin"', "variables.flash_attach.grid"),
        ('off = "switch", and', f"off = {TOPOLOGIES}, and", "some must be on"),
    ],
)
def test_a_fault_names_file_key_and_mend(old: str, new: str, message: str, catalog: Catalog) -> None:
    assert old in TEXT
    with pytest.raises(SpaceError) as error:
        read_space(TEXT.replace(old, new), "my.toml", catalog)
    assert "my.toml" in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("64, 128, 256, 512]\ngrid = [1, 8, 64]", "3]", "variables.domain.choices: got '3'"),
        ("choices = [8, 16, 24, 32]", "choices = [8, 16, 24, 3.5]", "whole numbers: it counts things"),
        ('kind = "int"\nlow = 1\nhigh = 12', 'kind = "float"\nlow = 1\nhigh = 12', "int or ordinal"),
        ('low = "0.6 GHz"', 'low = "0.6 kHz"', "got '600 Hz', expected numbers from 1 MHz to 10 GHz"),
    ],
)
def test_numbers_that_the_model_cannot_mean_are_refused(
    old: str, new: str, message: str, catalog: Catalog
) -> None:
    """A domain of three packages would be given the links of two."""
    assert old in TEXT
    space = read_space(TEXT.replace(old, new, 1), "my.toml", catalog)
    with pytest.raises(SpaceError) as error:
        FirstOrderModel(space, catalog)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["datacenter", "mobile"])
def test_sampled_designs_obey_every_condition(name: str) -> None:
    space = load_space(name)
    design = sample(space, 400, np.random.default_rng(0))
    for row in range(400):
        assert unfit(space, decode(space, design, row)) == []


@pytest.mark.parametrize("name", ["datacenter", "mobile"])
def test_designs_survive_a_round_trip(name: str) -> None:
    space = load_space(name)
    design = sample(space, 50, np.random.default_rng(1))
    again = encode(space, [decode(space, design, i) for i in range(50)])
    assert again.row_keys() == design.row_keys()


def test_inactive_variables_are_absent(datacenter: Space) -> None:
    design = sample(datacenter, 500, np.random.default_rng(2))
    without = design.columns["flash"] == 0
    assert np.isnan(design.columns["flash_stacks"][without]).all()
    assert (design.columns["flash_cell"][without] == -1).all()
    assert (design.columns["topology"][design.columns["domain"] < 2] == -1).all()


def test_grid_has_no_duplicates_and_obeys_conditions(datacenter: Space) -> None:
    first = next(grid(datacenter, 20_000))
    keys = first.row_keys()
    assert len(set(keys)) == len(keys)
    for row in range(0, len(first), 997):
        assert unfit(datacenter, decode(datacenter, first, row)) == []


@pytest.mark.parametrize("name", ["datacenter", "mobile"])
def test_coarse_grid_has_at_least_a_million_designs(name: str) -> None:
    assert sum(len(d) for d in grid(load_space(name))) >= 1_000_000


def test_locking_a_choice_locks_what_it_needs(datacenter: Space) -> None:
    ring = datacenter.restrict("topology", ["ring"])
    design = sample(ring, 200, np.random.default_rng(3))
    assert (design.columns["topology"] == 0).all()
    base = sample(datacenter.restrict("pnm", ["memory_base_die"]), 100, np.random.default_rng(3))
    assert (base.columns["pnm"] == 0).all()


def test_every_lever_can_be_locked_off(datacenter: Space, mobile: Space) -> None:
    for space in (datacenter, mobile):
        for lever in space.levers:
            design = sample(space.without(lever), 50, np.random.default_rng(0))
            assert len(design) == 50


def test_overrides_are_recorded() -> None:
    o = Overrides(
        fix=("pnm=none",),
        limit=("ttft=1 s",),
        model="Llama-3.1-8B",
        objectives=("tpot",),
        traffic="chat",
        year=2028,
    )
    space = load_space("datacenter", o)
    assert space.thresholds["ttft"] == 1.0
    assert [w.llm for w in space.scenario.workloads] == ["Llama-3.1-8B"]
    assert len(space.overrides) == 6


@pytest.mark.parametrize(
    ("o", "message"),
    [
        (Overrides(fix=("pnm=nonsense",)), "pnm"),
        (Overrides(fix=("pnm",)), "name=value"),
        (Overrides(fix=("stacks=99",)), "1 to 12"),
        (Overrides(fix=("clock=1 GB",)), "clock"),
        (Overrides(limit=("ttft=-1 s",)), "above 0"),
        (Overrides(limit=("colour=1",)), "colour"),
        (Overrides(model="gpt-9"), "gpt-9"),
        (Overrides(year=1200), "1200"),
        (Overrides(traffic="fax"), "fax"),
        (Overrides(objectives=("beauty",)), "beauty"),
    ],
)
def test_bad_overrides_are_refused(o: Overrides, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_space("datacenter", o)


ASKED = """
[[what_if]]
name = "pages read in 1 us"
question = "Latency"
catalogue = { "flash/hbf_gen1.read_latency.pslc" = "1 us" }

[[what_if]]
name = "no flash"
question = "Latency"
fix = { flash = "none" }

[[compare]]
title = "Two machines"
llm = "Llama-3.1-8B"
context = 4096
batch = [1, 8]
design = { compute_node = "N3" }
[[compare.row]]
name = "HBM"
set = { fast_memory = "hbm4" }
[[compare.row]]
name = "HBM at half the rate"
set = { fast_memory = "hbm4" }
catalogue = { "memory/hbm4.bandwidth_per_stack" = "1.024 TB/s" }
"""


def _with(text: str, catalog: Catalog) -> Space:
    base, _ = space_text("datacenter")
    return read_space(base + text, "asked.toml", catalog)


def test_what_ifs_and_comparisons_are_read_in_si(catalog: Catalog) -> None:
    space = _with(ASKED, catalog)
    assert [w.name for w in space.what_ifs] == ["pages read in 1 us", "no flash"]
    assert [change[:3] for change in space.what_ifs[0].catalogue] == [
        ("flash", "hbf_gen1", "read_latency.pslc")
    ]
    assert space.what_ifs[0].catalogue[0][3] == pytest.approx(1e-6)
    assert space.what_ifs[1].fixed == {"flash": ("none",)}
    assert [r.name for r in space.comparisons[0].rows] == ["HBM", "HBM at half the rate"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[what_if]]\nname = "x"\n', "catalogue numbers, variables to fix, a demand or a year"),
        ('[[what_if]]\nname = "x"\nfix = { flesh = "none" }\n', "flash"),
        ('[[what_if]]\nname = "x"\nfix = { flash = "nand" }\n', "flash"),
        (
            '[[what_if]]\nname = "x"\ncatalogue = { "flash/hbf_gen1.read_latncy_pslc" = "1 us" }\n',
            "read_latency.pslc",
        ),
        (
            '[[what_if]]\nname = "x"\ncatalogue = { "flash/hbf_gen1.read_latency.pslc" = "1 GB" }\n',
            "not a kind of 's'",
        ),
        ('[[compare]]\ntitle = "x"\nllm = "Llama-9"\n', "Llama"),
        ('[[compare]]\ntitle = "x"\nllm = "Llama-3.1-8B"\nshow = ["times"]\n', "time"),
    ],
)
def test_a_faulty_question_is_told(text: str, said: str, catalog: Catalog) -> None:
    with pytest.raises(SpaceError, match="asked.toml") as error:
        _with("\n" + text, catalog)
    assert said in str(error.value)


def test_half_the_bandwidth_takes_longer_side_by_side(catalog: Catalog) -> None:
    space = _with(ASKED, catalog)
    (table,) = side_by_side(space, catalog)
    whole, half = ([c["time"] for c in row["cells"]] for row in table["rows"])
    assert all(h > w for w, h in zip(whole, half, strict=True))


def test_a_recommendation_names_the_range_that_holds_the_front() -> None:
    """A quarter of the points within 1 % of an end, on the variable's own axis, earns a sentence."""
    space = load_space("datacenter")
    clock, area = (next(v for v in space.variables if v.name == n) for n in ("clock", "compute_area"))
    middle = (clock.low + clock.high) / 2
    points = [
        {"clock": middle, "compute_area": area.high},
        *({"clock": middle, "compute_area": area.low * 1.5},) * 3,
    ]
    assert [s.split(":")[0] for s in at_the_ends(space, points)] == [
        "1 of the 4 points that have compute_area take the highest that the space allows, 1600 mm2"
    ]
    assert not at_the_ends(space, [points[0], *points[1:] * 2])
    assert not at_the_ends(space, [{}])
