"""Served points in people's own form: columns by each tool's names, and what changes the answer used or refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from dse.calibration.cases import case_of
from dse.calibration.forms import read_table
from dse.calibration.rows import predict_rows
from dse.catalog.catalog import Catalog, load_catalog
from dse.catalog.device_import import import_device
from dse.core.errors import DataError
from tests.test_cases import CASES, run, seconds

INFERENCEX = {
    "hw": "h200", "model": "meta-llama/Llama-3.1-70B-Instruct", "framework": "sglang", "precision": "fp8",
    "isl": 1024, "osl": 512, "conc": 32, "tp": 8, "ep": 1, "dp_attention": "false", "spec_decoding": "none",
    "disagg": False, "mean_ttft": 0.35, "mean_tpot": 0.021, "tput_per_gpu": 150.0,
}  # fmt: skip
VLLM = {
    "date": "20261101", "backend": "vllm", "label": None, "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "num_prompts": 64, "request_rate": "inf", "max_concurrency": 16, "completed": 64, "total_input_tokens": 65536,
    "total_output_tokens": 8192, "mean_ttft_ms": 80.0, "mean_tpot_ms": 9.5, "input_lens": [1, 2], "tp": "1",
}  # fmt: skip
SGLANG = {
    "backend": "sglang-oai-chat", "dataset_name": "random", "max_concurrency": 8, "random_input_len": 2048,
    "random_output_len": 256, "random_range_ratio": 1.0, "completed": 0, "mean_ttft_ms": 90.0, "mean_tpot_ms": 8.0,
    "accept_length": None, "server_info": {"model_path": "Qwen/Qwen3-32B", "tp_size": 2},
}  # fmt: skip
GENAI = {
    "time_to_first_token": {"unit": "ms", "avg": 55.0, "p99": 80.0},
    "inter_token_latency": {"unit": "ms", "avg": 7.5},
    "input_sequence_length": {"unit": "tokens", "avg": 550.0},
    "output_sequence_length": {"unit": "tokens", "avg": 128.0},
    "input_config": {"model": ["Qwen3-32B"], "perf_analyzer": {"stimulus": {"concurrency": 4}}},
}
CONFIGURATOR = {
    "model": "QWEN3_32B", "system": "h200_sxm", "backend": "trtllm", "isl": 4000, "osl": 1000, "concurrency": 64,
    "bs": 16, "tp": 2, "pp": 1, "dp": 1, "moe_tp": 1, "moe_ep": 1, "gemm": "fp8_block", "kvcache": "fp8",
    "ttft": 480.0, "tpot": 11.0, "tokens/s/gpu": 900.0,
}  # fmt: skip


def written(folder: Path, name: str, *rows: dict[str, object]) -> Path:
    file = folder / name
    if name.endswith("csv"):
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif name.endswith("jsonl"):
        file.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    else:
        file.write_text(json.dumps(rows[0] if len(rows) == 1 else rows), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("name", "row", "given", "read"),
    [
        ("x.json", INFERENCEX, {}, ("h200_sxm", "sglang", 8, 32.0, 1024.0, 512.0, 0.021)),
        ("x.csv", INFERENCEX, {}, ("h200_sxm", "sglang", 8, 32.0, 1024.0, 512.0, 0.021)),
        ("v.json", VLLM, {"system": "h100"}, ("h100_sxm", "vllm", 1, 16.0, 1024.0, 128.0, 0.0095)),
        ("s.jsonl", SGLANG, {"system": "h100"}, ("h100_sxm", "sglang", 2, 8.0, 2048.0, 256.0, 0.008)),
        ("g.json", GENAI, {"system": "h200", "backend": "trtllm", "tp_size": "2"},
         ("h200_sxm", "trtllm", 2, 4.0, 550.0, 128.0, 0.0075)),
        ("a.csv", CONFIGURATOR | {"model": "Qwen/Qwen3-32B"}, {},
         ("h200_sxm", "trtllm", 2, 16.0, 4000.0, 1000.0, 0.011)),
    ],
)  # fmt: skip
def test_each_tools_own_columns_are_read(
    tmp_path: Path, catalog: Catalog, name: str, row: dict[str, object], given: dict[str, str],
    read: tuple[object, ...],
) -> None:  # fmt: skip
    """Lengths are the means of what was sent where totals are told; requests in flight are the batch."""
    table = read_table(written(tmp_path, name, row), given)
    c = case_of(table.rows[0], catalog)
    tpot = pytest.approx(read[-1])
    assert (c.device, c.software, c.plan.group, c.plan.batch, c.input_tokens, c.output_tokens) == read[:-1]
    assert c.tpot == tpot


def test_an_export_as_csv_is_read_by_its_statistics(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "profile_export_genai_perf.csv"
    file.write_text(
        "Metric,avg,min,max,p99\nTime To First Token (ms),55.00,50,60,59\nInter Token Latency (ms),7.50,7,8,8\n"
        'Output Sequence Length (tokens),128.00,1,2,3\nInput Sequence Length (tokens),"1,550.00",1,2,3\n\n'
        "Metric,Value\nRequest Throughput (per sec),3.1\n"
    )
    given = {"system": "h200", "backend": "vllm", "model_path": "Qwen3-32B", "concurrency": "4"}
    c = case_of(read_table(file, given).rows[0], catalog)
    assert (c.input_tokens, c.output_tokens, c.plan.batch) == (1550.0, 128.0, 4.0)
    assert c.ttft == pytest.approx(0.055)


def test_pools_of_a_disaggregated_row_are_used(tmp_path: Path, catalog: Catalog) -> None:
    """InferenceX writes ``prefill_tp`` and requests in flight over all workers, aiconfigurator ``(p)tp``."""
    apart = INFERENCEX | {
        "disagg": True, "prefill_tp": 4, "prefill_num_workers": 2, "decode_tp": 8, "decode_num_workers": 1,
    }  # fmt: skip
    c = case_of(read_table(written(tmp_path, "d.json", apart)).rows[0], catalog)
    assert c.mode == "disagg"
    assert c.prefill is not None
    assert (c.prefill.group, c.plan.group, c.workers, c.plan.batch) == (4, 8, (2, 1), 32.0)
    pools = {k: v for k, v in CONFIGURATOR.items() if k not in {"tp", "pp", "dp", "bs", "moe_tp", "moe_ep"}}
    pools |= {
        "model": "Qwen/Qwen3-32B",
        "(p)tp": 1,
        "(p)bs": 1,
        "(p)workers": 3,
        "(d)tp": 4,
        "(d)bs": 24,
        "(d)workers": 1,
    }
    c = case_of(read_table(written(tmp_path, "p.csv", pools)).rows[0], catalog)
    assert c.prefill is not None
    assert (c.prefill.group, c.plan.group, c.workers, c.plan.batch) == (1, 4, (3, 1), 24.0)


def test_attention_data_parallel_ranks_share_the_requests(tmp_path: Path, catalog: Catalog) -> None:
    row = INFERENCEX | {"model": "deepseek-ai/DeepSeek-R1", "dp_attention": "true", "ep": 8, "conc": 64}
    c = case_of(read_table(written(tmp_path, "x.json", row)).rows[0], catalog)
    assert (c.plan.group, c.plan.replicas, c.plan.expert_parallel, c.plan.batch) == (8, 8, 8, 64.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec_decoding": "mtp"}, "draft_tokens and acceptance"),
        ({"accept_length": "2.4"}, "draft_tokens and acceptance"),
        ({"draft_tokens": "3"}, "say which drafts"),
        ({"spec_decoding": "mtp", "draft_tokens": "1", "accept_length": "2.4"}, "wins at most 2"),
        ({"enable_prefix_caching": "True"}, "expected also prefix_share"),
        ({"prefix_share": "85"}, "from 0 to 0.999"),
        ({"tp": 3}, "do not divide by 3"),
        ({"ep": 8}, "Llama-3.1-70B has no experts"),
        ({"model": "openai/gpt-oss-120b", "tp": 8, "ep": 256}, "has 128 experts"),
        ({"model": "openai/gpt-oss-120b", "tp": 1, "moe_tp": 1, "ep": 8}, "expected the 1 ranks"),
        ({"model": "openai/gpt-oss-120b", "tp": 8, "moe_tp": 4, "ep": 8}, "expected the 8 ranks"),
        (
            {"hw": "h100", "tp": 2, "precision": "bf16", "isl": 100_000, "conc": 1},
            "one request of 100,512 tokens",
        ),
        ({"disagg": True}, "prefill_tp_size and decode_tp_size"),
        ({"mean_tpot": "abc"}, "silicon_tpot_ms: got 'abc'"),
        ({"tp": 0}, "tp_size: got '0'"),
        ({"failed": 12, "completed": 88}, "12 of 100 requests"),
        ({"num_prompts": 100, "completed": 90}, "10 of 100 requests"),
        ({"isl": 200_000}, "takes at most"),
        ({"tp": 1, "precision": "bf16"}, "does not fit in 1 x h200_sxm"),
    ],
)
def test_what_changes_the_answer_is_never_dropped(
    tmp_path: Path, catalog: Catalog, change: dict[str, object], said: str
) -> None:
    (out,) = predict_rows(read_table(written(tmp_path, "x.json", INFERENCEX | change)).rows, catalog)
    assert said in out["reason"]
    assert not out["predicted_tpot_ms"]


def test_drafts_and_cached_prefixes_are_used(tmp_path: Path, catalog: Catalog) -> None:
    """Accepted drafts shorten the time of a token, cached prefixes that of the first."""

    def predicted(**change: object) -> tuple[float, float]:
        (out,) = predict_rows(read_table(written(tmp_path, "x.json", INFERENCEX | change)).rows, catalog)
        return float(out["predicted_ttft_ms"]), float(out["predicted_tpot_ms"])

    plain = predicted()
    drafted = predicted(spec_decoding="eagle", draft_tokens=3, acceptance=0.7)
    assert drafted[1] < 0.7 * plain[1]
    told = predicted(spec_decoding="eagle", draft_tokens=3, accept_length=1 + 0.7 + 0.49 + 0.343)
    assert told == pytest.approx(drafted, rel=1e-4)
    assert predicted(prefix_share=0.9)[0] < 0.8 * plain[0]
    assert predicted(kv_cache_dtype="fp8")[1] < plain[1]


def test_two_names_for_one_setting_must_agree(tmp_path: Path) -> None:
    agree = written(tmp_path, "a.json", INFERENCEX | {"quantization": "FP8", "tensor_parallel_size": "8.0"})
    assert read_table(agree).rows[0]["precision"] == "fp8"
    off = written(tmp_path, "o.json", INFERENCEX | {"speculative_algorithm": "EAGLE"})
    assert read_table(off).rows[0]["spec_decoding"] == "EAGLE"
    contradictions = (
        {"quantization": "awq"},
        {"tensor_parallel_size": 4},
        {"input_len": 2048},
        {"device": "h100"},
        {"model_path": "Llama-3.1-8B"},
    )
    for change in contradictions:
        with pytest.raises(DataError, match="row 1: .* contradict each other"):
            read_table(written(tmp_path, "x.json", INFERENCEX | change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"speculative_config": '{"method": "eagle"}'}, "speculative_config: got"),
        ({"beam_width": 4}, "beam_width: got '4'"),
        ({"dp_attention": "maybe"}, "expected true or false"),
        ({"request_rate": 0.01}, "requests came by the clock"),
    ],
)
def test_columns_that_change_the_answer_are_used_or_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_table(written(tmp_path, "x.json", INFERENCEX | change))


def test_columns_are_read_as_people_write_them(tmp_path: Path) -> None:
    row = {k: v for k, v in INFERENCEX.items() if k != "tp"} | {"TP Size": 8}
    assert read_table(written(tmp_path, "x.csv", row)).rows[0]["tp_size"] == "8"
    unsaid = {k: v for k, v in INFERENCEX.items() if k != "tp"} | {"num_gpus": 8}
    with pytest.raises(DataError, match="expected tp_size"):
        read_table(written(tmp_path, "y.csv", unsaid))


def test_prompts_that_begin_alike_are_a_share_of_an_export(tmp_path: Path) -> None:
    config = {
        "model": ["Qwen3-32B"],
        "concurrency": 4,
        "input": {"prompt": {"prefix_prompt": {"length": 220}}},
    }
    file = written(tmp_path, "x.json", GENAI | {"input_config": config})
    row = read_table(file, {"system": "h100_sxm", "backend": "vllm"}).rows[0]
    assert float(row["prefix_share"]) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("row", "given", "said"),
    [
        (VLLM, {}, "no column system"),
        (VLLM | {"backend": "openai-chat"}, {"system": "h100"}, "no column backend"),
        (INFERENCEX, {"system": "h100", "sytem": "x"}, "--given sytem: not a column"),
        (INFERENCEX, {"tp": "4"}, "states tp_size itself"),
        (INFERENCEX | {"spec_decodin": "mtp"}, {}, None),
        (
            {k if k != "spec_decoding" else "spec_decodin": v for k, v in INFERENCEX.items()},
            {},
            "did you mean",
        ),
        (INFERENCEX | {"mean_tpot": 21.0}, {}, "read as seconds"),
    ],
)
def test_what_a_file_leaves_out_is_asked_for(
    tmp_path: Path, row: dict[str, object], given: dict[str, str], said: str | None
) -> None:
    file = written(tmp_path, "x.json", row)
    if said is None:
        assert "spec_decodin" in read_table(file, given).unread
        return
    with pytest.raises(DataError, match=said):
        read_table(file, given)


def test_a_row_that_drafts_is_refused_by_the_command(tmp_path: Path) -> None:
    """Public case 63: the row without drafts is predicted, that with them says what is missing."""
    out = run(f"dse predict {CASES / '63-predict-speculative' / 'rows.csv'} --out out.csv", tmp_path)
    assert out.returncode == 0
    assert "1 of 2 rows predicted" in out.stdout
    plain, drafted = csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines())
    assert float(plain["predicted_tpot_ms"]) > 0
    assert not drafted["predicted_tpot_ms"]
    assert "draft_tokens and acceptance" in drafted["reason"]


SYSTEM = """
data_dir: data/own
gpu:
  mem_bw: 4000000000000
  mem_bw_empirical_scaling_factor: 0.8
  mem_capacity: 103079215104
  float16_tc_flops: 1000000000000000
  int8_tc_flops: 1900000000000000
  fp8_tc_flops: 2000000000000000
  power: 700
