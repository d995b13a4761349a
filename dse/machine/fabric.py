"""The network of a domain as tables: what collectives take for every group size, what links and switches it needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from math import log2
from typing import Final

import numpy as np

from dse.catalog import Catalog
from dse.machine.datacenter import ENGINES, names
from dse.machine.look import Look
from dse.physics import collective, topology
from dse.plan import GROUPS
from dse.shape import Shape
from dse.space import Scenario
from dse.units import BoolArray, FloatArray, IntArray

NEVER = 1e6
"""s; stands for an algorithm that a fabric cannot run, without infinities in the arrays"""
LINES: Final = (
    ("ring", "flags"), ("ring", "bulk"), ("recursive_doubling", "flags"), ("one_shot", "direct"), ("tree", "flags"),
    ("tree", "bulk"), ("hierarchical", "flags"), ("hierarchical", "bulk"), ("in_network", "switch"),
)  # fmt: skip
"""algorithm and protocol of an all-reduce: flags beside the data, or bulk data behind fences"""
MEDIA: Final = ("copper", "retimed", "optical")
"""links by reach: within a rack, between near racks, beyond"""
TERMS: Final = ("steps", "hops", "switches", "volume", "peers")
"""last axis of the tables"""


@dataclass(frozen=True)
class Tables:
    """Numbers of every topology by domain and group, which no other choice of a design changes.

    Shapes start with (topologies, domains); sizes of domains and groups are ``GROUPS``.
    """

    reduce: FloatArray
    """(.., groups, lines, terms) of the part inside a domain; a wider group reduces, crosses, and gathers again"""
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
    """Tabulate closed forms; a domain that a topology does not admit holds those of full connection."""
    t, d, g = len(order), len(GROUPS), len(GROUPS)
    gathers = tuple(collective.ALL_GATHER)
    out = Tables(
        np.zeros((t, d, g, len(LINES), len(TERMS))), np.zeros((t, d, g, len(LINES), 2)), np.zeros((t, d, g, len(LINES)), dtype=bool),
        np.zeros((t, d, g, len(TERMS))), np.full((t, d, g, len(gathers), len(TERMS)), np.nan), np.zeros((d, g)), np.zeros((t, d, 2)), np.zeros((t, d)),
        np.ones((t, d, 2, 2)) * np.array([0.0, 1.0]), np.zeros((t, d, g)), np.zeros((t, d, g)), np.zeros((t, d), dtype=bool),
        np.array([name in {"switch", "clos", "tree"} for name in order]),
    )  # fmt: skip
    for i, name in enumerate(order):
        for j, n in enumerate(GROUPS):
            out.admitted[i, j] = topology.admits(name, n, ports, taper)
            used = name if out.admitted[i, j] else "full"
            for k, size in enumerate(GROUPS):
                shape = topology.shape(used, n, min(size, n), ports, taper)
                _group(out, (i, j, k), shape, size / n, gathers)
                out.cables[i, j, k], out.outside[i, j, k] = _cables(used, shape, n, min(size, n), ports, taper)
            whole = topology.shape(used, n, n, ports, taper)
            out.mean[i, j] = (whole.mean_hops, whole.mean_switches)
            out.ports[i, j] = whole.ports
            for r, (count, per) in enumerate(whole.chips):
                out.chips[i, j, r] = (count, per)
    for j, n in enumerate(GROUPS):
        for k, size in enumerate(GROUPS):
            out.beyond[j, k] = max(size - n, 0) / max(size - 1, 1)
    return out


def _terms(cost: collective.Cost) -> tuple[float, ...]:
    return cost.steps, cost.hops, cost.switches, cost.volume, cost.peers


def _group(out: Tables, at: tuple[int, int, int], shape: Shape, domains: float, gathers: tuple[str, ...]) -> None:
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
    out.exchange[(*at, TERMS.index("peers"))] = max(shape.n * wide - 2.0, 0.0)  # also to those beyond the domain
    for a, algorithm in enumerate(gathers):
        cost = collective.cost("all_gather", algorithm, shape)
        if cost is not None:
            out.gather[(*at, a)] = _terms(cost)


def _two_level(algorithm: str, shape: Shape, domains: float) -> tuple[collective.Cost | None, tuple[float, float]]:
    """An all-reduce over several domains: scattered inside, reduced between them on a share each, gathered inside.

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
    if algorithm == "hierarchical":
        passed = collective.cost("all_gather", "hierarchical", shape) or collective.cost("all_gather", "ring", shape)
        assert passed is not None  # noqa: S101 - a ring runs everywhere
        return passed + passed, double
    if algorithm == "in_network" and n > 1:
        inside = collective.cost("all_reduce", "in_network", shape)
        return (None, double) if inside is None else (inside + inside, double)
    return None, (0.0, 0.0)


