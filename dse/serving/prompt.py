"""Prompts: alone on a machine, and joining the decode steps of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dse.machine.record import Machine
from dse.physics import roofline, thermal
from dse.serving.soft import Soft
from dse.serving.step import all_reduce, at, limits_of, tiers
from dse.traffic import OPERATORS, Prefill, Traffic
from dse.units import FloatArray


@dataclass(frozen=True)
class Served:
    """Prompts served, (n, p) each."""

    alone: FloatArray
    """s of a mean prompt on its own"""
    joining: FloatArray
    """s that arriving prompts add to a step, mean over steps: weights are read once, launches paid once"""
    energy: FloatArray
    """J per rank of a mean prompt"""
    first: FloatArray
    """s of the prompt of the TTFT limit"""


def prefill(m: Machine, t: Traffic, soft: Soft, share: FloatArray, slack: FloatArray) -> Served:
    """Serve the mean prompt and the TTFT prompt.

    A prompt is taken in chunks. Alone, weights stream and kernels launch once per chunk, and the host
    computes. A chunk that joins a decode step reads no weight again: its matrix products first use the
    compute that the step leaves idle (``slack``), max(W, D + P) - max(W, D) = max(P - slack, 0). With n
    prompts of c chunks and T tokens a step, k = max(min(n c, 1), n T / chunk) of a step's kernels run with
    prompts in them, so n P - k slack remain. Thermal limits hold in both. Without flash all plans of a
    shape share one answer.
    """
    k, work = tiers(m, t), t.prefill
    flashy, half = bool(m.flash_capacity[0] > 0), len(t.shape_plan)
    cols: tuple[Any, Any]
    if t.aligned:
        count, cols = 1, (..., slice(None))
        index = (np.repeat(t.plans.tensor_index, 2, axis=1), np.repeat(t.plans.group_index, 2, axis=1))
    else:
        plans = np.arange(len(t.plans)) if flashy else t.shape_plan
        shape = t.plans.shape[plans]
        count, cols = len(plans), (..., np.concatenate([shape, shape + half]))
        index = (np.concatenate([t.plans.tensor_index[plans]] * 2), np.concatenate([t.plans.group_index[plans]] * 2))
    width = 2 * count
    x = np.concatenate([share, share], axis=1) if flashy else np.ones((len(m.domain), width))
    per_byte = roofline.seconds_per_byte(x, k.fast, k.flash, k.shared) if flashy else k.fast
    chunks = np.maximum(np.ceil(work.tokens[cols] / soft.chunk), 1.0)
    time = soft.once(t) * chunks * np.ones(x.shape)
    products, scores = np.zeros(x.shape), np.zeros(x.shape)
    logic = chunks * work.joule_weights[cols] * k.energy[0]
    for i, op in enumerate(OPERATORS):
        flop = work.flop[i][cols]
        if flop.any():
            reads = (chunks * work.weights[i][cols] * soft.inverse_bandwidth(op, t.emulated[i])) * per_byte
            busy = flop * (k.host_flop[i] / soft.compute(op, t.bits[i]))
            time += np.maximum(reads, busy)
            target = scores if op == "attention" else products
            target += busy
    logic = logic + work.joule_flop[cols] * k.host_flop_energy[2]
    weights = chunks * work.joule_weights[cols]
    fast = (x * weights + work.kv[cols]) * k.energy[1]
    flash = (1.0 - x) * weights * k.energy[2] if flashy else np.zeros((1, 1))
    reduces, exchanges = _messages(t, count)
    message = work.reduce_bytes[cols] / soft.link
    sent = (work.exchange_bytes[cols] / soft.link) * at(m.exchange_rate, index[1])
    time += reduces * all_reduce(m, index[0], message)
    time += exchanges * (at(m.exchange_alpha, index[1]) + sent)
    scores += reduces * all_reduce(m, index[0], message, launched=False) + exchanges * sent
    logic = logic + m.active_power[:, None] * time
    held = thermal.throttled_time(time, (logic, fast, flash), limits_of(m))
    stretch = held / time  # a hot package is slow in either case
    joules = logic + fast + flash
    own, pay = products[:, :count] * stretch[:, :count], scores[:, :count] * stretch[:, :count]
    if not (flashy or t.aligned):
        by = t.plans.shape
        own, pay, held = (
            np.take(own, by, axis=1),
            np.take(pay, by, axis=1),
            np.take(held, np.concatenate([by, by + count]), axis=1),
        )
        joules = np.take(joules, by, axis=1)
        count = len(by)
    join = own * t.arriving
    join -= _carried(t, soft, work, chunks) * slack
    np.maximum(join, 0.0, out=join)
    join += pay * t.arriving
    join += soft.eager * soft.once(t) * _carried(t, soft, work, chunks)
    return Served(held[:, :count], join, joules[:, :count], held[:, count:])


def _carried(t: Traffic, soft: Soft, work: Prefill, chunks: FloatArray) -> FloatArray:
    """Share of a step's kernels that run with arriving prompts in them; may exceed 1 where they fill more than a step."""
    if t.aligned:
        tokens, each = work.tokens[..., :1], chunks[..., :1]
    else:  # one mean prompt for all shapes
        tokens, each = work.tokens[:1], chunks.reshape(-1)[:1]
    carried: FloatArray = np.maximum(np.minimum(t.arriving * each, 1.0), t.arriving * tokens / soft.chunk)
    return carried


def _messages(t: Traffic, count: int) -> tuple[FloatArray, FloatArray]:
    """All-reduces and all-to-alls of a prompt, as many as a decode step has."""
    if t.aligned:
        return np.repeat(t.reduces, 2, axis=1), np.repeat(t.exchanges, 2, axis=1)
    plans = np.arange(len(t.plans)) if count == len(t.plans) else t.shape_plan
    return np.concatenate([t.reduces[plans]] * 2), np.concatenate([t.exchanges[plans]] * 2)
