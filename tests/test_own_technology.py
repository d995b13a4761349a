"""A memory of one's own: named once in a space, and kept by the runs that use it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dse.catalog.catalog import load_catalog
from dse.space.reader import read_space
from tests.test_cases import run

HOME = Path(__file__).parents[1]


def own_memory(folder: Path) -> None:
    """A stack like HBM4 under a name of its own."""
    text = (HOME / "dse" / "data" / "memory" / "hbm4.toml").read_text(encoding="utf-8")
    (folder / "own" / "memory").mkdir(parents=True)
    (folder / "own" / "memory" / "bespoke.toml").write_text(
        text.replace('name = "hbm4"', 'name = "bespoke"'), encoding="utf-8"
    )


def named_once(text: str) -> str:
    """A space with the memory among the choices of the fast one, and nowhere else."""
    at = text.index("[variables.fast_memory]")
    head, mark, tail = text[at:].partition('choices = ["')
    return text[:at] + head + mark + 'bespoke", "' + tail


def test_every_condition_on_stacks_holds_for_a_stack_of_ones_own(tmp_path: Path) -> None:
    """Named once, it is active, allowed and counted wherever HBM4 is."""
    own_memory(tmp_path)
    text = named_once((HOME / "search_spaces" / "datacenter.toml").read_text(encoding="utf-8"))
    assert text.count("bespoke") == 1
    space = read_space(text, "own.toml", load_catalog(tmp_path / "own"))
    as_hbm = 0
    for variable in space.variables:
        for condition in (variable.active_if, *variable.needs.values()):
            allowed = condition.get("fast_memory")
            if allowed is not None:
                assert ("bespoke" in allowed) == ("hbm4" in allowed), variable.name
                as_hbm += "hbm4" in allowed
    assert as_hbm > 3


def test_a_run_keeps_its_technology(tmp_path: Path) -> None:
    """Page, recommendation, evaluation of a point and going on need no folder named again, nor the folder."""
    own_memory(tmp_path)
    text = named_once((HOME / "search_spaces" / "datacenter.toml").read_text(encoding="utf-8"))
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    searched = run(
        "dse --catalog own search own.toml --trials 300 --seed 1 --fix fast_memory=bespoke --out run",
        tmp_path,
    )
    assert searched.returncode == 0, searched.stderr
    assert set(pd.read_csv(tmp_path / "run" / "front.csv")["fast_memory"]) == {"bespoke"}
    (tmp_path / "own").rename(tmp_path / "moved")
    (tmp_path / "own.toml").unlink()
    for line in (
        "dse recommend run --out advice",
        "dse dashboard run --static page.html",
        "dse evaluate run --point 1",
        "dse search own.toml --trials 400 --seed 1 --out run --resume",
    ):
        if "search" in line:
            (tmp_path / "own.toml").write_text(text, encoding="utf-8")
            line += " --fix fast_memory=bespoke"
        done = run(line, tmp_path)
        assert done.returncode == 0, (line, done.stderr)
