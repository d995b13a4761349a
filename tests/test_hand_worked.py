"""Six designs worked by hand, written before the model that they test.

Each docstring holds the arithmetic; each design comes back with one input doubled. The
``ideal`` software stack has efficiencies of 1 and no overhead, so what is left is physics.
Numbers named "nominal" are the catalogue's. The model must agree within 2 %.
"""

from __future__ import annotations

import pytest

from dse import evaluate
from dse.catalog.catalog import load_catalog

WITHIN = 0.02


BASE = {
    "compute_node": "N3", "compute_area": "800 mm2", "mac_share": 0.25, "sram": "128 MiB",
    "clock": "1.65 GHz", "fast_memory": "hbm4", "stacks": 6, "stack_height": 12, "flash": "none",
    "pnm": "none", "domain": 1,
}  # fmt: skip


@pytest.mark.parametrize(("batch", "expected"), [(32, 13.86e-3), (64, 17.34e-3)])
def test_one_h100_node(batch: int, expected: float) -> None:
    """Llama-3.1-70B, 16 bit, TP4, context 4096, on H100 (3.35 TB/s each).

    Streamed weights: 70.554e9 parameters less the embedding 128256 x 8192 = 1.051e9 leaves
    69.503e9, x 2 B = 139.0 GB. KV: 80 layers x 2 x 8 heads x 128 x 2 B = 327,680 B a token,
    x 4096 x 32 = 42.95 GB. (139.0 + 42.95) / (4 x 3.35e12) = 13.58 ms. All-reduces at the peak
    link rate: 160 x 2 x 3/4 x (32 x 8192 x 2 B) / 450e9 = 0.28 ms. Sum 13.86 ms.
    Batch doubled: (139.0 + 85.90) / 13.4e12 + 0.56 = 16.78 + 0.56 = 17.34 ms.
    """
    e = evaluate("datacenter", device="h100_sxm", llm="Llama-3.1-70B", batch=batch, tensor_parallel=4,
                 context=4096, weight_bits=16, kv_bits=16, software="ideal")  # fmt: skip
    assert e.decode_time == pytest.approx(expected, rel=WITHIN)


@pytest.mark.parametrize(("latency_us", "expected"), [(4.0, 61.2e-3), (8.0, 66.5e-3)])
def test_h3_flash_behind_hbm(latency_us: float, expected: float) -> None:
    """Llama-3.1-405B, 8 bit, batch 8, context 32,768, on one B200 + 8 x 12-high HBF behind HBM.

    Weights: 405.85e9 - embedding 128256 x 16384 = 2.10e9 -> 403.75 GB. KV: 126 x 2 x 8 x 128
    = 258,048 B a token, x 32768 x 8 = 67.65 GB. HBM holds 180 GiB = 193.3 GB: after the KV,
    125.6 GB of weights, x = 0.311; 278.1 GB stay in flash. Behind HBM every byte crosses the
    7.7 TB/s PHY: weights 403.75 / 7.7 = 52.4 ms. Flash array: 98 planes x 12 dies x 8 stacks
    x 4096 B / 4 us = 9.63 TB/s, 278.1 / 9.63 = 28.9 ms, hidden. KV 67.65 / 7.7 = 8.8 ms.
    Sum 61.2 ms. Page latency doubled: 4.82 TB/s, 278.1 / 4.82 = 57.7 ms > 52.4: 66.5 ms.
    (Staging 8 x 8 MB + 126 MB over 2 x 8 us = 11.9 TB/s does not bind.)
    """
    catalog = load_catalog().replace("flash", "hbf_gen1", "read_latency.pslc", latency_us * 1e-6)
    e = evaluate("datacenter", device="h3_b200_hbf", llm="Llama-3.1-405B", batch=8, context=32768,
                 weight_bits=8, kv_bits=8, software="ideal", catalog=catalog)  # fmt: skip
    assert e.decode_time == pytest.approx(expected, rel=WITHIN)


