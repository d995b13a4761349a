"""Published results about whole systems, set beside ours: identities by arithmetic, the rest through the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from dse.calibration.cases import Case, RankPlan
from dse.calibration.predict import prepare, soft_rows, times
from dse.catalog.catalog import Catalog
from dse.catalog.transformer import transformer
from dse.space.scenario import ModelLoad
from tests.validation.evidence.a100_kernels import DEVICE as A100
from tests.validation.evidence.a100_kernels import STACK, bench_layer
from tests.validation.evidence.published_result import Inputs, PublishedResult, kind_of, rows

GIGA: Final = 1e9


def _serve(catalog: Catalog, device: str, llm: str, *, group: int, batch: float, context: float, software: str, bits: float = 8.0,
           kv_bits: float = 8.0, compute: float = 8.0, replicas: int = 1, dealt: int | None = None, inputs: float | None = None,
           draft: tuple[float, float] = (0.0, 0.0)) -> Any:  # fmt: skip
    """One plan of a device: a step at ``context``, or a prompt of ``inputs`` tokens; ``PairRow`` (1,)."""
    load = ModelLoad(
        catalog.llm(llm).name,
        1.0,
        1e9,
        bits,
        kv_bits,
        compute,
        score_compute_bits=16.0,
        draft_tokens=draft[0],
        acceptance=draft[1],
    )
    plan = RankPlan(group, replicas, dealt or (group if replicas > 1 else 1), batch)
    case = Case("", device, load.llm, software, "", load, "", "agg", plan, None, inputs or context, 1e-3)
    served = prepare([case], catalog)
    served = replace(served, batch=np.array([batch]))
    return times(served, soft_rows(catalog, [case])).pairs


def _step(pairs: Any) -> float:
    return float(pairs.step[0])


def _liminal(catalog: Catalog, i: Inputs, ranks: int) -> float:
    """Tokens/s of one user on an HBM3 chip with device-initiated collectives and no other overhead."""
    rig = catalog.replace("device", "h100_sxm", "memory_bandwidth", i["bandwidth_tib_s_per_chip"] * 2**40)
    rig = rig.replace("device", "h100_sxm", "peak_8bit", i["peak_pflops"] * 1e15).replace(
        "device", "h100_sxm", "domain", 512.0
    )
    rig = rig.replace("device", "h100_sxm", "memory_capacity", i["capacity_gb"] * GIGA)
    rig = rig.replace(
        "collective", "device", "launch_latency", catalog.value("collective", "in_network", "launch_latency")
    )
    for name in (
        "bandwidth_efficiency",
        "bandwidth_efficiency_attention",
        "flop_efficiency",
        "link_efficiency",
        "narrow_efficiency",
    ):
        rig = rig.replace("software", "pooled", name, 1.0)
    for name in ("layer_overhead", "step_overhead", "sequence_overhead"):
        rig = rig.replace("software", "pooled", name, 0.0)
    return 1.0 / _step(
        _serve(
            rig,
            "h100_sxm",
            i["model"],
            group=ranks,
            batch=1.0,
            context=i["context_tokens"],
            software="pooled",
        )
    )


def _best_liminal(catalog: Catalog, _: Inputs) -> float:
    base = {
        "model": "Llama-3.1-405B",
        "bandwidth_tib_s_per_chip": 4,
        "peak_pflops": 2.25,
        "capacity_gb": 96,
        "context_tokens": 131072,
    }
    return max(_liminal(catalog, base, ranks) for ranks in (8, 16, 32, 64, 128))


def _compass(catalog: Catalog, phase: str, bandwidth: float = 1.0, compute: float = 1.0) -> float:
    """Time of LLMCompass's layer with memory bandwidth and compute scaled from 2 TB/s and the A100."""
    rig = catalog.replace("device", A100, "memory_bandwidth", 2e12 * bandwidth)
    rig = rig.replace("device", A100, "peak_16bit", catalog.value("device", A100, "peak_16bit") * compute)
    for name in ("product_launch", "elementwise_launch"):
        rig = rig.replace("software", STACK, name, 1e-9)  # their simulator has no launch time
    return bench_layer(rig, phase)


