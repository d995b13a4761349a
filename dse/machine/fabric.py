"""Collective and point-to-point times of a domain, for every group size, from its topology."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from dse.machine.datacenter import ENGINES, names
from dse.machine.look import Look
from dse.physics import network
from dse.plan import GROUPS
from dse.space import Scenario
from dse.units import FloatArray

NEVER = 1e6
"""s; stands for an algorithm that a fabric cannot run, without infinities in the arrays"""


@lru_cache(maxsize=4)
def shapes(topologies: tuple[str, ...]) -> dict[str, FloatArray]:
    """Closed-form numbers of every topology at every group size, shape (topologies, groups)."""
    table = [[network.TOPOLOGIES[t](g) for g in GROUPS] for t in topologies]
    keys = ("ports", "diameter", "mean_hops", "switches_crossed", "all_to_all", "all_reduce", "switch_ports")
    return {k: np.array([[float(getattr(s, k)) for s in row] for row in table]) for k in keys}


def fabric(look: Look, scenario: Scenario, optical: FloatArray) -> dict[str, FloatArray]:
    """Alpha and rate tables, hops and link energy of n designs; ``optical`` is 1 or 0."""
    p, c = look.parts, look.catalog
    order = tuple(names(c, "topology"))
    s = {k: v[p.topology] for k, v in shapes(order).items()}
    soft = partial(c.value, "software", scenario.software)
    overhead = 0.0 if soft("allreduce_alpha") == 0 else 1.0  # the ideal stack has no alpha

    def link(f: str) -> FloatArray:
        return np.where(optical > 0, c.value("link", "optical", f), c.value("link", "copper", f))

    groups = np.array(GROUPS, dtype=np.float64)[None, :]
    switched = (s["switch_ports"] > 0).astype(np.float64)
    hop = look.topology("hop_latency")[:, None]
    wire = (link("latency") + p.link_latency)[:, None]
    endpoint = look.engine("endpoint_latency")[:, None]

    def flight(hops: FloatArray, crossed: FloatArray) -> FloatArray:
        routers = np.where(switched > 0, crossed, hops)
        return endpoint + hops * wire + routers * hop

    neighbour = np.where(switched > 0, s["mean_hops"], 1.0)
    # a group inside a larger domain has only the links that lead to its own members
    whole = _at_domain(s["ports"], p.domain)[:, None]
    share = np.where(switched > 0, 1.0, np.minimum(s["ports"] / np.maximum(whole, 1.0), 1.0))
    rate = 1.0 / np.maximum(p.link_bandwidth[:, None] * np.where(share > 0, share, 1.0), 1.0)
    launch = look.engine("launch_latency")[:, None]
    many = groups > 1
    dimensions = [network.DIMENSIONS.get(t, 1) for t in order]
    alphas, rates = [], []
    for algorithm in network.ALL_REDUCE:
        table = np.array([[network.steps(algorithm, g, d) for g in GROUPS] for d in dimensions])
        volume = np.array([network.all_reduce_bytes(algorithm, g) for g in GROUPS])[None, :]
        hops = {"ring": neighbour, "one_shot": s["diameter"], "two_shot": s["diameter"]}.get(algorithm, s["mean_hops"])
        time = launch + table[p.topology] * flight(hops, s["switches_crossed"])
        spread = s["all_reduce"] if algorithm in {"ring", "in_network"} else s["all_to_all"]
        if algorithm == "in_network":
            able = ((p.engine == ENGINES.index("in_network"))[:, None]) & (switched > 0)
            time = np.where(able, time, NEVER)
        alphas.append(np.where(many, time, 0.0))
        moved = volume * rate / spread
        rates.append(np.where(many, np.where(time < NEVER, moved, NEVER), 0.0))
    if overhead == 0:
        alphas = [np.where(a >= NEVER, NEVER, 0.0) for a in alphas]
    mean_flight = flight(s["mean_hops"], s["switches_crossed"])
    return {
        "reduce_alpha": np.stack(alphas, axis=2),
        "reduce_rate": np.stack(rates, axis=2),
        "exchange_alpha": np.where(many, overhead * (launch + mean_flight), 0.0),
        "exchange_rate": np.where(many, rate / s["all_to_all"], 0.0),
        "hop_time": overhead * (launch[:, 0] + mean_flight[:, 1]),
        "optical_power": np.where(
            optical > 0,
            p.link_bandwidth * (c.value("link", "optical", "energy") - c.value("link", "copper", "energy")),
            0.0,
        ),
        "ports": _at_domain(s["ports"], p.domain),
        "switch_ports": np.where(p.domain > 1, _at_domain(s["switch_ports"], p.domain), 0.0),
        "link_price": link("price_per_bandwidth"),
        "link_carbon": link("carbon_per_bandwidth"),
    }


def link_power(look: Look) -> FloatArray:
    """Power [W] of a package's SerDes: drawn whether bits cross or not.

    A package pays one link's energy per bit for all its bandwidth: the sending half of what
    leaves and the receiving half of what arrives. Switch chips pay for their own side; what
    optics take beyond copper is charged outside the package.
    """
    p = look.parts
    return np.where(p.domain > 1, p.link_bandwidth * look.catalog.value("link", "copper", "energy"), 0.0)


def _at_domain(table: FloatArray, domain: FloatArray) -> FloatArray:
    """Column of the whole domain, shape (n,)."""
    column = np.rint(np.log2(np.maximum(domain, 1.0))).astype(np.int64)
    out: FloatArray = table[np.arange(len(domain)), column]
    return out


def radix_limits(look: Look, net: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Ports asked of a package over lanes it has, and domain over what switches carry."""
    p, c = look.parts, look.catalog
    order = names(c, "topology")
    chip = c.value("switch", "scale_up", "ports")
    need = np.array([[network.radix_need(t, g, int(chip)) for g in GROUPS] for t in order])[p.topology]
    lanes = p.link_bandwidth / c.value("link", "copper", "bandwidth")
    direct = np.where((net["switch_ports"] == 0) & (p.domain > 1), net["ports"] / np.maximum(lanes, 1e-9), 0.0)
    return {"radix": np.maximum(direct, np.where(p.domain > 1, _at_domain(need, p.domain), 0.0))}
