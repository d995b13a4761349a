"""Failures: how many spares a domain keeps."""

from __future__ import annotations

from typing import Final

import numpy as np

from dse.units import FloatArray

MOST: Final = 32
"""spares that are counted up to"""


def spares(broken: FloatArray, unserved: float) -> FloatArray:
    """Least number of spares with which more are broken for at most ``unserved`` of the time.

    ``broken`` is the mean number that waits for repair, shape (n,); Poisson: P(N > s) <= unserved.
    """
    term = np.exp(-broken)
    covered = term.copy()
    out = np.zeros_like(broken)
    for s in range(1, MOST + 1):
        out += covered < 1.0 - unserved
        term = term * broken / s
        covered = covered + term
    return out
