"""What breeding leaves undone: one step in each variable from the designs of a front.

A sampler draws designs whole, so that a front can keep a part that earns nothing and sizes a little off. The
front of a run, and those with each lever locked off, are finished in this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dse.core.pareto import ParetoArchive
from dse.run.batch import Batch
from dse.space.genome import Codes
from dse.study.archives import ENOUGH, Archives, Common, known
from dse.study.convergence import box_rows
from dse.study.evolution import LARGEST
from dse.study.half import Half
from dse.study.niches import WITHOUT

STEPS: Final = (30, 5)
"""of a number's range, in thousandths"""

SHARE: Final = 0.15
"""of a search's designs that the polish may take"""


ROUNDS: Final = 80
"""a generation is this part of what was judged before: neighbours of many fronts take a second to list"""


class Neighbours:
    """Asks for neighbours of the common front of several searches that nobody has judged."""

    def __init__(self, archives: Archives, others: Sequence[Half]) -> None:
        self.archives, self.others, self.genome = archives, others, archives.genome
        self._fronts: dict[tuple[int, bool], tuple[ParetoArchive, int]] = {}
        self._designs = -1

    def tell(self, batch: Batch) -> None:
        """Nothing to hear: all is in the archives."""

    def replay(self, batch: Batch) -> None:
        """Nothing to hear: all is in the archives."""

    def ask(self, generation: int) -> tuple[Codes, None]:
        """Neighbours not known, of one design a box of objectives, in a random order."""
        del generation
        codes = self.genome.neighbours(self.centres(), STEPS)
        keys = self.genome.keys(codes, self.genome.repair(codes))
        first = np.unique(keys, return_index=True)[1]  # in order of keys: they are looked up faster
        first = first[~known(self.archives.seen, keys[first])]
        for other in self.others:
            first = first[~other.knows(keys[first])]
        rng = np.random.default_rng(len(self.archives))
        count = max(LARGEST, sum(len(other.archives) for other in self.others) // ROUNDS)
        return codes[rng.permutation(first)[:count]], None

    def centres(self) -> Codes:
        """Designs to look around: of the whole front and of each lever's, one a box; else the nearest to
        feasible.
        """
        common = Common([*(other.archives for other in self.others), self.archives])
        bounded = len(self._front(0, bounded=True)) >= ENOUGH
        owners = [common.least] if not len(self._front(0, bounded=False)) else []
        for i, niche in enumerate(self.archives.niches):
            if i == 0 or niche.name.startswith(WITHOUT):
                front = self._front(i, bounded=bounded)
                owners.append(front.owners[box_rows(front.points)])
        return common.codes(np.unique(np.concatenate(owners)))

    def _front(self, niche: int, *, bounded: bool) -> ParetoArchive:
        """The common front of a niche: of the others, who wait meanwhile, it is made once."""
        sides = [other.archives for other in self.others]
        designs = sum(map(len, sides))
        if designs != self._designs:
            self._designs, self._fronts = designs, {}
        if (niche, bounded) not in self._fronts:
            self._fronts[niche, bounded] = Common(sides).front(niche, bounded=bounded), 0
        front, heard = self._fronts[niche, bounded]
        mine = (self.archives.fronts if bounded else self.archives.open)[niche]
        new = mine.owners >= heard  # what was inserted before stands there, or gave way to better
        front.insert(mine.points[new], mine.owners[new] + designs, mine.tags[new])
        self._fronts[niche, bounded] = front, len(self.archives)
        return front
