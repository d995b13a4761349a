"""A published result with ours beside it, and the files that they come from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE = Path(__file__).parent


Inputs = Mapping[str, Any]


WITHIN: Final = 0.25


@dataclass(frozen=True)
class PublishedResult:
    """One published result with ours."""

    id: str
    text: str
    kind: str
    """identity, model, range or constant"""
    published: str
    ours: float
    ratio: float
    """ours over published; 1 for a bound that holds, 0 for one that does not"""
    lever: str = "system"
    differs: str = ""
    """the term that makes it differ, where it does"""
    within: float = WITHIN
    """largest distance of the ratio from 1 that counts as agreement"""

    @property
    def agrees(self) -> bool:
        """As near as is asked, or a bound that holds."""
        return abs(self.ratio - 1.0) <= self.within

    def line(self) -> str:
        """As printed."""
        why = "" if self.agrees or not self.differs else f"  {self.differs}"
        return f"{self.id:44s} {self.kind:8s} published {self.published:>8s}  ours {self.ours:10.4g}  ratio {self.ratio:5.2f}{why}"


def rows(name: str) -> Iterator[tuple[dict[str, str], Inputs]]:
    """Rows of a shipped file of claims with their inputs."""
    text = (HERE / name).read_text(encoding="utf-8")
    for row in csv.DictReader(io.StringIO(text)):
        yield row, json.loads(row["inputs_json"])


def kind_of(row: Mapping[str, str]) -> str:
    """identity, model, range or constant."""
    return row["how_to_compare"].split("]")[0].lstrip("[")


def against(ours: float, stated: str, bounds: tuple[float, float] | None = None) -> float:
    """Ours over what was published; of an interval 1 inside, else ours over the bound that it breaks."""
    if bounds is None:
        return ours / float(stated)
    low, high = bounds
    return 1.0 if low <= ours <= high else ours / (low if ours < low else high)
