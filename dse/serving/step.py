"""The operators of one decode step of every (design, plan) pair: time, energy, flash bytes.

Shapes are (n, p) for n designs and p plans. Everything that depends on a design or a plan
alone is hoisted to (n, 1) or (p,). The ``note`` callback sees every term: the hot path passes
None, the breakdown stores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dse.core.axes import ON_FAR, ON_FAST, ON_FLASH, OPERATORS
from dse.core.table import total
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.machine.record import Machine
from dse.physics import roofline
from dse.serving.messages import Note
from dse.serving.place import TINY, Below, Placed
from dse.serving.soft import Soft
from dse.traffic import ATTENTION, EXPERTS, Traffic

TIE = 0.99
"""an engine must be more than 1 % faster to win on time; else energy decides"""


@dataclass
class Tiers:
    """Inverse bandwidths and energies of a chunk of designs, (n, 1)."""

    fast: FloatArray
    sram: FloatArray
    shared: FloatArray
    near: FloatArray
    """s/B of the PNM engine"""
    near_flop: tuple[FloatArray, ...]
    """s/FLOP of the PNM engine, per operator"""
    host_flop: tuple[FloatArray, ...]
    """s/FLOP of the host, per operator"""
    energy: tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]
    """J/B on chip, fast, flash, far, near"""
    host_flop_energy: tuple[FloatArray, ...]
    """J/FLOP of the host, per operator"""
    near_flop_energy: tuple[FloatArray, ...]
    """J/FLOP of the PNM engine, per operator: as its rate, given at 8 bit and scaled as the host's"""


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
    """share of weights and prefixes held in the fast tier or on chip"""
    prompt: FloatArray
    """s of a mean prompt on its own"""
    joining: FloatArray
    """s that the prompts which arrive per step add to it"""
    prompt_energy: FloatArray
    first: FloatArray
    """s of the prompt that the TTFT limit asks about"""
    flash_read: FloatArray
    """B/s read from flash per package"""
    flash_written: FloatArray
    """bytes of KV cache and prefixes written to flash per step and package"""
    stored: FloatArray
    """bytes of weights and prefixes held in flash per package"""
    clock: FloatArray
    """clock of the step over the design clock"""
    ratios: dict[str, FloatArray] = field(default_factory=dict)
    """value over limit of the checks on a pair"""


def nothing() -> FloatArray:
    """Joules or bytes of a tier that is not there, (1, 1)."""
    return np.zeros((1, 1))


@dataclass
class Decoded:
    """Operators of a step, (n, p) each; of one half where the batch runs in halves."""

    times: list[FloatArray]
    """s at each clock level"""
    slack: FloatArray
    """s that matrix products leave of the compute while they wait for weights"""
    shared: FloatArray
    """s of shared experts, which wait for no dispatch"""
    products: FloatArray
    """s of the matrix products at the design clock: a slower clock leaves less of them"""
    dynamic: FloatArray = field(default_factory=nothing)
    """J of arithmetic on the host at the design clock"""
    still: FloatArray = field(default_factory=nothing)
    """J of the logic that no clock level changes: bytes moved on chip"""
    fast: FloatArray = field(default_factory=nothing)
    flash: FloatArray = field(default_factory=nothing)
    far: FloatArray = field(default_factory=nothing)
    flash_bytes: FloatArray = field(default_factory=nothing)
    near: FloatArray | None = None
    """(n, halves) s that the PNM engine works, for the plans in halves alone; as the two below"""
    bank: FloatArray | None = None
    """s that what the host reads of the engine's memory takes of that memory's inner bandwidth"""
    alone: FloatArray | None = None
    """s that the host works, whatever the engine does"""


def _col(x: FloatArray) -> FloatArray:
    """A figure of each design as a column."""
    return x[:, None]


def tiers(m: Machine, t: Traffic) -> Tiers:
    """Hoist what depends on the design and the operator's precision alone."""

    def of(table: FloatArray, bits: IntArray) -> FloatArray:
        return np.take_along_axis(table, bits, axis=1) if bits.ndim else table[:, int(bits), None]

    kinds: dict[int, tuple[FloatArray, FloatArray, FloatArray, FloatArray]] = {}
    each = []
    for bits in t.bits:
        key = -1 if t.aligned else int(bits)
        if key not in kinds or t.aligned:
            peak = of(m.peak, bits)
            near = np.where(
                m.pnm_site[:, None] > 0, _col(m.peak[:, 1]) / peak / _col(m.pnm_flops), 1.0
            )  # rated at 8 bit
            flop_energy = of(m.flop_energy, bits)
            near_energy = _col(m.pnm_flop_energy) * flop_energy / _col(m.flop_energy[:, 1])  # at 8 bit too
            kinds[key] = (1.0 / peak, near, flop_energy, near_energy)
        each.append(kinds[key])
    return Tiers(
        fast=_col(1.0 / m.fast_bandwidth), sram=_col(1.0 / m.sram_bandwidth), shared=_col(m.shared_phy),
        near=_col(1.0 / m.pnm_bandwidth), near_flop=tuple(e[1] for e in each), host_flop=tuple(e[0] for e in each),
        energy=(_col(m.on_chip_energy), _col(m.fast_energy), _col(m.flash_energy), _col(m.far_energy), _col(m.pnm_energy)),
        host_flop_energy=tuple(e[2] for e in each), near_flop_energy=tuple(e[3] for e in each),
    )  # fmt: skip


