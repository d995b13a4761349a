"""Collectives on a topology: steps, links, switches and bytes of each algorithm, in closed form.

t = launch + steps x endpoint + peers x gap + hops x wire + switches x switch + volume x message / L, where
peers, hops and switches are summed over the steps and ``volume`` counts what the busiest link carries, as
time at rate L per byte of message. On one level of full bandwidth these are the textbook forms (Thakur,
Rabenseifner & Gropp, IJHPCA 2005; Sanders, Speck & Traeff 2009 for the double tree; Chan et al. 2007 for one
dimension after another).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, log2
from typing import Final

from dse.physics.network_shape import Level, NetworkShape

NEIGHBOURS: Final = frozenset({"ring", "line"})


@dataclass(frozen=True)
class Cost:
    """What an algorithm asks of a network; add two to run one after the other."""

    steps: float = 0.0
    hops: float = 0.0
    """links crossed, summed over steps"""
    switches: float = 0.0
    """switch chips crossed, summed over steps"""
    volume: float = 0.0
    """s x L per byte of the message"""
    peers: float = 0.0
    """messages that a rank posts beyond one a step, summed over steps"""

    def __add__(self, other: Cost) -> Cost:
        """One after the other."""
        return Cost(
            self.steps + other.steps,
            self.hops + other.hops,
            self.switches + other.switches,
            self.volume + other.volume,
            self.peers + other.peers,
        )


def _phase(
    level: Level, steps: float, volume: float, *, hops: float | None = None, peers: float = 0.0
) -> Cost:
    """``steps`` in a level that cross it each, or ``hops`` in all."""
    return Cost(steps, steps * level.hops if hops is None else hops, steps * level.switches, volume, peers)


def _ring_rate(level: Level) -> float:
    """Share of L that a ring through a level uses.

    All its links, one on a line that is folded into a ring.
    """
    if level.kind != "line":
        return level.links
    return level.links * level.size / (2.0 * (level.size - 1))


def _ring_pass(shape: NetworkShape) -> Cost:
    """Reduce-scatter or all-gather by rings: one round over a switched network, else dimension by dimension.

    Dimensions of a grid work at the same time on parts of the message (each part in another order).
    """
    g = shape.n
    if shape.switched:
        return _phase(shape.levels[-1], g - 1.0, (g - 1.0) / g)
    one_by_one = any(level.kind == "global" for level in shape.levels)
    each = [
        1.0 if x.kind == "line" else min(x.size - 1.0, 2.0) if x.kind == "ring" else x.size - 1.0
        for x in shape.levels
    ]
    whole, kept = Cost(), 1.0
    for level, rings in zip(shape.levels, each, strict=True):
        near = {"line": 2.0 if level.size > 2 else 1.0, "global": level.hops}.get(level.kind, 1.0)
        volume = kept * (level.size - 1) / level.size / _ring_rate(level)
        at_once = rings if one_by_one else sum(each)  # a message for every ring that turns
        whole += _phase(
            level,
            level.size - 1.0,
            volume,
            hops=(level.size - 1) * near,
            peers=(level.size - 1) * (at_once - 1.0),
        )
        kept /= level.size
    if one_by_one:
        return whole
    rate = sum(_ring_rate(level) for level in shape.levels)
    return Cost(whole.steps, whole.hops, whole.switches, (g - 1.0) / g / rate, whole.peers)


def _doubling(shape: NetworkShape, *, sizes: str) -> Cost:
    """Recursive doubling level by level; ``sizes``: whole messages each step, or halves as all-gathers."""
    out, kept = Cost(), 1.0
    for level in shape.levels:
        s = level.size
        rounds = ceil(log2(s))
        shares = [kept if sizes == "whole" else kept * 2.0**k / s for k in range(rounds)]
        if level.kind in NEIGHBOURS:  # the partner stands 1, 2, 4, ... away, and as many pairs share a link
            away = [min(2.0**k, s / 2) for k in range(rounds)]
            link = level.links * s / (2.0 * (s - 1)) if level.kind == "line" else level.links / min(s - 1, 2)
            volume = sum(d * share for d, share in zip(away, shares, strict=True)) / link
            out += _phase(level, rounds, volume, hops=sum(away))
        else:
            wide = level.links if level.kind == "switch" else level.links / (s - 1)
            out += _phase(level, rounds, sum(shares) / wide)
        kept /= s if sizes == "halves" else 1.0
    return out


def _direct_pass(levels: tuple[Level, ...]) -> Cost:
    """Reduce-scatter or all-gather with all peers of a level at once, level by level."""
    out, kept = Cost(), 1.0
    for level in levels:
        out += _phase(level, 1.0, kept * (level.size - 1) / level.size / level.links, peers=level.size - 2.0)
        kept /= level.size
    return out


def _ring(shape: NetworkShape) -> Cost:
    one = _ring_pass(shape)
    return one + one


def _recursive_doubling(shape: NetworkShape) -> Cost:
    return _doubling(shape, sizes="whole")


def _one_shot(shape: NetworkShape) -> Cost:
    """Every rank sends its whole message to every other."""
    far = shape.levels[-1] if shape.switched else None
    return Cost(
        1.0, shape.diameter, far.switches if far else 0.0, (shape.n - 1.0) / shape.all_to_all, shape.n - 2.0
    )


def _tree_pass(shape: NetworkShape) -> Cost:
    """Reduce to a root, or broadcast from it.

    Along rings, straight to the root of a mesh, a binary tree over switches.

    Pipelined; two trees share a switched network so that each rank is a leaf of one.
    """
    out = Cost()
    for level in shape.levels:
        s = level.size
        if level.kind in NEIGHBOURS:
            link = level.links * s / (2.0 * (s - 1)) if level.kind == "line" else level.links / min(s - 1, 2)
            out += _phase(level, float(s // 2), 1.0 / link, hops=float(s // 2))
        elif level.kind == "switch":
            out += _phase(level, float(ceil(log2(s))), 1.0 / level.links)
        else:
            out += _phase(level, 1.0, (s - 1.0) / level.links, peers=s - 2.0)
    return out


def _tree(shape: NetworkShape) -> Cost:
    one = _tree_pass(shape)
    return one + one


def _hierarchical(shape: NetworkShape) -> Cost | None:
    """Reduce-scatter with all peers level by level, the last level in one shot, all-gather back.

    A single level of 4 or more is taken as two, as even as can be. Rings and lines have their ring instead.
    """
    levels = shape.levels
    if any(level.kind in NEIGHBOURS for level in levels):
        return None
    if len(levels) == 1:
        s = levels[0].size
        inner = max((d for d in range(2, int(s**0.5) + 1) if s % d == 0), default=0)
        if not inner:
            return None
        wide = levels[0].links if levels[0].kind == "switch" else levels[0].links / (s - 1)

        def part(size: int) -> Level:
            links = wide if levels[0].kind == "switch" else wide * (size - 1)
            return Level(levels[0].kind, size, links, levels[0].hops, levels[0].switches)

        levels = (part(inner), part(s // inner))
    passed, last = _direct_pass(levels[:-1]), levels[-1]
    kept = 1.0
    for level in levels[:-1]:
        kept /= level.size
    return passed + _phase(last, 1.0, kept * (last.size - 1) / last.links, peers=last.size - 2.0) + passed


def _two_shot(shape: NetworkShape) -> Cost | None:
    """Reduce-scatter with all peers of a level at once, all-gather back.

    Rings and lines have their ring instead.
    """
    if any(level.kind in NEIGHBOURS for level in shape.levels):
        return None
    passed = _direct_pass(shape.levels)
    return passed + passed


def _in_network(shape: NetworkShape) -> Cost | None:
    """Switches add on the way up and send the sum down: each rank sends and receives the message once."""
    if not shape.switched:
        return None
    return _phase(shape.levels[-1], 1.0, 1.0)


def _gather_doubling(shape: NetworkShape) -> Cost:
    return _doubling(shape, sizes="halves")


def _multicast(shape: NetworkShape) -> Cost | None:
    """Switches copy: a rank's share goes up once and all shares come down."""
    return _phase(shape.levels[-1], 1.0, (shape.n - 1.0) / shape.n) if shape.switched else None


