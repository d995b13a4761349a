"""Limits: what a design or its plan may not break, each with its sentence and the unit of its threshold."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Limit(StrEnum):
    """A limit by the name that files carry; ``unit`` is that of the threshold a space sets, "1" where it sets
    none.
    """

    sentence: str
    """why a design that breaks it loses, for a person"""
    unit: str

    def __new__(cls, key: str, sentence: str = "", unit: str = "1") -> Self:
        """Make a member of its name, sentence and unit."""
        member = str.__new__(cls, key)
        member._value_ = key
        member.sentence, member.unit = sentence, unit
        return member

    # of a design and a plan
    CAPACITY = (
        "capacity",
        "the model, its KV cache at the p95 of resident context, or the pipeline depth does not fit",
    )
    LONGEST_REQUEST = "longest_request", "one request of the longest length does not fit beside the weights"
    DEMAND = "demand", "the batch is larger than the concurrency offered"
    TPOT = "tpot", "no plan meets the time per output token", "s"
    TTFT = "ttft", "the first token comes too late", "s"
    FLASH_LIFE = "flash_life", "the flash wears out before its time", "s"
    FLASH_PROGRAM = "flash_program", "the flash is asked to write faster than it can program"
    COLD_START = "cold_start", "loading the model takes too long", "s"
    OBJECTIVE = "objective", "an objective is above the limit set for it"
    SITE_POWER = "site_power", "serving the demand needs more power than the site has", "W"
    SITE_CAPITAL = "site_capital", "serving the demand needs more capital than there is", "USD"

    # of a design alone
    CLOCK = "clock", "the clock is above what the node reaches at its highest voltage"
    DIE_AREA = (
        "die_area",
        "MACs, SRAM, PHYs, memory controllers and links need more area than the compute die has",
    )
    PNM_COMPUTE = "pnm_compute", "the PNM engine asks for more FLOP/s than its area or its banks give"
    PNM_POWER = "pnm_power", "the PNM engine needs more power than its place allows"
    AVAILABLE = "available", "a part cannot be had by the scenario's year"
    SHORELINE = "shoreline", "memory PHYs and links need more die edge than there is"
    BOND_PITCH = "bond_pitch", "the bonds are finer than the year's bonding can make"
    INTERPOSER = "interposer", "the package is larger than the interposers of the year"
    DIE_TO_DIE = (
        "die_to_die",
        "what the compute dies read of each other's memory is more than the edge between them carries",
    )
    CURRENT = "current", "the compute dies draw more current than regulators below the package deliver"
    STATIC_HEAT = "static_heat", "static power alone overheats the package"
    RADIX = (
        "radix",
        (
            "the topology needs more ports than packages or switches have, or has no regular network "
            "of that size"
        ),
    )
    RACK_POWER = "rack_power", "one package with its host exceeds the power of a rack", "W"
    PACKAGE_AREA = "package_area", "the memory does not fit beside the SoC"
    Z_HEIGHT = "z_height", "the package is too tall", "m"
    SKIN_TEMPERATURE = "skin_temperature", "the skin gets too hot even at rest", "K"
    BURST_POWER = "burst_power", "the burst power is too high", "W"
    DRAM_TEMPERATURE = "dram_temperature", "the DRAM gets too hot even at rest", "K"
    APPLICATION_MEMORY = "application_memory", "too little memory is left to applications"


def excess(ratio: float) -> str:
    """By how much a limit is broken, of value over limit: ``by 12 %``, ``17 times over``."""
    return f"by {100 * (ratio - 1):.2g} %" if ratio < 2 else f"{ratio:.3g} times over"


def limit_sentence(name: str) -> str:
    """Why a design that breaks a limit loses; the name itself for a limit of someone else's evaluator."""
    return Limit(name).sentence if name in set(Limit) else name
