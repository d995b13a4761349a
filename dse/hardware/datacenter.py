"""Parts of a datacenter package from its design variables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from dse.catalog.catalog import Catalog
from dse.core.axes import FlashAttach
from dse.core.units import FloatArray, IntArray
from dse.hardware.codes import choice_codes, numbers, pnm_codes
from dse.hardware.logic import clock_ceiling, clock_levels, designed, flop_energies, peaks, rules, used_area
from dse.hardware.part_values import PartValues
from dse.hardware.parts import (
    UNBOUNDED,
    UNRATED,
    FarParts,
    FlashParts,
    LogicParts,
    MemoryParts,
    NetworkParts,
    Parts,
    PnmParts,
)
from dse.physics import memory, package, power, stack
from dse.space.design import Design
from dse.space.limits import Limit
from dse.space.space import Space

ATTACH = tuple(a.name.lower() for a in FlashAttach)
MOST_SUPPLY = 0.9
"""share of a die that supply through it may take before the numbers lose their meaning"""


def datacenter_parts(space: Space, design: Design, catalog: Catalog) -> Parts:
    """Choose the parts of n designs; checks on the choice go to ``limit_ratios``."""
    r = rules(catalog)
    area, sram = numbers(space, design, "compute_area"), numbers(space, design, "sram")
    mac_area = numbers(space, design, "mac_share") * area
    clock = numbers(space, design, "clock")
    node = choice_codes(space, design, "compute_node", catalog.names("logic"), lower=True)
    at_16bit, energy, volts, ratio = designed(catalog, node, mac_area, clock)
    leaking = catalog.take("logic", node, "leakage_density") * area
    logic = LogicParts(
        node=node,
        area=area,
        added_area=area,
        dies=package.dies_needed(area, r("usable_reticle")),
        clock=clock,
        peak=peaks(catalog, at_16bit),
        flop_energy=flop_energies(catalog, energy),
        level_energy=clock_levels(catalog, ratio),
        rest_power=leaking * power.leakage_scale(volts, r("v_nominal"), r("leakage_voltage_coefficient")),
        sram=sram,
        scratchpad=sram,
    )
    held = _memory(space, design, catalog, logic)
    flash = _flash(space, design, catalog)
    choices = [str(c) for c in space.variable("pnm").choices] if "pnm" in design.columns else []
    parts = Parts(
        logic=logic,
        memory=held,
        flash=flash,
        far=FarParts(
            code=choice_codes(space, design, "far_memory", catalog.names("memory")),
            modules=numbers(space, design, "far_modules"),
        ),
        pnm=PnmParts(
            code=pnm_codes(
                catalog, choices, choice_codes(space, design, "pnm", choices), held.code, flash.code
            ),
            flops=numbers(space, design, "pnm_flops"),
        ),
        network=_network(space, design, catalog),
        power_cap=np.full(len(design), UNRATED),
        limit_ratios={},
    )
    checks = {
        Limit.CLOCK: ratio / clock_ceiling(catalog),
        Limit.DIE_AREA: used_area(PartValues(catalog, parts), mac_area) / area,
    }
    return replace(parts, limit_ratios=checks)


def _memory(space: Space, design: Design, catalog: Catalog, logic: LogicParts) -> MemoryParts:
    """The fast memory, whatever its form; logic above it is supplied through it."""
    code = choice_codes(space, design, "fast_memory", catalog.names("memory"))
    field = partial(catalog.take, "memory", code)
    stacks, height = numbers(space, design, "stacks"), numbers(space, design, "stack_height", 1.0)
    usual = usual_pitch(catalog, code)
    pitch = numbers(space, design, "bond_pitch")
    pitch = np.where((height > 0) & (pitch > 0), pitch, usual)
    made = FastMemory.of(catalog, code, stacks, height, pitch, logic)
    above = (choice_codes(space, design, "orientation", ("logic_below", "logic_above")) == 1).astype(
        np.float64
    )
    through = above * (field("capacity_per_layer_per_area") > 0)  # its supply crosses the memory
    density = (logic.peak[:, 0] * logic.flop_energy[:, 0] + logic.rest_power) / np.maximum(logic.area, 1e-9)
    supply = stack.supply_share(density, np.maximum(field("power_per_tsv"), 1e-9), field("tsv_area"))
    left = 1.0 - np.minimum(through * supply, MOST_SUPPLY)
    return MemoryParts(
        code=code,
        units=stacks,
        stack_height=height,
        bond_pitch=pitch,
        logic_above=above,
        bandwidth=made.bandwidth * left,
        host_bandwidth=made.bandwidth * left,
        capacity=made.capacity * left,
        interface_energy=interface_energy(catalog, code, pitch),
    )


def usual_pitch(catalog: Catalog, code: IntArray) -> FloatArray:
    """Bond pitch [m] of memory that a design says nothing of: the one that its interface energy is of."""
    stated = catalog.take("memory", code, "reference_pitch")
    return np.where(stated > 0, stated, 1.0)


def interface_energy(catalog: Catalog, code: IntArray, pitch: FloatArray) -> FloatArray:
    """Energy [J/B] from the memory to the host: through bonds it goes with their pitch [m]."""
    field = partial(catalog.take, "memory", code)
    stated, reference = field("interface_energy"), field("reference_pitch")
    by_pitch = stack.pitch_energy(stated, pitch, np.maximum(reference, 1e-9))
    return np.where(field("capacity_per_layer_per_area") > 0, by_pitch, stated)


@dataclass(frozen=True)
class FastMemory:
    """Bandwidth [B/s] and capacity [B] of the fast memory, (n,) each."""

    bandwidth: FloatArray
    capacity: FloatArray

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        code: IntArray,
        units: FloatArray,
        height: FloatArray,
        pitch: FloatArray,
        logic: LogicParts,
    ) -> FastMemory:
        """Memory of any form: it states one of a bandwidth by stack, by layer and area, and by byte.

        DRAM on logic gets as much bandwidth as its layers and its bonds carry; wires to the layers cost area.
        """
        m, area = partial(catalog.take, "memory", code), logic.area
        carried = stack.pitch_bandwidth(pitch, m("signal_share"), m("pad_rate"))
        layered = memory.layered_bandwidth(m("bandwidth_per_layer_per_area"), carried, height, area)
        wires = layered / np.maximum(area * height * m("pad_rate"), 1e-30)
        more = stack.tsv_share(wires, m("tsv_area"), height) - stack.tsv_share(
            wires, m("tsv_area"), m("reference_height")
        )
        on_layers = (
            m("capacity_per_layer_per_area") * height * area * (1.0 - np.where(layered > 0, more, 0.0))
        )
        on_chip = np.where(m("bandwidth_per_byte") > 0, logic.sram, 0.0)
        return cls(
            units * m("bandwidth_per_stack") + layered + m("bandwidth_per_byte") * logic.sram,
            units * (m("capacity_per_die") * height + m("capacity_per_package")) + on_layers + on_chip,
        )


def _flash(space: Space, design: Design, catalog: Catalog) -> FlashParts:
    n = len(design)
    attach = choice_codes(space, design, "flash_attach", ATTACH)
    far_link = catalog.value("link", catalog.the("link", "far"), "bandwidth")
    return FlashParts(
        code=choice_codes(space, design, "flash", catalog.names("flash")),
        units=numbers(space, design, "flash_stacks"),
        stack_height=numbers(space, design, "flash_height", 0.0),
        tlc=(choice_codes(space, design, "flash_cell", ("pslc", "tlc")) == 1).astype(np.float64),
        attach=attach,
        link_bandwidth=np.where(attach == FlashAttach.FAR, far_link, UNBOUNDED),
        shares_phy=(attach == FlashAttach.BEHIND_HBM).astype(np.float64),
        holds=np.ones(n),
        published_inner_bandwidth=np.zeros(n),
        published_capacity=np.zeros(n),
    )


def _network(space: Space, design: Design, catalog: Catalog) -> NetworkParts:
    topologies, engines = catalog.names("topology"), catalog.names("collective")
    topology = choice_codes(space, design, "topology", topologies)
    direct = topologies.index(catalog.the("topology", "direct"))  # one or two packages: a cable
    engine = choice_codes(space, design, "collective_engine", engines)
    default = engines.index(catalog.the("collective", "default"))
    return NetworkParts(
        domain=numbers(space, design, "domain", 1.0),
        topology=np.where(topology < 0, direct, topology),
        link_bandwidth=numbers(space, design, "link_bandwidth"),
        link_latency=np.zeros(len(design)),
        engine=np.where(engine < 0, default, engine),
    )
