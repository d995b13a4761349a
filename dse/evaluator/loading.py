"""Which evaluator judges a space.

Ours, or a simulator of one's own by ``module:name``, made for a space and checked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.errors import SpaceError
from dse.evaluator.first_order import FirstOrderModel, model_of
from dse.evaluator.nearest_design import nearest_design
from dse.evaluator.protocol import Evaluator, Outcomes, objective_ratio
from dse.space.design import Design
from dse.space.limits import Limit
from dse.space.objectives import Goal
from dse.space.space import Space
from dse.space.variables import Value

Factory = Callable[[Space], Evaluator]
"""what makes an evaluator for a space: a class whose constructor takes the space, or a function"""


class CheckedEvaluator:
    """Someone else's evaluator, whose every answer is held to the protocol."""

    def __init__(self, inner: Evaluator, space: Space, source: str) -> None:
        for attribute in ("name", "version", "evaluate"):
            if not hasattr(inner, attribute):
                raise SpaceError(
                    f"--evaluator {source}: has no {attribute}, expected name, version and evaluate(design)"
                )
        self.inner, self.space, self.source = inner, space, source
        self._noted = False
        self.name, self.version = str(inner.name), str(inner.version)
        self.seconds_hint = float(getattr(inner, "seconds_hint", 1.0))

    def evaluate(self, design: Design) -> Outcomes:
        """Judge n designs.

        Raises:
            SpaceError: an objective of the space is missing, not finite, not positive, or of another shape.

        """
        where = f"--evaluator {self.source}"
        try:
            outcomes = self.inner.evaluate(design)
        except Exception as error:
            raise SpaceError(
                f"{where}: failed on {len(design)} designs of {self.space.name}: {error!r}"
            ) from error
        if not isinstance(outcomes, Outcomes):
            raise SpaceError(f"{where}: gave a {type(outcomes).__name__}, expected dse.Outcomes")
        shape = (len(design), len(self.space.operating_points))
        for name in self.space.objectives:
            if name not in outcomes.objectives:
                known = ", ".join(map(str, outcomes.objectives))
                raise SpaceError(f"{where}: gives no objective {str(name)!r}, only {known}")
        kinds = {
            "objective": outcomes.objectives,
            "limit ratio": outcomes.limit_ratios,
            "detail": outcomes.detail,
        }
        for kind, arrays in kinds.items():
            for name, values in arrays.items():
                if np.shape(values) != shape:
                    raise SpaceError(
                        f"{where}: {kind} {str(name)!r} has shape {np.shape(values)}, expected "
                        f"{shape}: (designs, operating points)"
                    )
                if kind != "detail" and not np.isfinite(values).all():
                    raise SpaceError(
                        f"{where}: {kind} {str(name)!r} is not finite; break a limit ratio instead of "
                        "giving infinity"
                    )
                if kind == "limit ratio" and (np.asarray(values) < 0).any():
                    raise SpaceError(f"{where}: limit ratio {str(name)!r} is below 0")
                if kind == "objective" and (np.asarray(values) <= 0).any():
                    raise SpaceError(
                        f"{where}: objective {str(name)!r} is not above 0: the search works on its logarithm"
                    )
        return self._limited(outcomes, where)

    def _limited(self, outcomes: Outcomes, where: str) -> Outcomes:
        """Add the limits that follow from objectives; refuse a run whose ``--limit`` nobody judges."""
        ratios = dict(outcomes.limit_ratios)
        worst = objective_ratio(outcomes.objectives, self.space.thresholds)
        if worst is not None and Limit.OBJECTIVE not in ratios:
            ratios[Limit.OBJECTIVE] = worst
        if Limit.TPOT not in ratios and Goal.TPOT in outcomes.objectives:
            targets = [self.space.tpot_target_at(q) for q in range(len(self.space.operating_points))]
            ratios[Limit.TPOT] = outcomes.objectives[Goal.TPOT] / np.array(targets)
        asked = [n for n in self.space.thresholds if n not in ratios and n not in outcomes.objectives]
        for name in asked:
            if any(change.startswith(f"--limit {name}=") for change in self.space.overrides):
                raise SpaceError(f"{where}: does not judge {str(name)!r}, which --limit sets")
        if asked and not self._noted:
            print(f"dse: note: {where} does not judge the space's limits {', '.join(asked)}", file=sys.stderr)
            self._noted = True
        return Outcomes(outcomes.objectives, ratios, outcomes.detail)


