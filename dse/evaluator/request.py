"""What a person asks of one machine: a workload, its number formats, and a plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np

from dse.catalog.catalog import Catalog
from dse.catalog.formats import CACHE_FORMATS, CLASSES, NATIVE, STORED_BITS, arithmetic_bits
from dse.catalog.llm import LlmEntry
from dse.core.axes import GROUPS
from dse.core.errors import SpaceError, nearest
from dse.core.text import counted
from dse.space.scenario import ModelLoad, RequestClass, RequestMix, mix_of
from dse.space.space import Space

LONGEST_BITS = 32
COMPUTE_BITS = (4, 8, 16)
ATTENTION = ("tp", "dp", "sp")
UNIT_BITS = {"fp4": 4.0, "int4": 4.0, "fp8": 8.0, "int8": 8.0}
"""bits of the arithmetic of what a chip may have beside 16 bit"""
TOKENS = ("context", "input_tokens", "output_tokens")
WEIGHTS = "weights"
"""names the formats of attention, feed-forward layers and experts together"""


@dataclass(frozen=True)
class Request:
    """A workload as a person asks about it; what is left out is the space's own."""

    llm: str | None = None
    software: str | None = None
    weight_bits: float | None = None
    kv_bits: float | None = None
    compute_bits: float | None = None
    context: float | None = None
    """a decode step at this context, prompts not charged"""
    input_tokens: float | None = None
    output_tokens: float | None = None
    prefix_share: float | None = None
    """share of the input found in a prefix cache"""
    draft_tokens: float | None = None
    """tokens drafted per sequence and pass"""
    acceptance: float | None = None
    """probability that a drafted token is accepted if those before it were"""
    formats: Mapping[str, str] = field(default_factory=dict)
    """number format by class (``CLASSES``), or of all ``weights``"""
    published: bool = False
    """formats of the model's checkpoint, also where the space has its own for this model"""


@dataclass(frozen=True)
class PlanRequest:
    """How a model is spread over packages and batched."""

    batch: int = 1
    """requests in flight over all stages"""
    tensor_parallel: int = 1
    attention: str = "tp"
    """``dp``: every rank of the group attends for requests of its own; ``sp``: ranks split the KV cache by
    position
    """
    pipeline: int = 1
    """stages"""
    data_parallel: int = 1
    """copies of attention beside each other, each of ``tensor_parallel`` ranks"""
    expert_parallel: int | None = None
    """ranks over which whole experts are dealt (all of the group where it is left out)"""
    context_parallel: int = 1
    """ranks that split the KV cache by position"""

    @property
    def group(self) -> int:
        """Packages of a stage."""
        return self.tensor_parallel * self.data_parallel

    @property
    def attention_dp(self) -> int:
        """Copies of attention."""
        return self.group if self.attention == "dp" else self.data_parallel

    @property
    def tensor_ranks(self) -> int:
        """Ranks that share the heads of attention."""
        return self.group // self.attention_dp

    @property
    def by_position(self) -> bool:
        """Whether ranks split the KV cache by position."""
        return self.attention == "sp" or self.context_parallel > 1

    @property
    def packages(self) -> int:
        """Packages of a copy of the model."""
        return self.group * self.pipeline

    @property
    def stage_batch(self) -> int:
        """Requests that pass through a stage together."""
        return self.batch // self.pipeline

    def described(self) -> str:
        """In words."""
        parts = [f"tp {self.tensor_ranks}"]
        if self.attention_dp > 1:
            parts.append(f"dp {self.attention_dp}")
        if self.pipeline > 1:
            parts.append(f"pp {self.pipeline}")
        if self.by_position:
            parts.append("KV cache split by position")
        return f"{counted(self.packages, 'package')} ({', '.join(parts)})"


