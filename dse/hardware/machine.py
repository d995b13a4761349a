"""What serving needs of n machines, all per package unless said otherwise; small records, SI units."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np

from dse.core.axes import CLOCK_LEVELS, GROUPS, HeatLimit
from dse.core.table import Table
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.space.limits import Limit


@dataclass(frozen=True)
class Compute(Table):
    """Arithmetic of the host."""

    peak: FloatArray
    """(n, bits) FLOP/s at the design clock"""
    flop_energy: FloatArray
    """(n, bits) J/FLOP"""
    level_energy: FloatArray
    """(n, levels) dynamic energy of the logic at each clock level over that at the design clock"""
    clock_power: FloatArray
    """W of clocked logic while it works"""
    byte_energy: FloatArray
    """J/B of a byte that enters the compute die: into a buffer and out again"""

    def levels(self) -> tuple[float, ...]:
        """Clock levels that these machines may run a pass at.

        All of those they have, or the design clock alone.
        """
        return CLOCK_LEVELS if self.level_energy[0, -1] <= 1.0 else CLOCK_LEVELS[:1]


@dataclass(frozen=True)
class Tier(Table):
    """A memory that the host reads; bandwidth 1 and capacity 0 where there is none."""

    bandwidth: FloatArray
    write_bandwidth: FloatArray
    capacity: FloatArray
    latency: FloatArray
    """s from asking until the first byte comes"""
    energy: FloatArray
    """J/B of a read by the host"""
    standby_power: FloatArray
    """W whatever it does"""


@dataclass(frozen=True)
class Fast(Tier):
    """The fast memory: HBM, LPDDR, DRAM on logic, or the SRAM of the compute die."""

    installed: FloatArray
    """bytes that are there, applications' included"""
    refresh_power: FloatArray
    """W of refresh, part of the standby power; paid twice where DRAM is hot"""
    on_chip: FloatArray
    """1 where it is the scratchpad itself, which activations and staging share"""


@dataclass(frozen=True)
class Flash(Tier):
    """Flash that holds weights and KV cache."""

    program_energy: FloatArray
    """J/B written"""
    writable_bytes: FloatArray
    """bytes that may ever be written: P/E cycles x capacity / write amplification"""
    reclaim_share: FloatArray
    """bytes rewritten per byte read: pages per block over read-disturb limit"""
    pages_per_block: FloatArray
    retention_refresh_rate: FloatArray
    """1/s: share of the stored bytes rewritten for retention"""
    page_bytes: FloatArray
    """the least that is read"""
    stripe_bytes: FloatArray
    """one page of every plane"""
    read_ahead_buffer: FloatArray
    """bytes of staging beyond what keeps the planes streaming: for reads ahead of use"""
    shares_fast_phy: FloatArray
    """1 where reads cross the fast memory's PHY"""


@dataclass(frozen=True)
class Pnm(Table):
    """Engines beside the memory."""

    site: IntArray
    """``PnmSite``"""
    serves: FloatArray
    """(n, ops) 1 for operators that the engine can run"""
    bandwidth: FloatArray
    flops: FloatArray
    """FLOP/s at 8 bit, all units"""
    energy: FloatArray
    """J/B of a read by the engine"""
    flop_energy: FloatArray
    """J/FLOP at 8 bit"""
    switch_latency: FloatArray
    """s to hand a unit over, and as much to take it back"""
    copies: FloatArray
    """times that inputs and partial sums of a partitioned matrix cross"""
    clock_power: FloatArray
    """W of the engine's clocked logic, while the machine works"""


@dataclass(frozen=True)
class HeatRow(Table):
    """One limit of heat or power as coefficients [s/J].

    A step of energies E takes at least sum_i c_i E_i seconds.
    """

    logic: FloatArray
    fast: FloatArray
    flash: FloatArray


@dataclass(frozen=True)
class Heat(Table):
    """Limits of heat, each a row."""

    rows: dict[HeatLimit, HeatRow]
    refresh_doubling: HeatRow
    """above 1 at the temperature from which DRAM is refreshed twice as often"""
    hot_bandwidth_loss: FloatArray
    """share of bandwidth that doubled refresh takes"""


