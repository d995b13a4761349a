"""The command line in a subprocess: what a person meets when something is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dse.api import load_run
from dse.run.folder import Folder

HOME = Path(__file__).resolve().parent.parent


def dse(*arguments: str, cwd: Path | None = None, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    return subprocess.run(
        [sys.executable, "-m", "dse", *arguments],
        cwd=cwd or HOME,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["search", "nowhere"],
            "expected a .toml file or one of datacenter, hbf, interconnect, laptop, mobile, pnm, prices, stacking, vehicle, xr",
        ),
        (["search", "datacenter", "--sampler", "oracle"], "--sampler: got 'oracle'"),
        (["search", "datacenter", "--trials", "-3"], "a whole number from 1"),
        (["search", "datacenter", "--fix", "stacks=77"], "1 to 12"),
        (["search", "datacenter", "--fix", "clock=nan"], "clock"),
        (["search", "datacenter", "--limit", "ttft=inf"], "ttft"),
        (["search", "datacenter", "--model", "gpt-9"], "gpt-9"),
        (["dashboard", "tests", "--static", "x.html"], "not a run folder"),
        (["recommend", "nowhere", "--out", "x"], "not a run folder"),
        (["evaluate", "--device", "h1000"], "h1000"),
        (["evaluate"], "give a SPACE"),
        (["evaluate", "datacenter", "--set", "stacks"], "variable=value"),
        (["evaluate", "datacenter", "--set", "flash=none", "--set", "flash_stacks=2"], "inactive"),
        (["evaluate", "--device", "h100_sxm", "--tp", "3"], "power of two"),
        (["evaluate", "--device", "h100_sxm", "--context", "nan"], "finite"),
        (["evaluate", "mobile", "--device", "h100_sxm"], "target"),
        (["catalog", "memories"], "did you mean 'memory'"),
        (["catalog", "memory", "hbm9"], "hbm9"),
        (["evaluate", "--device", "h100_sxm", "--batch", "4", "--batch", "8"], "given twice"),
        (["evaluate", "datacenter", "--set", "stacks=4", "--set", "stacks=8"], "--set stacks: given twice"),
        (["search", "mobile", "--limit", "ttft=1s", "--limit", "ttft=3s"], "--limit ttft: given 2 times"),
        (["evaluate", "--device", "h100_sxm", "--input", "1024"], "give input and output together"),
        (["evaluate", "results/mobile", "--point", "99999"], "expected a number from 0 to"),
        (["frobnicate"], "invalid choice"),
        (["search", "mobile", "--objective", "cost_per_mtoken"], "cost_per_mtoken"),
        (["search", "datacenter", "--limit", "skin_temperature=310"], "skin_temperature"),
        (["evaluate", "--device", "iphone_16_pro", "--tp", "8"], "one user"),
    ],
)
def test_bad_input_ends_with_2_and_says_what_to_do(arguments: list[str], message: str) -> None:
    done = dse(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_feasible_ends_with_3(tmp_path: Path) -> None:
    done = dse(
        "search",
        "datacenter",
        "--trials",
        "50",
        "--limit",
        "cost_per_mtoken=1e-9",
        "--out",
        str(tmp_path / "r"),
    )
    assert done.returncode == 3
    assert "kills most" in done.stderr


def test_unwritable_folder_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = dse("search", "mobile", "--trials", "50", "--out", str(tmp_path / "file" / "run"))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def logged(out: Path) -> int:
    """Designs in the whole batches of a run's logs."""
    return sum(len(b) for log in Folder(out).logs() for b in log.batches())


