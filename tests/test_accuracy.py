"""Names, labels and plans of served rows; prompts that join steps; speculation; import of a configuration."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import evaluate
from dse.calibration.cases import case_of
from dse.calibration.predict import machines, prepare, soft_rows, times
from dse.calibration.resolve import device_name, llm_entry
from dse.calibration.rows import ADDED, predict_rows
from dse.catalog.catalog import Catalog, load_catalog
from dse.catalog.hf_import import import_llm
from dse.catalog.transformer import transformer
from dse.core.axes import GROUPS
from dse.core.errors import DataError, InfeasibleError
from dse.space.scenario import ModelLoad

ROW = {
    "id": "a", "silicon_data_source": "", "backend": "vllm", "backend_version": "1", "model_path": "meta-llama/Llama-3.1-70B", "system": "h100_sxm",
    "precision": "fp8", "mode": "agg", "isl": "1024", "osl": "1024", "gemm_quant_mode": "fp8", "moe_quant_mode": "fp8", "batch_size": "16",
    "tp_size": "4", "pp_size": "1", "attention_dp_size": "1", "moe_tp_size": "4", "moe_ep_size": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("deepseek-ai/DeepSeek-R1-0528", "DeepSeek-R1"), ("nvidia/DeepSeek-R1-0528-FP4-v2", "DeepSeek-R1"), ("deepseek-ai/DeepSeek-V3.2", "DeepSeek-V3.2"),
        ("moonshotai/Kimi-K2.5", "Kimi-K2.5"), ("nvidia/Kimi-K2.5-NVFP4", "Kimi-K2.5"), ("moonshotai/Kimi-K2-Instruct-0905", "Kimi-K2"),
        ("zhipuai/GLM-5", "GLM-5"), ("zai-org/GLM-5-FP8", "GLM-5"), ("zai-org/GLM-4.7", "GLM-4.7"), ("MiniMaxAI/MiniMax-M2.5", "MiniMax-M2.5"),
        ("Qwen/Qwen3.5-397B-A17B-FP8", "Qwen3.5-397B-A17B"), ("nvidia/Qwen3-235B-A22B-NVFP4", "Qwen3-235B-A22B"), ("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen3-30B-A3B"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"), ("openai/gpt-oss-20b", "gpt-oss-20b"), ("meta-llama/Meta-Llama-3.1-8B-Instruct", "Llama-3.1-8B"),
        ("nvidia/Llama-3.3-70B-Instruct-FP8", "Llama-3.3-70B"), ("nvidia/Llama-3.1-405B-Instruct-FP4", "Llama-3.1-405B"),
    ],
)  # fmt: skip
def test_names_as_files_use_them(path: str, name: str, catalog: Catalog) -> None:
    assert llm_entry(catalog, path).name == name


@pytest.mark.parametrize("path", ["deepseek-ai/DeepSeek-V9", "nobody/Nothing-7B", ""])
def test_an_unknown_model_is_not_taken_for_another(path: str, catalog: Catalog) -> None:
    with pytest.raises(DataError, match="not in the catalogue"):
        llm_entry(catalog, path)


@pytest.mark.parametrize(
    ("label", "name"),
    [("b200_sxm", "b200_sxm"), ("B300", "b300_sxm"), ("gb200", "gb200"), ("GB300_NVL72", "gb300"), ("gb200_sxm", "gb200"), ("NVIDIA H100", "h100_sxm"),
     ("MI355X", "mi355x"), ("l40s", "l40s"), ("a100_sxm", "a100_sxm"), ("h200-sxm", "h200_sxm"),
     ("RTX PRO 6000", "rtx_pro_6000_server")],
)  # fmt: skip
def test_devices_as_files_name_them(label: str, name: str, catalog: Catalog) -> None:
    assert device_name(catalog, label) == name


def test_every_device_and_model_predicts_a_row(catalog: Catalog) -> None:
    """Rows of devices and models nobody calibrated on."""
    targets = [d for d, e in catalog.entries["device"].items() if e.attributes["target"] == "datacenter"]
    rows = [
        ROW
        | {
            "system": d,
            "model_path": "Llama-3.1-8B",
            "precision": p,
            "gemm_quant_mode": "",
            "moe_quant_mode": "",
        }
        for d in targets
        for p in ("", "fp8", "fp4")
    ]
    rows += [
        ROW
        | {
            "system": "b200_sxm",
            "model_path": m,
            "precision": p,
            "tp_size": "8",
            "moe_tp_size": "8",
            "gemm_quant_mode": "",
            "moe_quant_mode": "",
        }
        for m in catalog.llms
        for p in ("fp8", "nvfp4")
    ]
    for r in predict_rows(rows, catalog):
        assert r["reason"] == "" or any(
            w in r["reason"] for w in ("does not fit", "do not divide", "neither divide")
        ), r
        assert bool(r["reason"]) != bool(r["predicted_tpot_ms"])


@pytest.mark.parametrize(
    ("labels", "plan"),
    [
        ({"tp_size": "16", "moe_tp_size": "4", "moe_ep_size": "4"}, (4, 1, 4)),
        ({"tp_size": "64", "moe_tp_size": "8", "moe_ep_size": "8"}, (8, 1, 8)),
        ({"tp_size": "4", "attention_dp_size": "4", "moe_tp_size": "1", "moe_ep_size": "16", "silicon_data_source": "db-dump/2026-04-27"}, (4, 4, 4)),
        ({"tp_size": "1", "attention_dp_size": "64", "moe_tp_size": "1", "moe_ep_size": "64"}, (8, 8, 8)),
        ({"tp_size": "4", "moe_tp_size": "2", "moe_ep_size": "2", "silicon_data_source": "source_file=2026-04-06.csv; silicon_concurrency=8"}, (2, 1, 2)),
        ({"tp_size": "4", "moe_tp_size": "2", "moe_ep_size": "2", "silicon_data_source": "source_file=own-runs/x.csv"}, (4, 1, 2)),
        ({"tp_size": "2", "attention_dp_size": "", "moe_tp_size": "4", "moe_ep_size": "1"}, (4, 2, 1)),
        ({"tp_size": "8", "moe_tp_size": "0", "moe_ep_size": "0.0"}, (8, 1, 1)),
    ],
)  # fmt: skip
def test_ranks_that_really_ran(labels: dict[str, str], plan: tuple[int, int, int], catalog: Catalog) -> None:
    case = case_of(ROW | {"model_path": "MiniMax-M2.5"} | labels, catalog)
    assert (case.plan.group, case.plan.replicas, case.plan.expert_parallel) == plan


@pytest.mark.parametrize(
    ("change", "bits"),
    [
        ({}, (8.0, 8.0, 8.0, 16.0)), ({"system": "a100_sxm"}, (8.0, 16.0, 8.0, 16.0)), ({"precision": "", "gemm_quant_mode": "", "moe_quant_mode": ""}, (16.0, 16.0, 16.0, 16.0)),
        ({"system": "b200_sxm", "gemm_quant_mode": "nvfp4", "moe_quant_mode": "nvfp4"}, (4.5, 4.0, 8.0, 16.0)),
        ({"gemm_quant_mode": "nvfp4"}, (4.5, 16.0, 8.0, 16.0)), ({"backend": "sglang"}, (8.0, 8.0, 16.0, 16.0)),
    ],
)  # fmt: skip
def test_formats_are_native_or_emulated_by_chip(
    change: dict[str, str], bits: tuple[float, ...], catalog: Catalog
) -> None:
    """Stored, multiplied, KV, LM head."""
    load = case_of(ROW | change, catalog).load
    assert (load.weight_bits, load.compute_bits, load.kv_bits, load.stored("head")) == bits


@pytest.mark.parametrize(
    ("change", "said"),
    [({"isl": "0"}, "isl: got '0'"), ({"system": "abacus"}, "device 'abacus'"), ({"backend": "lisp"}, "backend 'lisp'"), ({"tp_size": "1024"}, "of up to 512"),
     ({"precision": "fp5", "gemm_quant_mode": ""}, "precision 'fp5'"), ({"batch_size": "nan"}, "batch_size"), ({"tp_size": "x"}, "tp_size: got 'x'"), ({"mode": "both"}, "mode 'both'")],
)  # fmt: skip
def test_a_row_that_cannot_be_predicted_says_why(change: dict[str, str], said: str, catalog: Catalog) -> None:
    (out,) = predict_rows([ROW | change], catalog)
    assert said in out["reason"]
    assert out["predicted_tpot_ms"] == ""


def test_a_queue_is_told_and_never_timed(catalog: Catalog) -> None:
    (out,) = predict_rows(
        [ROW | {"tp_size": "2", "moe_tp_size": "2", "isl": "8192", "batch_size": "512"}], catalog
    )
    assert "a queue forms" in out["note"]
    assert float(out["predicted_tpot_ms"]) < 1e3


def test_rows_do_not_depend_on_their_neighbours(catalog: Catalog) -> None:
    rows = [
        ROW,
        ROW | {"isl": "2048", "backend": "sglang"},
        ROW | {"system": "b200_sxm", "model_path": "DeepSeek-R1", "tp_size": "8", "moe_tp_size": "8"},
        ROW | {"system": "nope"},
    ]
    whole = predict_rows(rows, catalog)
    assert [predict_rows([r], catalog)[0] for r in rows] == whole
    assert predict_rows(rows[::-1], catalog)[::-1] == whole


def _tpot(catalog: Catalog, **change: str) -> float:
    return float(predict_rows([ROW | change], catalog)[0]["predicted_tpot_ms"])


def test_arriving_prompts_slow_decode(catalog: Catalog) -> None:
    """More prompt per output token is never faster, and a disaggregated worker feels none of it."""
    assert _tpot(catalog, isl="8192") > 1.2 * _tpot(catalog, isl="1024")
    assert _tpot(catalog, osl="128") > _tpot(catalog)
    apart = ROW | {"mode": "disagg", "batch_size": ""} | {
        f"{side}_{k}": v for side in ("prefill", "decode")
        for k, v in {"batch_size": "16", "num_workers": "1", "tp_size": "4", "pp_size": "1", "attention_dp_size": "1", "moe_tp_size": "4", "moe_ep_size": "1"}.items()
    }  # fmt: skip
    assert float(predict_rows([apart | {"osl": "128"}], catalog)[0]["predicted_tpot_ms"]) < _tpot(
        catalog, osl="128"
    )


@pytest.mark.parametrize("device", ["l40s", "rtx_pro_6000_server"])
def test_cards_of_a_server_reduce_as_slowly_as_measured(device: str, catalog: Catalog) -> None:
    """Small all-reduce over eight PCIe cards: 22.6 to 42.9 us with NCCL and custom kernels on L40S, 24.2 to 27.4 on RTX PRO."""
    alpha = machines(catalog, [device]).network.reduce_alpha[0, GROUPS.index(8)]
    assert 20e-6 < alpha.min() < 30e-6


def test_more_ranks_never_cost_what_a_missing_link_would(catalog: Catalog) -> None:
    """Ranks within a server, over PCIe, and over network cards: shared weights stay worth it or nearly so."""
    targets = [d for d, e in catalog.entries["device"].items() if e.attributes["target"] == "datacenter"]
    for device in targets:
        rows = [
            ROW | {"system": device, "tp_size": str(tp), "moe_tp_size": str(tp)} for tp in (1, 2, 4, 8, 16)
        ]
        told = [r["predicted_tpot_ms"] for r in predict_rows(rows, catalog)]
        outcomes = [float(t) for t in told if t]
        steps = [b / a for a, b in itertools.pairwise(outcomes)]
        assert max(steps, default=0.0) < 2.0, (device, outcomes)


@settings(max_examples=20, deadline=None)
@given(
    isl=st.sampled_from([256, 1024, 4096]),
    output_tokens=st.sampled_from([128, 1024]),
    batch=st.sampled_from([1, 8, 64]),
    tp=st.sampled_from([1, 2, 4, 8]),
)
def test_waiting_and_decoding_share_the_prompts_between_them(
    isl: int, output_tokens: int, batch: int, tp: int
) -> None:
    """What prefill_share takes from the decode time it gives to the wait: one request's whole time stays."""
    catalog = load_catalog()
    case = case_of(
        ROW
        | {
            "isl": str(isl),
            "osl": str(output_tokens),
            "batch_size": str(batch),
            "tp_size": str(tp),
            "moe_tp_size": str(tp),
            "model_path": "Llama-3.1-8B",
        },
        catalog,
    )
    s = prepare([case], catalog)
    none = {
        "eager_launch_share": np.zeros(1),
        "waiting": np.zeros(1),
        "layer": np.zeros(1),
        "step": np.zeros(1),
    }
    whole = []
    for share in (1.0, 0.6):
        t = times(s, soft_rows(catalog, [case], none | {"prefill_share": np.full(1, share)}))
        whole.append(float(t.ttft[0] + output_tokens * t.tpot[0]))
    assert whole[0] == pytest.approx(whole[1], rel=0.25)


