"""Which layer is of which kind: the many ways in which configurations say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from dse.catalog.hf_config import Config
from dse.catalog.hf_families import Family
from dse.core.errors import DataError

FULL: Final = "full"
WINDOW: Final = "window"
RECURRENT: Final = "recurrent"

WORDS: Final[Mapping[str, str]] = {
    "full_attention": FULL,
    "attention": FULL,
    "global_attention": FULL,
    "global": FULL,
    "full": FULL,
    "softmax_attention": FULL,
    "indexed_attention": FULL,
    "sliding_attention": WINDOW,
    "sliding_window_attention": WINDOW,
    "sliding": WINDOW,
    "local_attention": WINDOW,
    "local": WINDOW,
    "chunked_attention": WINDOW,
    "linear_attention": RECURRENT,
    "mamba": RECURRENT,
    "mamba2": RECURRENT,
    "conv": RECURRENT,
    "recurrent": RECURRENT,
    "kda": RECURRENT,
}
"""a layer's kind as configurations spell it"""


def mixer_kinds(c: Config, family: Family, layers: int) -> list[str]:
    """The kind of each layer's mixer; where several keys say it they must agree.

    Raises:
        DataError: they do not, or a kind that is not known.

    """
    told = {key: found for key, found in _told(c, family, layers) if found is not None}
    if len({tuple(v) for v in told.values()}) > 1:
        a, b = list(told)[:2]
        i = next((i for i in range(layers) if told[a][i] != told[b][i]), 0)
        raise DataError(
            f"{c.where}: {a} and {b} contradict each other: layer {i} is {told[a][i]} by one, "
            f"{told[b][i]} by the other"
        )
    if not told and family.recurrence:
        raise DataError(
            f"{c.where}: layer_types: got nothing, expected which layers attend: family {family.name} has "
            f"layers of {family.recurrence} too"
        )
    kinds = next(iter(told.values()), None) or _by_family(c, family, layers)
    if RECURRENT in kinds and not family.recurrence:
        raise DataError(
            f"{c.where}: layer {kinds.index(RECURRENT)} is linear; family {family.name} is not known to have "
            "such layers"
        )
    if WINDOW in kinds and c.has("use_sliding_window") and not c.flag("use_sliding_window"):
        kinds = [FULL if k == WINDOW else k for k in kinds]
    for key in ("max_window_layers", "use_sliding_window", *WINDOW_KEYS):
        c.get(key)
    return kinds


EVERY: Final = (
    "sliding_window_pattern",
    "_sliding_window_pattern",
    "global_attn_every_n_layers",
    "layer_switch",
)
"""keys that say which layer of how many is full"""

WINDOW_KEYS: Final = (
    *EVERY,
    "sliding_window",
    "attention_chunk_size",
    "no_rope_layers",
    "no_rope_layer_interval",
    "nope_layer_interval",
    "prefix_dense_sliding_window_pattern",
)
"""keys that say nothing more once every layer's kind is known"""


def _told(c: Config, family: Family, layers: int) -> Iterator[tuple[str, list[str] | None]]:
    """Each key that gives the kinds of layers, and the kinds it gives."""
    for key in ("layer_types", "layers_block_type", "block_types", "attention_layers", "mixer_types"):
        yield key, _words(c, key, layers)
    yield "linear_attn_config", _numbered(c, layers)
    yield "full_attn_idxs", _indexed(c, "full_attn_idxs", layers)
    if not family.beside:
        yield "attn_layer_indices", _indexed(c, "attn_layer_indices", layers)
    else:
        _all_attend(c, layers)
    if c.has("attn_layer_period"):
        period, offset = _period(c, "attn_layer_period", "attn_layer_offset")
        yield "attn_layer_period", [FULL if i % period == offset else RECURRENT for i in range(layers)]
    yield "hybrid_layer_pattern", _marked(c, "hybrid_layer_pattern", layers, WINDOW, FULL)
    yield "attn_type_list", _marked(c, "attn_type_list", layers, FULL, RECURRENT)
    yield "is_sliding", _marked(c, "is_sliding", layers, WINDOW, FULL)
    if c.has("full_attention_interval"):
        every = max(c.number("full_attention_interval"), 1)
        yield "full_attention_interval", [RECURRENT if (i + 1) % every else FULL for i in range(layers)]
    if c.has("layer_group_size") and family.recurrence:
        every = max(c.number("layer_group_size"), 1)
        yield "layer_group_size", [RECURRENT if (i + 1) % every else FULL for i in range(layers)]


def _period(c: Config, every: str, first: str) -> tuple[int, int]:
    """Every so many layers from the first on."""
    period, offset = max(c.number(every), 1), c.number(first, 0)
    if offset >= period:
        raise c.wrong(first, f"below {every}, {period}")
    return period, offset


