"""The silhouettes of the world: eight things as signed distances in object coordinates.

Object coordinates have x to the right and y upwards, and a thing fills about [-1, 1] both ways.
A silhouette is a list of parts, painted in order, each with the role that picks its colour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

BODY, ACCENT, PALE, DARK, LIGHT = range(5)


@dataclass(frozen=True)
class Part:
    """One painted part: its role and its signed distance, negative inside, shape (N, H, W)."""

    role: int
    distance: Array


def circle(x: Array, y: Array, cx: float, cy: float, radius: float) -> Array:
    """Signed distance to a disc."""
    return np.hypot(x - cx, y - cy) - np.float32(radius)


def ellipse(x: Array, y: Array, cx: float, cy: float, rx: float, ry: float) -> Array:
    """Signed distance to an ellipse, exact on its edge and to first order beside it."""
    qx, qy = (x - cx) / np.float32(rx), (y - cy) / np.float32(ry)
    level = np.hypot(qx, qy)
    slope = np.hypot(qx / np.float32(rx), qy / np.float32(ry)) + np.float32(1e-4)
    return (level - 1) * (level + np.float32(1e-4)) / slope


def box(
    x: Array, y: Array, cx: float, cy: float, hx: float, hy: float, corner: float = 0.05
) -> Array:
    """Signed distance to a box of half-widths hx and hy with rounded corners."""
    dx, dy = np.abs(x - cx) - (hx - corner), np.abs(y - cy) - (hy - corner)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return outside + np.minimum(np.maximum(dx, dy), 0) - np.float32(corner)


def capsule(
    x: Array, y: Array, start: tuple[float, float], end: tuple[float, float], r0: float, r1: float
) -> Array:
    """Signed distance to a thick line whose radius goes from r0 to r1."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = ((x - start[0]) * dx + (y - start[1]) * dy) / np.float32(dx * dx + dy * dy)
    along = np.clip(along, 0, 1)
    radius = np.float32(r0) + np.float32(r1 - r0) * along
    return np.hypot(x - start[0] - along * dx, y - start[1] - along * dy) - radius


def ring(x: Array, y: Array, cx: float, cy: float, radius: float, thickness: float) -> Array:
    """Signed distance to an annulus."""
    return np.abs(circle(x, y, cx, cy, radius)) - np.float32(thickness)


