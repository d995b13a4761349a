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

from dse.catalog.catalog import load_catalog
from dse.evaluator.first_order import FirstOrderModel
from dse.space.design import sample
from dse.space.overrides import load_space


def timed(model: FirstOrderModel, n: int, repeats: int) -> float:
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
    model = FirstOrderModel(space, catalog, 2)
    plain = model.pairs_per_design
    machine = model.machine(sample(space, 20_000, np.random.default_rng(0)))
    tiers, near = machine.flash.capacity + machine.far.capacity > 0, machine.pnm.site > 0

    def pairs(below: bool, engine: bool) -> int:
        return sum(int(model.admitted(p, tiers=below, near=engine).sum()) for p in model.plans)

    full = pairs(True, True)
    kinds = {(b, e): pairs(b, e) for b in (False, True) for e in (False, True)}
    grid = float(np.mean([kinds[bool(b), bool(e)] for b, e in zip(tiers, near, strict=True)]))
    design = sample(space, 20_000, np.random.default_rng(1))
    model.evaluate(design)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}"
    )
    print(
        f"full plan grid p = {plain} pairs of a design and a plan, {full} with memory below the fast one and PNM, "
        f"mean {grid:.0f} over random designs"
    )
    rows: list[dict[str, Any]] = []
    for n, repeats in ((1, 50), (256, 10), (4096, 4), (100_000, 1)):
        seconds = timed(model, n, repeats)
        rows.append({"n": n, "ns_per_pair": seconds / (n * grid) * 1e9, "pairs_per_second": n * grid / seconds,
                     "designs_per_second": n / seconds})  # fmt: skip
        r = rows[-1]
        print(f"n = {n:7d}: {r['ns_per_pair']:9.0f} ns a pair, {r['pairs_per_second'] / 1e6:6.2f} M pairs/s, "
              f"{r['designs_per_second']:9.0f} designs/s")  # fmt: skip
    if out:
        out.write_text(json.dumps({"p": grid, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
