"""Processing near or in memory: what it may compute, and what it costs to hand work over.

A placement replaces the host's path to the data it sits on; it never adds bandwidth to it.
Messages follow the two-dimensional partition of a matrix over S shards: inputs and partial
sums each cross sqrt(S) times.
"""

from __future__ import annotations

import numpy as np

from dse.core.compilation import compilable
from dse.core.units import FloatArray


def partition_copies(shards: FloatArray) -> FloatArray:
    """Copies of inputs and partial sums of a matrix cut over ``shards``: sqrt(shards), >= 1.

    Source: two-dimensional partition of a matrix-vector product (Hendrickson, Leland & Plimpton 1995).
    """
    return np.sqrt(np.maximum(shards, 1.0))


@compilable
def cache_copies(copies: float, pieces: float) -> float:
    """Copies of inputs and partial sums of attention over a KV cache of ``pieces`` sequences times heads.

    A piece lies whole in a shard as long as there are no more shards (copies^2) than pieces, else it is cut
    along the context: max(shards / pieces, 1).

    Source: one-dimensional partition of the context, derived here.
    """
    return max(copies * copies / max(pieces, 1.0), 1.0)
