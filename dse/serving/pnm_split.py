"""Which operators run beside the memory: host or PNM engine, per (design, plan) pair."""

from __future__ import annotations

from typing import Final, NamedTuple

from dse.core.axes import CLOCK_LEVELS
from dse.core.compilation import compilable
from dse.physics import roofline
from dse.serving.pnm_operator import FAR, FAST, FLASH
from dse.serving.rates import ATTENTION, FFN, governed
from dse.serving.records import OPS, MachineRow, PlanRow, ScratchRow, WorkloadRow
from dse.serving.results import Charges, Waits

EQUAL: Final = 0.999
"""assignments of a step within 0.1 % count as equally fast; 1 % of a step is more than most operators take"""

NEARLY: Final = EQUAL * (1.0 - 1e-9)
"""``EQUAL`` for sums in another order"""


class Sums(NamedTuple):
    """A step's operators summed under one assignment; s at the design clock, of one half in halves."""

    time: float
    slower: float
    """at the lower clock"""
    slack: float
    """that matrix products leave of the compute while they wait for weights"""
    products: float
    """of the matrix products: a slower clock leaves less of them"""
    shared: float
    """of shared experts, which wait for no dispatch"""
    hidden: float
    """that reads made ahead take off ``time``; it is taken off already"""
    host: float
    """that the host works whatever the engine does, its own reads ahead taken off"""
    host_slower: float
    engine: float
    """that the engine works, and what the host reads of its memory takes of that memory's bandwidth"""


@compilable
def summed(work: WorkloadRow, scratch: ScratchRow, assigned: int, buffered: float) -> Sums:
    """Sum a step's operators, those whose bit is set in ``assigned`` with their part on the engine.

    What a read-ahead buffer (``buffered`` s of reads) lets the slow tiers do during other operators is taken
    off: at each clock, and of the host's own timeline where halves alternate.
    """
    time = slower = unhidden = unhidden_slower = below = products = busy = shared = 0.0
    host = host_slower = host_below = host_unhidden = host_unhidden_slower = engine = 0.0
    for i in range(OPS):
        chosen = scratch.host[i]
        if assigned >> i & 1:
            chosen = scratch.pnm_time[i]
            slower += scratch.pnm_slower[i]
            unhidden += scratch.pnm_unhidden[i]
            unhidden_slower += scratch.pnm_unhidden_slower[i]
            below += scratch.pnm_below[i]
            engine += scratch.near[i]
            host += scratch.rest[i]
            host_below += scratch.rest_below[i]
            host_unhidden += scratch.rest_unhidden[i]
            host_slower += scratch.rest_slower[i]
            host_unhidden_slower += scratch.rest_unhidden_slower[i]
        else:
            slower += scratch.host_slower[i]
            unhidden += scratch.unhidden[i]
            unhidden_slower += scratch.unhidden_slower[i]
            below += scratch.below[i]
            engine += scratch.inside[i]
            host += chosen
            host_below += scratch.below[i]
            host_unhidden += scratch.unhidden[i]
            host_slower += scratch.host_slower[i]
            host_unhidden_slower += scratch.unhidden_slower[i]
        time += chosen
        if i != ATTENTION:  # its own kernel: prompts cannot use the compute it leaves idle
            products += chosen
            busy += scratch.busy[i]
        if i == FFN:
            shared = chosen * work.shared_share
    hidden_slower = roofline.hidden_time(below, unhidden_slower, slower, buffered)
    hidden = roofline.hidden_time(below, unhidden, time, buffered)
    own = roofline.hidden_time(host_below, host_unhidden, host, buffered)
    own_slower = roofline.hidden_time(host_below, host_unhidden_slower, host_slower, buffered)
    return Sums(
        time=time - hidden,
        slower=slower - hidden_slower,
        slack=max(products - busy - hidden, 0.0),
        products=max(products - hidden, 0.0),
        shared=shared,
        hidden=hidden,
        host=host - own,
        host_slower=host_slower - own_slower,
        engine=engine,
    )


@compilable
def passes(plan: PlanRow) -> float:
    """How often operators run in a step: twice where the batch runs as two halves."""
    return 2.0 if plan.sub_batch_interleaving > 0 else 1.0


