"""Which operators run beside the memory: host or PNM engine, with hand-over, per (design, plan) pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dse.core.axes import OPERATORS, PnmSite
from dse.core.units import BoolArray, FloatArray
from dse.hardware.machine import Machine
from dse.serving.collectives import Note
from dse.serving.placement import TINY, LowerTiers
from dse.serving.rates import Rates, _col
from dse.serving.results import Decoded, Read
from dse.serving.software import SoftwareStack
from dse.serving.step_work import StepWork


@dataclass
class EngineOperator:
    """An operator with the part beside the engine run there, (n, p) each."""

    serves: BoolArray
    """(n, 1) whether the engine can"""
    time: FloatArray
    """s"""
    lower_busy: FloatArray
    """s that the tiers below are busy with it where the engine takes part"""
    unhidden: FloatArray
    """s that it takes there with all that the host reads of the tiers below read ahead"""
    near: Any
    """s that the engine works"""
    inside: Any
    """s that reading its part takes at the engine's bandwidth"""
    rest: Any
    """s of what the host does beside it"""
    rest_lower: Any
    """of it, reads of the tiers below"""
    rest_unhidden: Any
    """what is left of it with those reads made ahead"""
    spared: FloatArray
    """J of arithmetic that the host does not do"""
    wired: FloatArray
    """J that moving bytes on chip changes by"""
    beyond: FloatArray
    """J that the memory beside the engine changes by, arithmetic of the engine included"""
    reads: FloatArray
    """of it, the engine's reads"""
    arithmetic: FloatArray

    @property
    def saved(self) -> FloatArray:
        """J that the step changes by."""
        return self.beyond + self.wired - self.spared


TIE = 0.99
"""clocks within 1 % of each other's time count as equally fast: energy decides"""


EQUAL = 0.999
"""assignments of a step within 0.1 % count as equally fast; 1 % of a step is more than most operators take"""


