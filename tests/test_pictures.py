"""Pictures of one's own, brought into the form of the training images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnlib import InputError
from nnlib.pictures import fit_picture, load_picture


def bar(shape: tuple[int, int], top: int, left: int, height: int, width: int) -> np.ndarray:
    grey = np.zeros(shape, np.uint8)
    grey[top : top + height, left : left + width] = 255
    return grey


def test_a_digit_fills_twenty_of_28_pixels_and_its_mass_is_in_the_middle() -> None:
    image = fit_picture(bar((300, 200), 20, 10, 100, 30), (28, 28), "mnist")
    rows, columns = np.nonzero(image)
    assert rows.max() - rows.min() + 1 == 20
    assert columns.max() - columns.min() + 1 == 6
    assert rows.mean() == pytest.approx(13.5, abs=0.5)
    assert columns.mean() == pytest.approx(13.5, abs=0.5)


def test_a_garment_fills_the_frame() -> None:
    image = fit_picture(bar((300, 200), 20, 10, 100, 50), (28, 28), "fashion-mnist")
    rows, columns = np.nonzero(image)
    assert rows.max() - rows.min() + 1 == 28
    assert columns.max() - columns.min() + 1 == 14


def test_scikit_learns_digits_are_as_tall_as_their_frame() -> None:
    image = fit_picture(bar((300, 200), 20, 10, 100, 30), (8, 8), "digits")
    rows, columns = np.nonzero(image)
    assert rows.max() - rows.min() + 1 == 8
    assert columns.max() - columns.min() + 1 == 2


@pytest.mark.parametrize(("pen", "grey"), [(4, 255), (20, 60)])
def test_thin_or_pale_ink_gets_the_contrast_of_the_set(pen: int, grey: int) -> None:
    pale = bar((280, 280), 40, 100, 200, pen) // 255 * grey
    image = fit_picture(pale, (28, 28), "mnist")
    assert image.max() == 255
    assert np.median(image[image > 0]) == 255


def test_pencil_on_grey_paper_is_ink_on_nothing() -> None:
    drawn = bar((60, 60), 20, 25, 20, 10)
    paper = np.where(drawn, np.uint8(90), np.uint8(215))
    np.testing.assert_array_equal(
        fit_picture(paper, (28, 28), "mnist"), fit_picture(drawn, (28, 28), "mnist")
    )


def test_dark_on_white_becomes_light_on_black() -> None:
    drawn = bar((60, 60), 20, 25, 20, 10)
    np.testing.assert_array_equal(
        fit_picture(255 - drawn, (28, 28), "mnist"), fit_picture(drawn, (28, 28), "mnist")
    )


def test_a_picture_of_the_set_s_own_size_is_not_moved() -> None:
    drawn = bar((28, 28), 2, 3, 9, 9)
    np.testing.assert_array_equal(fit_picture(drawn, (28, 28), "mnist"), drawn)


def test_centre_of_mass_counts_not_the_box() -> None:
    heavy_left = np.zeros((100, 100), np.uint8)
    heavy_left[20:80, 20:40] = 255
    heavy_left[48:52, 40:70] = 255
    image = fit_picture(heavy_left, (28, 28), "mnist").astype(float)
    columns = np.arange(28)
    assert (image.sum(axis=0) * columns).sum() / image.sum() == pytest.approx(13.5, abs=0.6)


def test_transparent_and_coloured_files(tmp_path: Path) -> None:
    rgba = np.zeros((50, 40, 4), np.uint8)
    rgba[10:40, 15:25] = (10, 20, 30, 255)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = load_picture(tmp_path / "a.png", (8, 8), "digits")
    assert image.shape == (8, 8)
    assert image.dtype == np.uint8
    assert image.max() > 200
    assert image[:, 0].max() == 0


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\nbroken"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*x\.png as a picture"):
        load_picture(tmp_path / "x.png", (28, 28))


def test_a_missing_or_empty_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_picture(tmp_path / "none.png", (28, 28))
    Image.new("L", (50, 50), 255).save(tmp_path / "white.png")
    with pytest.raises(InputError, match=r"white\.png: it shows nothing"):
        load_picture(tmp_path / "white.png", (28, 28))
