"""Augmentation does what its docstrings say, pixel by pixel, and disturbs nothing else."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from nnlib.augment import Augment, ahead, bumps, linear_map, lit, positions, sample
from nnlib.checks import InputError

EVERYTHING = Augment(flip=True, shift=2, rotate=15, zoom=0.15, shear=0.2, elastic=1.4, cutout=5)


LIGHT = Augment(brightness=0.4, contrast=0.3)


def noise_images(n=20, height=28, width=28, seed=0, colours=()):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, *colours), np.uint8)


def draw(augment, images, seed=0):
    return augment(images, np.random.default_rng(seed))


def one_map(angle=0.0, zoom=1.0, shear=0.0, flipped=False):
    return linear_map(*(np.array([value]) for value in (angle, zoom, shear, flipped)))


def warped(image, matrix, shift=(0.0, 0.0)):
    """One image through the deterministic path: (h, w) -> (h, w)."""
    return sample(image[None], positions(image.shape, matrix, np.array([shift])))[0]


def shifted(image, down, right):
    """The image that looks (down, right) pixels away, by plain slicing."""
    big = np.pad(image, 50)
    h, w = image.shape
    return big[50 + down : 50 + down + h, 50 + right : 50 + right + w]


# --- what copies pixels is exact -----------------------------------------------------------------


def test_nothing_on_returns_an_equal_copy():
    images = noise_images()
    result = draw(Augment(), images)
    assert not Augment().active
    assert np.array_equal(result, images)
    assert not np.shares_memory(result, images)


def test_the_identity_map_returns_every_byte():
    images = noise_images(n=30, height=17, width=31)
    identity = np.broadcast_to(np.eye(2), (30, 2, 2))
    assert np.array_equal(sample(images, positions((17, 31), identity, np.zeros((30, 2)))), images)


def test_flip_mirrors_half_of_the_images_left_and_right():
    images = noise_images(4000, 4, 7)
    result = draw(Augment(flip=True), images)
    kept = (result == images).all(axis=(1, 2))
    mirrored = (result == images[:, :, ::-1]).all(axis=(1, 2))
    assert np.all(kept | mirrored)
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_whole_shifts_are_exact_and_take_every_value_equally_often(reach):
    image = noise_images(1, 9, 6)[0]
    result = draw(Augment(shift=reach), np.repeat(image[None], 6000, axis=0))
    steps = range(-reach, reach + 1)
    counts = [
        np.sum((result == shifted(image, down, right)).all(axis=(1, 2)))
        for down in steps
        for right in steps
    ]
    assert sum(counts) == 6000
    mean = 6000 / len(counts)
    assert np.all(np.abs(np.array(counts) - mean) < 6 * np.sqrt(mean))


@pytest.mark.parametrize("shift", [(0, 0), (1, -2), (-3, 4), (28, 0), (-1000, 3)])
def test_the_interpolating_path_shifts_whole_pixels_exactly(shift):
    image = noise_images(1)[0]
    expected = shifted(image, *shift) if max(map(abs, shift)) < 50 else np.zeros_like(image)
    assert np.array_equal(warped(image, np.eye(2)[None], shift), expected)


def test_half_a_pixel_is_the_mean_of_two():
    image = np.array([[10, 20, 250]], np.uint8)
    assert warped(image, np.eye(2)[None], (0, 0.5)).tolist() == [[15, 135, 125]]
    assert warped(image, np.eye(2)[None], (0.5, 0)).tolist() == [[5, 10, 125]]


def test_positions_are_rounded_to_the_nearest_of_256():
    image = np.array([[0, 255]], np.uint8)
    at = np.arange(7 * 256 + 1) / (7 * 256)  # seven steps to each of the 256, dark to bright
    where = np.stack([np.zeros_like(at), at])[None, :, None, :]  # (1, 2, 1, 1793)
    error = sample(image[None], where)[0, 0] - 255 * at
    assert np.abs(error).max() < 1.01
    assert abs(error.mean()) < 0.01


def test_a_flip_inside_a_warp_is_the_flip():
    image = noise_images(1, 5, 8)[0]
    assert np.array_equal(warped(image, one_map(flipped=True)), image[:, ::-1])


# --- what interpolates agrees with SciPy ---------------------------------------------------------


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_positive_angle_turns_anticlockwise(quarter_turns):
    image = noise_images(1, 11, 11)[0]
    turned = warped(image, one_map(angle=90 * quarter_turns))
    assert np.array_equal(turned, np.rot90(image, quarter_turns))


@pytest.mark.parametrize("shape", [(28, 28), (20, 33)])
@pytest.mark.parametrize(
    "kind",
    [
        {"angle": 13.0},
        {"angle": -170.0},
        {"zoom": 1.3},
        {"zoom": 0.6},
        {"shear": 0.4},
        {"angle": 25.0, "zoom": 0.9, "shear": -0.3, "flipped": True},
    ],
)
def test_affine_maps_agree_with_scipy_within_one_grey_level(kind, shape):
    image, matrix, shift = noise_images(1, *shape)[0], one_map(**kind), np.array([0.7, -2.2])
    centre = (np.array(shape) - 1) / 2
    expected = ndimage.affine_transform(
        image.astype(float),
        matrix[0],
        offset=centre - matrix[0] @ centre + shift,
        order=1,
        mode="grid-constant",
    )
    ours = warped(image, matrix, shift).astype(float)
    assert np.abs(ours - np.rint(expected)).max() <= 1
    assert np.abs(ours - expected).mean() < 0.5  # a rounding error's mean is 0.25


def test_a_map_is_the_mirrored_shear_of_the_rotation_over_the_zoom():
    turn = np.deg2rad(30)
    R = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    K = np.array([[1, 0], [-0.4, 1]])
    F = np.diag([1, -1])
    assert np.allclose(one_map(30, 1.5, 0.4, True), F @ K @ R / 1.5)
    assert np.allclose(one_map(30, 0.8, 0.4, False), K @ R / 0.8)


def test_magnification_and_shear_go_the_way_they_are_named():
    image = np.zeros((21, 21), np.uint8)
    image[8:13, 8:13] = 200
    assert warped(image, one_map(zoom=2.0)).sum() > 3 * image.sum()
    image = np.zeros((21, 21), np.uint8)
    image[:, 10] = 200
    leaning = warped(image, one_map(shear=0.5))
    assert leaning[20].argmax() == 15  # ten rows below the centre: five pixels to the right


def test_elastic_fields_agree_with_scipy_within_one_grey_level():
    images, rng = noise_images(5, 20, 33), np.random.default_rng(1)
    bases = [bumps(side) for side in (20, 33)]
    weights = rng.normal(size=(5, 2, bases[0].shape[1], bases[1].shape[1]))
    fields = bases[0] @ weights @ bases[1].T  # (N, 2, h, w)
    matrix = np.repeat(one_map(angle=10), 5, axis=0)
    where = positions((20, 33), matrix, np.zeros((5, 2)), weights)
    still = positions((20, 33), matrix, np.zeros((5, 2)))
    assert np.allclose(where - still, fields, atol=1e-4)
    for image, at, ours in zip(images, where, sample(images, where), strict=True):
        expected = ndimage.map_coordinates(image.astype(float), at, order=1, mode="grid-constant")
        assert np.abs(ours - np.rint(expected)).max() <= 1


# --- the elastic field has the stated size and smoothness ----------------------------------------


def fields_of(augment, n=6000, shape=(28, 28)):
    """The displacements d that an augmentation draws: (N, 2, h, w)."""
    still = positions(shape, np.eye(2)[None], np.zeros((1, 2)))
    drawn = augment._positions((n, *shape), np.zeros(n, bool), np.random.default_rng(3))
    return drawn - still


@pytest.mark.parametrize("shape", [(28, 28), (20, 33)])
@pytest.mark.parametrize("pixels", [1.4, 0.16, 2.0])
def test_rms_displacement_is_as_stated(pixels, shape):
    fields = fields_of(Augment(elastic=pixels), shape=shape)
    rms = np.sqrt(np.mean(fields**2, axis=(0, 2, 3)))  # for rows and for columns
    assert rms == pytest.approx([pixels, pixels], rel=0.02)
    at_each_pixel = np.sqrt(np.mean(fields**2, axis=(0, 1)))
    assert np.abs(at_each_pixel / pixels - 1).max() < 0.06  # as strong at the border as inside


def test_correlation_falls_with_distance_as_stated_and_as_smoothed_noise_does():
    fields = fields_of(Augment(elastic=1.0))
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(1500, 1500)), 4.0)
    for distance in (1, 4, 8, 12):
        stated = np.exp(-(distance**2) / (4 * 4.0**2))
        drawn = np.mean(fields[..., :-distance] * fields[..., distance:])
        convolved = np.mean(smooth[:, :-distance] * smooth[:, distance:]) / np.mean(smooth**2)
        assert drawn == pytest.approx(stated, abs=0.02)
        assert convolved == pytest.approx(stated, abs=0.03)


def test_the_axes_and_the_images_are_independent():
    fields = fields_of(Augment(elastic=1.0))
    assert abs(np.mean(fields[:, 0] * fields[:, 1])) < 0.02
    assert abs(np.mean(fields[:-1] * fields[1:])) < 0.02


@pytest.mark.parametrize("size", [28, 8, 33, 1])
def test_the_covariance_of_the_bumps_is_that_of_smoothed_noise(size):
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    covariance = bumps(size) @ bumps(size).T
    assert np.abs(covariance - np.exp(-(distance**2) / (4 * 4.0**2))).max() < 2e-4


def test_simards_alpha_is_the_displacement_named_in_the_docstring():
    rng = np.random.default_rng(0)
    smooth = 34 * ndimage.gaussian_filter(rng.uniform(-1, 1, (2000, 2000)), 4.0, mode="wrap")
    assert np.sqrt(np.mean(smooth**2)) == pytest.approx(1.4, abs=0.05)


def test_drawn_maps_stay_within_their_ranges_and_reach_their_ends(monkeypatch):
    seen = {}
    record = lambda *values: seen.update(zip(("angle", "zoom", "shear"), values, strict=False))  # noqa: E731
    monkeypatch.setattr(
        "nnlib.augment.linear_map", lambda *values: record(*values) or linear_map(*values)
    )
    augment = Augment(rotate=12, zoom=0.2, shear=0.1)
    augment._positions((5000, 4, 4), np.zeros(5000, bool), np.random.default_rng(0))
    for name, low, high in (("angle", -12, 12), ("zoom", 0.8, 1.2), ("shear", -0.1, 0.1)):
        width = high - low
        assert low <= seen[name].min() < low + 0.01 * width
        assert high >= seen[name].max() > high - 0.01 * width
        assert seen[name].mean() == pytest.approx((low + high) / 2, abs=0.03 * width)


def test_fractional_shifts_are_uniform_and_independent_along_both_axes():
    drawn = fields_of(Augment(shift=1.5), n=5000, shape=(3, 4))
    assert np.ptp(drawn, axis=(2, 3)).max() < 1e-6  # the same for a whole image
    shift = drawn[:, :, 0, 0]  # (N, 2)
    assert np.abs(shift).max() <= 1.5
    assert shift.std(axis=0) == pytest.approx([1.5 / np.sqrt(3)] * 2, rel=0.04)
    assert abs(np.corrcoef(shift.T)[0, 1]) < 0.06


def test_fractional_shifts_interpolate_and_whole_ones_do_not():
    bright = np.full((300, 9, 9), 200, np.uint8)
    assert set(np.unique(draw(Augment(shift=2), bright))) == {0, 200}
    assert len(np.unique(draw(Augment(shift=1.5), bright))) > 50
    assert len(np.unique(draw(Augment(shift=2, rotate=1), bright))) > 50


# --- cut-out -------------------------------------------------------------------------------------


def test_cutout_covers_one_square_that_may_hang_over_the_border():
    holes = draw(Augment(cutout=4), np.full((3000, 10, 14), 9, np.uint8)) == 0
    for hole in holes:
        rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
        assert 2 <= len(rows) <= 4
        assert 2 <= len(columns) <= 4
        assert hole.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    inside = holes[:, 3:-3, 3:-3].mean()  # 16 of the 140 possible centres cover such a pixel
    assert inside == pytest.approx(16 / 140, rel=0.05)


# --- manners -------------------------------------------------------------------------------------


def test_the_same_generator_state_gives_the_same_bytes_and_another_does_not():
    images = noise_images(500)
    assert np.array_equal(draw(EVERYTHING, images), draw(EVERYTHING, images))
    assert not np.array_equal(draw(EVERYTHING, images), draw(EVERYTHING, images, seed=1))


def test_every_image_has_its_own_draw():
    image = ndimage.gaussian_filter(noise_images(1)[0], 1)
    result = draw(EVERYTHING, np.repeat(image[None], 400, axis=0))
    assert len(np.unique(result.reshape(400, -1), axis=0)) == 400


def test_the_input_is_left_as_it_is():
    images = noise_images(200)
    before = images.copy()
    images.flags.writeable = False  # writing into it would raise
    for augment in (EVERYTHING, Augment(flip=True, shift=1, cutout=3), Augment(cutout=3)):
        draw(augment, images)
    assert np.array_equal(images, before)


def test_views_of_any_memory_order_give_the_same_as_copies():
    images = noise_images(60)
    for view in (images[::-1, ::2, 1:], images.transpose(0, 2, 1), np.asfortranarray(images)):
        for augment in (EVERYTHING, Augment(flip=True, shift=1)):
            assert np.array_equal(draw(augment, view), draw(augment, view.copy(order="C")))


THREADS = """
import hashlib, numpy as np
from nnlib.augment import Augment
everything = Augment(flip=True, shift=2, rotate=15, zoom=0.15, shear=0.2, elastic=1.4, cutout=5)
for shape in ((700, 28, 28), (3, 301, 299)):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    print(hashlib.sha256(everything(images, np.random.default_rng(1)).tobytes()).hexdigest())
"""


def test_the_number_of_threads_changes_nothing():
    def run(threads):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads))
        return subprocess.check_output([sys.executable, "-c", THREADS], env=environment)

    one = run(1)
    assert len(one.split()) == 2
    assert one == run(2) == run(3)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_shape_and_any_setting_gives_images_of_the_same_shape(data):
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    side = min(height, width)
    colours = data.draw(st.sampled_from([(), (3,)]))
    images = data.draw(arrays(np.uint8, (data.draw(st.integers(0, 4)), height, width, *colours)))
    augment = Augment(
        flip=data.draw(st.booleans()),
        shift=data.draw(st.one_of(st.integers(0, side), st.floats(0, side))),
        rotate=data.draw(st.floats(0, 180)),
        zoom=data.draw(st.floats(0, 1, exclude_max=True)),
        shear=data.draw(st.floats(0, 1, exclude_max=True)),
        elastic=data.draw(st.floats(0, side)),
        cutout=data.draw(st.integers(0, side)),
    )
    result = draw(augment, images)
    assert result.shape == images.shape
    assert result.dtype == np.uint8
    assert result.max(initial=0) <= images.max(initial=0)  # interpolation invents no brightness


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"flip": 2}, "flip must be True or False, got 2"),
        ({"shift": -1}, "shift must be >= 0, got -1"),
        ({"shift": float("nan")}, "shift must be >= 0, got nan"),
        ({"rotate": float("inf")}, "rotate must be >= 0, got inf"),
        ({"rotate": 181}, "rotate must be at most 180 degrees, got 181"),
        ({"zoom": 1.0}, "zoom must be at least 0 and below 1, got 1.0"),
        ({"shear": -0.1}, "shear must be at least 0 and below 1, got -0.1"),
        ({"elastic": "much"}, "elastic must be >= 0, got 'much'"),
        ({"cutout": 2.5}, "cutout must be a whole number >= 0, got 2.5"),
        ({"cutout": -1}, "cutout must be a whole number >= 0, got -1"),
    ],
)
def test_wrong_settings_are_named_in_one_line(setting, message):
    with pytest.raises(InputError) as caught:
        Augment(**setting)
    assert str(caught.value) == message


@pytest.mark.parametrize("setting", [{"shift": 9}, {"elastic": 8.5}, {"cutout": 9}])
def test_settings_larger_than_the_image_are_refused_when_the_image_is_known(setting):
    ((name, value),) = setting.items()
    with pytest.raises(InputError, match=f"^{name} must be at most .* 8 pixels, got {value}$"):
        draw(Augment(**setting), noise_images(2, 8, 20))


@pytest.mark.parametrize("images", [np.zeros((2, 8, 8)), *np.zeros((2, 2, 8, 8, 4), np.uint8)])
def test_other_images_are_refused(images):
    with pytest.raises(InputError, match="images must be uint8"):
        draw(EVERYTHING, images)


# --- drawing ahead -------------------------------------------------------------------------------


def living_threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("ahead")}


def test_ahead_yields_the_same_items_in_order():
    assert list(ahead(range(1000), depth=3)) == list(range(1000))
    assert list(ahead([])) == []
    assert list(ahead([None, False, 0])) == [None, False, 0]
    assert not living_threads()


def test_ahead_works_in_another_thread_and_no_further_than_its_depth():
    made = []

    def source():
        for item in range(100):
            made.append((item, threading.current_thread()))
            yield item

    items = ahead(source(), depth=2)
    assert not made  # nothing starts before the first item is wanted
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert [item for item, _ in made] == [0, 1, 2]  # one in hand, two waiting
    assert {thread for _, thread in made} == living_threads()
    items.close()
    assert not living_threads()
    assert len(made) == 3


def test_ahead_raises_what_the_source_raises_after_the_items_before_it():
    def source():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    got = []
    with pytest.raises(OSError, match="the disk is gone"):
        got.extend(item for item in ahead(source()) if got.append(item))
    assert got == [1, 2]
    assert not living_threads()


def test_ahead_ends_its_thread_when_the_loop_breaks_or_fails():
    for _ in ahead(iter(range(10**9))):
        break
    assert not living_threads()

    def fail():
        for _ in ahead(iter(range(10**9))):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not living_threads()


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send SIGINT to one process")
def test_an_interrupted_process_ends():
    code = (
        "from itertools import count\nimport time\nfrom nnlib.augment import ahead\n"
        "for i in ahead(count()):\n    i or print('on', flush=True)\n    time.sleep(0.01)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline().strip() == b"on"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert errors.strip().endswith(b"KeyboardInterrupt")
    assert process.returncode != 0


def test_augmenting_ahead_gives_the_same_batches():
    def batches(seed=5):
        rng = np.random.default_rng(seed)
        return (EVERYTHING(noise_images(50, seed=i), rng) for i in range(20))

    for here, there in zip(batches(), ahead(batches()), strict=True):
        assert np.array_equal(here, there)


# --- colour and light ----------------------------------------------------------------------------


@pytest.mark.parametrize("augment", [EVERYTHING, Augment(flip=True, shift=3), Augment(cutout=4)])
def test_each_channel_of_a_colour_image_moves_as_if_it_were_grey(augment):
    images = noise_images(30, 17, 21, colours=(3,))
    channels = [draw(augment, np.ascontiguousarray(images[..., c])) for c in range(3)]
    assert np.array_equal(draw(augment, images), np.stack(channels, axis=-1))


def in_another_light(p, b, c, s):
    """One image, (h, w) or (h, w, 3), by the docstring's words in double precision."""
    shares = np.array([0.299, 0.587, 0.114])
    grey = p @ shares if p.ndim == 3 else p
    z = b * (c * p + (1 - c) * grey.mean())
    z = s * z + (1 - s) * (z @ shares)[..., None] if p.ndim == 3 else z
    return z.clip(0, 255)


