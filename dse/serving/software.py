"""Efficiencies and overheads of a software stack.

Numbers, or columns (n,) where rows run different stacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from dse.catalog.catalog import Catalog

Factor = Any
"""a float, or a column (n,) where every row runs a stack of its own"""


@dataclass(frozen=True)
class SoftwareStack:
    """Factors of a software stack, as in its catalogue entry."""

    dense: Factor
    """bandwidth efficiency of dense weights"""
    attention: Factor
    experts: Factor
    emulation: Factor
    """bandwidth kept where weights are narrower than the arithmetic and are widened on the way"""
    flop: Factor
    flop_experts: Factor
    narrow: Factor
    """FLOP efficiency kept each time the arithmetic halves its bits from 16: peaks double, scaling work does
    not
    """
    eager_launch_share: Factor
    """launch overheads of a step that a joining prompt adds: its kernels are not in the captured graph"""
    link: Factor
    """share of the link rate that a collective reaches"""
    layer: Factor
    """s of kernels and scheduling per dense layer's worth of kernels"""
    moe_layer: Factor
    step: Factor
    sequence: Factor
    """s per sequence of an attention rank and step"""
    chunk: Factor
    """tokens of prompts that one step takes in"""
    prefill_share: Factor
    """share of the prompts' time that sequences meet while they decode; the rest they meet while they wait"""
    first_token: Factor
    """s of client, server and scheduler before a prompt is taken up"""
    waiting: Factor
    """decode steps that an arriving prompt waits"""

    def columns(self) -> dict[str, Factor]:
        """The factors that serving reads, by their names in ``WorkloadRow``."""
        return {column: getattr(self, name) for name, column in SERVED.items()}


SERVED = {
    "dense": "bandwidth_dense",
    "attention": "bandwidth_attention",
    "experts": "bandwidth_experts",
    "emulation": "emulation",
    "flop": "flop_dense",
    "flop_experts": "flop_experts",
    "narrow": "narrow",
    "eager_launch_share": "eager_launch_share",
    "link": "link",
    "layer": "layer_overhead",
    "moe_layer": "moe_layer_overhead",
    "step": "step_overhead",
    "sequence": "sequence_overhead",
    "chunk": "chunk",
}
"""column of a workload's row of each factor; the others tell of a client's requests, not of a step"""


FIELDS = {
    "dense": "bandwidth_efficiency",
    "attention": "bandwidth_efficiency_attention",
    "experts": "bandwidth_efficiency_experts",
    "emulation": "emulation_efficiency",
    "flop": "flop_efficiency",
    "flop_experts": "flop_efficiency_experts",
    "narrow": "narrow_efficiency",
    "eager_launch_share": "eager_share",
    "link": "link_efficiency",
    "layer": "layer_overhead",
    "moe_layer": "moe_layer_overhead",
    "step": "step_overhead",
    "sequence": "sequence_overhead",
    "prefill_share": "prefill_share",
    "chunk": "prefill_chunk",
    "first_token": "first_token_overhead",
    "waiting": "steps_waited",
}
"""catalogue field of each factor"""


def software_of(catalog: Catalog, software: str) -> SoftwareStack:
    """Nominal factors of a catalogued stack."""
    value = partial(catalog.value, "software", software)
    return SoftwareStack(**{name: value(field) for name, field in FIELDS.items()})
