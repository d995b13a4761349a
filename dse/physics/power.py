"""Logic voltage, frequency, leakage and energy."""

from __future__ import annotations

import numpy as np

from dse.core.units import FloatArray


def frequency_ratio(voltage: FloatArray, nominal: float, threshold: float, alpha: float) -> FloatArray:
    """Clock at ``voltage`` over clock at ``nominal``: alpha-power law f = k (V - Vth)^a / V.

    Source: Sakurai & Newton, IEEE JSSC 25(2) 1990. Valid above the threshold voltage.
    """

    def law(v: FloatArray) -> FloatArray:
        return np.power(v - threshold, alpha) / v

    return law(voltage) / law(np.asarray(nominal, dtype=np.float64))


def voltage_for(
    ratio: FloatArray, lowest: float, highest: float, nominal: float, threshold: float, alpha: float
) -> FloatArray:
    """Supply voltage [V] for a clock ratio, between ``lowest`` and ``highest``.

    Inverts the alpha-power law on a fine table; outside the range the end is returned, and
    the caller's clock limit says that the clock cannot be had.

    Source: alpha-power law, Sakurai & Newton, JSSC 1990.
    """
    volts = np.linspace(lowest, highest, 512)
    return np.interp(ratio, frequency_ratio(volts, nominal, threshold, alpha), volts)


def dynamic_scale(voltage: FloatArray, nominal: float, exponent: float) -> FloatArray:
    """Dynamic energy over that at nominal voltage: (V / V0)^exponent, C V^2 at exponent 2.

    Source: CMOS switching energy C V^2.
    """
    return np.power(voltage / nominal, exponent)


def leakage_scale(voltage: FloatArray, nominal: float, coefficient: float) -> FloatArray:
    """Leakage power over that at nominal voltage: exp(c (V - V0)).

    Source: exponential in the voltage by drain-induced barrier lowering, a fit.
    """
    return np.exp(coefficient * (voltage - nominal))
