"""Counts that a checkpoint or a name states, set beside what the configuration comes to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dse.catalog.formats import STORED_BITS
from dse.catalog.hf_config import read_json
from dse.catalog.hf_formats import Formats
from dse.catalog.transformer import Transformer
from dse.core.errors import DataError

EXACT: Final = 0.02
"""difference to a count that a file states above which the configuration was misread"""

NAMED_DOUBT: Final = 0.15
NAMED_WRONG: Final = 0.30
"""difference to a count in a name, which is rounded, above which to warn and to refuse"""
ACTIVE_WRONG: Final = 0.50
"""the same for parameters a token: names round them to a digit, with the embedding or without"""

BILLION: Final = 1e9


def checked(
    t: Transformer,
    raw: Mapping[str, Any],
    folder: Path,
    formats: Formats,
    names: list[str],
    *,
    more: bool = False,
) -> list[str]:
    """Warnings of a count set beside those that a file or a name states.

    With ``more`` a checkpoint holds other weights too (encoders of images): it must not state less.

    Raises:
        DataError: a file states a count more than 2 % away, or only a name does and is more than 30 % away.

    """
    stated = _stated(raw, folder)
    narrow = any(
        STORED_BITS[formats.of(name)] < STORED_BITS["bf16"] for name in ("attention", "ffn", "experts")
    )
    if stated is not None and narrow and "total_parameters" in stated[0]:
        stated = None  # of a quantised checkpoint transformers counts packed elements
    if stated is not None:
        where, count, in_bytes = stated
        mine = checkpoint_bytes(t, formats) if in_bytes else t.parameters
        off = min((m / count - 1.0 for m in _also(mine, t, formats, in_bytes=in_bytes)), key=abs)
        if abs(off) > EXACT and not (more and off < 0.0):
            unit = "GB" if in_bytes else "G parameters"
            raise DataError(
                f"{where}: states {count / BILLION:.4g} {unit}, the configuration comes to "
                f"{mine / BILLION:.4g} ({100 * off:+.1f} %); expected a difference of at most 2 %: the model "
                "does something that is not known here, or its files are not of one checkpoint"
            )
        return []
    whole = _beside_names(names, named_count, t.parameters, "parameters", NAMED_WRONG, more=more)
    return whole + _beside_names(names, named_active, t.active, "parameters a token", ACTIVE_WRONG, more=more)


def _also(mine: float, t: Transformer, formats: Formats, *, in_bytes: bool) -> list[float]:
    """What files of one model may state: with its drafts, with a tied head that is stored once more, with the
    offsets of groups that GPTQ and AWQ keep beside scales.
    """
    found = [mine, mine * (1.0 + _draft_share(t))]
    if t.tied:
        found.append(mine + t.embedding * (formats.wide_bits / 8.0 if in_bytes else 1.0))
    if in_bytes and formats.group and not formats.affine:
        found.append(mine + offset_bytes(t, formats))
    return found


def _beside_names(
    names: Sequence[str],
    told_by: Callable[[str], float | None],
    count: float,
    what: str,
    wrong: float,
    *,
    more: bool,
) -> list[str]:
    """A warning where the first name that states a count is some way off; encoders may be ``more``.

    Raises:
        DataError: it is more than ``wrong`` off.

    """
    for name in names:
        told = told_by(name)
        if told is None:
            continue
        off = count / told - 1.0
        if told % BILLION == 0 and told < count < told + BILLION:
            wrong = max(wrong, off)  # 1B is what 1.5 G are called: names drop what follows a whole number
        if more and off < 0.0:
            return []
        text = (
            f"{name!r} says {told / BILLION:.4g} G {what}, the configuration comes to "
            f"{count / BILLION:.4g} G ({100 * off:+.1f} %)"
        )
        if abs(off) > wrong:
            raise DataError(
                f"{text}; expected a difference of at most {100 * wrong:g} %: names are rounded, not so far; "
                "or --name one that states no count"
            )
        return [text] if abs(off) > NAMED_DOUBT else []
    return []


def _draft_share(t: Transformer) -> float:
    """Parameters of draft layers over those of the model: each has a layer's size and a projection."""
    drafts = t.mtp_layers or (1 if t.experts else 0)  # Qwen3-Next has one that its file does not name
    if not drafts:
        return 0.0
    routed = (t.expert * t.experts + t.shared) / max(t.moe_layers, 1)
    layer = t.attention / max(t.layers, 1) + (routed or t.ffn / max(t.layers, 1))
    return drafts * (layer + 2.0 * t.hidden**2) / t.parameters


