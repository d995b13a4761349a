"""Where the bytes of a (design, plan) pair lie: on chip, in the fast tier, in flash, in far memory.

Fast memory takes in this order the KV that is written while serving, dense weights, read-only
prefixes and the most popular experts. Memory below it holds the rest: flash first, then far modules.
A plan either fills fast memory (which reads and wears flash least) or puts no more there
than lets both finish together.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dse.core.compilation import compilable
from dse.physics import flash, roofline
from dse.serving.records import KNOTS, MachineRow, PlanRow, ScratchRow

LARGE: Final = 1e12
"""stands for 'does not fit' where a ratio would divide by nothing"""


TINY: Final = 1e-30


class Fit(NamedTuple):
    """How many pipeline stages a model takes, and whether that fits."""

    depth: float
    """pipeline stages"""
    share: float
    """1 / depth"""
    capacity: float
    """value over limit"""
    longest_request: float
    """value over limit"""
    live: float
    """bytes of KV written while serving"""


class Placement(NamedTuple):
    """Where a pair's bytes lie: shares in the fast tier, and what reading the rest takes."""

    chip: float
    """share of dense weights copied on chip"""
    dense: float
    """share of the dense weights read from the tiers (those not on chip) that the fast tier serves"""
    home: float
    """share of all dense weights that lie in the fast tier: what serves a prompt, whose activations fill the
    chip"""
    experts: float
    """share of the expert bytes a step reads that the fast tier serves"""
    popular_expert_share: float
    """share of the experts held that the fast tier holds: what serves a prompt, which reads them all"""
    prefix: float
    live: float
    """share of the KV written while serving"""
    in_flash: float
    """share of the slow bytes that flash holds, the rest far modules"""
    per_byte: float
    """s per slow byte of dense weights"""
    per_expert_byte: float
    per_kv_byte: float
    expert_pages: float
    """bytes that flash reads per byte of experts wanted"""
    expert_stretch: float
    """time that reading experts of flash takes over that of as many bytes in order"""
    kv_pages: float
    stored: float
    """bytes of weights and prefixes in flash per package"""
    evicts_to_flash: float
    """1 where there is no room below for a copy of every expert: what cools down is written back"""
    fast_tier_share: float
    """share of weights and prefixes held in the fast tier or on chip"""


@compilable
def fit(machine: MachineRow, plan: PlanRow, scratch: ScratchRow) -> Fit:
    """Pipeline depth, and bytes held over memory.

    One longest request must fit beside the weights; each stage holds the KV of its layers. Stages are as few
    as hold the weights beside all KV, and one longest request beside its share of them, and as many as the
    plan asks for.
    """
    whole, least = machine.memory, machine.fast_capacity * (1.0 / LARGE)
    live = min(plan.live_p95, LARGE)
    spread = machine.fast_on_chip * plan.activations  # where the fast tier is the scratchpad itself
    held = live + plan.prefix_held + spread
    room = max(whole - held, least)
    depth = plan.stages
    if plan.resident > room * depth:
        depth = max(min(roofline.pipeline_depth(plan.resident, room), LARGE), depth)
    if plan.resident + plan.longest > whole * depth:
        deeper = min(roofline.pipeline_depth(plan.resident + plan.longest, whole), LARGE)
        if deeper * max(scratch.inverse_deepest, plan.batch * scratch.inverse_concurrency) <= 1.0:
            depth = deeper  # there are layers and sequences for as many stages
    share = 1.0 / depth
    return Fit(
        depth=depth,
        share=share,
        capacity=max(held * machine.inverse_memory, depth * scratch.inverse_deepest),
        longest_request=plan.longest * share / max(whole - plan.resident * share, least),
        live=live,
    )


@compilable
def on_chip(machine: MachineRow, plan: PlanRow, depth: float) -> float:
    """Share of a stage's dense weights copied on chip beside the activations."""
    return min(max(machine.sram_capacity - plan.activations, 0.0) * depth * plan.inverse_dense, 1.0)


@compilable
def popular_share(plan: PlanRow, hot: float) -> float:
    """Share of the expert bytes a step reads that its most popular ``hot`` share of experts takes.

    Linear between the knots of the plan's curve.
    """
    at = hot * KNOTS
    knot = int(min(at, KNOTS - 1.0))
    low = plan.popular[knot]
    return low + (at - knot) * (plan.popular[knot + 1] - low)


