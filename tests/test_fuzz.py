"""Inputs made wrong on purpose: those that are wrong are refused in words, those that are right are taken."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import KINDS_OF_INPUT, fault, tried
from tests.test_cases import run

EXAMPLES = {"space": 500, "catalogue": 600, "config": 600, "table": 200, "flags": 100}
"""2,000 of every kind of input"""

COMMANDS = 50


@pytest.mark.parametrize("kind", list(EXAMPLES))
def test_no_wrong_input_is_taken_and_no_right_one_refused(kind: str) -> None:
    """By an oracle of each change; a traceback or a wait is a fault of any input."""

    @settings(
        max_examples=EXAMPLES[kind],
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(seed=st.integers(0, 2**32 - 1))
    def one(seed: int) -> None:
        case = KINDS_OF_INPUT[kind][0](random.Random(seed))
        found = fault(case, tried(case))
        assert not found, f"seed {seed}: {case.change}: {found}"

    one()


@pytest.mark.slow
def test_the_command_refuses_them_in_words(tmp_path: Path) -> None:
    """The same through the real command: exit 2 or 3 with a message, never a traceback."""
    rng = random.Random(18)
    for i in range(COMMANDS):
        kind = ("space", "config", "table", "flags", "catalogue")[i % 5]
        case = KINDS_OF_INPUT[kind][0](rng)
        done = run(_line(kind, case.content, tmp_path), tmp_path)
        assert "Traceback" not in done.stderr, (case.change, done.stderr)
        assert done.returncode in {0, 2, 3}, (case.change, done.stderr)
        if case.wrong and kind != "table":
            assert done.returncode, case.change
            assert done.stderr.startswith("dse: ") or "usage: dse" in done.stderr, (case.change, done.stderr)


def _line(kind: str, content: object, folder: Path) -> str:
    """The command that reads an input, written where it looks for it."""
    if kind == "space":
        (folder / "space.toml").write_text(str(content), encoding="utf-8")
        return "dse check space.toml"
    if kind == "config":
        (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
        return "dse catalog import-llm config.json --name fuzz"
    if kind == "table":
        assert isinstance(content, list)
        header = list(dict.fromkeys(k for r in content for k in r))
        rows = [",".join(f'"{r.get(k, "")}"' for k in header) for r in content]
        (folder / "rows.csv").write_text("\n".join([",".join(header), *rows]), encoding="utf-8")
        return "dse predict rows.csv --out out.csv"
    if kind == "flags":
        assert isinstance(content, dict)
        words = [x for pair in content.items() for x in pair]
        return "dse evaluate " + " ".join(f"'{w}'" for w in words)
    assert isinstance(content, tuple)
    entry, stem, text = content
    home = folder / f"catalogue{len(list(folder.iterdir()))}" / entry
    home.mkdir(parents=True)
    (home / f"{stem}.toml").write_text(text, encoding="utf-8")
    return f"dse --catalog {home.parent} catalog {entry} {stem}"


def test_the_script_prints_its_figures() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--inputs", "200", "--seed", "3"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 2 + len(EXAMPLES)
