"""Where the bytes of every (design, plan) pair lie: on chip, in the fast tier, in flash, in far memory.

Fast memory takes in this order the KV that is written while serving, dense weights, read-only
prefixes and the most popular experts. Memory below it holds the rest: flash first, then far modules.
A plan either fills fast memory (``overflow``, which reads and wears flash least) or puts no more there
than lets both finish together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dse.core.units import FloatArray
from dse.hardware.machine import Machine
from dse.physics import flash, roofline
from dse.serving.plan import DEEPEST
from dse.serving.step_work import KNOTS, StepWork
from dse.space.limits import Limit

LARGE = 1e12
"""stands for 'does not fit' where a ratio would divide by nothing"""


TINY = 1e-30


@dataclass
class LowerTiers:
    """What lies below the fast tier; shares of reads (n, p), inverse bandwidths (n, 1) or (n, p)."""

    dense: FloatArray
    """share of the dense weights read from the tiers (those not on chip) that the fast tier serves"""
    home: FloatArray
    """share of all dense weights that lie in the fast tier: what serves a prompt, whose activations fill the
    chip"""
    experts: FloatArray
    """share of the expert bytes a step reads"""
    popular_expert_share: FloatArray
    """share of the experts held that the fast tier holds: what serves a prompt, which reads them all"""
    prefix: FloatArray
    live: FloatArray
    """share of the KV written while serving"""
    in_flash: Any
    """share of the slow bytes that flash holds, the rest far modules"""
    per_byte: FloatArray
    """s per byte of dense weights"""
    per_expert_byte: FloatArray
    per_kv_byte: FloatArray
    expert_pages: FloatArray
    """bytes that flash reads per byte of experts wanted"""
    expert_stretch: FloatArray
    """time that reading experts of flash takes over that of as many bytes in order"""
    kv_pages: FloatArray
    stored: FloatArray
    """bytes of weights and prefixes in flash per package"""
    evicts_to_flash: FloatArray
    """1 where there is no room below for a copy of every expert: what cools down is written back"""


@dataclass
class Placement:
    """Places of a chunk's pairs, (n, p)."""

    depth: FloatArray
    """pipeline stages"""
    chip: FloatArray | None
    """share of dense weights held on chip; None where no machine places any there"""
    lower_tiers: LowerTiers | None
    """None where everything lies in the fast tier or on chip"""
    fast_tier_share: FloatArray
    """share of weights and prefixes held in the fast tier or on chip"""
    limit_ratios: dict[Limit, FloatArray]
    """value over limit of the capacity checks"""


def place_data(machine: Machine, work: StepWork) -> Placement:
    """Place a chunk's bytes; a chunk is uniform in which tiers there are."""
    fast = machine.fast.capacity[:, None]
    slow = (machine.flash.capacity + machine.far.capacity)[:, None]
    tiered = bool(machine.flash.capacity[0] + machine.far.capacity[0] > 0)
    live = np.minimum(work.live_p95, LARGE)
    whole = fast + slow if tiered else fast
    room = np.maximum(whole - live - work.prefix_held - _spread(machine, work), fast / LARGE)
    depth = np.minimum(roofline.pipeline_depth(work.resident, room), LARGE)
    # one longest request must fit beside the weights; each stage holds the KV of its layers
    lone = work.longest / depth / np.maximum(whole - work.resident / depth, fast / LARGE)
    deepest = np.minimum(DEEPEST, work.layers)
    ratios = {
        Limit.CAPACITY: np.maximum(
            (live + work.prefix_held + _spread(machine, work)) / whole, depth / deepest
        ),
        Limit.LONGEST_REQUEST: lone,
    }
    weights = (work.resident - work.resident_experts) / depth
    chip = None
    if machine.sram.capacity.any():
        chip = np.minimum(np.maximum(machine.sram.capacity[:, None] - work.activations, 0.0) / weights, 1.0)
    if not tiered:
        return Placement(depth, chip, None, np.ones(depth.shape), ratios)
    below, kept = _lower_tiers(machine, work, weights, work.resident_experts / depth, live, chip)
    share = np.clip(1.0 - kept / (work.resident / depth + work.prefix_held), 0.0, 1.0)
    return Placement(depth, chip, below, share, ratios)


