"""Time the model: judging by batch size, one design by the API, many scenarios, start-up, and what memory it takes.

Run: python tests/bench/bench.py [--out FILE] [--quick] [--against DIR]. ``rows`` of the JSON hold ``n`` and
``designs_per_second`` of ``evaluate``: machines built and judged, all threads. Ratios of one run are what counts; with
``--against`` another checkout is timed too, in turn with this one. The machine is named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import dse
from dse.catalog.catalog import load_catalog
from dse.core.compilation import threads, workers
from dse.evaluator.first_order import FirstOrderModel
from dse.space.design import Design, sample
from dse.space.overrides import load_space

SCENARIOS = 1000
PER_SCENARIO = 225


def seconds_of(work: Callable[[], Any], repeats: int) -> float:
    """Least seconds of ``repeats`` calls."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return float(best)


def pairs_per_design(model: FirstOrderModel) -> float:
    """Pairs of a design and a plan that it can run, mean over random designs."""
    machine = model.machine(sample(model.space, 20_000, np.random.default_rng(0)))
    tiers, near = machine.tiered, machine.pnm.site > 0
    return float(
        np.mean(
            [
                sum(int(model.admitted(p, tiers=bool(b), near=bool(e)).sum()) for p in model.plans)
                for b, e in zip(tiers[:2000], near[:2000], strict=True)
            ]
        )
    )


def judged(model: FirstOrderModel, design: Design) -> None:
    """Judge block by block."""
    for _ in model.blocks(design):
        pass


def judging(grid: float) -> list[dict[str, Any]]:
    """Evaluation of n random designs, with and without bounds."""
    space, catalog = load_space("datacenter"), load_catalog()
    rows = []
    for bounds in (True, False):
        model = FirstOrderModel(space, catalog, bounds=bounds)
        model.evaluate(sample(space, 256, np.random.default_rng(1)))
        for n, repeats in ((1, 30), (50, 10), (256, 5), (4096, 3), (20_000, 3), (100_000, 1)):
            design = sample(space, n, np.random.default_rng(2))
            seconds = seconds_of(partial(judged, model, design), repeats)
            rows.append(
                {
                    "n": n,
                    "bounds": bounds,
                    "threads": model.threads,
                    "ns_per_pair": seconds / (n * grid) * 1e9,
                    "pairs_per_second": n * grid / seconds,
                    "designs_per_second": n / seconds,
                }
            )
            r = rows[-1]
            print(
                f"n = {n:7d}, bounds {'on ' if bounds else 'off'}: {r['ns_per_pair']:8.0f} ns a pair, "
                f"{r['pairs_per_second'] / 1e6:6.2f} M pairs/s, {r['designs_per_second']:9.0f} designs/s",
                flush=True,
            )
    return rows


def parts() -> dict[str, float]:
    """What is paid once: building, lowering, one design by the API."""
    space, catalog = load_space("datacenter"), load_catalog()
    model = FirstOrderModel(space, catalog)
    some = sample(space, 4096, np.random.default_rng(0))
    out = {
        "build_us_per_design_4096": seconds_of(lambda: model.machine(some), 5) / 4096 * 1e6,
        "build_ms_one_design": seconds_of(lambda: model.machine(some.take(slice(0, 1))), 30) * 1e3,
    }

    def lowered() -> None:
        _ = FirstOrderModel(space, catalog).step_work

    def evaluated() -> None:
        dse.evaluate("datacenter", device="h100_sxm", llm="Llama-3.1-8B", batch=8)

    lowered()
    out["lower_ms_again"] = seconds_of(lowered, 10) * 1e3
    evaluated()
    out["evaluate_ms_warm"] = seconds_of(evaluated, 30) * 1e3
    return out


def scenarios(count: int) -> float:
    """Seconds of ``count`` scenarios, a sampled catalogue each, on the same designs."""
    space, catalog = load_space("datacenter"), load_catalog()
    rng = np.random.default_rng(0)
    designs = sample(space, PER_SCENARIO, rng)
    fields = [
        ("memory", "hbm4", "price_per_byte"), ("memory", "hbm4", "bandwidth_per_stack"), ("logic", "n3", "wafer_price"),
        ("software", space.scenario.software, "layer_overhead"), ("flash", "hbf_gen1", "price_per_byte"),
    ]  # fmt: skip
    known = [f for f in fields if f[1] in catalog.entries[f[0]] and f[2] in catalog.entry(f[0], f[1]).values]
    drawn = [
        [(*field, catalog.value(*field) * rng.uniform(0.8, 1.25)) for field in known] for _ in range(count)
    ]

    def one(numbers: list[tuple[str, str, str, float]]) -> None:
        FirstOrderModel(space, catalog.with_numbers(numbers), 1).evaluate(designs)

    one(drawn[0])
    start = time.perf_counter()
    list(workers(threads()).map(one, drawn))  # one builds a scenario's machines while another is judged
    return time.perf_counter() - start


