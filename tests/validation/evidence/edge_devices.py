"""Phones, laptops and edge boards: decode rates and joules per token against published rows.

One user, one package, no skin limit: the rows are bursts of seconds, or of boards with a fan. Narrow
weights are widened by vector units, so the step is bound by memory or by
``widening_cost`` operations per weight at the engine's rate, whichever is longer.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from dse.calibration.cases import Case, RankPlan
from dse.calibration.predict import Served, prepare, soft_rows, times
from dse.calibration.resolve import llm_entry
from dse.catalog.catalog import Catalog
from dse.core.errors import DataError
from dse.core.units import FloatArray
from dse.space.scenario import ModelLoad

HERE = Path(__file__).parent


DEVICES: Final = {
    "M1 7-core GPU 8GB": "m1", "M1 Max 32-core GPU 64GB": "m1_max", "Apple M4 (10 core) 16GB": "m4", "OnePlus 12": "oneplus_12",
    "Galaxy S24": "galaxy_s24", "Snapdragon X Elite": "snapdragon_x_elite", "Jetson AGX Orin": "jetson_agx_orin",
    "A100 SXM 80GB": "a100_sxm", "H100 PCIe 80GB": "h100_pcie", "RTX 4090 24GB": "rtx_4090",
}  # fmt: skip


STACKS: Final = {"llama.cpp": "llamacpp", "llama.cpp GPU": "llamacpp", "llama.cpp CPU": "llamacpp_cpu", "T-MAC CPU": "tmac",
                 "ExecuTorch XNNPACK": "executorch", "ExecuTorch XNNPACK+KleidiAI": "executorch", "Qualcomm NPE NPU": "executorch"}  # fmt: skip


ON_CPU: Final = ("llamacpp_cpu", "tmac", "executorch")


BITS: Final[Mapping[str, tuple[float, float]]] = {
    "Q4_K_M": (4.85, 6.56), "F16": (16.0, 16.0), "BF16": (16.0, 16.0), "4-bit SpinQuant": (4.5, 8.0), "4-bit QAT+LoRA": (4.5, 8.0),
    "4-bit g128": (4.25, 8.0), "4-bit g256": (4.125, 8.0), "W4": (4.25, 6.56), "W2": (2.25, 6.56),
}  # fmt: skip
"""label -> bits of a weight and of the head's, scales included (k-quants: llama.cpp file sizes over parameters)"""


LLAMA_W2: Final = 2.6
"""bits of llama.cpp's Q2_K"""


TYPICAL_CONTEXT: Final = 64.0
"""tokens, where a row names no length"""


@dataclass(frozen=True)
class Edge:
    """One row with its prediction; time in s per token, energy in J per token."""

    system: str
    device: str
    llm: str
    precision: str
    measured: float
    predicted: float
    on_edge: bool
    """a phone, laptop or edge board"""
    metric: str = "decode"

    @property
    def ratio(self) -> float:
        """Predicted over measured, of rates or joules."""
        return self.predicted / self.measured


def published() -> list[dict[str, str]]:
    """Rows of other measurements than served tokens."""
    return list(csv.DictReader(io.StringIO((HERE / "other_measurements.csv").read_text(encoding="utf-8"))))


def _case(row: Mapping[str, str], catalog: Catalog) -> Case:
    stack, precision = STACKS[row["system"]], row["precision"]
    weight, head = BITS[precision]
    if precision == "W2" and stack.startswith("llamacpp"):
        weight = LLAMA_W2
    inputs, outputs = (float(row[k] or 0) for k in ("input_len", "output_len"))
    middle = inputs + outputs / 2 or TYPICAL_CONTEXT
    load = ModelLoad(llm_entry(catalog, row["model"]).name, 1.0, 1.0, weight, 16.0, 16.0, head_bits=head)
    return Case(
        "",
        DEVICES[row["device"]],
        load.llm,
        stack,
        "",
        load,
        precision,
        "agg",
        RankPlan(1, 1, 1, 1.0),
        None,
        middle,
        1e-3,
    )


