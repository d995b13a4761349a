"""What a user feels of a device.

Bursts, tokens of a charge, time to load a model, memory left to applications.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import HeatLimit
from dse.core.table import total
from dse.core.units import FloatArray
from dse.hardware.heat import lumps
from dse.hardware.machine import Machine
from dse.physics import thermal
from dse.serving.operating_points import Estimate
from dse.serving.step_work import StepWork
from dse.space.limits import Limit
from dse.space.space import Space

LONGEST = 36000.0
"""s; longest burst that is looked for"""
TIMES = np.geomspace(1.0, LONGEST, 120)
"""s; on which a burst's end is looked for"""


@lru_cache(maxsize=16)
def _spots(
    inside: tuple[tuple[float, float], tuple[float, float]], share: float
) -> tuple[tuple[float, float], ...]:
    """Rises [K/W] of the warmest skin after each of TIMES per watt into chip and body."""
    found = [thermal.spot_rise(thermal.lump_rises(*inside, float(t)), share) for t in TIMES]
    return tuple((float(x[0]), float(x[1])) for x in found)


def burst_duration(space: Space, catalog: Catalog, power: FloatArray) -> FloatArray:
    """Time [s] from rest that work at ``power`` [W], (n,), may go on until the skin's limit.

    At most LONGEST.
    """
    body = partial(catalog.value, "body", space.scenario.body)
    spots = np.array(_spots(lumps(catalog, space.scenario.body), body("spot_share")))
    span = space.thresholds[Limit.SKIN_TEMPERATURE] - space.scenario.ambient
    free: FloatArray = span - body("background_power") * spots[:, 1]
    # the skin warms with time: the most that may be drawn until each time only falls
    most = np.minimum.accumulate(free / spots[:, 0] * body("power_conversion"))
    first = np.searchsorted(-most, -power, side="right")
    out: FloatArray = TIMES[np.minimum(first, len(TIMES) - 1)]
    return out


def device_figures(
    space: Space, catalog: Catalog, machine: Machine, estimate: Estimate, works: Sequence[StepWork]
) -> dict[str, FloatArray]:
    """Figures of n devices at every operating point, (n, r).

    Of several models the mean by tokens, or the worst.

    A burst runs before heat holds it back, as fast as the supply lets it.
    """
    weights = [w.load.weight / sum(x.load.weight for x in works) for w in works]
    supply = machine.heat.rows[HeatLimit.SUPPLY].logic[:, None]
    static, installed = machine.power.static[:, None], machine.fast.installed[:, None]
    body = partial(catalog.value, "body", space.scenario.body)
    drawn = body("background_power") + catalog.value("body", space.scenario.body, "aside_power", 0.0)
    bursts, powers, loads, left, present = [], [], [], [], []
    for chosen, work in zip(estimate.chosen, works, strict=True):
        quick = np.maximum(chosen.unthrottled, supply * chosen.step_energy)
        bursts.append(quick / work.tokens_per_step)
        powers.append(chosen.step_energy / quick + static)
        resident = chosen.fast_tier_share * float(work.rows.resident[0])
        loads.append(resident / machine.flash.bandwidth[:, None])
        left.append(installed - np.minimum(resident + float(work.rows.live_p95[0]), installed))
        present.append(chosen.busy)
    power = np.maximum.reduce(powers)
    per_token = total(w * x for w, x in zip(weights, present, strict=True))
    lasting = np.column_stack([burst_duration(space, catalog, column) for column in power.T])
    return {
        "burst": total(w * x for w, x in zip(weights, bursts, strict=True)),
        "burst_power": power,
        "burst_duration": lasting,
        "cold_start": np.maximum.reduce(loads),
        "tokens_per_charge": space.scenario.battery / (estimate.energy + drawn * per_token),
        "memory_left": np.minimum.reduce(left),
    }
