"""dse: design-space exploration of LLM-inference hardware.

import dse
run = dse.search(dse.load_space("datacenter").fix(pnm="none"), trials=2000, seed=1)
run.front                  # pandas.DataFrame, SI units in .attrs["units"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dse.core.version import __version__

if TYPE_CHECKING:
    from dse.api import (
        Catalog,
        DseError,
        Evaluator,
        Figure,
        Outcomes,
        Point,
        SearchResult,
        Space,
        evaluate,
        fit,
        load_catalog,
        load_run,
        load_space,
        search,
    )

__all__ = [
    "Catalog",
    "DseError",
    "Evaluator",
    "Figure",
    "Outcomes",
    "Point",
    "SearchResult",
    "Space",
    "__version__",
    "evaluate",
    "fit",
    "load_catalog",
    "load_run",
    "load_space",
    "search",
]


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that ``dse --help`` stays quick."""
    if name in __all__:
        from dse import api

        return getattr(api, name)
    raise AttributeError(f"module 'dse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
