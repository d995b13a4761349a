"""Storage of an Optuna study that many processes share: a journal file, or a PostgreSQL server."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from dse.core.errors import RunError, SpaceError, masked

T = TypeVar("T")

PATIENCE: Final = 120.0
"""s for which a server that does not answer is asked again"""

AT_FIRST: Final = 15.0
"""s for the same before it has answered at all: an address may be wrong"""

RACING: Final = 10.0
"""s for the same where several processes made the same thing at the same moment"""

PAUSES: Final = (0.2, 5.0)
"""s, first and longest, between two tries"""

FROM_ENVIRONMENT: Final = "env:"


def asked_storage(asked: str) -> str:
    """What ``--storage`` names: a URL, a path, or ``env:NAME`` of the variable that holds one.

    Raises:
        SpaceError: the variable is not set, or the URL is of another kind of server.

    """
    found = asked
    if asked.startswith(FROM_ENVIRONMENT):
        name = asked.removeprefix(FROM_ENVIRONMENT)
        found = os.environ.get(name, "")
        if not found:
            raise SpaceError(f"--storage {asked}: the environment variable {name} is not set")
    kind = found.partition("://")[0]
    if "://" not in found and re.search(r":.*@", found):
        raise SpaceError("--storage: is no URL, expected postgresql://USER:PASSWORD@HOST/DATABASE")
    if "://" in found and re.search(r"\s", found):
        raise SpaceError("--storage: the URL has a blank in it; write %20 for one in a password")
    if found.startswith("postgres") and "://" not in found and ":" in found:
        raise SpaceError("--storage: is no URL, expected postgresql://USER:PASSWORD@HOST/DATABASE")
    if "://" in found and kind.partition("+")[0] != "postgresql":
        raise SpaceError(
            f"--storage: got {masked(found)!r}, expected postgresql://USER:PASSWORD@HOST/DATABASE, the path "
            "of a journal file, or env:NAME of a variable that holds one of them"
        )
    return found


@contextmanager
def opened(storage: str) -> Iterator[BaseStorage]:
    """The storage that a URL or path names, closed afterwards.

    A server that does not answer is asked for some time.

    Raises:
        SpaceError: no driver for PostgreSQL is installed.
        RunError: the file cannot be written, or no server answers.

    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a lost connection is asked for again
    kept = _journal(storage) if "://" not in storage else _server(storage)
    try:
        yield kept
    finally:
        kept.remove_session()
        if isinstance(kept, ServerStorage):
            kept.engine.dispose()


def _journal(path: str) -> JournalStorage:
    """A study in a file of one machine.

    Raises:
        RunError: the file cannot be written.

    """
    try:
        Path(path).resolve().parent.mkdir(parents=True, exist_ok=True)
        # its lock is a link with the path as its text: a relative one would point elsewhere
        return JournalStorage(JournalFileBackend(str(Path(path).resolve())))
    except ValueError as error:
        raise RunError(f"--storage {path}: is no journal of Optuna's ({error}); name another file") from error
    except OSError as error:
        raise RunError(f"--storage {path}: cannot be written ({error.strerror or error})") from error


def _server(storage: str) -> ServerStorage:
    """A study in a database.

    Raises:
        SpaceError: no driver for PostgreSQL is installed.
        RunError: no server answers.

    """
    import sqlalchemy.exc

    url = re.sub(r"^postgresql://", "postgresql+psycopg://", storage)
    more = {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}
    try:
        return _asked_again(lambda: ServerStorage(url, engine_kwargs=more), AT_FIRST)
    except ImportError as error:
        raise SpaceError(
            f"--storage: PostgreSQL needs a driver, which is not installed ({error.__cause__ or error}); "
            "pip install 'dse[storage]'"
        ) from error
    except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
        raise RunError(f"--storage {masked(storage)}: cannot be opened ({masked(str(error))})") from error


def _asked_again(operation: Callable[[], T], most: float = PATIENCE) -> T:
    """Ask a server until it answers, or patience ends, after ``most`` seconds at the latest.

    Raises:
        RunError: no answer.

    """
    import sqlalchemy.exc

    start, pause = time.monotonic(), PAUSES[0]
    while True:
        try:
            return operation()
        except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            patience = min(_patience(cause), most)
            if time.monotonic() - start >= patience:
                said = masked(str(cause)).splitlines()[0]
                raise RunError(
                    f"--storage: the server does not do as asked ({said}); what it was told is kept: run the "
                    "same command again"
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, PAUSES[1])


def _patience(fault: BaseException | None) -> float:
    """Seconds for which to ask again after a fault of a server."""
    from sqlalchemy import exc

    if isinstance(fault, exc.IntegrityError | exc.ProgrammingError):
        return RACING  # another process makes the same tables
    gone = isinstance(fault, exc.OperationalError | exc.InterfaceError | exc.PendingRollbackError)
    cut = isinstance(fault, exc.DBAPIError) and fault.connection_invalidated
    refused = "authentication failed" in str(fault) or "does not exist" in str(fault)
    return PATIENCE if (gone or cut) and not refused else 0.0


class ServerStorage(RDBStorage):
    """Optuna's storage in a database, that outlives a restart of its server: every operation is asked again.

    One whose answer alone was lost is not done twice in a way that counts: a state that is already set is
    taken as set, and a trial that was made unseen is never begun, so that it is given up like one of a dead
    worker.
    """


def _again(operation: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(operation)
    def asked(self: ServerStorage, *arguments: Any, **named: Any) -> Any:
        tries = 0

        def ask() -> Any:
            nonlocal tries
            tries += 1
            try:
                return operation(self, *arguments, **named)
            except UpdateFinishedTrialError:
                state = named.get("state", arguments[1] if len(arguments) > 1 else None)
                setting = operation.__name__ == "set_trial_state_values"
                if tries > 1 and setting and RDBStorage.get_trial(self, arguments[0]).state == state:
                    return True
                raise

        return _asked_again(ask)

    return asked


for _name in (
    *(n for n, f in vars(BaseStorage).items() if callable(f) and not n.startswith("_")),
    "_create_new_trial",
    "_set_trial_param",
    "_get_trials",
):
    if _name in vars(RDBStorage):
        setattr(ServerStorage, _name, _again(vars(RDBStorage)[_name]))
logging.getLogger("alembic").setLevel(logging.WARNING)
