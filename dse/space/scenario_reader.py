"""The scenario of a space file: numbers with their bounds, traffic, models under load."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from typing import Any, Final

from dse.core.errors import DataError
from dse.core.units import show
from dse.space.field_reader import FieldReader
from dse.space.references import read_site
from dse.space.request_classes import DECODING, traffic_values
from dse.space.scenario import ModelLoad, RequestClass, RequestMix, Scenario
from dse.space.targets import ABOVE_ZERO, SCENARIO_BOUNDS, SCENARIO_UNITS, Target

COMPUTE_BITS = (0.0, 4.0, 8.0, 16.0)
FEWEST_CACHE_BITS: Final = 2.0
"""of an element of a KV cache: what is published goes down to two (KIVI, arXiv 2402.02750)"""

ROUNDING: Final = 1e-3
"""by which shares written with few digits may miss a whole"""


_REQUEST_NUMBERS: Final[Sequence[tuple[tuple[str, ...], Callable[[float], bool], str]]] = (
    (("share", "input_tokens", "output_tokens"), lambda x: 0 < x < math.inf, "a finite number above 0"),
    (("prefix_share",), lambda x: 0 <= x < 1, "a share from 0 and below 1"),
    (("prefix_reuse",), lambda x: 1 <= x < math.inf, "requests that share a prefix, from 1"),
    (("input_spread", "output_spread"), lambda x: 0 <= x < math.inf, "a finite number from 0"),
)
"""numbers of a class of requests, what holds of them, and that in words"""


def _plain_number(value: object) -> float:
    if isinstance(value, bool):
        raise TypeError("a truth value is no number")
    return float(value)  # type: ignore[arg-type]


class ScenarioReader(FieldReader):
    """Reads the scenario of a space."""

    def scenario(self, raw: dict[str, Any], target: Target) -> Scenario:
        """Read the scenario: workloads, traffic, and numbers with their sources."""
        self.keys(
            raw,
            (
                "software",
                "grid",
                "body",
                "traffic",
                "workload",
                "context_parallel",
                *target.scenario,
                *target.scenario_optional,
            ),
            "scenario.",
        )
        if not isinstance(raw.get("context_parallel", False), bool):
            self.faults.add("scenario.context_parallel", raw["context_parallel"], "true or false")
        numbers, sources = {}, {}
        for name in (*target.scenario, *target.scenario_optional):
            unit = SCENARIO_UNITS[name]
            if name not in raw and name in target.scenario:
                self.faults.add(
                    f"scenario.{name}",
                    None,
                    f"a number in {unit}",
                    f'{{ value = 1, unit = "{unit}", source = "..." }}',
                )
            elif name in raw:
                numbers[name] = self.number(f"scenario.{name}", raw[name], unit)
                self._within(f"scenario.{name}", numbers[name], name)
                sources[name] = str(raw[name].get("source", "")) if isinstance(raw[name], dict) else ""
        classes, drawn = self._traffic(raw.get("traffic", []))
        loads = [
            w
            for i, item in enumerate(self.listed("scenario.workload", raw.get("workload", [])))
            if (w := self._workload(i, self.tables(f"scenario.workload[{i}]", item), drawn)) is not None
        ]
        self._whole("scenario.workload.weight", [w.weight for w in loads])
        self._agree(classes, loads, numbers.get("longest_request", math.inf))
        if "routing_skew" in drawn:
            numbers["routing_skew"] = drawn["routing_skew"]
        if not classes:
            self.faults.add("scenario.traffic", None, "at least one class of requests")
        if not loads:
            self.faults.add("scenario.workload", None, "at least one model")
        grid, body = read_site(raw, target, self.catalog, self.faults)
        return Scenario(
            software=str(raw.get("software", "textbook")),
            numbers=numbers,
            mix=RequestMix(tuple(classes)),
            workloads=tuple(loads),
            sources=sources,
            context_parallel=raw.get("context_parallel", False) is True,
            electricity_grid=grid,
            body=body,
        )

    def _agree(self, classes: Sequence[RequestClass], loads: Sequence[ModelLoad], most: float) -> None:
        """Note a model that stands twice, and requests longer than the longest that is stated."""
        kinds = [c.name for c in classes]
        for name in sorted({n for n in kinds if kinds.count(n) > 1}):
            self.faults.add("scenario.traffic.name", name, "every class of requests once")
        names = [w.llm for w in loads]
        for name in sorted({n for n in names if names.count(n) > 1}):
            self.faults.add("scenario.workload.llm", name, "every model once, its weights added up")
        for c in classes:
            if c.input_tokens + c.output_tokens > most:
                self.faults.add(
                    f"scenario.traffic {c.name}",
                    f"{c.input_tokens:g} tokens in and {c.output_tokens:g} out",
                    f"at most the {most:g} tokens of scenario.longest_request together",
                )

    def _within(self, key: str, value: float, name: str) -> None:
        """Note a number of the scenario that is out of its bounds."""
        low, high = SCENARIO_BOUNDS[name]
        if not math.isnan(value) and not low <= value <= high:
            unit = SCENARIO_UNITS[name]

            def told(x: float) -> str:
                return f"{x:g}" if name == "year" else show(x, unit)

            least = "above 0" if low == ABOVE_ZERO else f"from {told(low)}"
            self.faults.add(key, told(value), f"a number {least} and up to {told(high)}")

    def _whole(self, key: str, shares: Sequence[float]) -> None:
        """Note shares that do not make a whole."""
        if shares and abs(sum(shares) - 1.0) > ROUNDING:
            self.faults.add(
                key, [round(s, 6) for s in shares], f"shares that sum to 1, not to {sum(shares):g}"
            )

    def _traffic(self, items: Sequence[Any]) -> tuple[list[RequestClass], dict[str, float]]:
        """Classes of requests, and what the catalogue's classes say of the workloads they go to."""
        fields = tuple(f.name for f in dataclass_fields(RequestClass))
        classes: list[RequestClass] = []
        said: list[tuple[float, dict[str, float]]] = []
        broken = False
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            self.faults.add(
                "scenario.traffic",
                items,
                "tables [[scenario.traffic]] with use = and share =",
                'use = "chat"',
            )
            return [], {}
        for i, item in enumerate(items):
            key = f"scenario.traffic[{i}]"
            self.keys(item, (*fields, "use", "source"), key + ".")
            known: dict[str, float] = {}
            if "use" in item:
                try:
                    known = traffic_values(self.catalog, str(item["use"]))
                except DataError as error:
                    self.faults.add(f"{key}.use", item["use"], str(error))
                    broken = True
                    continue
            try:
                given = {k: item[k] for k in fields if k in item and k != "name"}
                own = {k: _plain_number(v) for k, v in given.items()}
                values = {k: v for k, v in known.items() if k in fields} | own
                request = RequestClass(str(item.get("name", item.get("use"))), **values)
            except (KeyError, TypeError, ValueError):
                self.faults.add(key, item, "name, share, input_tokens, output_tokens; or use and share")
                broken = True
                continue
            faulty = self._request(key, request)
            broken = broken or faulty
            if faulty:
                continue
            classes.append(request)
            said.append((request.share, {k: v for k, v in known.items() if k not in fields}))
        if not broken:
            self._whole("scenario.traffic.share", [c.share for c in classes])
        return classes, self._agreed(said)

    def _request(self, key: str, request: RequestClass) -> bool:
        """Note numbers of a class of requests that cannot be; whether there is one."""
        before = len(self.faults.lines)
        for names, holds, words in _REQUEST_NUMBERS:
            for name in names:
                if not holds(getattr(request, name)):
                    self.faults.add(f"{key}.{name}", getattr(request, name), words)
        return len(self.faults.lines) > before

    def _agreed(self, said: Sequence[tuple[float, dict[str, float]]]) -> dict[str, float]:
        """Means over the classes of concurrency and skew; how tokens are won must be the same for all."""
        out: dict[str, float] = {}
        for name in ("concurrency", "routing_skew"):
            found = [(share, k[name]) for share, k in said if name in k]
            if found:
                out[name] = sum(s * v for s, v in found) / sum(s for s, _ in found)
        for name in DECODING:
            values = {k.get(name, 0.0) for _, k in said}
            if len(values) > 1:
                self.faults.add(
                    "scenario.traffic",
                    sorted(values),
                    f"classes that agree in {name}; or set {name} on the workload",
                    "one class alone",
                )
            elif values and max(values) > 0:
                out[name] = values.pop()
        return out

    def _workload(self, i: int, item: dict[str, Any], drawn: Mapping[str, float]) -> ModelLoad | None:
        """One model and its precision; concurrency and drafting may come from the traffic."""
        key = f"scenario.workload[{i}]"
        names = tuple(f.name for f in dataclass_fields(ModelLoad))
        self.keys(item, (*names, "source"), key + ".")
        needed = ("weight", "concurrency", "weight_bits", "kv_bits", "compute_bits")
        given = {k: v for k, v in drawn.items() if k in names} | {
            k: v for k, v in item.items() if k in names and k != "llm"
        }
        values: dict[str, Any] = {}
        for k, v in given.items():
            if isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) or v < 0:
                self.faults.add(f"{key}.{k}", v, "a finite number not below 0")
            elif k.endswith("compute_bits") and v not in COMPUTE_BITS:
                self.faults.add(f"{key}.{k}", v, "4, 8 or 16")
            elif k == "kv_bits" and not FEWEST_CACHE_BITS <= v <= 32:
                self.faults.add(f"{key}.{k}", v, f"{FEWEST_CACHE_BITS:g} to 32 bits")
            elif k.endswith("_bits") and not (1 <= v <= 32 or (v == 0 and k not in needed)):
                self.faults.add(f"{key}.{k}", v, "1 to 32 bits")
            else:
                values[k] = float(v)
        missing = [k for k in needed if k not in given or (k in values and values[k] == 0)]
        if missing:
            self.faults.add(key, item, f"a number above 0 for {', '.join(missing)}")
        if any(k not in values for k in needed) or missing:
            return None
        self._decoding(key, values)
        load = ModelLoad(str(item.get("llm")), **values)
        for operator in ("projections", "ffn", "experts", "head"):
            stored, computed = load.stored(operator), load.computed(operator)
            if computed < int(stored):
                self.faults.add(
                    f"{key}.compute_bits",
                    computed,
                    f"at least the {stored:g} bits in which the weights of {operator} lie in memory",
                )
                break
        return load

    def _decoding(self, key: str, values: Mapping[str, float]) -> None:
        """Drafting and diffusion: each complete, one of them, and no more tokens than positions."""
        draft, accept, block, won = (values.get(k, 0.0) for k in DECODING)
        if (draft > 0) != (accept > 0) or accept > 1:
            self.faults.add(
                f"{key}.acceptance", accept, "draft_tokens and acceptance together, acceptance a share"
            )
        if (block > 0) != (won > 0) or won > block:
            self.faults.add(
                f"{key}.tokens_per_pass",
                won,
                f"block_tokens and tokens_per_pass together, at most the {block:g} positions of a block",
            )
        if draft > 0 and block > 0:
            self.faults.add(f"{key}.block_tokens", block, "drafting or diffusion, not both")