@compilable
def step_times(plan: PlanRow, sums: Sums, waits: Waits) -> tuple[float, float]:
    """Time [s] of a step at the design clock and at the lower one, messages and launches included.

    In halves, one half is on the host, its messages and its launches while the other is near its data; what
    the host reads of the engine's memory and the engine's work share the bandwidth inside it:
    2 x max(host, engine + host's reads at the inner rate). The engine has a clock of its own, which stays.
    """
    spent = waits.fixed + max(waits.exchange - sums.shared, 0.0)
    if plan.sub_batch_interleaving == 0:
        return sums.time * waits.pace + spent, sums.slower * waits.pace + spent
    engine = sums.engine * waits.pace
    pair = 2.0 * max(sums.host * waits.pace + spent, engine)
    return pair, 2.0 * max(sums.host_slower * waits.pace + spent, engine)


@compilable
def charged(machine: MachineRow, scratch: ScratchRow, assigned: int, host: Charges) -> Charges:
    """Energies [J] of a pass with operators assigned to the engine, from those of the host alone."""
    clocked, unclocked, beside = host.clocked, host.unclocked, 0.0
    for i in range(OPS):
        if assigned >> i & 1:
            clocked -= scratch.spared[i]
            unclocked += scratch.wired[i]
            beside += scratch.beyond[i]
    fast, flash, far = host.fast, host.flash, host.far
    if machine.pnm_site == FAST:
        fast += beside
    elif machine.pnm_site == FLASH:
        flash += beside
    elif machine.pnm_site == FAR:
        far += beside
    return Charges(clocked=clocked, unclocked=unclocked, fast=fast, flash=flash, far=far)


@compilable
def level_watts(machine: MachineRow, level: int) -> float:
    """W of clocked logic at a clock level, the engine's own clock included; gated while a throttled step
    waits.
    """
    clock = CLOCK_LEVELS[level] * machine.level_energy[level]
    return machine.clock_power * clock + machine.pnm_clock_power


class Assigned(NamedTuple):
    """A pass with some operators' parts on the engine."""

    operators: int
    """a bit each"""
    sums: Sums
    charges: Charges


@compilable
def assign(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    scratch: ScratchRow,
    waits: Waits,
    host: Charges,
    buffered: float,
    able: int,
) -> Assigned:
    """Which of the operators that the engine is ``able`` to run it takes a part of.

    The shortest step, limits of heat held, at the better of the clocks. Of assignments within 0.1 % of it
    the one of least energy. Halves alternate, so an operator that is slower on the engine may still shorten
    the step, and a read made ahead may beat the engine: no operator is judged alone. Most are decided by
    what the step would at least be with them on the slower side; the others are tried in every combination.
    """
    start = quicker_each(scratch, able)
    sums = summed(work, scratch, start, buffered)
    charges = charged(machine, scratch, start, host)
    if able == 0:
        return Assigned(start, sums, charges)
    least = governed_step(machine, plan, waits, sums, charges)
    must, may = decided(work, plan, scratch, waits=waits, buffered=buffered, able=able, longest=least / EQUAL)
    if must == may:
        best = must
    else:
        best = quickest_tried(
            machine,
            work,
            plan,
            scratch=scratch,
            waits=waits,
            host=host,
            buffered=buffered,
            count=every_assignment(work, plan, scratch, must, may & ~must),
            start=start,
            least=least,
        )
    if best == start:
        return Assigned(start, sums, charges)
    return Assigned(best, summed(work, scratch, best, buffered), charged(machine, scratch, best, host))


@compilable
def every_assignment(work: WorkloadRow, plan: PlanRow, scratch: ScratchRow, must: int, free: int) -> int:
    """Sum a pass under every assignment of the ``free`` operators, with those that ``must`` on the engine.

    At the design clock, and of the host's own timeline where halves alternate. Each operator doubles the
    assignments: those so far, and the same with its part moved. Returns how many there are.
    """
    s = scratch
    s.tried[0] = must
    s.tried_host[0] = s.tried_unhidden[0] = s.tried_below[0] = s.tried_engine[0] = 0.0
    s.tried_shared[0] = s.host[FFN] * work.shared_share
    for i in range(OPS):
        s.tried_host[0] += s.host[i]
        s.tried_unhidden[0] += s.unhidden[i]
        s.tried_below[0] += s.below[i]
        s.tried_engine[0] += s.inside[i]
    for i in range(OPS):
        if must >> i & 1:
            move_operator(work, plan, scratch, i, 0, 0)
    count = 1
    for i in range(OPS):
        if free >> i & 1:
            for c in range(count):
                s.tried[count + c] = s.tried[c] | 1 << i
                move_operator(work, plan, scratch, i, c, count + c)
            count *= 2
    return count