def _engine(case: Case, row: Mapping[str, str], catalog: Catalog) -> float:
    """Vector FLOP/s of the engine: a GPU's, or the CPU cores that ran."""
    if case.software not in ON_CPU:
        return catalog.value("device", case.device, "vector_peak")
    named = re.search(r"(\d+) threads", row["notes"])
    cores = catalog.value("device", case.device, "cpu_cores")
    return catalog.value("device", case.device, "cpu_core_peak") * (
        min(float(named[1]), cores) if named else cores
    )


def edge_rows(catalog: Catalog) -> list[Edge]:
    """Every decode and energy row of one package, predicted."""
    rows = [
        r
        for r in published()
        if r["metric"] == "decode_speed"
        and r["system"] in STACKS
        and r["device"] in DEVICES
        and r["n_devices"] == "1"
    ]
    cases = [_case(r, catalog) for r in rows]
    served = prepare(cases, catalog)
    engines = np.array([_engine(c, r, catalog) for c, r in zip(cases, rows, strict=True)])
    step, operations, moved = _steps(served, catalog, engines)
    edge = [catalog.entry("device", c.device).attributes.get("target") == "mobile" for c in cases]
    out = [
        Edge(
            r["system"],
            r["device"],
            r["model"],
            r["precision"],
            float(r["value"]),
            1.0 / float(step[i]),
            edge[i],
        )
        for i, r in enumerate(rows)
    ]
    joules = {
        (r["system"], r["device"]): float(r["value"])
        for r in published()
        if r["metric"] == "energy_per_token" and r["unit"] == "J/token"
    }
    for i, (c, r) in enumerate(zip(cases, rows, strict=True)):
        measured = joules.get((r["system"], r["device"]))
        if measured is not None:
            value = _energy(c, catalog, float(step[i]), float(operations[i]), float(moved[i]))
            out.append(
                Edge(r["system"], r["device"], r["model"], r["precision"], measured, value, True, "J/token")
            )
    return out


def burst(catalog: Catalog, device: str, llm: str) -> tuple[float, float, float]:
    """Step [s], power [W] and idle power [W] of a device that decodes a 4-bit model with llama.cpp on its GPU."""
    row = {
        "system": "llama.cpp GPU",
        "precision": "Q4_K_M",
        "device": device,
        "model": llm,
        "input_len": "",
        "output_len": "1024",
    }
    case = replace(_case({**row, "device": next(iter(DEVICES))}, catalog), device=device)
    step, operations, moved = _steps(
        prepare([case], catalog), catalog, np.array([catalog.value("device", device, "vector_peak")])
    )
    joules = _energy(case, catalog, float(step[0]), float(operations[0]), float(moved[0]))
    return float(step[0]), joules / float(step[0]), catalog.value("device", device, "idle_power")


def _steps(
    served: Served, catalog: Catalog, engines: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Time of a step, vector operations and bytes of it, (n,) each.

    What widening keeps of the bandwidth: engine rate / (cost x weights per second at full bandwidth).
    """
    stacks = [c.software for c in served.cases]
    cost = np.array([catalog.value("software", n, "widening_cost") for n in stacks])
    kept = np.array([catalog.value("software", n, "bandwidth_efficiency") for n in stacks])
    weights = served.work.plans.weights.sum(axis=1)
    bits = np.array([c.load.weight_bits for c in served.cases])
    count = weights * 8 / bits
    narrow = bits < 16
    rate = served.machine.fast_bandwidth * kept / (bits / 8)
    emulation = np.where(narrow, np.minimum(engines / (cost * rate), 1.0), 1.0)
    software = replace(soft_rows(catalog, served.cases), emulation=emulation)
    step = times(served, software).pairs.unthrottled
    operations = count * np.where(narrow, cost, 2.0)
    return step, operations, weights


def _energy(case: Case, catalog: Catalog, step: float, operations: float, moved: float) -> float:
    """J per token: the module's idle power, vector operations, bytes from DRAM.

    Raises:
        DataError: the device has no energy figures.

    """
    entry = catalog.entry("device", case.device)
    field = "cpu_energy" if case.software in ON_CPU else "vector_energy"
    if field not in entry.values:
        raise DataError(f"device {case.device}: no {field}")
    memory = entry.attributes["memory"]
    per_byte = catalog.value("memory", memory, "read_energy") + catalog.value(
        "memory", memory, "interface_energy"
    )
    return (
        entry.values["idle_power"].nominal * step
        + operations * entry.values[field].nominal
        + moved * per_byte
    )
