"""Topologies and collectives: hops, links, bisection, alpha-beta times.

A domain of n packages, each with L bytes/s per direction over its ports. ``TOPOLOGIES`` maps
a name to the function that gives its numbers in closed form. Collectives are the textbook
forms (Thakur, Rabenseifner & Gropp 2005): t = launch + steps x step latency + bytes / rate.
Known limit: a group inside a domain is taken as a smaller network of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, log2
from typing import Final

import numpy as np

from dse.units import FloatArray


@dataclass(frozen=True)
class Shape:
    """A network of n packages, in units of the package's link bandwidth L."""

    ports: int
    """links per package"""
    diameter: float
    """largest number of links crossed between two packages"""
    mean_hops: float
    """mean number of links crossed between two different packages"""
    switches_crossed: float
    """mean number of switch chips crossed between two different packages"""
    all_to_all: float
    """share of L that uniform all-to-all traffic reaches: min(1, 4 bisection / (n L))"""
    all_reduce: float
    """share of L that a bandwidth-optimal ring all-reduce uses"""
    switch_ports: float
    """switch ports per package and plane (0: the packages route)"""


def _line(n: int) -> tuple[float, float]:
    """Diameter and mean distance of a ring of n nodes, to the other n - 1 nodes."""
    total = n * n / 4 if n % 2 == 0 else (n * n - 1) / 4
    return float(n // 2), total / max(n - 1, 1)


def full(n: int) -> Shape:
    """Every pair has its own link of L / (n - 1)."""
    return Shape(n - 1, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0)


def ring(n: int) -> Shape:
    """Two links of L / 2; the cut crosses two of them."""
    diameter, mean = _line(n)
    return Shape(2 if n > 2 else 1, diameter, mean, 0.0, min(1.0, 4.0 / n), 1.0, 0.0)


def _torus(n: int, dims: int) -> Shape:
    sides = _sides(n, dims)
    longest = max(sides)
    ports = sum(2 if s > 2 else 1 for s in sides if s > 1)
    diameter = float(sum(s // 2 for s in sides))
    # mean over all pairs including itself adds per dimension; rescale to the n - 1 others
    per_dim = [(s * s / 4 if s % 2 == 0 else (s * s - 1) / 4) / s for s in sides]
    mean = sum(per_dim) * n / max(n - 1, 1)
    cut = n / longest * (2 if longest > 2 else 1) / max(ports, 1)
    return Shape(ports, diameter, mean, 0.0, min(1.0, 4.0 * cut / n), 1.0, 0.0)


def _sides(n: int, dims: int) -> list[int]:
    """Split a power of two into ``dims`` sides as even as can be."""
    power = round(log2(n))
    return [2 ** ((power + i) // dims) for i in range(dims)]


def torus2d(n: int) -> Shape:
    """Two-dimensional torus with sides as equal as powers of two allow."""
    return _torus(n, 2)


def torus3d(n: int) -> Shape:
    """Three-dimensional torus with sides as equal as powers of two allow."""
    return _torus(n, 3)


def hyperx(n: int) -> Shape:
    """Two-dimensional HyperX without concentration: full in each of two dimensions."""
    a, b = _sides(n, 2)
    ports = (a - 1) + (b - 1)
    pairs = max(n - 1, 1)
    mean = ((a - 1) + (b - 1) + 2 * (a - 1) * (b - 1)) / pairs
    longest = max(a, b)
    cut = n / longest * (longest / 2) ** 2 / max(ports, 1)
    return Shape(ports, 2.0 if min(a, b) > 1 else 1.0, mean, 0.0, min(1.0, 4.0 * cut / n), 1.0, 0.0)


def dragonfly(n: int) -> Shape:
    """Groups of a packages, full inside; each package has one global link.

    Local-global-local paths: at most 3 links; a = the power of two at or above sqrt(n).
    Half of the global links cross a balanced cut.
    """
    group, groups = _sides(n, 2)[1], _sides(n, 2)[0]
    ports = group - 1 + (1 if groups > 1 else 0)
    if groups == 1:
        return Shape(ports, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0)
    local = (group - 1) / (n - 1)
    # one of the group's packages holds the global link to the group wanted
    direct = 1.0 / group
    mean = local * 1.0 + (1 - local) * (1.0 + 2.0 * (1.0 - direct))
    cut = n / 2 * 0.5 / ports
    return Shape(ports, 3.0, mean, 0.0, min(1.0, 4.0 * cut / n), 1.0, 0.0)


def switch(n: int) -> Shape:
    """One switch chip per plane; two links and one switch between any pair."""
    return Shape(1, 2.0, 2.0, 1.0 if n > 1 else 0.0, 1.0, 1.0, 1.0)


def clos(n: int) -> Shape:
    """Two-level non-blocking fat tree: leaf, spine, leaf; three switch ports per package."""
    return Shape(1, 4.0, 4.0, 3.0 if n > 1 else 0.0, 1.0, 1.0, 3.0)


TOPOLOGIES: Final[Mapping[str, Callable[[int], Shape]]] = {
    "full": full,
    "switch": switch,
    "ring": ring,
    "torus2d": torus2d,
    "torus3d": torus3d,
    "hyperx": hyperx,
    "dragonfly": dragonfly,
    "clos": clos,
}


def radix_need(name: str, n: int, switch_ports: int) -> float:
    """What a network asks of its radix, over what there is: <= 1 is buildable.

    A single switch carries at most its ports, a two-level Clos ports^2 / 2 packages.
    """
    if name == "switch":
        return n / switch_ports
    if name == "clos":
        return n / (switch_ports**2 / 2)
    return 0.0


def steps(algorithm: str, group: int, dimensions: int = 1) -> float:
    """Latency steps of an all-reduce over ``group`` ranks; rings run dimension by dimension in a torus."""
    if group <= 1:
        return 0.0
    return {
        "ring": 2.0 * sum(side - 1 for side in _sides(group, dimensions)),
        "recursive_doubling": float(ceil(log2(group))),
        "one_shot": 1.0,
        "two_shot": 2.0,
        "in_network": 1.0,
    }[algorithm]


def all_reduce_bytes(algorithm: str, group: int) -> float:
    """Bytes a rank sends per byte of message in an all-reduce over ``group`` ranks."""
    if group <= 1:
        return 0.0
    return {
        "ring": 2.0 * (group - 1) / group,
        "recursive_doubling": float(ceil(log2(group))),
        "one_shot": float(group - 1),
        "two_shot": 2.0 * (group - 1) / group,
        "in_network": 1.0,
    }[algorithm]


ALL_REDUCE: Final = ("ring", "recursive_doubling", "one_shot", "two_shot", "in_network")
DIMENSIONS: Final[Mapping[str, int]] = {"torus2d": 2, "torus3d": 3, "hyperx": 2}
"""grid dimensions of a topology, 1 where it has none"""


def ranks_reached(group: FloatArray, picks: float) -> FloatArray:
    """Expected number of distinct ranks that ``picks`` uniform choices reach: g (1 - (1 - 1/g)^k)."""
    return group * (1.0 - np.power(1.0 - 1.0 / group, picks))