@compilable
def move_operator(work: WorkloadRow, plan: PlanRow, scratch: ScratchRow, i: int, c: int, to: int) -> None:
    """The sums of assignment c with operator i moved to the engine, as those of assignment ``to``."""
    s = scratch
    longer = s.pnm_time[i] - s.host[i]
    s.tried_shared[to] = s.tried_shared[c] + (longer * work.shared_share if i == FFN else 0.0)
    if plan.sub_batch_interleaving > 0:
        s.tried_host[to] = s.tried_host[c] + (s.rest[i] - s.host[i])
        s.tried_unhidden[to] = s.tried_unhidden[c] + (s.rest_unhidden[i] - s.unhidden[i])
        s.tried_below[to] = s.tried_below[c] + (s.rest_below[i] - s.below[i])
        s.tried_engine[to] = s.tried_engine[c] + (s.near[i] - s.inside[i])
    else:
        s.tried_host[to] = s.tried_host[c] + longer
        s.tried_unhidden[to] = s.tried_unhidden[c] + (s.pnm_unhidden[i] - s.unhidden[i])
        s.tried_below[to] = s.tried_below[c] + (s.pnm_below[i] - s.below[i])


@compilable
def tried_step(plan: PlanRow, scratch: ScratchRow, waits: Waits, buffered: float, c: int) -> float:
    """Time [s] of a step under assignment c at the design clock, as ``step_times`` has it."""
    s = scratch
    spent = waits.fixed + max(waits.exchange - s.tried_shared[c], 0.0)
    hidden = roofline.hidden_time(s.tried_below[c], s.tried_unhidden[c], s.tried_host[c], buffered)
    time = (s.tried_host[c] - hidden) * waits.pace + spent
    if plan.sub_batch_interleaving > 0:
        return 2.0 * max(time, s.tried_engine[c] * waits.pace)
    return time


@compilable
def quickest_tried(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    scratch: ScratchRow,
    waits: Waits,
    host: Charges,
    buffered: float,
    count: int,
    start: int,
    least: float,
) -> int:
    """Of ``count`` assignments that of the shortest step, limits of heat held; within 0.1 % of least
    energy.

    One of them, ``start``, takes ``least`` [s]. Heat and lower clocks never shorten a step, so only those
    that could be as short at the design clock are worked out in full.
    """
    s, kept, known = scratch, 0, least
    for c in range(count):
        at_start = s.tried[c] == start
        if at_start or NEARLY * tried_step(plan, s, waits, buffered, c) <= least:
            charges = charged(machine, s, s.tried[c], host)
            step = known
            if not at_start:
                step = governed_step(machine, plan, waits, summed(work, s, s.tried[c], buffered), charges)
            least = min(least, step)
            s.tried[kept], s.kept_step[kept] = s.tried[c], step
            s.kept_joules[kept] = (
                charges.clocked + charges.unclocked + charges.fast + charges.flash + charges.far
            )
            kept += 1
    best, spent = 0, -1.0
    for c in range(kept):
        if EQUAL * s.kept_step[c] <= least and (spent < 0.0 or s.kept_joules[c] < spent):
            best, spent = s.tried[c], s.kept_joules[c]
    return best


@compilable
def quicker_each(scratch: ScratchRow, able: int) -> int:
    """Bits of the operators that the engine is able to run and that are quicker with it, each on its own."""
    out = 0
    for i in range(OPS):
        if able >> i & 1 and scratch.pnm_unhidden[i] < scratch.unhidden[i]:
            out += 1 << i
    return out


class Quickest(NamedTuple):
    """Bounds [s] of the sums of a pass's operators, whatever is assigned: lower ones, but for ``shared``.

    Of the host's part alone in halves.
    """

    host: float
    unhidden: float
    """with the tiers below read ahead"""
    below: float
    """that the tiers below are busy"""
    engine: float
    """in halves, that the engine works and its memory is read"""
    both: float
    """in halves, of what the host works with the tiers below read ahead and of what the engine works"""
    shared: float
    """of shared experts, which wait for no dispatch: the most there may be"""


