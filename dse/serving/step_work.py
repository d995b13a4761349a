"""Lower a workload and its plans to FLOP, bytes and messages: independent of any design.

Per rank and decode step, for five operators: attention projections, attention over the KV
cache, dense and shared feed-forward, routed experts, LM head. The embedding table is gathered,
not streamed. Nothing here knows a software stack but the skew of expert popularity, so one
lowering serves any stack's efficiencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.catalog.transformer import Cache, Transformer, transformer
from dse.core.axes import OPERATORS
from dse.core.records import dtype_of, filled
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.physics import experts, memory
from dse.serving.plan import Plans
from dse.serving.rates import flop_efficiency, inverse_efficiency
from dse.serving.records import KNOTS, PlanRow, PromptRow, WorkloadRow, per_precision
from dse.serving.software import SoftwareStack
from dse.space.scenario import ModelLoad, RequestMix, Scenario

ATTENTION: Final = OPERATORS.index("attention")


EXPERTS: Final = OPERATORS.index("experts")


ACTIVATION_BYTES: Final = 2.0  # activations and partial sums cross links and stacks in 16 bit


NEVER_CHANGES: Final = 1e15  # s


P95: Final = NormalDist().inv_cdf(0.95)


# bits: narrower weights are widened to it where a chip cannot multiply them; 4-bit ones feed 8-bit units as
# they are
WIDEST: Final = 16


COLUMN: Final = {16: 0, 8: 1, 4: 2}
"""column of a machine's peaks by bits"""


@dataclass(frozen=True)
class StepWork:
    """What p plans of a workload ask of any machine, as the rows that serving reads."""

    model: Transformer
    load: ModelLoad
    plans: Plans
    rows: Any
    """(p,) ``PlanRow``"""
    prompts: Any
    """(2 shapes,) ``PromptRow``: the mean request of each shape, then the prompt of the TTFT limit"""
    workload: Any
    """(1,) ``WorkloadRow``"""

    @property
    def tokens_per_step(self) -> float:
        """Tokens won per sequence and pass."""
        return self.load.tokens_per_step


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
    by_position: BoolArray
    """whether ranks share the KV cache by position"""

    @staticmethod
    def of(plans: Plans, rows: Any = slice(None)) -> _Ranks:
        g, d, e = plans.group[rows], plans.attention_dp[rows], plans.expert_parallel[rows]
        return _Ranks(g, d, e, g / d, g / e, plans.context_parallel[rows])

    def over(self, cache: Cache) -> FloatArray:
        """Ranks over which a cache is spread: by head, or by position."""
        return np.where(self.by_position, self.tensor, np.minimum(self.tensor, cache.shards))


def _expert_loads(
    model: Transformer, tokens: FloatArray, ranks: FloatArray, skew: float
) -> tuple[FloatArray, ...]:
    """Pairs and distinct experts of the most loaded rank, then of the mean rank; shape of ``tokens``."""
    if not model.experts:
        return (np.zeros(len(tokens)),) * 4
    k, out = (model.experts, model.experts_per_token), np.empty((4, len(tokens)))
    for n in np.unique(ranks):
        own = ranks == n
        out[:2, own] = experts.peak_load(*k, tokens[own], int(n), skew)
        out[2:, own] = experts.mean_load(*k, tokens[own], int(n), skew)
    return tuple(out)


def lower_step(
    load: ModelLoad, plans: Plans, catalog: Catalog, scenario: Scenario, software: SoftwareStack
) -> StepWork:
    """Lower one workload under its p plans, as a software stack serves it."""
    model, mix, numbers = transformer(catalog.llm(load.llm)), scenario.mix, scenario.numbers
    skew = numbers.get("routing_skew", catalog.value("software", scenario.software, "routing_skew"))
    longest = scenario.longest_request
    asked = _asked(model, load, plans, mix, longest=longest, ttft_input=scenario.ttft_input, skew=skew)
    rows = asked.rows.copy()
    for name, column in _streams(load, software, asked.flop, asked.weights).items():
        rows[name] = column
    rows.streamed_cache = (rows.kv_live + rows.kv_prefix) / software.attention
    return StepWork(
        model=model,
        load=load,
        plans=plans,
        rows=rows,
        prompts=asked.prompts.copy(),
        workload=_workload(model, load, scenario, software),
    )


