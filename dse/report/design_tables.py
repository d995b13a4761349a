"""The chosen designs of a recommendation: side by side, why each won, what is one step away."""

from __future__ import annotations

from dse.core.units import show
from dse.evaluator.figures import FigureName
from dse.evaluator.site import SiteFigure, together
from dse.report.choices import CLOSEST, NEAR
from dse.report.document import Document
from dse.report.facts import Chosen, Facts, shown, token_weights, weighted
from dse.space.objectives import OBJECTIVES

DETAILS = {
    "ttft": "time to first token",
    "burst": "time per output token in a burst",
    "burst_power": "power of a burst",
    "burst_duration": "a burst lasts, from rest (at most 10 h)",
    "tokens_per_charge": "tokens per charge, rest of the device included",
    "memory_left": "memory left to applications",
    "cold_start": "cold start from flash",
}
"""what a told detail is called"""


def _fleet_rows(facts: Facts) -> list[list[str]]:
    """Carbon, tokens per power and capital, and plans of the chosen designs."""
    run, rows = facts.run, list[list[str]]()
    rows.append(
        [
            "carbon per million tokens",
            *(
                show(sum(weighted(c.parts, "carbons", token_weights(facts)).values()), "kgCO2e")
                for c in facts.chosen
            ),
        ]
    )
    sites = [together([p.site for p in c.parts]) for c in facts.chosen]
    for what, per in (("MW", SiteFigure.PROVISIONED), ("million USD of capital", SiteFigure.CAPITAL)):
        rows.append(
            [
                f"tokens/s per {what}",
                *(f"{s[SiteFigure.PEAK_RATE].value / s[per].value * 1e6:,.0f}" for s in sites),
            ]
        )
    for i, w in enumerate(run.space.scenario.workloads):
        rows.append([f"plan for {w.llm}", *(_plan(c, i) for c in facts.chosen)])
    flash = [
        next(
            (
                p.figures[FigureName.BREAKEVEN_DISTURB].value
                for p in c.parts
                if FigureName.BREAKEVEN_DISTURB in p.figures
            ),
            None,
        )
        for c in facts.chosen
    ]
    if any(x is not None for x in flash):
        rows.append(
            [
                "break-even read-disturb limit [reads/block]",
                *("-" if x is None else f"{x:.3g}" for x in flash),
            ]
        )
    return rows


def _design_table(d: Document, facts: Facts) -> None:
    """Add the table: objectives, variables, details, and of a fleet carbon, yields and plans."""
    run = facts.run
    header = ["", *(c.label for c in facts.chosen)]
    rows = [
        [OBJECTIVES[o].label, *(shown(o, c.objectives[k]) for c in facts.chosen)]
        for k, o in enumerate(run.space.objectives)
    ]
    for v in run.space.variables:
        rows.append(
            [
                v.name,
                *(v.text(c.values[v.name]) if v.name in c.values else "-" for c in facts.chosen),
            ]
        )
    _, outcomes = run.archive.joined()
    for key, unit in (
        ("ttft", "s"),
        ("burst", "s"),
        ("burst_power", "W"),
        ("burst_duration", "s"),
        ("tokens_per_charge", "token"),
        ("memory_left", "B"),
        ("cold_start", "s"),
    ):
        if key in outcomes.detail:
            rows.append(
                [
                    DETAILS[key],
                    *(show(float(outcomes.detail[key][c.row, c.rung]), unit) for c in facts.chosen),
                ]
            )
    if facts.ours is not None and run.space.target.fleet:
        rows += _fleet_rows(facts)
    d.table(header, rows)


def _plan(c: Chosen, i: int) -> str:
    p = c.parts[i].plan
    return (
        f"group {p['group']} {p['attention']}, batch "
        f"{p['batch']}{' in two sub-batches' if p['sub-batches'] else ''}, pipeline {p['pipeline depth']}"
    )


def chosen_designs(d: Document, facts: Facts) -> None:
    """The chosen designs, why each won and what is one step away."""
    d.heading("The chosen designs")
    _design_table(d, facts)
    if (
        facts.ours is not None
        and facts.run.space.baselines
        and not any(c.label == CLOSEST for c in facts.chosen)
    ):
        d.text(
            "None of the designs to choose from is close to a machine that exists: with memory of its form, "
            f"flash and PNM where it has them, and within {2**NEAR:g} times in peak FLOP/s, memory "
            "bandwidth, memory capacity and links."
        )
    d.heading("Why each won, and what is one step away")
    if any("the model's error" in c.rejected for c in facts.chosen):
        d.text(
            "The model's error is that of its time per output token: half of the range, on a log axis, into "
            "which four in five measurements fell that were not fitted. It stands for cost and energy too, "
            "whose own has not been measured."
        )
    for c in facts.chosen:
        d.heading(c.label.capitalize(), 3)
        d.text(f"Won: {c.why}")
        d.text(f"One step away: {c.rejected}")