def _saved(catalog: Catalog, phase: str, low: float, high: float) -> float:
    """Percent of the time that a rise in bandwidth [TB/s] saves."""
    return 100.0 * (1.0 - _compass(catalog, phase, high / 2.0) / _compass(catalog, phase, low / 2.0))


def _core_area(catalog: Catalog) -> float:
    """mm2 of an A100's compute cores: MAC arrays and what goes with them."""
    macs = catalog.value("device", A100, "peak_16bit") / (
        catalog.value("logic", "n7", "mac_density") * 1.41e9
    )
    return float(macs * (1.0 + catalog.value("logic_rules", "common", "core_overhead")) * 1e6)


def _less_area(catalog: Catalog, compute: float, cache: float) -> float:
    """mm2 of an A100 with a share of its compute and of its 48 MB global buffer."""
    die = catalog.value("device", A100, "die_area") * 1e6
    sram = 48e6 * catalog.value("logic", "n7", "sram_area") * 1e6
    return die - (1.0 - compute) * _core_area(catalog) - (1.0 - cache) * sram


def _latency_design(catalog: Catalog, _: Inputs) -> float:
    """End-to-end speed with half the cores, mean over prompts and outputs of 256 to 2048 tokens."""
    lengths = (256, 512, 1024, 2048)

    def total(compute: float, inputs: int, outputs: int) -> float:
        return _compass(catalog, "prefill", 1.0, compute) * inputs / 2048 + outputs * _compass(
            catalog, "decode", 1.0, compute
        )

    return float(np.mean([total(1.0, i, o) / total(0.5, i, o) for i in lengths for o in lengths]))


def _throughput_design(i: Inputs) -> tuple[float, float]:
    """Batch and latency of a large slow memory over the A100's, all of it read in every step; prompts at equal compute."""
    weights = 43.5
    (big, small), (slow, fast) = i["memory_gb"], i["memory_tb_s"]
    return (big - weights) / (small - weights), (big / slow) / (small / fast)


def _die_and_memory(catalog: Catalog, i: Inputs) -> float:
    """USD of the die by our wafer model and of DDR at the published price of its bytes."""
    from dse.physics import cost

    rule = {
        k: catalog.value("logic_rules", "common", k)
        for k in ("wafer_diameter", "edge_exclusion", "scribe", "cluster_alpha", "die_test_cost")
    }
    area = np.array([i["die_mm2"] * 1e-6])
    gross = cost.dies_per_wafer(area, rule["wafer_diameter"], rule["edge_exclusion"], rule["scribe"])
    good = cost.die_yield(
        area, np.array([catalog.value("logic", "n7", "defect_density")]), rule["cluster_alpha"]
    )
    die = cost.die_cost(
        np.array([catalog.value("logic", "n7", "wafer_price")]), gross, good, rule["die_test_cost"]
    )
    return float(die[0]) + float(i["memory_cost_usd"][0])


def _node(catalog: Catalog) -> Catalog:
    """H800 nodes on 400 Gb/s cards: a group wider than the node sends over them."""
    return catalog.replace("link", "scale_out", "bandwidth", 50e9)


def _production_decode(catalog: Catalog, i: Inputs) -> float:
    """Tokens/s of a node at the largest batch whose step meets the published speed of a user."""
    rig, step = _node(catalog), 1.0 / 21.0
    best = 0.0
    for each in range(8, 257, 8):
        took = _step(
            _serve(
                rig,
                "h800",
                "DeepSeek-V3",
                group=128,
                replicas=128,
                batch=128.0 * each,
                context=i["avg_kv_tokens"],
                software="sglang",
                kv_bits=16.0,
            )
        )
        if took <= step:
            best = 8 * each / took
    return best


def _production_prefill(catalog: Catalog, inputs: float) -> float:
    """Input tokens/s of a node: eight ranks, each with a prompt of its own."""
    rig = _node(catalog)
    pairs = _serve(
        rig,
        "h800",
        "DeepSeek-V3",
        group=32,
        replicas=32,
        batch=32.0,
        context=inputs,
        inputs=inputs,
        software="sglang",
        kv_bits=16.0,
    )
    return 8.0 * inputs / float(pairs.prompt[0])


