"""A search in memory, finished or read back from its folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dse.core.units import IntArray
from dse.run.archive import Archive
from dse.run.front import Front
from dse.space.design import decode
from dse.space.space import Space
from dse.space.variables import Value


@dataclass
class Run:
    """A finished or resumed search in memory."""

    space: Space
    archive: Archive
    """designs of the front, with all that the evaluator says of them"""
    front: Front
    about: dict[str, Any]
    trials: int
    """designs judged"""
    path: Path
    """folder, whose logs hold every design judged"""
    study: dict[str, Any] = field(default_factory=dict)
    """error bar, worth of levers and answers to what the space asks beyond its front"""

    def values(self, row: int) -> dict[str, Value]:
        """Design variables of an archived row."""
        design, _ = self.archive.joined()
        return decode(self.space, design, row)

    @property
    def hardware(self) -> IntArray:
        """Distinct hardware on the front, as the first archive row of each."""
        design, _ = self.archive.joined()
        seen: dict[bytes, int] = {}
        for row, key in zip(self.front.rows, design.take(self.front.rows).row_keys(), strict=True):
            seen.setdefault(key, int(row))
        return np.array(sorted(seen.values()), dtype=np.int64)
