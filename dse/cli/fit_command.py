"""Does a model fit, and how much: by machine, or in detail for one."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from dse.api import fit as fit_point
from dse.catalog.catalog import Catalog, load_catalog
from dse.cli.evaluate_command import asked_of, machine_of, target_of
from dse.core.errors import NOTHING, OK, DseError, SpaceError
from dse.core.text import counted
from dse.core.units import show
from dse.evaluator.fitting import MOST_REQUESTS, Fits

ANY = "datacenter"


def fit(options: argparse.Namespace) -> int:
    """Memory by class, largest batch, longest context, fewest packages; a table where no machine is named."""
    catalog = load_catalog()
    if options.model is None and options.space is None:
        raise SpaceError("fit: give --model NAME, or a SPACE with --set")
    if options.device is None and options.space is None:
        return _over_devices(options, catalog)
    found = fit_point(target_of(options, catalog), **machine_of(options), **asked_of(options, catalog))
    if options.json:
        print(json.dumps(asdict(found), indent=1, sort_keys=True))
    else:
        _print(found)
    return OK if found.fits else NOTHING


def _print(found: Fits) -> None:
    print(f"{found.machine}: {found.llm} on {found.plan}, {found.requests}")
    print(f"  {found.formats}")
    print(f"  {'fits' if found.fits else 'DOES NOT FIT: ' + found.why}")
    total = sum(found.memory.values())
    print(f"\nMemory of a package: {show(total, 'B')}")
    for name, size in found.memory.items():
        if size:
            over = "  (missing)" if size < 0 else ""
            print(f"  {name:44s} {show(size, 'B'):>12s} {100 * size / total if total else 0:6.1f} %{over}")
    print()
    for line in _limits(found):
        print(f"  {line}")


def _limits(found: Fits) -> list[str]:
    batch = counted(found.largest_batch, "request") if found.largest_batch else "none"
    batch += " or more" if found.largest_batch >= MOST_REQUESTS else ""
    context = counted(found.longest_context, "token") if found.longest_context else "none"
    bound = (
        f" (the model's own {found.model_context:,})" if found.longest_context == found.model_context else ""
    )
    fewest = found.fewest or "does not fit however many"
    return [
        f"largest batch on this plan    {batch}",
        f"longest context, one request  {context}{bound}",
        f"fewest packages               {fewest}",
    ]


def _most(batch: int | None) -> str:
    """A largest batch; how far it was looked for where all of it fits."""
    if not batch:
        return "-"
    return f"{'over ' if batch >= MOST_REQUESTS else ''}{batch:,}"


def _over_devices(options: argparse.Namespace, catalog: Catalog) -> int:
    """Every machine of the catalogue of one kind of target, a line each."""
    from dse.calibration.resolve import llm_entry

    options.model = llm_entry(catalog, options.model).name
    rows: list[dict[str, Any]] = []
    asked = asked_of(options, catalog)
    names = [n for n, e in catalog.entries["device"].items() if e.attributes.get("target") == ANY]
    for name in sorted(names):
        try:
            found = fit_point(ANY, device=name, **asked)
        except DseError as error:
            rows.append({"device": name, "fault": str(error).splitlines()[0]})
            continue
        rows.append({"device": name, **asdict(found)})
    if options.json:
        print(json.dumps(rows, indent=1, sort_keys=True))
        return OK
    first = next((r for r in rows if "fault" not in r), None)
    if first is None:
        raise SpaceError(rows[0]["fault"] if rows else "fit: the catalogue has no device")
    print(f"{first['llm']}, {first['requests']}, {first['formats']}")
    print(
        f"{'device':26s} {'memory':>10s} {'fewest packages':34s} {'largest batch there':>20s} "
        f"{'longest context':>16s}"
    )
    for r in rows:
        if "fault" in r:
            print(f"{r['device']:26s} {r['fault']}")
            continue
        best = r["at_fewest"] or {}
        batch, context = best.get("largest_batch"), best.get("longest_context")
        print(
            f"{r['device']:26s} {show(sum(r['memory'].values()), 'B'):>10s} "
            f"{r['fewest'] or 'does not fit':34s} {_most(batch):>20s} "
            f"{f'{context:,}' if context else '-':>16s}"
        )
    return OK
