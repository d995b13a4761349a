"""One package: die split, die edge, interposer, area budget."""

from __future__ import annotations

import numpy as np

from dse.core.units import FloatArray


def dies_needed(area: FloatArray, reticle: float) -> FloatArray:
    """Compute dies of a package: ceil(area / usable reticle).

    Source: by definition.
    """
    return np.ceil(area / reticle - 1e-9)


def die_edge(area: FloatArray, dies: FloatArray) -> FloatArray:
    """Outer die edge [m] of ``dies`` square dies abutted in a row: 2 side (dies + 1).

    One die 4 s; two dies 6 s (the two touching edges carry the die-to-die link).

    Source: geometry.
    """
    side = np.sqrt(area / np.maximum(dies, 1.0))
    return 2.0 * side * (dies + 1.0)


def joint_load(remote: FloatArray, area: FloatArray, dies: FloatArray, density: float) -> FloatArray:
    """Traffic between two abutted dies over what their common edge carries.

    ``remote`` B/s of all dies come from another die's memory, half of it each way through a joint of two;
    ``density`` B/s per metre counts both directions (UCIe).

    Source: geometry; uniform traffic between dies.
    """
    side = np.sqrt(area / np.maximum(dies, 1.0))
    return np.where(dies > 1, remote / np.maximum(density * side, 1.0), 0.0)


def interposer_area(silicon: FloatArray, scale: FloatArray) -> FloatArray:
    """Interposer area [m2]: the footprints it carries times routing and keep-out.

    Source: by definition, with the catalogue's factors.
    """
    return silicon * scale


def substrate_area(silicon: FloatArray) -> FloatArray:
    """Area [m2] of the substrate, and of the lid over it: twice the footprints it carries.

    Source: an estimate after packages of today, 814 mm2 of H100 and six HBM of 110 on 55 x 50 mm.
    """
    return 2.0 * silicon
