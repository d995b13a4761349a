"""The network of a domain: what collectives take for every group size, what links and switches it needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from dse.catalog.catalog import Catalog, names
from dse.core.axes import GROUPS
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.hardware.collective_tables import LINES, NEVER, Tables, catalogue_tables, column_of
from dse.hardware.datacenter import ENGINES
from dse.hardware.part_values import PartValues
from dse.physics import collective
from dse.space.scenario import Scenario

MEDIA: Final = ("copper", "retimed", "optical")
"""links by reach: within a rack, between near racks, beyond"""


@dataclass(frozen=True)
class RackSpan:
    """How a domain stands in racks."""

    racks: FloatArray
    """racks that its power fills"""
    held: IntArray
    """column of the packages of a rack"""
    medium: IntArray
    """index into MEDIA of the links between racks"""


def rack_span(values: PartValues, watts: FloatArray, limit: FloatArray) -> RackSpan:
    """Spread packages of ``watts`` over racks of ``limit``; the distance between the outer racks chooses the cable."""
    parts, catalog = values.parts, values.catalog
    per_rack = np.maximum(np.floor(limit / np.maximum(watts, 1.0)), 1.0)
    held = np.minimum(column_of(per_rack), column_of(parts.domain))
    racks = np.ceil(parts.domain / np.exp2(held))
    distance = catalog.value("rack", "common", "slack") + racks * catalog.value("rack", "common", "pitch")
    near = distance <= catalog.value("link", "retimed", "reach")
    return RackSpan(racks, held, np.where(racks <= 1, 0, np.where(near, 1, 2)))


@dataclass(frozen=True)
class _Times:
    """What every message of n designs takes, (n, 1) or (n, groups)."""

    launch: FloatArray
    """s of a collective between ranks; the network's own engine does not start these sooner than a device"""
    switch_launch: FloatArray
    """s of what switches reduce or copy"""
    endpoint: FloatArray
    fenced: FloatArray
    gap: FloatArray
    wire: FloatArray
    hop: FloatArray
    crossing: FloatArray
    """s between two network cards"""
    slowest: FloatArray
    """s/B of a package's links"""
    cards: FloatArray
    """s/B of its network card"""
    switched: BoolArray

    def flight(self, terms: FloatArray) -> FloatArray:
        """S of links, switches or routers, and further messages of the terms of tables."""
        routers = np.where(self.switched[:, None], terms[..., 2], terms[..., 1])  # packages route where no switch does
        return terms[..., 1] * self.wire + routers * self.hop + terms[..., 4] * self.gap


def _times(values: PartValues, t: Tables, r: RackSpan) -> _Times:
    parts, catalog = values.parts, values.catalog
    groups = np.array(GROUPS, dtype=np.float64)[None, :]
    inside = (catalog.value("link", "copper", "latency") + parts.link_latency)[:, None]
    outside = (_media(catalog, r, "latency") + parts.link_latency)[:, None]
    own = values.engine("launch_latency")[:, None]
    reducing = (parts.engine == ENGINES.index("in_network"))[:, None]
    leaf = (groups <= catalog.value("switch", "scale_out", "ports")).astype(np.float64)  # cards that meet in one switch
    return _Times(
        launch=np.where(reducing, catalog.value("collective", "device", "launch_latency"), own), switch_launch=own,
        endpoint=values.engine("endpoint_latency")[:, None], fenced=values.engine("bulk_endpoint_latency")[:, None],
        gap=values.engine("message_gap")[:, None], wire=np.where(groups <= np.exp2(r.held)[:, None], inside, outside),
        hop=values.topology("hop_latency")[:, None],
        crossing=catalog.value("link", "scale_out", "latency") - 2.0 * leaf * catalog.value("link", "scale_out", "switch_latency"),
        slowest=1.0 / np.maximum(_usable(values, t), 1.0)[:, None],
        cards=np.full((len(parts.domain), 1), 1.0 / catalog.value("link", "scale_out", "bandwidth")), switched=t.switched[parts.topology],
    )  # fmt: skip


def _usable(values: PartValues, t: Tables) -> FloatArray:
    """Bandwidth [B/s] of a package's links: packages that route spread whole lanes evenly over their links."""
    parts = values.parts
    lane = values.catalog.value("link", "copper", "bandwidth")
    ports = t.ports[parts.topology, column_of(parts.domain)]
    each = np.floor(parts.link_bandwidth / lane / ports + 1e-9)
    whole = ~t.switched[parts.topology] & (each >= 1) & (parts.clock > 0)
    return np.where(whole, each * ports * lane, parts.link_bandwidth)


