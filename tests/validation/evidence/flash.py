"""Published results about High Bandwidth Flash beside ours, each from the inputs that its paper states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.catalog.transformer import transformer
from dse.hardware.machine import Machine
from dse.physics import flash
from dse.space.scenario import ModelLoad, RequestClass, RequestMix
from tests.validation.evidence.published_result import Inputs, PublishedResult, kind_of, rows
from tests.validation.evidence.reference_machines import Flash, Served, decoded, reference_machine, traced

GIB: Final = 2.0**30


YEAR: Final = 365.0 * 86400.0


A = np.array


MODELS: Final = {"Llama-3-405B": "Llama-3.1-405B"}


ALL_ATTENTION: Final = "Llama-4-Maverick, every layer full attention"


FINE: Final = 400
"""batches tried"""


def _mix(inputs: float, outputs: float) -> RequestMix:
    return RequestMix((RequestClass("claim", 1.0, inputs, outputs),))


def _sixteen(llm: str) -> ModelLoad:
    return ModelLoad(MODELS.get(llm, llm), 1.0, 1e9, 16.0, 16.0, 16.0)


def _son(catalog: Catalog, i: Inputs) -> tuple[Machine, Catalog]:
    """The machine: activations on chip (40 MB a stack, or the one HBM4 that the pool's bandwidth leaves out)."""
    m, gpu = (
        i["memory_per_gpu"],
        {"peak": i["bf16_pflops_per_gpu"] * 1e15, "link": i["nvlink_gb_s"] * 1e9 / 2},
    )
    if i["memory"] == "HBM4":
        return reference_machine(
            catalog, **gpu, bandwidth=m["read_tb_s"] * 1e12, capacity=m["capacity_gib"] * GIB
        )
    stacks = 7.0 if i["memory"] in {"HBF", "CONV"} else 8.0
    planes = float(m["planes_per_die"])
    page = 4096.0
    pool = Flash(stacks, 16.0, planes, page, m["t_read_us"] * 1e-6, stacks * 16.0 * planes * page / (m["write_tb_s"] * 1e12),
                 m["read_tb_s"] * 1e12 / stacks, m["capacity_gib"] * GIB / stacks, 40e6)  # fmt: skip
    return reference_machine(catalog, **gpu, bandwidth=0.0, capacity=0.0, sram=40e6 * stacks, flash=pool)


@cache
def _son_served(catalog: Catalog, key: str, gpus: int) -> Served:
    """Every batch of the plans that spread a model over the GPUs of an NVLink domain."""
    import json

    i = json.loads(key)
    machine, made = _son(catalog, i)
    group = min(gpus, i["nvlink_max_gpus"])
    batches = np.unique(np.geomspace(1, 2500 * group, FINE).astype(int))
    shapes = [(group, 1, 1)] + ([(group, group, group)] if "full_attention_layers" in i else [])
    asked = [(*s, int(b)) for s in shapes for b in batches if b >= s[1]]
    return decoded(machine, made, _sixteen(i["model"]), _mix(i["input_tokens"], i["output_tokens"]), asked)


def _largest(catalog: Catalog, i: Inputs, slo: float | None = None) -> tuple[float, float]:
    """Largest batch per GPU that fits within the limit on TPOT, and tokens/s per GPU at it."""
    import json

    gpus = int(i["gpus"])
    served = _son_served(catalog, json.dumps({**i, "gpus": gpus, "tpot_slo_s": 0}, sort_keys=True), gpus)
    step, stages = served.pairs.step[0], served.pairs.stages[0]
    group = np.array([float(r[0]) for r in served.rows])
    per_gpu = np.array([float(r[3]) for r in served.rows]) / group
    limit = slo or float(i["tpot_slo_s"])
    fits = (served.fits <= 1.0) & (step <= limit) & (stages * group <= gpus)
    if not fits.any():
        return 0.0, 0.0
    best = float(per_gpu[fits].max())
    at = fits & (per_gpu >= 0.995 * best)  # of equal batches the faster plan
    return best, float((per_gpu / step)[at].max())


def _son_ratio(catalog: Catalog, i: Inputs) -> float:
    """Throughput over that of 8 HBM4 GPUs at 0.1 s; offline is a limit that nothing meets."""
    slo = 1e9 if i["tpot_slo_s"] == "offline" else float(i["tpot_slo_s"])
    plain = {
        **i,
        "memory": "HBM4",
        "memory_per_gpu": {"stacks": 8, "capacity_gib": 288, "read_tb_s": 12.8, "write_tb_s": 12.8},
    }
    return _largest(catalog, i, slo)[1] / _largest(catalog, plain, 0.1)[1]


def _kv_write_share(catalog: Catalog, i: Inputs) -> float:
    """Percent of a step at the largest batch that writes KV."""
    best, _ = _largest(catalog, i)
    machine, made = _son(catalog, i)
    group = int(min(i["gpus"], i["nvlink_max_gpus"]))
    served = decoded(
        machine,
        made,
        _sixteen(i["model"]),
        _mix(i["input_tokens"], i["output_tokens"]),
        [(group, 1, 1, int(best * group))],
    )
    share = traced(machine, served).parts.written / float(served.pairs.step[0, 0])
    return 100.0 * share


def _cycles(catalog: Catalog, i: Inputs) -> float:
    """P/E cycles used in the years of serving: KV of prompt and answer written once, wear level over all blocks."""
    held = transformer(catalog.llm(_sixteen(i["model"]).llm)).held_bytes(
        i["input_tokens"] + i["output_tokens"], i["kv_bits"]
    )
    written = i["tokens_per_s_per_gpu"] / i["output_tokens"] * held
    capacity = i["memory_per_gpu"]["capacity_gib"] * GIB
    return float(i["years"]) * YEAR / flash.life(1.0, capacity, 1.0, written)


def _fewest(needed: float, each: float, counts: list[int]) -> float:
    return float(min(n for n in counts if n * each >= needed))


def _kyung(catalog: Catalog, i: Inputs) -> float:
    """TPOT [ms] of eight devices at the batch that the KV budget allows."""
    setting = i["configuration"]
    if "CPU" in setting:
        held = (i["kv_node_budget_gb"] + i["weights_node_gb"]) * 1e9 / i["devices"]
        machine, made = reference_machine(
            catalog,
            peak=2.25e15,
            bandwidth=8e12,
            capacity=256e9,
            link=9e11,
            far=(held, 1.8e12 if "6.0" in setting else 9e11),
        )
    else:
        machine, made = _hbf_only(catalog, i["hbf"], 0.5 if "half" in setting else 1.0)
    return 1e3 * float(
        _kyung_step(machine, made, i["model"], i["context_tokens"], i["batch_closed_form"]).pairs.step[0, 0]
    )


def _hbf_only(catalog: Catalog, h: Mapping[str, Any], share: float) -> tuple[Machine, Catalog]:
    n, read = float(h["stacks_per_device"]), share * h["read_tb_s"] * 1e12
    latency, program = h["t_read_us"] * 1e-6, h["t_prog_us"] * 1e-6
    planes = h["read_tb_s"] * 1e12 / n * latency / 4096.0 / 16.0
    pool = Flash(n, 16.0, planes, 4096.0, latency, program, read / n, h["stack_gb"] * 1e9, 1e9)
    return reference_machine(catalog, peak=2.25e15, bandwidth=0.0, capacity=0.0, link=9e11, flash=pool)


def _full_attention(catalog: Catalog) -> Catalog:
    """A catalogue with Maverick as this paper counts it: 196,608 B of KV for every token of a context."""
    entry = catalog.llm("Llama-4-Maverick")
    shape = {**entry.shape, "sliding_window": 0, "full_attention_layers": 0}
    return Catalog(
        catalog.entries,
        {**catalog.llms, ALL_ATTENTION: replace(entry, name=ALL_ATTENTION, shape=shape)},
        catalog.digest + ":full",
    )


def _kyung_step(machine: Machine, catalog: Catalog, model: str, context: float, batch: float) -> Served:
    llm = ALL_ATTENTION if "Maverick" in model else model
    mix = _mix(0.25 * context, 0.75 * context)
    return decoded(machine, _full_attention(catalog), _sixteen(llm), mix, [(8, 8, 8, int(batch) // 8 * 8)])


def _cpu_memory(catalog: Catalog, i: Inputs, model: str, context: float) -> Served:
    """HBM beside CPU memory over NVLink-C2C 5: every batch."""
    machine, made = reference_machine(
        catalog, peak=2.25e15, bandwidth=8e12, capacity=256e9, link=9e11, far=(1e12, i["c2c_gb_s"] * 1e9)
    )
    llm = ALL_ATTENTION if "Maverick" in model else model
    batches = np.unique((np.geomspace(8, 8192, 200) / 8).astype(int)) * 8
    return decoded(
        machine,
        _full_attention(made),
        _sixteen(llm),
        _mix(0.25 * context, 0.75 * context),
        [(8, 8, 8, int(b)) for b in batches],
    )


def _all_late(catalog: Catalog, i: Inputs) -> float:
    """Of the eight cases those whose full batch takes longer than the limit over NVLink-C2C 5."""
    late = 0
    for model, m in i["models"].items():
        for context in i["contexts"]:
            for budget in i["budgets_gb_per_device"]:
                batch = budget * 8e9 / (m["kv_bytes_per_token"] * context)
                held = (budget * 8e9 + m["weights_node_gb"] * 1e9) / 8
                machine, made = reference_machine(
                    catalog,
                    peak=2.25e15,
                    bandwidth=8e12,
                    capacity=256e9,
                    link=9e11,
                    far=(held, i["c2c_gb_s"] * 1e9),
                )
                late += (
                    _kyung_step(machine, made, model, context, 4 / 3 * batch).pairs.step[0, 0] * 1e3
                    > i["tpot_slo_ms"]
                )
    return float(late)


def _baseline(catalog: Catalog, i: Inputs, model: str, context: float) -> float:
    """Tokens/s of the node at the largest batch within the limit."""
    served = _cpu_memory(catalog, i, model, context)
    step = served.pairs.step[0]
    ok = (step * 1e3 <= i["tpot_slo_ms"]) & (served.fits <= 1.0)
    return float((np.array([r[3] for r in served.rows])[ok] / step[ok])[-1]) if ok.any() else 0.0


def _life(i: Inputs) -> float:
    """Years until all KV that is written wears the flash out, at the published TPOT."""
    h, ratio = i["hbf"], [float(x) for x in i["input_to_output_ratio"].split(":")]
    capacity = h["stacks_per_device"] * h["stack_gb"] * 1e9 * i["devices"] - i["weights_node_gb"] * 1e9
    written = (
        i["batch_closed_form"] / (i["tpot_ms"] / 1e3) * (1.0 + ratio[0] / ratio[1]) * i["kv_bytes_per_token"]
    )
    return flash.life(i["endurance_pe"], capacity, i["waf"], written) / YEAR


def _h3(catalog: Catalog, i: Inputs, with_flash: bool, shared: float) -> float:
    """Fewest GPUs, a power of two, that hold the weights and a KV cache that all requests share."""
    pool = Flash(
        8.0,
        12.0,
        98.0,
        4096.0,
        i["hbf_latency_us"] * 1e-6,
        1e-4,
        1e12,
        i["hbf_gb"] * 1e9 / 8,
        4e7,
        behind=True,
    )
    machine, made = reference_machine(catalog, peak=2.25e15, bandwidth=i["hbm_tb_s"] * 1e12, capacity=i["hbm_gb"] * 1e9, link=9e11,
                        flash=pool if with_flash else None, domain=64.0)  # fmt: skip
    load = ModelLoad(i["model"], 1.0, 1e9, i["weights_bits"], 16.0, 8.0)
    total = shared + i["input_tokens"]
    mix = RequestMix((RequestClass("shared", 1.0, total, i["output_tokens"], prefix_share=shared / total),))
    sizes = [2**k for k in range(7)]
    served = decoded(machine, made, load, mix, [(g, 1, 1, 1) for g in sizes], sequence=True)
    whole = (served.pairs.stages[0] == 1) & (served.fits <= 1.0)
    return float(min(g for g, ok in zip(sizes, whole, strict=True) if ok))


def _sessions(catalog: Catalog, i: Inputs) -> float:
    """KV sessions that fit beside the weights in HBM and HBF together."""
    pool = Flash(8.0, 12.0, 98.0, 4096.0, 2.5e-5, 1e-4, 1e12, i["hbf_tib"] * 2**40 / 8, 4e7, behind=True)
    machine, _ = reference_machine(
        catalog, peak=2.25e15, bandwidth=8e12, capacity=i["hbm_gib"] * GIB, link=9e11, flash=pool
    )
    held = float((machine.fast.capacity + machine.flash.capacity)[0])
    return float(np.floor((held / GIB - i["weights_gib"]) / i["kv_per_session_gib"]))


def _continuous(i: Inputs) -> float:
    life = flash.life(i["endurance_pe"], i["capacity_gb"] * 1e9, i["waf"], i["write_gb_s"] * 1e9)
    return life / 86400.0


def _program(i: Inputs) -> float:
    """GB/s that planes reading at a rate write: planes x page from the one, over the program latency."""
    in_flight = A([i["read_tb_s"] * 1e12 * i["t_read_us"] * 1e-6])
    return float(flash.program_bandwidth(in_flight, A([1.0]), A([1.0]), A([i["t_prog_us"] * 1e-6]))[0]) / 1e9


def _planes(i: Inputs) -> float:
    read = flash.plane_bandwidth(
        A([i["planes_per_die"] * i["dies"]]), A([i["page_bytes"]]), A([i["t_read_us"] * 1e-6])
    )
    return float(read[0]) / 1e12


def _staging(i: Inputs) -> float:
    """MB of buffer that sustain a bandwidth: the staged bandwidth of one byte, inverted."""
    per_byte = float(flash.staged_bandwidth(A([1.0]), A([i["latency_us"] * 1e-6]))[0])
    return float(i["bandwidth_tb_s"]) * 1e12 / per_byte / 1e6


Ours = Callable[[Catalog, Inputs], float]


BY_PREFIX: Final[Mapping[str, Ours]] = {
    "son-batch-": lambda c, i: _largest(c, i)[0],
    "son-tps-": lambda c, i: _largest(c, i)[1],
    "son-kvwrite-": _kv_write_share,
    "son-slo-": _son_ratio,
    "son-pec-": _cycles,
    "son-min-gpus-hbf": lambda _, i: _fewest(756.0, 288.0, i["gpu_counts_allowed"]),
    "son-hbfplus-4gpu": lambda c, i: _largest(c, {**i, "tpot_slo_s": 0.1})[1] / 1300.0,
    "son-bandwidth-": lambda _, i: _planes(i),
    "kyung-tpot-": _kyung,
    "kyung-life-": lambda _, i: _life(i),
    "kyung-nvlink5-slo": _all_late,
    "kyung-baseline-tps-mav-8k": lambda c, i: _baseline(c, i, "Llama-4-Maverick", 8192),
    "kyung-baseline-tps-mav-32k": lambda c, i: _baseline(c, i, "Llama-4-Maverick", 32768),
    "kyung-baseline-tps-r1-8k": lambda c, i: _baseline(c, i, "DeepSeek-R1", 8192),
    "kyung-baseline-tps-r1-32k": lambda c, i: _baseline(c, i, "DeepSeek-R1", 32768),
    "kyung-continuous-write": lambda _, i: _continuous(i),
    "kyung-write-bandwidth": lambda _, i: _program(i),
    "h3-tpw": lambda _, i: i["throughput_ratio"] * i["baseline_power_w"] / (i["gpu_power_w"] + i["hbm_cubes"] * i["hbm_cube_w"] + i["hbf_cubes"] * i["hbf_cube_w"]),
    "h3-min-gpus-hbm-1m": lambda c, i: _h3(c, i, False, i["shared_kv_tokens"][0]),
    "h3-min-gpus-hbf-10m": lambda c, i: _h3(c, i, True, i["shared_kv_tokens"][1]),
    "h3-lhb-size": lambda _, i: _staging(i),
    "h3-lhb-area": lambda _, i: i["buffer_mb"] * 8.0 * i["bitcell_um2"] * (1.0 + i["overhead"]),
    "park-erase-block": lambda _, i: i["page_kib"] * 1024.0 * i["wordlines"] * i["planes_or_strings"] / 2**20,
    "park-phy-power": lambda _, i: i["pj_per_bit"] * i["tb_s"] * i["bits_per_byte"] * i["ends"],
    "baek-sessions-hbm": lambda _, i: np.round((i["hbm_gib"] - i["weights_gib"]) / i["kv_per_session_gib"]),
    "baek-sessions-hbf": _sessions,
    "dean-hbf-efficiency-bandwidth": lambda _, i: i["bandwidth_gb_s"] / i["power_w"],
    "dean-hbf-efficiency-capacity": lambda _, i: i["capacity_gb"] / i["power_w"],
    "hbf-roadmap-gen1": lambda c, _: c.value("flash", "hbf_gen1", "read_bandwidth") / 1e12,
    "hbf-roadmap-gen2": lambda c, _: c.value("flash", "hbf_gen2", "read_bandwidth") / 1e12,
    "hbf-roadmap-gen3": lambda c, _: c.value("flash", "hbf_gen3", "read_bandwidth") / 1e12,
}  # fmt: skip
"""beginning of a claim's id -> ours, in the claim's unit; no number is tuned to any of them"""


SKIPPED: Final[Mapping[str, str]] = {
    "kyung-max-gain": "a maximum over the rows above",
    "h3-tps-1m": "how HBM and HBF overlap, and whether all requests share one read of the KV, is not stated",
    "h3-tps-10m": "how HBM and HBF overlap, and whether all requests share one read of the KV, is not stated",
    "park-tpot-1m": "the host link of the baseline is not stated",
    "atassi-hybrid": "model and expert predictor are not stated",
}
"""rows without the inputs that it takes (none of confidence high)"""


SHORT = "at short contexts the weights' read fills most of the 100 ms, so that the batch is four times as sensitive as the step; ours has no other overhead"


R1 = "their attention and experts add compute to reads (+64 % on their own closed form), ours hides the shorter of the two"


DIFFERS: Final[Mapping[str, str]] = {
    "son-batch-hbf-1g-l3-short": SHORT,
    "son-tps-hbf-8g-l3-short": SHORT,
    "son-tps-conv-8g-l3-short": SHORT,
    "kyung-tpot-r1-hbf-8k-512gb": R1,
    "kyung-tpot-r1-hbm-nvlink6-8k-512gb": R1,
}
"""the term that makes a claim differ"""


TOLERANCE: Final[Mapping[str, float]] = {
    "son-pec-": 0.05,
    "kyung-life-": 0.07,
    "son-bandwidth-": 0.03,
    "park-erase-block": 0.05,
}
"""what the row itself states for a figure read off a plot or rounded; else 1 % for an identity, 10 % for a range"""


def flash_claims(catalog: Catalog) -> list[PublishedResult]:
    """Every published result about flash with complete inputs, and ours."""
    out = []
    for row, inputs in rows("results_memory.csv"):
        if row["lever"] != "hbf" or row["id"] in SKIPPED:
            continue
        ours = next(f for prefix, f in BY_PREFIX.items() if row["id"].startswith(prefix))(catalog, inputs)
        out.append(_claim(row, inputs, float(ours)))
    return out


def _claim(row: dict[str, str], inputs: Inputs, ours: float) -> PublishedResult:
    kind, stated = kind_of(row), row["published_value"]
    within = {"identity": 0.01, "range": 0.1, "constant": 0.01}.get(kind, 0.25)
    within = next((t for prefix, t in TOLERANCE.items() if row["id"].startswith(prefix)), within)
    if row["id"].startswith("son-kvwrite-"):  # percentage points
        low = inputs["memory"] == "HBM4"
        ratio = float(ours < 0.5 if low else abs(ours - float(stated)) <= 3.0)
    elif stated.startswith("<"):
        ratio = float(ours < float(stated.lstrip("<").split()[0]))
    elif row["id"] == "son-min-gpus-hbf":
        ratio = float(ours == 4.0 and _fewest(756.0, 3620.0, inputs["gpu_counts_allowed"]) == 1.0)
    elif row["id"] == "kyung-nvlink5-slo":
        ratio = ours / 8.0
    else:
        ratio = ours / float(stated)
    return PublishedResult(
        row["id"], row["claim"], kind, stated, ours, ratio, "hbf", DIFFERS.get(row["id"], ""), within
    )
