"""Published measurements beside our prediction: prints n, MAPE, median and bias; bounds stated in the README.

Nothing here is fitted: the stacks' factors are those of the catalogue.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from dse.catalog import Catalog
from dse.measured import beside, rows

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(scope="module")
def ratios(request: pytest.FixtureRequest) -> dict[str, list[float]]:
    catalog: Catalog = request.getfixturevalue("catalog")
    found: dict[str, list[float]] = defaultdict(list)
    for device in ("h100_sxm", "h200_sxm"):
        for row in rows(device)[::3]:
            made = beside(row, "datacenter", catalog)
            if "ratio" in made:
                found[device].append(made["ratio"])
                found[row.software].append(made["ratio"])
    return found


def test_served_tokens_of_h100_and_h200(ratios: dict[str, list[float]], capsys: pytest.CaptureFixture[str]) -> None:
    stated = re.search(r"median error (\d+) %", README.read_text())
    assert stated is not None
    both = np.array(ratios["h100_sxm"] + ratios["h200_sxm"])
    with capsys.disabled():
        print()
        for name, values in {**ratios, "all": both.tolist()}.items():
            error = np.abs(np.array(values) - 1)
            print(
                f"{name:9s} n {len(values):4d}  TPOT MAPE {100 * error.mean():5.1f} %  median {100 * np.median(error):5.1f} %  bias {100 * (np.median(values) - 1):+5.1f} %"
            )
    assert len(both) > 300
    assert 100 * np.median(np.abs(both - 1)) <= float(stated.group(1))


def test_an_ideal_stack_is_faster_than_any_measurement_allows(catalog: Catalog) -> None:
    """The speed of light lies below nine measured rows in ten (the rest skip work by caching)."""
    from dse import evaluate

    below = []
    for row in rows("h100_sxm", "Llama-3.1-70B")[::4]:
        ideal = evaluate("datacenter", device="h100_sxm", llm=row.llm, batch=row.batch, tensor_parallel=row.tensor_parallel,
                         input_tokens=row.input_tokens, output_tokens=row.output_tokens, weight_bits=8, kv_bits=8, software="ideal", catalog=catalog)  # fmt: skip
        below.append(ideal.tpot < row.tpot)
    assert np.mean(below) > 0.9
