"""What a quantisation block of a checkpoint does to its matrices: methods, groups, lists and patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, NoReturn

from dse.catalog.formats import CACHE_FORMATS, STORED_BITS
from dse.catalog.hf_modules import OTHERS, Modules
from dse.core.errors import DataError

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

KEYS: Final = (
    "ignore",
    "modules_to_not_convert",
    "exclude_modules",
    "ignored_layers",
    "exclude",
    "llm_int8_skip_modules",
)
"""under which files list modules that stay as they were"""

LIKENESS: Final = 0.85
"""of a key to one of ``KEYS`` from which it is taken for a misspelt one"""

IMMATERIAL: Final = re.compile(
    r"vision|visual|audio|image|vit\b|projector|connector|aligner|embed|norm|router|rotary|e_score|mtp|nextn|"
    r"shared_head|eh_proj|enorm|hnorm|conv|A_log|dt_bias|\bD$|bias$|merger|"
    r"(^|[.*])(gate|wg|shared_expert_gate)(\.(weight|wg))?[.*$)]*$"
)
"""modules that are no matrices of a class: routers, norms, encoders, tables, drafts"""

PATTERN: Final = re.compile(r"^\.\*|\\|[\^$(|+]")
"""what only a regular expression holds"""

QUARK: Final[Mapping[str, str]] = {
    "fp4": "mxfp4",
    "mxfp4": "mxfp4",
    "fp8_e4m3": "fp8",
    "int4": "int4",
    "int8": "int8",
    "uint4": "int4",
}

MLX: Final[Mapping[str, str]] = {"mxfp4": "mxfp4", "mxfp8": "mxfp8", "nvfp4": "nvfp4"}


@dataclass
class Quantization:
    """The matrices of a checkpoint while a block is read, and what it says of them all."""

    modules: Modules
    wide: str
    where: str
    overall: str = ""
    """format of what no list and no pattern names"""
    group: int = 0
    cache: str = ""
    scales_quantised: bool = False
    affine: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.overall = self.overall or self.wide

    def everything(self, fmt: str, *, head: bool = False) -> None:
        """Every matrix but the head, which stays unless it is named."""
        self.overall = fmt
        for m in self.modules.members:
            if head or m.cls != "head":
                m.convert(fmt)

    def named(self, pattern: str, fmt: str, *, target: bool = False, head: bool = True) -> None:
        """Those that a name or pattern means, without the ``head`` where a method leaves it.

        Raises:
            DataError: a ``target`` that means nothing: what is quantised would be guessed.

        """
        text = as_pattern(pattern)
        try:
            found = self.modules.meant(text)
        except DataError as error:
            raise DataError(f"{self.where}: {error}") from error
        for m, experts in found:
            if head or m.cls != "head":
                m.convert(fmt, experts)
        if found or IMMATERIAL.search(pattern.removeprefix("re:").replace("\\", "")) or self._beyond(text):
            return
        if target:
            raise DataError(
                f"{self.where}: {pattern}: means no matrix that is known; expected names or patterns of "
                "modules, e.g. Linear or re:.*mlp.*"
            )
        self.notes.append(f"{pattern}: means no matrix that is known: nothing is counted otherwise for it")

    def _beyond(self, text: str) -> bool:
        """Whether a name is of a layer that the language model does not have: a draft's or an encoder's."""
        numbered = re.search(r"(?:layers|blocks|h)\.(\d+)", text)
        if numbered and OTHERS.search(text[: numbered.start()].lower()):
            return True
        return numbered is not None and int(numbered[1]) not in self.modules.by_layer

    def kept(self, made: Mapping[str, Any]) -> None:
        """Modules that stay as they were, and those with bits of their own."""
        for name in exclusions(made, self.where):
            self.named(name, self.wide)
        dynamic = made.get("dynamic") or {}
        some = list(dynamic.items()) if isinstance(dynamic, Mapping) else []
        for pattern, given in reversed(some):  # of two that fit, the first holds
            if str(pattern).startswith("-:"):
                self.named("re:" + str(pattern)[2:], self.wide)
            elif isinstance(given, Mapping) and "bits" in given:
                text = "re:" + str(pattern).removeprefix("+:")
                self.named(text, self.integer(given["bits"]), target=True, head=False)
        if made.get("lm_head") is True:  # GPTQ says so where it is converted
            self.named("lm_head", self.overall)

    def integer(self, bits: object) -> str:
        """Format of integers of so many bits; of 16 bit that of the rest of the checkpoint."""
        number = int(bits) if isinstance(bits, str) and bits.isdigit() else bits
        if number == 16 and not isinstance(number, bool):
            return self.wide
        found = BY_BITS.get((number, "int") if isinstance(number, int) else (0, ""), "")
        return found or self.unknown(f"{bits} bits")

    def sized(self, size: object) -> None:
        """Take over how many weights share a scale."""
        if isinstance(size, int) and size > 0:
            self.group = size

    def unknown(self, shown: str) -> NoReturn:
        """Refuse a quantisation by its name."""
        raise DataError(
            f"{self.where}: quantisation {shown!r} is not known; expected one of "
            f"{', '.join(sorted(set(METHODS) | set(ALGORITHMS)))}, or groups of {', '.join(STORED_BITS)}"
        )


def as_pattern(name: str) -> str:
    """A name of a list as ``Modules.meant`` reads it: regular expressions marked as such, to fit anywhere.

    What begins with ``*`` is a wildcard: no expression does.
    """
    if name.startswith(("re:", "*")) or not PATTERN.search(name):
        return name
    return "re:" + (name if name.startswith("^") else f".*(?:{name})")


def exclusions(made: Mapping[str, Any], where: str) -> list[str]:
    """Names of modules that stay as they were.

    Raises:
        DataError: a list that is none, or a key that nearly is one of those that hold such lists.

    """
    names: list[str] = []
    for key, value in made.items():
        near = get_close_matches(key, KEYS, n=1, cutoff=LIKENESS)
        if key not in KEYS and near:
            raise DataError(f"{where}: {key}: not known; did you mean {near[0]}?")
        if key in KEYS and value is not None:
            if isinstance(value, str) or not isinstance(value, list | tuple):
                raise DataError(f"{where}: {key}: got {str(value)[:60]}, expected a list of modules")
            names += [str(x) for x in value]
    return names


def apply(q: Quantization, made: Mapping[str, Any]) -> None:
    """Take over what a quantisation block says.

    Raises:
        DataError: a quantisation that is not known, by the name that the file gives it.

    """
    method = str(made.get("quant_method", "")).lower()
    _sparsity(q, made)
    if method == "compressed-tensors" or isinstance(made.get("config_groups"), Mapping):
        _groups(q, made)
    elif method == "bitsandbytes" or made.get("load_in_4bit") or made.get("load_in_8bit"):
        _bitsandbytes(q, made)
    elif made.get("quant_algo") is not None:
        _algorithm(q, made)
    elif method == "modelopt" and isinstance(made.get("quantization"), Mapping):
        apply(q, made["quantization"])
    elif method == "quark":
        _quark(q, made)
    elif method == "torchao":
        q.everything(_torchao(q, made.get("quant_type")))
        q.kept(made)
    elif not method and isinstance(made.get("bits"), int):
        _mlx(q, made)
    else:
        _by_method(q, made, method)
    _cache(q, made)


def _sparsity(q: Quantization, made: Mapping[str, Any]) -> None:
    sparse = made.get("sparsity_config")
    layout = str(sparse.get("format", "")) if isinstance(sparse, Mapping) else ""
    if layout not in {"", "dense"}:
        raise DataError(f"{q.where}: sparsity_config: {layout}: sparse checkpoints are not modelled")


def _bitsandbytes(q: Quantization, made: Mapping[str, Any]) -> None:
    four = made.get("load_in_4bit") or made.get("_load_in_4bit")
    kind = str(made.get("bnb_4bit_quant_type", "nf4"))
    q.everything(({"nf4": "nf4", "fp4": "nf4"}.get(kind, "") if four else "int8") or q.unknown(kind))
    q.scales_quantised = bool(four and made.get("bnb_4bit_use_double_quant"))
    q.kept(made)


def _by_method(q: Quantization, made: Mapping[str, Any], method: str) -> None:
    """A method that names one format, with a number of bits beside it or without."""
    bits = made.get("bits", made.get("w_bit", made.get("weight_bits")))
    fmt = METHODS.get(method, "")
    if bits is not None and fmt.startswith("int"):
        fmt = _rounded(q, made)
    if not fmt:
        q.unknown(method or str(dict(made))[:60])
    inside = made.get("modules_in_block_to_quantize")
    if "(experts)" in fmt or method == "mxfp4":  # gpt-oss: experts alone
        for m in q.modules.of("experts"):
            m.convert(fmt.split()[0])
    elif inside:
        for name in _flat(inside):
            q.named(name, fmt, target=True)
    else:
        q.everything(fmt)
        q.kept(made)
    extra = made.get("extra_config") or {}
    for name, given in extra.items() if isinstance(extra, Mapping) else ():
        if isinstance(given, Mapping) and "bits" in given:
            q.named(str(name), _rounded(q, {**made, **given}), target=True)
    q.sized(made.get("group_size", made.get("q_group_size")))


def _flat(names: object) -> list[str]:
    """Names of a list of lists."""
    if isinstance(names, list | tuple):
        return [name for some in names for name in _flat(some)]
    return [str(names)]


def _rounded(q: Quantization, given: Mapping[str, Any]) -> str:
    """Format by bits and, where auto-round says one, type of data."""
    bits = given.get("bits", given.get("w_bit", given.get("weight_bits")))
    kind = str(given.get("data_type", "int")).lower()
    if bits == 16 or "int" in kind:
        return q.integer(bits)
    if kind.startswith(("mx_", "mxfp")):
        return {4: "mxfp4", 8: "mxfp8"}.get(bits) or q.unknown(f"{bits} bits of {kind}")
    if kind.startswith(("nv_", "nvfp")):
        return "nvfp4" if bits == 4 else q.unknown(f"{bits} bits of {kind}")
    return "fp8" if kind.startswith("fp") and bits == 8 else q.unknown(f"{bits} bits of {kind}")


def _mlx(q: Quantization, made: Mapping[str, Any]) -> None:
    """MLX: everything, the head included, and single modules in another number of bits."""

    def one(given: Mapping[str, Any]) -> str:
        return MLX.get(str(given.get("mode", made.get("mode", ""))), "") or q.integer(given.get("bits"))

    q.everything(one(made), head=True)
    q.affine = q.overall.startswith("int")
    for name, given in made.items():
        if isinstance(given, Mapping):
            q.named(str(name), one(given), target=True)
        elif given is False and "." in str(name):
            q.named(str(name), q.wide)
    q.sized(made.get("group_size"))


def _torchao(q: Quantization, kind: object) -> str:
    """The format of a torchao type: a name, or a table whose weights may have a type of their own."""
    shown = str(kind)
    own = re.search(r"weight_dtype\W+(?:\w+\W+){0,2}?(?:torch\.)?(u?int\d|float8\w*)", shown)
    said = (own[1] if own else shown).lower()
    for mark, fmt in (
        ("int4", "int4"),
        ("int8", "int8"),
        ("float8", "fp8"),
        ("int3", "int3"),
        ("int2", "int2"),
    ):
        if mark in said:
            return fmt
    return q.unknown(shown[:60])


def _algorithm(q: Quantization, made: Mapping[str, Any]) -> None:
    """ModelOpt: one algorithm, or one for each of some modules."""
    algorithm = str(made["quant_algo"]).lower()
    if algorithm != "mixed_precision":
        q.everything(ALGORITHMS.get(algorithm) or q.unknown(algorithm))
        q.sized(made.get("group_size"))
        q.kept(made)
        return
    layers = made.get("quantized_layers")
    if not isinstance(layers, Mapping) or not layers:
        raise DataError(f"{q.where}: quant_algo: got MIXED_PRECISION, expected quantized_layers beside it")
    for name, given in layers.items():
        label = str(given.get("quant_algo") if isinstance(given, Mapping) else given).lower()
        q.named(str(name), ALGORITHMS.get(label) or q.unknown(label), target=True)


def _groups(q: Quantization, made: Mapping[str, Any]) -> None:
    """compressed-tensors: groups of modules with a format each; a name goes before the kind Linear."""
    groups = made.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise DataError(f"{q.where}: config_groups: got {str(groups)[:60]}, expected groups with weights")
    formats: list[tuple[str, list[str]]] = []
    for name, g in groups.items():
        if not isinstance(g, Mapping):
            raise DataError(f"{q.where}: config_groups.{name}: got {str(g)[:60]}, expected a table")
        w = g.get("weights") or {}
        fmt = _weights(q, w, str(g.get("format") or made.get("format") or ""))
        formats.append((fmt, [str(t) for t in g.get("targets") or ["Linear"]]))
        q.sized(w.get("group_size"))
    for fmt, targets in reversed(formats):
        if "Linear" in targets:
            q.everything(fmt)
    for fmt, targets in reversed(formats):  # of two that fit, the first holds
        for target in targets:
            if target != "Linear":
                q.named(target, fmt, target=True)
    q.kept(made)


def _weights(q: Quantization, w: Mapping[str, Any], layout: str) -> str:
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
    found = BY_BITS.get((bits, kind) if isinstance(bits, int) else (0, ""), "")
    return found or q.unknown(f"{bits} bits of {kind}")


def _quark(q: Quantization, made: Mapping[str, Any]) -> None:
    """AMD Quark: a format for all, others by layer, and modules that stay."""

    def one(given: object) -> str:
        weights = given.get("weight") if isinstance(given, Mapping) else None
        stored = weights[-1] if isinstance(weights, list) and weights else weights  # the last is what lies
        shown = str(stored.get("dtype") if isinstance(stored, Mapping) else stored).lower()
        return QUARK.get(shown) or q.unknown(shown)

    overall = made.get("global_quant_config")
    if overall:
        q.everything(one(overall))
    elif not made.get("layer_quant_config"):
        q.unknown("quark without global_quant_config")
    layers = made.get("layer_quant_config") or {}
    for name, given in layers.items() if isinstance(layers, Mapping) else ():
        q.named(str(name), one(given), target=True)
    if made.get("layer_type_quant_config"):
        raise DataError(f"{q.where}: layer_type_quant_config: formats by type of layer are not modelled")
    q.kept(made)


def _cache(q: Quantization, made: Mapping[str, Any]) -> None:
    """Format of the KV cache where the checkpoint asks for one."""
    scheme = made.get("kv_cache_scheme")
    named = made.get("kv_cache_quant_algo") or made.get("kv_cache_quant_algorithm")
    shown: Iterable[str] = ()
    if isinstance(scheme, Mapping) and scheme:
        fmt = BY_BITS.get((scheme.get("num_bits", 8), str(scheme.get("type", "float"))), "")
    elif named:
        fmt = ALGORITHMS.get(str(named).lower(), "")
    elif made.get("kv_cache_quant_config"):
        shown = sorted(set(re.findall(r"'dtype': '(\w+)'", str(made["kv_cache_quant_config"]))))
        fmt = QUARK.get("".join(shown), "")
    else:
        return
    if fmt not in CACHE_FORMATS:
        raise DataError(
            f"{q.where}: KV cache: got {named or scheme or ' and '.join(shown)}, expected one of "
            f"{', '.join(CACHE_FORMATS)}"
        )
    q.cache = fmt
