"""Commands that report on runs: dashboard, recommend, review."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dse.catalog.catalog import catalog_beside
from dse.cli.console import note, say, tell, written
from dse.core.errors import OK
from dse.report.facts import gather
from dse.report.page import page_html
from dse.report.recommendation import document, recommendation_json
from dse.run.folder import FRONT, write_atomically
from dse.run.run import Run
from dse.study.infeasible import killers
from dse.study.job import load_run


def write_reports(run: Run, model: Any, out: Path) -> None:
    """Write page and recommendation of a run; say the answer, and where they are."""
    facts = gather(run, model, catalog_beside(run.path))
    write_atomically(out / "dashboard.html", page_html(facts))
    _recommendation(facts, run.path, out)
    written(out / "dashboard.html")


def _recommendation(facts: Any, run_folder: Path, out: Path) -> None:
    made = document(facts)
    write_atomically(out / "recommendation.md", made.markdown())
    write_atomically(out / "recommendation.html", made.html())
    for name, svg in made.pictures.items():
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

    said = answer(facts)
    tell(answer=said)
    for sentence in said:
        say(sentence)
    written(out / "recommendation.md")


def dashboard(options: argparse.Namespace) -> int:
    """Write the page of a run."""
    run, model = _loaded(options.run_folder)
    _need_front(run, options.run_folder)
    write_atomically(options.static, page_html(gather(run, model, catalog_beside(options.run_folder))))
    written(options.static)
    return OK


def recommend(options: argparse.Namespace) -> int:
    """Write the recommendation of a run."""
    run, model = _loaded(options.run_folder)
    _need_front(run, options.run_folder)
    facts = gather(run, model, catalog_beside(options.run_folder))
    _recommendation(facts, options.run_folder, options.out)
    return OK


def _loaded(folder: Path) -> tuple[Run, Any]:
    """A run rebuilt from its folder, with a word if the catalogue has changed since."""
    run, model = load_run(folder)
    now = catalog_beside(folder).digest
    if run.about.get("catalogue") != now:
        note(
            f"dse: note: {folder} was searched with catalogue {run.about.get('catalogue')}, now "
            f"judged with {now}"
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
    made = reviewed(found)
    write_atomically(options.out / "review.md", made.markdown())
    write_atomically(options.out / "review.html", made.html())
    written(options.out / "review.md")
    return OK
