"""The command line: parse, call, print.

Exit codes: 0 done, 2 bad input, 3 nothing feasible, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import shtab

from dse.catalog.catalog import EXTRA, OWN, use_catalog
from dse.core.compilation import use_threads
from dse.core.errors import BAD_INPUT, INTERRUPTED, NOTHING, OK, DseError, InfeasibleError, masked
from dse.core.version import __version__

DIGITS = 9
"""of the largest whole number a flag takes"""


RAW = argparse.RawDescriptionHelpFormatter


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = parser().parse_args(arguments)
        options.command_line = shlex.join(["dse", *(masked(a) for a in arguments)])
        if options.catalog is not None:
            use_catalog(options.catalog)
        elif getattr(options, "resume", False) and (own := _kept_catalog(options)) is not None:
            use_catalog(own)
        if getattr(options, "threads", None) is not None:
            use_threads(options.threads)
        code: int = options.run(options)
        sys.stdout.flush()
    except InfeasibleError as error:
        print(f"dse: {error}", file=sys.stderr)
        return NOTHING
    except DseError as error:
        print(f"dse: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("dse: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has seen enough; nothing is left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def _kept_catalog(options: argparse.Namespace) -> Path | None:
    """Own catalogue files of the run that a command goes on with."""
    out = getattr(options, "out", None)
    kept = out / OWN if out is not None else None
    return kept if kept is not None and kept.is_dir() and not os.environ.get(EXTRA) else None


class Once(argparse.Action):
    """A flag with a value, which a command takes once: of two, the first would be dropped in silence."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse calls it so
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Keep the value.

        Raises:
            ArgumentError: the flag was given before.

        """
        given: set[str] = vars(namespace).setdefault("given_flags", set())
        if option_string is not None and self.dest in given:
            raise argparse.ArgumentError(self, "given twice, expected once")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """One whose flags are given once, and whose refusals name no password, as of a URL."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for action in (None, "store"):
            self.register("action", action, Once)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with exit code 2."""
        super().error(masked(message))


def parser() -> argparse.ArgumentParser:
    """Every command with its flags and an example."""
    top = Parser(
        prog="dse",
        description="Search the design space of LLM-inference hardware: flash, PNM, 3D stacks, interconnect.",
    )
    top.add_argument("--version", action="version", version=f"dse {__version__}")
    top.add_argument(
        "--catalog",
        type=Path,
        metavar="DIR",
        help="catalogue files that are added, or put in place of shipped ones",
    )
    shtab.add_argument_to(
        top, "--print-completion", help="print a completion script, e.g. dse --print-completion bash"
    )
    sub = top.add_subparsers(required=True, metavar="command")

    _searching(sub)
    _evaluating(sub)
    _looking(sub)
    _reporting(sub)
    _catalogue(sub)
    _accuracy(sub)
    return top


def _searching(sub: Any) -> None:
    p = _command(
        sub,
        "explore",
        "the whole job: search, levers, page, recommendation",
        "dse explore datacenter mobile --out results",
        "explore_command",
    )
    p.add_argument(
        "spaces",
        nargs="*",
        metavar="SPACE",
        default=[],
        help="shipped name or .toml file (default: datacenter and mobile)",
    )
    p.add_argument(
        "--out",
        type=Path,
        default=Path("results"),
        help="folder for one run folder per space (default results)",
    )
    _budget(p)

    p = _command(
        sub,
        "search",
        "search one space",
        "dse search datacenter --seed 1 --fix pnm=none --limit ttft=1s",
        "run_commands",
    )
    p.add_argument("space", metavar="SPACE")
    _budget(p)
    p.add_argument("--out", type=Path, help="run folder (default results/NAME-seedK)")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out")
    p.add_argument(
        "--storage",
        metavar="URL|FILE",
        help="an Optuna study that many processes share, for slow evaluators: a journal file, "
        "postgresql://USER@HOST/DATABASE, or env:NAME of a variable that holds it",
    )
    p.add_argument(
        "--grid",
        metavar="coarse|FILE",
        help="search only the levels that a sweep enumerates: the space's own, or of a TOML file",
    )
    _overrides(p)


def _evaluating(sub: Any) -> None:
    p = _command(
        sub,
        "evaluate",
        "one design or existing machine in full",
        "dse evaluate --device h100_sxm --model Llama-3.1-70B --batch 32 --tp 4 --input 1024 --output 1024",
        "evaluate_command",
    )
    p.add_argument("space", metavar="SPACE|RUN", nargs="?")
    p.add_argument("--point", type=_row, metavar="N", help="of a run's folder: a point of its front.csv")
    _machine(p)
    _plan(p)

    p = _command(
        sub,
        "fit",
        "does a model fit, and how much: largest batch, longest context, fewest packages",
        "dse fit --model Llama-3.1-70B --input 1024 --output 1024",
        "fit_command",
    )
    p.add_argument("space", metavar="SPACE", nargs="?")
    _machine(p)
    _plan(p)


def _machine(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="VAR=VALUE",
        help="a design variable; the rest take their first choice or middle, which is printed",
    )
    p.add_argument("--device", help="a machine of the catalogue")
    p.add_argument("--model", help="a language model of the catalogue")


def _plan(p: argparse.ArgumentParser) -> None:
    """Workload, number formats and plan."""
    p.add_argument("--batch", type=_count, default=1, help="requests in flight over all stages")
    p.add_argument("--tp", type=_count, default=1, help="tensor-parallel packages")
    p.add_argument("--pp", type=_count, default=1, help="pipeline stages")
    p.add_argument("--dp", type=_count, default=1, help="copies of attention, each of --tp packages")
    p.add_argument("--ep", type=_count, help="ranks over which whole experts are dealt (default: all)")
    p.add_argument(
        "--cp", type=_count, default=1, help="ranks that split the KV cache by position: 1, or --tp"
    )
    p.add_argument(
        "--attention",
        choices=("tp", "dp", "sp"),
        default="tp",
        help="of the --tp packages: tensor-parallel, data-parallel, or with the KV cache split by position",
    )
    p.add_argument("--input", type=_positive, help="input tokens of a closed loop of requests")
    p.add_argument("--output", type=_positive, help="output tokens of a closed loop of requests")
    p.add_argument("--context", type=_positive, help="one decode step at this context; prompts not charged")
    p.add_argument("--prefix-share", type=_share, help="share of the input found in a prefix cache")
    p.add_argument("--draft-tokens", type=_positive, help="tokens drafted per sequence and pass")
    p.add_argument("--acceptance", type=_share, help="probability that a drafted token is accepted")
    p.add_argument(
        "--format",
        action="append",
        default=[],
        metavar="CLASS=NAME",
        help="number format of weights, attention, ffn, experts, head or kv_cache, e.g. experts=mxfp4 "
        "(default: of the model's checkpoint; of the space for its own models where one is named)",
    )
    for name, meaning in (
        ("weight-bits", "bits of every weight"),
        ("kv-bits", "bits of the KV cache"),
        ("compute-bits", "bits of the arithmetic"),
    ):
        p.add_argument(f"--{name}", type=_positive, help=meaning)
    p.add_argument("--software", help="software stack (pooled, vllm, sglang, trtllm, textbook, ideal)")


def _looking(sub: Any) -> None:
    p = _command(
        sub,
        "check",
        "faults of a space; with --probe its size, limits and baselines",
        "dse check datacenter --probe",
        "run_commands",
    )
    p.add_argument("space", metavar="SPACE")
    p.add_argument("--probe", action="store_true")
    _evaluator(p)
    _overrides(p)

    p = _command(
        sub,
        "sweep",
        "the exact front of the coarse grid",
        "dse sweep datacenter --run results/datacenter",
        "run_commands",
    )
    p.add_argument("space", metavar="SPACE")
    p.add_argument(
        "--grid",
        metavar="coarse|FILE",
        help="levels of variables: the space's own (coarse, the default), or of a TOML file",
    )
    p.add_argument("--resume", action="store_true", help="go on with the sweep in --out")
    p.add_argument("--out", type=Path, help="folder for front.csv (default results/NAME-sweep)")
    p.add_argument(
        "--run",
        type=Path,
        dest="against",
        help="a run folder: say how much of the exact hypervolume it reached",
    )
    _evaluator(p)
    _overrides(p)

    p = _command(
        sub,
        "certify",
        "how good a run's front is: every design one step from it, and an exact front beside it",
        "dse certify results/datacenter --sweep results/datacenter-sweep",
        "certify_command",
    )
    p.add_argument("run_folder", metavar="RUN", type=Path)
    p.add_argument("--sweep", type=Path, metavar="DIR", help="folder of a finished sweep to compare it with")


def _reporting(sub: Any) -> None:
    p = _command(
        sub,
        "dashboard",
        "the page of a run as one HTML file",
        "dse dashboard results/datacenter --static page.html",
        "report_commands",
    )
    p.add_argument("run_folder", metavar="RUN", type=Path)
    p.add_argument("--static", type=Path, required=True, metavar="FILE")

    p = _command(
        sub,
        "recommend",
        "the recommendation of a run",
        "dse recommend results/datacenter --out review",
        "report_commands",
    )
    p.add_argument("run_folder", metavar="RUN", type=Path)
    p.add_argument("--out", type=Path, required=True)

    p = _command(
        sub,
        "review",
        "which technologies pay in which device, over several mobile runs",
        "dse review results/mobile results/laptop results/xr results/vehicle --out results/review",
        "report_commands",
    )
    p.add_argument("run_folders", metavar="RUN", type=Path, nargs="+")
    p.add_argument("--out", type=Path, required=True)


def _catalogue(sub: Any) -> None:
    p = _command(
        sub,
        "catalog",
        "what is known: kinds, entries, numbers with sources",
        "dse catalog memory hbm4",
        "catalog_commands",
    )
    p.add_argument("kind", nargs="?")
    p.add_argument("name", nargs="?")
    p.add_argument("--schema", type=Path, metavar="DIR", help="write a JSON Schema per kind, for editors")
    p.add_argument(
        "--out",
        type=Path,
        help="file to write: of an import (default NAME.toml), or a copy of the entry to change",
    )
    p.add_argument("--name", dest="entry_name", help="name of the entry written (default: as in the file)")

    p.add_argument(
        "--family",
        help="import-llm: read a model_type that is not known as one that is; marks every later output",
    )
    p.add_argument(
        "--accept-unknown",
        action="store_true",
        help="import-llm: take keys that are not known to change nothing; marks every later output",
    )

    _given(p, "FIELD", "import-device: what a system file of aiconfigurator leaves out, e.g. memory=hbm3")

    p = _command(sub, "init", "copy the shipped spaces to edit", "dse init my_spaces", "catalog_commands")
    p.add_argument("folder", type=Path, metavar="DIR")


FORMS = (
    "a serving table (system, model_path, backend, isl, osl, batch_size ...) or results of InferenceX, vLLM, "
    "SGLang, GenAI-Perf or aiconfigurator, CSV, JSON or JSON lines"
)


def _given(p: argparse.ArgumentParser, what: str, text: str) -> None:
    """What a file leaves out, said on the command line."""
    p.add_argument("--given", action="append", default=[], metavar=f"{what}=VALUE", help=text)


def _accuracy(sub: Any) -> None:
    p = _command(
        sub,
        "calibrate",
        "fit the software stacks to measured rows",
        "dse calibrate --out my_catalogue",
        "calibration_commands",
    )
    p.add_argument("--rows", type=Path, help=f"measured serving points (default: those that ship); {FORMS}")
    _given(p, "COLUMN", "what the file leaves out, e.g. system=h200_sxm (repeatable)")
    p.add_argument("--out", type=Path, default=Path("results/catalogue"), help="folder for catalogue files")

    p = _command(
        sub,
        "validate",
        "predictions against measurements: in sample, by device, by model",
        "dse validate --split model --out results/accuracy",
        "calibration_commands",
    )
    p.add_argument("--rows", type=Path, help=f"measured serving points (default: those that ship); {FORMS}")
    _given(p, "COLUMN", "what the file leaves out, e.g. system=h200_sxm (repeatable)")
    p.add_argument("--split", choices=("none", "device", "model"), help="one split (default: all three)")
    p.add_argument("--ablate", action="store_true", help="also the error without each term (two minutes)")
    p.add_argument("--out", type=Path, default=Path("results/accuracy"), help="folder for page and CSV")

    p = _command(
        sub,
        "predict",
        "TTFT and TPOT of a table of serving rows",
        "dse predict rows.csv --out predicted.csv",
        "calibration_commands",
    )
    p.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help=f"served points; {FORMS}",
    )
    _given(p, "COLUMN", "what the file leaves out, e.g. system=h200_sxm (repeatable)")
    p.add_argument("--out", type=Path, required=True, metavar="FILE")


def _command(sub: Any, name: str, text: str, example: str, home: str) -> argparse.ArgumentParser:
    """Add a command; ``home`` is the module of this room whose function of the command's name runs it."""
    p: argparse.ArgumentParser = sub.add_parser(
        name,
        help=text,
        description=text.capitalize() + ".",
        epilog=f"example:\n  {example}",
        formatter_class=RAW,
    )

    def run(options: argparse.Namespace) -> int:
        from importlib import import_module

        from dse.cli.console import speaking

        with speaking(options):
            code: int = getattr(import_module(f"dse.cli.{home}"), name)(options)
        return code

    p.add_argument("--json", action="store_true", help="print one JSON object in place of text")
    p.add_argument("--quiet", action="store_true", help="print the result alone: no progress, no remarks")
    p.set_defaults(run=run, command=name)
    return p


