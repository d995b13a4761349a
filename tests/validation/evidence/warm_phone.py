"""A phone that gets warm while it generates: the rate it keeps, against what was measured.

The power of a burst is that of the energy rows (idle, vector operations, bytes from DRAM); the body is the
search's own two lumps; the governor holds the warmest skin at its limit by giving out less power.
Published: an iPhone 16 Pro loses nearly half of its throughput within two iterations (arXiv 2603.23640).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.units import FloatArray
from dse.hardware.heat import lumps
from dse.physics import thermal
from dse.space.reader import read_space, space_text
from tests.validation.evidence.edge_devices import burst

DEVICE: Final = "iphone_16_pro"


LLM: Final = "Qwen2.5-1.5B"


TOKENS: Final = 4096.0
"""of a long generation: the agent's task of the mobile spaces"""


PUBLISHED: Final = (0.4, 0.52, 0.7)
"""rate kept, low, nominal, high (technology.csv: phone throttled_throughput_ratio)"""


LATER: Final = 300.0  # s


STEP: Final = 1.0
"""s"""


@dataclass(frozen=True)
class Warm:
    """A generation after generation: rates over the first one's, and when the skin's limit was reached."""

    power: float
    """W of the package in a burst"""
    rate: float
    """tokens/s in a burst"""
    until: float
    """s from the start until the skin's limit holds the power"""
    kept: tuple[float, ...]
    """mean rate of each long generation over that of a burst"""
    at_the_end: float
    """rate at the end of the last over that of a burst"""
    later: float
    """rate after five minutes of work over that of a burst"""


def held(power: float, idle: float, limit: float, catalog: Catalog, body: str, seconds: float) -> FloatArray:
    """Share of a burst's rate that a body lets through in each second; shape (seconds,).

    Work draws ``power`` [W], of it ``idle`` whatever the rate; the warmest skin may rise ``limit`` [K] over the air.
    """
    v = partial(catalog.value, "body", body)
    decay, gain = thermal.lump_step(*lumps(catalog, body), STEP)
    spot = np.array([v("spot_share"), 1.0 - v("spot_share")])  # of chip and body in the warmest skin
    loss, background = 1.0 / v("power_conversion"), v("background_power")
    rises, out = np.zeros(2), []
    for _ in range(int(seconds / STEP)):
        free = spot @ (decay @ rises + gain @ np.array([0.0, background]))
        most = (limit - free) / (spot @ gain[:, 0] * loss)
        given = float(np.clip(most, idle, power))
        rises = decay @ rises + gain @ np.array([given * loss, background])
        out.append((given - idle) / (power - idle))
    return np.array(out)


def warm_phone(catalog: Catalog, generations: int = 2) -> Warm:
    """Long generations in a row on the published phone; skin limit and air of the mobile space."""
    space = read_space(*space_text("mobile"), catalog)
    rise = space.thresholds["skin_temperature"] - space.scenario.ambient
    step, power, idle = burst(catalog, DEVICE, LLM)
    seconds = max(generations * TOKENS * step / PUBLISHED[0], 2.0 * LATER)
    share = held(power, idle, rise, catalog, "phone", seconds)
    done = np.cumsum(share) * STEP / step
    kept, start = [], 0
    for g in range(1, generations + 1):
        stop = min(int(np.searchsorted(done, g * TOKENS)) + 1, len(share))
        kept.append(float(share[start:stop].mean()))
        start = stop
    return Warm(
        power,
        1.0 / step,
        float(np.argmax(share < 1.0)) * STEP,
        tuple(kept),
        float(share[start - 1]),
        float(share[int(LATER / STEP)]),
    )
