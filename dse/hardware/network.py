"""The network of a domain: what collectives take for every group size, what links and switches it needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import GROUPS
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.hardware.collective_tables import LINES, NEVER, Tables, catalogue_tables, column_of
from dse.hardware.machine import Network
from dse.hardware.part_values import PartValues
from dse.physics import collective
from dse.space.limits import Limit
from dse.space.scenario import Scenario

CABLE: Final = 100e9
"""B/s per direction of the cables that failure rates speak of"""


def cables_by_reach(catalog: Catalog) -> list[str]:
    """Cables of a domain: the first within a rack, the others between racks, from the shortest reach."""
    return catalog.with_role("link", "cable", order="reach")


@dataclass(frozen=True)
class RackSpan:
    """How a domain stands in racks."""

    racks: FloatArray
    """racks that its power fills"""
    packages_per_rack: IntArray
    """column of the packages of a rack"""
    medium: IntArray
    """index into ``cables_by_reach`` of the links between racks"""


def rack_span(values: PartValues, watts: FloatArray, limit: FloatArray) -> RackSpan:
    """Spread packages of ``watts`` over racks of ``limit``.

    The distance between the outer racks chooses the cable.
    """
    domain, catalog = values.parts.network.domain, values.catalog
    per_rack = np.maximum(np.floor(limit / np.maximum(watts, 1.0)), 1.0)
    held = np.minimum(column_of(per_rack), column_of(domain))
    racks = np.ceil(domain / np.exp2(held))
    rack = partial(catalog.value, "rack", catalog.only("rack"))
    distance = rack("slack") + racks * rack("pitch")
    cables = cables_by_reach(catalog)
    medium = np.full(len(domain), len(cables) - 1)
    for i in reversed(range(1, len(cables) - 1)):
        medium = np.where(distance <= catalog.value("link", cables[i], "reach"), i, medium)
    return RackSpan(racks, held, np.where(racks <= 1, 0, medium))


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
        routers = np.where(
            self.switched[:, None], terms[..., 2], terms[..., 1]
        )  # packages route where no switch does
        return terms[..., 1] * self.wire + routers * self.hop + terms[..., 4] * self.gap


def _times(values: PartValues, tables: Tables, span: RackSpan) -> _Times:
    network, catalog = values.parts.network, values.catalog
    groups = np.array(GROUPS, dtype=np.float64)[None, :]
    copper = catalog.value("link", cables_by_reach(catalog)[0], "latency")
    inside = (copper + network.link_latency)[:, None]
    outside = (_media(catalog, span, "latency") + network.link_latency)[:, None]
    card = partial(catalog.value, "link", catalog.the("link", "scale_out"))
    switch_ports = catalog.value("switch", catalog.the("switch", "scale_out"), "ports")
    leaf = (groups <= switch_ports).astype(np.float64)  # cards that meet in one switch
    near = groups <= np.exp2(span.packages_per_rack)[:, None]
    return _Times(
        launch=values.local_engine("launch_latency")[:, None],
        switch_launch=values.engine("launch_latency")[:, None],
        endpoint=values.engine("endpoint_latency")[:, None],
        fenced=values.engine("bulk_endpoint_latency")[:, None],
        gap=values.engine("message_gap")[:, None],
        wire=np.where(near, inside, outside),
        hop=values.topology("hop_latency")[:, None],
        crossing=card("latency") - 2.0 * leaf * card("switch_latency"),
        slowest=1.0 / np.maximum(_usable(values, tables), 1.0)[:, None],
        cards=np.full((len(values.parts), 1), 1.0 / card("bandwidth")),
        switched=tables.switched[network.topology],
    )


def lane_bandwidth(values: PartValues) -> float:
    """Bandwidth [B/s] of one link of a package."""
    return values.catalog.value("link", cables_by_reach(values.catalog)[0], "bandwidth")


def _usable(values: PartValues, tables: Tables) -> FloatArray:
    """Bandwidth [B/s] of a package's links.

    Packages that route spread whole lanes evenly over their links.
    """
    network = values.parts.network
    lane = lane_bandwidth(values)
    ports = tables.ports[network.topology, column_of(network.domain)]
    each = np.floor(network.link_bandwidth / lane / ports + 1e-9)
    whole = ~tables.switched[network.topology] & (each >= 1) & (values.parts.logic.clock > 0)
    return np.where(whole, each * ports * lane, network.link_bandwidth)


def domain_network(values: PartValues, scenario: Scenario, span: RackSpan) -> Network:
    """Alpha and rate tables of n designs, and the network beyond their domains."""
    network, catalog = values.parts.network, values.catalog
    tables = catalogue_tables(catalog)
    times = _times(values, tables, span)
    ideal = catalog.value("software", scenario.software, "allreduce_alpha") == 0
    overhead = 0.0 if ideal else 1.0  # the ideal stack has no alpha
    at = (network.topology, column_of(network.domain))
    groups = np.array(GROUPS, dtype=np.float64)[None, :]
    many = groups > 1
    exchange, beyond = tables.exchange[*at], tables.beyond[at[1]]
    crossed = (beyond > 0) * times.crossing
    further = late(catalog, groups * (groups - 1.0))
    arrival = np.maximum(times.flight(exchange), crossed + exchange[..., 4] * times.gap) + further
    mean = tables.mean[*at]
    routers = np.where(times.switched, mean[:, 1], mean[:, 0])
    ends = times.wire[np.arange(len(times.wire)), at[1]]
    alphas, rates = _reduces(values, tables, times, overhead)
    inside, over_cards = (1.0 - beyond) * exchange[..., 3] * times.slowest, beyond * times.cards
    card = partial(catalog.value, "link", catalog.the("link", "scale_out"))
    n = len(values.parts)
    return Network(
        domain=network.domain,
        reduce_alpha=alphas,
        reduce_rate=rates,
        exchange_alpha=np.where(many, overhead * (times.launch + times.endpoint + arrival), 0.0),
        exchange_rate=np.where(many, np.maximum(inside, over_cards), 0.0),
        gather_alpha=np.where(many, overhead * (_gather(values, tables, times) + crossed), 0.0),
        point_to_point_alpha=overhead
        * (times.launch[:, 0] + times.endpoint[:, 0] + mean[:, 0] * ends + routers * times.hop[:, 0]),
        link_bandwidth=network.link_bandwidth,
        scale_out_bandwidth=np.full(n, card("bandwidth")),
        scale_out_latency=np.full(n, card("latency")),
        scale_out_energy=np.full(n, card("energy")),
    )


def _runs(values: PartValues, algorithm: str) -> BoolArray:
    """(n, 1) whether the engine of a design runs an algorithm."""
    catalog = values.catalog
    engines = [
        catalog.entry("collective", name).attributes["algorithms"] for name in catalog.names("collective")
    ]
    out: BoolArray = np.array([algorithm in said.split() for said in engines])[values.parts.network.engine][
        :, None
    ]
    return out


def _reduces(
    values: PartValues, tables: Tables, times: _Times, overhead: float
) -> tuple[FloatArray, FloatArray]:
    """Alpha and rate of every all-reduce, (n, groups, lines)."""
    network = values.parts.network
    at = (network.topology, column_of(network.domain))
    groups = np.array(GROUPS, dtype=np.float64)[None, :]
    many = groups > 1
    payloads = {
        "flags": values.engine("payload"),
        "direct": values.engine("direct_payload"),
        "bulk": np.ones(len(values.parts)),
        "switch": values.engine("switch_payload"),
    }
    alphas, rates = [], []
    for a, (algorithm, protocol) in enumerate(LINES):
        terms, cross = tables.reduce[*at][:, :, a], tables.cross[*at][:, :, a]
        each = times.fenced if protocol == "bulk" else times.endpoint
        launch = times.switch_launch if protocol == "switch" else times.launch
        steps = terms[..., 0] + cross[..., 0]
        time = launch + steps * each + times.flight(terms) + cross[..., 0] * times.crossing
        time = time + late(values.catalog, groups * (steps + terms[..., 4]))
        able = tables.able[*at][:, :, a] & _runs(values, algorithm)
        moved = terms[..., 3] * times.slowest + cross[..., 1] * times.cards
        if overhead:
            moved = moved / np.maximum(payloads[protocol], 1e-3)[:, None]
        alphas.append(np.where(many, np.where(able, overhead * time, NEVER), 0.0))
        rates.append(np.where(many, np.where(able, moved, NEVER), 0.0))
    return np.stack(alphas, axis=2), np.stack(rates, axis=2)


def _gather(values: PartValues, tables: Tables, times: _Times) -> FloatArray:
    """S of the soonest all-gather of a few bytes that the engine runs, (n, groups)."""
    network = values.parts.network
    best = np.full((len(network.domain), len(GROUPS)), NEVER)
    for a, algorithm in enumerate(collective.ALL_GATHER):
        terms = tables.gather[network.topology, column_of(network.domain)][:, :, a]
        able = ~np.isnan(terms[..., 0]) & _runs(values, algorithm)
        terms = np.where(np.isnan(terms), 0.0, terms)
        launch = times.switch_launch if algorithm == "in_network" else times.launch
        best = np.where(
            able, np.minimum(best, launch + terms[..., 0] * times.endpoint + times.flight(terms)), best
        )
    return best


def _media(catalog: Catalog, span: RackSpan, field: str) -> FloatArray:
    """A field of the links between racks, (n,)."""
    column: FloatArray = catalog.column("link", cables_by_reach(catalog), field)
    out: FloatArray = column[span.medium]
    return out


@dataclass(frozen=True)
class Wiring:
    """Cables and switch chips per package."""

    ports: FloatArray
    """links of a package"""
    cables: FloatArray
    """B/s of all of them"""
    long_cables: FloatArray
    """B/s of those that leave the rack"""
    cable_power: FloatArray
    """W beyond the shortest cable's, both directions"""
    cable_price: FloatArray
    cable_carbon: FloatArray
    cable_failures: FloatArray
    """1/s"""
    switch_chips: FloatArray


