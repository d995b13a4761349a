"""What a network looks like: levels of a group of packages, and the numbers that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Level:
    """One level or dimension of a network."""

    kind: str
    """full: a link between any two members; ring, line: neighbours; switch: through chips; global: of a
    dragonfly
    """
    size: int
    links: float
    """links of a package in this level, over its ports"""
    hops: float
    """links crossed between its two most distant members"""
    switches: float = 0.0
    """switch chips crossed"""
    all_to_all: float = 1.0
    """share of L that each package may send to the others of the group, this level being the bottleneck"""


@dataclass(frozen=True)
class NetworkShape:
    """A network of n packages, or a group of them inside a larger domain."""

    n: int
    ports: int
    """links of a package; 1 where switches join packages (one a plane)"""
    diameter: float
    """links crossed between the two most distant packages"""
    mean_hops: float
    """mean number of links crossed between two different packages"""
    mean_switches: float
    """mean number of switch chips crossed between two different packages"""
    bisection: float
    """links in the smallest cut into two halves"""
    links: float
    """links of the network, those between switches included"""
    levels: tuple[Level, ...]
    chips: tuple[tuple[float, float], ...] = ()
    """(chips, planes that such a chip serves) of each rank of switches; none where the packages route"""

    @property
    def switched(self) -> bool:
        """Whether switch chips join the packages."""
        return bool(self.chips)

    def switch_chips(self, planes: float) -> float:
        """Switch chips where a package has ``planes`` ports of its own, each on another plane."""
        return float(sum(count * np.ceil(planes / per - 1e-9) for count, per in self.chips))

    @property
    def all_to_all(self) -> float:
        """Share of L that uniform all-to-all traffic reaches: of the narrowest level, at most 1.

        Half of the packages send to the other half: a rate r of each needs
        r n^2 / 4 / (n - 1) <= bisection x L / ports, where the bisection is the narrowest cut.
        """
        return min([1.0, *(level.all_to_all for level in self.levels)])