def started(out: Path, *flags: str) -> subprocess.Popen[str]:
    """A search in a process of its own, that has judged some batches."""
    child = subprocess.Popen(
        [sys.executable, "-m", "dse", "search", "mobile", "--seed", "1", "--out", str(out), *flags],
        env={**os.environ, "PYTHONPATH": str(HOME)},
        cwd=HOME,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if (out / "designs").exists() and sum(
            p.stat().st_size for p in (out / "designs").glob("*.bin")
        ) > 200_000:
            break
        time.sleep(0.05)
    return child


def test_ctrl_c_leaves_a_front_and_resumes(tmp_path: Path) -> None:
    out = tmp_path / "r"
    child = started(out, "--trials", "2000000")
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "--resume" in said
    assert (out / "front.csv").exists()
    kept = logged(out)
    assert kept < 2000000
    more = str(kept + 500)
    done = dse("search", "mobile", "--trials", more, "--seed", "1", "--out", str(out), "--resume")
    assert done.returncode == 0, done.stderr
    assert logged(out) >= kept + 500


@pytest.mark.slow
@pytest.mark.parametrize("flags", [("--trials", "20000"), ()], ids=["trials", "converged"])
def test_kill_9_loses_at_most_the_batch_in_hand(flags: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "r"
    child = started(out, *flags)
    child.kill()
    child.communicate()
    kept = logged(out)
    assert kept
    done = dse("search", "mobile", *flags, "--seed", "1", "--out", str(out), "--resume")
    assert done.returncode == 0, done.stderr
    assert logged(out) > kept
    fresh = dse("search", "mobile", *flags, "--seed", "1", "--out", str(tmp_path / "fresh"))
    assert fresh.returncode == 0, fresh.stderr
    for name in ("front.csv", "study.json"):
        assert (out / name).read_text() == (tmp_path / "fresh" / name).read_text(), name


@pytest.mark.parametrize(
    "command",
    ["explore", "search", "evaluate", "check", "sweep", "dashboard", "recommend", "catalog", "init"],
)
def test_help_shows_an_example(command: str) -> None:
    done = dse(command, "--help")
    assert done.returncode == 0
    assert f"example:\n  dse {command}" in done.stdout


def test_evaluate_prints_json_with_measured_rows() -> None:
    done = dse(
        "evaluate",
        "--device",
        "h100_sxm",
        "--model",
        "Llama-3.1-70B",
        "--batch",
        "32",
        "--tp",
        "4",
        "--input",
        "1024",
        "--output",
        "1024",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    e = json.loads(done.stdout)
    assert e["measured"]
    assert all(0.5 < r["ratio"] < 2 for r in e["measured"] if "ratio" in r)


def test_check_probe_tells_what_kills() -> None:
    done = dse("check", "mobile", "--probe")
    assert done.returncode == 0, done.stderr
    for word in ("size:", "feasible:", "kills", "correlation", "baseline snapdragon_8_gen3"):
        assert word in done.stdout


def test_init_copies_spaces_that_read(tmp_path: Path) -> None:
    assert dse("init", str(tmp_path / "mine")).returncode == 0
    done = dse("check", str(tmp_path / "mine" / "datacenter.toml"))
    assert done.returncode == 0, done.stderr
    again = dse("init", str(tmp_path / "mine"))
    assert again.returncode == 2


def test_schemas_are_written(tmp_path: Path) -> None:
    assert dse("catalog", "--schema", str(tmp_path)).returncode == 0
    assert {"memory.json", "llm.json", "space.json"} <= {p.name for p in tmp_path.iterdir()}


@pytest.mark.slow
def test_names_with_formulas_and_html_are_inert(tmp_path: Path) -> None:
    from dse.space.reader import space_text

    text = space_text("mobile")[0].replace(
        'title = "Phone inference', 'title = "=HYPERLINK(1)</script><img src=x onerror=alert(1)>|Phone'
    )
    space = tmp_path / "evil.toml"
    space.write_text(text)
    assert dse("search", str(space), "--trials", "100", "--out", str(tmp_path / "r")).returncode == 0
    assert dse("dashboard", str(tmp_path / "r"), "--static", str(tmp_path / "p.html")).returncode == 0
    assert dse("recommend", str(tmp_path / "r"), "--out", str(tmp_path / "v")).returncode == 0
    for page in (
        tmp_path / "p.html",
        tmp_path / "v" / "recommendation.html",
        tmp_path / "v" / "recommendation.md",
    ):
        assert "<img src=x" not in page.read_text()
    for line in (tmp_path / "v" / "front.csv").read_text().splitlines():
        assert not any(cell.startswith(("=", "+", "@")) for cell in line.split(","))


ROW = "backend,model_path,system,precision,isl,osl,batch_size,tp_size\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column backend"),
        ("backend,model_path\nvllm,x\n", "no column system, isl, osl"),
        (None, "cannot be read"),
    ],
)
def test_a_table_that_is_none_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "rows.csv").write_text(text)
    done = dse("predict", str(tmp_path / "rows.csv"), "--out", str(tmp_path / "out.csv"))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.csv").exists()


