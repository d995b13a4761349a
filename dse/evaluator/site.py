"""A site: what a demand asks for, what fixed power carries, and from which volume a part of one's own pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.money import Basis, Comparison, Money, paid
from dse.evaluator.breakdown import OperatingPoint, scalar
from dse.evaluator.first_order import DatacenterModel
from dse.hardware.machine import Machine
from dse.physics import carbon, cost
from dse.physics.cost import YEAR
from dse.space.scenario import Scenario

NEVER = float("inf")


UNITS = {
    "packages": "", "standing by": "", "racks": "", "power provisioned": "W", "power drawn, mean": "W", "capital": "USD", "of it spares": "USD",
    "facility": "USD", "cost a year": "USD", "embodied carbon a year": "kgCO2e", "operational carbon a year": "kgCO2e",
    "output tokens/s, all demand at once": "", "output tokens/s, mean": "",
}  # fmt: skip


def site(point: OperatingPoint) -> dict[str, float]:
    """What the scenario's demand for one workload asks of a site, SI; keys and units as UNITS.

    Packages are whole domains, prompts' pool included; power provisioned is that of the nameplate with PUE,
    power drawn the mean over busy and idle times.
    """
    machine, scenario = point.machine, point.scenario
    packages = scalar(point.fleet[f"{point.mode}_fleet"])
    waiting = packages * scalar(point.fleet["standby"])
    bought = packages + waiting
    peak = point.traffic.load.concurrency / scalar(point.estimate.tpot)
    mean = peak * scenario.utilisation
    drawn = scalar(point.estimate.energy) * mean
    return {
        "packages": packages, "standing by": waiting, "racks": bought * scalar(machine.report["racks"]), "power provisioned": bought * scalar(machine.provisioned) * scenario.pue,
        "power drawn, mean": drawn, "capital": bought * scalar(machine.capital), "of it spares": bought * scalar(machine.report["cost: spares"]) + waiting * scalar(machine.capital),
        "facility": bought * scalar(machine.report["facility"]), "cost a year": scalar(point.estimate.cost) * mean * YEAR,
        "embodied carbon a year": bought * scalar(machine.embodied) / scenario.lifetime * YEAR,
        "operational carbon a year": scalar(carbon.operational(np.array([drawn * YEAR]), scalar(machine.grid))),
        "output tokens/s, all demand at once": peak, "output tokens/s, mean": mean,
    }  # fmt: skip


def together(sites: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The site that serves several workloads: their sums."""
    return {k: sum(s[k] for s in sites) for k in sites[0]} if sites else {}


def within(sites: Sequence[Mapping[str, float]], power: float) -> float:
    """Output tokens/s of the scenario's mix that ``power`` [W] of provisioned power carries: in proportion to its demand."""
    whole = together(sites)
    return whole["output tokens/s, all demand at once"] * power / whole["power provisioned"]


def at_price(machine: Machine, package: Money, catalog: Catalog, scenario: Scenario) -> Machine:
    """Machines whose package is bought at a price, whatever its materials cost; everything around it as it is.

    Raises:
        DataError: ``package`` is not a price paid.

    """
    package.needs(Basis.PAID)
    e = {
        f: catalog.value("economics", "datacenter", f)
        for f in ("gross_margin", "spares", "maintenance", "discount_rate")
    }
    wires = (machine.report["cost: switches"] + machine.report["cost: cables and optics"]) / (1.0 - e["gross_margin"])
    around = ("host", "network card", "board and power supply", "regulators", "cooling", "rack")
    beside = sum((machine.report[f"cost: {n}"] for n in around), wires)
    capital = (package.amount + beside) * (1.0 + e["spares"])
    rate = (
        cost.owned(capital, scenario.lifetime, e["discount_rate"], e["maintenance"]) + machine.report["facility rate"]
    )
    return replace(machine, capital=capital, capital_rate=rate)


@dataclass(frozen=True)
class BreakEven:
    """A part of one's own against the best part on sale, per million output tokens at one operating point."""

    device: str
    bought: Money
    """cost of ownership with the device at its list price"""
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


def on_sale(model: DatacenterModel) -> list[str]:
    """Devices among the space's baselines that ship, have a list price, can be had by its year and serve all its models."""
    found = []
    for b in model.space.baselines:
        entry = model.catalog.entry("device", b.device)
        sold = "market_price" in entry.values and entry.readiness == "shipping"
        if sold and not b.only and entry.available.nominal <= model.space.scenario.year:
            found.append(b.device)
    return found


def list_price(catalog: Catalog, device: str) -> Money:
    """What a device is sold for today, as its file says."""
    return Money(catalog.value("device", device, "market_price"), Basis.PAID, f"{device} at its list price")


def not_on_sale(model: DatacenterModel) -> list[str]:
    """Baselines that ship but have no list price, or serve some models alone: left out of what is on sale."""
    sold = set(on_sale(model))
    entries = [model.catalog.entry("device", b.device) for b in model.space.baselines if b.device not in sold]
    return [e.title for e in entries if e.readiness == "shipping"]


def best_on_sale(model: DatacenterModel, point: int) -> tuple[str, Money] | None:
    """The device that serves an operating point at least cost, bought at its list price; None where none serves it."""
    best: tuple[str, Money] | None = None
    for name in on_sale(model):
        machine = model.devices([name])
        outcomes = model.judge(at_price(machine, list_price(model.catalog, name), model.catalog, model.space.scenario))
        if not outcomes.feasible[0, point]:
            continue
        found = Money(float(outcomes.objectives["cost_per_mtoken"][0, point]), Basis.OWNED, f"{name} at its list price")
        if best is None or Comparison(found, best[1]).ratio < 1.0:
            best = (name, found)
    return best


def break_even(
    model: DatacenterModel, machine: Machine, point: int, *, margin: float, other: tuple[str, Money] | None
) -> BreakEven | None:
    """Volume from which a machine (n = 1) of one's own is cheaper than ``other``, the best one on sale; None where there is none.

    Both sides are cost of ownership on prices paid: the device at its list price; the own part at its materials
    over (1 - ``margin``) and its NRE over the volume. A margin of 0 is a part made for oneself. The cost of a
    token is linear in the price of the package: c(V) = c + k NRE / V.
    """
    if other is None:
        return None
    scenario, catalog = model.space.scenario, model.catalog
    materials = Money(scalar(machine.report["bom"]), Basis.MATERIALS, "the own part")
    nre = scalar(machine.report["nre"])

    def owned(price: Money) -> Money:
        outcomes = model.judge(at_price(machine, price, catalog, scenario))
        return Money(float(outcomes.objectives["cost_per_mtoken"][0, point]), Basis.OWNED, price.what)

    made, dearer = owned(paid(materials, margin, 0.0)), owned(paid(materials, margin, nre / scenario.volume))
    spread = (dearer.amount - made.amount) * scenario.volume  # USD per million tokens, were NRE borne by one package
    gap = other[1].amount - made.amount
    Comparison(other[1], made)  # one basis, or it says so
    outcomes = model.judge(machine)
    return BreakEven(
        other[0],
        other[1],
        made,
        margin,
        nre,
        spread / gap if gap > 0 else NEVER,
        float(outcomes.detail["packages"][0, point]),
    )
