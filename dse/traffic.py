"""Lower a workload and its plans to FLOP, bytes and messages: independent of any design.

Per rank and decode step, for five operators: attention projections, attention over the KV
cache, dense and shared feed-forward, routed experts, LM head. The embedding table is gathered,
not streamed. MoE: distinct experts read are sum_i 1 - (1 - p_i)^tokens with Zipf popularity,
and the step waits for the most loaded rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Final

import numpy as np

from dse.catalog import Catalog
from dse.physics import memory, network
from dse.plan import Plans
from dse.space import Scenario, Workload
from dse.units import FloatArray, IntArray
from dse.workload import Mix, RequestClass, Transformer, transformer

OPERATORS: Final = ("projections", "attention", "ffn", "experts", "head")
ACTIVATION_BYTES: Final = 2.0  # activations and partial sums cross links and stacks in 16 bit
P95: Final = NormalDist().inv_cdf(0.95)


@dataclass(frozen=True)
class Prefill:
    """Work of one prompt per (group, attention) shape; arrays (ops, shapes) or (shapes,).

    The mean request and the prompt of the TTFT limit stand side by side: twice the shapes.
    """

    flop: FloatArray
    weights: FloatArray
    kv: FloatArray
    """KV bytes a rank writes"""
    reduce_bytes: FloatArray
    exchange_bytes: FloatArray
    overhead: float
    joule_flop: FloatArray
    """(shapes,) FLOP of all operators, mean over ranks"""
    joule_weights: FloatArray
    """(shapes,) weight bytes of all operators, mean over ranks"""


@dataclass(frozen=True)
class Traffic:
    """What p plans of a workload ask of any machine; per rank and step unless said otherwise."""

    model: Transformer
    load: Workload
    plans: Plans
    flop: FloatArray
    """(ops, p)"""
    weights: FloatArray
    """(ops, p) weight bytes read"""
    kv_live: FloatArray
    """(p,) KV bytes read that were written while serving"""
    kv_prefix: FloatArray
    """(p,) KV bytes read of shared, read-only prefixes"""
    mean_flop: FloatArray
    """(ops, p) mean over most loaded rank: what joules follow where time follows the latter"""
    mean_weights: FloatArray
    """(ops, p) the same for weight bytes"""
    crossing: FloatArray
    """(ops, p) bytes of inputs and outputs an operator hands over to another engine"""
    resident: FloatArray
    """(p,) weight bytes held by a rank at pipeline depth 1"""
    live_p95: FloatArray
    prefix_held: FloatArray
    longest: FloatArray
    """(p,) KV bytes per rank of one request of the longest length"""
    prefix_written: FloatArray
    """(p,) prefix KV bytes a rank writes per request"""
    prompt_kv: FloatArray
    """(p,) KV bytes of a whole mean prompt, per rank"""
    reduce_bytes: FloatArray
    reduces: FloatArray
    exchange_bytes: FloatArray
    exchanges: FloatArray
    stage_bytes: FloatArray
    overhead: FloatArray
    """(p,) s of kernels and scheduling per step"""
    per_rank: FloatArray
    """(p,) sequences per attention rank: the prompts that share it"""
    prompts: FloatArray
    """(p,) prompts a group prefills side by side"""
    prefill: Prefill
    """the mean request, then the prompt of the TTFT limit"""
    shape_plan: IntArray
    """a plan of each (group, attention) shape"""
    bits: int
    """column of the machine's precisions"""


def popularity(model: Transformer, skew: float) -> FloatArray:
    """Probability that a token picks expert i: min(1, k w_i), Zipf weights w_i ~ i^-skew."""
    weights = np.power(np.arange(1, model.experts + 1, dtype=np.float64), -skew)
    picked: FloatArray = np.minimum(model.experts_per_token * weights / weights.sum(), 1.0)
    return picked


def mean_load(model: Transformer, tokens: float, ranks: int, skew: float) -> tuple[float, float]:
    """Token-expert pairs and distinct experts per rank, on average over ``ranks`` ranks."""
    picked = popularity(model, skew)
    copies = max(ranks / model.experts, 1.0)
    distinct = float(np.sum(1.0 - np.power(1.0 - picked, tokens / copies))) * copies
    return tokens * float(picked.sum()) / ranks, distinct / ranks


def expert_load(model: Transformer, tokens: float, ranks: int, skew: float) -> tuple[float, float]:
    """Token-expert pairs and distinct experts of the most loaded of ``ranks`` ranks.

    Experts are dealt in order of popularity, so rank 0 holds the most popular of each round;
    on top comes the Gaussian maximum of Poisson loads.
    """
    chosen = popularity(model, skew)[:: min(ranks, model.experts)]
    share = max(ranks / model.experts, 1.0)  # more ranks than experts: copies share the load
    mean = tokens * float(chosen.sum()) / share
    load = mean if ranks == 1 else network.fluctuation(mean, ranks)
    distinct = float(np.sum(1.0 - np.power(1.0 - chosen, tokens / share)))
    if ranks > 1:
        distinct = min(network.fluctuation(distinct, ranks), float(len(chosen)))
    return min(load, tokens * len(chosen)), distinct


