"""Facts of released model classes: the defaults that files leave out, and counts by building them.

Run where transformers and torch are installed: ``python -m tests.validation.released_classes``. It writes
``dse/data/family_defaults.toml`` and prints the counts that ``public_configurations.csv`` holds: every class is
built without weights, its parameters are counted, and a prompt of eight tokens shows what its cache keeps.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from dse.catalog.hf_config import NAMES, Config
from dse.catalog.hf_families import families
from dse.catalog.hf_keys import WITHOUT_EFFECT
from dse.catalog.hf_rules import read_layers
from dse.core.errors import DataError
from dse.run.folder import write_atomically

HOME = Path(__file__).resolve().parents[2]

SAID = ("tie_word_embeddings", "model_type", "is_encoder_decoder", "use_cache", "dtype")


def main() -> None:
    """Write the defaults, print the counts."""
    import transformers  # type: ignore[import-not-found]
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # type: ignore[import-not-found]
    from transformers.models.auto.modeling_auto import (  # type: ignore[import-not-found]
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES,
    )

    lines = [
        "# Values that a file may leave out where they are those of its family's class: defaults of transformers",
        f"# {transformers.__version__}, models/*/configuration_*.py, of the keys that bear on bytes or FLOP.",
        "# Made by tests/validation/released_classes.py.",
        "",
    ]
    for kind, family in families().items():
        if family.refused or kind not in CONFIG_MAPPING:
            continue
        lines += [
            f"[{kind}]",
            *(f"{k} = {json.dumps(v)}" for k, v in defaults(CONFIG_MAPPING[kind], kind)),
            "",
        ]
        if kind in CLASSES:
            named = CLASSES[kind]
            model = getattr(transformers, named if isinstance(named, str) else named[0])
            try:
                print(kind, *counts(model, CONFIG_MAPPING[kind]()))
            except Exception as error:  # noqa: BLE001 - a class whose defaults cannot be built
                print(kind, f"{type(error).__name__}: {error}"[:200])
    write_atomically(HOME / "dse" / "data" / "family_defaults.toml", "\n".join(lines))


def defaults(cls: Any, kind: str) -> list[tuple[str, Any]]:
    """Defaults of a class that bear on bytes or FLOP."""
    read: set[str] = {k for names in NAMES.values() for k in names}
    try:
        c = Config(json.loads(cls().to_json_string(use_diff=False)), kind, kind)
        read_layers(c, families()[kind])
        read |= c.read
    except (DataError, TypeError, ValueError):
        pass
    found = {f.name: f.default for f in dataclasses.fields(cls) if isinstance(f.default, int | str)}
    kept = {k: v for k, v in found.items() if k in read and v is not False}
    return sorted((k, v) for k, v in kept.items() if k not in SAID and k not in WITHOUT_EFFECT)


def counts(model: Any, config: Any) -> tuple[int, int | None]:
    """Parameters of a class, and KV elements that a token leaves behind (None where none is run)."""
    import torch  # type: ignore[import-not-found]

    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        built = model._from_config(config)
    total = sum(p.numel() for p in built.parameters())
    try:
        with torch.no_grad():
            out = built(input_ids=torch.zeros((1, 8), dtype=torch.long, device="meta"), use_cache=True)
        kept = [t for layer in out.past_key_values.layers for t in (layer.keys, layer.values)]
    except Exception:  # noqa: BLE001 - classes that do not run without weights are counted alone
        return total, None
    return total, sum(math.prod(t.shape) // 8 for t in kept)


if __name__ == "__main__":
    main()
