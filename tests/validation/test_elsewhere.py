"""Phones, laptops, edge boards, A100 kernels and published system results beside ours."""

from __future__ import annotations

import numpy as np
import pytest

from dse.catalog.catalog import Catalog
from tests.validation.evidence.a100_kernels import kernel_rows
from tests.validation.evidence.edge_devices import edge_rows
from tests.validation.evidence.systems import system_claims


def test_phones_laptops_and_edge_boards_decode_within_20_percent(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [e for e in edge_rows(catalog) if e.on_edge and e.metric == "decode"]
    error = float(np.mean([abs(e.ratio - 1) for e in rows]))
    with capsys.disabled():
        print(f"\nedge decode: n {len(rows)}, MAPE {100 * error:.1f} %")
    assert len(rows) >= 20
    assert error <= 0.20


def test_joules_per_token_on_jetson_within_30_percent(catalog: Catalog) -> None:
    rows = [e for e in edge_rows(catalog) if e.metric == "J/token"]
    assert len(rows) == 3
    assert all(abs(e.ratio - 1) <= 0.30 for e in rows)


@pytest.mark.parametrize("kind", ["GEMM", "decode_layer", "prefill_layer"])
def test_a100_kernels_within_15_percent(
    kind: str, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [k for k in kernel_rows(catalog) if k.name.startswith(kind)]
    error = float(np.mean([abs(k.ratio - 1) for k in rows]))
    with capsys.disabled():
        print(f"\n{kind}: n {len(rows)}, MAPE {100 * error:.1f} %")
    assert len(rows) >= 9
    assert error <= 0.15


def test_published_system_results(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    claims = system_claims(catalog)
    with capsys.disabled():
        print()
        for c in claims:
            print(c.line())
    assert np.mean([c.agrees for c in claims]) >= 2 / 3
    assert all(c.ratio == 1.0 for c in claims if c.kind == "range")
    for c in claims:
        if c.kind == "identity":
            assert c.ratio == pytest.approx(1.0, abs=0.07), c.id