ORDER = [*((i, op) for i, op in enumerate(OPERATORS) if i != ATTENTION), (ATTENTION, "attention")]
"""operators with attention last"""


@dataclass
class Read:
    """What an operator reads, by tier."""

    bytes: FloatArray
    """(p,) all of it"""
    fast: Any
    """bytes of the fast tier, (p,) or (n, p)"""
    slow: FloatArray | None
    """bytes of the tiers below"""
    chip: FloatArray | None
    """bytes on chip"""
    per_slow: Any
    """s per slow byte"""
    pages: Any
    """bytes read of flash per byte wanted"""
    stretch: Any
    """time that takes over that of as many bytes in order"""


def _read(t: Traffic, placed: Placed, i: int, op: str) -> Read:
    """Split an operator's bytes over the tiers."""
    b = placed.below
    if op == "attention":
        everything = t.kv_live + t.kv_prefix
        if b is None:
            return Read(everything, everything, None, None, 0.0, 1.0, 1.0)
        fast = b.live * t.kv_live + b.prefix * t.kv_prefix
        return Read(everything, fast, np.maximum(everything - fast, 0.0), None, b.per_kv_byte, b.kv_pages, b.kv_pages)
    w = t.weights[i]
    if op == "experts":
        if b is None:
            return Read(w, w, None, None, 0.0, 1.0, 1.0)
        fast = b.experts * w
        return Read(w, fast, w - fast, None, b.per_expert_byte, b.expert_pages, b.expert_stretch)
    chip = None if placed.chip is None else placed.chip * w
    rest = w if chip is None else w - chip
    if b is None:
        return Read(w, rest, None, chip, 0.0, 1.0, 1.0)
    fast = b.dense * rest
    return Read(w, fast, rest - fast, chip, b.per_byte, 1.0, 1.0)


def decode(m: Machine, t: Traffic, soft: Soft, placed: Placed, note: Note | None) -> Decoded:
    """Time and energy of a step's operators; a chunk is uniform in its tiers and its PNM site.

    An operator takes the longest of its compute and of the tiers it touches, operators add up;
    then what a read-ahead buffer lets the slow tiers do during other operators is taken off.
    """
    k, below = tiers(m, t), placed.below
    site = int(m.pnm_site[0])
    shape = placed.depth.shape
    levels = m.levels()
    d = Decoded([np.zeros(shape) for _ in levels], np.zeros(shape), np.zeros((1, 1)), np.zeros(shape))
    _charge(d, m, t, k, placed)
    if site:
        alternating = (shape[0], int(t.plans.halves.sum()))  # halves stand last
        d.near, d.bank, d.alone = np.zeros(alternating), np.zeros(alternating), np.zeros(alternating)
    slow_time, other_times = np.zeros(shape), [np.zeros(shape) for _ in levels]
    for i, op in ORDER:
        flop = t.flop[i]
        if not flop.any():
            continue
        if op == "attention":  # its own kernel: prompts cannot use the compute it leaves idle
            d.products = d.times[0].copy()
            d.slack += d.products
        read = _read(t, placed, i, op)
        inverse = soft.inverse_bandwidth(op, t.emulated[i])
        rate = k.host_flop[i] / soft.compute(op, t.bits[i])
        crossing = read.fast
        if read.slow is not None and m.shared_phy.any():
            crossing = read.fast + read.slow * k.shared  # behind one PHY flash bytes cross it too
        wires = crossing * (inverse * k.fast)
        if read.chip is not None:
            np.maximum(wires, read.chip * (inverse * k.sram), out=wires)
        slow = None
        if read.slow is not None:
            slow = read.slow * (inverse * read.per_slow)
            if op == "experts":  # which experts is known only once the tokens are routed
                slow += np.where(read.slow > 0, t.moe_layers * m.slow_latency[:, None], 0.0)
        busy = flop * rate
        others = np.maximum(wires, busy)
        host = others if slow is None else np.maximum(others, slow)
        if op != "attention":
            d.slack -= busy
        chosen, use = host, None
        if site:
            chosen, use = _near(m, t, k, soft, i, inverse, read, host, slow, d, below, note)
            if note:
                note("engine", op, use.astype(np.float64))
        if op == "ffn" and t.exchanges.any():
            d.shared = chosen * t.shared_share
        d.times[0] += chosen
        clocked = [others]
        for level, time in zip(levels[1:], d.times[1:], strict=True):
            each = np.maximum(wires, flop * (rate / level))
            clocked.append(each)
            if slow is not None:
                each = np.maximum(each, slow)
            time += each if use is None else np.where(use, chosen, each)
        if slow is not None:
            near_flash = site == ON_FLASH  # the planes work while the engine beside them does
            slow_time += slow if use is None else np.where(use, chosen if near_flash else 0.0, slow)
            for other_time, alone in zip(other_times, clocked, strict=True):
                held = chosen if op == "experts" else alone
                other_time += held if use is None else np.where(use, 0.0 if near_flash else chosen, held)
        if note:
            note("time", op, np.broadcast_to(chosen, shape))
    if below is not None:
        hidden = _read_ahead(d, slow_time, other_times, t.layers * m.flash_buffer[:, None] * below.per_byte)
        if note:
            note("time", "read ahead", -hidden)
    np.maximum(d.slack, 0.0, out=d.slack)
    np.maximum(d.products, 0.0, out=d.products)
    return d


