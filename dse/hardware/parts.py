"""What is bought: the parts of n packages and their place in a domain, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dse.core.table import Table
from dse.core.units import FloatArray, IntArray
from dse.space.limits import Limit

UNBOUNDED: Final = 1e18
"""stands for a bandwidth or power that a part does not bound, without infinities in the arrays"""

UNRATED: Final = 1e9
"""W; the rating of a package that its cooling alone bounds"""


@dataclass(frozen=True)
class LogicParts(Table):
    """Compute dies of a package, or the SoC of a device."""

    node: IntArray
    """code into the catalogue's logic nodes"""
    area: FloatArray
    """m2 of all compute dies, or of the SoC"""
    added_area: FloatArray
    """m2 of it that a device would not have without a model to run; all of it on a site"""
    dies: FloatArray
    clock: FloatArray
    """1/s; 0 for a machine that exists, whose clock is not ours to choose"""
    peak: FloatArray
    """(n, bits) FLOP/s at the design clock"""
    flop_energy: FloatArray
    """(n, bits) J/FLOP at the design voltage"""
    level_energy: FloatArray
    """(n, levels) dynamic energy at each clock level over that at the design clock"""
    rest_power: FloatArray
    """W of the logic at rest: leakage, or the rails of a SoC that stay awake"""
    sram: FloatArray
    """bytes on chip"""
    scratchpad: FloatArray
    """bytes of ``sram`` that software places data in: 0 where it is a cache"""


@dataclass(frozen=True)
class MemoryParts(Table):
    """The fast memory."""

    code: IntArray
    """code into the catalogue's memories"""
    units: FloatArray
    """stacks or packages"""
    stack_height: FloatArray
    """dies of a stack, or layers of memory on logic"""
    bond_pitch: FloatArray
    """m; of memory bonded to logic"""
    logic_above: FloatArray
    """1 where the logic lies between bonded memory and the coolant"""
    bandwidth: FloatArray
    """B/s that the memory delivers"""
    host_bandwidth: FloatArray
    """B/s of it that reach the host"""
    capacity: FloatArray
    """bytes made; engines in the banks take their share of them"""
    interface_energy: FloatArray
    """J/B from the memory to the host"""


@dataclass(frozen=True)
class FlashParts(Table):
    """Flash of a package."""

    code: IntArray
    """code into the catalogue's flash, -1 none"""
    units: FloatArray
    """stacks or packages"""
    stack_height: FloatArray
    """dies of each"""
    tlc: FloatArray
    """1 where cells store three bits, 0 where one"""
    attach: IntArray
    """``FlashAttach``, -1 none"""
    link_bandwidth: FloatArray
    """B/s that the way to the host carries beyond flash's own interface; UNBOUNDED where there is nothing
    else
    """
    shares_phy: FloatArray
    """1 where its reads cross the PHY of the fast memory"""
    holds: FloatArray
    """1 where weights and KV cache may lie in it, 0 where it is storage alone"""
    published_inner_bandwidth: FloatArray
    """B/s of its planes as published, 0 where they follow from the entry"""
    published_capacity: FloatArray
    """bytes as published, 0 where they follow from the entry"""

    @property
    def dies(self) -> FloatArray:
        """Dies of all stacks or packages."""
        return self.units * self.stack_height


@dataclass(frozen=True)
class FarParts(Table):
    """Memory modules behind links."""

    code: IntArray
    """code into the catalogue's memories, -1 none"""
    modules: FloatArray


@dataclass(frozen=True)
class PnmParts(Table):
    """Engines beside the memory."""

    code: IntArray
    """code into the catalogue's PNM entries, -1 none"""
    flops: FloatArray
    """FLOP/s at 8 bit of each unit that carries one"""


@dataclass(frozen=True)
class NetworkParts(Table):
    """The place of a package in its domain."""

    domain: FloatArray
    """packages of a domain"""
    topology: IntArray
    """code into the catalogue's topologies"""
    link_bandwidth: FloatArray
    """B/s of all links of a package, one direction"""
    link_latency: FloatArray
    """s of a hop beyond the wire's: a host bridge, a network card"""
    engine: IntArray
    """code into the catalogue's collective engines"""


@dataclass(frozen=True)
class DeviceParts(Table):
    """What a package in the body of a device has beside the rest."""

    mount: IntArray
    """``Mount`` of the memory"""
    link: IntArray
    """code into the catalogue's links, of the on-package link to each memory package"""
    channels: FloatArray
    """memory channels whose PHYs the SoC carries"""


@dataclass(frozen=True)
class Parts(Table):
    """Components of n packages; SI units."""

    logic: LogicParts
    memory: MemoryParts
    flash: FlashParts
    far: FarParts
    pnm: PnmParts
    network: NetworkParts
    power_cap: FloatArray
    """W a device is rated for; UNRATED where cooling decides"""
    limit_ratios: dict[Limit, FloatArray]
    """value over limit of checks made while choosing parts"""
    device: DeviceParts | None = None
    """of packages that stand in a body"""

    def __len__(self) -> int:
        return len(self.logic.node)
