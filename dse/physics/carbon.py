"""Embodied and operational carbon (ACT, ISCA 2022): per area of logic, per byte of memory."""

from __future__ import annotations

from dse.units import FloatArray


def die_carbon(area: FloatArray, per_area: FloatArray, good: FloatArray) -> FloatArray:
    """Embodied carbon [kgCO2e] of a good die: A x (energy, gas and material per area) / yield."""
    return area * per_area / good


def operational(energy: FloatArray, grid: float) -> FloatArray:
    """Operational carbon [kgCO2e] of ``energy`` [J] at a grid intensity [kgCO2e/J]."""
    return energy * grid
