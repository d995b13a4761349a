"""Number formats of weights and caches: bits in memory, bits of the arithmetic, and what a chip must have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

STORED_BITS: Final[Mapping[str, float]] = {
    "bf16": 16.0,
    "fp16": 16.0,
    "fp8": 8.0,
    "mxfp8": 8.25,
    "int8": 8.0,
    "nvfp4": 4.5,
    "mxfp4": 4.25,
    "int4": 4.25,
    "nf4": 4.5,
    "int3": 3.25,
    "int2": 2.25,
    "ternary": 2.0,
}
"""bits in memory, block scales included: 8 per 16 values (NVFP4), 8 per 32 (MXFP4, MXFP8), 16 per 64 or 128
(integers of 4 bits and fewer), 32 per 64 (NF4 of bitsandbytes); ternary weights lie four to a byte (BitNet)
"""

NATIVE: Final[Mapping[str, int]] = {
    "bf16": 16,
    "fp16": 16,
    "fp8": 8,
    "mxfp8": 8,
    "int8": 8,
    "nvfp4": 4,
    "mxfp4": 8,
    "int4": 16,
    "nf4": 16,
    "int3": 16,
    "int2": 16,
    "ternary": 8,
}
"""bits of the arithmetic where the chip has the format: MXFP4 runs against 8-bit activations, integers of 4
bits and fewer are weights only, ternary weights meet 8-bit activations
"""

UNIT: Final[Mapping[str, str]] = {
    "fp8": "fp8",
    "mxfp8": "fp8",
    "int8": "int8",
    "nvfp4": "fp4",
    "mxfp4": "fp4",
    "ternary": "int8",
}
"""what a chip must have to multiply in a format"""


def arithmetic_bits(units: Collection[str], fmt: str) -> int:
    """Bits in which a chip multiplies weights of a format: its own where the chip has it, else 16."""
    need = UNIT.get(fmt)
    return NATIVE[fmt] if need is None or need in units else 16


CACHE_FORMATS: Final[Mapping[str, float]] = {
    "bf16": 16.0,
    "fp16": 16.0,
    "fp8": 8.0,
    "int8": 8.0,
    "nvfp4": 4.5,
}
"""formats that runtimes keep a KV cache in, and their bits"""

CLASSES: Final = ("attention", "ffn", "experts", "head", "kv_cache")
"""what may have a format of its own; shared experts and routers follow the dense feed-forward layers"""
