"""Stacked dies: what the pitch of a bond carries and costs in energy, yield by height, and the price of
height.
"""

from __future__ import annotations

import numpy as np

from dse.core.units import FloatArray


def bond_yield(reference: FloatArray, area: FloatArray, reference_area: FloatArray) -> FloatArray:
    """Yield of one bonded layer of ``area``, from that of a die of ``reference_area``.

    Bond voids are particle-limited, a Poisson process over area: y = y_ref^(A / A_ref).

    Source: Poisson yield over area.
    """
    return np.power(reference, area / reference_area)


def pad_yield(failure: FloatArray, pads: FloatArray) -> FloatArray:
    """Yield of a bond of ``pads`` signal pads of which each fails with probability ``failure``: exp(-f n).

    98 % over 20 million pads of a test vehicle is 1e-9 a pad.

    Source: Poisson yield over pads.
    """
    return np.exp(-failure * pads)


def known_good(die_yield: FloatArray, coverage: FloatArray) -> FloatArray:
    """Share of the dies that pass a test of ``coverage`` and do work: Y / (Y + (1 - Y) (1 - c)).

    Source: Bayes' rule.
    """
    return die_yield / (die_yield + (1.0 - die_yield) * (1.0 - coverage))


def stack_yield(per_layer: FloatArray, layers: FloatArray, good: FloatArray) -> FloatArray:
    """Yield of a stack: bonds y^(layers - 1), one fewer than dies, and dies good^layers.

    Source: Chiplet Actuary (Feng & Ma, DAC 2022): product of dies and bonds.
    """
    return np.power(per_layer, np.maximum(layers - 1.0, 0.0)) * np.power(good, layers)


def pitch_bandwidth(pitch: FloatArray, signal_share: FloatArray, pad_rate: FloatArray) -> FloatArray:
    """Bandwidth density [B/s/m2] of a bond.

    Pads 1 / pitch^2, a share of them signals, times the rate of a pad.

    6 um, a quarter signals, 1 Gb/s: 27,800 x 0.25 x 0.125 GB/s = 868 GB/s/mm2. ``pitch`` above 0.

    Source: geometry of a pad array.
    """
    return signal_share * pad_rate / np.square(pitch)


def pitch_energy(reference: FloatArray, pitch: FloatArray, reference_pitch: FloatArray) -> FloatArray:
    """Energy [J/B] of crossing a bond: capacitance, and so energy, grows with the size of a pad.

    Linear through 0.05 pJ/bit at 9 um it gives 0.22 at 40 um, where microbumps take 0.15 to 0.25.

    Source: linear between published pitches, see the catalogue's bonds.
    """
    return reference * pitch / reference_pitch


def tsv_share(wires: FloatArray, area: FloatArray, layers: FloatArray) -> FloatArray:
    """Mean share of a die that TSVs take: layer k carries the wires of the k layers above it and its own.

    ``wires`` [1/m2] a layer, ``area`` [m2] of a TSV with its keep-out: wires x area x (layers + 1) / 2.

    Source: geometry, mean of 1 .. layers.
    """
    return wires * area * (layers + 1.0) / 2.0


def supply_share(power_density: FloatArray, power_per_tsv: FloatArray, area: FloatArray) -> FloatArray:
    """Share of every DRAM die that supply takes where it reaches the logic through the stack.

    As many TSVs return the current as bring it: 2 x W/m2 / W a TSV x ``area`` [m2] of a TSV with its
    keep-out.

    Source: geometry, current a TSV carries.
    """
    return 2.0 * power_density / power_per_tsv * area


def stack_price(
    reference_price: FloatArray,
    reference_yield: FloatArray,
    bond_cost: FloatArray,
    layers: FloatArray,
    built_yield: FloatArray,
) -> FloatArray:
    """Price [USD] of a stack, from a quoted price that already holds the quoted height's losses.

    Good dies cost reference price x reference yield; the stack costs that plus its bonds,
    divided by its own yield.

    Source: stack_yield solved for the price of a good die.
    """
    return (reference_price * reference_yield + bond_cost * np.maximum(layers - 1.0, 0.0)) / built_yield
