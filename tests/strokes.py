"""Digits as a hand draws them: strokes through points of the unit square, y downwards."""

import itertools
import math

Point = tuple[float, float]


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[Point]:
    """Return points of an ellipse about (x, y), angles in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * step / 24) for step in range(25)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


DIGITS: dict[str, list[list[Point]]] = {
    "0": [_arc(0.5, 0.5, 0.32, 0.48, -90, 270)],
    "1": [[(0.35, 0.2), (0.55, 0.0), (0.5, 1.0)]],
    "2": [[*_arc(0.5, 0.27, 0.32, 0.27, -170, 40), (0.15, 1.0), (0.88, 1.0)]],
    "3": [_arc(0.45, 0.26, 0.3, 0.26, -160, 90) + _arc(0.45, 0.75, 0.35, 0.25, -90, 160)],
    "4": [[(0.2, 0.0), (0.18, 0.5), (0.8, 0.5)], [(0.78, 0.0), (0.76, 1.0)]],
    "5": [
        [(0.28, 0.0), (0.24, 0.42), *_arc(0.46, 0.68, 0.34, 0.3, -120, 150)],
        [(0.28, 0.0), (0.85, 0.0)],
    ],
    "6": [[(0.68, 0.0), (0.36, 0.3), (0.22, 0.65), *_arc(0.5, 0.72, 0.28, 0.28, 180, -180)]],
    "7": [[(0.12, 0.02), (0.85, 0.02), (0.42, 1.0)], [(0.3, 0.5), (0.75, 0.5)]],
    "8": [_arc(0.5, 0.26, 0.26, 0.26, 90, 450) + _arc(0.5, 0.76, 0.32, 0.25, -90, 270)],
    "9": [[*_arc(0.48, 0.28, 0.3, 0.28, 0, -360), (0.7, 1.0)]],
}


def path(stroke: list[Point], left: float, top: float, width: float, height: float) -> list[Point]:
    """Return a stroke in a box of the page, with a point every few pixels, as a hand moves."""
    corners = [(left + x * width, top + y * height) for x, y in stroke]
    points = []
    for (x, y), (to_x, to_y) in itertools.pairwise(corners):
        steps = max(1, round(math.hypot(to_x - x, to_y - y) / 20))
        points += [(x + (to_x - x) * i / steps, y + (to_y - y) * i / steps) for i in range(steps)]
    return [*points, corners[-1]]
