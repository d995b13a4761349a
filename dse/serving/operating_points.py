"""Operating points: per design and TPOT target, each workload's cheapest admissible plan; of a machine of
one user its fastest besides.

Chosen by kernels from pairs that ``accounting`` prices; here the results as columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np

from dse.core.compilation import kernel, workers
from dse.core.errors import SpaceError
from dse.core.records import empty, filled, require_finite
from dse.core.table import Table, chunks, total
from dse.core.units import FloatArray
from dse.serving.kernels import judge
from dse.serving.placement import LARGE
from dse.serving.records import SHAPES, TARGETS, ResultRow, ScratchRow, SiteRow
from dse.serving.step_work import StepWork
from dse.space.limits import Limit
from dse.space.scenario import Scenario

CAP: Final = 1e6
"""largest value over limit that is told apart"""


class PromptMode(StrEnum):
    """Where prompts are computed."""

    SHARED = "shared"
    """on the machine that decodes, joining its steps"""
    POOL = "disaggregated"
    """on a pool of their own, rate-matched"""
    SERIAL = "serial"
    """on the machine of the one user who waits for the answer, before decoding"""


@dataclass(frozen=True)
class Usage:
    """How machines are used and paid for in a scenario."""

    duty: float
    """share of the time that they work: what capital and embodied carbon are spread over"""
    standing: float
    """seconds of static power that are paid per second of work"""
    pue: float
    electricity_price: float
    """USD/J that are part of the cost"""
    one_user: bool
    """prompts run before decoding"""
    resident_wait: float
    """seconds that weights in fast memory are refreshed between uses, per second of work"""

    @classmethod
    def of(cls, scenario: Scenario, *, one_user: bool) -> Usage:
        """A site's machines stand powered all the time.

        A device sleeps between uses, with the weights refreshed.
        """
        if not one_user:
            standing, wait = 1.0 / scenario.duty, 0.0
            return cls(scenario.duty, standing, scenario.pue, scenario.electricity_price, one_user, wait)
        wait = max(scenario.resident_day / scenario.daily_use - 1.0, 0.0)
        return cls(scenario.duty, 1.0, 1.0, 0.0, one_user, wait)


@dataclass(frozen=True)
class Chosen(Table):
    """What the chosen plan of one workload is and does, (n, r) each."""

    plan: FloatArray
    """index into the plans"""
    stages: FloatArray
    """pipeline depth"""
    fast_tier_share: FloatArray
    disaggregated: FloatArray
    """1 where prompts have a pool of their own"""
    busy: FloatArray
    """package-seconds that an output token keeps busy, prompts included"""
    spare_overhead: FloatArray
    step: FloatArray
    unthrottled: FloatArray
    """s of a step that no limit of heat slows"""
    step_energy: FloatArray
    """J of a step per rank, dynamic"""
    prompt: FloatArray
    flash_read: FloatArray


@dataclass(frozen=True)
class Estimate(Table):
    """Operating points of n designs on r TPOT targets, of a workload or the token-weighted sum of several."""

    tpot: FloatArray
    """(n, r) s"""
    cost: FloatArray
    """(n, r) USD per output token, all-in"""
    energy: FloatArray
    """(n, r) J per output token at the wall, or from the battery"""
    carbon: FloatArray
    """(n, r) kgCO2e per output token"""
    ttft: FloatArray
    packages: FloatArray
    """(n, r) packages for the demand, whole domains"""
    capital: FloatArray
    """(n, r) USD of a package and what it brings along, paid once"""
    limit_ratios: dict[Limit, FloatArray]
    """(n, r) value over limit of each check"""
    chosen: tuple[Chosen, ...]
    """of each workload"""


CHECKS: Final = {
    Limit.CAPACITY: "capacity",
    Limit.LONGEST_REQUEST: "longest_request",
    Limit.DEMAND: "demand",
    Limit.COLD_START: "cold_start",
    Limit.FLASH_LIFE: "flash_life",
    Limit.FLASH_PROGRAM: "flash_program",
    Limit.TTFT: "ttft_ratio",
    Limit.TPOT: "tpot_ratio",
}
"""column of a result of each check on a pair"""


def site_row(
    scenario: Scenario,
    usage: Usage,
    thresholds: Mapping[str, float],
    targets: Sequence[float],
    *,
    fastest: bool = False,
) -> Any:
    """The row of how a scenario's machines are used, paid for and limited.

    With ``fastest`` a target follows at which plans are compared by their TPOT and have to meet the last.
    """
    if fastest:
        targets = (*targets, targets[-1])
    if len(targets) > TARGETS:
        raise SpaceError(f"tpot_targets: got {len(targets)}, expected at most {TARGETS}")
    columns = {
        "duty": usage.duty,
        "inverse_duty": 1.0 / usage.duty,
        "standing": usage.standing,
        "pue": usage.pue,
        "electricity_price": usage.electricity_price,
        "one_user": usage.one_user,
        "resident_wait": usage.resident_wait,
        "lifetime": scenario.lifetime,
        "weight_update_interval": scenario.weight_update_interval,
        "inverse_ttft_limit": 1.0 / thresholds.get(Limit.TTFT, LARGE),
        "cold_start_limit": thresholds.get(Limit.COLD_START, 0.0),
        "flash_life_limit": thresholds.get(Limit.FLASH_LIFE, 0.0),
        "targets": len(targets),
        "tpot_targets": [*targets, *(0.0 for _ in range(TARGETS - len(targets)))],
        "inverse_targets": [*(1.0 / t for t in targets), *(0.0 for _ in range(TARGETS - len(targets)))],
        "fastest": len(targets) - 1 if fastest else -1,
    }
    return filled(SiteRow, 1, columns)


def choose(machines: Any, work: StepWork, site: Any, *, bounds: bool = True, threads: int = 1) -> Any:
    """Per design and TPOT target the cheapest admissible plan, or the least bad; (n, targets) ``ResultRow``.

    ``machines`` and ``site`` are rows; ``bounds`` skips plans that cannot be chosen.
    """
    if len(work.prompts) > 2 * SHAPES:
        raise SpaceError(
            f"{work.load.llm}: {len(work.prompts) // 2} shapes of plan, expected at most {SHAPES}"
        )
    out = empty(ResultRow, len(machines), int(site.targets[0]))
    judged = kernel(judge)

    def part(rows: slice) -> None:
        judged(
            machines[rows],
            work.workload,
            site,
            plans=work.rows,
            prompts=work.prompts,
            scratch=empty(ScratchRow, 1),
            bounds=bounds,
            out=out[rows],
        )

    if threads < 2:
        part(slice(None))
    else:  # more parts than threads: some designs take longer than others
        each = -(-len(machines) // (4 * threads)) or 1
        list(workers(threads).map(part, chunks(len(machines), each)))
    require_finite(out, f"{work.load.llm}: chosen plans")
    return out


def columns_of(rows: Any, targets: Sequence[int]) -> dict[str, FloatArray]:
    """Fields of chosen plans (n, targets) at some targets, in the order asked for: (n, r) each, by name."""
    names = rows.dtype.names
    numbers = rows.view(np.ndarray).view(np.float64).reshape(*rows.shape, len(names))
    columns = np.ascontiguousarray(np.moveaxis(numbers, 2, 0))  # first: fewer numbers to move
    return dict(zip(names, np.take(columns, targets, axis=2), strict=True))


def estimate_of(
    columns: Mapping[str, FloatArray], capital: FloatArray, thresholds: Mapping[str, float]
) -> Estimate:
    """Operating points of one workload from fields of chosen plans; ``capital`` [USD] a package."""
    checks = {k: c for k, c in CHECKS.items() if k != Limit.COLD_START or k in thresholds}
    return Estimate(
        **{name: columns[name] for name in ("tpot", "cost", "energy", "carbon", "ttft", "packages")},
        capital=np.broadcast_to(capital[:, None], columns["tpot"].shape),
        limit_ratios={name: columns[column] for name, column in checks.items()},
        chosen=(Chosen(**{f.name: columns[f.name] for f in fields(Chosen)}),),
    )


def weighted(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """Token-weighted sum of the workloads; a check is as bad as its worst workload."""
    shares = [w / sum(weights) for w in weights]

    def mean(field: str) -> FloatArray:
        return total(w * getattr(e, field) for e, w in zip(estimates, shares, strict=True))

    zero = np.zeros_like(estimates[0].tpot)
    ratios: dict[Limit, FloatArray] = {}
    for name in sorted({k for e in estimates for k in e.limit_ratios}):
        worst = zero
        for e in estimates:
            worst = np.maximum(worst, e.limit_ratios.get(name, zero))
        ratios[name] = worst
    return replace(
        estimates[0],
        tpot=mean("tpot"),
        cost=mean("cost"),
        energy=mean("energy"),
        carbon=mean("carbon"),
        ttft=np.maximum.reduce([e.ttft for e in estimates]),
        packages=total(e.packages for e in estimates),
        limit_ratios=ratios,
        chosen=tuple(c for e in estimates for c in e.chosen),
    )