def checkpoint_bytes(t: Transformer, formats: Formats) -> float:
    """Bytes of the weights in a checkpoint, scales included."""
    embedding = t.embedding + t.gathered
    head = 0.0 if t.tied else t.head
    routed = t.expert * t.experts
    return (
        t.attention * _bits(formats, "attention")
        + t.ffn * _bits(formats, "ffn")
        + routed * _bits(formats, "experts")
        + head * _bits(formats, "head")
        + embedding * (_bits(formats, "head") if formats.affine else formats.wide_bits)
        + t.norms * formats.wide_bits
    ) / 8


def offset_bytes(t: Transformer, formats: Formats) -> float:
    """Bytes of an offset of as many bits as a weight for each group."""
    weights = {"attention": t.attention, "ffn": t.ffn, "experts": t.expert * t.experts}
    found = 0.0
    for name, count in weights.items():
        fmt = formats.of(name)
        if fmt.startswith("int"):
            found += count * int(fmt.removeprefix("int")) / formats.group / 8.0
    return found


def _bits(formats: Formats, name: str) -> float:
    """Bits a weight with its share of a scale of 16 bit over the group that the file names."""
    fmt = formats.of(name)
    if fmt == "nf4" and formats.scales_quantised:  # an 8-bit scale to 64, a 32-bit one to 256 of those
        return 4.0 + 8.0 / 64.0 + 32.0 / (64.0 * 256.0)
    if STORED_BITS[fmt] == 16.0:
        return formats.wide_bits
    if fmt.startswith("int") and formats.group:
        return int(fmt.removeprefix("int")) + (32.0 if formats.affine else 16.0) / formats.group
    return STORED_BITS[fmt]


def _stated(raw: Mapping[str, Any], folder: Path) -> tuple[str, float, bool] | None:
    """Where a count is stated, the count, and whether it is one of bytes."""
    for key in ("num_parameters", "n_params", "total_params", "parameter_count"):
        value = raw.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return f"config.json: {key}", float(value), False
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return None
    metadata = read_json(index).get("metadata")
    if not isinstance(metadata, Mapping):
        return None
    for key, in_bytes in (("total_size", True), ("total_parameters", False)):
        value = metadata.get(key)
        if value is not None and (
            isinstance(value, bool | str) or not isinstance(value, int | float) or value <= 0
        ):
            raise DataError(f"{index}: metadata.{key}: got {value!r}, expected a number above 0")
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return f"{index}: metadata.{key}", float(value), in_bytes
    return None


def named_active(name: str) -> float | None:
    """Parameters that a token takes as a name states them: ``A3B``, ``A22B``."""
    found = re.findall(r"(?<![a-zA-Z\d])[aA](\d+(?:\.\d+)?)[bB](?![a-zA-Z])", name.replace("_", "-"))
    return float(found[0]) * BILLION if found else None


def named_count(name: str) -> float | None:
    """Parameters that a name states: ``70B``, ``1_8B``, ``1b7``, ``355m``, ``1T``; the larger of two.

    Not those a token takes (``A3B``, ``17B-16E``), nor those of ``8x7B``, which counts shared layers several
    times.
    """
    plain = re.sub(r"[-_.]?(?:[aA]|e|E)\d+(?:\.\d+)?[bBmM]\b", " ", name)
    plain = re.sub(r"\d+[bB]-\d+E\b", " ", plain)
    plain = re.sub(r"(?<!\d)(\d{1,2})[bB](\d)(?![\da-zA-Z])", r"\1.\2B", plain)
    plain = re.sub(r"(?<![\d_])(\d{1,2})_(\d{1,2}[bBmMtT])(?![a-zA-Z])", r"\1.\2", plain)
    found = re.findall(
        r"(?<![\w.])(?:(\d+)x)?(\d+(?:\.\d+)?)\s?([bBmMtT])(?![a-zA-Z\d])", plain.replace("_", "-")
    )
    if not found or any(times for times, _, _ in found):
        return None
    for unit, size in (("b", 1e9), ("t", 1e12), ("m", 1e6)):  # beside billions, a T or M is of tokens
        told = [float(number) * size for _, number, its in found if its.lower() == unit]
        if told:
            return max(told)
    return None
