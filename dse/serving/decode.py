"""The operators of one decode step of every (design, plan) pair: time, energy, flash bytes.

Shapes are (n, p) for n designs and p plans. Everything that depends on a design or a plan
alone is hoisted to (n, 1) or (p,). The ``note`` callback sees every term: the hot path passes
None, the breakdown stores.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from dse.core.axes import OPERATORS
from dse.core.units import FloatArray
from dse.hardware.machine import Machine
from dse.physics import roofline
from dse.serving.collectives import Note
from dse.serving.placement import Placement
from dse.serving.pnm_split import EngineOperator, pnm_operator
from dse.serving.rates import Rates, arithmetic_energy, rates_of
from dse.serving.results import Decoded, Halves, Read, nothing
from dse.serving.software import SoftwareStack
from dse.serving.step_work import ATTENTION, EXPERTS, StepWork

ORDER = [*((i, op) for i, op in enumerate(OPERATORS) if i != ATTENTION), (ATTENTION, "attention")]
"""operators with attention last"""


def _read(work: StepWork, placement: Placement, i: int, op: str) -> Read:
    """Split an operator's bytes over the tiers."""
    lower = placement.lower_tiers
    if op == "attention":
        everything = work.kv_live + work.kv_prefix
        if lower is None:
            return Read(
                bytes=everything, fast=everything, slow=None, chip=None, per_slow=0.0, pages=1.0, stretch=1.0
            )
        fast = lower.live * work.kv_live + lower.prefix * work.kv_prefix
        return Read(
            bytes=everything,
            fast=fast,
            slow=np.maximum(everything - fast, 0.0),
            chip=None,
            per_slow=lower.per_kv_byte,
            pages=lower.kv_pages,
            stretch=lower.kv_pages,
        )
    w = work.weights[i]
    if op == "experts":
        if lower is None:
            return Read(bytes=w, fast=w, slow=None, chip=None, per_slow=0.0, pages=1.0, stretch=1.0)
        fast = lower.experts * w
        return Read(
            bytes=w,
            fast=fast,
            slow=w - fast,
            chip=None,
            per_slow=lower.per_expert_byte,
            pages=lower.expert_pages,
            stretch=lower.expert_stretch,
        )
    chip = None if placement.chip is None else placement.chip * w
    rest = w if chip is None else w - chip
    if lower is None:
        return Read(bytes=w, fast=rest, slow=None, chip=chip, per_slow=0.0, pages=1.0, stretch=1.0)
    fast = lower.dense * rest
    return Read(
        bytes=w, fast=fast, slow=rest - fast, chip=chip, per_slow=lower.per_byte, pages=1.0, stretch=1.0
    )


def decode(
    machine: Machine, work: StepWork, software: SoftwareStack, placement: Placement, note: Note | None
) -> Decoded:
    """Time and energy of a step's operators; a chunk is uniform in its tiers and its PNM site.

    An operator takes the longest of its compute and of the tiers it touches, operators add up;
    then what a read-ahead buffer lets the slow tiers do during other operators is taken off.
    """
    k, below = rates_of(machine, work), placement.lower_tiers
    site = int(machine.pnm.site[0])
    shape = placement.depth.shape
    levels = machine.compute.levels()
    d = Decoded([np.zeros(shape) for _ in levels], np.zeros(shape), np.zeros((1, 1)), np.zeros(shape))
    _charge(d, machine, work, k, placement)
    if site:
        d.halves = Halves(*(np.zeros(shape) for _ in fields(Halves)))
    slow_time, other_times = np.zeros(shape), [np.zeros(shape) for _ in levels]
    for i, op in ORDER:
        flop = work.flop[i]
        if not flop.any():
            continue
        if op == "attention":  # its own kernel: prompts cannot use the compute it leaves idle
            d.products = d.times[0].copy()
            d.slack += d.products
        read = _read(work, placement, i, op)
        inverse = software.inverse_bandwidth(op, work.emulated[i])
        rate = k.host_flop[i] / software.compute(op, work.bits[i])
        crossing = read.fast
        if read.slow is not None and machine.flash.shares_fast_phy.any():
            crossing = read.fast + read.slow * k.shared  # behind one PHY flash bytes cross it too
        wires = crossing * (inverse * k.fast)
        if read.chip is not None:
            np.maximum(wires, read.chip * (inverse * k.sram), out=wires)
        slow = None
        if read.slow is not None:
            slow = read.slow * (inverse * read.per_slow)
            if op == "experts":  # which experts is known only once the tokens are routed
                slow += np.where(read.slow > 0, work.moe_layers * machine.lower_latency[:, None], 0.0)
        busy = flop * rate
        others = np.maximum(wires, busy)
        host = others if slow is None else np.maximum(others, slow)
        if op != "attention":
            d.slack -= busy
        chosen, use, engine = host, None, None
        if site:
            engine = pnm_operator(
                machine=machine,
                work=work,
                rates=k,
                software=software,
                i=i,
                inverse=inverse,
                read=read,
                host=host,
                slow=slow,
                decoded=d,
                below=below,
                note=note,
            )
            chosen, use = engine.chosen, engine.use
            if note:
                note("engine", op, use.astype(np.float64))
        if op == "ffn" and work.exchanges.any():
            d.shared = chosen * work.shared_share
        d.times[0] += chosen
        clocked = [others]
        for level, time in zip(levels[1:], d.times[1:], strict=True):
            each = np.maximum(wires, flop * (rate / level))
            clocked.append(each)
            if slow is not None:
                each = np.maximum(each, slow)
            time += each if use is None else np.where(use, chosen, each)
        if slow is not None:
            slow_time += slow if engine is None else np.where(engine.use, engine.lower_busy, slow)
            for other_time, alone in zip(other_times, clocked, strict=True):
                held = chosen if op == "experts" else alone
                other_time += held if engine is None else np.where(engine.use, engine.unhidden, held)
        if engine is not None:
            _alternate(d, engine, host, slow, host if op == "experts" else others)
        if note:
            note("time", op, np.broadcast_to(chosen, shape))
    if below is not None:
        buffered = work.layers * machine.flash.read_ahead_buffer[:, None] * below.per_byte
        hidden = _read_ahead(d, slow_time, other_times, buffered)
        if d.halves is not None:
            own = d.halves
            own.host -= roofline.hidden_time(own.host_lower, own.host_unhidden, own.host, buffered)
        if note:
            note("time", "read ahead", -hidden)
    np.maximum(d.slack, 0.0, out=d.slack)
    np.maximum(d.products, 0.0, out=d.products)
    return d


