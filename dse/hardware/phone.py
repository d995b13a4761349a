"""Mobile packages (phones, laptops, glasses, vehicles) as columns of choices: from design variables, or from device files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dse.catalog.catalog import Catalog, names
from dse.core.axes import OPERATORS
from dse.core.units import FloatArray, IntArray
from dse.hardware.codes import numbers
from dse.hardware.logic import clock_ceiling, clock_levels, flop_energies, voltage
from dse.hardware.machine import FIXED_CLOCK
from dse.physics import memory, power
from dse.space.design import Design, codes
from dse.space.space import Space

PNM = ("none", "in_bank", "lpddr_package", "flash_base_die")


HOMES = ("dram", "flash_streamed", "flash_pnm")


LINKS = ("on_package_bus", "on_package_point_to_point", "on_package_mesh_2x2")


MOUNTS = ("pop", "side_by_side", "3d_on_soc")


POP_TALL = 4  # dies the package height of the catalogue is for


@dataclass
class Phone:
    """Choices of n phones, as columns; what devices and designs share."""

    node: IntArray
    peak: FloatArray
    flop_energy: FloatArray
    npu_area: FloatArray
    sram: FloatArray
    dram: IntArray
    bandwidth: FloatArray
    channels: FloatArray
    """DRAM channels whose PHYs the SoC carries"""
    capacity: FloatArray
    height: FloatArray
    mount: IntArray
    link: IntArray
    flash: IntArray
    flash_dies: FloatArray
    flash_tlc: FloatArray
    flash_inner: FloatArray
    flash_capacity: FloatArray
    pnm: IntArray
    pnm_flops: FloatArray
    home: IntArray
    level_energy: FloatArray
    """(n, levels) dynamic energy of the NPU at each clock level over that at its own clock"""
    limits: dict[str, FloatArray]


class Pick:
    """Catalogue values at the codes of phones."""

    def __init__(self, catalog: Catalog, p: Phone, body: str) -> None:
        self.catalog, self.p, self._body = catalog, p, body

    def dram(self, f: str) -> FloatArray:
        """A field of the DRAM."""
        return self.catalog.take("memory", names(self.catalog, "memory"), self.p.dram, f)

    def flash(self, f: str) -> FloatArray:
        """A field of the flash."""
        return self.catalog.take("flash", names(self.catalog, "flash"), self.p.flash, f)

    def cell(self, f: str) -> FloatArray:
        """A field of the flash by cell type."""
        return np.where(self.p.flash_tlc > 0, self.flash(f + "_tlc"), self.flash(f + "_pslc"))

    def link(self, f: str) -> FloatArray:
        """A field of the on-package link."""
        return self.catalog.column("link", LINKS, f)[self.p.link]

    def pnm(self, f: str) -> FloatArray:
        """A field of the PNM engine, 0 without."""
        column = np.concatenate(
            [[0.0], self.catalog.column("pnm", ("in_bank_lpddr", "lpddr_package", "flash_base_die"), f)]
        )
        out: FloatArray = column[self.p.pnm]
        return out

    def pnm_serves(self) -> FloatArray:
        """(n, ops) 1 for operators that the PNM engine can run."""
        entries = ("in_bank_lpddr", "lpddr_package", "flash_base_die")
        can = [self.catalog.entry("pnm", e).attributes.get("operators", "").split() for e in entries]
        table = np.array([[0.0] * len(OPERATORS), *([float(op in each) for op in OPERATORS] for each in can)])
        out: FloatArray = table[self.p.pnm]
        return out

    @property
    def swell(self) -> FloatArray:
        """DRAM die area per byte over that of plain DRAM: what compute in the banks takes is paid as silicon.

        Charging it as lost bytes would make it free on a phone, whose packages come in steps of 4 GiB.
        """
        out: FloatArray = 1.0 / (1.0 - self.pnm("capacity_loss"))
        return out

    def body(self, f: str) -> float:
        """A figure of the body that the package stands in."""
        return self.catalog.value("mobile", self._body, f)

    @property
    def packages(self) -> FloatArray:
        """DRAM packages beside or on the SoC, by the channels that one has; a stack bonded to it is one."""
        each = self.dram("bandwidth_per_stack") / np.maximum(self.dram("bandwidth_per_channel"), 1.0)
        out: FloatArray = np.maximum(np.ceil(self.p.channels / np.maximum(np.round(each), 1.0) - 1e-9), 1.0)
        return out

    @property
    def links(self) -> FloatArray:
        """On-package links: one to each DRAM package."""
        return self.packages


def phone_design(space: Space, design: Design, catalog: Catalog) -> Phone:
    """Phones from design variables."""
    nodes, memories, flashes = (names(catalog, k) for k in ("logic", "memory", "flash"))

    def choice(v: str, order: Sequence[str], *, lower: bool = False) -> IntArray:
        return _codes(space, design, v, order, lower=lower)

    node = choice("soc_node", nodes, lower=True)
    logic = partial(catalog.take, "logic", nodes, node)
    rule = partial(catalog.value, "logic_rules", "common")
    body = partial(catalog.value, "mobile", space.scenario.body)
    area, clock = numbers(space, design, "npu_area"), numbers(space, design, "npu_clock")
    ratio = clock / logic("clock_nominal")
    peak16 = area / (1.0 + body("npu_overhead")) * logic("mac_density") * clock
    scale = power.dynamic_scale(voltage(catalog, ratio), rule("v_nominal"), rule("dynamic_voltage_exponent"))
    dram = choice("dram", memories)
    mount = choice("dram_mount", MOUNTS)
    height = numbers(space, design, "dram_height", 1.0)
    per_channel = catalog.take("memory", memories, dram, "bandwidth_per_channel")
    channels = numbers(space, design, "dram_channels", 0.0)
    on_soc = memory.layered_bandwidth(
        np.full(len(area), body("dram3d_bandwidth_per_area")), np.full(len(area), 1e30), height,
        np.full(len(area), body("soc_base_area")),
    )  # fmt: skip
    flash = choice("flash", flashes)
    dies = numbers(space, design, "flash_dies", 1.0)
    return Phone(
        node=node, peak=peak16[:, None] * np.array([1.0, rule("rate_8bit"), rule("rate_4bit")]),
        flop_energy=flop_energies(catalog, logic("flop_energy") * scale), npu_area=area, sram=numbers(space, design, "npu_sram"),
        dram=dram, bandwidth=np.where(mount == MOUNTS.index("3d_on_soc"), on_soc, channels * per_channel),
        channels=channels,
        capacity=numbers(space, design, "dram_capacity", 0.0), height=height, mount=mount,
        link=choice("on_package_link", tuple(x.removeprefix("on_package_") for x in LINKS)),
        flash=flash, flash_dies=dies, flash_tlc=(choice("flash_cell", ("pslc", "tlc")) == 1).astype(np.float64),
        flash_inner=np.zeros(len(area)), flash_capacity=np.zeros(len(area)),
        pnm=np.maximum(choice("pnm", PNM), 0), pnm_flops=numbers(space, design, "pnm_flops"),
        home=np.maximum(choice("weights_home", HOMES), 0), level_energy=clock_levels(catalog, ratio), limits={"clock": ratio / clock_ceiling(catalog)},
    )  # fmt: skip


def _codes(space: Space, design: Design, variable: str, order: Sequence[str], *, lower: bool = False) -> IntArray:
    position = {name: i for i, name in enumerate(order)}
    choices = [str(c).lower() if lower else str(c) for c in space.variable(variable).choices]
    return np.array([*(position.get(c, -1) for c in choices), -1], dtype=np.int64)[codes(design, variable)]


def phone_devices(catalog: Catalog, devices: Sequence[str]) -> Phone:
    """Phones and laptops from their device files: published bandwidth, capacity and peaks."""
    nodes, memories, flashes = (names(catalog, k) for k in ("logic", "memory", "flash"))
    entries = [catalog.entry("device", d) for d in devices]
    n = len(devices)

    def v(f: str, d: float = 0.0) -> FloatArray:
        return np.array([e.values[f].nominal if f in e.values else d for e in entries], dtype=np.float64)

    def code(a: str, order: Sequence[str], d: str) -> IntArray:
        return np.array([list(order).index(e.attributes.get(a, d)) for e in entries], dtype=np.int64)

    node = code("node", nodes, "n4")
    pnm = code("pnm", PNM, "none")
    memory = code("memory", memories, "lpddr5x")
    rate = np.maximum(catalog.take("memory", memories, memory, "bandwidth_per_channel"), 1.0)
    rate = np.where(rate > 1.0, rate, catalog.value("memory", "lpddr5x", "bandwidth_per_channel"))
    peaks = np.column_stack([v("peak_16bit"), v("peak_8bit"), np.maximum(v("peak_4bit"), v("peak_8bit"))])
    return Phone(
        node=node, peak=peaks, flop_energy=flop_energies(catalog, catalog.take("logic", nodes, node, "flop_energy")),
        npu_area=peaks[:, 0] / (catalog.take("logic", nodes, node, "mac_density") * catalog.take("logic", nodes, node, "clock_nominal"))
        * (1.0 + catalog.value("mobile", "phone", "npu_overhead")), sram=v("sram", 2.0**23), dram=memory,
        bandwidth=v("memory_bandwidth"),
        channels=v("memory_bandwidth") / rate, capacity=v("memory_capacity"), height=v("memory_height", 4.0),
        mount=np.zeros(n, dtype=np.int64), link=np.ones(n, dtype=np.int64), flash=code("flash", flashes, "ufs4"),
        flash_dies=v("flash_stacks", 4.0), flash_tlc=(code("flash_cell", ("tlc", "pslc"), "tlc") == 0).astype(np.float64),
        flash_inner=v("flash_inner_bandwidth"), flash_capacity=v("flash_capacity"), pnm=pnm,
        pnm_flops=np.where(pnm > 0, v("flash_inner_bandwidth") * 4.0, 0.0),
        home=np.where(pnm > 0, HOMES.index("flash_pnm"), 0), level_energy=np.tile(FIXED_CLOCK, (n, 1)), limits={},
    )  # fmt: skip
