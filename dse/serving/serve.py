"""Every pair of a chunk of designs and the plans of one workload: the decode step and the prompts it takes in."""

from __future__ import annotations

import numpy as np

from dse.machine.record import Machine
from dse.physics import thermal
from dse.serving.prompt import prefill
from dse.serving.soft import Soft
from dse.serving.step import Note, Pairs, collectives, decode, limits_of, placement
from dse.traffic import Traffic


def serve(m: Machine, t: Traffic, soft: Soft, note: Note | None = None) -> Pairs:
    """Evaluate every pair of a chunk of designs and the plans of one workload."""
    depth, share, ratios = placement(m, t)
    time, energies, flash_bytes, slack = decode(m, t, soft, share, note)
    spent = collectives(m, t, soft, depth, note)
    flashy = bool(m.flash_capacity[0] > 0)
    layers = t.layers
    held = np.minimum(depth, layers)
    time *= np.ceil(layers / held) * held / layers  # the stage with most layers sets the pace
    time += spent
    overhead = soft.overhead(t)
    time += overhead
    if flashy:  # page reads that routing or the step's start keep from being prefetched
        waits = np.where(share < 1.0, m.flash_latency[:, None] * (t.moe_layers + 1.0), 0.0)
        time += waits
    clocks = m.active_power[:, None] * time  # gated while a throttled step waits
    logic = energies[0] + clocks
    if m.hot_loss.any():
        warm = (m.hot[0][:, None] * logic + m.hot[1][:, None] * energies[1]) > time
        streamed = t.weights.sum(axis=0) + t.kv_prefix
        busy = (t.kv_live + share * streamed) * (1.0 / m.fast_bandwidth)[:, None] / soft.dense
        time += np.where(warm, m.hot_loss[:, None] * np.minimum(busy, time), 0.0)
    step = thermal.throttled_time(time, (logic, energies[1], energies[2]), limits_of(m))
    if note:
        note("time", "overhead", np.broadcast_to(overhead, time.shape))
        if flashy:
            note("time", "flash page waits", waits)
        note("time", "throttling", step - time)
        note("energy", "clocks", clocks)
        for name, e in zip(("logic", "fast memory", "flash"), energies, strict=True):
            note("energy", name, e)
    served = prefill(m, t, soft, share, slack)
    return Pairs(
        step=step, unthrottled=time, energy=logic + energies[1] + energies[2], stages=depth, share=share,
        prompt=served.alone, joining=served.joining, prompt_energy=served.energy, first=served.first, flash_read=flash_bytes / step if flashy else np.zeros((1, 1)),
        stored=(1.0 - share) * (t.resident / depth + t.prefix_held) if flashy else np.zeros((1, 1)), ratios=ratios,
    )  # fmt: skip
