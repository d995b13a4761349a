"""Public configurations beside counts that come from elsewhere: read right, or refused by name."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from dse.catalog.hf_families import alike, families, family_of_class
from dse.catalog.hf_import import import_llm
from dse.catalog.transformer import transformer
from dse.core.errors import DataError

TABLE = Path(__file__).with_name("public_configurations.csv")


def rows() -> list[dict[str, str]]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", [r for r in rows() if r["outcome"] == "read"], ids=lambda r: r["name"])
def test_a_public_configuration_comes_to_its_stated_counts(row: dict[str, str], tmp_path: Path) -> None:
    """Parameters within 1 % (rounded statements), those of a token within 5 %, caches exactly."""
    (tmp_path / "config.json").write_text(row["config"])
    made = import_llm(tmp_path / "config.json", "x")
    t = transformer(made.entry)
    assert not made.unverified
    assert t.parameters == pytest.approx(float(row["parameters"]), rel=0.01)
    if row["active_parameters"]:
        assert t.active == pytest.approx(float(row["active_parameters"]), rel=0.05)
    if row["kv_bytes_per_token_16bit"]:
        assert t.kv_bytes_per_token(16) == float(row["kv_bytes_per_token_16bit"])


def test_classes_that_are_built_are_of_the_family_that_is_named() -> None:
    """A file's ``architectures`` that is of another family is refused: never that of its own class."""
    known, compared = families(), 0
    for row in rows():
        built = re.search(r"built without weights: (\w+)", row["stated_by"])
        mine = known.get(json.loads(row["config"])["model_type"])
        other = family_of_class(built[1]) if built else None
        if mine is None or other is None or row["name"] == "internlm3":  # read with the class of Llama
            continue
        assert alike(mine, other), row["name"]
        compared += 1
    assert compared > 100


@pytest.mark.parametrize("row", [r for r in rows() if r["outcome"] == "refused"], ids=lambda r: r["name"])
def test_a_family_that_is_not_modelled_is_refused_by_name(row: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(row["config"])
    with pytest.raises(DataError, match=r"config\.json: \w+"):
        import_llm(tmp_path / "config.json", "x")


def test_enough_families_of_enough_places() -> None:
    read = [r for r in rows() if r["outcome"] == "read"]
    assert len(read) >= 60
    assert len({r["family"] for r in read}) >= 45
    assert all(r["place"] and r["stated_by"] and json.loads(r["config"]) for r in read)
