"""Published results about processing near memory and about 3D stacks beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from dse.api import evaluate
from dse.catalog.catalog import Catalog
from dse.catalog.transformer import transformer
from dse.hardware.assemble import assemble
from dse.hardware.codes import pnm_code
from dse.hardware.machine import Machine
from dse.hardware.parts import PnmParts
from dse.space.scenario import ModelLoad, RequestClass, RequestMix
from tests.validation.evidence.imec import COOLANT, STAGES, temperatures
from tests.validation.evidence.published_result import Inputs, PublishedResult, against, kind_of, rows
from tests.validation.evidence.reference_machines import BOUNDLESS, FORM, decoded, scenario, unlimited

Ours = Callable[[Catalog, Inputs], float]


BATCHES: Final = tuple(2**k for k in range(11))


def _near(catalog: Catalog, device: str, placement: str, flops: float) -> Machine:
    """A device whose stacks carry an engine of ``flops`` at 8 bit each; no limit of power."""
    parts = FORM.device_parts(catalog, [device], "")
    memory = catalog.names("memory")[int(parts.memory.code[0])]
    engine = np.full(1, pnm_code(catalog, placement, memory, ""), dtype=np.int64)
    pnm = PnmParts(code=engine, flops=np.full(1, max(flops, 1.0)))
    parts = replace(parts, pnm=pnm, power_cap=np.full(1, 1e8))
    return unlimited(assemble(parts, FORM, catalog, scenario(RequestMix((), decode_only=True)), BOUNDLESS))


def _only(catalog: Catalog, entry: str, operators: str) -> Catalog:
    """A catalogue whose engine runs these operators and no other."""
    return catalog.put(
        replace(
            catalog.entry("pnm", entry),
            attributes={**catalog.entry("pnm", entry).attributes, "operators": operators},
        ),
        operators,
    )


Shape = tuple[int, int, int]
"""group, replicas of attention, expert ranks"""


def _rates(machine: Machine, catalog: Catalog, llm: str, shapes: Sequence[Shape], context: tuple[float, float], batches: Sequence[int], *,
           halves: bool = False) -> np.ndarray:  # fmt: skip
    """Tokens/s at each batch with its prompts on the same machine, by the best shape that fits; 0 where none does."""
    load = ModelLoad(llm, 1.0, 1e9, 16.0, 16.0, 16.0)
    mix = RequestMix((RequestClass("claim", 1.0, *context),))
    asked = [(*s, b) for s in shapes for b in batches]
    served = decoded(machine, catalog, load, mix, asked, halves=halves)
    took = served.pairs.step[0] + served.pairs.prefill_interference[0]
    fits = (served.fits <= 1.0) & (served.pairs.stages[0] == 1)
    found = np.where(fits, np.array([float(r[3]) for r in asked]) / took, 0.0)
    best: np.ndarray = found.reshape(len(shapes), len(batches)).max(axis=0)
    return best


def _gains(catalog: Catalog, llm: str, shapes: Sequence[Shape], context: tuple[float, float], placement: str, flops: float,
           batches: Sequence[int]) -> tuple[float, float]:  # fmt: skip
    """Largest ratio over batches of an H100's throughput with an engine to that without, at equal capacity; and of halves to whole batches."""
    engine, host = _near(catalog, "h100_sxm", placement, flops), _near(catalog, "h100_sxm", "none", 1.0)
    engine = replace(engine, fast=replace(engine.fast, capacity=host.fast.capacity))
    whole, base = (_rates(m, catalog, llm, shapes, context, batches) for m in (engine, host))
    halves = _rates(engine, catalog, llm, shapes, context, batches, halves=True)
    ok = base > 0
    return float((np.maximum(whole, halves)[ok] / base[ok]).max()), float((halves[ok] / whole[ok]).max())


def _duplex(c: Catalog, i: Inputs) -> float:
    """Mixtral 8x7B on four H100 whose logic dies run attention and experts at four times the rate, 8 FLOP a byte.

    From batch 16 on, where an expert's weights meet 4 FLOP a byte; links take the paper's 3 us.
    """
    c = _only(c, "memory_base_die", "attention experts").replace(
        "pnm", "memory_base_die", "bandwidth_gain", i["logic_pim_bandwidth_x"]
    )
    c = c.replace("software", "ideal", "allreduce_alpha", 1e-6).replace(
        "device", "h100_sxm", "link_latency", i["nvlink_latency_us"] * 1e-6
    )
    for field in ("launch_latency", "endpoint_latency"):
        c = c.replace("collective", "host", field, 1e-9)
    flops = (
        2.0
        * i["logic_pim_opb"]
        * i["logic_pim_bandwidth_x"]
        * i["hbm_tb_s"]
        * 1e12
        / c.value("device", "h100_sxm", "memory_stacks")
    )
    shapes = ((4, 1, 1), (4, 4, 4))
    return max(
        _gains(c, "Mixtral-8x7B", shapes, (n, n), "memory_base_die", flops, (16, 32, 64, 128, 256))[0]
        for n in (512.0, 1024.0, 2048.0, 4096.0)
    )