def fabric(values: PartValues, scenario: Scenario, r: RackSpan) -> dict[str, FloatArray]:
    """Alpha and rate tables, links, cables and switch chips of n designs."""
    parts, catalog = values.parts, values.catalog
    t = catalogue_tables(catalog)
    w = _times(values, t, r)
    software = partial(catalog.value, "software", scenario.software)
    overhead = 0.0 if software("allreduce_alpha") == 0 else 1.0  # the ideal stack has no alpha
    at = (parts.topology, column_of(parts.domain))
    groups = np.array(GROUPS, dtype=np.float64)[None, :]
    many = groups > 1
    exchange, beyond = t.exchange[*at], t.beyond[at[1]]
    crossed = (beyond > 0) * w.crossing
    arrival = np.maximum(w.flight(exchange), crossed + exchange[..., 4] * w.gap) + late(
        catalog, groups * (groups - 1.0)
    )
    mean = t.mean[*at]
    routers = np.where(w.switched, mean[:, 1], mean[:, 0])
    ends = w.wire[np.arange(len(w.wire)), at[1]]
    alphas, rates = _reduces(values, t, w, overhead)
    return {
        "reduce_alpha": alphas,
        "reduce_rate": rates,
        "exchange_alpha": np.where(many, overhead * (w.launch + w.endpoint + arrival), 0.0),
        "exchange_rate": np.where(many, np.maximum((1.0 - beyond) * exchange[..., 3] * w.slowest, beyond * w.cards), 0.0),
        "gather_alpha": np.where(many, overhead * (_gather(values, t, w) + crossed), 0.0),
        "hop_time": overhead * (w.launch[:, 0] + w.endpoint[:, 0] + mean[:, 0] * ends + routers * w.hop[:, 0]),
        "ports": t.ports[*at],
        **_cabling(values, t, r),
        **scale_out(catalog, len(parts.domain)),
    }  # fmt: skip


def _runs(values: PartValues, algorithm: str) -> BoolArray:
    """(n, 1) whether the engine of a design runs an algorithm."""
    some = [algorithm in values.catalog.entry("collective", name).attributes["algorithms"].split() for name in ENGINES]
    out: BoolArray = np.array(some)[values.parts.engine][:, None]
    return out


def _reduces(values: PartValues, t: Tables, w: _Times, overhead: float) -> tuple[FloatArray, FloatArray]:
    """Alpha and rate of every all-reduce, (n, groups, lines)."""
    parts = values.parts
    at = (parts.topology, column_of(parts.domain))
    groups = np.array(GROUPS, dtype=np.float64)[None, :]
    many = groups > 1
    payloads = {"flags": values.engine("payload"), "direct": values.engine("direct_payload"), "bulk": np.ones(len(parts.domain)),
                "switch": values.engine("switch_payload")}  # fmt: skip
    alphas, rates = [], []
    for a, (algorithm, protocol) in enumerate(LINES):
        terms, cross = t.reduce[*at][:, :, a], t.cross[*at][:, :, a]
        each = w.fenced if protocol == "bulk" else w.endpoint
        steps = terms[..., 0] + cross[..., 0]
        time = (
            (w.switch_launch if protocol == "switch" else w.launch)
            + steps * each
            + w.flight(terms)
            + cross[..., 0] * w.crossing
        )
        time = time + late(values.catalog, groups * (steps + terms[..., 4]))
        able = t.able[*at][:, :, a] & _runs(values, algorithm)
        moved = terms[..., 3] * w.slowest + cross[..., 1] * w.cards
        if overhead:
            moved = moved / np.maximum(payloads[protocol], 1e-3)[:, None]
        alphas.append(np.where(many, np.where(able, overhead * time, NEVER), 0.0))
        rates.append(np.where(many, np.where(able, moved, NEVER), 0.0))
    return np.stack(alphas, axis=2), np.stack(rates, axis=2)


def _gather(values: PartValues, t: Tables, w: _Times) -> FloatArray:
    """S of the soonest all-gather of a few bytes that the engine runs, (n, groups)."""
    parts = values.parts
    best = np.full((len(parts.domain), len(GROUPS)), NEVER)
    for a, algorithm in enumerate(collective.ALL_GATHER):
        terms = t.gather[parts.topology, column_of(parts.domain)][:, :, a]
        able = ~np.isnan(terms[..., 0]) & _runs(values, algorithm)
        terms = np.where(np.isnan(terms), 0.0, terms)
        launch = w.switch_launch if algorithm == "in_network" else w.launch
        best = np.where(able, np.minimum(best, launch + terms[..., 0] * w.endpoint + w.flight(terms)), best)
    return best


