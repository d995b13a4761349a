"""Which technologies pay in which device: the same question put to several mobile runs, in one document.

Ma & Patterson (arXiv 2601.05047) review High Bandwidth Flash, processing near memory, stacking and
interconnect for mobile devices too, and leave the verdict open; here each is required in turn and searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from dse.core.errors import RunError
from dse.core.units import show
from dse.report.document import Document
from dse.report.facts import Facts, shown
from dse.report.recommendation import ALL_IN_DRAM, describe, interval, kept, low_high
from dse.space.limits import limit_sentence
from dse.space.objectives import OBJECTIVES

TECHNOLOGIES: Final = (
    ("LPDDR6 in place of LPDDR5X", "dram", "lpddr6"),
    ("DRAM stacked on the SoC", "dram_mount", "3d_on_soc"),
    ("compute in the DRAM banks (LPDDR-PIM)", "pnm", "in_bank"),
    ("compute in the LPDDR package (PNM)", "pnm", "lpddr_package"),
    ("weights streamed from flash", "weights_home", "flash_streamed"),
    ("flash on the LPDDR bus", "flash", "lpddr_bus_flash"),
    ("High Bandwidth Flash", "flash", "hbf_mobile"),
    ("compute on the flash's base die", "pnm", "flash_base_die"),
    ("links of its own to each DRAM package", "on_package_link", "point_to_point"),
)


MOSTLY, SOME = 0.5, 0.05
"""share of a front from which a technology pays, and from which it pays for some"""


LOSES: Final = 1.02
"""typical factor up to which a front that must have a technology is said to keep up"""


COUNTS = 0.1
"""share of designs that a limit must hold to be named, and of an objective's loss"""


DETAILS: Final = (
    ("burst", "time per output token in a burst", "s"),
    ("burst_duration", "burst lasts, from rest", "s"),
    ("tokens_per_charge", "tokens per charge, rest of the device included", "token"),
    ("memory_left", "memory left to applications", "B"),
    ("cold_start", "cold start from flash", "s"),
    ("ttft", "time to first token", "s"),
)


def _pays(facts: Facts, variable: str, level: str) -> str:
    """A technology's verdict.

    How much of the front uses it, and whether a front that must have it keeps up.
    """
    held = _held(facts, variable, level)
    keeps = held is not None and held["typical"] is not None and low_high(held, "typical")[0] <= LOSES
    return verdict(_share(facts, variable, level), keeps=keeps)


def review(runs: Sequence[Facts]) -> Document:
    """Technologies by device: verdict, numbers and what decides.

    Raises:
        RunError: a run is not of a mobile target, or its levers were not studied.

    """
    for f in runs:
        if not f.run.space.target.one_user or not f.study.get("lost"):
            raise RunError(
                f"{f.run.space.name}: expected a mobile run whose levers were studied; make it with "
                "dse explore"
            )
    d = Document("Which technologies pay in a phone, a laptop, glasses and a vehicle")
    d.text(
        f"The four directions of Ma & Patterson, put to {len(runs)} devices under one accounting "
        f"({', '.join(sorted({_year(f) for f in runs}))}, prices of that year). "
        "A technology pays where half of the front's operating points use it and a front that must "
        f"have it is typically less than {100 * (LOSES - 1):.0f} % worse; "
        "for some where one in twenty uses it. Beside it: the typical factor by which a front is "
        "worse where the technology is "
        "required (1.00: no worse), with its interval over independent searches, the objective whose "
        "best value suffers most, and what holds "
        "the designs that have it: heat is the share of "
        "designs whose sustained rate the limits of skin and DRAM lower."
    )
    d.table(
        ["technology", *(device(f) for f in runs)],
        [[name, *(_cell(f, variable, level) for f in runs)] for name, variable, level in TECHNOLOGIES],
    )
    d.heading("What the four levers are worth together")
    d.text("With the lever locked off: mean factor, and hypervolume kept inside the box of each question.")
    levers = [lever.name for lever in runs[0].run.space.levers]
    rows = [[f"without {n}", *(_lever(f, n) for f in runs)] for n in levers]
    d.table(["", *(device(f) for f in runs)], rows)
    d.heading("The knee of each front")
    d.items([f"{f.run.space.title}. {describe(f, f.chosen[0])}." for f in runs])
    d.table(["", *(device(f) for f in runs)], _knees(runs))
    d.heading("What requiring those that do not pay would cost")
    for f in runs:
        d.text(
            f"{device(f).capitalize()}: "
            + "; ".join(_why(f, *t) for t in TECHNOLOGIES if _share(f, *t[1:]) < SOME)
            + "."
        )
    return d