def _budget(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--until",
        choices=("converged",),
        help="go on until two independent halves of the search agree (default without --trials)",
    )
    p.add_argument(
        "--trials",
        type=_count,
        help="judge so many designs, of all seeds and the polish together (a what-if of explore has as many)",
    )
    p.add_argument(
        "--timeout",
        type=_positive,
        metavar="SECONDS",
        help="stop after so long, converged or not; seeds share it (a what-if of explore has as long)",
    )
    p.add_argument("--sampler", default="auto", help="auto, or Optuna's random, qmc, nsga2, nsga3 or tpe")
    p.add_argument("--seed", type=_seed, default=1)
    p.add_argument(
        "--seeds", type=_count, default=1, help="search with so many seeds, each on its own (default 1)"
    )
    _evaluator(p)


def _evaluator(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--threads", type=_count, metavar="N", help="threads that judge designs (default: every core)"
    )
    p.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="processes on this machine that search side by side (Dask)",
    )
    p.add_argument(
        "--scheduler", metavar="ADDRESS", help="the workers of a Dask scheduler, e.g. tcp://10.0.0.1:8786"
    )
    p.add_argument(
        "--evaluator",
        metavar="MODULE:NAME",
        help="a simulator of your own: a class or function that takes the space (default: our "
        "first-order model)",
    )


