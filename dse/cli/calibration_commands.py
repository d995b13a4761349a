"""What the commands of accuracy do: calibrate, validate, predict; and import of a model."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from datetime import UTC, datetime

from dse.calibration.evidence import stored_evidence
from dse.calibration.forms import Table, read_table
from dse.calibration.rows import predict_rows, shipped_rows, write_rows
from dse.calibration.scores import SPLITS, Rows, ablate, measured_rows, ratios, score, split
from dse.calibration.stack_files import calibrate as fit_stacks
from dse.calibration.stack_files import rows_text, stack_files
from dse.catalog.catalog import load_catalog
from dse.cli.console import given_of, note, progress, result, say, tell, written
from dse.core.errors import NOTHING, OK
from dse.report.accuracy import Findings, accuracy_csv, accuracy_html, findings
from dse.run.folder import write_atomically


def _rows(options: argparse.Namespace) -> Rows:
    if options.rows is None:
        return measured_rows(shipped_rows(), load_catalog())
    table = read_table(options.rows, given_of(options.given))
    _told(table)
    return measured_rows(table.rows, load_catalog(), str(options.rows))


def _told(table: Table) -> None:
    """What was not read, and what was taken for what no column says."""
    if table.unread:
        more = f" and {len(table.unread) - 12} more" if len(table.unread) > 12 else ""
        note(f"columns not read: {', '.join(table.unread[:12])}{more}")
    if table.defaulted:
        note(f"taken, as no column says otherwise: {', '.join(table.defaulted)}")


def calibrate(options: argparse.Namespace) -> int:
    """Fit the stacks and write their catalogue files."""
    rows, catalog = _rows(options), load_catalog()
    with progress("calibrate", unit="fit", total=1) as bar:
        made = fit_stacks(rows, catalog)
        bar.update()
    files = stack_files(made, catalog, datetime.now(UTC).date())
    for name, text in files.items():
        write_atomically(options.out / "software" / name, text)
    write_atomically(options.out / "measured" / "calibration.csv", rows_text(made))
    for what, s in (
        ("in sample", made.everything),
        ("devices held out", made.by_device),
        ("models held out", made.by_model),
    ):
        for metric in ("tpot", "ttft"):
            found = score(ratios(rows, s, metric, rows.clean))
            tell(**{f"{metric} {what}": asdict(found)})
            result(f"{metric.upper()} {what:17s} {found.line()}")
    say(
        f"{len(made.ids)} rows fitted of {len(rows.cases)}; {', '.join(files)} in "
        f"{options.out / 'software'}; use them with: dse --catalog {options.out} ..."
    )
    return OK


def validate(options: argparse.Namespace) -> int:
    """Score predictions, print and write page and tables."""
    rows, catalog = _rows(options), load_catalog()
    names = SPLITS if options.split is None else (options.split,)
    with progress("validate", unit="split", total=len(names)) as bar:
        splits = []
        for name in names:
            splits.append(split(rows, catalog, name))
            bar.update()
    table = None
    if options.ablate:
        with progress("ablations", unit="term") as bar:

            def watch(term: str) -> None:
                bar.set_postfix_str(term)
                bar.update()

            table = ablate(rows, catalog, watch)
    made = findings(rows, splits, catalog, table)
    made.others = stored_evidence()
    _say(made)
    write_atomically(options.out / "accuracy.html", accuracy_html(made))
    write_atomically(options.out / "accuracy.csv", accuracy_csv(made))
    written(options.out / "accuracy.html")
    written(options.out / "accuracy.csv")
    return OK


def _say(made: Findings) -> None:
    tell(findings=dict(made.lines()))
    for title, lines in made.lines():
        say(f"\n{title}")
        for line in lines:
            say(f"  {line}")


def predict(options: argparse.Namespace) -> int:
    """Add predictions to a table of serving rows."""
    table = read_table(options.file, given_of(options.given))
    _told(table)
    out = predict_rows(table.rows, load_catalog())
    write_atomically(options.out, write_rows(table.header, out))
    done = sum(not r["reason"] for r in out)
    say(f"{done} of {len(out)} rows predicted; {options.out}")
    why: dict[str, int] = {}
    for r in out:
        if r["reason"]:
            why[r["reason"]] = why.get(r["reason"], 0) + 1
    tell(rows=len(out), predicted=done, not_predicted=why, files=[str(options.out)])
    for reason, n in sorted(why.items(), key=lambda item: -item[1])[:10]:
        line = f"{n:5d} not predicted: {reason}"
        if done:
            say(f"  {line}")
        else:  # nothing came of it: the reason is the answer, also with --quiet
            print(f"dse: {options.file}: {line.strip()}", file=sys.stderr)
    return OK if done else NOTHING
