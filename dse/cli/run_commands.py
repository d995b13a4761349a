"""Commands that search: search, explore, sweep, check."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from dse.catalog.catalog import load_catalog
from dse.cli.console import note, progress, result, say, tell, written
from dse.core.errors import INTERRUPTED, OK, InfeasibleError, RunError, SpaceError
from dse.core.text import counted
from dse.core.units import show
from dse.evaluator.loading import EvaluatorSource, evaluator_source
from dse.evaluator.protocol import Evaluator
from dse.report.choices import picked
from dse.run.folder import (
    FRONT,
    MANIFEST,
    SWEPT,
    Folder,
    csv_text,
    read_study,
    save_study,
    write_atomically,
)
from dse.run.front import front_rows
from dse.run.run import Run
from dse.space.design import sample
from dse.space.objectives import OBJECTIVES
from dse.space.overrides import COARSE, Overrides, apply, load_space, read_grid
from dse.space.space import Space
from dse.study import job
from dse.study.cluster import Cluster, connected
from dse.study.convergence import hypervolume_ratio
from dse.study.job import load_run
from dse.study.probe import probe
from dse.study.search import Progress, Watch
from dse.study.sweep import STATE, SweepQuestion, SweepState
from dse.study.sweep import sweep as exact_sweep
from dse.study.what_if import side_by_side, what_if_fronts


def _given(options: argparse.Namespace) -> Overrides:
    return Overrides(
        fix=tuple(options.fix),
        limit=tuple(options.limit),
        model=options.model,
        objectives=tuple(options.objective),
        traffic=options.traffic,
        year=options.year,
        grid=_grid(options),
    )


def _grid(options: argparse.Namespace) -> tuple[str, ...]:
    """Levels of a grid; a search is held to them, a sweep enumerates them."""
    asked = getattr(options, "grid", None)
    levels = () if asked in {None, COARSE} else read_grid(Path(asked))
    return (*levels, COARSE) if options.command == "search" and asked is not None else levels


def settings_of(options: argparse.Namespace) -> job.Settings:
    """What a command asks of a search."""
    return job.Settings(
        options.sampler, options.seed, options.seeds, options.until, options.trials, options.timeout
    )


CHECKED: Final = 64
"""designs that a check judges"""


@contextmanager
def _bar(name: str, trials: int | None) -> Iterator[Watch]:
    with progress(name, total=trials) as bar:

        def watch(p: Progress) -> None:
            said = p.agreement.so_far if p.agreement else "not compared yet"
            bar.total = p.wanted
            bar.set_postfix_str(f"feasible {100 * p.feasible:.0f} %, {said}", refresh=False)
            bar.update(p.trials - bar.n)

        yield watch


def searched(
    space: Space, out: Path, options: argparse.Namespace, cluster: Cluster | None, *, resume: bool
) -> job.Outcome:
    """Search a space into a folder under a progress bar, as the command line asks."""
    with _bar(space.name, options.trials) as watch:
        return job.search(
            space,
            out,
            settings_of(options),
            resume=resume,
            command=options.command_line,
            watch=watch,
            evaluator=options.evaluator,
            cluster=cluster,
        )


def _asked(options: argparse.Namespace) -> Space:
    """The space with what the command line changes; a choice that this drops elsewhere is told."""
    whole = load_space(options.space)
    space = apply(whole, _given(options), load_catalog())
    fixed = {text.partition("=")[0].strip() for text in options.fix}
    for name, kept, dropped in space.narrowed(whole):
        if name not in fixed:
            note(f"dse: note: --fix also holds {name} to {', '.join(kept)} (without {', '.join(dropped)})")
    return space


def search(options: argparse.Namespace) -> int:
    """Search one space into a run folder."""
    space = _asked(options)
    out = options.out or Path("results") / f"{space.name}-seed{options.seed}"
    where = job.Where(options.workers, options.scheduler, options.storage)
    with _bar(space.name, options.trials) as watch:
        done = job.searched(
            space,
            out,
            settings_of(options),
            where,
            resume=options.resume,
            command=options.command_line,
            watch=watch,
            evaluator=options.evaluator,
        )
    say_front(done, out)
    say_chosen(done.run, done.evaluator, out)
    if done.interrupted:
        again = "" if options.resume or options.storage else " --resume"
        say(f"Stopped with a front; go on with: {options.command_line}{again}")
        return INTERRUPTED
    say(f"Next: dse recommend {out} --out {out}, dse dashboard {out} --static {out}/dashboard.html")
    return OK


def say_chosen(run: Run, model: Evaluator, out: Path) -> None:
    """The chosen designs of a run in a line each, and how to look at one."""
    chosen = picked(run, model)
    names = run.space.objectives
    for c in chosen:
        values = zip(names, run.front.points[c.index], strict=True)
        figures = ", ".join(f"{n} {show(float(v), OBJECTIVES[n].unit)}" for n, v in values)
        say(f"  {c.label:22s} point {c.index}: {figures}")
    say(f"Look at one: dse evaluate {out} --point {chosen[0].index}")
    told = [
        {
            "label": c.label,
            "point": c.index,
            "objectives": dict(zip(names, map(float, run.front.points[c.index]), strict=True)),
            "variables": run.values(int(run.front.rows[c.index])),
        }
        for c in chosen
    ]
    tell(chosen=told)


def say_front(done: job.Outcome, out: Path) -> None:
    """The front of a search and its error bar in words."""
    run = done.run
    best = ", ".join(
        f"best {OBJECTIVES[n].label.lower()} {show(float(run.front.points[:, k].min()), OBJECTIVES[n].unit)}"
        for k, n in enumerate(run.space.objectives)
    )
    say(
        f"{run.trials:,} designs, {done.said}: {counted(len(run.front), 'operating point')} on "
        f"{counted(len(run.hardware), 'distinct machine')}: {best}."
    )
    tell(run=out, designs=run.trials, state=done.said, points=len(run.front), machines=len(run.hardware))
    written(out / FRONT)


def answered(run: Run, options: argparse.Namespace, cluster: Cluster | None) -> tuple[Run, bool]:
    """Answer what the space asks beyond its front, unless Ctrl-C ends it: it says so then.

    The answers join the study of the run.
    """
    source = evaluator_source(run.about.get("evaluator source"))
    if not source.ours or not (run.space.what_ifs or run.space.comparisons):
        return run, False
    with (
        progress("what if", unit="search") as bar,
        job.interruptible() as stop,
    ):

        def watch(stage: str, detail: str) -> None:
            bar.set_postfix_str(f"{stage} {detail}")
            bar.update()

        worlds = what_if_fronts(
            run,
            load_catalog(),
            settings_of(options).stopping,
            seed=options.seed,
            watch=watch,
            stop=stop,
            keep=lambda worlds: save_study(run.path, run.study | {"what_if": worlds}),
            cluster=cluster,
        )
        interrupted = stop()
    made = {"what_if": worlds, "compare": side_by_side(run.space, load_catalog())}
    study = run.study | made
    save_study(run.path, study)
    return replace(run, study=study), interrupted


def _compared_with(path: Path, space: Space, source: EvaluatorSource, model: Evaluator) -> Run:
    """The run that a sweep is to be compared with.

    Raises:
        SpaceError: another evaluator judged it, or it asks another question.

    """
    run = load_run(path)[0]
    if run.about.get("evaluator source", "") != source.source:
        raise SpaceError(
            f"--run: was judged by {run.about['evaluator']}, this sweep by {model.name} {model.version}"
        )
    other = run.space.asked_otherwise(space)
    if other:
        raise SpaceError(
            f"--run: is of another question than this sweep ({', '.join(other)}); sweep the run's space with "
            "the same --fix, --limit, --year and other changes"
        )
    return run


def sweep(options: argparse.Namespace) -> int:
    """Enumerate the coarse grid; compare a run with it."""
    space = _asked(options)
    source = evaluator_source(options.evaluator)
    model = source.make(space, load_catalog())
    against = _compared_with(options.against, space, source, model) if options.against else None
    out = options.out or Path("results") / f"{space.name}-sweep"
    asked = [space.name, space.text, *space.overrides, load_catalog().digest, f"{model.name} {model.version}"]
    state = SweepState(out / STATE, hashlib.sha256("\n".join(asked).encode()).hexdigest())
    space.on_grid()  # refuses levels that leave a variable without any
    _room_for_sweep(out, state, resume=options.resume)
    with (
        progress(f"{space.name} grid") as bar,
        connected(options.workers, options.scheduler) as cluster,
        job.interruptible() as stop,
    ):
        job.keep_sweep(out, space, source, model)
        done = exact_sweep(
            space,
            model,
            lambda n: bar.update(n - bar.n),
            state=state,
            stop=stop,
            cluster=cluster,
            asked=SweepQuestion(space, source, load_catalog(), f"{model.name} {model.version}"),
        )
    if not done.finished:
        say(f"Stopped after {done.designs:,} designs; go on with --resume.")
        return INTERRUPTED
    if len(done.front) == 0:
        raise InfeasibleError(f"{space.name}: none of {done.designs:,} grid designs met every limit")
    design, outcomes = done.archive.joined()
    write_atomically(out / FRONT, csv_text(front_rows(space, design, outcomes, done.front)))
    say(
        f"{done.designs:,} designs in {done.seconds:.0f} s ({done.designs / max(done.seconds, 1e-3):,.0f} a "
        f"second), {done.feasible:,} feasible, {len(done.front)} operating points on the exact front."
    )
    if against is not None:
        share = hypervolume_ratio(done.front, against.front)
        tell(reached=share)
        say(f"{options.against}: reached {100 * share:.1f} % of the exact hypervolume of the grid.")
        study = read_study(options.against)
        if study is not None:
            kept = {
                "designs": done.designs,
                "front": len(done.front),
                "seconds": done.seconds,
                "reached": share,
            }
            save_study(options.against, study | {"sweep": kept})
    tell(designs=done.designs, seconds=done.seconds, feasible=done.feasible, points=len(done.front))
    written(out / FRONT)
    return OK


def _room_for_sweep(out: Path, state: SweepState, *, resume: bool) -> None:
    """See that a sweep can be written where it is asked for, before anything is.

    Raises:
        RunError: a run is there, or a sweep that this one would replace or, with ``resume``, does not go on
            with.

    """
    if Folder(out).holds_run() or (out / MANIFEST).exists():
        raise RunError(f"{out}: holds a run; use another --out")
    begun = state.path.exists() or (out / SWEPT).exists()
    if resume and not begun:
        raise RunError(f"{out}: holds no sweep to go on with; leave out --resume, or mend --out")
    if begun and not resume:
        how = "an unfinished" if state.unfinished or not state.path.exists() else "a finished"
        raise RunError(f"{out}: holds {how} sweep; use --resume to go on with it, or another --out")
    state.check()


def check(options: argparse.Namespace) -> int:
    """Read a space and judge some designs of it, as a search would; with --probe look into it."""
    space = _asked(options)
    model = evaluator_source(options.evaluator).make(space, load_catalog())
    model.evaluate(sample(space, CHECKED, np.random.default_rng(0)))
    active = sum(1 for v in space.variables if not v.active_if)
    result(
        f"{space.name}: {len(space.variables)} variables ({active} always active), "
        f"{len(space.objectives)} objectives, {len(space.tpot_targets)} TPOT targets, no faults."
    )
    tell(
        space=space.name, variables=[v.name for v in space.variables], objectives=space.objectives, faults=[]
    )
    if options.probe:
        lines = list(probe(space, load_catalog()))
        tell(probe=lines)
        for line in lines:
            result(line)
    return OK
