"""The catalogue: every entry is sourced, every fault of a file is told at once."""

from __future__ import annotations

import json
import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from dse.catalog.catalog import DATA, Catalog, load_catalog
from dse.catalog.entries import read_entry
from dse.catalog.json_schema import json_schema
from dse.catalog.llm import read_llm
from dse.catalog.schema import KINDS
from dse.core.errors import DataError
from dse.core.units import FloatArray
from dse.evaluator.first_order import FirstOrderModel
from dse.space.design import sample
from dse.space.space import Space

GOOD = """
name = "x"
title = "X"
readiness = "paper"
available = { low = 2026, nominal = 2026, high = 2027, unit = "year", source = "s" }
[values]
hop_latency = { low = 100, nominal = 200, high = 400, unit = "ns", source = "s" }
"""


def test_every_number_has_a_source_and_a_range(catalog: Catalog) -> None:
    for group in catalog.entries.values():
        for entry in group.values():
            for field, q in {**entry.values, "available": entry.available}.items():
                assert q.source.strip(), (entry.kind, entry.name, field)
                assert q.low <= q.nominal <= q.high, (entry.kind, entry.name, field)


def test_enough_of_each_kind(catalog: Catalog) -> None:
    assert len(catalog.llms) >= 16
    for name in ("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200", "gb300", "mi300x", "tpu_v7_ironwood",
                 "snapdragon_8_gen3", "iphone_16_pro", "m4", "groq_lpu", "lincoln", "cambricon_llm"):  # fmt: skip
        assert catalog.entry("device", name)


def test_a_good_entry_is_read_in_si() -> None:
    entry = read_entry("topology", GOOD, "f.toml")
    assert entry.values["hop_latency"].nominal == pytest.approx(200e-9)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "s" }\n[values]', 'source = "" }\n[values]', "available.source"),
        ("hop_latency", "hop_latencyy", "did you mean 'hop_latency'"),
        ('"ns"', '"GB"', "values.hop_latency.unit"),
        ("nominal = 200", "nominal = nan", "a finite number"),
        ("nominal = 200", "nominal = inf", "a finite number"),
        ("low = 100", "low = 300", "low <= nominal <= high"),
        ("low = 100", "low = -1", "expected from 1e-09 s to 0.0001 s"),
        ('"paper"', '"soon"', "readiness"),
        ("high = 400,", "high = 400, colour = 1,", "no such key"),
        ("[values]", "[valu", "not valid TOML"),
    ],
)
def test_a_fault_names_file_key_and_what_is_allowed(old: str, new: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        read_entry("topology", GOOD.replace(old, new), "f.toml")
    assert "f.toml" in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("field", "number", "key", "said"),
    [
        ("dies", "0", "dies.low: got '0 ", "from 1 to 1000"),
        ("dies", "1.5", "dies.low: got 1.5", "a whole number"),
        ("tdp", "0", "tdp.low: got '0 W'", "expected from"),
        ("die_area", "0", "die_area.low", "expected from"),
        ("memory_stacks", "2.5", "memory_stacks.low", "a whole number"),
        ("peak_16bit", "989e-9", "peak_16bit.low", "expected from"),
    ],
)
def test_numbers_that_no_machine_has_are_refused(field: str, number: str, key: str, said: str) -> None:
    text = (DATA / "device" / "h100_sxm.toml").read_text()
    changed = re.sub(
        rf"(?m)^({field} = {{ )low = [^,]+, nominal = [^,]+, high = [^,]+,",
        rf"\g<1>low = {number}, nominal = {number}, high = {number},",
        text,
    )
    assert changed != text
    with pytest.raises(DataError) as error:
        read_entry("device", changed, "f.toml")
    assert key in str(error.value)
    assert said in str(error.value)


def test_all_faults_of_a_file_are_told_at_once() -> None:
    bad = (
        GOOD.replace('unit = "ns"', 'unit = "GB"')
        .replace('"paper"', '"soon"')
        .replace('title = "X"', 'titel = "X"')
    )
    with pytest.raises(DataError) as error:
        read_entry("topology", bad, "f.toml")
    assert len(str(error.value).splitlines()) == 3


