"""Processing near or in memory: what it may compute, and what it costs to hand work over.

A placement replaces the host's path to the data it sits on; it never adds bandwidth to it.
Messages follow the two-dimensional partition of a matrix over S shards: inputs and partial
sums each cross sqrt(S) times.
"""

from __future__ import annotations

import numpy as np

from dse.core.units import FloatArray


def handover_time(
    switches: FloatArray, switch_latency: FloatArray, crossing: FloatArray, inverse_bandwidth: FloatArray
) -> FloatArray:
    """Time [s] to hand operators over and back: mode switches plus message bytes over the link."""
    return switches * switch_latency + crossing * inverse_bandwidth


def partition_copies(shards: FloatArray) -> FloatArray:
    """Copies of inputs and partial sums of a matrix cut over ``shards``: sqrt(shards), >= 1."""
    return np.sqrt(np.maximum(shards, 1.0))


def shared_roofline(
    near_share: FloatArray,
    flop: FloatArray,
    near_time_per_flop: FloatArray,
    host_time_per_flop: FloatArray,
    near_bytes_time: FloatArray,
    far_bytes_time: FloatArray,
) -> FloatArray:
    """Time [s] of an operator whose ``near_share`` runs beside its data and the rest on the host.

    Both parts run at once: max over reads and FLOP of each side.
    """
    near = np.maximum(near_bytes_time, near_share * flop * near_time_per_flop)
    host = np.maximum(far_bytes_time, (1.0 - near_share) * flop * host_time_per_flop)
    return np.maximum(near, host)