def lower(load: Workload, plans: Plans, catalog: Catalog, scenario: Scenario) -> Traffic:
    """Lower one workload; arrays over its p plans."""
    model = transformer(catalog.llm(load.llm))
    mix = scenario.mix
    soft = partial(catalog.value, "software", scenario.software)
    byte, kv_byte = load.weight_bits / 8, load.kv_bits / 8
    g, dp, batch = plans.group, plans.data_parallel, plans.batch
    tokens = np.where(dp, batch / g, batch)  # tokens an attention rank sees
    split = np.where(dp, 1.0, g)  # ranks that share attention and dense weights
    heads = 1.0 if model.latent else float(model.kv_heads)
    kv_split = np.where(dp, 1.0, np.minimum(g, heads))
    pairs = [expert_load(model, b, int(n), soft("routing_skew")) if model.experts else (0.0, 0.0)
             for b, n in zip(batch, g, strict=True)]  # fmt: skip
    rank_pairs = np.array([a for a, _ in pairs])
    distinct = np.array([d for _, d in pairs])
    means = [mean_load(model, b, int(n), soft("routing_skew")) if model.experts else (0.0, 0.0)
             for b, n in zip(batch, g, strict=True)]  # fmt: skip
    mean_flop, mean_weights = np.ones((len(OPERATORS), len(plans))), np.ones((len(OPERATORS), len(plans)))
    if model.experts:
        at = OPERATORS.index("experts")
        mean_flop[at] = np.array([a for a, _ in means]) / rank_pairs
        mean_weights[at] = np.array([d for _, d in means]) / distinct
    context = mix.context
    windowed = min(context, float(model.window)) if model.window else 0.0
    attention = model.attention_flops * context + model.windowed_flops * windowed
    flop = np.stack([
        2.0 * tokens * model.attention / split,
        tokens * attention / split,
        2.0 * tokens * model.ffn / split,
        2.0 * rank_pairs * model.expert,
        2.0 * batch * model.head / g,
    ])  # fmt: skip
    zero = np.zeros(len(plans))
    weights = byte * np.stack(
        [model.attention / split, zero, model.ffn / split, distinct * model.expert, model.head / g]
    )
    kv_all = tokens * (model.context_elements(context) * kv_byte + 2.0 * model.state_bytes) / kv_split
    kv_prefix = tokens * model.kv_elements * mix.prefix_context * kv_byte / kv_split
    share = model.experts / np.minimum(g, max(model.experts, 1)) if model.experts else zero
    embedding = 0.0 if model.tied else model.embedding
    resident = byte * (
        (model.attention + model.ffn) / split + share * model.expert + (model.head + embedding) / g + model.norms
    )
    p95 = memory.resident_p95(context, mix.deviation, mix.longest, tokens, P95)
    per_context = (model.kv_elements + model.kv_windowed_elements * windowed / max(context, 1.0)) * kv_byte
    held = (p95 * per_context + tokens * model.state_bytes) / kv_split
    longest = model.context_elements(scenario.numbers.get("longest_request", mix.longest)) * kv_byte / kv_split
    crossing = ACTIVATION_BYTES * np.stack([
        tokens * 2.0 * model.layers * model.hidden * np.ones(len(plans)),
        tokens * model.layers * model.head_width / split,
        tokens * 2.0 * model.layers * model.hidden,
        rank_pairs * 2.0 * model.moe_layers * model.hidden,
        batch * (model.hidden + model.vocab / g),
    ])  # fmt: skip
    many = g > 1
    reach = network.ranks_reached(g, float(model.experts_per_token)) * (g - 1.0) / g if model.experts else zero
    sent = tokens * model.hidden * reach * (load.compute_bits / 8 + ACTIVATION_BYTES)
    return Traffic(
        model=model, load=load, plans=plans, flop=flop, weights=weights,
        kv_live=np.maximum(kv_all - kv_prefix, 0.0), kv_prefix=kv_prefix, crossing=crossing, resident=resident,
        mean_flop=mean_flop, mean_weights=mean_weights,
        live_p95=np.maximum(held - kv_prefix, 0.0), prefix_held=kv_prefix, longest=np.broadcast_to(longest, g.shape).copy(),
        prefix_written=model.kv_elements * kv_byte * mix.prefix_written / kv_split,
        prompt_kv=model.context_elements(mix.mean([c.input_tokens for c in mix.classes])) * kv_byte / kv_split,
        reduce_bytes=batch * model.hidden * ACTIVATION_BYTES, reduces=np.where(many & ~dp, 2.0 * model.layers, 0.0),
        exchange_bytes=np.where(dp, sent / 2.0, 0.0), exchanges=np.where(dp, 2.0 * model.moe_layers, 0.0),
        stage_bytes=tokens * model.hidden * ACTIVATION_BYTES,
        overhead=_overhead(model, soft) + soft("sequence_overhead") * tokens,
        per_rank=tokens, prompts=np.where(dp, g, 1.0),
        prefill=_beside(_prefill(model, load, plans, mix.computed_tokens, mix.prefill_pairs, soft),
                        _prefill(model, load, plans, scenario["ttft_input"], scenario["ttft_input"] ** 2 / 2, soft)),
        shape_plan=_shape_plans(plans),
        bits={16: 0, 8: 1, 4: 2}[int(load.compute_bits)],
    )  # fmt: skip


