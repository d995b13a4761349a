"""Embodied and operational carbon by the method of ACT (Gupta et al., ISCA 2022).

Per area of logic, per byte of memory.
"""

from __future__ import annotations

import numpy as np

from dse.core.units import FloatArray


def per_area(grid: float, energy: FloatArray, gas: FloatArray, material: float) -> FloatArray:
    """Carbon [kgCO2e/m2] of processed wafer: CI x EPA + GPA + MPA (ACT, equation 5).

    ``grid`` [kgCO2e/J] of the fab, ``energy`` [J/m2], ``gas`` and ``material`` [kgCO2e/m2].

    Source: ACT (Gupta et al., ISCA 2022), equation 5.
    """
    return grid * energy + gas + material


def die_carbon(area: FloatArray, per_area: FloatArray, good: FloatArray) -> FloatArray:
    """Embodied carbon [kgCO2e] of a good die: A x (energy, gas and material per area) / yield.

    Source: ACT (Gupta et al., ISCA 2022), equation 4.
    """
    return area * per_area / good


def wafer_waste(area: FloatArray, gross: FloatArray, diameter: float) -> FloatArray:
    """Area [m2] of wafer beyond its ``gross`` dies of ``area``, per die: edges and scribe lanes.

    Source: ECO-CHIP (Sudarshan et al., HPCA 2024), which charges it per gross die.
    """
    return np.maximum(np.pi * diameter**2 / 4.0 / gross - area, 0.0)


def packaged(
    amount: FloatArray, per_unit: FloatArray, good: FloatArray, chips: FloatArray, package: float
) -> FloatArray:
    """Embodied carbon [kgCO2e] of ``amount`` of silicon in ``chips`` packages.

    Amount x per unit / yield + chips x package.

    Of logic by area [m2], of memory by capacity [B] (ACT, equations 3 to 7).

    Source: ACT (Gupta et al., ISCA 2022), equations 3 to 6: sums over dies and packages.
    """
    return amount * per_unit / good + chips * package


def operational(energy: FloatArray, grid: float) -> FloatArray:
    """Operational carbon [kgCO2e] of ``energy`` [J] at a grid intensity [kgCO2e/J].

    Source: ACT (Gupta et al., ISCA 2022), equation 2.
    """
    return energy * grid
