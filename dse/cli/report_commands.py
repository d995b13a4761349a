"""Commands that report on runs: dashboard, recommend, review."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dse.catalog.catalog import catalog_beside
from dse.core.errors import OK
from dse.report.facts import gather
from dse.report.page import page_html
from dse.report.recommendation import document, recommendation_json
from dse.run.folder import FRONT, write_atomically
from dse.run.run import Run
from dse.study.infeasible import killers
from dse.study.job import load_run


def write_reports(run: Run, model: Any, out: Path) -> list[str]:
    """Write page and recommendation of a run; the answer in sentences, and where they are."""
    facts = gather(run, model, catalog_beside(run.path))
    write_atomically(out / "dashboard.html", page_html(facts))
    return [*_recommendation(facts, run.path, out), str(out / "dashboard.html")]


def _recommendation(facts: Any, run_folder: Path, out: Path) -> list[str]:
    written = document(facts)
    write_atomically(out / "recommendation.md", written.markdown())
    write_atomically(out / "recommendation.html", written.html())
    for name, svg in written.pictures.items():
        write_atomically(out / name, svg)
    write_atomically(out / "recommendation.json", recommendation_json(facts))
    if out != run_folder:
        from dse.run.folder import csv_text
        from dse.run.front import front_rows

        design, outcomes = facts.run.archive.joined()
        write_atomically(
            out / FRONT, csv_text(front_rows(facts.run.space, design, outcomes, facts.run.front))
        )
    from dse.report.recommendation import answer

    return [*answer(facts), str(out / "recommendation.md")]


def dashboard(options: argparse.Namespace) -> int:
    """Write the page of a run."""
    run, model = _loaded(options.run_folder)
    _need_front(run, options.run_folder)
    write_atomically(options.static, page_html(gather(run, model, catalog_beside(options.run_folder))))
    print(options.static)
    return OK


def recommend(options: argparse.Namespace) -> int:
    """Write the recommendation of a run."""
    run, model = _loaded(options.run_folder)
    _need_front(run, options.run_folder)
    for text in _recommendation(
        gather(run, model, catalog_beside(options.run_folder)), options.run_folder, options.out
    ):
        print(text)
    return OK


def _loaded(folder: Path) -> tuple[Run, Any]:
    """A run rebuilt from its folder, with a word if the catalogue has changed since."""
    run, model = load_run(folder)
    now = catalog_beside(folder).digest
    if run.about.get("catalogue") != now:
        print(
            f"dse: note: {folder} was searched with catalogue {run.about.get('catalogue')}, now "
            f"judged with {now}",
            file=sys.stderr,
        )
    return run, model


def _need_front(run: Run, folder: Path) -> None:
    if len(run.front) == 0:
        from dse.core.errors import InfeasibleError

        _, outcomes = run.archive.joined()
        raise InfeasibleError(f"{folder}: " + killers(run.space, outcomes, len(run.archive)))


def review(options: argparse.Namespace) -> int:
    """Which technologies pay in which device, over several mobile runs."""
    from dse.report.review import review as reviewed

    found = []
    for folder in options.run_folders:
        run, model = load_run(folder)
        found.append(gather(run, model, catalog_beside(folder)))
    written = reviewed(found)
    write_atomically(options.out / "review.md", written.markdown())
    write_atomically(options.out / "review.html", written.html())
    print(options.out / "review.md")
    return OK
