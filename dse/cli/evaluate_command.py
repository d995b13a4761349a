"""One design or machine under one plan, printed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dse.catalog.catalog import load_catalog
from dse.cli.printing import print_evaluation, print_measured
from dse.core.errors import OK, SpaceError
from dse.evaluator.explain import Evaluation
from dse.evaluator.explain import evaluate as evaluate_point


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
