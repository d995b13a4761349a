"""Number formats of a checkpoint, by class, from ``quantization_config`` and ``hf_quant_config.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dse.catalog.formats import CACHE_FORMATS, CLASSES, STORED_BITS
from dse.catalog.hf_config import Config, read_json
from dse.catalog.hf_exclusions import exclusions, kept_wide
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

METHODS: Final[Mapping[str, str]] = {
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "finegrained_fp8": "fp8",
    "ptpc_fp8": "fp8",
    "mxfp4": "mxfp4",
    "mxfp8": "mxfp8",
    "nvfp4": "nvfp4",
    "awq": "int4",
    "gptq": "int4",
    "auto-round": "int4",
    "autoround": "int4",
    "awq_marlin": "int4",
    "gptq_marlin": "int4",
    "bitnet": "ternary",
    "eetq": "int8",
    "experts_int8": "int8 (experts)",
}
"""``quant_method`` -> format where no number of bits stands beside it"""

BY_BITS: Final[Mapping[tuple[int, str], str]] = {
    (8, "float"): "fp8",
    (4, "float"): "nvfp4",
    (8, "int"): "int8",
    (4, "int"): "int4",
    (3, "int"): "int3",
    (2, "int"): "int2",
}

ALGORITHMS: Final[Mapping[str, str]] = {
    "fp8": "fp8",
    "fp8_pb_wo": "fp8",
    "fp8_per_channel_per_token": "fp8",
    "fp8_block_scales": "fp8",
    "mxfp8": "mxfp8",
    "mxfp4": "mxfp4",
    "w4a8_mxfp4_fp8": "mxfp4",
    "w4a16_mxfp4": "mxfp4",
    "w4a8_nvfp4_fp8": "nvfp4",
    "nvfp4": "nvfp4",
    "w4a16_nvfp4": "nvfp4",
    "nvfp4_awq": "nvfp4",
    "w4a16_awq": "int4",
    "w4a8_awq": "int4",
    "int4_awq": "int4",
    "w4a16": "int4",
    "int8_sq": "int8",
    "w8a8_sq_per_channel": "int8",
    "w8a16": "int8",
    "int8_wo": "int8",
}
"""``quant_algo`` of ModelOpt and TensorRT-LLM -> format"""

PARTS: Final[Mapping[str, str]] = {
    "attention": r"attn|attention|[qkvo]_proj|(kv|q)_[ab]_proj|qkv|mixer|mamba|in_proj|out_proj",
    "experts": r"experts(?!.*shared)|(?<!shared_)expert\b",
    "ffn": r"mlp|ffn|feed_forward|gate_up|up_proj|down_proj|gate_proj|shared_expert",
    "head": r"lm_head|embed_out|output_layer",
}
"""names of modules that belong to a class"""


@dataclass
class Formats:
    """Formats by class, and what was taken for granted."""

    weights: str
    """of what no class names"""
    classes: dict[str, str] = field(default_factory=dict)
    group: int = 0
    """weights that share a scale, 0 where the file does not say"""
    assumed: list[str] = field(default_factory=list)
    layers: int = 1
    """of the model"""

    def of(self, name: str) -> str:
        """Format of a class."""
        return self.classes.get(name, self.weights)


def read_formats(c: Config, folder: Path, layers: int) -> Formats:
    """Formats of a checkpoint of so many layers.

    Raises:
        DataError: a quantisation that is not known, by the name that the file gives it.

    """
    named = c.text("torch_dtype", "dtype", default="")
    c.get("torch_dtype", "dtype")
    wide = PLAIN.get(named.removeprefix("torch."), "")
    assumed = []
    if not wide:
        wide = "bf16"
        if named.startswith("float32"):
            assumed.append("weights in float32 are served in bf16")
        elif not named:
            assumed.append("weights in bf16: the configuration names no torch_dtype")
        else:
            raise c.wrong("torch_dtype", "one of " + ", ".join(PLAIN))
    made = c.get("quantization_config", "compression_config", "quantization")
    beside = folder / "hf_quant_config.json"
    out = Formats(wide, {}, 0, assumed, layers)
    if isinstance(made, Mapping) and made:
        _apply(out, made, f"{c.where}: quantization_config", wide)
        _same(out, beside, wide)
    elif made:
        raise c.wrong("quantization_config", "a table")
    elif beside.is_file():
        raw = read_json(beside)
        inner = raw.get("quantization", raw)
        if not isinstance(inner, Mapping):
            raise DataError(f"{beside}: quantization: got {inner!r:.60}, expected a table with a quant_algo")
        _apply(out, inner, str(beside), wide)
    expert = c.text("expert_dtype", default="")
    if expert:
        fmt = {"fp4": "mxfp4", "mxfp4": "mxfp4", "nvfp4": "nvfp4", "fp8": "fp8", "bf16": "bf16"}.get(expert)
        if fmt is None:
            raise c.wrong("expert_dtype", "fp4, mxfp4, nvfp4, fp8 or bf16")
        out.classes["experts"] = fmt
    return out


def _same(out: Formats, beside: Path, wide: str) -> None:
    """A second file that says how the checkpoint is quantised may not say otherwise."""
    if not beside.is_file():
        return
    other = Formats(wide, {}, 0, [], out.layers)
    raw = read_json(beside)
    inner = raw.get("quantization", raw)
    if isinstance(inner, Mapping):
        _apply(other, inner, str(beside), wide)
    for name in ("ffn", "attention", "experts"):
        if other.of(name) != out.of(name):
            raise DataError(
                f"{beside}: {name} in {other.of(name)}, in {out.of(name)} by quantization_config; expected "
                "one of the two, or equal ones"
            )


def _apply(out: Formats, made: Mapping[str, Any], where: str, wide: str) -> None:
    """Take over what a quantisation block says."""
    method = str(made.get("quant_method", "")).lower()
    if method == "compressed-tensors" or isinstance(made.get("config_groups"), Mapping):
        _groups(out, made, where, wide)
    elif method == "bitsandbytes" or made.get("load_in_4bit") or made.get("load_in_8bit"):
        four = made.get("load_in_4bit") or made.get("_load_in_4bit")
        kind = str(made.get("bnb_4bit_quant_type", "nf4"))
        out.weights = ({"nf4": "nf4", "fp4": "nf4"}.get(kind, "") if four else "int8") or _unknown(
            where, kind
        )
        _excluded(out, made, wide, where)
    elif made.get("quant_algo") is not None:
        _algorithm(out, made, where, wide)
    elif method == "quark":
        weights = (made.get("global_quant_config") or {}).get("weight") or {}
        out.weights = _quark(weights, where)
        _excluded(out, made, wide, where)
    elif method == "torchao":
        shown = str(made.get("quant_type"))
        out.weights = (
            "int4"
            if "int4" in shown.lower()
            else "int8"
            if "int8" in shown.lower()
            else "fp8"
            if "float8" in shown.lower()
            else _unknown(where, shown[:60])
        )
    elif not method and isinstance(made.get("bits"), int):  # MLX: everything, the head included
        mixed = [k for k, v in made.items() if isinstance(v, Mapping)]
        if mixed:
            raise DataError(f"{where}: {mixed[0]}: a format of its own; one format a class is modelled")
        out.weights = BY_BITS.get((made["bits"], "int"), "") or _unknown(where, f"{made['bits']} bits")
        size = made.get("group_size")
        out.group = size if isinstance(size, int) and size > 0 else 0
        out.classes["head"] = out.weights
    else:
        bits = made.get("bits", made.get("w_bit", made.get("weight_bits")))
        fmt = METHODS.get(method, "")
        if isinstance(bits, int) and fmt.startswith("int"):
            fmt = BY_BITS.get((bits, "int"), "") or _unknown(where, f"{bits} bits")
        if not fmt:
            _unknown(where, method or str(dict(made))[:60])
        if "(experts)" in fmt or method == "mxfp4":  # gpt-oss: experts alone
            out.classes["experts"] = fmt.split()[0]
        else:
            out.weights = fmt
            _excluded(out, made, wide, where)
        size = made.get("group_size", made.get("q_group_size"))
        out.group = size if isinstance(size, int) and size > 0 else 0
    _cache(out, made, where)


def _excluded(out: Formats, made: Mapping[str, Any], wide: str, where: str) -> None:
    """Classes whose modules stay in 16 bit; the head does unless it is named as converted."""
    kept = kept_wide(exclusions(made, where), out.layers, where)
    out.classes |= dict.fromkeys(sorted(kept.classes), wide)
    out.assumed += kept.notes
    if made.get("lm_head") is True and "head" not in kept.classes:  # GPTQ says so where it is converted
        out.classes["head"] = out.weights
    _head(out, wide)


def _head(out: Formats, wide: str) -> None:
    out.classes.setdefault("head", wide)


def _algorithm(out: Formats, made: Mapping[str, Any], where: str, wide: str) -> None:
    """ModelOpt: one algorithm, or one for each of the layers."""
    algorithm = str(made["quant_algo"]).lower()
    if algorithm == "mixed_precision":
        layers = made.get("quantized_layers")
        if not isinstance(layers, Mapping) or not layers:
            raise DataError(f"{where}: quant_algo: got MIXED_PRECISION, expected quantized_layers beside it")
        found: dict[str, set[str]] = {}
        for name, how in layers.items():
            label = str(how.get("quant_algo") if isinstance(how, Mapping) else how).lower()
            found.setdefault(_class_of(str(name)), set()).add(ALGORITHMS.get(label) or _unknown(where, label))
        for name, formats in found.items():
            if len(formats) > 1:
                raise DataError(
                    f"{where}: quantized_layers: {name} in {' and '.join(sorted(formats))}; one format a "
                    "class is modelled"
                )
            out.classes[name] = formats.pop()
        out.classes.setdefault("head", wide)
        return
    out.weights = ALGORITHMS.get(algorithm) or _unknown(where, algorithm)
    size = made.get("group_size")
    out.group = size if isinstance(size, int) and size > 0 else 0
    _excluded(out, made, wide, where)


def _class_of(module: str) -> str:
    """The class that a module's name belongs to."""
    for name in ("head", "experts", "ffn", "attention"):
        if re.search(PARTS[name], module):
            return name
    return "ffn"


