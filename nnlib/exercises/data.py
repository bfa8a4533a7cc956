"""Exercises of notebook 01: memory before it is used up, a fair split, a split that leaks."""

from collections.abc import Callable

import numpy as np

from nnlib.data import Split
from nnlib.exercises.verdicts import Hint, check, near, number, recognise, rows

POOL = 6_000  # images that the three splits are made of, at most
KINDS = ("clean", "copies within the training part", "copies in both parts")


@check("Put a number of gigabytes in place of `None`.")
def check_memory(gigabytes: float, queries: np.ndarray, stored: np.ndarray) -> str:
    """Judge the size of the array of all differences of (M, D) and (N, D), in 10⁹ bytes."""
    given = number(gigabytes, "The memory")
    pairs, size = len(queries) * len(stored), queries.itemsize
    truth = pairs * queries.shape[1] * size / 1e9
    recognise(
        given,
        {
            "That gives each number a single byte. Look at `x_val.dtype`: how many bytes "
            "does one number of that type take?": truth / size,
            "That is one number for each pair of images. The differences are taken pixel by "
            "pixel, before anything is summed.": pairs * size / 1e9,
            "That would be right for 64-bit numbers. Look at `x_val.dtype`.": 2 * truth,
            "Those are bits. Memory is counted in bytes.": 8 * truth,
            "Those are megabytes (10⁶ bytes).": 1e3 * truth,
            "Those are bytes.": 1e9 * truth,
            "That is in units of 2³⁰ bytes. A gigabyte is meant here as 10⁹.": truth * 1e9 / 2**30,
        },
    )
    if not near(given, truth):
        raise Hint(
            f"It is {'less' if given > truth else 'more'} than that. The array has three axes: how "
            "long is each, and how many bytes does one number take?"
        )
    return (
        f"{truth:,.3g} GB. The matrix product never makes it: it needs only the "
        f"{len(queries):,} × 4,096 scores of one piece, {len(queries) * 4096 * size / 1e6:,.0f} MB."
    )


# ---------------------------------------------------------------- a fair split


@check("Give the function that draws the rows.")
def check_stratified(draw: Callable, y: np.ndarray) -> str:
    """Judge a function (y, share, rng) -> rows that keeps the same share of each class."""
    uneven = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [400, 200, 90, 40, 20]))
    for labels, share in ((uneven, 0.25), (np.asarray(y), 1 / 12)):
        drawn = _drawn(draw, labels, share, seed=1)
        _same_share(drawn, labels, share)
        if not np.array_equal(drawn, _drawn(draw, labels, share, seed=1)):
            raise Hint(
                "Two generators of the same seed give different rows, so nobody can repeat the "
                "split. Draw from the `rng` that is given, and from nothing else."
            )
        if np.array_equal(drawn, _drawn(draw, labels, share, seed=2)):
            raise Hint(
                "Generators of different seeds give the same rows: nothing is drawn by lot. If the "
                "file is sorted in some way, the first rows of a class are not like the others."
            )
    return (
        "Each class gives the same share, whole images allowing, also where some classes are rare, "
        "and the seed alone decides which. `load_dataset` splits in this way."
    )


def _drawn(draw: Callable, y: np.ndarray, share: float, seed: int) -> np.ndarray:
    given = np.asarray(draw(y.copy(), share, np.random.default_rng(seed)))
    drawn = rows(given, "The rows", len(y))
    if given.dtype != bool and len(drawn) < given.size:
        raise Hint(f"{given.size - len(drawn)} rows are drawn more than once.")
    return drawn


def _same_share(drawn: np.ndarray, y: np.ndarray, share: float) -> None:
    whole = np.bincount(y)
    got, due = np.bincount(y[drawn], minlength=len(whole)), share * whole
    if near(len(drawn), (1 - share) * len(y), 0.01):
        raise Hint("Those are the rows to learn from. Return the others, that are kept apart.")
    off = np.abs(got - due)
    worst = int(off.argmax())
    if off[worst] <= 1:
        return
    where = f"Of class {worst}, {got[worst]:,} rows are drawn where {due[worst]:.1f} are due"
    if near(len(drawn), share * len(y), 0.01):
        raise Hint(
            f"{where}. The number of rows is right in all, but drawn from all rows at once, so "
            "that each class gets what luck gives it."
        )
    raise Hint(f"{where}: `share` is meant of each class, not of one class or of some other total.")


# ---------------------------------------------------------------- a split that leaks


def three_splits(train: Split, seed: int) -> dict[str, tuple[Split, Split]]:
    """Return three splits {"A": (to learn from, to judge by), …}, of which one leaks."""
    return {letter: parts for letter, (parts, _, _) in _suspects(train, seed).items()}