@dataclass(frozen=True)
class Network(Table):
    """The domain that a package stands in, and the network beyond."""

    domain: FloatArray
    """packages of the domain"""
    reduce_alpha: FloatArray
    """(n, groups, lines) s of an all-reduce without its bytes, by algorithm and protocol"""
    reduce_rate: FloatArray
    """(n, groups, lines) s per message byte"""
    exchange_alpha: FloatArray
    """(n, groups) s of an all-to-all without its bytes"""
    exchange_rate: FloatArray
    """(n, groups) s per byte that a rank sends"""
    gather_alpha: FloatArray
    """(n, groups) s of an all-gather of a few bytes"""
    point_to_point_alpha: FloatArray
    """s of a message in the domain, without its bytes"""
    link_bandwidth: FloatArray
    scale_out_bandwidth: FloatArray
    """B/s a package has to other domains"""
    scale_out_latency: FloatArray
    scale_out_energy: FloatArray

    @classmethod
    def absent(cls, n: int, lines: int) -> Network:
        """N packages that stand alone: every message takes no time."""
        one, none = np.ones(n), np.zeros(n)
        groups = np.broadcast_to(np.zeros((1, len(GROUPS))), (n, len(GROUPS)))
        tables = np.broadcast_to(np.zeros((1, len(GROUPS), lines)), (n, len(GROUPS), lines))
        return cls(
            domain=one,
            reduce_alpha=tables,
            reduce_rate=tables,
            exchange_alpha=groups,
            exchange_rate=groups,
            gather_alpha=groups,
            point_to_point_alpha=none,
            link_bandwidth=one,
            scale_out_bandwidth=one,
            scale_out_latency=none,
            scale_out_energy=none,
        )


@dataclass(frozen=True)
class Power(Table):
    """Power that stands, and what conversion loses."""

    static: FloatArray
    """W in the package whatever it does"""
    outside: FloatArray
    """W outside the package: host share, switches, fans"""
    conversion_loss: FloatArray
    """watts drawn per watt of the package: voltage conversion"""


@dataclass(frozen=True)
class Ownership(Table):
    """What a package costs to buy and own, and embodies."""

    capital: FloatArray
    """USD of all that is bought: on a site package, host, switch, link and rack share, spares and NRE"""
    capital_rate: FloatArray
    """USD/s of capital, maintenance and facility; 0 where the buyer of a device pays it once"""
    bill_of_materials: FloatArray
    """USD of the package's parts, before margin and NRE"""
    nre: FloatArray
    """USD of design and masks, were one package made"""
    facility: FloatArray
    """USD of building, power and cooling of its share of a site"""
    facility_rate: FloatArray
    """USD/s of it"""
    provisioned_power: FloatArray
    """W at the wall of package, host and switch share, for which facility is built"""
    embodied_carbon: FloatArray
    """kgCO2e"""
    electricity_carbon: FloatArray
    """kgCO2e/J of the electricity"""


@dataclass(frozen=True)
class Reliability(Table):
    """Failures and what stands by for them."""

    failure_rate: FloatArray
    """1/s: how often a package stops its group"""
    spare_share: FloatArray
    """capital of spares in the domain over that of its packages, and the time that they do not suffice"""
    repair_time: FloatArray
    recovery_time: FloatArray
    """s until a spare works in the place of a broken package"""

    @classmethod
    def perfect(cls, n: int) -> Reliability:
        """N packages that nothing stops."""
        none = np.zeros(n)
        return cls(failure_rate=none, spare_share=none, repair_time=none, recovery_time=none)


class CostLine(StrEnum):
    """A line of what is bought, by its name."""

    COMPUTE_DIES = "compute dies"
    ADDED_LOGIC = "NPU, SRAM, link and PHY area"
    MEMORY = "memory"
    HYBRID_BONDS = "hybrid bonds"
    LOST_IN_BONDING = "SoC and DRAM lost in bonding"
    PNM_ENGINES = "PNM engines"
    FLASH = "flash"
    PACKAGING = "packaging"
    MOUNTING = "mounting"
    FAR_MEMORY = "far memory and links"
    SWITCHES = "switches"
    CABLES = "cables and optics"
    GROSS_MARGIN = "gross margin"
    NRE = "NRE"
    HOST = "host"
    NETWORK_CARD = "network card"
    BOARD = "board and power supply"
    REGULATORS = "regulators"
    COOLING = "cooling"
    RACK = "rack"
    SPARES = "spares"


