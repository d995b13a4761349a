"""One design or machine under one plan, printed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dse.api import evaluate as evaluate_point
from dse.catalog.catalog import load_catalog
from dse.cli.printing import print_evaluation, print_measured
from dse.core.errors import OK, SpaceError
from dse.evaluator.explain import Evaluation
from dse.space.targets import TARGETS


def evaluate(options: argparse.Namespace) -> int:
    """One design or machine under one plan, and measured rows beside it."""
    from dse.calibration.resolve import device_name, llm_entry

    catalog = load_catalog()
    if options.device is None and options.space is None:
        raise SpaceError("evaluate: give a SPACE with --set, or --device NAME")
    if options.device is not None and options.set:
        raise SpaceError("evaluate: give --set or --device, not both")
    if options.device is not None:
        options.device = device_name(catalog, options.device)
    if options.model is not None:
        options.model = llm_entry(catalog, options.model).name
    target = options.space or _usual_space(catalog.entry("device", str(options.device)).attributes)
    variables = dict(_pair(text) for text in options.set) if options.device is None else None
    e = evaluate_point(
        target,
        variables=variables,
        device=options.device,
        llm=options.model,
        batch=options.batch,
        tensor_parallel=options.tp,
        attention=options.attention,
        context=options.context,
        input_tokens=options.input,
        output_tokens=options.output,
        weight_bits=options.weight_bits,
        kv_bits=options.kv_bits,
        compute_bits=options.compute_bits,
        software=options.software,
        catalog=catalog,
    )
    rows = _measured(options, e, target, catalog)
    if options.json:
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


def _measured(options: argparse.Namespace, e: Evaluation, target: str, catalog: Any) -> list[dict[str, Any]]:
    from dse.calibration.neighbours import beside, measured_cases
    from dse.calibration.neighbours import nearest_rows as nearest_cases

    if options.device is None or not TARGETS[target].fleet:  # what was measured serves a fleet
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