def _cables(name: str, rack: Shape, n: int, held: int, ports: int, taper: float) -> tuple[float, float]:
    """Cables per package inside racks and between them, in units of its bandwidth; ``held`` packages a rack."""
    if n == 1:
        return 0.0, 0.0
    if name == "switch":
        away = 1.0 - held / n
        return 1.0 - away, away
    if name in {"clos", "tree"}:
        leaf, spine = topology.shape(name, n, n, ports, taper).levels
        down = 1.0 - min(held / leaf.size, 1.0)
        up = spine.links if held < n else 0.0
        return 1.0 + spine.links - down - up, down + up
    inside = sum(level.links for level in rack.levels)
    return 0.5 * inside, 0.5 * max(1.0 - inside, 0.0)


def column_of(size: FloatArray) -> IntArray:
    """Column of the largest tabulated size not above ``size``."""
    out: IntArray = np.clip(np.floor(np.log2(np.maximum(size, 1.0)) + 1e-9), 0, len(GROUPS) - 1).astype(np.int64)
    return out


def catalogue_tables(catalog: Catalog) -> Tables:
    """Tables of the topologies of a catalogue, on its scale-up switch."""
    chip = int(catalog.value("switch", "scale_up", "ports"))
    return tables(tuple(names(catalog, "topology")), chip, catalog.value("topology", "tree", "taper"))


@dataclass(frozen=True)
class Reach:
    """How a domain stands in racks."""

    racks: FloatArray
    """racks that its power fills"""
    held: IntArray
    """column of the packages of a rack"""
    medium: IntArray
    """index into MEDIA of the links between racks"""


def reach(look: Look, rack_watts: FloatArray, limit: FloatArray) -> Reach:
    """Spread a domain of ``rack_watts`` over racks of ``limit``; the distance between the outer racks chooses the cable."""
    p, c = look.parts, look.catalog
    per_rack = np.maximum(np.floor(limit / np.maximum(rack_watts / p.domain, 1.0)), 1.0)
    held = np.minimum(column_of(per_rack), column_of(p.domain))
    racks = np.ceil(p.domain / np.exp2(held))
    distance = c.value("rack", "common", "slack") + racks * c.value("rack", "common", "pitch")
    near = distance <= c.value("link", "retimed", "reach")
    return Reach(racks, held, np.where(racks <= 1, 0, np.where(near, 1, 2)))


def fabric(look: Look, scenario: Scenario, r: Reach) -> dict[str, FloatArray]:
    """Alpha and rate tables, links, cables and switch chips of n designs."""
    p, c = look.parts, look.catalog
    t = catalogue_tables(c)
    soft = partial(c.value, "software", scenario.software)
    overhead = 0.0 if soft("allreduce_alpha") == 0 else 1.0  # the ideal stack has no alpha
    at = (p.topology, column_of(p.domain))
    groups = np.array(GROUPS, dtype=np.float64)[None, :]

    switched = t.switched[p.topology]
    hop = look.topology("hop_latency")[:, None]
    inside = (c.value("link", "copper", "latency") + p.link_latency)[:, None]
    wire = np.where(groups <= np.exp2(r.held)[:, None], inside, (_media(c, r, "latency") + p.link_latency)[:, None])
    endpoint, fenced = look.engine("endpoint_latency")[:, None], look.engine("bulk_endpoint_latency")[:, None]
    launch, gap = look.engine("launch_latency")[:, None], look.engine("message_gap")[:, None]
    card = scale_out(c, len(p.domain))
    leaf = groups <= c.value("switch", "scale_out", "ports")  # cards that meet in one switch
    crossing = c.value("link", "scale_out", "latency") - 2.0 * leaf * c.value("link", "scale_out", "switch_latency")

    def flight(terms: FloatArray) -> FloatArray:
        routers = np.where(switched[:, None], terms[..., 2], terms[..., 1])  # packages route where no switch does
        return terms[..., 1] * wire + routers * hop + terms[..., 4] * gap

    slowest = 1.0 / np.maximum(p.link_bandwidth, 1.0)[:, None]
    cards = (1.0 / card["scale_out_bandwidth"])[:, None]
    payloads = {"flags": look.engine("payload"), "direct": look.engine("direct_payload"), "bulk": np.ones(len(p.domain)),
                "switch": look.engine("switch_payload")}  # fmt: skip
    algorithms = [c.entry("collective", name).attributes["algorithms"].split() for name in ENGINES]
    many = groups > 1
    alphas, rates = [], []
    for a, (algorithm, protocol) in enumerate(LINES):
        terms, cross = t.reduce[*at][:, :, a], t.cross[*at][:, :, a]
        each = fenced if protocol == "bulk" else endpoint
        steps = terms[..., 0] + cross[..., 0]
        time = launch + steps * each + flight(terms) + cross[..., 0] * crossing
        time = time + late(c, groups * steps)
        able = t.able[*at][:, :, a] & np.array([algorithm in some for some in algorithms])[p.engine][:, None]
        moved = (terms[..., 3] * slowest + cross[..., 1] * cards) / np.maximum(payloads[protocol], 1e-3)[:, None]
        if overhead == 0:
            time, moved = 0.0 * time, terms[..., 3] * slowest + cross[..., 1] * cards
        alphas.append(np.where(many, np.where(able, time, NEVER), 0.0))
        rates.append(np.where(many, np.where(able, moved, NEVER), 0.0))
    exchange, beyond = t.exchange[*at], t.beyond[at[1]]
    arrival = np.maximum(flight(exchange), (beyond > 0) * crossing)
    gather = t.gather[*at]
    soonest = np.nanmin(np.stack([g[..., 0] * endpoint + flight(g) for g in np.moveaxis(gather, 2, 0)]), axis=0)
    mean = t.mean[*at]
    crossed = np.where(switched, mean[:, 1], mean[:, 0])
    ends = wire[np.arange(len(wire)), at[1]]
    return {
        "reduce_alpha": np.stack(alphas, axis=2),
        "reduce_rate": np.stack(rates, axis=2),
        "exchange_alpha": np.where(many, overhead * (launch + endpoint + arrival + late(c, groups)), 0.0),
        "exchange_rate": np.where(many, np.maximum((1.0 - beyond) * exchange[..., 3] * slowest, beyond * cards), 0.0),
        "gather_alpha": np.where(many, overhead * (launch + soonest + (beyond > 0) * crossing), 0.0),
        "hop_time": overhead * (launch[:, 0] + endpoint[:, 0] + mean[:, 0] * ends + crossed * hop[:, 0]),
        "ports": t.ports[*at],
        **_cabling(look, t, r),
        **card,
    }  # fmt: skip