def convex(x: Array, y: Array, corners: list[tuple[float, float]]) -> Array:
    """Bound on the signed distance to a convex polygon, corners given clockwise."""
    sides = []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = float(np.hypot(bx - ax, by - ay))
        sides.append(((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / np.float32(length))
    return np.maximum.reduce(sides)


def cup(x: Array, y: Array) -> list[Part]:
    taper = x + np.float32(0.14)
    taper = taper / (1 + np.float32(0.16) * y)
    return [
        Part(ACCENT, ring(x, y, 0.48, -0.02, 0.32, 0.095)),
        Part(BODY, box(taper, y, 0.0, -0.03, 0.58, 0.7, 0.14)),
        Part(DARK, ellipse(x, y, -0.14, 0.6, 0.56, 0.11)),
    ]


def teapot(x: Array, y: Array) -> list[Part]:
    return [
        Part(ACCENT, ring(x, y, -0.66, -0.08, 0.29, 0.08)),
        Part(BODY, capsule(x, y, (0.45, -0.28), (0.94, 0.26), 0.17, 0.07)),
        Part(BODY, ellipse(x, y, 0.0, -0.16, 0.64, 0.52)),
        Part(ACCENT, ellipse(x, y, 0.0, 0.34, 0.36, 0.13)),
        Part(ACCENT, circle(x, y, 0.0, 0.55, 0.11)),
    ]


def star(x: Array, y: Array) -> list[Part]:
    step = 2 * np.pi / 5
    angle = np.mod(np.arctan2(x, y) + np.float32(step / 2), np.float32(step)) - np.float32(step / 2)
    radius = np.hypot(x, y)
    px, py = radius * np.cos(angle), radius * np.abs(np.sin(angle))
    tip, inner = 1.0, 0.46
    ex, ey = inner * np.cos(step / 2) - tip, inner * np.sin(step / 2)
    normal = np.float32(1 / np.hypot(ex, ey))
    return [Part(BODY, ((px - tip) * ey - py * ex) * normal - np.float32(0.04))]


def heart(x: Array, y: Array) -> list[Part]:
    scale = np.float32(0.6)
    px, py = np.abs(x) * scale, y * scale + np.float32(0.54)
    lobe = np.hypot(px - 0.25, py - 0.75) - np.float32(2**0.5 / 4)
    foot = np.float32(0.5) * np.maximum(px + py, 0)
    wedge = np.minimum(np.hypot(px, py - 1), np.hypot(px - foot, py - foot)) * np.sign(px - py)
    return [Part(BODY, np.where(px + py > 1, lobe, wedge) / scale)]


def fish(x: Array, y: Array) -> list[Part]:
    tail = np.maximum(
        convex(x, y, [(-0.98, 0.5), (-0.3, 0.02), (-0.3, -0.02), (-0.98, -0.5)]),
        -circle(x, y, -1.15, 0.0, 0.33),
    )
    return [
        Part(ACCENT, tail),
        Part(ACCENT, convex(x, y, [(-0.2, 0.62), (0.35, 0.3), (0.0, 0.2), (-0.3, 0.25)])),
        Part(BODY, ellipse(x, y, 0.18, 0.0, 0.74, 0.42)),
        Part(ACCENT, convex(x, y, [(-0.1, 0.02), (0.2, -0.06), (-0.12, -0.3)])),
        Part(LIGHT, circle(x, y, 0.58, 0.1, 0.12)),
        Part(DARK, circle(x, y, 0.61, 0.1, 0.065)),
    ]


def dog(x: Array, y: Array) -> list[Part]:
    legs = [
        capsule(x, y, (top, -0.2), (foot, -0.8), 0.14, 0.1)
        for top, foot in ((-0.58, -0.66), (-0.34, -0.32), (0.14, 0.12), (0.34, 0.4))
    ]
    body = [
        capsule(x, y, (-0.44, -0.1), (0.24, -0.06), 0.28, 0.3),
        capsule(x, y, (0.3, 0.05), (0.48, 0.38), 0.24, 0.2),
        circle(x, y, 0.52, 0.46, 0.28),
        capsule(x, y, (0.6, 0.4), (0.86, 0.34), 0.17, 0.12),
    ]
    return [
        Part(BODY, capsule(x, y, (-0.66, 0.0), (-0.94, 0.5), 0.11, 0.07)),
        Part(BODY, np.minimum.reduce(legs + body)),
        Part(ACCENT, capsule(x, y, (0.38, 0.62), (0.28, 0.26), 0.1, 0.14)),
        Part(DARK, circle(x, y, 0.6, 0.54, 0.06)),
        Part(DARK, circle(x, y, 0.96, 0.4, 0.085)),
    ]


def house(x: Array, y: Array) -> list[Part]:
    return [
        Part(ACCENT, box(x, y, 0.42, 0.6, 0.1, 0.28, 0.02)),
        Part(BODY, box(x, y, 0.0, -0.34, 0.66, 0.54, 0.03)),
        Part(ACCENT, convex(x, y, [(-0.92, 0.14), (0.0, 0.94), (0.92, 0.14)])),
        Part(DARK, box(x, y, -0.26, -0.55, 0.15, 0.32, 0.03)),
        Part(LIGHT, box(x, y, 0.28, -0.3, 0.18, 0.18, 0.03)),
    ]


def mushroom(x: Array, y: Array) -> list[Part]:
    cap = np.maximum(ellipse(x, y, 0.0, 0.0, 0.88, 0.84), np.float32(-0.02) - y)
    return [
        Part(PALE, capsule(x, y, (0.0, 0.1), (0.0, -0.68), 0.22, 0.3)),
        Part(BODY, cap - np.float32(0.05)),
    ]


SILHOUETTES: dict[str, Callable[[Array, Array], list[Part]]] = {
    "cup": cup,
    "teapot": teapot,
    "star": star,
    "heart": heart,
    "fish": fish,
    "dog": dog,
    "house": house,
    "mushroom": mushroom,
}
SHAPES = tuple(SILHOUETTES)
