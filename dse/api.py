"""The Python API: load a space, search it, evaluate a point, read a run and the catalogue.

The command line is its user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from weakref import finalize

from dse.catalog.catalog import Catalog, load_catalog
from dse.core.errors import DseError
from dse.core.units import Figure
from dse.evaluator.explain import Evaluation
from dse.evaluator.explain import evaluate as evaluate_request
from dse.evaluator.explain import fit as fit_request
from dse.evaluator.fitting import Fits
from dse.evaluator.loading import EvaluatorSource, Factory
from dse.evaluator.protocol import Evaluator, Outcomes
from dse.evaluator.request import PlanRequest, Request
from dse.run.run import Run
from dse.space.objectives import Goal
from dse.space.overrides import load_space
from dse.space.space import Space

if TYPE_CHECKING:
    import optuna
    import pandas as pd

__all__ = [
    "Catalog",
    "DseError",
    "Evaluator",
    "Figure",
    "Outcomes",
    "Point",
    "SearchResult",
    "Space",
    "evaluate",
    "fit",
    "load_catalog",
    "load_run",
    "load_space",
    "search",
]


@dataclass(frozen=True)
class SearchResult:
    """A finished search: its space, its front and trials as tables, and what judged it.

    >>> import dse
    >>> result = dse.search(dse.load_space("mobile"), trials=60, seed=1)
    >>> list(result.front.columns[:3]), result.front.attrs["units"]["tpot"]
    (['tpot', 'energy_per_token', 'bom'], 's')
    >>> len(result.trials)
    60
    """

    run: Run = field(repr=False)
    evaluator: Evaluator
    agreement: str = ""
    """how far two independent halves of the search agree, in words"""

    @property
    def space(self) -> Space:
        """The space that was searched."""
        return self.run.space

    @cached_property
    def front(self) -> pd.DataFrame:
        """The front, a row an operating point; SI units in ``.attrs["units"]``."""
        from dse.run.frame import front_frame

        return front_frame(self.run)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Every trial in order; SI units in ``.attrs["units"]``."""
        from dse.run.frame import trials_frame

        return trials_frame(self.run)

    @cached_property
    def study(self) -> optuna.Study:
        """An Optuna study of the front and a sample of the trials, for Optuna's own plots and importances."""
        from dse.study.optuna_study import study_of_run

        return study_of_run(self.run)


@dataclass
class Point(Evaluation):
    """One design or machine under one plan; each breakdown sums to its objective.

    >>> import dse
    >>> point = dse.evaluate("mobile", device="iphone_16_pro")
    >>> bool(abs(point.time.sum() / point.tpot - 1) < 1e-9), point.time.attrs["unit"]
    (True, 's')
    """

    def _series(self, parts: Mapping[str, float], name: str, unit: str) -> pd.Series:
        import pandas as pd

        out = pd.Series(dict(parts), name=name, dtype=float)
        out.attrs["unit"] = unit
        return out

    @property
    def time(self) -> pd.Series:
        """Seconds of an output token by part."""
        return self._series(self.times, "time", "s")

    @property
    def energy(self) -> pd.Series:
        """Joules of an output token by part, at the wall or from the battery."""
        return self._series(self.energies, "energy", "J")

    @property
    def cost(self) -> pd.Series:
        """USD by part: per million output tokens, or that a device adds to its bill of materials."""
        return self._series(self.costs, "cost", "USD")

    @property
    def carbon(self) -> pd.Series:
        """Kilograms CO2e of a million output tokens by part."""
        return self._series(self.carbons, "carbon", "kgCO2e")


def search(
    space: Space | str,
    *,
    trials: int | None = None,
    until: str | None = None,
    timeout: float | None = None,
    seed: int = 1,
    seeds: int = 1,
    sampler: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    evaluator: str | Factory | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    storage: str | None = None,
    watch: Callable[[Any], None] | None = None,
) -> SearchResult:
    """Search a space; ``out`` is the run folder to write, None keeps all in memory.

    Without ``trials`` it goes on until two independent halves agree, or for ``timeout`` seconds; with it
    until so many designs are judged, or ``until="converged"`` if that comes first. With several ``seeds``
    each is a search of its own until its halves agree; they share ``trials`` and ``timeout``.

    ``sampler`` is ``"auto"``, or one of Optuna's: random, qmc, nsga2, nsga3, tpe.

    ``evaluator`` is a simulator of one's own: ``"module:name"``, or a class or function that takes the space.

    ``workers`` processes on this machine search side by side, or those of a Dask ``scheduler``
    (``tcp://HOST:8786``): the same front, sooner. A script that asks for workers of its own is guarded by
    ``if __name__ == "__main__":``. ``storage``, a journal file or a PostgreSQL URL, is an Optuna study that
    several such calls share, for evaluators that take seconds or hours a design; it needs ``trials`` or
    ``timeout``.

    >>> import dse
    >>> space = dse.load_space("mobile").fix(pnm="none").limit(ttft="2 s").in_year(2030)
    >>> run = dse.search(space, trials=60, seed=1)
    >>> bool((run.front["ttft"] <= 2).all())
    True

    Raises:
        SpaceError: the space, sampler or evaluator is at fault.
        RunError: ``out`` holds a run and ``resume`` is off, or cannot be written.
        InfeasibleError: no design met every limit.

    """
    space = load_space(space) if isinstance(space, str) else space
    asked = {"trials": trials, "until": until, "timeout": timeout, "seed": seed}
    said = ", ".join(f"{k}={v!r}" for k, v in asked.items() if v is not None)
    folder = Path(out) if out is not None else Path(mkdtemp()) / space.name
    more = {"command": f"dse.search({space.name!r}, {said})", "watch": watch, "evaluator": evaluator}
    from dse.study import job  # Optuna comes with it: a tenth of a second that an evaluation need not wait

    settings = job.Settings(sampler, seed, seeds, until, trials, timeout)
    done = job.searched(
        space, folder, settings, job.Where(workers, scheduler, storage), resume=resume, **more
    )
    result = SearchResult(done.run, done.evaluator, done.said)
    if out is None:  # its logs are read where trials are asked for, and go with it
        finalize(result, rmtree, folder.parent, ignore_errors=True)
    return result