@dataclass(frozen=True)
class EvaluatorSource:
    """Where evaluators come from, so that a run can name it and be judged again by it."""

    source: str
    """``module:name``, "" for our own model"""
    factory: Factory | None = None
    named: bool = False
    """whether it was given by that name, and another process can load it by it"""

    def __reduce__(self) -> tuple[Callable[..., EvaluatorSource], tuple[Any, ...]]:
        """Travel to another process by name where there is one: it looks in its own folder too."""
        return (
            (evaluator_source, (self.source,))
            if self.named
            else (EvaluatorSource, (self.source, self.factory))
        )

    @property
    def ours(self) -> bool:
        """Whether it is our own model."""
        return self.factory is None

    def make(self, space: Space, catalog: Catalog) -> Evaluator:
        """The evaluator of a space; only ours reads the catalogue.

        Raises:
            SpaceError: the factory does not take a space, or what it makes is no evaluator.

        """
        if self.factory is None:
            return model_of(space, catalog)
        try:
            made = self.factory(space)
        except TypeError as error:
            raise SpaceError(
                f"--evaluator {self.source}: cannot be made from a space ({error}); expected a "
                "class or function of one argument"
            ) from error
        return CheckedEvaluator(made, space, self.source)

    def make_as(self, judged_by: str, space: Space, catalog: Catalog) -> Evaluator:
        """The same on a worker: the evaluator of this name and version.

        Raises:
            SpaceError: it is another here than where the work was begun.

        """
        evaluator = self.make(space, catalog)
        made = f"{evaluator.name} {evaluator.version}"
        if made != judged_by:
            raise SpaceError(
                f"--evaluator {self.source}: a worker has {made}, this command {judged_by}; install the same "
                "on both"
            )
        return evaluator

    def nearest_to_baselines(
        self, space: Space, catalog: Catalog, model: Evaluator
    ) -> list[dict[str, Value]]:
        """Designs to try first: those nearest to the baselines, which only our model can build from device
        files.
        """
        if not isinstance(model, FirstOrderModel):
            return []
        return [nearest_design(space, catalog, model, b.device)[0] for b in space.baselines]


OURS = EvaluatorSource("")


def evaluator_source(asked: str | Factory | EvaluatorSource | None) -> EvaluatorSource:
    """Read ``module:name``, or take a class or function that makes an evaluator from a space; None is ours.

    Raises:
        SpaceError: it cannot be imported, or is not called with a space.

    """
    if asked is None or asked == "":
        return OURS
    if isinstance(asked, EvaluatorSource):
        return asked
    if isinstance(asked, str):
        return EvaluatorSource(asked, _imported(asked), named=True)
    if not callable(asked):
        raise SpaceError(
            f"evaluator: got a {type(asked).__name__}, expected a class or function that makes an "
            "evaluator from a "
            "space (a search is repeated in restricted spaces), or 'module:name'"
        )
    named = cast("Any", asked)
    return EvaluatorSource(
        f"{named.__module__}:{getattr(named, '__qualname__', type(named).__qualname__)}", asked
    )


def _imported(text: str) -> Factory:
    module, mark, name = text.partition(":")
    if not mark or not module or not name:
        raise SpaceError(f"--evaluator: got {text!r}, expected module:name, e.g. mysimulator:Simulator")
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")  # a file in the working folder, as python -m would find it
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise SpaceError(
            f"--evaluator {text}: cannot be loaded ({error}); run in its folder, set PYTHONPATH, or "
            "give it with evaluator="
        ) from error
    if not callable(found):
        raise SpaceError(
            f"--evaluator {text}: is a {type(found).__name__}, expected a class or function that "
            "takes a space"
        )
    return cast("Factory", found)
