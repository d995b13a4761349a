"""Designs as rows of codes: what a search breeds, repairs, compares and stores.

Every variable has a code always, also where it is inactive, so that a branch that comes back finds its old
sizes. A choice's code is its index; a number's is its step on a grid of at most ``STEPS`` steps over its
range, logarithmic where the space says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dse.core.units import BoolArray, FloatArray, IntArray
from dse.space.design import Design
from dse.space.variables import Value, Variable

STEPS: Final = 1000
"""of a number's range: 0.1 % of it, far below what separates two machines on a front"""

HASH_SEED: Final = 20_260_105

Codes = NDArray[np.int16]
"""(n, variables)"""

Condition = tuple[int, BoolArray]
"""an earlier variable, and for each of its codes whether it will do"""


@dataclass(frozen=True)
class Gene:
    """One variable as codes: its levels, and the conditions under which it and each choice stand."""

    variable: Variable
    levels: FloatArray
    """value of each code, the code itself for a choice"""
    ordered: bool
    """whether neighbouring codes are neighbouring values"""
    active: tuple[Condition, ...]
    needs: tuple[tuple[int, tuple[Condition, ...]], ...]
    """choices that need something, with what"""

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.levels)

    @property
    def numeric(self) -> bool:
        """Whether codes are steps of a number."""
        return not self.variable.discrete


def number_levels(v: Variable) -> FloatArray:
    """Values that a number may take: every whole one if they are few, else steps from low to high."""
    if v.kind == "int" and v.high - v.low <= STEPS:
        return np.arange(v.low, v.high + 1.0)
    if v.low == v.high:
        return np.array([v.low])
    part = np.linspace(0.0, 1.0, STEPS + 1)
    values = (
        np.exp(np.log(v.low) + part * (np.log(v.high) - np.log(v.low)))
        if v.log
        else v.low + part * (v.high - v.low)
    )
    values[0], values[-1] = v.low, v.high
    return np.unique(np.round(values)) if v.kind == "int" else values