def check(request: Request, plan: PlanRequest) -> None:
    """Refuse numbers that cannot be.

    Raises:
        SpaceError: a count that is no whole number from 1, a request's number that is not above 0, a format
            that is not known, or a plan that contradicts itself.

    """
    for f in fields(plan):
        count = getattr(plan, f.name)
        if f.name == "attention" or (f.name == "expert_parallel" and count is None):
            continue
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise SpaceError(f"{f.name}: got {count!r}, expected a whole number from 1")
    for f in fields(request):
        value = getattr(request, f.name)
        if value is None or f.name in {"llm", "software", "formats", "published"}:
            continue
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        share, tokens = f.name in {"prefix_share", "acceptance"}, f.name in TOKENS
        fits = (
            number
            and np.isfinite(value)
            and (0 <= value <= 1 if share else value >= 1 if tokens else value > 0)
        )
        if not fits:
            wanted = "share from 0 to 1" if share else "number from 1" if tokens else "number above 0"
            raise SpaceError(f"{f.name}: got {value!r}, expected a {wanted}")
    if (request.draft_tokens is None) != (request.acceptance is None):
        raise SpaceError(
            "draft_tokens and acceptance: give both, e.g. 3 and 0.7: what drafts win hangs on how many are "
            "taken"
        )
    if request.context is not None and request.prefix_share is not None:
        raise SpaceError(
            "context: asks about one decode step, whose prompts are not charged; leave out prefix_share"
        )
    _check_formats(request)
    if request.context is not None and (
        request.input_tokens is not None or request.output_tokens is not None
    ):
        raise SpaceError(
            "context: got a context and input or output tokens; a context asks about one decode step whose "
            "prompts are not charged: give one or the other"
        )
    if (request.input_tokens is None) != (request.output_tokens is None):
        missing = "output_tokens" if request.output_tokens is None else "input_tokens"
        raise SpaceError(
            f"{missing}: got nothing, expected a number of tokens: give input and output together"
        )
    _check_plan(plan)


def _check_formats(request: Request) -> None:
    for name, fmt in request.formats.items():
        if name not in {*CLASSES, WEIGHTS}:
            raise SpaceError(f"formats: got {name!r}, expected {nearest(name, [*CLASSES, WEIGHTS])}")
        known = CACHE_FORMATS if name == "kv_cache" else STORED_BITS
        if fmt not in known:
            raise SpaceError(f"formats.{name}: got {fmt!r}, expected {nearest(fmt, known)}")
        bits = "kv_bits" if name == "kv_cache" else "weight_bits"
        if getattr(request, bits) is not None:
            raise SpaceError(
                f"formats.{name}: got {fmt!r} and {bits} {getattr(request, bits):g}, which both say how wide "
                "that is: give one"
            )


def dealt(plan: PlanRequest, experts: int) -> int:
    """Ranks over which a model's experts are dealt: as asked, or all of the group where there are as many.

    Each expert is sliced over what is left of the group.
    """
    if plan.expert_parallel is not None:
        return plan.expert_parallel
    ranks = plan.group
    while 0 < experts < ranks:
        ranks //= 2
    return ranks


def check_model(
    request: Request, plan: PlanRequest, entry: LlmEntry, units: Collection[str] | None, machine: str
) -> None:
    """Refuse what a model or a chip does not have.

    Raises:
        SpaceError: experts of a dense model, or arithmetic that the chip has no ``units`` for (None: it has
            all).

    """
    if not entry.experts:
        if "experts" in request.formats:
            raise SpaceError(
                f"formats.experts: {entry.name} has no experts; its weights are attention, ffn and head"
            )
        if plan.expert_parallel is not None and plan.expert_parallel > 1:
            raise SpaceError(
                f"expert_parallel: got {plan.expert_parallel}, but {entry.name} has no experts; leave it out"
            )
    elif plan.expert_parallel is not None and plan.expert_parallel > entry.experts:
        raise SpaceError(
            f"expert_parallel: got {plan.expert_parallel}, but {entry.name} has {entry.experts} experts: "
            "ranks beyond them would hold none; engines refuse this"
        )
    if units is None or request.compute_bits is None:
        return
    has = sorted({b for u, b in UNIT_BITS.items() if u in units} | {float(COMPUTE_BITS[-1])})
    if request.compute_bits not in has:
        raise SpaceError(
            f"compute_bits: got {request.compute_bits:g}, but {machine} multiplies in "
            f"{' and '.join(f'{b:g}' for b in has)} bit"
        )


