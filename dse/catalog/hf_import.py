"""A Hugging Face ``config.json`` -> a catalogue file of a language model, or why there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from dse.catalog.formats import CLASSES
from dse.catalog.hf_checkpoint import checked
from dse.catalog.hf_config import NAMES, Config, config_file, read_json
from dse.catalog.hf_families import Family, alike, closest, families, family_of_class
from dse.catalog.hf_formats import Formats, read_formats
from dse.catalog.hf_keys import (
    ACTIVATION_KEYS,
    ACTIVATIONS,
    ENCODERS,
    GATED_KEYS,
    INHERITED,
    NESTED,
    WITHOUT_EFFECT,
    without_effect,
)
from dse.catalog.hf_modules import modules_of
from dse.catalog.hf_rules import Layers, read_layers
from dse.catalog.layer_groups import group_toml
from dse.catalog.layers import Attention, CompressedAttention, Dense, LatentAttention
from dse.catalog.llm import LlmEntry, read_llm
from dse.catalog.transformer import Transformer, transformer
from dse.core.errors import DataError

NO_GENERATOR: Final = (
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForPreTraining",
    "ForFeatureExtraction",
    "ForTextEncoding",
    "EncoderModel",
)
"""endings of architectures that generate no tokens"""

TIED_KEYS: Final = ("tie_word_embeddings", "tie_embedding", "weight_tying", "share_input_output_layers")

MUST_SAY: Final = ("layers", "hidden", "heads", "vocab", "width")
"""sizes that a file of its own says; a family's default stands for them in a nested one alone"""


@dataclass(frozen=True)
class Imported:
    """A model read from its configuration."""

    entry: LlmEntry
    text: str
    """the TOML file"""
    assumed: tuple[str, ...]
    """what was taken for granted because the configuration does not say"""
    warnings: tuple[str, ...]
    unverified: tuple[str, ...]
    """keys, or a family, that are not known and were taken by the user's word"""


def import_llm(
    path: Path, name: str | None = None, *, family: str = "", accept_unknown: bool = False
) -> Imported:
    """Read a configuration: a file, a folder that holds one, or a hub's cache folder.

    ``family`` reads it as one that is known; ``accept_unknown`` takes keys that are not known to change
    nothing. Either is recorded in the entry, and every later output of the model says so.

    Raises:
        DataError: not a configuration; a family, key, activation or quantisation that is not known, by name;
            a model that generates no tokens; sizes that contradict each other or a stated count.

    """
    file = config_file(path)
    try:
        return _imported(file, name, family, accept_unknown=accept_unknown)
    except DataError:
        raise
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        # a list where a rule expects a number, and the like: there are more ways than rules can name
        raise DataError(
            f"{file}: a key has a value of a kind that its family never has "
            f"({type(error).__name__}: {str(error)[:120]}); compare with a configuration of the family"
        ) from error


def _imported(file: Path, name: str | None, family: str, *, accept_unknown: bool) -> Imported:
    raw = read_json(file)
    inner, where = _language_model(raw, str(file))
    known = _family(inner, raw, where, family)
    c = Config(_with_defaults(inner, known, nested=inner is not raw), where, known.name)
    layers = read_layers(c, known)
    if not any(m.caches for m in layers.mixers):
        raise DataError(f"{where}: attention-free: no layer keeps a KV cache; such models are not modelled")
    shape = _shape(c, known, layers)
    found = _Read(
        title=_title(name, raw, inner, file),
        file=file.name,
        layers=layers,
        shape=shape,
        activation=_activation(c, known),
        formats=read_formats(c, file.parent, modules_of(layers.numbered, shape["hidden"], shape["vocab"])),
        tied=_tied(c, known),
    )
    _contradictions(c, known, inner, raw)
    unknown = _unknown_keys(c, known, inner)
    if unknown and not accept_unknown:
        raise DataError(
            f"{where}: family {known.name}: {'; '.join(unknown)}: not known to change nothing in "
            "this family; expected keys that are (dse catalog families lists them), or --accept-unknown to "
            "import it all the same, which marks every later output"
        )
    c.assumed += [
        f"{k} = {_shown(v)}: the family's default, the configuration leaves it out"
        for k, v in c.raw.items()
        if k not in inner and k in c.read and v and k not in ACTIVATION_KEYS
    ]
    unverified = (*unknown, *([f"read as family {family} on request"] if family else []))
    text = _toml(found, unverified)
    t = transformer(read_llm(text, where))
    text += _published(t)
    names = [str(n) for n in (name, raw.get("_name_or_path"), _folder_name(file)) if n]
    beside = any(isinstance(raw.get(k), dict) for k in ENCODERS)
    warnings = ["encoders of images or sound are left out: the language model alone is imported"] * beside
    warnings += checked(t, raw, file.parent, found.formats, names, more=beside)
    assumed = tuple(dict.fromkeys([*c.assumed, *found.formats.assumed]))
    return Imported(read_llm(text, where), text, assumed, tuple(warnings), unverified)


