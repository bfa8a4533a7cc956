"""Where a study is kept: in a journal, which one search holds, or a database, which many share.

The address of a journal is a Path, that of a database a text. Only a database needs SQLAlchemy,
whose import takes longer than Optuna's.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend

from nnlib.checks import InputError

NAME = "search"  # of the study in its storage
CONNECT = 10  # seconds to reach a database
TIMED = ("psycopg", "psycopg2", "pymysql", "mysqldb")  # drivers that can be told CONNECT
AGAIN = "give the same command to go on"
JOURNAL = b'{"op_code":'  # how every journal begins

optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextmanager
def watching(address: str | Path, opening: bool = False) -> Iterator[None]:
    """Tell in one line, without its password, what is wrong with a storage.

    Raises InputError for one that cannot be opened, later ConnectionError for one that is lost;
    and then OSError for other files, since nothing was asked for wrongly.
    """
    start = time.monotonic()
    try:
        yield
    except InputError as error:
        if opening:
            raise
        raise OSError(f"{error}; {AGAIN}") from error
    except Exception as error:  # on opening, each driver has its own
        if not (opening or type(error).__module__.startswith(("optuna.", "sqlalchemy."))):
            raise
        shown = re.sub("//.*@", "//", str(address)).partition("?")[0]
        why = f"the storage {shown}: {_reason(error)}"
        if not opening:
            raise ConnectionError(f"lost {why}; {AGAIN}") from error
        waited = f"(waited {time.monotonic() - start:.1f} s)"
        raise InputError(f"cannot use {why} {waited}; start it, or name another") from error


def _reason(error: BaseException) -> str:
    """Return the first line of what lies at the bottom of an error."""
    while error.__cause__:
        error = error.__cause__
    if isinstance(error, KeyError | TypeError | AttributeError | AssertionError | IndexError):
        return f"it is damaged ({type(error).__name__}: {error})"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0]


def read_address(address: str | Path) -> str | Path:
    """Return the URL of a database, or else the path of a journal.

    A URL that different readers take apart differently is refused, and not repeated.
    """
    scheme, colon, rest = str(address).partition(":")
    if not (colon and scheme[1:] and ("@" in rest or rest.startswith("/"))):
        return Path(os.path.expanduser(address))
    from sqlalchemy import make_url

    account = rest.removeprefix("//").rpartition("@")[0]
    try:
        if not rest.startswith("//") or (account[:1] != "/" and set(account) & set("@/?#")):
            raise ValueError
        make_url(str(address)).get_driver_name()
    except Exception:  # whose text may hold a piece of the password
        raise InputError(
            f"cannot read the storage {scheme}://...: write {scheme}://USER:PASSWORD@HOST:PORT/NAME,"
            " with %40 for an @, %2F for a / and %3A for a : in the password"
        ) from None
    return str(address)


def hold(address: str | Path) -> AbstractContextManager:
    """Hold a journal, new or old, until the end of the context; a database needs no holding.

    A last line is cut off whose writer was killed within it.
    """
    if isinstance(address, str):
        return nullcontext()
    if address.exists() and address.read_bytes()[: len(JOURNAL)] not in (b"", JOURNAL):
        raise InputError(f"{address} is not the journal of a study; name another file")
    try:  # the lock is not .lock: Optuna gives that another meaning
        held = FileLock(address.with_name(f".{address.name}.held"), timeout=0).acquire()
    except Timeout:
        raise InputError(f"{address} is in use by another search; name another file") from None
    if address.exists() and not (content := address.read_bytes()).endswith(b"\n"):
        os.truncate(address, content.rfind(b"\n") + 1)
    return held


def open_study(address: str | Path, pruner: BasePruner) -> tuple[optuna.Study, BaseStorage]:
    """Load the study, without writing to it, or create it: (the study, its storage)."""
    journal = isinstance(address, Path)
    storage = get_storage(JournalStorage(_Journal(address)) if journal else _database(address))
    study = {"study_name": NAME, "storage": storage, "pruner": pruner}
    if NAME in optuna.get_all_study_names(storage):
        return optuna.load_study(**study), storage
    if journal and address.stat().st_size:
        raise InputError(f"{address} holds another study; name another file")
    # another machine may create it at this moment
    return optuna.create_study(**study, direction="maximize", load_if_exists=True), storage


class _Journal(JournalFileBackend):
    """A journal in which a line is whole or not there, also where the disk is full."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Lock())  # of the threads: no other process writes
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines, or none of them."""
        size = os.path.getsize(self.path)
        try:
            super().append_logs(logs)
        except OSError as error:
            os.truncate(self.path, size)
            raise StorageInternalError(str(error)) from error


def _database(url: str) -> BaseStorage:
    from sqlalchemy import exc, make_url

    timeout = {"connect_timeout": CONNECT} if make_url(url).get_driver_name() in TIMED else {}
    storage = partial(RDBStorage, url, {"connect_args": timeout, "pool_pre_ping": True})
    try:
        return storage()
    except (exc.ProgrammingError, exc.IntegrityError):  # another search makes the tables just now
        time.sleep(1.0)
        return storage()