@pytest.mark.parametrize(
    ("tflops", "switch", "llama_engine"),
    [(17.5, 1e-12, "host"), (35.0, 0.15e-6, "host"), (35.0, 1e-12, "pnm")],
)
def test_pnm_wins_on_llama_and_loses_on_deepseek(tflops: float, switch: float, llama_engine: str) -> None:
    """Attention on the base die of 12 HBM4 stacks, 8 bit.

    Host and base die both see 12 x 2.048 = 24.58 TB/s. Llama (GQA-8, 1-byte KV) needs
    16 FLOP/B: a base die of 17.5 TFLOP/s feeds on 17.5 / 16 = 1.09 TB/s a stack, slower than
    2.048, so the host keeps it. Doubled to 35: 2.19 TB/s > 2.048, the time is the same but for
    the hand-over. KV at batch 64 and context 32768: 163,840 x 32768 x 64 = 343.6 GB / 24.58 =
    13.98 ms, of a step of 16.8 ms; hand-over 80 layers x 2 x 0.15 us = 24 us + 168 MB / 24.58 TB/s
    = 7 us, together 0.18 % of the step: the host keeps it. Without mode switches 0.04 %, inside the
    tie of 0.1 %, which goes to the 2.0 pJ/bit of the base die against 3.9 on the host.
    Absorbed MLA needs 484 FLOP/B: 35 / 484 = 0.07 TB/s a stack against a host of 562 TFLOP/s
    x 2 / 484 / 12 = 0.19: the host wins. (Host: 800 mm2 x 0.25 x 3.45 TFLOP/s/mm2/GHz x 1.65
    = 1138 TFLOP/s at 16 bit, 2277 at 8 bit.)
    """
    design = BASE | {"stacks": 12, "pnm": "memory_base_die", "pnm_flops": f"{tflops} TFLOP/s"}
    catalog = load_catalog().replace("pnm", "memory_base_die", "mode_switch_latency", switch)
    llama = evaluate("datacenter", variables=design, llm="Llama-3.1-70B", batch=64, context=32768,
                     weight_bits=8, kv_bits=8, software="ideal", catalog=catalog)  # fmt: skip
    deepseek = evaluate("datacenter", variables=design | {"domain": 8, "topology": "switch", "link_bandwidth": "0.9 TB/s",
                        "collective_engine": "device"}, llm="DeepSeek-V3", batch=256, tensor_parallel=8,
                        attention="dp", context=8192, weight_bits=8, kv_bits=8, software="ideal")  # fmt: skip
    assert llama.engines["attention"] == llama_engine
    assert deepseek.engines["attention"] == "host"
    assert llama.times["attention"] == pytest.approx(13.98e-3, rel=WITHIN)


