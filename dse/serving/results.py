"""What serving finds of every (design, plan) pair: the operators of a step, and the pair as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dse.core.units import FloatArray
from dse.space.limits import Limit


@dataclass
class PlanResults:
    """Results per (design, plan)."""

    step: FloatArray
    """s of a decode step, thermal limits held"""
    unthrottled: FloatArray
    energy: FloatArray
    """J of a step per rank, dynamic"""
    stages: FloatArray
    """pipeline depth"""
    fast_tier_share: FloatArray
    """share of weights and prefixes held in the fast tier or on chip"""
    prompt: FloatArray
    """s of a mean prompt on its own"""
    prefill_interference: FloatArray
    """s that the prompts which arrive per step add to it"""
    prompt_energy: FloatArray
    ttft: FloatArray
    """s of the prompt that the TTFT limit asks about"""
    flash_read: FloatArray
    """B/s read from flash per package"""
    flash_written: FloatArray
    """bytes of KV cache and prefixes written to flash per step and package"""
    stored: FloatArray
    """bytes of weights and prefixes held in flash per package"""
    clock: FloatArray
    """clock of the step over the design clock"""
    limit_ratios: dict[Limit, FloatArray] = field(default_factory=dict)
    """value over limit of the checks on a pair"""


def nothing() -> FloatArray:
    """Joules or bytes of a tier that is not there, (1, 1)."""
    return np.zeros((1, 1))


@dataclass
class Halves:
    """Times of one half of a batch, (n, p) s, were the other half not there: host and engine apart."""

    engine: FloatArray
    """that the PNM engine works"""
    contention: FloatArray
    """that what the host reads of the engine's memory takes of that memory's inner bandwidth"""
    host: FloatArray
    """that the host works, whatever the engine does"""
    host_lower: FloatArray
    """of it, reads of the tiers below"""
    host_unhidden: FloatArray
    """of it, what is left with those reads made ahead"""


@dataclass
class Decoded:
    """Operators of a step, (n, p) each; of one half where the batch runs in halves."""

    times: list[FloatArray]
    """s at each clock level"""
    slack: FloatArray
    """s that matrix products leave of the compute while they wait for weights"""
    shared: FloatArray
    """s of shared experts, which wait for no dispatch"""
    products: FloatArray
    """s of the matrix products at the design clock: a slower clock leaves less of them"""
    clocked_energy: FloatArray = field(default_factory=nothing)
    """J of arithmetic on the host at the design clock"""
    unclocked_energy: FloatArray = field(default_factory=nothing)
    """J of the logic that no clock level changes: bytes moved on chip"""
    fast: FloatArray = field(default_factory=nothing)
    flash: FloatArray = field(default_factory=nothing)
    far: FloatArray = field(default_factory=nothing)
    flash_bytes: FloatArray = field(default_factory=nothing)
    halves: Halves | None = None
    """where there is an engine"""


@dataclass
class Read:
    """What an operator reads, by tier."""

    bytes: FloatArray
    """(p,) all of it"""
    fast: Any
    """bytes of the fast tier, (p,) or (n, p)"""
    slow: FloatArray | None
    """bytes of the tiers below"""
    chip: FloatArray | None
    """bytes on chip"""
    per_slow: Any
    """s per slow byte"""
    pages: Any
    """bytes read of flash per byte wanted"""
    stretch: Any
    """time that takes over that of as many bytes in order"""
