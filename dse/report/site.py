"""The site, the power and the price of a token in a recommendation; from which volume a part of one's own pays."""

from __future__ import annotations

from typing import Any

import numpy as np

from dse.core.money import Basis, Comparison, Money
from dse.core.units import show
from dse.evaluator.first_order import DatacenterModel
from dse.evaluator.site import NEVER, UNITS, BreakEven, best_on_sale, break_even, not_on_sale, together, within
from dse.report.document import Document
from dse.report.facts import Chosen, Facts, weighted

POWERS = (
    "package power, decode", "package power, prefill", "package power limit", "rack power", "rack power limit", "packages per rack",
    "idle power per package, at the wall", "share of energy spent idle",
)  # fmt: skip


TOKENS = ("USD per million input tokens", "USD per million output tokens, without its prompt")


def sections(d: Document, facts: Facts) -> None:
    """Write what the chosen designs ask of a site, their power beside its limits, and the break-even volumes."""
    model = facts.model
    if not isinstance(model, DatacenterModel):
        return
    labels = [c.label for c in facts.chosen]
    sites = [together([p.site for p in c.parts]) for c in facts.chosen]
    power = model.space.scenario.numbers.get("site_power")
    d.heading("The site")
    rows = [[k, *(show(s[k], UNITS[k]) if UNITS[k] else f"{s[k]:,.0f}" for s in sites)] for k in UNITS]
    if power:
        rows.append([f"output tokens/s within {show(power, 'W')} of provisioned power", *(f"{within([p.site for p in c.parts], power):,.0f}" for c in facts.chosen)])  # fmt: skip
    d.table(["for all the demand of the scenario", *labels], rows)
    d.heading("Power at the operating point, and idle", 3)
    d.text("The most that any workload asks of a package; the share spent idle is over the scenario's utilisation.")
    d.table(["", *labels], [[k, *(_power(k, c) for c in facts.chosen)] for k in POWERS])
    d.heading("Were prompts charged to their own tokens", 3)
    d.text("Above, a request's prompt is charged to its output tokens. Here it is charged to the tokens of the prompt, cached ones included; both ways a request costs the same.")  # fmt: skip
    weights = [w.weight for w in model.space.scenario.workloads]
    rows = [
        [k, *(show(weighted([_figures(p) for p in c.parts], "figures", weights)[k], "USD", 3) for c in facts.chosen)]
        for k in TOKENS
    ]
    d.table(["", *labels], rows)
    d.heading("A part of one's own, or the best on sale")
    _break_even(d, facts)


def _figures(part: Any) -> Any:
    """The part, with the figures that add up by tokens alone."""
    from dataclasses import replace

    return replace(part, figures={k: part.figures[k] for k in TOKENS})


def _power(name: str, c: Chosen) -> str:
    worst = max(p.figures[name] for p in c.parts)
    if name.startswith("share"):
        return f"{100 * worst:.0f} %"
    return f"{worst:.1f}" if name == "packages per rack" else show(worst, "W")


def break_evens(facts: Facts) -> list[tuple[Chosen, list[BreakEven]]]:
    """For each chosen design, made for oneself and bought from a maker at the catalogue's gross margin."""
    model = facts.model
    if facts.even is not None:
        return facts.even
    if not isinstance(model, DatacenterModel):
        return []
    design, _ = facts.run.archive.joined()
    margin = model.catalog.value("economics", "datacenter", "gross_margin")
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
            rows.append([
                c.label, f"{facts.model.catalog.entry('device', b.device).title}, {show(b.bought.amount, 'USD', 3)}", "made for oneself" if b.margin == 0 else f"maker's margin {100 * b.margin:.0f} %",
                show(b.made.amount, "USD", 3), show(b.nre, "USD", 3), "never" if never else f"{b.packages:,.0f}", f"{b.needed:,.0f}",
            ])  # fmt: skip
    d.text(
        "Both sides are costs of ownership per million output tokens at the same operating point, on prices paid: the device at today's list price, "
        "with the host, network, facility and electricity of every design; the own part at its materials, over 1 less its maker's gross margin, and its NRE spread over the volume. "
        "The break-even volume is the number of packages from which that is less than buying; beside it what this demand takes. "
        f"List prices are today's, of {model_year(facts)} none is known; the own part pays that year's memory prices."
    )
    left = not_on_sale(facts.model) if isinstance(facts.model, DatacenterModel) else []
    if left:
        d.text(f"Without a list price of their own, or not for all the models: {', '.join(left)}.")
    d.table(
        [
            "design",
            "best on sale, at list price",
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
        basis = {"cost_per_mtoken": Basis.OWNED, "bom": Basis.MATERIALS}.get(name)
        if basis is None:
            continue
        for c in facts.chosen:
            for b in facts.baselines:
                for p in b["points"]:
                    found.append(
                        Comparison(
                            Money(c.objectives[k], basis, c.label), Money(p[k], Basis(b["basis"][name]), b["title"])
                        )
                    )
    for _, each in break_evens(facts):
        found += [Comparison(b.made, b.bought) for b in each]
    return found
