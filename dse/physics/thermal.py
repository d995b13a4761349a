"""Steady one-dimensional thermal ladder from the coolant to the hottest die.

Heat leaves through the top only. With flux q [W/m2] from the logic, p per memory layer,
N layers of resistance r and a base resistance R0 (coolant, TIM, lid), the temperature of any
die is linear in q and p, so a machine keeps coefficients in K/W. Source: series resistances;
shape checked against HotSpot and imec (Chen et al., IEDM 2025). Known limit: no lateral
spreading and no hot-spots, so a lower bound for unmerged stacks.
"""

from __future__ import annotations

import numpy as np

from dse.units import FloatArray


def stack_crossings(layers: FloatArray) -> FloatArray:
    """Sum of layers crossed by the heat of N equal layers on its way up: N (N + 1) / 2."""
    return layers * (layers + 1.0) / 2.0


def logic_rise_below(
    base: FloatArray, layer: FloatArray, logic: FloatArray, layers: FloatArray, area: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Rise [K/W] of logic under N memory layers: per watt of logic, per watt of all memory.

    Logic heat crosses every layer: (R0 + N r + r_logic) / A. Memory heat spread evenly:
    (R0 + r (N + 1) / 2) / A.
    """
    per_logic = (base + layers * layer + logic) / area
    per_memory = (base + layer * (layers + 1.0) / 2.0) / area
    return per_logic, per_memory


def memory_rise_below(
    base: FloatArray, layer: FloatArray, layers: FloatArray, area: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Rise [K/W] of the lowest memory die with logic under it: per watt of logic, of memory.

    Memory heat: layer j from the top carries the heat of all layers below it, which sums to
    r N (N + 1) / 2 for N layers, that is r (N + 1) / 2 per watt of the whole stack.
    """
    per_logic = (base + layers * layer) / area
    per_memory = (base + layer * (layers + 1.0) / 2.0) / area
    return per_logic, per_memory


def rises_above(
    base: FloatArray, layer: FloatArray, logic: FloatArray, layers: FloatArray, area: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Rises [K/W] with the logic next to the coolant and N memory layers below it.

    Logic: (R0 + r_logic) / A for every watt of either. Lowest memory die: the same plus
    r (N + 1) / 2 / A per watt of memory. Returns logic per logic, logic per memory,
    memory per logic, memory per memory.
    """
    top = (base + logic) / area
    return top, top, top, top + layer * (layers + 1.0) / 2.0 / area


def throttled_time(
    time: FloatArray, energies: tuple[FloatArray, ...], coefficients: tuple[tuple[FloatArray, ...], ...]
) -> FloatArray:
    """Time [s] stretched until every limit holds: max over k of sum_i c_ki E_i.

    Mean power is energy over time; a limit sum_i a_ki E_i / t <= headroom_k asks for
    t >= sum_i (a_ki / headroom_k) E_i, so ``coefficients`` hold a_ki / headroom_k [s/J].
    Duty-cycling: the energy of a step stays, the step is spread out.
    """
    for row in coefficients:
        need = row[0] * energies[0]
        for c, e in zip(row[1:], energies[1:], strict=True):
            need += c * e
        np.maximum(time, need, out=need)
        time = need
    return time


def lumped_power(limit: FloatArray, resistance: FloatArray, capacity: FloatArray, seconds: float) -> FloatArray:
    """Constant power [W] that reaches a rise of ``limit`` [K] after ``seconds``.

    One lump: rise = P R (1 - exp(-t / (R C))), solved for P.
    """
    return limit / (resistance * (1.0 - np.exp(-seconds / (resistance * capacity))))