@pytest.mark.parametrize(("batch", "expected"), [(16, 4.905e-3), (24, 5.626e-3)])
def test_tall_3d_stack_throttles(batch: int, expected: float) -> None:
    """Llama-3.1-70B, 8 bit, context 2048, on 400 mm2 N3 under 12 layers of 3D DRAM at 9 um.

    Bandwidth 15 GB/s/mm2 x 400 x 12 = 72 TB/s, under the bond's 12,346 pads/mm2 x 0.25 x 0.125 GB/s x 400
    = 154. Wires 15 / 0.125 = 120 per mm2 and layer, x 100 um2 = 1.2 %, x (6.5 - 2.5) = 4.8 % more than in
    the quoted stack of four: 0.025 GiB/mm2 x 400 x 12 x 0.952 = 114.2 GiB.
    Bytes: 69.50 GB + 163,840 x 2048 x 16 = 5.37 GB -> 74.87 GB, 1.04 ms. FLOP 2 x 16 x 69.5e9
    + attention 4 x 64 x 128 x 80 x 2048 x 16 = 2.22e12 + 0.086e12 = 2.31e12 at 1138 TFLOP/s
    = 2.03 ms: compute-bound unthrottled. Memory energy 1.2 + 0.05 + 0.03 x 13/2 = 1.445 pJ/bit
    = 11.56 pJ/B -> 0.866 J. Logic: FLOP at 0.29 x 0.5 = 0.145 pJ -> 0.335 J (clock nominal, so
    0.75 V); buffers 2 x 0.25 pJ/bit = 4 pJ/B -> 0.300 J; clocks 0.4 x 400 x 0.25 x 3.45 x 1.65
    TFLOP/s x 0.29 pJ = 66.0 W.
    Lid: spreads over sqrt(400 x 3 mm x 33 mm2 K/W) = 6.29 mm; the die's radius is 11.28 mm = 1.793, that of
    its 800 mm2 lid 2.536: 1 - 2 I1(1.793) (K1(1.793) - I1(1.793) K1(2.536) / I1(2.536)) = 0.611, so 33 x 0.611
    = 20.15, + TIM and lid 28.1 = 48.25 mm2 K/W over the stack; layer 4.24. Lowest DRAM die: logic (48.25 +
    12 x 4.24) / 400 = 0.2478 K/W, memory (48.25 + 4.24 x 6.5) / 400 = 0.1895 K/W. The logic: column 101.1,
    0.2528 K/W, and its spots: silicon spreads over sqrt(120 x 0.775 mm x 101.1) = 3.07 mm, 1.5 / 3.07 = 0.489,
    1 - 0.489 K1(0.489) = 0.1668, x 0.2528 = 0.0422: 0.295 K/W. Static: leakage 0.05 x 400 = 20 W in the logic,
    (0.04 + 0.02) x 114.2 = 6.85 W in the DRAM. Headroom of the DRAM 368 - 298 - 20 x 0.2478 - 6.85 x 0.1895
    = 63.7 K. At the full clock t >= ((0.335 + 0.300 + 0.134) x 0.2478 + 0.866 x 0.1895) / 63.7 = 5.57 ms. At 0.65
    of it, 0.6 V, arithmetic takes 0.64 of its energy: 0.214 + 0.299 + 66.0 x 0.65 x 0.64 x 3.12 ms = 0.086, 0.599 J:
    (0.599 x 0.2478 + 0.866 x 0.1895) / 63.7 = 4.905 ms, and the slower clock wins. The logic, limit 378: headroom
    80 - 5.9 - 1.3 = 72.8, (0.599 x 0.295 + 0.164) / 72.8 = 4.68 ms: the DRAM decides.
    Batch 24: 77.55 GB -> 0.8965 J and 0.310 J; 3.465e12 FLOP, 4.684 ms at 0.65 -> 0.322 J and clocks 0.129 J:
    (0.761 x 0.2478 + 0.8965 x 0.1895) / 63.7 = 5.626 ms.
    """
    design = BASE | {"compute_area": "400 mm2", "fast_memory": "dram3d", "stack_height": 12, "bond_pitch": "9 um",
                     "orientation": "logic_below", "sram": "64 MiB"}  # fmt: skip
    design.pop("stacks")
    e = evaluate("datacenter", variables=design, llm="Llama-3.1-70B", batch=batch, context=2048,
                 weight_bits=8, kv_bits=8, software="ideal")  # fmt: skip
    assert e.decode_time == pytest.approx(expected, rel=WITHIN)
    assert e.decode_time > 1.02 * e.unthrottled_time