def _check_plan(plan: PlanRequest) -> None:
    if plan.attention not in ATTENTION:
        raise SpaceError(f"attention: got {plan.attention!r}, expected one of {', '.join(ATTENTION)}")
    if plan.group not in GROUPS:
        raise SpaceError(
            f"plan: got a group of {plan.group} packages, expected a power of two up to {GROUPS[-1]}: "
            "tensor_parallel times data_parallel"
        )
    if plan.attention == "dp" and plan.data_parallel > 1:
        raise SpaceError("plan: got attention dp and data_parallel, expected one of them")
    if plan.context_parallel not in {1, plan.tensor_ranks}:
        raise SpaceError(
            f"context_parallel: got {plan.context_parallel}, expected 1 or the {plan.tensor_ranks} "
            "tensor-parallel ranks, which split the cache among them"
        )
    experts = plan.expert_parallel
    if experts is not None and plan.group % experts:
        raise SpaceError(f"expert_parallel: got {experts}, expected a divisor of the group of {plan.group}")
    each = plan.pipeline * plan.attention_dp
    if plan.batch % each:
        below, above = plan.batch // each * each, (plan.batch // each + 1) * each
        raise SpaceError(
            f"batch: got {plan.batch}, expected a multiple of {each}: as many requests for each of "
            f"{counted(plan.attention_dp, 'copy', 'copies')} of attention in each of "
            f"{counted(plan.pipeline, 'stage')}; nearest: {f'{below} or ' if below else ''}{above}"
        )


def asked(
    target: Space, catalog: Catalog, request: Request, plan: PlanRequest, units: Collection[str] | None
) -> Space:
    """The space with one workload, as asked, and a demand that fills every domain.

    ``units`` are the number formats that the machine multiplies in beside 16 bit (None: all). The request's
    own prompt is that of the TTFT, its own length the longest.

    Raises:
        SpaceError: numbers of bits that cannot be.
        DataError: an unknown model or software stack.

    """
    space, scenario = target, target.scenario
    own = next((w for w in scenario.workloads if w.llm == request.llm), None)
    load = own or scenario.workloads[0]
    software = request.software or scenario.software
    catalog.entry("software", software)
    entry = catalog.llm(request.llm or load.llm)
    usual = not request.published and (own is not None or request.llm is None)
    made = load if usual and not request.formats else load_of(entry, request.formats, units)
    made = _with_bits(made, request)
    draft = load.draft_tokens if request.draft_tokens is None else request.draft_tokens
    alone = replace(
        made,
        llm=entry.name,
        weight=1.0,
        concurrency=1.0 if space.target.one_user else float(plan.batch * GROUPS[-1]),
        draft_tokens=draft if usual or request.draft_tokens is not None else 0.0,
        acceptance=load.acceptance if request.acceptance is None else request.acceptance,
        block_tokens=load.block_tokens if usual else 0.0,
        tokens_per_pass=load.tokens_per_pass if usual else 0.0,
    )
    mix, numbers = _mix(scenario.mix, request), dict(scenario.numbers)
    if request.context is not None or request.input_tokens is not None or request.output_tokens is not None:
        numbers.pop("longest_request", None)
        if request.context is None:
            numbers["ttft_input"] = mix.classes[0].input_tokens
    scenario = replace(scenario, workloads=(alone,), software=software, mix=mix, numbers=numbers)
    return replace(space, scenario=scenario)


def formats_from(target: Space, request: Request) -> str:
    """Where the formats of a request come from, in words."""
    if request.weight_bits or request.kv_bits or request.compute_bits or request.formats:
        return "as asked"
    own = request.llm is None or any(w.llm == request.llm for w in target.scenario.workloads)
    return "of the model's checkpoint" if request.published or not own else f"of the space {target.name}"


