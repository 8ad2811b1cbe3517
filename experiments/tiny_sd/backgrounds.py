"""The backdrops of the world: twelve places as smooth functions of the frame.

Each takes frame coordinates u (to the right) and v (upwards), both in [-1, 1] and of shape
(N, H, W), and sixteen uniform numbers per picture, shape (N, 16). It returns linear colours,
shape (N, H, W, 3), in [0, 1]. Detail stays above three pixels at 64x64: white noise cannot be
compressed by an autoencoder, and would only teach it to blur.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import SupportsFloat

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def at(random: Array, column: int, low: float = 0.0, high: float = 1.0) -> Array:
    """Column of uniform numbers stretched to [low, high), shape (N, 1, 1)."""
    return (np.float32(low) + np.float32(high - low) * random[:, column])[:, None, None]


def blend(
    first: tuple[SupportsFloat, ...] | Array,
    second: tuple[SupportsFloat, ...] | Array,
    share: Array,
) -> Array:
    """Colour between two colours, `share` (N, H, W) of the second."""
    a, b = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return a + (b - a) * np.clip(share, 0, 1)[..., None]


def step(value: Array, width: float) -> Array:
    """Smooth step from 0 to 1 around zero, `width` wide."""
    t = np.clip(value / np.float32(width) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def ripple(u: Array, v: Array, random: Array, column: int, frequency: float) -> Array:
    """Low-frequency structure in about [-1, 1]: three plane waves of drawn phase and direction."""
    tau = 2 * np.pi
    total = np.zeros_like(u)
    for k in range(3):
        turn = at(random, (column + k) % 16, 0, tau)
        angle = turn * np.float32(0.5 + k) + np.float32(k)
        rate = np.float32(frequency * (0.7 + 0.45 * k))
        total += np.sin((u * np.cos(angle) + v * np.sin(angle)) * rate + turn)
    return total / np.float32(3)


def beach(u: Array, v: Array, r: Array) -> Array:
    horizon = at(r, 0, 0.3, 0.6)
    shore = horizon - at(r, 1, 0.18, 0.34) + np.float32(0.04) * np.sin(3 * u + at(r, 2, 0, 6.3))
    sand = blend((0.86, 0.74, 0.52), (0.96, 0.87, 0.67), 0.5 + 0.5 * ripple(u, 2 * v, r, 3, 5))
    sea = blend((0.24, 0.62, 0.72), (0.12, 0.42, 0.62), (v - shore) / (horizon - shore))
    sky = blend((0.83, 0.93, 0.97), (0.45, 0.73, 0.93), (v - horizon) / (1 - horizon))
    land = blend(sand, sea, step(v - shore, 0.06))
    return blend(land, sky, step(v - horizon, 0.05))


def grass(u: Array, v: Array, r: Array) -> Array:
    horizon = at(r, 0, 0.45, 0.8) + np.float32(0.06) * np.sin(2 * u + at(r, 1, 0, 6.3))
    blades = np.sin(14 * u + 3 * np.sin(4 * v + at(r, 2, 0, 6.3))) * np.float32(0.3)
    field = blend((0.22, 0.5, 0.15), (0.5, 0.74, 0.27), 0.5 + blades + 0.4 * ripple(u, v, r, 3, 4))
    sky = blend((0.85, 0.95, 0.98), (0.55, 0.8, 0.96), v)
    return blend(field, sky, step(v - horizon, 0.08))


def snow(u: Array, v: Array, r: Array) -> Array:
    horizon = at(r, 0, 0.2, 0.6) + np.float32(0.12) * np.sin(2.4 * u + at(r, 1, 0, 6.3))
    drifts = 0.55 + 0.45 * ripple(u, 1.8 * v, r, 2, 3.2)
    ground = blend((0.76, 0.84, 0.93), (0.98, 0.99, 1.0), drifts)
    sky = blend((0.86, 0.89, 0.94), (0.6, 0.7, 0.84), v)
    return blend(ground, sky, step(v - horizon, 0.08))


def sea(u: Array, v: Array, r: Array) -> Array:
    bend = np.float32(1.3) * ripple(u, v, r, 0, 2.5)
    waves = np.sin(np.float32(9) * v + bend + at(r, 4, 0, 6.3))
    depth = 0.45 + 0.3 * waves + 0.25 * ripple(u, 2 * v, r, 6, 4)
    return blend((0.04, 0.27, 0.5), (0.2, 0.62, 0.76), depth + 0.15 * v)


def night(u: Array, v: Array, r: Array) -> Array:
    horizon = at(r, 0, -0.65, -0.35) + np.float32(0.1) * np.sin(2.5 * u + at(r, 1, 0, 6.3))
    sky = blend((0.19, 0.2, 0.42), (0.03, 0.04, 0.15), 0.5 + 0.5 * v)
    for k in range(6):
        sx, sy = at(r, 2 + k, -0.95, 0.95), at(r, 9 + k, -0.2, 0.95)
        glow = np.exp(-((u - sx) ** 2 + (v - sy) ** 2) / np.float32(0.0018))
        sky += (np.float32(0.75) * glow)[..., None]
    moon = step(np.float32(0.16) - np.hypot(u - at(r, 8, -0.8, 0.8), v - np.float32(0.72)), 0.06)
    sky = blend(sky, (0.97, 0.95, 0.8), moon)
    ground = blend((0.05, 0.07, 0.12), (0.1, 0.13, 0.2), 0.5 + 0.5 * ripple(u, v, r, 5, 4))
    return blend(ground, np.minimum(sky, 1), step(v - horizon, 0.06))


def brick(u: Array, v: Array, r: Array) -> Array:
    row = (v + at(r, 0, 0, 2)) * np.float32(3.4)
    odd = np.mod(np.floor(row), 2)
    column = (u + at(r, 1, 0, 2)) * np.float32(1.8) + odd * np.float32(0.5)
    fx, fy = np.mod(column, 1) - np.float32(0.5), np.mod(row, 1) - np.float32(0.5)
    inside = np.minimum((0.5 - np.abs(fx)) / np.float32(1.8), (0.5 - np.abs(fy)) / np.float32(3.4))
    tone = 0.5 + 0.25 * np.sin(np.floor(column) * 2.4 + np.floor(row) * 1.7 + at(r, 2, 0, 6.3))
    wall = blend((0.5, 0.2, 0.14), (0.73, 0.37, 0.27), tone + 0.25 * ripple(u, v, r, 3, 2))
    return blend((0.76, 0.71, 0.65), wall, step(inside - np.float32(0.035), 0.05))


def wood(u: Array, v: Array, r: Array) -> Array:
    row = (v + at(r, 0, 0, 2)) * np.float32(1.7)
    plank = np.floor(row)
    gap = np.abs(np.mod(row, 1) - np.float32(0.5))
    grain = np.sin(12 * v + 1.6 * np.sin(2.2 * u + plank * 2 + at(r, 1, 0, 6.3)) + plank)
    tone = 0.5 + 0.2 * grain + 0.25 * np.sin(plank * 2.1 + at(r, 2, 0, 6.3))
    floor = blend((0.52, 0.32, 0.17), (0.8, 0.57, 0.35), tone + 0.1 * ripple(u, v, r, 3, 2))
    return blend(floor, (0.3, 0.17, 0.08), step(gap - np.float32(0.47), 0.08))


def desert(u: Array, v: Array, r: Array) -> Array:
    horizon = at(r, 0, -0.25, 0.1) + np.float32(0.14) * np.sin(1.9 * u + at(r, 1, 0, 6.3))
    sky = blend((0.98, 0.66, 0.33), (0.42, 0.25, 0.5), (v - horizon) / np.float32(1.1))
    sun = step(np.float32(0.2) - np.hypot(u - at(r, 2, -0.8, 0.8), v - np.float32(0.3)), 0.08)
    sky = blend(sky, (1.0, 0.86, 0.55), sun)
    near = horizon - at(r, 3, 0.3, 0.5) + np.float32(0.12) * np.sin(2.6 * u + at(r, 4, 0, 6.3))
    dune = blend((0.72, 0.39, 0.24), (0.84, 0.5, 0.28), 0.5 + 0.5 * ripple(u, 2 * v, r, 5, 4))
    dune = blend(dune * np.float32(0.78), dune, step(v - near, 0.05))
    return blend(dune, sky, step(v - horizon, 0.05))


def jungle(u: Array, v: Array, r: Array) -> Array:
    leaves = ripple(u + 0.3 * np.sin(3 * v), v, r, 0, 8)
    depth = ripple(u, v, r, 4, 3)
    colour = blend((0.03, 0.17, 0.1), (0.16, 0.45, 0.17), 0.5 + 0.8 * leaves)
    light = np.exp(-((u - at(r, 8, -0.7, 0.7)) ** 2 + (v - np.float32(0.9)) ** 2) / np.float32(0.5))
    return blend(colour, (0.62, 0.78, 0.35), 0.5 * light + 0.18 * depth)


def city(u: Array, v: Array, r: Array) -> Array:
    picture = blend((0.93, 0.87, 0.8), (0.6, 0.75, 0.88), 0.5 + 0.5 * v)
    for k in range(6):
        centre = np.float32(-0.9 + 0.36 * k) + at(r, k, -0.08, 0.08)
        half, top = at(r, 6 + k, 0.13, 0.2), at(r, (9 + k) % 16, 0.15, 0.85)
        tower = np.minimum(half - np.abs(u - centre), top - v)
        shade = np.float32(0.36 + 0.07 * (k % 3))
        panes = np.maximum(np.sin(11 * v), 0) * np.maximum(np.sin((u - centre) * 24), 0)
        face = blend((shade, shade, shade + 0.07), (0.95, 0.85, 0.55), np.float32(0.6) * panes)
        picture = blend(picture, face, step(tower, 0.04))
    street = blend((0.36, 0.36, 0.38), (0.5, 0.5, 0.52), 0.5 + 0.5 * ripple(u, v, r, 2, 3))
    return blend(street, picture, step(v - at(r, 15, -0.5, -0.3), 0.05))


def mountain(u: Array, v: Array, r: Array) -> Array:
    picture = blend((0.87, 0.92, 0.96), (0.5, 0.72, 0.92), 0.4 + 0.6 * v)
    for k in range(3):
        top, centre = at(r, k, 0.35, 0.9), np.float32(-0.7 + 0.7 * k) + at(r, 3 + k, -0.2, 0.2)
        ridge = top - np.abs(u - centre) * at(r, 6 + k, 0.9, 1.3) + 0.04 * np.sin(9 * u)
        cap = step(v - (top - np.float32(0.3)) + 0.05 * np.sin(14 * u), 0.06)
        side = step(u - centre, 0.1)
        rock = blend((0.52, 0.55, 0.64), (0.36, 0.39, 0.5), side)
        rock = blend(rock, (0.96, 0.97, 1.0), cap * (1 - np.float32(0.25) * side))
        picture = blend(picture, rock, step(ridge - v, 0.05))
    meadow = at(r, 9, -0.4, -0.1) + np.float32(0.07) * np.sin(2 * u + at(r, 10, 0, 6.3))
    field = blend((0.35, 0.5, 0.25), (0.55, 0.68, 0.36), 0.5 + 0.5 * ripple(u, 2 * v, r, 11, 4))
    return blend(field, picture, step(v - meadow, 0.06))


def fabric(u: Array, v: Array, r: Array) -> Array:
    angle = at(r, 0, 0.3, 1.2)
    across = u * np.cos(angle) + v * np.sin(angle) + 0.25 * ripple(u, v, r, 1, 2.5)
    folds = np.sin(6 * across + at(r, 5, 0, 6.3)) + 0.5 * np.sin(11 * across + at(r, 6, 0, 6.3))
    return blend((0.8, 0.42, 0.56), (0.99, 0.78, 0.84), 0.5 + 0.33 * folds)


BACKDROPS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "beach": beach,
    "grass": grass,
    "snow": snow,
    "sea": sea,
    "night": night,
    "brick": brick,
    "wood": wood,
    "desert": desert,
    "jungle": jungle,
    "city": city,
    "mountain": mountain,
    "fabric": fabric,
}
BACKGROUNDS = tuple(BACKDROPS)
CLAUSES: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "at the beach"),
    "grass": ("in the grass", "on a meadow"),
    "snow": ("in the snow", "on snow"),
    "sea": ("in the sea", "in the water"),
    "night": ("at night", "under the night sky"),
    "brick": ("in front of a brick wall", "with a brick wall in the background"),
    "wood": ("on a wooden floor", "on top of a wooden table"),
    "desert": ("in the desert", "in the desert at dusk"),
    "jungle": ("in the jungle", "in a forest"),
    "city": ("with a city in the background", "in the city"),
    "mountain": ("with a mountain in the background", "in front of a mountain"),
    "fabric": ("on pink fabric", "on top of pink fabric"),
}
