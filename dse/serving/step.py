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
from dse.traffic import OPERATORS, Prefill, Traffic
from dse.units import BoolArray, FloatArray

Note = Callable[[str, str, FloatArray], None]
TIE = 0.99
"""an engine must be more than 1 % faster to win on time; else energy decides"""
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
    writes: FloatArray
    """B/s written to flash per package"""
    ratios: dict[str, FloatArray] = field(default_factory=dict)
    """value over limit of the checks on a pair"""


def tiers(m: Machine, bits: int) -> Tiers:
    """Hoist what depends on the design alone."""
    col = lambda x: x[:, None]  # noqa: E731
    scale = m.peak[:, 1] / m.peak[:, bits]  # PNM is rated at 8 bit
    return Tiers(
        fast=col(1.0 / m.fast_bandwidth), flash=col(1.0 / m.flash_bandwidth), shared=col(m.shared_phy),
        near=col(1.0 / m.pnm_bandwidth), near_flop=col(np.where(m.pnm_site > 0, scale / m.pnm_flops, 1.0)),
        host_flop=col(1.0 / m.peak[:, bits]),
        energy=(col(m.on_chip_energy), col(m.fast_energy), col(m.flash_energy), col(m.pnm_energy), col(m.pnm_flop_energy)),
        host_flop_energy=col(m.flop_energy[:, bits]),
    )  # fmt: skip


def placement(m: Machine, t: Traffic) -> tuple[FloatArray, FloatArray, dict[str, FloatArray]]:
    """Pipeline depth, share of weights and prefixes in the fast tier, capacity ratios.

    KV that is written while serving stays in the fast tier; weights and read-only prefixes
    take what is left, split so that both tiers finish together where capacity allows.
    """
    fast, flash = m.fast_capacity[:, None], m.flash_capacity[:, None]
    has_flash = flash > 0
    live = np.minimum(t.live_p95, LARGE)
    free = np.maximum(fast - live, 0.0)
    room = np.maximum(free + flash - t.prefix_held, fast / LARGE)
    depth = np.minimum(roofline.pipeline_depth(t.resident, room), LARGE)
    movable = t.resident / depth + t.prefix_held
    capacity_share = np.minimum(free / movable, 1.0)
    if bool(has_flash.any()):
        balance = roofline.balanced_share(m.fast_bandwidth, m.flash_bandwidth, m.shared_phy)[:, None]
        share = np.where(has_flash, np.minimum(capacity_share, balance), 1.0)
    else:
        share = np.ones_like(capacity_share)
    deepest = min(DEEPEST, t.model.layers)
    # one longest request must fit beside the weights; each stage holds the KV of its layers
    lone = t.longest / depth / np.maximum(fast - np.maximum(t.resident / depth - flash, 0.0), fast / LARGE)
    return depth, share, {"capacity": np.maximum(live / fast, depth / deepest), "longest_request": lone}


def decode(m: Machine, t: Traffic, soft: Soft, share: FloatArray, note: Note | None) -> tuple[FloatArray, tuple[FloatArray, ...], FloatArray]:
    """Time of the operators of a step, energies (logic, fast, flash) and flash bytes per rank."""
    k = tiers(m, t.bits)
    rest = 1.0 - share
    flashy = bool((m.flash_capacity > 0).any())
    near = bool((m.pnm_site > 0).any())
    time = np.zeros(share.shape)
    logic, fast, flash, flash_bytes = (np.zeros(share.shape) for _ in range(4))
    per_byte = roofline.seconds_per_byte(share, k.fast, k.flash, k.shared) if flashy else np.broadcast_to(k.fast, share.shape)
    for i, op in enumerate(OPERATORS):
        flop = t.flop[i]
        if not flop.any():
            continue
        movable = t.weights[i] + (t.kv_prefix if op == "attention" else 0.0)
        live = t.kv_live if op == "attention" else np.zeros(1)
        inverse = 1.0 / soft.bandwidth(op)
        if op == "attention":
            reads = inverse * np.maximum(
                (live + (share + rest * k.shared) * movable) * k.fast, rest * movable * k.flash) if flashy else (
                inverse * (live + movable) * k.fast)  # fmt: skip
        else:
            reads = (movable * inverse) * per_byte
        host = np.maximum(reads, flop * (k.host_flop / soft.compute(op)))
        in_fast = share * movable + live if flashy else np.broadcast_to(movable + live, share.shape)
        in_flash = rest * movable if flashy else None
        if near:
            parts = _near(m, t, k, soft, i, in_fast, rest * movable, host)
            logic += parts[1]
            fast += parts[2]
            flash += parts[3]
            chosen = parts[0]
            if note:
                note("engine", op, parts[4].astype(np.float64))
        else:
            chosen = host
            logic += flop * k.host_flop_energy + (movable + live) * k.energy[0]
            fast += in_fast * k.energy[1]
            if in_flash is not None:
                flash += in_flash * k.energy[2]
        time += chosen
        if in_flash is not None:
            flash_bytes += in_flash
        if note:
            note("time", op, chosen)
            note("bytes", op, in_fast + (in_flash if in_flash is not None else 0.0))
    return time, (logic, fast, flash), flash_bytes


