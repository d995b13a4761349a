"""Rounding that compiled code and plain Python do alike."""

from __future__ import annotations

from dse.core.compilation import compilable


@compilable
def ceiling(x: float) -> float:
    """The least whole number not below x, as a float.

    ``math.ceil`` gives an integer, which compiled code holds in 64 bits: above 9.2e18 it would turn negative.
    """
    return -(-x // 1.0)
