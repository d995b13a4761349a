"""Loops over designs and plans: the only code that compiled kernels enter by."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from dse.core.compilation import compilable
from dse.serving.accounting import (
    Checks,
    Fleet,
    Mode,
    checks_of,
    flash_ratios,
    fleet_of,
    lasting_wear,
    pool_mode,
    shared_mode,
    standing_watts,
    wear,
    worth,
)
from dse.serving.bounds import (
    MARGIN,
    LeastStep,
    least_anywhere,
    least_excess,
    least_of,
    least_operators,
    least_prompts,
    least_prompts_anywhere,
    least_step,
    may_be_chosen,
    prepare_bounds,
    prepare_prompts,
    update_tolerated,
)
from dse.serving.decode import operators, read_ahead, waits_of
from dse.serving.placement import Fit, fit, place
from dse.serving.prefill import PromptTimes, prompt_times
from dse.serving.rates import prepare
from dse.serving.records import MachineRow, PlanRow, PromptRow, ResultRow, ScratchRow, SiteRow, WorkloadRow
from dse.serving.serve import Pair, join_prompts, serve, serve_step

UNKNOWN: Final = -1.0
"""stands for no plan yet"""


@compilable
def write_result(
    machine: MachineRow,
    site: SiteRow,
    judged: Judged,
    disaggregated: float,
    number: int,
    target: float,
    out: ResultRow,
) -> None:
    """Write down the chosen plan of a TPOT target [s]."""
    pair, checks, fleet = judged.pair, judged.checks, judged.fleet
    mode = judged.pool if disaggregated > 0.0 else judged.shared
    embodied = mode.busy * (1.0 + fleet.spare_overhead) * machine.embodied_carbon
    out.plan = float(number)
    out.tpot, out.cost, out.energy = mode.tpot, mode.cost, mode.energy
    out.carbon = embodied / (site.duty * site.lifetime) + mode.energy * machine.electricity_carbon
    out.ttft, out.packages = mode.ttft, mode.packages
    out.stages, out.fast_tier_share = pair.fitted.depth, pair.placed.fast_tier_share
    out.disaggregated, out.busy, out.spare_overhead = disaggregated, mode.busy, fleet.spare_overhead
    out.step, out.unthrottled, out.step_energy = pair.step.step, pair.step.unthrottled, pair.step.energy
    out.prompt, out.flash_read = pair.prompts.alone, pair.step.flash_read
    out.capacity, out.longest_request = checks.capacity, checks.longest_request
    out.demand, out.cold_start = checks.demand, checks.cold_start
    out.flash_life, out.flash_program = checks.flash_life, checks.flash_program
    out.ttft_ratio, out.tpot_ratio = mode.ttft * site.inverse_ttft_limit, mode.tpot / target


@compilable
def keep(site: SiteRow, checks: Checks, shared: Mode, pool: Mode, number: int, scratch: ScratchRow) -> None:
    """Keep a plan for every TPOT target for which it is the best so far.

    The admissible plan of least ``worth``, at the target ``fastest`` of least TPOT, and of equals the first
    in the grid; a pool's TPOT is never above the shared one, and it wins where both cost the same. Where no
    plan is admissible, the one with the least total violation speaks for the design. Kept by (value, plan):
    the order in which plans come does not matter.
    """
    shared_excess = checks.excess * max(shared.ttft * site.inverse_ttft_limit, 1.0)
    pool_excess = checks.excess * max(pool.ttft * site.inverse_ttft_limit, 1.0)
    for i in range(site.targets):
        target = site.tpot_targets[i]
        may_share = shared_excess <= 1.0 and shared.tpot <= target
        may_pool = site.one_user == 0 and pool_excess <= 1.0 and pool.tpot <= target
        if may_share or may_pool:
            pools = may_pool and (not may_share or pool.cost <= shared.cost)
            cost = worth(site, pool) if pools else worth(site, shared)
            if i == site.fastest:
                cost = shared.tpot
            best = scratch.best_worth[i]
            if best < 0.0 or cost < best or (cost == best and number < scratch.best_plan[i]):
                scratch.best_worth[i], scratch.best_plan[i] = cost, float(number)
                scratch.best_pools[i] = 1.0 if pools else 0.0
        elif scratch.best_worth[i] < 0.0:
            late_share = shared_excess * max(shared.tpot * site.inverse_targets[i], 1.0)
            late_pool = pool_excess * max(pool.tpot * site.inverse_targets[i], 1.0)
            pools = site.one_user == 0 and late_pool < late_share
            excess = late_pool if pools else late_share
            least = scratch.least_excess[i]
            if least < 0.0 or excess < least or (excess == least and number < scratch.least_plan[i]):
                scratch.least_excess[i], scratch.least_plan[i] = excess, float(number)
                scratch.least_pools[i] = 1.0 if pools else 0.0


@compilable
def admitted(machine: MachineRow, plan: PlanRow) -> bool:
    """Whether a machine can run a plan: filling fast memory needs memory below, halves need an engine."""
    tiered = machine.flash_capacity + machine.far_capacity > 0.0
    return (tiered or plan.fill_fast_tier == 0) and (machine.pnm_site > 0 or plan.sub_batch_interleaving == 0)


class Judged(NamedTuple):
    """A pair, priced."""

    pair: Pair
    checks: Checks
    fleet: Fleet
    shared: Mode
    pool: Mode
    """the shared one again where one user has the machine to himself"""


@compilable
def price(
    machine: MachineRow,
    work: WorkloadRow,
    site: SiteRow,
    plan: PlanRow,
    fleet: Fleet,
    pair: Pair,
    scratch: ScratchRow,
) -> Judged:
    """Price a pair by either way of computing its prompts, and check it."""
    written = wear(machine, site, pair.placed, pair.step)
    standing = standing_watts(machine, plan, site, pair, written)
    shared = shared_mode(
        machine, work, plan, site=site, fleet=fleet, pair=pair, standing=standing, scratch=scratch
    )
    pool = shared
    if site.one_user == 0:
        pool = pool_mode(
            machine, work, plan, site=site, fleet=fleet, pair=pair, standing=standing, scratch=scratch
        )
    return Judged(
        pair=pair,
        checks=checks_of(
            machine,
            plan,
            site,
            fitted=pair.fitted,
            placed=pair.placed,
            written=written,
            scratch=scratch,
        ),
        fleet=fleet,
        shared=shared,
        pool=pool,
    )


class Candidate(NamedTuple):
    """A pair under judgement: rows, and what is known of it before it is served."""

    machine: MachineRow
    work: WorkloadRow
    site: SiteRow
    plan: PlanRow
    scratch: ScratchRow
    fitted: Fit
    fleet: Fleet
    tokens: float
    """of the mean prompt"""


@compilable
def beaten(c: Candidate, prompts: PromptTimes, excess: float, least: LeastStep) -> bool:
    """Whether a plan cannot be chosen, from lower bounds of its step, of its prompts and of what breaks
    limits over them.
    """
    found = least_of(
        c.machine,
        c.work,
        c.plan,
        site=c.site,
        fitted=c.fitted,
        fleet=c.fleet,
        scratch=c.scratch,
        tokens=c.tokens,
        prompts=prompts,
        excess=excess,
        least=least,
    )
    return not may_be_chosen(c.site, c.scratch, found)


@compilable
def judge_plan(
    m: MachineRow,
    w: WorkloadRow,
    s: SiteRow,
    plan: PlanRow,
    request: PromptRow,
    first: PromptRow,
    k: ScratchRow,
    number: int,
    bounds: bool,
) -> None:
    """Serve a pair, price it and keep it where it is the best so far.

    With ``bounds`` it is left as soon as it cannot be: before its bytes are placed, before its prompts are
    served, before its operators are assigned to engines, and before it is priced.
    """
    fitted = fit(m, plan, k)
    excess = least_excess(plan, fitted, k)
    if bounds and excess * (1.0 - MARGIN) > k.tolerated:
        return
    waits, fleet = waits_of(m, w, plan, fitted.depth, k), fleet_of(m, w, plan, fitted)
    candidate = Candidate(
        machine=m,
        work=w,
        site=s,
        plan=plan,
        scratch=k,
        fitted=fitted,
        fleet=fleet,
        tokens=request.tokens,
    )
    if bounds:
        if k.prompt_prepared[plan.plan_shape] <= 0.0:
            prepare_prompts(m, w, plan, request, first, k)
            k.prompt_prepared[plan.plan_shape] = 1.0
        if m.flash_capacity + m.far_capacity > 0.0:
            least = least_anywhere(m, plan, fitted, waits, k)
            if beaten(candidate, least_prompts_anywhere(plan, k), excess, least):
                return
    placed = place(m, plan, fitted)
    if bounds:
        life, program = flash_ratios(m, s, lasting_wear(m, s, placed))
        excess *= max(life, 1.0) * max(program, 1.0)
        least = least_step(m, plan, placed, waits, k)
        if beaten(candidate, least_prompts(m, plan, placed, k), excess, least):
            return
    times = prompt_times(m, w, plan, request=request, first=first, place=placed, scratch=k)
    able = operators(m, w, plan, placed, k)
    if bounds and able > 0:
        ahead = read_ahead(m, w, placed)
        least = least_operators(m, w, plan, k, waits=waits, chip=placed.chip, buffered=ahead, able=able)
        if beaten(candidate, times, excess, least):
            return
    step, _ = serve_step(m, w, plan, fitted=fitted, placed=placed, waits=waits, scratch=k, able=able)
    if bounds:
        least = LeastStep(time=step.step, energy=step.energy)
        written = wear(m, s, placed, step)
        excess = checks_of(m, plan, s, fitted=fitted, placed=placed, written=written, scratch=k).excess
        if beaten(candidate, times, excess, least):
            return
    prompts = join_prompts(
        m, w, plan, request=request, first=first, fitted=fitted, times=times, slack=step.slack, scratch=k
    )
    pair = Pair(fitted=fitted, placed=placed, step=step, prompts=prompts)
    judged = price(m, w, s, plan=plan, fleet=fleet, pair=pair, scratch=k)
    keep(s, judged.checks, judged.shared, judged.pool, number, k)
    update_tolerated(s, k)


@compilable
def chosen_plan(scratch: ScratchRow, target: int) -> int:
    """The plan that is best for a TPOT target, or the least bad where none is admissible."""
    if scratch.best_worth[target] >= 0.0:
        return int(scratch.best_plan[target])
    return int(scratch.least_plan[target])


@compilable
def judge_whole(
    machine: MachineRow,
    work: WorkloadRow,
    site: SiteRow,
    plan: PlanRow,
    prompts: Any,
    scratch: ScratchRow,
) -> Judged:
    """Serve and price a pair whole."""
    request, first = prompts[plan.plan_shape], prompts[plan.plan_shape + len(prompts) // 2]
    pair, _ = serve(machine, work, plan, request=request, first=first, scratch=scratch)
    fleet = fleet_of(machine, work, plan, pair.fitted)
    return price(machine, work, site, plan=plan, fleet=fleet, pair=pair, scratch=scratch)


def judge(
    machines: Any, work: Any, site: Any, plans: Any, prompts: Any, scratch: Any, bounds: bool, out: Any
) -> None:
    """Judge n designs under a workload's plans: the chosen plan of each TPOT target into ``out`` (n,
    targets).

    ``prompts`` holds the mean prompt of each shape, then the prompt of the TTFT limit; ``scratch`` one row.
    Every plan is visited, and then the chosen ones once more, to be written down.
    """
    w, s, k = work[0], site[0], scratch[0]
    shapes = len(prompts) // 2
    for row in range(len(machines)):
        m = machines[row]
        prepare(m, w, k)
        prepare_bounds(m, k)
        for i in range(s.targets):
            k.best_worth[i] = k.least_excess[i] = UNKNOWN
        update_tolerated(s, k)
        for number in range(len(plans)):
            p = plans[number]
            if admitted(m, p):
                request, first = prompts[p.plan_shape], prompts[p.plan_shape + shapes]
                judge_plan(m, w, s, plan=p, request=request, first=first, k=k, number=number, bounds=bounds)
        number = chosen_plan(k, 0)
        judged = judge_whole(m, w, s, plans[number], prompts, k)
        for i in range(s.targets):
            if chosen_plan(k, i) != number:
                number = chosen_plan(k, i)
                judged = judge_whole(m, w, s, plans[number], prompts, k)
            pools = k.best_pools[i] if k.best_worth[i] >= 0.0 else k.least_pools[i]
            write_result(
                m,
                s,
                judged,
                disaggregated=pools,
                number=number,
                target=s.tpot_targets[i],
                out=out[row, i],
            )


def serve_each(
    machines: Any, works: Any, plans: Any, requests: Any, firsts: Any, scratch: Any, out: Any
) -> None:
    """Serve n pairs, each a machine, a workload and a plan of its own, into ``out`` (n,)."""
    k = scratch[0]
    for row in range(len(machines)):
        prepare(machines[row], works[row], k)
        pair, _ = serve(machines[row], works[row], plans[row], requests[row], firsts[row], k)
        o, step, prompts = out[row], pair.step, pair.prompts
        o.step, o.unthrottled, o.energy = step.step, step.unthrottled, step.energy
        o.stages, o.fast_tier_share = pair.fitted.depth, pair.placed.fast_tier_share
        o.prompt, o.prefill_interference = prompts.alone, prompts.interference
        o.ttft = prompts.ttft
        o.flash_read, o.flash_written, o.stored = step.flash_read, step.to_flash, pair.placed.stored
        o.clock, o.capacity, o.longest_request = step.clock, pair.fitted.capacity, pair.fitted.longest_request