def test_predict_adds_columns_and_reasons(tmp_path: Path) -> None:
    good = "sglang,deepseek-ai/DeepSeek-R1,b200_sxm,fp8,1024,1024,16,8\n"
    (tmp_path / "rows.csv").write_text(
        ROW + good + good.replace("b200_sxm", "abacus") + good.replace("sglang", "=HYPERLINK(1)")
    )
    done = dse("predict", "rows.csv", "--out", "out.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 rows predicted" in done.stdout
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0].startswith(ROW.strip() + ",predicted_ttft_ms,")
    assert "abacus" in lines[2]
    assert "=HYPERLINK" not in lines[3].replace("'=HYPERLINK", "")


def test_validate_prints_and_writes_page_and_table(tmp_path: Path) -> None:
    done = dse("validate", "--split", "none", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for said in (
        "TPOT clean rows",
        "TPOT all rows",
        "attention data-parallel",
        "16 and more",
        "Worst clean rows",
        "Excluded rows",
    ):
        assert said in done.stdout
    page = (tmp_path / "accuracy.html").read_text()
    assert "predicted against measured" in page
    assert (tmp_path / "accuracy.csv").read_text().count("\n") > 1000


def test_a_calibration_can_be_used(tmp_path: Path) -> None:
    """Own rows, own factors: half the measured times, half as long predicted."""
    source = (HOME / "dse" / "data" / "measured" / "serving.csv").read_text().splitlines()
    header = source[0].split(",")
    at = header.index("silicon_tpot_ms")
    kept = [line for line in source[1:] if ",trtllm,1.0.0rc3,meta-llama" in line][::3]
    slow = []
    for line in kept:
        cells = line.rsplit(",", 1)
        slow.append(f"{cells[0]},{float(cells[1]) * 1.6:.6g}")
    assert at == len(header) - 1
    (tmp_path / "rows.csv").write_text("\n".join([source[0], *slow]) + "\n")
    done = dse("calibrate", "--rows", "rows.csv", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "one.csv").write_text("\n".join([source[0], slow[5]]) + "\n")
    ours = []
    for extra in ([], ["--catalog", "mine"]):
        done = dse(*extra, "predict", "one.csv", "--out", "out.csv", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        head, row = (line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines())
        ours.append(float(row[head.index("predicted_tpot_ms")]))
    assert ours[1] > 1.2 * ours[0]


def test_a_model_is_imported_and_used(tmp_path: Path) -> None:
    config = {"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_hidden_layers": 16,
              "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": True, "odd": 1}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = dse(
        "catalog", "import-llm", "config.json", "--name", "tiny", "--out", "mine/llm/tiny.toml", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "odd = 1" in done.stderr
    done = dse(
        "catalog",
        "import-llm",
        "config.json",
        "--name",
        "tiny",
        "--out",
        "mine/llm/tiny.toml",
        "--accept-unknown",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "taken by your word: odd = 1" in done.stdout
    done = dse(
        "--catalog",
        "mine",
        "evaluate",
        "--device",
        "h100_sxm",
        "--model",
        "tiny",
        "--context",
        "1024",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "NOTE: tiny: imported with odd = 1" in done.stdout
    done = dse("--catalog", "nowhere", "catalog", cwd=tmp_path)
    assert done.returncode == 2
    assert "--catalog nowhere" in done.stderr


def test_what_a_space_asks_is_answered(tmp_path: Path) -> None:
    """What-ifs and comparisons of a shipped space, few of them and with few trials."""
    text = (HOME / "search_spaces" / "stacking.toml").read_text()
    kept, _, rest = text.partition("[[what_if]]")
    tables = ["[[what_if]]" + part for part in rest.split("[[what_if]]")]
    beside = "[[compare]]" + text.partition("[[compare]]")[2].partition("[[baseline]]")[0]
    (tmp_path / "few.toml").write_text(kept + tables[0] + tables[3] + beside)
    done = dse(
        "explore",
        str(tmp_path / "few.toml"),
        "--trials",
        "150",
        "--out",
        str(tmp_path),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    made = (tmp_path / "stacking" / "recommendation.md").read_text()
    for heading in (
        "## How often each level stands on the front",
        "## What if",
        "### This world again",
        "## Side by side",
    ):
        assert heading in made
    assert "| logic below the memory |" in made
    assert "| 12 layers, logic below |" in made
    study = json.loads((tmp_path / "stacking" / "study.json").read_text())
    below = study["compare"][0]["rows"][3]["cells"][0]["prompt"]
    above = study["compare"][0]["rows"][7]["cells"][0]["prompt"]
    assert above <= below  # logic next to the cold plate is never slower


def test_a_misspelt_flag_shows_no_password() -> None:
    done = dse("search", "mobile", "--strage", "postgresql://me:secret@host/db")
    assert done.returncode == 2
    assert "--strage" in done.stderr
    assert "secret" not in done.stderr


def test_exploring_never_replaces_a_front_that_cannot_be_gone_on_with(tmp_path: Path) -> None:
    """A shipped front has no log: it is moved beside, whole, and the command says where."""
    asked = ("explore", "mobile", "--trials", "150", "--out", str(tmp_path))
    assert dse(*asked).returncode == 0
    shutil.rmtree(tmp_path / "mobile" / "designs")
    shipped = {p.name: p.read_bytes() for p in (tmp_path / "mobile").iterdir() if p.is_file()}
    refused = dse("search", "mobile", "--trials", "150", "--out", str(tmp_path / "mobile"))
    assert (refused.returncode, "already holds a run" in refused.stderr) == (2, True)
    assert dse(*asked, "--seeds", "0").returncode == 2
    assert not (tmp_path / "mobile-earlier-1").exists()
    again = dse(*asked)
    assert again.returncode == 0, again.stderr[-2000:]
    aside = tmp_path / "mobile-earlier-1"
    assert f"kept in {aside}" in again.stderr
    assert {p.name: p.read_bytes() for p in aside.iterdir()} == shipped
    assert len(load_run(tmp_path / "mobile").front) == len(load_run(aside).front)


def test_worlds_already_searched_outlive_a_kill(tmp_path: Path) -> None:
    """The same command searches only worlds that its study lacks; a search gone on with keeps them all."""
    text = (HOME / "search_spaces" / "stacking.toml").read_text()
    kept, _, rest = text.partition("[[what_if]]")
    (tmp_path / "few.toml").write_text(
        kept + "".join("[[what_if]]" + t for t in rest.split("[[what_if]]")[:2])
    )
    asked = (str(tmp_path / "few.toml"), "--trials", "150", "--out")
    assert dse("explore", *asked, str(tmp_path)).returncode == 0
    file = tmp_path / "stacking" / "study.json"
    whole = json.loads(file.read_text())
    assert len(whole["what_if"]) == 3
    killed = [w | {"question": "as found"} for w in whole["what_if"][:2]]
    file.write_text(json.dumps(whole | {"what_if": killed}))
    assert dse("explore", *asked, str(tmp_path)).returncode == 0
    assert json.loads(file.read_text())["what_if"] == [*killed, whole["what_if"][2]]
    again = dse("search", *asked, str(tmp_path / "stacking"), "--resume")
    assert again.returncode == 0, again.stderr[-2000:]
    assert json.loads(file.read_text())["what_if"] == [*killed, whole["what_if"][2]]
    other = dse(
        "search", str(tmp_path / "few.toml"), "--trials", "400", "--out", str(file.parent), "--resume"
    )
    assert other.returncode == 0, other.stderr[-2000:]
    assert "what_if" not in json.loads(file.read_text())  # they were compared with another front


@pytest.mark.slow
def test_a_review_compares_devices(tmp_path: Path, searched: Callable[[str], Path]) -> None:
    """Two bodies searched with few trials, their technologies side by side; a datacenter's run is refused."""
    for name in ("xr", "mobile"):
        done = dse("explore", name, "--trials", "80", "--out", str(tmp_path), timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
    runs = (str(tmp_path / "xr"), str(tmp_path / "mobile"))
    done = dse("review", *runs, "--out", str(tmp_path / "review"))
    assert done.returncode == 0, done.stderr[-2000:]
    made = (tmp_path / "review" / "review.md").read_text()
    for row in (
        "compute in the LPDDR package (PNM)",
        "DRAM stacked on the SoC",
        "High Bandwidth Flash",
        "| without pnm |",
        "tokens per charge",
    ):
        assert row in made
    chosen = (tmp_path / "mobile" / "recommendation.md").read_text()
    for row in (
        "time per output token in a burst",
        "tokens per charge, rest of the device included",
        "memory left to applications",
    ):
        assert row in chosen
    assert "voltage conversion" in chosen
    done = dse("review", str(searched("datacenter")), "--out", str(tmp_path / "review"))
    assert done.returncode == 2
    assert "expected a mobile run" in done.stderr


@pytest.mark.slow
def test_worlds_of_prices_and_years_are_drawn(tmp_path: Path) -> None:
    """A price and two years of the shipped question, few trials: a picture each, and a sentence for every world."""
    text = (HOME / "search_spaces" / "prices.toml").read_text()
    kept, _, rest = text.partition("[[what_if]]")
    tables = ["[[what_if]]" + part for part in rest.partition("[[baseline]]")[0].split("[[what_if]]")]
    some = [
        t
        for t in tables
        if 'name = "HBM and DRAM on logic +50 %"' in t or 'name = "2026"' in t or 'name = "2032"' in t
    ]
    (tmp_path / "few.toml").write_text(kept + "".join(some))
    done = dse(
        "explore",
        str(tmp_path / "few.toml"),
        "--trials",
        "120",
        "--out",
        str(tmp_path),
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    folder = tmp_path / "prices"
    pictures = sorted(p.name for p in (folder / "pictures").iterdir())
    assert len(pictures) == 2
    for name in pictures:
        assert "<svg" in (folder / "pictures" / name).read_text()
        assert f"(pictures/{name})" in (folder / "recommendation.md").read_text()
    made = (folder / "recommendation.md").read_text()
    for sentence in (
        "- 2026: ",
        "- 2032: a typical point",
        "- HBM and DRAM on logic +50 %: a typical point",
    ):
        assert sentence in made
    assert made.count("break-even [packages]") == 1
    assert (folder / "recommendation.html").read_text().count("<figure") == 2


def test_what_no_design_has_is_not_held(tmp_path: Path) -> None:
    done = dse("check", "datacenter", "--fix", "stacks=4", "--fix", "fast_memory=none", cwd=tmp_path)
    assert done.returncode == 2
    assert "--fix stacks: no design here has it: fast_memory is held to none" in done.stderr


def test_a_point_is_the_designs_of_front_csv_or_refused(run_copy: Path) -> None:
    """Under its own plan, with another prompt too; a front that was judged by another model is refused."""
    front = run_copy / "front.csv"
    rows = front.read_text().splitlines()
    column = rows[0].split(",").index("tpot [s]")
    told = float(rows[4].split(",")[column])
    shown = json.loads(dse("evaluate", str(run_copy), "--point", "3", "--json").stdout)
    times = [one["tpot"] for one in shown]
    assert min(times) * (1 - 1e-6) <= told <= max(times) * (1 + 1e-6)
    asked = dse("evaluate", str(run_copy), "--point", "3", "--input", "100", "--output", "10", "--json")
    plan, own = json.loads(asked.stdout)[0]["plan"], shown[0]["plan"]
    assert plan["batch"] == own["batch"] * own["pipeline depth"]
    assert (plan["group"], plan["attention"]) == (own["group"], own["attention"])
    cells = rows[4].split(",")
    cells[column] = repr(1.01 * told)
    front.write_text("\n".join([*rows[:4], ",".join(cells), *rows[5:]]) + "\n")
    stale = dse("evaluate", str(run_copy), "--point", "3")
    assert stale.returncode == 2
    assert "another version of the model" in stale.stderr
