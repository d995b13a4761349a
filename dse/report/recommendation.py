"""The recommendation: question, answer in three sentences, chosen designs, levers, assumptions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from dse.core.text import counted
from dse.core.units import Figure, show
from dse.evaluator.figures import FigureName
from dse.evaluator.site import NEVER, BreakEven, together
from dse.report import questions, site
from dse.report.design_tables import chosen_designs
from dse.report.document import Document
from dse.report.facts import Chosen, Facts, shown, token_weights, weighted
from dse.space.objectives import MONEY, OBJECTIVES


def recommendation_json(facts: Facts) -> str:
    """The recommendation as data: SI values, objectives as named in the space."""
    run = facts.run
    chosen = [
        {
            "label": c.label,
            "point": c.index,
            "values": c.values,
            "objectives": dict(zip(run.space.objectives, c.objectives, strict=True)),
            "tpot_target": run.space.tpot_target_at(c.rung),
            "binds": c.binds,
            "why": c.why,
            "rejected": c.rejected,
            "plans": [p.plan for p in c.parts],
            "site": _values(together([p.site for p in c.parts])),
            "figures": [_values(p.figures) for p in c.parts],
            "energy": weighted(c.parts, "energies", token_weights(facts)),
            "cost": weighted(c.parts, "costs", token_weights(facts)),
            "carbon": weighted(c.parts, "carbons", token_weights(facts)),
            "time": weighted(c.parts, "times", token_weights(facts)),
        }
        for c in facts.chosen
    ]
    estimates, total = facts.catalog.estimates()
    content = {
        "space": run.space.name,
        "title": run.space.title,
        "objectives": list(run.space.objectives),
        "chosen": chosen,
        "baselines": facts.baselines,
        "break_even": [
            {"design": c.label, **_even(b)} for c, found in site.break_evens(facts) for b in found
        ],
        "comparisons": [
            [{"what": x.what, "basis": x.basis.value} for x in (y.this, y.other)]
            for y in site.comparisons(facts)
        ],
        "study": _study(facts),
        "front_points": len(run.front),
        "hardware": facts.hardware,
        "survive_1_percent": facts.survivors,
        "catalogue_numbers": total,
        "catalogue_estimates": estimates,
        "command": run.about.get("command", ""),
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _values(figures: Mapping[str, Figure]) -> dict[str, float]:
    """Figures as data: SI values by name."""
    return {name: figure.value for name, figure in figures.items()}


def _study(facts: Facts) -> dict[str, Any]:
    """The study without what is only drawn."""
    worlds = facts.study.get("what_if", [])
    return facts.study | {"what_if": [{k: v for k, v in w.items() if k != "front"} for w in worlds]}


def _even(b: BreakEven) -> dict[str, Any]:
    """A break-even as data; no volume where the own part never pays."""
    return {
        "device": b.device,
        "margin": b.margin,
        "nre": b.nre,
        "packages": None if b.packages == NEVER else b.packages,
        "needed": b.needed,
        "bought": {"amount": b.bought.amount, "basis": b.bought.basis.value},
        "made": {"amount": b.made.amount, "basis": b.made.basis.value},
    }


def document(facts: Facts) -> Document:
    """Write the recommendation's blocks."""
    run = facts.run
    d = Document(f"Recommendation: {run.space.title}")
    d.heading("The question")
    d.text(_question(facts))
    d.heading("The answer")
    for sentence in answer(facts):
        d.text(sentence)
    chosen_designs(d, facts)
    d.heading("What each lever is worth")
    lever_worth(d, facts)
    d.heading("How often each level stands on the front")
    questions.on_the_front(d, facts)
    questions.what_ifs(d, facts)
    questions.side_by_side(d, facts)
    if facts.baselines:
        d.heading("Machines that exist, under the same accounting")
        _baselines(d, facts)
    if facts.ours is None:
        d.text(
            f"The designs were judged by {facts.model.name} {facts.model.version}, which gives no breakdowns."
        )
    else:
        d.heading("Where the money, the energy and the carbon go")
        _breakdown(d, facts)
    site.sections(d, facts)
    d.heading("Assumptions")
    _assumptions(d, facts)
    d.heading("How to reproduce it")
    d.code(str(run.about.get("command", "")))
    d.text(
        f"Seed {run.about.get('seed')}, sampler {run.about.get('sampler')}, catalogue "
        f"{run.about.get('catalogue')}, dse {run.about.get('dse')}."
    )
    return d


