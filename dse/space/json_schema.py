"""JSON Schema of a search space, made from the declarations that the reader uses."""

from __future__ import annotations

from typing import Any

from dse.space.objectives import OBJECTIVES
from dse.space.targets import SCENARIO_UNITS, TARGETS
from dse.space.variables import KINDS as VARIABLE_KINDS


def space_schema() -> dict[str, Any]:
    """Return the JSON Schema of a search space."""
    sourced = {
        "type": "object",
        "properties": {
            "value": {"type": ["number", "string"]},
            "unit": {"type": "string"},
            "source": {"type": "string", "minLength": 1},
        },
        "required": ["value", "source"],
    }
    names = sorted(SCENARIO_UNITS)
    variable = {
        "type": "object",
        "required": ["kind"],
        "properties": {
            "kind": {"enum": list(VARIABLE_KINDS)},
            "choices": {"type": "array"},
            "low": {},
            "high": {},
            "log": {"type": "boolean"},
            "grid": {"type": "array"},
            "active_if": {"type": "object"},
            "needs": {"type": "object"},
        },
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dse search space",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "title": {"type": "string"},
            "target": {"enum": list(TARGETS)},
            "objectives": {"type": "array", "items": {"enum": list(OBJECTIVES)}},
            "tpot_target": {"type": "array"},
            "scenario": {"type": "object", "properties": dict.fromkeys(names, sourced)},
            "limits": {
                "type": "object",
                "properties": {name: sourced for target in TARGETS.values() for name in target.thresholds},
                "additionalProperties": False,
            },
            "variables": {"type": "object", "additionalProperties": variable},
            "reference_point": {
                "type": "object",
                "properties": dict.fromkeys(OBJECTIVES, sourced),
                "additionalProperties": False,
            },
            "levers": {"type": "object"},
            "baseline": {"type": "array"},
            "what_if": {"type": "array", "items": {"type": "object", "required": ["name"]}},
            "compare": {"type": "array", "items": {"type": "object", "required": ["title", "llm"]}},
        },
        "required": ["name", "target", "objectives", "tpot_target", "scenario", "variables"],
        "additionalProperties": False,
    }
