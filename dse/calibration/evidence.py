"""Published and measured results beside ours, as they were last worked out.

The clone's tests work them again.
"""

from __future__ import annotations

import csv
import io

from dse.catalog.catalog import DATA


def stored_evidence() -> list[tuple[str, list[str]]]:
    """Title and lines of each section of the shipped ``evidence.csv``."""
    text = (DATA / "measured" / "evidence.csv").read_text(encoding="utf-8")
    sections: dict[str, list[str]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        sections.setdefault(row["section"], []).append(row["line"])
    return list(sections.items())
