"""What each target asks for: units of its scenario and limits, and what it may minimise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TARGET_OBJECTIVES: Final[Mapping[str, tuple[str, ...]]] = {
    "datacenter": ("tpot", "cost_per_mtoken", "energy_per_token", "carbon_per_mtoken", "ttft"),
    "mobile": ("tpot", "energy_per_token", "bom", "carbon_per_mtoken", "ttft"),
}
"""what each target can be asked to minimise, and what may be limited"""


SCENARIO_UNITS: Final = {
    "datacenter": {
        "year": "1", "volume": "1", "pue": "1", "electricity_price": "USD/J", "lifetime": "s",
        "utilisation": "1", "weight_update_interval": "s", "ttft_input": "token", "longest_request": "token",
    },
    "mobile": {
        "year": "1", "volume": "1", "battery": "J", "ambient": "K", "lifetime": "s", "daily_use": "s", "resident_day": "s",
        "application_memory": "B", "sustained_after": "s", "ttft_input": "token", "weight_update_interval": "s",
    },
}  # fmt: skip


SCENARIO_OPTIONAL: Final = {"datacenter": {"popularity_life": "s", "site_power": "W"}, "mobile": dict[str, str]()}


_OBJECTIVE_LIMITS: Final = {"tpot": "s", "energy_per_token": "J", "carbon_per_mtoken": "kgCO2e"}


LIMIT_UNITS: Final = {
    "datacenter": {"ttft": "s", "flash_life": "s", "rack_power": "W", "cost_per_mtoken": "USD", **_OBJECTIVE_LIMITS},
    "mobile": {
        "ttft": "s", "flash_life": "s", "skin_temperature": "K", "burst_power": "W", "cold_start": "s", "z_height": "m",
        "dram_temperature": "K", "bom": "USD", **_OBJECTIVE_LIMITS,
    },
}  # fmt: skip
