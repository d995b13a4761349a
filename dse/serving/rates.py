"""What a design under a workload keeps from pair to pair: inverse rates and energies of each operator."""

from __future__ import annotations

from typing import Final

from dse.core.axes import GROUPS, LINES, OPERATORS
from dse.core.compilation import compilable
from dse.physics import thermal
from dse.serving.plan import DEEPEST
from dse.serving.records import OPS, MachineRow, ScratchRow, WorkloadRow

ATTENTION: Final = OPERATORS.index("attention")
FFN: Final = OPERATORS.index("ffn")
EXPERTS: Final = OPERATORS.index("experts")
HEAD: Final = OPERATORS.index("head")
RATED: Final = 1
"""column of 8 bit among the precisions: what engines are rated at"""


@compilable
def inverse_efficiency(work: WorkloadRow, i: int) -> float:
    """1 / bandwidth efficiency of operator i; narrow weights are widened on the way."""
    kept = work.bandwidth_dense
    if i == ATTENTION:
        kept = work.bandwidth_attention
    elif i == EXPERTS:
        kept = work.bandwidth_experts
    return (1.0 + work.emulated[i] * (1.0 / work.emulation - 1.0)) / kept


@compilable
def flop_efficiency(work: WorkloadRow, i: int) -> float:
    """FLOP efficiency of operator i in its arithmetic: 16, 8, 4 bit."""
    kept = work.flop_experts if i == EXPERTS else work.flop_dense
    return kept * work.narrow ** work.bits[i]


@compilable
def governed(machine: MachineRow, time: float, logic: float, fast: float, flash: float) -> float:
    """Time [s] of a step of these energies [J] stretched until every limit of heat holds."""
    out = time
    for i in range(machine.heat_limits):
        asked = thermal.governed_time(
            logic, fast, flash, machine.heat_logic[i], machine.heat_fast[i], machine.heat_flash[i]
        )
        out = max(out, asked)
    return out


@compilable
def prepare(machine: MachineRow, work: WorkloadRow, scratch: ScratchRow) -> None:
    """Fill in what no plan changes.

    The engine gets the efficiencies that the host has for the same access pattern; its FLOP/s and J/FLOP are
    given at 8 bit and scale with precision as the host's do.
    """
    scratch.launch = (
        work.launches * work.layer_overhead + work.moe_layers * work.moe_layer_overhead + work.step_overhead
    )
    scratch.inverse_layers = 1.0 / work.layers
    scratch.inverse_deepest = 1.0 / min(float(DEEPEST), work.layers)
    scratch.inverse_tokens, scratch.inverse_output = 1.0 / work.tokens_per_step, 1.0 / work.output_tokens
    scratch.inverse_concurrency, scratch.inverse_link = 1.0 / work.concurrency, 1.0 / work.link
    scratch.inverse_chunk = 1.0 / work.chunk
    scratch.pnm_operators = 0
    for i in range(OPS):
        column = work.bits[i]
        peak, efficiency = machine.peak[column], flop_efficiency(work, i)
        scratch.rate[i] = 1.0 / peak / efficiency
        scratch.inverse[i] = inverse_efficiency(work, i)
        if machine.pnm_site > 0:
            scratch.pnm_rate[i] = machine.peak[RATED] / peak / machine.pnm_flops / efficiency
            scratch.pnm_joule[i] = (
                machine.pnm_flop_energy * machine.flop_energy[column] / machine.flop_energy[RATED]
            )
            if machine.pnm_serves[i] > 0.0:
                scratch.pnm_operators += 1 << i
    keep_lines(machine, scratch)
    for shape in range(len(scratch.prompt_known)):
        scratch.prompt_known[shape] = scratch.prompt_prepared[shape] = 0.0


@compilable
def keep_lines(machine: MachineRow, scratch: ScratchRow) -> None:
    """Keep the algorithms of an all-reduce that no other beats in both its time and its rate.

    For every message the fastest is among them.
    """
    width = len(LINES)
    for group in range(len(GROUPS)):
        at, kept = group * width, 0
        for a in range(width):
            alpha, rate = machine.reduce_alpha[at + a], machine.reduce_rate[at + a]
            beaten = False
            for b in range(width):
                if beaten:
                    break
                other, faster = machine.reduce_alpha[at + b], machine.reduce_rate[at + b]
                if other <= alpha and faster <= rate and (b < a or other < alpha or faster < rate):
                    beaten = True
            if not beaten:
                scratch.line_alpha[at + kept], scratch.line_rate[at + kept] = alpha, rate
                kept += 1
        scratch.lines[group] = kept