def _overrides(p: argparse.ArgumentParser) -> None:
    p.add_argument("--fix", action="append", default=[], metavar="VAR=VALUE", help="hold a variable")
    p.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a limit, e.g. ttft=1s or cost_per_mtoken=0.2",
    )
    p.add_argument("--model", help="serve this model alone")
    p.add_argument("--traffic", help="only this class of the mix")
    p.add_argument(
        "--objective", action="append", default=[], metavar="NAME", help="objectives in place of the space's"
    )
    p.add_argument("--year", type=float, help="what can be had by this year")


def _count(text: str) -> int:
    if not text.isdigit() or len(text) > DIGITS or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"got {text[:20]!r}, expected a whole number from 1 to 1e9, e.g. 500"
        )
    return int(text)


def _seed(text: str) -> int:
    if not text.isdigit() or len(text) > DIGITS:
        raise argparse.ArgumentTypeError(f"got {text[:20]!r}, expected a whole number from 0 to 1e9, e.g. 1")
    return int(text)


def _row(text: str) -> int:
    """A row of a table, counted from 0."""
    if not text.isdecimal() or len(text) > DIGITS:
        raise argparse.ArgumentTypeError(f"got {text[:20]!r}, expected a whole number from 0, e.g. 17")
    return int(text)


def _share(text: str) -> float:
    """A share of a whole."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {text[:20]!r}, expected a share from 0 to 1, e.g. 0.6")
    return value


def _positive(text: str) -> float:
    from math import isfinite

    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not isfinite(value) or not 0 < value <= 10.0**DIGITS:
        raise argparse.ArgumentTypeError(
            f"got {text[:20]!r}, expected a finite number above 0 and up to 1e9, e.g. 1024"
        )
    return value


if __name__ == "__main__":
    sys.exit(main())
