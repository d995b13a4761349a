"""Public cases that users of such tools hit: each gives the stated value, or a clear refusal."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dse.catalog.hf_import import import_llm
from dse.catalog.transformer import Transformer, transformer
from dse.core.errors import DataError

CASES = Path(__file__).parent / "cases"
GIGA = 1e9


def imported(case: str) -> Transformer:
    return transformer(import_llm(CASES / case / "config.json", "x").entry)


@pytest.mark.parametrize(
    ("case", "total", "active", "kv"),
    [
        ("01-deepseek-v4-flash", 284, 13, None),
        ("02-kimi-k3", 2800, 104, 27_648),
        ("03-gemma-4-26b-a4b", 25.2, 3.8, 220 * 1024),
        ("04-mimo-v2-flash", 309, 15, 23_040 + 199_680),
        ("05-nemotron-3.5-lightning", 31.6, 3.2, 6_144),
        ("07-nemotron-super-49b-nas", 49.87, None, 200_704),
        ("08-falcon-h1-7b", 7.59, None, 45_056),
        ("09-jamba-1.5-mini", 52, 12, 16_384),
        ("12-apertus-70b", 70.6, None, None),
        ("13-hunyuan-a13b", 80, 13, None),
        ("15-kimi-linear-48b", 48, 3, 8_064),
        ("18-glm-4-9b-chat", 9.4, None, 40_960),
        ("19-opt-66b", 65.7, None, None),
        ("19-opt-66b/mpt-30b", 30, None, None),
        ("24-step-3", 316, 38, 62_464),
        ("25-qwen3-omni", 30.5, 3.0, 98_304),
        ("30-bitnet-2b4t", 2.4, None, None),
        ("33-olmo-7b", 6.9, None, None),
        ("33-olmo-7b/qwen-7b", 7.7, None, None),
    ],
)
def test_a_configuration_comes_to_what_is_stated(
    case: str, total: float, active: float | None, kv: int | None
) -> None:
    """Parameters within the rounding of the statement, those of a token within its, caches exactly."""
    t = imported(case)
    assert t.parameters / GIGA == pytest.approx(total, rel=0.025)
    if active is not None:
        assert t.active / GIGA == pytest.approx(active, rel=0.05)
    if kv is not None:
        assert t.kv_bytes_per_token(16) == kv


def test_compressed_entries_and_their_index_keys() -> None:
    t = imported("01-deepseek-v4-flash")
    assert t.kv_bytes_per_token(16) + t.index_bytes_per_token == 6_880
    entry = import_llm(CASES / "01-deepseek-v4-flash" / "config.json", "x").entry
    assert (entry.format_of("experts"), entry.format_of("attention")) == ("mxfp4", "fp8")


def test_windows_and_states_beside_caches() -> None:
    assert imported("04-mimo-v2-flash").kv_bytes_per_token(16, windows=False) == 23_040
    assert imported("08-falcon-h1-7b").state_bytes == 44 * 24 * 128 * 256 * 4
    assert imported("15-kimi-linear-48b").state_bytes == 20 * 32 * 128 * 128 * 4
    assert (
        import_llm(CASES / "15-kimi-linear-48b" / "config.json", "x").entry.shape["max_context"] == 1_048_576
    )


def test_formats_that_the_checkpoint_says() -> None:
    entry = import_llm(CASES / "36-hf-quant-config" / "config.json", "x").entry
    assert (entry.format_of("ffn"), entry.format_of("kv_cache"), entry.format_of("head")) == (
        "fp8",
        "fp8",
        "bf16",
    )
    assert import_llm(CASES / "30-bitnet-2b4t" / "config.json", "x").entry.format_of("ffn") == "ternary"


@pytest.mark.parametrize(("case", "said"), [("26-bert", "generates no tokens"), ("28-t5", "encoder-decoder")])
def test_what_generates_nothing_is_refused_by_what_it_is(case: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        imported(case)


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of a case's file, as the installed command would run it."""
    words = shlex.split(line)
    assert words[0] == "dse"
    return subprocess.run(
        [sys.executable, "-m", "dse", *words[1:]],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        timeout=300,
    )


