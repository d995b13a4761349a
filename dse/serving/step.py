"""One decode step and one prompt of every (design, plan) pair: time, energy, capacity, wear.

Shapes are (n, p) for n designs and p plans. Everything that depends on a design or a plan
alone is hoisted to (n, 1) or (p,). The ``note`` callback sees every term: the hot path passes
None, the breakdown stores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dse.machine.record import Machine
from dse.physics import roofline, thermal
from dse.plan import DEEPEST
from dse.traffic import OPERATORS, Traffic
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


@dataclass(frozen=True)
class Soft:
    """Efficiencies of a software stack."""

    dense: float
    attention: float
    experts: float
    flop: float
    flop_experts: float
    prefill_share: float

    def bandwidth(self, operator: str) -> float:
        """Bandwidth efficiency of an operator."""
        return {"attention": self.attention, "experts": self.experts}.get(operator, self.dense)

    def compute(self, operator: str) -> float:
        """FLOP efficiency of an operator."""
        return self.flop_experts if operator == "experts" else self.flop


@dataclass
class Tiers:
    """Inverse bandwidths and energies of a chunk of designs, (n, 1)."""

    fast: FloatArray
    flash: FloatArray
    shared: FloatArray
    near: FloatArray
    """s/B of the PNM engine"""
    near_flop: FloatArray
    host_flop: FloatArray
    energy: tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]
    """J/B on chip, fast, flash, near; J/FLOP near"""
    host_flop_energy: FloatArray


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
    """s of a mean prompt"""
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


def tiers(m: Machine, bits: int) -> Tiers:
    """Hoist what depends on the design alone."""
    scale = m.peak[:, 1] / m.peak[:, bits]  # PNM is rated at 8 bit
    return Tiers(
        fast=_col(1.0 / m.fast_bandwidth), flash=_col(1.0 / m.flash_bandwidth), shared=_col(m.shared_phy),
        near=_col(1.0 / m.pnm_bandwidth), near_flop=_col(np.where(m.pnm_site > 0, scale / m.pnm_flops, 1.0)),
        host_flop=_col(1.0 / m.peak[:, bits]),
        energy=(_col(m.on_chip_energy), _col(m.fast_energy), _col(m.flash_energy), _col(m.pnm_energy), _col(m.pnm_flop_energy)),
        host_flop_energy=_col(m.flop_energy[:, bits]),
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
    deepest = min(DEEPEST, t.model.layers)
    # one longest request must fit beside the weights; each stage holds the KV of its layers
    lone = t.longest / depth / np.maximum(fast - np.maximum(t.resident / depth - flash, 0.0), fast / LARGE)
    return depth, share, {"capacity": np.maximum(live / fast, depth / deepest), "longest_request": lone}


def decode(
    m: Machine, t: Traffic, soft: Soft, share: FloatArray, note: Note | None
) -> tuple[FloatArray, tuple[FloatArray, FloatArray, FloatArray], FloatArray]:
    """Time of the operators of a step, energies (logic, fast, flash) and flash bytes per rank.

    A chunk is uniform: with flash or without, and one PNM site.
    """
    k = tiers(m, t.bits)
    flashy, site = bool(m.flash_capacity[0] > 0), int(m.pnm_site[0])
    rest = 1.0 - share if flashy else None
    time = np.zeros(share.shape)
    sums = (np.zeros(share.shape), np.zeros(share.shape), np.zeros(share.shape))
    flash_bytes = np.zeros(share.shape)
    per_byte = roofline.seconds_per_byte(share, k.fast, k.flash, k.shared) if flashy else k.fast
    for i, op in enumerate(OPERATORS):
        if not t.flop[i].any():
            continue
        live = t.kv_live if op == "attention" else ZERO
        movable = t.weights[i] + t.kv_prefix if op == "attention" else t.weights[i]
        in_flash = rest * movable if rest is not None else None
        in_fast = share * movable + live if flashy else movable + live
        host = _host_time(k, t.flop[i], soft, op, movable, live, in_fast, in_flash, per_byte)
        if site:
            chosen, use = _near(m, t, k, soft, i, in_fast, in_flash, host, sums)
            if note:
                note("engine", op, use.astype(np.float64))
        else:
            chosen = host
            _add(sums[0], t.flop[i] * t.mean_flop[i] * k.host_flop_energy)
            _add(sums[0], (movable + live) * t.mean_weights[i] * k.energy[0])
            _add(sums[1], in_fast * (t.mean_weights[i] * k.energy[1]))
            if in_flash is not None:
                _add(sums[2], in_flash * (t.mean_weights[i] * k.energy[2]))
        time += chosen
        if in_flash is not None:
            flash_bytes += in_flash * t.mean_weights[i]
        if note:
            note("time", op, np.broadcast_to(chosen, share.shape))
    return time, sums, flash_bytes


ZERO = np.zeros(1)


def _add(total: FloatArray, term: FloatArray) -> None:
    """Add in place."""
    np.add(total, term, out=total)


def _host_time(k: Tiers, flop: FloatArray, soft: Soft, op: str, movable: FloatArray, live: FloatArray,
               in_fast: FloatArray, in_flash: FloatArray | None, per_byte: FloatArray) -> FloatArray:  # fmt: skip
    """Time of an operator on the host: the longest of compute and the tiers it touches."""
    inverse = 1.0 / soft.bandwidth(op)
    if in_flash is None:
        reads = (movable + live) * (inverse * k.fast)
    elif op == "attention":
        crossing = in_fast + in_flash * k.shared  # behind one PHY flash bytes cross it too
        reads = np.maximum(crossing * (inverse * k.fast), in_flash * (inverse * k.flash))
    else:
        reads = (movable * inverse) * per_byte
    return np.maximum(reads, flop * (k.host_flop / soft.compute(op)), out=reads)


def _near(m: Machine, t: Traffic, k: Tiers, soft: Soft, i: int, in_fast: FloatArray, in_flash: FloatArray | None,
          host: FloatArray, sums: tuple[FloatArray, FloatArray, FloatArray]) -> tuple[FloatArray, BoolArray]:  # fmt: skip
    """Operator i with the part beside the PNM engine run there; host where that is slower.

    Adds energies to ``sums`` (logic, fast, flash); returns time and where PNM won. The engine
    gets the efficiencies that the host has for the same access pattern. Hand-over: two mode
    switches a layer, inputs and partial sums in as many copies as the partition needs.
    """
    op = OPERATORS[i]
    flop, inverse, slow = t.flop[i], 1.0 / soft.bandwidth(op), 1.0 / soft.compute(op)
    on_flash = int(m.pnm_site[0]) == ON_FLASH
    beside, across = (in_flash, in_fast) if on_flash else (in_fast, in_flash)
    assert beside is not None  # noqa: S101 - a flash engine has flash
    on_chip, e_fast, e_flash, e_near, e_flop = k.energy
    even, even_flop = t.mean_weights[i], flop * t.mean_flop[i]  # joules follow the mean rank, time the most loaded
    path = e_flash if on_flash else e_fast
    moved = t.crossing[i] * (m.pnm_copies[:, None] if t.weights[i].any() else 1.0)
    layers = {"experts": t.model.moe_layers, "head": 1}.get(op, t.model.layers)
    handover = 2.0 * layers * m.pnm_switch[:, None] + moved * (inverse * (k.flash if on_flash else k.fast))
    time = beside * (inverse * k.near)
    near_energy = beside * (even * e_near) + moved * path
    pnm_logic = moved * on_chip
    if across is None:
        np.maximum(time, flop * (slow * k.near_flop), out=time)
        near_energy += even_flop * e_flop
        host_logic = even_flop * k.host_flop_energy + beside * (even * on_chip)
        total_gain = None
    else:
        part = beside / np.maximum(beside + across, TINY)
        np.maximum(time, part * (flop * (slow * k.near_flop)), out=time)
        left = (1.0 - part) * flop
        np.maximum(
            time,
            np.maximum(across * (inverse * (k.fast if on_flash else k.flash)), left * (slow * k.host_flop)),
            out=time,
        )
        near_energy += part * (even_flop * e_flop)
        pnm_logic = pnm_logic + (1.0 - part) * (even_flop * k.host_flop_energy) + across * (even * on_chip)
        host_logic = even_flop * k.host_flop_energy + (beside + across) * (even * on_chip)
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


def all_reduce(m: Machine, group_index: IntArray, message: FloatArray) -> FloatArray:
    """Time of one all-reduce, (n, p): the fastest algorithm that some design of the chunk can run."""
    best: FloatArray | None = None
    for a in range(m.reduce_alpha.shape[2]):
        if m.reduce_alpha[:, -1, a].min() >= NEVER:
            continue
        each = np.take(m.reduce_rate[:, :, a], group_index, axis=1)
        each *= message
        each += np.take(m.reduce_alpha[:, :, a], group_index, axis=1)
        best = each if best is None else np.minimum(best, each, out=best)
    assert best is not None  # noqa: S101 - ring runs everywhere
    return best


def collectives(m: Machine, t: Traffic, depth: FloatArray, note: Note | None) -> FloatArray:
    """Time of all-reduces, all-to-alls and stage-to-stage messages.

    Nothing is hidden behind compute: every operator here needs the message before it. Links
    draw their power always, so messages cost no energy of their own.
    """
    gi = t.plans.group_index
    time = t.reduces * all_reduce(m, gi, t.reduce_bytes)
    if t.exchanges.any():
        exchange = np.take(m.exchange_rate, gi, axis=1)
        exchange *= t.exchange_bytes
        exchange += np.take(m.exchange_alpha, gi, axis=1)
        time += t.exchanges * exchange
    inside = depth * t.plans.group <= m.domain[:, None]
    rate = np.where(inside, 1.0 / np.maximum(m.link_bandwidth, 1.0)[:, None], 1.0 / m.scale_out_bandwidth[:, None])
    alpha = np.where(inside, m.hop_time[:, None], m.scale_out_latency[:, None])
    stages = (depth - 1.0) * (alpha + t.stage_bytes * rate)
    if note:
        note("time", "collectives", time)
        note("time", "pipeline", stages)
    return time + stages


def prefill(m: Machine, t: Traffic, soft: Soft, share: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Time and energy per rank of a mean prompt, time of the TTFT prompt, (n, p) each.

    Weights stream once per prompt at the tiers' joint rate; the host computes; thermal limits
    hold here too. Without flash all plans of a (group, attention) shape share one answer.
    """
    k, work = tiers(m, t.bits), t.prefill
    flashy, half = bool(m.flash_capacity[0] > 0), len(t.shape_plan)
    plans = np.arange(len(t.plans)) if flashy else t.shape_plan
    shape = t.plans.shape[plans]
    cols = np.concatenate([shape, shape + half])
    gi = np.concatenate([t.plans.group_index[plans]] * 2)
    x = np.concatenate([share, share], axis=1) if flashy else np.ones((len(m.domain), len(cols)))
    per_byte = roofline.seconds_per_byte(x, k.fast, k.flash, k.shared) if flashy else k.fast
    time = np.full(x.shape, work.overhead)
    for i, op in enumerate(OPERATORS):
        if work.flop[i].any():
            reads = (work.weights[i, cols] / soft.bandwidth(op)) * per_byte
            time += np.maximum(reads, (work.flop[i, cols] / soft.compute(op)) * k.host_flop)
    weights = work.joule_weights[cols]
    logic = work.joule_flop[cols] * k.host_flop_energy + weights * k.energy[0]
    fast = (x * weights + work.kv[cols]) * k.energy[1]
    flash = (1.0 - x) * weights * k.energy[2] if flashy else np.zeros((1, 1))
    reduced = np.where(work.reduce_bytes > 0, 2.0 * t.model.layers, 0.0)[cols]
    exchanged = np.where(work.exchange_bytes > 0, 2.0 * t.model.moe_layers, 0.0)[cols]
    time += reduced * all_reduce(m, gi, work.reduce_bytes[cols])
    time += exchanged * (m.exchange_alpha[:, gi] + work.exchange_bytes[cols] * m.exchange_rate[:, gi])
    logic += m.active_power[:, None] * time
    time = thermal.throttled_time(time, (logic, fast, flash), columns(m))
    energy = logic + fast + flash
    count = len(plans)
    if flashy:
        return time[:, :count], energy[:, :count], time[:, count:]
    at = t.plans.shape
    return np.take(time, at, axis=1), np.take(energy, at, axis=1), np.take(time, at + count, axis=1)


