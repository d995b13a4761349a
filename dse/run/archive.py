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
    outcomes: list[Outcomes] = field(default_factory=list)

    def add(self, design: Design, outcomes: Outcomes) -> None:
        """Append evaluated designs."""
        self.designs.append(design)
        self.outcomes.append(outcomes)

    def joined(self) -> tuple[Design, Outcomes]:
        """All designs and what was told of them, in order of evaluation."""
        if len(self.designs) > 1:
            self.designs = [Design.concat(self.designs)]
            self.outcomes = [Outcomes.concat(self.outcomes)]
        return self.designs[0], self.outcomes[0]

    def __len__(self) -> int:
        return sum(len(d) for d in self.designs)
