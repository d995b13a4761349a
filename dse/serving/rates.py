"""Inverse rates and energies of a chunk of machines.

What depends on the design and an operator's precision alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dse.core.table import total
from dse.core.units import FloatArray, IntArray
from dse.hardware.machine import Machine
from dse.serving.step_work import StepWork


@dataclass
class Rates:
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


def _col(x: FloatArray) -> FloatArray:
    """A figure of each design as a column."""
    return x[:, None]


def rates_of(machine: Machine, work: StepWork) -> Rates:
    """Hoist what depends on the design and the operator's precision alone."""

    def of(table: FloatArray, bits: IntArray) -> FloatArray:
        return np.take_along_axis(table, bits, axis=1) if bits.ndim else table[:, int(bits), None]

    kinds: dict[int, tuple[FloatArray, FloatArray, FloatArray, FloatArray]] = {}
    each = []
    for bits in work.bits:
        key = -1 if work.aligned else int(bits)
        if key not in kinds or work.aligned:
            peak = of(machine.compute.peak, bits)
            near = np.where(
                machine.pnm.site[:, None] > 0,
                _col(machine.compute.peak[:, 1]) / peak / _col(machine.pnm.flops),
                1.0,
            )  # rated at 8 bit
            flop_energy = of(machine.compute.flop_energy, bits)
            near_energy = (
                _col(machine.pnm.flop_energy) * flop_energy / _col(machine.compute.flop_energy[:, 1])
            )  # at 8 bit too
            kinds[key] = (1.0 / peak, near, flop_energy, near_energy)
        each.append(kinds[key])
    return Rates(
        fast=_col(1.0 / machine.fast.bandwidth),
        sram=_col(1.0 / machine.sram.bandwidth),
        shared=_col(machine.flash.shares_fast_phy),
        near=_col(1.0 / machine.pnm.bandwidth),
        near_flop=tuple(e[1] for e in each),
        host_flop=tuple(e[0] for e in each),
        energy=(
            _col(machine.compute.byte_energy),
            _col(machine.fast.energy),
            _col(machine.flash.energy),
            _col(machine.far.energy),
            _col(machine.pnm.energy),
        ),
        host_flop_energy=tuple(e[2] for e in each),
        near_flop_energy=tuple(e[3] for e in each),
    )


def arithmetic_energy(rates: Rates, work: StepWork, flops: Sequence[FloatArray]) -> FloatArray:
    """Joules of ``flops`` by operator on the host, each at its own precision.

    Operators of one precision are summed over plans alone before they meet the designs.
    """
    found: dict[int, tuple[FloatArray, FloatArray]] = {}
    for i, (joule, own) in enumerate(zip(rates.host_flop_energy, flops, strict=True)):
        key = i if work.aligned else int(work.bits[i])
        found[key] = (joule, own + found[key][1] if key in found else own)
    return total(joule * own for joule, own in found.values())


def limits_of(machine: Machine) -> tuple[tuple[FloatArray, ...], ...]:
    """Throttle rows as (n, 1) columns; a limit that no design of the chunk can reach is left out."""
    columns = ((row.logic, row.fast, row.flash) for row in machine.heat.rows.values())
    return tuple(tuple(c[:, None] for c in row) for row in columns if any(c.any() for c in row))
