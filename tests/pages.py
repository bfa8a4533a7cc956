"""Pages with a digit or a garment on them, and what scanners, cameras and hands do to a page."""

import math
from collections.abc import Callable

import numpy as np
import strokes
from PIL import Image, ImageDraw
from scipy import ndimage

SIDE = 280  # pixels of a page
Page = np.ndarray  # grey values as float (h, w): 0 is black ink, 255 white paper
Change = Callable[[Page, np.random.Generator], Page]


def digit_page(digit: str, rng: np.random.Generator) -> Page:
    """Draw a digit with a pen, a place, a size and a lean of its own, black on white."""
    pen, lean, turn = rng.integers(12, 31), rng.uniform(-0.15, 0.2), rng.normal(0, 0.08)
    height = rng.uniform(120, 215)
    width = height * rng.uniform(0.55, 0.8)
    left, top = (rng.uniform(pen, SIDE - pen - side) for side in (width, height))
    canvas = Image.new("L", (2 * SIDE, 2 * SIDE), 255)  # twice as fine: soft edges
    pencil = ImageDraw.Draw(canvas)
    for stroke in strokes.DIGITS[digit]:
        points = [(x + lean * (0.5 - y) + turn * y, y - turn * (x - 0.5)) for x, y in stroke]
        line = [(2 * x, 2 * y) for x, y in strokes.path(points, left, top, width, height)]
        pencil.line(line, fill=0, width=int(2 * pen), joint="curve")
        for x, y in line:
            pencil.ellipse((x - pen, y - pen, x + pen, y + pen), fill=0)
    return np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), float)


def digit_pages(n: int, seed: int) -> list[tuple[str, Page]]:
    """Return n pages of digits by n hands, every digit as often."""
    rng = np.random.default_rng(seed)
    return [(str(k % 10), digit_page(str(k % 10), rng)) for k in range(n)]


def garment_page(image: np.ndarray) -> Page:
    """Return an image of Fashion-MNIST (28, 28) as the photograph that it may have been."""
    large = Image.fromarray(255 - image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(large, float)


def _places(page: Page) -> tuple[np.ndarray, np.ndarray]:
    """Return y and x of every pixel, from 0 to 1."""
    height, width = page.shape
    return np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]


def inked(page: Page, paper: float, ink: float) -> Page:
    """Return the page in other colours."""
    return ink + (paper - ink) * page / 255


def resized(page: Page, side: int) -> Page:
    return np.asarray(Image.fromarray(page).resize((side, side), Image.Resampling.BOX))


def noisy(page: Page, rng: np.random.Generator, by: float = 5) -> Page:
    return page + rng.normal(0, by, page.shape)


def on_a_large_page(page: Page, rng: np.random.Generator, side: int = 1200) -> Page:
    large = np.full((side, side), 250.0)
    top, left = rng.integers(0, side - SIDE, 2)
    large[top : top + SIDE, left : left + SIDE] = inked(page, 250, 20)
    return large


def lit(page: Page, rng: np.random.Generator, dark: float = 0.35) -> Page:
    """Light from one side, whichever: the far side gets a third of it."""
    y, x = _places(page)
    angle = rng.uniform(0, 2 * math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    along = (along - along.min()) / np.ptp(along)
    return inked(page, 240, 40) * (dark + (1 - dark) * along)


def shadowed(page: Page, rng: np.random.Generator) -> Page:
    """The shadow of a hand or a head on one corner, with an edge that is half sharp."""
    y, x = _places(page)
    corner = rng.integers(0, 2, 2)
    far = np.hypot(y - corner[0], (x - corner[1]) * rng.uniform(0.7, 1.4))
    shade = 1 / (1 + np.exp((far - rng.uniform(0.4, 0.75)) / 0.02))
    return inked(page, 240, 30) * (1 - 0.5 * shade)


def dusty(page: Page, rng: np.random.Generator) -> Page:
    """A few specks, as dark as ink."""
    page, (y, x) = page.copy(), np.mgrid[0 : page.shape[0], 0 : page.shape[1]]
    for _ in range(3):
        at, radius = rng.uniform(5, page.shape[0] - 5, 2), rng.uniform(1.5, 4)
        page[np.hypot(y - at[0], x - at[1]) < radius] = rng.uniform(0, 90)
    return page


def framed(page: Page, rng: np.random.Generator) -> Page:
    """A thin black frame: at the edge, or a little inside."""
    page, inset, wide = page.copy(), rng.choice([0, 0, 3, 8]), rng.integers(1, 5)
    for band in (slice(inset, inset + wide), slice(-inset - wide, -inset or None)):
        page[band, inset : page.shape[1] - inset] = 0
        page[inset : page.shape[0] - inset, band] = 0
    return page


def on_a_grey_mat(page: Page, rng: np.random.Generator) -> Page:
    """Something darker than the paper, but not black, shows along all four sides."""
    return np.pad(inked(page, 235, 30), rng.integers(2, 8), constant_values=90)


def ruled(page: Page, rng: np.random.Generator, squared: bool = False) -> Page:
    """Lines of a writing block, thinner and paler than the ink."""
    paper = np.full(page.shape, 250.0)
    pitch, wide, pale = rng.integers(20, 46), rng.integers(1, 4), rng.uniform(140, 200)
    for start in range(int(rng.integers(0, pitch)), page.shape[0], pitch):
        paper[start : start + wide] = pale
        if squared:
            paper[:, start : start + wide] = pale
    return np.minimum(inked(page, 250, 20), paper)


def squared(page: Page, rng: np.random.Generator) -> Page:
    return ruled(page, rng, squared=True)


def photographed(page: Page, rng: np.random.Generator) -> Page:
    """Much at once: squared paper, lit from one side, dust, noise."""
    return noisy(lit(inked(dusty(squared(page, rng), rng), 255, 0), rng, 0.5), rng, 3)


def cut_close(page: Page) -> Page:
    """Leave nothing round the ink."""
    rows, columns = (np.flatnonzero((page < 128).any(axis=axis)) for axis in (1, 0))
    return page[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


CHANGES: dict[str, Change] = {
    "clean": lambda page, rng: page,
    "grey ground, 28x28": lambda page, rng: resized(inked(page, rng.uniform(120, 210), 30), 28),
    "grey ground, 29x29": lambda page, rng: resized(inked(page, rng.uniform(120, 210), 30), 29),
    "noise of 5": noisy,
    "noise of 5, large page": lambda page, rng: noisy(on_a_large_page(page, rng), rng),
    "noise of 5, huge page": lambda page, rng: noisy(on_a_large_page(page, rng, 2400), rng),
    "lit from one side": lit,
    "shadowed corner": shadowed,
    "dust": dusty,
    "black frame": framed,
    "grey frame": on_a_grey_mat,
    "ruled paper": ruled,
    "squared paper": squared,
    "chalk on light grey": lambda page, rng: inked(page, rng.uniform(150, 205), 250),
    "chalk on a blackboard": lambda page, rng: noisy(inked(page, 45, 200), rng),
    "pencil": lambda page, rng: noisy(inked(page, 235, 190), rng, 2),
    "cut close": lambda page, rng: cut_close(page),
    "out of focus": lambda page, rng: noisy(ndimage.gaussian_filter(page, 6), rng),
    "photograph": photographed,
}


def changed(page: Page, name: str, rng: np.random.Generator) -> np.ndarray:
    """Return the page as a camera or scanner would give it: bytes."""
    return np.clip(np.rint(CHANGES[name](page, rng)), 0, 255).astype(np.uint8)
