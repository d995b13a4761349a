"""Stacked dies: bond yield, cost per layer, and the price of height."""

from __future__ import annotations

import numpy as np

from dse.units import FloatArray


def bond_yield(reference: FloatArray, area: FloatArray, reference_area: FloatArray) -> FloatArray:
    """Yield of one bonded layer of ``area``, from that of a die of ``reference_area``.

    Bond voids are particle-limited, a Poisson process over area: y = y_ref^(A / A_ref).
    """
    return np.power(reference, area / reference_area)


def stack_yield(per_layer: FloatArray, layers: FloatArray) -> FloatArray:
    """Yield of a stack of known-good dies: y^(layers - 1), one bond fewer than dies."""
    return np.power(per_layer, np.maximum(layers - 1.0, 0.0))


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
    """
    return (reference_price * reference_yield + bond_cost * np.maximum(layers - 1.0, 0.0)) / built_yield
