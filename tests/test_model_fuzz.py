"""Model files that were damaged or forged: refused with a ValueError, whatever was done to them."""

import json
import random
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from nnlib import MLP, load_model, save_model

MOST = 2**28  # bytes that a file may have taken


def original(folder: Path) -> bytes:
    model = MLP([6, 5, 3], "gelu", 0.2, batch_norm=True)
    model.info = {"dataset": "mnist", "classes": ["a", "b", "c"], "best": {"epoch": 3}}
    save_model(model, folder / "original")
    return (folder / "original").read_bytes()


def split(raw: bytes) -> tuple[dict, bytes]:
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def join(header: object, body: bytes, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def flip(raw: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 5, 50])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def truncate(raw: bytes, rng: random.Random) -> bytes:
    return raw[: rng.randrange(len(raw))]


def extend(raw: bytes, rng: random.Random) -> bytes:
    return raw + rng.randbytes(rng.randrange(1, 200))


def lie_about_length(raw: bytes, rng: random.Random) -> bytes:
    return struct.pack("<Q", rng.choice([0, 1, 100 * 10**9, 2**63, rng.getrandbits(64)])) + raw[8:]


def lie_about_a_tensor(raw: bytes, rng: random.Random) -> bytes:
    header, body = split(raw)
    name = rng.choice([key for key in header if key != "__metadata__"])
    field, value = rng.choice([
        ("shape", [10**5, 10**5]), ("shape", [2**62, 2**62]), ("shape", []), ("shape", [-1]),
        ("dtype", "F64"), ("dtype", "BF16"), ("dtype", "I8"), ("dtype", 7),
        ("data_offsets", [0, 100 * 10**9]), ("data_offsets", [5, 1]), ("data_offsets", "x"),
    ])  # fmt: skip
    header[name][field] = value
    return join(header, body)


STRANGE = [None, [], {}, "x", -1, 0, 1e308, 10**12, [10**9, 10**9], float("nan"), True, "../../x",
           [6, [5], 3], {"sizes": 1}]  # fmt: skip


def lie_in_the_metadata(raw: bytes, rng: random.Random) -> bytes:
    header, body = split(raw)
    metadata = json.loads(header["__metadata__"]["nnlib"])
    place = rng.choice([metadata, metadata["architecture"], metadata["scaling"]])
    key = rng.choice(list(place))
    if rng.random() < 0.2:
        del place[key]
    else:
        place[key] = rng.choice(STRANGE)
    header["__metadata__"]["nnlib"] = json.dumps(metadata)
    return join(header, body)


def poison(raw: bytes, rng: random.Random) -> bytes:
    header, body = split(raw)
    numbers = np.frombuffer(body, np.float32).copy()
    numbers[rng.randrange(len(numbers))] = rng.choice([np.nan, np.inf, -np.inf])
    return join(header, numbers.tobytes())


MUTATIONS = (flip, truncate, extend, lie_about_length, lie_about_a_tensor, lie_in_the_metadata,
             poison)  # fmt: skip
MUST_FAIL = (truncate, extend, lie_about_length, poison)


def kilobytes(what: str) -> int:
    """Return what Linux says of this process; 0 on other systems."""
    status = Path("/proc/self/status")
    return int(status.read_text().split(f"{what}:")[1].split()[0]) if status.exists() else 0


@pytest.mark.parametrize("files", [700, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated_model_files_are_refused(tmp_path: Path, files: int) -> None:
    """Each gives a ValueError, or a model that works where what was changed does no harm."""
    raw, rng, path = original(tmp_path), random.Random(files), tmp_path / "m.safetensors"
    refused, lines = 0, []
    with suppress(OSError):  # the peak is no longer that of the tests before
        Path("/proc/self/clear_refs").write_text("5")
    before = kilobytes("VmRSS")
    for number in range(files):
        mutate = MUTATIONS[number % len(MUTATIONS)]
        path.write_bytes(mutate(raw, rng))
        try:
            model = load_model(path)
        except ValueError as error:
            refused += 1
            lines.append(len(str(error).splitlines()))
        else:
            assert mutate not in MUST_FAIL
            with np.errstate(all="ignore"):  # a flipped exponent may make a weight huge
                assert model.forward(np.ones((2, 6), model.dtype)).shape == (2, 3)
    assert refused > 0.6 * files
    assert set(lines) == {1}
    assert (kilobytes("VmHWM") - before) * 1024 < MOST
    print(f"{refused} of {files} refused")
