"""What the parts of serving hand to each other about one (design, plan) pair."""

from __future__ import annotations

from typing import NamedTuple


class Read(NamedTuple):
    """What an operator reads, by tier [B]."""

    bytes: float
    """all of it"""
    fast: float
    below: float
    """of the tiers below the fast one"""
    chip: float
    per_byte: float
    """s per byte below"""
    pages: float
    """bytes read of flash per byte wanted"""
    stretch: float
    """time that takes over that of as many bytes in order"""


class Waits(NamedTuple):
    """What a pass takes beside its operators."""

    pace: float
    """layers of the deepest stage times stages, over layers"""
    launches: float
    """s of kernel launches and scheduling"""
    messages: float
    """s of collectives but dispatch and combine"""
    stages: float
    """s of messages from stage to stage"""
    exchange: float
    """s of dispatch and combine, of which what shared experts take is hidden"""
    fixed: float
    """s of all that no assignment of operators changes"""


class Charges(NamedTuple):
    """Energies of a pass [J]."""

    clocked: float
    """of arithmetic on the host at the design clock"""
    unclocked: float
    """of the logic that no clock level changes: bytes moved on chip"""
    fast: float
    flash: float
    far: float
