"""What every entry of a registry and every kind of file must keep, so that a new one is held to it unasked."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest

from dse.catalog.catalog import Catalog, load_catalog
from dse.catalog.schema import KINDS
from dse.core.units import unit
from dse.evaluator.figures import FigureName
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.loading import OURS
from dse.evaluator.site import SiteFigure
from dse.evaluator.testing import EvaluatorContract
from dse.hardware.assemble import FORMS
from dse.physics import topology
from dse.space.design import decode, encode, sample
from dse.space.limits import Limit, limit_sentence
from dse.space.objectives import OBJECTIVES
from dse.space.overrides import load_space
from dse.space.reader import shipped_spaces
from dse.space.space import Space
from dse.space.targets import TARGETS
from dse.study.samplers import SAMPLERS
from dse.study.search import Search, Stopping

SPACES = sorted(p.name.removesuffix(".toml") for p in shipped_spaces())


@pytest.mark.parametrize("name", SPACES)
class TestSpaces:
    """Every shipped space."""

    def test_its_designs_are_judged_in_finite_positive_numbers(self, name: str, catalog: Catalog) -> None:
        space = load_space(name)
        outcomes = FirstOrderModel(space, catalog).evaluate(sample(space, 60, np.random.default_rng(3)))
        for objective in space.objectives:
            values = outcomes.objectives[objective]
            assert values.shape == (60, len(space.operating_points))
            assert np.isfinite(values).all()
            assert (values > 0).all()
        for ratio in outcomes.limit_ratios.values():
            assert np.isfinite(ratio).all()
            assert (ratio >= 0).all()

    def test_a_design_survives_decoding_and_encoding(self, name: str) -> None:
        space = load_space(name)
        design = sample(space, 20, np.random.default_rng(4))
        again = encode(space, [decode(space, design, i) for i in range(20)])
        assert again.row_keys() == design.row_keys()

    def test_its_baselines_and_levers_exist(self, name: str, catalog: Catalog) -> None:
        space = load_space(name)
        for baseline in space.baselines:
            assert catalog.entry("device", baseline.device).attributes.get("target") == space.target.name
        for lever in space.levers:
            assert space.without(lever).variables


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_a_form_objectives_and_limits(target: str) -> None:
    row = TARGETS[target]
    assert target in FORMS
    assert set(row.objectives) <= set(OBJECTIVES)
    assert set(row.required_thresholds) <= set(row.thresholds)
    for name in row.thresholds:
        assert unit(row.threshold_unit(name)) is not None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_searches_and_repeats_itself(sampler: str, mobile: Space, catalog: Catalog) -> None:
    fronts = []
    for _ in range(2):
        search = Search(mobile, OURS, catalog, sampler=sampler, seed=5, trials=60)
        search.run(Stopping(converged=False, trials=60), lambda: False)
        assert search.evaluated == 60
        fronts.append(search.common.front(0).points)
    assert np.array_equal(fronts[0], fronts[1])


@pytest.mark.parametrize("limit", list(Limit))
def test_every_limit_says_why_a_design_loses(limit: Limit) -> None:
    assert len(limit_sentence(limit)) > 10
    assert unit(limit.unit) is not None


@pytest.mark.parametrize("name", [*FigureName, *SiteFigure])
def test_every_figure_has_a_unit(name: FigureName | SiteFigure) -> None:
    assert unit(name.unit) is not None


@pytest.mark.parametrize("kind", KINDS)
class TestKinds:
    """Every kind of catalogue file."""

    def test_its_fields_have_a_unit_and_a_meaning(self, kind: str) -> None:
        for name, field in KINDS[kind].fields.items():
            assert unit(field.unit) is not None, name
            assert len(field.description) > 4, name

    def test_its_columns_follow_its_entries(self, kind: str, catalog: Catalog) -> None:
        """take() gathers what value() reads, 0 for an absent part; table() holds every number."""
        names = catalog.names(kind)
        table = catalog.table(kind)
        for path in {p for n in names for p in catalog.entry(kind, n).values}:
            have = [i for i, n in enumerate(names) if path in catalog.entry(kind, n).values]
            codes = np.array([*have, -1])
            taken = catalog.take(kind, codes, path)
            assert taken.tolist() == [*(catalog.value(kind, names[i], path) for i in have), 0.0]
            for i in have:
                assert table.loc[(names[i], path), "nominal"] == catalog.value(kind, names[i], path)


@pytest.mark.parametrize("name", load_catalog().names("topology"))
def test_every_topology_grows_and_keeps_its_bounds(name: str, catalog: Catalog) -> None:
    assert catalog.entry("topology", name).title
    shapes = [topology.shape(name, n) for n in (4, 16, 64) if topology.admits(name, n)]
    for small, large in pairwise(shapes):
        assert large.diameter >= small.diameter  # mean hops may fall: a Clos has two leaves at the least
    for shape in shapes:
        assert 0 < shape.mean_hops <= shape.diameter


def test_records_of_a_machine_take_and_join(datacenter: Space, catalog: Catalog) -> None:
    """Rows taken from a machine are those rows, and joined machines are their rows."""
    model = FirstOrderModel(datacenter, catalog)
    machine = model.machine(sample(datacenter, 6, np.random.default_rng(6)))
    halves = type(machine).concat([machine.take(np.arange(3)), machine.take(np.arange(3, 6))])
    for record in fields(machine):
        whole, joined = getattr(machine, record.name), getattr(halves, record.name)
        if not isinstance(whole, dict):
            for column in fields(whole):
                a, b = getattr(whole, column.name), getattr(joined, column.name)
                if isinstance(a, np.ndarray):
                    assert np.array_equal(a, b), (record.name, column.name)


class TestFirstOrderOnAPhone(EvaluatorContract):
    """Our model keeps the evaluator's contract on devices too."""

    def space(self) -> Space:
        return load_space("mobile")
