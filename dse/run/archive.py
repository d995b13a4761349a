"""Every design evaluated once, with its operating points."""

from __future__ import annotations

from dataclasses import dataclass, field

from dse.evaluator.protocol import Outcomes
from dse.space.design import Design
from dse.space.space import Space


@dataclass
class Archive:
    """Every design evaluated once, with its operating points on every rung."""

    space: Space
    designs: list[Design] = field(default_factory=list)
    told: list[Outcomes] = field(default_factory=list)

    def add(self, design: Design, told: Outcomes) -> None:
        """Append evaluated designs."""
        self.designs.append(design)
        self.told.append(told)

    def joined(self) -> tuple[Design, Outcomes]:
        """All designs and what was told of them, in order of evaluation."""
        if len(self.designs) > 1:
            self.designs = [Design.concat(self.designs)]
            self.told = [Outcomes.concat(self.told)]
        return self.designs[0], self.told[0]

    def __len__(self) -> int:
        return sum(len(d) for d in self.designs)
