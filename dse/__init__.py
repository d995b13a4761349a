"""dse: design-space exploration of LLM-inference hardware."""

from __future__ import annotations

from typing import Any

__version__ = "0.2.0"


__all__ = ["__version__", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that ``dse --help`` stays quick."""
    if name == "evaluate":
        from dse.evaluator.explain import evaluate

        return evaluate
    raise AttributeError(f"module 'dse' has no attribute {name!r}")