def _question(facts: Facts) -> str:
    space = facts.run.space
    loads = ", ".join(
        f"{w.llm} ({100 * w.weight / sum(token_weights(facts)):.0f} % of tokens, {w.weight_bits:g}-bit "
        f"weights, {w.kv_bits:g}-bit KV)"
        for w in space.scenario.workloads
    )
    goals = ", ".join(f"{OBJECTIVES[o].label.lower()} ({OBJECTIVES[o].unit})" for o in space.objectives)
    changed = f" Changed for this run: {', '.join(space.overrides)}." if space.overrides else ""
    return f"{space.title}. Serve {loads}, in {space.scenario.year:.0f}; minimise {goals} together.{changed}"


def answer(facts: Facts) -> list[str]:
    """Three sentences: the design, what decides, how sure."""
    run, first = facts.run, facts.chosen[0]
    numbers = ", ".join(
        f"{OBJECTIVES[o].label.lower()} {shown(o, v)}"
        for o, v in zip(run.space.objectives, first.objectives, strict=True)
    )
    worth = levers_in_a_sentence(facts.study.get("levers", {}))
    best = [b for b in facts.baselines if b["points"] and not b["only"]]
    compare = ""
    if best:
        gains = [
            (
                min(
                    max(p[k] / first.objectives[k] for k in range(len(first.objectives))) for p in b["points"]
                ),
                b["title"],
            )
            for b in best
        ]
        factor, title = min(gains)
        compare = (
            f"; the best machine on the list, {title}, is up to {factor:.2f} times worse in one objective"
        )
    estimates, total = facts.catalog.estimates()
    return [
        (
            f"At the knee of {counted(len(run.front), 'operating point')} on "
            f"{counted(facts.hardware, 'distinct machine')} ({run.about.get('agreement', 'not compared')}): "
            f"{describe(facts, first)}, which gives {numbers}{compare}."
        ),
        worth,
        (
            f"Read it as first-order: {estimates} of the catalogue's {total} numbers are estimates, and "
            "software overheads are those of today's stacks."
            if facts.ours is not None
            else f"Read it as what {facts.model.name} {facts.model.version} says: it judged every design, "
            "and how far to trust it is not known here."
        ),
    ]


def levers_in_a_sentence(levers: Mapping[str, Mapping[str, Any]]) -> str:
    """What the levers are worth: ranked only where their intervals lie apart, in the box of the question and
    in a wider one.
    """
    if not levers:
        return "The space names no levers, or holds them all."
    ranked = sorted(levers.items(), key=lambda kv: low_high(kv[1], "hypervolume")[0])
    if not any(low_high(v, "hypervolume")[1] < NOTHING_LOST for _, v in ranked):
        return (
            "No lever is worth anything: locked off one at a time, the front keeps at least "
            f"{100 * low_high(ranked[0][1], 'hypervolume')[0]:.1f} % of its hypervolume."
        )
    if all(low_high(v, m)[0] >= LITTLE_LOST for _, v in ranked for m in SHARES if m in v):
        each = ", ".join(f"{kept(v)} without {n}" for n, v in ranked)
        return f"No lever is worth more than 1 % of the hypervolume: the front keeps {each}."
    first = ranked[0][1]
    if len(ranked) == 1:
        return f"The one lever that is asked about is {ranked[0][0]}: without it {_without(first)}."
    top = [
        (n, v)
        for n, v in ranked
        if any(m in v and low_high(v, m)[0] <= low_high(first, m)[1] for m in SHARES)  # in either box
    ]
    if len(top) == 1:
        said = f"The lever that matters most is {top[0][0]}: {_without(top[0][1])}"
    else:
        *others, last = (n for n, _ in top)
        names = f"{', '.join(others)} and {last}"
        parts = "; ".join(f"without {n} {_without(v)}" for n, v in top)
        close = low_high(top[1][1], "hypervolume")[0] <= low_high(first, "hypervolume")[1]
        turned = any("wider" in v and low_high(v, "wider")[1] < low_high(first, "wider")[0] for _, v in top)
        wider = "in another order in a wider box" if turned else "not told apart in a wider box"
        how = "not told apart" if close else wider
        said = f"The levers that matter most, {how}, are {names}: {parts}"
    rest = [f"{kept(v)} without {n}" for n, v in ranked if n not in dict(top)]
    return said + (f" (hypervolume kept: {', '.join(rest)})." if rest else ".")


NOTHING_LOST: Final = 0.999
"""share of the hypervolume from which a lever is said to be worth nothing: niches are kept to a thousandth"""