def wiring(values: PartValues, span: RackSpan) -> Wiring:
    """What joins a package to its domain."""
    network, catalog = values.parts.network, values.catalog
    tables = catalogue_tables(catalog)
    at = (network.topology, column_of(network.domain))
    linked, rows = np.where(network.domain > 1, network.link_bandwidth, 0.0), np.arange(len(network.domain))
    near = tables.cables[*at][rows, span.packages_per_rack] * linked
    far = tables.outside[*at][rows, span.packages_per_rack] * linked
    short = partial(catalog.value, "link", cables_by_reach(catalog)[0])

    def by_cable(field: str) -> FloatArray:
        return near * short(field) + far * _media(catalog, span, field)

    return Wiring(
        ports=tables.ports[*at],
        cables=near + far,
        long_cables=far,
        cable_power=2.0 * far * (_media(catalog, span, "energy") - short("energy")),
        cable_price=by_cable("price_per_bandwidth"),
        cable_carbon=by_cable("carbon_per_bandwidth"),
        cable_failures=by_cable("failure_rate") / CABLE,
        switch_chips=switch_chips(values),
    )


def switch_chips(values: PartValues) -> FloatArray:
    """Switch chips per package: whole chips for the planes of its domain."""
    network, catalog = values.parts.network, values.catalog
    ranks = catalogue_tables(catalog).chips[network.topology, column_of(network.domain)]
    port = catalog.value("switch", catalog.the("switch", "scale_up"), "bandwidth_per_port")
    planes = np.ceil(network.link_bandwidth / port - 1e-9)
    chips = (ranks[..., 0] * np.ceil(planes[:, None] / ranks[..., 1] - 1e-9)).sum(axis=1)
    return np.where(network.domain > 1, chips, 0.0) / network.domain


