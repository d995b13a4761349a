"""Catalogued classes of requests: by name in a space file, or alone in a scenario."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from dataclasses import replace
from typing import Any

from dse.catalog.catalog import Catalog
from dse.space.scenario import RequestClass, RequestMix, Scenario

DECODING = ("draft_tokens", "acceptance", "block_tokens", "tokens_per_pass")
"""how a traffic class wins tokens: the same for all classes of a mix, or set on the workload"""


def traffic_values(catalog: Catalog, name: str) -> dict[str, float]:
    """Nominal values of a catalogued class of requests.

    Raises:
        DataError: there is none of that name.

    """
    return {k: q.nominal for k, q in catalog.entry("traffic", name).values.items()}


def with_traffic(scenario: Scenario, catalog: Catalog, name: str) -> Scenario:
    """The scenario served one catalogued class alone, with its skew and its way of winning tokens.

    Raises:
        DataError: there is none of that name.

    """
    values = traffic_values(catalog, name)
    fields = {f.name for f in dataclass_fields(RequestClass)}
    request = RequestClass(name, 1.0, **{k: v for k, v in values.items() if k in fields})
    won: dict[str, Any] = {k: values.get(k, 0.0) for k in DECODING}
    numbers = {
        **scenario.numbers,
        **({"routing_skew": values["routing_skew"]} if "routing_skew" in values else {}),
    }
    if "concurrency" in values:
        total = sum(w.concurrency for w in scenario.workloads)
        workloads = tuple(
            replace(w, concurrency=w.concurrency / total * values["concurrency"]) for w in scenario.workloads
        )
    else:
        workloads = scenario.workloads
    if "longest_request" in numbers:
        numbers["longest_request"] = request.longest
    if "ttft_input" in numbers:
        numbers["ttft_input"] = request.input_tokens * (1.0 - request.prefix_share)
    return replace(
        scenario,
        mix=RequestMix((request,)),
        numbers=numbers,
        workloads=tuple(replace(w, **won) for w in workloads),
    )
