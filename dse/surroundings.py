"""Where a scenario plays: the electricity it uses and, on a mobile target, the body that the package stands in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dse.catalog import Catalog
from dse.errors import Faults, nearest

USUAL: Final = {"datacenter": ("usa", "phone"), "mobile": ("world", "phone")}
"""electricity and body of a target that names none"""


def place(raw: Mapping[str, Any], target: str, catalog: Catalog, faults: Faults) -> tuple[str, str]:
    """Read ``grid`` and ``body`` of a scenario: entries of the catalogue's kinds ``grid`` and ``mobile``."""
    if target == "datacenter" and "body" in raw:
        faults.add("scenario.body", raw["body"], "nothing: only a mobile target has one")
    grid, body = (str(raw.get(key, usual)) for key, usual in zip(("grid", "body"), USUAL[target], strict=True))
    for key, name, kind in (("grid", grid, "grid"), ("body", body, "mobile")):
        if name not in catalog.entries[kind]:
            faults.add(f"scenario.{key}", name, nearest(name, catalog.entries[kind]))
    return grid, body
