"""Names as files of measurements write them -> entries of the catalogue, and number formats."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

from dse.catalog.catalog import Catalog
from dse.catalog.llm import LlmEntry
from dse.core.errors import DataError, nearest

SUFFIXES: Final = re.compile(
    r"[-_.](fp8|fp4|fp16|bf16|nvfp4|mxfp4|int4|int8|w4a16|w8a8|w4a8|awq|gptq|autoround|"
    r"dynamic|block|quark|instruct|base|chat|hf|it|thinking|preview|exp|1m|w-mxfp4-a-fp8|\d{4}|\d{6}|"
    r"(?<=fp4[-_.])v\d|(?<=fp8[-_.])v\d|(?<=instruct[-_.])v\d)$"
)
"""endings of a checkpoint's name that leave its shape as it is"""


DEVICE_ENDINGS: Final = ("_sxm", "_nvl72", "_nvl", "_80gb", "_141gb", "_180gb", "_192gb", "_288gb", "_hgx")


STACKS: Final = {
    "trtllm": "trtllm", "trt": "trtllm", "tensorrt_llm": "trtllm", "tensorrt-llm": "trtllm",
    "vllm": "vllm", "sglang": "sglang", "dynamo-trt": "trtllm", "dynamo-trtllm": "trtllm",
    "dynamo-vllm": "vllm", "dynamo-sglang": "sglang", "llamacpp": "llamacpp", "llama.cpp": "llamacpp",
}  # fmt: skip
"""runtime as a file names it -> software stack"""


FORMATS: Final = {
    "": "bf16", "nan": "bf16", "none": "bf16", "bf16": "bf16", "bfloat16": "bf16", "fp16": "bf16",
    "float16": "bf16", "fp8": "fp8", "fp8_block": "fp8", "fp8_static": "fp8", "fp8_ootb": "fp8",
    "fp8_e4m3": "fp8", "w8a8_fp8": "fp8", "fp4": "nvfp4", "nvfp4": "nvfp4", "mxfp4": "mxfp4",
    "w4a16_mxfp4": "mxfp4", "w4a8_mxfp4_mxfp8": "mxfp4", "int4": "int4", "int4_wo": "int4",
    "w4a16": "int4", "w4afp8": "int4", "awq": "int4", "gptq": "int4", "int8": "int8", "int8_wo": "int8",
    "sq": "int8", "w8a8": "int8",
}  # fmt: skip
"""label -> number format of weights"""


def _plain(name: str) -> str:
    """Lower case, without the organisation, with one kind of separator."""
    return re.sub(r"[\s_]+", "-", name.strip().lower().rsplit("/", 1)[-1])


def _bare(name: str) -> str:
    """A plain name without the endings that leave the shape as it is."""
    seen = _plain(name)
    while (cut := SUFFIXES.sub("", seen)) != seen:
        seen = cut
    return seen


@lru_cache(maxsize=8)
def _known(catalog: Catalog) -> dict[str, str]:
    exact: dict[str, str] = {}
    for name, entry in catalog.llms.items():
        for alias in filter(None, (name, entry.hf_id, *entry.aliases)):
            exact.setdefault(_plain(alias), name)
    for name, entry in catalog.llms.items():
        for alias in filter(None, (name, entry.hf_id)):
            exact.setdefault(_bare(alias), name)
    return exact


def llm_entry(catalog: Catalog, name: str) -> LlmEntry:
    """The catalogued model that a path or a checkpoint's name means.

    Raises:
        DataError: there is none.

    """
    known = _known(catalog)
    for key in (_plain(name), _bare(name), _bare(name).removeprefix("meta-"), f"meta-{_bare(name)}"):
        if key in known:
            return catalog.llm(known[key])
    close = get_close_matches(_plain(name), list(known), n=1)
    hint = f"did you mean {known[close[0]]!r}? " if close else ""
    raise DataError(
        f"model {name!r}: not in the catalogue; {hint}dse catalog llm lists it, dse catalog "
        "import-llm adds to it"
    )


def device_name(catalog: Catalog, name: str) -> str:
    """The catalogued device that a label means: ``H200``, ``h200_sxm`` and ``gb200_nvl72`` alike.

    Raises:
        DataError: there is none.

    """
    devices = catalog.entries["device"]
    seen = re.sub(r"[\s-]+", "_", name.strip().lower().removeprefix("nvidia ").removeprefix("amd "))
    bare = seen
    for ending in DEVICE_ENDINGS:
        bare = bare.removesuffix(ending)
    for key in (seen, bare, bare + "_sxm", seen + "_sxm", bare + "_server"):
        if key in devices:
            return key
    raise DataError(f"device {name!r}: not in the catalogue; {nearest(name, devices)}")


def stack_name(catalog: Catalog, name: str) -> str:
    """The software stack a runtime's label means.

    Raises:
        DataError: there is none.

    """
    key = name.strip().lower()
    stack = STACKS.get(key, key)
    if stack in catalog.entries["software"]:
        return stack
    raise DataError(f"backend {name!r}: not a software stack; {nearest(name, catalog.entries['software'])}")


def number_format(label: str, fallback: str = "bf16") -> str:
    """Number format of a label; ``fallback`` where the file leaves it empty.

    Raises:
        DataError: the label is unknown.

    """
    key = label.strip().lower()
    if key in {"", "nan", "none"}:
        return fallback
    if key not in FORMATS:
        raise DataError(
            f"precision {label!r}: got an unknown format; {nearest(key, [k for k in FORMATS if k])}"
        )
    return FORMATS[key]


def units_of(catalog: Catalog, device: str) -> list[str]:
    """Number formats that a device multiplies in beside 16 bit."""
    return catalog.entry("device", device).attributes.get("formats", "").split()