def _words(c: Config, key: str, layers: int) -> list[str] | None:
    """Kinds from a list of words; a shorter ``block_types`` is repeated."""
    kinds = c.listed(key)
    if kinds is None or not kinds:
        return None
    if key == "block_types":
        kinds = (kinds * layers)[:layers]
    drafts = c.number("mtp_layers", 0)
    if not layers <= len(kinds) <= layers + drafts:
        raise c.wrong(key, f"a word for each of the {layers} layers")
    for k in kinds:
        if not isinstance(k, str) or k not in WORDS:
            raise DataError(f"{c.where}: {key}: got {k!r}, expected one of {', '.join(WORDS)}")
    own = c.has("attention_window_size")  # Griffin's attention is all local
    return [WINDOW if own and WORDS[k] == FULL else WORDS[k] for k in kinds[:layers]]


def _numbered(c: Config, layers: int) -> list[str] | None:
    """Kimi's lists of layers, counted from 1."""
    inner = c.table("linear_attn_config")
    if inner is None:
        return None
    full, linear = inner.listed("full_attn_layers"), inner.listed("kda_layers")
    if full is None or linear is None:
        raise c.wrong("linear_attn_config", "full_attn_layers and kda_layers")
    if sorted([*full, *linear]) != list(range(1, layers + 1)):
        raise c.wrong("linear_attn_config", f"lists that hold each of the layers 1 to {layers} once")
    return [FULL if i + 1 in full else RECURRENT for i in range(layers)]


def _indexed(c: Config, key: str, layers: int) -> list[str] | None:
    """Layers that attend, counted from 0; the others recur."""
    at = c.listed(key)
    if at is None:
        return None
    if not all(isinstance(i, int) and 0 <= i < layers for i in at):
        raise c.wrong(key, f"numbers of layers from 0 to {layers - 1}")
    return [FULL if i in at else RECURRENT for i in range(layers)]


def _all_attend(c: Config, layers: int) -> None:
    """Where mixers stand beside attention, attention is in every layer."""
    at = c.listed("attn_layer_indices")
    if at is not None and sorted(at) != list(range(layers)):
        raise c.wrong("attn_layer_indices", "every layer: layers without attention are not modelled here")


def _marked(c: Config, key: str, layers: int, marked: str, others: str) -> list[str] | None:
    """Kinds from a list of 1 and 0."""
    marks = c.listed(key, layers)
    if marks is None:
        return None
    if not all(m in (0, 1) for m in marks):
        raise c.wrong(key, "0 or 1 for each layer")
    return [marked if m else others for m in marks]


def _by_family(c: Config, family: Family, layers: int) -> list[str]:
    """Kinds where no list gives them: full attention, or windows in the family's order."""
    has_window = c.has(*c.sought("window"), "attention_chunk_size") or family.window
    if family.windowed == "never" or not has_window:
        return [FULL] * layers
    switched = c.has("use_sliding_window") or family.windowed == "above"  # whose class has it off
    if switched and not c.flag("use_sliding_window"):
        return [FULL] * layers
    if not (c.number("window", 0) or c.number("attention_chunk_size", 0) or family.window):
        return [FULL] * layers
    marked = c.raw.get("no_rope_layers")
    if family.windowed == "rotary" and isinstance(marked, list) and marked:
        return [WINDOW if m else FULL for m in (c.listed("no_rope_layers", layers) or [])]
    if family.windowed == "above":  # layers from max_window_layers on have the window
        first = c.number("max_window_layers", 0)
        return [WINDOW if i >= first else FULL for i in range(layers)]
    every = _every(c, family)
    if isinstance(every, str):
        return [WINDOW if every[i % len(every)] == "L" else FULL for i in range(layers)]
    if not every:
        return [WINDOW] * layers
    return [FULL if (i + 1) % every == 0 else WINDOW for i in range(layers)]


def _every(c: Config, family: Family) -> int | str:
    """Which layer of how many is full: a number, or a word of L and G."""
    found: dict[str, int | str] = {}
    for key in EVERY:
        value = c.raw.get(key)
        if isinstance(value, str):
            c.read.add(key)
            if not value or set(value) - {"L", "G"}:
                raise c.wrong(key, "a word of L (window) and G (full), or a number")
            found[key] = value
        elif value is not None:
            found[key] = c.number(key)
    if len(set(found.values())) > 1:
        shown = " and ".join(f"{k} = {v}" for k, v in found.items())
        raise DataError(f"{c.where}: {shown} contradict each other; expected one of them, or equal ones")
    if found:
        return next(iter(found.values()))
    return family.full_every