LITTLE_LOST: Final = 0.99
"""share of the hypervolume from which no lever is said to matter most: a front is converged within as much"""


def _without(v: Mapping[str, Any]) -> str:
    """What a front keeps without a lever."""
    if not v["feasible"]:
        return "nothing is feasible"
    if v["mean"] is None:
        return "nothing lies within the box of the question"
    wider = f" ({kept(v, 'wider')} in a wider box)" if "wider" in v else ""
    return (
        f"the front keeps {kept(v)} of its hypervolume{wider} and is {interval(v, 'mean', 1.0, 2)} times "
        "worse in its worst objective on average"
    )


SHARES: Final = ("hypervolume", "wider")
"""measures of a lever that are shares of the hypervolume, in the box of the question and in a wider one"""


def low_high(v: Mapping[str, Any], measure: str) -> tuple[float, float]:
    """Interval of a lever's figure over halves and seeds, within what it can be."""
    low, high = v.get(f"{measure}_range") or (v[measure], v[measure])
    return (max(low, 0.0), min(high, 1.0)) if measure in SHARES else (max(low, 1.0), max(high, 1.0))


def interval(v: Mapping[str, Any], measure: str, scale: float, digits: int) -> str:
    """A figure with its interval, one number where both ends read the same."""
    low, high = (f"{scale * x:.{digits}f}" for x in low_high(v, measure))
    return low if low == high else f"{low} to {high}"


def kept(v: Mapping[str, Any], measure: str = "hypervolume") -> str:
    """Share of the hypervolume kept, with its interval."""
    return f"{interval(v, measure, 100.0, 1)} %" if measure in v else "-"


ALL_IN_DRAM: Final = 0.99
"""share of the weights in DRAM from which none are said to be read from flash"""


def describe(facts: Facts, c: Chosen) -> str:
    """A design in half a line."""
    v = c.values

    def t(k: str) -> str:
        return facts.run.space.variable(k).text(v[k])

    if facts.run.space.target.fleet:
        memory = "SRAM only" if v["fast_memory"] == "none" else str(v["fast_memory"])
        if "stacks" in v:
            memory = f"{v['stacks']} {memory} stacks"
        if "stack_height" in v:
            memory += f" of {counted(float(v['stack_height']), 'die')}"
        parts = [f"{t('compute_area')} of {v['compute_node']} with {memory}"]
        if v["flash"] != "none":
            parts.append(
                f"{v['flash_stacks']} {v['flash']} stacks {str(v['flash_attach']).replace('_', ' ')}"
            )
        if v["pnm"] != "none":
            parts.append(f"PNM {str(v['pnm']).replace('_', ' ')}")
        alone = float(v["domain"]) == 1
        parts.append(
            "each package a domain of its own"
            if alone
            else f"{v['domain']:g} packages in a domain" + (f" ({v['topology']})" if "topology" in v else "")
        )
        return ", ".join(parts)
    return (
        f"{t('npu_area')} NPU in {v['soc_node']}, {t('dram_capacity')} {v['dram']} "
        f"{str(v['dram_mount']).replace('_', ' ')}, "
        f"{counted(float(v['flash_dies']), 'die')} of {v['flash']}, PNM {str(v['pnm']).replace('_', ' ')}, "
        f"weights in {weights_home(c)}"
    )


def weights_home(c: Chosen) -> str:
    """Where a device's weights lie: those that may be streamed from flash may all have room in DRAM."""
    shares = [part.figures[FigureName.FAST_SHARE].value for part in c.parts]
    if c.values["weights_home"] == "flash_streamed" and shares and min(shares) >= ALL_IN_DRAM:
        return "dram, none streamed from flash"
    return str(c.values["weights_home"]).replace("_", " ")


