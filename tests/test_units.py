"""Units: parsing, dimensions, printing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.catalog.schema import KINDS
from dse.core.errors import UnitError
from dse.core.units import ATOMS, convert, parse, show, unit


@pytest.mark.parametrize(
    ("text", "wanted", "value"),
    [
        ("1.2 TB/s", "B/s", 1.2e12),
        ("24 Gib", "B", 24 * 2**30 / 8),
        ("3 pJ/bit", "J/B", 24e-12),
        ("815 mm2", "m2", 815e-6),
        ("1 mm2*K/W", "m2*K/W", 1e-6),
        ("0.07 USD/kWh", "USD/J", 0.07 / 3.6e6),
        ("1 TFLOP/s/mm2/GHz", "FLOP/m2", 1e9),
        ("4 y", "s", 4 * 365 * 86400),
        ("2.5 s", "s", 2.5),
    ],
)
def test_parse_converts_to_si(text: str, wanted: str, value: float) -> None:
    assert parse(text, wanted) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("text", ["1 GB", "nan", "inf s", "-inf", "5 parsec", "", "two s", "1 s extra"])
def test_parse_refuses_wrong_dimension_and_numbers_that_are_none(text: str) -> None:
    with pytest.raises(UnitError):
        parse(text, "s")


@given(st.floats(1e-9, 1e9), st.sampled_from(sorted(ATOMS)))
def test_converting_there_and_back_is_the_identity(value: float, atom: str) -> None:
    si = "*".join(f"{d}{e}" for d, e in unit(atom).dim) or "1"
    si = si.replace("kg", "kgCO2e")
    assert convert(convert(value, atom, si), si, atom) == pytest.approx(value, rel=1e-12)


def test_every_declared_unit_parses() -> None:
    for kind in KINDS.values():
        for name, field in kind.fields.items():
            assert unit(field.unit) is not None, (kind.name, name)


@pytest.mark.parametrize(
    ("value", "si", "text"),
    [
        (2.048e12, "B/s", "2.048 TB/s"),
        (8.15e-4, "m2", "815 mm2"),
        (0.3656, "1", "0.3656"),
        (1.6e9, "1/s", "1.6 GHz"),
        (42470.0, "USD", "42,470 USD"),
    ],
)
def test_show_is_for_people(value: float, si: str, text: str) -> None:
    assert show(value, si) == text
