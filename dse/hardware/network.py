"""The network of a domain: what collectives take for every group size, what links and switches it needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import GROUPS, LINES
from dse.core.records import filled
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.hardware.collective_rows import FabricRow, collective_rows
from dse.hardware.collective_tables import Tables, catalogue_tables, column_of
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
    ideal = catalog.value("software", scenario.software, "allreduce_alpha") == 0
    at = (network.topology, column_of(network.domain))
    rows = _fabric_rows(values, tables, span)
    out = collective_rows(rows, tables, waits_for_late(catalog, tables), ideal=ideal)
    mean = tables.mean[*at]
    routers = np.where(tables.switched[network.topology], mean[:, 1], mean[:, 0])
    ends = np.where(at[1] <= span.packages_per_rack, rows.wire_inside, rows.wire_outside)
    card = partial(catalog.value, "link", catalog.the("link", "scale_out"))
    n = len(values.parts)
    flight = rows.launch + rows.endpoint + mean[:, 0] * ends + routers * rows.hop
    return Network(
        domain=network.domain,
        reduce_alpha=out.reduce_alpha.reshape(n, len(GROUPS), len(LINES)),
        reduce_rate=out.reduce_rate.reshape(n, len(GROUPS), len(LINES)),
        exchange_alpha=out.exchange_alpha,
        exchange_rate=out.exchange_rate,
        gather_alpha=out.gather_alpha,
        point_to_point_alpha=np.zeros(n) if ideal else flight,
        link_bandwidth=network.link_bandwidth,
        scale_out_bandwidth=np.full(n, card("bandwidth")),
        scale_out_latency=np.full(n, card("latency")),
        scale_out_energy=np.full(n, card("energy")),
    )


def _fabric_rows(values: PartValues, tables: Tables, span: RackSpan) -> Any:
    """What a message takes in the fabric of each design, as rows."""
    network, catalog = values.parts.network, values.catalog
    copper = catalog.value("link", cables_by_reach(catalog)[0], "latency")
    card = partial(catalog.value, "link", catalog.the("link", "scale_out"))
    able = np.stack([_runs(values, name) for name, _ in LINES], axis=1)
    gathers = np.stack([_runs(values, name) for name in collective.ALL_GATHER], axis=1)
    payloads = (
        values.engine("payload"),
        values.engine("direct_payload"),
        np.ones(len(values.parts)),
        values.engine("switch_payload"),
    )
    columns = {
        "topology": network.topology,
        "domain": column_of(network.domain),
        "rack": span.packages_per_rack,
        "switched": tables.switched[network.topology],
        "launch": values.local_engine("launch_latency"),
        "switch_launch": values.engine("launch_latency"),
        "endpoint": values.engine("endpoint_latency"),
        "fenced": values.engine("bulk_endpoint_latency"),
        "gap": values.engine("message_gap"),
        "wire_inside": copper + network.link_latency,
        "wire_outside": _media(catalog, span, "latency") + network.link_latency,
        "hop": values.topology("hop_latency"),
        "card_latency": card("latency"),
        "card_switch_latency": card("switch_latency"),
        "card_ports": catalog.value("switch", catalog.the("switch", "scale_out"), "ports"),
        "slowest": 1.0 / np.maximum(_usable(values, tables), 1.0),
        "cards": 1.0 / card("bandwidth"),
        "inverse_payload": 1.0 / np.maximum(np.stack(payloads, axis=1), 1e-3),
        "runs": able,
        "gathers": gathers,
    }
    return filled(FabricRow, len(values.parts), columns)


def waits_for_late(catalog: Catalog, tables: Tables) -> tuple[FloatArray, FloatArray]:
    """Time [s] that all-reduces (topologies, domains, groups, lines) and all-to-alls (groups,) wait for late
    messages.
    """

    def make() -> tuple[FloatArray, FloatArray]:
        groups = np.array(GROUPS, dtype=np.float64)
        messages = tables.reduce[..., 0] + tables.cross[..., 0] + tables.reduce[..., 4]
        return late(catalog, groups[:, None] * messages), late(catalog, groups * (groups - 1.0))

    return catalog.kept(("waits_for_late",), make)


def _runs(values: PartValues, algorithm: str) -> BoolArray:
    """(n,) whether the engine of a design runs an algorithm."""
    catalog = values.catalog
    engines = [
        catalog.entry("collective", name).attributes["algorithms"] for name in catalog.names("collective")
    ]
    out: BoolArray = np.array([algorithm in said.split() for said in engines])[values.parts.network.engine]
    return out


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
        switch_chips=values.once(switch_chips),
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
    return (
        catalog.value("economics", catalog.only("economics"), "host_power") + values.once(switch_chips) * chip
    )


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
