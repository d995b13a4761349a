"""Functions that run as plain Python and compiled, from one source.

``compilable`` only notes a function; numba is imported when the first kernel is asked for, so that a command
that needs no compiled code does not wait for it.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TypeVar

from dse.core.errors import DseError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

FUNCTIONS: Final[list[Callable[..., Any]]] = []
"""every function that kernels may call"""

_KERNELS: dict[Callable[..., Any], Callable[..., Any]] = {}
_REGISTERED: set[Callable[..., Any]] = set()

QUICK: Final = 2.0
"""s; what takes longer to make ready was compiled and not loaded"""


def compilable(function: F) -> F:
    """Note a scalar function that kernels may call; it stays the plain Python function that it is."""
    FUNCTIONS.append(function)
    return function


def compiling() -> bool:
    """Whether kernels are compiled at all: not with ``NUMBA_DISABLE_JIT=1``."""
    return os.environ.get("NUMBA_DISABLE_JIT", "0") in {"", "0"}


THREADS: Final = "DSE_THREADS"
"""environment variable of how many threads judge designs"""


def use_threads(count: int) -> None:
    """Let ``count`` threads judge designs from now on."""
    os.environ[THREADS] = str(count)


def threads() -> int:
    """How many threads judge designs: as ``use_threads`` or DSE_THREADS say, else every core of the process.

    Raises:
        DseError: DSE_THREADS is no whole number from 1.

    """
    said = os.environ.get(THREADS)
    if said is not None:
        if not said.isdigit() or int(said) < 1:
            raise DseError(f"{THREADS}: got {said!r}, expected a whole number from 1, e.g. 4")
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=4)
def workers(count: int) -> ThreadPoolExecutor:
    """Threads that stay for the next batch: to start them takes as long as to judge a hundred designs."""
    return ThreadPoolExecutor(count)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=workers.cache_clear)  # a forked process has none of the threads


def kernel(entry: F) -> F:
    """The compiled form of ``entry``, a loop over rows that calls compilable functions.

    It releases the interpreter lock, so threads run it side by side. Without compilation the function itself.
    """
    if not compiling():
        return entry
    if entry not in _KERNELS:
        import numba
        from numba.extending import register_jitable

        setattr(numba.config, "CACHE_DIR", cache_folder())  # noqa: B010 - numba makes its options at run time
        for function in FUNCTIONS:
            if function not in _REGISTERED:
                register_jitable(forceinline=True)(function)
                _REGISTERED.add(function)
        made = numba.njit(cache=bool(cache_folder()), nogil=True, error_model="numpy")(entry)
        _KERNELS[entry] = _announced(made)
    return _KERNELS[entry]  # type: ignore[return-value]


FEW: Final = 32
"""rows up to which plain Python is quicker than loading compiled code"""


def ready(entry: Callable[..., Any]) -> bool:
    """Whether this process has the compiled form of ``entry`` already."""
    return entry in _KERNELS


def _announced(made: Any) -> Callable[..., Any]:
    """A kernel that says on a terminal what a first call waits for."""

    def call(*arguments: Any, **named: Any) -> Any:
        if made.signatures:
            return made(*arguments, **named)
        say = sys.stderr.isatty() and not _stored()
        if say:
            print("compiling the serving model for this machine, once: about half a minute", file=sys.stderr)
        start = time.perf_counter()
        found = made(*arguments, **named)
        if say and time.perf_counter() - start > QUICK:
            print(f"compiled in {time.perf_counter() - start:.0f} s; kept for later runs", file=sys.stderr)
        return found

    return call


def _stored() -> bool:
    folder = cache_folder()
    return bool(folder) and any(Path(folder).rglob("*.nbi"))


def cache_folder() -> str:
    """Folder of compiled code for these sources and versions; empty where none can be written.

    ``DSE_CACHE_DIR``, else the user's cache folder. Its name is a hash of every source file of the package
    and of the versions that compile it: numba itself does not see a change in an imported file.
    """
    if not _FOLDER:
        _FOLDER.append(_made_folder())
    return _FOLDER[0]


_FOLDER: list[str] = []


def stored(name: str, make: Callable[[], T]) -> T:
    """What ``make`` gives, kept in the cache folder of these sources under a name that tells its inputs.

    A kept file that cannot be read is made again.
    """
    folder = cache_folder()
    path = Path(folder) / f"{name}.pickle"
    if folder:
        with suppress(Exception):  # not there, cut off, or of other classes
            kept: T = pickle.loads(path.read_bytes())  # noqa: S301 - this user's own folder, written below
            return kept
    made = make()
    if folder:
        draft = path.with_suffix(f".{os.getpid()}")
        try:
            draft.write_bytes(pickle.dumps(made))
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
    return made


def _made_folder() -> str:
    chosen = os.environ.get("DSE_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    try:
        base = Path(chosen) if chosen else Path.home() / ".cache"
        folder = base / "dse" / _fingerprint()
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError):
        return ""
    return str(folder)


def _fingerprint() -> str:
    found = hashlib.sha256()
    package = Path(__file__).parents[1]
    for room in ("core", "physics", "catalog", "hardware", "serving"):
        for path in sorted((package / room).glob("*.py")):
            found.update(path.name.encode())
            found.update(path.read_bytes())
    for path in sorted((package / "data").glob("*.toml")):  # what fields mean, and their units
        found.update(path.name.encode())
        found.update(path.read_bytes())
    for name in ("numba", "llvmlite", "numpy"):
        found.update(f"{name} {metadata.version(name)}".encode())
    found.update(f"{sys.version} {platform.machine()} {platform.processor()}".encode())
    return found.hexdigest()[:20]