def device(facts: Facts) -> str:
    """What the package stands in."""
    return facts.run.space.scenario.body.replace("_", " ").replace("xr", "XR")


def _year(facts: Facts) -> str:
    """The scenario's year."""
    return f"{facts.run.space.scenario.year:.0f}"


def _share(facts: Facts, variable: str, level: str) -> float:
    """Share of a front's points that have a level; flash counts where weights or an engine use it."""
    _, outcomes = facts.run.archive.joined()
    have = [facts.run.values(int(r)).get(variable) == level for r in facts.run.front.rows]
    if variable in {"flash", "weights_home"}:
        in_dram = outcomes.detail["fast_tier_share.0"][facts.run.front.rows, facts.run.front.operating_points]
        have = [h and float(s) < ALL_IN_DRAM for h, s in zip(have, in_dram, strict=True)]
    if variable == "on_package_link":  # DRAM bonded to the SoC uses no link
        have = [
            h and facts.run.values(int(r)).get("dram_mount") != "3d_on_soc"
            for h, r in zip(have, facts.run.front.rows, strict=True)
        ]
    return float(np.mean(have))


def verdict(share: float, *, keeps: bool) -> str:
    """A share of the front in words.

    It pays where most points use it and requiring it loses nothing beyond noise.
    """
    return "pays" if share >= MOSTLY and keeps else "pays for some" if share >= SOME else "does not pay"


def _held(facts: Facts, variable: str, level: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = facts.study["lost"].get(f"{variable}={level}")
    return found


def _cell(facts: Facts, variable: str, level: str) -> str:
    held, share = _held(facts, variable, level), _share(facts, variable, level)
    if held is None:
        return "-"
    if not held["feasible"]:
        return "does not fit"
    return (
        f"{_pays(facts, variable, level)}: {100 * share:.0f} % of the front, "
        f"{_typical(held)} where required; {_decides(facts, held)}"
    )


def _typical(held: dict[str, Any]) -> str:
    return "outside the box" if held["typical"] is None else interval(held, "typical", 1.0, 2)


def _decides(facts: Facts, held: dict[str, Any]) -> str:
    """The objective whose best value suffers most where a technology is required, and the limits that hold
    it.
    """
    free = facts.run.front.points.min(axis=0)
    losses = sorted(
        ((x / y, o) for x, y, o in zip(held["best"], free, facts.run.space.objectives, strict=True)),
        reverse=True,
    )
    said = [
        f"{OBJECTIVES[o].label.split(',')[0].lower()} x {r:.2f}" for r, o in losses[:1] if r > 1.0 + COUNTS
    ]
    binds = sorted(held.get("binds", {}).items(), key=lambda x: -float(x[1]))
    said += [f"{n} {100 * v:.0f} %" for n, v in binds[:2] if v >= COUNTS]
    return ", ".join(said) or "nothing lost"


def _why(facts: Facts, name: str, variable: str, level: str) -> str:
    held = _held(facts, variable, level)
    if held is None or not held["feasible"]:
        return f"{name} does not fit"
    binds = sorted(held.get("binds", {}).items(), key=lambda x: -float(x[1]))
    limit = next((n for n, v in binds if v >= COUNTS), "")
    outcomes = f" ({limit_sentence(limit)})" if limit else ""
    best = ", ".join(
        f"{shown(o, x)} against {shown(o, y)}"
        for o, x, y in zip(
            facts.run.space.objectives, held["best"], facts.run.front.points.min(axis=0), strict=True
        )
    )
    return f"{name}: at best {best}{outcomes}"


def _lever(facts: Facts, name: str) -> str:
    found = facts.study["levers"].get(name)
    return "-" if found is None else _worth(found)


def _worth(v: dict[str, Any]) -> str:
    if not v["feasible"]:
        return "nothing feasible"
    return "outside the box" if v["mean"] is None else f"{interval(v, 'mean', 1.0, 2)}, {kept(v)}"


def _knees(runs: Sequence[Facts]) -> list[list[str]]:
    goals = runs[0].run.space.objectives
    rows = [
        [
            OBJECTIVES[o].label,
            *(shown(o, f.chosen[0].objectives[k]) for f in runs),
        ]
        for k, o in enumerate(goals)
    ]
    for key, label, unit in DETAILS:
        cells = []
        for f in runs:
            _, outcomes = f.run.archive.joined()
            c = f.chosen[0]
            cells.append(show(float(outcomes.detail[key][c.row, c.rung]), unit))
        rows.append([label, *cells])
    return rows
