"""The Python API: load a space, search it, evaluate a point, read a run and the catalogue. The command line is its user."""

from __future__ import annotations

from collections.abc import Mapping

from dse.catalog.catalog import Catalog, load_catalog
from dse.evaluator.explain import Evaluation, Request
from dse.evaluator.explain import evaluate as evaluate_request
from dse.space.space import Space

__all__ = ["evaluate", "load_catalog"]


def evaluate(
    target: str | Space,
    *,
    variables: Mapping[str, object] | None = None,
    device: str | None = None,
    llm: str | None = None,
    batch: int = 1,
    tensor_parallel: int = 1,
    attention: str = "tp",
    context: float | None = None,
    input_tokens: float | None = None,
    output_tokens: float | None = None,
    weight_bits: float | None = None,
    kv_bits: float | None = None,
    compute_bits: float | None = None,
    software: str | None = None,
    catalog: Catalog | None = None,
) -> Evaluation:
    """Evaluate one design (``variables``) or existing machine (``device``) under one plan."""
    request = Request(
        llm=llm,
        software=software,
        weight_bits=weight_bits,
        kv_bits=kv_bits,
        compute_bits=compute_bits,
        context=context,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )
    return evaluate_request(
        target,
        variables=variables,
        device=device,
        request=request,
        batch=batch,
        tensor_parallel=tensor_parallel,
        attention=attention,
        catalog=catalog,
    )
