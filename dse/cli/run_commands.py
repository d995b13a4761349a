"""Commands that search: search, explore, sweep, check."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dse.catalog.catalog import load_catalog
from dse.core.errors import INTERRUPTED, OK, SpaceError, nearest
from dse.core.units import show
from dse.evaluator.loading import evaluator_source
from dse.run.folder import FOUND, FRONT, Folder, read_study, save_study, write_atomically
from dse.run.run import Run
from dse.space.objectives import OBJECTIVES
from dse.space.overrides import Overrides, load_space
from dse.space.space import Space
from dse.study import ablation, job
from dse.study.convergence import exact_on, hypervolume_ratio
from dse.study.job import load_run
from dse.study.probe import probe
from dse.study.samplers import DEFAULT, SAMPLERS
from dse.study.sweep import sweep as exact_sweep


def sampler_name(name: str | None) -> str:
    """The sampler asked for, or the default.

    Raises:
        SpaceError: there is none of that name.

    """
    if name is None:
        return DEFAULT
    if name not in SAMPLERS:
        raise SpaceError(f"--sampler: got {name!r}, expected {nearest(name, SAMPLERS)}")
    return name


def _given(options: argparse.Namespace) -> Overrides:
    return Overrides(
        fix=tuple(options.fix),
        limit=tuple(options.limit),
        model=options.model,
        objectives=tuple(options.objective),
        traffic=options.traffic,
        year=options.year,
        grid=options.command == "search" and options.grid is not None,
    )


def _bar(name: str, trials: int) -> tuple[tqdm[Any], Any]:
    bar = tqdm(total=trials, desc=name, unit="trial", file=sys.stderr, dynamic_ncols=True, mininterval=0.3)

    def watch(p: Any) -> None:
        bar.n = p.trials
        bar.set_postfix_str(f"feasible {100 * p.feasible:.0f} %, hypervolume {p.hypervolume:.3f}")
        bar.refresh()

    return bar, watch


def searched(space: Space, out: Path, options: argparse.Namespace, *, resume: bool) -> job.Outcome:
    """Search a space into a folder under a progress bar, as the command line asks."""
    bar, watch = _bar(space.name, options.trials)
    with bar:
        return job.search(
            space,
            out,
            trials=options.trials,
            sampler=sampler_name(options.sampler),
            seed=options.seed,
            resume=resume,
            command=options.command_line,
            watch=watch,
            evaluator=options.evaluator,
        )


def search(options: argparse.Namespace) -> int:
    """Search one space into a run folder."""
    space = load_space(options.space, _given(options))
    out = options.out or Path("results") / f"{space.name}-seed{options.seed}"
    done = searched(space, out, options, resume=options.resume)
    _say_front(done.run, out)
    if done.interrupted:
        print(
            f"Stopped with a front; go on with: {options.command_line}{'' if options.resume else ' --resume'}"
        )
        return INTERRUPTED
    return OK


def _say_front(run: Run, out: Path) -> None:
    best = ", ".join(
        f"best {OBJECTIVES[n].label.lower()} {show(float(run.front.points[:, k].min()), OBJECTIVES[n].unit)}"
        for k, n in enumerate(run.space.objectives)
    )
    print(f"{len(run.front)} operating points on {len(run.hardware)} distinct machines: {best}.")
    print(f"{out / FRONT}")


def _study(run: Run, out: Path, trials: int, seed: int) -> Run:
    """Study the levers; what that finds joins the run and its front."""
    with tqdm(desc="levers", unit="search", file=sys.stderr, dynamic_ncols=True) as bar:

        def watch(stage: str, detail: str) -> None:
            bar.set_postfix_str(f"{stage} {detail}")
            bar.update()

        source = evaluator_source(run.about.get("evaluator source"))
        made, found = ablation.study(run, source, trials=trials, seed=seed, watch=watch)
    folder = Folder(out)
    folder.keep_designs(FOUND, [*folder.designs(FOUND), *found])
    save_study(out, made)
    job.add_found(run.archive, source.make(run.space, load_catalog()), found)
    front = folder.write_front(run.space, run.archive)
    folder.update(front=len(front))
    return replace(run, front=front)


def sweep(options: argparse.Namespace) -> int:
    """Enumerate the coarse grid; compare a run with it."""
    space = load_space(options.space, _given(options))
    source = evaluator_source(options.evaluator)
    model = source.make(space, load_catalog())
    against = load_run(options.against)[0] if options.against else None
    if against is not None and against.about.get("evaluator source", "") != source.source:
        raise SpaceError(
            f"--run: was judged by {against.about['evaluator']}, this sweep by {model.name} {model.version}"
        )
    if against is not None and against.space.objectives != space.objectives:
        raise SpaceError(
            f"--run: has objectives {list(against.space.objectives)}, this space {list(space.objectives)}"
        )
    with tqdm(desc=f"{space.name} grid", unit="design", file=sys.stderr, dynamic_ncols=True) as bar:
        done = exact_sweep(space, model, lambda n: bar.update(n - bar.n))
    out = options.out or Path("results") / f"{space.name}-sweep"
    if len(done.front) == 0:
        from dse.core.errors import InfeasibleError

        raise InfeasibleError(f"{space.name}: none of {done.designs} grid designs met every limit")
    from dse.run.folder import csv_text
    from dse.run.front import front_rows

    design, outcomes = done.archive.joined()
    write_atomically(out / FRONT, csv_text(front_rows(space, design, outcomes, done.front)))
    print(
        f"{done.designs:,} designs in {done.seconds:.0f} s ({done.designs / done.seconds:,.0f} a "
        f"second), {done.feasible:,} feasible, "
        f"{len(done.front)} operating points on the exact front."
    )
    if against is not None:
        share = hypervolume_ratio(done.front, against.front)
        print(f"{options.against}: reached {100 * share:.1f} % of the exact hypervolume of the grid.")
        study = read_study(options.against)
        if study is not None:
            kept = {
                "designs": done.designs,
                "front": len(done.front),
                "seconds": done.seconds,
                "reached": share,
            }
            exact = exact_on(against, done.front)
            save_study(
                options.against,
                study | {"sweep": kept, "convergence": study["convergence"] | {"exact": exact}},
            )
    print(out / FRONT)
    return OK


def check(options: argparse.Namespace) -> int:
    """Read a space; with --probe look into it."""
    space = load_space(options.space, _given(options))
    active = sum(1 for v in space.variables if not v.active_if)
    print(
        f"{space.name}: {len(space.variables)} variables ({active} always active), "
        f"{len(space.objectives)} objectives, {len(space.tpot_targets)} TPOT targets, no faults."
    )
    if options.probe:
        for line in probe(space, load_catalog()):
            print(line)
    return OK
