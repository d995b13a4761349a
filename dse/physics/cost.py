"""Dies, yield and capital: what a package costs to make, to own and to run.

Source of the die model: Hennessy & Patterson dies per wafer; negative-binomial yield
(Stapper 1989), as used by ECO-CHIP and Chiplet Actuary (DAC 2022).
"""

from __future__ import annotations

import numpy as np

from dse.core.units import FloatArray, convert


def dies_per_wafer(area: FloatArray, diameter: float, edge: float, scribe: float) -> FloatArray:
    """Gross dies on a wafer: pi r^2 / A - 2 pi r / sqrt(2 A), square dies with scribe lanes.

    Source: Hennessy & Patterson, Computer Architecture: A Quantitative Approach, section 1.6.
    """
    side = np.sqrt(area) + scribe
    usable = diameter - 2.0 * edge
    cell = side * side
    return np.maximum(np.pi * usable**2 / 4.0 / cell - np.pi * usable / np.sqrt(2.0 * cell), 1.0)


def die_yield(area: FloatArray, defects: FloatArray, alpha: float) -> FloatArray:
    """Negative-binomial yield: (1 + A D0 / alpha)^-alpha.

    Source: Stapper 1989, negative-binomial yield.
    """
    return np.power(1.0 + area * defects / alpha, -alpha)


def die_cost(wafer_price: FloatArray, gross: FloatArray, good: FloatArray, test: float) -> FloatArray:
    """Cost [USD] of one known-good die: wafer price / (gross dies x yield) + test.

    Source: Hennessy & Patterson, section 1.6.
    """
    return wafer_price / (gross * good) + test


YEAR = convert(1.0, "y", "s")


def capital_charge(price: FloatArray, life: float, rate: float) -> FloatArray:
    """Capital charge [USD/s]: the annuity that pays ``price`` and its interest back over ``life`` [s].

    price r / (1 - (1 + r)^-n) a year at a yearly ``rate`` r over n years; price / life where r is 0.

    Source: the capital recovery factor of engineering economics.
    """
    if rate == 0.0:
        return price / life
    yearly = rate / (1.0 - float((1.0 + rate) ** (-life / YEAR)))
    return price * (yearly / YEAR)


def owned(price: FloatArray, life: float, rate: float, maintenance: float) -> FloatArray:
    """Charge [USD/s] of capital and of ``maintenance`` [1/s] of its price.

    Source: by definition.
    """
    return capital_charge(price, life, rate) + price * maintenance