def _media(catalog: Catalog, r: RackSpan, f: str) -> FloatArray:
    """A field of the links between racks, (n,)."""
    out: FloatArray = np.array([catalog.value("link", name, f) for name in MEDIA])[r.medium]
    return out


def _cabling(values: PartValues, t: Tables, r: RackSpan) -> dict[str, FloatArray]:
    """Cables and switch chips per package: bandwidth of cables, power beyond copper's, price, carbon, failures."""
    parts, catalog = values.parts, values.catalog
    at = (parts.topology, column_of(parts.domain))
    linked, rows = np.where(parts.domain > 1, parts.link_bandwidth, 0.0), np.arange(len(parts.domain))
    near, far = t.cables[*at][rows, r.held] * linked, t.outside[*at][rows, r.held] * linked

    def by_cable(f: str) -> FloatArray:
        return near * catalog.value("link", "copper", f) + far * _media(catalog, r, f)

    return {
        # a cable's bits beyond copper's energy, in both directions
        "cable_power": 2.0 * far * (_media(catalog, r, "energy") - catalog.value("link", "copper", "energy")),
        "cable_price": by_cable("price_per_bandwidth"),
        "cable_carbon": by_cable("carbon_per_bandwidth"),
        "cable_failures": by_cable("failure_rate") / CABLE,
        "cables": near + far,
        "chips": switch_chips(values),
        "far": far,
    }


def switch_chips(values: PartValues) -> FloatArray:
    """Switch chips per package: whole chips for the planes of its domain."""
    parts, catalog = values.parts, values.catalog
    ranks = catalogue_tables(catalog).chips[parts.topology, column_of(parts.domain)]
    planes = np.ceil(parts.link_bandwidth / catalog.value("switch", "scale_up", "bandwidth_per_port") - 1e-9)
    chips = (ranks[..., 0] * np.ceil(planes[:, None] / ranks[..., 1] - 1e-9)).sum(axis=1)
    return np.where(parts.domain > 1, chips, 0.0) / parts.domain


def beside(values: PartValues) -> FloatArray:
    """Power [W] beside a package in its rack: its share of the host and of the domain's switches."""
    catalog = values.catalog
    reducing = values.parts.engine == ENGINES.index("in_network")
    chip = catalog.value("switch", "scale_up", "power") + np.where(reducing, values.engine("power"), 0.0)
    return catalog.value("economics", "datacenter", "host_power") + switch_chips(values) * chip


def router_power(values: PartValues) -> FloatArray:
    """Power [W] of a package that routes for others: crossbar and buffers, drawn always as a switch's are."""
    parts = values.parts
    return np.where(parts.domain > 2, parts.link_bandwidth * values.topology("router_energy"), 0.0)


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


def link_power(values: PartValues) -> FloatArray:
    """Power [W] of a package's SerDes: drawn whether bits cross or not.

    A package pays one link's energy per bit for all its bandwidth: the sending half of what
    leaves and the receiving half of what arrives. Switch chips pay for their own side; what
    longer cables take beyond copper is charged outside the package.
    """
    parts = values.parts
    return np.where(parts.domain > 1, parts.link_bandwidth * values.catalog.value("link", "copper", "energy"), 0.0)


def radix_limits(values: PartValues, net: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Links asked of a package over lanes it has, a domain over the ports of its switch; 2 where no regular network of that size exists."""
    parts, catalog = values.parts, values.catalog
    t = catalogue_tables(catalog)
    lanes = parts.link_bandwidth / catalog.value("link", "copper", "bandwidth")
    linked = parts.domain > 1
    direct = np.where(linked & ~t.switched[parts.topology], net["ports"] / np.maximum(lanes, 1e-9), 0.0)
    refused = (parts.domain > 2) & ~t.admitted[parts.topology, column_of(parts.domain)]
    single = parts.topology == names(catalog, "topology").index("switch")
    over = np.where(single, parts.domain / catalog.value("switch", "scale_up", "ports"), 2.0)
    return {"radix": np.maximum(direct, np.where(refused, over, 0.0))}
