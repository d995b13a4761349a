"""Searches and sweeps on workers that die, and shared studies whose processes and server do: the real things."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import optuna
import pytest

from dse.core.errors import SpaceError, masked
from dse.run.folder import FRONT, Folder
from dse.space.overrides import load_space
from dse.study.cluster import Cluster, connected
from dse.study.job import Settings, Where, search, searched
from dse.study.shared_study import BEAT, FOUND, SILENCE
from dse.study.storage import asked_storage, opened

HOME = Path(__file__).resolve().parent.parent
TESTS = HOME / "tests"

SLOW = '''
import os, time
from pathlib import Path
from simulator import Roofline


class Slow(Roofline):
    """The roofline, that takes a fifth of a second a design and notes who judged it."""

    def evaluate(self, design):
        time.sleep(0.2 * len(design))
        with Path(os.environ["CALLS"]).open("a") as file:
            file.write(f"{os.getpid()}\\n" * len(design))
        return super().evaluate(design)
'''


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a process that finds this package and a slow simulator."""
    (folder / "slow_simulator.py").write_text(SLOW)
    path = os.pathsep.join([str(folder), str(TESTS), str(HOME), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "CALLS": str(folder / "calls"), **more}


def begin(folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dse", *arguments],
        cwd=folder,
        env=environment(folder, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    said, error = process.communicate(timeout=240)
    assert process.returncode == code, error[-3000:]
    return said if code == 0 else error


def run(folder: Path, *arguments: str, code: int = 0, **more: str) -> str:
    return ended(begin(folder, *arguments, **more), code)


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError("nothing happened")


def workers_of(process: subprocess.Popen[str]) -> list[Any]:
    """Worker processes of a command that have been at work for a moment."""
    psutil = pytest.importorskip("psutil", reason="comes with Dask, to find the workers to kill")
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # one that has just ended
            if "spawn_main" in " ".join(child.cmdline()) and child.cpu_times().user > 2.0:
                found.append(child)
    return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def threads() -> Iterator[Counted]:
    """Dask workers that are threads of this process: all of it but the processes."""
    distributed = pytest.importorskip("distributed", reason="Dask is the extra 'cluster'")
    with distributed.Client(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as client:
        yield Counted(client)


class Counted(Cluster):
    """A cluster that counts what it is given to do."""

    tasks = 0

    def submit(self, function: Callable[..., Any], *arguments: Any, near: str | None = None) -> Any:
        self.tasks += 1
        return super().submit(function, *arguments, near=near)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "asked", [{"trials": 1500, "seeds": 2}, {"trials": 200}, {"sampler": "qmc", "trials": 300}]
)
def test_a_cluster_finds_the_same_front(tmp_path: Path, threads: Counted, asked: dict[str, Any]) -> None:
    space = load_space("mobile")
    for name, cluster in (("here", None), ("there", threads)):
        search(space, tmp_path / name, Settings(**asked), resume=False, command="test", cluster=cluster)
    assert threads.tasks >= 2 * asked.get("seeds", 1) - (asked["trials"] < 1000), "each half is a task"
    here, there = ((tmp_path / name / FRONT).read_bytes() for name in ("here", "there"))
    assert here == there
    for log in Folder(tmp_path / "here").logs():  # not the front alone: every design, in the same order
        other = Folder(tmp_path / "there").log(log.path.stem)
        for a, b in zip(log.batches(), other.batches(), strict=True):
            np.testing.assert_array_equal(a.codes, b.codes)


@pytest.mark.slow
def test_a_sweep_and_a_search_survive_a_killed_worker(tmp_path: Path) -> None:
    jobs = {
        "sweep": ("sweep", "mobile"),
        "search": ("search", "datacenter", "--trials", "120000", "--seed", "5"),
    }
    for name, arguments in jobs.items():
        run(tmp_path, *arguments, "--out", f"{name}-here")
        process = begin(tmp_path, *arguments, "--out", f"{name}-there", "--workers", "2")
        at_work = until(lambda: workers_of(process) or process.poll() is not None, 120.0)  # noqa: B023
        assert process.poll() is None, f"ended before a worker was killed: {process.communicate()}"
        at_work[0].send_signal(signal.SIGKILL)
        ended(process)
        here, there = ((tmp_path / f"{name}-{x}" / FRONT).read_bytes() for x in ("here", "there"))
        assert here == there, name


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_ends_a_search_on_workers_with_its_front(tmp_path: Path) -> None:
    """It reaches every process of the terminal: workers finish what they have, the command writes it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dse", "search", "mobile", "--seeds", "4", "--workers", "2", "--out", "a"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: any(Folder(tmp_path / "a").logs()))
    os.killpg(process.pid, signal.SIGINT)
    said, error = process.communicate(timeout=60)
    assert process.returncode == 130, error[-2000:]
    assert "go on with" in said
    assert "Traceback" not in error


@pytest.mark.slow
def test_a_scheduler_that_runs_already(tmp_path: Path) -> None:
    """A scheduler and a worker started as a person would; a slow simulator found by name on the worker."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    dask = Path(sys.executable).parent / "dask"
    started = [
        subprocess.Popen(
            [dask, *arguments], cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.DEVNULL
        )
        for arguments in (
            ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
            ["worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"],
        )
    ]
    try:
        slow = ("search", "datacenter", "--trials", "60", "--evaluator", "slow_simulator:Slow")
        run(tmp_path, *slow, "--scheduler", address, "--out", "there")
        by = set((tmp_path / "calls").read_text().split())
        assert len(by) == 3, "two workers judge, and the command judges the front again"
        run(tmp_path, *slow, "--out", "here")
        assert (tmp_path / "here" / FRONT).read_bytes() == (tmp_path / "there" / FRONT).read_bytes()
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def test_two_places_or_none_that_answers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = load_space("mobile")
    with pytest.raises(SpaceError, match="give one of them"), connected(2, "tcp://127.0.0.1:1"):
        pass
    with pytest.raises(SpaceError, match="leave out --workers"):
        searched(space, tmp_path, Settings(trials=5), Where(workers=2, storage="x"), resume=False, command="")
    with pytest.raises(SpaceError, match="--trials or --timeout"):
        searched(space, tmp_path, Settings(), Where(storage="x"), resume=False, command="")
    for wrong in (
        "postgresql:/me:secret@host/db",
        "postgresql://me:sec ret@host/db",
        "me:secret@host/db",
        "me:sec/secret@host/db",
    ):
        with pytest.raises(SpaceError) as said:
            asked_storage(wrong)
        assert "secret" not in str(said.value)
    for workers in (-1, 0, 1.5, True):
        with pytest.raises(SpaceError, match="--workers: got"):
            Where(workers=workers)  # type: ignore[arg-type]
    with pytest.raises(SpaceError, match="NOT_SET is not set"):
        asked_storage("env:NOT_SET")
    monkeypatch.setenv("A_STORAGE", "mysql://me:secret@here/db")
    with pytest.raises(SpaceError, match=r"mysql://me:\*\*\*@here/db"):
        asked_storage("env:A_STORAGE")


def test_passwords_are_never_shown() -> None:
    assert (
        masked("--storage postgresql://me:s3:c@ret/@host:5/db") == "--storage postgresql://me:***@host:5/db"
    )
    assert (
        masked("postgresql://host/db?user=me&password=secret") == "postgresql://host/db?user=me&password=***"
    )
    assert masked("postgresql://me@corp:sec ret@db/dse") == "postgresql://me@corp:***@db/dse"
    assert masked("tcp://10.0.0.1:8786") == "tcp://10.0.0.1:8786"


def states(storage: str) -> dict[str, int]:
    """Trials of the only study by state."""
    with opened(storage) as kept:
        (name,) = optuna.get_all_study_names(kept)
        trials = optuna.load_study(study_name=name, storage=kept).get_trials(deepcopy=False)
    assert all(FOUND in t.user_attrs for t in trials if t.state.name == "COMPLETE")
    return {s: sum(t.state.name == s for t in trials) for s in {t.state.name for t in trials}}


def part(folder: Path, storage: str, trials: int, out: str, **more: str) -> subprocess.Popen[str]:
    return begin(
        folder,
        *("search", "datacenter", "--storage", storage, "--trials", str(trials), "--out", out),
        *("--evaluator", "slow_simulator:Slow"),
        **more,
    )


def calls(folder: Path) -> Sequence[str]:
    return (folder / "calls").read_text().split() if (folder / "calls").exists() else ()


@pytest.mark.slow
def test_processes_share_a_journal_and_take_up_what_a_dead_one_left(tmp_path: Path) -> None:
    journal = "study.journal"
    first, second = (part(tmp_path, journal, 60, name) for name in ("a", "b"))
    until(lambda: len(set(calls(tmp_path))) == 2 and len(calls(tmp_path)) > 10)
    killed(first)
    ended(second)
    found = states(str(tmp_path / journal))
    assert found["COMPLETE"] == 60
    assert found.get("RUNNING", 0) == found.get("WAITING", 0) == 0
    front = (tmp_path / "b" / FRONT).read_bytes()
    run_again = ended(part(tmp_path, journal, 60, "c"))  # nothing left to do: the front of all, and no trial
    assert run_again.startswith("60 designs")
    assert (tmp_path / "c" / FRONT).read_bytes() == front
    more = ended(part(tmp_path, journal, 70, "d"))
    assert more.startswith("70 designs")
    assert states(str(tmp_path / journal))["COMPLETE"] == 70


@pytest.fixture
def postgres() -> Iterator[tuple[str, Callable[[str], None]]]:
    """A server of its own: URL, and a function that starts or stops it."""
    programs = [Path(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
    found = shutil.which("initdb") or next((str(p / "initdb") for p in programs), "")
    if not found or not Path(found).exists():
        pytest.skip("no PostgreSQL server is installed (Debian's package postgresql)")
    pytest.importorskip("psycopg", reason="the driver is the extra 'storage'")
    home, data, port = Path(found).parent, Path(mkdtemp()), free_port()
    user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(data, "postgres")

    def control(*arguments: str) -> None:
        command = [*user, str(home / "pg_ctl"), "-D", str(data / "db"), "-w", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=data)

    def do(what: str) -> None:
        if what == "start":
            control("-o", f"-p {port} -k {data} -h 127.0.0.1", "-l", str(data / "log"), "start")
        else:
            control("-m", "immediate", "stop")

    initdb = [*user, found, "-D", str(data / "db"), "-A", "trust", "-U", "me"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=data)
    do("start")
    try:
        yield f"postgresql://me:a-secret@127.0.0.1:{port}/postgres", do
    finally:
        do("stop")
        shutil.rmtree(data, ignore_errors=True)


@pytest.mark.slow
def test_postgres_loses_no_trial_and_counts_none_twice(
    tmp_path: Path, postgres: tuple[str, Callable[[str], None]]
) -> None:
    """Four processes, one killed, the server restarted as after a crash."""
    url, server = postgres
    parts = [part(tmp_path, "env:A_STORAGE", 200, f"run{k}", A_STORAGE=url) for k in range(4)]
    until(lambda: len(set(calls(tmp_path))) == 4 and len(calls(tmp_path)) > 20)
    killed(parts[0])
    before = len(calls(tmp_path))
    until(lambda: len(calls(tmp_path)) > before + 20)
    server("stop")
    time.sleep(2 * BEAT)
    server("start")
    said = [ended(p) for p in parts[1:]]
    assert all(text.startswith("200 designs") for text in said)
    found = states(url)
    assert found["COMPLETE"] == 200
    assert found.get("RUNNING", 0) == found.get("WAITING", 0) == 0
    fronts = {(tmp_path / f"run{k}" / FRONT).read_bytes() for k in (1, 2, 3)}
    assert len(fronts) == 1, "every process writes the front of all"
    logs = [next(Folder(tmp_path / f"run{k}").log("seed1-half1").batches()) for k in (1, 2, 3)]
    assert {len(b) for b in logs} == {200}
    assert SILENCE > 2 * BEAT
    for path in tmp_path.glob("run*/*"):
        assert path.is_dir() or b"a-secret" not in path.read_bytes(), path


@pytest.mark.slow
def test_a_server_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    said = run(
        tmp_path, "search", "mobile", "--trials", "5", "--scheduler", f"tcp://127.0.0.1:{free_port()}", code=2
    )
    assert "does not answer" in said
    assert "Traceback" not in said
