"""How far to believe a search, in one command.

Run: python -m tests.bench.search [--sections spaces grids ...] [--spaces ...] [--seeds 11] [--out FILE] [--keep DIR].

``spaces``: every space, many seeds, the default settings, against a reference: the union of those searches, of one with
another seed at ten times the designs, and with --others SECONDS of every other method for so long; the share of its
hypervolume that each of the latter brought alone is stated. One row a space: designs, seconds, share of the hypervolume of the reference (median, worst), factor within which 95 % of its
boxes are reached (median, worst) and the largest, points over 1 % worse in every objective, how often a search that
said it had converged was off by over 2 % or had under 99 % of the hypervolume, the spread of levels' shares on the
front, and of what levers are worth. What was searched is kept in --keep: a benchmark that was stopped goes on.

The other sections are in ``methods.py``: exact grids, niches beside separate searches, other methods at equal designs
and equal times (pymoo is needed), the search without each of its parts, costs in time and memory, textbook problems,
and searches killed at random moments.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np

from dse.catalog.catalog import load_catalog
from dse.core.pareto import ParetoArchive, worst_factors
from dse.core.units import FloatArray
from dse.evaluator.loading import OURS
from dse.space.overrides import load_space
from dse.space.space import Space
from dse.study.convergence import beyond, boxes, volume
from dse.study.search import Search, Stopping
from dse.study.worth import study_of
from tests.bench.methods import METHODS, SECTIONS, section

SPACES = (
    "mobile",
    "xr",
    "laptop",
    "vehicle",
    "datacenter",
    "hbf",
    "stacking",
    "pnm",
    "interconnect",
    "prices",
)

TIMES = 10
"""of a default search's designs: the reference"""

REFERENCE_SEED = 9001
"""no seed of the searches that are compared"""

MATTERS = 0.01

NEVER_ENDING = 10**7
"""designs of a method that ends by time"""


def searched(space: Space, seed: int, trials: int | None = None) -> tuple[Search, float]:
    """A search and its seconds, the model lowered and compiled before."""
    job = Search(space, OURS, load_catalog(), seed=seed, trials=trials)
    start = time.perf_counter()
    job.run(Stopping(converged=trials is None, trials=trials), lambda: False)
    return job, time.perf_counter() - start


def levels_on_front(job: Search) -> dict[str, float]:
    """Share of the front's points at each level of the levers' variables."""
    front = job.common.front(0)
    codes = job.common.codes(front.owners)
    present = job.genome.repair(codes)
    out: dict[str, float] = {}
    for name in job.space.target.locked_levels:
        if name not in job.genome.index:
            continue
        i = job.genome.index[name]
        for k, choice in enumerate(job.genome.genes[i].variable.choices):
            out[f"{name}={choice}"] = float(np.mean(present[:, i] & (codes[:, i] == k)))
    return out


def spread(values: list[float | None]) -> float | None:
    """Largest less smallest of what is known."""
    known = [v for v in values if v is not None]
    return max(known) - min(known) if known else None


def kept_run(keep: Path, name: str, seed: int, trials: int | None = None) -> dict[str, Any]:
    """What a search found and said, run once: a benchmark that was stopped goes on where it was."""
    path = keep / (f"{name}-{seed}.pickle" if trials is None else f"{name}-{seed}-{trials}.pickle")
    if not path.exists():
        space = load_space(name)
        searched(space, 1, 400)  # compiles
        job, seconds = searched(space, seed, trials)
        found = {
            "points": job.common.front(0).points,
            "designs": job.evaluated,
            "seconds": seconds,
            "said": job.seeds[0].agreements[-1],
            "levels": levels_on_front(job),
            "levers": study_of(job)["levers"] if trials is None else {},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(found))
    kept: dict[str, Any] = pickle.loads(path.read_bytes())  # noqa: S301 - written above
    return kept


def others(keep: Path, name: str, seconds: float) -> dict[str, FloatArray]:
    """Fronts of every other method after so many seconds."""
    out = {}
    for method, run in METHODS.items():
        if method == "auto":
            continue
        path = keep / f"{name}-{method}-{seconds:g}s.pickle"
        if not path.exists():
            points, designs = run(load_space(name), REFERENCE_SEED, NEVER_ENDING, seconds)
            path.write_bytes(pickle.dumps((points, designs)))
        out[method] = pickle.loads(path.read_bytes())[0]  # noqa: S301 - written above
    return out


