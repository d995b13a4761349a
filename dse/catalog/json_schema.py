"""JSON Schemas of every kind of catalogue file, made from the declarations that the reader uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from dse.catalog.entries import YEAR
from dse.catalog.formats import CACHE_FORMATS, CLASSES, STORED_BITS
from dse.catalog.layer_groups import FEED_FORWARDS, MIXERS
from dse.catalog.schema import (
    ATTENTION,
    FFN,
    KEYS,
    KINDS,
    LINEAR,
    LLM_GROUPED,
    LLM_OPTIONAL,
    LLM_SHAPE,
    LLM_TEXT,
    READINESS,
    Field,
)


def _quantity(found: Field) -> dict[str, Any]:
    """Schema of a number, or of a table of numbers by cell, year or height."""
    one = _number(found)
    if not found.per:
        return one
    keys = KEYS.get(found.per)
    if keys is None:
        return {
            "type": "object",
            "patternProperties": {"^[0-9]+$": one},
            "additionalProperties": False,
            "minProperties": 1,
        }
    return {
        "type": "object",
        "properties": dict.fromkeys(keys, one),
        "required": list(keys),
        "additionalProperties": False,
    }


def _number(found: Field) -> dict[str, Any]:
    number = {"type": "number"}
    return {
        "type": "object",
        "description": f"{found.description} [{found.unit}]: low <= nominal <= high, with unit and source",
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


def _groups(kinds: Mapping[str, type[Any]]) -> dict[str, Any]:
    """An array of groups of layers, one of several kinds each."""
    words = {"int": {"type": "integer"}, "bool": {"type": "boolean"}, "str": {"type": "string"}}
    return {
        "type": "array",
        "items": {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {"kind": {"const": name}}
                    | {f.name: words[str(f.type)] for f in fields(cls)},
                    "required": ["kind", *(f.name for f in fields(cls) if f.default is MISSING)],
                    "additionalProperties": False,
                }
                for name, cls in kinds.items()
            ]
        },
    }


def _llm_schema() -> dict[str, Any]:
    """Schema of a language model."""
    text = {"type": "string"}
    count = {"type": "integer", "minimum": 0}
    return {
        "title": "dse catalogue: llm",
        "properties": {
            **{
                k: ({"type": "boolean"} if k in {"tied_embeddings", "expert_bias"} else text)
                for k in LLM_TEXT
            },
            "aliases": {"type": "array", "items": text},
            "unverified": {"type": "array", "items": text},
            "ffn": {"enum": list(FFN)},
            "linear": {"enum": list(LINEAR)},
            "attention": {"enum": list(ATTENTION)},
            "shape": {
                "type": "object",
                "properties": dict.fromkeys(LLM_SHAPE + LLM_OPTIONAL, count),
                "required": list(LLM_GROUPED),
                "additionalProperties": False,
            },
            "mixer": _groups(MIXERS),
            "feed_forward": _groups(FEED_FORWARDS),
            "formats": {
                "type": "object",
                "properties": {
                    c: {"enum": list(CACHE_FORMATS if c == "kv_cache" else STORED_BITS)} for c in CLASSES
                },
                "additionalProperties": False,
            },
            "published": {"type": "object"},
        },
        "required": ["name", "source", "attention", "ffn", "shape"],
        "additionalProperties": False,
    }


def json_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one kind of catalogue file, made from ``KINDS``."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
    text = {"type": "string"}
    if kind == "llm":
        return head | _llm_schema()
    spec = KINDS[kind]
    attributes = {
        name: ({"enum": list(allowed)} if allowed else text) for name, allowed in spec.attributes.items()
    }
    return head | {
        "title": f"dse catalogue: {kind}: {spec.title}",
        "properties": {
            "name": text,
            "title": text,
            "note": text,
            "readiness": {"enum": list(READINESS)},
            "available": _number(YEAR),
            **attributes,
            "values": {
                "type": "object",
                "properties": {name: _quantity(found) for name, found in spec.fields.items()},
                "required": [name for name, found in spec.fields.items() if found.required],
                "additionalProperties": False,
            },
        },
        "required": ["name", "title", "readiness", "available", "values"],
        "additionalProperties": False,
    }
