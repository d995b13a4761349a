"""What is bought: the parts of n designs as columns."""

from __future__ import annotations

from dataclasses import dataclass

from dse.core.table import Table
from dse.core.units import FloatArray, IntArray


@dataclass
class Parts(Table):
    """Components of a package and its place in a domain; n rows, SI units."""

    node: IntArray
    """code into the catalogue's logic nodes"""
    logic_area: FloatArray
    dies: FloatArray
    clock: FloatArray
    """1/s; 0 for a machine that exists, whose clock is not ours to choose"""
    peak: FloatArray
    """(n, bits) FLOP/s at the design clock"""
    flop_energy: FloatArray
    """(n, bits) J/FLOP at the design voltage"""
    leakage: FloatArray
    """W of the logic at the design voltage"""
    sram: FloatArray
    scratchpad: FloatArray
    """bytes of ``sram`` that software places data in: 0 where it is a cache"""
    memory: IntArray
    """code into the catalogue's memories"""
    stacks: FloatArray
    height: FloatArray
    """dies of a stack, or layers of 3D DRAM"""
    bond_pitch: FloatArray
    """m; of 3D DRAM on logic"""
    logic_above: FloatArray
    """1 where the logic lies between 3D DRAM and the coolant"""
    fast_bandwidth: FloatArray
    fast_capacity: FloatArray
    flash: IntArray
    """code into the catalogue's flash, -1 none"""
    flash_stacks: FloatArray
    flash_height: FloatArray
    flash_tlc: FloatArray
    flash_attach: IntArray
    """0 own shoreline, 1 behind HBM, 2 far, -1 none"""
    far: IntArray
    """code into the catalogue's memories of modules behind a link, -1 none"""
    far_modules: FloatArray
    pnm: IntArray
    """0 none, 1 memory base die, 2 in bank, 3 flash base die, 4 memory package, 5 far module"""
    pnm_flops: FloatArray
    """FLOP/s per stack, package or module at 8 bit"""
    domain: FloatArray
    topology: IntArray
    link_bandwidth: FloatArray
    link_latency: FloatArray
    """s of a hop beyond the wire's: a host bridge, a network card"""
    engine: IntArray
    """0 host, 1 device, 2 in network"""
    power_cap: FloatArray
    """W a device is rated for; infinite-like 1e9 where the cooling class decides"""
    limits: dict[str, FloatArray]
    """value over limit of checks made while choosing parts"""