@pytest.mark.parametrize("colours", [(), (3,)])
def test_light_is_as_the_docstring_says(colours):
    images = noise_images(12, 9, 7, colours=colours)
    factors = np.random.default_rng(1).uniform(0.5, 1.5, (3, len(images))).astype(np.float32)
    result = lit(images, *factors)
    wanted = [in_another_light(p.astype(float), *f) for p, f in zip(images, factors.T, strict=True)]
    assert np.abs(result - np.array(wanted)).max() <= 0.501
    assert np.array_equal(lit(images, *np.ones_like(factors)), images)


def test_light_differs_from_image_to_image_within_its_range():
    images = np.full((500, 4, 4, 3), 100, np.uint8)
    levels = draw(Augment(brightness=0.4), images)[:, 0, 0, 0]
    assert levels.min() >= 60
    assert levels.max() <= 140
    assert 90 < levels.mean() < 110
    assert len(np.unique(levels)) > 50
    assert np.array_equal(draw(Augment(contrast=0.9, colour=0.9), images), images)  # even and grey


def test_grey_images_have_no_colour_to_change():
    with pytest.raises(InputError, match="colour must be 0 where images are grey"):
        draw(Augment(colour=0.2), noise_images())


# --- speed ---------------------------------------------------------------------------------------

GREY_SPEEDS = [
    (Augment(shift=1, rotate=12, zoom=0.12, shear=0.1, elastic=1.1), 30_000),
    (Augment(flip=True), 300_000),
    (Augment(shift=1), 300_000),
    (Augment(shift=2), 300_000),
]
AFFINE = Augment(flip=True, shift=3, rotate=5, zoom=0.1)
SPEEDS = [(*speed, ()) for speed in GREY_SPEEDS] + [(AFFINE, 25_000, (3,)), (LIGHT, 50_000, (3,))]


@pytest.mark.slow
@pytest.mark.parametrize(("augment", "least", "colours"), SPEEDS)
def test_images_a_second_on_one_core(augment, least, colours, capsys):
    """Augmentation itself is single-threaded, so process time is one core's time."""
    side = 32 if colours else 28
    images = noise_images(20_000, side, side, colours=colours)
    rng, rates = np.random.default_rng(0), []
    augment(images, rng)
    for _ in range(9):
        started = time.process_time()
        augment(images, rng)
        rates.append(len(images) / (time.process_time() - started))
    low, middle, high = np.percentile(rates, [0, 50, 100])
    with capsys.disabled():
        print(f"\n{augment}: {middle:,.0f} images/s ({low:,.0f} to {high:,.0f} of 9)")
    assert middle >= least
