"""Run a search of a space into a folder, load a run again, say why nothing is feasible."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog, load_catalog
from dse.core.errors import InfeasibleError, SpaceError, nearest
from dse.evaluator.loading import EvaluatorSource, Factory, evaluator_source
from dse.evaluator.protocol import Evaluator
from dse.run.archive import Archive
from dse.run.folder import FOUND, POLISHED, Folder
from dse.run.front import front_of
from dse.run.run import Run
from dse.space.design import decode, encode
from dse.space.limits import limit_sentence
from dse.space.overrides import apply, overrides_of
from dse.space.reader import read_space
from dse.space.space import Space
from dse.space.variables import Value
from dse.study.local_search import front_additions, local_search
from dse.study.samplers import SAMPLERS
from dse.study.search import Search, resume_study

Watch = Callable[[str, Any], None]


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag that a loop looks at between batches."""
    asked = False

    def note(signum: int, frame: object) -> None:
        nonlocal asked
        del signum, frame
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass
class Outcome:
    """How a search ended."""

    run: Run
    evaluator: Evaluator
    interrupted: bool


def search(
    space: Space,
    out: Path,
    *,
    trials: int,
    sampler: str,
    seed: int,
    resume: bool,
    command: str,
    watch: Callable[[Any], None] | None = None,
    catalog: Catalog | None = None,
    evaluator: str | Factory | EvaluatorSource | None = None,
) -> Outcome:
    """Search a space into a run folder; resume one; stop cleanly on Ctrl-C.

    Raises:
        RunError: the folder holds a run and ``resume`` is off, or the reverse.
        InfeasibleError: no design met every limit.

    """
    _check_settings(sampler, trials, seed)
    catalog = catalog or load_catalog()
    source = evaluator_source(evaluator)
    model = source.make(space, catalog)
    folder = Folder(out)
    about = _about(space, model, source) | {
        "sampler": sampler,
        "seed": seed,
        "trials": trials,
        "catalogue": catalog.digest,
        "command": command,
    }
    lines = folder.trials() if resume else []
    if resume:
        _same(folder, space, about)
    first = source.nearest_to_baselines(space, catalog, model)
    job = Search(space, model, sampler, seed, folder, first)
    folder.begin(space, about, fresh=not resume)
    if lines:
        job.waiting = []
        kept = resume_study(job, lines)
        folder.keep(kept)
        job.waiting = first[kept:]
    with interruptible() as stop:
        while len(job.trials) < trials and not stop():
            job.step(min(50, trials - len(job.trials)))
            if watch:
                watch(job.progress(trials))
        interrupted = stop() and len(job.trials) < trials
    own = len(job.archive)
    if not interrupted and (len(job.trials) > len(lines) or not folder.designs(POLISHED)):
        _polish(job, folder, trials)
    add_found(job.archive, model, [*folder.designs(POLISHED), *folder.designs(FOUND)])
    front = folder.write_front(space, job.archive)
    folder.update(told=len(job.trials), front=len(front), finished=not interrupted)
    run = Run(space, job.archive, front, folder.manifest(), job.trials, own)
    if len(front) == 0:
        raise InfeasibleError(why_nothing(space, job.archive))
    return Outcome(run, model, interrupted)


def _check_settings(sampler: str, trials: object, seed: object) -> None:
    """Refuse settings before anything is written."""
    if sampler not in SAMPLERS:
        raise SpaceError(f"--sampler: got {sampler!r}, expected {nearest(sampler, SAMPLERS)}")
    for name, count, least in (("trials", trials, 1), ("seed", seed, 0)):
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise SpaceError(f"--{name}: got {count!r}, expected a whole number from {least}")


def _about(space: Space, model: Evaluator, source: EvaluatorSource) -> dict[str, Any]:
    """What was asked, and who judges it."""
    return {
        "name": space.name,
        "target": space.target.name,
        "objectives": list(space.objectives),
        "evaluator": f"{model.name} {model.version}",
        "evaluator source": source.source,
    }


def _polish(job: Search, folder: Folder, trials: int) -> None:
    """Look around the front of a search, and keep what joins it."""
    mine = job.front()
    design, _ = job.archive.joined()
    known = [decode(job.space, design, int(r)) for r in np.unique(mine.rows)]
    near = local_search(job.space, job.evaluator, known, trials, job.seed)
    folder.keep_designs(POLISHED, front_additions(mine.points, near))


def _same(folder: Folder, space: Space, about: Mapping[str, Any]) -> None:
    """Refuse to go on with a run under another question.

    Raises:
        RunError: the folder is not a run.
        SpaceError: anything that the trials depend on differs.

    """
    manifest = folder.manifest()
    asked = {**about, "overrides": list(space.overrides), "space file": space.text}
    had = {"evaluator source": "", **manifest, "space file": folder.space_text()}
    for key in (
        "name",
        "sampler",
        "seed",
        "catalogue",
        "objectives",
        "evaluator",
        "evaluator source",
        "overrides",
        "space file",
    ):
        if had.get(key) != asked[key]:
            got = "another text" if key == "space file" else repr(had.get(key))
            raise SpaceError(
                f"{folder.path}: holds a run whose {key} is {got}, this command's differs; use the "
                "same settings, or another --out"
            )