@dataclass(frozen=True)
class _Read:
    """What a configuration says of a model."""

    title: str
    file: str
    layers: Layers
    shape: Mapping[str, int]
    activation: str
    formats: Formats
    tied: bool


def _language_model(raw: dict[str, Any], where: str) -> tuple[dict[str, Any], str]:
    """The table that describes the language model, and where it stands.

    Raises:
        DataError: there is none in any of the places where one may be.

    """
    for path in NESTED:
        inner: Any = raw
        for key in path.split("."):
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and inner:
            outer = {k: raw[k] for k in INHERITED if raw.get(k) is not None and inner.get(k) is None}
            return {**outer, **inner}, f"{where}: {path}"
    return raw, where


def _family(inner: Mapping[str, Any], raw: Mapping[str, Any], where: str, asked: str) -> Family:
    """The family of a model.

    Raises:
        DataError: it is not known, or one of which nothing is imported.

    """
    known = families()
    for table in (inner, raw):
        if table.get("is_encoder_decoder"):
            raise DataError(
                f"{where}: is_encoder_decoder: got true; an encoder-decoder (model_type "
                f"{table.get('model_type')!r}) is not modelled, expected a decoder that generates by itself"
            )
    for architecture in raw.get("architectures") or []:
        if str(architecture).endswith(NO_GENERATOR):
            raise DataError(
                f"{where}: architectures: {architecture} generates no tokens and keeps no cache; expected a "
                "decoder, e.g. LlamaForCausalLM"
            )
    if asked:
        if asked not in known or known[asked].refused:
            raise DataError(f"--family: got {asked!r}, a family that is not known; {closest(asked)}")
        return known[asked]
    outer = str(raw.get("model_type", "") or "")
    kind = str(inner.get("model_type", "") or "")
    for candidate in [kind] if kind else [f"{outer}_text", outer]:
        if candidate in known:
            found = known[candidate]
            if found.refused:
                raise DataError(f"{where}: model_type: got {candidate!r}: {found.refused}")
            for architecture in raw.get("architectures") or []:
                other = family_of_class(str(architecture))
                if other is not None and not alike(other, found):
                    raise DataError(
                        f"{where}: model_type {candidate!r} and architectures {architecture} are of "
                        "families that read their keys in different ways; expected one, or --family NAME to "
                        "read it as one that is known, which marks every later output"
                    )
            return found
    if not kind:
        named = [family_of_class(str(a)) for a in raw.get("architectures") or []]
        if named and named[0] is not None and not named[0].refused:
            return named[0]
        raise DataError(f'{where}: model_type: got nothing, expected a family, e.g. "llama"')
    raise DataError(
        f"{where}: model_type: got {kind!r}, a family that is not known; {closest(kind)}; or --family NAME "
        "to read it as one that is known, which marks every later output"
    )


def _with_defaults(inner: dict[str, Any], family: Family, *, nested: bool) -> dict[str, Any]:
    """The table with the family's defaults for keys that it leaves out.

    Files leave out what equals the default of their class; of the sizes that make a model only nested tables
    do.
    """
    missing = {}
    for key, value in (family.defaults or {}).items():
        if key in inner:
            continue
        group = next((n for n, keys in NAMES.items() if key in keys), "")
        if any(other in inner for other in NAMES.get(group, ())):
            continue
        if not nested and group in MUST_SAY:
            continue
        missing[key] = value
    return {**inner, **missing}