def lever_worth(d: Document, facts: Facts) -> None:
    """What each lever is worth, as tables: the same in the document and on the page."""
    levers = facts.study.get("levers", {})
    lost = dict(sorted(facts.study.get("lost", {}).items()))  # as a reloaded run has them
    if not levers and not lost:
        d.text("Not known of this run: it was searched by an older version, or its space names no levers.")
        return
    goals = facts.run.space.objectives
    box = facts.study["reference_point"]
    worst = ", ".join(f"{OBJECTIVES[o].label.lower()} {shown(o, box['values'][o])}" for o in goals)
    further = [o for o in goals if box.get("wider", box["values"])[o] > box["values"][o]]
    bounds = " and ".join(f"{OBJECTIVES[o].label.lower()} to {shown(o, box['wider'][o])}" for o in further)
    wide = f" The share depends on its box: beside it stands that in a wider box, {bounds}." if bounds else ""
    d.text(
        "The best designs with each lever locked off, against the best of all, as the searches of this "
        f"run found both ({facts.study['designs']:,} designs, {_searches(facts)}). Hypervolume is of "
        f"logarithms inside the box that the question fixes ({box['source']}): {worst}.{wide} The factor is "
        "how much worse the front is in its worst objective, on average and for a typical (median) box of 1 "
        "% of the whole front. Intervals are over the independent searches, widened by twice their drift "
        "over the last doubling of designs: as much is still to come."
    )
    header = [
        "locked",
        "hypervolume kept",
        "drift",
        "in a wider box",
        "mean factor",
        "typical",
        *(f"best {o}" for o in goals),
    ]
    d.table(header, [_worth(facts, f"without {k}", v) for k, v in levers.items()])
    if lost:
        said = (
            "Levels locked on, in the same way:"
            if facts.run.space.target.one_user
            else "Levels that never stand on the front, locked on in the same way:"
        )
        d.text(said)
        d.table(
            [*header, "held by", "most often on this run's own front"],
            [[*_worth(facts, k, v), _held(v), v.get("to", "-")] for k, v in lost.items()],
        )
    _ladder(d, facts)


def _searches(facts: Facts) -> str:
    """How many independent searches a run is of."""
    seeds = facts.study["seeds"]
    compared = any(len(a) and a[-1]["within"] is not None for a in facts.study["agreement"])
    halves = "two independent halves" if compared else "one search, not compared with any other"
    return halves if seeds == 1 else f"{seeds} seeds of {halves} each"


def _ladder(d: Document, facts: Facts) -> None:
    """Least money at each TPOT target, with every lever free and without each."""
    levers = {k: v for k, v in facts.study.get("levers", {}).items() if v.get("ladder")}
    own = facts.study.get("ladder")
    money = next((o for o in facts.run.space.objectives if o in MONEY), None)
    if not own or money is None or not levers:
        return
    d.text(f"{OBJECTIVES[money].label}, the least at each target of time per output token:")
    targets = facts.run.space.tpot_targets
    rows = [["every lever free", *_prices(money, facts.study)]]
    rows += [[f"without {k}", *_prices(money, v)] for k, v in levers.items()]
    d.table(["", *(f"within {show(t, 's')}" for t in targets)], rows)


def _prices(money: str, v: Mapping[str, Any]) -> list[str]:
    """Least money at each target, with its interval."""
    ranges = v.get("ladder_range") or [None] * len(v["ladder"])
    ends = [() if x is None else found or (x,) for x, found in zip(v["ladder"], ranges, strict=True)]
    return [" to ".join(dict.fromkeys(shown(money, max(x, 0.0)) for x in each)) or "-" for each in ends]


def _held(v: dict[str, Any]) -> str:
    """The limits that hold most designs of a front."""
    binds = sorted(v.get("binds", {}).items(), key=lambda x: -float(x[1]))
    return ", ".join(f"{n} {100 * share:.0f} %" for n, share in binds[:2] if share >= HOLDS) or "none"


HOLDS: Final = 0.1
"""share of designs that a limit must hold to be named"""


def _worth(facts: Facts, name: str, v: dict[str, Any]) -> list[str]:
    objectives = facts.run.space.objectives
    if not v["feasible"]:
        return [name, "nothing feasible", "-", "-", "-", "-", *("-" for _ in objectives)]
    drift = v.get("hypervolume_drift") or []
    moved = [f"{round(100 * x, 1) + 0.0:+.1f} %" for x in (drift if isinstance(drift, list) else [drift])]
    inside = v["mean"] is not None
    return [
        name,
        kept(v) if inside else "0 %: outside the box",
        " to ".join(dict.fromkeys(moved)) or "-",
        kept(v, "wider"),
        interval(v, "mean", 1.0, 2) if inside else "-",
        interval(v, "typical", 1.0, 2) if inside else "-",
        *(shown(o, x) for o, x in zip(objectives, v["best"], strict=True)),
    ]


