"""Certify a run: what is one step from its front, and an exact front beside it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from dse.catalog.catalog import catalog_beside
from dse.cli.console import progress, say, tell, written
from dse.core.errors import OK, InfeasibleError, RunError
from dse.run.folder import read_study, save_study, write_atomically
from dse.run.run import Run
from dse.study.certify import AgainstExact, Neighbourhood, against_exact, neighbourhood
from dse.study.job import load_run, load_sweep
from dse.study.sweep import STATE

CERTIFICATE = "certificate.json"


def certify(options: argparse.Namespace) -> int:
    """Judge the neighbours of a run's front, and compare it with an exact front."""
    run, model = load_run(options.run_folder)
    if not len(run.front):
        raise InfeasibleError(f"{options.run_folder}: no design of the front is feasible with this catalogue")
    exact = _exact(run, options.sweep) if options.sweep else None
    with progress("neighbours") as bar:

        def watch(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        near = neighbourhood(run, model, watch)
    for sentence in sentences(near, exact, len(run.front)):
        say(sentence)
    made = {"neighbours": asdict(near)} | ({"exact": asdict(exact)} if exact else {})
    made |= {"front": {"points": len(run.front), "catalogue": catalog_beside(options.run_folder).digest}}
    write_atomically(options.run_folder / CERTIFICATE, json.dumps(made, indent=1, sort_keys=True) + "\n")
    save_study(options.run_folder, (read_study(options.run_folder) or {}) | {"certificate": made})
    tell(**made)
    written(options.run_folder / CERTIFICATE)
    return OK


def sentences(near: Neighbourhood, exact: AgainstExact | None, front: int) -> list[str]:
    """The certificate for a person."""
    said = [
        (
            f"{near.judged:,} designs are one step from the {near.centres:,} of the front; "
            f"{near.feasible:,} meet every limit, and {near.joined:,} operating points of theirs would "
            f"join the {front:,} there."
        ),
        (
            f"With them, 95 % of the front's 1 % boxes are within {percent(near.within)} of it, all within "
            f"{percent(near.largest)}; {near.better:,} of {near.of:,} boxes are over 1 % away. The front has "
            f"{100 * near.hypervolume:.2f} % of their common hypervolume."
        ),
    ]
    if exact:
        missed = "; ".join(exact.missed[:5]) or "none"
        said.append(
            f"Of the exact front of the grid ({exact.points:,} operating points) the run has "
            f"{100 * exact.hypervolume:.1f} % of the hypervolume, 95 % of its boxes within "
            f"{percent(exact.within)}, all within {percent(exact.largest)}. Combinations of lever levels "
            f"missed: {missed}."
        )
    return said


def percent(factor: float) -> str:
    """A factor less 1 for a person; below 0 where the run is better."""
    return f"{100 * factor:.2g} %"


def _exact(run: Run, folder: Path) -> AgainstExact:
    """Compare with the front of a finished sweep.

    Raises:
        RunError: the folder holds no finished sweep of this question.
        InfeasibleError: no design of the sweep met every limit.

    """
    if not (folder / STATE).exists():
        raise RunError(
            f"--sweep {folder}: holds no sweep; make one with dse sweep {run.space.name} --out {folder}"
        )
    swept = load_sweep(folder)
    if not swept.finished:
        raise RunError(f"--sweep {folder}: is not finished; go on with dse sweep --resume")
    if not len(swept.front):
        raise InfeasibleError(f"--sweep {folder}: none of its designs met every limit: it has no front")
    other = run.space.asked_otherwise(swept.archive.space)
    if other:
        raise RunError(
            f"--sweep {folder}: is of another question than the run ({', '.join(other)}); sweep the run's "
            "space with the same --fix, --limit, --year and other changes"
        )
    return against_exact(run, swept)