def adds_in_network(values: PartValues) -> BoolArray:
    """Where switches add what passes through them."""
    return values.engine("reduces_in_network") > 0


def power_beside(values: PartValues) -> FloatArray:
    """Power [W] beside a package in its rack: its share of the host and of the domain's switches."""
    catalog = values.catalog
    plain = catalog.value("switch", catalog.the("switch", "scale_up"), "power")
    chip = plain + np.where(adds_in_network(values), values.engine("power"), 0.0)
    return catalog.value("economics", catalog.only("economics"), "host_power") + switch_chips(values) * chip


def router_power(values: PartValues) -> FloatArray:
    """Power [W] of a package that routes for others: crossbar and buffers, drawn always as a switch's are."""
    network = values.parts.network
    return np.where(network.domain > 2, network.link_bandwidth * values.topology("router_energy"), 0.0)


def late(catalog: Catalog, messages: FloatArray) -> FloatArray:
    """Mean time [s] that a collective waits for late ones among its ``messages``, or until its timeout.

    P(any late) x min(delay, timeout): past the timeout the last result is used instead.

    Source: Ma & Patterson, arXiv 2601.05047, section 2.4.
    """
    value = partial(catalog.value, "reliability", catalog.only("reliability"))
    any_late: FloatArray = -np.expm1(messages * np.log1p(-value("late_share")))
    return any_late * min(value("late_delay"), value("timeout"))


def link_power(values: PartValues) -> FloatArray:
    """Power [W] of a package's SerDes: drawn whether bits cross or not.

    A package pays one link's energy per bit for all its bandwidth: the sending half of what
    leaves and the receiving half of what arrives. Switch chips pay for their own side; what
    longer cables take beyond the shortest is charged outside the package.
    """
    network, catalog = values.parts.network, values.catalog
    energy = catalog.value("link", cables_by_reach(catalog)[0], "energy")
    return np.where(network.domain > 1, network.link_bandwidth * energy, 0.0)


def radix_limit(values: PartValues, ports: FloatArray) -> dict[Limit, FloatArray]:
    """Links asked of a package over lanes it has, a domain over the ports of its switch.

    2 where no regular network of that size exists.
    """
    network, catalog = values.parts.network, values.catalog
    tables = catalogue_tables(catalog)
    lanes = network.link_bandwidth / lane_bandwidth(values)
    linked = network.domain > 1
    direct = np.where(linked & ~tables.switched[network.topology], ports / np.maximum(lanes, 1e-9), 0.0)
    refused = (network.domain > 2) & ~tables.admitted[network.topology, column_of(network.domain)]
    single = values.attribute("topology", network.topology, "role", "single_switch")
    chip_ports = catalog.value("switch", catalog.the("switch", "scale_up"), "ports")
    over = np.where(single, network.domain / chip_ports, 2.0)
    return {Limit.RADIX: np.maximum(direct, np.where(refused, over, 0.0))}
