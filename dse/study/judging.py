"""What a batch of designs is found to be: feasible points, and how far the others are from any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from dse.core.compilation import kernel
from dse.core.table import chunks
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.protocol import Evaluator, Outcomes
from dse.run.archive import Archive
from dse.run.batch import Batch
from dse.space.design import Design
from dse.space.genome import Codes, Genome
from dse.space.limits import Limit
from dse.space.objectives import OBJECTIVES, Goal
from dse.space.space import Space

UNSERVED: Final = 100.0
"""added to the violation of a design that breaks a limit of its own and is not served: what else it breaks is
not known, so it stands behind all that are
"""

PART: Final = 256
"""fewest designs of our model that are worth a thread of their own"""


def own_points(objectives: FloatArray, feasible: BoolArray, kept: BoolArray) -> None:
    """Mark in ``kept`` (n, r) the feasible points of each design that no other of its own dominates or
    equals.
    """
    n, r, d = objectives.shape
    for i in range(n):
        for a in range(r):
            kept[i, a] = feasible[i, a]
            if not feasible[i, a]:
                continue
            for b in range(r):
                if b == a or not feasible[i, b]:
                    continue
                no_worse, better = True, False
                for x in range(d):
                    if objectives[i, b, x] > objectives[i, a, x]:
                        no_worse = False
                        break
                    if objectives[i, b, x] < objectives[i, a, x]:
                        better = True
                if no_worse and (better or b < a):
                    kept[i, a] = False
                    break


def excess(ratios: Iterable[FloatArray], shape: tuple[int, ...]) -> FloatArray:
    """Sum of logs of broken limits, (n, r); 0 where all hold."""
    out = np.zeros(shape)
    for ratio in ratios:
        out += np.log(np.maximum(ratio, 1.0))
    return out


class Judge:
    """An evaluator of a space, asked about codes."""

    def __init__(self, evaluator: Evaluator, genome: Genome, space: Space) -> None:
        self.evaluator, self.genome, self.objectives = evaluator, genome, space.objectives
        self.bounded = bool(np.isfinite(space.bounds).any())
        self.others = {
            name: limit
            for name, limit in space.thresholds.items()
            if name in OBJECTIVES and name not in space.objectives and name != Goal.TTFT
        }
        """limits on objectives that are not searched: held like any other"""

    def batch(self, codes: Codes, generation: int, size: int, asked: IntArray | None = None) -> Batch:
        """Judge designs at every operating point.

        With ``asked`` (n,), the operating point that an Optuna sampler wants the values of, all are served;
        without it what breaks a limit of its own, whatever the plan, is not.
        """
        n, goals = len(codes), len(self.objectives)
        design = self.genome.design(codes, self.genome.repair(codes))
        if asked is None and isinstance(self.evaluator, FirstOrderModel):
            rows, outcomes, violation = self._screened(self.evaluator, design)
        else:
            outcomes, rows, violation = self.evaluator.evaluate(design), np.arange(n), np.zeros(n)
        row = tag = np.empty(0, dtype=np.int64)
        points = np.empty((0, goals))
        nearest = np.full((n, goals), np.nan, dtype=np.float32)
        told: dict[str, Any] = {}
        violation[violation > 0] += UNSERVED
        open_violation = violation.copy()
        if len(rows):
            shape = next(iter(outcomes.objectives.values())).shape
            broken = excess(outcomes.limit_ratios.values(), shape)
            held = excess(self._held(outcomes), shape) if self.bounded else broken
            open_violation[rows] = held.min(axis=1)
            violation[rows] = broken.min(axis=1)
            stack = np.ascontiguousarray(np.stack([outcomes.objectives[o] for o in self.objectives], axis=2))
            nearest[rows] = stack[np.arange(len(rows)), np.argmin(broken, axis=1)]
            kept = np.zeros(broken.shape, dtype=np.bool_)
            kernel(own_points)(stack, held == 0, kept)
            row, tag = np.nonzero(kept)
            points = stack[row, tag]
            if asked is not None:
                told = {"objectives": stack[rows, asked], "asked": asked, "excess": broken[rows, asked]}
        return Batch(
            generation=generation,
            size=size,
            codes=codes,
            violation=violation.astype(np.float32),
            points=points,
            rows=rows[row].astype(np.int64),
            tags=tag,
            nearest=nearest,
            open_violation=open_violation.astype(np.float32)[: n if self.bounded else 0],
            **told,
        )

    def _screened(self, model: FirstOrderModel, design: Design) -> tuple[IntArray, Outcomes, FloatArray]:
        """Rows that our model serves, their outcomes, and violation, (n,); a part on each thread."""
        cuts = list(chunks(len(design), max(-(-len(design) // model.threads), PART)))
        parts = list(model.screened(design.take(cut) for cut in cuts))
        rows = np.concatenate([r + cut.start for (r, _, _), cut in zip(parts, cuts, strict=True)])
        return rows, Outcomes.concat([o for _, o, _ in parts]), np.concatenate([v for _, _, v in parts])

    def _held(self, outcomes: Outcomes) -> Iterator[FloatArray]:
        """Limits that hold whatever is searched: all but those on objectives of the search."""
        yield from (r for name, r in outcomes.limit_ratios.items() if name != Limit.OBJECTIVE)
        yield from (outcomes.objectives[n] / x for n, x in self.others.items() if n in outcomes.objectives)


def judged_again(space: Space, genome: Genome, codes: Codes, evaluator: Evaluator) -> Archive:
    """Designs of a front with all that the evaluator says of them."""
    archive = Archive(space)
    codes = codes.copy()
    design = genome.design(codes, genome.repair(codes))
    archive.add(design, evaluator.evaluate(design))
    return archive
