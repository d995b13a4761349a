"""Limits by name: what a design or its plan may not break, each with its sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PLAN_LIMITS: Final[dict[str, str]] = {
    "capacity": "the model, its KV cache at the p95 of resident context, or the pipeline depth does not fit",
    "longest_request": "one request of the longest length does not fit beside the weights",
    "demand": "the batch is larger than the concurrency offered",
    "tpot": "no plan meets the time per output token",
    "ttft": "the first token comes too late",
    "flash_life": "the flash wears out before its time",
    "flash_program": "the flash is asked to write faster than it can program",
}

# One sentence a person understands for each check, whether on a design or on a plan of it.
CONSTRAINTS: Final[Mapping[str, str]] = {
    **PLAN_LIMITS,
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