def _shape(c: Config, family: Family, found: Layers) -> dict[str, int]:
    """Sizes of the whole model."""
    hidden = c.number("hidden")
    shape = {
        "layers": found.outside.get("layers") or c.number("layers"),
        "hidden": hidden,
        "vocab": c.number("vocab"),
        "max_context": c.number("context", 0),
    }
    wrong = [k for k in ("layers", "hidden", "vocab") if shape[k] < 1]
    if wrong:
        raise DataError(f"{c.where}: {', '.join(wrong)}: got 0, expected at least 1")
    if not shape["max_context"]:
        c.assumed.append("the longest context is not stated: none is checked against it")
    if family.positions >= 0:
        shape["positions"] = shape["max_context"] + family.positions
    narrow = c.number("word_embed_proj_dim", 0)
    if narrow and narrow != hidden:
        shape["embedding_width"] = narrow
    drafts = c.number("mtp_layers", 0)
    if drafts:
        shape["mtp_layers"] = drafts
    extra = c.number("hidden_size_per_layer_input", 0)
    if extra:
        shape["per_layer_embedding"] = extra
        shape["per_layer_vocab"] = c.number("vocab_size_per_layer_input", 0) or shape["vocab"]
    shape.update(found.outside)
    return shape


def _activation(c: Config, family: Family) -> str:
    """Activation of the feed-forward blocks, by the name of its field.

    Raises:
        DataError: one that is not known: whether it has a gate could only be guessed.

    """
    named = ""
    for key in ACTIVATION_KEYS:
        value = c.raw.get(key)
        if value is None:
            continue
        c.read.add(key)
        if not isinstance(value, str) or value.lower() not in ACTIVATIONS:
            raise c.wrong(key, "an activation that is known: " + ", ".join(sorted(ACTIVATIONS)))
        named = named or ACTIVATIONS[value.lower()]
    for key in GATED_KEYS:
        if c.has(key) and c.flag(key) != family.gated:
            raise c.wrong(key, f"{_shown(family.gated)}: so are the models of family {family.name}")
    named = named or ("silu" if family.gated else "gelu")
    if family.gated:
        return {"silu": "swiglu", "gelu": "geglu"}.get(named, f"{named} gated")
    return named


def _tied(c: Config, family: Family) -> bool:
    """Whether the head is the embedding."""
    if not c.has(*TIED_KEYS):
        c.assumed.append(
            f"tied_embeddings = {_shown(family.tied)}: the family's default, the configuration does not say"
        )
    return c.flag(*TIED_KEYS, default=family.tied)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _contradictions(c: Config, family: Family, inner: Mapping[str, Any], raw: Mapping[str, Any]) -> None:
    """What no model of the family has, or what two places of the file say otherwise.

    Raises:
        DataError: experts in a family whose class has none; a key that bears on the model beside the table
            that describes it.

    """
    experts = [n for n in NAMES["experts"] if isinstance(inner.get(n), int) and inner[n] > 1]
    known = family.defaults or dict.fromkeys(NAMES["experts"])  # of a class that nobody has: anything
    routes = family.optional_experts or any(n in known for n in NAMES["experts"])
    if experts and not routes:
        raise c.wrong(experts[0], f"none: models of family {family.name} have no experts")
    if inner is raw:
        return
    for key in sorted(c.read | c.asked):
        value = raw.get(key)
        if value is None or key in INHERITED or value == inner.get(key):
            continue
        if key in inner and inner[key] is not None:
            c.assumed.append(
                f"{key} = {_shown(inner[key])}: another, {_shown(value)}, stands outside of the table"
            )
        else:
            raise DataError(
                f"{c.where}: {key} = {_shown(value)} stands outside of the table that describes the language "
                "model, which does not say it; expected it inside"
            )


NEARLY: Final = 0.92
"""likeness from which a key that says no, or none, is taken for a misspelt one"""