class CarbonLine(StrEnum):
    """A line of what is embodied, by its name."""

    COMPUTE_DIES = "compute dies"
    ADDED_LOGIC = "NPU, SRAM, link and PHY area"
    LOST_IN_BONDING = "SoC lost in bonding"
    MEMORY = "memory"
    FLASH = "flash"
    FAR_MEMORY = "far memory"
    PACKAGING = "packaging"
    LINKS_AND_SWITCHES = "links and switches"
    SERVER = "server"
    FACILITY = "facility"
    SPARES = "spares"


class StandingLine(StrEnum):
    """A line of power that stands, by its name."""

    LOGIC = "leakage"
    DRAM_STANDBY = "DRAM standby"
    DRAM_REFRESH = "DRAM refresh"
    FLASH_IDLE = "flash idle"
    COLLECTIVE_ENGINE = "collective engine"
    LINKS = "links"
    ROUTERS = "routers"
    HOST = "host"
    SWITCHES = "switches"
    CABLES = "cables and optics"
    FAR_MEMORY = "far memory"
    FANS = "fans"


class ReadLine(StrEnum):
    """A part of the energy of reading a byte of fast memory, by its name."""

    ARRAY = "array"
    IN_STACK_WIRES = "in-stack wires"
    INTERFACE = "interface"
    BETWEEN_DIES = "between dies"


@dataclass(frozen=True)
class Lines(Table):
    """Sums of a machine line by line, as a breakdown shows them."""

    cost: dict[CostLine, FloatArray]
    """USD; add up to the capital"""
    carbon: dict[CarbonLine, FloatArray]
    """kgCO2e; add up to the embodied carbon"""
    static: dict[StandingLine, FloatArray]
    """W; add up to the package's static power"""
    outside: dict[StandingLine, FloatArray]
    """W; add up to the power outside the package"""
    fast_read: dict[ReadLine, FloatArray]
    """J/B; add up to a read of the fast memory"""
    flash_array: FloatArray
    """J/B that a read of flash takes inside it; the rest are interface and links"""


@dataclass(frozen=True)
class Installation(Table):
    """How a package stands among others: power, racks, links, switches."""

    package_power: FloatArray
    """W sustained"""
    power_limit: FloatArray
    """W"""
    racks: FloatArray
    """racks that a package takes"""
    rack_power_limit: FloatArray
    """W"""
    carrier: FloatArray
    """0 a substrate, else which interposer, from the smallest"""
    regulators: FloatArray
    """which power delivery, from that of least current"""
    ports: FloatArray
    """links of a package"""
    cables: FloatArray
    """B/s of cables of a package"""
    long_cables: FloatArray
    """B/s of them that leave the rack"""
    long_medium: IntArray
    """which cable those are, from the shortest reach"""
    switch_chips: FloatArray
    """a package"""
    domain_racks: FloatArray
    """racks of a domain"""
    domain_spares: FloatArray
    """spare packages of a domain"""
    domain_failures: FloatArray
    """1/s of a domain"""

    @classmethod
    def alone(cls, n: int) -> Installation:
        """N packages that stand alone, in no rack."""
        none = {f.name: np.zeros(n) for f in fields(cls) if f.name != "long_medium"}
        return cls(**none, long_medium=np.zeros(n, dtype=np.int64))


@dataclass(frozen=True)
class Machine(Table):
    """What serving asks of a design; n rows."""

    compute: Compute
    fast: Fast
    sram: Tier
    """on-chip memory that may hold weights, activations included"""
    flash: Flash
    far: Tier
    pnm: Pnm
    heat: Heat
    network: Network
    power: Power
    ownership: Ownership
    reliability: Reliability
    installation: Installation
    lines: Lines
    limit_ratios: dict[Limit, FloatArray]
    """value over limit of each check on the design alone"""

    def __len__(self) -> int:
        return len(self.network.domain)

    @property
    def lower_latency(self) -> FloatArray:
        """S from asking memory below the fast tier for a page until it comes."""
        return np.maximum(self.flash.latency, self.far.latency)

    @property
    def tiered(self) -> BoolArray:
        """Which machines have memory below the fast tier; shape (n,)."""
        return self.flash.capacity + self.far.capacity > 0

    def unbroken(self) -> BoolArray:
        """Which machines break no limit of their own, whatever the plan; shape (n,)."""
        worst = [ratio <= 1.0 for ratio in self.limit_ratios.values()]
        return np.logical_and.reduce(worst, axis=0) if worst else np.ones(len(self), dtype=bool)
