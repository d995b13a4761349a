"""Measured rows and their splits, made once."""

from __future__ import annotations

import pytest

from dse.calibration.rows import shipped_rows
from dse.calibration.scores import SPLITS, Rows, Split, measured_rows, split
from dse.catalog.catalog import Catalog


@pytest.fixture(scope="session")
def measured(catalog: Catalog) -> Rows:
    return measured_rows(shipped_rows(), catalog)


@pytest.fixture(scope="session")
def splits(measured: Rows, catalog: Catalog) -> dict[str, Split]:
    return {name: split(measured, catalog, name) for name in SPLITS}
