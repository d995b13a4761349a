"""The axes that arrays share: operators, precisions, group sizes, clock levels."""

from __future__ import annotations

from typing import Final

BITS: tuple[int, ...] = (16, 8, 4)
"""Compute precisions; columns of ``peak`` and ``flop_energy``."""


ON_FAST, ON_FLASH, ON_FAR = 1, 2, 3
"""where a PNM engine sits: codes of ``pnm_site``"""


GROUPS: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Sizes of a group of packages that share a model; columns of the collective tables."""


CLOCK_LEVELS: tuple[float, ...] = (1.0, 0.65)
"""Clocks a machine may run a pass at, over its design clock, which is the first: at two thirds of a node's nominal clock
its voltage stands at the floor, so that slower ones save nothing more."""


OPERATORS: Final = ("projections", "attention", "ffn", "experts", "head")
"""what a pass through a model is made of, in the order of the arrays over operators"""