def _infersim(catalog: Catalog, i: Inputs) -> float:
    step = _step(_serve(catalog, "h20", "Qwen3-30B-A3B", group=4, replicas=4, batch=4.0 * i["batch_per_gpu"], bits=16.0, kv_bits=16.0, compute=16.0,
                        context=i["input_tokens"] + i["output_tokens"] / 2, software="sglang"))  # fmt: skip
    return float(i["batch_per_gpu"] / step)


def _h20_microseconds(catalog: Catalog, stored: float, kind: str) -> float:
    """Time [us] to read bytes of a layer at H20's bandwidth and the stack's efficiency."""
    return (
        1e6
        * stored
        / (catalog.value("device", "h20", "memory_bandwidth") * catalog.value("software", "sglang", kind))
    )


def _drafting(catalog: Catalog, i: Inputs) -> float:
    """Tokens/s with one drafted token over without, DeepSeek-V3 on eight H800, batch 64."""
    accept = float(np.mean(i["acceptance"]))
    plain, drafted = (
        _step(
            _serve(
                catalog,
                "h800",
                "DeepSeek-V3",
                group=8,
                batch=64.0,
                context=4096.0,
                software="sglang",
                draft=d,
            )
        )
        for d in ((0.0, 0.0), (float(i["draft_tokens"]), accept))
    )
    return (
        plain
        / drafted
        * ModelLoad(
            "", 1, 1, 8, 8, 8, draft_tokens=float(i["draft_tokens"]), acceptance=accept
        ).tokens_per_step
    )


def _slice(i: Inputs, at: int) -> float:
    """Smallest slice whose memory holds the weights."""
    return float(min(s for s in i["slice_sizes"] if s * i["hbm_gb"] >= i["weights_gb"][at]))


def _kv_kilobytes(catalog: Catalog, model: str) -> float:
    return transformer(catalog.llm(model)).kv_bytes_per_token(16) / 1e3


def _critical(i: Inputs, scale: float) -> float:
    """Batch at which a weight of one byte less is read as fast as it is multiplied: peak / bandwidth x bytes / 2."""
    return float(i["bf16_tflops"] * 1e12 / (i["hbm_gb_s"] * 1e9) * scale)


def _queries(i: Inputs, at: int) -> float:
    return float(i["batch"][at] / (i["step_ms"] / 1e3 * i["output_tokens"] * i["chips"][at]))


