"""The house rules: layers, types, style, length of files and functions, nothing that leaks."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
SOURCES = sorted((HOME / "dse").rglob("*.py"))
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "dse", "tests"],
        ["ruff", "format", "--check", "dse", "tests"],
        ["lint-imports"],
        pytest.param(["mypy"], marks=pytest.mark.slow),
    ],
    ids=lambda c: c[0] + c[1] if len(c) > 1 else c[0],
)
def test_static_checks_pass(command: list[str]) -> None:
    tool = BIN / command[0]
    program = str(tool) if tool.exists() else shutil.which(command[0])
    assert program is not None, f"{command[0]} is part of the test extra"
    done = subprocess.run([program, *command[1:]], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_files_functions_lines_and_calls_stay_short() -> None:
    """As the formatter lays them out; serving's functions of many terms are longer."""
    literal_tables = 0
    for path in SOURCES:
        text = path.read_text()
        serving = "serving" in path.parts
        literal_tables += text.count("fmt: skip")
        assert text.count("\n") <= 560, path
        assert max(map(len, text.split("\n"))) <= 110, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= (90 if serving else 60), (path, node.name, length)
            if isinstance(node, ast.Call):
                assert len(node.args) <= 6, (path, node.lineno)
    assert literal_tables <= 10


def test_no_path_of_a_machine_and_no_host_of_a_registry() -> None:
    for path in [
        *SOURCES,
        *(HOME / "tests").rglob("*.py"),
        *HOME.glob("*.md"),
        HOME / "pyproject.toml",
        HOME / ".ci" / "run",
    ]:
        if path.name == "test_house.py":
            continue
        text = path.read_text()
        assert not re.search(r"/wor[k]/|/far[m]/|pyp[i]\.org|deb\.debia[n]|npmj[s]", text), path


def test_readme_is_short_and_has_both_commands() -> None:
    text = (HOME / "README.md").read_text()
    assert text.count("\n") <= 140
    assert re.search(r"<!-- main-job -->\n```sh\n.+?\n```", text, re.DOTALL)
    assert re.search(r"<!-- tests -->\n```sh\n.+?\n```", text, re.DOTALL)


def test_every_physics_function_names_its_source() -> None:
    for path in (HOME / "dse" / "physics").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                assert "Source:" in (ast.get_docstring(node) or ""), (path.name, node.name)