def _gather_one_shot(shape: NetworkShape) -> Cost:
    """Every rank sends its share of the whole to every other."""
    one = _one_shot(shape)
    return Cost(one.steps, one.hops, one.switches, one.volume / shape.n, one.peers)


def _spread(shape: NetworkShape) -> Cost:
    """Broadcast as a scatter and an all-gather: for long messages."""
    one = _ring_pass(shape)
    return one + one


def _broadcast_in_network(shape: NetworkShape) -> Cost | None:
    return _in_network(shape)


Algorithm = Callable[[NetworkShape], Cost | None]


ALL_REDUCE: Final[Mapping[str, Algorithm]] = {
    "ring": _ring,
    "recursive_doubling": _recursive_doubling,
    "one_shot": _one_shot,
    "tree": _tree,
    "hierarchical": _hierarchical,
    "two_shot": _two_shot,
    "in_network": _in_network,
}


ALL_GATHER: Final[Mapping[str, Algorithm]] = {
    "ring": _ring_pass,
    "recursive_doubling": _gather_doubling,
    "one_shot": _gather_one_shot,
    "hierarchical": lambda shape: None if _hierarchical(shape) is None else _direct_pass(shape.levels),
    "in_network": _multicast,
}


REDUCE_SCATTER: Final = ALL_GATHER
"""the same messages the other way round; a switch that adds takes every share up and sends each rank its own
"""


