"""Closed forms of every topology by domain and group, tabulated once.

What no other choice of a design changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log2
from typing import Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import GROUPS, LINES
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.physics import collective, topology
from dse.physics.network_shape import NetworkShape

NEVER = 1e6
"""s; stands for an algorithm that a fabric cannot run, without infinities in the arrays"""


TERMS: Final = ("steps", "hops", "switches", "volume", "peers")
"""last axis of the tables"""


@dataclass(frozen=True)
class Tables:
    """Numbers of every topology by domain and group, which no other choice of a design changes.

    Shapes start with (topologies, domains); sizes of domains and groups are ``GROUPS``.
    """

    reduce: FloatArray
    """(.., groups, lines, terms) of the part inside a domain; a wider group reduces, crosses, and gathers
    again
    """
    cross: FloatArray
    """(.., groups, lines, 2) steps between domains, and bytes that a card sends per byte of message"""
    able: BoolArray
    """(.., groups, lines)"""
    exchange: FloatArray
    """(.., groups, terms) of an all-to-all inside the domain"""
    gather: FloatArray
    """(.., groups, algorithms, terms) of an all-gather inside the domain"""
    beyond: FloatArray
    """(domains, groups) share of all-to-all bytes that leave the domain"""
    mean: FloatArray
    """(.., 2) links and switches between two packages, on average"""
    ports: FloatArray
    """(..) links of a package; 1 a plane where switches join packages"""
    chips: FloatArray
    """(.., ranks of switches, 2) chips, and planes that each serves"""
    cables: FloatArray
    """(.., racks) cables inside racks per package, in units of its bandwidth; by packages of a rack"""
    outside: FloatArray
    """(.., racks) cables between racks"""
    admitted: BoolArray
    """(..) whether the topology has a regular network of the domain"""
    switched: BoolArray
    """(topologies,)"""


@lru_cache(maxsize=8)
def tables(order: tuple[str, ...], ports: int, taper: float) -> Tables:
    """Tabulate closed forms.

    A domain that a topology does not admit holds those of a Clos, or of full connection.
    """
    t, d, g = len(order), len(GROUPS), len(GROUPS)
    gathers = tuple(collective.ALL_GATHER)
    out = Tables(
        reduce=np.zeros((t, d, g, len(LINES), len(TERMS))),
        cross=np.zeros((t, d, g, len(LINES), 2)),
        able=np.zeros((t, d, g, len(LINES)), dtype=bool),
        exchange=np.zeros((t, d, g, len(TERMS))),
        gather=np.full((t, d, g, len(gathers), len(TERMS)), np.nan),
        beyond=np.zeros((d, g)),
        mean=np.zeros((t, d, 2)),
        ports=np.zeros((t, d)),
        chips=np.ones((t, d, 2, 2)) * np.array([0.0, 1.0]),
        cables=np.zeros((t, d, g)),
        outside=np.zeros((t, d, g)),
        admitted=np.zeros((t, d), dtype=bool),
        switched=np.array([topology.shape(name, 1).switched for name in order]),
    )
    for i, name in enumerate(order):
        for j, n in enumerate(GROUPS):
            out.admitted[i, j] = topology.admits(name, n, ports, taper)
            used = (
                name
                if out.admitted[i, j]
                else "clos"
                if out.switched[i] and topology.admits("clos", n, ports)
                else "full"
            )
            for k, size in enumerate(GROUPS):
                shape = topology.shape(used, n, min(size, n), ports, taper)
                _group(out, (i, j, k), shape, size / n, gathers)
                out.cables[i, j, k], out.outside[i, j, k] = _cables(
                    used, shape, n, min(size, n), ports, taper
                )
            whole = topology.shape(used, n, n, ports, taper)
            apart = collective.point_to_point(whole)
            out.mean[i, j] = (apart.hops, apart.switches)
            out.ports[i, j] = whole.ports
            for r, (count, per) in enumerate(whole.chips):
                out.chips[i, j, r] = (count, per)
    for j, n in enumerate(GROUPS):
        for k, size in enumerate(GROUPS):
            out.beyond[j, k] = max(size - n, 0) / max(size - 1, 1)
    return out


def _terms(cost: collective.Cost) -> tuple[float, ...]:
    return cost.steps, cost.hops, cost.switches, cost.volume, cost.peers


def _group(
    out: Tables, at: tuple[int, int, int], shape: NetworkShape, domains: float, gathers: tuple[str, ...]
) -> None:
    """Fill in a group of ``shape`` packages in each of ``domains`` domains (below 1: inside one)."""
    wide = max(domains, 1.0)
    for a, (algorithm, _) in enumerate(LINES):
        cost = collective.cost("all_reduce", algorithm, shape)
        crossing = (0.0, 0.0)
        if wide > 1:
            cost, crossing = _two_level(algorithm, shape, wide)
        if cost is not None:
            out.reduce[(*at, a)] = _terms(cost)
            out.cross[(*at, a)] = crossing
            out.able[(*at, a)] = True
    out.exchange[at] = _terms(collective.all_to_all(shape))
    out.exchange[(*at, TERMS.index("peers"))] = max(
        shape.n * wide - 2.0, 0.0
    )  # also to those beyond the domain
    for a, algorithm in enumerate(gathers):
        cost = collective.cost("all_gather", algorithm, shape)
        if cost is not None:
            out.gather[(*at, a)] = _terms(cost)


def _two_level(
    algorithm: str, shape: NetworkShape, domains: float
) -> tuple[collective.Cost | None, tuple[float, float]]:
    """An all-reduce over several domains.

    Scattered inside, reduced between them on a share each, gathered inside.

    Between domains rings go on as a double tree (NCCL), all other algorithms double; where a domain is one
    package, that is all.
    """
    n, rounds = shape.n, log2(domains)
    double = rounds, rounds / n
    if algorithm == "ring":
        return collective.cost("all_reduce", "ring", shape), (2.0 * rounds, 2.0 / n)
    if algorithm == "one_shot":  # all peers at once, those inside by the domain's links
        inside = collective.cost("all_reduce", "one_shot", shape)
        volume = inside.volume if inside is not None else 0.0
        return collective.Cost(volume=volume, peers=n * domains - 2.0), (1.0, n * (domains - 1.0))
    if algorithm == "recursive_doubling":
        return collective.cost("all_reduce", "recursive_doubling", shape), (rounds, rounds)
    if algorithm in {"hierarchical", "two_shot"}:
        passed = collective.cost("all_gather", "hierarchical", shape) or collective.cost(
            "all_gather", "ring", shape
        )
        assert passed is not None  # noqa: S101 - a ring runs everywhere
        return passed + passed, double
    if algorithm == "in_network" and n > 1:
        inside = collective.cost("all_reduce", "in_network", shape)
        return (None, double) if inside is None else (inside + inside, double)
    return None, (0.0, 0.0)


def _cables(
    name: str, rack: NetworkShape, n: int, held: int, ports: int, taper: float
) -> tuple[float, float]:
    """Cables per package inside racks and between them, over its bandwidth; ``held`` packages a rack."""
    if n == 1:
        return 0.0, 0.0
    whole = topology.shape(name, n, n, ports, taper)
    if whole.switched and len(whole.levels) == 1:
        away = 1.0 - held / n
        return 1.0 - away, away
    if whole.switched:
        leaf, spine = whole.levels
        down = 1.0 - min(held / leaf.size, 1.0)
        up = spine.links if held < n else 0.0
        return 1.0 + spine.links - down - up, down + up
    inside = sum(level.links for level in rack.levels)
    return 0.5 * inside, 0.5 * max(1.0 - inside, 0.0)


def column_of(size: FloatArray) -> IntArray:
    """Column of the largest tabulated size not above ``size``."""
    out: IntArray = np.clip(np.floor(np.log2(np.maximum(size, 1.0)) + 1e-9), 0, len(GROUPS) - 1).astype(
        np.int64
    )
    return out


def catalogue_tables(catalog: Catalog) -> Tables:
    """Tables of the topologies of a catalogue, on its scale-up switch."""
    ports = int(catalog.value("switch", catalog.the("switch", "scale_up"), "ports"))
    order = catalog.names("topology")
    tapers = [
        catalog.entry("topology", name).values["taper"].nominal
        for name in order
        if "taper" in catalog.entry("topology", name).values
    ]
    return tables(tuple(order), ports, tapers[0] if tapers else 1.0)
