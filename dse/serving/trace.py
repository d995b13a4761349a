"""One (design, plan) pair served in plain Python: the functions of the search, with every part of what they
find.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dse.core.axes import OPERATORS
from dse.core.records import empty, plain
from dse.serving.accounting import Checks, Fleet, Mode, fleet_of, wear
from dse.serving.kernels import UNKNOWN, keep, price, write_result
from dse.serving.pnm_split import passes
from dse.serving.prefill import Prompt, prompt_alone
from dse.serving.rates import prepare
from dse.serving.records import ResultRow, ScratchRow
from dse.serving.serve import Pair, StepParts, serve
from dse.serving.step_work import StepWork


@dataclass(frozen=True)
class Joules:
    """Energies of a decode step per rank [J]."""

    clocks: float
    arithmetic: float
    """of the host"""
    on_chip: float
    """bytes moved on chip"""
    fast: float
    """the fast memory, engine beside it and doubled refresh included"""
    flash: float
    far: float
    doubled_refresh: float
    pnm_reads: float
    pnm_arithmetic: float


@dataclass(frozen=True)
class Trace:
    """A pair, and what it is made of; rows are plain."""

    machine: Any
    work: Any
    plan: Any
    site: Any
    scratch: Any
    pair: Pair
    parts: StepParts
    prompt: Prompt
    """the mean prompt"""
    fleet: Fleet
    checks: Checks
    shared: Mode
    pool: Mode
    """the shared one again where one user has the machine to himself"""
    written: float
    """B/s programmed into flash per package"""
    result: Any
    """``ResultRow`` for the first TPOT target"""

    @property
    def mode(self) -> Mode:
        """The way of computing prompts that was chosen."""
        return self.pool if self.result.disaggregated > 0 else self.shared

    @property
    def operators(self) -> dict[str, tuple[float, bool]]:
        """Seconds of each operator that the model has, and whether the engine takes a part of it."""
        found = {}
        for i, name in enumerate(OPERATORS):
            near = bool(self.parts.decoded.assigned >> i & 1)
            if self.plan.flop[i] > 0.0:
                found[name] = (self.scratch.pnm_time[i] if near else self.scratch.host[i], near)
        return found

    @property
    def joules(self) -> Joules:
        """Energies of a decode step per rank."""
        runs, charges, clocked = passes(self.plan), self.parts.decoded.charges, self.parts.clocked
        on_engine = [i for i in range(len(OPERATORS)) if self.parts.decoded.assigned >> i & 1]
        return Joules(
            clocks=clocked.clocks,
            arithmetic=clocked.logic - charges.unclocked * runs,
            on_chip=charges.unclocked * runs,
            fast=charges.fast * runs + self.parts.refresh_energy,
            flash=charges.flash * runs,
            far=charges.far * runs,
            doubled_refresh=self.parts.refresh_energy,
            pnm_reads=sum(self.scratch.pnm_reads[i] for i in on_engine) * runs,
            pnm_arithmetic=sum(self.scratch.pnm_arithmetic[i] for i in on_engine) * runs,
        )


def trace(machine: Any, work: StepWork, number: int, site: Any) -> Trace:
    """Serve plan ``number`` of a workload on a machine (a plain row) in plain Python."""
    w, s, plan = plain(work.workload[0]), plain(site[0]), plain(work.rows[number])
    shapes = len(work.prompts) // 2
    request = plain(work.prompts[plan.plan_shape])
    first = plain(work.prompts[plan.plan_shape + shapes])
    scratch = plain(empty(ScratchRow, 1)[0])
    prepare(machine, w, scratch)
    scratch.best_worth = scratch.least_excess = [UNKNOWN] * len(scratch.best_worth)
    pair, parts = serve(machine, w, plan, request=request, first=first, scratch=scratch)
    fleet = fleet_of(machine, w, plan, pair.fitted)
    judged = price(machine, w, s, plan=plan, fleet=fleet, pair=pair, scratch=scratch)
    keep(s, judged.checks, judged.shared, judged.pool, 0, scratch)
    found = scratch.best_worth[0] >= 0.0
    result = plain(empty(ResultRow, 1)[0])
    pools = scratch.best_pools[0] if found else scratch.least_pools[0]
    write_result(machine, s, judged, disaggregated=pools, number=number, target=s.tpot_targets[0], out=result)
    return Trace(
        machine=machine,
        work=w,
        plan=plan,
        site=s,
        scratch=scratch,
        pair=pair,
        parts=parts,
        prompt=prompt_alone(machine, w, plan, request, pair.placed, scratch),
        fleet=fleet,
        checks=judged.checks,
        shared=judged.shared,
        pool=judged.pool,
        written=wear(machine, s, pair.placed, pair.step),
        result=result,
    )