@dataclass(frozen=True)
class _Asked:
    """What plans ask whatever software serves them; kept, so not to be written to."""

    rows: Any
    """(p,) ``PlanRow``, zero where it takes a stack's efficiencies"""
    prompts: Any
    flop: FloatArray
    """(ops, p)"""
    weights: FloatArray
    """(ops, p) bytes read"""

    def __post_init__(self) -> None:
        for kept in (self.rows, self.prompts, self.flop, self.weights):
            kept.flags.writeable = False


@lru_cache(maxsize=64)
def _asked(
    model: Transformer,
    load: ModelLoad,
    plans: Plans,
    mix: RequestMix,
    longest: float,
    ttft_input: float,
    skew: float,
) -> _Asked:
    """Lower a workload under p plans; kept from scenario to scenario that differ in catalogue numbers."""
    r = _Ranks.of(plans)
    resident = plans.batch / r.replicas  # sequences an attention rank holds
    tokens = plans.at_once / r.replicas  # those it sees at once
    rows, every = tokens * load.positions, plans.at_once * load.positions
    pairs, distinct, mean_pairs, mean_distinct = _expert_loads(model, every, r.expert_parallel, skew)
    mean_flop, mean_weights = np.ones((len(OPERATORS), len(plans))), np.ones((len(OPERATORS), len(plans)))
    if model.experts:
        mean_flop[EXPERTS], mean_weights[EXPERTS] = mean_pairs / pairs, mean_distinct / distinct
    context = mix.context
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
    weights = drafting * _streamed(model, load, r, distinct, zero)
    even = weights * mean_weights
    crossing = ACTIVATION_BYTES * np.stack(
        [
            rows * 2.0 * model.layers * model.hidden * np.ones(len(plans)),
            rows * model.crossing_width / r.tensor,
            rows * 2.0 * model.layers * model.hidden,
            pairs * 2.0 * model.moe_layers * model.hidden,
            every * (model.hidden + model.vocab / r.group),
        ]
    )
    arriving = resident * load.tokens_per_step / mix.output_tokens * (mix.computed_tokens > 0)
    held, places = _resident(model, load, r), _places(model, load, r, every, context, skew)
    cache = _cache(model, load, mix, longest, r, resident=resident, tokens=tokens, arriving=arriving)
    columns = {
        "group": plans.group,
        "inverse_group": 1.0 / plans.group,
        "batch": plans.batch,
        "inverse_batch": 1.0 / plans.batch,
        "attention_dp": plans.attention_dp,
        "expert_parallel": plans.expert_parallel,
        "group_index": plans.group_index,
        "tensor_index": plans.tensor_index,
        "plan_shape": plans.plan_shape,
        "fill_fast_tier": plans.fill_fast_tier,
        "sub_batch_interleaving": plans.sub_batch_interleaving,
        "stages": plans.stages,
        "flop": flop.T,
        "weights": weights.T,
        "mean_flop": mean_flop.T,
        "mean_weights": mean_weights.T,
        "joule_flop": per_precision(_columns(load), flop * mean_flop),
        "joule_dense": even.sum(axis=0) - even[EXPERTS],
        "joule_experts": even[EXPERTS],
        **dict.fromkeys(("streamed_dense", "streamed_experts", "streamed_cache", "computed"), 0.0),
        "crossing": crossing.T,
        "kv_pieces": tokens * np.maximum(model.kv_heads / r.tensor, 1.0),
        "activations": 2.0 * rows * model.hidden * ACTIVATION_BYTES,
        "reduce_bytes": rows * model.hidden * ACTIVATION_BYTES,
        "reduces": _reduces(model, plans, r.tensor > 1),
        "exchange_bytes": _exchanged(model, load, r, rows, pairs, mean_pairs),
        "exchanges": np.where(plans.data_parallel, 2.0 * model.moe_layers, 0.0),
        "stage_bytes": rows * model.hidden * ACTIVATION_BYTES,
        "per_rank": resident,
        "inverse_prompts": 1.0 / r.replicas,
        "arriving": arriving,
        "resident": held,
        "inverse_dense": 1.0 / (held - places["resident_experts"]),
        **cache,
        **places,
    }
    mean = _prefill(model, load, plans, mix.computed_tokens, mix.prefill_pairs, skew)
    first = _prefill(model, load, plans, ttft_input, ttft_input**2 / 2, skew)
    return _Asked(
        rows=filled(PlanRow, len(plans), columns),
        prompts=np.concatenate([mean, first]).view(np.recarray),
        flop=flop,
        weights=weights,
    )