def _baselines(d: Document, facts: Facts) -> None:
    run = facts.run
    rows = []
    for b in facts.baselines:
        name = (
            b["title"]
            + (f" (on {', '.join(b['only'])} alone)" if b["only"] else "")
            + ("" if b["readiness"] == "shipping" else f" [{b['readiness']}]")
        )
        if b["points"]:
            quick, slow = b["points"][0], b["points"][-1]
            for label, p in (
                (("fastest", quick), ("most relaxed", slow)) if quick != slow else (("only", quick),)
            ):
                rows.append(
                    [
                        f"{name}, {label} rung",
                        *(shown(o, x) for o, x in zip(run.space.objectives, p, strict=True)),
                        f"{b['distance']:.2f}",
                    ]
                )
        else:
            rows.append(
                [
                    f"{name}: infeasible, {b['why_not']}",
                    *("-" for _ in run.space.objectives),
                    f"{b['distance']:.2f}",
                ]
            )
    d.table(
        [
            "machine",
            *(OBJECTIVES[o].label for o in run.space.objectives),
            "distance of the nearest point [octaves]",
        ],
        rows,
    )
    counts = (
        "Costs are of the same bill-of-materials model, margin and NRE line as every design's"
        if run.space.target.fleet
        else "What a model adds to a device's bill of materials is counted as for every design"
    )
    d.text(f"{counts}; market prices are not used.")


def _breakdown(d: Document, facts: Facts) -> None:
    units = {"times": "s", "energies": "J", "costs": "USD", "carbons": "kgCO2e"}
    titles = {
        "times": "Time per output token",
        "energies": "Energy per output token",
        "carbons": "Carbon per million output tokens",
        "costs": facts.run.space.target.cost_title,
    }
    for which, unit in units.items():
        sums = [weighted(c.parts, which, token_weights(facts)) for c in facts.chosen]
        names = sorted(
            dict.fromkeys(n for s in sums for n in s), key=lambda n: -max(s.get(n, 0.0) for s in sums)
        )
        rows = [[n, *(show(s[n], unit, 3) if n in s else "-" for s in sums)] for n in names]
        rows.append(["total", *(show(sum(s.values()), unit, 4) for s in sums)])
        d.heading(titles[which], 3)
        d.table(["", *(c.label for c in facts.chosen)], rows)


def _assumptions(d: Document, facts: Facts) -> None:
    space, catalog = facts.run.space, facts.catalog
    grid = catalog.entry("grid", space.scenario.electricity_grid)
    rows = [[k, f"{v:.6g}", space.scenario.sources.get(k, "")] for k, v in space.scenario.numbers.items()]
    if facts.ours is None:
        d.text(
            f"Those of {facts.model.name} {facts.model.version}. The scenario that the space gives it, "
            "whether it reads all of that or not:"
        )
        d.table(["number (SI)", "value", "source"], rows)
        return
    estimates, total = catalog.estimates()
    d.text(
        f"{total} catalogue numbers, {estimates} of them estimates (each with its reason in the "
        "file). The scenario's own:"
    )
    d.table(["number (SI)", "value", "source"], rows)
    rows = []
    for kind, name in _used(facts):
        entry = catalog.entry(kind, name)
        guessed = sum(q.is_estimate for q in entry.values.values())
        rows.append(
            [
                f"{kind}/{name}",
                entry.readiness,
                f"{entry.available.nominal:.0f}",
                f"{guessed} of {len(entry.values)}",
            ]
        )
    d.table(["part of a chosen design", "readiness", "available", "estimates"], rows)
    d.items(
        [
            "Demand is finite: packages of a domain not filled by whole replicas are paid for.",
            "Prefill is charged to every output token; TTFT is a limit.",
            (
                "KV cache written while serving goes to DRAM or SRAM first; what does not fit is "
                "programmed into flash, in time and in wear."
            ),
            (
                "Temperatures are steady: columns of dies under one lid that spreads heat evenly "
                "beyond each of them, one kind of hot-spot."
            ),
            "Unbuilt engines have the efficiencies of today's for the same access pattern.",
            (
                "Electricity is that of "
                f"{grid.title.removeprefix('Electricity: ')} in {grid.available.nominal:.0f}, "
                "whatever the scenario's year; spares stand cold."
            ),
        ]
    )


def _used(facts: Facts) -> list[tuple[str, str]]:
    kinds = {
        "compute_node": "logic",
        "soc_node": "logic",
        "fast_memory": "memory",
        "dram": "memory",
        "flash": "flash",
        "topology": "topology",
        "collective_engine": "collective",
    }
    seen: dict[tuple[str, str], None] = {}
    for c in facts.chosen:
        for variable, kind in kinds.items():
            value = str(c.values.get(variable, "none"))
            value = value.lower() if kind == "logic" else value
            if value in facts.catalog.entries[kind]:
                seen[(kind, value)] = None
    seen[("software", facts.run.space.scenario.software)] = None
    return list(seen)