@given(a=st.floats(0, 0.999), k=st.integers(0, 8))
def test_accepted_tokens_are_the_geometric_sum(a: float, k: int) -> None:
    load = ModelLoad("", 1, 1, 8, 8, 8, draft_tokens=float(k), acceptance=a)
    assert load.tokens_per_step == pytest.approx(sum(a**i for i in range(k + 1)), rel=1e-6)
    assert load.positions == k + 1


def test_drafting_pays_at_small_batch_and_less_at_large(catalog: Catalog) -> None:
    from dataclasses import replace

    def gain(batch: float) -> float:
        case = case_of(ROW | {"batch_size": str(batch), "osl": "8192", "isl": "128"}, catalog)
        drafted = replace(case, load=replace(case.load, draft_tokens=3.0, acceptance=0.8))
        plain, fast = (times(prepare([c], catalog), soft_rows(catalog, [c])).tpot[0] for c in (case, drafted))
        return float(plain / fast)

    assert (
        1.5 < gain(1) <= ModelLoad("", 1, 1, 8, 8, 8, draft_tokens=3, acceptance=0.8).tokens_per_step + 1e-9
    )
    assert gain(512) < gain(1)


def test_sparse_attention_reads_its_top_k_and_holds_everything(catalog: Catalog) -> None:
    """DeepSeek-V3.2: 2048 latents of 576 elements, and 128 one-byte keys a position for the indexer."""
    m = transformer(catalog.llm("DeepSeek-V3.2"))
    assert m.read_bytes(100_000, 16) == pytest.approx(61 * (2048 * 576 * 2 + 100_000 * 128))
    assert m.held_bytes(100_000, 16) == pytest.approx(61 * 100_000 * (576 * 2 + 128))
    assert m.read_bytes(1000, 16) == pytest.approx(61 * 1000 * (576 * 2 + 128))


