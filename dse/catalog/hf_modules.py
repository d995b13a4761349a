"""The matrices of a checkpoint as modules with names, so that lists and patterns of files can be matched.

Released classes call the same matrix by different names; a name or pattern of a file means a matrix where it
fits one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property
from typing import Any, Final

from dse.catalog.layers import Attention, Dense, Experts, LatentAttention
from dse.core.errors import DataError

FUSED: Final = (
    "qkv_proj",
    "query_key_value",
    "Wqkv",
    "wqkv",
    "W_pack",
    "c_attn",
    "qkv",
    "attn_qkv",
    "att_proj",
)
"""queries, keys and values in one matrix"""
ATTENTIONS: Final = ("self_attn", "attn", "attention", "self_attention", "mixer", "norm_attn_norm.attn")
RECURRENCES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]] = {
    "gated_deltanet": (("linear_attn",), ("in_proj_qkvz", "in_proj_qkv", "in_proj_z"), ("out_proj",)),
    "kimi_delta": (("self_attn",), ("q_proj", "k_proj", "v_proj"), ("o_proj",)),
    "lightning_attention": (
        ("self_attn", "attention"),
        ("qkv_proj", "query_key_value"),
        ("out_proj", "dense"),
    ),
    "mamba2": (("mamba", "mixer", "ssm"), ("in_proj",), ("out_proj",)),
    "mamba": (("mamba", "mixer", "ssm"), ("in_proj",), ("out_proj",)),
    "compressed_attention": (
        ("self_attn", "attn"),
        ("wq_a", "wq_b", "wkv", "q_a_proj", "q_b_proj", "kv_proj"),
        ("wo_a", "wo_b", "o_proj"),
    ),
    "short_convolution": (("conv",), ("in_proj",), ("out_proj",)),
    "gated_recurrence": (("temporal_block", "mixer"), ("linear_x", "linear_y"), ("linear_out",)),
}
"""kind of recurrence -> names of its parent, of the matrices into it and out of it"""
SMALL: Final = ("in_proj_ba", "in_proj_a", "in_proj_b", "b_proj", "conv1d", "x_proj", "dt_proj", "A_log", "D")
CALLED: Final = {
    r"switch_mlp": "experts",
    r"block_sparse_moe(\\?\.)(?=(?:in|out)put_linear)": r"block_sparse_moe\1experts\1",
}
"""experts as MLX and Granite call them -> as they are called here"""
OTHERS: Final = re.compile(
    r"vis|\bvit\b|audio|speech|image|mtp|nextn|tower|whisper|connector|projector|resampler|aligner|merger"
)
"""prefixes of layers that are not the language model's"""
BLOCKS: Final = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "moe", "mixer", "mlp_block", "ff")
SHARED: Final = ("shared_experts", "shared_expert", "shared_mlp")
UP: Final = (
    ("gate_proj", "w1", "gate_up_proj", "w13", "input_linear", "linear_fc1", "dense_h_to_4h"),
    (
        "up_proj",
        "w3",
        "gate_up_proj",
        "w13",
        "input_linear",
        "linear_fc1",
        "fc1",
        "c_fc",
        "fc_in",
        "wi",
        "dense_h_to_4h",
    ),
)
DOWN: Final = (
    "down_proj",
    "w2",
    "fc2",
    "c_proj",
    "fc_out",
    "dense_4h_to_h",
    "output_linear",
    "linear_fc2",
    "wo",
)
PREFIXES: Final = (
    "model.layers.",
    "layers.",
    "model.language_model.layers.",
    "language_model.model.layers.",
    "backbone.layers.",
    "transformer.h.",
    "transformer.blocks.",
    "transformer.encoder.layers.",
    "model.decoder.layers.",
    "gpt_neox.layers.",
)
HEADS: Final = ("lm_head", "language_model.lm_head", "output", "embed_out", "output_layer", "head")

LAYER: Final = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d+)(?:\.|$)")
"""the number of a layer in a name"""


