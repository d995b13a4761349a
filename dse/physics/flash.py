"""Flash as a memory tier: page concurrency, staging, reclaim, wear and life.

Bandwidth is the least of the interface, the planes (pages in flight x page / read latency)
and the staging buffer (Little's law with double buffering, H3, IEEE CAL 25(1) 2026).
Wear adds appended, ingested and refreshed bytes and what read disturb forces to be
rewritten. Known limit: wear is taken as level over all blocks.
"""

from __future__ import annotations

import numpy as np

from dse.units import FloatArray


def plane_bandwidth(planes: FloatArray, page_bytes: FloatArray, latency: FloatArray) -> FloatArray:
    """Array bandwidth [B/s] with every plane reading: planes x page / latency."""
    return planes * page_bytes / latency


def staged_bandwidth(buffer_bytes: FloatArray, latency: FloatArray) -> FloatArray:
    """Bandwidth [B/s] a buffer sustains: one half fills while the other drains.

    buffer = 2 x bandwidth x latency (H3: 40 MB at 1 TB/s and 20 us), solved for bandwidth.
    """
    return buffer_bytes / (2.0 * latency)


def reclaim_rate(read_rate: FloatArray, pages_per_block: FloatArray, disturb_limit: FloatArray) -> FloatArray:
    """Bytes rewritten per second [B/s] because of read disturb.

    A block of P pages may be read ``limit`` times before its P pages move elsewhere:
    read rate x P / limit. Hand check: 1.638e12 x 256 / 1e6 = 0.42 GB/s.
    """
    return read_rate * pages_per_block / disturb_limit


def life(endurance: FloatArray, capacity: FloatArray, amplification: FloatArray, writes: FloatArray) -> FloatArray:
    """Life [s] at level wear: P/E cycles x capacity / (write amplification x write rate)."""
    return endurance * capacity / np.maximum(amplification * writes, 1e-30)


def breakeven_disturb_limit(
    read_rate: FloatArray,
    pages_per_block: FloatArray,
    budget: FloatArray,
    other_writes: FloatArray,
) -> FloatArray:
    """Read-disturb limit [reads per block] below which reclaim alone exceeds the write budget.

    ``budget`` is endurance x capacity / (amplification x wanted life); infinite need is
    reported as the largest finite float.
    """
    left = budget - other_writes
    return np.where(left > 0, read_rate * pages_per_block / np.maximum(left, 1e-300), np.finfo(float).max)
