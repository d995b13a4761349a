"""A site: what a demand asks, what fixed power carries, from which volume a part of one's own pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.errors import DataError
from dse.core.money import Basis, Comparison, Money, paid
from dse.core.units import Figure, NamedFigure
from dse.evaluator.breakdown import OperatingPoint, scalar
from dse.evaluator.first_order import PACKAGES, FirstOrderModel
from dse.hardware.machine import CostLine, Machine
from dse.hardware.ownership import economics
from dse.physics import carbon, cost
from dse.physics.cost import YEAR
from dse.space.objectives import Goal
from dse.space.scenario import Scenario

NEVER = float("inf")


class SiteFigure(NamedFigure):
    """What a demand asks of a site, by the names that people read, each with its SI unit."""

    PACKAGES = "packages"
    SPARES = "standing by"
    RACKS = "racks"
    PROVISIONED = "power provisioned", "W"
    DRAWN = "power drawn, mean", "W"
    CAPITAL = "capital", "USD"
    SPARE_CAPITAL = "of it spares", "USD"
    FACILITY = "facility", "USD"
    YEARLY_COST = "cost a year", "USD"
    EMBODIED = "embodied carbon a year", "kgCO2e"
    OPERATIONAL = "operational carbon a year", "kgCO2e"
    PEAK_RATE = "output tokens/s, all demand at once"
    MEAN_RATE = "output tokens/s, mean"


Site = Mapping[str, Figure]


def site(point: OperatingPoint) -> dict[str, Figure]:
    """What the scenario's demand for one workload asks of a site, by ``SiteFigure``.

    Packages are whole domains, prompts' pool included; power provisioned is that of the nameplate with PUE,
    power drawn the mean over busy and idle times.
    """
    machine, usage, own = point.machine, point.usage, point.machine.ownership
    packages = point.mode.packages
    waiting = packages * point.trace.fleet.spare_overhead
    bought = packages + waiting
    peak = point.load.concurrency / scalar(point.estimate.tpot)
    mean = peak * usage.duty
    drawn = scalar(point.estimate.energy) * mean
    burnt = carbon.operational(np.array([drawn * YEAR]), scalar(own.electricity_carbon))
    spares = scalar(machine.lines.cost[CostLine.SPARES])
    found = {
        SiteFigure.PACKAGES: packages,
        SiteFigure.SPARES: waiting,
        SiteFigure.RACKS: bought * scalar(machine.installation.racks),
        SiteFigure.PROVISIONED: bought * scalar(own.provisioned_power) * usage.pue,
        SiteFigure.DRAWN: drawn,
        SiteFigure.CAPITAL: bought * scalar(own.capital),
        SiteFigure.SPARE_CAPITAL: bought * spares + waiting * scalar(own.capital),
        SiteFigure.FACILITY: bought * scalar(own.facility),
        SiteFigure.YEARLY_COST: scalar(point.estimate.cost) * mean * YEAR,
        SiteFigure.EMBODIED: bought * scalar(own.embodied_carbon) / point.scenario.lifetime * YEAR,
        SiteFigure.OPERATIONAL: scalar(burnt),
        SiteFigure.PEAK_RATE: peak,
        SiteFigure.MEAN_RATE: mean,
    }
    return {name: Figure(value, name.unit) for name, value in found.items()}


def together(sites: Sequence[Site]) -> dict[str, Figure]:
    """The site that serves several workloads: their sums."""
    if not sites:
        return {}
    return {k: Figure(sum(s[k].value for s in sites), figure.unit) for k, figure in sites[0].items()}


def within(sites: Sequence[Site], power: float) -> float:
    """Output tokens/s of the scenario's mix that ``power`` [W] of provisioned power carries.

    In proportion to its demand.
    """
    whole = together(sites)
    return whole[SiteFigure.PEAK_RATE].value * power / whole[SiteFigure.PROVISIONED].value


AROUND = (
    CostLine.HOST,
    CostLine.NETWORK_CARD,
    CostLine.BOARD,
    CostLine.REGULATORS,
    CostLine.COOLING,
    CostLine.RACK,
)
"""cost lines of what stands around a package, whoever made it"""


def at_price(machine: Machine, package: Money, catalog: Catalog, scenario: Scenario) -> Machine:
    """Machines whose package is bought at a price, whatever its materials cost.

    Everything around it as it is.

    Raises:
        DataError: ``package`` is not a price paid.

    """
    package.needs(Basis.PAID)
    lines = machine.lines.cost
    wires = (lines[CostLine.SWITCHES] + lines[CostLine.CABLES]) / (1.0 - economics(catalog, "gross_margin"))
    beside = sum((lines[name] for name in AROUND), wires)
    capital = (package.amount + beside) * (1.0 + economics(catalog, "spares"))
    owned = cost.owned(
        capital, scenario.lifetime, economics(catalog, "discount_rate"), economics(catalog, "maintenance")
    )
    own = replace(machine.ownership, capital=capital, capital_rate=owned + machine.ownership.facility_rate)
    return replace(machine, ownership=own)


@dataclass(frozen=True)
class BreakEven:
    """A part of one's own against the best part on sale, per million output tokens at one operating point."""

    device: str
    bought: Money
    """cost of ownership with the device at its list price, or an estimated one: ``what`` says"""
    made: Money
    """cost of ownership with the own part, NRE apart"""
    margin: float
    """gross margin that the own part's maker takes"""
    nre: float
    """USD"""
    packages: float
    """volume from which NRE is paid back; infinite where the own part costs more without it"""
    needed: float
    """packages that the scenario's demand takes"""