def _alternate(
    decoded: Decoded,
    engine: EngineOperator,
    host: FloatArray,
    slow: FloatArray | None,
    unhidden: FloatArray,
) -> None:
    """Add an operator to the times of host and engine that work on different halves of a batch."""
    own, use = decoded.halves, engine.use
    assert own is not None  # noqa: S101 - machines with an engine have it
    own.engine += np.where(use, engine.near, 0.0)
    own.contention += np.where(use, 0.0, engine.inside)
    own.host += np.where(use, engine.rest, host)
    own.host_lower += np.where(use, engine.rest_lower, 0.0 if slow is None else slow)
    own.host_unhidden += np.where(use, engine.rest_unhidden, unhidden)


def _read_ahead(
    decoded: Decoded, slow: FloatArray, others: list[FloatArray], buffered: FloatArray
) -> FloatArray:
    """Take off what a buffer lets the slow tiers read while others work.

    Also what that is at the design clock.
    """
    hidden = nothing()
    for time, other in zip(reversed(decoded.times), reversed(others), strict=True):
        hidden = np.minimum(roofline.hidden_time(slow, other, time, buffered), time)
        time -= hidden
    decoded.slack -= hidden  # a wait that is read ahead leaves no compute idle
    decoded.products -= hidden
    return hidden


def _charge(decoded: Decoded, machine: Machine, work: StepWork, rates: Rates, placement: Placement) -> None:
    """Energies of a step that the host runs; joules follow the mean rank, time the most loaded.

    Sums over operators are taken over plans alone before they meet the designs.
    """
    on_chip, e_fast, e_flash, e_far, _ = rates.energy
    even = work.weights * work.mean_weights
    experts = even[EXPERTS]
    dense = even.sum(axis=0) - experts
    flops = [work.flop[i] * work.mean_flop[i] for i in range(len(OPERATORS))]
    decoded.clocked_energy = arithmetic_energy(rates, work, flops)
    decoded.unclocked_energy = (dense + experts + work.kv_live + work.kv_prefix) * on_chip
    chip = 0.0 if placement.chip is None else placement.chip
    lower = placement.lower_tiers
    if lower is None:
        decoded.fast = (dense * (1.0 - chip) + (experts + work.kv_live + work.kv_prefix)) * e_fast
        return
    kept = dense * (1.0 - chip) if placement.chip is not None else dense
    of_dense, of_experts = lower.dense * kept, lower.experts * experts
    of_kv = lower.live * work.kv_live + lower.prefix * work.kv_prefix
    decoded.fast = (of_dense + of_experts + of_kv) * e_fast
    slow = ((kept - of_dense), (experts - of_experts), np.maximum(work.kv_live + work.kv_prefix - of_kv, 0.0))
    if machine.flash.capacity[0] > 0:
        decoded.flash_bytes = (
            slow[0] + slow[1] * lower.expert_pages + slow[2] * lower.kv_pages
        ) * lower.in_flash
        decoded.flash = decoded.flash_bytes * e_flash
    if machine.far.capacity[0] > 0:
        decoded.far = (slow[0] + slow[1] + slow[2]) * ((1.0 - lower.in_flash) * e_far)
