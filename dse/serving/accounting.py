"""What the demand takes of a (design, plan) pair: packages, seconds, joules and dollars per output token.

Equal accounting happens here: prefill is charged (on the same machine, on a rate-matched pool of the same
design, whichever is cheaper, or before decoding where one user has the machine to himself), demand is finite
and domains are bought whole, idle time costs static power and capital, flash must live, TTFT must hold.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dse.core.compilation import compilable
from dse.core.rounding import ceiling
from dse.physics import flash
from dse.serving.placement import LARGE, Fit, Placement
from dse.serving.records import MachineRow, PlanRow, ScratchRow, SiteRow, WorkloadRow
from dse.serving.serve import Pair, Step

MOST_BROKEN: Final = 10.0
"""largest share of capital that stands for failures which is told apart"""


class Fleet(NamedTuple):
    """Packages that the demand for decoding takes, whole domains."""

    packages: float
    per_domain: float
    """replicas that a domain holds"""
    increment: float
    """packages bought at a time"""
    spare_overhead: float
    """capital beside that which works, over it"""


class Mode(NamedTuple):
    """A pair with its prompts computed one way."""

    tpot: float
    packages: float
    """for the demand"""
    busy: float
    """package-seconds that an output token keeps busy, prompts included"""
    energy: float
    """J per output token at the wall, or from the battery"""
    ttft: float
    cost: float
    """USD per output token"""


class Checks(NamedTuple):
    """Value over limit of the checks on a pair but TPOT and TTFT."""

    capacity: float
    longest_request: float
    demand: float
    cold_start: float
    flash_life: float
    flash_program: float
    excess: float
    """product of what breaks limits over them, 1 where nothing does: orders plans as the sum of logs does"""


@compilable
def spare_overhead(machine: MachineRow, unit: float) -> float:
    """Capital beside that which works, over it: of replicas of ``unit`` packages that wait, or of spares.

    Whichever is less: a broken package holds up its replica until it is repaired, or spares are kept in the
    domain and the replica waits until one has taken the place.
    """
    stops = unit * machine.failure_rate
    waiting = min(stops * machine.repair_time, stops * machine.recovery_time + machine.spare_share)
    return min(waiting, MOST_BROKEN)


@compilable
def fleet_of(machine: MachineRow, work: WorkloadRow, plan: PlanRow, fitted: Fit) -> Fleet:
    """Packages for the demand: replicas in whole domains."""
    unit = min(plan.group * fitted.depth, LARGE)
    per_domain = max(machine.domain * plan.inverse_group * fitted.share, 1.0)
    increment = max(machine.domain, unit)
    replicas = ceiling(max(work.concurrency * plan.inverse_batch * fitted.share, 1e-9) - 1e-9)
    return Fleet(
        packages=ceiling(replicas / per_domain - 1e-9) * increment,
        per_domain=per_domain,
        increment=increment,
        spare_overhead=spare_overhead(machine, unit),
    )


@compilable
def pool_of(
    work: WorkloadRow, scratch: ScratchRow, fleet: Fleet, fitted: Fit, step: float, prompt: float
) -> float:
    """Packages of a pool that computes prompts as fast as steps of ``step`` [s] finish requests.

    ``prompt`` [s] is that of a group on one prompt.
    """
    rate = work.concurrency * work.tokens_per_step * scratch.inverse_output / step
    return ceiling(rate * prompt * fitted.share / fleet.per_domain - 1e-9) * fleet.increment


@compilable
def dynamic_energy(
    work: WorkloadRow, plan: PlanRow, scratch: ScratchRow, step: float, prompt: float
) -> float:
    """J per output token inside packages that work moves, from joules of a step and of a prompt per rank."""
    token = plan.group * step * plan.inverse_batch * scratch.inverse_tokens
    per_prompt = work.prompt_charged * plan.group * plan.inverse_prompts
    return token + per_prompt * prompt * scratch.inverse_output


@compilable
def priced(
    machine: MachineRow,
    site: SiteRow,
    fleet: Fleet,
    tpot: float,
    packages: float,
    busy: float,
    dynamic: float,
    standing: float,
    ttft: float,
) -> Mode:
    """Energy at the wall and cost of a mode.

    ``dynamic`` [J per token] is what work moves, ``standing`` [W] what flash and resident weights take of
    busy time; static, link and host power are paid while they stand.
    """
    present = busy * site.standing
    inside = dynamic + standing * busy + machine.static_power * present
    energy = site.pue * (inside * machine.conversion_loss + machine.outside_power * present)
    rate = (1.0 + fleet.spare_overhead) * (machine.capital_rate * site.inverse_duty)
    return Mode(
        tpot=tpot,
        packages=packages,
        busy=busy,
        energy=energy,
        ttft=ttft,
        cost=busy * rate + energy * site.electricity_price,
    )


@compilable
def worth(site: SiteRow, mode: Mode) -> float:
    """What plans are compared by: USD per token, or J where one user owns the machine, whatever the plan."""
    return mode.energy if site.one_user > 0 else mode.cost


@compilable
def shared_mode(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    site: SiteRow,
    fleet: Fleet,
    pair: Pair,
    standing: float,
    scratch: ScratchRow,
) -> Mode:
    """Prompts on the machine that decodes: joining its steps, or before decoding where one user waits.

    A scenario's requests arrive out of step, so decoding sequences meet all the time of the prompts that
    join them; a benchmark's lockstep, in which some of it is met while waiting, is a matter of its rows.
    """
    step, prompts = pair.step, pair.prompts
    apart, per_user = step.step * scratch.inverse_tokens, fleet.packages * scratch.inverse_concurrency
    energy = dynamic_energy(work, plan, scratch, step.energy, prompts.energy)
    if site.one_user > 0:
        prompt = work.prompt_charged * prompts.alone * plan.inverse_prompts
        busy = per_user * (apart + prompt * scratch.inverse_output)
        return priced(
            machine,
            site,
            fleet,
            tpot=apart,
            packages=fleet.packages,
            busy=busy,
            dynamic=energy,
            standing=standing,
            ttft=prompts.ttft,
        )
    tpot = apart + prompts.interference * scratch.inverse_tokens
    busy, ttft = per_user * tpot, prompts.ttft + step.step
    return priced(
        machine,
        site,
        fleet,
        tpot=tpot,
        packages=fleet.packages,
        busy=busy,
        dynamic=energy,
        standing=standing,
        ttft=ttft,
    )


@compilable
def pool_mode(
    machine: MachineRow,
    work: WorkloadRow,
    plan: PlanRow,
    site: SiteRow,
    fleet: Fleet,
    pair: Pair,
    standing: float,
    scratch: ScratchRow,
) -> Mode:
    """Prompts on a pool of their own, rate-matched; their KV cache crosses the network."""
    step, prompts = pair.step, pair.prompts
    tpot = step.step * scratch.inverse_tokens
    prompt = work.prompt_charged * prompts.alone * plan.inverse_prompts
    packages = fleet.packages + pool_of(work, scratch, fleet, pair.fitted, step.step, prompt)
    per_prompt = plan.group * plan.inverse_prompts * work.prompt_charged
    moved = plan.prompt_kv * per_prompt * machine.scale_out_energy
    energy = dynamic_energy(work, plan, scratch, step.energy, prompts.energy)
    energy += moved * scratch.inverse_output
    ttft = prompts.ttft + plan.prompt_kv * machine.scale_out_inverse + step.step
    busy = packages * tpot * scratch.inverse_concurrency
    return priced(
        machine,
        site,
        fleet,
        tpot=tpot,
        packages=packages,
        busy=busy,
        dynamic=energy,
        standing=standing,
        ttft=ttft,
    )


@compilable
def wear(machine: MachineRow, site: SiteRow, placed: Placement, step: Step) -> float:
    """Bytes programmed per second and package: reclaim, retention, updates, KV and prefixes written.

    Reading, and so reclaim, happens for the busy share of the time; retention always.
    """
    if machine.flash_capacity <= 0.0:
        return 0.0
    reclaim = step.flash_read * machine.reclaim_share
    ingested = step.to_flash / step.step
    return (reclaim + ingested) * site.duty + lasting_wear(machine, site, placed)


@compilable
def lasting_wear(machine: MachineRow, site: SiteRow, placed: Placement) -> float:
    """Bytes programmed per second and package whatever is served: retention and model updates."""
    return placed.stored * (machine.retention_refresh_rate + 1.0 / site.weight_update_interval)


@compilable
def flash_ratios(machine: MachineRow, site: SiteRow, written: float) -> tuple[float, float]:
    """Wanted over reached life, and ``written`` [B/s] over what can be programmed; 0 without flash."""
    if machine.flash_capacity <= 0.0:
        return 0.0, 0.0
    lasts = flash.life(1.0, machine.writable_bytes, 1.0, written)
    return site.flash_life_limit / min(lasts, LARGE), written * machine.flash_write_inverse


@compilable
def resident_power(machine: MachineRow, plan: PlanRow, site: SiteRow, share: float) -> float:
    """W of refreshing the weights that stay in fast memory between uses, per second of work that it stands
    for.
    """
    kept = share * plan.resident
    return kept * machine.fast_refresh_power / machine.fast_installed * site.resident_wait


@compilable
def standing_watts(machine: MachineRow, plan: PlanRow, site: SiteRow, pair: Pair, written: float) -> float:
    """W per second of work that flash programming and resident weights take.

    Programming (``written`` B/s) is paid at the rate it happens, busy or not.
    """
    watts = written * machine.program_energy * site.inverse_duty
    if site.resident_wait > 0.0:
        watts += resident_power(machine, plan, site, pair.placed.fast_tier_share)
    return watts


@compilable
def checks_of(
    machine: MachineRow,
    plan: PlanRow,
    site: SiteRow,
    fitted: Fit,
    placed: Placement,
    written: float,
    scratch: ScratchRow,
) -> Checks:
    """Value over limit of every check on a pair but TPOT and TTFT; ``written`` [B/s] is the wear."""
    demand = plan.batch * fitted.depth * scratch.inverse_concurrency
    cold_start = 0.0
    if site.cold_start_limit > 0.0:  # weights are loaded from flash into fast memory
        load = placed.fast_tier_share * plan.resident * machine.flash_inverse
        cold_start = load / site.cold_start_limit
    life, program = flash_ratios(machine, site, written)
    return Checks(
        capacity=fitted.capacity,
        longest_request=fitted.longest_request,
        demand=demand,
        cold_start=cold_start,
        flash_life=life,
        flash_program=program,
        excess=max(fitted.capacity, 1.0)
        * max(fitted.longest_request, 1.0)
        * max(demand, 1.0)
        * max(cold_start, 1.0)
        * max(life, 1.0)
        * max(program, 1.0),
    )