def _lower_tiers(
    machine: Machine,
    work: StepWork,
    weights: FloatArray,
    experts: FloatArray,
    live: FloatArray,
    chip: FloatArray | None,
) -> tuple[LowerTiers, FloatArray]:
    """Fill the fast tier and put the rest below it; also the bytes of weights and prefixes there.

    The chip holds copies: every weight has a home in the tiers, from which prompts stream it.
    """
    fast = machine.fast.capacity[:, None]
    moe = bool(work.resident_experts.any())
    b_fast, b_flash, b_far = (
        x[:, None] for x in (machine.fast.bandwidth, machine.flash.bandwidth, machine.far.bandwidth)
    )
    has_flash, has_far = bool(machine.flash.capacity[0] > 0), bool(machine.far.capacity[0] > 0)
    b_slow = b_flash * has_flash + b_far * has_far
    shared = machine.flash.shares_fast_phy[:, None] > 0
    level = np.where(shared, 1.0, b_fast / (b_fast + b_slow))
    level = np.where(work.plans.fill_fast_tier, 1.0, level)
    own = np.minimum(fast / np.maximum(live, TINY), 1.0)  # live KV that fits; the rest is written below
    free = np.maximum(fast - live - _spread(machine, work), 0.0)
    home = np.minimum(level, free / np.maximum(weights, TINY))
    streamed = weights if chip is None else weights * (1.0 - chip)
    dense = np.minimum(
        level, home * weights / np.maximum(streamed, TINY)
    )  # copied are those from below first
    free -= home * weights
    prefix = np.minimum(free / np.maximum(work.prefix_held, TINY), 1.0)
    evenly = roofline.level_share(np.maximum(work.kv_prefix, TINY), work.kv_live * own, b_fast, b_slow)
    prefix = np.minimum(prefix, np.where(shared | work.plans.fill_fast_tier, 1.0, evenly))
    free -= prefix * work.prefix_held
    hot, read = np.ones((1, 1)), np.ones((1, 1))
    if moe:
        hot = np.clip(free / np.maximum(experts, TINY), 0.0, 1.0)
        read = np.minimum(popular_share(work, hot), level)
    other = (1.0 - home) * weights + (1.0 - prefix) * work.prefix_held
    kept = other + (1.0 - np.minimum(hot, read)) * experts
    copies = np.where(np.minimum(hot, read) < 1.0, other + experts, kept)
    slow = (machine.flash.capacity + machine.far.capacity)[:, None]
    swap = (copies + np.maximum(live - fast, 0.0) > slow).astype(np.float64)
    in_flash: Any = float(has_flash)
    if has_flash and has_far:
        held = np.maximum(kept + np.maximum(live - fast, 0.0), TINY)
        must = np.maximum(1.0 - machine.flash.capacity[:, None] / held, 0.0)
        may = np.minimum(
            np.where(work.plans.fill_fast_tier, 0.0, b_far / b_slow), machine.far.capacity[:, None] / held
        )
        in_flash = 1.0 - np.maximum(must, may)
    pages = (
        flash.read_amplification(work.kv_run, machine.flash.page_bytes[:, None])
        if has_flash
        else np.ones((1, 1))
    )
    expert_pages = stretch = np.ones((1, 1))
    if moe and has_flash:
        expert_pages = flash.read_amplification(work.expert_slice, machine.flash.page_bytes[:, None])
        stretch = expert_pages / flash.stripe_balance(
            work.expert_slice, machine.flash.stripe_bytes[:, None], work.experts_held, work.experts_read
        )
    per_byte = in_flash / b_flash
    per_kv, per_expert = per_byte * pages, per_byte * stretch
    if has_far:
        rest = (1.0 - in_flash) / b_far
        per_byte, per_kv, per_expert = (np.maximum(x, rest) for x in (per_byte, per_kv, per_expert))
    return LowerTiers(
        dense=dense,
        home=home,
        experts=read,
        popular_expert_share=np.minimum(hot, level),
        prefix=prefix,
        live=own,
        in_flash=in_flash,
        per_byte=per_byte,
        per_expert_byte=per_expert,
        per_kv_byte=per_kv,
        expert_pages=expert_pages,
        expert_stretch=stretch,
        kv_pages=pages,
        stored=in_flash * np.where(swap > 0, kept, copies),
        evicts_to_flash=swap,
    ), kept


def _spread(machine: Machine, work: StepWork) -> Any:
    """Bytes of the fast tier that activations take where that tier is the scratchpad itself."""
    return machine.fast.on_chip[:, None] * work.activations


def popular_share(work: StepWork, hot: FloatArray) -> FloatArray:
    """Share of the expert bytes a step reads that its most popular ``hot`` share of experts takes, (n, p).

    Linear between the knots of the plan's curve.
    """
    at = hot * KNOTS
    knot = np.minimum(at, KNOTS - 1.0).astype(np.int64)
    rows = work.popular.reshape(KNOTS + 1, -1)
    column = np.arange(rows.shape[1])[:, None] if work.aligned else np.arange(rows.shape[1])
    low = rows[knot, column]
    share: FloatArray = low + (at - knot) * (rows[knot + 1, column] - low)
    return share