@compilable
def quickest(work: WorkloadRow, plan: PlanRow, scratch: ScratchRow, able: int) -> Quickest:
    """Sum_i min(host_i, engine_i): every figure of a pass is a sum over its operators."""
    halves = plan.sub_batch_interleaving > 0
    host = unhidden = below = engine = both = 0.0
    longest = max(scratch.host[FFN], scratch.pnm_time[FFN]) if able >> FFN & 1 else scratch.host[FFN]
    for i in range(OPS):
        if able >> i & 1 == 0:
            host += scratch.host[i]
            unhidden += scratch.unhidden[i]
            below += scratch.below[i]
            engine += scratch.inside[i]
            both += scratch.unhidden[i] + scratch.inside[i]
        elif halves:
            host += min(scratch.host[i], scratch.rest[i])
            unhidden += min(scratch.unhidden[i], scratch.rest_unhidden[i])
            below += min(scratch.below[i], scratch.rest_below[i])
            engine += min(scratch.near[i], scratch.inside[i])
            both += min(scratch.unhidden[i] + scratch.inside[i], scratch.rest_unhidden[i] + scratch.near[i])
        else:
            host += min(scratch.host[i], scratch.pnm_time[i])
            unhidden += min(scratch.unhidden[i], scratch.pnm_unhidden[i])
            below += min(scratch.below[i], scratch.pnm_below[i])
    return Quickest(
        host=host,
        unhidden=unhidden,
        below=below,
        engine=engine,
        both=both,
        shared=longest * work.shared_share,
    )


@compilable
def decided(
    work: WorkloadRow,
    plan: PlanRow,
    scratch: ScratchRow,
    waits: Waits,
    buffered: float,
    able: int,
    longest: float,
) -> tuple[int, int]:
    """Bits of the operators that the engine must take a part of, and that it may, in a step of ``longest``
    [s].

    Whatever the others do, a step takes at least what ``quickest`` says, and with operator i on the slower
    side its difference more. In halves both the host and the engine take that long, each of its own times,
    and the longer of both at least half their sum.
    Writes, refresh, the lower clock and limits of heat only add.
    """
    quick, runs = quickest(work, plan, scratch, able), passes(plan)
    fixed = waits.fixed + max(waits.exchange - quick.shared, 0.0)
    halves = plan.sub_batch_interleaving > 0
    must, may = 0, 0
    for i in range(OPS):
        if able >> i & 1:
            time, unhidden, below = scratch.pnm_time[i], scratch.pnm_unhidden[i], scratch.pnm_below[i]
            near = inside = near_both = inside_both = 0.0
            if halves:
                time, unhidden, below = scratch.rest[i], scratch.rest_unhidden[i], scratch.rest_below[i]
                near = quick.engine + max(scratch.near[i] - scratch.inside[i], 0.0)
                inside = quick.engine + max(scratch.inside[i] - scratch.near[i], 0.0)
                more = (unhidden + scratch.near[i]) - (scratch.unhidden[i] + scratch.inside[i])
                near_both, inside_both = quick.both + max(more, 0.0), quick.both + max(-more, 0.0)
            on_engine = max(
                quick.unhidden + max(unhidden - scratch.unhidden[i], 0.0),
                quick.below + max(below - scratch.below[i], 0.0),
                quick.host + max(time - scratch.host[i], 0.0) - buffered,
            )
            on_host = max(
                quick.unhidden + max(scratch.unhidden[i] - unhidden, 0.0),
                quick.below + max(scratch.below[i] - below, 0.0),
                quick.host + max(scratch.host[i] - time, 0.0) - buffered,
            )
            on_engine = runs * max(on_engine * waits.pace + fixed, near * waits.pace)
            on_host = runs * max(on_host * waits.pace + fixed, inside * waits.pace)
            if max(on_engine, near_both * waits.pace + fixed) <= longest:
                may += 1 << i
            if max(on_host, inside_both * waits.pace + fixed) > longest:
                must += 1 << i
    return must & may, may


@compilable
def governed_step(machine: MachineRow, plan: PlanRow, waits: Waits, sums: Sums, charges: Charges) -> float:
    """Time [s] of a step under an assignment at the better clock, limits of heat held."""
    runs = passes(plan)
    time, slower = step_times(plan, sums, waits)
    fast, flash = charges.fast * runs, charges.flash * runs
    logic = (charges.clocked + charges.unclocked) * runs + level_watts(machine, 0) * time
    step = governed(machine, time, logic, fast, flash)
    if machine.levels > 1:
        less = (charges.clocked * machine.level_energy[1] + charges.unclocked) * runs
        other = governed(machine, slower, less + level_watts(machine, 1) * slower, fast, flash)
        step = min(step, other)
    return step