def _media(catalog: Catalog, r: Reach, f: str) -> FloatArray:
    """A field of the links between racks, (n,)."""
    out: FloatArray = np.array([catalog.value("link", name, f) for name in MEDIA])[r.medium]
    return out


def _cabling(look: Look, t: Tables, r: Reach) -> dict[str, FloatArray]:
    """Cables and switch chips per package: bandwidth of cables, power beyond copper's, price, carbon, failures."""
    p, c = look.parts, look.catalog
    at = (p.topology, column_of(p.domain))
    planes = np.ceil(p.link_bandwidth / c.value("switch", "scale_up", "bandwidth_per_port") - 1e-9)
    ranks = t.chips[*at]
    chips = (ranks[..., 0] * np.ceil(planes[:, None] / ranks[..., 1] - 1e-9)).sum(axis=1)
    linked, rows = np.where(p.domain > 1, p.link_bandwidth, 0.0), np.arange(len(p.domain))
    near, far = t.cables[*at][rows, r.held] * linked, t.outside[*at][rows, r.held] * linked

    def by_cable(f: str) -> FloatArray:
        return near * c.value("link", "copper", f) + far * _media(c, r, f)

    return {
        # a cable's bits beyond copper's energy, in both directions
        "cable_power": 2.0 * far * (_media(c, r, "energy") - c.value("link", "copper", "energy")),
        "cable_price": by_cable("price_per_bandwidth"),
        "cable_carbon": by_cable("carbon_per_bandwidth"),
        "cable_failures": by_cable("failure_rate") / CABLE,
        "cables": near + far,
        "chips": np.where(p.domain > 1, chips, 0.0) / p.domain,
    }


CABLE: Final = 100e9
"""B/s per direction of the cables that failure rates speak of"""


def late(catalog: Catalog, messages: FloatArray) -> FloatArray:
    """Mean time [s] that a collective waits for late ones among its ``messages``, or until its timeout.

    P(any late) x min(delay, timeout): past the timeout the last result is used instead (Ma & Patterson,
    arXiv 2601.05047, section 2.4).
    """
    value = partial(catalog.value, "reliability", "common")
    any_late: FloatArray = -np.expm1(messages * np.log1p(-value("late_share")))
    return any_late * min(value("late_delay"), value("timeout"))


def scale_out(catalog: Catalog, n: int) -> dict[str, FloatArray]:
    """The network beyond the domain, the same for every design."""
    return {
        f"scale_out_{f}": np.full(n, catalog.value("link", "scale_out", f)) for f in ("bandwidth", "latency", "energy")
    }


def link_power(look: Look) -> FloatArray:
    """Power [W] of a package's SerDes: drawn whether bits cross or not.

    A package pays one link's energy per bit for all its bandwidth: the sending half of what
    leaves and the receiving half of what arrives. Switch chips pay for their own side; what
    longer cables take beyond copper is charged outside the package.
    """
    p = look.parts
    return np.where(p.domain > 1, p.link_bandwidth * look.catalog.value("link", "copper", "energy"), 0.0)


def radix_limits(look: Look, net: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Links asked of a package over lanes it has, a domain over the ports of its switch; 2 where no regular network of that size exists."""
    p, c = look.parts, look.catalog
    t = catalogue_tables(c)
    lanes = p.link_bandwidth / c.value("link", "copper", "bandwidth")
    linked = p.domain > 1
    direct = np.where(linked & ~t.switched[p.topology], net["ports"] / np.maximum(lanes, 1e-9), 0.0)
    refused = (p.domain > 2) & ~t.admitted[p.topology, column_of(p.domain)]
    single = p.topology == names(c, "topology").index("switch")
    over = np.where(single, p.domain / c.value("switch", "scale_up", "ports"), 2.0)
    return {"radix": np.maximum(direct, np.where(refused, over, 0.0))}
