"""Single operators on an A100 against LLMCompass's measurements: products, and a layer of GPT-3 kernel by kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Final

from dse.catalog.catalog import Catalog
from tests.validation.evidence.edge_devices import published

STACK: Final = "pytorch_eager"


DEVICE: Final = "a100_sxm"


HALF: Final = 2.0  # bytes of a 16-bit number


PASSES: Final = {"Softmax": (3.0, 1), "LayerNorm": (3.0, 3), "GeLU": (2.0, 3)}
"""passes over the operand and kernels of an elementwise operator written in PyTorch operations:
softmax reads for the maximum and for the sum and writes; LayerNorm reads twice and writes, in mean, variance and scale;
GeLU reads and writes, its tanh form being three kernels"""


@dataclass(frozen=True)
class Kernel:
    """One row, in s."""

    name: str
    measured: float
    predicted: float

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured


class _Bench:
    """Roofline of one kernel with the stack's efficiencies and launch times."""

    def __init__(self, catalog: Catalog) -> None:
        software, device = partial(catalog.value, "software", STACK), partial(catalog.value, "device", DEVICE)
        self.flops = device("peak_16bit") * software("flop_efficiency")
        self.bandwidth = device("memory_bandwidth") * software("bandwidth_efficiency")
        self.link = device("link_bandwidth") * software("link_efficiency")
        self.product, self.elementwise = software("product_launch"), software("elementwise_launch")
        self.ring = catalog.value("collective", "host", "launch_latency")

    def matmul(self, m: float, n: float, k: float, batch: float = 1.0) -> float:
        """Product of (m, k) and (k, n): 2 m n k FLOP, operands and result once through memory."""
        moved = HALF * batch * (m * k + k * n + m * n)
        return self.product + max(2.0 * batch * m * n * k / self.flops, moved / self.bandwidth)

    def pointwise(self, kind: str, elements: float) -> float:
        """Elementwise operator: passes over its operand, or its launches."""
        passes, kernels = PASSES[kind]
        return max(passes * HALF * elements / self.bandwidth, kernels * self.elementwise)

    def all_reduce(self, message: float, ranks: int) -> float:
        """Ring: launch and 2 (g - 1) steps, or the bytes."""
        return self.ring + 2.0 * (ranks - 1) * self.hop + 2.0 * (ranks - 1) / ranks * message / self.link

    hop: Final = 2.2e-6  # s a step of NCCL's ring on NVLink 3: (12.5 us - launch) / 6 steps, 8-byte rows


def kernel_rows(catalog: Catalog) -> list[Kernel]:
    """Every GEMM and layer row, predicted."""
    bench = _Bench(catalog)
    out = []
    for r in published():
        if r["metric"] == "gemm_latency":
            m, n, k = (float(x) for x in re.findall(r"[MNK](\d+)", r["model"]))
            out.append(Kernel(r["model"], float(r["value"]) / 1e3, bench.matmul(m, n, k)))
        elif "_layer_" in r["metric"]:
            phase, _, name = r["metric"].partition("_layer_")
            out.append(Kernel(r["metric"], float(r["value"]) / 1e6, _layer(bench, phase, name)))
    return out


def bench_layer(catalog: Catalog, phase: str) -> float:
    """Time [s] of the whole GPT-3 layer, ``decode`` or ``prefill``."""
    return _layer(_Bench(catalog), phase, "total")


def _layer(bench: _Bench, phase: str, name: str) -> float:
    """One operator of a GPT-3 layer on four ranks, batch 8: decode at context 3072, or a prompt of 2048."""
    hidden, heads, dim, ranks, batch = 12288.0, 24.0, 128.0, 4, 8.0  # heads of one rank; GPT-3 175B
    tokens, queries, context = (batch, 1.0, 3072.0) if phase == "decode" else (batch * 2048.0, 2048.0, 2048.0)
    width, scores = hidden / ranks, batch * heads * queries * context
    products = {
        "Q_K_V": lambda: 3 * bench.matmul(tokens, width, hidden),
        "Q_mul_K": lambda: bench.matmul(queries, context, dim, batch * heads),
        "A_mul_V": lambda: bench.matmul(queries, dim, context, batch * heads),
        "Wo_proj": lambda: bench.matmul(tokens, hidden, width),
        "W1_proj": lambda: bench.matmul(tokens, 4 * width, hidden),
        "W2_proj": lambda: bench.matmul(tokens, hidden, 4 * width),
        "Softmax": lambda: bench.pointwise("Softmax", scores),
        "LayerNorm_MHA": lambda: bench.pointwise("LayerNorm", tokens * hidden),
        "LayerNorm_FFN": lambda: bench.pointwise("LayerNorm", tokens * hidden),
        "GeLU": lambda: bench.pointwise("GeLU", tokens * 4 * width),
        "AllReduce_MHA": lambda: bench.all_reduce(HALF * tokens * hidden, ranks),
        "AllReduce_FFN": lambda: bench.all_reduce(HALF * tokens * hidden, ranks),
    }
    if name == "total":
        every = [_layer(bench, phase, one) for one in products]
        return float(sum(every))
    return products[name]()
