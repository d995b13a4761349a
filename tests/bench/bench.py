"""Time the search's own evaluation call: pairs and designs per second, ns per pair by batch size.

Run: python tests/bench/bench.py [--out FILE]. Ratios of one run are what counts; the machine is named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from dse.catalog import load_catalog
from dse.design import sample
from dse.evaluator import DatacenterModel
from dse.explore import load_space


def timed(model: DatacenterModel, n: int, repeats: int) -> float:
    """Least seconds of ``repeats`` evaluations of n random designs."""
    design = sample(model.space, n, np.random.default_rng(0))
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        model.evaluate(design)
        best = min(best, time.perf_counter() - start)
    return float(best)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path)
    out = options.parse_args().out
    space, catalog = load_space("datacenter"), load_catalog()
    model = DatacenterModel(space, catalog, 2)
    grid = model.pairs_per_design
    design = sample(space, 20_000, np.random.default_rng(0))
    domain = model.machine(design).domain
    admissible = float(np.mean([sum(int((p.group <= d).sum()) for p in model.plans) for d in domain])) / grid
    model.evaluate(design)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}"
    )
    print(
        f"full plan grid p = {grid} pairs a design ({len(model.plans[0])} + {len(model.plans[1])}), {100 * admissible:.0f} % of them fit the domain of a random design"
    )
    rows: list[dict[str, Any]] = []
    for n, repeats in ((1, 50), (256, 10), (4096, 4), (100_000, 1)):
        seconds = timed(model, n, repeats)
        rows.append({"n": n, "ns_per_pair": seconds / (n * grid) * 1e9, "pairs_per_second": n * grid / seconds,
                     "admissible_pairs_per_second": n * grid * admissible / seconds, "designs_per_second": n / seconds})  # fmt: skip
        r = rows[-1]
        print(f"n = {n:7d}: {r['ns_per_pair']:9.0f} ns a pair, {r['pairs_per_second'] / 1e6:6.2f} M pairs/s, "
              f"{r['admissible_pairs_per_second'] / 1e6:6.2f} M admissible pairs/s, {r['designs_per_second']:9.0f} designs/s")  # fmt: skip
    if out:
        out.write_text(json.dumps({"p": grid, "admissible": admissible, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
