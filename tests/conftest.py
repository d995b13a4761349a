"""Shared fixtures: the catalogue, the two spaces and their models, warnings as errors in numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from hypothesis import settings

from dse.catalog.catalog import Catalog, load_catalog
from dse.evaluator.first_order import FirstOrderModel
from dse.space.overrides import load_space
from dse.space.space import Space
from dse.study.job import Settings, search

settings.register_profile("dse", deadline=None)  # the first call of a kernel loads or compiles it
settings.load_profile("dse")


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


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """One run of a shipped space, 150 trials with seed 1, made once: the folder is not to be written to."""
    place = tmp_path_factory.mktemp("searched")

    def folder(name: str) -> Path:
        if not (place / name).exists():
            search(load_space(name), place / name, Settings(trials=150), resume=False, command="test")
        return place / name

    return folder


@pytest.fixture
def run_copy(searched: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the searched datacenter run, to resume or to spoil."""
    return Path(copytree(searched("datacenter"), tmp_path / "a"))