def routed_layers(c: Config, layers: int) -> list[bool]:
    """Which layers route: those that every key about it allows.

    Raises:
        DataError: a list that is too short, or a layer kind that is not known.

    """
    routed = [True] * layers

    def keep(allowed: list[bool]) -> None:
        routed[:] = [a and b for a, b in zip(routed, allowed, strict=True)]

    first = c.number("first_k_dense_replace", 0)
    first = max(first, c.number("num_dense_layers", 0), c.number("moe_layer_num_skipped", 0))
    if first > layers:
        raise DataError(f"{c.where}: the first {first} layers are dense, of {layers} in all")
    keep([i >= first for i in range(layers)])
    kinds = c.listed("mlp_layer_types", layers)
    if kinds is not None:
        if not all(k in {"dense", "sparse", "moe", "hash_moe"} for k in kinds):
            raise c.wrong("mlp_layer_types", "dense, sparse, moe or hash_moe for each layer")
        keep([k != "dense" for k in kinds])
    frequency = c.raw.get("moe_layer_freq")
    if isinstance(frequency, list):
        marks = c.listed("moe_layer_freq", layers) or []
        if not all(m in (0, 1) for m in marks):
            raise c.wrong("moe_layer_freq", "0 or 1 for each layer, or one number")
        keep([bool(m) for m in marks])
    elif frequency is not None:
        each = max(c.number("moe_layer_freq"), 1)
        keep([i % each == 0 for i in range(layers)])
    for key in ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_frequency"):
        if c.has(key):
            each = c.number(key)
            if not each:
                raise c.wrong(key, "a whole number above 0: every so many layers have experts")
            keep([(i + 1) % each == 0 for i in range(layers)])
    if c.has("expert_layer_period"):
        each, offset = _period(c, "expert_layer_period", "expert_layer_offset")
        keep([i % each == offset for i in range(layers)])
    keep(_listed_layers(c, layers))
    if c.has("moe_layer_start_index", "moe_layer_end_index", "moe_layer_interval"):
        start, each = c.number("moe_layer_start_index", 0), max(c.number("moe_layer_interval", 1), 1)
        end = c.raw.get("moe_layer_end_index", -1)
        c.read.add("moe_layer_end_index")
        end = layers - 1 if end in (-1, None) else c.number("moe_layer_end_index")
        keep([start <= i <= end and (i + 1) % each == 0 for i in range(layers)])
    return routed


def _listed_layers(c: Config, layers: int) -> list[bool]:
    """Layers that a list names as routed, less those that one names as dense."""
    dense = c.listed("mlp_only_layers") or []
    routed = c.listed("moe_layers")
    enumerated = c.raw.get("moe_layers_enum")
    if isinstance(enumerated, str):
        c.read.add("moe_layers_enum")
        parts = [p.strip() for p in enumerated.split(",")]
        if not all(p.isdigit() for p in parts):
            raise c.wrong("moe_layers_enum", "numbers of layers, separated by commas")
        routed = [int(p) for p in parts]
    for key, members in (("mlp_only_layers", dense), ("moe_layers", routed or [])):
        if not all(isinstance(i, int) and 0 <= i < layers for i in members):
            raise c.wrong(key, f"numbers of layers from 0 to {layers - 1}")
    return [(routed is None or i in routed) and i not in dense for i in range(layers)]


BLOCKS: Final[Mapping[str, str]] = {
    "M": "mamba",
    "*": "attention",
    "E": "moe",
    "-": "mlp",
    "mamba": "mamba",
    "mamba2": "mamba",
    "attention": "attention",
    "full_attention": "attention",
    "linear_attention": "mamba",
    "moe": "moe",
    "sparse": "moe",
    "mlp": "mlp",
    "dense": "mlp",
}


def block_kinds(c: Config) -> list[str]:
    """Blocks of a model that has one a layer, from a list of words or a string of letters (Nemotron-H)."""
    told: dict[str, list[str]] = {}
    for key in ("layers_block_type", "layer_types", "hybrid_override_pattern"):
        value = c.raw.get(key)
        if not value:
            continue
        c.read.add(key)
        if not isinstance(value, list | str) or not all(b in BLOCKS for b in value):
            raise c.wrong(
                key, "one of M (Mamba-2), * (attention), E (experts), - (feed-forward) for each layer"
            )
        told[key] = [BLOCKS[b] for b in value]
    if not told:
        raise c.wrong("hybrid_override_pattern", "the block of each layer, here or in layers_block_type")
    if len({tuple(v) for v in told.values()}) > 1:
        raise DataError(f"{c.where}: {' and '.join(told)} contradict each other")
    return next(iter(told.values()))
