"""Objectives: what a search may minimise, each with its label, unit and the attribute of an estimate that it
is.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Self

MILLION: Final = 1e6


class Goal(StrEnum):
    """A figure to minimise, by the name that files carry."""

    label: str
    unit: str
    attribute: str
    """of an estimate"""
    scale: float
    """by which the attribute is multiplied"""

    def __new__(
        cls, key: str, label: str = "", unit: str = "1", attribute: str = "", scale: float = 1.0
    ) -> Self:
        """Make a member of its name, label, unit, attribute and scale."""
        member = str.__new__(cls, key)
        member._value_ = key
        member.label, member.unit, member.attribute, member.scale = label, unit, attribute, scale
        return member

    TPOT = "tpot", "Time per output token", "s", "tpot"
    COST = "cost_per_mtoken", "Cost per million output tokens", "USD", "cost", MILLION
    ENERGY = "energy_per_token", "Energy per output token, whole system", "J", "energy"
    CARBON = "carbon_per_mtoken", "Carbon per million output tokens", "kgCO2e", "carbon", MILLION
    TTFT = "ttft", "Time to first token", "s", "ttft"
    MATERIALS = "bom", "Added bill of materials", "USD", "capital"


OBJECTIVES: Final[Mapping[str, Goal]] = {goal.value: goal for goal in Goal}
"""every objective by name"""

MONEY: Final = (Goal.COST, Goal.MATERIALS)
"""objectives in dollars"""
