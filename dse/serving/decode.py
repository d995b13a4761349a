"""The operators of one decode step of a (design, plan) pair: time, energy, flash bytes."""

from __future__ import annotations

from typing import NamedTuple

from dse.core.compilation import compilable
from dse.core.rounding import ceiling
from dse.serving.collectives import all_reduce, exchange, pipeline_transfer
from dse.serving.placement import Placement
from dse.serving.pnm_operator import LOWER_CLOCK, beside_engine, engine_operator, host_reads, inside_time
from dse.serving.pnm_split import Sums, assign
from dse.serving.rates import ATTENTION, EXPERTS
from dse.serving.records import OPS, MachineRow, PlanRow, ScratchRow, WorkloadRow
from dse.serving.results import Charges, Read, Waits


class Decoded(NamedTuple):
    """Operators of a pass; of one half where the batch runs in halves."""

    sums: Sums
    charges: Charges
    flash_bytes: float
    """read by host and engine"""
    assigned: int
    """bits of the operators that the engine takes a part of"""


@compilable
def read_of(plan: PlanRow, place: Placement, i: int) -> Read:
    """Split the bytes of operator i over the tiers."""
    if i == ATTENTION:
        whole = plan.kv_live + plan.kv_prefix
        fast = place.live * plan.kv_live + place.prefix * plan.kv_prefix
        return Read(
            bytes=whole,
            fast=fast,
            below=max(whole - fast, 0.0),
            chip=0.0,
            per_byte=place.per_kv_byte,
            pages=place.kv_pages,
            stretch=place.kv_pages,
        )
    weights = plan.weights[i]
    if i == EXPERTS:
        fast = place.experts * weights
        return Read(
            bytes=weights,
            fast=fast,
            below=weights - fast,
            chip=0.0,
            per_byte=place.per_expert_byte,
            pages=place.expert_pages,
            stretch=place.expert_stretch,
        )
    chip = place.chip * weights
    fast = place.dense * (weights - chip)
    return Read(
        bytes=weights,
        fast=fast,
        below=weights - chip - fast,
        chip=chip,
        per_byte=place.per_byte,
        pages=1.0,
        stretch=1.0,
    )


@compilable
def host_operator(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    place: Placement,
    read: Read,
    scratch: ScratchRow,
    i: int,
) -> None:
    """Operator i on the host, into ``scratch``: the longest of its compute and of the tiers it touches.

    Which experts are read is known only once the tokens are routed: none is read ahead.
    """
    wires, below = host_reads(
        machine,
        work,
        scratch,
        read,
        fast=read.fast,
        below=read.below,
        in_flash=place.in_flash,
        per_byte=read.per_byte,
        i=i,
    )
    busy = plan.flop[i] * scratch.rate[i]
    alone, alone_slower = max(wires, busy), max(wires, busy / LOWER_CLOCK)
    scratch.host[i], scratch.host_slower[i] = max(alone, below), max(alone_slower, below)
    scratch.busy[i], scratch.below[i] = busy, below
    if i == EXPERTS:
        scratch.unhidden[i], scratch.unhidden_slower[i] = scratch.host[i], scratch.host_slower[i]
    else:
        scratch.unhidden[i], scratch.unhidden_slower[i] = alone, alone_slower


@compilable
def no_operator(scratch: ScratchRow, i: int) -> None:
    """A model without operator i spends nothing on it."""
    scratch.host[i] = scratch.host_slower[i] = scratch.busy[i] = scratch.below[i] = 0.0
    scratch.unhidden[i] = scratch.unhidden_slower[i] = scratch.inside[i] = 0.0


