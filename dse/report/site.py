"""The site, the power and the price of a token in a recommendation.

From which volume a part of one's own pays.
"""

from __future__ import annotations

import numpy as np

from dse.core.money import Basis, Comparison, Money
from dse.core.units import Figure, show
from dse.evaluator.figures import FigureName
from dse.evaluator.site import (
    NEVER,
    BreakEven,
    SiteFigure,
    best_on_sale,
    break_even,
    not_on_sale,
    together,
    within,
)
from dse.hardware.ownership import economics
from dse.report.document import Document
from dse.report.facts import BASES, Chosen, Facts
from dse.space.objectives import Goal

POWERS = (
    FigureName.DECODE_POWER,
    FigureName.PREFILL_POWER,
    FigureName.POWER_LIMIT,
    FigureName.RACK_POWER,
    FigureName.RACK_POWER_LIMIT,
    FigureName.PACKAGES_PER_RACK,
    FigureName.IDLE_POWER,
    FigureName.IDLE_SHARE,
)

TOKENS = (FigureName.INPUT_TOKENS, FigureName.OUTPUT_TOKENS)


def sections(d: Document, facts: Facts) -> None:
    """Write what the chosen designs ask of a site, their power and its limits, and break-even volumes."""
    if facts.ours is None or not facts.run.space.target.fleet:
        return
    labels = [c.label for c in facts.chosen]
    sites = [together([p.site for p in c.parts]) for c in facts.chosen]
    power = facts.run.space.scenario.numbers.get("site_power")
    d.heading("The site")
    rows = [[k, *(_amount(s[k]) for s in sites)] for k in SiteFigure]
    if power:
        carried = (within([p.site for p in c.parts], power) for c in facts.chosen)
        said = f"output tokens/s within {show(power, 'W')} of provisioned power"
        rows.append([said, *(f"{rate:,.0f}" for rate in carried)])
    d.table(["for all the demand of the scenario", *labels], rows)
    d.heading("Power at the operating point, and idle", 3)
    d.text(
        "The most that any workload asks of a package; the share spent idle is over the scenario's "
        "utilisation."
    )
    d.table(["", *labels], [[k, *(_power(k, c) for c in facts.chosen)] for k in POWERS])
    d.heading("Were prompts charged to their own tokens", 3)
    d.text(
        "Above, a request's prompt is charged to its output tokens. Here it is charged to the "
        "tokens of the prompt, "
        "cached ones included; both ways a request costs the same."
    )
    weights = [w.weight for w in facts.run.space.scenario.workloads]
    rows = [[k, *(show(_mean(c, k, weights), "USD", 3) for c in facts.chosen)] for k in TOKENS]
    d.table(["", *labels], rows)
    d.heading("A part of one's own, or the best on sale")
    _break_even(d, facts)


def _amount(figure: Figure) -> str:
    """A figure of a site; counts without decimals."""
    return f"{figure.value:,.0f}" if figure.unit == "1" else str(figure)


def _mean(c: Chosen, name: FigureName, weights: list[float]) -> float:
    """Token-weighted mean of a figure over the workloads."""
    parts = zip(c.parts, weights, strict=True)
    return sum(part.figures[name].value * w for part, w in parts) / sum(weights)


def _power(name: FigureName, c: Chosen) -> str:
    worst = max(p.figures[name].value for p in c.parts)
    if name is FigureName.IDLE_SHARE:
        return f"{100 * worst:.0f} %"
    return f"{worst:.1f}" if name is FigureName.PACKAGES_PER_RACK else show(worst, "W")


def break_evens(facts: Facts) -> list[tuple[Chosen, list[BreakEven]]]:
    """For each chosen design, made for oneself and bought from a maker at the catalogue's gross margin."""
    model = facts.ours
    if facts.even is not None:
        return facts.even
    if model is None or not facts.run.space.target.fleet:
        return []
    design, _ = facts.run.archive.joined()
    margin = economics(model.catalog, "gross_margin")
    out = []
    for c in facts.chosen:
        with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
            machine = model.machine(design.take(np.array([c.row])))
            other = best_on_sale(model, c.rung)
            found = [break_even(model, machine, c.rung, margin=g, other=other) for g in (0.0, margin)]
        out.append((c, [b for b in found if b is not None]))
    facts.even = out
    return out


def model_year(facts: Facts) -> str:
    """The scenario's year."""
    return f"{facts.run.space.scenario.year:.0f}"


def _break_even(d: Document, facts: Facts) -> None:
    rows = []
    for c, found in break_evens(facts):
        if not found:
            rows.append([c.label, "none serves this point", "-", "-", "-", "-", "-"])
        for b in found:
            never = b.packages == NEVER
            rows.append(
                [
                    c.label,
                    f"{b.bought.what}, {show(b.bought.amount, 'USD', 3)}",
                    "made for oneself" if b.margin == 0 else f"maker's margin {100 * b.margin:.0f} %",
                    show(b.made.amount, "USD", 3),
                    show(b.nre, "USD", 3),
                    "never" if never else f"{b.packages:,.0f}",
                    f"{b.needed:,.0f}",
                ]
            )
    d.text(
        "Both sides are costs of ownership per million output tokens at the same operating point, "
        "on prices paid: the device at today's list price, or where none is known at what its materials are "
        "sold for in others, with the host, network, facility and electricity of every design; the own part "
        "at its materials, over 1 less its maker's gross margin, and its NRE spread over the volume. "
        "The break-even volume is the number of packages from which that is less than buying; "
        "beside it what this demand takes. "
        f"List prices are today's, of {model_year(facts)} none is known; the own part pays that "
        "year's memory prices."
    )
    left = [] if facts.ours is None else not_on_sale(facts.ours)
    if left:
        d.text(f"Left out, as they do not serve all the models: {', '.join(left)}.")
    d.table(
        [
            "design",
            "best that exists at this speed",
            "own part",
            "cost without NRE",
            "NRE",
            "break-even [packages]",
            "this demand [packages]",
        ],
        rows,
    )


def comparisons(facts: Facts) -> list[Comparison]:
    """Every comparison of money that the reports make, each refused unless both sides stand on one basis."""
    found = []
    for k, name in enumerate(facts.run.space.objectives):
        basis = BASES.get(Goal(name))
        if basis is None:
            continue
        for c in facts.chosen:
            for b in facts.baselines:
                for p in b["points"]:
                    found.append(
                        Comparison(
                            Money(c.objectives[k], basis, c.label),
                            Money(p[k], Basis(b["basis"][name]), b["title"]),
                        )
                    )
    for _, each in break_evens(facts):
        found += [Comparison(b.made, b.bought) for b in each]
    return found
