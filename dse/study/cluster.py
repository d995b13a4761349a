"""Workers of a Dask cluster: of one's own on this machine, or those of a scheduler that runs already.

Everything that is sent there is a pure function of what is sent with it: a task whose worker was lost is run
again on another, and what comes back is taken in by the order of the tasks, never by who was first.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from dse.core.compilation import threads, use_threads
from dse.core.errors import DseError, RunError, SpaceError
from dse.core.version import __version__

CONNECTED: Final = 10.0
"""s in which a scheduler must answer, and a first worker be there"""

TICK: Final = 0.2
"""s between two looks at tasks"""

DROPPED: Final = 15.0
"""s after a search is to stop in which tasks that are out may end: their slices last a third of that"""

DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""what a worker of one's own runs first: Ctrl-C on a terminal is for the command, which then asks no more"""

AHEAD: Final = 2
"""tasks handed out for each thread of the cluster before the first of them is taken in"""


@lru_cache(maxsize=1)
def running_code() -> str:
    """Version and hash of the sources that a process runs: answers of others are of another model."""
    package = Path(__file__).parents[1]
    found = hashlib.sha256()
    for path in sorted([*package.rglob("*.py"), *package.rglob("data/*.toml")]):
        found.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return f"{__version__} {found.hexdigest()[:12]}"


def _checked(code: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task, on a worker.

    Raises:
        RunError: the worker runs other sources than the client.

    """
    if multiprocessing.parent_process() is not None:
        use_threads(1)  # as many tasks run at a time as a worker has threads
    if code != running_code():
        raise RunError(
            f"--scheduler: a worker runs dse {running_code()}, this command {code}; install the same on both"
        )
    return function(*arguments)


class Cluster:
    """A connection to workers."""

    def __init__(self, client: Any) -> None:
        self._client, self._code = client, running_code()

    @property
    def workers(self) -> int:
        """Processes that take tasks."""
        return max(len(self._info()), 1)

    @property
    def threads(self) -> int:
        """Tasks that run at the same time."""
        return max(sum(int(w["nthreads"]) for w in self._info().values()), 1)

    def _info(self) -> dict[str, Any]:
        with lost_is_said():
            found: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
            return found

    def submit(self, function: Callable[..., Any], *arguments: Any, near: str | None = None) -> Any:
        """Hand out a task; ``near`` is the worker to prefer. Its result is a future."""
        more: dict[str, Any] = {"workers": [near], "allow_other_workers": True} if near else {}
        with lost_is_said():
            return self._client.submit(_checked, self._code, function, *arguments, pure=False, **more)

    def done(self, futures: Sequence[Any], seconds: float) -> list[Any]:
        """Those of the futures that are done, waiting for a first one for so long."""
        from distributed import TimeoutError as NotYet
        from distributed import wait

        with lost_is_said():
            try:
                wait(futures, timeout=seconds, return_when="FIRST_COMPLETED")  # type: ignore[no-untyped-call]
            except NotYet:
                return []
            return [f for f in futures if f.done()]

    def result(self, future: Any) -> Any:
        """What a task gave that is done.

        Raises:
            RunError: workers died of it again and again, or the scheduler is gone; else what the task raised.

        """
        with lost_is_said():
            return future.result()

    def in_order(
        self, tasks: Iterable[tuple[Any, ...]], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Any]:
        """Results of (function, arguments ...) in their order, some tasks ahead.

        After ``stop`` no more is handed out, and what is out is waited for some seconds.
        """
        waiting: deque[Any] = deque()
        left = iter(tasks)
        patience = Patience(stop)
        while True:
            while len(waiting) < AHEAD * self.threads and not stop() and (task := next(left, None)):
                waiting.append(self.submit(*task))
            if not waiting:
                return
            while not self.done([waiting[0]], TICK):
                if patience.over:
                    return
            yield self.result(waiting.popleft())


class Patience:
    """How long tasks that are out are waited for once a search is to stop."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop, self._since = stop, np.inf

    @property
    def over(self) -> bool:
        """Whether it was to stop so long ago that what is still out is dropped."""
        if np.isinf(self._since) and self._stop():
            self._since = time.monotonic()
        return time.monotonic() - self._since > DROPPED


@contextmanager
def lost_is_said() -> Iterator[None]:
    """Say what a lost scheduler, or a task that kills workers, means.

    Raises:
        RunError: either of them.

    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.client import ClosedClientError, FutureCancelledError

    again = "what was searched so far is kept: run it again (search and sweep with --resume)"
    try:
        yield
    except KilledWorker as error:
        raise RunError(
            f"a task was given up after several workers died of it ({error}); they may lack memory: take "
            f"fewer; {again}"
        ) from error
    except (CancelledError, FutureCancelledError, ClosedClientError, OSError) as error:
        if isinstance(error, DseError):
            raise
        raise RunError(f"the Dask scheduler was lost ({type(error).__name__}); {again}") from error
    except RuntimeError as error:
        if "deserialization" not in str(error):
            raise
        raise RunError(
            f"the Dask scheduler or a worker cannot read a task ({error.__cause__ or error}): dse, and a "
            "simulator of one's own, have to be installed on both"
        ) from error


@contextmanager
def connected(workers: int | None = None, scheduler: str | None = None) -> Iterator[Cluster | None]:
    """Workers to search with: ``workers`` processes on this machine, or those of ``scheduler``; None for
    neither.

    Raises:
        SpaceError: both are asked for, or Dask is not installed.
        RunError: the scheduler does not answer, or has no worker.

    """
    if workers is None and scheduler is None:
        yield None
        return
    if workers is not None and scheduler is not None:
        raise SpaceError(
            "--workers: starts workers on this machine, --scheduler takes those it has; give one of them"
        )
    try:
        import distributed
    except ImportError as error:
        raise SpaceError(
            f"--workers, --scheduler: need Dask, which is not installed ({error}); pip install 'dse[cluster]'"
        ) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with _client(distributed, workers, scheduler) as client:
        yield Cluster(client)


@contextmanager
def _client(distributed: Any, workers: int | None, scheduler: str | None) -> Iterator[Any]:
    if workers is not None:
        local = {"host": "127.0.0.1", "dashboard_address": None, "silence_logs": logging.CRITICAL}
        each = max(threads() // workers, 1)
        import dask

        with (
            dask.config.set({"distributed.worker.preload": [DEAF]}),
            distributed.LocalCluster(
                n_workers=workers, threads_per_worker=each, memory_limit=0, **local
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(scheduler, timeout=CONNECTED)
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            f"--scheduler {scheduler}: does not answer ({error}); start one with: dask scheduler, and "
            "workers with: dask worker ADDRESS"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECTED)
        except distributed.TimeoutError as error:
            raise RunError(
                f"--scheduler {scheduler}: has no worker; start some with: dask worker {scheduler}"
            ) from error
        yield client
