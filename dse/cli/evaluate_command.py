"""One design or machine under one plan, printed."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from dse.api import evaluate as evaluate_point
from dse.api import load_run
from dse.catalog.catalog import Catalog, catalog_beside, load_catalog
from dse.cli.printing import broken_limits, print_evaluation, print_measured
from dse.core.errors import NOTHING, OK, SpaceError
from dse.evaluator.explain import Evaluation
from dse.evaluator.first_order import FirstOrderModel
from dse.evaluator.fitting import requests_described
from dse.evaluator.request import bits_described
from dse.run.run import Run
from dse.space.limits import Limit
from dse.space.objectives import OBJECTIVES
from dse.space.overrides import load_space
from dse.space.space import Space
from dse.space.targets import TARGETS


def evaluate(options: argparse.Namespace) -> int:
    """One design or machine under one plan, and measured rows beside it."""
    catalog = load_catalog()
    if options.point is not None:
        return _front_point(options)
    if options.device is None and options.space is None:
        raise SpaceError("evaluate: give a SPACE with --set, a RUN with --point, or --device NAME")
    e = evaluate_point(target_of(options, catalog), **machine_of(options), **asked_of(options, catalog))
    rows = _measured(options, e, catalog)
    if options.json:
        print(json.dumps({**asdict(e), "measured": rows}, indent=1, sort_keys=True))
    else:
        print_evaluation(e, named=options.space is not None)
        print_measured(rows)
    return NOTHING if broken_limits(e, named=options.space is not None) else OK


def target_of(options: argparse.Namespace, catalog: Catalog) -> str | Space:
    """The space that a machine is asked about; names of device and model are made the catalogue's.

    Raises:
        SpaceError: a device and design variables at once.

    """
    from dse.calibration.resolve import device_name, llm_entry

    if options.device is not None and options.set:
        raise SpaceError(f"{options.command}: give --set or --device, not both")
    if options.device is not None:
        options.device = device_name(catalog, options.device)
    if options.model is not None:
        options.model = llm_entry(catalog, options.model).name
    if options.space is not None:
        return str(options.space)
    usual = load_space(_usual_space(catalog.entry("device", str(options.device)).attributes))
    theirs = {k: v for k, v in usual.thresholds.items() if k != Limit.TTFT}
    return replace(usual, thresholds=theirs)  # nobody has asked for the space's time to first token


def machine_of(options: argparse.Namespace) -> dict[str, Any]:
    """The machine that is asked about, as arguments of ``dse.evaluate``."""
    variables = _pairs(options.set, "--set", "variable=value, e.g. stacks=8")
    return {"variables": variables if options.device is None else None, "device": options.device}


def asked_of(options: argparse.Namespace, catalog: Catalog) -> dict[str, Any]:
    """Workload, formats and plan, as arguments of ``dse.evaluate``."""
    return {
        "llm": options.model,
        "batch": options.batch,
        "tensor_parallel": options.tp,
        "attention": options.attention,
        "pipeline": options.pp,
        "data_parallel": options.dp,
        "expert_parallel": options.ep,
        "context_parallel": options.cp,
        "context": options.context,
        "input_tokens": options.input,
        "output_tokens": options.output,
        "prefix_share": options.prefix_share,
        "draft_tokens": options.draft_tokens,
        "acceptance": options.acceptance,
        "weight_bits": options.weight_bits,
        "kv_bits": options.kv_bits,
        "compute_bits": options.compute_bits,
        "formats": _pairs(options.format, "--format", "class=name, e.g. experts=mxfp4"),
        "published": options.space is None and options.model is not None,
        "software": options.software,
        "catalog": catalog,
    }


def _usual_space(said: Mapping[str, str]) -> str:
    """The space a device is asked about where none is named: of its body, or of its target."""
    return {"laptop": "laptop", "vehicle": "vehicle", "xr_glasses": "xr"}.get(
        said.get("body", ""), said.get("target", "datacenter")
    )


def _pairs(texts: Sequence[str], flag: str, form: str) -> dict[str, str]:
    """Names and values of a flag that may be repeated, each name once."""
    out: dict[str, str] = {}
    for text in texts:
        name, mark, value = (part.strip() for part in text.partition("="))
        if not mark or not value:
            raise SpaceError(f"{flag}: got {text!r}, expected {form}")
        if name in out:
            raise SpaceError(f"{flag} {name}: given twice, {out[name]} and {value}; expected once")
        out[name] = value
    return out


def _front_point(options: argparse.Namespace) -> int:
    """A point of a run's front: under the plans that the search chose, or as the flags ask."""
    from dse.calibration.resolve import llm_entry
    from dse.report.facts import point_parts

    if options.space is None or not Path(options.space).is_dir():
        raise SpaceError(
            f"--point: got {options.space!r}, expected the folder of a run, e.g. results/datacenter"
        )
    if options.device is not None or options.set:
        raise SpaceError("--point: names a design; leave out --device and --set")
    loaded, catalog = load_run(options.space), catalog_beside(Path(options.space))
    if not isinstance(loaded.evaluator, FirstOrderModel):
        raise SpaceError(
            f"{options.space}: judged by another evaluator, whose designs have no breakdown here"
        )
    run = loaded.run
    _same_point(Path(options.space), run, options.point)
    found = point_parts(run, loaded.evaluator, options.point)
    for e, load in zip(found, run.space.scenario.workloads, strict=True):
        e.name = f"point {options.point} of {options.space}, {load.llm}"
        e.plan["requests"] = requests_described(run.space.scenario.mix)
        e.plan["formats"] = bits_described(load, routed=bool(catalog.llm(load.llm).experts))
    if _asks(options):
        variables = run.values(int(run.front.rows[options.point]))
        asked = asked_of(options, catalog)
        if not _plans(options) and not run.space.target.one_user:
            llm = (
                llm_entry(catalog, options.model).name
                if options.model
                else run.space.scenario.workloads[0].llm
            )
            own = next((e for e in found if e.plan["llm"] == llm), found[0])
            asked |= _plan_of(own)
        found = [evaluate_point(run.space, variables=variables, **asked)]
        found[0].name = f"point {options.point} of {options.space}, as asked"
    if options.json:
        print(json.dumps([asdict(e) for e in found], indent=1, sort_keys=True))
        return OK
    _print_design(run, options.point)
    for e in found:
        print()
        print_evaluation(e)
    return OK


