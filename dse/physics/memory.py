"""DRAM: capacity, bandwidth and energy of stacks, packages, 3D DRAM on logic, and SRAM.

HBM bandwidth is PHY width times rate whatever the height; only custom 3D DRAM scales with
its layers, up to what the bond interface carries (Ma & Patterson, arXiv 2601.05047).
"""

from __future__ import annotations

import numpy as np

from dse.core.units import FloatArray


def layered_bandwidth(
    per_layer: FloatArray, limit: FloatArray, layers: FloatArray, area: FloatArray
) -> FloatArray:
    """Bandwidth [B/s] of 3D DRAM: min(layers x per-layer density, interface density) x area.

    Source: Ma & Patterson, arXiv 2601.05047: custom 3D DRAM alone scales with its layers.
    """
    return np.minimum(per_layer * layers, limit) * area


def mean_tsv_energy(per_layer: FloatArray, layers: FloatArray) -> FloatArray:
    """Mean TSV energy [J/B]: a byte of layer k crosses k layers, (layers + 1) / 2 on average.

    Source: by definition: mean of 1 .. layers.
    """
    return per_layer * (layers + 1.0) / 2.0


def resident_p95(
    mean: float, deviation: float, longest: float, batch: FloatArray, normal_quantile: float
) -> FloatArray:
    """p95 of the summed context [tokens] of ``batch`` sequences, at most all at their longest.

    Sum of independent contexts: mean n + z sd sqrt(n) with the normal quantile z.

    Source: central limit theorem.
    """
    return np.minimum(mean * batch + normal_quantile * deviation * np.sqrt(batch), longest * batch)
