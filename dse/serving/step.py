"""One decode step and one prompt of every (design, plan) pair: time, energy, capacity, wear.

Shapes are (n, p) for n designs and p plans. Everything that depends on a design or a plan
alone is hoisted to (n, 1) or (p,). The ``note`` callback sees every term: the hot path passes
None, the breakdown stores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dse.machine.record import Machine
from dse.physics import roofline
from dse.plan import DEEPEST
from dse.serving.soft import Soft
from dse.traffic import ATTENTION, OPERATORS, Traffic
from dse.units import BoolArray, FloatArray, IntArray

Note = Callable[[str, str, FloatArray], None]
TIE = 0.99
"""an engine must be more than 1 % faster to win on time; else energy decides"""
ON_FLASH = 2
"""PNM site on the flash base die"""
TINY = 1e-30
NEVER = 1e6
"""s; alpha of a collective that a fabric cannot run"""
LARGE = 1e12
"""stands for 'does not fit' where a ratio would divide by nothing"""


@dataclass
class Tiers:
    """Inverse bandwidths and energies of a chunk of designs, (n, 1)."""

    fast: FloatArray
    flash: FloatArray
    shared: FloatArray
    near: FloatArray
    """s/B of the PNM engine"""
    near_flop: tuple[FloatArray, ...]
    """s/FLOP of the PNM engine, per operator"""
    host_flop: tuple[FloatArray, ...]
    """s/FLOP of the host, per operator"""
    energy: tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]
    """J/B on chip, fast, flash, near; J/FLOP near"""
    host_flop_energy: tuple[FloatArray, ...]


@dataclass
class Pairs:
    """Results per (design, plan)."""

    step: FloatArray
    """s of a decode step, thermal limits held"""
    unthrottled: FloatArray
    energy: FloatArray
    """J of a step per rank, dynamic"""
    stages: FloatArray
    """pipeline depth"""
    share: FloatArray
    """share of weights and prefixes in the fast tier"""
    prompt: FloatArray
    """s of a mean prompt on its own"""
    joining: FloatArray
    """s that the prompts which arrive per step add to it"""
    prompt_energy: FloatArray
    first: FloatArray
    """s of the prompt that the TTFT limit asks about"""
    flash_read: FloatArray
    """B/s read from flash per package"""
    stored: FloatArray
    """bytes held in flash per package"""
    ratios: dict[str, FloatArray] = field(default_factory=dict)
    """value over limit of the checks on a pair"""


def _col(x: FloatArray) -> FloatArray:
    """A figure of each design as a column."""
    return x[:, None]


def tiers(m: Machine, t: Traffic) -> Tiers:
    """Hoist what depends on the design and the operator's precision alone."""

    def of(table: FloatArray, bits: IntArray) -> FloatArray:
        return np.take_along_axis(table, bits, axis=1) if bits.ndim else table[:, int(bits), None]

    kinds: dict[int, tuple[FloatArray, FloatArray, FloatArray]] = {}
    each = []
    for bits in t.bits:
        key = -1 if t.aligned else int(bits)
        if key not in kinds or t.aligned:
            peak = of(m.peak, bits)
            near = np.where(
                m.pnm_site[:, None] > 0, _col(m.peak[:, 1]) / peak / _col(m.pnm_flops), 1.0
            )  # rated at 8 bit
            kinds[key] = (1.0 / peak, near, of(m.flop_energy, bits))
        each.append(kinds[key])
    return Tiers(
        fast=_col(1.0 / m.fast_bandwidth), flash=_col(1.0 / m.flash_bandwidth), shared=_col(m.shared_phy),
        near=_col(1.0 / m.pnm_bandwidth), near_flop=tuple(e[1] for e in each), host_flop=tuple(e[0] for e in each),
        energy=(_col(m.on_chip_energy), _col(m.fast_energy), _col(m.flash_energy), _col(m.pnm_energy), _col(m.pnm_flop_energy)),
        host_flop_energy=tuple(e[2] for e in each),
    )  # fmt: skip


def placement(m: Machine, t: Traffic) -> tuple[FloatArray, FloatArray, dict[str, FloatArray]]:
    """Pipeline depth, share of weights and prefixes in the fast tier, capacity ratios.

    KV that is written while serving stays in the fast tier; weights and read-only prefixes
    take what is left: as much as fits (``overflow`` plans, which read and wear flash least), or
    no more than lets both tiers finish together.
    """
    fast, flash = m.fast_capacity[:, None], m.flash_capacity[:, None]
    live = np.minimum(t.live_p95, LARGE)
    free = np.maximum(fast - live, 0.0)
    room = np.maximum(free + flash - t.prefix_held, fast / LARGE)
    depth = np.minimum(roofline.pipeline_depth(t.resident, room), LARGE)
    capacity_share = np.minimum(free / (t.resident / depth + t.prefix_held), 1.0)
    if m.flash_capacity[0] > 0:
        balance = roofline.balanced_share(m.fast_bandwidth, m.flash_bandwidth, m.shared_phy)[:, None]
        share = np.where(t.plans.overflow, capacity_share, np.minimum(capacity_share, balance))
    else:
        share = np.ones_like(depth)
    deepest = np.minimum(DEEPEST, t.layers)
    # one longest request must fit beside the weights; each stage holds the KV of its layers
    lone = t.longest / depth / np.maximum(fast - np.maximum(t.resident / depth - flash, 0.0), fast / LARGE)
    return depth, share, {"capacity": np.maximum(live / fast, depth / deepest), "longest_request": lone}


