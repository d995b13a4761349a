"""Phones, laptops, glasses and vehicles: heat of two lumps, bursts, what the review says; published throttling and figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dse import evaluate
from dse.catalog.catalog import Catalog
from dse.core.errors import SpaceError
from dse.core.units import Figure
from dse.evaluator.figures import FigureName
from dse.evaluator.first_order import FirstOrderModel
from dse.physics import thermal
from dse.report.facts import Chosen
from dse.report.recommendation import weights_home
from dse.report.review import verdict
from dse.space.design import sample
from dse.space.overrides import load_space
from dse.space.reader import read_space
from dse.space.variables import Value
from tests.validation.evidence.gpu_money_and_energy import energies, hours, tokens
from tests.validation.evidence.warm_phone import PUBLISHED, held, warm_phone

MOBILE = ("mobile", "laptop", "vehicle", "xr")


def test_two_lumps_by_hand() -> None:
    """At rest's first moment heat stays in the chip; in the end all of it crosses the body; between, an integrator agrees."""
    early = thermal.lump_rises((3.0, 5.0), (12.0, 150.0), 1e-3)
    assert early[0, 0] == pytest.approx(1e-3 / 12.0, rel=1e-3)
    late = thermal.lump_rises((3.0, 5.0), (12.0, 150.0), 1e6)
    assert late == pytest.approx(np.array([[8.0, 5.0], [5.0, 5.0]]))

    def heated(_: float, t: np.ndarray) -> list[float]:
        across = (t[0] - t[1]) / 3.0
        return [(1.0 - across) / 12.0, (across - t[1] / 5.0) / 150.0]

    found = solve_ivp(heated, (0.0, 90.0), [0.0, 0.0], rtol=1e-9, atol=1e-9).y[:, -1]
    assert thermal.lump_rises((3.0, 5.0), (12.0, 150.0), 90.0)[:, 0] == pytest.approx(found, rel=1e-6)


def test_the_warmest_skin_lies_between_body_and_chip() -> None:
    rises = thermal.lump_rises((3.0, 5.0), (12.0, 150.0), 600.0)
    assert thermal.spot_rise(rises, 0.0) == pytest.approx(rises[1])
    assert thermal.spot_rise(rises, 1.0) == pytest.approx(rises[0])
    spot = thermal.spot_rise(rises, 0.5)
    assert rises[1, 0] < spot[0] < rises[0, 0]


@pytest.mark.parametrize("name", MOBILE)
def test_sustained_work_holds_the_skin(name: str, catalog: Catalog) -> None:
    """What the search gives out as sustained keeps the spot within its limit at the sustained time, and a burst does not last."""
    space = load_space(name)
    model = FirstOrderModel(space, catalog)
    design = sample(space, 400, np.random.default_rng(3))
    machine = model.machine(design)
    outcomes = model.judge(machine)
    body = {f: catalog.value("body", space.scenario.body, f) for f in ("junction_resistance", "skin_resistance", "local_heat_capacity", "heat_capacity",
                                                                         "spot_share", "power_conversion", "background_power")}  # fmt: skip
    after = space.scenario.sustained_after
    rises = thermal.lump_rises(
        (body["junction_resistance"], body["skin_resistance"]),
        (body["local_heat_capacity"], body["heat_capacity"]),
        after,
    )
    spot = thermal.spot_rise(rises, body["spot_share"])
    tpot, burst = outcomes.objectives["tpot"][:, 0], outcomes.detail["burst"][:, 0]
    held_back = (burst < 0.98 * tpot) & (outcomes.limit_ratios["skin_temperature"][:, 0] < 0.9)
    static = machine.power.static
    unthrottled = outcomes.detail["burst_power"][:, 0]
    assert held_back.any() or name == "vehicle"
    for row in np.nonzero(held_back & (unthrottled < 0.99 * space.thresholds["burst_power"]))[0]:
        sustained = static[row] + (unthrottled[row] - static[row]) * burst[row] / tpot[row]
        warm = spot[0] * sustained / body["power_conversion"] + spot[1] * body["background_power"]
        assert space.scenario.ambient + warm <= space.thresholds["skin_temperature"] + 0.05
        assert outcomes.detail["burst_duration"][row, 0] <= after * 1.1


def test_an_iphone_throttles_as_published(catalog: Catalog) -> None:
    """arXiv 2603.23640: nearly half of the rate is lost within two long generations."""
    warm = warm_phone(catalog)
    print(
        f"\nrate kept at the end of the second generation {warm.at_the_end:.2f}, after five minutes {warm.later:.2f}; published {PUBLISHED}"
    )
    assert warm.kept[0] > warm.kept[-1]
    assert PUBLISHED[0] <= warm.at_the_end <= PUBLISHED[2]
    assert PUBLISHED[0] <= warm.later <= PUBLISHED[2]


