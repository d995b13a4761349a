"""Cases -> predicted TTFT and TPOT, through the serving code that the search uses.

Every case is a machine of its own with one plan: a row of a compiled loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from dse.calibration.cases import Case, RankPlan
from dse.catalog.catalog import Catalog, load_catalog
from dse.catalog.transformer import Transformer, transformer
from dse.core.units import FloatArray, IntArray
from dse.hardware.assemble import FORMS, assemble
from dse.hardware.machine import Machine
from dse.serving.machine_rows import machine_rows
from dse.serving.pairs import PairWork, pair_work, serve_pairs
from dse.serving.plan import Plans, plans_of
from dse.serving.software import FIELDS, SoftwareStack, software_of
from dse.serving.step_work import lower_step
from dse.space.limits import Limit
from dse.space.scenario import RequestClass, RequestMix, Scenario

SITE: Final = {
    "year": 2026.0,
    "volume": 1e5,
    "pue": 1.2,
    "electricity_price": 2e-8,
    "lifetime": 1.26e8,
    "utilisation": 0.6,
    "weight_update_interval": 2.6e6,
}
"""a scenario's numbers, none of which touch a step's time"""


NO_LIMIT: Final = 1e12


SETTLED: Final = 6
CLOSE: Final = 1e-3
"""rounds and relative change after which the sequences that fit are taken as found"""


@dataclass(frozen=True)
class Served:
    """Cases in arrays: what does not depend on a stack's factors, and how many requests decode."""

    cases: tuple[Case, ...]
    machine: Any
    """(n,) ``MachineRow``"""
    feeding: Any
    """of the prefill worker"""
    work: PairWork
    prompts: PairWork
    """the prefill worker's plan; the same as ``work`` where prompts share the machine"""
    batch: FloatArray
    """(n,) sequences that decode in a group"""
    output: FloatArray
    shared: FloatArray
    """1 where arriving prompts join the decode steps"""
    room: FloatArray
    """(n,) sequences whose KV cache fits beside the weights; not above 0 where the weights do not fit"""
    longest: FloatArray
    """(n,) bytes of one request at its full length over those that are left for it"""

    alone: bool = False
    """for an ablation: joining prompts find no idle compute in the step"""

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, rows: IntArray) -> Served:
        """Some cases, in the order asked for."""
        work = self.work.take(rows)
        return Served(
            cases=tuple(self.cases[i] for i in rows),
            machine=self.machine[rows],
            feeding=self.feeding[rows],
            work=work,
            prompts=work if self.prompts is self.work else self.prompts.take(rows),
            batch=self.batch[rows],
            output=self.output[rows],
            shared=self.shared[rows],
            room=self.room[rows],
            longest=self.longest[rows],
            alone=self.alone,
        )

    def with_work(self, work: PairWork) -> Served:
        """The same cases with another work of their steps, and of prompts that share the machine."""
        return replace(self, work=work, prompts=work if self.prompts is self.work else self.prompts)


@dataclass(frozen=True)
class Times:
    """Predictions, (n,) each, in s."""

    tpot: FloatArray
    ttft: FloatArray
    pairs: Any
    """(n,) ``PairRow``"""


def over_cards(catalog: Catalog, device: str, group: int) -> bool:
    """Whether a group's messages cross network cards.

    Wider than a domain, or of devices without a link of their own.
    """
    own = catalog.value("device", device, "link_bandwidth", 0.0) > 0
    return group > (catalog.value("device", device, "domain", 1.0) if own else 1.0)


def machines(catalog: Catalog, devices: Sequence[str]) -> Machine:
    """One machine per device named, (n,)."""
    keys = sorted({*devices})
    form = FORMS["datacenter"]
    built = assemble(
        form.device_parts(catalog, keys, ""), form, catalog, textbook(), {Limit.RACK_POWER: NO_LIMIT}
    )
    return built.take(np.array([keys.index(d) for d in devices]))


def _scenario(software: str, inputs: float, outputs: float, cached: float = 0.0) -> Scenario:
    numbers = {**SITE, "ttft_input": inputs * (1.0 - cached), "longest_request": inputs + outputs}
    return Scenario(
        software, numbers, RequestMix((RequestClass("row", 1.0, inputs, outputs, cached),)), (), {}
    )


def textbook() -> Scenario:
    """A scenario that asks nothing but a machine's own numbers, with the textbook stack."""
    return _scenario("textbook", 1024.0, 1024.0)


def _plans(rows: Sequence[RankPlan], batches: Sequence[float]) -> Plans:
    plain = [(r.group, r.replicas, r.expert_parallel, 1) for r in rows]
    made = plans_of(plain, list(range(len(rows))), np.zeros(len(rows), dtype=bool))
    return replace(made, batch=np.array(batches))


