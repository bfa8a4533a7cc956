"""Pictures of one's own, brought into the form of the training images."""

from pathlib import Path

import numpy as np
import pages
import pytest
from conftest import needs_official
from PIL import Image

from nnlib import MLP, InputError, TrainConfig, load_dataset, load_model
from nnlib.files import project_root
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
    with pytest.raises(InputError, match="is a folder: name a PNG"):
        load_picture(tmp_path, (28, 28))
    Image.new("L", (50, 50), 255).save(tmp_path / "white.png")
    with pytest.raises(InputError, match=r"white\.png: it shows nothing"):
        load_picture(tmp_path / "white.png", (28, 28))


# --- what comes before a lens


DIGITS = load_model(project_root() / "data/models/mnist.safetensors")
GARMENTS = load_model(project_root() / "data/models/fashion-mnist.safetensors")
# Where paper is seldom seen, or what is shadow and what is cloth can only be guessed.
BARS = {"shadowed corner": 0.86, "cut close": 0.85}


def share_right(model: MLP, pages_of: list[tuple[str, pages.Page]], change: str) -> float:
    """Return the share of pages whose answer is right after a change."""
    rng, dataset = np.random.default_rng(len(pages_of)), model.info["dataset"]
    right = 0
    for answer, page in pages_of:
        try:
            seen = fit_picture(pages.changed(page, change, rng), (28, 28), dataset)
        except InputError:
            continue
        (k,) = model.predict(model.scaling(seen[None]))
        right += model.info["classes"][k] == answer
    return right / len(pages_of)


def garments(n: int, seed: int) -> list[tuple[str, pages.Page]]:
    some, names = load_dataset("fashion-mnist").val.sample(n, seed), GARMENTS.info["classes"]
    return [
        (names[y], pages.garment_page(image)) for image, y in zip(some.images, some.y, strict=True)
    ]


@pytest.mark.parametrize("change", [name for name in pages.CHANGES if "huge" not in name])
def test_a_digit_is_read_whatever_paper_light_and_pen(change: str) -> None:
    assert share_right(DIGITS, pages.digit_pages(10, seed=3), change) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("change", pages.CHANGES)
def test_of_200_digits_nineteen_of_twenty_are_read(change: str) -> None:
    """The seed is not the one that the preparation was made by."""
    assert share_right(DIGITS, pages.digit_pages(200, seed=2), change) >= 0.95


@pytest.mark.slow
@needs_official
@pytest.mark.parametrize("change", pages.CHANGES)
def test_of_200_garments_most_are_read(change: str) -> None:
    assert share_right(GARMENTS, garments(200, seed=2), change) >= BARS.get(change, 0.9)


def test_a_small_drawing_in_a_dark_frame_on_a_large_page_is_found() -> None:
    page = 255 - bar((900, 900), 400, 420, 60, 20)
    page[:12] = page[-12:] = page[:, :12] = page[:, -12:] = 0
    rows, columns = np.nonzero(fit_picture(page, (28, 28), "mnist"))
    assert rows.max() - rows.min() + 1 == 20
    assert columns.max() - columns.min() + 1 == 7


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("side", [28, 29, 280, 900])
def test_an_empty_page_is_refused_even_with_noise(dataset: str, side: int) -> None:
    for seed in range(3):
        blank = pages.noisy(np.full((side, side), 180.0), np.random.default_rng(seed))
        with pytest.raises(InputError, match="it shows nothing"):
            fit_picture(np.rint(blank).astype(np.uint8), (28, 28), dataset)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("dataset", ["mnist", "own"])
def test_an_empty_page_of_the_set_s_own_size_is_refused(level: int, dataset: str) -> None:
    with pytest.raises(InputError, match="it shows nothing"):
        fit_picture(np.full((28, 28), level, np.uint8), (28, 28), dataset)


@needs_official
@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_the_set_s_own_images_are_left_as_they_are(dataset: str) -> None:
    for image in load_dataset(dataset).val.images[:300]:
        np.testing.assert_array_equal(fit_picture(image, (28, 28), dataset), image)


def test_where_nobody_knows_how_a_set_was_made_its_own_size_is_but_turned() -> None:
    image = np.random.default_rng(0).integers(40, 90, (6, 5)).astype(np.uint8)
    np.testing.assert_array_equal(fit_picture(image, (6, 5), "own"), image)
    np.testing.assert_array_equal(fit_picture(255 - image, (6, 5), "own"), image)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3), (300, 2), (5, 5)])
@pytest.mark.parametrize("dataset", ["mnist", "digits", "fashion-mnist", "own"])
def test_a_picture_of_any_size_is_answered_or_refused(size: tuple[int, int], dataset: str) -> None:
    rng = np.random.default_rng(0)
    for grey in (rng.integers(0, 256, size), np.where(rng.random(size) < 0.2, 0, 255)):
        try:
            image = fit_picture(grey.astype(np.uint8), (28, 28), dataset)
        except InputError:
            continue
        assert image.shape == (28, 28)
        assert image.max() == 255


def deep(page: pages.Page, kind: str) -> Image.Image:
    """Return a page as what programs other than a camera's save."""
    if kind == "white on transparent":
        white = np.full((*page.shape, 4), 255, np.uint8)
        white[..., 3] = 255 - page
        return Image.fromarray(white)
    if kind == "black on transparent":
        black = np.zeros((*page.shape, 4), np.uint8)
        black[..., 3] = 255 - page
        return Image.fromarray(black)
    if kind == "16 bits":
        return Image.fromarray((page * 257).astype(np.uint16))
    if kind == "12 bits in 16":
        return Image.fromarray((page * 16).astype(np.uint16))
    if kind == "32 bits":
        return Image.fromarray((page * 65537).astype(np.int32))
    return Image.fromarray((page / 255).astype(np.float32))


