"""Which measured rows a score may count, by rules that look at labels and measurements, never at our error.

Every excluded row keeps its reason; scores over all rows stand beside those over the clean ones.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from dse.calibration.cases import Case
from dse.calibration.predict import Served, soft_rows, times
from dse.catalog.catalog import Catalog
from dse.core.units import FloatArray
from dse.serving.software import SoftwareStack

SLACK: Final = 0.98
"""of the least time: rounding of lengths and of published peaks"""


QUEUE_TTFT: Final = 5.0
"""s to the first token beyond which a queue is suspected"""


QUEUE_SHARE: Final = 0.7
"""share of its time that a request must spend decoding, else it queued"""


RUN_BELOW: Final = 0.2
"""share of a run's rows under the floor from which none of it is believed"""


REPEAT: Final = 2.0
"""factor from the median of its repeats at which a row is an outlier"""


SLOWER: Final = 2.0
"""factor by which another stack must beat a run on the same ranks to show that the run was defective"""


RUN_SLOW: Final = 1 / 3
"""share of a run's comparable rows that must be that slow"""


FEWEST: Final = 5
"""comparable rows without which a run is not judged"""


COMPARED: Final = 0.25
"""share of a run's rows that must be comparable"""


ALIKE: Final = 2.5
"""factor within which batch and lengths count as comparable"""


SAME: Final = 5e-6
"""s within which two times are one measurement written twice"""


RULES: Final = {
    "duplicate": "the same configuration with the same times, or a copy from a gap analysis",
    "labels": "the stated concurrency is not batch times attention replicas",
    "floor": "a request takes less than its steps' bytes and all prompts' FLOP at peak rates (work "
    "was skipped, e.g. a cached prefix)",
    "run below floor": "a fifth or more of the run's rows lie below the floor",
    "queue": "first token after more than 5 s and less than 70 % of the time spent decoding",
    "outlier": "twice or half the median of its repeats",
    "defective run": "a third or more of the run's comparable rows take over twice the time of another "
    "stack on the same ranks",
}


def reasons(served: Served, catalog: Catalog) -> list[str]:
    """Rule that excludes each case, ``""`` for a clean row; in the order of ``RULES``."""
    cases = served.cases
    least = _least(served, catalog)
    found = [""] * len(cases)

    def mark(rows: Sequence[int], why: str) -> None:
        for i in rows:
            found[i] = found[i] or why

    mark(_duplicates(cases), "duplicate")
    mark([i for i, c in enumerate(cases) if _odd_labels(c)], "labels")
    below = {
        i
        for i, c in enumerate(cases)
        if c.tpot is not None and (c.ttft or 0.0) + c.output_tokens * c.tpot < SLACK * least[i]
    }
    mark(sorted(below), "floor")
    runs = _runs(cases)
    for rows in runs.values():
        if len([i for i in rows if i in below]) >= RUN_BELOW * len(rows):
            mark(rows, "run below floor")
    mark([i for i, c in enumerate(cases) if _queued(c)], "queue")
    mark(_outliers(cases), "outlier")
    mark(_defective(cases, runs, found), "defective run")
    return found


def _least(served: Served, catalog: Catalog) -> FloatArray:
    """Least time [s] of a request, (n,).

    Its own steps at peak rates, and the arithmetic of all prompts in flight.

    Work is conserved however a scheduler orders it: in a closed loop every request waits, before or
    between its tokens, for each of the others' prompts once. No stack's factor enters.
    """
    pairs = times(served, soft_rows_of(catalog, served.cases, "ideal")).pairs
    each = pairs.step + pairs.prefill_interference
    out: FloatArray = (
        each / served.work.workloads.tokens_per_step * np.array([c.output_tokens for c in served.cases])
    )
    return out


def soft_rows_of(catalog: Catalog, cases: Sequence[Case], software: str) -> SoftwareStack:
    """Factors of one stack for every case."""
    return soft_rows(catalog, [replace(c, software=software) for c in cases])


def _runs(cases: Sequence[Case]) -> dict[tuple[str, ...], list[int]]:
    """Rows by run: stack, version, device and model."""
    runs: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, c in enumerate(cases):
        runs[(c.software, c.version, c.device, c.llm, c.format)].append(i)
    return runs


def _duplicates(cases: Sequence[Case]) -> list[int]:
    seen: dict[tuple[object, ...], list[float]] = defaultdict(list)
    out = []
    copied = re.compile(r"gap-analysis(\.csv|$)")
    for i, c in sorted(
        enumerate(cases), key=lambda item: copied.search(item[1].source.split(";")[0]) is not None
    ):
        known = seen[(c.device, c.llm, c.software, c.format, c.plan, c.input_tokens, c.output_tokens)]
        if c.tpot is not None and any(abs(c.tpot - t) <= SAME for t in known):
            out.append(i)
        elif c.tpot is not None:
            known.append(c.tpot)
    return out


def _odd_labels(case: Case) -> bool:
    return case.stated > 0 and not np.isclose(case.stated, case.labelled)


def _queued(case: Case) -> bool:
    if case.ttft is None or case.tpot is None:
        return False
    return case.ttft > QUEUE_TTFT and case.output_tokens * case.tpot < QUEUE_SHARE * (
        case.ttft + case.output_tokens * case.tpot
    )


def _outliers(cases: Sequence[Case]) -> list[int]:
    repeats: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, c in enumerate(cases):
        repeats[(c.device, c.llm, c.software, c.format, c.plan, c.input_tokens, c.output_tokens)].append(i)
    out = []
    for rows in repeats.values():
        seen = np.array([cases[i].tpot or np.nan for i in rows])
        if len(rows) > 2:
            middle = float(np.nanmedian(seen))
            out += [i for i, t in zip(rows, seen, strict=True) if not 1 / REPEAT < t / middle < REPEAT]
    return out


def _defective(
    cases: Sequence[Case], runs: dict[tuple[str, ...], list[int]], found: Sequence[str]
) -> list[int]:
    """Rows of runs that another stack on the same device, model, format and ranks shows to be defective."""
    peers: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, c in enumerate(cases):
        if not found[i]:
            peers[(c.device, c.llm, c.format, c.plan.group)].append(i)

    def alike(a: float, b: float) -> bool:
        return 1 / ALIKE <= a / b <= ALIKE

    out = []
    for rows in runs.values():
        slower = []
        for i in rows:
            c = cases[i]
            near = [
                o.tpot
                for o in (cases[k] for k in peers[(c.device, c.llm, c.format, c.plan.group)])
                if o.software != c.software
                and o.tpot is not None
                and alike(o.plan.batch, c.plan.batch)
                and alike(o.input_tokens, c.input_tokens)
                and alike(o.output_tokens, c.output_tokens)
            ]
            if near and c.tpot is not None:
                slower.append(c.tpot > SLOWER * max(near))
        enough = len(slower) >= max(FEWEST, COMPARED * len(rows))
        if enough and np.mean(slower) >= RUN_SLOW:
            out += rows
    return out
