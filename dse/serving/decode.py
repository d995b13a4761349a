"""The operators of one decode step of every (design, plan) pair: time, energy, flash bytes.

Shapes are (n, p) for n designs and p plans. Everything that depends on a design or a plan
alone is hoisted to (n, 1) or (p,). The ``note`` callback sees every term: the hot path passes
None, the breakdown stores.
"""

from __future__ import annotations

import numpy as np

from dse.core.axes import ON_FLASH, OPERATORS
from dse.core.table import total
from dse.core.units import FloatArray
from dse.hardware.machine import Machine
from dse.physics import roofline
from dse.serving.collectives import Note
from dse.serving.placement import Placement
from dse.serving.pnm_split import pnm_operator
from dse.serving.rates import Rates, rates_of
from dse.serving.results import Decoded, Read, nothing
from dse.serving.software import SoftwareStack
from dse.serving.step_work import ATTENTION, EXPERTS, StepWork

ORDER = [*((i, op) for i, op in enumerate(OPERATORS) if i != ATTENTION), (ATTENTION, "attention")]
"""operators with attention last"""


def _read(t: StepWork, placed: Placement, i: int, op: str) -> Read:
    """Split an operator's bytes over the tiers."""
    b = placed.lower_tiers
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


def decode(m: Machine, t: StepWork, soft: SoftwareStack, placed: Placement, note: Note | None) -> Decoded:
    """Time and energy of a step's operators; a chunk is uniform in its tiers and its PNM site.

    An operator takes the longest of its compute and of the tiers it touches, operators add up;
    then what a read-ahead buffer lets the slow tiers do during other operators is taken off.
    """
    k, below = rates_of(m, t), placed.lower_tiers
    site = int(m.pnm_site[0])
    shape = placed.depth.shape
    levels = m.levels()
    d = Decoded([np.zeros(shape) for _ in levels], np.zeros(shape), np.zeros((1, 1)), np.zeros(shape))
    _charge(d, m, t, k, placed)
    if site:
        alternating = (shape[0], int(t.plans.sub_batch_interleaving.sum()))  # halves stand last
        d.pnm_time, d.pnm_memory_contention, d.host_only_time = np.zeros(alternating), np.zeros(alternating), np.zeros(alternating)
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
            chosen, use = pnm_operator(m, t, k, soft, i, inverse, read, host, slow, d, below, note)
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
    if d.host_only_time is not None:
        d.host_only_time -= np.minimum(hidden[:, hidden.shape[1] - d.host_only_time.shape[1] :], d.host_only_time)
    return hidden


def _charge(d: Decoded, m: Machine, t: StepWork, k: Rates, placed: Placement) -> None:
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
    d.clocked_energy = total(joule * own for joule, own in flops.values())
    d.unclocked_energy = (dense + experts + t.kv_live + t.kv_prefix) * on_chip
    chip = 0.0 if placed.chip is None else placed.chip
    b = placed.lower_tiers
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
