"""Parts of a space that keep a front of their own: what is scarce there is bred on, and its worth is known.

The whole space; the space with each lever locked off; two levers and more used together; each level of every
variable of a lever and of every variable that others hang on; each third of every number. Where a size earns
nothing until it passes a threshold and some choice is made besides, the best designs of that size wait in its
third for the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from dse.core.units import BoolArray
from dse.space.genome import Codes, Genome
from dse.space.space import Lever
from dse.space.variables import Variable

WHOLE: Final = "whole"

WITHOUT: Final = "without "
"""how the name of a niche begins in which a lever is locked off"""

PARTS: Final = 3
"""parts of the range of a number"""

FINE: Final = 9
"""levels from which a number has them"""

Condition = tuple[int, BoolArray]
"""a variable, and for each of its codes and last for its absence whether it will do"""


@dataclass(frozen=True)
class Niche:
    """A part of the space, by conditions on codes that all hold."""

    name: str
    conditions: tuple[Condition, ...]

    def holds(self, codes: Codes, present: BoolArray) -> BoolArray:
        """Which designs lie in it."""
        out = np.ones(len(codes), dtype=bool)
        for i, table in self.conditions:
            out &= table[np.where(present[:, i], codes[:, i], len(table) - 1)]
        return out


def off(lever: str) -> str:
    """Name of the niche in which a lever is locked off."""
    return WITHOUT + lever


def at(variable: str, level: object) -> str:
    """Name of the niche of a level."""
    return f"{variable}={level:g}" if isinstance(level, float) else f"{variable}={level}"


def niches_of(genome: Genome, levers: Sequence[Lever] = (), held: Sequence[str] = ()) -> list[Niche]:
    """The whole space, each lever off, levers together, each level of what decides, parts of every number.

    ``held`` names more variables that decide.
    """
    out = [Niche(WHOLE, ())]
    for lever in levers:
        conditions = []
        for name, choices in lever.fixed.items():
            if name in genome.index:
                i = genome.index[name]
                fits: BoolArray = np.array([*(v in choices for v in _values(genome, i)), True])
                conditions.append((i, fits))
        if all(table[:-1].any() or _can_be_absent(genome, i) for i, table in conditions):
            out.append(Niche(off(lever.name), tuple(conditions)))  # else the space itself holds the lever on
    out += _together(genome, levers)
    split = {name for lever in levers for name in lever.fixed} | set(held) | _decide(genome.variables)
    for i, gene in enumerate(genome.genes):
        v = gene.variable
        if v.name not in split or not v.discrete or gene.size < 2:
            continue
        for k, choice in enumerate(v.choices):
            table = np.zeros(gene.size + 1, dtype=bool)
            table[k] = True
            out.append(Niche(at(v.name, choice), ((i, table),)))
    for i, gene in enumerate(genome.genes):
        if gene.numeric and gene.size >= FINE:
            for k in range(PARTS):
                table = np.zeros(gene.size + 1, dtype=bool)
                table[gene.size * k // PARTS : gene.size * (k + 1) // PARTS] = True
                out.append(Niche(f"{gene.variable.name}, part {k + 1} of {PARTS}", ((i, table),)))
    return out


def _together(genome: Genome, levers: Sequence[Lever]) -> list[Niche]:
    """Two levers and more used at once: what pays only together is not found by one step after the other."""
    used = []
    for lever in levers:
        name, choices = next(iter(lever.fixed.items()))
        if name in genome.index:
            i = genome.index[name]
            on: BoolArray = np.array([*(v not in choices for v in _values(genome, i)), False])
            if on.any():
                used.append((lever.name, (i, on)))
    return [
        Niche(" and ".join(name for name, _ in some), tuple(condition for _, condition in some))
        for count in range(2, len(used) + 1)
        for some in combinations(used, count)
    ]


def _can_be_absent(genome: Genome, i: int) -> bool:
    """Whether a variable is absent from some designs."""
    return bool(genome.genes[i].active)


def _values(genome: Genome, i: int) -> Sequence[object]:
    gene = genome.genes[i]
    return gene.variable.choices if gene.variable.discrete else gene.levels.tolist()


def _decide(variables: Sequence[Variable]) -> set[str]:
    """Variables that the presence or a choice of another hangs on."""
    out: set[str] = set()
    for v in variables:
        out |= set(v.active_if)
        for conditions in v.needs.values():
            out |= set(conditions)
    return out
