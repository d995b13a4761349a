"""Work all evidence again: write the wheel's ``evidence.csv`` and the README's table.

Run in a clone: ``python -m tests.validation.evidence``. It takes about a minute.
"""

from __future__ import annotations

from pathlib import Path

from dse.calibration.rows import shipped_rows
from dse.calibration.scores import SPLITS, measured_rows, split
from dse.catalog.catalog import load_catalog
from dse.report.accuracy import findings
from dse.run.folder import csv_text, write_atomically
from tests.validation.evidence.evidence import evidence
from tests.validation.evidence.trust_table import trust_table, with_trust

HOME = Path(__file__).resolve().parents[3]


STORED = HOME / "dse" / "data" / "measured" / "evidence.csv"


README = HOME / "README.md"


def main() -> None:
    """Compute, then write both files."""
    catalog = load_catalog()
    rows = measured_rows(shipped_rows(), catalog)
    made = findings(rows, [split(rows, catalog, name) for name in SPLITS], catalog)
    found = evidence(catalog)
    write_atomically(STORED, csv_text(iter(found.table())))
    write_atomically(README, with_trust(README.read_text(encoding="utf-8"), trust_table(made, found)))
    print(f"{STORED}\n{README}")


if __name__ == "__main__":
    main()
