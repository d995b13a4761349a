"""Lower a workload and its plans to FLOP, bytes and messages: independent of any design.

Per rank and decode step, for five operators: attention projections, attention over the KV
cache, dense and shared feed-forward, routed experts, LM head. The embedding table is gathered,
not streamed. Nothing here knows a software stack but the skew of expert popularity, so one
lowering serves any stack's efficiencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.catalog.transformer import Transformer, transformer
from dse.core.axes import OPERATORS
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.physics import experts, memory
from dse.serving.plan import Plans
from dse.space.scenario import ModelLoad, Scenario

ATTENTION: Final = OPERATORS.index("attention")


EXPERTS: Final = OPERATORS.index("experts")


ACTIVATION_BYTES: Final = 2.0  # activations and partial sums cross links and stacks in 16 bit


NEVER_CHANGES: Final = 1e15  # s


KNOTS: Final = 16
"""steps of the curve of popular experts' reads"""


P95: Final = NormalDist().inv_cdf(0.95)


# bits: narrower weights are widened to it where a chip cannot multiply them; 4-bit ones feed 8-bit units as
# they are
WIDEST: Final = 16


COLUMN: Final = {16: 0, 8: 1, 4: 2}
"""column of a machine's peaks by bits"""


@dataclass(frozen=True)
class Prefill:
    """Work of one prompt per shape of plan; arrays (ops, shapes) or (shapes,).

    The mean request and the prompt of the TTFT limit stand side by side: twice the shapes.
    """

    tokens: FloatArray
    """(shapes,) new tokens of the prompt"""
    flop: FloatArray
    weights: FloatArray
    kv: FloatArray
    """KV bytes a rank writes"""
    reduce_bytes: FloatArray
    exchange_bytes: FloatArray
    joule_flop: FloatArray
    """(ops, shapes) FLOP, mean over ranks"""
    joule_weights: FloatArray
    """(shapes,) weight bytes of all operators but routed experts, mean over ranks"""
    joule_experts: FloatArray
    """(shapes,) weight bytes of routed experts, mean over ranks"""


@dataclass(frozen=True)
class StepWork:
    """What p plans of a workload ask of any machine; per rank and step unless said otherwise.

    ``aligned`` traffic has one plan per machine: (p,) is then (n, 1), (ops, p) is (ops, n, 1).
    """

    model: Transformer
    load: ModelLoad
    plans: Plans
    layers: FloatArray
    moe_layers: FloatArray
    launches: FloatArray
    """kernel launches of a pass, in dense layers"""
    tokens_per_step: float
    """tokens won per sequence and pass"""
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
    kv_pieces: FloatArray
    """(p,) sequences times KV heads of a rank, which a partition of the KV leaves whole"""
    resident: FloatArray
    """(p,) weight bytes held by a rank at pipeline depth 1"""
    resident_experts: FloatArray
    """(p,) those of routed experts"""
    popular: FloatArray
    """(knots + 1, p) share of expert bytes read that the most popular experts of a rank take"""
    expert_slice: FloatArray
    """(p,) contiguous bytes of an expert in a layer and rank; 1 without experts"""
    experts_held: FloatArray
    """(p,) experts of a layer and rank"""
    experts_read: FloatArray
    """(p,) mean share of them that a step reads"""
    kv_run: FloatArray
    """(p,) contiguous KV bytes of a sequence in a layer and rank; of a token where attention gathers"""
    kv_written: FloatArray
    """(p,) KV bytes a rank writes per step: of new tokens, and of the prompts that arrive meanwhile"""
    activations: FloatArray
    """(p,) bytes of activations that stay on chip between operators"""
    live_p95: FloatArray
    prefix_held: FloatArray
    longest: FloatArray
    """(p,) KV bytes per rank of one request of the longest length"""
    prefix_written: FloatArray
    """(p,) prefix KV bytes a rank writes per request"""
    prompt_kv: FloatArray
    """(p,) KV bytes of a whole mean prompt, per rank"""
    output_tokens: float
    """tokens of a mean answer"""
    popularity_life: float
    """s after which other experts are the popular ones"""
    reduce_bytes: FloatArray
    reduces: FloatArray
    exchange_bytes: FloatArray
    """(p,) bytes of a dispatch or combine, mean of both, that the most loaded rank moves"""
    exchanges: FloatArray
    shared_share: FloatArray
    """share of the feed-forward operator that waits for no dispatch: shared experts"""
    stage_bytes: FloatArray
    per_rank: FloatArray
    """(p,) sequences per attention rank: the prompts that share it"""
    prompts: FloatArray
    """(p,) prompts a group prefills side by side"""
    arriving: FloatArray
    """(p,) prompts that arrive per step and attention replica of a closed loop"""
    prefill: Prefill
    """the mean request, then the prompt of the TTFT limit"""
    plan_of_shape: IntArray
    """a plan of each shape"""
    distinct_reduces: tuple[IntArray, IntArray]
    """plans with different all-reduces, and which of them each plan equals"""
    bits: IntArray
    """(ops,) column of the machine's peaks that an operator multiplies in"""
    emulated: FloatArray
    """(ops,) 1 where weights are narrower than the arithmetic and are widened on the way"""
    aligned: bool = False


