"""Topologies in closed form: hops, diameter, bisection, links and switch ports of n packages.

A package has L bytes/s per direction, spread evenly over its ``ports``; figures below are in units
of L, of a link (L / ports), or of links. A network is a list of levels: a level joins ``size``
members directly, as a ring or a line of neighbours, or through switch chips; n is the product of
the sizes. A group of g packages inside a domain of n is laid out along the levels, innermost first,
and has only the links that join its own members: a part of a ring has no link that closes it.

Sources: Dally & Towles, Principles and Practices of Interconnection Networks (2004), for rings, tori and fat
trees; Kim et al., ISCA 2008, for the dragonfly; Ahn et al., SC 2009, for HyperX; Leiserson 1985 for trees.
Tests hold every figure against graphs of scipy.sparse.csgraph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import prod
from typing import Final

from dse.physics.network_shape import Level, NetworkShape

SWITCH_PORTS: Final = 72
"""ports of a scale-up switch chip unless the catalogue says otherwise (NVLink 5 switch)"""


TAPER: Final = 4.0
"""packages' links over uplinks of a leaf of the high-radix tree, unless the catalogue says otherwise"""


def _pair(n: int, *, fits: Callable[[int, int], bool] = lambda a, b: True) -> tuple[int, int] | None:
    """Factors a <= b of n, both above 1, as even as can be, for which ``fits`` holds."""
    for a in range(int(n**0.5), 1, -1):
        if n % a == 0 and fits(a, n // a):
            return a, n // a
    return None


def _line(n: int) -> tuple[int, ...] | None:
    return (n,)


def _torus2d(n: int) -> tuple[int, ...] | None:
    return _pair(n, fits=lambda a, b: b % 2 == 0)


def _torus3d(n: int) -> tuple[int, ...] | None:
    options = [
        (a, *two)
        for a in range(2, n)
        if a**3 <= n and n % a == 0 and (two := _pair(n // a, fits=lambda b, c: c % 2 == 0)) and two[0] >= a
    ]
    return min(options, key=lambda s: s[2] / s[0], default=None)


def _hyperx(n: int) -> tuple[int, ...] | None:
    return _pair(n, fits=lambda a, b: a % 2 == 0)


def _groups(n: int) -> tuple[int, ...] | None:
    """Packages of a dragonfly's group, and groups: even in number, no more than a group can reach."""
    two = _pair(n, fits=lambda a, b: a % 2 == 0 and a <= b + 1)
    return None if two is None else (two[1], two[0])


SIDES: Final[Mapping[str, Callable[[int], tuple[int, ...] | None]]] = {
    "full": _line,
    "ring": _line,
    "torus2d": _torus2d,
    "torus3d": _torus3d,
    "hyperx": _hyperx,
    "dragonfly": _groups,
}
"""sizes of the levels of n packages where packages route, None where there is no regular network of n"""


def sides(name: str, n: int) -> tuple[int, ...]:
    """Sizes of the levels of a network whose packages route.

    Source: Dally & Towles, Principles and Practices of Interconnection Networks, 2004.

    Raises:
        ValueError: the topology has no regular network of n.

    """
    found = (1,) if n == 1 else SIDES[name](n)
    if found is None:
        raise ValueError(f"no regular {name} of {n} packages")
    return found


def _leaf(n: int, most: int) -> int:
    """Packages of a leaf: as many as divide n into an even number of leaves."""
    return max(m for m in range(1, most + 1) if n % m == 0 and (n // m) % 2 == 0)


def _splits(g: int, whole: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Sides that a group of g may have in a domain with sides ``whole``."""
    if len(whole) == 1:
        return [(g,)] if g <= whole[0] and whole[0] % g == 0 else []
    return [
        (s, *rest)
        for s in range(1, min(g, whole[0]) + 1)
        if g % s == 0 and whole[0] % s == 0
        for rest in _splits(g // s, whole[1:])
    ]


def _grid(name: str, n: int, g: int) -> NetworkShape:
    """Rings, tori, full connection and HyperX: a product of rings or of full connections.

    A group takes the sides that carry most all-to-all traffic, then those with the least diameter.
    """
    whole = sides(name, n)
    options = [_box(name, whole, parts) for parts in _splits(g, whole)]
    if not options:
        raise ValueError(f"a group of {g} does not fit a {name} of {' x '.join(map(str, whole))}")
    return max(options, key=lambda s: (round(s.all_to_all, 9), -s.diameter, -len(s.levels)))


def _box(name: str, whole: tuple[int, ...], parts: tuple[int, ...]) -> NetworkShape:
    """Packages of a sub-box with sides ``parts`` of a grid with sides ``whole``."""
    meshed, g = name in {"full", "hyperx"}, prod(parts)
    ports = max(sum(s - 1 if meshed else min(s - 1, 2) for s in whole), 1)
    levels, diameter, total, cuts, links = [], 0.0, 0.0, [], 0.0
    for s, full_side in zip(parts, whole, strict=True):
        if s == 1:
            continue
        kind = "full" if meshed else "ring" if s == full_side else "line"
        across = (s // 2) * ((s + 1) // 2)
        if kind == "full":
            hops, mean, own, cut = 1.0, (s - 1) / s, s - 1.0, across
        elif kind == "ring":
            hops, mean, own, cut = float(s // 2), across / s, float(min(s - 1, 2)), min(s - 1, 2)
        else:
            hops, mean, own, cut = s - 1.0, (s * s - 1) / (3.0 * s), 2.0 * (s - 1) / s, 1
        # what crosses the middle of this level, uniformly: across (g / s)^2 pairs over g / s cuts
        reached = cut / ports * (g - 1) * s / (across * g)
        levels.append(Level(kind, s, own / ports, hops, all_to_all=reached))
        diameter, total, links = diameter + hops, total + mean, links + g * own / 2
        cuts.append((s % 2, g / s * cut))
    bisection = min((cut for odd, cut in cuts if odd == min(o for o, _ in cuts)), default=0.0)
    return NetworkShape(
        n=g,
        ports=ports,
        diameter=diameter,
        mean_hops=total * g / max(g - 1, 1),
        mean_switches=0.0,
        bisection=bisection,
        links=links,
        levels=tuple(levels),
    )


def _dragonfly(n: int, g: int) -> NetworkShape:
    """Groups of a packages, full inside; each package has one global trunk, groups are joined in pairs.

    Paths go local-global-local, at most three links. m links join each pair of groups; a trunk is as
    many links wide as balances it with the local ones. Packages whose trunk no pair needs go without.
    """
    if n == 1:
        return _grid("full", 1, 1)
    a, groups = sides("dragonfly", n)
    between = a // (groups - 1) if groups > 1 else 0
    trunk = max(round(a * a / between / (1.0 + 2.0 * a / between)), 1) if between else 0
    ports = a - 1 + trunk
    k, inside = max(g // a, 1), min(g, a)
    if g > a and (g % a or k > groups):
        raise ValueError(f"a group of {g} does not fit a dragonfly of {groups} groups of {a}")
    if k == 1:
        cut = (g // 2) * ((g + 1) // 2)
        level = Level("full", g, (g - 1) / max(ports, 1), 1.0, all_to_all=(g - 1) / max(ports, 1))
        return NetworkShape(
            n=g,
            ports=ports,
            diameter=1.0 * (g > 1),
            mean_hops=1.0 * (g > 1),
            mean_switches=0.0,
            bisection=cut,
            links=g * (g - 1) / 2,
            levels=(level,) if g > 1 else (),
        )
    one, two = between, 2 * between * (a - 1) - between * (between - 1)
    three = a * a - one - two
    hops = k * a * (a - 1) + k * (k - 1) * (one + 2 * two + 3 * three)
    local = (g - 1) / (1.0 + 2.0 * a / between) / ports
    reached = (g - 1) * between * trunk / (a * a) / ports
    levels = (
        Level("full", inside, (a - 1) / ports, 1.0, all_to_all=local),
        Level("global", k, (k - 1) * between * trunk / a / ports, 3.0 if three else 2.0, all_to_all=reached),
    )
    links = k * a * (a - 1) / 2 + k * (k - 1) / 2 * between * trunk
    halves = min((k // 2) * ((k + 1) // 2) * between * trunk, k * (a // 2) * ((a + 1) // 2))
    return NetworkShape(
        n=g,
        ports=ports,
        diameter=3.0 if three else 2.0,
        mean_hops=hops / (g * (g - 1)),
        mean_switches=0.0,
        bisection=halves,
        links=links,
        levels=levels,
    )


def _switch(n: int, g: int, ports: int) -> NetworkShape:
    """One chip a plane."""
    if n > ports:
        raise ValueError(f"no switch of {ports} ports joins {n} packages")
    return _star(g, ((1.0, float(ports // n)),), float(n) * (n > 1))


def _leaf_spine(n: int, g: int, ports: int, taper: float) -> NetworkShape:
    """Leaves and spines; ``taper`` is a leaf's packages over its uplinks: 1 does not block."""
    if n == 1:
        return _switch(n, g, ports)
    down = int(ports * taper / (1.0 + taper))
    leaf = _leaf(n, down) if n % 2 == 0 else 0
    if n % 2 or n / leaf > ports or 2 * leaf <= min(down, n / 2):
        raise ValueError(f"no regular leaves and spines of {n} packages on switches of {ports} ports")
    up, leaves = max(leaf / taper, 1.0), n // leaf
    chips = ((float(leaves), float(max(ports // (leaf + up), 1))), (1.0, ports // leaves / up))
    total = n + leaves * up
    if g <= leaf:
        return _star(g, chips, total)
    if g % leaf:
        raise ValueError(f"a group of {g} does not fill leaves of {leaf}")
    near, far, width = leaf - 1.0, float(g - leaf), up / leaf
    levels = (
        Level("switch", leaf, 1.0, 2.0, 1.0),
        Level("switch", g // leaf, width, 4.0, 3.0, all_to_all=width * (g - 1) / far),
    )
    mean, crossed = (2.0 * near + 4.0 * far) / (g - 1), (near + 3.0 * far) / (g - 1)
    return NetworkShape(
        n=g,
        ports=1,
        diameter=4.0,
        mean_hops=mean,
        mean_switches=crossed,
        bisection=min(g / 2.0, g / leaf / 2.0 * up),
        links=total,
        levels=levels,
        chips=chips,
    )


def _star(g: int, chips: tuple[tuple[float, float], ...], links: float) -> NetworkShape:
    """A group whose members share a switch chip."""
    some, levels = float(g > 1), (Level("switch", g, 1.0, 2.0, 1.0),) if g > 1 else ()
    return NetworkShape(
        n=g,
        ports=1,
        diameter=2.0 * some,
        mean_hops=2.0 * some,
        mean_switches=some,
        bisection=float(g // 2),
        links=links,
        levels=levels,
        chips=chips,
    )


Topology = Callable[[int, int, int, float], NetworkShape]
"""(packages of the domain, of the group, ports of a switch, taper) -> what the group's network looks like"""


TOPOLOGIES: Final[Mapping[str, Topology]] = {
    "full": lambda n, g, ports, taper: _grid("full", n, g),
    "ring": lambda n, g, ports, taper: _grid("ring", n, g),
    "torus2d": lambda n, g, ports, taper: _grid("torus2d", n, g),
    "torus3d": lambda n, g, ports, taper: _grid("torus3d", n, g),
    "hyperx": lambda n, g, ports, taper: _grid("hyperx", n, g),
    "dragonfly": lambda n, g, ports, taper: _dragonfly(n, g),
    "switch": lambda n, g, ports, taper: _switch(n, g, ports),
    "clos": lambda n, g, ports, taper: _leaf_spine(n, g, ports, 1.0),
    "tree": _leaf_spine,
}


@lru_cache(maxsize=8192)
def shape(name: str, n: int, g: int = 0, ports: int = SWITCH_PORTS, taper: float = TAPER) -> NetworkShape:
    """A network of n packages, or a group of ``g`` inside it.

    Source: Dally & Towles 2004; HyperX: Ahn et al., SC 2009; Dragonfly: Kim et al., ISCA 2008.

    Raises:
        ValueError: the topology has no regular network of n, or the group does not fit it.

    """
    return TOPOLOGIES[name](n, g or n, ports, taper)


@lru_cache(maxsize=8192)
def admits(name: str, n: int, ports: int = SWITCH_PORTS, taper: float = TAPER) -> bool:
    """Whether a topology has a regular network of n packages on switches of ``ports``.

    Source: as shape.
    """
    try:
        shape(name, n, n, ports, taper)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=64)
def two_levels(n: int, box: int, ports: int) -> NetworkShape:
    """Scale-up boxes of ``box`` packages on a switch each, and a card of each package on a scale-out network.

    The scale-out network is one switch of ``ports`` where that holds all cards, else a two-level Clos.
    Traffic between boxes leaves by the card: figures count the links and switches of the shorter of both
    networks.

    Source: as shape.

    Raises:
        ValueError: n is no multiple of the box, or no Clos of those ports holds n cards.

    """
    if n % box:
        raise ValueError(f"{n} packages are no whole number of boxes of {box}")
    cards = shape("switch" if n <= ports else "clos", n, n, ports)
    inner = Level("switch", box, 1.0, 2.0, 1.0)
    near, far = box - 1.0, n - box
    hops, crossed = near * 2.0 * (box > 1), near * (box > 1)
    leaf = n if n <= ports else cards.levels[0].size
    here = max(leaf - box, 0.0)  # of other boxes, on the same leaf
    hops += here * 2.0 + (far - here) * 4.0
    crossed += here + (far - here) * 3.0
    # links of the second level in units of a card; between every two links lies a switch
    levels = (inner, Level("switch", n // box, 1.0, cards.diameter, cards.diameter - 1.0))
    pairs = max(n - 1, 1)
    return NetworkShape(
        n=n,
        ports=2,
        diameter=max(cards.diameter, 2.0),
        mean_hops=hops / pairs,
        mean_switches=crossed / pairs,
        bisection=cards.bisection,
        links=n + cards.links,
        levels=levels,
        chips=cards.chips,
    )