def _bound(c: Catalog, i: Inputs) -> float:
    """Llama-3.1-8B on one H100 whose logic die reads at four times the rate with FLOP/s to spare."""
    c = c.replace("pnm", "memory_base_die", "bandwidth_gain", i["logic_pim_bandwidth_x"])
    return _gains(c, "Llama-3.1-8B", ((1, 1, 1),), (4096.0, 4096.0), "memory_base_die", 1e15, BATCHES[:5])[0]


def _intensity(catalog: Catalog, llm: str, kv_bits: float) -> float:
    """FLOP of decode attention per byte of KV cache."""
    m = transformer(catalog.llm(llm))
    return m.decode_flops(4096.0) / m.read_bytes(4096.0, kv_bits)


def _per_watt(catalog: Catalog, entry: str) -> float:
    """Bandwidth per watt at the engine over that at the host of an HBM4 stack: joules per byte, inverted."""
    host = catalog.value("memory", "hbm4", "read_energy") + catalog.value(
        "memory", "hbm4", "interface_energy"
    )
    on_chip = 2.0 * catalog.value("logic_rules", "common", "sram_energy")
    return (host + on_chip) / catalog.value("pnm", entry, "read_energy")


def _attention_in_banks(catalog: Catalog, which: int) -> float:
    """GPT-3 on eight H100 with engines for attention in the banks of their HBM: against none, or halves against whole batches."""
    made = _only(catalog, "in_bank_hbm", "attention")
    flops = catalog.value("pnm", "in_bank_hbm", "compute_limit")
    return max(
        _gains(made, "GPT-3-175B", ((8, 1, 1),), (n, n), "in_bank", flops, BATCHES)[which]
        for n in (512.0, 1024.0)
    )


def _stack_power(catalog: Catalog, name: str) -> float:
    """W of an HBM stack at its full rate: array, interface, standing and refresh."""
    m = {k: q.nominal for k, q in catalog.entry("memory", name).values.items()}
    held = (
        m["capacity_per_die"]
        * m["reference_height"]
        * (m["static_power_per_byte"] + m["refresh_power_per_byte"])
    )
    return float(m["bandwidth_per_stack"] * (m["read_energy"] + m["interface_energy"]) + held)


def _stage(name: str) -> tuple[float, float]:
    """Published and index of an imec stage."""
    return next((s.published, float(i)) for i, s in enumerate(STAGES) if s.name == name)


def _degrees(catalog: Catalog, name: str) -> float:
    return temperatures(catalog, STAGES[int(_stage(name)[1])])[0]


def _wafer(catalog: Catalog, llm: str) -> float:
    """Tokens/s of one user on wafers of SRAM under the stack that unbuilt machines are judged by."""
    machine = _near(catalog, "cerebras_wse3", "none", 1.0)
    load = ModelLoad(llm, 1.0, 1e9, 16.0, 16.0, 16.0)
    served = decoded(
        machine,
        catalog,
        load,
        RequestMix((RequestClass("claim", 1.0, 1000.0, 1000.0),)),
        [(1, 1, 1, 1)],
        software="pooled",
    )
    return 1.0 / float(served.pairs.step[0, 0])


PHONE: Final = {
    "soc_node": "N3", "npu_area": "10 mm2", "npu_sram": "8 MiB", "npu_clock": "1.0 GHz", "dram": "lpddr5x", "dram_channels": 4,
    "dram_capacity": "12 GiB", "dram_mount": "pop", "flash": "ufs4", "flash_dies": 2, "flash_cell": "tlc", "weights_home": "dram",
    "on_package_link": "point_to_point",
}  # fmt: skip


def _phone(catalog: Catalog, what: str) -> float:
    """Joules per token, or tokens/s, of a phone without engines in its DRAM's banks over one with them."""
    plain, near = (evaluate("mobile", variables={**PHONE, **e}, llm="Llama-3.2-3B", catalog=catalog)
                   for e in ({"pnm": "none"}, {"pnm": "in_bank", "pnm_flops": "1.2 TFLOP/s"}))  # fmt: skip
    if what == "energy":
        return plain.objectives["energy_per_token"] / near.objectives["energy_per_token"]
    return 100.0 * (plain.tpot / near.tpot - 1.0)