def _unknown_keys(c: Config, family: Family, given: Mapping[str, Any]) -> list[str]:
    """Keys with a value that neither a rule reads nor is known to change nothing."""
    every = {*WITHOUT_EFFECT, *family.without_effect}
    return [
        f"{k} = {json.dumps(v, default=str)[:60]}"
        for k, v in sorted(c.unread().items())
        if k in given and not (k in every or without_effect(k))
    ] + [
        f"{k} = {json.dumps(v)} (did you mean {near[0]}?)"
        for k, v in sorted(given.items())
        if (v is False or v == 0) and v is not None and k not in c.read and k not in every
        if (near := [n for n in get_close_matches(k, c.read | c.asked, n=1, cutoff=NEARLY) if n not in given])
    ]


def _title(name: str | None, raw: Mapping[str, Any], inner: Mapping[str, Any], file: Path) -> str:
    """Name of the entry: as asked, as the file says, or as its folder is called."""
    told = str(raw.get("_name_or_path") or inner.get("_name_or_path") or "").rstrip("/").rsplit("/", 1)[-1]
    title = name or told or _folder_name(file)
    return re.sub(r"[^\w.-]+", "-", title).strip("-.") or "model"


def _folder_name(file: Path) -> str:
    """What the folder of a configuration is called; in a hub's cache, whose files are links, the model."""
    folder = file.absolute().parent
    if folder.parent.name == "snapshots":  # models--organisation--name/snapshots/revision
        return folder.parent.parent.name.rsplit("--", 1)[-1]
    return folder.name


def _attention_kind(found: Layers) -> str:
    """Attention of a model in one word."""
    kinds = {m.kind for m in found.mixers}
    if LatentAttention.kind in kinds:
        return "mla"
    if CompressedAttention.kind in kinds:
        return "compressed"
    if kinds != {Attention.kind}:
        return "hybrid"
    heads = {(m.heads, m.kv_heads) for m in found.mixers}
    if all(k == h for h, k in heads):
        return "mha"
    return "mqa" if all(k == 1 for _, k in heads) else "gqa"


def _toml(found: _Read, unverified: Sequence[str]) -> str:
    """The catalogue file."""
    layers, formats, title = found.layers, found.formats, found.title
    routed = any(not isinstance(b, Dense) for b in layers.blocks)
    main = formats.of("experts") if routed else formats.weights
    narrow = routed and main not in {"bf16", "fp16"} and formats.of("attention") in {"bf16", "fp16"}
    precision = f"{main} (experts)" if narrow else main
    lines = [
        f"name = {json.dumps(title, ensure_ascii=False)}",
        f"title = {json.dumps(title, ensure_ascii=False)}",
        f"source = {json.dumps(f'{found.file} of {title}', ensure_ascii=False)}",
        f'attention = "{_attention_kind(layers)}"',
        f'ffn = "{found.activation}"',
        f'precision = "{precision}"',
        f"tied_embeddings = {str(found.tied).lower()}",
    ]
    if unverified:
        lines.append(f"unverified = {json.dumps(unverified, ensure_ascii=False)}")
    body = ["", "[shape]", *(f"{k} = {v}" for k, v in found.shape.items())]
    plain = read_llm("\n".join([*lines, *body, "", *_group_lines(layers)]), found.file)
    own = {n: formats.of(n) for n in CLASSES if n in formats.classes or n not in {"head", "kv_cache"}}
    differing = {n: f for n, f in own.items() if plain.format_of(n) != f and (n != "experts" or routed)}
    if differing:
        body += ["", "[formats]", *(f'{n} = "{f}"' for n, f in differing.items())]
    return "\n".join([*lines, *body, "", *_group_lines(layers)])


def _group_lines(found: Layers) -> list[str]:
    groups = [group_toml("mixer", m) for m in found.mixers]
    groups += [group_toml("feed_forward", b) for b in found.blocks]
    return ["\n\n".join(groups)]


def _published(t: Transformer) -> str:
    """Counts of the configuration, for a reader to set beside the publisher's."""
    lines = [
        "",
        "",
        "[published]",
        "# computed from the configuration, to be set beside the published counts",
        f"params_total = {round(t.parameters)}",
        f"params_active = {round(t.active)}",
        f"kv_bytes_per_token_16bit = {round(t.kv_bytes_per_token(16))}",
    ]
    return "\n".join(lines) + "\n"