def one_space(name: str, seeds: int, keep: Path, seconds: float) -> dict[str, Any]:
    """The row of a space."""
    runs = [kept_run(keep, name, seed) for seed in range(1, seeds + 1)]
    fronts = [r["points"] for r in runs]
    most = TIMES * int(np.median([r["designs"] for r in runs]))
    best = kept_run(keep, name, REFERENCE_SEED, most)
    alone = best["points"]
    theirs = others(keep, name, seconds) if seconds else {}
    union = ParetoArchive(alone.shape[1])
    for points in (alone, *theirs.values(), *fronts):
        index = np.zeros(len(points), dtype=np.int64)
        union.insert(points.copy(), index, index)
    reference = beyond(union.points)
    whole = volume(union.points, reference)
    shares = [r["levels"] for r in runs]
    studies = [r["levers"] for r in runs]
    return {
        "space": name,
        "runs": [against(r, union.points, reference) for r in runs],
        "reference": {
            "designs": best["designs"],
            "seconds": best["seconds"],
            "alone": volume(alone, reference) / whole,
            "others": {method: volume(points, reference) / whole for method, points in theirs.items()},
        },
        "levels": {k: spread([s[k] for s in shares]) for k in shares[0]},
        "levers": {
            k: {
                "kept": [s[k]["hypervolume"] for s in studies],
                "spread": spread([s[k]["hypervolume"] for s in studies]),
                "drift": max(abs(x) for s in studies for x in s[k]["hypervolume_drift"] or [0.0]),
                "mean spread": spread([s[k]["mean"] for s in studies]),
            }
            for k in studies[0]
        },
    }


def against(run: dict[str, Any], union: FloatArray, reference: FloatArray) -> dict[str, Any]:
    """One search beside the reference."""
    points, said = run["points"], run["said"]
    off = worst_factors(points, boxes(union)) - 1.0
    beaten = worst_factors(union, points) < 1 / (1 + MATTERS)
    return {
        "designs": run["designs"],
        "seconds": run["seconds"],
        "hypervolume": volume(points, reference) / volume(union, reference),
        "within": float(np.quantile(off, 0.95)),
        "largest": float(off.max()),
        "worse in all": float(np.mean(beaten)),
        "points": len(points),
        "said": {"converged": said.converged, "within": said.within, "hypervolume": said.hypervolume},
    }


def line(row: dict[str, Any]) -> str:
    """A row for a person."""
    runs = row["runs"]

    def each(key: str) -> FloatArray:
        return np.array([r[key] for r in runs])

    done = [r for r in runs if r["said"]["converged"]]
    wrong = sum(r["within"] > 0.02 or r["hypervolume"] < 0.99 for r in done)
    levers = ", ".join(
        f"{k} {100 * v['spread']:.2f}/{100 * v['drift']:.2f}" for k, v in row["levers"].items()
    )
    return (
        f"{row['space']:12s} designs {int(np.median(each('designs'))):>8,} s {np.median(each('seconds')):5.1f} (most "
        f"{each('seconds').max():5.1f})  HV {100 * np.median(each('hypervolume')):.2f} worst {100 * each('hypervolume').min():.2f} %"
        f"  eps95 {100 * np.median(each('within')):.2f} worst {100 * each('within').max():.2f} largest {100 * each('largest').max():.1f} %"
        f"  worse in all {100 * each('worse in all').max():.1f} %  converged {len(done)} of {len(runs)}, wrong {wrong}"
        f"  levels' spread {100 * max(row['levels'].values()):.1f} %  levers' spread/drift [%]: {levers}"
        f"  reference {row['reference']['designs']:,} designs, alone {100 * row['reference']['alone']:.2f} %"
        + "".join(f", {k} {100 * v:.2f} %" for k, v in row["reference"]["others"].items())
    )


def main() -> None:
    """Every space asked for."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--spaces", nargs="*", default=list(SPACES))
    options.add_argument("--seeds", type=int, default=11)
    every = ["spaces", *SECTIONS]
    options.add_argument("--sections", nargs="*", default=every, choices=every)
    options.add_argument("--out", type=Path)
    options.add_argument(
        "--keep",
        type=Path,
        default=Path(".bench"),
        help="folder of what was searched, by one version of the code: empty it after a change of the search",
    )
    options.add_argument(
        "--others", type=float, default=0.0, help="seconds for each other method, 0 for none"
    )
    asked = options.parse_args()
    for name in asked.sections:
        if name != "spaces":
            section(name, asked.out)
            continue
        rows = []
        for space in asked.spaces:
            rows.append(one_space(space, asked.seeds, asked.keep, asked.others))
            print(line(rows[-1]), flush=True)
            if asked.out:
                kept = json.loads(asked.out.read_text()) if asked.out.exists() else {}
                asked.out.write_text(json.dumps(kept | {"spaces": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