def _groups(out: Formats, made: Mapping[str, Any], where: str, wide: str) -> None:
    """compressed-tensors: groups of modules with a format each."""
    groups = made.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise DataError(f"{where}: config_groups: got {str(groups)[:60]}, expected groups with weights")
    formats: list[tuple[str, list[str]]] = []
    for name, g in groups.items():
        if not isinstance(g, Mapping):
            raise DataError(f"{where}: config_groups.{name}: got {str(g)[:60]}, expected a table")
        w = g.get("weights") or {}
        fmt = _weights(w, str(g.get("format") or made.get("format") or ""), f"{where}: {name}")
        formats.append((fmt, [str(t) for t in g.get("targets") or ["Linear"]]))
        size = w.get("group_size")
        out.group = size if isinstance(size, int) and size > 0 else out.group
    named = [f for f in formats if f[1] != ["Linear"]]
    whole = [f for f in formats if f[1] == ["Linear"]]
    out.weights = whole[0][0] if whole else wide
    for fmt, targets in named:
        for name in {_class_of(t) for t in targets}:
            if out.classes.get(name, fmt) != fmt:
                raise DataError(
                    f"{where}: {name} in {out.classes[name]} and {fmt}; one format a class is modelled"
                )
            out.classes[name] = fmt
    if whole:
        _excluded(out, made, wide, where)
    _head(out, wide)


