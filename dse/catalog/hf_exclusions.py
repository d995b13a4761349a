"""Modules of a quantised checkpoint that stay in 16 bit: names, wildcards and patterns -> classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from dse.core.errors import DataError

KEYS: Final = (
    "ignore",
    "modules_to_not_convert",
    "exclude_modules",
    "ignored_layers",
    "exclude",
    "llm_int8_skip_modules",
)
"""under which files list modules that stay as they were"""

DYNAMIC: Final = "dynamic"
"""GPTQ: patterns of modules with ``-:`` before those that stay, ``+:`` before those with bits of their own"""

LIKENESS: Final = 0.85
"""of a key to one of ``KEYS`` from which it is taken for a misspelt one"""

FEW: Final = 0.1
"""share of the layers up to which modules that differ are counted like the rest"""

IMMATERIAL: Final = re.compile(
    r"vision|visual|audio|image|projector|embed|norm|router|rotary|e_score|mtp|shared_head|eh_proj|conv|"
    r"(^|[.*])(gate|wg|shared_expert_gate)(\.(weight|wg))?[*$]*$"
)
"""modules that are no matrices of a class: routers, norms, encoders, tables, drafts"""

LAYER: Final = re.compile(r"(?:layers?|blocks?|h)\.(\d+|\(\d+(?:\|\d+)*\))(?=\.|\*|\$|$)\.?")
ANY_LAYER: Final = re.compile(r"(?:layers?|blocks?|h)\.(?:\\d\+?|\[0-9\]\+?|\.\*|\*|\\w\+)\.?")
UP: Final = re.compile(r"up_proj|gate_up|\bup\b|w1\b|w3\b|fc1|c_fc|h_to_4h|fc_in")
DOWN: Final = re.compile(r"down_proj|\bdown\b|w2\b|fc2|4h_to_h|fc_out")
WHOLE_FFN: Final = re.compile(r"(mlp|ffn|feed_forward|ff|block_sparse_moe|moe)[.*$]*$")
FFN: Final = re.compile(r"mlp|ffn|feed_forward|\bff\b|gate_proj|up_proj|down_proj|gate_up|\bfc[12]\b")
ATTENTION: Final = re.compile(
    r"attn|attention|mixer|mamba|ssm|[qkvo]_proj|[qk]_[ab]_proj|kv_[ab]_proj|qkv|in_proj|out_proj"
)


@dataclass
class Kept:
    """Classes that stay in 16 bit whole, and remarks on modules that are counted like others."""

    classes: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def exclusions(made: Mapping[str, Any], where: str) -> list[str]:
    """Names of modules that stay as they were.

    Raises:
        DataError: a list that is none, a key that nearly is one of those that hold such lists, or modules
            with bits of their own.

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
    dynamic = made.get(DYNAMIC) or {}
    if not isinstance(dynamic, Mapping):
        return names
    for pattern in dynamic:
        if not str(pattern).startswith("-:"):
            raise DataError(f"{where}: dynamic: {pattern}: bits of its own; one format a class is modelled")
        names.append("re:" + str(pattern)[2:])
    return names


def kept_wide(names: Iterable[str], layers: int, where: str) -> Kept:
    """Classes whose modules stay in 16 bit.

    Raises:
        DataError: a part of the matrices or of the layers of a class stays, too large to be counted like
            the rest.

    """
    out, seen = Kept(), {c: set[int]() for c in ("attention", "ffn", "experts")}
    parts: dict[str, list[str]] = {"ffn": [], "experts": []}
    for name in names:
        text, at = _layers_of(name, layers)
        if not text.strip(".*$^"):
            for held in seen.values():
                held |= at
            continue
        if re.search(r"lm_head|embed_out|output_layer", text):
            out.classes.add("head")
        elif IMMATERIAL.search(text):
            continue
        elif re.search(r"experts?\b", text) and not re.search(r"shared_?experts?", text):
            _matrices(text, "experts", at, seen, parts)
        elif WHOLE_FFN.search(text):
            seen["ffn"] |= at
            seen["experts"] |= at
        elif FFN.search(text) or "shared_expert" in text:
            _matrices(text, "ffn", at, seen, parts)
        elif ATTENTION.search(text):
            seen["attention"] |= at
        else:
            out.notes.append(f"{name}: stays in 16 bit, of no class that is known: counted like the rest")
    for cls, some in parts.items():
        joined = " ".join(some)
        if some and not (UP.search(joined) and DOWN.search(joined)):
            raise DataError(
                f"{where}: {some[0]}: a part of {cls} stays in 16 bit; one format a class is modelled"
            )
    for cls, held in seen.items():
        _settle(out, cls, len(held), layers, where)
    return out


def _settle(out: Kept, cls: str, held: int, layers: int, where: str) -> None:
    share = held / layers
    if not held:
        return
    if FEW < share < 1.0 - FEW:
        raise DataError(
            f"{where}: {cls} of {held} of {layers} layers stays in 16 bit; one format a class is modelled"
        )
    if share >= 1.0 - FEW:
        out.classes.add(cls)
    if held < layers:
        out.notes.append(
            f"{cls} of {held} of {layers} layers stays in 16 bit: all counted in the format of the most"
        )


def _matrices(
    text: str, cls: str, at: set[int], seen: Mapping[str, set[int]], parts: Mapping[str, list[str]]
) -> None:
    """Layers of a class whose matrices are named; whether all of them are is seen in the end."""
    seen[cls].update(at)
    if UP.search(text) or DOWN.search(text) or "gate_proj" in text:
        parts[cls].append(text)


def _layers_of(name: str, layers: int) -> tuple[str, set[int]]:
    """A module's name within its layer, and the layers meant: all where none is named."""
    text = name.removeprefix("re:").replace("\\.", ".").strip("^")
    text = re.sub(r"experts\.\d+", "experts", text)
    found = LAYER.search(text)
    if found:
        numbers = {int(n) for n in re.findall(r"\d+", found[1])}
        return text[found.end() :], {n for n in numbers if n < layers}
    everywhere = ANY_LAYER.search(text)
    return text[everywhere.end() :] if everywhere else text, set(range(layers))
