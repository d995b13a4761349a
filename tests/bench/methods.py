"""What the search's parts are worth, what it costs, and how others do: the sections of ``search.py`` beside its spaces."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import moocore
import numpy as np
import optuna

from dse.catalog.catalog import load_catalog
from dse.core.pareto import ParetoArchive, worst_factors
from dse.core.units import FloatArray
from dse.evaluator.first_order import model_of
from dse.evaluator.loading import OURS
from dse.run.front import Scale, hypervolume
from dse.space.overrides import load_space
from dse.space.space import Space
from dse.study import evolution, search, tasks
from dse.study.auto import AutoSampler
from dse.study.convergence import beyond, boxes, volume
from dse.study.judging import Judge
from dse.study.niches import Niche, niches_of
from dse.study.search import FIRST, Search, Stopping
from dse.study.sweep import sweep
from dse.study.worth import study_of
from tests.test_auto_sampler import mixed, mixed_front

SPACES = ("mobile", "datacenter")


def found(space: Space, seed: int, trials: int | None = None, **asked: Any) -> tuple[Search, float]:
    """A search and its seconds."""
    job = Search(space, OURS, load_catalog(), seed=seed, trials=trials, **asked)
    start = time.perf_counter()
    job.run(Stopping(converged=trials is None, trials=trials), lambda: False)
    return job, time.perf_counter() - start


def compare(fronts: Mapping[str, list[FloatArray]], more: list[FloatArray]) -> dict[str, dict[str, float]]:
    """Each method's fronts beside all that any found: share of hypervolume, factor of 95 % of boxes; medians, worst."""
    every = [p for points in fronts.values() for p in points] + more
    union = ParetoArchive(every[0].shape[1])
    for points in every:
        index = np.zeros(len(points), dtype=np.int64)
        union.insert(points.copy(), index, index)
    reference, targets = beyond(union.points), boxes(union.points)
    whole = volume(union.points, reference)
    out = {}
    for name, runs in fronts.items():
        kept = [volume(p, reference) / whole for p in runs]
        off = [float(np.quantile(worst_factors(p, targets) - 1.0, 0.95)) for p in runs]
        out[name] = {
            "hypervolume": float(np.median(kept)),
            "worst": min(kept),
            "within": float(np.median(off)),
            "widest": max(off),
        }
    return out