@dataclass(frozen=True)
class _Ranks:
    """How a shape of plan spreads tokens and parameters; arrays over plans or shapes."""

    group: FloatArray
    replicas: FloatArray
    expert_parallel: FloatArray
    tensor: FloatArray
    """ranks that share attention and dense weights"""
    slices: FloatArray
    """ranks that share an expert"""
    kv: FloatArray
    """ranks over which the KV cache is spread"""

    @staticmethod
    def of(model: Transformer, plans: Plans, rows: Any = slice(None)) -> _Ranks:
        g, d, e = plans.group[rows], plans.attention_dp[rows], plans.expert_parallel[rows]
        heads = 1.0 if model.latent else float(model.kv_heads)
        return _Ranks(
            g, d, e, g / d, g / e, np.where(plans.context_parallel[rows], g / d, np.minimum(g / d, heads))
        )


def _expert_loads(
    model: Transformer, tokens: FloatArray, ranks: FloatArray, skew: float
) -> tuple[FloatArray, ...]:
    """Pairs and distinct experts of the most loaded rank, then of the mean rank; shape of ``tokens``."""
    if not model.experts:
        return (np.zeros(len(tokens)),) * 4
    k = (model.experts, model.experts_per_token)
    rows = [
        (*experts.peak_load(*k, b, int(n), skew), *experts.mean_load(*k, b, int(n), skew))
        for b, n in zip(tokens, ranks, strict=True)
    ]
    return tuple(np.array(column) for column in zip(*rows, strict=True))


