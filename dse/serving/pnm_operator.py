"""One operator with the part beside the PNM engine run there, and what that leaves to the host."""

from __future__ import annotations

from typing import Final

from dse.core.axes import CLOCK_LEVELS, PnmSite
from dse.core.compilation import compilable
from dse.physics import pnm
from dse.serving.placement import TINY, Placement
from dse.serving.rates import ATTENTION, EXPERTS, HEAD
from dse.serving.records import MachineRow, PlanRow, ScratchRow, WorkloadRow
from dse.serving.results import Read

LOWER_CLOCK: Final = CLOCK_LEVELS[1]
FAST: Final = int(PnmSite.FAST)
FLASH: Final = int(PnmSite.FLASH)
FAR: Final = int(PnmSite.FAR)


@compilable
def handover(
    machine: MachineRow, work: WorkloadRow, plan: PlanRow, inverse: float, link: float, i: int
) -> tuple[float, float]:
    """Bytes handed over between host and engine for operator i, and the time [s] of it.

    Two mode switches a layer, inputs and partial sums in as many copies as the partition needs.
    """
    copies = machine.copies
    if i == ATTENTION:
        copies = pnm.cache_copies(machine.copies, plan.kv_pieces)
    moved = plan.crossing[i] * copies
    layers = work.layers
    if i == EXPERTS:
        layers = work.moe_layers
    elif i == HEAD:
        layers = 1.0
    return moved, 2.0 * layers * machine.switch_latency + moved * (inverse * link)


@compilable
def beside_engine(machine: MachineRow, place: Placement, read: Read) -> tuple[float, float]:
    """Bytes of an operator that lie beside the engine, and the time of reading them over that in order."""
    if machine.pnm_site == FAST:
        return read.fast, 1.0
    if machine.pnm_site == FLASH:
        return read.below * place.in_flash, read.stretch
    return read.below * (1.0 - place.in_flash), 1.0


@compilable
def inside_time(machine: MachineRow, scratch: ScratchRow, beside: float, stretch: float, i: int) -> float:
    """Time [s] that the memory beside the engine is busy with bytes of operator i that the host reads.

    What is inside gives whichever asks for more: the engine, or the host over its own wires.
    """
    host = machine.fast_inverse
    if machine.pnm_site == FLASH:
        host = machine.flash_inverse
    elif machine.pnm_site == FAR:
        host = machine.far_inverse
    return beside * (stretch * scratch.inverse[i] * min(machine.pnm_inverse, host))


@compilable
def host_reads(
    machine: MachineRow,
    work: WorkloadRow,
    scratch: ScratchRow,
    read: Read,
    fast: float,
    below: float,
    in_flash: float,
    per_byte: float,
    i: int,
) -> tuple[float, float]:
    """Time [s] of the bytes that the host reads of operator i over its wires, and of those ``below``.

    Behind one PHY the bytes of flash, a share ``in_flash`` of those below, cross it too. Which experts are
    read is known only once the tokens are routed: their pages are waited for.
    """
    inverse = scratch.inverse[i]
    crossing = fast + below * in_flash * machine.shares_fast_phy
    wires = max(crossing * (inverse * machine.fast_inverse), read.chip * (inverse * machine.sram_inverse))
    time = below * (inverse * per_byte)
    if i == EXPERTS and below > 0.0:
        time += work.moe_layers * machine.lower_latency
    return wires, time


@compilable
def engine_operator(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    place: Placement,
    read: Read,
    scratch: ScratchRow,
    i: int,
) -> None:
    """Operator i with the part beside the PNM engine run there: its times and energies into ``scratch``.

    What an engine below the fast tier computes is no read that can be made ahead: it needs the result of the
    operator before it, and its planes are busy meanwhile. What the host reads of the tiers below beside an
    engine on the fast one can be.
    """
    site, inverse, flop = machine.pnm_site, scratch.inverse[i], plan.flop[i]
    pages = 1.0
    beside, stretch = beside_engine(machine, place, read)
    # what is left to the host
    fast, below, in_flash, per_byte = read.fast, read.below, place.in_flash, read.per_byte
    if site == FAST:
        path, link = machine.fast_energy, machine.fast_inverse
        fast = 0.0
    elif site == FLASH:
        pages = read.pages
        path, link = machine.flash_energy * pages, machine.flash_inverse
        below, in_flash, per_byte = read.below * (1.0 - place.in_flash), 0.0, machine.far_inverse
    else:
        path, link = machine.far_energy, machine.far_inverse
        below, in_flash = read.below * place.in_flash, 1.0
        per_byte = machine.flash_inverse * read.stretch
    wires, elsewhere_below = host_reads(
        machine, work, scratch, read, fast=fast, below=below, in_flash=in_flash, per_byte=per_byte, i=i
    )
    elsewhere = max(wires, elsewhere_below)
    alone = site == FAST and read.chip <= 0.0 and read.below <= 0.0
    moved, handed = handover(machine, work, plan, inverse=inverse, link=link, i=i)
    if site == FLASH and i == EXPERTS:
        handed += work.moe_layers * machine.lower_latency
    part = 1.0 if alone else beside / max(read.bytes, TINY)
    streamed = beside * (stretch * inverse * machine.pnm_inverse)
    near = max(streamed, part * flop * scratch.pnm_rate[i]) + handed
    host = (1.0 - part) * flop * scratch.rate[i]
    rest, rest_slower = max(elsewhere, host), max(elsewhere, host / LOWER_CLOCK)
    time, slower = max(near, rest), max(near, rest_slower)
    unhidden, unhidden_slower = time, slower
    rest_unhidden, rest_unhidden_slower = rest, rest_slower
    if site == FAST and i != EXPERTS:  # which experts is known only once the tokens are routed
        rest_unhidden, rest_unhidden_slower = max(wires, host), max(wires, host / LOWER_CLOCK)
        unhidden, unhidden_slower = max(near, rest_unhidden), max(near, rest_unhidden_slower)
    scratch.pnm_time[i], scratch.pnm_slower[i] = time, slower
    scratch.pnm_unhidden_slower[i] = unhidden_slower
    scratch.pnm_below[i] = elsewhere_below if site == FAST else max(near, elsewhere_below)
    scratch.pnm_unhidden[i] = unhidden
    scratch.near[i] = near
    scratch.rest[i], scratch.rest_below[i], scratch.rest_unhidden[i] = rest, elsewhere_below, rest_unhidden
    scratch.rest_slower[i], scratch.rest_unhidden_slower[i] = rest_slower, rest_unhidden_slower
    even_flop, even = flop * plan.mean_flop[i], beside * plan.mean_weights[i]
    scratch.spared[i] = part * (even_flop * machine.flop_energy[work.bits[i]])
    scratch.pnm_reads[i] = even * (pages * machine.pnm_energy)
    scratch.pnm_arithmetic[i] = part * (even_flop * scratch.pnm_joule[i])
    wire = max(path - pages * machine.pnm_energy, 0.0)  # what is handed over touches no array
    scratch.beyond[i] = moved * wire - even * path + scratch.pnm_reads[i] + scratch.pnm_arithmetic[i]
    scratch.wired[i] = (moved - even) * machine.byte_energy
