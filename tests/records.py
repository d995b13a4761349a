"""Machines of tests: one record or field in the place of another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dse.hardware.machine import Machine


def altered(machine: Machine, **records: dict[str, Any]) -> Machine:
    """A machine with other fields in its records: ``altered(m, fast={"capacity": ...})``."""
    return replace(
        machine, **{name: replace(getattr(machine, name), **fields) for name, fields in records.items()}
    )
