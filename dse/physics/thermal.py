"""Steady temperatures of a package: columns from coolant to die, the lid that joins them, and hot-spots.

Heat leaves through the top. A column is a ladder of series resistances: with flux q [W/m2] from the
logic, p per memory layer, N layers of resistance r, the temperature of any die is linear in q and p, so a
machine keeps coefficients in K/W. The lid is a plate cooled from above, in which a column's heat spreads to
its neighbours (spreading_share). Power within a die is uneven (hot_spot_rise), and where stacks leave parts
of a die below uncovered, columns and gaps share its heat (parallel_resistance). Sources: series
resistances; the plate is the fin equation in cylinder coordinates (Carslaw & Jaeger, Conduction of Heat in
Solids, 2nd ed.). Checked against HotSpot and imec (Chen et al., IEDM 2025). Known limit: every source is a
disc, and all of the lid that it does not cover is equally warm.
"""

from __future__ import annotations

import numpy as np
from scipy.special import i1e, k1, k1e

from dse.core.compilation import compilable
from dse.core.units import FloatArray


def spreading_length(conductivity: float, thickness: float, resistance: FloatArray) -> FloatArray:
    """Length [m] over which a plate spreads heat before it leaves.

    Sqrt(k t R), R the resistance [m2 K/W] above.

    Source: fin equation, Incropera & DeWitt, chapter 3.
    """
    return np.sqrt(conductivity * thickness * resistance)


def spreading_share(source: FloatArray, plate: FloatArray, length: FloatArray) -> FloatArray:
    """Mean rise of a disc of area ``source`` on a round plate of area ``plate`` over that without spreading.

    Fin equation with an adiabatic edge, x = a / length of the source, X of the plate:
    1 - 2 I1(x) (K1(x) - I1(x) K1(X) / I1(X)). A plate no larger than the source: 1. Valid for source > 0.
    ``source`` may have further axes in front, for several sources on each plate.

    Source: annular fin, Incropera & DeWitt, chapter 3.
    """
    x, edge = np.sqrt(source / np.pi) / length, np.sqrt(plate / np.pi) / length
    inner = i1e(x)
    turned = (k1e(edge) / i1e(edge)) * np.exp(2.0 * np.minimum(x - edge, 0.0))
    share = 1.0 - 2.0 * inner * (k1e(x) - inner * turned)  # I1(x) K1(X) / I1(X) is inner x turned times e^x
    return np.where(x < edge, np.clip(share, 0.0, 1.0), 1.0)


def lid_rises(
    resistance: FloatArray, share: FloatArray, source: FloatArray, sources: FloatArray, lid: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Rise [K/W] of the lid over a source, and elsewhere, per watt of ``sources`` equal sources of area
    ``source``.

    Of its own watts a source keeps ``share``; what spreads warms the rest of the lid evenly, so no heat is
    lost: own R s / A, elsewhere R (1 - s) / (lid - A). A source also stands elsewhere for its twins.

    Source: superposition of linear sources.
    """
    own = resistance * share / source
    elsewhere = resistance * (1.0 - share) / np.maximum(lid - source, source)
    return (own + np.maximum(sources - 1.0, 0.0) * elsewhere) / np.maximum(sources, 1.0), elsewhere


def hot_spot_rise(
    ratio: float, radius: float, length: FloatArray, resistance: FloatArray, area: FloatArray
) -> FloatArray:
    """Rise [K/W] of a spot of ``radius`` above the mean of its die, per watt of the die.

    The flux beyond the mean, (ratio - 1) / area, spreads in the die's silicon before it leaves through
    ``resistance``: centre of a disc on a plate, (1 - x K1(x)) with x = radius / length.

    Source: as spreading_share.
    """
    x = radius / length
    rise: FloatArray = (ratio - 1.0) / area * resistance * (1.0 - x * k1(x))
    return rise


def parallel_resistance(cover: float, stack: FloatArray, gap: FloatArray) -> FloatArray:
    """Area resistance [m2 K/W] of a die of which stacks cover a share and mould the rest, over the whole die.

    The die's silicon evens its temperature out: columns and gaps conduct side by side.

    Source: series and parallel resistances.
    """
    return 1.0 / (cover / stack + (1.0 - cover) / gap)


def logic_rise_below(
    base: FloatArray, layer: FloatArray, logic: FloatArray, layers: FloatArray, area: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Rise [K/W] of logic under N memory layers: per watt of logic, per watt of all memory.

    Logic heat crosses every layer: (R0 + N r + r_logic) / A. Memory heat spread evenly:
    (R0 + r (N + 1) / 2) / A.

    Source: series resistances.
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

    Source: series resistances.
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

    Source: series resistances.
    """
    top = (base + logic) / area
    return top, top, top, top + layer * (layers + 1.0) / 2.0 / area


@compilable
def governed_time(
    logic: float, fast: float, flash: float, of_logic: float, of_fast: float, of_flash: float
) -> float:
    """Time [s] that a limit of heat asks of a step of energies ``logic``, ``fast`` and ``flash`` [J].

    Mean power is energy over time: a limit sum_i a_i E_i / t <= headroom asks for
    t >= sum_i (a_i / headroom) E_i; the last three are the a_i / headroom [s/J]. Zeros ask nothing.

    Source: energy balance of a duty cycle.
    """
    return of_logic * logic + of_fast * fast + of_flash * flash


def lump_step(
    resistances: tuple[float, float], capacities: tuple[float, float], seconds: float
) -> tuple[FloatArray, FloatArray]:
    """What ``seconds`` leave of the rises of chip and body, and what watts into them add [K/W]; (2, 2) each.

    Two lumps of heat capacity [J/K]: the chip with what lies near it, and the body, joined by a resistance
    [K/W] to each other and from the body to the air: C dT/dt = P - G T, so T(t) = E T(0) + (1 - E) G^-1 P
    with E = exp(-C^-1 G t).

    Source: two-lump RC network, solved by the matrix exponential.
    """
    from scipy.linalg import expm  # a fifth of a second that only devices of a body need

    inner, outer = resistances
    conductance = np.array([[1.0 / inner, -1.0 / inner], [-1.0 / inner, 1.0 / inner + 1.0 / outer]])
    left: FloatArray = expm(-conductance / np.array(capacities)[:, None] * seconds)
    return left, (np.eye(2) - left) @ np.linalg.inv(conductance)


def lump_rises(
    resistances: tuple[float, float], capacities: tuple[float, float], seconds: float
) -> FloatArray:
    """Rises [K/W] of chip and body (rows) after ``seconds`` of a watt into chip or body (columns), from rest;
    (2, 2).

    Source: as lump_step.
    """
    return lump_step(resistances, capacities, seconds)[1]


def spot_rise(rises: FloatArray, share: float) -> FloatArray:
    """Rise [K/W] of the warmest skin per watt into chip and body, shape (2,): ``share`` of the way from body
    to chip.

    Source: linear between two lumps.
    """
    out: FloatArray = rises[1] + share * (rises[0] - rises[1])
    return out
