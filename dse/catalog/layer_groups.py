"""Groups of equal layers in catalogue files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Final

from dse.catalog.layers import (
    Attention,
    CompressedAttention,
    Dense,
    Experts,
    LatentAttention,
    Mixer,
)
from dse.catalog.recurrences import (
    GatedDeltaNet,
    GatedRecurrence,
    KimiDelta,
    LightningAttention,
    Mamba,
    Mamba2,
    ShortConvolution,
)
from dse.core.errors import Faults, nearest

MIXERS: Final[Mapping[str, type[Mixer]]] = {
    m.kind: m
    for m in (
        Attention,
        LatentAttention,
        CompressedAttention,
        GatedDeltaNet,
        KimiDelta,
        Mamba2,
        Mamba,
        LightningAttention,
        ShortConvolution,
        GatedRecurrence,
    )
}
"""every kind of mixer"""

FEED_FORWARDS: Final[Mapping[str, type[Dense | Experts]]] = {b.kind: b for b in (Dense, Experts)}
"""every kind of feed-forward block"""

BIASED: Final = ("", "qkv", "o", "qkv+o")

LARGEST: Final = 10**9
"""of any size of a layer"""


def read_groups(raw: object, key: str, kinds: Mapping[str, type[Any]], faults: Faults) -> tuple[Any, ...]:
    """Groups of layers from an array of tables of a catalogue file; what is wrong is noted in ``faults``."""
    if not isinstance(raw, list) or not all(isinstance(g, dict) for g in raw):
        faults.add(key, raw, f"an array of tables, [[{key}]]")
        return ()
    out = []
    for i, group in enumerate(raw):
        where = f"{key}[{i}]"
        cls = kinds.get(str(group.get("kind")))
        if cls is None:
            faults.add(f"{where}.kind", group.get("kind"), nearest(str(group.get("kind")), kinds))
            continue
        allowed = {f.name: f for f in fields(cls)}
        before = len(faults.lines)
        for name in sorted(group.keys() - allowed.keys() - {"kind"}):
            faults.add(f"{where}.{name}", group[name], nearest(name, allowed))
        for name, found in allowed.items():
            if name not in group:
                if found.default is MISSING:
                    faults.add(f"{where}.{name}", None, "a whole number", "32")
            elif found.type == "int":
                floor = -1 if name == "gate_width" else 1 if found.default is MISSING else 0
                _whole(faults, f"{where}.{name}", group[name], floor)
            elif found.type == "bool" and not isinstance(group[name], bool):
                faults.add(f"{where}.{name}", group[name], "true or false")
            elif found.type == "str" and group[name] not in BIASED:
                faults.add(f"{where}.{name}", group[name], "one of " + ", ".join(BIASED))
        if len(faults.lines) == before:
            out.append(cls(**{name: group[name] for name in allowed if name in group}))
    return tuple(out)


def _whole(faults: Faults, key: str, value: object, floor: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not floor <= value <= LARGEST:
        faults.add(key, value, f"a whole number from {floor} to {LARGEST:.0e}", "32")


def group_toml(key: str, group: Any) -> str:
    """One group as a table of a catalogue file; what is at its default is left out."""
    lines = [f"[[{key}]]", f'kind = "{group.kind}"']
    for f in fields(group):
        value = getattr(group, f.name)
        if f.default is MISSING or value != f.default:
            shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
            lines.append(f"{f.name} = {shown}")
    return "\n".join(lines)