def _overhead(model: Transformer, soft: Callable[[str], float]) -> float:
    """Seconds of kernel launches per pass: per layer, per MoE layer, per step."""
    per_layer = model.layers * soft("layer_overhead") + model.moe_layers * soft("moe_layer_overhead")
    return per_layer + soft("step_overhead")


def _shape_plans(plans: Plans) -> IntArray:
    """Index of the first plan of each shape."""
    return np.array([int(np.argmax(plans.shape == s)) for s in range(int(plans.shape.max()) + 1)], dtype=np.int64)


def _beside(request: Prefill, first: Prefill) -> Prefill:
    """Two prompts per shape in one record."""

    def join(f: str) -> FloatArray:
        return np.concatenate([getattr(request, f), getattr(first, f)], axis=-1)

    return Prefill(
        join("flop"),
        join("weights"),
        join("kv"),
        join("reduce_bytes"),
        join("exchange_bytes"),
        request.overhead,
        join("joule_flop"),
        join("joule_weights"),
    )


def _prefill(model: Transformer, load: Workload, plans: Plans, tokens: float, pairs: float,
             soft: Callable[[str], float]) -> Prefill:  # fmt: skip
    """Work of prompts of ``tokens`` new tokens with ``pairs`` query-key pairs, per shape.

    Tensor-parallel groups prefill one prompt together; data-parallel ranks one prompt each.
    """
    firsts = _shape_plans(plans)
    g, dp = plans.group[firsts], plans.data_parallel[firsts]
    split = np.where(dp, 1.0, g)
    kv_split = np.where(dp, 1.0, np.minimum(g, 1.0 if model.latent else float(model.kv_heads)))
    byte = load.weight_bits / 8
    skew = soft("routing_skew")
    loads = [expert_load(model, tokens * (n if d else 1.0), int(n), skew) if model.experts else (0.0, 0.0)
             for n, d in zip(g, dp, strict=True)]  # fmt: skip
    rank_pairs, distinct = np.array([a for a, _ in loads]), np.array([b for _, b in loads])
    window_pairs = min(pairs, tokens * float(model.window)) if model.window else 0.0
    scale = model.prefill_flops / model.attention_flops if model.attention_flops else 1.0
    zero = np.zeros(len(g))
    flop = np.stack([
        2.0 * tokens * model.attention / split,
        (model.prefill_flops * pairs + model.windowed_flops * scale * window_pairs) / split,
        2.0 * tokens * model.ffn / split,
        2.0 * rank_pairs * model.expert,
        2.0 * model.head / g,
    ])  # fmt: skip
    weights = byte * np.stack(
        [model.attention / split, zero, model.ffn / split, distinct * model.expert, model.head / g]
    )
    joule_flop, joule_weights = flop.copy(), weights.copy()
    if model.experts and tokens > 0:
        even = [mean_load(model, tokens * (n if d else 1.0), int(n), skew) for n, d in zip(g, dp, strict=True)]
        at = OPERATORS.index("experts")
        joule_flop[at] *= np.array([a for a, _ in even]) / rank_pairs
        joule_weights[at] *= np.array([b for _, b in even]) / distinct
    many = g > 1
    reach = network.ranks_reached(g, float(model.experts_per_token)) * (g - 1.0) / g if model.experts else zero
    sent = tokens * model.hidden * reach * (load.compute_bits / 8 + ACTIVATION_BYTES)
    return Prefill(
        flop=flop, weights=weights, kv=tokens * model.kv_bytes_per_token(load.kv_bits) / kv_split,
        reduce_bytes=np.where(many & ~dp, tokens * model.hidden * ACTIVATION_BYTES, 0.0),
        exchange_bytes=np.where(dp, sent / 2.0, 0.0), overhead=_overhead(model, soft),
        joule_flop=joule_flop.sum(axis=0), joule_weights=joule_weights.sum(axis=0),
    )  # fmt: skip


def mix_of(context: float) -> Mix:
    """A mix whose every sequence stands at ``context`` tokens: for asking about one decode step."""
    return Mix((RequestClass("point", 1.0, context, 1e-9),), decode_only=True)