class Genome:
    """Codes of the variables of a space: repair, keys, and the way to designs and back."""

    def __init__(self, variables: Sequence[Variable]) -> None:
        self.variables = tuple(variables)
        self.index = {v.name: i for i, v in enumerate(self.variables)}
        self.genes: list[Gene] = []
        for v in self.variables:
            self.genes.append(self._gene(v))
        self.sizes: IntArray = np.array([g.size for g in self.genes], dtype=np.int64)
        self.numeric: BoolArray = np.array([g.numeric and g.size > 1 for g in self.genes])
        self.ordered: BoolArray = np.array([g.ordered for g in self.genes])
        self._unordered = np.nonzero(~self.ordered)[0]
        rng = np.random.default_rng(HASH_SEED)
        self._offsets = np.r_[0, np.cumsum(self.sizes + 1)[:-1]]
        self._hashes = rng.integers(0, 2**63, size=int((self.sizes + 1).sum()), dtype=np.uint64)

    def _gene(self, v: Variable) -> Gene:
        levels = np.arange(len(v.choices), dtype=np.float64) if v.discrete else number_levels(v)
        needs = tuple(
            (k, self._conditions(v.needs[choice]))
            for k, choice in enumerate(v.choices)
            if v.needs.get(choice)
        )
        return Gene(v, levels, v.kind != "categorical", self._conditions(v.active_if), needs)

    def _conditions(self, wanted: Mapping[str, frozenset[Value]]) -> tuple[Condition, ...]:
        out = []
        for name, values in wanted.items():
            gene = self.genes[self.index[name]]
            mine: Sequence[Any] = gene.variable.choices if gene.variable.discrete else gene.levels.tolist()
            out.append((self.index[name], np.array([m in values for m in mine])))
        return tuple(out)

    @staticmethod
    def _holds(conditions: Sequence[Condition], codes: Codes, present: BoolArray) -> BoolArray:
        held = np.ones(len(codes), dtype=bool)
        for earlier, table in conditions:
            held &= present[:, earlier] & table[codes[:, earlier]]
        return held

    def active(self, gene: Gene, codes: Codes, present: BoolArray) -> BoolArray:
        """Designs in which a variable is active, given the presence of earlier ones."""
        return self._holds(gene.active, codes, present)

    def allowed(self, gene: Gene, codes: Codes, present: BoolArray) -> BoolArray:
        """Which choices are allowed, (n, choices)."""
        out = np.ones((len(codes), gene.size), dtype=bool)
        for k, conditions in gene.needs:
            out[:, k] = self._holds(conditions, codes, present)
        return out

    def repair(self, codes: Codes, rng: np.random.Generator | None = None) -> BoolArray:
        """Redraw choices that are not allowed, in place; return which variables are present, (n, variables).

        Without ``rng`` the first allowed choice is taken. Where none is allowed the variable is absent.
        """
        n = len(codes)
        present = np.zeros(codes.shape, dtype=bool)
        for i, gene in enumerate(self.genes):
            on = self.active(gene, codes, present)
            if gene.needs:
                allowed = self.allowed(gene, codes, present)
                wrong = np.nonzero(on & ~allowed[np.arange(n), codes[:, i]])[0]
                if len(wrong):
                    some = allowed[wrong]
                    count = some.sum(axis=1)
                    draw = rng.random(len(wrong)) if rng is not None else np.zeros(len(wrong))
                    rank = np.minimum((draw * count).astype(np.int64), np.maximum(count - 1, 0))
                    codes[wrong, i] = np.argmax(np.cumsum(some, axis=1) > rank[:, None], axis=1)
                    on[wrong[count == 0]] = False
            present[:, i] = on
        return present

    def keys(self, codes: Codes, present: BoolArray) -> NDArray[np.uint64]:
        """One 64-bit key a row: equal where the same variables are present with the same codes."""
        return self._hashed(codes, present, np.arange(len(self.genes)))

    def combinations(self, codes: Codes, present: BoolArray) -> NDArray[np.uint64]:
        """One 64-bit key a row: equal where every choice that has no order is the same."""
        return self._hashed(codes, present, self._unordered)

    def _hashed(self, codes: Codes, present: BoolArray, some: IntArray) -> NDArray[np.uint64]:
        """One key a row of what ``some`` variables are, one at a time: all at once take 500 bytes a row, and
        the neighbours of a front are a million rows.
        """
        out = np.zeros(len(codes), dtype=np.uint64)
        for i in some:
            out ^= self._hashes[self._offsets[i] + np.where(present[:, i], codes[:, i] + 1, 0)]
        return out

    def design(self, codes: Codes, present: BoolArray) -> Design:
        """The designs that codes stand for."""
        columns: dict[str, Any] = {}
        for i, gene in enumerate(self.genes):
            mine, on = codes[:, i], present[:, i]
            if gene.variable.discrete:
                columns[gene.variable.name] = np.where(on, mine, -1).astype(np.int64)
            else:
                columns[gene.variable.name] = np.where(on, gene.levels[mine], np.nan)
        return Design(columns)

    def codes(self, design: Design) -> Codes:
        """Codes of designs; a number takes its nearest step, what is absent code 0."""
        out = np.zeros((len(design), len(self.genes)), dtype=np.int16)
        for i, gene in enumerate(self.genes):
            column = design.columns[gene.variable.name]
            if gene.variable.discrete:
                out[:, i] = np.maximum(column, 0)
                continue
            value = np.where(np.isnan(column), gene.levels[0], column)
            above = (
                np.clip(np.searchsorted(gene.levels, value), 1, max(gene.size - 1, 1))
                if gene.size > 1
                else np.zeros(len(value), dtype=int)
            )
            below = np.maximum(above - 1, 0)
            nearer = np.abs(gene.levels[below] - value) <= np.abs(gene.levels[above] - value)
            out[:, i] = np.where(nearer, below, above)
        return out

    def draw(self, unit: FloatArray) -> Codes:
        """Codes of points of the unit cube, (n, variables), before repair."""
        return np.minimum((unit * self.sizes).astype(np.int64), self.sizes - 1).astype(np.int16)

    def force(self, row: Codes, i: int, table: BoolArray, rng: np.random.Generator) -> None:
        """Give variable ``i`` of one design a code that ``table`` allows, and the others what that needs.

        The last entry of ``table`` says whether absence will do too: then nothing is made present for it.
        Where nothing is allowed the design stays as it is.
        """
        gene = self.genes[i]
        if not table[: gene.size].any():
            return
        if not table[row[i]]:
            row[i] = rng.choice(np.nonzero(table[: gene.size])[0])
        needs = [c for k, conditions in gene.needs if k == row[i] for c in conditions]
        for earlier, wanted in [] if table[-1] else [*gene.active, *needs]:
            self.force(row, earlier, np.r_[wanted, False], rng)

    def neighbours(self, codes: Codes, steps: Sequence[int]) -> Codes:
        """Every design that differs from one of ``codes`` in one variable, before duplicates are dropped.

        A choice takes each other level, a whole number of few values the next ones, another number ``steps``
        up and down. What then is no longer allowed takes the first choice that is.
        """
        present = self.repair(codes.copy())
        out = [codes[:0]]
        for i, gene in enumerate(self.genes):
            here = codes[present[:, i]]
            if gene.size < 2 or not len(here):
                continue
            fine = gene.size == STEPS + 1
            moves: list[NDArray[Any]] = (
                [here[:, i] + sign * step for step in (steps if fine else (1,)) for sign in (-1, 1)]
                if gene.numeric
                else [np.full(len(here), k) for k in range(gene.size)]
            )
            for new in moves:
                moved = np.clip(new, 0, gene.size - 1)
                some = moved != here[:, i]
                made = here[some].copy()
                made[:, i] = moved[some]
                self.repair(made)
                out.append(made[made[:, i] == moved[some]])
        return np.concatenate(out)

    def enumerated(self, most: int) -> Codes:
        """Every design of the space once; none where there are more than ``most``."""
        codes: Codes = np.zeros((1, len(self.genes)), dtype=np.int16)
        present = np.zeros(codes.shape, dtype=bool)
        for i, gene in enumerate(self.genes):
            on = self.active(gene, codes, present)
            if len(codes) > most or (gene.numeric and int(on.sum()) * gene.size > most):
                return codes[:0]
            fits = on[:, None] & self.allowed(gene, codes, present)
            none: BoolArray = np.logical_not(fits.any(axis=1))
            row, pick = np.nonzero(np.column_stack([fits, none]))
            codes, present = codes[row], present[row]
            present[:, i] = pick < gene.size
            codes[:, i] = np.where(present[:, i], pick, 0)
        return codes if len(codes) <= most else codes[:0]