def _read_ahead(d: Decoded, slow: FloatArray, others: list[FloatArray], buffered: FloatArray) -> FloatArray:
    """Take off what a buffer lets the slow tiers read while others work; also what that is at the design clock."""
    hidden = nothing()
    for time, other in zip(reversed(d.times), reversed(others), strict=True):
        hidden = np.minimum(roofline.hidden_time(slow, other, time, buffered), time)
        time -= hidden
    d.slack -= hidden  # a wait that is read ahead leaves no compute idle
    d.products -= hidden
    if d.alone is not None:
        d.alone -= np.minimum(hidden[:, hidden.shape[1] - d.alone.shape[1] :], d.alone)
    return hidden


def _charge(d: Decoded, m: Machine, t: Traffic, k: Tiers, placed: Placed) -> None:
    """Energies of a step that the host runs; joules follow the mean rank, time the most loaded.

    Sums over operators are taken over plans alone before they meet the designs.
    """
    on_chip, e_fast, e_flash, e_far, _ = k.energy
    even = t.weights * t.mean_weights
    experts = even[EXPERTS]
    dense = even.sum(axis=0) - experts
    flops: dict[int, tuple[FloatArray, FloatArray]] = {}
    for i, joule in enumerate(k.host_flop_energy):
        key = i if t.aligned else int(t.bits[i])
        own = t.flop[i] * t.mean_flop[i]
        flops[key] = (joule, own + flops[key][1] if key in flops else own)
    d.dynamic = total(joule * own for joule, own in flops.values())
    d.still = (dense + experts + t.kv_live + t.kv_prefix) * on_chip
    chip = 0.0 if placed.chip is None else placed.chip
    b = placed.below
    if b is None:
        d.fast = (dense * (1.0 - chip) + (experts + t.kv_live + t.kv_prefix)) * e_fast
        return
    kept = dense * (1.0 - chip) if placed.chip is not None else dense
    of_dense, of_experts = b.dense * kept, b.experts * experts
    of_kv = b.live * t.kv_live + b.prefix * t.kv_prefix
    d.fast = (of_dense + of_experts + of_kv) * e_fast
    slow = ((kept - of_dense), (experts - of_experts), np.maximum(t.kv_live + t.kv_prefix - of_kv, 0.0))
    if m.flash_capacity[0] > 0:
        d.flash_bytes = (slow[0] + slow[1] * b.expert_pages + slow[2] * b.kv_pages) * b.in_flash
        d.flash = d.flash_bytes * e_flash
    if m.far_capacity[0] > 0:
        d.far = (slow[0] + slow[1] + slow[2]) * ((1.0 - b.in_flash) * e_far)


