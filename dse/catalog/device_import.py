"""A system file of aiconfigurator -> a catalogue file of a device; what it leaves out is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from dse.catalog.catalog import Catalog
from dse.catalog.entries import read_entry
from dse.catalog.schema import KINDS
from dse.core.errors import DataError, UnitError, nearest
from dse.core.units import parse

FIGURES: Final = {
    ("gpu", "mem_bw"): ("memory_bandwidth", "B/s"),
    ("gpu", "mem_capacity"): ("memory_capacity", "B"),
    ("gpu", "bfloat16_tc_flops"): ("peak_16bit", "FLOP/s"),
    ("gpu", "float16_tc_flops"): ("peak_16bit", "FLOP/s"),
    ("gpu", "fp8_tc_flops"): ("peak_8bit", "FLOP/s"),
    ("gpu", "int8_tc_flops"): ("peak_8bit", "FLOP/s"),
    ("gpu", "fp4_tc_flops"): ("peak_4bit", "FLOP/s"),
    ("gpu", "power"): ("tdp", "W"),
    ("node", "num_gpus_per_node"): ("domain", "1"),
    ("node", "intra_node_bw"): ("link_bandwidth", "B/s"),
}
"""section and key of a system file, in SI units -> field of a device and its unit; of two for one field the
first is taken, since language models are served in BF16 and FP8 where a chip has them
"""

FORMATS: Final = {"fp8_tc_flops": "fp8", "int8_tc_flops": "int8", "fp4_tc_flops": "fp4"}

LEAST: Final = {"B/s": 1e9, "B": 1e8, "FLOP/s": 1e11, "W": 5.0, "1": 1.0}
"""below which a figure is in another unit: 3350 for 3350 GB/s"""

ASKED: Final = ("memory", "node", "topology")
NUMBERS: Final = ("die_area", "dies", "memory_stacks", "memory_height")
EXAMPLES: Final = {
    "memory": "hbm3",
    "node": "n4",
    "topology": "switch",
    "available": "2024",
    "die_area": '"814 mm2"',
    "dies": "1",
    "memory_stacks": "5",
    "memory_height": "8",
    "tdp": '"700 W"',
}
LARGEST: Final = 1e6
"""characters of a system file"""


@dataclass(frozen=True)
class ImportedDevice:
    """A catalogue file's text, and keys of the system file that no field of a device takes."""

    text: str
    unread: tuple[str, ...]


def import_device(path: Path, name: str, given: Mapping[str, str], catalog: Catalog) -> ImportedDevice:
    """Read a system file; ``given`` says what it leaves out, e.g. ``{"die_area": "814 mm2"}``.

    Raises:
        DataError: not such a file, a number that is none, a field that is unknown or left out, or a name that
            the catalogue does not hold.

    """
    raw = _read(path)
    device = KINDS["device"]
    known = (*ASKED, "available", *device.fields)
    for key in given:
        if key not in known:
            raise DataError(f"--given {key}: not a field of a device; {nearest(key, known)}")
    values, formats, unread = _figures(path, raw)
    twice = sorted(set(values) & set(given))
    if twice:
        raise DataError(f"--given {twice[0]}: {path} states it itself; leave one out")
    missing = [k for k in (*ASKED, "available", *NUMBERS) if k not in given]
    needed = [k for k, f in device.fields.items() if f.required]
    needed += [k for k in device.demands["target"]["datacenter"] if k not in needed]
    missing += [k for k in needed if k not in {*values, *given, *NUMBERS}]
    if missing:
        ask = " ".join(f"--given {k}={EXAMPLES.get(k, '...')}" for k in missing)
        raise DataError(f"{path}: a system file does not say {', '.join(missing)}; say it: {ask}")
    for key in ASKED:
        entries = catalog.entries[device.names[key]]
        if given[key] not in entries:
            raise DataError(f"--given {key}: got {given[key]!r}; {nearest(given[key], entries)}")
    for key, text in given.items():
        if key not in (*ASKED, "available"):
            unit = device.fields[key].unit
            try:
                values[key] = (parse(text, unit), unit, "given at the import")
            except UnitError as error:
                raise DataError(f"--given {key}: {error}") from error
    text = _text(name, given, formats, values)
    read_entry("device", text, f"{name}.toml")
    return ImportedDevice(text, tuple(unread))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if len(text) > LARGEST:
        raise DataError(f"{path}: over a megabyte, no system file")
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{path}: not YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(raw, Mapping) or not isinstance(raw.get("gpu"), Mapping):
        raise DataError(f"{path}: expected a system file of aiconfigurator, with a section gpu")
    return raw


def _figures(
    path: Path, raw: Mapping[str, Any]
) -> tuple[dict[str, tuple[float, str, str]], list[str], list[str]]:
    """Fields with unit and source, number formats, and keys that no field takes."""
    values: dict[str, tuple[float, str, str]] = {}
    formats, unread = [], []
    order, taken = list(FIGURES), dict[str, tuple[str, str]]()
    for section, table in raw.items():
        if not isinstance(table, Mapping):
            unread.append(str(section))
            continue
        for key, value in table.items():
            found = FIGURES.get((str(section), str(key)))
            if found is None:
                meant = [f"{s}.{k}" for s, k in FIGURES if str(key) == k]
                if meant:
                    raise DataError(f"{path}: {section}.{key}: not known; did you mean {meant[0]}?")
                unread.append(f"{section}.{key}")
                continue
            field, unit = found
            try:
                number = float(value)
            except (TypeError, ValueError):
                number = -1.0
            if isinstance(value, bool) or not LEAST[unit] <= number < 1e30:
                raise DataError(
                    f"{path}: {section}.{key}: got {value!r}, expected a number in {unit}, "
                    f"from {LEAST[unit]:g} up"
                )
            if key in FORMATS:
                formats.append(FORMATS[key])
            place = (str(section), str(key))
            beside = taken.get(field, place)
            first, second = sorted((place, beside), key=order.index)
            if field in values and number != values[field][0]:
                unread.append(f"{'.'.join(second)} ({'.'.join(first)} is taken)")
            if first == place:
                values[field] = (number, unit, f"{path.name}: {section}.{key}")
                taken[field] = place
    return values, formats, unread


def _text(
    name: str, given: Mapping[str, str], formats: list[str], values: Mapping[str, tuple[float, str, str]]
) -> str:
    year = given["available"]
    try:
        float(year)
    except ValueError:
        raise DataError(f"--given available: got {year!r}, expected a year, e.g. 2024") from None
    lines = [
        f'name = "{name}"',
        f'title = "{name}"',
        'readiness = "shipping"',
        f'available = {{ low = {year}, nominal = {year}, high = {year}, unit = "year", source = "given" }}',
        'target = "datacenter"',
        *(f'{key} = "{given[key]}"' for key in ASKED),
        f'formats = "{" ".join(formats)}"',
        "",
        "[values]",
    ]
    for field, (value, unit, source) in values.items():
        number = f"low = {value!r}, nominal = {value!r}, high = {value!r}"
        lines.append(f'{field} = {{ {number}, unit = "{unit}", source = "{source}" }}')
    return "\n".join(lines) + "\n"
