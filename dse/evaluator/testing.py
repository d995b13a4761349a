"""What every evaluator must keep: a test class to inherit, for one's own simulator as for ours.

    class TestMine(EvaluatorContract):
        def source(self) -> str:
            return "mysimulator:Simulator"

pytest collects the methods; nothing here needs it.
"""

from __future__ import annotations

import numpy as np

from dse.catalog.catalog import load_catalog
from dse.evaluator.loading import Factory, evaluator_source
from dse.evaluator.protocol import Evaluator, Outcomes
from dse.space.design import sample
from dse.space.overrides import load_space
from dse.space.space import Space

DESIGNS = 40


class EvaluatorContract:
    """Holds an evaluator to the protocol on random designs of a space."""

    def source(self) -> str | Factory | None:
        """Which evaluator: ``module:name``, a class or function that takes a space, or None for ours."""
        return None

    def space(self) -> Space:
        """The space it is asked about."""
        return load_space("datacenter")

    def _asked(self) -> tuple[Space, Evaluator, Outcomes]:
        space = self.space()
        evaluator = evaluator_source(self.source()).make(space, load_catalog())
        return space, evaluator, evaluator.evaluate(sample(space, DESIGNS, np.random.default_rng(1)))

    def test_says_who_it_is(self) -> None:
        """A run records name and version."""
        _, evaluator, _ = self._asked()
        assert evaluator.name
        assert evaluator.version

    def test_answers_every_objective_at_every_operating_point(self) -> None:
        """Objectives and limit ratios are (designs, operating points), finite, objectives above 0."""
        space, _, outcomes = self._asked()
        shape = (DESIGNS, len(space.operating_points))
        for name in space.objectives:
            assert outcomes.objectives[name].shape == shape
            assert np.isfinite(outcomes.objectives[name]).all()
            assert (outcomes.objectives[name] > 0).all()
        for ratio in outcomes.limit_ratios.values():
            assert ratio.shape == shape
            assert np.isfinite(ratio).all()
        assert outcomes.feasible.shape == shape

    def test_a_design_is_judged_alike_alone_and_among_others(self) -> None:
        """Order and company of designs change nothing, and asking again gives the same."""
        space, evaluator, outcomes = self._asked()
        design = sample(space, DESIGNS, np.random.default_rng(1))
        turned = evaluator.evaluate(design.take(np.arange(DESIGNS)[::-1]))
        alone = evaluator.evaluate(design.take(np.array([0])))
        for name in space.objectives:
            np.testing.assert_allclose(turned.objectives[name][::-1], outcomes.objectives[name], rtol=1e-9)
            np.testing.assert_allclose(alone.objectives[name][0], outcomes.objectives[name][0], rtol=1e-9)
        assert np.array_equal(turned.feasible[::-1], outcomes.feasible)
