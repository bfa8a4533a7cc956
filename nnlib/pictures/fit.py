"""A picture of one's own, made to look like the images that a net was trained on.

A net knows nothing outside its training data: light ink on black, of one size, in one place. What
a camera, a scanner or a pen brings along is taken away in these steps, the same for every picture:

1. It becomes grey, 0 to 255; what is transparent becomes white, or black about white ink.
2. A dark frame goes. The paper is the plane that most of the picture's corners lie on (a
   consensus of random samples, Fischler and Bolles 1981), so light may fall from one side. What
   differs from it most strongly says whether ink is dark or light.
3. Shadows are paper, too. Where a set is of pen strokes, all that is wider than any pen goes by a
   morphological opening (the top-hat transform, Meyer 1979). Elsewhere the paper is what is even
   from a corner on, and behind the object it is as it is nearby.
4. Ink is the contrast with the paper that noise does not explain. Lines of a writing block are
   paler than what is written: Otsu's threshold (1979) parts the two where there are two.
5. Of the connected parts, those count that are not dust.
6. What is left is scaled and placed the way the makers of the set did it.

A picture that already is as the set's are, of their size and on black, is left as it is. None of
this is for a net that learned from a folder of pictures, or sees colours: it gets a picture as such
a folder is read.
"""

import os

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from nnlib.checks import InputError
from nnlib.files import in_a_line
from nnlib.pictures import folder

BOXES = {"mnist": 20 / 28, "digits": 1.0, "fashion-mnist": 1.0}  # the part of the frame to fill
STROKES = ("mnist", "digits")  # sets of what a pen draws
FOLDER = "pictures "  # how a model calls a folder of pictures
LARGEST = 4096  # pixels of a side: no pen is finer, and a scan of a page may fill memory
SIDE = 280  # pixels to look at: a larger picture is looked at from further away
RIM = 0.05  # of the longer side: corners where paper is looked for, and how far in a frame lies
PEN = 0.3  # of the longer side: no pen is wider
CORNERS = np.ix_([0, -1], [0, -1])
NEAR = 8  # grey levels about the paper that may still be paper
EVEN = 0.003  # of all contrast, from pixel to pixel: a steeper slope is an edge
PALE = 0.03  # contrast that can be ink; 1 is black on white
NOISE = 5  # standard deviations that can be ink
INK = 0.1  # of the strongest ink: where a drawing ends
DUST = 0.2  # of the longest part: shorter ones are dirt
NOTHING = "it shows nothing; draw with more contrast"


def load_picture(path: str | os.PathLike, shape: tuple[int, ...], dataset: str = "") -> np.ndarray:
    """Read any picture file as one image of a set: uint8 (height, width), light on black.

    For a shape (height, width, 3) it is in colour: upright, on white where it is transparent,
    scaled until it covers the frame, and the middle cut out. So it is in grey, as light or dark as
    it is, where `dataset` is a folder of pictures. Raises InputError where the file is missing, no
    picture, too large, or shows nothing.
    """
    try:
        with Image.open(path, formats=folder.FORMATS) as image:  # others may start programs
            if len(shape) == 3 or dataset.startswith(FOLDER):
                return folder.upright(image, shape)
            image.thumbnail((LARGEST, LARGEST))
            return fit_picture(_grey(image), shape, dataset)
    except (FileNotFoundError, IsADirectoryError) as error:
        why = "is a folder" if isinstance(error, IsADirectoryError) else "does not exist"
        raise InputError(f"picture {path} {why}: name a PNG or JPEG file") from None
    except InputError as error:
        raise InputError(f"picture {path}: {error}") from None
    except Exception as error:  # a damaged file brings any
        why = in_a_line(error)
        raise InputError(f"cannot read {path} as a picture ({why}); name a PNG or JPEG") from None


