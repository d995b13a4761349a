"""How often a package stops its group, and what spares cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from dse.core.units import FloatArray
from dse.hardware.machine import Reliability
from dse.hardware.network import Wiring
from dse.hardware.part_values import PartValues
from dse.physics import reliability

NO_SPARE: Final = 1e3
"""share of a domain that stands for a spare that cannot take the place of a broken package"""


@dataclass(frozen=True)
class Standby:
    """Failures of packages, and of their domain."""

    reliability: Reliability
    spares: FloatArray
    """spare packages of a domain, were they kept"""
    domain_failures: FloatArray
    """1/s"""


def standby(values: PartValues, wires: Wiring) -> Standby:
    """How often a package stops its group, and what spares in its domain would cost.

    A group stops where a package of it fails, where packages route also where a cable of it does; a plane
    that fails costs a switched network only its share. Behind switches a spare takes any place of the domain
    after the recovery time; where packages route, the place has its links, and the group waits for the
    repair. ``spare_share`` is the least of spares over packages plus the time with more broken than spare.
    """
    domain, catalog = values.parts.network.domain, values.catalog
    field = partial(catalog.value, "reliability", catalog.only("reliability"))
    switched = wires.switch_chips > 0
    rate = field("package_failure_rate") + np.where(switched, 0.0, wires.cable_failures)
    tails = reliability.unserved(domain * rate * field("repair_time"))[:, 1:]
    share = np.arange(1, tails.shape[1] + 1) / domain[:, None] + tails
    best = np.argmin(share, axis=1)
    return Standby(
        Reliability(
            failure_rate=rate,
            spare_share=np.where(switched, share[np.arange(len(best)), best], NO_SPARE),
            repair_time=np.full(len(rate), field("repair_time")),
            recovery_time=np.full(len(rate), field("recovery_time")),
        ),
        spares=np.where(switched, best + 1.0, 0.0),
        domain_failures=domain * (rate + wires.switch_chips * field("switch_failure_rate")),
    )
