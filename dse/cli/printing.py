"""An evaluation on the terminal: breakdowns, limits, figures, measured rows."""

from __future__ import annotations

from typing import Any

from dse.core.units import show
from dse.evaluator.explain import Evaluation
from dse.space.limits import Limit, limit_sentence
from dse.space.objectives import OBJECTIVES
from dse.space.targets import TARGETS


def _table(title: str, parts: dict[str, float], unit: str) -> None:
    total = sum(parts.values())
    print(f"\n{title}: {show(total, unit)}")
    for name, value in sorted(parts.items(), key=lambda kv: -kv[1]):
        print(f"  {name:32s} {show(value, unit):>14s} {100 * value / total if total else 0:5.1f} %")


def broken_limits(e: Evaluation, *, named: bool) -> list[str]:
    """Limits that are broken; those that a space sets, rather than physics, only where it was ``named``."""
    theirs = () if named else ASKED
    return [
        n for r, n in sorted(((r, n) for n, r in e.limits.items() if r > 1), reverse=True) if n not in theirs
    ]


ASKED = (Limit.TTFT, Limit.FLASH_LIFE, Limit.RACK_POWER, Limit.COLD_START, Limit.OBJECTIVE)
"""limits whose threshold is a space's, not of physics"""


def print_evaluation(e: Evaluation, *, named: bool = True) -> None:
    """Print one evaluation with its breakdowns."""
    broken = broken_limits(e, named=named)
    if broken:
        print("BREAKS LIMITS: " + "; ".join(f"{n}: {limit_sentence(n)}" for n in broken[:3]))
        print("  The figures below are of a machine that cannot be had or run as it is.")
    for note in e.notes:
        print(f"NOTE: {note}")
    print(
        f"{e.name}: "
        + ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in e.plan.items())
    )
    if e.unset:
        shown = ", ".join(f"{k} = {v}" for k, v in e.unset.items())
        print(f"  not set, taken as: {shown}")
    first = "" if e.ttft is None else f"first token {show(e.ttft, 's')}, "
    print(
        f"  decode step {show(e.decode_time, 's')}, time per output token {show(e.tpot, 's')}, "
        f"{first}{e.throughput:,.0f} token/s"
    )
    for name, value in e.objectives.items():
        print(f"  {OBJECTIVES[name].label}: {show(value, OBJECTIVES[name].unit)}")
    _table("Time per output token", e.times, "s")
    if any(v == "pnm" for v in e.engines.values()):
        print("  near memory: " + ", ".join(k for k, v in e.engines.items() if v == "pnm"))
    _table("Energy per output token", e.energies, "J")
    _table(
        TARGETS[e.target].cost_title,
        e.costs,
        "USD",
    )
    _table("Carbon per million output tokens", e.carbons, "kgCO2e")
    if e.memory:
        _table("Memory of a package", {k: f.value for k, f in e.memory.items() if f.value}, "B")
    print("\nLimits (share used; above 100 % breaks)")
    for name, ratio in sorted(e.limits.items(), key=lambda kv: -kv[1]):
        if name != "available" and ratio > 0:
            mark = f"  BROKEN: {limit_sentence(name)}" if name in broken else ""
            asked = "  (of the space, not asked for here)" if ratio > 1 and not mark else ""
            print(f"  {name:32s} {100 * ratio:8.1f} %{mark}{asked}")
    late = e.limits.get("available", 0.0)
    if late > 1:
        print(f"  {'available':32s}  BROKEN: {Limit.AVAILABLE.sentence}")
    print("\nFigures")
    for name, figure in e.figures.items():
        print(f"  {name:32s} {figure!s:>16s}")


def print_measured(rows: list[dict[str, Any]]) -> None:
    """Print measured rows beside their predictions."""
    if not rows:
        return
    print("\nMeasured rows of this machine, nearest first (predicted / measured)")
    for r in rows:
        plan = (
            f"{r['software']:8s} {r['group']} GPUs, batch {r['batch']:<4.0f} "
            f"{r['input_tokens']:.0f}/{r['output_tokens']:.0f}"
        )
        print(
            f"  {plan:36s} TPOT {show(r['predicted_tpot'], 's')} "
            f"({show(r['predicted_tpot_low'], 's')} to {show(r['predicted_tpot_high'], 's')}) / "
            f"{show(r['measured_tpot'], 's')} = {r['ratio']:.2f}   [{r['id']}]"
        )
