"""Catalogue values at the codes of some parts: the one place where codes meet entries."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import FlashAttach, PnmSite
from dse.core.units import BoolArray, FloatArray, IntArray
from dse.hardware.parts import Parts
from dse.physics import stack

SITES = {"fast": PnmSite.FAST, "flash": PnmSite.FLASH, "far": PnmSite.FAR}
"""tier that a PNM entry says it is beside"""


class PartValues:
    """Nominal catalogue values for n parts, (n,); a missing part gives 0."""

    def __init__(self, catalog: Catalog, parts: Parts, body: str = "") -> None:
        self.catalog, self.parts, self._body = catalog, parts, body
        self._seen: dict[tuple[str, ...], FloatArray] = {}
        self._rules, self._thermal = catalog.only("logic_rules"), catalog.only("thermal")

    def once(self, make: Callable[[PartValues], FloatArray]) -> FloatArray:
        """What a function gives of these parts, (n,), worked out once; not to be written to."""
        key = (make.__module__, make.__qualname__)
        if key not in self._seen:
            self._seen[key] = make(self)
        return self._seen[key]

    def _take(self, kind: str, code: IntArray, field: str) -> FloatArray:
        key = (kind, field)
        if key not in self._seen:
            self._seen[key] = self.catalog.take(kind, code, field)
        return self._seen[key]

    def memory(self, field: str) -> FloatArray:
        """A field of the fast memory."""
        return self._take("memory", self.parts.memory.code, field)

    def far(self, field: str) -> FloatArray:
        """A field of the far memory modules."""
        return self.catalog.take("memory", self.parts.far.code, field)

    def flash(self, field: str) -> FloatArray:
        """A field of the flash."""
        return self._take("flash", self.parts.flash.code, field)

    def cell(self, field: str) -> FloatArray:
        """A field of the flash that goes with its cell type."""
        return np.where(self.parts.flash.tlc > 0, self.flash(f"{field}.tlc"), self.flash(f"{field}.pslc"))

    def logic(self, field: str) -> FloatArray:
        """A field of the logic node."""
        return self._take("logic", self.parts.logic.node, field)

    def pnm(self, field: str) -> FloatArray:
        """A field of the PNM engine."""
        return self._take("pnm", self.parts.pnm.code, field)

    def topology(self, field: str) -> FloatArray:
        """A field of the topology."""
        return self._take("topology", self.parts.network.topology, field)

    def engine(self, field: str) -> FloatArray:
        """A field of the collective engine."""
        return self._take("collective", self.parts.network.engine, field)

    def local_engine(self, field: str) -> FloatArray:
        """A field of the engine that starts collectives on the package.

        Where switches add, that is another one.
        """
        names = self.catalog.names("collective")
        local = [self.catalog.entry("collective", n).attributes.get("local_engine", n) for n in names]
        code = np.array([*(names.index(n) for n in local), -1])[self.parts.network.engine]
        return self.catalog.take("collective", code, field)

    def package_link(self, field: str) -> FloatArray:
        """A field of the on-package link of a device, 0 where there is none."""
        device = self.parts.device
        return np.zeros(len(self.parts)) if device is None else self._take("link", device.link, field)

    def rule(self, field: str) -> float:
        """A rule of logic."""
        return self.catalog.value("logic_rules", self._rules, field)

    def thermal(self, field: str) -> float:
        """A resistance or limit of the thermal path."""
        return self.catalog.value("thermal", self._thermal, field)

    def body(self, field: str) -> float:
        """A figure of the body that a device's package stands in."""
        return self.catalog.value("body", self._body, field)

    @property
    def bonded_memory(self) -> str:
        """Entry of the memory that can be bonded to the SoC of a device in this body."""
        return self.catalog.entry("body", self._body).attributes["bonded_memory"]

    def attribute(self, kind: str, code: IntArray, name: str, wanted: str) -> BoolArray:
        """Where the entry at ``code`` has ``wanted`` for an attribute; False for an absent part."""
        c = self.catalog

        def make() -> BoolArray:
            return np.array(
                [*(c.entry(kind, n).attributes.get(name) == wanted for n in c.names(kind)), False]
            )

        out: BoolArray = c.kept(("attribute", kind, name, wanted), make)[code]
        return out

    def available(self, kind: str, code: IntArray) -> FloatArray:
        """Nominal year in which an entry can be had, 0 for an absent part."""
        c = self.catalog

        def make() -> FloatArray:
            return np.array([*(c.entry(kind, n).available.nominal for n in c.names(kind)), 0.0])

        out: FloatArray = c.kept(("available", kind), make)[code]
        return out

    @cached_property
    def pnm_site(self) -> IntArray:
        """``PnmSite`` that the engine is made for, NONE without one."""
        beside = [SITES[self.catalog.entry("pnm", n).attributes["beside"]] for n in self.catalog.names("pnm")]
        out: IntArray = np.array([*beside, PnmSite.NONE], dtype=np.int64)[self.parts.pnm.code]
        return out

    @cached_property
    def pnm_units(self) -> FloatArray:
        """Stacks, packages, dies or modules that carry a PNM engine."""
        parts, site = self.parts, self.pnm_site
        each_die = self.attribute("pnm", parts.pnm.code, "per", "die")
        memory = parts.memory.units * np.where(each_die, parts.memory.stack_height, 1.0)
        flash = np.where(each_die, parts.flash.dies, parts.flash.units)
        out: FloatArray = np.select(
            [site == PnmSite.FAST, site == PnmSite.FLASH, site == PnmSite.FAR],
            [memory, flash, parts.far.modules],
            0.0,
        )
        return out

    def pnm_serves(self, operators: tuple[str, ...]) -> FloatArray:
        """(n, ops) 1 for operators that the PNM engine can run."""
        names = self.catalog.names("pnm")
        can = [self.catalog.entry("pnm", n).attributes.get("operators", "").split() for n in names]
        table = np.array([*([float(op in each) for op in operators] for each in can), [0.0] * len(operators)])
        out: FloatArray = np.take(table, self.parts.pnm.code, axis=0)
        return out

    def _form(self, form: str) -> FloatArray:
        return self.attribute("memory", self.parts.memory.code, "form", form).astype(np.float64)

    @cached_property
    def stacked(self) -> FloatArray:
        """1 where the fast memory is HBM: stacks on an interposer."""
        return self._form("stack")

    @cached_property
    def packaged(self) -> FloatArray:
        """1 where the fast memory is packages on the substrate: LPDDR, GDDR."""
        return self._form("package")

    @cached_property
    def on_logic(self) -> FloatArray:
        """1 where the fast memory is bonded to the compute die."""
        return self._form("on_logic")

    @cached_property
    def on_chip(self) -> FloatArray:
        """1 where the fast memory is the SRAM of the compute die."""
        return self._form("sram")

    @property
    def near_flash(self) -> FloatArray:
        """Flash stacks in the package: those that no link carries away."""
        return np.where(self.parts.flash.attach == FlashAttach.FAR, 0.0, self.parts.flash.units)

    @property
    def own_flash(self) -> FloatArray:
        """Flash stacks with an interface of their own on the compute die."""
        return np.where(self.parts.flash.attach == FlashAttach.OWN_SHORELINE, self.parts.flash.units, 0.0)

    @property
    def on_interposer(self) -> FloatArray:
        """1 where anything needs an interposer: HBM, flash with its own or HBM's PHY, or two compute dies."""
        near = (self.parts.flash.units > 0) & (self.parts.flash.attach != FlashAttach.FAR)
        out: FloatArray = ((self.stacked > 0) | near | (self.parts.logic.dies > 1)).astype(np.float64)
        return out

    @cached_property
    def bonds(self) -> list[str]:
        """Kinds of bonding from the coarsest pitch, that any stack can be made with, to the finest."""
        steps = {n: self.catalog.entry("bond", n).by_key("finest_pitch") for n in self.catalog.names("bond")}
        first = {name: years[min(years)].nominal for name, years in steps.items()}
        return sorted(first, key=lambda n: -first[n])

    @cached_property
    def bond_code(self) -> IntArray:
        """Index into ``bonds``: the coarsest that makes the pitch of memory on logic, or leaves an HBM stack
        room.

        A pitch counts as made where the earliest year of an entry makes it.
        """
        memory = self.parts.memory
        code = np.zeros(len(memory.code), dtype=np.int64)
        for coarser, kind in enumerate(self.bonds[:-1]):
            steps = self.catalog.entry("bond", kind).by_key("finest_pitch")
            too_fine = (self.on_logic > 0) & (memory.bond_pitch < steps[min(steps)].nominal)
            too_tall = (self.stacked > 0) & (
                memory.stack_height > self.catalog.value("bond", kind, "tallest_stack")
            )
            code = np.where((code == coarser) & (too_fine | too_tall), coarser + 1, code)
        return code

    def bond(self, field: str) -> FloatArray:
        """A field of the bonding that the memory stack needs."""
        column = self.catalog.column("bond", self.bonds, field)
        out: FloatArray = column[self.bond_code]
        return out

    def bond_of(self, index: int, field: str) -> float:
        """A field of a kind of bonding: 0 the coarsest, -1 the finest."""
        return self.catalog.value("bond", self.bonds[index], field)

    def bond_good(self, index: int) -> FloatArray:
        """Known-good share of dies tested as a kind of bonding lets them be; shape (1,)."""
        good = np.array([self.bond_of(index, "die_yield")]), np.array([self.bond_of(index, "test_coverage")])
        return stack.known_good(*good)

    def bond_stack(self, per_layer: FloatArray, layers: FloatArray) -> FloatArray:
        """Yield of a stack of ``layers`` dies whose bonds yield ``per_layer``, known-good dies as its bonding
        can test them.
        """
        return stack.stack_yield(
            per_layer, layers, stack.known_good(self.bond("die_yield"), self.bond("test_coverage"))
        )