def lowered(
    cases: Sequence[Case], plans: Sequence[RankPlan], batches: FloatArray, catalog: Catalog
) -> PairWork:
    """Work of cases under plans; cases of one model, precision and length lower together."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, c in enumerate(cases):
        groups.setdefault((c.load, c.software, c.input_tokens, c.output_tokens, c.prefix_share), []).append(i)
    order, parts = [], []
    for rows in groups.values():
        c = cases[rows[0]]
        made = _plans([plans[i] for i in rows], [float(batches[i]) for i in rows])
        scenario = _scenario(c.software, c.input_tokens, c.output_tokens, c.prefix_share)
        parts.append(lower_step(c.load, made, catalog, scenario, software_of(catalog, c.software)))
        order += rows
    return pair_work(parts).take(np.argsort(np.array(order)))


def models_of(served: Served, catalog: Catalog | None = None) -> list[Transformer]:
    """Model of each case."""
    c = catalog or load_catalog()
    known = {name: transformer(c.llm(name)) for name in {case.llm for case in served.cases}}
    return [known[case.llm] for case in served.cases]


def prepare(cases: Sequence[Case], catalog: Catalog, batches: FloatArray | None = None) -> Served:
    """Build machines and lower traffic; ``batches`` (n,) where fewer requests decode than are in flight."""
    plans = [c.plan for c in cases]
    stages = np.array([float(p.stages) for p in plans])
    batch = np.array([p.batch for p in plans]) if batches is None else batches
    batch = np.maximum(batch / stages, 1.0)  # each stage works on its share of the sequences
    devices = [c.device for c in cases]
    built = machines(catalog, devices)
    work = lowered(cases, plans, batch, catalog)
    room = _room(built, work, stages)
    replicas = np.array([float(p.replicas) for p in plans])
    for _ in range(SETTLED):  # a queue forms; what fits decodes: the p95 of fewer sequences is more for each
        fits = np.where(room > 0, np.maximum(np.minimum(batch, room), np.minimum(batch, replicas)), batch)
        if (fits >= batch * (1.0 - CLOSE)).all():
            break
        batch = fits
        work = lowered(cases, plans, batch, catalog)
        room = _room(built, work, stages)
    apart = [c.prefill or c.plan for c in cases]
    both = all(c.prefill is None for c in cases)
    prompts = work if both else lowered(cases, apart, np.array([p.batch for p in apart]), catalog)
    rows = machine_rows(_roomy(built))
    return Served(
        cases=tuple(cases),
        machine=rows,
        feeding=rows,
        work=work,
        prompts=prompts,
        batch=batch,
        output=np.array([c.output_tokens for c in cases]),
        shared=np.array([float(c.prefill is None) for c in cases]),
        room=room,
        longest=_longest(built, work, stages),
    )


def _longest(machine: Machine, work: PairWork, stages: FloatArray) -> FloatArray:
    """Bytes that one request holds at its full length over what weights leave of a stage's memory."""
    free = machine.fast.capacity - work.plans.resident / stages
    out: FloatArray = np.where(free > 0, work.plans.longest / stages / np.maximum(free, 1.0), np.inf)
    return out


def _roomy(machine: Machine) -> Machine:
    """The machine with memory for anything: what fits was counted before."""
    return replace(machine, fast=replace(machine.fast, capacity=np.full(len(machine), NO_LIMIT**2)))


def _room(machine: Machine, work: PairWork, stages: FloatArray) -> FloatArray:
    """Sequences per stage whose KV cache fits in what runtimes claim of the memory."""
    plans = work.plans
    free = machine.fast.capacity - plans.resident / stages
    each = plans.live_p95 / plans.per_rank
    out: FloatArray = free / np.maximum(each, 1.0) * plans.attention_dp
    return out


def soft_rows(
    catalog: Catalog, cases: Sequence[Case], changed: Mapping[str, FloatArray] | None = None
) -> SoftwareStack:
    """Factors of each case's stack as columns (n,); ``changed`` replaces some by name."""
    stacks = sorted({c.software for c in cases})
    code = np.array([stacks.index(c.software) for c in cases])
    table = {name: catalog.column("software", stacks, f)[code] for name, f in FIELDS.items()}
    return SoftwareStack(**(table | dict(changed or {})))


def times(served: Served, software: SoftwareStack) -> Times:
    """TPOT and TTFT of a closed loop of requests.

    TPOT: the step and what arriving prompts add to it, over the tokens it wins; batch / output tokens
    of them arrive per step. TTFT: client and scheduler, the running step's remainder, the prompt
    itself, and those that arrive with it; a disaggregated row waits for the prompts of its prefill batch
    and moves its KV cache.
    """
    columns = software.columns()
    pairs = serve_pairs(served.machine, served.work.with_factors(columns))
    own = pairs
    if served.prompts is not served.work:
        own = serve_pairs(served.feeding, served.prompts.with_factors(columns))
    plans, shared = served.work.plans, served.shared
    extra = pairs.prompt * plans.arriving if served.alone else pairs.prefill_interference
    won = served.work.workloads.tokens_per_step
    tpot = (pairs.step + shared * software.prefill_share * extra) / won
    others = np.maximum(served.batch * plans.inverse_prompts - 1.0, 0.0) * shared
    moved = (1.0 - shared) * plans.prompt_kv * served.machine.scale_out_inverse
    together = np.array([c.prefill.batch / c.prefill.replicas if c.prefill else 1.0 for c in served.cases])
    ttft = (
        software.first_token
        + own.prompt * together * (1.0 + np.maximum(1.0 - software.prefill_share, 0.0) * others)
        + software.waiting * tpot * shared
        + moved
    )
    return Times(tpot, ttft + (1.0 - shared) * pairs.step, pairs)