def lower_step(load: ModelLoad, plans: Plans, catalog: Catalog, scenario: Scenario) -> StepWork:
    """Lower one workload; arrays over its p plans."""
    model, mix = transformer(catalog.llm(load.llm)), scenario.mix
    skew = scenario.numbers.get("routing_skew", catalog.value("software", scenario.software, "routing_skew"))
    r = _Ranks.of(model, plans)
    resident = plans.batch / r.replicas  # sequences an attention rank holds
    tokens = plans.at_once / r.replicas  # those it sees at once
    rows, every = tokens * load.positions, plans.at_once * load.positions
    pairs, distinct, mean_pairs, mean_distinct = _expert_loads(model, every, r.expert_parallel, skew)
    mean_flop, mean_weights = np.ones((len(OPERATORS), len(plans))), np.ones((len(OPERATORS), len(plans)))
    if model.experts:
        mean_flop[EXPERTS], mean_weights[EXPERTS] = mean_pairs / pairs, mean_distinct / distinct
    context, many = mix.context, r.tensor > 1
    zero, drafting = np.zeros(len(plans)), _drafting(model, load)
    flop = drafting * np.stack(
        [
            2.0 * rows * model.attention / r.tensor,
            rows * model.decode_flops(context) / r.tensor,
            2.0 * rows * model.ffn / r.tensor,
            2.0 * pairs * model.expert / r.slices,
            2.0 * every * model.head / r.group,
        ]
    )
    prefix = 0.0 if model.topk else model.kv_elements * mix.prefix_context * load.kv_bits / 8
    kv_all = tokens * (model.read_bytes(context, load.kv_bits) + 2.0 * model.state_bytes) / r.kv
    kv_prefix = tokens * prefix / r.kv
    p95 = memory.resident_p95(context, mix.deviation, mix.longest, resident, P95)
    held = (
        p95 * model.held_bytes(context, load.kv_bits) / max(context, 1.0) + resident * model.state_bytes
    ) / r.kv
    prefix_held = resident * prefix / r.kv
    longest = model.held_bytes(scenario.numbers.get("longest_request", mix.longest), load.kv_bits) / r.kv
    crossing = ACTIVATION_BYTES * np.stack(
        [
            rows * 2.0 * model.layers * model.hidden * np.ones(len(plans)),
            rows * model.layers * model.head_width / r.tensor,
            rows * 2.0 * model.layers * model.hidden,
            pairs * 2.0 * model.moe_layers * model.hidden,
            every * (model.hidden + model.vocab / r.group),
        ]
    )
    inputs = mix.mean([c.input_tokens for c in mix.classes])
    arriving = resident * load.tokens_per_step / mix.output_tokens * (mix.computed_tokens > 0)
    return StepWork(
        model=model,
        load=load,
        plans=plans,
        layers=np.array(model.layers),
        moe_layers=np.array(float(model.moe_layers)),
        launches=np.array(model.launches),
        tokens_per_step=load.tokens_per_step,
        output_tokens=mix.output_tokens,
        flop=flop,
        popularity_life=scenario.numbers.get("popularity_life", NEVER_CHANGES),
        weights=drafting * _streamed(model, load, r, distinct, zero),
        kv_live=np.maximum(kv_all - kv_prefix, 0.0),
        kv_prefix=kv_prefix,
        crossing=crossing,
        resident=_resident(model, load, r),
        kv_pieces=tokens * np.maximum((1.0 if model.latent else float(model.kv_heads)) / r.tensor, 1.0),
        **_places(model, load, r, every, context, skew),
        kv_written=(
            resident * load.tokens_per_step * model.kv_bytes_per_token(load.kv_bits)
            + (mix.output_tokens >= 1.0) * arriving * model.held_bytes(mix.computed_tokens, load.kv_bits)
        )
        / r.kv,
        activations=2.0 * rows * model.hidden * ACTIVATION_BYTES,
        mean_flop=mean_flop,
        mean_weights=mean_weights,
        live_p95=np.maximum(held - prefix_held, 0.0),
        prefix_held=prefix_held,
        longest=np.broadcast_to(longest, r.group.shape).copy(),
        prefix_written=model.kv_elements * load.kv_bits / 8 * mix.prefix_written / r.kv,
        prompt_kv=model.held_bytes(inputs, load.kv_bits) / r.kv,
        reduce_bytes=rows * model.hidden * ACTIVATION_BYTES,
        reduces=_reduces(model, plans, many),
        exchange_bytes=_exchanged(model, load, r, rows, pairs, mean_pairs),
        shared_share=np.array(model.shared / max(model.ffn, 1.0)),
        exchanges=np.where(plans.data_parallel, 2.0 * model.moe_layers, 0.0),
        stage_bytes=rows * model.hidden * ACTIVATION_BYTES,
        per_rank=resident,
        prompts=r.replicas,
        arriving=arriving,
        prefill=_beside(
            _prefill(model, load, plans, mix.computed_tokens, mix.prefill_pairs, skew),
            _prefill(model, load, plans, scenario.ttft_input, scenario.ttft_input**2 / 2, skew),
        ),
        plan_of_shape=_shape_plans(plans),
        distinct_reduces=_distinct_reduces(plans, rows),
        bits=np.array([COLUMN[load.computed(op)] for op in OPERATORS], dtype=np.int64),
        emulated=np.array(
            [float(op != "attention" and load.stored(op) < load.computed(op) == WIDEST) for op in OPERATORS]
        ),
    )


def _reduces(model: Transformer, plans: Plans, many: BoolArray) -> FloatArray:
    """All-reduces of a pass: after attention and after each feed-forward block that a replica's ranks share.

    Attention split by position merges its partial outputs and their weights once more a layer.
    """
    each = np.where(plans.data_parallel, 2.0 * model.layers - model.moe_layers, 2.0 * model.layers)
    return np.where(many, each + np.where(plans.context_parallel, model.layers, 0.0), 0.0)


