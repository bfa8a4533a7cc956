"""Files that are never half-written, and files that are never believed unread.

Everything this project saves goes through `write_atomic`: a reader sees the old file or the new
one, whatever happens in between. Everything it loads is checked before use: weights are
safetensors with JSON metadata, never pickles, because a pickle is a program.
"""

import errno
import hashlib
import json
import math
import os
import re
import secrets
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from nnlib import checks
from nnlib.checks import InputError

MAX_JSON = 2**26  # bytes; what this library writes is a thousand times smaller
LOCK = ".lock"  # of a folder: its owner's, be it a run or a search
HINTS = {  # what to do about the system's complaints that the user can mend
    errno.ENOSPC: "free some space, or choose another place",
    getattr(errno, "EDQUOT", -1): "free some space, or choose another place",
    errno.EFBIG: "raise the limit on a file's size (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
}
METADATA_KEY = "nnlib"  # one key only: safetensors does not keep the order of several


def project_root() -> Path:
    """Return the folder of the project: above the package, or the current one if installed."""
    above = Path(__file__).resolve().parent.parent
    return above if (above / "pyproject.toml").is_file() else Path.cwd()


def to_json(value: Any, **more: Any) -> str:
    """Return JSON of plain values and NumPy's; InputError for anything else."""

    def known(odd: Any) -> Any:
        if (value := checks.plain(odd)) is odd:
            raise InputError(f"cannot save {odd!r}: give a number, a text, a list or a table")
        return value

    return json.dumps(value, default=known, **more)


def complaint(error: OSError, advice: str = "") -> str:
    """Return the system's reason and what to do about it: `advice`, where nothing better is known.

    >>> complaint(OSError(28, "No space left on device"))
    'No space left on device; free some space, or choose another place'
    """
    return "; ".join(filter(None, (error.strerror or str(error), HINTS.get(error.errno, advice))))


def in_a_line(error: object) -> str:
    """Return what an error says, in one line; where it says nothing, the name of its type."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def reading(
    path: str | os.PathLike, doing: str = "read", advice: str = "name another"
) -> Iterator[Path]:
    """Yield the path of a file; what the system says about it becomes one line about it."""
    path = Path(os.path.expanduser(path))
    try:
        yield path
    except OSError as error:
        raise InputError(f"cannot {doing} {path}: {complaint(error, advice)}") from error
    except MemoryError as error:
        raise InputError(f"cannot {doing} {path}: out of memory; close other programs") from error


def writing(path: str | os.PathLike, what: str = "the file") -> AbstractContextManager[Path]:
    """Do as `reading` where something is written."""
    return reading(path, f"write {what}", "choose another place")


def write_atomic(path: str | os.PathLike, data: bytes | str, sync: bool = True) -> None:
    """Replace `path` by `data` in one step: temporary file beside it, fsync, rename.

    A crash at any moment leaves the old file or the new one, never a mixture; without `sync`, that
    holds for a process that is killed, not for a power cut. Text is UTF-8. Raises InputError where
    the folder cannot be written.
    """
    with writing(path) as path:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with open(temporary, "xb") as stream:
                stream.write(data.encode() if isinstance(data, str) else data)
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path, names: Iterable[str] = ()) -> None:
    """Have those files that are there, and renames, survive a power cut, as far as a system can."""
    for path in filter(Path.exists, map(folder.joinpath, names)):
        with writing(path), open(path, "rb+") as stream:
            os.fsync(stream.fileno())
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def owned(folder: Path, names: Iterable[str], wait: float = 0) -> Iterator[None]:
    """Hold a folder alone, from now to the end; InputError where another process holds it.

    That one is given `wait` seconds. The system gives back what a killed owner held; what such an
    owner left of writing files of these names is removed. A folder that cannot be written is held
    by nobody.
    """
    if not os.access(folder, os.W_OK):
        yield
        return
    from filelock import FileLock, Timeout  # here, as it is slow to import

    with writing(folder, "to the folder"):
        try:
            hold = FileLock(folder / LOCK).acquire(timeout=wait)
        except Timeout:
            busy = f"{folder} is in use by another process"
            raise InputError(f"{busy}: wait for its end, or name another folder") from None
    left = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.[0-9a-f]{{8}}\.tmp")
    with hold:
        for path in folder.iterdir():
            if left.fullmatch(path.name):  # as `write_atomic` calls them
                path.unlink(missing_ok=True)
        yield


@contextmanager
def handling(usual: Any, handler: Callable, *names: str) -> Iterator[None]:
    """Have signals handled for a while that are handled as usual; those of others stay so."""
    main = threading.current_thread() is threading.main_thread()
    known = [getattr(signal, name, None) for name in names if main]
    ours = [each for each in known if each and signal.getsignal(each) is usual]
    for each in ours:
        signal.signal(each, handler)
    try:
        yield
    finally:
        for each in ours:
            if signal.getsignal(each) == handler:  # and not that of others who came meanwhile
                signal.signal(each, usual)


def stoppable(handler: Callable = signal.default_int_handler) -> AbstractContextManager[None]:
    """Let SIGTERM and SIGHUP end what is inside as Ctrl-C does, so that it clears up.

    What is ignored, under nohup, or handled by others stays so.
    """
    return handling(signal.SIG_DFL, handler, "SIGTERM", "SIGHUP")


def make_folder(path: str | os.PathLike) -> Path:
    """Create a folder and those above it, and check that it can be written."""
    with writing(path, "to the folder") as folder:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    return folder


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, to_json(value, indent=2) + "\n")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Read a table; InputError names a file that is missing, damaged, no table or far too large."""
    with reading(path) as path, open(path, "rb") as stream:
        raw = stream.read(MAX_JSON + 1)
    if len(raw) > MAX_JSON:
        raise InputError(f"{path} is too large for a table, over {MAX_JSON:,} bytes; restore it")
    try:
        return checks.instance("its content", json.loads(raw.decode()), dict)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); restore or delete it") from error


def without_nan(value: Any) -> Any:
    """Replace what JSON cannot say, a number that is not finite, by None, in tables as well."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_tensors(
    path: str | os.PathLike, tensors: dict[str, np.ndarray], metadata: dict, sync: bool = True
) -> None:
    """Write arrays and readable JSON metadata as one safetensors file, as `write_atomic` does.

    The bytes depend on the arguments alone. Arrays are made C-contiguous first, because
    safetensors would store a transposed view wrongly and say nothing.
    """
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    write_atomic(path, save(contiguous, {METADATA_KEY: to_json(metadata)}), sync)


def load_tensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict]:
    """Read a file of `save_tensors`: (arrays by name, in the order of names, metadata).

    Raises InputError for a file that is missing, not safetensors, larger than memory, or has no
    metadata of ours. Nothing in the file is executed, and before an array is read its header and
    its size were found to agree.
    """
    from safetensors import SafetensorError, safe_open

    with reading(path) as path:
        with open(path, "rb") as stream:  # says what is wrong with a folder, or who may read
            checks.memory(f"reading {path}", os.fstat(stream.fileno()).st_size)
        try:
            with safe_open(path, "numpy") as file:
                metadata = json.loads((file.metadata() or {})[METADATA_KEY])
                checks.instance("its metadata", metadata, dict)
                tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"{path} is not a model file of this library ({reason}); name a .safetensors file"
            ) from error
    return tensors, metadata


def sha256(*parts: bytes | memoryview) -> str:
    """Return the SHA-256 of the parts in order, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
