"""A thousand damaged IDX files, given to the reader itself."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from idx_files import idx_bytes, pack

from nnlib.formats import MAX_IDX_BYTES, read_idx

COUNT = 1_000
HUGE = (100_000_000_000 // (28 * 28), 28, 28)  # 100 GB


def flip(raw, rng):
    """Flip one to eight bits."""
    damaged = bytearray(raw)
    for position in rng.integers(0, len(raw), rng.integers(1, 9)):
        damaged[position] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def flip_header(raw, rng):
    damaged = bytearray(raw)
    damaged[rng.integers(0, 16)] = rng.integers(256)
    return bytes(damaged)


def truncate(raw, rng):
    return raw[: rng.integers(0, len(raw))]


def extend(raw, rng):
    return raw + rng.bytes(int(rng.integers(1, 100)))


def replace_all(raw, rng):
    return rng.bytes(len(raw))


def lie_about_shape(raw, rng):
    shape = rng.integers(0, 2**32, 3, dtype=np.uint64) >> rng.integers(0, 32, 3, dtype=np.uint64)
    return raw[:4] + struct.pack(">3I", *shape) + raw[16:]


def claim_100_gb(raw, rng):
    return raw[:4] + struct.pack(">3I", *HUGE) + raw[16:]


MUTATIONS = (flip, flip_header, truncate, extend, replace_all, lie_about_shape, claim_100_gb)


def mutated(number):
    """Return mutant `number`: damaged outside or inside its gzip layer, or without one."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, rng.integers(1, 12, 3), dtype=np.uint8)
    mutate = MUTATIONS[number % len(MUTATIONS)]
    raw = idx_bytes(images)
    layer = (number // len(MUTATIONS)) % 3
    if layer == 0:
        return mutate(raw, rng)
    if layer == 1:
        return pack(mutate(raw, rng))
    packed = pack(raw)
    return mutate(packed, rng) if len(packed) > 16 else packed


def attempt(path):
    """Return the array or the ValueError; any other exception passes through."""
    try:
        return read_idx(path, 3)
    except ValueError as error:
        return error


def test_a_thousand_mutants_are_refused_or_legal(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    accepted = []
    tracemalloc.start()
    try:
        for number in range(COUNT):
            path.write_bytes(mutated(number))
            outcome = attempt(path)
            if isinstance(outcome, ValueError):
                assert str(path) in str(outcome)
                assert "\n" not in str(outcome)
            else:
                assert outcome.dtype == np.uint8
                assert outcome.ndim == 3
                assert outcome.size > 0
                accepted.append(number)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6
    # Flipped pixels make a legal file of other pixels; lies about lengths never do.
    assert 0 < len(accepted) < COUNT / 5
    dishonest = (truncate, extend, claim_100_gb, replace_all)
    assert not [n for n in accepted if MUTATIONS[n % len(MUTATIONS)] in dishonest]


def write_bomb(path, header, zeros):
    """Pack zeros a million at a time: after a full flush, all such blocks are the same bytes."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)  # 31: a gzip wrapper
    start = squeeze.compress(header) + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(bytes(1_000_000)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(start + block * (zeros // 1_000_000))


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_claims_100_gb_allocates_nothing(tmp_path, packed):
    raw = bytes([0, 0, 8, 3]) + struct.pack(">3I", *HUGE) + bytes(1000)
    path = tmp_path / "images"
    path.write_bytes(pack(raw) if packed else raw)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than the file can hold"):
            read_idx(path, 3)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_refused_by_its_header_and_stopped_by_its_data(tmp_path):
    bomb = tmp_path / "bomb.gz"
    claim = bytes([0, 0, 8, 3]) + struct.pack(">3I", 1_000_000, 30, 30)  # 900 MB
    write_bomb(bomb, claim, 900_000_000)
    assert bomb.stat().st_size < 2_000_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"limit of {MAX_IDX_BYTES:,}"):
            read_idx(bomb, 3)
        modest = bytes([0, 0, 8, 3]) + struct.pack(">3I", 10, 30, 30)  # and 200 MB behind it
        write_bomb(bomb, modest, 200_000_000)
        with pytest.raises(ValueError, match="but more follow"):
            read_idx(bomb, 3)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
