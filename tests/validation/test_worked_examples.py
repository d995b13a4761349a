"""Published worked examples of dies, packages, ownership, carbon and energy, through the model's own functions where it has one.

Dies, yields, wafers, annuities and embodied carbon are the functions that the search calls; sums, products and ratios
that a row only states (prices of parts, rents by the hour, joules by the second) are worked as the row says.

``worked_examples.csv`` holds the inputs, the published or recomputed value, its tolerance and its source. Die
cost and yield must agree within 5 %, embodied carbon within 10 %, or within the row's own tolerance where that
is tighter: the rows state what their formula gives.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dse.core.table import total
from dse.physics import carbon, cost

ROWS = list(
    csv.DictReader((Path(__file__).parent / "worked_examples.csv").read_text(encoding="utf-8").splitlines())
)


KWH, HOUR, DAY = 3.6e6, 3600.0, 86400.0


Row = dict[str, Any]


POISSON = 1e9  # clustering without end: the negative binomial's limit


def A(x: float) -> Any:  # noqa: N802 - one design is an array of one
    return np.array([float(x)])


def the(x: Any) -> float:
    return float(np.ravel(x)[0])


def gross(r: Row, area: float) -> Any:
    """Dies on a wafer, mm in the rows, m in the model."""
    diameter = r.get("wafer_diameter_mm", 300) * 1e-3
    return cost.dies_per_wafer(
        A(area * 1e-6), diameter, r.get("edge_loss_mm", 0) * 1e-3, r.get("scribe_mm", 0) * 1e-3
    )


def good(r: Row, area: float) -> Any:
    if "die_yield" in r:
        return A(r["die_yield"])
    alpha = {"poisson": POISSON, "murphy": 10.0}.get(r.get("model", "")) or float(r.get("alpha", 10.0))
    return cost.die_yield(A(area * 1e-6), A(r["defect_density_per_cm2"] * 1e4), alpha)


def die(r: Row, area: float) -> float:
    """USD of a known good die, without test."""
    if "good_dies_per_wafer" in r:
        return the(cost.die_cost(A(r["wafer_price_usd"]), A(r["good_dies_per_wafer"]), A(1.0), 0.0))
    return the(cost.die_cost(A(r.get("wafer_price_usd", 1.0)), gross(r, area), good(r, area), 0.0))


def chiplets(r: Row) -> float:
    return float(r["chiplets"]) * die(r, r["chiplet_area_mm2"]) / die(r, r["monolithic_area_mm2"])


def package(r: Row) -> float:
    """Chips placed last on a silicon interposer: what fails at a step takes all before it along (Chiplet Actuary)."""
    area, n = r["die_area_mm2"], r["dies"]
    r = r | {"edge_loss_mm": 5, "scribe_mm": 0.2}
    interposer = n * area * r["interposer_area_scale"]
    usable = cost.die_yield(A(interposer * 1e-6), A(r["interposer_d0"] * 1e4), r["interposer_alpha"])
    raw = (
        the(cost.die_cost(A(r["interposer_wafer_usd"]), gross(r, interposer), A(1.0), 0.0))
        + r["c4_usd_per_mm2"] * interposer
    )
    joined = r["bond_yield_si"] ** n * r["bond_yield_os"]
    chips = n * (die(r, area) + r["ubump_usd_per_mm2"] * area)
    substrate = r["substrate_usd_per_mm2"] * r["substrate_scale"] * interposer
    return float(chips / joined + raw / (the(usable) * joined) + substrate / r["bond_yield_os"])


def act_logic(r: Row) -> float:
    per_area = carbon.per_area(
        r["ci_fab_g_kwh"] * 1e-3 / KWH,
        A(r["epa_kwh_cm2"] * KWH * 1e4),
        A(r["gpa_g_cm2"] * 10.0),
        r["mpa_g_cm2"] * 10.0,
    )
    count = float(r.get("cpus", 1))
    return count * the(
        carbon.packaged(
            A(r["area_cm2"] * 1e-4),
            per_area,
            A(r["fab_yield"]),
            A(float(r.get("ics_per_cpu") or r.get("ics", 1))),
            r["pkg_g"] * 1e-3,
        )
    )


def act_memory(r: Row) -> float:
    count = float(r.get("modules") or r.get("drives", 1))
    return count * the(
        carbon.packaged(
            A(r["capacity_gb"]), A(r["g_per_gb"] * 1e-3), A(r["fab_yield"]), A(r["ics"]), r["pkg_g"] * 1e-3
        )
    )


def fairphone(r: Row) -> float:
    both = r["dram_gb"] * r["dram_g_per_gb"] + r["flash_gb"] * r["flash_g_per_gb"]
    return the(carbon.packaged(A(both), A(1e-3), A(r["fab_yield"]), A(r["ics"]), r["pkg_g"] * 1e-3))


def ecochip(r: Row) -> float:
    area = r["area_mm2_7nm"] * r["area_scale"]
    whole = np.floor(gross(r, area))  # ECO-CHIP counts whole dies
    per_area = A(r["cpa_g_mm2"] * 1e3)
    waste = carbon.wafer_waste(A(area * 1e-6), whole, r["wafer_diameter_mm"] * 1e-3)
    return the(carbon.die_carbon(A(area * 1e-6), per_area, good(r, area)) + waste * per_area)


def embodied(name: str, r: Row) -> float:
    if name.startswith("ecochip"):
        return ecochip(r)
    if "area_cm2" in r:
        return act_logic(r)
    if "flash_gb" in r:
        return fairphone(r)
    if "g_per_gb" in r:
        return act_memory(r)
    if name == "boavizta_cpu":
        return the(carbon.packaged(A(r["die_mm2"]), A(r["kg_per_mm2"]), A(1.0), A(1.0), r["base_kg"]))
    if name == "boavizta_ram":
        return float(r["modules"]) * the(
            carbon.packaged(A(r["gb"] / r["gb_per_cm2"]), A(r["kg_per_cm2"]), A(1.0), A(1.0), r["base_kg"])
        )
    if name == "hgx_h200_scaling":
        return float(r["h100_board_kg"] + r["h100_memory_kg"] * (r["gb_to"] / r["gb_from"] - 1.0))
    return float(total(A(v) for v in r.values())[0])


def owned(name: str, r: Row) -> float:
    """Ownership and revenue: annuities by the model's capital charge, the rest by the row's own words."""
    if name.startswith("epoch"):
        year = cost.YEAR
        it = cost.capital_charge(A(r["it_capex"]), r["it_years"] * year, r["discount_rate"])
        site = cost.capital_charge(
            A(r["capex"] - r["it_capex"]), r["facility_years"] * year, r["discount_rate"]
        )
        return the(it + site) * year + float(r["opex"])
    if name.startswith("tco5y"):
        energy = r["tdp_w"] * r["pue"] * r["utilisation"] * r["years"] * 8760.0 / 1000.0
        return float(r["gpus"] * (r["gpu_usd"] + energy * r["usd_per_kwh"]))
    if name == "h100_hour_3y":
        return (
            the(
                cost.owned(
                    A(r["capex_usd"]),
                    r["years"] * r["hours_per_year"] * HOUR,
                    0.0,
                    (r["opex_factor"] - 1.0) / (r["years"] * r["hours_per_year"] * HOUR),
                )
            )
            * HOUR
        )
    if name == "sglang_output_cost":
        return float(
            r["usd_per_gpu_hour"] * r["gpus_per_node"] / (r["output_tokens_per_s_per_node"] * HOUR) * 1e6
        )
    if name == "gb200_prefill_fp8":
        return float(
            r["flop_per_token"] / (r["peak_flops"] * r["utilisation"]) * r["usd_per_gpu_hour"] / HOUR * 1e6
        )
    if name == "deepseek_margin":
        return float((r["revenue"] - r["cost"]) / r["cost"])
    missed = r["input_tokens"] - r["cache_hit_tokens"]
    return float(
        (r["cache_hit_tokens"] * r["usd_hit"] + missed * r["usd_miss"] + r["output_tokens"] * r["usd_out"])
        * 1e-6
    )


def bought(name: str, r: Row) -> float:
    if name == "dgx_h100_per_gpu":
        return float((r["price"] - r["gross_profit"] - r["non_gpu"]) / r["gpus"])
    if "compute_trays" in r:
        return float(r["compute_trays"] * r["usd_compute"] + r["switch_trays"] * r["usd_switch"])
    return float(total(A(v) for v in r.values())[0])


def energy(_: str, r: Row) -> float:
    if "power_w" in r:
        return float(r["power_w"] / r["tokens_per_s"])
    return (
        float(r["uwh_per_token"] * 1e-6 * HOUR)
        if "uwh_per_token" in r
        else float(r["j_per_token"] * 1e6 / KWH)
    )


KINDS: dict[str, Callable[[str, Row], float]] = {
    "die_count": lambda _, r: the(gross(r, r["die_area_mm2"])),
    "die_cost": lambda _, r: die(r, r["die_area_mm2"]),
    "die_yield": lambda _, r: the(good(r, r["die_area_mm2"])),
    "die_cost_ratio": lambda _, r: chiplets(r),
    "package_cost": lambda _, r: package(r),
    "die_area": lambda _, r: the(total(A(x) for x in r["parts_mm2"])),
    "memory_cost": lambda _, r: r["capacity_gb"] * r["usd_per_gb"],
    "bom_sum": bought,
    "capex": lambda _, r: (r["nodes"] * (r["node_usd"] + r["facility_ops_usd_per_node"]) + r["switches"] * r["switch_usd"] + r["cables_usd"]) / r["gpus"],
    "tco": owned,
    "embodied_carbon": embodied,
    "operational_carbon": lambda _, r: the(carbon.operational(A(r["power_w"] * r["duty"] * r["years"] * r["hours_per_year"] * HOUR), r["ci_g_kwh"] * 1e-3 / KWH)),
    "embodied_intensity": lambda _, r: r["h100_g_per_exaflop"] * r["b200_kg"] / r["h100_kg"] / r["throughput_ratio"],
    "embodied_share": lambda _, r: r["embodied_kg"] * 1e3 / (r["life_years"] * 365.0 * DAY) * r["gpu_seconds"] / (r["concurrent"] * r["active_share"]),
    "energy_per_prompt": lambda _, r: the(total(A(v) for v in r.values())),
    "energy_per_token": energy,
    "power_share": lambda _, r: r["idle_w"] / r["load_w"],
}  # fmt: skip


ALLOWED = {
    "die_cost": 0.05,
    "die_yield": 0.05,
    "die_count": 0.05,
    "die_cost_ratio": 0.05,
    "embodied_carbon": 0.10,
}


def test_every_kind_of_row_is_worked() -> None:
    assert {r["kind"] for r in ROWS} == set(KINDS)
    assert len(ROWS) == 61


@pytest.mark.parametrize("row", ROWS, ids=[r["id"] for r in ROWS])
def test_worked_example(row: dict[str, str]) -> None:
    found = KINDS[row["kind"]](row["id"], json.loads(row["inputs_json"]))
    tolerance = min(max(float(row["tolerance"]), 2e-3), ALLOWED.get(row["kind"], 1.0))
    assert found == pytest.approx(float(row["expected"]), rel=tolerance), row["source"]
