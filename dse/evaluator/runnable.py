"""Why a plan cannot run at all, and what works that is nearest to it."""

from __future__ import annotations

from dataclasses import replace

from dse.catalog.llm import LlmEntry
from dse.catalog.transformer import Transformer
from dse.core.axes import GROUPS
from dse.core.text import counted
from dse.core.units import show
from dse.evaluator.fitting import LONGEST, Fitting
from dse.evaluator.request import PlanRequest

ROUNDING = 1e-6
"""tokens by which a sum of lengths may miss a whole number"""


def obstacle(fitting: Fitting, plan: PlanRequest, entry: LlmEntry, *, one_user: bool = False) -> str:
    """Why a plan cannot run, with the nearest that can; empty where it runs.

    A context beyond the model's, heads that ranks do not divide, or bytes that do not fit the packages asked
    for.
    """
    model = fitting.model
    fault = model.tensor_fault(plan.tensor_ranks)
    if fault:
        works = max(g for g in GROUPS if g <= plan.tensor_ranks and not model.tensor_fault(g))
        return (
            f"{entry.name}: {fault}; engines (vLLM, SGLang, TensorRT-LLM) deal whole heads and refuse this; "
            f"nearest: tp {works}, with dp or pp for more packages"
        )
    scenario, stated = fitting.scenario, entry.shape["max_context"]
    longest = scenario.longest_request
    if stated and longest - stated > ROUNDING:
        whose = (
            "the space's longest request has" if "longest_request" in scenario.numbers else "asked for were"
        )
        return (
            f"{entry.name} takes contexts of up to {stated:,} tokens, {whose} {longest:,.0f}; nearest: "
            f"{stated:,} tokens of input and output together, or --context {stated}"
        )
    if plan.pipeline > model.layers:
        return f"{entry.name} has {model.layers:g} layers, {plan.pipeline} stages were asked for"
    if fitting.fits(plan):
        return ""
    return _too_large(fitting, plan, entry, GROUPS[-1] if not one_user else 1)


def copied(model: Transformer, plan: PlanRequest, name: str) -> list[str]:
    """What engines hold several times where ranks are more than key-value heads, in a sentence."""
    few = min(model.key_counts, default=0)
    if not few or plan.by_position or plan.tensor_ranks <= few:
        return []
    kept = "its latent cache" if few == 1 else f"its {few} key-value heads"
    told = (
        f"{name}: tp {plan.tensor_ranks} over {kept}: engines copy the KV cache to every rank that needs it, "
        f"and a group holds it {plan.tensor_ranks // few} times; attention dp or cp holds it once"
    )
    return [told]


def _too_large(fitting: Fitting, plan: PlanRequest, entry: LlmEntry, most: int) -> str:
    """What does not fit, and the nearest that does: fewer requests, shorter ones, more packages."""
    row = fitting.work(plan).rows[0]
    weights, longest = row.resident * plan.group, row.longest * plan.group
    room = float(fitting.machine.fast.capacity[0]) * plan.packages
    lower = float(fitting.machine.flash.capacity[0] + fitting.machine.far.capacity[0]) * plan.packages
    said = (
        f"{entry.name} with {counted(plan.batch, 'request')} in flight does not fit {plan.described()}: "
        f"weights {show(weights, 'B')}, KV cache {show(row.live_p95 * plan.packages, 'B')}, one request of "
        f"{fitting.scenario.longest_request:,.0f} tokens {show(longest, 'B')}, room "
        f"{show(room + lower, 'B')} after the runtime's reserve"
    )
    works = []
    batch = fitting.largest_batch(plan)
    if batch:
        works.append(f"a batch of {batch}")
    if fitting.scenario.mix.decode_only and batch < plan.batch:
        context = fitting.longest_context(plan, entry.shape["max_context"] or LONGEST)
        if context:
            works.append(f"a context of {context:,} tokens")
    more = fitting.fewest_packages(plan, most)
    if more is not None:
        works.append(more.described())
    elif not batch:
        least = fitting.fewest_packages(
            replace(plan, batch=1, pipeline=1, data_parallel=1, attention="tp"), most
        )
        if least is not None:
            works.append(f"{least.described()} with a batch of {fitting.largest_batch(least)}")
    return f"{said}; nearest that works: {', or '.join(works) if works else 'nothing on this machine'}"