def test_a_cache_split_by_position_holds_longer_contexts() -> None:
    """DeepSeek-V3 on eight H200: tensor ranks hold copies of the latent, split by position an eighth each."""
    asked: dict[str, Any] = {
        "device": "h200_sxm",
        "llm": "DeepSeek-V3",
        "batch": 8,
        "tensor_parallel": 8,
        "context": 131072,
        "weight_bits": 8,
        "kv_bits": 16,
    }
    with pytest.raises(InfeasibleError, match="a batch of 5"):
        evaluate("datacenter", attention="tp", **asked)
    assert evaluate("datacenter", attention="sp", **asked).memory["free"].value > 0
    tp, sp = (evaluate("datacenter", attention=a, **{**asked, "batch": 4}) for a in ("tp", "sp"))
    assert sp.times["attention"] <= tp.times["attention"]
    assert sp.times["collectives"] > tp.times["collectives"]
    assert sp.memory["KV cache"].value == pytest.approx(tp.memory["KV cache"].value / 8)


DEEPSEEK = {
    "model_type": "deepseek_v3", "first_k_dense_replace": 3, "hidden_act": "silu", "hidden_size": 7168, "intermediate_size": 18432, "kv_lora_rank": 512,
    "max_position_embeddings": 163840, "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1, "num_attention_heads": 128, "num_experts_per_tok": 8,
    "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "quantization_config": {"quant_method": "fp8"}, "v_head_dim": 128, "vocab_size": 129280, "tie_word_embeddings": False,
}  # fmt: skip


