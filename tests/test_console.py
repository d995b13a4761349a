"""How commands speak: JSON in place of text, nothing but results, nothing of progress into a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cases import CASES, run

HOME = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small run."""
    folder = tmp_path_factory.mktemp("speaks")
    done = run("dse search mobile --trials 300 --seed 1 --out run", folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # neither progress nor control characters
    for said in ("knee", "fastest", "dse evaluate run --point", "Next: dse recommend run", "ms"):
        assert said in done.stdout
    return folder


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("dse search mobile --trials 300 --seed 2 --out other", "chosen"),
        ("dse check mobile", "variables"),
        ("dse certify run", "neighbours"),
        ("dse dashboard run --static page.html", "files"),
        ("dse recommend run --out run", "answer"),
        ("dse catalog", "kinds"),
        ("dse catalog memory hbm4", "hbm4"),
        ("dse catalog families", "read"),
        ("dse catalog llm Llama-3.1-8B", "Llama-3.1-8B"),
        ("dse init spaces", "files"),
        ("dse evaluate run --point 0", None),
        ("dse evaluate --device h100_sxm --model Llama-3.1-8B", "tpot"),
        ("dse fit --device h100_sxm --model Llama-3.1-8B", "fits"),
        (f"dse predict {CASES / '63-predict-speculative' / 'rows.csv'} --out rows.csv", "predicted"),
        (f"dse catalog import-llm {CASES / '08-falcon-h1-7b' / 'config.json'} --name own", "parameters"),
    ],
)
def test_every_command_answers_in_json(place: Path, line: str, key: str | None) -> None:
    """One object that parses, with what the command is for; numbers in SI units."""
    done = run(line + " --json", place)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert key is None or key in told


def test_quiet_prints_the_result_alone(place: Path) -> None:
    done = run("dse search mobile --trials 300 --seed 3 --out still --quiet", place)
    assert (done.returncode, done.stdout, done.stderr) == (0, "still/front.csv\n", "")
    done = run("dse recommend run --out run --quiet", place)
    assert (done.returncode, done.stdout, done.stderr) == (0, "run/recommendation.md\n", "")


def test_a_reader_that_leaves_is_no_error(place: Path) -> None:
    line = f"{sys.executable} -m dse catalog families | head -c 10"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(HOME)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_shell_completes_commands() -> None:
    script = subprocess.run(
        [sys.executable, "-m", "dse", "--print-completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
        cwd=HOME,
    ).stdout
    asked = 'COMP_WORDS=(dse ev); COMP_CWORD=1; _shtab_dse; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", script + "\n" + asked], capture_output=True, text=True, check=True, cwd=HOME
    )
    assert done.stdout.strip() == "evaluate"
