"""Roofline of an operator whose data lie on two tiers (Williams et al., CACM 2009).

An operator takes the longest of its compute time and the read times of the tiers it touches;
operators add up, because each needs the result of the one before it.
"""

from __future__ import annotations

import numpy as np

from dse.core.units import FloatArray


def level_share(own: FloatArray, held: FloatArray, fast: FloatArray, slow: FloatArray) -> FloatArray:
    """Share of a class to keep in the fast tier so that an operator's tiers finish together, 0 to 1.

    The operator also reads ``held`` bytes that must stay in the fast tier. Both tiers take
    T = (own + held) / (fast + slow), so the fast one has room for T x fast - held bytes of the class:
    the read runs at fast + slow, unless what must stay already takes longer. ``own`` must be positive.

    Source: Williams et al., CACM 2009, two tiers in parallel.
    """
    wanted = (fast / (fast + slow) * (own + held) - held) / own
    return np.minimum(np.maximum(wanted, 0.0), 1.0)


def hidden_time(slow: FloatArray, others: FloatArray, total: FloatArray, buffered: FloatArray) -> FloatArray:
    """Time [s] that prefetch hides of operators that wait for a slow tier.

    ``total`` = sum over operators of max(slow, others), ``slow`` and ``others`` the sums of either alone.
    The slow tier is idle for total - slow, the others wait for total - others: prefetch moves reads from
    the waits into the idle time, at most as much as the buffer holds (``buffered`` = bytes over bandwidth,
    once per layer). With a boundless buffer the rest is max(slow, others).

    Source: overlap bound of prefetching: no more than the buffer, nor than the longer of both.
    """
    return np.maximum(np.minimum(np.minimum(total - slow, total - others), buffered), 0.0)


def pipeline_depth(needed: FloatArray, room: FloatArray) -> FloatArray:
    """Least power of two of pipeline stages over which ``needed`` bytes fit into ``room``.

    A stage holds 1 / depth of the weights but all of its own KV (depth micro-batches are in
    flight), so depth = 2^ceil(log2(needed / room)), at least 1; ``room`` must be positive.

    Source: by definition.
    """
    ratio = np.maximum(needed / room, 1.0)
    mantissa, exponent = np.frexp(ratio)
    depth: FloatArray = np.ldexp(1.0, exponent - (mantissa == 0.5))
    return depth