GPT_OSS = {
    "model_type": "gpt_oss", "attention_bias": True, "head_dim": 64, "hidden_act": "silu", "hidden_size": 2880, "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 18, "max_position_embeddings": 131072, "num_attention_heads": 64, "num_experts_per_tok": 4,
    "num_hidden_layers": 36, "num_key_value_heads": 8, "num_local_experts": 128, "quantization_config": {"quant_method": "mxfp4"}, "sliding_window": 128,
    "tie_word_embeddings": False, "vocab_size": 201088,
}  # fmt: skip


NEXT = {
    "model_type": "qwen3_next", "decoder_sparse_step": 1, "full_attention_interval": 4, "head_dim": 256, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 5120,
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_value_head_dim": 128,
    "max_position_embeddings": 262144, "mlp_only_layers": [], "moe_intermediate_size": 512, "num_attention_heads": 16, "num_experts": 512, "num_experts_per_tok": 10,
    "num_hidden_layers": 48, "num_key_value_heads": 2, "shared_expert_intermediate_size": 512, "tie_word_embeddings": False, "vocab_size": 151936,
}  # fmt: skip


GEMMA = {
    "model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "head_dim": 256, "hidden_size": 2560, "intermediate_size": 10240, "num_attention_heads": 8,
    "num_hidden_layers": 34, "num_key_value_heads": 4, "sliding_window": 1024, "vocab_size": 262208, "max_position_embeddings": 131072},
}  # fmt: skip


