"""JSON Schemas of every kind of TOML file, made from the declarations that the readers use."""

from __future__ import annotations

from typing import Any

from dse.metrics import TARGET_OBJECTIVES
from dse.schema import ATTENTION, FFN, KINDS, LINEAR, LLM_OPTIONAL, LLM_SHAPE, LLM_TEXT, READINESS, unit_of
from dse.space import KINDS as VARIABLE_KINDS
from dse.space import LIMIT_UNITS, SCENARIO_OPTIONAL, SCENARIO_UNITS


def _quantity(name: str) -> dict[str, Any]:
    number = {"type": "number"}
    return {
        "type": "object",
        "description": f"{name} [{unit_of(name)}]: low <= nominal <= high, with unit and source",
        "properties": {
            "low": number,
            "nominal": number,
            "high": number,
            "unit": {"type": "string"},
            "source": {"type": "string", "minLength": 1},
            "note": {"type": "string"},
        },
        "required": ["low", "nominal", "high", "unit", "source"],
        "additionalProperties": False,
    }


def json_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one kind of catalogue file, made from ``KINDS``."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
    text = {"type": "string"}
    if kind == "llm":
        count = {"type": "integer", "minimum": 0}
        return head | {
            "title": "dse catalogue: llm",
            "properties": {
                **{k: ({"type": "boolean"} if k in {"tied_embeddings", "expert_bias"} else text) for k in LLM_TEXT},
                "aliases": {"type": "array", "items": text},
                "ffn": {"enum": list(FFN)},
                "linear": {"enum": list(LINEAR)},
                "attention": {"enum": list(ATTENTION)},
                "shape": {
                    "type": "object",
                    "properties": dict.fromkeys(LLM_SHAPE + LLM_OPTIONAL, count),
                    "required": list(LLM_SHAPE),
                    "additionalProperties": False,
                },
                "published": {"type": "object"},
            },
            "required": ["name", "source", "attention", "ffn", "shape"],
            "additionalProperties": False,
        }
    spec = KINDS[kind]
    attributes = {name: ({"enum": list(allowed)} if allowed else text) for name, allowed in spec.attributes.items()}
    return head | {
        "title": f"dse catalogue: {kind}: {spec.title}",
        "properties": {
            "name": text,
            "title": text,
            "note": text,
            "readiness": {"enum": list(READINESS)},
            "available": _quantity("available"),
            **attributes,
            "values": {
                "type": "object",
                "properties": {f: _quantity(f) for f in spec.required + spec.optional},
                "required": list(spec.required),
                "additionalProperties": False,
            },
        },
        "required": ["name", "title", "readiness", "available", "values"],
        "additionalProperties": False,
    }


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
    names = sorted({n for units in (*SCENARIO_UNITS.values(), *SCENARIO_OPTIONAL.values()) for n in units})
    variable = {"type": "object", "required": ["kind"], "properties": {"kind": {"enum": list(VARIABLE_KINDS)}, "choices": {"type": "array"}, "low": {}, "high": {},
                "log": {"type": "boolean"}, "grid": {"type": "array"}, "active_if": {"type": "object"}, "needs": {"type": "object"}}, "additionalProperties": False}  # fmt: skip
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "dse search space", "type": "object",
            "properties": {"name": {"type": "string"}, "title": {"type": "string"}, "target": {"enum": list(SCENARIO_UNITS)}, "objectives": {"type": "array", "items": {"enum": TARGET_OBJECTIVES}},
                           "tpot_target": {"type": "array"}, "scenario": {"type": "object", "properties": dict.fromkeys(names, sourced)},
                           "limits": {"type": "object", "properties": {n: sourced for units in LIMIT_UNITS.values() for n in units}, "additionalProperties": False},
                           "variables": {"type": "object", "additionalProperties": variable}, "levers": {"type": "object"}, "baseline": {"type": "array"},
                           "what_if": {"type": "array", "items": {"type": "object", "required": ["name"]}},
                           "compare": {"type": "array", "items": {"type": "object", "required": ["title", "llm"]}}},
            "required": ["name", "target", "objectives", "tpot_target", "scenario", "variables"], "additionalProperties": False}  # fmt: skip