@dataclass
class Module:
    """A matrix of one layer: its class, its parameters and its number format."""

    cls: str
    weights: float
    layer: int
    """-1 for what stands outside of the layers"""
    names: tuple[str, ...]
    """within its layer, or whole where it stands outside; ``*`` for the number of an expert"""
    experts: int = 0
    fmt: str = ""
    own: dict[int, str] = field(default_factory=dict)
    """formats of experts that have another than ``fmt``"""

    def full(self) -> Iterator[str]:
        """Every name of it; of experts with the number left as ``*``."""
        if self.layer < 0:
            yield from self.names
            return
        for prefix in PREFIXES:
            for name in self.names:
                yield f"{prefix}{self.layer}.{name}"

    def convert(self, fmt: str, experts: Collection[int] | None = None) -> None:
        """Put it, or some experts of it, into a format."""
        if experts is None:
            self.fmt, self.own = fmt, {}
        else:
            self.own |= dict.fromkeys(experts, fmt)

    def shares(self) -> dict[str, float]:
        """Parameters by format."""
        if not self.own:
            return {self.fmt: self.weights}
        each = self.weights / self.experts
        out = {self.fmt: each * (self.experts - len(self.own))}
        for fmt in self.own.values():
            out[fmt] = out.get(fmt, 0.0) + each
        return {f: w for f, w in out.items() if w}


Meant = tuple[Module, Collection[int] | None]
"""a matrix, and which of its experts: None for all"""


@dataclass
class Modules:
    """All matrices of a checkpoint."""

    members: list[Module]

    @cached_property
    def by_layer(self) -> dict[int, list[Module]]:
        """Members by the number of their layer."""
        out: dict[int, list[Module]] = {}
        for m in self.members:
            out.setdefault(m.layer, []).append(m)
        return out

    def of(self, cls: str) -> list[Module]:
        """Members of a class."""
        return [m for m in self.members if m.cls == cls]

    def meant(self, pattern: str) -> list[Meant]:
        """Every matrix that a name or pattern means.

        ``re:`` begins a pattern that must fit from a name's start; ``*``, ``?`` and ``[`` make a wildcard
        over a whole name; anything else is a name, or some whole parts of one.

        Raises:
            DataError: a pattern that is no regular expression.

        """
        if pattern.startswith("re:"):
            return self._matching(self.members, pattern[3:])
        for theirs, ours in CALLED.items():
            pattern = re.sub(theirs, ours, pattern)
        numbered = LAYER.search(pattern)
        if numbered and OTHERS.search(pattern[: numbered.start()].lower()):
            return []
        some = self.by_layer.get(int(numbered[1]), []) if numbered else self.members
        if any(mark in pattern for mark in "*?["):
            return self._matching(some, translate(pattern))
        part = pattern.strip(".").removesuffix(".weight")
        if numbered:
            part = part[numbered.end() :]
        expert = re.search(r"experts\.(\d+)", part)
        plain = re.sub(r"experts\.\d+", "experts.*", part)
        found: list[Meant] = []
        for m in some:
            if plain and not any(_has_part(name, plain) for name in m.names):
                continue
            found.append((m, {int(expert[1])} if expert and m.experts else None))
        return found

    @staticmethod
    def _matching(some: Sequence[Module], pattern: str) -> list[Meant]:
        """Modules one of whose names fits a regular expression; of experts those that do."""
        try:
            fits = re.compile(pattern).match
        except re.error as error:
            raise DataError(f"{pattern}: no regular expression ({error})") from error
        alike = re.search(r"\d", pattern.replace("[0-9]", "")) is None  # no layer is told from another
        seen: dict[tuple[tuple[str, ...], int], Collection[int] | bool] = {}
        found: list[Meant] = []
        for m in some:
            key = (m.names, m.experts)
            if alike and key in seen:
                which = seen[key]
            else:
                which = seen[key] = _which(m, fits)
            if which is not False:
                found.append((m, None if which is True else which))
        return found