@compilable
def all_fast(chip: float) -> Placement:
    """Everything in the fast tier, a share ``chip`` of dense weights copied on chip."""
    return Placement(
        chip=chip,
        dense=1.0,
        home=1.0,
        experts=1.0,
        popular_expert_share=1.0,
        prefix=1.0,
        live=1.0,
        in_flash=0.0,
        per_byte=0.0,
        per_expert_byte=0.0,
        per_kv_byte=0.0,
        expert_pages=1.0,
        expert_stretch=1.0,
        kv_pages=1.0,
        stored=0.0,
        evicts_to_flash=0.0,
        fast_tier_share=1.0,
    )


@compilable
def place(machine: MachineRow, plan: PlanRow, fitted: Fit) -> Placement:
    """Fill the fast tier and put the rest below it.

    The chip holds copies: every weight has a home in the tiers, from which prompts stream it.
    """
    chip = on_chip(machine, plan, fitted.depth)
    slow = machine.flash_capacity + machine.far_capacity
    if slow <= 0.0:
        return all_fast(chip)
    fast, live = machine.fast_capacity, fitted.live
    weights = (plan.resident - plan.resident_experts) * fitted.share
    has_flash, has_far = machine.flash_capacity > 0.0, machine.far_capacity > 0.0
    slow_bandwidth = machine.flash_bandwidth * has_flash + machine.far_bandwidth * has_far
    filling = plan.fill_fast_tier > 0
    experts = plan.resident_experts * fitted.share
    level = 1.0
    if machine.shares_fast_phy <= 0.0 and not filling:
        level = machine.fast_bandwidth / (machine.fast_bandwidth + slow_bandwidth)
    own = min(fast / max(live, TINY), 1.0)  # live KV that fits; the rest is written below
    free = max(fast - live - machine.fast_on_chip * plan.activations, 0.0)
    home = min(level, free / max(weights, TINY))
    dense = min(
        level, home * weights / max(weights * (1.0 - chip), TINY)
    )  # copied are those from below first
    free -= home * weights
    prefix = min(free / max(plan.prefix_held, TINY), 1.0)
    if machine.shares_fast_phy <= 0.0 and not filling:
        evenly = roofline.level_share(
            max(plan.kv_prefix, TINY), plan.kv_live * own, machine.fast_bandwidth, slow_bandwidth
        )
        prefix = min(prefix, evenly)
    free -= prefix * plan.prefix_held
    hot, read = 1.0, 1.0
    if experts > 0.0:
        hot = min(max(free / max(experts, TINY), 0.0), 1.0)
        read = min(popular_share(plan, hot), level)
    other = (1.0 - home) * weights + (1.0 - prefix) * plan.prefix_held
    kept = other + (1.0 - min(hot, read)) * experts
    copies = other + experts if min(hot, read) < 1.0 else kept
    spilled = max(live - fast, 0.0)
    evicts = 1.0 if copies + spilled > slow else 0.0
    in_flash = 1.0 if has_flash else 0.0
    if has_flash and has_far:
        held = max(kept + spilled, TINY)
        must = max(1.0 - machine.flash_capacity / held, 0.0)
        may = 0.0 if filling else machine.far_bandwidth / slow_bandwidth
        in_flash = 1.0 - max(must, min(may, machine.far_capacity / held))
    pages, expert_pages, stretch = 1.0, 1.0, 1.0
    if has_flash:
        pages = flash.read_amplification(plan.kv_run, machine.page_bytes)
        if experts > 0.0:
            expert_pages = flash.read_amplification(plan.expert_slice, machine.page_bytes)
            stretch = expert_pages / flash.stripe_balance(
                plan.expert_slice, machine.stripe_bytes, plan.experts_held, plan.experts_read
            )
    per_byte = in_flash * machine.flash_inverse
    per_kv, per_expert = per_byte * pages, per_byte * stretch
    if has_far:
        rest = (1.0 - in_flash) * machine.far_inverse
        per_byte, per_kv, per_expert = max(per_byte, rest), max(per_kv, rest), max(per_expert, rest)
    stored = in_flash * (kept if evicts > 0.0 else copies)
    share = 1.0 - kept / (plan.resident * fitted.share + plan.prefix_held)
    return Placement(
        chip=chip,
        dense=dense,
        home=home,
        experts=read,
        popular_expert_share=min(hot, level),
        prefix=prefix,
        live=own,
        in_flash=in_flash,
        per_byte=per_byte,
        per_expert_byte=per_expert,
        per_kv_byte=per_kv,
        expert_pages=expert_pages,
        expert_stretch=stretch,
        kv_pages=pages,
        stored=stored,
        evicts_to_flash=evicts,
        fast_tier_share=min(max(share, 0.0), 1.0),
    )