def pnm_operator(
    machine: Machine,
    work: StepWork,
    rates: Rates,
    software: SoftwareStack,
    i: int,
    inverse: Any,
    read: Read,
    slow: FloatArray | None,
    below: LowerTiers | None,
) -> EngineOperator:
    """Operator i with the part beside the PNM engine run there.

    What an engine below the fast tier computes is no
    read that can be made ahead: it needs the result of the operator before it, and its planes are busy
    meanwhile. What the host reads of the tiers below beside an engine on the fast one can be. The engine gets
    the efficiencies that the host has for the same access pattern. Hand-over: two mode switches a layer,
    inputs and partial sums in as many copies as the partition needs.
    """
    op, site = OPERATORS[i], int(machine.pnm.site[0])
    on_chip, e_fast, e_flash, e_far, e_near = rates.energy
    flop, efficiency = work.flop[i], 1.0 / software.compute(op, work.bits[i])
    even, even_flop = work.mean_weights[i], flop * work.mean_flop[i]
    pages: Any = 1.0
    stretch: Any = 1.0
    across = read.chip * (inverse * rates.sram) if read.chip is not None else None
    if site == PnmSite.FAST:
        beside, path, link = read.fast, e_fast, rates.fast
        ahead = across  # what is left of the host's part once the tiers below are read ahead
        across = slow if across is None else across if slow is None else np.maximum(across, slow)
    else:
        # the tier that the engine sits on
        assert read.slow is not None and below is not None  # noqa: S101, PT018
        part_of = below.in_flash if site == PnmSite.FLASH else 1.0 - below.in_flash
        if site == PnmSite.FLASH:
            pages, stretch = read.pages, read.stretch
        beside, path = read.slow * part_of, (e_flash * pages if site == PnmSite.FLASH else e_far)
        link = _col(1.0 / (machine.flash.bandwidth if site == PnmSite.FLASH else machine.far.bandwidth))
        other = machine.far.bandwidth if site == PnmSite.FLASH else machine.flash.bandwidth
        lower_elsewhere = read.slow * ((1.0 - part_of) * inverse * _col(1.0 / other))
        elsewhere = np.maximum(read.fast * (inverse * rates.fast), lower_elsewhere)
        across = elsewhere if across is None else np.maximum(across, elsewhere)
    moved = work.crossing[i] * _copies(machine, work, i)
    layers: Any = {"experts": work.moe_layers, "head": 1.0}.get(op, work.layers)
    handover = 2.0 * layers * machine.pnm.switch_latency[:, None] + moved * (inverse * link)
    if site == PnmSite.FLASH and op == "experts":
        handover = handover + work.moe_layers * machine.lower_latency[:, None]
    part = 1.0 if across is None else beside / np.maximum(read.bytes, TINY)
    near = np.maximum(
        beside * (stretch * inverse * rates.near), part * (flop * (efficiency * rates.near_flop[i]))
    )
    near += handover
    time, rest = near, np.zeros(())
    host_flop = (1.0 - part) * (flop * (efficiency * rates.host_flop[i]))
    if across is not None:
        rest = np.maximum(across, host_flop)
        time = np.maximum(near, rest)
    if site == PnmSite.FAST:
        lower_busy = rest_lower = np.zeros(()) if slow is None else slow
        unhidden, rest_unhidden = time, rest
        if slow is not None and op != "experts":  # which experts is known only once the tokens are routed
            rest_unhidden = host_flop if ahead is None else np.maximum(host_flop, ahead)
            unhidden = np.maximum(near, rest_unhidden)
    else:
        lower_busy, rest_lower = np.maximum(near, lower_elsewhere), lower_elsewhere
        unhidden, rest_unhidden = time, rest
    spared = part * (even_flop * rates.host_flop_energy[i])  # arithmetic that the host does not do
    wire = np.maximum(path - pages * e_near, 0.0)  # what is handed over touches no array
    beyond = (
        moved * wire
        - beside * (even * (path - pages * e_near))
        + part * (even_flop * rates.near_flop_energy[i])
    )
    wired = moved * on_chip - beside * (even * on_chip)
    return EngineOperator(
        serves=machine.pnm.serves[:, i : i + 1] > 0,
        time=time,
        lower_busy=lower_busy,
        unhidden=unhidden,
        near=near,
        inside=beside * (stretch * inverse * rates.near),
        rest=rest,
        rest_lower=rest_lower,
        rest_unhidden=rest_unhidden,
        spared=spared,
        wired=wired,
        beyond=beyond,
        reads=beside * (even * pages * e_near),
        arithmetic=part * (even_flop * rates.near_flop_energy[i]),
    )


def charge_engine(
    decoded: Decoded, engine: EngineOperator, use: BoolArray, site: int, note: Note | None
) -> None:
    """Correct the energies of a step for an operator where the engine takes its part."""
    decoded.clocked_energy -= np.where(use, engine.spared, 0.0)
    decoded.unclocked_energy += np.where(use, engine.wired, 0.0)
    where = {PnmSite.FAST: decoded.fast, PnmSite.FLASH: decoded.flash, PnmSite.FAR: decoded.far}[
        PnmSite(site)
    ]
    where += np.where(use, engine.beyond, 0.0)
    if note:
        note("near", "reads", np.where(use, engine.reads, 0.0))
        note("near", "arithmetic", np.where(use, engine.arithmetic, 0.0))


def _copies(machine: Machine, work: StepWork, i: int) -> FloatArray:
    """Times that inputs and partial results of operator i cross, (n, 1) or (n, p).

    Weights lie in a two-dimensional partition over the shards; the KV of a sequence and head lies whole in a
    shard as long as there are no more shards than those, else cut along the context.
    """
    if work.weights[i].any():
        return machine.pnm.copies[:, None]
    cut: FloatArray = np.maximum(
        np.square(machine.pnm.copies)[:, None] / np.maximum(work.kv_pieces, 1.0), 1.0
    )
    return cut
