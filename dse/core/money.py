"""Sums of money with the basis they are on.

What a part costs to make is never set against what a chip sells for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dse.core.errors import DataError


class Basis(Enum):
    """What a sum of money counts."""

    MATERIALS = "bill of materials"
    """what the parts of a package cost its maker"""
    PAID = "price paid"
    """what its buyer pays: materials, the maker's gross margin and NRE; or a list price"""
    OWNED = "cost of ownership"
    """price paid for everything, facility and electricity, over the life"""
    RENTED = "rent by the hour"
    """what a machine costs its tenant: hours at a stated rate"""


@dataclass(frozen=True)
class Money:
    """An amount [USD] on a basis; ``what`` names it to a person."""

    amount: float
    basis: Basis
    what: str

    def needs(self, basis: Basis) -> None:
        """Refuse an amount on another basis.

        Raises:
            DataError: it is on another basis.

        """
        if self.basis is not basis:
            raise DataError(f"{self.what} is a {self.basis.value}, expected a {basis.value}")


@dataclass(frozen=True)
class Comparison:
    """Two sums set side by side.

    Raises:
        DataError: they are not on one basis.

    """

    this: Money
    other: Money

    def __post_init__(self) -> None:
        """Refuse to compare what does not compare."""
        if self.this.basis is not self.other.basis:
            raise DataError(
                f"{self.this.what} is a {self.this.basis.value}, {self.other.what} a "
                f"{self.other.basis.value}: "
                "bring both to one basis first"
            )

    @property
    def ratio(self) -> float:
        """The one over the other."""
        return self.this.amount / self.other.amount


def paid(materials: Money, gross_margin: float, nre: float) -> Money:
    """Price paid for a part that costs ``materials`` to make: materials / (1 - margin) + NRE a unit [USD].

    Raises:
        DataError: ``materials`` is not a bill of materials.

    """
    materials.needs(Basis.MATERIALS)
    return Money(materials.amount / (1.0 - gross_margin) + nre, Basis.PAID, materials.what)