node:
  num_gpus_per_node: 8
  intra_node_bw: 450000000000
"""
LEFT_OUT = {
    "memory": "hbm3", "node": "n4", "topology": "switch", "available": "2025", "die_area": "800 mm2",
    "dies": "1", "memory_stacks": "6", "memory_height": "8",
}  # fmt: skip


def test_a_system_file_becomes_a_device(tmp_path: Path, catalog: Catalog) -> None:
    """Figures as stated, what it leaves out as given; the device decodes as its memory reads."""
    file = tmp_path / "own_gpu.yaml"
    file.write_text(SYSTEM)
    made = import_device(file, "own_gpu", LEFT_OUT, catalog)
    assert set(made.unread) == {
        "data_dir",
        "gpu.mem_bw_empirical_scaling_factor",
        "gpu.int8_tc_flops (gpu.fp8_tc_flops is taken)",
    }
    (tmp_path / "own" / "device").mkdir(parents=True)
    (tmp_path / "own" / "device" / "own_gpu.toml").write_text(made.text)
    own = load_catalog(tmp_path / "own")
    wanted = {"memory_bandwidth": 4e12, "peak_8bit": 2e15, "domain": 8.0, "die_area": 8e-4, "tdp": 700.0}
    assert {f: own.value("device", "own_gpu", f) for f in wanted} == pytest.approx(wanted)
    out = run(
        "dse --catalog own evaluate --device own_gpu --model Llama-3.1-8B --context 1024 --software ideal",
        tmp_path,
    )
    assert out.returncode == 0, out.stderr
    assert 0.0037 < seconds(out.stdout, "decode step") < 0.0039  # 15 GB of matrices at 4 TB/s


@pytest.mark.parametrize(
    ("system", "given", "said"),
    [
        (SYSTEM, {}, "does not say memory, node, topology, available, die_area"),
        (SYSTEM, LEFT_OUT | {"die_area": "800"}, "die_area"),
        (SYSTEM, LEFT_OUT | {"memory": "hbm33"}, "hbm33"),
        (SYSTEM, LEFT_OUT | {"die_aera": "1 mm2"}, "did you mean"),
        (SYSTEM, LEFT_OUT | {"tdp": "600 W"}, "states it itself"),
        (SYSTEM.replace("mem_bw: 4000000000000", "mem_bw: 4000"), LEFT_OUT, "from 1e\\+09 up"),
        (SYSTEM.replace("mem_bw: 4", "mem_bw: -4"), LEFT_OUT, "gpu.mem_bw: got"),
        (SYSTEM.replace("  mem_bw: 4000000000000\n", ""), LEFT_OUT, "does not say memory_bandwidth"),
        (SYSTEM.replace("node:", "nodes:"), LEFT_OUT, "did you mean node"),
        (SYSTEM.replace("power:", "powr:"), LEFT_OUT, "does not say tdp"),
        (SYSTEM, LEFT_OUT | {"memory_stacks": "2.5"}, "counts things"),
        ("[1, 2]", LEFT_OUT, "with a section gpu"),
        ("gpu: {", LEFT_OUT, "not YAML"),
    ],
)
def test_a_system_file_is_not_guessed_at(
    tmp_path: Path, catalog: Catalog, system: str, given: dict[str, str], said: str
) -> None:
    file = tmp_path / "own_gpu.yaml"
    file.write_text(system)
    with pytest.raises(DataError, match=said):
        import_device(file, "own_gpu", given, catalog)


def test_the_same_drafts_said_in_three_ways(tmp_path: Path, catalog: Catalog) -> None:
    """Chance of each, tokens won a pass, and the share of drafts accepted: one measurement, one prediction."""
    won = 1 + 0.7 + 0.49 + 0.343
    told = [
        {"acceptance": 0.7},
        {"accept_length": won},
        {"spec_decode_acceptance_rate": (won - 1) / 3},
    ]
    rows = [INFERENCEX | {"spec_decoding": "mtp", "draft_tokens": 3} | t for t in told]
    tables = [read_table(written(tmp_path, "x.json", r)) for r in rows]
    out = [float(predict_rows(t.rows, catalog)[0]["predicted_tpot_ms"]) for t in tables]
    assert out == pytest.approx([out[0]] * 3, rel=1e-4)


def test_a_server_tells_its_own_flags(tmp_path: Path, catalog: Catalog) -> None:
    """Formats and drafts of SGLang's server, and attention ranks that are among those of tp_size."""
    server = {"model_path": "Qwen/Qwen3-32B", "tp_size": 4, "dp_size": 4, "enable_dp_attention": True}
    row = SGLANG | {"server_info": server | {"quantization": "fp8"}}
    c = case_of(read_table(written(tmp_path, "s.jsonl", row), {"system": "h100"}).rows[0], catalog)
    assert (c.plan.group, c.plan.replicas, c.format) == (4, 4, "fp8")
    row = SGLANG | {"server_info": server | {"speculative_algorithm": "EAGLE"}}
    with pytest.raises(DataError, match="draft_tokens and acceptance"):
        case_of(read_table(written(tmp_path, "s.jsonl", row), {"system": "h100"}).rows[0], catalog)


def test_wide_groups_of_dense_models_are_read_as_labelled(tmp_path: Path, catalog: Catalog) -> None:
    """Only experts' labels multiply: sixteen ranks of a dense model are sixteen."""
    row = INFERENCEX | {"tp": 16}
    assert case_of(read_table(written(tmp_path, "x.json", row)).rows[0], catalog).plan.group == 16


def test_a_prefix_in_tokens_is_a_share_of_the_prompt(tmp_path: Path, catalog: Catalog) -> None:
    c = case_of(read_table(written(tmp_path, "x.json", INFERENCEX | {"prefix": 256})).rows[0], catalog)
    assert c.prefix_share == 0.25


@pytest.mark.parametrize("given", [{"tp_size": "4"}, {"batch_size": "4"}, {"model_path": "Qwen3-32B"}])
def test_what_a_file_states_by_another_name_is_not_given_again(tmp_path: Path, given: dict[str, str]) -> None:
    with pytest.raises(DataError, match="itself; leave one out"):
        read_table(written(tmp_path, "x.json", INFERENCEX), given)
