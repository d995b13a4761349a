"""Parts of a package in the body of a phone, laptop, glasses or vehicle, from its design variables."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import MOUNTS, FlashAttach, Mount
from dse.core.units import FloatArray, IntArray
from dse.hardware.codes import called, choice_codes, numbers, pnm_codes
from dse.hardware.datacenter import usual_pitch
from dse.hardware.logic import clock_ceiling, clock_levels, designed, flop_energies, peaks
from dse.hardware.part_values import PartValues
from dse.hardware.parts import (
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
from dse.physics import memory, stack
from dse.space.design import Design
from dse.space.limits import Limit
from dse.space.space import Space

HOMES = ("dram", "flash_streamed", "flash_pnm")
"""where weights live, by the choices of a space"""


def memory_packages(catalog: Catalog, code: IntArray, channels: FloatArray) -> FloatArray:
    """Memory packages beside or on the SoC, by the channels that one has.

    Memory bonded to it counts as one.
    """
    field = partial(catalog.take, "memory", code)
    each = np.round(field("bandwidth_per_stack") / np.maximum(field("bandwidth_per_channel"), 1.0))
    return np.maximum(np.ceil(channels / np.maximum(each, 1.0) - 1e-9), 1.0)


def added_soc_area(catalog: Catalog, node: IntArray, npu_area: FloatArray, sram: FloatArray) -> FloatArray:
    """SoC area [m2] of the NPU and of ``sram`` [B] in the node's cells."""
    return npu_area + sram * catalog.take("logic", node, "sram_area")


def channel_area(catalog: Catalog, code: IntArray, channels: FloatArray) -> FloatArray:
    """SoC area [m2] of the PHYs of memory channels."""
    field = partial(catalog.take, "memory", code)
    share = field("bandwidth_per_channel") / field("bandwidth_per_stack")
    return channels * (field("host_phy_area") * share)


def mobile_parts(space: Space, design: Design, catalog: Catalog) -> Parts:
    """Choose the parts of n designs; checks on the choice go to ``limit_ratios``."""
    body, n = partial(catalog.value, "body", space.scenario.body), len(design)
    node = choice_codes(space, design, "soc_node", catalog.names("logic"), lower=True)
    npu_area, sram = numbers(space, design, "npu_area"), numbers(space, design, "npu_sram")
    clock = numbers(space, design, "npu_clock")
    at_16bit, energy, _, ratio = designed(catalog, node, npu_area / (1.0 + body("npu_overhead")), clock)
    device = _device(space, design, catalog)
    code = choice_codes(space, design, "dram", catalog.names("memory"))
    packages = memory_packages(catalog, code, device.channels)
    flash = _flash(space, design, catalog, device, packages)
    choices = [str(c) for c in space.variable("pnm").choices]
    engine = pnm_codes(catalog, choices, choice_codes(space, design, "pnm", choices), code, flash.code)
    link_area = catalog.take("link", device.link, "area") * packages
    added = added_soc_area(catalog, node, npu_area, sram) + link_area
    added = added + channel_area(catalog, code, device.channels)
    logic = LogicParts(
        node=node,
        area=added + body("soc_base_area"),
        added_area=added,
        dies=np.ones(n),
        clock=clock,
        peak=peaks(catalog, at_16bit),
        flop_energy=flop_energies(catalog, energy),
        level_energy=clock_levels(catalog, ratio),
        rest_power=np.full(n, body("soc_static_power")),
        sram=sram,
        scratchpad=np.zeros(n),
    )
    parts = Parts(
        logic=logic,
        memory=_memory(space, design, catalog, device, code, engine),
        flash=flash,
        far=FarParts(code=np.full(n, -1, dtype=np.int64), modules=np.zeros(n)),
        pnm=PnmParts(code=engine, flops=numbers(space, design, "pnm_flops")),
        network=_network(catalog, n),
        power_cap=np.full(n, UNRATED),
        limit_ratios={Limit.CLOCK: ratio / clock_ceiling(catalog)},
        device=device,
    )
    # a space gives the FLOP/s of all engines together
    each = parts.pnm.flops / np.maximum(PartValues(catalog, parts).pnm_units, 1.0)
    return replace(parts, pnm=replace(parts.pnm, flops=each))