def test_a_cool_device_keeps_its_rate(catalog: Catalog) -> None:
    """Far below the limit nothing is held; power that no body can carry leaves idle alone."""
    assert (held(1.0, 0.3, 18.0, catalog, "phone", 300) == 1.0).all()
    assert held(500.0, 0.3, 18.0, catalog, "phone", 1200)[-1] < 0.05
    falling = held(8.0, 0.3, 18.0, catalog, "phone", 900)
    assert (np.diff(falling) <= 1e-9).all()


def test_published_dollars_and_joules_are_shown_with_their_error(catalog: Catalog) -> None:
    """An hour of an H100 and a million tokens on it lie within what is published; energies within a factor of two, errors printed."""
    found = [*energies(catalog), *hours(catalog), *tokens(catalog)]
    print("\n" + "\n".join(b.line() for b in found))
    by_name = {b.what: b for b in found}
    assert next(b for n, b in by_name.items() if n.startswith("h100_sxm: an hour")).inside
    for b in tokens(catalog):
        if b.what.startswith("H100, Llama"):
            assert b.inside, b.line()
    assert sum(b.inside for b in hours(catalog)) >= 5
    assert all(0.5 < b.ours / b.nominal < 2.0 for b in energies(catalog))


def test_bodies_differ_and_wrong_ones_are_told(catalog: Catalog) -> None:
    space = load_space("laptop")
    assert space.scenario.body == "laptop"
    for old, new, said in (
        ('body = "laptop"', 'body = "tablet"', "scenario.body"),
        ('software = "executorch"', 'software = "executorch"\ngrid = "mars"', "scenario.grid"),
    ):
        with pytest.raises(SpaceError, match=said):
            read_space(space.text.replace(old, new, 1), "mine.toml", catalog)


def test_a_laptop_sustains_more_than_a_phone_and_glasses_less(catalog: Catalog) -> None:
    """The same package in three bodies under one skin limit."""
    space = load_space("mobile")
    design = sample(space, 300, np.random.default_rng(4))
    tpot = {}
    for body in ("xr_glasses", "phone", "laptop"):
        s = replace(
            space,
            scenario=replace(space.scenario, body=body),
            thresholds={**space.thresholds, "burst_power": 100.0},
        )
        model = FirstOrderModel(s, catalog)
        tpot[body] = model.judge(model.machine(design)).objectives["tpot"][:, 0]
    assert (tpot["laptop"] <= tpot["phone"] * 1.000001).mean() > 0.99
    assert (tpot["phone"] <= tpot["xr_glasses"] * 1.000001).all()


def test_a_verdict_follows_the_front() -> None:
    assert [verdict(s, keeps=True) for s in (0.9, 0.2, 0.01)] == ["pays", "pays for some", "does not pay"]
    assert verdict(0.9, keeps=False) == "pays for some"


@pytest.mark.parametrize(("dram", "said"), [(1.0, "dram, none streamed from flash"), (0.8, "flash streamed")])
def test_weights_that_all_have_room_in_dram_are_not_said_to_stream(dram: float, said: str) -> None:
    """A laptop that may stream from flash: by the share of its weights that DRAM holds."""
    model = evaluate("laptop", variables={"weights_home": "flash_streamed"})
    figures = {**model.figures, FigureName.FAST_SHARE: Figure(dram, "1")}
    home: dict[str, Value] = {"weights_home": "flash_streamed"}
    chosen = Chosen(
        "", 0, 0, 0, values=home, objectives=[], binds=[], parts=[replace(model, figures=figures)]
    )
    assert weights_home(chosen) == said


def test_a_world_may_be_a_year_or_a_factor(catalog: Catalog) -> None:
    """``x 1.5`` of what entries state, several at once; a year; wrong ones are told."""
    space = load_space("prices")
    dear = next(w for w in space.what_ifs if w.name == "HBM +50 %")
    assert {n for _, n, _, _ in dear.catalogue} == {
        n for n in catalog.entries["memory"] if n.startswith("hbm")
    }
    for kind, name, field, value in dear.catalogue:
        assert value == pytest.approx(1.5 * catalog.value(kind, name, field))
    assert [w.year for w in space.what_ifs if w.year] == [2026, 2027, 2028, 2029, 2030, 2031, 2032]
    for old, new in (("year = 2026", "year = 1900"), ('"memory/hbm*.price_per_byte" = "x 1.5"', '"memory/xyz*.price_per_byte" = "x 1.5"'),
                     ('"x 1.5"', '"x much"'), ('"x 1.5"', '"1.5"'), ('"memory/hbm*', '"memry/hbm*')):  # fmt: skip
        with pytest.raises(SpaceError):
            read_space(space.text.replace(old, new, 1), "mine.toml", catalog)
