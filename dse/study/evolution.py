"""The default sampler: children of an elitist archive that never forgets, bred on the whole and on every
niche.

What a generation asks depends only on what was learnt and on (seed, generation): a run that learns its own
log again goes on as if it had never stopped. ``tests/bench/search.py`` measures what its answers are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np

from dse.core.units import BoolArray, FloatArray, IntArray
from dse.run.batch import Batch
from dse.space.genome import Codes
from dse.study.archives import ENOUGH, Archives, Keys, first_of_each, known
from dse.study.niches import WITHOUT

FROM_NICHES: Final = 0.6
"""share of children bred on the front of a niche; the others on that of the whole space"""

PER_NICHE: Final = 100
"""designs judged, for each niche, from which so many children are; before, proportionately fewer"""

LEVERS: Final = 2.0
"""times as many children of a niche without a lever as of another: its front is as long as the whole one, and
what the lever is worth hangs on it
"""

COMBINATIONS: Final = 0.5
"""share of children for whose parent a combination of unordered choices is drawn first, each as likely as
another: of 4,300 boxes of a laptop's front some twenty hold the cheapest machines, with flash that streams
"""

SAME_COMBINATION: Final = 0.25
"""share of children whose mate and difference are of their parent's combination: its sizes move together"""

NEAR: Final = 0.8
"""share of mates that are near on the front"""

ACROSS: Final = 0.3
"""share of mates of a niche that come from the whole front"""

CROSSED: Final = 0.7
"""share of children of two parents; the others change one or two genes of one"""

RATES: Final = np.array([0.1, 0.3, 0.5])
"""shares of genes that a child has from its mate"""

SBX_INDEX: Final = 10.0
"""of simulated binary crossover (Deb & Agrawal 1995)"""

DIFFERENTIAL: Final = 0.3
"""share of crossed children whose numbers move along a difference of two designs (Storn & Price 1997)"""

WEIGHTS: Final = (0.2, 0.9)
"""of that difference"""

MUTATIONS: Final = 1.0
"""genes of a crossed child that mutate, on average"""

FINEST, COARSEST = 0.003, 0.25
"""of the range: smallest and largest step of a number, drawn log-uniformly between"""

TO_AN_END: Final = (0.1, 0.5)
"""shares of mutations of a number that go to an end of its range, of crossed children and of those that
change little else: limits bind often, and where a size has to pass a threshold what lies between gains
nothing
"""

NEIGHBOUR: Final = 0.6
"""share of mutations of an ordered choice that go to the next one"""

PARENTS: Final = 600
"""most parents of a niche in a generation"""

BOX: Final = 0.003
"""box of objectives, relative, of which one point is a parent"""

SEEDS: Final = 512
"""most designs of the first generation: a Latin hypercube, half of it forced into one niche after the other
"""

GROWTH: Final = 12
"""a generation is this part of all designs before it"""

SMALLEST, LARGEST = 50, 4096
"""designs of a generation; fewer only where few have been judged before"""

EARLY, FEWEST = 6, 20
"""then it is this part of them, and at least so many"""

ENUMERATED: Final = 200_000
"""most combinations of codes that are written out to see what of a small space is left"""

TRIES: Final = 6
"""rounds of children in which a generation is filled with designs not known"""

WORN: Final = 0.25
"""share of children not known below which a small space is filled from its list instead"""

DRAWN: Final = 8
"""designs of which the nearest on the front is a near mate"""