def _streams(
    load: ModelLoad, software: SoftwareStack, flop: FloatArray, weights: FloatArray
) -> dict[str, FloatArray]:
    """Weight bytes and FLOP of all operators (ops, p) over the efficiencies that the stack reaches."""
    row = filled(WorkloadRow, 1, dict.fromkeys(dtype_of(WorkloadRow).names or (), 0.0) | software.columns())[
        0
    ]
    row.bits, row.emulated = _columns(load), _emulated(load)
    read = np.stack([weights[i] * inverse_efficiency(row, i) for i in range(len(OPERATORS))])
    done = np.stack([flop[i] / flop_efficiency(row, i) for i in range(len(OPERATORS))])
    return {
        "streamed_dense": read.sum(axis=0) - read[EXPERTS],
        "streamed_experts": read[EXPERTS],
        "computed": per_precision(_columns(load), done),
    }


def _emulated(load: ModelLoad) -> list[float]:
    """1 for operators whose weights are narrower than the arithmetic and are widened on the way."""
    return [float(op != "attention" and load.stored(op) < load.computed(op) == WIDEST) for op in OPERATORS]


def _workload(model: Transformer, load: ModelLoad, scenario: Scenario, software: SoftwareStack) -> Any:
    """The row of what no plan changes."""
    columns = {
        "layers": float(model.layers),
        "moe_layers": float(model.moe_layers),
        "launches": model.launches,
        "hidden": float(model.hidden),
        "tokens_per_step": load.tokens_per_step,
        "output_tokens": scenario.mix.output_tokens,
        "prompt_charged": 1.0 if scenario.mix.computed_tokens > 0 else 0.0,
        "popularity_life": scenario.numbers.get("popularity_life", NEVER_CHANGES),
        "shared_share": model.shared / max(model.ffn, 1.0),
        "concurrency": load.concurrency,
        "bits": _columns(load),
        "emulated": _emulated(load),
    }
    return filled(WorkloadRow, 1, columns | software.columns())


def _columns(load: ModelLoad) -> list[int]:
    """Column of the machine's peaks that each operator multiplies in."""
    return [COLUMN[load.computed(op)] for op in OPERATORS]


