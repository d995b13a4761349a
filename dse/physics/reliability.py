"""Failures: how often more packages of a domain are broken than it has spares."""

from __future__ import annotations

from typing import Final

import numpy as np

from dse.core.units import FloatArray

MOST: Final = 8
"""spares that are counted up to"""


def unserved(broken: FloatArray) -> FloatArray:
    """Share of the time that more than s packages wait for repair, for s = 0 .. MOST, shape (n, MOST + 1).

    ``broken`` is their mean number, shape (n,); Poisson: P(N > s) = 1 - sum_k<=s exp(-m) m^k / k!.

    Source: machine-repair model with Poisson failures.
    """
    k = np.arange(1, MOST + 1, dtype=np.float64)
    ratios = np.concatenate([np.ones((len(broken), 1)), np.cumprod(broken[:, None] / k, axis=1)], axis=1)
    covered = np.exp(-broken)[:, None] * np.cumsum(ratios, axis=1)
    out: FloatArray = np.maximum(1.0 - covered, 0.0)
    return out
