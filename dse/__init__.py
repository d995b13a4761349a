"""dse: design-space exploration of LLM-inference hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dse.core.version import __version__

if TYPE_CHECKING:
    from dse.api import evaluate, load_catalog

__all__ = ["__version__", "evaluate", "load_catalog"]


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that ``dse --help`` stays quick."""
    if name in __all__:
        from dse import api

        return getattr(api, name)
    raise AttributeError(f"module 'dse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