def _near(m: Machine, t: Traffic, k: Tiers, soft: Soft, i: int, in_fast: FloatArray, in_flash: FloatArray,
          host: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, BoolArray]:  # fmt: skip
    """Operator i with the part beside the PNM engine run there; host where that is slower.

    Returns time, energies of logic, fast and flash, and where PNM won. The PNM engine gets
    the efficiencies that the host has for the same access pattern.
    """
    op = OPERATORS[i]
    flop = t.flop[i]
    inverse, slow = 1.0 / soft.bandwidth(op), 1.0 / soft.compute(op)
    on_flash = (m.pnm_site == 2)[:, None]
    beside = np.where(on_flash, in_flash, in_fast)
    across = np.where(on_flash, in_fast, in_flash)
    total = np.maximum(in_fast + in_flash, 1e-300)
    part = beside / total
    across_rate = np.where(on_flash, k.fast, k.flash)
    layers = t.model.moe_layers if op == "experts" else (1.0 if op == "head" else t.model.layers)
    weighted = t.weights[i] > 0
    copies = np.where(weighted, m.pnm_copies[:, None], 1.0)
    link = np.where(on_flash, k.flash, k.fast)
    handover = 2.0 * layers * m.pnm_switch[:, None] + copies * t.crossing[i] * link * inverse
    near_time = np.maximum(beside * k.near * inverse, part * flop * k.near_flop * slow)
    far_time = np.maximum(across * across_rate * inverse, (1.0 - part) * flop * k.host_flop * slow)
    pnm_time = np.maximum(near_time, far_time) + handover
    on_chip, e_fast, e_flash, e_near, e_flop = k.energy
    moved = copies * t.crossing[i]
    path = np.where(on_flash, e_flash, e_fast)
    host_energy = flop * k.host_flop_energy + (in_fast + in_flash) * on_chip + in_fast * e_fast + in_flash * e_flash
    near_energy = (beside * e_near + part * flop * e_flop + moved * (path + on_chip)
                   + (1.0 - part) * flop * k.host_flop_energy + across * (on_chip + np.where(on_flash, e_fast, e_flash)))  # fmt: skip
    able = (m.pnm_site > 0)[:, None] & (beside > 0)
    faster = pnm_time < TIE * host
    tied = (TIE * pnm_time <= host) & (near_energy < host_energy)
    use = able & (faster | tied)
    time = np.where(use, pnm_time, host)
    host_logic = flop * k.host_flop_energy + (in_fast + in_flash) * on_chip
    pnm_logic = (1.0 - part) * flop * k.host_flop_energy + (across + moved) * on_chip
    engine = beside * e_near + part * flop * e_flop + moved * path
    fast = np.where(use, np.where(on_flash, in_fast * e_fast, engine), in_fast * e_fast)
    flash = np.where(use, np.where(on_flash, engine, in_flash * e_flash), in_flash * e_flash)
    return time, np.where(use, pnm_logic, host_logic), fast, flash, use


def collectives(m: Machine, t: Traffic, depth: FloatArray, note: Note | None) -> tuple[FloatArray, FloatArray]:
    """Time and energy [per rank] of all-reduces, all-to-alls and stage-to-stage messages.

    All-reduce takes the fastest algorithm. Nothing is hidden behind compute: every operator
    here needs the message before it.
    """
    gi = t.plans.group_index
    best = None
    for a in range(m.reduce_alpha.shape[2]):
        each = m.reduce_alpha[:, gi, a] + t.reduce_bytes * m.reduce_rate[:, gi, a]
        best = each if best is None else np.minimum(best, each)
    assert best is not None  # noqa: S101 - there is at least one algorithm
    time = t.reduces * best
    exchange = t.exchanges * (m.exchange_alpha[:, gi] + t.exchange_bytes * m.exchange_rate[:, gi])
    inside = depth * t.plans.group <= m.domain[:, None]
    bandwidth = np.where(inside, np.maximum(m.link_bandwidth, 1.0)[:, None], m.scale_out_bandwidth[:, None])
    alpha = np.where(inside, m.hop_time[:, None], m.scale_out_latency[:, None])
    stages = (depth - 1.0) * (alpha + t.stage_bytes / bandwidth)
    volume = 2.0 * t.reduces * t.reduce_bytes + t.exchanges * t.exchange_bytes
    energy = volume * m.hops[:, gi] * m.link_energy[:, None]
    if note:
        note("time", "collectives", time + exchange)
        note("time", "pipeline", stages)
    return time + exchange + stages, energy