def commands(case: str) -> list[str]:
    return (CASES / case / "run.sh").read_text().strip().splitlines()


def seconds(text: str, label: str) -> float:
    found = re.search(rf"{label} ([\d.]+) (ns|us|ms|s)\b", text)
    assert found is not None, text[:2000]
    return float(found[1]) * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}[found[2]]


def test_a_batch_beyond_memory_gets_no_numbers(tmp_path: Path) -> None:
    for line in commands("50-batch-beyond-memory"):
        done = run(line, tmp_path)
        assert (done.returncode, done.stdout) == (3, "")
        assert "does not fit" in done.stderr
        assert "nearest that works: " in done.stderr
        assert "Traceback" not in done.stderr


def test_what_fits_is_possible(tmp_path: Path) -> None:
    """The second command asks for 16 bit on one card by the checkpoint's formats: it names the two it takes."""
    first, second = commands("51-false-not-possible")
    done = run(first, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "NOT POSSIBLE" not in done.stdout
    assert "2 packages (tp 2)" in run(second, tmp_path).stderr
    done = run(second + " --format weights=fp8", tmp_path)
    assert done.returncode == 0, done.stderr


def test_formats_are_the_checkpoints(tmp_path: Path) -> None:
    oss, plain, wide = commands("52-precision-ignored")
    done = run(oss, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4.25 bit experts" in done.stdout
    assert re.search(r"packages +1\b", done.stdout)
    done = run(plain, tmp_path)
    assert "weights 16 bit" in done.stdout
    assert seconds(done.stdout, "decode step") == pytest.approx(7.4e-3, rel=0.15)
    assert seconds(run(wide, tmp_path).stdout, "decode step") == seconds(done.stdout, "decode step")


def test_the_first_token_is_that_of_the_prompt_asked_about(tmp_path: Path) -> None:
    line = commands("53-ttft-ignores-input")[0].split("do ", 1)[1].split(" |")[0]
    first = [
        seconds(run(line.replace("$n", str(n)), tmp_path).stdout, "first token")
        for n in (64, 1024, 8192, 100_000)
    ]
    assert all(b > 1.5 * a for a, b in zip(first, first[1:], strict=False))
    assert first[3] > 5


def test_a_decode_step_alone_has_no_first_token(tmp_path: Path) -> None:
    done = run("dse evaluate --device h100_sxm --model Llama-3.1-8B --context 4096", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "first token" not in done.stdout


def test_a_context_beyond_the_models_is_refused(tmp_path: Path) -> None:
    for line, most in zip(commands("54-context-beyond-model"), ("4,096", "40,960"), strict=True):
        done = run(line, tmp_path)
        assert (done.returncode, done.stdout) == (3, "")
        assert f"up to {most} tokens" in done.stderr


def test_ranks_that_do_not_divide_heads_are_refused(tmp_path: Path) -> None:
    for line, works in zip(commands("55-tp-not-dividing"), ("tp 4", "tp 64"), strict=True):
        done = run(line, tmp_path)
        assert (done.returncode, done.stdout) == (3, "")
        assert "engines (vLLM, SGLang, TensorRT-LLM) deal whole heads" in done.stderr
        assert f"nearest: {works}" in done.stderr


def test_more_packages_than_asked_for_are_not_taken(tmp_path: Path) -> None:
    (line,) = commands("62-silent-extra-packages")
    done = run(line, tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "does not fit 8 packages" in done.stderr
    done = run(line + " --pp 2 --format weights=fp8", tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"packages +16\b", done.stdout)


def test_bare_times_of_a_limit_are_refused(tmp_path: Path) -> None:
    (line,) = commands("56-limit-without-unit")
    done = run(line, tmp_path)
    assert done.returncode == 2
    assert "tpot" in done.stderr
    assert "30 ms" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_limit_that_a_search_meets_by_itself_is_met(tmp_path: Path) -> None:
    """Set at the best cost that the same search finds without it; one it cannot meet is named as it was set."""
    limited, free = (line.replace("--trials 200", "--trials 400") for line in commands("58-false-infeasible"))
    assert run(free, tmp_path).returncode == 0
    costs = pd.read_csv(tmp_path / "without" / "front.csv")["cost_per_mtoken [USD]"]
    reached = limited.replace("=0.15", f"={1.001 * costs.min()}")
    assert run(reached, tmp_path).returncode == 0
    assert pd.read_csv(tmp_path / "with" / "front.csv")["cost_per_mtoken [USD]"].max() <= 1.001 * costs.min()
    done = run(limited.replace("=0.15", "=0.0001").replace("--out with", "--out none"), tmp_path)
    assert done.returncode == 3
    assert "kills most: cost_per_mtoken" in done.stderr


def test_going_on_loses_no_point(tmp_path: Path) -> None:
    """Every point of the earlier front is met or beaten by one of the later."""
    first, second = commands("59-resume-loses-points")
    assert run(first.partition(" && ")[0], tmp_path).returncode == 0
    front = tmp_path / "run" / "front.csv"
    before = pd.read_csv(front)
    assert run(second, tmp_path).returncode == 0
    goals = ["tpot [s]", "cost_per_mtoken [USD]", "energy_per_token [J]"]
    after = pd.read_csv(front)[goals].to_numpy()
    assert all((after <= point * (1 + 1e-9)).all(axis=1).any() for point in before[goals].to_numpy())


@pytest.mark.parametrize(
    ("case", "said"),
    [("72-l4-without-die-area", "die_area"), ("73-unknown-memory-name", "did you mean 'gddr6'")],
)
def test_a_device_that_leaves_out_or_misnames_is_refused(case: str, said: str, tmp_path: Path) -> None:
    folder = CASES / case / "catalogue"
    done = run(f"dse --catalog {folder} evaluate --device l4 --model Llama-3.1-8B --batch 1", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "l4.toml" in done.stderr


def test_the_same_device_with_its_area_decodes_as_its_memory_reads(tmp_path: Path) -> None:
    """8 GB of weights at 300 GB/s are 27 ms; public case 72 states about 33 ms."""
    text = (CASES / "72-l4-without-die-area" / "catalogue" / "device" / "l4.toml").read_text()
    area = 'die_area = { low = 294, nominal = 294, high = 294, unit = "mm2", source = "datasheet" }'
    (tmp_path / "own" / "device").mkdir(parents=True)
    (tmp_path / "own" / "device" / "l4.toml").write_text(text + area + "\n")
    line = "dse --catalog own evaluate --device l4 --model Llama-3.1-8B --input 1024 --output 256"
    done = run(line + " --format weights=fp8", tmp_path)
    assert done.returncode == 0, done.stderr
    assert 0.027 < seconds(done.stdout, "decode step") < 0.036


def test_a_die_that_no_exposure_makes_is_refused(tmp_path: Path) -> None:
    """Its yield and its price would be nonsense: a wafer in one die cost half a trillion dollars."""
    text = (CASES / "72-l4-without-die-area" / "catalogue" / "device" / "l4.toml").read_text()
    area = 'die_area = { low = 2400, nominal = 2400, high = 2400, unit = "mm2", source = "x" }'
    (tmp_path / "own" / "device").mkdir(parents=True)
    (tmp_path / "own" / "device" / "l4.toml").write_text(text + area + "\n")
    done = run("dse --catalog own evaluate --device l4 --model Llama-3.1-8B", tmp_path)
    assert done.returncode == 2
    assert "one exposure makes at most 826 mm2" in done.stderr


def test_evaluate_and_predict_keep_the_same_memory_back(tmp_path: Path) -> None:
    """Both fit 18 requests of the row of vLLM, which keeps an FP8 cache with FP8 weights."""
    (tmp_path / "rows.csv").write_text((CASES / "69-memory-reserve" / "rows.csv").read_text())
    evaluated, predicted = commands("69-memory-reserve")
    done = run(predicted, tmp_path)
    assert done.returncode == 0, done.stderr
    said = re.search(r"KV cache for (\d+) of 64", (tmp_path / "out.csv").read_text())
    assert said is not None
    done = run(evaluated + " --format weights=fp8 --format kv_cache=fp8", tmp_path)
    assert done.returncode == 3
    assert f"a batch of {said[1]}" in done.stderr