def _grey(image: Image.Image) -> np.ndarray:
    """Return float32 grey values as a viewer shows them: upright, and all of a deep range."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode[0] in "IF":  # 16 or 32 bits, or floating point: of any range
        deep = np.nan_to_num(np.asarray(upright, np.float32), posinf=0, neginf=0)
        return (deep - deep.min()) * np.float32(255 / (np.ptp(deep) or 1))
    colours = upright.convert("RGBA")
    grey = np.asarray(colours.convert("RGB").convert("L"), np.float32)
    opaque = np.asarray(colours.getchannel("A"), np.float32) / 255
    shown = grey[opaque > 0.5]
    white_ink = shown.size and np.quantile(shown, 0.01) > 240  # which no white paper shows
    return np.rint(grey * opaque + (0 if white_ink else 255) * (1 - opaque))


def fit_picture(grey: np.ndarray, shape: tuple[int, ...], dataset: str = "") -> np.ndarray:
    """Fit grey values (H, W), 0 to 255, into one image uint8 (height, width) of the set.

    mnist: the ink is scaled into 20 of 28 pixels, and its centre of mass put in the middle
    (LeCun et al. 1998). Other sets: scaled until the longer side fills the frame, as
    Fashion-MNIST (Xiao et al. 2017) and digits were made. The brightest pixel becomes 255. A
    picture that has the set's size and a black ground is left as it is; where nobody knows how
    the set was made, one of its size is but turned light on dark. Raises InputError where the
    picture shows nothing. Colours (H, W, 3), for a shape (height, width, 3), are scaled until they
    cover the frame, and the middle cut out.
    """
    if len(shape) == 3:
        return folder.upright(Image.fromarray(grey), shape)
    if np.ptp(grey) == 0:
        raise InputError(NOTHING)
    if grey.shape == tuple(shape):
        border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        if dataset not in BOXES:
            grey = 255 - grey if np.median(border) > 127 else grey
        if dataset not in BOXES or np.quantile(border, 0.25) == 0:
            return np.rint(grey).astype(np.uint8)
    drawn = _drawn(np.asarray(grey, np.float32), dataset in STROKES)
    ink = _resized(drawn, min(BOXES.get(dataset, 1.0) * np.array(shape) / drawn.shape))
    small = np.rint(ink * (255 / ink.max())).astype(np.uint8)  # a thin pen fades when it shrinks
    return _place(small, shape, weights=small if dataset == "mnist" else np.ones_like(small))


def _drawn(grey: np.ndarray, strokes: bool) -> np.ndarray:
    """Return what is drawn on a page, 0 being paper, without the margins."""
    page = _unframed(_resized(grey, min(1, SIDE / max(grey.shape))))
    ink, noise = _ink(page, strokes)
    part = _parts(_drawn_on(ink, noise, strokes))
    box = ndimage.find_objects(part)[0]
    around = max(side.stop - side.start for side in box) // 2 + 2
    if max(grey.shape) > SIDE and around < SIDE / 5:  # small on a large page: look closer
        times = len(grey) / len(page)
        rows, columns = (
            slice(int(max(0, side.start - around) * times), int((side.stop + around) * times))
            for side in box
        )
        return _drawn(grey[rows, columns], strokes)
    ink[~ndimage.binary_dilation(part, np.ones((3, 3)))] = 0  # but for soft edges
    return ink[ndimage.find_objects((ink > INK * ink.max()).astype(int))[0]]


def _resized(grey: np.ndarray, factor: float) -> np.ndarray:
    """Return (H, W) at another size, averaged where it shrinks."""
    height, width = (max(1, round(length * factor)) for length in grey.shape)
    return np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BOX))


def _unframed(page: np.ndarray) -> np.ndarray:
    """Return what lies within a dark line along all four sides."""
    (height, width), (y, x) = page.shape, np.indices(page.shape)
    ring = np.min([y, x, height - 1 - y, width - 1 - x], axis=0)
    light = ndimage.mean(page >= np.quantile(page, 0.75) / 2, ring, np.arange(ring.max() + 1))
    cut = 2 + max(np.flatnonzero(light[: round(RIM * max(page.shape))] == 0), default=-2)
    cut = cut if light[cut : cut + 1].sum() > 0.5 else 0  # dark within, too: a blackboard
    return page[cut : height - cut, cut : width - cut]


def _ink(page: np.ndarray, strokes: bool) -> tuple[np.ndarray, float]:
    """Return each pixel's contrast with the paper, (H, W), and the noise's standard deviation."""
    side, plane = max(page.shape), _plane(page)
    above = ndimage.gaussian_filter(page, side / 400) - plane
    detail = above - ndimage.uniform_filter(above, side // 3, mode="constant")
    if np.sum(detail.astype(float) ** 3) < 0:  # the strongest differences are dark: turn round
        above, plane = -above, 255 - plane
    if strokes:
        pen = max(1, int(PEN * side))
        padded = np.pad(above, pen, mode="edge")
        wide = ndimage.grey_opening(padded, (pen + 1, pen + 1))[pen:-pen, pen:-pen]
        wide += np.quantile(above - wide, 0.25)  # noise has lowered it
    else:
        on_paper = np.abs(above[CORNERS]) < NEAR  # one alone may be the object's
        wide = _shadow(above) if np.sum(on_paper) > 1 else 0
    above, plane = above - wide, plane + wide
    ink = above / np.maximum(255 - plane, 16)
    step = np.abs(ink - np.roll(ink, 2, axis=1))
    noise = np.quantile(step, 0.25) / 0.3186 / np.sqrt(2)  # of a normal distribution's quartile
    return np.maximum(ink, 0), float(noise)


def _shadow(above: np.ndarray) -> np.ndarray:
    """Return how far the paper departs from its plane, (H, W), the edge of a shadow blurred.

    Known where the rim is even and as bright as an even corner; elsewhere it is as at the nearest
    such place.
    """
    side = max(above.shape)
    slope = ndimage.gaussian_gradient_magnitude(above, side / 100)
    even, _ = ndimage.label(slope < EVEN * np.ptp(above))
    rim = np.unique(np.r_[0, even[0], even[-1], even[:, 0], even[:, -1]])[1:]
    level = ndimage.mean(above, even, rim)
    known = level[np.isin(rim, even[CORNERS])]
    paper = np.abs(level[:, None] - known).min(axis=1, initial=np.inf) < NEAR
    _, nearest = ndimage.distance_transform_edt(~np.isin(even, rim[paper]), return_indices=True)
    return ndimage.gaussian_filter(above[tuple(nearest)], side / 35)


def _plane(page: np.ndarray) -> np.ndarray:
    """Return the plane that most of the four corners lies near, (H, W)."""
    y, x = np.mgrid[0 : 1 : page.shape[0] * 1j, 0 : 1 : page.shape[1] * 1j]
    places = np.stack([np.ones(page.shape), y, x], axis=-1)  # (H, W, 3)
    wide = max(1, round(RIM * max(page.shape)))
    corners = np.ix_(*(np.r_[0:wide, -wide:0] % length for length in page.shape))
    at, grey = places[corners].reshape(-1, 3), page[corners].ravel()  # (P, 3), (P,)
    three = np.random.default_rng(0).integers(len(grey), size=(200, 3))
    planes = _fitted(at[three], grey[three])  # (200, 3)
    off = np.abs(planes @ at.T - grey)  # (200, P)
    near = off[np.minimum(off, NEAR).sum(axis=1).argmin()] < NEAR
    return (places @ _fitted(at[near], grey[near])).astype(np.float32)


def _fitted(places: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Return the planes (..., 3) nearest to grey (..., P) at places (..., P, 3).

    They are level where the places lie close together: one corner says nothing of a slope.
    """
    across = places.swapaxes(-1, -2) / places.shape[-2]
    moments = across @ places + np.diag([0, RIM**2, RIM**2])
    return np.linalg.solve(moments, across @ grey[..., None])[..., 0]


