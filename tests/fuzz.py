"""Inputs made wrong on purpose, with an oracle that says so: silent acceptance is counted, not assumed.

``python -m tests.fuzz --inputs 100000`` runs every kind in process and prints a table; the suite runs some of
each by hypothesis.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dse.core.errors import DseError
from tests.fuzz_inputs import config_case, flag_case, run_config, run_flags, run_table, table_case
from tests.fuzz_text import Case, catalogue_case, run_catalogue, run_space, space_case


@dataclass(frozen=True)
class Outcome:
    """What became of an input."""

    accepted: bool
    crash: str = ""
    seconds: float = 0.0
    said: str = ""


KINDS_OF_INPUT: Final[Mapping[str, tuple[Callable[[random.Random], Case], Callable[[Any], str], float]]] = {
    "space": (space_case, run_space, 0.2),
    "catalogue": (catalogue_case, run_catalogue, 0.34),
    "config": (config_case, run_config, 0.3),
    "table": (table_case, run_table, 0.1),
    "flags": (flag_case, run_flags, 0.06),
}
"""input -> how one is made, how it is run, its share of a long run"""


def tried(case: Case) -> Outcome:
    """Run one input."""
    run = KINDS_OF_INPUT[case.kind][1]
    begun = time.perf_counter()
    try:
        run(case.content)
    except DseError as error:
        return Outcome(False, "", time.perf_counter() - begun, str(error))
    except Exception as error:  # noqa: BLE001 - a crash is what is looked for
        return Outcome(False, f"{type(error).__name__}: {error}"[:300], time.perf_counter() - begun)
    return Outcome(True, "", time.perf_counter() - begun)


HANG: Final = 10.0
"""s after which an input counts as a hang"""


def fault(case: Case, outcome: Outcome) -> str:
    """What an outcome is at fault for; empty where it is none."""
    if outcome.crash:
        return f"traceback: {outcome.crash}"
    if outcome.seconds > HANG:
        return f"took {outcome.seconds:.0f} s"
    if case.wrong is True and outcome.accepted:
        return "wrong and accepted"
    if case.wrong is False and not outcome.accepted:
        return f"right and refused: {outcome.said[:200]}"
    return ""


def main() -> int:
    """Run many inputs of every kind and print what became of them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--inputs", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    faults = 0
    heads = ("inputs", "number", "made wrong", "refused of them", "right", "accepted of them", "either way")
    print(f"| {' | '.join(heads)} | faults | slowest |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind, (make, _, share) in KINDS_OF_INPUT.items():
        rng, seen, slowest = random.Random(asked.seed), Counter[str](), 0.0
        number = int(asked.inputs * share)
        shown: dict[str, str] = {}
        for _ in range(number):
            case = make(rng)
            outcome = tried(case)
            slowest = max(slowest, outcome.seconds)
            seen[f"{case.wrong} {outcome.accepted}"] += 1
            found = fault(case, outcome)
            if found:
                seen["faults"] += 1
                shown.setdefault(found[:60], f"{case.change}: {found}")
        wrong = seen["True True"] + seen["True False"]
        right = seen["False True"] + seen["False False"]
        print(
            f"| {kind} | {number:,} | {wrong:,} | {seen['True False']:,} | {right:,} | "
            f"{seen['False True']:,} | {number - wrong - right:,} | {seen['faults']} | {slowest:.2f} s |"
        )
        for text in list(shown.values())[:40]:
            print(f"    {text}", file=sys.stderr)
        faults += seen["faults"]
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
