"""Figures of a machine under a plan beyond its objectives, each with its unit."""

from __future__ import annotations

from collections.abc import Mapping

from dse.catalog.catalog import Catalog
from dse.core.axes import HeatLimit, PnmSite
from dse.core.units import Figure, NamedFigure
from dse.evaluator.breakdown import OperatingPoint, Terms, by_side, scalar
from dse.hardware.machine import HeatRow, Machine
from dse.hardware.network import cables_by_reach
from dse.physics import flash
from dse.serving.rates import FFN
from dse.serving.trace import Joules
from dse.space.limits import Limit
from dse.space.space import Space

Figures = dict[str, Figure]


class FigureName(NamedFigure):
    """Figures by the names that people read, each with its SI unit."""

    FAST_BANDWIDTH = "fast memory bandwidth", "B/s"
    FAST_CAPACITY = "fast memory capacity", "B"
    FLASH_BANDWIDTH = "flash bandwidth", "B/s"
    FLASH_CAPACITY = "flash capacity", "B"
    PEAK = "peak", "FLOP/s"
    PACKAGE_POWER = "package power, sustained", "W"
    CAPITAL = "capital per package", "USD"
    BILL_OF_MATERIALS = "bill of materials", "USD"
    NRE = "NRE", "USD"
    EMBODIED = "embodied carbon", "kgCO2e"
    FAST_SHARE = "share in fast memory"
    PACKAGES = "packages"
    PROMPT_ALONE = "prompt alone", "s"
    PNM_BANDWIDTH = "PNM bandwidth", "B/s"
    PNM_COMPUTE = "PNM compute at 8 bit", "FLOP/s"
    FLASH_READ_RATE = "flash read rate", "B/s"
    BREAKEVEN_DISTURB = "break-even read-disturb limit"
    DISTURB = "read-disturb limit"
    CLOCK_LEVEL = "clock level"
    DECODE_POWER = "package power, decode", "W"
    PREFILL_POWER = "package power, prefill", "W"
    POWER_LIMIT = "package power limit", "W"
    PACKAGES_PER_RACK = "packages per rack"
    RACK_POWER = "rack power", "W"
    RACK_POWER_LIMIT = "rack power limit", "W"
    IDLE_POWER = "idle power per package, at the wall", "W"
    IDLE_SHARE = "share of energy spent idle"
    INPUT_TOKENS = "USD per million input tokens", "USD"
    OUTPUT_TOKENS = "USD per million output tokens, without its prompt", "USD"
    LINKS = "links of a package"
    CABLES = "cables, bandwidth a package", "B/s"
    SWITCH_CHIPS = "switch chips a package"
    DOMAIN_RACKS = "racks of a domain"
    DOMAIN_SPARES = "spare packages of a domain"
    DOMAIN_FAILURES = "time between failures of a domain", "s"
    BURST = "burst", "s"
    BURST_POWER = "burst_power", "W"
    BURST_DURATION = "burst_duration", "s"
    COLD_START = "cold_start", "s"
    TOKENS_PER_CHARGE = "tokens_per_charge", "token"
    MEMORY_LEFT = "memory_left", "B"


HEAT = "heat: "
"""prefix of the share of a limit's headroom that a step uses"""


def figures(point: OperatingPoint, space: Space, catalog: Catalog, costs: Terms, energies: Terms) -> Figures:
    """Every figure of one machine under one plan."""
    machine, trace = point.machine, point.trace
    holds = scalar(machine.flash.capacity) > 0
    out = {
        FigureName.FAST_BANDWIDTH: scalar(machine.fast.bandwidth),
        FigureName.FAST_CAPACITY: scalar(machine.fast.capacity),
        FigureName.FLASH_BANDWIDTH: scalar(machine.flash.bandwidth) if holds else 0.0,
        FigureName.FLASH_CAPACITY: scalar(machine.flash.capacity),
        FigureName.PEAK: scalar(machine.compute.peak[:, trace.work.bits[FFN]]),
        FigureName.CAPITAL: scalar(machine.ownership.capital),
        FigureName.EMBODIED: scalar(machine.ownership.embodied_carbon),
        FigureName.FAST_SHARE: trace.pair.placed.fast_tier_share,
        FigureName.PACKAGES: trace.plan.group * trace.pair.fitted.depth,
        FigureName.PROMPT_ALONE: trace.pair.prompts.alone,
        FigureName.CLOCK_LEVEL: trace.pair.step.clock,
    }
    if space.target.fleet:
        out |= _site_powers(point) | _idle(point) | _by_side(point, costs, energies) | _made(machine)
    if holds:
        out |= _breakeven(point, space)
    if machine.pnm.site[0] != PnmSite.NONE:
        out |= {
            FigureName.PNM_BANDWIDTH: scalar(machine.pnm.bandwidth),
            FigureName.PNM_COMPUTE: scalar(machine.pnm.flops),
        }
    named: Figures = {name: Figure(value, name.unit) for name, value in out.items()}
    return named | _network(machine, catalog) | heat_shares(machine, trace.joules, trace.pair.step.step)