def _cache(
    model: Transformer,
    load: ModelLoad,
    mix: RequestMix,
    longest_request: float,
    r: _Ranks,
    *,
    resident: FloatArray,
    tokens: FloatArray,
    arriving: FloatArray,
) -> dict[str, FloatArray]:
    """KV bytes read, held and written by ``resident`` sequences of a rank, ``tokens`` of which pass at
    once.
    """
    context, bits = mix.context, load.kv_bits
    p95 = memory.resident_p95(context, mix.deviation, mix.longest, resident, P95) / max(context, 1.0)
    inputs = mix.mean([c.input_tokens for c in mix.classes])
    out = dict.fromkeys(
        ("read", "kv_prefix", "prefix_held", "kv_written", "held", "longest", "prefix_written", "prompt_kv"),
        np.zeros(len(resident)),
    )
    for cache in model.caches:
        spread = r.over(cache)
        kept = 0.0 if cache.window else cache.growth(bits)
        # a sparse attention selects anew for each token: it does not read a prefix once for all
        shared = 0.0 if cache.topk else kept * mix.prefix_context
        several = cache.read_elements / max(cache.held_elements, 1.0)  # layers that read one cache
        written = resident * load.tokens_per_step * cache.growth(bits)
        if mix.output_tokens >= 1.0:
            written = written + arriving * cache.held_bytes(mix.computed_tokens, bits)
        held = p95 * cache.held_bytes(context, bits) + resident * cache.state_bytes
        for name, value in (
            ("read", tokens * (cache.read_bytes(context, bits) + cache.state_traffic)),
            ("kv_prefix", tokens * shared * several),
            ("prefix_held", resident * shared),
            ("kv_written", written),
            ("held", held),
            ("longest", cache.held_bytes(longest_request, bits)),
            ("prefix_written", kept * mix.prefix_written),
            ("prompt_kv", cache.held_bytes(inputs, bits)),
        ):
            out[name] = out[name] + value / spread
    return {
        "kv_live": np.maximum(out.pop("read") - out["kv_prefix"], 0.0),
        "live_p95": np.maximum(out.pop("held") - out["prefix_held"], 0.0),
        **out,
    }


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
    entry = _growth(model, load, r) / layers
    run = entry * (1.0 if model.sparse else max(context, 1.0))
    out = {
        "kv_run": np.maximum(run, 1.0),
        "resident_experts": np.zeros(p),
        "expert_slice": np.ones(p),
        "experts_held": np.ones(p),
        "experts_read": np.ones(p),
        "popular": np.tile(np.linspace(0.0, 1.0, KNOTS + 1), (p, 1)),
    }
    if not model.experts:
        return out
    k = (model.experts, model.experts_per_token)
    ranks = r.expert_parallel
    held = model.experts / np.minimum(ranks, model.experts)
    mean, curves = np.empty(p), np.empty((p, KNOTS + 1))
    for n in np.unique(ranks):
        own = ranks == n
        mean[own] = experts.mean_load(*k, tokens[own], int(n), skew)[1]
        curves[own] = experts.hot_reads(*k, tokens[own], int(n), skew, KNOTS)
    stored = load.stored("experts") / 8
    return out | {
        "popular": curves,
        "resident_experts": held / r.slices * model.expert * stored,
        "expert_slice": model.expert / model.moe_layers / r.slices * stored,
        "experts_held": held,
        "experts_read": np.minimum(mean / held, 1.0),
    }


def _growth(model: Transformer, load: ModelLoad, r: _Ranks) -> FloatArray:
    """KV bytes that a token leaves behind on a rank."""
    total = np.zeros(len(r.group))
    for cache in model.caches:
        total = total + cache.growth(load.kv_bits) / r.over(cache)
    return total


def _resident(model: Transformer, load: ModelLoad, r: _Ranks) -> FloatArray:
    """Weight bytes a rank holds, embedding included; more ranks than experts hold copies."""
    dealt = model.experts / np.minimum(r.expert_parallel, max(model.experts, 1)) / r.slices
    ends = model.head + (0.0 if model.tied else model.embedding) + model.gathered
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


def _shape_plans(plans: Plans) -> IntArray:
    """Index of the first plan of each shape."""
    return np.array(
        [int(np.argmax(plans.plan_shape == s)) for s in range(int(plans.plan_shape.max()) + 1)],
        dtype=np.int64,
    )


def _prefill(
    model: Transformer, load: ModelLoad, plans: Plans, tokens: float, pairs: float, skew: float
) -> Any:
    """Work of prompts of ``tokens`` new tokens with ``pairs`` query-key pairs, per shape.

    Each attention replica prefills a prompt of its own.
    """
    r = _Ranks.of(plans, _shape_plans(plans))
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
    columns = {
        "tokens": tokens,
        "flop": flop.T,
        "weights": weights.T,
        "kv": tokens * _growth(model, load, r),
        "reduce_bytes": np.where(r.tensor > 1, tokens * model.hidden * ACTIVATION_BYTES, 0.0),
        "exchange_bytes": _exchanged(model, load, r, tokens * np.ones(len(every)), loads[0], loads[2]),
        "joule_flop": per_precision(_columns(load), joule_flop),
        "joule_weights": weights.sum(axis=0) - weights[EXPERTS],
        "joule_experts": routed,
    }
    return filled(PromptRow, len(every), columns)
