"""Plans: how a model is spread over packages and batched, enumerated once per workload.

A plan is (group, attention, batch): ``group`` packages hold one copy of a pipeline stage,
either tensor-parallel or (MoE models) attention data-parallel with the experts spread over
the group; ``batch`` sequences decode in it at once. Three dimensions are not enumerated
because they have closed forms: pipeline depth is the least power of two whose stages fit (depth
changes neither step time nor throughput per package, only what a package must hold), the split
over tiers is one of two (finish together, or as much in fast memory as fits), and prefill
either shares the machine or gets a rate-matched pool. Expert parallelism spans the group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.units import BoolArray, FloatArray, IntArray
from dse.workload import Transformer

GROUPS: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Sizes of a group of packages that share a model; columns of the collective tables."""
LARGEST_TENSOR = 64
LARGEST_BATCH = 4096
DEEPEST = 128


@dataclass(frozen=True)
class Plans:
    """Columns of p plans of one workload."""

    group: FloatArray
    group_index: IntArray
    """column of the collective tables"""
    data_parallel: BoolArray
    """attention data-parallel (else tensor-parallel)"""
    batch: FloatArray
    """sequences that decode in one pass of a group"""
    shape: IntArray
    """which (group, attention) pair: what prefill depends on"""
    overflow: BoolArray
    """with flash: fast memory takes all it can hold (else no more than balances the tiers)"""

    def __len__(self) -> int:
        return len(self.group)

    def take(self, rows: BoolArray) -> Plans:
        """Return some plans."""
        return Plans(
            *(getattr(self, f)[rows] for f in ("group", "group_index", "data_parallel", "batch", "shape", "overflow"))
        )


def plan_grid(model: Transformer, *, flash: bool = False) -> Plans:
    """Enumerate the plans of a model; with flash each stands twice, balanced and overflowing.

    Dense models: tensor-parallel groups of 1 to 64. MoE models also attention data-parallel
    groups of 2 to 512 with at least one sequence per rank. Batches are powers of two to 4096.
    """
    batches = [2**k for k in range(int(np.log2(LARGEST_BATCH)) + 1)]
    rows: list[tuple[int, bool, int]] = []
    shapes: list[tuple[int, bool]] = []
    for dp in (False, True):
        for g in GROUPS:
            if dp and (model.experts == 0 or g == 1):
                continue
            if not dp and g > LARGEST_TENSOR:
                continue
            shapes.append((g, dp))
            rows += [(g, dp, b) for b in batches if not dp or b >= g]
    order = {g: i for i, g in enumerate(GROUPS)}
    single = len(rows)
    rows = rows * 2 if flash else rows
    at = {s: i for i, s in enumerate(shapes)}
    return Plans(
        group=np.array([float(g) for g, _, _ in rows]),
        group_index=np.array([order[g] for g, _, _ in rows], dtype=np.int64),
        data_parallel=np.array([dp for _, dp, _ in rows]),
        batch=np.array([float(b) for _, _, b in rows]),
        shape=np.array([at[(g, dp)] for g, dp, _ in rows], dtype=np.int64),
        overflow=np.arange(len(rows)) >= single,
    )


def single_plan(group: int, *, data_parallel: bool, batch: int) -> Plans:
    """One plan, as a person asks for it."""
    index = GROUPS.index(group)
    return Plans(np.array([float(group)]), np.array([index], dtype=np.int64), np.array([data_parallel]),
                 np.array([float(batch)]), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=bool))  # fmt: skip
