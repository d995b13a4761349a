"""Roofline of an operator whose data lie on two tiers (Williams et al., CACM 2009).

An operator takes the longest of its compute time and the read times of the tiers it touches;
operators add up, because each needs the result of the one before it. Functions of numbers.
"""

from __future__ import annotations

import math

from dse.core.compilation import compilable


@compilable
def level_share(own: float, held: float, fast: float, slow: float) -> float:
    """Share of a class to keep in the fast tier so that an operator's tiers finish together, 0 to 1.

    The operator also reads ``held`` bytes that must stay in the fast tier. Both tiers take
    T = (own + held) / (fast + slow), so the fast one has room for T x fast - held bytes of the class:
    the read runs at fast + slow, unless what must stay already takes longer. ``own`` must be positive.

    Source: Williams et al., CACM 2009, two tiers in parallel.
    """
    wanted = (fast / (fast + slow) * (own + held) - held) / own
    return min(max(wanted, 0.0), 1.0)


@compilable
def hidden_time(slow: float, others: float, total: float, buffered: float) -> float:
    """Time [s] that prefetch hides of operators that wait for a slow tier.

    ``total`` = sum over operators of max(slow, others), ``slow`` and ``others`` the sums of either alone.
    The slow tier is idle for total - slow, the others wait for total - others: prefetch moves reads from
    the waits into the idle time, at most as much as the buffer holds (``buffered`` = bytes over bandwidth,
    once per layer). With a boundless buffer the rest is max(slow, others).

    Source: overlap bound of prefetching: no more than the buffer, nor than the longer of both.
    """
    return max(min(total - slow, total - others, buffered), 0.0)


@compilable
def pipeline_depth(needed: float, room: float) -> float:
    """Least power of two of pipeline stages over which ``needed`` bytes fit into ``room``.

    A stage holds 1 / depth of the weights but all of its own KV (depth micro-batches are in
    flight), so depth = 2^ceil(log2(needed / room)), at least 1; ``room`` must be positive.

    Source: by definition.
    """
    mantissa, exponent = math.frexp(max(needed / room, 1.0))
    if mantissa == 0.5:  # a power of two itself
        exponent -= 1
    return math.ldexp(1.0, exponent)
