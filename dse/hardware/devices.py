"""Parts of machines that exist, or that papers describe, from their device files.

Published bandwidth, capacity, peaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import FlashAttach, Mount
from dse.core.units import FloatArray, IntArray
from dse.hardware.codes import pnm_code
from dse.hardware.datacenter import ATTACH, interface_energy, usual_pitch
from dse.hardware.logic import fixed_clock, flop_energies
from dse.hardware.mobile import added_soc_area, channel_area, memory_packages
from dse.hardware.parts import (
    UNBOUNDED,
    UNRATED,
    DeviceParts,
    FarParts,
    FlashParts,
    LogicParts,
    MemoryParts,
    NetworkParts,
    Parts,
    PnmParts,
)

LARGEST_DOMAIN = 512.0
USUAL_SRAM = 2.0**23  # B of an NPU whose file states none
FLOP_PER_BYTE = 4.0
"""FLOP a published engine on flash does per byte it reads: 2 for each of two 4-bit weights (Lincoln,
Cambricon-LLM)
"""
USUAL_DIES = 4.0  # of a memory package, or of a storage package, whose file states none


class _Files:
    """Numbers and codes of n device files."""

    def __init__(self, catalog: Catalog, devices: Sequence[str]) -> None:
        self.catalog = catalog
        self.entries = [catalog.entry("device", d) for d in devices]
        self.n = len(devices)

    def value(self, field: str, default: float = 0.0) -> FloatArray:
        """A field of each file, ``default`` where it is left out."""
        found = [e.values[field].nominal if field in e.values else default for e in self.entries]
        return np.array(found, dtype=np.float64)

    def code(self, attribute: str, order: Sequence[str], default: str = "") -> IntArray:
        """Code of an attribute in an order of names, -1 where it is left out and has no default."""
        said = [e.attributes.get(attribute, default) for e in self.entries]
        return np.array([list(order).index(name) if name else -1 for name in said], dtype=np.int64)

    def peaks(self) -> FloatArray:
        """(n, bits) FLOP/s; 4-bit numbers run in 8-bit units where a file states no rate of their own."""
        eight = self.value("peak_8bit")
        return np.column_stack([self.value("peak_16bit"), eight, np.maximum(self.value("peak_4bit"), eight)])


def _site_flash(f: _Files) -> FlashParts:
    """Flash of devices on a site."""
    attach, none = f.code("flash_attach", ATTACH), np.zeros(f.n)
    far_link = f.catalog.value("link", f.catalog.the("link", "far"), "bandwidth")
    return FlashParts(
        code=f.code("flash", f.catalog.names("flash")),
        units=f.value("flash_stacks"),
        stack_height=f.value("flash_height"),
        tlc=(f.code("flash_cell", ("pslc", "tlc")) == 1).astype(np.float64),
        attach=attach,
        link_bandwidth=np.where(attach == FlashAttach.FAR, far_link, UNBOUNDED),
        shares_phy=(attach == FlashAttach.BEHIND_HBM).astype(np.float64),
        holds=np.ones(f.n),
        published_inner_bandwidth=none,
        published_capacity=none,
    )


def datacenter_devices(catalog: Catalog, devices: Sequence[str], body: str) -> Parts:
    """Parts of named devices that stand on a site."""
    del body
    f = _Files(catalog, devices)
    n, none = f.n, np.zeros(f.n)
    node = f.code("node", catalog.names("logic"))
    logic = partial(catalog.take, "logic", node)
    area = f.value("die_area")
    memory = f.code("memory", catalog.names("memory"))
    pitch = usual_pitch(catalog, memory)
    domain = np.exp2(np.floor(np.log2(np.minimum(f.value("domain", 1.0), LARGEST_DOMAIN))))
    bandwidth = f.value("memory_bandwidth")
    return Parts(
        logic=LogicParts(
            node=node,
            area=area,
            added_area=area,
            dies=f.value("dies", 1.0),
            clock=none,
            peak=f.peaks(),
            flop_energy=flop_energies(catalog, logic("flop_energy")),
            level_energy=fixed_clock(n),
            rest_power=logic("leakage_density") * area,
            sram=f.value("sram"),
            scratchpad=none,
        ),
        memory=MemoryParts(
            code=memory,
            units=f.value("memory_stacks"),
            stack_height=f.value("memory_height"),
            bond_pitch=pitch,
            logic_above=none,
            bandwidth=bandwidth,
            host_bandwidth=bandwidth,
            capacity=f.value("memory_capacity"),
            interface_energy=interface_energy(catalog, memory, pitch),
        ),
        flash=_site_flash(f),
        far=FarParts(code=np.full(n, -1, dtype=np.int64), modules=none),
        pnm=PnmParts(code=np.full(n, -1, dtype=np.int64), flops=none),
        network=NetworkParts(
            domain=np.where(f.value("link_bandwidth") > 0, domain, 1.0),
            topology=f.code("topology", catalog.names("topology")),
            link_bandwidth=f.value("link_bandwidth"),
            link_latency=f.value("link_latency"),
            engine=f.code(
                "collective_engine", catalog.names("collective"), catalog.the("collective", "default")
            ),
        ),
        power_cap=f.value("tdp", UNRATED),
        limit_ratios={},
    )


def _soc(f: _Files, body: str, phy_area: FloatArray) -> LogicParts:
    """SoCs of devices in a ``body``.

    The NPU that reaches the published peak, and ``phy_area`` [m2] of memory channels.
    """
    catalog = f.catalog
    node = f.code("node", catalog.names("logic"))
    logic = partial(catalog.take, "logic", node)
    peak, sram = f.peaks(), f.value("sram", USUAL_SRAM)
    mac_area = peak[:, 0] / (logic("mac_density") * logic("clock_nominal"))
    npu_area = mac_area * (1.0 + catalog.value("body", body, "npu_overhead"))
    added = added_soc_area(catalog, node, npu_area, sram) + phy_area
    return LogicParts(
        node=node,
        area=added + catalog.value("body", body, "soc_base_area"),
        added_area=added,
        dies=np.ones(f.n),
        clock=np.zeros(f.n),
        peak=peak,
        flop_energy=flop_energies(catalog, logic("flop_energy")),
        level_energy=fixed_clock(f.n),
        rest_power=np.full(f.n, catalog.value("body", body, "soc_static_power")),
        sram=sram,
        scratchpad=np.zeros(f.n),
    )


def mobile_devices(catalog: Catalog, devices: Sequence[str], body: str) -> Parts:
    """Parts of named phones, laptops and boards, in a ``body``."""
    f = _Files(catalog, devices)
    n, none, one = f.n, np.zeros(f.n), np.ones(f.n)
    memory = f.code("memory", catalog.names("memory"))
    storage = catalog.the("flash", "storage")
    flash_names = [e.attributes.get("flash", storage) for e in f.entries]
    engines = [
        pnm_code(catalog, e.attributes.get("pnm", ""), e.attributes["memory"], flash)
        for e, flash in zip(f.entries, flash_names, strict=True)
    ]
    has = np.array(engines) >= 0
    bandwidth = f.value("memory_bandwidth")
    rate = catalog.take("memory", memory, "bandwidth_per_channel")
    channels = bandwidth / rate
    inner = f.value("flash_inner_bandwidth")
    return Parts(
        logic=_soc(f, body, channel_area(catalog, memory, channels)),
        memory=MemoryParts(
            code=memory,
            units=memory_packages(catalog, memory, channels),
            stack_height=f.value("memory_height", USUAL_DIES),
            bond_pitch=usual_pitch(catalog, memory),
            logic_above=none,
            bandwidth=bandwidth,
            host_bandwidth=bandwidth,
            capacity=f.value("memory_capacity"),
            interface_energy=catalog.take("memory", memory, "interface_energy"),
        ),
        flash=FlashParts(
            code=np.array([catalog.names("flash").index(name) for name in flash_names], dtype=np.int64),
            units=one,
            stack_height=f.value("flash_stacks", USUAL_DIES),
            tlc=(f.code("flash_cell", ("pslc", "tlc"), "tlc") == 1).astype(np.float64),
            attach=np.full(n, FlashAttach.OWN_SHORELINE, dtype=np.int64),
            link_bandwidth=np.full(n, UNBOUNDED),
            shares_phy=none,
            holds=has.astype(np.float64),
            published_inner_bandwidth=inner,
            published_capacity=f.value("flash_capacity"),
        ),
        far=FarParts(code=np.full(n, -1, dtype=np.int64), modules=none),
        pnm=PnmParts(code=np.array(engines, dtype=np.int64), flops=np.where(has, inner * FLOP_PER_BYTE, 0.0)),
        network=NetworkParts(
            domain=one,
            topology=f.code("topology", catalog.names("topology")),
            link_bandwidth=one,
            link_latency=none,
            engine=f.code(
                "collective_engine", catalog.names("collective"), catalog.the("collective", "default")
            ),
        ),
        power_cap=np.full(n, UNRATED),
        limit_ratios={},
        device=DeviceParts(
            mount=np.full(n, Mount.ON_TOP, dtype=np.int64),
            link=np.full(n, -1, dtype=np.int64),
            channels=channels,
        ),
    )
