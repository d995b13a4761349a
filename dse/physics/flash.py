"""Flash as a memory tier: pages, planes, staging, small reads, programming, reclaim, wear and life.

Bandwidth is the least of the interface, the planes (pages in flight x page / read latency), the
staging buffer (Little's law with double buffering, H3, IEEE CAL 25(1) 2026) and what the stack's
power allows. Wear adds appended, ingested and refreshed bytes and what read disturb forces to be
rewritten. Known limit: wear is taken as level over all blocks.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from dse.core.compilation import compilable
from dse.core.rounding import ceiling
from dse.core.units import FloatArray


def plane_bandwidth(planes: FloatArray, page_bytes: FloatArray, latency: FloatArray) -> FloatArray:
    """Array bandwidth [B/s] with every plane reading: planes x page / latency.

    Source: by definition.
    """
    return planes * page_bytes / latency


def staged_bandwidth(buffer_bytes: FloatArray, latency: FloatArray) -> FloatArray:
    """Bandwidth [B/s] a buffer sustains: one half fills while the other drains.

    buffer = 2 x bandwidth x latency (H3: 40 MB at 1 TB/s and 20 us), solved for bandwidth.

    Source: H3 (Kyung et al., IEEE CAL 25(1) 2026).
    """
    return buffer_bytes / (2.0 * latency)


def program_bandwidth(
    planes: FloatArray, page_bytes: FloatArray, pages_per_shot: FloatArray, latency: FloatArray
) -> FloatArray:
    """Write bandwidth [B/s] with every plane programming: planes x page x pages per shot / program latency.

    Hand check (Kyung et al., IEEE CAL 25(1) 2026): planes that read 1.6 TB/s at 3 us write
    1.6 TB/s x 3 us / 100 us = 48 GB/s.

    Source: by definition; checked by Kyung et al., IEEE CAL 25(1) 2026.
    """
    return planes * page_bytes * pages_per_shot / latency


def powered_bandwidth(power: FloatArray, idle: FloatArray, energy: FloatArray) -> FloatArray:
    """Bandwidth [B/s] that a stack's power allows: (power - idle) / energy per byte read.

    Source: by definition.
    """
    return np.maximum(power - idle, 0.0) / np.maximum(energy, 1e-30)


@compilable
def read_amplification(granule: float, page_bytes: float) -> float:
    """Bytes read per byte wanted of aligned runs of ``granule`` bytes: ceil(granule / page) x page / granule.

    A run of 256 B costs a page of 4 KiB: 16. Valid for granule > 0.

    Source: by definition: a page is read whole.
    """
    return ceiling(granule / page_bytes - 1e-9) * page_bytes / granule


@compilable
def stripe_balance(granule: float, stripe: float, held: float, chance: float) -> float:
    """Share of the planes' bandwidth that reading some of many objects reaches, at most 1.

    Objects of ``granule`` bytes lie across the planes one after the other, a stripe being one page
    of every plane. An object covers a share c = granule / stripe of the planes (at most all); of ``held``
    objects each is read with probability ``chance``, so a plane serves held c chance of them on
    average with variance held c chance (1 - chance), and the read waits for the fullest of the 1 / c
    groups of planes: mean / (mean + sqrt(2 ln(1 / c) variance)), the Gaussian bound, and for one object
    at least. All read, or each over all planes: 1; one small one: c. A few small ones come below a half,
    as Petrucci et al. (HotInfra 2026) found: 0.36 to 0.5. Valid for granule, held, chance > 0.

    Source: derived here; checked by Petrucci et al., HotInfra 2026.
    """
    cover = min(granule / stripe, 1.0)
    read = held * chance
    mean = read * cover
    fullest = mean + math.sqrt(-2.0 * math.log(cover) * mean * (1.0 - chance))
    return mean / max(fullest, min(read, 1.0))


def reclaim_rate(read_rate: FloatArray, pages_per_block: FloatArray, disturb_limit: FloatArray) -> FloatArray:
    """Bytes rewritten per second [B/s] because of read disturb.

    A block of P pages may be read ``limit`` times before its P pages move elsewhere:
    read rate x P / limit. Hand check: 1.638e12 x 256 / 1e6 = 0.42 GB/s.

    Source: read reclaim, as in Ma & Patterson, arXiv 2601.05047, section on endurance.
    """
    return read_rate * pages_per_block / disturb_limit


@compilable
def life(endurance: float, capacity: float, amplification: float, writes: float) -> float:
    """Life [s] at level wear: P/E cycles x capacity / (write amplification x write rate).

    Source: by definition.
    """
    return endurance * capacity / max(amplification * writes, 1e-30)


def breakeven_disturb_limit(
    read_rate: float,
    pages_per_block: float,
    budget: float,
    other_writes: float,
) -> float:
    """Read-disturb limit [reads per block] below which reclaim alone exceeds the write budget.

    ``budget`` is endurance x capacity / (amplification x wanted life); infinite need is
    reported as the largest finite float.

    Source: reclaim_rate solved for the limit.
    """
    left = budget - other_writes
    return read_rate * pages_per_block / left if left > 0 else sys.float_info.max
