"""The operators of one decode step of every (design, plan) pair: time, energy, flash bytes.

Shapes are (n, p) for n designs and p plans. Everything that depends on a design or a plan
alone is hoisted to (n, 1) or (p,). The ``note`` callback sees every term: the hot path passes
None, the breakdown stores.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from dse.core.axes import OPERATORS, PnmSite
from dse.core.units import BoolArray, FloatArray
from dse.hardware.machine import Machine
from dse.physics import roofline, thermal
from dse.serving.collectives import Note
from dse.serving.placement import Placement
from dse.serving.pnm_split import EQUAL, EngineOperator, charge_engine, pnm_operator
from dse.serving.rates import Rates, arithmetic_energy, limits_of, rates_of
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


@dataclass
class Operator:
    """An operator of a step, on the host and with the part beside the engine run there; (n, p) s."""

    name: str
    host: FloatArray
    clocked: list[FloatArray]
    """at each clock level"""
    unhidden: list[FloatArray]
    """at each clock level with the tiers below read ahead"""
    busy: FloatArray
    """arithmetic at the design clock"""
    slow: FloatArray | None
    """reads of the tiers below"""
    engine: EngineOperator | None


def decode(
    machine: Machine,
    work: StepWork,
    software: SoftwareStack,
    placement: Placement,
    waits: Waits,
    note: Note | None,
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
    operators = [
        _operator(machine, work, software, placement, k, i, op) for i, op in ORDER if work.flop[i].any()
    ]
    buffered: Any = 0.0
    if below is not None:
        buffered = work.layers * machine.flash.read_ahead_buffer[:, None] * below.per_byte
    uses = [np.zeros(shape, dtype=bool) for _ in operators]
    if site:
        d.halves = Halves(*(np.zeros(shape) for _ in fields(Halves)))
        uses = assign(operators, machine, work, waits, buffered, d)
    slow_time, other_times = np.zeros(shape), [np.zeros(shape) for _ in levels]
    for o, use in zip(operators, uses, strict=True):
        e = o.engine
        chosen = o.host if e is None else np.where(use, e.time, o.host)
        if o.name != "attention":  # attention's own kernel: prompts cannot use the compute it leaves idle
            d.products += chosen
            d.slack += chosen - o.busy
        if o.name == "ffn" and work.exchanges.any():
            d.shared = chosen * work.shared_share
        for j, time in enumerate(d.times):
            time += o.clocked[j] if e is None else np.where(use, e.time, o.clocked[j])
            other_times[j] += o.unhidden[j] if e is None else np.where(use, e.unhidden, o.unhidden[j])
        if o.slow is not None:
            slow_time += o.slow if e is None else np.where(use, e.lower_busy, o.slow)
        if e is not None:
            _alternate(d, o, use)
            charge_engine(d, e, use, site, note)
            if note:
                note("engine", o.name, use.astype(np.float64))
        if note:
            note("time", o.name, np.broadcast_to(chosen, shape))
    if below is not None:
        hidden = _read_ahead(d, slow_time, other_times, buffered)
        if d.halves is not None:
            own = d.halves
            own.host -= roofline.hidden_time(own.host_lower, own.host_unhidden, own.host, buffered)
        if note:
            note("time", "read ahead", -hidden)
    np.maximum(d.slack, 0.0, out=d.slack)
    np.maximum(d.products, 0.0, out=d.products)
    return d


def _operator(
    machine: Machine,
    work: StepWork,
    software: SoftwareStack,
    placement: Placement,
    rates: Rates,
    i: int,
    op: str,
) -> Operator:
    flop = work.flop[i]
    levels = machine.compute.levels()
    read = _read(work, placement, i, op)
    inverse = software.inverse_bandwidth(op, work.emulated[i])
    rate = rates.host_flop[i] / software.compute(op, work.bits[i])
    crossing = read.fast
    if read.slow is not None and machine.flash.shares_fast_phy.any():
        crossing = read.fast + read.slow * rates.shared  # behind one PHY flash bytes cross it too
    wires = crossing * (inverse * rates.fast)
    if read.chip is not None:
        np.maximum(wires, read.chip * (inverse * rates.sram), out=wires)
    slow = None
    if read.slow is not None:
        slow = read.slow * (inverse * read.per_slow)
        if op == "experts":  # which experts is known only once the tokens are routed
            slow += np.where(read.slow > 0, work.moe_layers * machine.lower_latency[:, None], 0.0)
    alone = [np.maximum(wires, flop * (rate / level)) for level in levels]
    clocked = alone if slow is None else [np.maximum(each, slow) for each in alone]
    engine = None
    if machine.pnm.site[0]:
        engine = pnm_operator(
            machine=machine,
            work=work,
            rates=rates,
            software=software,
            i=i,
            inverse=inverse,
            read=read,
            slow=slow,
            below=placement.lower_tiers,
        )
    return Operator(op, clocked[0], clocked, clocked if op == "experts" else alone, flop * rate, slow, engine)


@dataclass
class Waits:
    """What a step takes beside its operators, (n, p) s."""

    pace: FloatArray
    """layers of the deepest stage times stages, over layers"""
    fixed: FloatArray
    """messages and launches but for dispatch and combine"""
    exchange: FloatArray
    """dispatch and combine, of which what shared experts take is hidden"""


def assign(
    operators: list[Operator],
    machine: Machine,
    work: StepWork,
    waits: Waits,
    buffered: Any,
    decoded: Decoded,
) -> list[BoolArray]:
    """Which operators the engine takes a part of: the assignment of the shortest step, limits of heat held.

    Of assignments within 0.1 % of it the one of least energy. Halves alternate, so an operator that is slower
    on the engine may still shorten the step: no operator is judged alone.
    """
    shape = waits.fixed.shape
    passes = np.where(work.plans.sub_batch_interleaving, 2.0, 1.0)
    limits = limits_of(machine)
    served = [j for j, o in enumerate(operators) if o.engine is not None and o.engine.serves.any()]
    masks = range(2 ** len(served))
    steps, joules = [], []
    for mask in masks:
        on = [j in served and bool(mask >> served.index(j) & 1) for j in range(len(operators))]
        may = np.ones(shape, dtype=bool)
        host, wires, beside = decoded.clocked_energy, decoded.unclocked_energy, np.zeros(shape)
        for o, here in zip(operators, on, strict=True):
            if here and o.engine is not None:
                may &= np.broadcast_to(o.engine.serves, shape)
                host, wires = host - o.engine.spared, wires + o.engine.wired
                beside = beside + o.engine.beyond
        energy = host + wires + beside
        site = int(machine.pnm.site[0])
        fast = decoded.fast + (beside if site == PnmSite.FAST else 0.0)
        flash = decoded.flash + (beside if site == PnmSite.FLASH else 0.0)
        times, joined = [], []
        for i, level in enumerate(machine.compute.levels()):
            time = np.broadcast_to(_step_of(operators, on, work, waits, buffered, i), shape)
            scale = machine.compute.level_energy[:, i : i + 1]
            watts = machine.compute.clock_power[:, None] * (level * scale) + machine.pnm.clock_power[:, None]
            times.append(time)
            joined.append((host * scale + wires) * passes + watts * time)
        governed = thermal.governed(times, joined, (fast * passes, flash * passes), limits)
        steps.append(np.minimum.reduce(governed))
        steps[-1] = np.where(may, steps[-1], np.inf)
        joules.append(energy)
    least = np.minimum.reduce(steps)
    best, spent = np.zeros(shape, dtype=np.int64), np.full(shape, np.inf)
    for mask in masks:
        better = (EQUAL * steps[mask] <= least) & (joules[mask] < spent)
        best, spent = np.where(better, mask, best), np.where(better, joules[mask], spent)
    return [
        (best >> served.index(j) & 1).astype(bool) if j in served else np.zeros(shape, dtype=bool)
        for j in range(len(operators))
    ]


def _step_of(
    operators: list[Operator], on: list[bool], work: StepWork, waits: Waits, buffered: Any, level: int
) -> FloatArray:
    """Time of a step at a clock level under one assignment."""
    zero = np.zeros((1, 1))
    time = clocked = slow = other = other_clocked = shared = zero
    engine = contention = host = host_lower = host_unhidden = zero
    for o, here in zip(operators, on, strict=True):
        e = o.engine
        below = zero if o.slow is None else o.slow
        chosen, each = o.host, o.clocked[level]
        if here and e is not None:
            chosen = each = e.time
            slow, other, other_clocked = slow + e.lower_busy, other + e.unhidden, other_clocked + e.unhidden
            engine, host = engine + e.near, host + e.rest
            host_lower, host_unhidden = host_lower + e.rest_lower, host_unhidden + e.rest_unhidden
        else:
            slow, other, other_clocked = (
                slow + below,
                other + o.unhidden[0],
                other_clocked + o.unhidden[level],
            )
            contention, host = contention + (zero if e is None else e.inside), host + o.host
            host_lower, host_unhidden = host_lower + below, host_unhidden + o.unhidden[0]
        time, clocked = time + chosen, clocked + each
        if o.name == "ffn":
            shared = chosen * work.shared_share
    spent = waits.fixed + np.maximum(waits.exchange - shared, 0.0)
    whole = (time - roofline.hidden_time(slow, other, time, buffered)) * waits.pace + spent
    slower = (clocked - roofline.hidden_time(slow, other_clocked, clocked, buffered)) * waits.pace + spent
    host = host - roofline.hidden_time(host_lower, host_unhidden, host, buffered)
    pair = 2.0 * np.maximum(host * waits.pace + spent, (engine + contention) * waits.pace)
    out: FloatArray = np.where(work.plans.sub_batch_interleaving, pair + 2.0 * (slower - whole), slower)
    return out


def _alternate(decoded: Decoded, o: Operator, use: BoolArray) -> None:
    """Add an operator to the times of host and engine that work on different halves of a batch."""
    own, engine = decoded.halves, o.engine
    assert own is not None and engine is not None  # noqa: S101, PT018 - machines with an engine have both
    own.engine += np.where(use, engine.near, 0.0)
    own.contention += np.where(use, 0.0, engine.inside)
    own.host += np.where(use, engine.rest, o.host)
    own.host_lower += np.where(use, engine.rest_lower, 0.0 if o.slow is None else o.slow)
    own.host_unhidden += np.where(use, engine.rest_unhidden, o.unhidden[0])


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