def _which(m: Module, fits: Callable[[str], object]) -> Collection[int] | bool:
    """Whether a matrix is meant; of experts which, where not all are.

    The first two, the middle and the last expert stand for all where they agree.
    """

    def one(e: int) -> bool:
        return any(fits(name.replace("*", str(e))) for name in m.full())

    if not m.experts:
        return one(0)
    some = [one(e) for e in sorted({0, 1, m.experts // 2, m.experts - 1})]
    if all(some) or not any(some):
        return all(some)
    return {e for e in range(m.experts) if one(e)}


def _has_part(name: str, part: str) -> bool:
    """Whether whole parts of a dotted name are those of another."""
    return f".{part}." in f".{name}."


def modules_of(layers: Sequence[Sequence[Any]], hidden: int, vocabulary: int) -> Modules:
    """The matrices of layers, each a list of its mixers and blocks, and the head."""
    members = [Module("head", float(hidden) * vocabulary, -1, HEADS)]
    for number, parts in enumerate(layers):
        for part in parts:
            if isinstance(part, Dense):
                members += _feed_forward(part.parameters(hidden), number, BLOCKS, gated=part.gated)
            elif isinstance(part, Experts):
                members += _routed(part, hidden, number)
            elif isinstance(part, Attention):
                members += _attention(part, hidden, number)
            elif isinstance(part, LatentAttention):
                members += _latent(part, hidden, number)
            else:
                members += _other(part.count(hidden).parameters, number, part.kind)
    return Modules(members)


def _below(parents: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{p}.{n}" if p else n for p in parents for n in names)


def _attention(part: Attention, hidden: int, number: int) -> list[Module]:
    queries = float(part.heads * part.head_dim * hidden)
    values = float((part.value_dim or part.head_dim) * hidden)
    keys = 0.0 if part.reuses_cache else float(part.kv_heads * part.head_dim * hidden)
    valued = 0.0 if part.reuses_cache or part.value_from_key else part.kv_heads * values
    sizes = {
        ("q_proj", "wq", "query", *FUSED): queries + part.gate_width * hidden,
        ("k_proj", "wk", "key", *FUSED): keys,
        ("v_proj", "wv", "value", *FUSED): valued,
        ("o_proj", "out_proj", "wo", "dense", "c_proj", "attn_out"): part.heads * values,
    }
    return [
        Module("attention", size, number, _below(ATTENTIONS, names)) for names, size in sizes.items() if size
    ]


def _latent(part: LatentAttention, hidden: int, number: int) -> list[Module]:
    wide = part.qk_nope_head_dim + part.qk_rope_head_dim
    queries = float(part.heads * wide)
    sizes: dict[tuple[str, ...], float] = {
        ("kv_a_proj_with_mqa", "fused_qkv_a_proj_with_mqa"): hidden
        * (part.kv_lora_rank + part.qk_rope_head_dim),
        ("kv_b_proj",): part.kv_lora_rank * part.heads * (part.qk_nope_head_dim + part.v_head_dim),
        ("o_proj",): part.heads * part.v_head_dim * hidden,
    }
    if part.q_lora_rank:
        sizes[("q_a_proj", "fused_qkv_a_proj_with_mqa")] = hidden * part.q_lora_rank
        sizes[("q_b_proj",)] = part.q_lora_rank * queries
    else:
        sizes[("q_proj",)] = hidden * queries
    known = sum(sizes.values())
    rest = part.count(hidden).parameters - known
    if rest > 0.01 * known:
        sizes[("indexer.wq_b", "indexer.wk", "indexer.weights_proj", "g_proj")] = rest
    return [Module("attention", float(s), number, _below(ATTENTIONS, n)) for n, s in sizes.items()]


def _other(parameters: float, number: int, kind: str) -> list[Module]:
    """A recurrence or convolution: its wide matrices; those of a gate or a rate weigh next to nothing."""
    parents, into, out = RECURRENCES[kind]
    return [
        Module("attention", parameters * 2.0 / 3.0, number, _below(parents, into)),
        Module("attention", parameters / 3.0, number, _below(parents, out)),
        Module("attention", 0.0, number, _below(parents, SMALL)),
    ]


def _feed_forward(
    parameters: float, number: int, parents: Sequence[str], *, gated: bool, cls: str = "ffn", experts: int = 0
) -> list[Module]:
    matrices = [(UP[1], 0.5), (DOWN, 0.5)]
    if gated:
        matrices = [(UP[0], 1 / 3), (UP[1], 1 / 3), (DOWN, 1 / 3)]
    return [
        Module(cls, parameters * share, number, _below(parents, names), experts) for names, share in matrices
    ]


def _routed(part: Experts, hidden: int, number: int) -> list[Module]:
    parents = ("mlp", "block_sparse_moe", "feed_forward", "moe", "mixer", "ffn")
    numbered = _below(parents, ("experts.*", "experts"))
    out = _feed_forward(
        part.expert(hidden) * part.experts,
        number,
        numbered,
        gated=part.gated,
        cls="experts",
        experts=part.experts,
    )
    if part.shared(hidden):
        shared = _below(parents, SHARED)
        out += _feed_forward(part.shared(hidden), number, shared, gated=part.gated)
    return out
