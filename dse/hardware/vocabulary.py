"""What design variables mean to the first-order model: entries or words they choose from, and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dse.catalog.catalog import Catalog
from dse.core.axes import GROUPS, MOUNTS
from dse.core.errors import Faults, nearest
from dse.hardware.codes import called
from dse.hardware.datacenter import ATTACH
from dse.hardware.mobile import HOMES
from dse.space.groups import KINDS_OF, NONE
from dse.space.space import Space
from dse.space.variables import Variable


@dataclass(frozen=True)
class Meaning:
    """One design variable: the catalogue's kind or the words that it chooses from, or its bounds in SI."""

    kind: str = ""
    words: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    numbers: tuple[int, ...] = ()
    """the only numbers that there are"""
    optional: bool = False
    """whether ``none`` is a choice"""
    lower: bool = False
    """whether names are compared in lower case"""
    whole: bool = False
    """whether it counts things"""

    def known(self, catalog: Catalog) -> list[str]:
        """Choices that there are."""
        if self.words:
            return list(self.words)
        names = {c for name in catalog.names(self.kind) for c in called(catalog, self.kind, name)}
        return sorted(names | ({NONE} if self.optional else set()))


CELLS: Final = ("pslc", "tlc")
ORIENTATIONS: Final = ("logic_below", "logic_above")

_RETICLES: Final = 8 * 0.858e-3
"""m2; eight fields of 26 x 33 mm"""

_COMMON: Final[Mapping[str, Meaning]] = {
    "flash": Meaning(KINDS_OF["flash"], optional=True),
    "flash_cell": Meaning(words=CELLS),
    "pnm": Meaning(KINDS_OF["pnm"], optional=True),
    "pnm_flops": Meaning(low=1e6, high=1e18),
}

VOCABULARY: Final[Mapping[str, Mapping[str, Meaning]]] = {
    "datacenter": {
        **_COMMON,
        "compute_node": Meaning(KINDS_OF["compute_node"], lower=True),
        "compute_area": Meaning(low=1e-6, high=_RETICLES),
        "mac_share": Meaning(low=1e-6, high=1.0),
        "sram": Meaning(low=0.0, high=1e12),
        "clock": Meaning(low=1e6, high=1e10),
        "fast_memory": Meaning(KINDS_OF["fast_memory"], optional=True),
        "stacks": Meaning(low=1, high=64, whole=True),
        "stack_height": Meaning(low=1, high=64, whole=True),
        "bond_pitch": Meaning(low=1e-7, high=1e-3),
        "orientation": Meaning(words=ORIENTATIONS),
        "flash_stacks": Meaning(low=1, high=64, whole=True),
        "flash_height": Meaning(low=1, high=128, whole=True),
        "flash_attach": Meaning(words=ATTACH),
        "far_memory": Meaning(KINDS_OF["far_memory"], optional=True),
        "far_modules": Meaning(low=1, high=64, whole=True),
        "domain": Meaning(numbers=GROUPS),
        "topology": Meaning(KINDS_OF["topology"]),
        "link_bandwidth": Meaning(low=1e6, high=1e15),
        "collective_engine": Meaning(KINDS_OF["collective_engine"]),
    },
    "mobile": {
        **_COMMON,
        "soc_node": Meaning(KINDS_OF["soc_node"], lower=True),
        "npu_area": Meaning(low=1e-8, high=1e-3),
        "npu_sram": Meaning(low=0.0, high=1e11),
        "npu_clock": Meaning(low=1e6, high=1e10),
        "dram": Meaning(KINDS_OF["dram"]),
        "dram_mount": Meaning(words=MOUNTS),
        "dram_channels": Meaning(low=1, high=64, whole=True),
        "dram_capacity": Meaning(low=2.0**20, high=1e13),
        "dram_height": Meaning(low=1, high=64, whole=True),
        "flash_dies": Meaning(low=1, high=128, whole=True),
        "weights_home": Meaning(words=HOMES),
        "on_package_link": Meaning(KINDS_OF["on_package_link"]),
    },
}
"""by target: every variable that the model reads"""


def check_variables(space: Space, catalog: Catalog, faults: Faults) -> None:
    """Note variables that the model does not read, choices that are no entry, and numbers out of bounds."""
    known = VOCABULARY[space.target.name]
    for v in space.variables:
        meaning = known.get(v.name)
        if meaning is None:
            faults.add(
                f"variables.{v.name}", v.name, f"a variable that the model reads: {nearest(v.name, known)}"
            )
        elif v.kind == "categorical":
            _check_choices(v, meaning, catalog, faults)
        elif meaning.kind or meaning.words:
            faults.add(f"variables.{v.name}.kind", v.kind, "categorical: the variable names what it chooses")
        else:
            _check_numbers(v, meaning, faults)


def _check_choices(v: Variable, meaning: Meaning, catalog: Catalog, faults: Faults) -> None:
    if not (meaning.kind or meaning.words):
        faults.add(f"variables.{v.name}.kind", v.kind, "a number: int, float or ordinal")
        return
    known = meaning.known(catalog)
    for choice in v.choices:
        name = str(choice).lower() if meaning.lower else str(choice)
        if name not in known:
            faults.add(f"variables.{v.name}.choices", choice, nearest(name, known))


def _check_numbers(v: Variable, meaning: Meaning, faults: Faults) -> None:
    numbers = [float(c) for c in v.choices] if v.discrete else [v.low, v.high]
    where = f"variables.{v.name}"
    if meaning.numbers:
        listed = ", ".join(map(str, meaning.numbers))
        if v.kind != "ordinal":
            faults.add(f"{where}.kind", v.kind, f"ordinal, of {listed}")
        for number in set(numbers) - set(meaning.numbers) if v.kind == "ordinal" else ():
            faults.add(f"{where}.choices", f"{number:g}", f"one of {listed}")
        return
    for number in numbers:
        if not meaning.low <= number <= meaning.high:
            faults.add(where, v.text(number), f"numbers from {v.text(meaning.low)} to {v.text(meaning.high)}")
        elif meaning.whole and number != int(number):
            faults.add(where, number, "whole numbers: it counts things")
    if meaning.whole and v.kind == "float":
        faults.add(f"{where}.kind", v.kind, "int or ordinal: it counts things")