def prefill(m: Machine, t: Traffic, work: Prefill, soft: Soft, share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Time and energy per rank of one prompt, (n, shapes); thermal limits hold here too.

    Weights stream once per prompt at the tiers' joint rate; the host computes.
    """
    k = tiers(m, t.bits)
    firsts = [int(np.argmax(t.plans.shape == s)) for s in range(work.flop.shape[1])]
    gi = t.plans.group_index[firsts]
    x = share[:, firsts]
    flashy = bool((m.flash_capacity > 0).any())
    per_byte = roofline.seconds_per_byte(x, k.fast, k.flash, k.shared) if flashy else np.broadcast_to(k.fast, x.shape)
    time, logic, fast, flash = (np.zeros(x.shape) for _ in range(4))
    for i, op in enumerate(OPERATORS):
        reads = work.weights[i] / soft.bandwidth(op) * per_byte
        time += np.maximum(reads, work.flop[i] * (k.host_flop / soft.compute(op)))
        logic += work.flop[i] * k.host_flop_energy + work.weights[i] * k.energy[0]
        fast += work.weights[i] * x * k.energy[1]
        flash += work.weights[i] * (1.0 - x) * k.energy[2]
    fast += work.kv * k.energy[1]
    best = np.min(m.reduce_alpha[:, gi] + work.reduce_bytes[:, None] * m.reduce_rate[:, gi], axis=2)
    reduced = np.where(work.reduce_bytes > 0, 2.0 * t.model.layers, 0.0)
    exchanged = np.where(work.exchange_bytes > 0, 2.0 * t.model.moe_layers, 0.0)
    time += reduced * best + exchanged * (m.exchange_alpha[:, gi] + work.exchange_bytes * m.exchange_rate[:, gi])
    links = (2.0 * reduced * work.reduce_bytes + exchanged * work.exchange_bytes) * m.hops[:, gi] * m.link_energy[:, None]
    time += work.overhead
    columns = tuple(tuple(c[:, None] for c in row) for row in m.throttle)
    time = thermal.throttled_time(time, (logic + links, fast, flash), columns)
    return time, logic + fast + flash + links


def serve(m: Machine, t: Traffic, soft: Soft, note: Note | None = None) -> Pairs:
    """Evaluate every pair of a chunk of designs and the plans of one workload."""
    depth, share, ratios = placement(m, t)
    time, energies, flash_bytes = decode(m, t, soft, share, note)
    spent, link_energy = collectives(m, t, depth, note)
    layers = t.model.layers
    uneven = np.ceil(layers / np.minimum(depth, layers)) * np.minimum(depth, layers) / layers
    waits = np.where(share < 1.0, m.flash_latency[:, None] * (t.model.moe_layers + 1.0), 0.0)
    time = time * uneven + spent + t.overhead + waits
    logic = energies[0] + link_energy
    columns = tuple(tuple(c[:, None] for c in row) for row in m.throttle)
    warm = (m.hot[0][:, None] * logic + m.hot[1][:, None] * energies[1]) > time
    busy = (t.kv_live + share * (t.weights.sum(axis=0) + t.kv_prefix)) * (1.0 / (m.fast_bandwidth * soft.dense))[:, None]
    time = np.where(warm, time + m.hot_loss[:, None] * np.minimum(busy, time), time)
    step = thermal.throttled_time(time, (logic, energies[1], energies[2]), columns)
    if note:
        note("time", "overhead", np.broadcast_to(t.overhead, time.shape))
        note("time", "flash page waits", waits)
        note("time", "throttling", step - time)
        for name, e in zip(("logic", "fast memory", "flash"), energies, strict=True):
            note("energy", name, e)
        note("energy", "links", link_energy)
    prompt, prompt_energy = prefill(m, t, t.request, soft, share)
    first, _ = prefill(m, t, t.first, soft, share)
    shape = t.plans.shape
    read = flash_bytes / step
    stored = (1.0 - share) * (t.resident / depth + t.prefix_held)
    return Pairs(step=step, unthrottled=time, energy=logic + energies[1] + energies[2], stages=depth, share=share,
                 prompt=prompt[:, shape], prompt_energy=prompt_energy[:, shape], first=first[:, shape],
                 flash_read=read, writes=stored, ratios=ratios)  # fmt: skip
