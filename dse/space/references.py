"""What a space names of the catalogue: electricity and body, models, devices, software."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dse.catalog.catalog import Catalog
from dse.core.errors import Faults, nearest
from dse.space.space import Space

FIRST, LAST = 2000, 2100
"""years that a scenario may play in"""


USUAL: Final = {"datacenter": ("usa", "phone"), "mobile": ("world", "phone")}
"""electricity and body of a target that names none"""


def read_site(raw: Mapping[str, Any], target: str, catalog: Catalog, faults: Faults) -> tuple[str, str]:
    """Read ``grid`` and ``body`` of a scenario: entries of the catalogue's kinds ``grid`` and ``mobile``."""
    if target == "datacenter" and "body" in raw:
        faults.add("scenario.body", raw["body"], "nothing: only a mobile target has one")
    grid, body = (str(raw.get(key, usual)) for key, usual in zip(("grid", "body"), USUAL[target], strict=True))
    for key, name, kind in (("grid", grid, "grid"), ("body", body, "mobile")):
        if name not in catalog.entries[kind]:
            faults.add(f"scenario.{key}", name, nearest(name, catalog.entries[kind]))
    return grid, body


def check_names(space: Space, catalog: Catalog, faults: Faults) -> None:
    """Gather the models, devices and software of a space that the catalogue does not have."""
    for load in space.scenario.workloads:
        if load.llm not in catalog.llms:
            faults.add("scenario.workload.llm", load.llm, nearest(load.llm, catalog.llms))
    for baseline in space.baselines:
        if baseline.device not in catalog.entries["device"]:
            faults.add("baseline.device", baseline.device, nearest(baseline.device, catalog.entries["device"]))
    if not FIRST <= space.scenario["year"] <= LAST:
        faults.add("scenario.year", space.scenario["year"], f"a year from {FIRST} to {LAST}")
    software = space.scenario.software
    if software not in catalog.entries["software"]:
        faults.add("scenario.software", software, nearest(software, catalog.entries["software"]))