def decode(
    m: Machine, t: Traffic, soft: Soft, share: FloatArray, note: Note | None
) -> tuple[FloatArray, tuple[FloatArray, FloatArray, FloatArray], FloatArray, FloatArray]:
    """Time of the operators of a step, energies (logic, fast, flash), flash bytes per rank, and slack.

    Slack is what matrix products leave of the compute while they wait for weights. A chunk is
    uniform: with flash or without, and one PNM site.
    """
    k = tiers(m, t)
    flashy, site = bool(m.flash_capacity[0] > 0), int(m.pnm_site[0])
    rest = 1.0 - share if flashy else None
    time = np.zeros(share.shape)
    sums = (np.zeros(share.shape), np.zeros(share.shape), np.zeros(share.shape))
    flash_bytes = np.zeros(share.shape)
    per_byte = roofline.seconds_per_byte(share, k.fast, k.flash, k.shared) if flashy else k.fast
    slack = np.zeros(share.shape)
    for i, op in ORDER:
        if not t.flop[i].any():
            continue
        if op == "attention":  # its own kernel: prompts cannot use the compute it leaves idle
            slack += time
        live = t.kv_live if op == "attention" else ZERO
        movable = t.weights[i] + t.kv_prefix if op == "attention" else t.weights[i]
        in_flash = rest * movable if rest is not None else None
        in_fast = share * movable + live if flashy else movable + live
        inverse = soft.inverse_bandwidth(op, t.emulated[i])
        busy = t.flop[i] * (k.host_flop[i] / soft.compute(op, t.bits[i]))
        host = _host_time(k, inverse, busy, op, movable, live, in_fast, in_flash, per_byte)
        if op != "attention":
            slack -= busy
        if site:
            chosen, use = _near(m, t, k, soft, i, inverse, in_fast, in_flash, host, sums)
            if note:
                note("engine", op, use.astype(np.float64))
        else:
            chosen = host
            _add(sums[0], t.flop[i] * t.mean_flop[i] * k.host_flop_energy[i])
            _add(sums[0], (movable + live) * t.mean_weights[i] * k.energy[0])
            _add(sums[1], in_fast * (t.mean_weights[i] * k.energy[1]))
            if in_flash is not None:
                _add(sums[2], in_flash * (t.mean_weights[i] * k.energy[2]))
        time += chosen
        if in_flash is not None:
            flash_bytes += in_flash * t.mean_weights[i]
        if note:
            note("time", op, np.broadcast_to(chosen, share.shape))
    return time, sums, flash_bytes, np.maximum(slack, 0.0, out=slack)


ORDER = [*((i, op) for i, op in enumerate(OPERATORS) if i != ATTENTION), (ATTENTION, "attention")]
"""operators with attention last"""
ZERO = np.zeros(1)


def _add(total: FloatArray, term: FloatArray) -> None:
    """Add in place."""
    np.add(total, term, out=total)


def _host_time(k: Tiers, inverse: Any, busy: FloatArray, op: str, movable: FloatArray, live: FloatArray,
               in_fast: FloatArray, in_flash: FloatArray | None, per_byte: FloatArray) -> FloatArray:  # fmt: skip
    """Time of an operator on the host: the longest of compute and the tiers it touches."""
    if in_flash is None:
        reads = (movable + live) * (inverse * k.fast)
    elif op == "attention":
        crossing = in_fast + in_flash * k.shared  # behind one PHY flash bytes cross it too
        reads = np.maximum(crossing * (inverse * k.fast), in_flash * (inverse * k.flash))
    else:
        reads = (movable * inverse) * per_byte
    longest: FloatArray = np.maximum(reads, busy, out=reads if reads.shape == busy.shape else None)
    return longest


