"""Run a search of a space into a folder, load a run again, say why nothing is feasible."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dse.catalog.catalog import Catalog, catalog_beside, load_catalog
from dse.core.errors import InfeasibleError, RunError, SpaceError, masked
from dse.core.pareto import ParetoArchive
from dse.evaluator.loading import EvaluatorSource, Factory, evaluator_source
from dse.evaluator.protocol import Evaluator
from dse.run.archive import Archive
from dse.run.folder import SPACE, SWEPT, Folder, KeptFront, read_study, save_study, write_atomically
from dse.run.front import Front, front_at, front_of
from dse.run.log import BatchLog
from dse.run.run import Run
from dse.space.design import encode
from dse.space.genome import Genome
from dse.space.overrides import again
from dse.space.reader import read_space
from dse.space.space import Space
from dse.study.archives import Archives, Common
from dse.study.cluster import Cluster, connected
from dse.study.infeasible import why_nothing
from dse.study.judging import judged_again
from dse.study.niches import niches_of
from dse.study.samplers import AUTO
from dse.study.search import Progress, Search, Stopping, Watch, half_name
from dse.study.shared_study import SharedSearch
from dse.study.storage import asked_storage, opened
from dse.study.sweep import STATE, SweepState, Swept
from dse.study.worth import study_of


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
    said: str
    """error bar of the front in words"""


@dataclass(frozen=True)
class Settings:
    """What a search was asked to do."""

    sampler: str = AUTO
    seed: int = 1
    seeds: int = 1
    until: str | None = None
    trials: int | None = None
    timeout: float | None = None

    @property
    def stopping(self) -> Stopping:
        """When the search is done.

        Raises:
            SpaceError: a setting is at fault.

        """
        for name, count, least in (("seed", self.seed, 0), ("seeds", self.seeds, 1)):
            if isinstance(count, bool) or not isinstance(count, int) or count < least:
                raise SpaceError(f"--{name}: got {count!r}, expected a whole number from {least}")
        asked = Stopping.asked(
            until=self.until, trials=self.trials, timeout=self.timeout, sampler=self.sampler
        )
        if asked.trials is not None and asked.trials < self.seeds:
            raise SpaceError(
                f"--trials: got {self.trials} for {self.seeds} seeds, expected at least one for each"
            )
        return asked


@dataclass(frozen=True)
class Where:
    """Where a search runs: here, on workers, or as one of many processes on a shared study.

    Raises:
        SpaceError: a number of workers that is none, or an address that is no text.

    """

    workers: int | None = None
    scheduler: str | None = None
    storage: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is none of these."""
        count = self.workers
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise SpaceError(f"--workers: got {count!r}, expected a whole number from 1")
        for name in ("scheduler", "storage"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise SpaceError(f"--{name}: got {value!r}, expected a text")


def searched(
    space: Space, out: Path, settings: Settings, where: Where, *, resume: bool, **more: Any
) -> Outcome:
    """Search a space where it is asked to be searched; ``more`` as ``search`` takes it.

    Raises:
        SpaceError: two places, or a shared study that is to be resumed, which it is by itself.

    """
    if where.storage is None:
        with connected(where.workers, where.scheduler) as cluster:
            return search(space, out, settings, resume=resume, cluster=cluster, **more)
    if where.workers is not None or where.scheduler is not None or resume:
        raise SpaceError(
            "--storage: goes on by itself, and is shared by starting the search several times; leave out "
            "--workers, --scheduler and --resume"
        )
    return search_shared(space, out, settings, where.storage, **more)


def search(
    space: Space,
    out: Path,
    settings: Settings,
    *,
    resume: bool,
    command: str,
    watch: Watch | None = None,
    catalog: Catalog | None = None,
    evaluator: str | Factory | EvaluatorSource | None = None,
    cluster: Cluster | None = None,
) -> Outcome:
    """Search a space into a run folder; resume one; stop cleanly on Ctrl-C. With a cluster by its workers.

    Raises:
        RunError: the folder holds a run and ``resume`` is off, or the reverse.
        InfeasibleError: no design met every limit.

    """
    stopping = settings.stopping
    catalog = catalog or load_catalog()
    source = evaluator_source(evaluator)
    folder = Folder(out)
    about = _about(space, source, catalog, settings, command)
    if resume:
        _same(folder, space, about)
    with folder.restored():
        folder.begin(space, about, fresh=not resume)
        folder.keep_catalog(catalog.own)
        folder.forget_front()
        job = Search(
            space,
            source,
            catalog,
            sampler=settings.sampler,
            seed=settings.seed,
            seeds=settings.seeds,
            trials=settings.trials,
            folder=folder,
            cluster=cluster,
        )
        with interruptible() as stop:
            job.run(stopping, stop, watch)
            interrupted = stop()
    return _ended(job, folder, interrupted=interrupted)


def _shared_end(settings: Settings) -> Stopping:
    """When a shared study is done.

    Raises:
        SpaceError: a setting that it does not have, or none that ends it.

    """
    stopping = settings.stopping
    if stopping.trials is None and stopping.seconds is None:
        raise SpaceError("--storage: say when the search ends with --trials or --timeout")
    if settings.sampler != AUTO or settings.seeds > 1 or settings.until is not None:
        raise SpaceError("--storage: is one search by auto, without --sampler, --seeds and --until")
    return stopping


def search_shared(
    space: Space,
    out: Path,
    settings: Settings,
    storage: str,
    *,
    command: str,
    watch: Watch | None = None,
    catalog: Catalog | None = None,
    evaluator: str | Factory | EvaluatorSource | None = None,
) -> Outcome:
    """Take part in the search of an Optuna study that other processes may share; then write its front.

    The same question is the same study: a later process goes on with it. Each writes all of it.

    Raises:
        SpaceError: a setting that a shared study does not have, or a storage that is none.
        RunError: the folder holds another run; the server does not answer.
        InfeasibleError: no design met every limit.

    """
    stopping = _shared_end(settings)
    catalog = catalog or load_catalog()
    source = evaluator_source(evaluator)
    place = asked_storage(storage)
    folder = Folder(out)
    about = _about(space, source, catalog, settings, command)
    about |= {"until": None, "storage": masked(place)}
    if folder.holds_run():
        _same(folder, space, about)
    job = Search(space, source, catalog, seed=settings.seed, trials=1, folder=folder)
    start = time.monotonic()
    with opened(place) as kept:
        shared = SharedSearch(job.question, kept, settings.seed, settings.trials)

        def look(complete: int) -> None:
            if watch:
                broken = shared.archives.violation
                feasible = float((broken == 0).mean()) if len(broken) else 0.0
                watch(Progress(complete, settings.trials, feasible, None, time.monotonic() - start))

        with interruptible() as stop:
            done = shared.run(stopping.seconds, stop, look)
            interrupted = stop() and not done
        found = shared.complete()
    if not len(found):
        raise InfeasibleError(f"{space.name}: no trial was finished; give it longer than --timeout")
    half = job.seeds[0].halves[0]
    folder.begin(space, about, fresh=False)
    folder.keep_catalog(catalog.own)
    folder.write_log(half_name(settings.seed, 0), found)
    half.advance(len(found), lambda: True)
    return _ended(job, folder, interrupted=interrupted)


def _ended(job: Search, folder: Folder, *, interrupted: bool) -> Outcome:
    """Write the front of a search and what its halves and niches say."""
    space = job.space
    kept = kept_front(job.common, len(job.seeds))
    if len(kept.rows) == 0:
        folder.update(evaluated=job.evaluated, front=0, finished=not interrupted)
        raise InfeasibleError(why_nothing(job))
    archive = judged_again(space, job.genome, kept.codes, job.evaluator)
    folder.keep_front(kept)
    front = front_at(space, archive.joined()[1], kept.rows, kept.points)
    folder.write_front(space, archive, front)
    study = _still_true(read_study(folder.path) or {}, front) | study_of(job)
    save_study(folder.path, study)
    said = job.agreement.sentence if job.agreement else "not compared"
    folder.update(evaluated=job.evaluated, front=len(front), finished=not interrupted, agreement=said)
    run = Run(
        space=space,
        archive=archive,
        front=front,
        about=folder.manifest(),
        trials=job.evaluated,
        path=folder.path,
        study=study,
    )
    return Outcome(run, job.evaluator, interrupted, said)


def _still_true(before: Mapping[str, Any], front: Front) -> dict[str, Any]:
    """What a study says besides its search (what-ifs, a certificate, a sweep) where its front is the same."""
    code = hashlib.sha256(np.ascontiguousarray(front.points).tobytes()).hexdigest()[:16]
    return dict(before) if before.get("of_front") == code else {"of_front": code}


def kept_front(common: Common, seeds: int) -> KeptFront:
    """The common front of a run's searches, designs in order of judging.

    Of several seeds, each of which finds it all, what one adds to the others by less than the slack is left
    out as within each: in the order of the first objective, so that it is the same whatever the order of the
    searches.
    """
    front = common.front(0)
    if seeds > 1:
        order = np.lexsort((front.tags, *front.points.T[::-1]))
        thin = ParetoArchive(front.points.shape[1], common.sides[0].fronts[0].slack)
        thin.insert(front.points[order], front.owners[order], front.tags[order])
        front = thin
    owners, rows = np.unique(front.owners, return_inverse=True)
    return KeptFront(common.codes(owners), rows.astype(np.int64), front.tags.copy())


def _about(
    space: Space, source: EvaluatorSource, catalog: Catalog, settings: Settings, command: str
) -> dict[str, Any]:
    """What was asked, how, and who judges it."""
    model = source.make(space, catalog)
    return {
        "name": space.name,
        "target": space.target.name,
        "objectives": list(space.objectives),
        "evaluator": f"{model.name} {model.version}",
        "evaluator source": source.source,
        "sampler": settings.sampler,
        "seed": settings.seed,
        "seeds": settings.seeds,
        "until": "converged" if settings.stopping.converged else None,
        "trials": settings.trials,
        "timeout": settings.timeout,
        "catalogue": catalog.digest,
        "command": command,
    }


def _same(folder: Folder, space: Space, about: Mapping[str, Any]) -> None:
    """Refuse to go on with a run under another question.

    Raises:
        RunError: the folder is not a run.
        SpaceError: anything that the trials depend on differs.

    """
    manifest = folder.manifest()
    if not any(folder.logs()) and folder.holds_run():
        raise RunError(
            f"{folder.path}: was searched by dse {manifest.get('dse')}, whose log cannot be gone on with; "
            "its front can still be read; search again into another --out"
        )
    if not any(folder.logs()) and folder.kept_front() is not None:
        raise RunError(
            f"{folder.path}: holds a front without the designs that were judged for it, so that it cannot be "
            "gone on with; its front can still be read; search again into another --out"
        )
    asked = {
        "seeds": 1,
        "storage": None,
        **about,
        "overrides": list(space.overrides),
        "space file": space.text,
    }
    had = {"evaluator source": "", "seeds": 1, "storage": None, **manifest, "space file": folder.space_text()}
    for key in (
        "name",
        "sampler",
        "seed",
        "seeds",
        "catalogue",
        "objectives",
        "evaluator",
        "evaluator source",
        "overrides",
        "storage",
        "space file",
    ):
        if had.get(key) != asked[key]:
            got = "another text" if key == "space file" else repr(had.get(key))
            raise SpaceError(
                f"{folder.path}: holds a run whose {key} is {got}, this command's differs; use the "
                "same settings, or another --out"
            )


def load_run(
    path: Path, catalog: Catalog | None = None, evaluator: str | Factory | EvaluatorSource | None = None
) -> tuple[Run, Evaluator]:
    """Rebuild a run from its folder: the designs of its front, judged again by the evaluator that the run
    names.

    ``evaluator`` stands in for that name where it cannot be imported by it.

    Raises:
        RunError: not a run folder.
        SpaceError: the evaluator cannot be loaded, or is not the one that judged the run.
        InfeasibleError: the run holds no designs yet.

    """
    catalog = catalog or catalog_beside(path)
    folder = Folder(path)
    manifest = folder.manifest()
    space = read_space(folder.space_text(), str(path), catalog)
    space = again(space, manifest.get("overrides", []), catalog)
    source = evaluator_source(evaluator or manifest.get("evaluator source"))
    model = source.make(space, catalog)
    _same_evaluator(path, manifest, source, model)
    archive, front = _front_again(folder, space, model)
    if len(archive) == 0:
        raise InfeasibleError(f"{path}: the run holds no design that met every limit; go on with --resume")
    run = Run(
        space=space,
        archive=archive,
        front=front,
        about=manifest,
        trials=_judged_in(folder, manifest) or len(archive),
        path=path,
        study=read_study(path) or {},
    )
    return run, model


def _judged_in(folder: Folder, manifest: Mapping[str, Any]) -> int:
    """Designs judged in a run: as it said at its end, else, of one that was killed, what its logs hold."""
    said = manifest.get("evaluated", manifest.get("told"))
    return sum(len(b) for log in folder.logs() for b in log.batches()) if said is None else int(said)


def _front_again(folder: Folder, space: Space, model: Evaluator) -> tuple[Archive, Front]:
    """The front of a run, judged again: as kept, else from its logs, else of a run before batches."""
    genome = Genome(space.variables)
    kept = folder.kept_front()
    if kept is None and folder.logs():
        searches = Common([_learnt(log, genome, space) for log in folder.logs()])
        kept = kept_front(searches, int(folder.manifest().get("seeds", 1)))
    if kept is not None:
        archive = judged_again(space, genome, kept.codes, model) if len(kept.codes) else Archive(space)
        none = Front(kept.rows, kept.points, np.empty((0, len(space.objectives))))
        if not len(archive):
            return archive, none
        return archive, front_at(space, archive.joined()[1], kept.rows, kept.points)
    design = encode(space, folder.old_designs())
    _, first = np.unique(np.array([k.hex() for k in design.row_keys()], dtype=str), return_index=True)
    archive = Archive(space)
    if not len(design):
        return archive, Front(first, first, np.empty((0, len(space.objectives))))
    archive.add(design.take(np.sort(first)), model.evaluate(design.take(np.sort(first))))
    return archive, front_of(space, archive.joined()[1])


def _learnt(log: BatchLog, genome: Genome, space: Space) -> Archives:
    archives = Archives(genome, niches_of(genome)[:1], len(space.objectives), space.bounds)
    for batch in log.batches():
        archives.learn(batch)
    return archives


def keep_sweep(out: Path, space: Space, source: EvaluatorSource, model: Evaluator) -> None:
    """Write what is swept and who judges it, so that the sweep can be read again."""
    write_atomically(out / SPACE, space.text)
    question = {"overrides": list(space.overrides), "evaluator source": source.source}
    question["evaluator"] = f"{model.name} {model.version}"
    write_atomically(out / SWEPT, json.dumps(question, indent=1, sort_keys=True) + "\n")


def load_sweep(path: Path, catalog: Catalog | None = None) -> Swept:
    """Read a sweep from its folder; the designs of its front are judged again.

    Raises:
        RunError: it holds none.
        SpaceError: another evaluator judged it.

    """
    catalog = catalog or catalog_beside(path)
    try:
        question = json.loads((path / SWEPT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: holds no sweep that can be read ({error})") from error
    space = read_space(Folder(path).space_text(), str(path), catalog)
    space = again(space, question["overrides"], catalog)
    source = evaluator_source(question["evaluator source"])
    model = source.make(space, catalog)
    of_before = {"evaluator": f"{model.name} {model.version}"}  # sweeps that did not say who judged them
    _same_evaluator(path, of_before | question, source, model)
    return SweepState(path / STATE).load(space, model)


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