def _drafting(model: Transformer, load: ModelLoad) -> FloatArray:
    """(ops, 1) work of a pass with its drafts over that of the model alone.

    A drafted token passes one layer of the model's own shape (a multi-token prediction module, or a
    draft head of that size) and the LM head.
    """
    layer = 1.0 + load.draft_tokens / model.layers
    return np.array([[layer], [layer], [layer], [layer], [1.0 + load.draft_tokens]])


def _streamed(
    model: Transformer, load: ModelLoad, r: _Ranks, distinct: FloatArray, zero: FloatArray
) -> FloatArray:
    """(ops, p) weight bytes a rank reads in a pass."""
    parameters = (
        model.attention / r.tensor,
        zero,
        model.ffn / r.tensor,
        distinct * model.expert / r.slices,
        model.head / r.group,
    )
    return np.stack([n * load.stored(op) / 8 for n, op in zip(parameters, OPERATORS, strict=True)])


def _places(
    model: Transformer, load: ModelLoad, r: _Ranks, tokens: FloatArray, context: float, skew: float
) -> dict[str, Any]:
    """What placing bytes on tiers asks.

    Experts by popularity, and how long the runs are that a read takes.
    """
    p = len(tokens)
    layers = model.attention_layers
    entry = model.kv_bytes_per_token(load.kv_bits) / layers / r.kv
    run = entry * (1.0 if model.topk else max(context, 1.0))
    out = {
        "kv_run": np.maximum(run, 1.0),
        "resident_experts": np.zeros(p),
        "expert_slice": np.ones(p),
        "experts_held": np.ones(p),
        "experts_read": np.ones(p),
        "popular": np.tile(np.linspace(0.0, 1.0, KNOTS + 1)[:, None], (1, p)),
    }
    if not model.experts:
        return out
    k = (model.experts, model.experts_per_token)
    ranks = r.expert_parallel
    held = model.experts / np.minimum(ranks, model.experts)
    mean = np.array([experts.mean_load(*k, b, int(n), skew)[1] for b, n in zip(tokens, ranks, strict=True)])
    curves = [experts.hot_reads(*k, b, int(n), skew, KNOTS) for b, n in zip(tokens, ranks, strict=True)]
    stored = load.stored("experts") / 8
    return out | {
        "popular": np.stack(curves, axis=1),
        "resident_experts": held / r.slices * model.expert * stored,
        "expert_slice": model.expert / model.moe_layers / r.slices * stored,
        "experts_held": held,
        "experts_read": np.minimum(mean / held, 1.0),
    }


def _resident(model: Transformer, load: ModelLoad, r: _Ranks) -> FloatArray:
    """Weight bytes a rank holds, embedding included; more ranks than experts hold copies."""
    dealt = model.experts / np.minimum(r.expert_parallel, max(model.experts, 1)) / r.slices
    ends = model.head + (0.0 if model.tied else model.embedding)
    return (
        model.attention / r.tensor * load.stored("projections")
        + model.ffn / r.tensor * load.stored("ffn")
        + dealt * model.expert * load.stored("experts")
        + ends / r.group * load.stored("head")
        + model.norms * load.stored("ffn")
    ) / 8


def _exchanged(
    model: Transformer, load: ModelLoad, r: _Ranks, rows: FloatArray, pairs: FloatArray, mean: FloatArray
) -> FloatArray:
    """Bytes that the most loaded rank moves in one dispatch or combine of ``rows`` tokens a rank, mean of
    both.

    A token goes once to every distinct rank its experts reach, minus its own; dispatch in the
    compute precision of the experts, combine in 16 bit. All ranks send alike; the rank of the popular
    experts receives ``pairs`` over ``mean`` times as much, at most every token of all others.
    """
    if not model.experts:
        return np.zeros(len(rows))
    reach = experts.ranks_reached(r.group, float(model.experts_per_token)) * (r.group - 1.0) / r.group
    received = np.minimum(reach * pairs / np.maximum(mean, 1e-30), r.group - 1.0)
    sent = rows * model.hidden * received * (load.computed("experts") / 8 + ACTIVATION_BYTES)
    return np.where(r.replicas > 1, sent / 2.0, 0.0)