def _same_point(folder: Path, run: Run, point: int) -> None:
    """Refuse a number that is not, or no longer, that of the same design in ``front.csv``.

    Raises:
        SpaceError: no such point, or the model has changed since the run, so that its front is another.

    """
    with (folder / "front.csv").open(newline="", encoding="utf-8") as file:
        row = next((r for r in csv.DictReader(file) if r["point"] == str(point)), None)
    if row is None:
        count = run.about.get("front", len(run.front))
        raise SpaceError(
            f"--point: got {point}, expected a number from 0 to {int(str(count)) - 1}, as in front.csv"
        )
    told = [float(row[f"{o} [{OBJECTIVES[o].unit}]"]) for o in run.space.objectives]
    if point >= len(run.front) or not np.allclose(told, run.front.points[point], rtol=1e-3, atol=0.0):
        raise SpaceError(
            f"--point: {folder} was judged by another version of the model or catalogue: its front is "
            "another now, and front.csv numbers that of then; search again, or give the variables with --set"
        )


USUAL_PLAN = {"batch": 1, "tp": 1, "pp": 1, "dp": 1, "cp": 1, "attention": "tp"}


def _plans(options: argparse.Namespace) -> bool:
    """Whether flags ask for a plan."""
    return options.ep is not None or any(getattr(options, k) != v for k, v in USUAL_PLAN.items())


def _plan_of(e: Evaluation) -> dict[str, Any]:
    """The plan of an evaluation, as arguments of ``dse.evaluate``."""
    stages = int(e.plan["pipeline depth"])
    return {
        "batch": int(e.plan["batch"]) * stages,
        "tensor_parallel": int(e.plan["group"]),
        "attention": str(e.plan["attention"]),
        "pipeline": stages,
    }


def _asks(options: argparse.Namespace) -> bool:
    """Whether flags ask for another workload or plan than the search chose."""
    workload = (
        "model",
        "context",
        "input",
        "output",
        "prefix_share",
        "draft_tokens",
        "acceptance",
        "software",
    )
    given = (*workload, "weight_bits", "kv_bits", "compute_bits")
    return any(getattr(options, k) is not None for k in given) or bool(options.format) or _plans(options)


def _print_design(run: Run, index: int) -> None:
    values = run.values(int(run.front.rows[index]))
    shown = ", ".join(f"{k} {run.space.variable(k).text(v)}" for k, v in values.items())
    print(f"Design of point {index}: {shown}")


def _measured(options: argparse.Namespace, e: Evaluation, catalog: Catalog) -> list[dict[str, Any]]:
    from dse.calibration.neighbours import beside, measured_cases
    from dse.calibration.neighbours import nearest_rows as nearest_cases

    if options.device is None or not TARGETS[e.target].fleet:  # what was measured serves a fleet
        return []
    found = measured_cases(options.device, str(e.plan["llm"]), catalog)
    return beside(
        nearest_cases(
            found,
            options.batch,
            options.tp,
            options.input or options.context or 1024.0,
            options.output or 1024.0,
            5,
        ),
        catalog,
    )