def _device(space: Space, design: Design, catalog: Catalog) -> DeviceParts:
    links = catalog.names("link")
    choices = [str(c) for c in space.variable("on_package_link").choices]
    named = [
        next((i for i, name in enumerate(links) if c in called(catalog, "link", name)), -1) for c in choices
    ]
    chosen = choice_codes(space, design, "on_package_link", choices)
    return DeviceParts(
        mount=choice_codes(space, design, "dram_mount", MOUNTS),
        link=np.array([*named, -1], dtype=np.int64)[chosen],
        channels=numbers(space, design, "dram_channels", 0.0),
    )


def _memory(
    space: Space, design: Design, catalog: Catalog, device: DeviceParts, code: IntArray, engine: IntArray
) -> MemoryParts:
    """DRAM in packages, or bonded to the SoC.

    A layer then reads and holds what the body's bonded memory does.
    """
    field = partial(catalog.take, "memory", code)
    link = partial(catalog.take, "link", device.link)
    body = partial(catalog.value, "body", space.scenario.body)
    bonded = partial(
        catalog.value, "memory", catalog.entry("body", space.scenario.body).attributes["bonded_memory"]
    )
    height = numbers(space, design, "dram_height", 1.0)
    packages = memory_packages(catalog, code, device.channels)
    n, on_soc = len(code), device.mount == Mount.ON_SOC
    pitch = np.where(on_soc, bonded("reference_pitch"), usual_pitch(catalog, code))
    carried = stack.pitch_bandwidth(pitch, np.full(n, bonded("signal_share")), np.full(n, bonded("pad_rate")))
    layered = memory.layered_bandwidth(
        np.full(n, bonded("bandwidth_per_layer_per_area")), carried, height, np.full(n, body("soc_base_area"))
    )
    bandwidth = np.where(on_soc, layered, device.channels * field("bandwidth_per_channel"))
    bus = memory_bus(catalog, device.link)
    energy = np.where(on_soc, body("io_energy_3d"), np.where(bus, field("interface_energy"), link("energy")))
    loss = catalog.take("pnm", engine, "capacity_loss")
    return MemoryParts(
        code=code,
        units=packages,
        stack_height=height,
        bond_pitch=pitch,
        logic_above=np.zeros(n),
        bandwidth=bandwidth,
        host_bandwidth=np.where(on_soc, bandwidth, np.minimum(bandwidth, link("bandwidth") * packages)),
        capacity=numbers(space, design, "dram_capacity", 0.0)
        / (1.0 - loss),  # a device is sold by usable bytes
        interface_energy=energy,
    )


def memory_bus(catalog: Catalog, link: IntArray) -> FloatArray:
    """1 where an on-package link (code) is the memory's own bus, which all that hangs on it shares."""
    said = [
        catalog.entry("link", name).attributes.get("role") == "memory_bus" for name in catalog.names("link")
    ]
    out: FloatArray = np.array([*said, False])[link]
    return out


def _flash(
    space: Space, design: Design, catalog: Catalog, device: DeviceParts, packages: FloatArray
) -> FlashParts:
    n = len(design)
    code = choice_codes(space, design, "flash", catalog.names("flash"))
    home = np.maximum(choice_codes(space, design, "weights_home", HOMES), 0)
    own = catalog.take("flash", code, "interface_per_die") > 0
    shared = (home > 0) & (memory_bus(catalog, device.link).astype(bool) | own)
    return FlashParts(
        code=code,
        units=np.ones(n),
        stack_height=numbers(space, design, "flash_dies", 1.0),
        tlc=(choice_codes(space, design, "flash_cell", ("pslc", "tlc")) == 1).astype(np.float64),
        attach=np.full(n, FlashAttach.OWN_SHORELINE, dtype=np.int64),
        link_bandwidth=catalog.take("link", device.link, "bandwidth") * packages,
        shares_phy=shared.astype(np.float64),
        holds=(home > 0).astype(np.float64),
        published_inner_bandwidth=np.zeros(n),
        published_capacity=np.zeros(n),
    )


def _network(catalog: Catalog, n: int) -> NetworkParts:
    """A package that stands alone."""
    topologies, engines = catalog.names("topology"), catalog.names("collective")
    return NetworkParts(
        domain=np.ones(n),
        topology=np.full(n, topologies.index(catalog.the("topology", "direct")), dtype=np.int64),
        link_bandwidth=np.ones(n),
        link_latency=np.zeros(n),
        engine=np.full(n, engines.index(catalog.the("collective", "default")), dtype=np.int64),
    )