OURS: Final[Mapping[str, Ours]] = {
    "dean-hbm4-efficiency": lambda _, i: i["bandwidth_gb_s"] / i["power_w"],
    "dean-pim-pnm-range": lambda c, _: _per_watt(c, "in_bank_hbm"),
    "duplex-gain": _duplex,
    "duplex-gqa-opb": lambda c, _: _intensity(c, "Llama-3.1-70B", 16.0),
    "duplex-peak-bound": _bound,
    "attacc-perf": lambda c, _: _attention_in_banks(c, 0),
    "neupims": lambda c, _: _attention_in_banks(c, 1),
    "pimai-mobile-energy": lambda c, _: _phone(c, "energy"),
    "pimai-qps": lambda c, _: _phone(c, "rate"),
    "stratum": lambda c, i: i["internal_tb_s"] * 1e12 / c.value("device", "h100_sxm", "memory_bandwidth"),
    "imec-3d-temp-3d": lambda c, _: _degrees(c, "3D"),
    "imec-3d-temp-2p5d": lambda c, _: _degrees(c, "2.5D"),
    "imec-mitigated": lambda c, _: _degrees(c, "3D, cooled from both sides"),
    "imec-halfclock": lambda c, _: _degrees(c, "3D, half clock"),
    "hbm-roadmap-hbm4": lambda c, _: _stack_power(c, "hbm4"),
    "hbm-roadmap-hbm5": lambda c, _: _stack_power(c, "hbm5"),
    "hbm-roadmap-hbm6": lambda c, _: _stack_power(c, "hbm6"),
    "hbm-roadmap-hbm8": lambda c, _: _stack_power(c, "hbm8"),
    "liminal-hw-xpu-hbm4": lambda _, i: i["capacity_gb"] * 1e9 / i["read_time_of_full_capacity_us"] * 1e6 / 1e12,
    "liminal-hw-xpu-3d-dram": lambda _, i: i["capacity_gb"] * 1e9 / i["read_time_of_full_capacity_us"] * 1e6 / 1e12,
    "liminal-hw-xpu-sram": lambda _, i: i["capacity_gb"] * 1e9 / i["read_time_of_full_capacity_us"] * 1e6 / 1e12,
    "liminal-hw-xpu-cows": lambda _, i: i["capacity_gb"] * 1e9 / i["read_time_of_full_capacity_us"] * 1e6 / 1e12,
    "cerebras-8b-70b-8b": lambda c, _: _wafer(c, "Llama-3.1-8B"),
    "cerebras-8b-70b-70b": lambda c, _: _wafer(c, "Llama-3.1-70B"),
    "cerebras-405b": lambda c, _: _wafer(c, "Llama-3.1-405B"),
}  # fmt: skip
"""claim -> ours, in the claim's unit; no number is tuned to any of them"""


SKIPPED: Final[Mapping[str, str]] = {
    "pimai-tco": "a ratio to a server that the text seen does not describe; an upper bound of 6.94",
    "cent": "devices, GPUs, lengths and prices of the comparison are not in the text seen",
}
"""rows of which too little is known to compute anything"""


BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "dean-pim-pnm-range": (5.0, 10.0),
    "pimai-mobile-energy": (10.0, 20.0),
    "pimai-qps": (25.0, 45.0),
    "attacc-perf": (2.0, 3.5),
    "duplex-gqa-opb": (4.0, 8.0),
    "duplex-peak-bound": (1.0, 4.0),
    "neupims": (1.12, 2.08),
    "stratum": (8.29, 20.0),
    "imec-halfclock": (20.0, 100.0),
}
"""claims that are a range: ours inside it agrees, else the ratio is to its nearer end"""


RISES: Final = ("imec-3d-temp-3d", "imec-3d-temp-2p5d", "imec-mitigated")
"""temperatures, compared as rises above the coolant"""


NO_LAUNCHES = "a compiled dataflow launches no kernels: the 43 us a layer that GPU runtimes take do not apply, and no other stack is measured"


DIFFERS: Final[Mapping[str, str]] = {
    "dean-pim-pnm-range": "PIM 3.7, PNM 2.2: activating a row, 1.2 of the 4.4 pJ/bit at the host, is paid in the bank too",
    "pimai-mobile-energy": "refresh, the SoC's idle power and prefill on the NPU stay; the comparison's SoC is not stated",
    "pimai-qps": "decode alone is 2.5 times as fast in banks of eight times the bandwidth; how much of their queries is prefill is not stated",
    "attacc-perf": "attention alone in the banks, at the catalogue's 16 TFLOP/s a stack; their baseline's batch and lengths are not stated",
    "neupims": "halves read the weights twice, which only a compute-bound host repays: GPT-3's KV cache leaves no room for such batches here",
    "cerebras-8b-70b-8b": NO_LAUNCHES,
    "cerebras-8b-70b-70b": NO_LAUNCHES,
    "cerebras-405b": NO_LAUNCHES,
}
"""the term that makes a claim differ"""


def near_claims(catalog: Catalog) -> list[PublishedResult]:
    """Every published result about PNM and about stacks of which something can be computed, and ours."""
    out = []
    for row, inputs in rows("results_memory.csv"):
        if row["lever"] == "hbf" or row["id"] in SKIPPED:
            continue
        ours, stated = float(OURS[row["id"]](catalog, inputs)), row["published_value"]
        kind = kind_of(row)
        if row["id"] in RISES:
            ratio = (ours - COOLANT) / (float(stated) - COOLANT)
        else:
            ratio = against(ours, stated, BOUNDS.get(row["id"]))
        within = {"identity": 0.01, "constant": 0.01, "range": 0.1}.get(kind, 0.25)
        out.append(
            PublishedResult(
                row["id"],
                row["claim"],
                kind,
                stated,
                ours,
                ratio,
                row["lever"],
                DIFFERS.get(row["id"], ""),
                within,
            )
        )
    return out