OURS: Final[Mapping[str, Callable[[Catalog, Inputs], float]]] = {
    "dean-ddr5-efficiency": lambda _, i: i["bandwidth_gb_s"] / i["power_w"],
    "liminal-hbm3-tp32-128k": lambda c, i: _liminal(c, i, 32),
    "liminal-hbm3-tp128-128k": lambda c, i: _liminal(c, i, 128),
    "liminal-hbm3-cap": _best_liminal,
    "llmcompass-bw-prefill": lambda c, _: _saved(c, "prefill", 0.8, 2.0),
    "llmcompass-bw-decode-2-decode": lambda c, _: _saved(c, "decode", 2.0, 3.2),
    "llmcompass-bw-decode-2-prefill": lambda c, _: _saved(c, "prefill", 2.0, 3.2),
    "llmcompass-compute-quarter-area": lambda c, i: 100 * _less_area(c, i["compute_scale"], 1.0) / (c.value("device", A100, "die_area") * 1e6),
    "llmcompass-latency-design-performance": _latency_design,
    "llmcompass-latency-design-ttft": lambda c, _: _compass(c, "prefill", 1.0, 0.5) / _compass(c, "prefill"),
    "llmcompass-latency-design-area": lambda c, _: _less_area(c, 0.5, 0.5),
    "llmcompass-throughput-latency-latency": lambda _, i: _throughput_design(i)[1],
    "llmcompass-throughput-latency-batch": lambda _, i: _throughput_design(i)[0],
    "llmcompass-throughput-design-throughput": lambda _, i: _throughput_design({**i, "memory_gb": [512, 80], "memory_tb_s": [1, 2]})[0] / _throughput_design({**i, "memory_gb": [512, 80], "memory_tb_s": [1, 2]})[1],
    "llmcompass-throughput-design-cost": _die_and_memory,
    "dsv3-kv-deepseek-v3": lambda c, _: _kv_kilobytes(c, "DeepSeek-V3"),
    "dsv3-kv-qwen-2.5-72b": lambda c, _: _kv_kilobytes(c, "Qwen2.5-72B"),
    "dsv3-kv-llama-3.1-405b": lambda c, _: _kv_kilobytes(c, "Llama-3.1-405B"),
    "dsv3-mtp": _drafting,
    "dsv3-train-mfu": lambda _, i: 100 * i["achieved_tflops"] / i["peak_tflops_bf16"],
    "deepseek-prod-decode": _production_decode,
    "deepseek-prod-prefill": lambda c, _: _production_prefill(c, 4096.0),
    "rtpllm-decode-prefill": lambda c, i: _production_prefill(c, i["input_tokens"]),
    "infersim-qwen3-30b-a3b-bf16-decode": _infersim,
    "infersim-qwen3-30b-layer-kv-load": lambda c, i: _h20_microseconds(
        c, i["batch_per_gpu"] * (i["input_tokens"] + i["output_tokens"] / 2) * i["kv_kb_per_token"] * 1024 / i["layers"], "bandwidth_efficiency_attention"),
    "infersim-qwen3-30b-layer-experts-load": lambda c, i: _h20_microseconds(
        c, transformer(c.llm("Qwen3-30B-A3B")).expert * 128 / i["layers"] / i["world_size"] * 2, "bandwidth_efficiency_experts"),
    "splitwise-ratios-per-dollar": lambda _, i: i["cost"] / i["bandwidth"],
    "splitwise-ratios-per-watt": lambda _, i: i["power"] / i["bandwidth"],
    "sb-critical-batch-bf16": lambda _, i: _critical(i, 1.0),
    "sb-critical-batch-int8": lambda _, i: _critical(i, 0.5),
    "sb-critical-batch-int4": lambda _, i: _critical(i, 0.25),
    "sb-min-slice-bf16": lambda _, i: _slice(i, 0),
    "sb-min-slice-int8": lambda _, i: _slice(i, 1),
    "sb-min-slice-int4": lambda _, i: _slice(i, 2),
    "sb-kv-caches": lambda _, i: float(np.floor((i["slices"][0] * i["hbm_gb"] - i["weights_gb"][0]) * 1e6 / (i["kv_kb_per_token"][0] * i["context_tokens"]))),
    "sb-step-19ms": lambda _, i: 1e3 * i["hbm_gb"] / i["hbm_gb_s"],
    "sb-qps-bf16-16chips": lambda _, i: _queries(i, 0),
    "sb-qps-int8-8chips": lambda _, i: _queries(i, 1),
    "sb-qps-int4-4chips": lambda _, i: _queries(i, 2),
    "sb-min-latency": lambda _, i: 1e3 * i["weights_gb"] / (i["chips"] * i["hbm_gb_s"]),
    "sb-long-context": lambda _, i: (i["batch"] * i["context_tokens"] * i["kv_kb_per_token"] * 1024 / 1e9 + i["weights_gb"]) / i["hbm_gb"],
}  # fmt: skip
"""claim -> ours, in the claim's unit; no number is tuned to any of them"""


def system_claims(catalog: Catalog) -> list[PublishedResult]:
    """Every published system result with complete inputs, and ours."""
    out = []
    for row, inputs in rows("results_system.csv"):
        ours = OURS[row["id"]](catalog, inputs)
        stated = row["published_value"]
        bound = float(stated.lstrip("<>"))
        if stated.startswith("<"):
            ratio = float(ours < bound)
        elif stated.startswith(">"):
            ratio = float(ours > bound)
        else:
            ratio = ours / (
                32207.0 if row["id"] == "deepseek-prod-prefill" else bound
            )  # computed tokens, cache hits apart
        out.append(PublishedResult(row["id"], row["claim"], kind_of(row), stated, float(ours), ratio))
    return out