def _made(machine: Machine) -> dict[FigureName, float]:
    return {
        FigureName.PACKAGE_POWER: scalar(machine.installation.package_power),
        FigureName.BILL_OF_MATERIALS: scalar(machine.ownership.bill_of_materials),
        FigureName.NRE: scalar(machine.ownership.nre),
    }


def _by_side(point: OperatingPoint, costs: Terms, energies: Terms) -> dict[FigureName, float]:
    inputs, outputs = by_side(point, costs, energies)
    return {FigureName.INPUT_TOKENS: inputs, FigureName.OUTPUT_TOKENS: outputs}


def _idle(point: OperatingPoint) -> dict[FigureName, float]:
    """Watts of a package and its surroundings at the wall while it waits, and the share of its energy that is
    spent so.
    """
    machine, usage = point.machine, point.usage
    power = machine.power
    standing = (scalar(power.static) * scalar(power.conversion_loss) + scalar(power.outside)) * usage.pue
    waiting = standing * point.present * (1.0 - usage.duty)
    return {FigureName.IDLE_POWER: standing, FigureName.IDLE_SHARE: waiting / scalar(point.estimate.energy)}


def _site_powers(point: OperatingPoint) -> dict[FigureName, float]:
    """Watts of a package at its operating point beside its limits, and of a rack full of them."""
    machine, pair = point.machine, point.trace.pair
    static = scalar(machine.power.static)
    decode = pair.step.energy / pair.step.step + static
    prompts = pair.prompts.alone
    prefill = pair.prompts.energy / prompts + static if prompts else 0.0
    held = 1.0 / max(scalar(machine.installation.racks), 1e-12)
    wall = max(decode, prefill) * scalar(machine.power.conversion_loss) + scalar(machine.power.outside)
    return {
        FigureName.DECODE_POWER: decode,
        FigureName.PREFILL_POWER: prefill,
        FigureName.POWER_LIMIT: scalar(machine.installation.power_limit),
        FigureName.PACKAGES_PER_RACK: held,
        FigureName.RACK_POWER: held * wall,
        FigureName.RACK_POWER_LIMIT: scalar(machine.installation.rack_power_limit),
    }


def _breakeven(point: OperatingPoint, space: Space) -> dict[FigureName, float]:
    """Read-disturb limit below which reclaim alone ends the flash's life too early."""
    scenario, held, pair = point.scenario, point.machine.flash, point.trace.pair
    wanted = space.thresholds.get(Limit.FLASH_LIFE, scenario.lifetime)
    refreshed = scalar(held.retention_refresh_rate) + 1.0 / scenario.weight_update_interval
    read = pair.step.flash_read * point.usage.duty
    limit = flash.breakeven_disturb_limit(
        read,
        scalar(held.pages_per_block),
        scalar(held.writable_bytes) / wanted,
        pair.placed.stored * refreshed,
    )
    return {
        FigureName.FLASH_READ_RATE: read,
        FigureName.BREAKEVEN_DISTURB: limit,
        FigureName.DISTURB: scalar(held.pages_per_block) / scalar(held.reclaim_share),
    }


def _network(machine: Machine, catalog: Catalog) -> Figures:
    """Links, cables and switches of a package in its domain; nothing for a package of its own."""
    if scalar(machine.network.domain) < 2:
        return {}
    at = machine.installation
    out = {
        FigureName.LINKS: scalar(at.ports),
        FigureName.CABLES: scalar(at.cables),
        FigureName.SWITCH_CHIPS: scalar(at.switch_chips),
        FigureName.DOMAIN_RACKS: scalar(at.domain_racks),
        FigureName.DOMAIN_SPARES: scalar(at.domain_spares),
        FigureName.DOMAIN_FAILURES: 1.0 / scalar(at.domain_failures),
    }
    named: Figures = {name: Figure(value, name.unit) for name, value in out.items()}
    if scalar(at.long_cables) > 0:
        medium = cables_by_reach(catalog)[int(at.long_medium[0])]
        named[f"of them {medium}, bandwidth"] = Figure(scalar(at.long_cables), "B/s")
    return named


def heat_shares(machine: Machine, joules: Joules, step: float) -> Figures:
    """Share of each limit's headroom that a decode step uses, 1 where it throttles."""
    logic = joules.clocks + joules.arithmetic + joules.on_chip
    rows: Mapping[HeatLimit, HeatRow] = machine.heat.rows
    return {
        f"{HEAT}{name}": Figure(
            (scalar(r.logic) * logic + scalar(r.fast) * joules.fast + scalar(r.flash) * joules.flash) / step
        )
        for name, r in rows.items()
    }
