"""Plans: how a model is spread over packages and batched, enumerated once per workload.

A plan is (group, replicas, batch): ``group`` packages hold one copy of a pipeline stage. Attention
is tensor-parallel over the group, or data-parallel in ``replicas`` (MoE models), each of them
tensor-parallel over what is left. ``expert_parallel`` ranks hold whole experts, sliced over the rest.
``batch`` sequences decode in the group at once. Three dimensions are not enumerated because they
have closed forms: pipeline depth is the least power of two whose stages fit (depth changes neither
step time nor throughput per package, only what a package must hold), the split over tiers is one
of two (finish together, or as much in fast memory as fits), the clock is the best of a few levels,
and prefill either shares the machine or gets a rate-matched pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from dse.catalog.transformer import Transformer
from dse.core.axes import GROUPS
from dse.core.units import BoolArray, FloatArray, IntArray

LARGEST_TENSOR = 64


LARGEST_BATCH = 4096


DEEPEST = 128


NARROWEST_SLICE = 128
"""columns of an expert that a rank must keep: the block of FP8 scaling and of a matrix unit's tile"""


@dataclass(frozen=True, eq=False)
class Plans:
    """Columns of p plans of one workload; not to be written to, equal to itself alone."""

    group: FloatArray
    group_index: IntArray
    """column of the collective tables"""
    attention_dp: FloatArray
    """copies of attention, each of group / replicas tensor-parallel ranks"""
    tensor_index: IntArray
    """column of the collective tables for a replica's tensor-parallel group"""
    expert_parallel: FloatArray
    """ranks over which whole experts are dealt; each expert is sliced over group / expert_parallel"""
    batch: FloatArray
    """sequences that decode in one pass of a group"""
    plan_shape: IntArray
    """which (group, replicas, expert ranks): what prefill depends on"""
    context_parallel: BoolArray
    """sequence-parallel attention: a replica's ranks split the KV cache by position where heads run out"""
    fill_fast_tier: BoolArray
    """with flash: fast memory takes all it can hold (else no more than balances the tiers)"""
    sub_batch_interleaving: BoolArray
    """with PNM: the batch runs as two halves, one on the host while the other is near its data"""
    stages: FloatArray
    """least pipeline depth; deeper where the model does not fit so many"""

    def __post_init__(self) -> None:
        for column in fields(self):
            getattr(self, column.name).flags.writeable = False  # shared by all who ask for the same plans

    def __len__(self) -> int:
        return len(self.group)

    @property
    def data_parallel(self) -> BoolArray:
        """Whether attention is data-parallel."""
        return self.attention_dp > 1

    @property
    def at_once(self) -> FloatArray:
        """Sequences that pass through an operator together: half the batch where halves alternate."""
        return np.where(self.sub_batch_interleaving, self.batch / 2, self.batch)


def plans_of(
    rows: Sequence[tuple[int, int, int, int]],
    shape: Sequence[int],
    fill_fast_tier: BoolArray,
    context_parallel: BoolArray | None = None,
    sub_batch_interleaving: BoolArray | None = None,
    *,
    stages: float = 1.0,
) -> Plans:
    """Plans from rows of (group, replicas, expert ranks, batch).

    Collectives are tabulated for powers of two; another group takes the table's nearest size.
    """
    g, d, e, b = (np.array([float(r[i]) for r in rows]) for i in range(4))

    def columns(ranks: FloatArray) -> IntArray:
        out: IntArray = np.abs(np.log2(np.array(GROUPS) / ranks[:, None])).argmin(axis=1)
        return out

    return Plans(
        group=g,
        group_index=columns(g),
        attention_dp=d,
        tensor_index=columns(np.floor(g / d)),
        expert_parallel=e,
        batch=b,
        plan_shape=np.array(shape, dtype=np.int64),
        fill_fast_tier=fill_fast_tier,
        context_parallel=np.zeros(len(rows), dtype=bool) if context_parallel is None else context_parallel,
        sub_batch_interleaving=np.zeros(len(rows), dtype=bool)
        if sub_batch_interleaving is None
        else sub_batch_interleaving,
        stages=np.full(len(rows), stages),
    )


def sliced_experts(model: Transformer, group: int) -> int:
    """Ranks over which a tensor-parallel group deals experts once each is sliced as thin as may be.

    Slices balance the load exactly, so they beat dealing experts whole while a slice fills a tile.
    """
    slices = 1
    while slices * 2 <= group and model.expert_hidden // (slices * 2) >= NARROWEST_SLICE:
        slices *= 2
    return group // slices


@lru_cache(maxsize=64)
def plan_grid(
    model: Transformer, *, tiers: bool = False, near: bool = False, context_parallel: bool = False
) -> Plans:
    """Enumerate the plans of a model: every shape and batch, then again for what some machines alone can do.

    Dense models: tensor-parallel groups of 1 to 64 that divide the heads, as engines ask. MoE models also
    attention data-parallel groups of 2 to 512 with at least one sequence per rank. With ``context_parallel``
    also tensor-parallel groups of more ranks than KV heads whose cache is split by position. Batches are
    powers of two to 4096.
    With ``tiers`` (memory below the fast one) each stands again overflowing, with ``near`` (PNM)
    again in halves.
    """
    heads = model.kv_heads
    batches = [2**k for k in range(int(np.log2(LARGEST_BATCH)) + 1)]
    tensor = [g for g in GROUPS if g <= LARGEST_TENSOR and not model.tensor_fault(g)]
    shapes = [(g, 1, sliced_experts(model, g) if model.experts else 1) for g in tensor]
    if model.experts:
        shapes += [(g, g, g) for g in GROUPS if g > 1]
    split = [False] * len(shapes)
    if context_parallel:
        longer = [s for s in shapes if s[1] == 1 and s[0] > heads]
        shapes, split = shapes + longer, split + [True] * len(longer)
    once = [(i, b) for i, s in enumerate(shapes) for b in batches if b >= s[1]]
    twice = [(i, b) for i, b in once if b >= 2 * shapes[i][1]]
    chosen = once + (once if tiers else []) + (twice if near else [])
    kind = np.repeat([0, 1, 2], [len(once), len(once) if tiers else 0, len(twice) if near else 0])
    at = [i for i, _ in chosen]
    rows = [(*shapes[i], b) for i, b in chosen]
    return plans_of(rows, at, kind == 1, np.array([split[i] for i in at]), kind == 2)


@lru_cache(maxsize=256)
def single_plan(
    group: int,
    *,
    batch: int,
    data_parallel: bool = False,
    attention_dp: int = 0,
    expert_parallel: int = 0,
    stages: int = 1,
    context_parallel: bool = False,
    either_placement: bool = False,
) -> Plans:
    """One plan, as a person asks for it; experts are dealt whole unless ``expert_parallel`` ranks are named.

    With ``either_placement`` it stands twice: tiers that finish together, then fast memory filled.
    """
    fill = [False, True] if either_placement else [False]
    copies = attention_dp or (group if data_parallel else 1)
    row = (group, copies, expert_parallel or group, batch)
    split = np.full(len(fill), context_parallel)
    return plans_of([row] * len(fill), [0] * len(fill), np.array(fill), split, stages=float(stages))
