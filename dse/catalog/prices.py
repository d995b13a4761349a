"""What a year does to the price of memory and flash.

Each priced entry names the trend that it follows and the year its price is of; trends are catalogue data
(``price_trend``), relative to one year, each step with its source.
"""

from __future__ import annotations

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.units import FloatArray, IntArray


def level(catalog: Catalog, trend: str, year: float) -> float:
    """Price of a trend in ``year`` over that of its basis year.

    Straight on a log axis between years, flat outside.
    """
    return catalog.kept(("price_level", trend, year), lambda: _level(catalog, trend, year))


def _level(catalog: Catalog, trend: str, year: float) -> float:
    steps = {year: q.nominal for year, q in catalog.entry("price_trend", trend).by_key("factor").items()}
    years = sorted(steps)
    return float(np.exp(np.interp(year, years, np.log([steps[y] for y in years]))))


def price_factor(catalog: Catalog, kind: str, name: str, year: float) -> float:
    """Price of an entry in ``year`` over the one it states, which is of its ``price_year``; 1 where it
    follows no trend.
    """
    entry = catalog.entry(kind, name)
    trend = entry.attributes.get("price_trend")
    if trend is None:
        return 1.0
    return level(catalog, trend, year) / level(catalog, trend, entry.values["price_year"].nominal)


def price_factors(catalog: Catalog, kind: str, codes: IntArray, year: float) -> FloatArray:
    """``price_factor`` at integer codes of a kind, (n,); 1 for an absent part."""
    table = catalog.kept(
        ("price_factors", kind, year),
        lambda: np.array([*(price_factor(catalog, kind, name, year) for name in catalog.names(kind)), 1.0]),
    )
    out: FloatArray = table[codes]
    return out
