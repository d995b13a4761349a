"""The evidence in the wheel is what working it again gives."""

from __future__ import annotations

from dse.catalog.catalog import Catalog
from dse.run.folder import csv_text
from tests.validation.evidence.__main__ import STORED
from tests.validation.evidence.evidence import evidence


def test_the_shipped_evidence_equals_a_fresh_run(catalog: Catalog) -> None:
    """Where it does not: ``python -m tests.validation.evidence``, and say in the commit what moved."""
    assert csv_text(iter(evidence(catalog).table())) == STORED.read_text(encoding="utf-8")
