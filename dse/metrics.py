"""Objectives and constraints by name: what a search minimises and what a design may not break."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dse.serving import LIMITS as PAIR_LIMITS


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

TARGET_OBJECTIVES: Final[Mapping[str, tuple[str, ...]]] = {
    "datacenter": ("tpot", "cost_per_mtoken", "energy_per_token", "carbon_per_mtoken", "ttft"),
    "mobile": ("tpot", "energy_per_token", "bom", "carbon_per_mtoken", "ttft"),
}
"""what each target can be asked to minimise, and what may be limited"""

# One sentence a person understands for each check, whether on a design or on a plan of it.
CONSTRAINTS: Final[Mapping[str, str]] = {
    **PAIR_LIMITS,
    "clock": "the clock is above what the node reaches at its highest voltage",
    "die_area": "MACs, SRAM, PHYs, memory controllers and links need more area than the compute die has",
    "pnm_compute": "the PNM engine asks for more FLOP/s than its area or its banks give",
    "pnm_power": "the PNM engine needs more power than its place allows",
    "available": "a part cannot be had by the scenario's year",
    "shoreline": "memory PHYs and links need more die edge than there is",
    "interposer": "the package is larger than the interposers of the year",
    "die_to_die": "what the compute dies read of each other's memory is more than the edge between them carries",
    "current": "the compute dies draw more current than regulators below the package deliver",
    "static_heat": "static power alone overheats the package",
    "radix": "the topology needs more ports than packages or switches have, or has no regular network of that size",
    "rack": "one package with its host exceeds the power of a rack",
    "objective": "an objective is above the limit set for it",
    "package_area": "the memory does not fit beside the SoC",
    "z_height": "the package is too tall",
    "skin_temperature": "the skin gets too hot even at rest",
    "burst_power": "the burst power is too high",
    "cold_start": "loading the model takes too long",
    "application_memory": "too little memory is left to applications",
    "dram_temperature": "the DRAM gets too hot even at rest",
    "link": "the link cannot carry the memory",
}
