"""Objectives by name: what a search may minimise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Objective:
    """A figure to minimise: its label, its unit, and the attribute of an estimate that it is, times ``scale``."""

    label: str
    unit: str
    attribute: str
    scale: float = 1.0


MILLION: Final = 1e6


OBJECTIVES: Final[Mapping[str, Objective]] = {
    "tpot": Objective("Time per output token", "s", "tpot"),
    "cost_per_mtoken": Objective("Cost per million output tokens", "USD", "cost", MILLION),
    "energy_per_token": Objective("Energy per output token, whole system", "J", "energy"),
    "carbon_per_mtoken": Objective("Carbon per million output tokens", "kgCO2e", "carbon", MILLION),
    "ttft": Objective("Time to first token", "s", "ttft"),
    "bom": Objective("Added bill of materials", "USD", "cost"),
}
