"""Number formats of a checkpoint, by class, from ``quantization_config`` and ``hf_quant_config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dse.catalog.formats import CLASSES, STORED_BITS
from dse.catalog.hf_config import Config, read_json
from dse.catalog.hf_modules import Modules
from dse.catalog.hf_quantization import Quantization, apply
from dse.core.errors import DataError

PLAIN: Final[Mapping[str, str]] = {
    "bfloat16": "bf16",
    "bf16": "bf16",
    "float16": "fp16",
    "fp16": "fp16",
    "half": "fp16",
    "float8_e4m3fn": "fp8",
}
"""``torch_dtype`` -> format"""

MIXED: Final = 0.20
"""share of a class's bytes by which one format for all of it may miss them"""

SMALL: Final = 0.02
"""share of the whole checkpoint's bytes below which no such miss is told"""


@dataclass
class Formats:
    """Formats by class, and what was taken for granted."""

    weights: str
    """of what no class names"""
    classes: dict[str, str] = field(default_factory=dict)
    group: int = 0
    """weights that share a scale, 0 where the file does not say"""
    assumed: list[str] = field(default_factory=list)
    wide_bits: float = 16.0
    """of what is not quantised, as it lies in the checkpoint"""
    scales_quantised: bool = False
    """whether the scales of NF4 are quantised once more"""
    affine: bool = False
    """whether a scale and an offset of 16 bit stand for a group, and the embedding is quantised too (MLX)"""

    def of(self, name: str) -> str:
        """Format of a class."""
        return self.classes.get(name, self.weights)


def read_formats(c: Config, folder: Path, modules: Modules) -> Formats:
    """Formats of a checkpoint of such matrices.

    Raises:
        DataError: a quantisation that is not known, by the name that the file gives it, or a class of
            matrices in several formats.

    """
    named = c.text("torch_dtype", "dtype", default="")
    c.get("torch_dtype", "dtype")
    wide = PLAIN.get(named.removeprefix("torch."), "")
    assumed, wide_bits = [], 16.0
    if not wide:
        wide = "bf16"
        if named.removeprefix("torch.").startswith("float32"):
            assumed.append("weights in float32 are served in bf16")
            wide_bits = 32.0
        elif not named:
            assumed.append("weights in bf16: the configuration names no torch_dtype")
        else:
            raise c.wrong("torch_dtype", "one of " + ", ".join(PLAIN))
    made = c.get("quantization_config", "compression_config", "quantization")
    beside = folder / "hf_quant_config.json"
    if made and not isinstance(made, Mapping):
        raise c.wrong("quantization_config", "a table")
    where = f"{c.where}: quantization_config"
    if not made and beside.is_file():
        made, where = _inside(beside), str(beside)
    out = _formats(made or {}, where, wide, modules)
    if made and beside.is_file() and where != str(beside):
        _same(out, _formats(_inside(beside), str(beside), wide, modules), beside)
    out.assumed[:0], out.wide_bits = assumed, wide_bits
    expert = c.text("expert_dtype", default="")
    if expert:
        fmt = {"fp4": "mxfp4", "mxfp4": "mxfp4", "nvfp4": "nvfp4", "fp8": "fp8", "bf16": "bf16"}.get(expert)
        if fmt is None:
            raise c.wrong("expert_dtype", "fp4, mxfp4, nvfp4, fp8 or bf16")
        out.classes["experts"] = fmt
    return out


def _inside(beside: Path) -> Mapping[str, Any]:
    raw = read_json(beside)
    inner = raw.get("quantization", raw)
    if not isinstance(inner, Mapping):
        raise DataError(f"{beside}: quantization: got {inner!r:.60}, expected a table with a quant_algo")
    return inner


def _same(out: Formats, other: Formats, beside: Path) -> None:
    """A second file that says how the checkpoint is quantised may not say otherwise."""
    for name in ("ffn", "attention", "experts"):
        if other.of(name) != out.of(name):
            raise DataError(
                f"{beside}: {name} in {other.of(name)}, in {out.of(name)} by quantization_config; expected "
                "one of the two, or equal ones"
            )


def _formats(made: Mapping[str, Any], where: str, wide: str, modules: Modules) -> Formats:
    """Formats by class of what a quantisation block says, of matrices in 16 bit before."""
    for m in modules.members:
        m.convert(wide)
    q = Quantization(modules, wide, where)
    if made:
        apply(q, made)
    out = Formats(q.overall, {}, q.group, list(q.notes), scales_quantised=q.scales_quantised, affine=q.affine)
    whole = sum(m.weights for m in modules.members)
    shares = {cls: _shares(modules, cls) for cls in CLASSES}
    total = sum(_bytes(s) for s in shares.values())
    for cls, found in shares.items():
        if found:
            out.classes[cls] = _settled(cls, found, total, out, where)
    if q.cache:
        out.classes["kv_cache"] = q.cache
    if not whole:
        raise DataError(f"{where}: no matrices")
    out.weights = out.classes.get("ffn", q.overall)
    return out


def _shares(modules: Modules, cls: str) -> dict[str, float]:
    """Parameters of a class by format."""
    out: dict[str, float] = {}
    for m in modules.of(cls):
        for fmt, weights in m.shares().items():
            out[fmt] = out.get(fmt, 0.0) + weights
    return {f: w for f, w in out.items() if w}


def _bytes(shares: Mapping[str, float]) -> float:
    return sum(w * STORED_BITS[f] / 8.0 for f, w in shares.items())


def _settled(cls: str, shares: Mapping[str, float], total: float, out: Formats, where: str) -> str:
    """The one format in which a class is counted.

    Raises:
        DataError: none comes near to the bytes of its matrices.

    """
    if len(shares) == 1:
        return next(iter(shares))
    weights, truly = sum(shares.values()), _bytes(shares)
    best = min(shares, key=lambda f: abs(weights * STORED_BITS[f] / 8.0 - truly))
    miss = abs(weights * STORED_BITS[best] / 8.0 - truly)
    told = " and ".join(f"{100 * w / weights:.0f} % in {f}" for f, w in sorted(shares.items()))
    if miss > MIXED * truly and miss > SMALL * total:
        raise DataError(f"{where}: {cls}: {told}; one format a class is modelled")
    out.assumed.append(f"{cls}: {told}: all counted in {best}")
    return best
