"""What a space names of the catalogue: electricity and body, models, devices, software."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dse.catalog.catalog import Catalog
from dse.core.errors import Faults, nearest
from dse.space.space import Space
from dse.space.targets import Target

FIRST, LAST = 2000, 2100
"""years that a scenario may play in"""


def read_site(raw: Mapping[str, Any], target: Target, catalog: Catalog, faults: Faults) -> tuple[str, str]:
    """Read ``grid`` and ``body`` of a scenario: entries of the catalogue's kinds ``grid`` and ``body``."""
    if not target.body and "body" in raw:
        faults.add("scenario.body", raw["body"], "nothing: machines of this target stand in none")
    grid, body = str(raw.get("grid", target.electricity_grid)), str(raw.get("body", target.body))
    for key, name, kind in (("grid", grid, "grid"), ("body", body, "body")):
        if name and name not in catalog.entries[kind]:
            faults.add(f"scenario.{key}", name, nearest(name, catalog.entries[kind]))
    return grid, body


def check_names(space: Space, catalog: Catalog, faults: Faults) -> None:
    """Gather the models, devices and software of a space that the catalogue does not have."""
    for load in space.scenario.workloads:
        if load.llm not in catalog.llms:
            faults.add("scenario.workload.llm", load.llm, nearest(load.llm, catalog.llms))
            continue
        longest = max(space.scenario.longest_request, space.scenario.numbers.get("ttft_input", 0.0))
        most = catalog.llm(load.llm).shape["max_context"]
        if most and longest > most:
            faults.add(
                "scenario.longest_request"
                if longest == space.scenario.longest_request
                else "scenario.ttft_input",
                longest,
                f"at most the {most} tokens of context that {load.llm} takes: shorter requests, or a model "
                "that takes them",
            )
    listed = [(b.device, b.only) for b in space.baselines]
    served = {w.llm for w in space.scenario.workloads}
    for device, only in sorted(set(listed)):
        if listed.count((device, only)) > 1:
            faults.add("baseline.device", device, "every machine once")
        entry = catalog.entries["device"].get(device)
        if entry is not None and entry.attributes.get("target") != space.target.name:
            faults.add("baseline.device", device, f"a machine for target {space.target.name!r}")
        for name in only:
            if name in catalog.llms and name not in served:
                faults.add(
                    f"baseline {device}.only",
                    name,
                    f"a model that the space serves: {', '.join(sorted(served))}",
                )
    for baseline in space.baselines:
        for name in baseline.only:
            if name not in catalog.llms:
                faults.add(f"baseline {baseline.device}.only", name, nearest(name, catalog.llms))
        if baseline.device not in catalog.entries["device"]:
            faults.add(
                "baseline.device", baseline.device, nearest(baseline.device, catalog.entries["device"])
            )
    if not FIRST <= space.scenario.year <= LAST:
        faults.add("scenario.year", space.scenario.year, f"a year from {FIRST} to {LAST}")
    software = space.scenario.software
    if software not in catalog.entries["software"]:
        faults.add("scenario.software", software, nearest(software, catalog.entries["software"]))
