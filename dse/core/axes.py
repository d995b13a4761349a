"""The axes that arrays share: operators, precisions, group sizes, clock levels; and the codes of places."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

OPERATORS: Final = ("projections", "attention", "ffn", "experts", "head")
"""what a pass through a model is made of, in the order of the arrays over operators"""

BITS: tuple[int, ...] = (16, 8, 4)
"""Compute precisions; columns of ``peak`` and ``flop_energy``."""

GROUPS: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Sizes of a group of packages that share a model; columns of the collective tables."""

CLOCK_LEVELS: tuple[float, ...] = (1.0, 0.65)
"""Clocks a machine may run a pass at, over its design clock, which is the first: at two thirds of a node's
nominal clock its voltage stands at the floor, so that slower ones save nothing more.
"""


LINES: Final = (
    ("ring", "flags"), ("ring", "bulk"), ("recursive_doubling", "flags"), ("one_shot", "direct"),
    ("tree", "flags"), ("tree", "bulk"), ("hierarchical", "flags"), ("two_shot", "flags"),
    ("two_shot", "bulk"),
    ("in_network", "switch"),
)  # fmt: skip
"""algorithm and protocol of an all-reduce: flags beside the data, or bulk data behind fences"""


class HeatLimit(StrEnum):
    """What a row of heat holds, by its name."""

    LOGIC = "logic"
    FAST_MEMORY = "fast memory"
    FLASH = "flash"
    PACKAGE = "package"
    SKIN = "skin"
    SUPPLY = "supply"


class PnmSite(IntEnum):
    """The tier that a PNM engine sits beside."""

    NONE = 0
    FAST = 1
    FLASH = 2
    FAR = 3


class FlashAttach(IntEnum):
    """How flash reaches the host; -1 where there is none."""

    OWN_SHORELINE = 0
    BEHIND_HBM = 1
    FAR = 2


class Mount(IntEnum):
    """How memory is mounted in a device; names as spaces write them in ``MOUNTS``."""

    ON_TOP = 0
    SIDE_BY_SIDE = 1
    ON_SOC = 2


MOUNTS: Final = ("pop", "side_by_side", "3d_on_soc")
"""``Mount`` by the choices of a space"""