LLAMA = {
    "model_type": "llama", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 131072, "num_attention_heads": 32,
    "num_hidden_layers": 32, "num_key_value_heads": 8, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "vocab_size": 128256,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "like"),
    [
        (DEEPSEEK, "DeepSeek-V3"),
        (GPT_OSS, "gpt-oss-120b"),
        (NEXT, "Qwen3-Next-80B-A3B"),
        (GEMMA, "Gemma-3-4B"),
        (LLAMA, "Llama-3.1-8B"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_configuration_gives_the_catalogued_shape(
    config: dict[str, Any], like: str, tmp_path: Path, catalog: Catalog
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = import_llm(tmp_path / "config.json", "mine")
    known, mine = transformer(catalog.llm(like)), transformer(made.entry)
    assert mine.parameters == pytest.approx(known.parameters, rel=2e-3)
    assert mine.kv_bytes_per_token(16) == known.kv_bytes_per_token(16)
    assert mine.read_bytes(50_000, 16) == pytest.approx(known.read_bytes(50_000, 16))
    assert mine.state_bytes == known.state_bytes
    assert mine.decode_flops(50_000) == pytest.approx(known.decode_flops(50_000))
    assert not made.unverified


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"hidden_size": 4096}',
        '{"num_hidden_layers": -1, "hidden_size": 4, "num_attention_heads": 1, "vocab_size": 8}',
    ],
)
def test_a_bad_configuration_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DataError, match=r"config\.json"):
        import_llm(tmp_path / "config.json")


def test_added_columns_are_all_there(catalog: Catalog) -> None:
    assert set(ADDED) <= set(predict_rows([ROW], catalog)[0])


@pytest.mark.parametrize("target", ["datacenter", "mobile"])
def test_parts_sum_to_the_total_with_drafted_tokens(target: str) -> None:
    from dataclasses import replace

    from dse.space.overrides import load_space

    space = load_space(target)
    load = replace(space.scenario.workloads[0], draft_tokens=2.0, acceptance=0.7)
    space = replace(space, scenario=replace(space.scenario, workloads=(load,)))
    device = {"datacenter": "h200_sxm", "mobile": "snapdragon_8_gen3"}[target]
    asked: dict[str, Any] = {"batch": 64, "tensor_parallel": 8} if target == "datacenter" else {}
    e = evaluate(space, device=device, **asked)
    assert sum(e.times.values()) == pytest.approx(e.tpot, rel=1e-9)
    assert sum(e.energies.values()) == pytest.approx(e.objectives["energy_per_token"], rel=1e-9)
    assert min(e.times.values()) >= 0


def test_a_class_of_the_catalogue_can_be_the_traffic(tmp_path: Path, catalog: Catalog) -> None:
    """By name in a space file; its skew and its tokens per pass go with it, and disagreeing classes are refused."""
    from dse.core.errors import SpaceError
    from dse.space.overrides import load_space
    from dse.space.reader import space_text

    text = space_text("datacenter")[0]
    head, tail = text.split("[[scenario.traffic]]", 1)
    rest = tail[tail.index("[[scenario.workload]]") :]
    one = head + '[[scenario.traffic]]\nuse = "diffusion"\nshare = 1.0\n\n' + rest
    (tmp_path / "one.toml").write_text(one)
    scenario = load_space(str(tmp_path / "one.toml")).scenario
    assert scenario.mix.classes[0].input_tokens == catalog.value("traffic", "diffusion", "input_tokens")
    assert scenario.workloads[0].tokens_per_step == catalog.value("traffic", "diffusion", "tokens_per_pass")
    assert scenario.numbers["routing_skew"] == catalog.value("traffic", "diffusion", "routing_skew")
    (tmp_path / "two.toml").write_text(
        one.replace("share = 1.0\n", 'share = 0.5\n\n[[scenario.traffic]]\nuse = "chat"\nshare = 0.5\n')
    )
    with pytest.raises(SpaceError, match="agree in block_tokens"):
        load_space(str(tmp_path / "two.toml"))
    (tmp_path / "bad.toml").write_text(one.replace('"diffusion"', '"diffusoin"'))
    with pytest.raises(SpaceError, match="diffusion"):
        load_space(str(tmp_path / "bad.toml"))