def columns(m: Machine) -> tuple[tuple[FloatArray, ...], ...]:
    """Throttle rows as (n, 1) columns; a limit that no design of the chunk can reach is left out."""
    return tuple(tuple(c[:, None] for c in row) for row in m.throttle if any(c.any() for c in row))


def serve(m: Machine, t: Traffic, soft: Soft, note: Note | None = None) -> Pairs:
    """Evaluate every pair of a chunk of designs and the plans of one workload."""
    depth, share, ratios = placement(m, t)
    time, energies, flash_bytes = decode(m, t, soft, share, note)
    spent = collectives(m, t, depth, note)
    flashy = bool(m.flash_capacity[0] > 0)
    layers = float(t.model.layers)
    held = np.minimum(depth, layers)
    time *= np.ceil(layers / held) * held / layers  # the stage with most layers sets the pace
    time += spent
    time += t.overhead
    if flashy:  # page reads that routing or the step's start keep from being prefetched
        waits = np.where(share < 1.0, m.flash_latency[:, None] * (t.model.moe_layers + 1.0), 0.0)
        time += waits
    clocks = m.active_power[:, None] * time  # gated while a throttled step waits
    logic = energies[0] + clocks
    if m.hot_loss.any():
        warm = (m.hot[0][:, None] * logic + m.hot[1][:, None] * energies[1]) > time
        streamed = t.weights.sum(axis=0) + t.kv_prefix
        busy = (t.kv_live + share * streamed) * (1.0 / (m.fast_bandwidth * soft.dense))[:, None]
        time += np.where(warm, m.hot_loss[:, None] * np.minimum(busy, time), 0.0)
    step = thermal.throttled_time(time, (logic, energies[1], energies[2]), columns(m))
    if note:
        note("time", "overhead", np.broadcast_to(t.overhead, time.shape))
        if flashy:
            note("time", "flash page waits", waits)
        note("time", "throttling", step - time)
        note("energy", "clocks", clocks)
        for name, e in zip(("logic", "fast memory", "flash"), energies, strict=True):
            note("energy", name, e)
    prompt, prompt_energy, first = prefill(m, t, soft, share)
    return Pairs(
        step=step, unthrottled=time, energy=logic + energies[1] + energies[2], stages=depth, share=share,
        prompt=prompt, prompt_energy=prompt_energy, first=first, flash_read=flash_bytes / step if flashy else np.zeros((1, 1)),
        stored=(1.0 - share) * (t.resident / depth + t.prefix_held) if flashy else np.zeros((1, 1)), ratios=ratios,
    )  # fmt: skip