def started(*command: str, **environment: str) -> float:
    """Least seconds of a command in a process of its own, of three."""

    def run() -> None:
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})

    return seconds_of(run, 3)


def peak(n: int) -> float:
    """MB resident at most in a process that judges n designs block by block (Linux)."""
    code = (
        "import numpy as np;from pathlib import Path;from dse.catalog.catalog import load_catalog;"
        "from dse.evaluator.first_order import FirstOrderModel;from dse.space.design import sample;"
        "from dse.space.overrides import load_space;s = load_space('datacenter');"
        f"m = FirstOrderModel(s, load_catalog());left = {n}\n"
        "while left > 0:\n"
        "    for _ in m.blocks(sample(s, min(left, 20000), np.random.default_rng(left))): pass\n"
        "    left -= 20000\n"
        "said = Path('/proc/self/status').read_text().split('VmHWM:')[1]\n"
        "print(float(said.split()[0]) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


TIMED = """
import sys, time, numpy as np
from dse.catalog.catalog import load_catalog
from dse.evaluator.first_order import FirstOrderModel
from dse.space.design import sample
from dse.space.overrides import load_space
n, space = int(sys.argv[1]), load_space("datacenter")
model, designs = FirstOrderModel(space, load_catalog()), sample(space, n, np.random.default_rng(2))
blocks = [designs.take(slice(i, i + 20_000)) for i in range(0, n, 20_000)]
best = np.inf
for _ in range(3 if n > 1000 else 20):
    start = time.perf_counter()
    for block in blocks:
        model.evaluate(block)
    best = min(best, time.perf_counter() - start)
print(best)
"""


def against(other: Path) -> list[dict[str, Any]]:
    """Seconds of n designs here and in another checkout, in turn, three times; least of each, and their ratio."""
    here, rows = Path(__file__).parents[2], []
    for n in (1, 50, 256, 4096, 20_000):
        least = {here: np.inf, other: np.inf}
        for _ in range(3):
            for tree in (here, other):
                done = subprocess.run(
                    [sys.executable, "-c", TIMED, str(n)], check=True, capture_output=True, text=True, cwd=tree,
                    env={**os.environ, "PYTHONPATH": str(tree)},
                )  # fmt: skip
                least[tree] = min(least[tree], float(done.stdout))
        rows.append(
            {"n": n, "seconds": least[here], "other": least[other], "ratio": least[other] / least[here]}
        )
        print(
            f"n = {n:6d}: {least[here]:9.4f} s, other {least[other]:9.4f} s, {rows[-1]['ratio']:5.2f} times"
        )
    return rows


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path)
    options.add_argument("--quick", action="store_true", help="without scenarios, start-up and memory")
    options.add_argument("--against", type=Path, help="another checkout, timed in turn with this one")
    asked = options.parse_args()
    grid = pairs_per_design(FirstOrderModel(load_space("datacenter"), load_catalog()))
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"numpy {np.__version__}; {grid:.0f} pairs a design"
    )
    found: dict[str, Any] = {"p": grid, "rows": judging(grid), "parts": parts()}
    if not asked.quick:
        python = sys.executable
        command = [python, "-m", "dse", "evaluate", "--device", "h100_sxm", "--model", "Llama-3.1-8B"]
        found["parts"] |= {
            f"scenarios_s_{SCENARIOS}x{PER_SCENARIO}": scenarios(SCENARIOS // 10) * 10,
            "help_s": started(python, "-m", "dse", "--help"),
            "import_s": started(python, "-c", "import dse") - started(python, "-c", "pass"),
            "evaluate_command_s": started(*command),
            "peak_mb_1e5": peak(100_000),
            "peak_mb_1e6": peak(1_000_000),
        }
    for name, value in found["parts"].items():
        print(f"{name:32s} {value:10.3f}")
    if asked.against:
        found["against"] = against(asked.against.resolve())
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
