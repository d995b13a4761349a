"""The point of a space nearest to a machine that exists: first trial of a search, and a distance."""

from __future__ import annotations

from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog
from dse.space.design import encode, fill
from dse.space.space import Space
from dse.space.variables import Value, Variable

ALIKE = {"hbm2e": "hbm3e", "hbm3": "hbm3e", "lpddr5x": "lpddr5x"}


NODES = {"n4": "N5", "n7": "N5", "n8": "N5", "n14": "N5"}


def _clip(v: Variable, x: float) -> Value:
    if v.discrete:
        numbers = [float(c) for c in v.choices if not isinstance(c, str)]
        return min(numbers, key=lambda c: abs(np.log2(max(c, 1e-9) / max(x, 1e-9))))
    x = min(max(x, v.low), v.high)
    return float(round(x)) if v.kind == "int" else x


def nearest_design(space: Space, catalog: Catalog, model: Any, device: str) -> tuple[dict[str, Value], float]:
    """Return the design nearest to a device and how far it is: largest |log2 ratio| of the figures.

    Figures: peak FLOP/s, memory bandwidth, memory capacity, and link bandwidth where there is one.
    """
    entry = catalog.entry("device", device)
    q = {k: v.nominal for k, v in entry.values.items()}
    a = entry.attributes
    wanted: dict[str, Value] = {}

    def put(name: str, value: Value) -> None:
        if any(v.name == name for v in space.variables):
            v = space.variable(name)
            if v.kind == "categorical":
                if value in v.choices:
                    wanted[name] = value
            else:
                wanted[name] = _clip(v, float(value))

    memory = ALIKE.get(a.get("memory", ""), a.get("memory", ""))
    if space.target.fleet:
        node = a.get("node", "")
        put("compute_node", NODES.get(node, node.upper()))
        put("compute_area", q.get("die_area", 8e-4))
        put("sram", q.get("sram", 6.4e7))
        put("clock", 1.6e9)
        put("mac_share", 0.25)
        put("fast_memory", memory)
        put("stacks", max(q.get("memory_stacks", 1.0), 1.0))
        put("stack_height", max(q.get("memory_height", 8.0), 8.0))
        put("flash", a.get("flash", "none"))
        put("flash_stacks", q.get("flash_stacks", 1.0))
        put("flash_height", q.get("flash_height", 16.0))
        put("flash_cell", a.get("flash_cell", "pslc"))
        put("flash_attach", a.get("flash_attach", "own_shoreline"))
        put("far_memory", "none")
        put("pnm", "none")
        put("domain", q.get("domain", 1.0))
        put("topology", a.get("topology", "switch"))
        put("link_bandwidth", q.get("link_bandwidth", 4.5e11))
        put("collective_engine", "host")
    else:
        put("soc_node", a.get("node", "n4").upper())
        put("dram", memory)
        put("dram_mount", "pop")
        put("dram_channels", q.get("memory_bandwidth", 6.8e10) / 1.707e10)
        put("dram_capacity", q.get("memory_capacity", 8.6e9))
        put("pnm", a.get("pnm", "none"))
        put("flash", a.get("flash", "ufs4"))
        put("weights_home", "flash_pnm" if a.get("pnm") == "flash_base_die" else "dram")
    values = consistent(space, wanted)
    mine, theirs = model.machine(encode(space, [values])), model.devices([device])
    ratios = [
        mine.peak[0, 1] / theirs.peak[0, 1],
        mine.fast_bandwidth[0] / theirs.fast_bandwidth[0],
        mine.fast_capacity[0] / theirs.fast_capacity[0],
    ]
    if theirs.link_bandwidth[0] > 1 and mine.link_bandwidth[0] > 1:
        ratios.append(mine.link_bandwidth[0] / theirs.link_bandwidth[0])
    return values, float(np.max(np.abs(np.log2(ratios))))


def consistent(space: Space, wanted: dict[str, Value]) -> dict[str, Value]:
    """Drop what is inactive or not allowed here, and fill what is missing."""
    out: dict[str, Value] = {}
    for v in space.variables:
        if not v.is_active(out):
            continue
        value = wanted.get(v.name)
        if v.discrete and value not in v.allowed(out):
            value = None
        out[v.name] = value if value is not None else fill(space, out)[v.name]
    return out