@compilable
def waits_of(
    machine: MachineRow, work: WorkloadRow, plan: PlanRow, depth: float, scratch: ScratchRow
) -> Waits:
    """Launches and messages of a pass; the stage with most layers sets the pace of all.

    All-reduces, dispatch and combine, and the gather of sampled tokens: best token and its score, so that
    bytes do not count.
    """
    pace = 1.0
    if depth > 1.0:
        held = min(depth, work.layers)
        pace = ceiling(work.layers / held) * held * scratch.inverse_layers
    share = 0.5 if plan.sub_batch_interleaving > 0 else 1.0
    launches = scratch.launch + work.sequence_overhead * (plan.per_rank * share)
    messages = machine.gather_alpha[plan.group_index]
    if plan.reduces > 0.0:
        messages += plan.reduces * all_reduce(
            scratch, plan.tensor_index, plan.reduce_bytes * scratch.inverse_link
        )
    stages = pipeline_transfer(machine, plan.group, depth, plan.stage_bytes)
    exchanged = 0.0
    if plan.exchanges > 0.0:
        exchanged = exchange(
            machine, plan.group_index, plan.exchange_bytes * scratch.inverse_link, plan.exchanges
        )
    return Waits(
        pace=pace,
        launches=launches,
        messages=messages,
        stages=stages,
        exchange=exchanged,
        fixed=launches + messages + stages,
    )


@compilable
def host_charges(machine: MachineRow, plan: PlanRow, place: Placement) -> tuple[Charges, float]:
    """Energies [J] of a pass that the host runs, and the bytes of flash that it reads.

    Joules follow the mean rank, time the most loaded.
    """
    arithmetic = 0.0
    for column in range(len(plan.joule_flop)):
        arithmetic += plan.joule_flop[column] * machine.flop_energy[column]
    dense = plan.joule_dense * (1.0 - place.chip)
    of_dense, of_experts = place.dense * dense, place.experts * plan.joule_experts
    of_cache = place.live * plan.kv_live + place.prefix * plan.kv_prefix
    cache = plan.kv_live + plan.kv_prefix
    slow_dense, slow_experts = dense - of_dense, plan.joule_experts - of_experts
    slow_cache = max(cache - of_cache, 0.0)
    flash_bytes = (
        slow_dense + slow_experts * place.expert_pages + slow_cache * place.kv_pages
    ) * place.in_flash
    far_bytes = (slow_dense + slow_experts + slow_cache) * (1.0 - place.in_flash)
    return Charges(
        clocked=arithmetic,
        unclocked=(plan.joule_dense + plan.joule_experts + cache) * machine.byte_energy,
        fast=(of_dense + of_experts + of_cache) * machine.fast_energy,
        flash=flash_bytes * machine.flash_energy,
        far=far_bytes * machine.far_energy,
    ), flash_bytes


@compilable
def operators(
    machine: MachineRow, work: WorkloadRow, plan: PlanRow, place: Placement, scratch: ScratchRow
) -> int:
    """Every operator on the host, and with a part on the engine, into ``scratch``.

    Returns the bits of those that the engine is able to run.
    """
    able = 0
    for i in range(OPS):
        if plan.flop[i] <= 0.0:
            no_operator(scratch, i)
            continue
        read = read_of(plan, place, i)
        host_operator(machine, work, plan, place=place, read=read, scratch=scratch, i=i)
        scratch.inside[i] = 0.0
        if machine.pnm_site > 0:
            beside, stretch = beside_engine(machine, place, read)
            scratch.inside[i] = inside_time(machine, scratch, beside, stretch, i)
            if scratch.pnm_operators >> i & 1 and beside > 0.0:  # an engine with no byte has no part
                able += 1 << i
                engine_operator(machine, work, plan, place=place, read=read, scratch=scratch, i=i)
    return able


@compilable
def read_ahead(machine: MachineRow, work: WorkloadRow, place: Placement) -> float:
    """Time [s] of the reads that the staging buffer holds, once per layer."""
    return work.layers * machine.read_ahead_buffer * place.per_byte


@compilable
def decode(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    place: Placement,
    waits: Waits,
    scratch: ScratchRow,
    able: int,
) -> Decoded:
    """Time and energy of a pass's operators, those that gain from it with a part on the engine.

    Operators add up; then what a read-ahead buffer lets the slow tiers do during other operators is taken
    off.
    """
    host, flash_bytes = host_charges(machine, plan, place)
    buffered = read_ahead(machine, work, place)
    done = assign(machine, work, plan, scratch=scratch, waits=waits, host=host, buffered=buffered, able=able)
    return Decoded(sums=done.sums, charges=done.charges, flash_bytes=flash_bytes, assigned=done.operators)
