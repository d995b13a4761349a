"""Units: declared once, parsed at the edge, free at run time.

Everything inside is in SI base units (s, B, FLOP, J, W, m, K, USD, kgCO2e, token); bytes,
never bits; decimal prefixes, with Ki/Mi/Gi only where written. ``parse("1.2 TB/s")`` gives
the SI value and its dimension; a field is declared by its SI unit (``"B/s"``), and a value
whose dimension differs is refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from dse.core.errors import UnitError

FloatArray = NDArray[np.float64]


IntArray = NDArray[np.int64]


BoolArray = NDArray[np.bool_]


Exponents = tuple[tuple[str, int], ...]


_PREFIX: Final = {
    "p": 1e-12,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
}


_BINARY: Final = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


@dataclass(frozen=True)
class Unit:
    """A unit as a factor to SI and its exponents over the base dimensions."""

    factor: float
    dim: Exponents


def _atoms() -> dict[str, Unit]:
    base: dict[str, tuple[float, Exponents, str]] = {
        # name: (factor, dimension, prefixes allowed)
        "s": (1.0, (("s", 1),), "pnum"),
        "B": (1.0, (("B", 1),), "kKMGTP"),
        "bit": (0.125, (("B", 1),), "kKMGT"),
        "b": (0.125, (("B", 1),), "kKMGT"),
        "FLOP": (1.0, (("FLOP", 1),), "kKMGTP"),
        "OP": (1.0, (("FLOP", 1),), "kKMGTP"),
        "J": (1.0, (("J", 1),), "pnumkKMG"),
        "W": (1.0, (("J", 1), ("s", -1)), "umkKMG"),
        "Hz": (1.0, (("s", -1),), "kKMG"),
        "m": (1.0, (("m", 1),), "num"),
        "USD": (1.0, (("USD", 1),), "kKM"),
        "K": (1.0, (("K", 1),), ""),
        "V": (1.0, (("V", 1),), "m"),
        "A": (1.0, (("A", 1),), "m"),
        "token": (1.0, (("token", 1),), "kKM"),
        "kgCO2e": (1.0, (("kg", 1),), ""),
        "gCO2e": (1e-3, (("kg", 1),), "k"),
        "tCO2e": (1e3, (("kg", 1),), ""),
    }
    atoms: dict[str, Unit] = {}
    for name, (factor, dim, prefixes) in base.items():
        atoms[name] = Unit(factor, dim)
        for prefix in prefixes:
            atoms[prefix + name] = Unit(_PREFIX[prefix] * factor, dim)
        if name in {"B", "b", "bit"}:
            for prefix, size in _BINARY.items():
                atoms[prefix + name] = Unit(size * factor, dim)
    atoms |= {
        "cm": Unit(1e-2, (("m", 1),)),
        "min": Unit(60.0, (("s", 1),)),
        "h": Unit(3600.0, (("s", 1),)),
        "day": Unit(86400.0, (("s", 1),)),
        "y": Unit(365.0 * 86400.0, (("s", 1),)),
        "year": Unit(1.0, ()),
        "Wh": Unit(3600.0, (("J", 1),)),
        "kWh": Unit(3.6e6, (("J", 1),)),
        "%": Unit(0.01, ()),
    }
    for plain in ("1", "count", "ratio", "dies", "cycles", "wafer", "unit", "die", "package"):
        atoms[plain] = Unit(1.0, ())
    return atoms


ATOMS: Final = _atoms()


_POWER = re.compile(r"^(%|[A-Za-z]+(?:CO2e)?|1)\^?(-?\d+)?$")


_NUMBER = re.compile(r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf|-inf)\s*(.*)$")


def unit(text: str) -> Unit:
    """Parse a unit expression such as ``GB/s`` or ``mm2*K/W``.

    Raises:
        UnitError: an atom is unknown.

    """
    factor, powers = 1.0, dict[str, int]()
    if not text.strip():
        return Unit(1.0, ())
    for i, part in enumerate(text.replace("(", "").replace(")", "").split("/")):
        for atom in part.split("*"):
            match = _POWER.match(atom.strip())
            if match is None or match.group(1) not in ATOMS:
                raise UnitError(f"unknown unit {atom.strip()!r} in {text!r}, e.g. 'GB/s', 'pJ/bit'")
            known = ATOMS[match.group(1)]
            power = int(match.group(2) or 1) * (1 if i == 0 else -1)
            factor *= known.factor**power
            for dim, exponent in known.dim:
                powers[dim] = powers.get(dim, 0) + exponent * power
    return Unit(factor, tuple(sorted((d, e) for d, e in powers.items() if e)))


def convert(value: float, given: str, wanted: str) -> float:
    """Convert ``value`` from the unit ``given`` to the SI unit ``wanted``.

    Raises:
        UnitError: the dimensions differ or the value is not finite.

    """
    source, target = unit(given), unit(wanted)
    if source.dim != target.dim:
        raise UnitError(f"unit {given!r} is not a kind of {wanted!r}")
    if not math.isfinite(value):
        raise UnitError(f"value {value!r} is not a finite number")
    return value * source.factor / target.factor


TWO_READINGS: Final = {
    "s": ("ms", "s"),
    "m": ("mm", "um"),
    "m2": ("mm2", "m2"),
    "B": ("GB", "GiB"),
    "B/s": ("GB/s", "TB/s"),
    "1/s": ("MHz", "GHz"),
    "FLOP/s": ("TFLOP/s", "GFLOP/s"),
    "J": ("mJ", "J"),
    "W": ("W", "kW"),
    "K": ("K",),
}
"""units in which a bare number is not clear, and two in which people write it"""


def parse(text: str, wanted: str) -> float:
    """Parse ``"1.2 TB/s"`` into the SI unit ``wanted``.

    A bare number is taken as SI only where people write no other: pure numbers, tokens, years, dollars.

    Raises:
        UnitError: no number, an unknown unit, a wrong dimension, not finite, or a bare number that may be
            read in two ways.

    """
    match = _NUMBER.match(text)
    if match is None:
        raise UnitError(f"{text!r} is not a number with a unit, e.g. '1.2 {wanted}'")
    given = match.group(2).strip()
    if not given and wanted in TWO_READINGS:
        examples = " or ".join(f"'{text.strip()} {u}'" for u in TWO_READINGS[wanted])
        raise UnitError(f"{text!r} has no unit and may be read in two ways: write {examples}")
    given = given or wanted
    return convert(float(match.group(1)), given, wanted)


_SHOWN: Final = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "u"),
    (1e-9, "n"),
    (1e-12, "p"),
    (1e-15, "f"),
)


_NO_PREFIX: Final = {"", "1", "ratio", "count", "K", "USD", "kgCO2e", "token", "year", "token/s"}


_UNNAMED: Final = {"", "1", "ratio", "count"}


_PERSON: Final = {"m2": (1e6, "mm2"), "K/W": (1.0, "K/W"), "USD/J": (3.6e6, "USD/kWh")}


_CALLED: Final = {"1/s": "Hz"}


_LONG: Final = ((365.0 * 86400.0, "y"), (86400.0, "day"), (3600.0, "h"))


_SELDOM: Final = 1e-5
"""1/s; what happens less often is told by the year"""


def show(value: float, si_unit: str, digits: int = 4) -> str:
    """Format an SI value for a person, e.g. ``show(2.048e12, "B/s")`` -> ``2.048 TB/s``.

    Hours, days and years from an hour on.
    """
    if not math.isfinite(value):
        return "-"
    if si_unit in _PERSON:
        factor, name = _PERSON[si_unit]
        return f"{value * factor:.{digits}g} {name}"
    if si_unit == "s":
        for size, unit in _LONG:
            if abs(value) >= size:
                return f"{value / size:.{digits}g} {unit}"
    if si_unit == "1/s" and 0 < abs(value) < _SELDOM:
        return f"{value * _LONG[0][0]:.{digits}g} /y"
    name = _CALLED.get(si_unit, si_unit)
    if si_unit in _NO_PREFIX or value == 0:
        text = f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"
        return text if si_unit in _UNNAMED else f"{text} {name}"
    for size, prefix in _SHOWN:
        if abs(value) >= size * 0.9995:
            return f"{value / size:.{digits}g} {prefix}{name}"
    return f"{value:.{digits}g} {name}"


@dataclass(frozen=True)
class Figure:
    """A number with its SI unit, "1" for a pure number.

    >>> from dse import Figure
    >>> str(Figure(2.048e12, "B/s"))
    '2.048 TB/s'
    """

    value: float
    unit: str = "1"

    def __str__(self) -> str:
        return show(self.value, "" if self.unit == "1" else self.unit)


class NamedFigure(StrEnum):
    """Names of figures as people read them, each with its SI unit; to be listed by subclasses."""

    unit: str

    def __new__(cls, name: str, unit: str = "1") -> Self:
        """Make a member of its name and unit."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.unit = unit
        return member