def _suspects(train: Split, seed: int) -> dict[str, tuple[tuple[Split, Split], str, np.ndarray]]:
    """Return ((learn, judge), kind, the judged rows that have a copy in learn) by letter."""
    rng = np.random.default_rng([seed, 13])
    pools = np.array_split(rng.permutation(len(train))[:POOL], 3)
    kinds = rng.permutation(KINDS)
    return {
        letter: _suspect(train.take(pool), str(kind), rng)
        for letter, pool, kind in zip("ABC", pools, kinds, strict=True)
    }


def _suspect(pool: Split, kind: str, rng: np.random.Generator) -> tuple:
    """Split a pool 4 : 1; a twentieth of its images have been photographed twice."""
    cut, few = len(pool) // 5, max(1, len(pool) // 20)
    judge, spare, learn = np.split(np.arange(len(pool)), [cut, cut + few])
    copies = np.sort(rng.permutation(cut)[:few])
    source = {KINDS[0]: spare, KINDS[1]: learn[:few], KINDS[2]: copies}[kind]
    again = pool.images[source]
    again = again if kind == KINDS[0] else _second_exposure(again, rng)
    order = rng.permutation(len(learn) + few)
    images = np.concatenate([pool.images[learn], again])[order]
    y = np.concatenate([pool.y[learn], pool.y[source]])[order]
    planted = copies if kind == KINDS[2] else np.array([], dtype=int)
    return (Split(images, y), pool.take(judge)), kind, planted


def _second_exposure(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the same scenes a moment later: another brightness, and noise of 3 grey levels."""
    bright = rng.uniform(0.95, 1.05, (len(images), 1, 1))
    moved = images * bright + rng.normal(0, 3, images.shape)
    return np.clip(np.round(moved), 0, 255).astype(np.uint8)


def nearest_distance(queries: Split, stored: Split) -> np.ndarray:
    """Return how far each query is from its nearest stored image, in grey levels (rms): (M,)."""
    a, b = 255 * queries.x.astype(np.float64), 255 * stored.x.astype(np.float64)  # (M, D), (N, D)
    squares = (a * a).sum(1)[:, None] - 2 * a @ b.T + (b * b).sum(1)  # (M, N)
    return np.sqrt(np.maximum(squares.min(axis=1), 0) / a.shape[1])


@check("Put the letter of a split, and the rows of its validation part, in place of `None`.", 2)
def check_leak(leaking: str, copies: list[int], train: Split, seed: int) -> str:
    """Judge which of `three_splits` leaks, and which of its validation rows have a copy."""
    suspects, letter = _suspects(train, seed), str(leaking).strip().upper()
    if letter not in suspects:
        raise Hint(f"The split should be one of {', '.join(suspects)}, got `{leaking!r}`.")
    (learn, judge), kind, planted = suspects[letter]
    apart = nearest_distance(judge, learn)
    if kind != KINDS[2]:
        raise Hint(_innocent(letter, kind, apart))
    _right_rows(copies, planted, apart)
    return (
        f"{letter} leaks: {len(planted)} of its {len(judge)} validation images have been seen in "
        "training, a shade lighter or darker. Equal bytes would have found none of them. The cure "
        "is to split first, by scene, and to copy afterwards."
    )


def _innocent(letter: str, kind: str, apart: np.ndarray) -> str:
    closest = (
        f"no image to judge by is closer than {apart.min():.1f} grey levels to one to learn from"
    )
    if kind == KINDS[1]:
        return (
            f"{letter} does hold pictures twice, but both stand in the part that is learned from. "
            f"That does not flatter anybody: {closest}."
        )
    return (
        f"In {letter}, {closest}. A high accuracy alone proves nothing, with so few images it "
        "moves by chance: compare the smallest distances of the three."
    )


def _right_rows(copies: list[int], planted: np.ndarray, apart: np.ndarray) -> None:
    size = len(apart)
    given = rows(copies, "The right split. Its validation rows", size)
    if np.isin(given - 1, planted).sum() > 0.9 * len(planted) > np.isin(given, planted).sum():
        raise Hint("The right split, but every row is one too high: rows count from 0.")
    missed = np.setdiff1d(planted, given)
    wrong = [row for row in given if row not in planted and apart[row] > apart[planted].max()]
    if len(missed) > 0.05 * len(planted):
        raise Hint(
            f"The right split, but {len(missed)} of the {len(planted)} copies are missing, such as "
            f"row {missed[0]}: its twin is {apart[missed[0]]:.1f} grey levels away. A copy need "
            "not be equal to the byte."
        )
    if len(wrong) > 0.05 * len(planted):
        raise Hint(
            f"The right split, but {len(wrong)} of these rows have no copy, such as row "
            f"{wrong[0]}: its nearest image is {apart[wrong[0]]:.1f} grey levels away. Draw the "
            "distances as a histogram: where is the gap?"
        )
