"""How a search converged, and how much of an exact front it reached."""

from __future__ import annotations

from typing import Any

import numpy as np

from dse.core.units import FloatArray
from dse.evaluator.protocol import Evaluator
from dse.run.front import Front, Scale, hypervolume, non_dominated
from dse.run.run import Run
from dse.space.design import sample

CHECKPOINTS = 24


def convergence(run: Run, model: Evaluator, seed: int, scale: Scale) -> dict[str, Any]:
    """Hypervolume over designs of the search and of as many random designs."""
    _, outcomes = run.archive.joined()
    random = model.evaluate(sample(run.space, run.own, np.random.default_rng(seed)))
    marks = np.unique(np.linspace(1, run.own, CHECKPOINTS).astype(int))

    def curve(t: Any) -> list[float]:
        feasible = t.feasible
        stack = np.stack([t.objectives[o] for o in run.space.objectives], axis=2)
        out, kept, start = [], np.empty((0, len(run.space.objectives))), 0
        for mark in marks:
            fresh = stack[start:mark][feasible[start:mark]]
            kept = np.concatenate([kept, fresh])
            kept = kept[non_dominated(kept)]
            out.append(hypervolume(kept, scale))
            start = int(mark)
        return out

    return {"designs": marks.tolist(), "search": curve(outcomes), "random": curve(random)}


def hypervolume_ratio(exact: Front, front: Front) -> float:
    """Share of an exact front's hypervolume that another front dominates."""
    scale = Scale.of(exact.points)
    return hypervolume(front.points, scale) / hypervolume(exact.points, scale)


def exact_on(run: Run, exact: Front) -> float:
    """Hypervolume of an exact front on the scale of a run's convergence plot."""
    return hypervolume(exact.points, Scale.of(run.front.points))


def ablation_loss(points: FloatArray, whole: FloatArray, scale: Scale) -> dict[str, Any]:
    """What a restricted front loses against that of the whole space: hypervolume kept and epsilon factors.

    Every point of the whole front is within ``factor`` of one of the restricted front in its worst
    objective (multiplicative epsilon), half of them within ``typical``.
    """
    if len(points) == 0:
        return {"feasible": False, "hypervolume": 0.0, "factor": None, "best": []}
    ratio = (points[None, :, :] / whole[:, None, :]).max(axis=2).min(axis=1)
    return {
        "feasible": True,
        "hypervolume": hypervolume(points, scale) / max(hypervolume(whole, scale), 1e-12),
        "factor": float(ratio.max()),
        "typical": float(np.median(ratio)),
        "best": [float(x) for x in points.min(axis=0)],
        "points": len(points),
    }
