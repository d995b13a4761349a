"""Workers of a Dask cluster: of one's own on this machine, or those of a scheduler that runs already.

Everything that is sent there is a pure function of what is sent with it: a task whose worker was lost is run
again on another, and what comes back is taken in by the order of the tasks, never by who was first.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from dse.core.compilation import threads
from dse.core.errors import RunError, SpaceError
from dse.core.version import __version__

CONNECTED: Final = 30.0
"""s in which a scheduler must answer, and a first worker be there"""

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
        return max(len(self._client.scheduler_info(n_workers=-1)["workers"]), 1)

    @property
    def threads(self) -> int:
        """Tasks that run at the same time."""
        found = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return max(sum(int(w["nthreads"]) for w in found), 1)

    def submit(self, function: Callable[..., Any], *arguments: Any, near: str | None = None) -> Any:
        """Hand out a task; ``near`` is the worker to prefer. Its result is a future."""
        more: dict[str, Any] = {"workers": [near], "allow_other_workers": True} if near else {}
        try:
            return self._client.submit(_checked, self._code, function, *arguments, pure=False, **more)
        except ValueError:  # the worker to prefer is gone
            return self._client.submit(_checked, self._code, function, *arguments, pure=False)

    def done(self, futures: Sequence[Any], seconds: float) -> list[Any]:
        """Those of the futures that are done, waiting for a first one for so long."""
        from distributed import TimeoutError as NotYet
        from distributed import wait

        try:
            wait(futures, timeout=seconds, return_when="FIRST_COMPLETED")  # type: ignore[no-untyped-call]
        except NotYet:
            return []
        return [f for f in futures if f.done()]

    def result(self, future: Any) -> Any:
        """What a task gave.

        Raises:
            RunError: workers died of it again and again, or the scheduler is gone; else what the task raised.

        """
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            raise RunError(
                f"--workers: a task was given up after several workers died of it ({error}); they may lack "
                "memory: take fewer; what was searched so far is kept: go on with --resume"
            ) from error
        except (CancelledError, OSError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(
                f"--scheduler: was lost ({type(error).__name__}); what was searched so far is kept: go on "
                "with --resume"
            ) from error

    def in_order(
        self, tasks: Iterable[tuple[Any, ...]], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Any]:
        """Results of (function, arguments ...) in their order, some tasks ahead; ``stop`` hands out no
        more.
        """
        waiting: deque[Any] = deque()
        left = iter(tasks)
        while True:
            while len(waiting) < AHEAD * self.threads and not stop() and (task := next(left, None)):
                waiting.append(self.submit(*task))
            if not waiting:
                return
            yield self.result(waiting.popleft())


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
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with _client(distributed, workers, scheduler) as client:
        yield Cluster(client)


@contextmanager
def _client(distributed: Any, workers: int | None, scheduler: str | None) -> Iterator[Any]:
    if workers is not None:
        local = {"host": "127.0.0.1", "dashboard_address": None, "silence_logs": logging.CRITICAL}
        each = max(threads() // workers, 1)
        with (
            distributed.LocalCluster(
                n_workers=workers, threads_per_worker=each, memory_limit=0, **local
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(scheduler, timeout=CONNECTED)
    except (OSError, ValueError) as error:
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
