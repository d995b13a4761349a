"""Published results on flash, PNM and 3D stacks: value, ours, ratio; temperatures of published stacks."""

from __future__ import annotations

import numpy as np
import pytest

from dse.catalog.catalog import Catalog
from tests.validation.evidence import flash, pnm_and_stacks
from tests.validation.evidence.imec import COOLANT, STAGES, Stage, temperatures
from tests.validation.evidence.published_result import PublishedResult, rows

TWO_THIRDS = 2.0 / 3.0


@pytest.fixture(scope="module")
def claims(catalog: Catalog) -> dict[str, PublishedResult]:
    return {c.id: c for c in [*flash.flash_claims(catalog), *pnm_and_stacks.near_claims(catalog)]}


@pytest.fixture(scope="module")
def asked() -> list[dict[str, str]]:
    """Rows that must be tests: confidence high, for PNM and stacks also medium."""
    return [r for r, _ in rows("results_memory.csv") if r["confidence"] == "high" or r["lever"] != "hbf"]


def test_every_row_with_inputs_is_computed(
    claims: dict[str, PublishedResult], asked: list[dict[str, str]]
) -> None:
    skipped = {**flash.SKIPPED, **pnm_and_stacks.SKIPPED}
    assert {r["id"] for r, _ in rows("results_memory.csv")} == claims.keys() | skipped.keys()
    assert not [r["id"] for r in asked if r["id"] in skipped and r["confidence"] == "high"]


@pytest.mark.parametrize("lever", ["hbf", "pnm", "stack"])
def test_two_thirds_of_the_model_rows_agree(
    lever: str,
    claims: dict[str, PublishedResult],
    asked: list[dict[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with capsys.disabled():
        print()
        for c in claims.values():
            if c.lever == lever:
                print(c.line())
        for row, _ in rows("results_memory.csv"):
            why = {**flash.SKIPPED, **pnm_and_stacks.SKIPPED}.get(row["id"])
            if row["lever"] == lever and why:
                print(f"{row['id']:44s} published {row['published_value']:>8s}  ours not computed: {why}")
    must = {r["id"] for r in asked}
    model = [c for c in claims.values() if c.lever == lever and c.kind == "model"]
    assert np.mean([c.agrees for c in model if c.id in must]) >= TWO_THIRDS
    assert np.mean([c.agrees for c in model]) >= TWO_THIRDS
    assert all(c.agrees for c in claims.values() if c.lever == lever and c.kind in {"identity", "constant"})


def test_a_claim_that_differs_says_by_which_term(claims: dict[str, PublishedResult]) -> None:
    differing = {c.id for c in claims.values() if not c.agrees}
    assert differing == {**flash.DIFFERS, **pnm_and_stacks.DIFFERS}.keys()
    assert all(c.differs for c in claims.values() if not c.agrees)


@pytest.mark.parametrize(
    "order",
    [
        # Son et al., Fig. 4, Llama-3-405B on 8 GPUs
        ("son-tps-hbm4-8g-l3-short", "son-tps-hbfplus-8g-l3-short", "son-tps-hbf-8g-l3-short", "son-tps-conv-8g-l3-short"),
        ("son-tps-hbm4-8g-l3-mid", "son-tps-hbf-8g-l3-mid", "son-tps-conv-8g-l3-mid"),
        ("son-tps-hbf-8g-l3-long", "son-tps-hbm4-8g-l3-long", "son-tps-conv-8g-l3-long"),
        ("son-slo-hbfplus-l3-offline", "son-slo-hbfplus-l3-0p2", "son-slo-hbfplus-l3-0p1"),
        ("son-slo-hbf-l3-offline", "son-slo-hbf-l3-0p05"),
        ("kyung-life-r1-1to3-32k", "kyung-life-r1-1to3-8k", "kyung-life-r1-15to1-32k", "kyung-life-r1-15to1-8k"),
        ("kyung-tpot-r1-hbm-nvlink6-8k-512gb", "kyung-tpot-r1-half-hbf-8k-512gb", "kyung-tpot-r1-hbf-8k-512gb"),
    ],
)  # fmt: skip
def test_published_orders_hold(order: tuple[str, ...], claims: dict[str, PublishedResult]) -> None:
    """Ours falls along an order, and so does what was published."""
    ours = [claims[i].ours for i in order]
    published = [float(claims[i].published) for i in order]
    assert published == sorted(published, reverse=True)
    for before, after in zip(ours, ours[1:], strict=False):
        assert after <= before * 1.01


def test_hbf_plus_beats_hbm4_from_mid_contexts_on(catalog: Catalog) -> None:
    """Son et al.: MID HBF+ > HBM4 > HBF, LONG HBF+ > HBF > HBM4."""
    made = {r["id"]: i for r, i in rows("results_memory.csv")}
    plus = {n: made[f"son-batch-hbfplus-8g-l3-{n}"] for n in ("mid",)}
    plus["long"] = {**plus["mid"], "input_tokens": 103500, "output_tokens": 1100, "workload": "LONG"}
    for length in ("mid", "long"):
        other = [flash._largest(catalog, made[f"son-tps-{m}-8g-l3-{length}"])[1] for m in ("hbm4", "hbf")]
        assert flash._largest(catalog, plus[length])[1] > max(other)


def _rise(catalog: Catalog, stage: Stage) -> float:
    return (temperatures(catalog, stage)[0] - COOLANT) / (stage.published - COOLANT)


@pytest.mark.parametrize("stage", STAGES[:-1], ids=lambda s: s.name)
def test_rise_of_imec_stacks_within_15_percent(
    stage: Stage, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    """One set of layer resistances for all; cooling from both sides has a board of unknown thickness and is not asked."""
    ratio = _rise(catalog, stage)
    with capsys.disabled():
        print(
            f"\n{stage.name:28s} published {stage.published:6.1f} degC, rise ours over published {ratio:.3f}"
        )
    assert ratio == pytest.approx(1.0, abs=0.15)


def test_imec_measures_never_heat_the_gpu(catalog: Catalog) -> None:
    found = [temperatures(catalog, s)[0] for s in STAGES[1:]]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("name", "replicated"), [("3D", 120.8), ("3D, base die removed", 121.0), ("3D, stacks merged", 111.1),
                                                  ("3D, top die thinned", 109.8), ("3D, half clock", 90.9), ("3D, thermal silicon", 83.5)])  # fmt: skip
def test_rise_of_the_lowest_dram_die(name: str, replicated: float, catalog: Catalog) -> None:
    """Of an independent replication of the same stages."""
    stage = next(s for s in STAGES if s.name == name)
    assert (temperatures(catalog, stage)[1] - COOLANT) / (replicated - COOLANT) == pytest.approx(
        1.0, abs=0.15
    )
