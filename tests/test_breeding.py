"""What the default sampler breeds on."""

from __future__ import annotations

import numpy as np
import pytest

from dse.run.batch import Batch
from dse.space.genome import Genome
from dse.space.variables import Variable
from dse.study import evolution
from dse.study.archives import Archives
from dse.study.evolution import Evolution
from dse.study.niches import niches_of

COMMON = 299
"""points of the front of one choice; the other has one"""


def children_of_the_rare(combinations: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Share of a generation that has the choice of a single point at the end of the front."""
    monkeypatch.setattr(evolution, "COMBINATIONS", combinations)
    numbers = [Variable(f"x{i}", "float", (), 0.0, 1.0) for i in range(12)]
    genome = Genome([Variable("choice", "categorical", ("common", "rare")), *numbers])
    archives = Archives(genome, niches_of(genome), 2, slack=0.0)
    codes = genome.draw(np.random.default_rng(0).random((COMMON + 1, len(genome.genes))))
    codes[:, 0] = np.arange(COMMON + 1) == COMMON
    first = np.geomspace(1.0, 1000.0, COMMON + 1)
    count = len(codes)
    archives.learn(
        Batch(
            generation=0,
            size=count,
            codes=codes,
            violation=np.zeros(count, dtype=np.float32),
            points=np.column_stack([first, 1.0 / first]),
            rows=np.arange(count, dtype=np.int64),
            tags=np.zeros(count, dtype=np.int64),
        )
    )
    evolving = Evolution(archives, [1])
    asked = np.concatenate([evolving.ask(generation)[0] for generation in range(1, 41)])
    return float(np.mean(asked[:, 0] == 1))


def test_a_combination_with_few_points_is_bred_as_much_as_one_with_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_boxes = children_of_the_rare(0.0, monkeypatch)
    by_both = children_of_the_rare(0.5, monkeypatch)
    assert by_both - by_boxes == pytest.approx(0.5 / 2 * 0.75, abs=0.08)  # some cross with the common choice


def test_combinations_are_those_of_unordered_choices() -> None:
    genome = Genome(
        [
            Variable("choice", "categorical", ("a", "b")),
            Variable("steps", "ordinal", (1.0, 2.0, 4.0)),
            Variable("x", "float", (), 0.0, 1.0),
        ]
    )
    codes = np.array([[0, 0, 5], [0, 2, 700], [1, 0, 5]], dtype=np.int16)
    keys = genome.combinations(codes, np.ones(codes.shape, dtype=bool))
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]
