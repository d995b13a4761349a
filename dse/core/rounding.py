"""Rounding that compiled code and plain Python do alike."""

from __future__ import annotations

import math
from typing import Final

from dse.core.compilation import compilable

WHOLE: Final = 2.0**52
"""from here on every float is a whole number"""


@compilable
def ceiling(x: float) -> float:
    """The least whole number not below x, as a float.

    ``math.ceil`` gives an integer, which compiled code holds in 64 bits: above 9.2e18 it would turn negative.
    """
    if not abs(x) < WHOLE:  # nor is what is no number
        return x
    return float(math.ceil(x))
