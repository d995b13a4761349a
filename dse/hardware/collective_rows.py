"""What collectives take in the fabric of each design, for every group size: a compiled loop over designs."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Annotated, Any, Final

from dse.core.axes import GROUPS, LINES
from dse.core.compilation import FEW, compilable, kernel, ready
from dse.core.records import empty, plain_rows, write_back
from dse.core.units import FloatArray
from dse.hardware.collective_tables import NEVER, Tables
from dse.physics import collective

GATHERS: Final = len(collective.ALL_GATHER)
PROTOCOLS: Final = ("flags", "direct", "bulk", "switch")
"""of ``LINES``, in the order of payloads"""
LINE_PROTOCOL: Final = tuple(PROTOCOLS.index(protocol) for _, protocol in LINES)
BULK: Final = PROTOCOLS.index("bulk")
SWITCH: Final = PROTOCOLS.index("switch")
GATHER_IN_NETWORK: Final = tuple(name == "in_network" for name in collective.ALL_GATHER)
SIZES: Final = tuple(float(g) for g in GROUPS)
PerGroup = Annotated[MutableSequence[float], (len(GROUPS),)]
PerLine = Annotated[MutableSequence[float], (len(GROUPS) * len(LINES),)]


class FabricRow:
    """What a message takes in the fabric of a design."""

    topology: int
    domain: int
    """column of the tables"""
    rack: int
    """column of the packages of a rack"""
    switched: int
    launch: float
    """s of a collective between ranks; the network's own engine does not start these sooner than a device"""
    switch_launch: float
    """s of what switches reduce or copy"""
    endpoint: float
    fenced: float
    """s of an endpoint of bulk data behind a fence"""
    gap: float
    wire_inside: float
    """s of a link inside a rack"""
    wire_outside: float
    hop: float
    card_latency: float
    card_switch_latency: float
    card_ports: float
    """network cards that meet in one switch"""
    slowest: float
    """s/B of a package's links"""
    cards: float
    """s/B of its network card"""
    inverse_payload: Annotated[Sequence[float], (len(PROTOCOLS),)]
    """bytes sent per byte of message"""
    runs: Annotated[Sequence[int], (len(LINES),)]
    """1 for the all-reduces that the engine runs"""
    gathers: Annotated[Sequence[int], (GATHERS,)]


class CollectiveRow:
    """Alpha [s] and rate [s/B] of collectives of a design, by group size."""

    reduce_alpha: PerLine
    reduce_rate: PerLine
    exchange_alpha: PerGroup
    exchange_rate: PerGroup
    gather_alpha: PerGroup


@compilable
def flight(fabric: FabricRow, group: int, hops: float, switches: float, peers: float) -> float:
    """S of links, switches or routers, and further messages; packages route where no switch does."""
    wire = fabric.wire_inside if group <= fabric.rack else fabric.wire_outside
    routers = switches if fabric.switched > 0 else hops
    return hops * wire + routers * fabric.hop + peers * fabric.gap


@compilable
def card_crossing(fabric: FabricRow, size: float) -> float:
    """S between two network cards of a group; those that meet in one switch save the way up and down."""
    saved = 2.0 * fabric.card_switch_latency if size <= fabric.card_ports else 0.0
    return fabric.card_latency - saved


def collectives_of(
    fabrics: Any,
    reduce: Any,
    cross: Any,
    able: Any,
    exchange: Any,
    gather: Any,
    beyond: Any,
    late: Any,
    late_exchange: Any,
    alpha: float,
    out: Any,
) -> None:
    """Tables of collectives of n fabrics into ``out``; the others are ``Tables`` and waits for late messages.

    ``alpha`` is 0 for a stack without launches and wires, 1 for all others.
    """
    for row in range(len(fabrics)):
        f, o = fabrics[row], out[row]
        t, d = f.topology, f.domain
        for g in range(1, len(SIZES)):
            crossing = card_crossing(f, SIZES[g])
            for a in range(len(LINES)):
                at = g * len(LINES) + a
                if not (able[t, d, g, a] and f.runs[a] > 0):
                    o.reduce_alpha[at] = o.reduce_rate[at] = NEVER
                    continue
                protocol = LINE_PROTOCOL[a]
                each = f.fenced if protocol == BULK else f.endpoint
                launch = f.switch_launch if protocol == SWITCH else f.launch
                steps = reduce[t, d, g, a, 0] + cross[t, d, g, a, 0]
                way = flight(f, g, reduce[t, d, g, a, 1], reduce[t, d, g, a, 2], reduce[t, d, g, a, 4])
                time = launch + steps * each + way + cross[t, d, g, a, 0] * crossing
                o.reduce_alpha[at] = alpha * (time + late[t, d, g, a])
                moved = reduce[t, d, g, a, 3] * f.slowest + cross[t, d, g, a, 1] * f.cards
                o.reduce_rate[at] = moved * f.inverse_payload[protocol] if alpha > 0.0 else moved
            over = beyond[d, g]
            crossed = crossing if over > 0.0 else 0.0
            peers = exchange[t, d, g, 4]
            way = flight(f, g, exchange[t, d, g, 1], exchange[t, d, g, 2], peers)
            arrival = max(way, crossed + peers * f.gap) + late_exchange[g]
            o.exchange_alpha[g] = alpha * (f.launch + f.endpoint + arrival)
            o.exchange_rate[g] = max((1.0 - over) * exchange[t, d, g, 3] * f.slowest, over * f.cards)
            soonest = NEVER
            for a in range(len(GATHER_IN_NETWORK)):
                if f.gathers[a] > 0 and gather[t, d, g, a, 0] == gather[t, d, g, a, 0]:  # NaN: cannot be
                    way = flight(f, g, gather[t, d, g, a, 1], gather[t, d, g, a, 2], gather[t, d, g, a, 4])
                    launch = f.switch_launch if GATHER_IN_NETWORK[a] else f.launch
                    soonest = min(soonest, launch + gather[t, d, g, a, 0] * f.endpoint + way)
            o.gather_alpha[g] = alpha * (soonest + crossed)


def collective_rows(fabrics: Any, tables: Tables, late: tuple[FloatArray, FloatArray], *, ideal: bool) -> Any:
    """Tables of collectives of n fabrics: ``CollectiveRow`` (n,).

    ``late`` are the waits for late messages; an ``ideal`` stack has no alpha and full payloads.
    """
    n, out = len(fabrics), empty(CollectiveRow, len(fabrics))
    in_python = n <= FEW and not ready(collectives_of)
    rows = plain_rows(out) if in_python else out
    loop = collectives_of if in_python else kernel(collectives_of)
    loop(
        plain_rows(fabrics) if in_python else fabrics,
        tables.reduce,
        tables.cross,
        able=tables.able,
        exchange=tables.exchange,
        gather=tables.gather,
        beyond=tables.beyond,
        late=late[0],
        late_exchange=late[1],
        alpha=0.0 if ideal else 1.0,
        out=rows,
    )
    if in_python:
        write_back(rows, out)
    return out
