"""What each command does once its flags are parsed: call, then print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dse.catalog.catalog import load_catalog
from dse.catalog.json_schema import json_schema
from dse.catalog.schema import KINDS
from dse.core.errors import INTERRUPTED, OK, DataError, RunError, SpaceError, nearest
from dse.core.units import show
from dse.evaluator.explain import Evaluation
from dse.evaluator.explain import evaluate as evaluate_point
from dse.evaluator.first_order import model_of
from dse.printing import print_evaluation, print_measured
from dse.report.facts import gather
from dse.report.page import page_html
from dse.report.recommend import document, recommendation_json
from dse.run.folder import FOUND, FRONT, Folder, read_study, save_study, write_atomically
from dse.run.run import Run
from dse.space.json_schema import space_schema
from dse.space.objectives import OBJECTIVES
from dse.space.overrides import Overrides, load_space
from dse.space.reader import shipped_spaces
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


def _given(o: argparse.Namespace) -> Overrides:
    return Overrides(tuple(o.fix), tuple(o.limit), o.model, tuple(o.objective), o.traffic, o.year,
                     o.command == "search" and o.grid is not None)  # fmt: skip


def _bar(name: str, trials: int) -> tuple[tqdm[Any], Any]:
    bar = tqdm(total=trials, desc=name, unit="trial", file=sys.stderr, dynamic_ncols=True, mininterval=0.3)

    def watch(p: Any) -> None:
        bar.n = p.trials
        bar.set_postfix_str(f"feasible {100 * p.feasible:.0f} %, hypervolume {p.hypervolume:.3f}")
        bar.refresh()

    return bar, watch


def search(o: argparse.Namespace) -> int:
    """Search one space into a run folder."""
    sampler = sampler_name(o.sampler)
    space = load_space(o.space, _given(o))
    out = o.out or Path("results") / f"{space.name}-seed{o.seed}"
    bar, watch = _bar(space.name, o.trials)
    with bar:
        done = job.search(
            space,
            out,
            trials=o.trials,
            sampler=sampler,
            seed=o.seed,
            resume=o.resume,
            command=o.command_line,
            watch=watch,
        )
    _say_front(done.run, out)
    if done.interrupted:
        print(f"Stopped with a front; go on with: {o.command_line}{'' if o.resume else ' --resume'}")
        return INTERRUPTED
    return OK


def _say_front(run: Run, out: Path) -> None:
    best = ", ".join(
        f"best {OBJECTIVES[n].label.lower()} {show(float(run.front.points[:, k].min()), OBJECTIVES[n].unit)}"
        for k, n in enumerate(run.space.objectives)
    )
    print(f"{len(run.front)} operating points on {len(run.hardware)} distinct machines: {best}.")
    print(f"{out / FRONT}")


def explore(o: argparse.Namespace) -> int:
    """The whole job for each space."""
    sampler = sampler_name(o.sampler)
    for name in o.spaces or ["datacenter", "mobile"]:
        space = load_space(name)
        out = o.out / space.name
        resume = bool(Folder(out).trials())
        bar, watch = _bar(space.name, o.trials)
        with bar:
            done = job.search(
                space,
                out,
                trials=o.trials,
                sampler=sampler,
                seed=o.seed,
                resume=resume,
                command=o.command_line,
                watch=watch,
            )
        if done.interrupted:
            _say_front(done.run, out)
            return INTERRUPTED
        model = model_of(space, load_catalog())
        run = _study(done.run, model, out, o.lever_trials, o.seed)
        for text in _report(run, model, out, out):
            print(text)
    return OK


def _study(run: Run, model: Any, out: Path, trials: int, seed: int) -> Run:
    """Study the levers; what that finds joins the run and its front."""
    with tqdm(desc="levers", unit="search", file=sys.stderr, dynamic_ncols=True) as bar:

        def watch(stage: str, detail: str) -> None:
            bar.set_postfix_str(f"{stage} {detail}")
            bar.update()

        made, found = ablation.study(run, model, trials=trials, seed=seed, watch=watch)
    folder = Folder(out)
    folder.keep_designs(FOUND, [*folder.designs(FOUND), *found])
    save_study(out, made)
    job.add_found(run.archive, model, found)
    front = folder.write_front(run.space, run.archive)
    folder.update(front=len(front))
    return replace(run, front=front)


def _report(run: Run, model: Any, run_folder: Path, out: Path) -> list[str]:
    facts = gather(run, model, read_study(run_folder))
    write_atomically(out / "dashboard.html", page_html(facts))
    return [*_recommendation(facts, run_folder, out), str(out / "dashboard.html")]


def _recommendation(facts: Any, run_folder: Path, out: Path) -> list[str]:
    written = document(facts)
    write_atomically(out / "recommendation.md", written.markdown())
    write_atomically(out / "recommendation.html", written.html())
    for name, svg in written.pictures.items():
        write_atomically(out / name, svg)
    write_atomically(out / "recommendation.json", recommendation_json(facts))
    if out != run_folder:
        from dse.run.folder import csv_text
        from dse.run.front import front_rows

        design, told = facts.run.archive.joined()
        write_atomically(out / FRONT, csv_text(front_rows(facts.run.space, design, told, facts.run.front)))
    from dse.report.recommend import answer

    return [*answer(facts), str(out / "recommendation.md")]


def dashboard(o: argparse.Namespace) -> int:
    """Write the page of a run."""
    run, model = _loaded(o.run_folder)
    _need_front(run, o.run_folder)
    write_atomically(o.static, page_html(gather(run, model, read_study(o.run_folder))))
    print(o.static)
    return OK


def recommend(o: argparse.Namespace) -> int:
    """Write the recommendation of a run, measuring the levers first if that was not done."""
    run, model = _loaded(o.run_folder)
    _need_front(run, o.run_folder)
    if o.lever_trials or read_study(o.run_folder) is None:
        run = _study(run, model, o.run_folder, o.lever_trials or len(run.trials), int(run.about.get("seed", 1)))
    for text in _recommendation(gather(run, model, read_study(o.run_folder)), o.run_folder, o.out):
        print(text)
    return OK


def _loaded(folder: Path) -> tuple[Run, Any]:
    """A run rebuilt from its folder, with a word if the catalogue has changed since."""
    run, model = load_run(folder)
    if run.about.get("catalogue") != model.catalog.digest:
        print(
            f"dse: note: {folder} was searched with catalogue {run.about.get('catalogue')}, now judged with {model.catalog.digest}",
            file=sys.stderr,
        )
    return run, model


def _need_front(run: Run, folder: Path) -> None:
    if len(run.front) == 0:
        from dse.core.errors import InfeasibleError

        raise InfeasibleError(f"{folder}: " + job.why_nothing(run.space, run.archive))


def sweep(o: argparse.Namespace) -> int:
    """Enumerate the coarse grid; compare a run with it."""
    space = load_space(o.space, _given(o))
    model = model_of(space, load_catalog())
    against = load_run(o.against)[0] if o.against else None
    if against is not None and against.space.objectives != space.objectives:
        raise SpaceError(f"--run: has objectives {list(against.space.objectives)}, this space {list(space.objectives)}")
    with tqdm(desc=f"{space.name} grid", unit="design", file=sys.stderr, dynamic_ncols=True) as bar:
        done = exact_sweep(space, model, lambda n: bar.update(n - bar.n))
    out = o.out or Path("results") / f"{space.name}-sweep"
    if len(done.front) == 0:
        from dse.core.errors import InfeasibleError

        raise InfeasibleError(f"{space.name}: none of {done.designs} grid designs met every limit")
    from dse.run.folder import csv_text
    from dse.run.front import front_rows

    design, told = done.archive.joined()
    write_atomically(out / FRONT, csv_text(front_rows(space, design, told, done.front)))
    print(f"{done.designs:,} designs in {done.seconds:.0f} s ({done.designs / done.seconds:,.0f} a second), {done.feasible:,} feasible, "
          f"{len(done.front)} operating points on the exact front.")  # fmt: skip
    if against is not None:
        share = hypervolume_ratio(done.front, against.front)
        print(f"{o.against}: reached {100 * share:.1f} % of the exact hypervolume of the grid.")
        study = read_study(o.against)
        if study is not None:
            kept = {"designs": done.designs, "front": len(done.front), "seconds": done.seconds, "reached": share}
            exact = exact_on(against, done.front)
            save_study(o.against, study | {"sweep": kept, "convergence": study["convergence"] | {"exact": exact}})
    print(out / FRONT)
    return OK


def review(o: argparse.Namespace) -> int:
    """Which technologies pay in which device, over several mobile runs."""
    from dse.report.review import review as reviewed

    found = []
    for folder in o.run_folders:
        run, model = load_run(folder)
        found.append(gather(run, model, read_study(folder)))
    written = reviewed(found)
    write_atomically(o.out / "review.md", written.markdown())
    write_atomically(o.out / "review.html", written.html())
    print(o.out / "review.md")
    return OK


def check(o: argparse.Namespace) -> int:
    """Read a space; with --probe look into it."""
    space = load_space(o.space, _given(o))
    active = sum(1 for v in space.variables if not v.active_if)
    print(
        f"{space.name}: {len(space.variables)} variables ({active} always active), {len(space.objectives)} objectives, {len(space.rungs)} TPOT targets, no faults."
    )
    if o.probe:
        for line in probe(space, load_catalog()):
            print(line)
    return OK


def evaluate(o: argparse.Namespace) -> int:
    """One design or machine under one plan, and measured rows beside it."""
    from dse.calibration.resolve import device_name, llm_entry

    catalog = load_catalog()
    if o.device is None and o.space is None:
        raise SpaceError("evaluate: give a SPACE with --set, or --device NAME")
    if o.device is not None and o.set:
        raise SpaceError("evaluate: give --set or --device, not both")
    if o.device is not None:
        o.device = device_name(catalog, o.device)
    if o.model is not None:
        o.model = llm_entry(catalog, o.model).name
    target = o.space or _usual_space(catalog.entry("device", str(o.device)).attributes)
    variables = dict(_pair(text) for text in o.set) if o.device is None else None
    e = evaluate_point(target, variables=variables, device=o.device, llm=o.model, batch=o.batch, tensor_parallel=o.tp, attention=o.attention,
                       context=o.context, input_tokens=o.input, output_tokens=o.output, weight_bits=o.weight_bits, kv_bits=o.kv_bits,
                       compute_bits=o.compute_bits, software=o.software, catalog=catalog)  # fmt: skip
    rows = _measured(o, e, target, catalog)
    if o.json:
        print(json.dumps({**asdict(e), "measured": rows}, indent=1, sort_keys=True))
        return OK
    print_evaluation(e)
    print_measured(rows)
    return OK


def _usual_space(said: Mapping[str, str]) -> str:
    """The space a device is asked about where none is named: of its body, or of its target."""
    return {"laptop": "laptop", "vehicle": "vehicle", "xr_glasses": "xr"}.get(
        said.get("body", ""), said.get("target", "datacenter")
    )


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not value:
        raise SpaceError(f"--set: got {text!r}, expected variable=value, e.g. stacks=8")
    return name.strip(), value.strip()


def _measured(o: argparse.Namespace, e: Evaluation, target: str, catalog: Any) -> list[dict[str, Any]]:
    from dse.calibration.neighbours import beside, measured_cases
    from dse.calibration.neighbours import nearest_rows as nearest_cases

    if o.device is None or target != "datacenter":
        return []
    found = measured_cases(o.device, str(e.plan["llm"]), catalog)
    return beside(nearest_cases(found, o.batch, o.tp, o.input or o.context or 1024.0, o.output or 1024.0, 5), catalog)


def catalog(o: argparse.Namespace) -> int:
    """List kinds, entries, or one entry's numbers; or import a model."""
    if o.kind == "import-llm":
        from dse.commands_accuracy import import_llm

        return import_llm(o)
    if o.schema is not None:
        for kind in [*KINDS, "llm"]:
            write_atomically(o.schema / f"{kind}.json", json.dumps(json_schema(kind), indent=1) + "\n")
        write_atomically(o.schema / "space.json", json.dumps(space_schema(), indent=1) + "\n")
        print(f"{o.schema}: {len(KINDS) + 2} schemas")
        return OK
    c = load_catalog()
    if o.kind is None:
        for kind, group in sorted(c.entries.items()):
            print(f"{kind:12s} {KINDS[kind].title:45s} {', '.join(sorted(group))}")
        print(f"{'llm':12s} {'Language models':45s} {', '.join(sorted(c.llms))}")
        guesses, total = c.estimates()
        print(f"{total} numbers, {guesses} of them estimates.")
        return OK
    if o.kind == "llm":
        return _print_llms(c, o.name)
    if o.kind not in c.entries:
        raise DataError(f"catalog: got kind {o.kind!r}, expected {nearest(o.kind, [*c.entries, 'llm'])}")
    for name in [o.name] if o.name else sorted(c.entries[o.kind]):
        entry = c.entry(o.kind, name)
        print(
            f"{o.kind}/{name}: {entry.title} [{entry.readiness}, {entry.available.low:.0f}/{entry.available.nominal:.0f}/{entry.available.high:.0f}]"
        )
        if o.name:
            for f, q in entry.values.items():
                print(
                    f"  {f:32s} {show(q.low, q.unit):>14s} {show(q.nominal, q.unit):>14s} {show(q.high, q.unit):>14s}  {q.source[:110]}"
                )
    return OK


def _print_llms(c: Any, name: str | None) -> int:
    from dse.catalog.transformer import transformer

    for n in [name] if name else sorted(c.llms):
        t = transformer(c.llm(n))
        published = c.llm(n).published.get("params_total", 0.0)
        print(f"{n:26s} {t.parameters / 1e9:9.3f} G parameters ({100 * (t.parameters / published - 1) if published else 0:+.2f} % of published), "
              f"KV {t.kv_bytes_per_token(16) / 1024:8.1f} KiB a token at 16 bit, {c.llm(n).attention}")  # fmt: skip
    return OK


def init(o: argparse.Namespace) -> int:
    """Copy the shipped spaces and their schema to edit."""
    for source in shipped_spaces():
        place = o.folder / source.name
        if place.exists():
            raise RunError(f"{place}: exists; choose another folder")
    for source in shipped_spaces():
        write_atomically(
            o.folder / source.name,
            source.read_text(encoding="utf-8").replace("../dse/data/schema/space.json", "schema/space.json"),
        )
        print(o.folder / source.name)
    write_atomically(o.folder / "schema" / "space.json", json.dumps(space_schema(), indent=1) + "\n")
    return OK