def _near(m: Machine, t: Traffic, k: Tiers, soft: Soft, i: int, inverse: Any, in_fast: FloatArray,
          in_flash: FloatArray | None, host: FloatArray, sums: tuple[FloatArray, FloatArray, FloatArray]) -> tuple[FloatArray, BoolArray]:  # fmt: skip
    """Operator i with the part beside the PNM engine run there; host where that is slower.

    Adds energies to ``sums`` (logic, fast, flash); returns time and where PNM won. The engine
    gets the efficiencies that the host has for the same access pattern. Hand-over: two mode
    switches a layer, inputs and partial sums in as many copies as the partition needs.
    """
    op = OPERATORS[i]
    flop, slow, host_flop, near_flop = t.flop[i], 1.0 / soft.compute(op, t.bits[i]), k.host_flop[i], k.near_flop[i]
    host_joule = k.host_flop_energy[i]
    on_flash = int(m.pnm_site[0]) == ON_FLASH
    beside, across = (in_flash, in_fast) if on_flash else (in_fast, in_flash)
    assert beside is not None  # noqa: S101 - a flash engine has flash
    on_chip, e_fast, e_flash, e_near, e_flop = k.energy
    even, even_flop = t.mean_weights[i], flop * t.mean_flop[i]  # joules follow the mean rank, time the most loaded
    path = e_flash if on_flash else e_fast
    moved = t.crossing[i] * (m.pnm_copies[:, None] if t.weights[i].any() else 1.0)
    layers: Any = {"experts": t.moe_layers, "head": 1.0}.get(op, t.layers)
    handover = 2.0 * layers * m.pnm_switch[:, None] + moved * (inverse * (k.flash if on_flash else k.fast))
    time = beside * (inverse * k.near)
    near_energy = beside * (even * e_near) + moved * path
    pnm_logic = moved * on_chip
    if across is None:
        np.maximum(time, flop * (slow * near_flop), out=time)
        near_energy += even_flop * e_flop
        host_logic = even_flop * host_joule + beside * (even * on_chip)
        total_gain = None
    else:
        part = beside / np.maximum(beside + across, TINY)
        np.maximum(time, part * (flop * (slow * near_flop)), out=time)
        left = (1.0 - part) * flop
        np.maximum(
            time,
            np.maximum(across * (inverse * (k.fast if on_flash else k.flash)), left * (slow * host_flop)),
            out=time,
        )
        near_energy += part * (even_flop * e_flop)
        pnm_logic = pnm_logic + (1.0 - part) * (even_flop * host_joule) + across * (even * on_chip)
        host_logic = even_flop * host_joule + (beside + across) * (even * on_chip)
        total_gain = across * (even * (e_fast if on_flash else e_flash))
    time += handover
    host_side = beside * (even * path)
    frugal = near_energy + pnm_logic < host_side + host_logic
    use = ((time < TIE * host) | ((TIE * time <= host) & frugal)) & (beside > 0)
    _add(sums[0], np.where(use, pnm_logic, host_logic))
    _add(sums[2 if on_flash else 1], np.where(use, near_energy, host_side))
    if total_gain is not None:
        _add(sums[1 if on_flash else 2], total_gain)
    return np.where(use, time, host), use


def at(table: FloatArray, index: IntArray) -> FloatArray:
    """Columns of a table (n, groups): (n, p) for an index (p,), row by row for an aligned index (n, k)."""
    return np.take_along_axis(table, index, axis=1) if index.ndim == 2 else np.take(table, index, axis=1)


def all_reduce(m: Machine, index: IntArray, message: FloatArray, *, launched: bool = True) -> FloatArray:
    """Time of one all-reduce, (n, p): the fastest algorithm that some design of the chunk can run.

    ``launched`` False leaves out alpha: what a longer message adds to one that is sent anyway.
    """
    best: FloatArray | None = None
    for a in range(m.reduce_alpha.shape[2]):
        if m.reduce_alpha[:, -1, a].min() >= NEVER:
            continue
        each = at(m.reduce_rate[:, :, a], index) * message
        if launched:
            each += at(m.reduce_alpha[:, :, a], index)
        best = each if best is None else np.minimum(best, each, out=best)
    assert best is not None  # noqa: S101 - ring runs everywhere
    return best


def collectives(m: Machine, t: Traffic, soft: Soft, depth: FloatArray, note: Note | None) -> FloatArray:
    """Time of all-reduces, all-to-alls and stage-to-stage messages.

    Nothing is hidden behind compute: every operator here needs the message before it. Links
    draw their power always, so messages cost no energy of their own.
    """
    time = t.reduces * all_reduce(m, t.plans.tensor_index, t.reduce_bytes / soft.link)
    if t.exchanges.any():
        exchange = at(m.exchange_rate, t.plans.group_index) * (t.exchange_bytes / soft.link)
        exchange += at(m.exchange_alpha, t.plans.group_index)
        time += t.exchanges * exchange
    inside = depth * t.plans.group <= m.domain[:, None]
    rate = np.where(inside, 1.0 / np.maximum(m.link_bandwidth, 1.0)[:, None], 1.0 / m.scale_out_bandwidth[:, None])
    alpha = np.where(inside, m.hop_time[:, None], m.scale_out_latency[:, None])
    stages = (depth - 1.0) * (alpha + t.stage_bytes * rate)
    if note:
        note("time", "collectives", time)
        note("time", "pipeline", stages)
    return time + stages


def limits_of(m: Machine) -> tuple[tuple[FloatArray, ...], ...]:
    """Throttle rows as (n, 1) columns; a limit that no design of the chunk can reach is left out."""
    return tuple(tuple(c[:, None] for c in row) for row in m.throttle if any(c.any() for c in row))
