"""The point of a space nearest to a machine that exists: first trial of a search, and a distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from dse.catalog.catalog import Catalog
from dse.catalog.entries import Entry
from dse.core.units import FloatArray
from dse.hardware.machine import Machine
from dse.space.design import Design, complete, encode
from dse.space.space import Space
from dse.space.variables import Value, Variable

USUAL: Mapping[str, Value] = {
    "clock": 1.6e9,
    "mac_share": 0.25,
    "far_memory": "none",
    "dram_mount": "pop",
    "collective_engine": "host",
    "topology": "switch",
}
"""what device files leave out, as machines of today have it"""


FIGURES = {
    "compute_area": ("die_area", 8e-4),
    "sram": ("sram", 6.4e7),
    "flash_stacks": ("flash_stacks", 1.0),
    "flash_height": ("flash_height", 16.0),
    "domain": ("domain", 1.0),
    "link_bandwidth": ("link_bandwidth", 4.5e11),
    "dram_capacity": ("memory_capacity", 8.6e9),
}
"""field of a device file for each design variable that it decides, and what stands in where it is left out"""


ATTRIBUTES = ("flash", "flash_cell", "flash_attach", "topology", "pnm")
"""attributes of a device file that are design variables of the same name"""


LEAST_HEIGHT = 8.0
"""dies of an HBM stack that states none"""


class Builder(Protocol):
    """What builds machines from designs and from device files."""

    def machine(self, design: Design) -> Machine:
        """Build n designs."""
        ...

    def devices(self, devices: list[str]) -> Machine:
        """Build machines that exist."""
        ...


def _clip(v: Variable, x: float) -> Value:
    if v.discrete:
        numbers = [float(c) for c in v.choices if not isinstance(c, str)]
        return min(numbers, key=lambda c: abs(np.log2(max(c, 1e-9) / max(x, 1e-9))))
    x = min(max(x, v.low), v.high)
    return float(round(x)) if v.kind == "int" else x


def _said(entry: Entry, catalog: Catalog) -> dict[str, Value]:
    """Design variables of every target as a device file has them.

    What a space does not offer is left out later.
    """
    figures = {k: v.nominal for k, v in entry.values.items()}
    said: Mapping[str, str] = entry.attributes
    memory = said.get("memory", "")
    node = said.get("node", "")
    channel = catalog.value("memory", memory, "bandwidth_per_channel", 0.0) if memory else 0.0
    out: dict[str, Value] = dict(USUAL)
    out |= {name: figures.get(field, usual) for name, (field, usual) in FIGURES.items()}
    out |= {name: said[name] for name in ATTRIBUTES if name in said}
    out |= {
        "stacks": max(figures.get("memory_stacks", 1.0), 1.0),
        "stack_height": max(figures.get("memory_height", LEAST_HEIGHT), LEAST_HEIGHT),
        "compute_node": node,
        "soc_node": node,
        "fast_memory": memory,
        "dram": memory,
        "pnm": said.get("pnm", "none"),
        "weights_home": "flash_pnm" if said.get("pnm") else "dram",
    }
    if channel:
        out["dram_channels"] = figures.get("memory_bandwidth", channel) / channel
    return out


def _offered(v: Variable, value: Value, catalog: Catalog) -> Value | None:
    """The choice of a variable that a value means.

    Itself in any case, or what its catalogue entry is nearest to.
    """
    by_name = {str(c).lower(): c for c in v.choices}
    name = str(value).lower()
    if name in by_name:
        return by_name[name]
    for kind in ("memory", "logic"):
        if name in catalog.entries[kind]:
            nearest = catalog.entry(kind, name).attributes.get("nearest", "")
            return by_name.get(nearest.lower())
    return None


def nearest_design(
    space: Space, catalog: Catalog, model: Builder, device: str
) -> tuple[dict[str, Value], float]:
    """Return the design nearest to a device and how far it is: largest |log2 ratio| of the figures.

    Figures: peak FLOP/s, memory bandwidth, memory capacity, and link bandwidth where there is one.
    """
    wanted: dict[str, Value] = {}
    said = _said(catalog.entry("device", device), catalog)
    for v in space.variables:
        if v.name not in said:
            continue
        value = said[v.name]
        found = _offered(v, value, catalog) if v.kind == "categorical" else _clip(v, float(value))
        if found is not None:
            wanted[v.name] = found
    values = consistent(space, wanted)
    mine, theirs = model.machine(encode(space, [values])), model.devices([device])
    return values, float(octaves(mine, theirs)[0])


def octaves(mine: Machine, device: Machine) -> FloatArray:
    """How far machines (n,) are from one device: largest |log2 ratio| of the figures that make a machine.

    Peak FLOP/s, memory bandwidth, memory capacity, and link bandwidth where both have a link.
    """
    ratios = [
        mine.compute.peak[:, 1] / device.compute.peak[0, 1],
        mine.fast.bandwidth / device.fast.bandwidth[0],
        mine.fast.capacity / device.fast.capacity[0],
    ]
    links, theirs = mine.network.link_bandwidth, device.network.link_bandwidth[0]
    if theirs > 1:
        ratios.append(np.maximum(links, 1.0) / theirs)
    out: FloatArray = np.abs(np.log2(ratios)).max(axis=0)
    return out


def alike(catalog: Catalog, device: str, values: Mapping[str, Value]) -> bool:
    """Whether a design is of a device's kind: memory of its form, and flash and PNM where it has them."""
    said = _said(catalog.entry("device", device), catalog)
    memories = {said["fast_memory"], values.get("fast_memory", values.get("dram", ""))}
    forms = {catalog.entry("memory", str(m).lower()).attributes.get("form", "") for m in memories}
    flash, pnm = (said.get(name, "none") for name in ("flash", "pnm"))
    return (
        len(forms) == 1
        and (values.get("flash", "none") == "none") == (flash == "none")
        and (values.get("pnm", "none") == "none") == (pnm == "none")
    )


def consistent(space: Space, wanted: Mapping[str, Value]) -> dict[str, Value]:
    """Drop what is inactive or not allowed here, and complete what is missing."""
    out: dict[str, Value] = {}
    for v in space.variables:
        if not v.is_active(out):
            continue
        value = wanted.get(v.name)
        if v.discrete and value not in v.allowed(out):
            value = None
        out[v.name] = value if value is not None else complete(space, out)[v.name]
    return out