def _distinct_reduces(plans: Plans, rows: FloatArray) -> tuple[IntArray, IntArray]:
    """Plans whose all-reduces differ in ranks or bytes, and for each plan which of them is its own."""
    _, first, inverse = np.unique(
        np.stack([plans.tensor_index.astype(np.float64), np.where(plans.tensor_index > 0, rows, 0.0)]),
        axis=1,
        return_index=True,
        return_inverse=True,
    )
    return first.astype(np.int64), inverse.reshape(-1).astype(np.int64)


def _shape_plans(plans: Plans) -> IntArray:
    """Index of the first plan of each shape."""
    return np.array(
        [int(np.argmax(plans.plan_shape == s)) for s in range(int(plans.plan_shape.max()) + 1)],
        dtype=np.int64,
    )


def _beside(request: Prefill, first: Prefill) -> Prefill:
    """Two prompts per shape in one record."""
    return Prefill(
        *(
            np.concatenate([getattr(request, f.name), getattr(first, f.name)], axis=-1)
            for f in fields(Prefill)
        )
    )


def _prefill(
    model: Transformer, load: ModelLoad, plans: Plans, tokens: float, pairs: float, skew: float
) -> Prefill:
    """Work of prompts of ``tokens`` new tokens with ``pairs`` query-key pairs, per shape.

    Each attention replica prefills a prompt of its own.
    """
    r = _Ranks.of(model, plans, _shape_plans(plans))
    every = tokens * r.replicas
    loads = (
        _expert_loads(model, every, r.expert_parallel, skew) if tokens > 0 else (np.zeros(len(every)),) * 4
    )
    zero = np.zeros(len(every))
    flop = np.stack(
        [
            2.0 * tokens * model.attention / r.tensor,
            model.prompt_flops(tokens, pairs) / r.tensor,
            2.0 * tokens * model.ffn / r.tensor,
            2.0 * loads[0] * model.expert / r.slices,
            2.0 * model.head / r.group,
        ]
    )
    weights = _streamed(model, load, r, loads[1], zero)
    joule_flop, routed = flop.copy(), weights[EXPERTS].copy()
    if model.experts and tokens > 0:
        joule_flop[EXPERTS] *= loads[2] / loads[0]
        routed *= loads[3] / loads[1]
    return Prefill(
        tokens=np.full(len(every), tokens),
        flop=flop,
        weights=weights,
        kv=tokens * model.kv_bytes_per_token(load.kv_bits) / r.kv,
        reduce_bytes=np.where(r.tensor > 1, tokens * model.hidden * ACTIVATION_BYTES, 0.0),
        exchange_bytes=_exchanged(model, load, r, tokens * np.ones(len(every)), loads[0], loads[2]),
        joule_flop=joule_flop,
        joule_weights=weights.sum(axis=0) - weights[EXPERTS],
        joule_experts=routed,
    )


def align(parts: Sequence[StepWork]) -> StepWork:
    """Join lowerings into aligned traffic.

    Its n rows are the plans of all parts, each for a machine of its own.
    """
    lone = [
        f.name
        for f in fields(StepWork)
        if f.name not in {"model", "load", "plans", "prefill", "plan_of_shape", "distinct_reduces", "aligned"}
    ]

    def column(name: str) -> Any:
        columns = []
        for t in parts:
            value, p = np.asarray(getattr(t, name)), len(t.plans)
            if name in {"bits", "emulated"}:
                value = np.broadcast_to(value[:, None], (len(OPERATORS), p))
            columns.append(np.broadcast_to(value, (p,)) if value.ndim == 0 else value)
        return np.concatenate(columns, axis=-1)[..., None]

    def prompts(name: str) -> FloatArray:
        pairs = []
        for t in parts:
            work, half = getattr(t.prefill, name), len(t.plan_of_shape)
            pairs.append(
                np.stack([work[..., t.plans.plan_shape], work[..., t.plans.plan_shape + half]], axis=-1)
            )
        return np.concatenate(pairs, axis=-2)

    plans = Plans(
        *(np.concatenate([getattr(t.plans, f.name) for t in parts])[:, None] for f in fields(Plans))
    )
    work = Prefill(**{f.name: prompts(f.name) for f in fields(Prefill)})
    return replace(parts[0], **{n: column(n) for n in lone}, plans=plans, prefill=work, aligned=True)
