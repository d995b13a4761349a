"""Evaluators: the protocol, the two models, and one point asked about in full."""

from __future__ import annotations

from dse.catalog.catalog import Catalog
from dse.evaluator.datacenter import DatacenterModel
from dse.evaluator.mobile import MobileModel
from dse.evaluator.protocol import Evaluator, Told
from dse.space.space import Space

__all__ = ["DatacenterModel", "Evaluator", "MobileModel", "Told", "model_of"]


def model_of(space: Space, catalog: Catalog, threads: int = 2) -> DatacenterModel | MobileModel:
    """Return our model for the target of a space."""
    if space.target == "mobile":
        return MobileModel(space, catalog, threads)
    return DatacenterModel(space, catalog, threads)