class Evolution:
    """Asks the next designs of an independent search."""

    def __init__(
        self,
        archives: Archives,
        seed: Sequence[int],
        first: Codes | None = None,
        *,
        seeds: int = SEEDS,
        logarithmic: bool = True,
    ) -> None:
        self.archives, self.seed, self.logarithmic = archives, list(seed), logarithmic
        self.seeds = min(max(seeds, FEWEST), SEEDS)
        self.genome = archives.genome
        self.first = np.empty((0, len(self.genome.genes)), dtype=np.int16) if first is None else first
        self._mix = np.random.default_rng(0).integers(1, 2**63, archives.objectives, dtype=np.uint64)

    def size(self) -> int:
        """Designs of the next generation."""
        known = len(self.archives)
        least = min(max(known // EARLY, FEWEST), SMALLEST)
        return min(max(known // GROWTH, least), LARGEST)

    def tell(self, batch: Batch) -> None:
        """Nothing to hear: all is in the archives."""

    def replay(self, batch: Batch) -> None:
        """Nothing to hear: all is in the archives."""

    def ask(self, generation: int) -> tuple[Codes, None]:
        """The next designs, none known; none at all where the space has no more to give."""
        rng = np.random.default_rng([*self.seed, generation])
        count = self.seeds + len(self.first) if generation == 0 else self.size()
        got: list[Codes] = []
        keys = np.empty(0, dtype=np.uint64)
        for attempt in range(TRIES):
            need = count - len(keys)
            if generation == 0:
                codes = self._seeds(rng, first=attempt == 0)
            else:
                codes = self._children(need + need // 8 + 8, rng)
            present = self.genome.repair(codes, rng)
            key = self.genome.keys(codes, present)
            fresh = first_of_each(key) & ~known(self.archives.seen, key) & ~np.isin(key, keys)
            got.append(codes[fresh])
            keys = np.concatenate([keys, key[fresh]])
            if len(keys) >= count or (fresh.mean() < WORN and len(self._every)):
                break
        missing = count - len(keys)
        if missing > 0 and len(self._every):  # children repeat what is known: what else a small space has
            left = ~known(self.archives.seen, self._every_key) & ~np.isin(self._every_key, keys)
            got.append(self._every[rng.permutation(np.nonzero(left)[0])[:missing]])
        return np.concatenate(got)[:count], None

    @cached_property
    def _every(self) -> Codes:
        """Every design of a small space; none of a large one."""
        return self.genome.enumerated(ENUMERATED)

    @cached_property
    def _every_key(self) -> Keys:
        return self.genome.keys(self._every, self.genome.repair(self._every))

    def _seeds(self, rng: np.random.Generator, *, first: bool) -> Codes:
        """Designs that fill the space: half of them anywhere, half in one niche after the other."""
        codes = self.genome.draw(hypercube(self.seeds, len(self.genome.genes), rng))
        niches = self.archives.niches[1:]
        for k in range(self.seeds // 2 if niches else 0):
            for gene, table in niches[k % len(niches)].conditions:
                self.genome.force(codes[k], gene, table, rng)
        return np.concatenate([self.first, codes]) if first else codes

    def _parents(self, i: int, rng: np.random.Generator) -> tuple[IntArray, FloatArray]:
        """Designs that a niche breeds from, one a box of objectives, with their points."""
        archives = self.archives
        front = archives.fronts[i]
        if len(archives.whole) < ENOUGH:  # few hold the limits on objectives yet: as if there were none
            front = archives.open[i]
        if not len(front):
            least = self.archives.least[i]
            if i == 0 and len(self.archives.infeasible):
                least = self._infeasible(rng)
            return least, np.zeros((len(least), self.archives.objectives))
        points = np.log(front.points) if self.logarithmic else front.points
        low, span = points.min(axis=0), np.ptp(points, axis=0)
        unit = np.ones_like(span) if self.logarithmic else np.where(span > 0, span, 1.0)
        cells = ((points - low) / (unit * BOX)).astype(np.uint64)
        chosen = np.arange(len(cells))
        while True:
            chosen = chosen[np.unique((cells[chosen] * self._mix).sum(axis=1), return_index=True)[1]]
            if len(chosen) <= PARENTS:
                break
            cells //= 2  # boxes of twice the side, until there are few enough parents
        return front.owners[chosen], points[chosen] / unit

    def _infeasible(self, rng: np.random.Generator) -> IntArray:
        """Designs of the front of violation and objectives, those that violate least most often."""
        front = self.archives.infeasible
        order = np.lexsort((front.owners, front.points[:, 0]))
        draw = (len(order) * rng.random(PARENTS) ** 2).astype(np.int64)
        return front.owners[order[draw]]

    def _children(self, count: int, rng: np.random.Generator) -> Codes:
        pools = [self._parents(i, rng) for i in range(len(self.archives.niches))]
        some = np.array([i for i, (owners, _) in enumerate(pools) if len(owners)], dtype=np.int64)
        if not len(some):
            return self.genome.draw(rng.random((count, len(self.genome.genes))))
        weights = np.where([self.archives.niches[i].name.startswith(WITHOUT) for i in some], LEVERS, 1.0)
        picked = rng.choice(some, count, p=weights / weights.sum())
        if len(pools[0][0]):
            share = FROM_NICHES * min(1.0, len(self.archives) / (PER_NICHE * len(pools)))
            picked[rng.random(count) >= share] = 0
        family = np.empty((4, count), dtype=np.int64)  # parent, mate, and the two ends of a difference
        kin = rng.random((2, count))
        for i in np.unique(picked):
            at = np.nonzero(picked == i)[0]
            owners, points = pools[i]
            parent, tries = self._drawn(owners, len(at), rng)
            far = ((points[tries] - points[parent][:, None, :]) ** 2).sum(axis=2) + (
                tries == parent[:, None]
            ) * 1e9
            near = tries[np.arange(len(at)), np.argmin(far, axis=1)]
            mate = owners[np.where(kin[0, at] < NEAR, near, tries[:, 0])]
            whole = pools[0][0]
            if i and len(whole):
                mate = np.where(kin[1, at] < ACROSS, whole[rng.integers(0, len(whole), len(at))], mate)
            family[:, at] = owners[parent], mate, owners[tries[:, 1]], owners[tries[:, 2]]
        return self._bred(family, rng)

    def _drawn(self, owners: IntArray, count: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Parents (count,) of those that own a front, and (count, DRAWN) others of which their mates are."""
        keys = self.archives.combinations[owners]
        _, combination, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        sorted_by = np.argsort(combination, kind="stable")
        starts = np.cumsum(sizes) - sizes

        def drawn_of(chosen: IntArray) -> IntArray:
            within = (rng.random(chosen.shape) * sizes[chosen]).astype(np.int64)
            return np.asarray(sorted_by[starts[chosen] + within])

        first = rng.random(count) < COMBINATIONS
        parent = np.where(
            first, drawn_of(rng.integers(0, len(sizes), count)), rng.integers(0, len(owners), count)
        )
        others = rng.integers(0, len(owners), (count, DRAWN))
        same = np.nonzero(rng.random(count) < SAME_COMBINATION)[0]
        others[same] = drawn_of(np.repeat(combination[parent[same], None], DRAWN, axis=1))
        return parent, others

    def _bred(self, family: IntArray, rng: np.random.Generator) -> Codes:
        """Children of parents and mates: uniform crossover, SBX, differences, mutation."""
        genome, codes = self.genome, self.archives.codes
        count, width = family.shape[1], len(genome.genes)
        mine = codes[family[0]]
        numeric, sizes = genome.numeric, genome.sizes
        child = mine.astype(np.float64)
        crossed: BoolArray = np.less(rng.random(count), CROSSED)
        swap = (rng.random((count, width)) < RATES[rng.integers(0, len(RATES), count)][:, None]) & crossed[
            :, None
        ]
        mate = codes[family[1]].astype(np.float64)
        u = rng.random((count, width))
        beta = np.where(
            u <= 0.5, (2 * u) ** (1 / (SBX_INDEX + 1)), (1 / (2 * (1 - u) + 1e-12)) ** (1 / (SBX_INDEX + 1))
        )
        sign = np.where(rng.random((count, width)) < 0.5, 1.0, -1.0)
        blended = 0.5 * ((child + mate) + sign * beta * (child - mate))
        blend = numeric & (rng.random((count, width)) < 0.5)
        taken = np.where(blend, blended, mate)
        along: BoolArray = np.less(rng.random(count), DIFFERENTIAL)
        weight = rng.uniform(WEIGHTS[0], WEIGHTS[1], (count, 1))
        moved = child + weight * (codes[family[2]].astype(np.float64) - codes[family[3]])
        taken = np.where(along[:, None] & numeric, moved, taken)
        child = np.where(swap, taken, child)
        self._mutate(child, crossed, rng)
        out: Codes = np.clip(np.rint(child), 0, sizes - 1).astype(np.int16)
        return out

    def _mutate(self, child: FloatArray, crossed: BoolArray, rng: np.random.Generator) -> None:
        genome = self.genome
        count, width = child.shape
        held = np.clip(np.rint(child), 0, genome.sizes - 1).astype(np.int16)
        present = genome.repair(held) & (genome.sizes > 1)
        draw = rng.random((count, width)) * present
        mutate = draw > 1.0 - MUTATIONS / np.maximum(present.sum(axis=1), 1)[:, None]
        order = np.argsort(-draw, axis=1)[:, :2]
        alone = np.nonzero(~crossed)[0]
        mutate[alone] = False
        mutate[alone, order[alone, 0]] = True
        two = alone[rng.random(len(alone)) < 0.5]
        mutate[two, order[two, 1]] = True
        mutate &= present
        row, gene = np.nonzero(mutate)
        sizes = genome.sizes[gene].astype(np.float64)
        now = child[row, gene]
        sign = np.where(rng.random(len(row)) < 0.5, 1.0, -1.0)
        step = np.exp(rng.uniform(np.log(FINEST), np.log(COARSEST), len(row))) * (sizes - 1)
        anywhere = np.floor(rng.random(len(row)) * (sizes - 1))
        anywhere += anywhere >= np.rint(now)  # another level than the present one
        moved = now + sign * np.maximum(step, 1.0)
        to_end = np.less(rng.random(len(row)), np.where(crossed[row], *TO_AN_END))
        moved = np.where(to_end, np.where(sign > 0, sizes - 1, 0.0), moved)
        moved = np.where(moved < 0, -moved, np.where(moved > sizes - 1, 2 * (sizes - 1) - moved, moved))
        next_one = np.where(now + sign < 0, now + 1, np.where(now + sign > sizes - 1, now - 1, now + sign))
        ordered = genome.ordered[gene] & (rng.random(len(row)) < NEIGHBOUR)
        child[row, gene] = np.where(genome.numeric[gene], moved, np.where(ordered, next_one, anywhere))


def hypercube(count: int, width: int, rng: np.random.Generator) -> FloatArray:
    """Latin hypercube of the unit cube (McKay, Beckman & Conover 1979): each stratum of each axis once."""
    ranks = np.argsort(rng.random((count, width)), axis=0)
    out: FloatArray = (ranks + rng.random((count, width))) / count
    return out
