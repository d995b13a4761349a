"""Targets: what each kind of machine asks of a space, one row a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dse.space.limits import Limit
from dse.space.objectives import OBJECTIVES, Goal


@dataclass(frozen=True)
class Target:
    """What a space of one target must and may say, and how its machines are spoken of."""

    name: str
    scenario: tuple[str, ...]
    """numbers that its scenario must give, names of ``SCENARIO_UNITS``"""
    scenario_optional: tuple[str, ...]
    objectives: tuple[str, ...]
    """what may be minimised"""
    thresholds: tuple[str, ...]
    """what a space may limit: limits with a unit, and objectives"""
    required_thresholds: tuple[str, ...]
    electricity_grid: str
    """entry of the catalogue's grids where a space names none"""
    body: str
    """entry of the catalogue's bodies where a space names none, "" where machines stand in none"""
    fleet: bool
    """machines serve the demand of a site together: packages by whole domains, dollars per token"""
    one_user: bool
    """one package serves one user at batch 1: no plans to choose from, prompts run before decoding"""
    locked_levels: tuple[str, ...]
    """variables each of whose levels an ablation locks on and searches again"""
    lock_every_level: bool
    """also levels that stand on the front, where searches are quick"""
    cost_title: str
    """heading of a table of its cost lines"""

    @property
    def untold(self) -> frozenset[str]:
        """Limits never said to bind: when a part can be had, and the demand of one user, always filled."""
        return frozenset({Limit.AVAILABLE, Limit.DEMAND} if self.one_user else {Limit.AVAILABLE})

    def threshold_unit(self, name: str) -> str:
        """SI unit of a threshold."""
        return OBJECTIVES[name].unit if name in OBJECTIVES else Limit(name).unit


SCENARIO_UNITS: Final[Mapping[str, str]] = {
    "year": "1",
    "volume": "1",
    "lifetime": "s",
    "weight_update_interval": "s",
    "ttft_input": "token",
    "longest_request": "token",
    "popularity_life": "s",
    "pue": "1",
    "electricity_price": "USD/J",
    "utilisation": "1",
    "site_power": "W",
    "battery": "J",
    "ambient": "K",
    "daily_use": "s",
    "resident_day": "s",
    "application_memory": "B",
    "sustained_after": "s",
}
"""SI unit of every number that a scenario may give; ``Scenario`` says what each is"""

ABOVE_ZERO: Final = 5e-324

SCENARIO_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "year": (2000.0, 2100.0),
    "volume": (1.0, 1e12),
    "lifetime": (86400.0, 3.2e9),
    "weight_update_interval": (ABOVE_ZERO, 3.2e9),
    "ttft_input": (1.0, 1e9),
    "longest_request": (1.0, 1e9),
    "popularity_life": (ABOVE_ZERO, 3.2e9),
    "pue": (1.0, 10.0),
    "electricity_price": (0.0, 5.0 / 3.6e6),
    "utilisation": (1e-3, 1.0),
    "site_power": (ABOVE_ZERO, 1e13),
    "battery": (ABOVE_ZERO, 1e9),
    "ambient": (200.0, 400.0),
    "daily_use": (ABOVE_ZERO, 86400.0),
    "resident_day": (0.0, 86400.0),
    "application_memory": (0.0, 1e15),
    "sustained_after": (0.0, 1e6),
}
"""least and most of every number that a scenario may give, SI"""

_EVERYWHERE = ("year", "volume", "lifetime", "weight_update_interval", "ttft_input")

_DATACENTER: Final = Target(
    name="datacenter",
    scenario=(*_EVERYWHERE, "pue", "electricity_price", "utilisation", "longest_request"),
    scenario_optional=("popularity_life", "site_power"),
    objectives=(Goal.TPOT, Goal.COST, Goal.ENERGY, Goal.CARBON, Goal.TTFT),
    thresholds=(
        Limit.TTFT,
        Limit.FLASH_LIFE,
        Limit.RACK_POWER,
        Limit.SITE_POWER,
        Limit.SITE_CAPITAL,
        Goal.TPOT,
        Goal.COST,
        Goal.ENERGY,
        Goal.CARBON,
    ),
    required_thresholds=(),
    electricity_grid="usa",
    body="",
    fleet=True,
    one_user=False,
    locked_levels=("flash", "pnm", "fast_memory", "topology"),
    lock_every_level=False,
    cost_title="Cost per million output tokens",
)

_DEVICE_LIMITS = (
    Limit.TTFT,
    Limit.FLASH_LIFE,
    Limit.SKIN_TEMPERATURE,
    Limit.BURST_POWER,
    Limit.COLD_START,
    Limit.Z_HEIGHT,
    Limit.DRAM_TEMPERATURE,
)

_MOBILE: Final = Target(
    name="mobile",
    scenario=(
        *_EVERYWHERE,
        "battery",
        "ambient",
        "daily_use",
        "resident_day",
        "application_memory",
        "sustained_after",
    ),
    scenario_optional=(),
    objectives=(Goal.TPOT, Goal.ENERGY, Goal.MATERIALS, Goal.CARBON, Goal.TTFT),
    thresholds=(*_DEVICE_LIMITS, Goal.TPOT, Goal.MATERIALS, Goal.ENERGY, Goal.CARBON),
    required_thresholds=_DEVICE_LIMITS,
    electricity_grid="world",
    body="phone",
    fleet=False,
    one_user=True,
    locked_levels=("flash", "pnm", "dram_mount", "on_package_link", "dram", "weights_home"),
    lock_every_level=True,
    cost_title="Added bill of materials",
)

TARGETS: Final[Mapping[str, Target]] = {t.name: t for t in (_DATACENTER, _MOBILE)}
"""every target by name"""
