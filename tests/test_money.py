"""Dollars, joules and carbon of a site: parts sum, prices follow years, bases do not mix, break-even breaks even."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.api import evaluate
from dse.catalog.catalog import Catalog
from dse.catalog.prices import level, price_factor
from dse.core.errors import DataError
from dse.core.money import Basis, Comparison, Money, paid
from dse.evaluator.explain import Evaluation, explain
from dse.evaluator.first_order import FirstOrderModel, model_of
from dse.evaluator.site import (
    NEVER,
    at_price,
    best_on_sale,
    break_even,
    on_sale,
    price_of,
    together,
    within,
)
from dse.hardware.machine import CostLine
from dse.physics import carbon, cost
from dse.report.facts import gather
from dse.report.recommendation import recommendation_json
from dse.space.design import sample
from dse.space.overrides import load_space
from dse.space.reader import shipped_spaces
from dse.space.space import Space
from dse.study.job import load_run

SPACES = sorted(p.name.removesuffix(".toml") for p in shipped_spaces())


KINDS = {
    "times": "tpot",
    "energies": "energy_per_token",
    "costs": "cost_per_mtoken",
    "carbons": "carbon_per_mtoken",
}


def explained(space: Space, catalog: Catalog, some: int) -> list[Evaluation]:
    """Operating points of random designs of a space, broken down as the search chose their plans."""
    model = model_of(space, catalog)
    design = sample(space, some, np.random.default_rng(7))
    machine = model.machine(design)
    outcomes = model.judge(machine)
    out = []
    for row in range(some):
        rung = row % len(space.tpot_targets)
        plans = (
            [int(outcomes.detail[f"plan.{i}"][row, rung]) for i in range(len(space.scenario.workloads))]
            if isinstance(model, FirstOrderModel)
            else []
        )
        out += explain(
            model,
            machine.take(np.array([row])),
            plans,
            [space.tpot_targets[rung]] * len(space.scenario.workloads),
        )
    return out


@pytest.mark.parametrize("name", SPACES)
def test_the_parts_of_every_estimate_sum_to_its_total(name: str, catalog: Catalog) -> None:
    for e in explained(load_space(name), catalog, 40):
        for kind, objective in KINDS.items():
            parts = getattr(e, kind)
            total = (
                e.objectives["bom"] if kind == "costs" and e.target == "mobile" else e.objectives[objective]
            )
            assert sum(parts.values()) == pytest.approx(total, rel=1e-9), (name, kind)
            assert min(parts.values()) >= -1e-12 * total, (name, kind, parts)


def test_every_priced_memory_and_flash_follows_a_trend(catalog: Catalog) -> None:
    for kind, field in (("memory", "price_per_byte"), ("flash", "price_per_byte.tlc")):
        for name, entry in catalog.entries[kind].items():
            priced = entry.values[field].nominal > 0 and "follows no trend" not in entry.values[field].note
            assert ("price_trend" in entry.attributes) == ("price_year" in entry.values) == priced, (
                kind,
                name,
            )
            if priced:
                year = entry.values["price_year"].nominal
                assert price_factor(catalog, kind, name, year) == pytest.approx(1.0)


def test_prices_follow_the_year(catalog: Catalog) -> None:
    """Straight on a log axis between the years that are stated, flat outside; HBM3E by its own data from 2025 to 2026."""
    assert level(catalog, "hbm", 2029) == pytest.approx((1.1 * 0.75) ** 0.5)
    assert level(catalog, "hbm", 2050) == level(catalog, "hbm", 2032)
    assert price_factor(catalog, "memory", "hbm3", 2030) == 1.0  # no longer quoted: the price of its own time
    assert 12.3 * price_factor(catalog, "memory", "hbm3e", 2025) == pytest.approx(10.3, rel=0.01)
    assert 0.25 * price_factor(catalog, "flash", "ufs4", 2024) == pytest.approx(0.09, rel=0.25)


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(1.0, 3.0))
def test_dearer_memory_never_costs_less(factor: float, catalog: Catalog) -> None:
    space = load_space("datacenter")
    trend = catalog.entry("price_trend", "hbm").values["factor.2030"].nominal
    dear = catalog.replace("price_trend", "hbm", "factor.2030", trend * factor)
    design = sample(space, 50, np.random.default_rng(1))
    capital = [FirstOrderModel(space, c, 1).machine(design).ownership.capital for c in (catalog, dear)]
    assert (capital[1] >= capital[0] * (1 - 1e-12)).all()


def test_an_annuity_pays_back(catalog: Catalog) -> None:
    """Without interest it is straight-line; with 7 % over five years 0.2439 a year; what it pays is worth its price."""
    del catalog
    price, year = np.array([1000.0]), cost.YEAR
    assert cost.capital_charge(price, 4 * year, 0.0)[0] * year == pytest.approx(250.0)
    yearly = cost.capital_charge(price, 5 * year, 0.07)[0] * year
    assert yearly == pytest.approx(243.89, rel=1e-4)
    assert sum(yearly / 1.07**k for k in range(1, 6)) == pytest.approx(1000.0)


def test_the_gross_margin_is_one_line(datacenter: Space, catalog: Catalog) -> None:
    """Without it only that line and what is taken of it (spares) go; the bill of materials stays."""
    design = sample(datacenter, 20, np.random.default_rng(5))
    m, free = (
        FirstOrderModel(datacenter, c, 1).machine(design)
        for c in (catalog, catalog.replace("economics", "datacenter", "gross_margin", 0.0))
    )
    assert free.ownership.bill_of_materials == pytest.approx(m.ownership.bill_of_materials)
    assert np.abs(free.lines.cost[CostLine.GROSS_MARGIN]).max() == 0.0
    spares = catalog.value("economics", "datacenter", "spares")
    assert m.ownership.capital - free.ownership.capital == pytest.approx(
        m.lines.cost[CostLine.GROSS_MARGIN] * (1.0 + spares)
    )
    assert m.lines.cost[CostLine.GROSS_MARGIN] == pytest.approx(
        1.5
        * (m.ownership.bill_of_materials + m.lines.cost[CostLine.SWITCHES] + m.lines.cost[CostLine.CABLES])
    )


def test_money_of_two_bases_is_never_compared() -> None:
    parts, price = Money(3000.0, Basis.MATERIALS, "ours"), Money(28000.0, Basis.PAID, "H100")
    with pytest.raises(DataError, match="bring both to one basis"):
        Comparison(parts, price)
    ours = paid(parts, 0.6, 500.0)
    assert ours.amount == pytest.approx(8000.0)
    assert Comparison(price, ours).ratio == pytest.approx(3.5)
    with pytest.raises(DataError, match="expected a bill of materials"):
        paid(price, 0.6, 0.0)


@pytest.fixture(scope="module")
def some(datacenter: Space, model: FirstOrderModel) -> tuple[FirstOrderModel, int, int]:
    """A model, a row of its sampled designs and the operating point at which it is cheapest."""
    outcomes = model.evaluate(sample(datacenter, 800, np.random.default_rng(0)))
    point = len(datacenter.tpot_targets) - 2
    price = np.where(outcomes.feasible[:, point], outcomes.objectives["cost_per_mtoken"][:, point], np.inf)
    return model, int(np.argmin(price)), point


def test_a_part_of_ones_own_breaks_even_where_it_says(
    some: tuple[FirstOrderModel, int, int], datacenter: Space
) -> None:
    """Searched with that volume and the same margin, the own part costs as much as the one on sale."""
    model, row, point = some
    machine = model.machine(sample(datacenter, 800, np.random.default_rng(0)).take(np.array([row])))
    margin = model.catalog.value("economics", "datacenter", "gross_margin")
    other = best_on_sale(model, point)
    b = break_even(model, machine, point, margin=margin, other=other)
    assert b is not None
    assert 0 < b.packages < NEVER
    numbers = {**datacenter.scenario.numbers, "volume": b.packages}
    there = FirstOrderModel(
        replace(datacenter, scenario=replace(datacenter.scenario, numbers=numbers)), model.catalog, 1
    )
    outcomes = there.judge(
        there.machine(sample(datacenter, 800, np.random.default_rng(0)).take(np.array([row])))
    )
    assert outcomes.objectives["cost_per_mtoken"][0, point] == pytest.approx(b.bought.amount, rel=1e-6)
    assert break_even(model, machine, point, margin=0.0, other=other).packages < b.packages  # type: ignore[union-attr]
    assert b.bought.basis is b.made.basis is Basis.OWNED


def test_only_what_is_on_sale_is_bought(some: tuple[FirstOrderModel, int, int], catalog: Catalog) -> None:
    model, _, point = some
    found = best_on_sale(model, point)
    assert found is not None
    assert catalog.entry("device", found[0]).readiness == "shipping"
    for name in on_sale(model):  # none of them, with a list price or not, serves the point for less
        machine = at_price(model.devices([name]), price_of(model, name), catalog, model.space.scenario)
        outcomes = model.judge(machine)
        if outcomes.feasible[0, point]:
            assert found[1].amount <= outcomes.objectives["cost_per_mtoken"][0, point] * (1 + 1e-12)
    assert any("market_price" not in catalog.entry("device", n).values for n in on_sale(model))
    early = replace(
        model.space,
        scenario=replace(model.space.scenario, numbers={**model.space.scenario.numbers, "year": 2021.0}),
    )
    assert best_on_sale(FirstOrderModel(early, catalog, 1), point) is None


def served(**changes: object) -> Evaluation:
    asked = {
        "device": "h100_sxm",
        "llm": "Llama-3.1-70B",
        "batch": 32,
        "tensor_parallel": 4,
        "input_tokens": 1024,
        "output_tokens": 1024,
    }
    return evaluate(load_space("datacenter"), **{**asked, **changes})  # type: ignore[arg-type]


def test_a_site_is_its_tokens_times_their_price() -> None:
    e = served()
    year = cost.YEAR
    tokens = e.site["output tokens/s, mean"].value
    assert e.site["cost a year"].value == pytest.approx(
        e.objectives["cost_per_mtoken"] * 1e-6 * tokens * year
    )
    kg = e.site["embodied carbon a year"].value + e.site["operational carbon a year"].value
    assert kg == pytest.approx(e.objectives["carbon_per_mtoken"] * 1e-6 * tokens * year, rel=1e-9)
    assert e.site["power drawn, mean"].value == pytest.approx(e.objectives["energy_per_token"] * tokens)
    assert e.site["power drawn, mean"].value < e.site["power provisioned"].value
    half = within([e.site], e.site["power provisioned"].value / 2)
    assert half == pytest.approx(e.site["output tokens/s, all demand at once"].value / 2)
    assert together([e.site, e.site])["racks"].value == pytest.approx(2 * e.site["racks"].value)


def test_eight_times_the_demand_takes_eight_times_the_site(catalog: Catalog) -> None:
    """But for the domains that are bought whole."""
    space = load_space("datacenter")
    loads = tuple(replace(w, concurrency=8 * w.concurrency) for w in space.scenario.workloads)
    large = replace(space, scenario=replace(space.scenario, workloads=loads))
    models = [FirstOrderModel(s, catalog, 1) for s in (space, large)]
    outcomes = models[0].judge(models[0].devices(["h200_sxm"]))
    plans = [int(outcomes.detail[f"plan.{i}"][0, -1]) for i in range(2)]
    one, eight = (
        together([e.site for e in explain(m, m.devices(["h200_sxm"]), plans, [1.0, 1.0])]) for m in models
    )
    for what in (
        "packages",
        "racks",
        "capital",
        "cost a year",
        "operational carbon a year",
        "output tokens/s, mean",
    ):
        assert eight[what].value == pytest.approx(8 * one[what].value, rel=0.03), what


def test_a_request_costs_the_same_however_its_prompt_is_charged() -> None:
    """Input tokens and output tokens at their own prices: together what the output tokens bear alone."""
    for inputs, outputs in ((1024, 1024), (8192, 256)):
        e = served(input_tokens=inputs, output_tokens=outputs)
        apart = (
            inputs * e.figures["USD per million input tokens"].value
            + outputs * e.figures["USD per million output tokens, without its prompt"].value
        )
        assert apart == pytest.approx(outputs * e.objectives["cost_per_mtoken"])
        assert (
            0
            < e.figures["USD per million input tokens"].value
            < e.figures["USD per million output tokens, without its prompt"].value
        )


def test_power_stays_within_its_limits_and_idle_falls_with_use(datacenter: Space, catalog: Catalog) -> None:
    for e in explained(datacenter, catalog, 30):
        if max(e.limits["static_heat"], e.limits["rack_power"]) <= 1.0:
            limit = e.figures["package power limit"].value * (1 + 1e-9)
            assert e.figures["package power, decode"].value <= limit
            assert e.figures["package power, prefill"].value <= limit
            assert e.figures["rack power"].value <= e.figures["rack power limit"].value * (1 + 1e-9)
    busy = replace(
        datacenter,
        scenario=replace(datacenter.scenario, numbers={**datacenter.scenario.numbers, "utilisation": 0.95}),
    )
    half, full = (
        evaluate(s, device="h100_sxm", llm="Llama-3.1-70B", batch=32, tensor_parallel=4)
        for s in (datacenter, busy)
    )
    assert (
        full.figures["share of energy spent idle"].value
        < half.figures["share of energy spent idle"].value
        < 0.5
    )


def test_carbon_follows_the_grid_and_the_fab(catalog: Catalog) -> None:
    """Operational by the scenario's grid, embodied untouched by it; the fab's own grid moves the dies."""
    space = load_space("datacenter")
    clean = replace(space, scenario=replace(space.scenario, electricity_grid="iceland"))
    usa, iceland = (
        evaluate(s, device="h100_sxm", llm="Llama-3.1-70B", batch=32, tensor_parallel=4)
        for s in (space, clean)
    )
    ratio = catalog.value("grid", "iceland", "intensity") / catalog.value("grid", "usa", "intensity")
    assert iceland.carbons["electricity"] == pytest.approx(ratio * usa.carbons["electricity"])
    assert iceland.carbons["compute dies"] == usa.carbons["compute dies"]
    dark = catalog.replace("grid", "taiwan", "intensity", 2 * catalog.value("grid", "taiwan", "intensity"))
    assert (
        evaluate(
            space, device="h100_sxm", llm="Llama-3.1-70B", batch=32, tensor_parallel=4, catalog=dark
        ).carbons["compute dies"]
        > usa.carbons["compute dies"]
    )


def test_wafer_waste_is_what_dies_leave() -> None:
    """Dies and waste together are the wafer."""
    area, gross = np.array([5e-4]), np.array([112.0])
    waste = carbon.wafer_waste(area, gross, 0.3)
    assert gross * (area + waste) == pytest.approx(np.pi * 0.15**2)


def test_every_comparison_of_a_recommendation_stands_on_one_basis(
    searched: Callable[[str], Path], catalog: Catalog
) -> None:
    """Both sides of every comparison that the documents make, datacenter and phone."""
    for name in ("datacenter", "mobile"):
        content = json.loads(recommendation_json(gather(*load_run(searched(name)), catalog)))
        assert content["comparisons"], name
        for this, other in content["comparisons"]:
            assert this["basis"] == other["basis"], (this, other)
        for b in content["break_even"]:
            assert b["bought"]["basis"] == b["made"]["basis"] == Basis.OWNED.value


def test_a_site_of_a_phone_is_none(mobile: Space, catalog: Catalog) -> None:
    assert isinstance(model_of(mobile, catalog), FirstOrderModel)
    e = evaluate(mobile, device="iphone_16_pro")
    assert e.site == {}
