"""Shared fixtures: the catalogue, the two spaces and their models, warnings as errors in numpy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from dse.catalog.catalog import Catalog, load_catalog
from dse.evaluator.first_order import FirstOrderModel
from dse.space.overrides import load_space
from dse.space.space import Space


@pytest.fixture(autouse=True)
def _strict_arithmetic() -> Iterator[None]:
    with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
        yield


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def datacenter() -> Space:
    return load_space("datacenter")


@pytest.fixture(scope="session")
def mobile() -> Space:
    return load_space("mobile")


@pytest.fixture(scope="session")
def model(datacenter: Space, catalog: Catalog) -> FirstOrderModel:
    return FirstOrderModel(datacenter, catalog, 1)


@pytest.fixture(scope="session")
def phone(mobile: Space, catalog: Catalog) -> FirstOrderModel:
    return FirstOrderModel(mobile, catalog)
