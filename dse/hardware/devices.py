"""Parts of machines that exist, or that papers describe, from their device files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dse.catalog.catalog import Catalog, names
from dse.hardware.datacenter import ATTACH, ENGINES, FAR_AWAY, USUAL_PITCH
from dse.hardware.logic import flop_energies
from dse.hardware.parts import Parts


def device_parts(catalog: Catalog, devices: Sequence[str]) -> Parts:
    """Parts of named devices; bandwidth, capacity and peaks are the published ones."""
    nodes, memories, flashes, topologies = (names(catalog, k) for k in ("logic", "memory", "flash", "topology"))
    entries = [catalog.entry("device", d) for d in devices]
    n = len(devices)

    def v(name: str, default: float = 0.0) -> np.ndarray:
        return np.array([e.values[name].nominal if name in e.values else default for e in entries])

    def code(attribute: str, order: Sequence[str]) -> np.ndarray:
        return np.array([order.index(e.attributes[attribute]) if attribute in e.attributes else -1 for e in entries])

    node = code("node", nodes)
    peak16, peak8 = v("peak_16bit"), v("peak_8bit")
    area = v("die_area")
    return Parts(
        node=node, logic_area=area, dies=v("dies", 1.0), clock=np.zeros(n),
        peak=np.column_stack([peak16, peak8, np.maximum(v("peak_4bit"), peak8)]),
        flop_energy=flop_energies(catalog, catalog.take("logic", nodes, node, "flop_energy")),
        leakage=catalog.take("logic", nodes, node, "leakage_density") * area, sram=v("sram"), scratchpad=np.zeros(n),
        memory=code("memory", memories), stacks=v("memory_stacks"), height=v("memory_height"),
        bond_pitch=np.full(n, USUAL_PITCH), logic_above=np.zeros(n), fast_bandwidth=v("memory_bandwidth"), fast_capacity=v("memory_capacity"),
        flash=code("flash", flashes), flash_stacks=v("flash_stacks"), flash_height=v("flash_height"),
        flash_tlc=(code("flash_cell", ("pslc", "tlc")) == 1).astype(np.float64),
        flash_attach=code("flash_attach", ATTACH), far=np.full(n, -1, dtype=np.int64), far_modules=np.zeros(n), pnm=np.zeros(n, dtype=np.int64), pnm_flops=np.zeros(n),
        domain=np.where(v("link_bandwidth") > 0, np.exp2(np.floor(np.log2(np.minimum(v("domain", 1.0), 512.0)))), 1.0),
        topology=code("topology", topologies), link_bandwidth=v("link_bandwidth"), link_latency=v("link_latency"),
        # runtimes reduce small messages with kernels of their own where ranks reach each other's memory, else with the host's library
        engine=np.where(v("link_latency") > 0, ENGINES.index("host"), ENGINES.index("device")), power_cap=v("tdp", FAR_AWAY), limits={},
    )  # fmt: skip
