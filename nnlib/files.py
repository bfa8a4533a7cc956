"""Files that are never half-written, and files that are never believed unread.

Everything this project saves goes through `write_atomic`: a reader sees the old file or the new
one, whatever happens in between. Everything it loads is checked before use: weights are
safetensors with JSON metadata, never pickles, because a pickle is a program.
"""

import hashlib
import json
import math
import os
import secrets
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from nnlib import checks
from nnlib.checks import InputError

MAX_TENSOR_FILE = 2**29  # bytes; a net of this library's size is a hundred times smaller
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


@contextmanager
def _writing(path: Path, what: str):
    """Turn what the operating system says about a place into one line about that place."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {what} {path}: {reason}; choose another place") from error


def write_atomic(path: str | os.PathLike, data: bytes | str) -> None:
    """Replace `path` by `data` in one step: temporary file beside it, fsync, rename.

    A crash at any moment leaves the old file or the new one, never a mixture. Text is UTF-8.
    Raises InputError where the folder cannot be written.
    """
    path = Path(os.path.expanduser(path))
    raw = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with _writing(path, "the file"):
        try:
            with open(temporary, "xb") as stream:
                stream.write(raw)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; systems that cannot sync a folder are left alone."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(path: str | os.PathLike) -> Path:
    """Create a folder and those above it, and check that it can be written."""
    folder = Path(os.path.expanduser(path))
    with _writing(folder, "to the folder"):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    return folder


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, to_json(value, indent=2) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file; InputError names a file that is missing or damaged."""
    raw = read_bytes(path)
    try:
        return json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); restore or delete it") from error


def without_nan(value: Any) -> Any:
    """Replace what JSON cannot say, a number that is not finite, by None, in tables as well."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_tensors(path: str | os.PathLike, tensors: dict[str, np.ndarray], metadata: dict) -> None:
    """Write arrays and readable JSON metadata as one safetensors file, atomically.

    The bytes depend on the arguments alone. Arrays are made C-contiguous first, because
    safetensors would store a transposed view wrongly and say nothing.
    """
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    write_atomic(path, save(contiguous, {METADATA_KEY: to_json(metadata)}))


def load_tensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict]:
    """Read a file of `save_tensors`: (arrays by name, in the order of names, metadata).

    Raises InputError for a file that is missing, too large, not safetensors, or has no metadata
    of ours. Nothing in the file is executed, and its size is checked before it is read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    raw = read_bytes(path)
    try:
        tensors = dict(sorted(load(raw).items()))  # safetensors returns them in any order
        header = raw[8 : 8 + int.from_bytes(raw[:8], "little")]  # JSON, after its length
        metadata = json.loads(json.loads(header)["__metadata__"][METADATA_KEY])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} is not a model file of this library ({reason}); name a .safetensors file"
        ) from error
    if not isinstance(metadata, dict):
        raise InputError(f"{path} has metadata that is not a table; name a model of this library")
    return tensors, metadata


def read_bytes(path: str | os.PathLike) -> bytes:
    """Read a whole file that must exist and be of sane size; InputError otherwise."""
    path = Path(os.path.expanduser(path))
    try:
        size = path.stat().st_size
        if size > MAX_TENSOR_FILE:
            raise InputError(f"{path} is too large: {size:,} bytes, limit {MAX_TENSOR_FILE:,}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def sha256(*parts: bytes | memoryview) -> str:
    """Return the SHA-256 of the parts in order, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