def on_sale(model: FirstOrderModel) -> list[str]:
    """Devices among the space's baselines that ship, can be had by its year and serve all its models."""
    found = []
    for b in model.space.baselines:
        entry = model.catalog.entry("device", b.device)
        had = entry.available.nominal <= model.space.scenario.year
        if entry.readiness == "shipping" and had and not b.only:
            found.append(b.device)
    return found


def price_of(model: FirstOrderModel, device: str) -> Money:
    """What a device is bought for: its list price, or what its materials are sold for where none is known.

    That is the median of list price over materials of the devices that ship and have a list price.
    """
    entry = model.catalog.entry("device", device)
    if "market_price" in entry.values:
        return Money(entry.values["market_price"].nominal, Basis.PAID, f"{entry.title} at its list price")
    listed = [
        name
        for name, e in model.catalog.entries["device"].items()
        if "market_price" in e.values
        and e.readiness == "shipping"
        and e.attributes["target"] == model.space.target.name
    ]
    if not listed:
        raise DataError(
            f"device {device!r}: no market_price, and no device of the catalogue has one to go by"
        )
    materials = model.devices([*listed, device]).ownership.bill_of_materials
    prices = [model.catalog.value("device", name, "market_price") for name in listed]
    multiple = float(np.median(prices / materials[:-1]))
    return Money(
        float(materials[-1]) * multiple,
        Basis.PAID,
        f"{entry.title} at {multiple:.2g} times its materials, as others are listed",
    )


def not_on_sale(model: FirstOrderModel) -> list[str]:
    """Baselines that ship but serve some models alone: left out of what is on sale."""
    entries = [model.catalog.entry("device", b.device) for b in model.space.baselines if b.only]
    return [e.title for e in entries if e.readiness == "shipping"]


def best_on_sale(model: FirstOrderModel, point: int) -> tuple[str, Money] | None:
    """The device that serves an operating point at least cost, at the price that is known or estimated.

    None where none serves it.
    """
    best: tuple[str, Money] | None = None
    for name in on_sale(model):
        price = price_of(model, name)
        outcomes = model.judge(at_price(model.devices([name]), price, model.catalog, model.space.scenario))
        if not outcomes.feasible[0, point]:
            continue
        found = Money(float(outcomes.objectives[Goal.COST][0, point]), Basis.OWNED, price.what)
        if best is None or Comparison(found, best[1]).ratio < 1.0:
            best = (name, found)
    return best


def break_even(
    model: FirstOrderModel, machine: Machine, point: int, *, margin: float, other: tuple[str, Money] | None
) -> BreakEven | None:
    """Volume from which a machine (n = 1) of one's own is cheaper than ``other``, the best one on sale.

    None where there is none.

    Both sides are cost of ownership on prices paid: the device at its list or estimated price; the own part
    at its materials over (1 - ``margin``) and its NRE over the volume. A margin of 0 is a part made for
    oneself. The cost of a token is linear in the price of the package: c(V) = c + k NRE / V.
    """
    if other is None:
        return None
    scenario, catalog = model.space.scenario, model.catalog
    materials = Money(scalar(machine.ownership.bill_of_materials), Basis.MATERIALS, "the own part")
    nre = scalar(machine.ownership.nre)

    def owned(price: Money) -> Money:
        outcomes = model.judge(at_price(machine, price, catalog, scenario))
        return Money(float(outcomes.objectives[Goal.COST][0, point]), Basis.OWNED, price.what)

    made, dearer = owned(paid(materials, margin, 0.0)), owned(paid(materials, margin, nre / scenario.volume))
    spread = (
        dearer.amount - made.amount
    ) * scenario.volume  # USD per million tokens, were NRE borne by one package
    gap = other[1].amount - made.amount
    Comparison(other[1], made)  # one basis, or it says so
    outcomes = model.judge(machine)
    return BreakEven(
        device=other[0],
        bought=other[1],
        made=made,
        margin=margin,
        nre=nre,
        packages=spread / gap if gap > 0 else NEVER,
        needed=float(outcomes.detail[PACKAGES][0, point]),
    )