def say(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Print a comparison."""
    for name, r in rows.items():
        print(
            f"{title:28s} {name:28s} hypervolume {100 * r['hypervolume']:6.2f} % (worst {100 * r['worst']:6.2f}), "
            f"95 % of boxes within {100 * r['within']:6.2f} % (worst {100 * r['widest']:6.2f})"
            + (f", {r['seconds']:.1f} s, {r['designs']:,.0f} designs" if "seconds" in r else ""),
            flush=True,
        )


# --- ablation ------------------------------------------------------------------------------------------------------


@contextmanager
def without(part: str) -> Iterator[None]:
    """The search with one of its ingredients taken out."""
    whole_only = mock.patch.object(tasks, "niches_of", lambda *a: _niches(*a)[:1])
    parts_not_kept = mock.patch.object(tasks, "niches_of", _but(", part "))
    together_not_kept = mock.patch.object(tasks, "niches_of", _but(" and "))
    unforced = mock.patch.object(evolution.Evolution, "_seeds", _unforced)
    constants: dict[str, tuple[Any, ...]] = {
        "niches bred on": (mock.patch.object(evolution, "FROM_NICHES", 0.0),),
        "niches kept": (whole_only,),
        "niches of parts of numbers": (parts_not_kept,),
        "niches of levers together": (together_not_kept,),
        "stratified seeds": (unforced,),
        "children of small changes": (mock.patch.object(evolution, "CROSSED", 1.0),),
        "crossover and differences": (mock.patch.object(evolution, "CROSSED", 0.0),),
        "combinations bred on": (
            mock.patch.object(evolution, "COMBINATIONS", 0.0),
            mock.patch.object(evolution, "SAME_COMBINATION", 0.0),
        ),
        "ends of ranges": (mock.patch.object(evolution, "TO_AN_END", (0.0, 0.0)),),
        "every operating point": (mock.patch.object(Judge, "batch", _one_point),),
        "polish": (mock.patch.object(search, "POLISHED", 0.0),),
        "nothing": (),
    }
    patches = constants[part]
    for p in patches:
        p.start()
    try:
        yield
    finally:
        for p in patches:
            p.stop()


PARTS = (
    "nothing",
    "niches bred on",
    "niches kept",
    "niches of parts of numbers",
    "niches of levers together",
    "stratified seeds",
    "children of small changes",
    "crossover and differences",
    "combinations bred on",
    "ends of ranges",
    "every operating point",
    "polish",
)
_niches = niches_of
_batch = Judge.batch


def _but(word: str) -> Callable[..., list[Niche]]:
    """Niches without those that have ``word`` in their names."""
    return lambda *a: [niche for niche in _niches(*a) if word not in niche.name]


def _unforced(self: evolution.Evolution, rng: np.random.Generator, *, first: bool) -> Any:
    codes = self.genome.draw(rng.random((self.seeds, len(self.genome.genes))))
    return np.concatenate([self.first, codes]) if first else codes


def _one_point(self: Judge, codes: Any, generation: int, size: int, asked: Any = None) -> Any:
    """One operating point of a design, drawn by its codes."""
    batch = _batch(self, codes, generation, size, asked)
    draw = (batch.rows * 2654435761 + batch.tags * 40503 + generation * 97) % 1_000_003
    order = np.lexsort((draw, batch.rows))
    keep = np.sort(order[np.unique(batch.rows[order], return_index=True)[1]])
    batch.points, batch.rows, batch.tags = batch.points[keep], batch.rows[keep], batch.tags[keep]
    return batch


def ablation(budgets: Mapping[str, int], seeds: int) -> list[dict[str, Any]]:
    """Each ingredient left out, at one budget."""
    out = []
    for name, trials in budgets.items():
        space = load_space(name)
        fronts: dict[str, list[FloatArray]] = {}
        for part in PARTS:
            with without(part):
                fronts[part] = [
                    found(space, seed, trials)[0].common.front(0).points for seed in range(1, seeds + 1)
                ]
        more = [found(space, 9001, 4 * trials)[0].common.front(0).points]
        rows = compare(fronts, more)
        say(f"{name}, {trials:,}, without", rows)
        out.append({"space": name, "trials": trials, "without": rows})
    return out


# --- other methods -------------------------------------------------------------------------------------------------


def with_pymoo(name: str, space: Space, seed: int, trials: int, seconds: float) -> tuple[FloatArray, int]:
    """NSGA-II or NSGA-III of pymoo on the unit cube of codes, the operating point a gene; every point archived."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.core.problem import Problem
    from pymoo.optimize import minimize
    from pymoo.util.ref_dirs import get_reference_directions

    model = model_of(space, load_catalog())
    base = Search(space, OURS, load_catalog(), seed=seed)
    judge = Judge(model, base.genome, space)
    width, goals = len(base.genome.genes), len(space.objectives)
    operating_points = len(space.operating_points)
    archive = ParetoArchive(goals)
    count = 0
    end = time.perf_counter() + seconds

    class Codes(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(n_var=width + 1, n_obj=goals, n_ieq_constr=1, xl=0.0, xu=1.0)

        def _evaluate(self, x: FloatArray, out: dict[str, FloatArray], *_: Any, **__: Any) -> None:
            nonlocal count
            unit = np.clip(x, 0.0, 1.0 - 1e-9)
            codes = base.genome.draw(unit[:, :width])
            at = (unit[:, width] * operating_points).astype(np.int64)
            batch = judge.batch(codes, 0, len(codes), at)
            count += len(codes)
            fits = np.all(batch.points / np.array(space.bounds) <= 1.0, axis=1)
            points = batch.points[fits]
            index = np.zeros(len(points), dtype=np.int64)
            archive.insert(points.copy(), index, index)
            out["F"] = np.log10(batch.objectives)
            out["G"] = batch.excess[:, None]

    algorithm = (
        NSGA2(pop_size=100)
        if name == "pymoo NSGA-II"
        else NSGA3(get_reference_directions("das-dennis", goals, n_partitions=12 if goals == 3 else 99))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymoo.core.callback import Callback

        class Until(Callback):  # type: ignore[misc]
            def notify(self, algorithm: Any) -> None:
                if count >= trials or time.perf_counter() > end:
                    algorithm.termination.force_termination = True

        minimize(Codes(), algorithm, ("n_eval", 10**9), seed=seed, callback=Until(), verbose=False)
    return archive.points, count


def with_optuna(sampler: str, space: Space, seed: int, trials: int, seconds: float) -> tuple[FloatArray, int]:
    """One of Optuna's samplers behind our flag, undivided: all trials are one search."""
    with mock.patch.object(search, "COMPARED", np.inf):
        job = Search(space, OURS, load_catalog(), sampler=sampler, seed=seed, trials=trials)
        job.run(Stopping(converged=False, trials=trials, seconds=seconds), lambda: False)
    return job.common.front(0).points, job.evaluated


def with_auto(space: Space, seed: int, trials: int, seconds: float) -> tuple[FloatArray, int]:
    """Ours, with the same end."""
    job = Search(space, OURS, load_catalog(), seed=seed, trials=trials)
    job.run(Stopping(converged=False, trials=trials, seconds=seconds), lambda: False)
    return job.common.front(0).points, job.evaluated


METHODS: Mapping[str, Callable[[Space, int, int, float], tuple[FloatArray, int]]] = {
    "auto": with_auto,
    "pymoo NSGA-II": lambda *a: with_pymoo("pymoo NSGA-II", *a),
    "pymoo NSGA-III": lambda *a: with_pymoo("pymoo NSGA-III", *a),
    "Optuna nsga2": lambda *a: with_optuna("nsga2", *a),
    "Optuna nsga3": lambda *a: with_optuna("nsga3", *a),
    "Optuna tpe": lambda *a: with_optuna("tpe", *a),
    "Optuna qmc": lambda *a: with_optuna("qmc", *a),
    "Optuna random": lambda *a: with_optuna("random", *a),
}

NEVER = 1e9


def methods(designs: int, seconds: float, seeds: int) -> list[dict[str, Any]]:
    """Every method at so many designs, and for so many seconds."""
    out = []
    for name in SPACES:
        space = load_space(name)
        found(space, 1, 400)  # compiles
        big = found(space, 9001)[0].common.front(0).points
        for label, trials, limit in (
            (f"{designs:,} designs", designs, NEVER),
            (f"{seconds:g} s", 10**7, seconds),
        ):
            fronts, figures = {}, {}
            for method, run in METHODS.items():
                if method == "Optuna tpe" and limit == NEVER and designs > 2000:
                    print(
                        f"{name}, {label}: Optuna tpe left out, tens of milliseconds a trial and more",
                        flush=True,
                    )
                    continue
                runs = []
                start = time.perf_counter()
                for seed in range(1, seeds + 1):
                    runs.append(run(space, seed, trials, limit))
                each = (time.perf_counter() - start) / seeds
                fronts[method] = [points for points, _ in runs]
                figures[method] = {"seconds": each, "designs": float(np.median([n for _, n in runs]))}
            rows = {k: v | figures[k] for k, v in compare(fronts, [big]).items()}
            say(f"{name}, {label}", rows)
            out.append({"space": name, "end": label, "methods": rows})
    return out


# --- swept grids, levers -------------------------------------------------------------------------------------------


def grids() -> list[dict[str, Any]]:
    """The default search held to the levels of a swept grid, beside the exact front."""
    out = []
    for name in SPACES:
        whole = load_space(name)
        exact = sweep(whole, model_of(whole, load_catalog()))
        job, seconds = found(whole.on_grid(), 1)
        scale = Scale.of(exact.front.points)
        share = hypervolume(job.common.front(0).points, scale) / hypervolume(exact.front.points, scale)
        print(
            f"{name}: {exact.designs:,} designs swept in {exact.seconds:.0f} s, {len(exact.front)} points; the search "
            f"held to them: {100 * share:.2f} % of the exact hypervolume, {job.evaluated:,} designs, {seconds:.0f} s",
            flush=True,
        )
        out.append({"space": name, "swept": exact.designs, "share": share, "designs": job.evaluated})
    return out


def separate(seed: int = 1) -> list[dict[str, Any]]:
    """What niches say of levers beside searches of the locked spaces on their own, in the same box."""
    out = []
    for name in SPACES:
        space = load_space(name)
        job, _ = found(space, seed)
        said = study_of(job)
        box = np.array([said["reference_point"]["values"][o] for o in space.objectives])
        whole = volume(job.common.front(0).points, box)
        for lever in space.levers:
            alone, _ = found(space.without(lever), seed)
            kept = volume(alone.common.front(0).points, box) / whole
            niche = said["levers"][lever.name]["hypervolume"]
            print(
                f"{name}, without {lever.name}: niche keeps {100 * niche:.2f} % of the hypervolume, a search of its own "
                f"{100 * kept:.2f} %, {alone.evaluated:,} designs",
                flush=True,
            )
            out.append({"space": name, "lever": lever.name, "niche": niche, "separate": kept})
    return out


# --- costs ---------------------------------------------------------------------------------------------------------

MEMORY = """
import resource, sys, time
from dse.catalog.catalog import load_catalog
from dse.evaluator.loading import OURS
from dse.space.overrides import load_space
from dse.study.search import Search, Stopping
space = load_space(sys.argv[1])
Search(space, OURS, load_catalog(), trials=400).run(Stopping(False, 400), lambda: False)
job = Search(space, OURS, load_catalog(), trials=int(sys.argv[2]))
start = time.perf_counter()
job.run(Stopping(False, int(sys.argv[2])), lambda: False)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def costs(sizes: tuple[int, ...] = (20_000, 200_000, 2_000_000)) -> list[dict[str, Any]]:
    """Own Python a design, the model's share of a search's time, memory by designs."""
    out: list[dict[str, Any]] = []
    for name in SPACES:
        job = Search(load_space(name), OURS, load_catalog())
        half = job.seeds[0].halves[0]
        half.judge.evaluator.threads = 1  # type: ignore[attr-defined]
        half.advance(2000, lambda: False)
        begun, inside, screened = half.evaluated, 0.0, half.judge.evaluator.screened  # type: ignore[attr-defined]

        def timed(designs: Any, screened: Any = screened) -> Any:
            nonlocal inside
            start = time.perf_counter()
            made = list(screened(designs))
            inside += time.perf_counter() - start
            return made

        half.judge.evaluator.screened = timed  # type: ignore[attr-defined]
        start = time.perf_counter()
        half.advance(FIRST, lambda: False)
        whole = time.perf_counter() - start
        own = 1e6 * (whole - inside) / (half.evaluated - begun)
        print(
            f"{name}: the model {100 * inside / whole:.0f} % of the time, own Python {own:.1f} us a design",
            flush=True,
        )
        row: dict[str, Any] = {"space": name, "model": inside / whole, "own": own * 1e-6, "memory": {}}
        for size in sizes:
            done = subprocess.run(
                [sys.executable, "-c", MEMORY, name, str(size)], capture_output=True, text=True, check=True
            )
            seconds, memory = map(float, done.stdout.split())
            row["memory"][size] = memory
            print(f"{name}: {size:,} designs: {memory / 1e6:.0f} MB, {seconds:.0f} s", flush=True)
        out.append(row)
    return out


# --- textbook problems ---------------------------------------------------------------------------------------------


def zdt(number: int, x: FloatArray) -> tuple[float, ...]:
    """Zitzler, Deb & Thiele (2000)."""
    g = 1.0 + 9.0 * float(x[1:].mean())
    r = float(x[0]) / g
    h = (1 - np.sqrt(r), 1 - r**2, 1 - np.sqrt(r) - r * np.sin(10 * np.pi * x[0]))[number - 1]
    return float(x[0]), g * float(h)


def dtlz(number: int, x: FloatArray) -> tuple[float, ...]:
    """Deb, Thiele, Laumanns & Zitzler (2002), three objectives."""
    tail = x[2:] - 0.5
    if number == 1:
        g = 100 * (len(tail) + float(np.sum(tail**2 - np.cos(20 * np.pi * tail))))
        return 0.5 * x[0] * x[1] * (1 + g), 0.5 * x[0] * (1 - x[1]) * (1 + g), 0.5 * (1 - x[0]) * (1 + g)
    g = float(np.sum(tail**2))
    a, b = 0.5 * np.pi * x[0], 0.5 * np.pi * x[1]
    return (
        (1 + g) * np.cos(a) * np.cos(b),
        (1 + g) * np.cos(a) * np.sin(b),
        (1 + g) * np.sin(a),
    )


def exact_front(problem: str) -> FloatArray:
    """Points of a known front."""
    u = np.linspace(0, 1, 2001)
    kind, number = problem[:-1], int(problem[-1])
    if kind == "ZDT":
        h = (1 - np.sqrt(u), 1 - u**2, 1 - np.sqrt(u) - u * np.sin(10 * np.pi * u))[number - 1]
        return np.column_stack([u, h])
    p, q = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, 80), np.linspace(0, 1, 80)))
    if number == 1:
        return 0.5 * np.column_stack([p * q, p * (1 - q), 1 - p])
    a, b = 0.5 * np.pi * p, 0.5 * np.pi * q
    return np.column_stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)])


def textbook(problem: str) -> tuple[Callable[[optuna.Trial], tuple[float, ...]], FloatArray]:
    """The objective of a problem with a known front, and that front."""
    if problem == "conditional, mixed":
        return mixed, mixed_front()
    kind, number = problem[:-1], int(problem[-1])
    width, function = (12, zdt) if kind == "ZDT" else (5, dtlz)

    def objective(trial: optuna.Trial) -> tuple[float, ...]:
        return function(number, np.array([trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(width)]))

    return objective, exact_front(problem)


PROBLEMS: Mapping[str, int] = {
    "ZDT1": 2_000,
    "ZDT2": 2_000,
    "ZDT3": 2_000,
    "DTLZ1": 10_000,  # many local fronts: after 2,000 trials nothing is near
    "DTLZ2": 2_000,
    "conditional, mixed": 2_000,
}
"""trials of each"""


def problems(seeds: int = 3) -> list[dict[str, Any]]:
    """``AutoSampler`` alone in an Optuna study beside Optuna's NSGA-II, by share of the known front's hypervolume."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    out = []
    for problem, trials in PROBLEMS.items():
        objective, exact = textbook(problem)
        reference = exact.max(axis=0) * 1.1 + 0.1
        row: dict[str, Any] = {"problem": problem, "trials": trials}
        for name in ("auto", "nsga2"):
            shares = []
            for seed in range(1, seeds + 1):
                sampler = AutoSampler(seed) if name == "auto" else optuna.samplers.NSGAIISampler(seed=seed)
                study = optuna.create_study(directions=["minimize"] * exact.shape[1], sampler=sampler)
                study.optimize(objective, n_trials=trials)
                points = np.array([t.values for t in study.trials])
                points = points[(points < reference).all(axis=1)]
                got = moocore.hypervolume(points, ref=reference) if len(points) else 0.0
                shares.append(float(got / moocore.hypervolume(exact, ref=reference)))
            row[name] = shares
        print(
            f"{problem}, {trials:,} trials: auto {100 * np.median(row['auto']):.1f} % of the known front's hypervolume, "
            f"NSGA-II {100 * np.median(row['nsga2']):.1f} %",
            flush=True,
        )
        out.append(row)
    return out


# --- kills ---------------------------------------------------------------------------------------------------------


def kills(moments: int = 20) -> list[dict[str, Any]]:
    """``kill -9`` at random moments of a search, then ``--resume``: is the front that of a search never killed?"""
    out = []
    rng = np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as place:
        for sampler, trials in (("auto", 30_000), ("random", 4_000), ("qmc", 4_000)):
            base = [
                sys.executable,
                "-m",
                "dse",
                "search",
                "mobile",
                "--trials",
                str(trials),
                "--sampler",
                sampler,
            ]
            quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": place}
            start = time.perf_counter()
            subprocess.run([*base, "--out", f"{sampler}-whole"], check=True, env=dict(os.environ), **quiet)
            seconds = time.perf_counter() - start
            whole = (Path(place) / f"{sampler}-whole" / "front.csv").read_bytes()
            same = killed = 0
            for moment in range(moments):
                folder = f"{sampler}-{moment}"
                process = subprocess.Popen([*base, "--out", folder], **quiet)
                time.sleep(float(rng.uniform(0.1, 1.0)) * seconds)
                killed += process.poll() is None
                process.send_signal(signal.SIGKILL)
                process.wait()
                resume = (Path(place) / folder / "run.json").exists()
                subprocess.run(
                    [*base, "--out", folder, *(["--resume"] if resume else [])], check=True, **quiet
                )
                same += (Path(place) / folder / "front.csv").read_bytes() == whole
                shutil.rmtree(Path(place) / folder)
            print(
                f"{sampler}: {same} of {moments} fronts byte-equal, {killed} killed before their end",
                flush=True,
            )
            out.append({"sampler": sampler, "same": same, "killed": killed, "moments": moments})
    return out


SECTIONS: Mapping[str, Callable[[], list[dict[str, Any]]]] = {
    "grids": grids,
    "separate": separate,
    "methods": lambda: methods(10_000, 10.0, 3),
    "ablation": lambda: ablation({"mobile": 120_000, "datacenter": 120_000}, 4),
    "costs": costs,
    "problems": problems,
    "kills": kills,
}


def section(name: str, out: Path | None) -> None:
    """Run a section and keep what it says."""
    rows = SECTIONS[name]()
    if out:
        kept = json.loads(out.read_text()) if out.exists() else {}
        out.write_text(json.dumps(kept | {name: rows}, indent=1) + "\n")
