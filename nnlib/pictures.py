"""A picture of one's own, made to look like the images that a net was trained on.

A net knows nothing outside its training data: light ink on black, of one size, in one place. So a
photograph or a scan is turned round if it is dark on light, trimmed to what it shows, and then
scaled and centred the way the makers of the set did it.
"""

import os

import numpy as np
from PIL import Image, ImageOps

from nnlib.checks import InputError

INK = 0.1  # fraction of the brightest pixel above which something counts as drawn
DIGIT_BOX = 20 / 28  # MNIST fits each digit into 20 of its 28 pixels


def load_picture(path: str | os.PathLike, shape: tuple[int, int], dataset: str = "") -> np.ndarray:
    """Read any picture file as one image of a set: uint8 (height, width), light on black.

    Raises InputError where the file is missing, no picture, too large, or shows nothing.
    """
    try:
        with Image.open(path) as image:
            return fit_picture(_grey(image), shape, dataset)
    except FileNotFoundError:
        raise InputError(f"picture {path} does not exist: name a PNG or JPEG file") from None
    except (OSError, Image.DecompressionBombError, SyntaxError) as error:
        raise InputError(f"cannot read {path} as a picture ({error}); name a PNG or JPEG") from None
    except InputError as error:
        raise InputError(f"picture {path}: {error}") from None


def _grey(image: Image.Image) -> np.ndarray:
    """Return uint8 grey values as a viewer shows them: upright, transparent parts white."""
    upright = ImageOps.exif_transpose(image).convert("RGBA")
    white = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(white, upright).convert("L"))


def fit_picture(grey: np.ndarray, shape: tuple[int, int], dataset: str = "") -> np.ndarray:
    """Fit grey values (H, W) uint8 into one image (height, width) of the set.

    mnist: the ink is scaled into 20 of 28 pixels, and its centre of mass put in the middle
    (LeCun et al. 1998). Other sets: scaled until the longer side fills the frame, as
    Fashion-MNIST (Xiao et al. 2017) and digits were made. The brightest pixel becomes 255. A
    picture that has the set's size is left as it is, but for its sign.
    """
    ink = 255 - grey if _ground(grey) > 127 else grey
    if ink.shape == tuple(shape):
        return ink
    mnist = dataset == "mnist"
    ground = np.uint8(_ground(ink))
    drawn = _trimmed(np.maximum(ink, ground) - ground)  # grey or yellowish paper becomes black
    small = _full_contrast(_shrink(drawn, shape, DIGIT_BOX if mnist else 1.0))
    return _place(small, shape, weights=small if mnist else np.ones_like(small))


def _ground(grey: np.ndarray) -> int:
    """Return the level of what nothing is drawn on: the border's median."""
    return int(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))


def _trimmed(ink: np.ndarray) -> np.ndarray:
    """Cut away the empty margins."""
    drawn = ink > max(INK * float(ink.max()), 1)
    if not drawn.any():
        raise InputError("it shows nothing; draw with more contrast")
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _shrink(ink: np.ndarray, shape: tuple[int, int], box: float) -> np.ndarray:
    """Scale into `box` times the frame, keeping the proportions, averaging where it shrinks."""
    factor = min(box * side / length for side, length in zip(shape, ink.shape, strict=True))
    height, width = (max(1, round(length * factor)) for length in ink.shape)
    return np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BOX))


def _full_contrast(ink: np.ndarray) -> np.ndarray:
    """Brighten until the brightest pixel is white: a thin pen or a pencil fades when it shrinks."""
    return np.rint(ink * (255 / max(1, ink.max()))).astype(np.uint8)


def _place(ink: np.ndarray, shape: tuple[int, int], weights: np.ndarray) -> np.ndarray:
    """Put the ink on a black frame, its centre of mass in the middle as far as it stays inside."""
    moments = [np.sum(place * weights) for place in np.indices(ink.shape)]  # along rows, columns
    centre = np.array(moments) / np.sum(weights)
    room = np.array(shape) - ink.shape
    corner = np.round((np.array(shape) - 1) / 2 - centre).astype(int).clip(0, room)
    frame = np.zeros(shape, np.uint8)
    frame[corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return frame
