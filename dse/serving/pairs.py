"""Pairs served row by row: a machine, a workload and a plan each, as measured rows are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dse.core.compilation import FEW, kernel, ready
from dse.core.records import empty, plain_rows, require_finite, write_back
from dse.core.units import FloatArray
from dse.hardware.machine import Machine
from dse.serving.kernels import serve_each
from dse.serving.machine_rows import machine_rows
from dse.serving.records import PairRow, ScratchRow
from dse.serving.step_work import StepWork


@dataclass(frozen=True)
class PairWork:
    """What n pairs ask, a row each."""

    workloads: Any
    """(n,) ``WorkloadRow``"""
    plans: Any
    """(n,) ``PlanRow``"""
    requests: Any
    """(n,) ``PromptRow`` of the mean request"""
    firsts: Any
    """(n,) ``PromptRow`` of the prompt of the TTFT limit"""

    def __len__(self) -> int:
        return len(self.plans)

    def take(self, rows: Any) -> PairWork:
        """Some pairs, in the order asked for."""
        return PairWork(self.workloads[rows], self.plans[rows], self.requests[rows], self.firsts[rows])

    def with_factors(self, columns: Mapping[str, Any]) -> PairWork:
        """The same pairs under other factors of their software stacks."""
        return replace(self, workloads=changed(self.workloads, columns))

    def with_plans(self, columns: Mapping[str, FloatArray]) -> PairWork:
        """The same pairs with other columns of their plans."""
        return replace(self, plans=changed(self.plans, columns))


def changed(rows: Any, columns: Mapping[str, Any]) -> Any:
    """Rows with other columns."""
    out = rows.copy()
    for name, column in columns.items():
        out[name] = column
    return out


def pair_work(parts: Sequence[StepWork]) -> PairWork:
    """The plans of all parts as pairs, one after the other."""
    workloads, plans, requests, firsts = [], [], [], []
    for part in parts:
        shape, shapes = part.rows.plan_shape, len(part.prompts) // 2
        workloads.append(np.repeat(part.workload, len(part.rows)))
        plans.append(changed(part.rows, {"plan_shape": 0}))
        requests.append(part.prompts[shape])
        firsts.append(part.prompts[shape + shapes])
    columns = (np.concatenate(each).view(np.recarray) for each in (workloads, plans, requests, firsts))
    return PairWork(*columns)


def serve_pairs(machines: Any, work: PairWork) -> Any:
    """Serve n pairs on n machine rows: ``PairRow`` (n,)."""
    out, scratch = empty(PairRow, len(work)), empty(ScratchRow, 1)
    columns = [machines, work.workloads, work.plans, work.requests, work.firsts, scratch, out]
    if len(work) > FEW or ready(serve_each):
        kernel(serve_each)(*columns)
    else:
        rows = [plain_rows(column) for column in columns]
        serve_each(*rows)
        write_back(rows[-1], out)
    require_finite(out, "served pairs")
    return out


def serve_plans(machine: Machine, work: StepWork) -> Any:
    """Serve every plan of a workload on n machines: ``PairRow`` (n, plans)."""
    n, plans = len(machine), len(work.rows)
    each = pair_work([work]).take(np.tile(np.arange(plans), n))
    rows = machine_rows(machine)[np.repeat(np.arange(n), plans)]
    return serve_pairs(rows, each).reshape(n, plans)
