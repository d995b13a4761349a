"""Commands that show the catalogue, import into it, and copy spaces to edit."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dse.catalog.catalog import entry_text, load_catalog
from dse.catalog.device_import import import_device as read_system
from dse.catalog.hf_families import families
from dse.catalog.hf_import import import_llm as read_config
from dse.catalog.json_schema import json_schema
from dse.catalog.llm import LlmEntry
from dse.catalog.schema import KINDS
from dse.catalog.transformer import transformer
from dse.cli.console import given_of, note, result, say, tell, written
from dse.core.errors import OK, DataError, RunError, nearest
from dse.core.units import show
from dse.run.folder import write_atomically
from dse.space.json_schema import space_schema
from dse.space.reader import shipped_spaces


def catalog(options: argparse.Namespace) -> int:
    """List kinds, entries, or one entry's numbers; or import a model or a device."""
    if options.kind == "import-llm":
        return import_llm(options)
    if options.kind == "import-device":
        return import_device(options)
    if options.schema is not None:
        for kind in [*KINDS, "llm"]:
            write_atomically(options.schema / f"{kind}.json", json.dumps(json_schema(kind), indent=1) + "\n")
        write_atomically(options.schema / "space.json", json.dumps(space_schema(), indent=1) + "\n")
        tell(schemas=len(KINDS) + 2)
        result(f"{options.schema}: {len(KINDS) + 2} schemas")
        return OK
    if options.out is not None:
        return _copy(options)
    if options.kind == "families":
        return _print_families()
    c = load_catalog()
    if options.kind is None:
        for kind, group in sorted(c.entries.items()):
            result(f"{kind:12s} {KINDS[kind].title:45s} {', '.join(sorted(group))}")
        tell(kinds={kind: sorted(group) for kind, group in c.entries.items()} | {"llm": sorted(c.llms)})
        result(f"{'llm':12s} {'Language models':45s} {', '.join(sorted(c.llms))}")
        guesses, total = c.estimates()
        say(f"{total} numbers, {guesses} of them estimates.")
        return OK
    if options.kind == "llm":
        return _print_llms(c, options.name)
    if options.kind not in c.entries:
        raise DataError(
            f"catalog: got kind {options.kind!r}, expected "
            f"{nearest(options.kind, [*c.entries, 'llm', 'families', 'import-llm', 'import-device'])}"
        )
    for name in [options.name] if options.name else sorted(c.entries[options.kind]):
        entry = c.entry(options.kind, name)
        numbers = {f: asdict(q) for f, q in entry.values.items()}
        tell(**{name: {"title": entry.title, "readiness": entry.readiness, "values": numbers}})
        result(
            f"{options.kind}/{name}: {entry.title} [{entry.readiness}, "
            f"{entry.available.low:.0f}/{entry.available.nominal:.0f}/{entry.available.high:.0f}]"
        )
        if options.name:
            for f, q in entry.values.items():
                result(
                    f"  {f:32s} {show(q.low, q.unit):>14s} {show(q.nominal, q.unit):>14s} "
                    f"{show(q.high, q.unit):>14s}  {q.source[:110]}"
                )
    return OK


def _copy(options: argparse.Namespace) -> int:
    """Copy an entry's file under a name of one's own."""
    if options.kind is None or options.name is None:
        raise DataError(
            "catalog --out: say which entry, e.g. dse catalog memory hbm4 --out own/memory/mine.toml"
        )
    name = options.entry_name or options.out.stem
    if options.out.stem != name or options.out.suffix != ".toml":
        raise DataError(f"--out {options.out}: the file of an entry is called as it is: {name}.toml")
    if options.out.exists():
        raise RunError(f"--out {options.out}: exists; choose another file")
    text = entry_text(options.kind, options.name)
    write_atomically(options.out, re.sub(r'(?m)^name = ".*"', f'name = "{name}"', text, count=1))
    written(options.out)
    say(f"Change its numbers, then: dse --catalog {options.out.parent.parent} ...")
    return OK


def _print_families() -> int:
    """Families that ``import-llm`` reads, and those that it refuses and why."""
    every = families()
    read = sorted(n for n, f in every.items() if not f.refused)
    tell(read=read, refused={n: f.refused for n, f in sorted(every.items()) if f.refused})
    result(f"{len(read)} families are read: {', '.join(read)}")
    for why in dict.fromkeys(f.refused for f in every.values() if f.refused):
        names = sorted(n for n, f in every.items() if f.refused == why)
        result(f"refused, {why}: {', '.join(names)}")
    return OK


def _print_llms(c: Any, name: str | None) -> int:
    for n in [name] if name else sorted(c.llms):
        t = transformer(c.llm(n))
        published = c.llm(n).published.get("params_total", 0.0)
        tell(**{n: {"parameters": t.parameters, "active": t.active, "kv_bytes": t.kv_bytes_per_token(16)}})
        result(
            f"{n:26s} {100 * (t.parameters / published - 1) if published else 0:+.2f} % of the published "
            f"count: {described(c.llm(n))}"
        )
        for line in c.llm(n).unverified:
            result(f"{'':26s} not known, taken by the importer's word: {line}")
    return OK


