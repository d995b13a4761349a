"""Why no design of a search met every limit, in words."""

from __future__ import annotations

from typing import Final

import numpy as np

from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.protocol import Outcomes
from dse.space.limits import Limit, excess, limit_sentence
from dse.space.space import Space
from dse.study.judging import judged_again
from dse.study.search import Search

JUDGED_AGAIN: Final = 20_000
"""designs judged again, by our model, to say why nothing is feasible"""

FEW_AGAIN: Final = 200
"""the same by another evaluator, which may take long"""


def why_nothing(job: Search) -> str:
    """Name the limit that kills most and the smallest relaxation that lets one design live.

    The designs nearest to feasible are judged again, for what each breaks.
    """
    codes = np.concatenate([s.archives.codes for s in job.sides])
    violation = np.concatenate([s.archives.violation for s in job.sides])
    most = JUDGED_AGAIN if isinstance(job.evaluator, FirstOrderModel) else FEW_AGAIN
    nearest_first = np.argsort(violation, kind="stable")[:most]
    archive = judged_again(job.space, job.genome, codes[nearest_first], job.evaluator)
    _, outcomes = archive.joined()
    return killers(job.space, outcomes, len(codes))


def _named(space: Space, limit: str) -> str:
    """A limit as the user set it: limits of objectives are judged as one."""
    if limit != Limit.OBJECTIVE:
        return limit
    return " or ".join(o for o in space.objectives if o in space.thresholds) or limit


def killers(space: Space, outcomes: Outcomes, judged: int) -> str:
    """What kills designs of which none is feasible, in words."""
    counts = {name: int((r > 1.0).all(axis=1).sum()) for name, r in outcomes.limit_ratios.items()}
    killer = max(counts, key=lambda k: counts[k])
    total = len(next(iter(outcomes.objectives.values())))
    which = f"{total:,}" if total == judged else f"the {total:,} nearest to feasible"
    if not judged:
        return f"{space.name}: no design was judged before the search ended; give it longer than --timeout"
    broken = sum((r > 1.0).astype(int) for r in outcomes.limit_ratios.values())
    one = f"{_named(space, killer)}, {counts[killer]:,} of {which} ({limit_sentence(killer)})"
    lines = [
        f"{space.name}: none of {judged:,} designs met every limit.",
        f"The limit that kills most: {one}.",
    ]
    alone = [
        (float(r[broken == 1][r[broken == 1] > 1.0].min()), name)
        for name, r in outcomes.limit_ratios.items()
        if ((broken == 1) & (r > 1.0)).any()
    ]
    if alone:
        factor, name = min(alone)
        least = f"{_named(space, name)} {excess(factor)}"
        lines.append(f"Smallest relaxation that lets one design live: {least}.")
    else:
        worst = np.maximum.reduce(list(outcomes.limit_ratios.values()))
        row, rung = np.unravel_index(int(np.argmin(worst)), worst.shape)
        needs = [
            f"{_named(space, n)} {excess(float(r[row, rung]))}"
            for n, r in outcomes.limit_ratios.items()
            if r[row, rung] > 1
        ]
        lines.append("No single limit is enough; the nearest design needs " + " and ".join(needs) + ".")
    return "\n".join(lines)
