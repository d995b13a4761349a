"""Each sampler's share of the exact hypervolume of a swept grid, at 2,000 and 10,000 designs.

Run: python tests/bench/samplers.py [--out FILE]. The searches are held to the levels of the grid, so that a share
cannot exceed 100 %. TPE costs tens of milliseconds a trial and more as it goes: it is run to 2,000 only.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from dse.catalog.catalog import load_catalog
from dse.evaluator.first_order import model_of
from dse.evaluator.loading import OURS
from dse.run.front import Scale, hypervolume
from dse.space.overrides import load_space
from dse.study.samplers import SAMPLERS
from dse.study.search import Search, Stopping
from dse.study.sweep import sweep

MARKS = (2_000, 10_000)


def share(exact: np.ndarray, found: np.ndarray) -> float:
    """Share of the hypervolume of an exact front, both (m, objectives)."""
    scale = Scale.of(exact)
    return hypervolume(found, scale) / hypervolume(exact, scale)


def main() -> None:
    """Sweep both spaces, then search each with every sampler."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path)
    options.add_argument("--samplers", nargs="*", default=list(SAMPLERS))
    options.add_argument("--spaces", nargs="*", default=["datacenter", "mobile"])
    asked = options.parse_args()
    rows: list[dict[str, Any]] = []
    for name in asked.spaces:
        whole = load_space(name)
        exact = sweep(whole, model_of(whole, load_catalog()))
        print(
            f"{name}: {exact.designs:,} designs swept in {exact.seconds:.0f} s, {exact.feasible:,} feasible, {len(exact.front)} points",
            flush=True,
        )
        held = whole.on_grid()
        for sampler in asked.samplers:
            start = time.perf_counter()
            for mark in MARKS:
                if sampler == "tpe" and mark > MARKS[0]:
                    continue
                search = Search(held, OURS, load_catalog(), sampler=sampler, trials=mark)
                search.run(Stopping(converged=False, trials=mark), lambda: False)
                found = search.common.front(0).points
                row = {
                    "space": name,
                    "sampler": sampler,
                    "trials": mark,
                    "share": share(exact.front.points, found),
                    "seconds": time.perf_counter() - start,
                }
                rows.append(row)
                print(
                    f"{name:11s} {sampler:7s} {mark:6d} trials: {100 * row['share']:5.1f} % of the exact hypervolume, {row['seconds']:6.1f} s",
                    flush=True,
                )
                if asked.out:
                    asked.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