def _weights(w: Mapping[str, Any], layout: str, where: str) -> str:
    """Format of a group's weights."""
    if "mxfp4" in layout:
        return "mxfp4"
    if "mxfp8" in layout:
        return "mxfp8"
    bits, kind = w.get("num_bits", w.get("bits")), str(w.get("type", "int"))
    scale = str(w.get("scale_dtype") or "")
    if bits == 4 and kind == "float" and ("e8m0" in scale or w.get("group_size") == 32):
        return "mxfp4"
    if bits == 8 and kind == "float" and (w.get("group_size") == 32):
        return "mxfp8"
    return BY_BITS.get((bits, kind) if isinstance(bits, int) else (0, ""), "") or _unknown(
        where, f"{bits} bits of {kind}"
    )


def _quark(weights: Any, where: str) -> str:
    """AMD Quark: the data type of weights."""
    found = weights[0] if isinstance(weights, list) and weights else weights
    shown = str(found.get("dtype") if isinstance(found, Mapping) else found).lower()
    known = {
        "fp4": "mxfp4",
        "mxfp4": "mxfp4",
        "fp8_e4m3": "fp8",
        "int4": "int4",
        "int8": "int8",
        "uint4": "int4",
    }
    return known.get(shown) or _unknown(where, shown)


def _cache(out: Formats, made: Mapping[str, Any], where: str) -> None:
    """Format of the KV cache where the checkpoint asks for one."""
    scheme = made.get("kv_cache_scheme")
    named = made.get("kv_cache_quant_algo") or made.get("kv_cache_quant_algorithm")
    if isinstance(scheme, Mapping) and scheme:
        fmt = BY_BITS.get((scheme.get("num_bits", 8), str(scheme.get("type", "float"))), "")
    elif named:
        fmt = ALGORITHMS.get(str(named).lower(), "")
    else:
        return
    if fmt not in CACHE_FORMATS:
        raise DataError(
            f"{where}: KV cache: got {named or scheme}, expected one of {', '.join(CACHE_FORMATS)}"
        )
    out.classes["kv_cache"] = fmt


def _unknown(where: str, shown: str) -> str:
    raise DataError(
        f"{where}: quantisation {shown!r} is not known; expected one of "
        f"{', '.join(sorted(set(METHODS) | set(ALGORITHMS)))}, or groups of {', '.join(STORED_BITS)}"
    )


assert set(PARTS) < set(CLASSES)  # noqa: S101 - classes of modules are classes of formats