def why_nothing(space: Space, archive: Archive) -> str:
    """Name the limit that kills most and the smallest relaxation that lets one design live."""
    _, outcomes = archive.joined()
    counts = {name: int((r > 1.0).all(axis=1).sum()) for name, r in outcomes.limit_ratios.items()}
    killer = max(counts, key=lambda k: counts[k])
    total = len(archive)
    broken = sum((r > 1.0).astype(int) for r in outcomes.limit_ratios.values())
    lines = [
        f"{space.name}: none of {total} designs met every limit.",
        f"The limit that kills most: {killer}, {counts[killer]} of {total} ({limit_sentence(killer)}).",
    ]
    alone = [
        (float(r[broken == 1][r[broken == 1] > 1.0].min()), name)
        for name, r in outcomes.limit_ratios.items()
        if ((broken == 1) & (r > 1.0)).any()
    ]
    if alone:
        factor, name = min(alone)
        lines.append(f"Smallest relaxation that lets one design live: {name} by {100 * (factor - 1):.2g} %.")
    else:
        worst = np.maximum.reduce(list(outcomes.limit_ratios.values()))
        row, rung = np.unravel_index(int(np.argmin(worst)), worst.shape)
        needs = [
            f"{n} by {100 * (float(r[row, rung]) - 1):.2g} %"
            for n, r in outcomes.limit_ratios.items()
            if r[row, rung] > 1
        ]
        lines.append("No single limit is enough; the nearest design needs " + " and ".join(needs) + ".")
    return "\n".join(lines)


def load_run(
    path: Path, catalog: Catalog | None = None, evaluator: str | Factory | EvaluatorSource | None = None
) -> tuple[Run, Evaluator]:
    """Rebuild a run from its folder: the log's designs, judged again by the evaluator that the run names.

    ``evaluator`` stands in for that name where it cannot be imported by it.

    Raises:
        RunError: not a run folder.
        SpaceError: the evaluator cannot be loaded, or is not the one that judged the run.

    """
    catalog = catalog or load_catalog()
    folder = Folder(path)
    manifest = folder.manifest()
    from dse.study.samplers import variable_of

    space = read_space(folder.space_text(), str(path), catalog)
    space = apply(space, overrides_of(manifest.get("overrides", [])), catalog)
    source = evaluator_source(evaluator or manifest.get("evaluator source"))
    model = source.make(space, catalog)
    _same_evaluator(path, manifest, source, model)
    trials = folder.trials()
    rows: list[dict[str, Value]] = [{variable_of(k): v for k, v in t["params"].items()} for t in trials]
    archive = Archive(space)
    if not rows:
        raise InfeasibleError(f"{path}: the run holds no trials yet; go on with --resume")
    design = encode(space, rows)
    _, first = np.unique(np.array([k.hex() for k in design.row_keys()]), return_index=True)
    design = design.take(np.sort(first))
    archive.add(design, model.evaluate(design))
    own = len(archive)
    add_found(archive, model, [*folder.designs(POLISHED), *folder.designs(FOUND)])
    return Run(space, archive, front_of(space, archive.joined()[1]), manifest, trials, own), model


FORMER_NAMES = ("dse-datacenter", "dse-mobile")
"""of our model, in runs made when each target had its own"""


def _same_evaluator(
    path: Path, manifest: Mapping[str, Any], source: EvaluatorSource, model: Evaluator
) -> None:
    """Refuse to judge a run with another evaluator than its own; of ours a newer version may."""
    had = str(manifest.get("evaluator", ""))
    ours = had.split(" ", maxsplit=1)[0] in {model.name, *FORMER_NAMES}
    same = ours if source.ours else had == f"{model.name} {model.version}"
    if not same:
        raise SpaceError(
            f"{path}: was judged by evaluator {had!r}, this is {model.name} {model.version}; "
            "give the one it was judged by, or search again into another --out"
        )


def add_found(archive: Archive, model: Evaluator, found: Sequence[Mapping[str, Value]]) -> None:
    """Evaluate designs that the search itself did not ask for and add those that are new to an archive."""
    if not found:
        return
    seen = set(archive.joined()[0].row_keys()) if len(archive) else set()
    design = encode(archive.space, found)
    first = {key: i for i, key in reversed(list(enumerate(design.row_keys())))}
    new = sorted(i for key, i in first.items() if key not in seen)
    if new:
        fresh = design.take(np.array(new))
        archive.add(fresh, model.evaluate(fresh))
