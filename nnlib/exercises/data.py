"""Exercises of notebook 01: a fair split, a split that leaks."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nnlib.exercises.verdicts import Hint, check, expect, near
from nnlib.images import Split

POOL = 6_000  # images that the three splits are made of, at most
KINDS = ("clean", "copies within the training part", "copies in both parts")


def rows(answer: Any, what: str, below: int) -> np.ndarray:
    """Return an answer as distinct whole numbers from 0 to below - 1, ascending; masks too."""
    given = np.asarray(answer)
    if given.dtype == bool and given.shape == (below,):
        return np.flatnonzero(given)
    whole = not given.size or (given.dtype.kind in "iu" and given.ndim == 1)
    expect(whole, f"{what} should be a list of whole numbers, got `{answer!r}`.")
    given = np.unique(given).astype(int)
    odd = given[(given < 0) | (given >= below)]
    if len(odd):
        raise Hint(f"{what} should lie between 0 and {below - 1}, and yours hold {odd[-1]}.")
    return given


# ---------------------------------------------------------------- a fair split


@check("Give the function that draws the rows.")
def check_stratified(draw: Callable, y: np.ndarray) -> str:
    """Judge a function (y, share, rng) -> rows that keeps the same share of each class."""
    uneven = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [400, 200, 90, 40, 20]))
    for labels, share in ((uneven, 0.25), (np.asarray(y), 1 / 12)):
        drawn, again, other = (_drawn(draw, labels, share, seed) for seed in (1, 1, 2))
        _same_share(drawn, labels, share)
        same, differ = np.array_equal(drawn, again), not np.array_equal(drawn, other)
        expect(same, "Two generators of the same seed give different rows: use `rng` alone.")
        expect(differ, "Generators of different seeds give the same rows: nothing is by lot.")
    return (
        "Each class gives the same share, also where some classes are rare, and the seed alone "
        "decides which rows. `load_dataset` splits in this way."
    )


def _drawn(draw: Callable, y: np.ndarray, share: float, seed: int) -> np.ndarray:
    given = np.asarray(draw(y.copy(), share, np.random.default_rng(seed)))
    drawn = rows(given, "The rows", len(y))
    twice = 0 if given.dtype == bool else given.size - len(drawn)
    expect(not twice, f"{twice} rows are drawn more than once.")
    return drawn


def _same_share(drawn: np.ndarray, y: np.ndarray, share: float) -> None:
    others = near(len(drawn), (1 - share) * len(y), 0.01)
    expect(not others, "Those are the rows to learn from. Return the others.")
    got, due = np.bincount(y[drawn], minlength=y.max() + 1), share * np.bincount(y)
    worst, in_all = int(np.abs(got - due).argmax()), near(len(drawn), share * len(y), 0.01)
    why = "each class gets what luck gives it" if in_all else "`share` is meant of each class"
    what = f"Of class {worst}, {got[worst]:,} rows are drawn where {due[worst]:.1f} are due: {why}."
    expect(abs(got[worst] - due[worst]) <= 1, what)


# ---------------------------------------------------------------- a split that leaks


def three_splits(train: Split, seed: int) -> dict[str, tuple[Split, Split]]:
    """Return three splits {"A": (to learn from, to judge by), …}, of which one leaks."""
    return {letter: suspect[:2] for letter, suspect in _suspects(train, seed).items()}


def _suspects(train: Split, seed: int) -> dict[str, tuple[Split, Split, str, np.ndarray]]:
    """Return (learn, judge, kind, the judged rows photographed twice) by letter."""
    rng = np.random.default_rng([seed, 13])
    pools = np.array_split(rng.permutation(len(train))[:POOL], 3)
    return {
        letter: _suspect(train.take(pool), str(kind), rng)
        for letter, pool, kind in zip("ABC", pools, rng.permutation(KINDS), strict=True)
    }


def _suspect(pool: Split, kind: str, rng: np.random.Generator) -> tuple:
    """Split a pool 4 : 1; of a twentieth, the part to learn from has the second picture.

    Their first picture is in the part to judge by if the kind is "copies in both parts". In the
    clean split it is in neither, and "within the training part" a thing is there twice.
    """
    cut, few = max(1, len(pool) // 5), max(1, len(pool) // 20)
    judge, spare, learn = np.split(np.arange(len(pool)), [cut, cut + few])
    copies = np.sort(rng.permutation(cut)[:few])
    source = dict(zip(KINDS, (spare, learn[:few], copies), strict=True))[kind]
    learned = rng.permutation(np.concatenate([learn, source]))
    images, again = pool.images[learned], np.isin(learned, source)
    images[again] = _second_exposure(images[again], rng)
    return Split(images, pool.y[learned]), pool.take(judge), kind, copies


def _second_exposure(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the same scenes a moment later: another brightness, and noise of 3 grey levels."""
    bright = rng.uniform(0.95, 1.05, (len(images), *[1] * (images.ndim - 1)))
    return (images * bright + rng.normal(0, 3, images.shape)).round().clip(0, 255).astype(np.uint8)


def nearest_distance(queries: Split, stored: Split) -> np.ndarray:
    """Return how far each query is from its nearest stored image, in grey levels (rms): (M,)."""
    from scipy.spatial.distance import cdist

    distances = cdist(queries.x, stored.x)  # (M, N)
    return 255 * distances.min(axis=1) / np.sqrt(queries.x.shape[1])


@check("Put the letter of a split, and the rows of its validation part, in place of `None`.", 2)
def check_leak(leaking: str, copies: list[int], train: Split, seed: int) -> str:
    """Judge which of `three_splits` leaks, and which of its validation rows have a copy."""
    suspects, letter = _suspects(train, seed), str(leaking).strip().upper()
    expect(letter in suspects, f"The split should be one of A, B, C, got `{leaking!r}`.")
    learn, judge, kind, planted = suspects[letter]
    apart = nearest_distance(judge, learn)
    closest = f"no image to judge by is closer than {apart.min():.1f} grey levels to those"
    expect(kind != KINDS[1], f"{letter} has copies within the part learned from, but {closest}.")
    expect(kind != KINDS[0], f"In {letter}, {closest} learned from. What of the other splits?")
    _right_rows(copies, planted, apart)
    return (
        f"{letter} leaks: {len(planted)} of its {len(judge)} validation images have been seen in "
        "training. The cure is to split first, by scene, and to copy afterwards."
    )


def _right_rows(copies: list[int], planted: np.ndarray, apart: np.ndarray) -> None:
    given = rows(copies, "The right split. Its validation rows", len(apart))
    shifted, found = (np.isin(given - by, planted).sum() for by in (1, 0))
    high = shifted > 0.9 * len(planted) > found
    expect(not high, "The right split, but every row is one too high: rows count from 0.")
    extra = np.setdiff1d(given, planted)
    for odd, what in (
        (np.setdiff1d(planted, given), "copies are missing"),
        (extra[apart[extra] > apart[planted].max()], "rows have no copy"),
    ):
        if len(odd) > 0.05 * len(planted):
            raise Hint(
                f"The right split, but {len(odd)} {what}, such as row {odd[0]}: its nearest image "
                f"is {apart[odd[0]]:.1f} grey levels away. In a histogram, where is the gap?"
            )
