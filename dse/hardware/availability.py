"""When the parts of a design can be had, against the scenario's year."""

from __future__ import annotations

import numpy as np

from dse.core.axes import Mount
from dse.core.units import FloatArray, IntArray
from dse.hardware.part_values import PartValues

EARLIEST, LATEST = -3.0, 10.0
"""years before and after the scenario's that are told apart"""


def too_late(year: FloatArray, scenario_year: float) -> FloatArray:
    """Above 1 for what comes after the scenario's year, e-fold by year."""
    out: FloatArray = np.exp(np.clip(year - scenario_year, EARLIEST, LATEST))
    return out


def latest_year(values: PartValues) -> FloatArray:
    """Nominal year in which the last of a design's parts can be had.

    Flash in stacks of its height, HBM by its bonding.
    """
    parts = values.parts
    years = [
        values.available("logic", parts.logic.node),
        values.available("memory", parts.memory.code),
        values.available("flash", parts.flash.code),
        values.available("memory", parts.far.code),
        values.available("pnm", parts.pnm.code),
        np.where(values.stacked > 0, _bonding_year(values), 0.0),
        *_flash_heights(values),
    ]
    if parts.device is not None:
        bonded = values.catalog.entry("memory", values.bonded_memory).available.nominal
        years.append(values.available("link", parts.device.link))
        years.append(np.where(parts.device.mount == Mount.ON_SOC, bonded, 0.0))
    latest: FloatArray = np.maximum.reduce(years)
    return latest


def _bonding_year(values: PartValues) -> FloatArray:
    """Nominal year of the bonding that a stack needs.

    What any stack can be made with has been there always.
    """
    years = [values.catalog.entry("bond", name).available.nominal for name in values.bonds]
    out: FloatArray = np.array([0.0, *years[1:]])[values.bond_code]
    return out


def _flash_heights(values: PartValues) -> list[FloatArray]:
    """For each height that some flash states a year for.

    That year where a design stacks so many dies of it.
    """
    parts, catalog = values.parts.flash, values.catalog
    names = catalog.names("flash")
    stated = {name: catalog.entry("flash", name).by_key("available_height") for name in names}
    out = []
    for height in sorted({h for steps in stated.values() for h in steps}):
        table = [stated[n][height].nominal if height in stated[n] else 0.0 for n in names]
        years = np.array([*table, 0.0])[parts.code]
        out.append(np.where(parts.stack_height == float(height), years, 0.0))
    return out


def link_years(values: PartValues, names: list[str], code: IntArray, used: FloatArray) -> FloatArray:
    """Nominal year of links (``code`` into ``names``) where any of them are ``used``, else 0."""
    years = np.array([values.catalog.entry("link", name).available.nominal for name in names])[code]
    return np.where(used > 0, years, 0.0)