@pytest.mark.parametrize(("batch", "switch_us", "torus_us"), [(8, 6.47, 19.71), (16, 7.49, 25.93)])
def test_torus_against_switch_at_64_packages(batch: int, switch_us: float, torus_us: float) -> None:
    """All-reduces of Llama-3.1-70B at TP64, 0.9 TB/s a package at link efficiency 0.75.

    Message: batch 8 x 8192 x 2 B = 131,072 B; 2 x 80 = 160 a step. Launch 2.5 us (device-initiated); flags
    take half of the rate 0.675e12, a further peer 0.05 us.
    Switch: a step is endpoint 0.35 + 2 links x 0.035 + 0.25 = 0.67 us. Hierarchical 8 x 8: scatter, one
    shot over 8 shares, gather: 2.5 + 3 x 0.67 + 18 x 0.05 + (7/8 + 7/8 + 7/8) x 131072 / 0.3375e12
    = 2.5 + 2.01 + 0.9 + 1.02 = 6.43 us; recursive doubling 2.5 + 6 x 0.67 + 6 x 131072 / 0.3375e12 = 8.85;
    one-shot 2.5 + 0.67 + 3.1 + 63 x 131072 / 0.675e12 = 18.5; tree 11.3; ring 87.
    Torus 8 x 8: a hop is 0.3 + 0.035; tree of depth 8 and back: 2.5 + 16 x (0.35 + 0.335) + 16 x 131072 /
    0.3375e12 = 2.5 + 10.96 + 6.21 = 19.67 us (a link is a quarter of the rate, used twice each way);
    rings by dimension, four messages a step: 2.5 + 28 x (0.685 + 0.15) + 1.969 x 131072 / 0.3375e12 = 26.6.
    Message doubled: switch 5.41 + 2.04 = 7.45; torus tree 13.46 + 12.43 = 25.9 (rings 27.4).
    The gather of the sampled tokens, 6.3 to 8 us once a step, adds 0.04 to each.
    """
    got = {}
    for topology in ("switch", "torus2d"):
        design = BASE | {"domain": 64, "topology": topology, "link_bandwidth": "0.9 TB/s",
                         "collective_engine": "device"}  # fmt: skip
        e = evaluate("datacenter", variables=design, llm="Llama-3.1-70B", batch=batch, tensor_parallel=64,
                     context=4096, weight_bits=8, kv_bits=8, software="textbook")  # fmt: skip
        got[topology] = e.times["collectives"] / 160 * 1e6
    assert got["switch"] == pytest.approx(switch_us, rel=WITHIN)
    assert got["torus2d"] == pytest.approx(torus_us, rel=WITHIN)


@pytest.mark.parametrize(("channels", "expected"), [(4, 24.5e-3), (8, 20.7e-3)])
def test_phone(channels: int, expected: float) -> None:
    """Llama-3.2-3B, 4-bit weights, 8-bit KV, context 1149, on LPDDR5X, point-to-point link.

    Weights: 3.2127e9 parameters (the tied head is the embedding and is streamed) x 0.5 B =
    1.606 GB. KV: 28 x 2 x 8 x 128 = 57,344 B x 1149 = 65.9 MB. 4 channels x 17.07 GB/s =
    68.28 GB/s (the 128 GB/s link does not bind): 1.672 / 68.28 = 24.5 ms, not throttled.
    Channels doubled: two packages with a link each, 136.6 GB/s: 1.672 / 136.6 = 12.24 ms. Now the
    skin, after ten minutes: C_chip 12 J/K, R 3 K/W, C_body 150 J/K, R 5 K/W to the air. exp(-C^-1 G 600 s) leaves
    a watt in the chip 5.39 K there and 2.51 K in the body, a watt in the body 2.62 K there and 2.51 K in the chip
    (its own time 36 s is long over, the body's 760 s is not: 5 x (1 - exp(-600 / 760)) = 2.7). Half way lies the
    spot: 3.95 K/W of the chip, 2.56 K/W of the body. Of 18 K display and radios take 1.2 x 2.56 = 3.08,
    (0.3 + 12 x 0.016 + 0.02) / 0.88 = 0.58 W at rest x 3.95 = 2.30: 12.62 K are left. A token takes DRAM
    1.672 GB x (3.0 + 0.6) pJ/bit = 48.2 mJ, buffers 4 pJ/B = 6.7 mJ, 6.8 GFLOP at 0.29 x 0.64
    (0.6 V) x 0.5 pJ = 0.6 mJ, clocks 0.4 x 4.6 TFLOP/s x 0.186 pJ = 0.34 W, at a slower clock that computes in
    less time than it reads 2.7 mJ: 58.2 mJ / 0.88 x 3.95 K/W / 12.62 K = 20.7 ms.
    """
    design = {
        "soc_node": "N3", "npu_area": "2 mm2", "npu_sram": "8 MiB", "npu_clock": "1.2 GHz",
        "dram": "lpddr5x", "dram_channels": channels, "dram_capacity": "12 GiB", "dram_mount": "pop",
        "pnm": "none", "flash": "ufs4", "flash_dies": 2, "flash_cell": "tlc", "weights_home": "dram",
        "on_package_link": "point_to_point",
    }  # fmt: skip
    e = evaluate("mobile", variables=design, llm="Llama-3.2-3B", context=1149, software="ideal")
    assert e.decode_time == pytest.approx(expected, rel=WITHIN)