BROADCAST: Final[Mapping[str, Algorithm]] = {
    "ring": _spread,
    "tree": _tree_pass,
    "in_network": _broadcast_in_network,
}


COLLECTIVES: Final[Mapping[str, Mapping[str, Algorithm]]] = {
    "all_reduce": ALL_REDUCE,
    "reduce_scatter": REDUCE_SCATTER,
    "all_gather": ALL_GATHER,
    "broadcast": BROADCAST,
}


def cost(collective: str, algorithm: str, shape: NetworkShape) -> Cost | None:
    """What a collective over all ranks of ``shape`` asks, None where the network cannot run the algorithm.

    The message is the whole vector: what each rank holds before an all-reduce or reduce-scatter, or after
    an all-gather or broadcast. One rank asks nothing.

    Source: Thakur, Rabenseifner & Gropp, IJHPCA 2005; Chan et al. 2007, with hops and switches beside.

    Raises:
        KeyError: no such collective or algorithm.

    """
    run = COLLECTIVES[collective][algorithm]
    return Cost() if shape.n == 1 else run(shape)


def all_to_all(shape: NetworkShape) -> Cost:
    """A message from every rank to every other at once; ``volume`` per byte that a rank sends, bounded by the
    bisection.

    Source: bisection bound, Dally & Towles, Principles and Practices of Interconnection Networks, 2004.
    """
    if shape.n == 1:
        return Cost()
    far = shape.levels[-1] if shape.switched else None
    return Cost(1.0, shape.diameter, far.switches if far else 0.0, 1.0 / shape.all_to_all, shape.n - 2.0)


def point_to_point(shape: NetworkShape) -> Cost:
    """A message between two ranks at the mean distance; ``volume`` per byte, over all links of the sender.

    Source: Hockney model alpha + beta m, with mean hops of the network.
    """
    if shape.n == 1:
        return Cost()
    return Cost(1.0, shape.mean_hops, shape.mean_switches, 1.0)


def bound(collective: str, ranks: int) -> float:
    """Bytes that some rank must send per byte of message, unless switches add or copy on the way.

    2 (g - 1) / g of an all-reduce, (g - 1) / g of a reduce-scatter or all-gather, all of a broadcast.

    Source: Chan et al., Concurrency and Computation 2007, lower bounds of collectives.
    """
    share = (ranks - 1.0) / ranks
    return {
        "all_reduce": 2.0 * share,
        "reduce_scatter": share,
        "all_gather": share,
        "broadcast": float(ranks > 1),
    }[collective]
