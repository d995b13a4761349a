"""Catalogue values at the codes of some parts: the one place where codes meet entries."""

from __future__ import annotations

import numpy as np

from dse.catalog.catalog import Catalog, names
from dse.core.units import FloatArray, IntArray
from dse.hardware.datacenter import ENGINES, PNM
from dse.hardware.parts import Parts
from dse.physics import stack

ENTRIES = ("memory_base_die", "in_bank_hbm", "in_bank_lpddr", "flash_base_die", "lpddr_package", "far_module")
"""catalogue entries of PNM engines"""


ENTRY = {"in_bank": "in_bank_hbm", "memory_package": "lpddr_package"}
"""entry of a placement whose name differs; in the banks of LPDDR it is another"""


class PartValues:
    """Nominal catalogue values for n parts; a missing part gives 0."""

    def __init__(self, catalog: Catalog, parts: Parts) -> None:
        self.catalog, self.parts = catalog, parts
        self._seen: dict[tuple[str, str], FloatArray] = {}

    def _take(self, kind: str, code: IntArray, f: str) -> FloatArray:
        key = (kind, f)
        if key not in self._seen:
            self._seen[key] = self.catalog.take(kind, names(self.catalog, kind), code, f)
        return self._seen[key]

    def memory(self, f: str) -> FloatArray:
        """A field of the fast memory."""
        return self._take("memory", self.parts.memory, f)

    def far(self, f: str) -> FloatArray:
        """A field of the far memory modules."""
        return self.catalog.take("memory", names(self.catalog, "memory"), self.parts.far, f)

    def flash(self, f: str) -> FloatArray:
        """A field of the flash."""
        return self._take("flash", self.parts.flash, f)

    def cell(self, f: str) -> FloatArray:
        """A field of the flash that goes with its cell type."""
        return np.where(self.parts.flash_tlc > 0, self.flash(f + "_tlc"), self.flash(f + "_pslc"))

    def logic(self, f: str) -> FloatArray:
        """A field of the logic node."""
        return self._take("logic", self.parts.node, f)

    def in_year(self, kind: str, name: str, prefix: str, year: float) -> float:
        """What an entry states for the latest year not after ``year``, of fields ``prefix`` and a year; else for its first."""
        steps = {int(f.removeprefix(prefix)): f for f in self.catalog.entry(kind, name).values if f.startswith(prefix)}
        latest = max((y for y in steps if y <= year), default=min(steps))
        return self.catalog.value(kind, name, steps[latest])

    def topology(self, f: str) -> FloatArray:
        """A field of the topology."""
        return self._take("topology", self.parts.topology, f)

    def engine(self, f: str) -> FloatArray:
        """A field of the collective engine."""
        return self.catalog.column("collective", ENGINES, f)[self.parts.engine]

    def rule(self, f: str) -> float:
        """A rule of logic."""
        return self.catalog.value("logic_rules", "common", f)

    def thermal(self, f: str) -> float:
        """A resistance or limit of the thermal path."""
        return self.catalog.value("thermal", "common", f)

    def pnm(self, f: str) -> FloatArray:
        """A field of the PNM entry that the placement means on this memory."""
        catalog = self.catalog
        column = np.array([0.0, *(catalog.value("pnm", name, f) for name in ENTRIES)])
        out: FloatArray = column[self._engine]
        return out

    def pnm_serves(self, operators: tuple[str, ...]) -> FloatArray:
        """(n, ops) 1 for operators that the PNM engine can run."""
        entries = [self.catalog.entry("pnm", name).attributes.get("operators", "").split() for name in ENTRIES]
        table = np.array([[0.0] * len(operators), *([float(op in can) for op in operators] for can in entries)])
        out: FloatArray = table[self._engine]
        return out

    def pnm_year(self) -> FloatArray:
        """Nominal year in which the PNM engine can be had, 0 without."""
        years = np.array([0.0, *(self.catalog.entry("pnm", name).available.nominal for name in ENTRIES)])
        out: FloatArray = years[self._engine]
        return out

    @property
    def _engine(self) -> IntArray:
        """1 + index into ENTRIES, 0 without an engine."""
        entry = np.array([0, *(1 + ENTRIES.index(ENTRY.get(p, p)) for p in PNM[1:])])
        in_bank = self.parts.pnm == PNM.index("in_bank")
        return np.where(in_bank & (self.packaged > 0), 1 + ENTRIES.index("in_bank_lpddr"), entry[self.parts.pnm])

    @property
    def stacked(self) -> FloatArray:
        """1 where the fast memory is HBM: stacks on an interposer."""
        return (self.memory("capacity_per_die") > 0).astype(np.float64)

    @property
    def packaged(self) -> FloatArray:
        """1 where the fast memory is LPDDR packages on the substrate."""
        return (self.memory("capacity_per_package") > 0).astype(np.float64)

    @property
    def on_logic(self) -> FloatArray:
        """1 where the fast memory is bonded to the compute die."""
        return (self.memory("capacity_per_layer_per_area") > 0).astype(np.float64)

    @property
    def on_chip(self) -> FloatArray:
        """1 where the fast memory is the SRAM of the compute die."""
        return (self.memory("bandwidth_per_byte") > 0).astype(np.float64)

    @property
    def on_interposer(self) -> FloatArray:
        """1 where anything needs an interposer: HBM, flash with its own or HBM's PHY, or two compute dies."""
        near_flash = (self.parts.flash_stacks > 0) & (self.parts.flash_attach != 2)
        out: FloatArray = ((self.stacked > 0) | near_flash | (self.parts.dies > 1)).astype(np.float64)
        return out

    @property
    def hybrid_bonded(self) -> FloatArray:
        """1 where the stack is hybrid-bonded: 3D DRAM on logic at a fine pitch, HBM of 20 dies."""
        fine = (self.on_logic > 0) & (
            self.parts.bond_pitch < self.catalog.value("bond", "microbump", "finest_pitch_2026")
        )
        return (fine | ((self.stacked > 0) & (self.parts.height >= TALL))).astype(np.float64)

    def bond_stack(self, per_layer: FloatArray, layers: FloatArray) -> FloatArray:
        """Yield of a stack of ``layers`` dies whose bonds yield ``per_layer``, known-good dies as its bonding can test them."""
        return stack.stack_yield(
            per_layer, layers, stack.known_good(self.bond("die_yield"), self.bond("test_coverage"))
        )

    def bond(self, f: str) -> FloatArray:
        """A field of the bonding that the memory stack needs."""
        catalog = self.catalog
        return np.where(
            self.hybrid_bonded > 0, catalog.value("bond", "hybrid_bond", f), catalog.value("bond", "microbump", f)
        )


TALL = 20
"""HBM dies from which 775-900 um leave no room for bumps (JEDEC discussion; spaces reference)."""