def test_llm_file_without_source_is_refused() -> None:
    with pytest.raises(DataError, match="source"):
        read_llm('name="a"\nattention="gqa"\n[shape]\nlayers=1\n', "a.toml")


def test_own_files_are_added_and_override(tmp_path: Path) -> None:
    folder = tmp_path / "topology"
    folder.mkdir()
    (folder / "ring.toml").write_text(GOOD.replace('"x"', '"ring"'))
    own = load_catalog(tmp_path)
    assert own.value("topology", "ring", "hop_latency") == pytest.approx(200e-9)
    assert own.digest != load_catalog().digest


@pytest.mark.parametrize("kind", [*KINDS, "llm"])
def test_shipped_files_satisfy_the_generated_schema(kind: str) -> None:
    schema = json_schema(kind)
    json.dumps(schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    folder = DATA / kind
    files = [f for f in folder.iterdir() if f.name.endswith(".toml")]
    assert files
    for file in files:
        validator.validate(tomllib.loads(file.read_text(encoding="utf-8")))


def test_replacing_a_number_leaves_the_original(catalog: Catalog) -> None:
    other = catalog.replace("topology", "ring", "hop_latency", 1.0)
    assert other.value("topology", "ring", "hop_latency") == 1.0
    assert catalog.value("topology", "ring", "hop_latency") < 1e-6


def test_numbers_replaced_together_are_those_replaced_in_turn(catalog: Catalog) -> None:
    numbers = [
        ("memory", "hbm4", "price_per_byte", 2e-8),
        ("memory", "hbm4", "bandwidth_per_stack", 1e12),
        ("logic", "n3", "wafer_price", 1e4),
    ]
    known = [catalog.value(*n[:3]) for n in numbers]
    together, in_turn = catalog.with_numbers(numbers), catalog
    for number in numbers:
        in_turn = in_turn.replace(*number)
    assert [together.value(*n[:3]) for n in numbers] == [n[3] for n in numbers]
    assert (together.entries, together.digest) == (in_turn.entries, in_turn.digest)
    assert [catalog.value(*n[:3]) for n in numbers] == known
    assert catalog.with_numbers([]) is catalog


def test_low_and_high_catalogues_bracket_the_nominal(catalog: Catalog) -> None:
    at = [catalog.at(level).value("memory", "hbm4", "read_energy") for level in ("low", "nominal", "high")]
    assert at == sorted(at)
    assert at[0] < at[2]


def test_scenarios_side_by_side_are_those_one_after_the_other(datacenter: Space) -> None:
    """Catalogues made of one another share what they keep, also between threads."""
    designs, base = sample(datacenter, 24, np.random.default_rng(0)), load_catalog()

    def cost(number: int) -> FloatArray:
        numbers = [
            ("memory", "hbm4", "price_per_byte", 1e-8 * number),
            ("logic", "n3", "wafer_price", 5e3 * number),
        ]
        return (
            FirstOrderModel(datacenter, base.with_numbers(numbers), 1)
            .evaluate(designs)
            .objectives["cost_per_mtoken"]
        )

    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(cost, range(1, 9)))
    for number in range(1, 9):
        assert np.array_equal(beside[number - 1], cost(number))


def test_a_catalogue_with_another_number_forgets_what_rested_on_the_old_one(datacenter: Space) -> None:
    """What a catalogue keeps is carried to its variants: outcomes are those of one that kept nothing."""
    designs, base = sample(datacenter, 40, np.random.default_rng(0)), load_catalog()
    FirstOrderModel(datacenter, base).evaluate(designs)
    for kind, name, field in (
        ("memory", "hbm4", "price_per_byte"),
        ("flash", "hbf_gen1", "read_latency.pslc"),
        ("logic", "n3", "wafer_price"),
        ("software", datacenter.scenario.software, "layer_overhead"),
    ):
        warm = base.replace(kind, name, field, 2.0 * base.value(kind, name, field))
        cold = Catalog(warm.entries, warm.llms, warm.digest)
        found, fresh = (FirstOrderModel(datacenter, c).evaluate(designs) for c in (warm, cold))
        assert warm.value(kind, name, field) == 2.0 * base.value(kind, name, field)
        for goal, column in fresh.objectives.items():
            assert np.array_equal(found.objectives[goal], column), (field, goal)
