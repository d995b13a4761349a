"""Published stack temperatures beside ours: the thermal matrix of the machine at the geometry of each paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dse.catalog.catalog import Catalog
from dse.hardware.heat import rises
from dse.hardware.part_values import PartValues
from dse.hardware.parts import Parts
from tests.validation.evidence.reference_machines import BASE, FORM

COOLANT: Final = 20.0
"""degC"""


MM2: Final = 1e-6


GPU: Final = 660 * MM2


COVER: Final = 484.0 / 660.0
"""four stacks of 11 x 11 mm on a GPU of 30 x 22 mm"""


CONVECTION: Final = 33.3 * MM2
"""m2 K/W at 30,000 W/m2/K on the lid"""


JOINT: Final = 2.02 + 2.07
"""mm2 K/W: oxide, BEOL, FEOL and thinned silicon of the GPU, and its micro-bumps to the stack"""


BASE_DIE: Final = 0.36 + 3.33


THICK_TOP: Final = 1.21 - 0.29
"""of a top die of 169 um over one of 41 um"""


SILICON_GAP: Final = 775e-6 / 140.0
"""m2 K/W of silicon as tall as the stacks"""


BOARD: Final = (1200.0 / 13.0 + 2.07) * MM2 + CONVECTION
"""m2 K/W from the GPU down: 1.2 mm of laminate at 13 W/m/K (thickness an estimate), bumps, a second cold plate"""


@dataclass(frozen=True)
class Stage:
    """One of imec's designs (Chen et al., IEDM 2025, doi 10.1109/IEDM50572.2025.11353711)."""

    name: str
    published: float
    """degC of the hottest spot of the GPU"""
    watts: float = 414.0
    beside: bool = False
    base_die: bool = False
    thick_top: bool = False
    gap: str = "none"
    """what fills the ground between stacks: mould, silicon, or none where they are merged"""
    board_cooled: bool = False


STAGES: Final = (
    Stage("2.5D", 69.1, beside=True),
    Stage("3D", 141.7, base_die=True, thick_top=True, gap="mould"),
    Stage("3D, base die removed", 138.0, thick_top=True, gap="mould"),
    Stage("3D, stacks merged", 120.4, thick_top=True),
    Stage("3D, top die thinned", 120.0),
    Stage("3D, half clock", 99.2, watts=300.0),
    Stage("3D, thermal silicon", 87.4, watts=300.0, gap="silicon"),
    Stage("3D, cooled from both sides", 70.8, watts=300.0, gap="silicon", board_cooled=True),
)


def package(catalog: Catalog, stage: Stage) -> tuple[Parts, Catalog]:
    """The package of a stage and the catalogue with its geometry; resistances of layers stay the catalogue's."""
    c = catalog
    if not stage.beside:
        joint = JOINT + BASE_DIE * stage.base_die + THICK_TOP * stage.thick_top
        c = c.replace("thermal", "common", "logic_resistance", joint * MM2)
        c = c.replace("thermal", "common", "stack_cover", 1.0 if stage.gap == "none" else COVER)
        if stage.gap == "silicon":
            c = c.replace("thermal", "common", "gap_resistance", SILICON_GAP)
    memory = c.names("memory").index("hbm4" if stage.beside else "dram3d")
    base = FORM.device_parts(c, [BASE], "")
    parts = replace(
        base,
        logic=replace(base.logic, area=np.array([GPU]), dies=np.ones(1)),
        memory=replace(
            base.memory,
            code=np.full(1, memory, dtype=np.int64),
            units=np.full(1, 4.0 if stage.beside else 0.0),
            stack_height=np.full(1, 12.0),
            bond_pitch=np.full(1, 9e-6),
        ),
        flash=replace(base.flash, code=np.full(1, -1), attach=np.full(1, -1), units=np.zeros(1)),
    )
    return parts, c


def temperatures(catalog: Catalog, stage: Stage, memory_watts: float = 160.0) -> tuple[float, float]:
    """Hottest GPU spot and hottest DRAM die [degC]."""
    parts, c = package(catalog, stage)
    logic, dram, _ = rises(PartValues(c, parts), np.full(1, CONVECTION))
    hot = float((logic.logic * stage.watts + logic.fast * memory_watts)[0])
    warm = float((dram.logic * stage.watts + dram.fast * memory_watts)[0])
    if stage.board_cooled:  # the same heat over the way up and the way down, side by side
        up = hot / (stage.watts + memory_watts) * GPU
        share = BOARD / (up + BOARD)
        hot, warm = hot * share, warm * share
    return COOLANT + hot, COOLANT + warm