def init(options: argparse.Namespace) -> int:
    """Copy the shipped spaces and their schema to edit."""
    for source in shipped_spaces():
        place = options.folder / source.name
        if place.exists():
            raise RunError(f"{place}: exists; choose another folder")
    for source in shipped_spaces():
        write_atomically(
            options.folder / source.name,
            source.read_text(encoding="utf-8").replace("../dse/data/schema/space.json", "schema/space.json"),
        )
        written(options.folder / source.name)
    write_atomically(options.folder / "schema" / "space.json", json.dumps(space_schema(), indent=1) + "\n")
    return OK


def import_llm(options: argparse.Namespace) -> int:
    """Write the catalogue file of a model from its config.json."""
    if options.name is None:
        raise DataError(
            "catalog import-llm: give a config.json, e.g. dse catalog import-llm path/config.json"
        )
    if options.entry_name is not None and not re.fullmatch(r"\w[\w.-]*", options.entry_name):
        raise DataError(
            f"--name: got {options.entry_name!r}, expected letters, digits, dots and dashes, e.g. my-model-7B"
        )
    made = read_config(
        Path(options.name),
        options.entry_name,
        family=options.family or "",
        accept_unknown=options.accept_unknown,
    )
    out: Any = options.out or Path(f"{made.entry.name}.toml")
    write_atomically(out, made.text)
    found = transformer(made.entry)
    tell(
        name=made.entry.name,
        parameters=found.parameters,
        active=found.active,
        kv_bytes_per_token=found.kv_bytes_per_token(16),
        notes=made.warnings,
        assumed=made.assumed,
        not_known=list(made.unverified),
        files=[str(out)],
    )
    result(f"{made.entry.name}: {described(made.entry)}")
    for line in made.warnings:
        result(f"  note: {line}")
    for line in made.assumed:
        result(f"  assumed: {line}")
    for line in made.unverified:
        result(f"  not known, taken by your word: {line}; every output of this model says so")
    if not (made.unverified or made.assumed):
        say("  every key that bears on bytes or FLOP was mapped")
    say(f"{out}; put it into DIR/llm and use it with: dse --catalog DIR ...")
    return OK


def import_device(options: argparse.Namespace) -> int:
    """Write the catalogue file of a device from a system file of aiconfigurator."""
    if options.name is None:
        raise DataError(
            "catalog import-device: give a system file, e.g. dse catalog import-device system.yaml"
        )
    name = options.entry_name or re.sub(r"\W+", "_", Path(options.name).stem)
    if not re.fullmatch(r"\w+", name):
        raise DataError(f"--name: got {name!r}, expected letters, digits and underscores, e.g. my_gpu")
    made = read_system(Path(options.name), name, given_of(options.given), load_catalog())
    out: Path = options.out or Path(f"{name}.toml")
    write_atomically(out, made.text)
    tell(name=name, unread=made.unread)
    if made.unread:
        note(f"keys that no field of a device takes: {', '.join(made.unread)}")
    written(out)
    say(f"Put it into DIR/device and use it with: dse --catalog DIR evaluate --device {name} ...")
    return OK


def described(entry: LlmEntry) -> str:
    """Counts of a model in one line: parameters, cache, state, kinds and formats."""
    t = transformer(entry)
    parts = [f"{t.parameters / 1e9:.3f} G parameters"]
    if t.experts:
        parts.append(f"{t.active / 1e9:.3f} G active a token")
    index, every = t.index_bytes_per_token, t.kv_bytes_per_token(16)
    cache = f"KV {(every + index) / 1024:.1f} KiB a token at 16 bit"
    beyond = t.kv_bytes_per_token(16, windows=False)
    if index:
        cache += f" ({every / 1024:.1f} of entries, {index / 1024:.1f} of index keys)"
    if beyond < every:
        cache += f", {beyond / 1024:.1f} KiB once windows are full"
    parts.append(cache)
    if t.state_bytes:
        parts.append(f"state {t.state_bytes / 2**20:.1f} MiB a sequence")
    parts += [entry.attention, entry.ffn, formats_of(entry)]
    return ", ".join(parts)


def formats_of(entry: LlmEntry) -> str:
    """Number formats of a model by class, alike ones together."""
    names = ["attention", "ffn", *(["experts"] if entry.experts else []), "head", "kv_cache"]
    by_format: dict[str, list[str]] = {}
    for name in names:
        by_format.setdefault(entry.format_of(name), []).append(name.replace("_", " "))
    if len(by_format) == 1:
        return next(iter(by_format))
    return "; ".join(f"{fmt} ({', '.join(of)})" for fmt, of in by_format.items())