def _drawn_on(ink: np.ndarray, noise: float, strokes: bool) -> np.ndarray:
    """Return where something is drawn, (H, W)."""
    floor = max(NOISE * noise, PALE)
    above = ink[ink > floor]
    if above.size < max(4, 0.0005 * ink.size):
        raise InputError(NOTHING)
    return ink > (_otsu(above) if strokes else max(floor, INK * ink.max()))


def _otsu(values: np.ndarray) -> float:
    """Return the threshold whose two classes differ most: Otsu's variance between them."""
    counts, edges = np.histogram(values, 128, (0, values.max()))
    below = counts.cumsum()
    total = (counts * (edges[:-1] + edges[1:]) / 2).cumsum()
    between = (total[-1] * below / below[-1] - total) ** 2
    return edges[1 + np.argmax(between / np.maximum(below * (below[-1] - below), 1))]


def _parts(drawn: np.ndarray) -> np.ndarray:
    """Return the connected parts that count as 1, all else as 0, (H, W)."""
    labels, _ = ndimage.label(drawn, np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    length = np.array([max(side.stop - side.start for side in box) for box in boxes])
    return np.append(False, length >= DUST * length.max())[labels].astype(int)


def _place(ink: np.ndarray, shape: tuple[int, ...], weights: np.ndarray) -> np.ndarray:
    """Put the ink on a black frame, its centre of mass in the middle as far as it stays inside."""
    centre = np.array(ndimage.center_of_mass(weights))
    room = np.array(shape) - ink.shape
    corner = np.round((np.array(shape) - 1) / 2 - centre).astype(int).clip(0, room)
    return np.pad(ink, np.stack([corner, room - corner], axis=1))