def _near(m: Machine, t: Traffic, k: Tiers, soft: Soft, i: int, inverse: Any, read: Read, host: FloatArray,
          slow: FloatArray | None, d: Decoded, below: Below | None, note: Note | None) -> tuple[FloatArray, BoolArray]:  # fmt: skip
    """Operator i with the part beside the PNM engine run there; host where that is slower.

    Corrects the energies of ``d`` and adds engine times; returns time and where PNM won. The engine gets
    the efficiencies that the host has for the same access pattern. Hand-over: two mode switches a layer,
    inputs and partial sums in as many copies as the partition needs.
    """
    op, site = OPERATORS[i], int(m.pnm_site[0])
    assert d.near is not None and d.bank is not None and d.alone is not None  # noqa: S101, PT018 - a site has them
    on_chip, e_fast, e_flash, e_far, e_near = k.energy
    flop, efficiency = t.flop[i], 1.0 / soft.compute(op, t.bits[i])
    even, even_flop = t.mean_weights[i], flop * t.mean_flop[i]
    pages: Any = 1.0
    stretch: Any = 1.0
    across = read.chip * (inverse * k.sram) if read.chip is not None else None
    if site == ON_FAST:
        beside, path, link = read.fast, e_fast, k.fast
        across = slow if across is None else across if slow is None else np.maximum(across, slow)
    else:
        assert read.slow is not None and below is not None  # noqa: S101, PT018 - the tier that the engine sits on
        part_of = below.in_flash if site == ON_FLASH else 1.0 - below.in_flash
        if site == ON_FLASH:
            pages, stretch = read.pages, read.stretch
        beside, path = read.slow * part_of, (e_flash * pages if site == ON_FLASH else e_far)
        link = _col(1.0 / (m.flash_bandwidth if site == ON_FLASH else m.far_bandwidth))
        other = m.far_bandwidth if site == ON_FLASH else m.flash_bandwidth
        elsewhere = np.maximum(
            read.fast * (inverse * k.fast), read.slow * ((1.0 - part_of) * inverse * _col(1.0 / other))
        )
        across = elsewhere if across is None else np.maximum(across, elsewhere)
    moved = t.crossing[i] * _copies(m, t, i)
    layers: Any = {"experts": t.moe_layers, "head": 1.0}.get(op, t.layers)
    handover = 2.0 * layers * m.pnm_switch[:, None] + moved * (inverse * link)
    if site == ON_FLASH and op == "experts":
        handover = handover + t.moe_layers * m.slow_latency[:, None]
    part = 1.0 if across is None else beside / np.maximum(read.bytes, TINY)
    near = np.maximum(beside * (stretch * inverse * k.near), part * (flop * (efficiency * k.near_flop[i])))
    near += handover
    time, rest = near, None
    if across is not None:
        rest = np.maximum(across, (1.0 - part) * (flop * (efficiency * k.host_flop[i])))
        time = np.maximum(near, rest)
    spared = part * (even_flop * k.host_flop_energy[i])  # arithmetic that the host does not do
    wire = np.maximum(path - pages * e_near, 0.0)  # what is handed over touches no array
    beyond = moved * wire - beside * (even * (path - pages * e_near)) + part * (even_flop * k.near_flop_energy[i])
    wired = moved * on_chip - beside * (even * on_chip)
    use = time < host * np.where(beyond + wired < spared, 1.0 / TIE, TIE)
    use &= m.pnm_serves[:, i : i + 1] > 0
    d.dynamic -= np.where(use, spared, 0.0)
    d.still += np.where(use, wired, 0.0)
    where = {ON_FAST: d.fast, ON_FLASH: d.flash, ON_FAR: d.far}[site]
    where += np.where(use, beyond, 0.0)
    if note:
        note("near", "reads", np.where(use, beside * (even * pages * e_near), 0.0))
        note("near", "arithmetic", np.where(use, part * (even_flop * k.near_flop_energy[i]), 0.0))
    last = slice(host.shape[1] - d.near.shape[1], None)
    if d.near.shape[1]:
        on = use[:, last]
        d.near += np.where(on, near[:, last], 0.0)
        inside = np.broadcast_to(beside * (stretch * inverse * k.near), host.shape)[:, last]
        d.bank += np.where(on, 0.0, inside)
        d.alone += np.where(on, 0.0 if rest is None else rest[:, last], host[:, last])
    return np.where(use, time, host), use


def _copies(m: Machine, t: Traffic, i: int) -> FloatArray:
    """Times that inputs and partial results of operator i cross, (n, 1) or (n, p).

    Weights lie in a two-dimensional partition over the shards; the KV of a sequence and head lies whole in a
    shard as long as there are no more shards than those, else cut along the context.
    """
    if t.weights[i].any():
        return m.pnm_copies[:, None]
    cut: FloatArray = np.maximum(np.square(m.pnm_copies)[:, None] / np.maximum(t.kv_pieces, 1.0), 1.0)
    return cut


def limits_of(m: Machine) -> tuple[tuple[FloatArray, ...], ...]:
    """Throttle rows as (n, 1) columns; a limit that no design of the chunk can reach is left out."""
    return tuple(tuple(c[:, None] for c in row) for row in m.throttle if any(c.any() for c in row))