def load_of(entry: LlmEntry, given: Mapping[str, str], units: Collection[str] | None) -> ModelLoad:
    """Bits by class of a model's checkpoint, or as ``given``; multiplied as the chip's ``units`` can."""
    chosen = {name: entry.format_of(name) for name in CLASSES}
    if WEIGHTS in given:
        chosen |= dict.fromkeys(("attention", "ffn", "experts"), given[WEIGHTS])
    chosen |= {k: v for k, v in given.items() if k != WEIGHTS}

    def compute(name: str) -> float:
        fmt = chosen[name]
        return float(NATIVE[fmt] if units is None else arithmetic_bits(units, fmt))

    return ModelLoad(
        llm=entry.name,
        weight=1.0,
        concurrency=1.0,
        weight_bits=STORED_BITS[chosen["ffn"]],
        kv_bits=CACHE_FORMATS[chosen["kv_cache"]],
        compute_bits=compute("ffn"),
        expert_bits=STORED_BITS[chosen["experts"]],
        attention_bits=STORED_BITS[chosen["attention"]],
        head_bits=STORED_BITS[chosen["head"]],
        expert_compute_bits=compute("experts"),
        attention_compute_bits=compute("attention"),
        score_compute_bits=16.0,
        head_compute_bits=compute("head"),
    )


def _with_bits(load: ModelLoad, request: Request) -> ModelLoad:
    """The load with the numbers of bits that were asked for: of all weights, of the cache, of arithmetic."""
    weight_bits, kv_bits = request.weight_bits or load.weight_bits, request.kv_bits or load.kv_bits
    compute_bits = load.compute_bits
    if request.weight_bits is not None:
        load = replace(_computed_alike(load), expert_bits=0.0, attention_bits=0.0, head_bits=0.0)
        wide = weight_bits >= COMPUTE_BITS[-1]
        compute_bits = float(COMPUTE_BITS[-1]) if wide else min(compute_bits, float(COMPUTE_BITS[1]))
    if request.compute_bits is not None:
        compute_bits = request.compute_bits
        load = _computed_alike(load)
    stored = (weight_bits, kv_bits)
    if compute_bits not in COMPUTE_BITS or not all(1 <= bits <= LONGEST_BITS for bits in stored):
        raise SpaceError(
            f"precision: got {weight_bits:g}/{kv_bits:g}/{compute_bits:g} bit, expected 1 to 32, "
            "compute 4, 8 or 16"
        )
    if request.compute_bits is not None and compute_bits < int(weight_bits):
        raise SpaceError(
            f"compute_bits: got {compute_bits:g} for weights of {weight_bits:g} bit, expected at least as "
            "many: weights are multiplied as wide as they lie in memory, or wider; give weight_bits too"
        )
    return replace(load, weight_bits=weight_bits, kv_bits=kv_bits, compute_bits=compute_bits)


def _computed_alike(load: ModelLoad) -> ModelLoad:
    """Every class multiplied in the bits of the weights."""
    return replace(load, expert_compute_bits=0.0, attention_compute_bits=0.0, head_compute_bits=0.0)


def _mix(usual: RequestMix, request: Request) -> RequestMix:
    """Neither a context nor tokens asks about the scenario's own mix."""
    if request.context is not None:
        return mix_of(request.context)
    if request.input_tokens is not None or request.output_tokens is not None:
        share = request.prefix_share or 0.0
        return RequestMix(
            (RequestClass("asked", 1.0, request.input_tokens or 1.0, request.output_tokens or 1.0, share),)
        )
    if request.prefix_share is not None:
        return replace(
            usual, classes=tuple(replace(c, prefix_share=request.prefix_share) for c in usual.classes)
        )
    return usual


def bits_described(load: ModelLoad, *, routed: bool) -> str:
    """Bits of a load by class, in words: weights, cache and arithmetic."""
    stored = {
        "attention": load.stored("projections"),
        "feed-forward": load.stored("ffn"),
        **({"experts": load.stored("experts")} if routed else {}),
        "head": load.stored("head"),
    }
    by_bits: dict[float, list[str]] = {}
    for name, bits in stored.items():
        by_bits.setdefault(bits, []).append(name)
    weights = ", ".join(
        f"{bits:g} bit" if len(by_bits) == 1 else f"{bits:g} bit {' and '.join(names)}"
        for bits, names in by_bits.items()
    )
    operators = {"projections", "ffn", "head", *({"experts"} if routed else ())}
    arithmetic = sorted({load.computed(o) for o in operators})
    shown = " and ".join(f"{b}" for b in arithmetic)
    return f"weights {weights}, KV cache {load.kv_bits:g} bit, multiplied in {shown} bit"