KINDS = ("white on transparent", "black on transparent", "16 bits", "12 bits in 16", "32 bits",
         "floats")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_every_depth_are_read(kind: str, tmp_path: Path) -> None:
    for answer, page in pages.digit_pages(3, seed=3):
        plain = fit_picture(page.astype(np.uint8), (28, 28), "mnist")
        deep(page, kind).save(tmp_path / "deep.tiff")
        image = load_picture(tmp_path / "deep.tiff", (28, 28), "mnist")
        assert np.abs(image.astype(int) - plain).max() <= 16, answer


def test_a_white_card_with_black_ink_is_no_white_ink(tmp_path: Path) -> None:
    ((_, page),) = pages.digit_pages(1, seed=3)
    card = np.zeros((300, 300, 4), np.uint8)
    card[10:-10, 10:-10] = 255
    card[10:-10, 10:-10, :3] = page[..., None]
    Image.fromarray(card).save(tmp_path / "card.png")
    image = load_picture(tmp_path / "card.png", (28, 28), "mnist")
    plain = fit_picture(page.astype(np.uint8), (28, 28), "mnist")
    assert (
        np.abs(image.astype(int) - plain).max() <= 64
    )  # 300 pixels are looked at from further away


# --- for a net that sees colours


def halves() -> Image.Image:
    """Return 40x20 pixels: red on the left, blue on the right."""
    image = Image.new("RGB", (40, 20), (200, 10, 10))
    image.paste((10, 10, 200), (20, 0, 40, 20))
    return image


def turned_by_a_camera(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees clockwise, and so it lies 90 degrees the other way
    halves().transpose(Image.Transpose.ROTATE_90).save(path, "JPEG", quality=95, exif=exif)


def half_transparent(path: Path) -> None:
    image = halves().convert("RGBA")
    image.paste((10, 10, 200, 0), (20, 0, 40, 20))
    image.save(path, "PNG")


def deep_grey(path: Path) -> None:
    levels = np.repeat(np.array([[100, 200]], np.uint16) * 257, 20, axis=1).repeat(20, axis=0)
    Image.fromarray(levels).save(path, "PNG")


RED, BLUE, WHITE = (200, 10, 10), (10, 10, 200), (255, 255, 255)
COLOURED = {
    "rgb": (lambda path: halves().save(path, "PNG"), RED, BLUE),
    "palette": (lambda path: halves().quantize(2).save(path, "PNG"), RED, BLUE),
    "turned by a camera": (turned_by_a_camera, RED, BLUE),
    "half transparent": (half_transparent, RED, WHITE),
    "cmyk": (lambda path: halves().convert("CMYK").save(path, "JPEG", quality=95), RED, BLUE),
    "grey of 16 bits": (deep_grey, (100,) * 3, (200,) * 3),
}


@pytest.mark.parametrize("kind", COLOURED)
@pytest.mark.parametrize("shape", [(20, 40, 3), (10, 20, 3), (8, 8, 3), (24, 6, 3)])
def test_a_picture_in_colour_covers_the_frame(kind: str, shape, tmp_path: Path) -> None:
    save, left, right = COLOURED[kind]
    save(tmp_path / "picture")
    image = load_picture(tmp_path / "picture", shape, "mnist")
    assert (image.shape, image.dtype) == (shape, np.uint8)
    middle = shape[1] // 2
    for half, colour in ((image[:, : middle - 2], left), (image[:, middle + 2 :], right)):
        assert np.abs(half.astype(int) - colour).max() <= 12


def test_a_picture_in_colour_is_as_a_folder_of_pictures_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnlib.pictures.folder.project_root", lambda: tmp_path)
    rng = np.random.default_rng(0)
    for k, part in enumerate(("train", "train", "test")):
        place = tmp_path / "set" / part / "x"
        place.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (70, 90, 3)).astype(np.uint8)
        Image.fromarray(noise).save(place / f"{k}.jpg")
    data = TrainConfig(dataset=str(tmp_path / "set"), image_size="24x16", val_size=0).load()
    for k, image in enumerate(data.train.images):
        path = tmp_path / f"set/train/x/{k}.jpg"
        np.testing.assert_array_equal(load_picture(path, data.image_shape), image)


@pytest.mark.parametrize("shape", [(20, 40, 3), (10, 20, 3), (8, 8, 3), (24, 6, 3)])
def test_pixels_in_colour_are_fitted_as_a_file_of_them_is(shape, tmp_path: Path) -> None:
    halves().save(tmp_path / "halves.png")
    fitted = fit_picture(np.asarray(halves()), shape, "own")
    np.testing.assert_array_equal(fitted, load_picture(tmp_path / "halves.png", shape))


def test_a_colour_net_is_shown_plain_and_grey_pictures(tmp_path: Path) -> None:
    Image.new("L", (50, 50), 255).save(tmp_path / "white.png")
    assert (load_picture(tmp_path / "white.png", (8, 8, 3)) == 255).all()
    assert (fit_picture(np.full((9, 9), 4, np.uint8), (8, 8, 3)) == 4).all()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"cannot read .*broken\.png as a picture"):
        load_picture(tmp_path / "broken.png", (8, 8, 3))