def load_run(path: str | Path, *, evaluator: str | Factory | EvaluatorSource | None = None) -> SearchResult:
    """Read a run folder: its designs are judged again by the evaluator that the run names.

    >>> import dse, tempfile
    >>> folder = tempfile.mkdtemp() + "/run"
    >>> made = dse.search("mobile", trials=60, seed=1, out=folder)
    >>> dse.load_run(folder).front.equals(made.front)
    True

    Raises:
        RunError: not a run folder.
        SpaceError: its evaluator cannot be loaded, or ``evaluator`` is not the one that judged it.

    """
    from dse.study import job

    run, judge = job.load_run(Path(path), evaluator=evaluator)
    return SearchResult(run, judge, str(run.about.get("agreement", "")))


class Asked(TypedDict, total=False):
    """A workload and a plan as arguments of ``evaluate`` and ``fit``; what is left out is the space's own.

    ``llm``, ``software``; ``input_tokens`` and ``output_tokens`` of a closed loop of requests, of which
    ``prefix_share`` is found in a cache, or ``context`` for one decode step whose prompts are not charged;
    ``draft_tokens`` and their ``acceptance``. Number formats are the space's for its own models, those of the
    checkpoint for others, and for all with ``published``; ``formats`` names them by class (``attention``,
    ``ffn``, ``experts``, ``head``, ``kv_cache``, or all ``weights``), ``weight_bits``, ``kv_bits`` and
    ``compute_bits`` in numbers. ``batch`` requests are in flight over all ``pipeline`` stages of
    ``tensor_parallel`` times ``data_parallel`` packages; ``attention`` is ``tp``, ``dp`` or ``sp``
    (``context_parallel``: ranks that split the KV cache by position), ``expert_parallel`` the ranks over
    which whole experts are dealt.
    """

    llm: str | None
    software: str | None
    input_tokens: float | None
    output_tokens: float | None
    context: float | None
    prefix_share: float | None
    draft_tokens: float | None
    acceptance: float | None
    formats: Mapping[str, str]
    published: bool
    weight_bits: float | None
    kv_bits: float | None
    compute_bits: float | None
    batch: int
    tensor_parallel: int
    data_parallel: int
    pipeline: int
    expert_parallel: int | None
    context_parallel: int
    attention: str


def evaluate(
    space: str | Space,
    *,
    variables: Mapping[str, object] | None = None,
    device: str | None = None,
    catalog: Catalog | None = None,
    **asked: Unpack[Asked],
) -> Point:
    """Evaluate one design (``variables``) or existing machine (``device``) under one plan, by our model.

    ``Asked`` says what may be asked for: the workload, its formats, the plan.

    >>> import dse
    >>> point = dse.evaluate("datacenter", device="h100_sxm", llm="Llama-3.1-70B", tensor_parallel=4)
    >>> bool(abs(point.energy.sum() / point.objectives["energy_per_token"] - 1) < 1e-9)
    True
    >>> point.figures["packages"]
    Figure(value=4.0, unit='1')

    Raises:
        SpaceError: an unknown variable, a value outside its range, a plan that cannot be.
        DataError: an unknown device, model or software stack.
        InfeasibleError: a plan that cannot run, with the nearest that can.

    """
    request, plan = _split(asked)
    found = evaluate_request(
        space, variables=variables, device=device, request=request, plan=plan, catalog=catalog
    )
    return Point(**{**vars(found), "objectives": {Goal(k).value: v for k, v in found.objectives.items()}})


def fit(
    space: str | Space,
    *,
    variables: Mapping[str, object] | None = None,
    device: str | None = None,
    catalog: Catalog | None = None,
    **asked: Unpack[Asked],
) -> Fits:
    """How a model fits one design or existing machine: memory by class, and the most that fits.

    >>> import dse
    >>> found = dse.fit("datacenter", device="h100_sxm", llm="Llama-3.1-8B", context=8192)
    >>> found.fits, found.fewest
    (True, '1 package (tp 1)')

    Raises:
        SpaceError: an unknown variable, a value outside its range, a plan that cannot be.
        DataError: an unknown device, model or software stack.

    """
    request, plan = _split(asked)
    return fit_request(space, variables=variables, device=device, request=request, plan=plan, catalog=catalog)


def _split(asked: Asked) -> tuple[Request, PlanRequest]:
    """Arguments of a workload, and of a plan.

    Raises:
        TypeError: an argument of another name.

    """
    of_plan = {f.name for f in fields(PlanRequest)}
    plan = {k: v for k, v in asked.items() if k in of_plan}
    workload = {k: v for k, v in asked.items() if k not in of_plan}
    return Request(**workload), PlanRequest(**plan)  # type: ignore[arg-type]
