"""From scenes to pixels: one shaded thing before a backdrop, many pictures at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from experiments.tiny_sd.backgrounds import BACKDROPS, BACKGROUNDS, Array, step
from experiments.tiny_sd.shapes import BODY, SHAPES, SILHOUETTES

PLAIN, STRIPED, DOTTED, CHECKED, BANDED, PATCHED, SPLIT = range(7)
PATTERN_COUNT = 7
NO_MARK, DOT_MARK, CROSS_MARK, RING_MARK = range(4)
CHUNK = 128


@dataclass(frozen=True)
class Pictures:
    """What fixes the pixels of N pictures; every array has N rows.

    `colours` (N, 6, 3) holds the colour of each role of `shapes.Part` and, last, the second colour
    of the pattern. `pose` (N, 4) is x, y, size and rotation in radians, in units of half the frame;
    `light` (N, 3) is the direction it comes from in radians, its strength and the exposure;
    `pattern_phase` (N, 4) and `backdrop` (N, 16) are uniform numbers.
    """

    shape: NDArray[np.int64]
    background: NDArray[np.int64]
    pattern: NDArray[np.int64]
    mark: NDArray[np.int64]
    mark_colour: Array
    colours: Array
    pose: Array
    light: Array
    pattern_phase: Array
    backdrop: Array

    def take(self, rows: NDArray[np.int64]) -> Pictures:
        """The pictures of these rows."""
        return Pictures(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def pattern_share(x: Array, y: Array, pattern: NDArray[np.int64], phase: Array) -> Array:
    """Share of the second colour at each point of the body, (N, H, W) in [0, 1]."""
    share = np.zeros_like(x)
    p = [phase[:, k, None, None] for k in range(4)]
    for kind in np.unique(pattern):
        rows = np.flatnonzero(pattern == kind)
        a, b = x[rows], y[rows]
        turn, shift, rate = p[0][rows], p[1][rows] * 6.28, 9 + 2.5 * p[2][rows]
        angle = (turn - 0.5) * np.float32(1.6)
        along = a * np.sin(angle) + b * np.cos(angle)
        across = a * np.cos(angle) - b * np.sin(angle)
        if kind == STRIPED:
            share[rows] = step(np.sin(along * (rate + 1) + shift), 0.7)
        elif kind == DOTTED:
            grid = np.cos(along * rate + shift) + np.cos(across * rate + shift)
            share[rows] = step(grid - np.float32(0.55), 0.8)
        elif kind == CHECKED:
            grid = np.sin(along * rate * 0.8 + shift) * np.sin(across * rate * 0.8 + shift)
            share[rows] = step(grid, 0.35)
        elif kind == BANDED:
            band = np.float32(0.17) - np.abs(b - (turn - 0.5) * 0.3)
            share[rows] = step(band, 0.07)
        elif kind == PATCHED:
            spot = np.hypot(a - (turn - 0.5), b - (p[1][rows] - 0.5) * 0.5)
            share[rows] = step(np.float32(0.3) - spot, 0.07)
        elif kind == SPLIT:
            share[rows] = step(a - (turn - 0.5) * 0.3, 0.07)
    return share


def mark_share(x: Array, y: Array, mark: NDArray[np.int64]) -> Array:
    """Share of the marking's colour at each point, (N, H, W) in [0, 1]."""
    distance = np.ones_like(x)
    for kind in np.unique(mark):
        rows = np.flatnonzero(mark == kind)
        a, b = x[rows], y[rows] + np.float32(0.08)
        if kind == DOT_MARK:
            distance[rows] = np.hypot(a, b) - np.float32(0.2)
        elif kind == CROSS_MARK:
            bars = [np.maximum(np.abs(a) - 0.32, np.abs(b) - 0.095)]
            bars.append(np.maximum(np.abs(b) - 0.32, np.abs(a) - 0.095))
            distance[rows] = np.minimum(*bars)
        elif kind == RING_MARK:
            distance[rows] = np.abs(np.hypot(a, b) - np.float32(0.24)) - np.float32(0.085)
    return step(-distance, 0.06)


def render_group(pictures: Pictures, canvas: Array, u: Array, v: Array) -> Array:
    """Paint things of one shape over their backdrops; `canvas` (N, H, W, 3) is changed."""
    pixel = np.float32(2 / u.shape[-1])
    px, py, size, turn = (pictures.pose[:, k, None, None] for k in range(4))
    towards, strength, exposure = (pictures.light[:, k, None, None] for k in range(3))
    x, y = (u - px) / size, (v - py) / size
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    lx, ly = np.cos(towards + 0 * turn), np.sin(towards + 0 * turn)

    fall = np.hypot(
        (u - px + 0.35 * lx * size) / (0.95 * size), (v - py + 0.82 * size) / (0.3 * size)
    )
    canvas *= (1 - np.float32(0.42) * np.exp(-(fall**2)))[..., None]

    parts = SILHOUETTES[SHAPES[int(pictures.shape[0])]](x, y)
    silhouette = np.minimum.reduce([part.distance for part in parts])
    depth = np.clip(-silhouette, 0, 1)
    # Light falls along the world's axes, so the turned object coordinates are turned back.
    wx, wy = (u - px) / size, (v - py) / size
    tone = 1 + strength * (lx * wx + ly * wy) - np.float32(0.3) * np.exp(-depth / np.float32(0.06))
    gloss = np.exp(-((wx - 0.3 * lx) ** 2 + (wy - 0.3 * ly) ** 2) / np.float32(0.05))
    gloss *= np.float32(0.28) * step(depth - np.float32(0.08), 0.16)

    second = pattern_share(x, y, pictures.pattern, pictures.pattern_phase)[..., None]
    marked = mark_share(x, y, pictures.mark)[..., None]
    for part in parts:
        colour = pictures.colours[:, part.role, None, None, :]
        if part.role == BODY:
            colour = colour + second * (pictures.colours[:, 5, None, None, :] - colour)
            colour = colour + marked * (pictures.mark_colour[:, None, None, :] - colour)
        shaded = colour * tone[..., None] + gloss[..., None]
        cover = np.clip(np.float32(0.5) - part.distance * size / pixel, 0, 1)[..., None]
        canvas += cover * (shaded - canvas)
    return canvas * exposure[..., None]


def render(
    pictures: Pictures, resolution: int = 64, workers: int | None = None
) -> NDArray[np.uint8]:
    """Pixels of the pictures, shape (N, resolution, resolution, 3), top row first.

    The result does not depend on `workers`, nor on which pictures are drawn together.
    """
    centres = (np.arange(resolution, dtype=np.float32) + np.float32(0.5)) * np.float32(
        2 / resolution
    )
    u, v = np.meshgrid(centres - 1, 1 - centres)
    count = len(pictures.shape)
    result = np.empty((count, resolution, resolution, 3), np.uint8)

    def paint(start: int) -> None:
        part = pictures.take(np.arange(start, min(start + CHUNK, count)))
        chunk = np.empty((len(part.shape), resolution, resolution, 3), np.float32)
        for background in np.unique(part.background):
            rows = np.flatnonzero(part.background == background)
            grid = (len(rows), resolution, resolution)
            backdrop = BACKDROPS[BACKGROUNDS[background]]
            chunk[rows] = backdrop(
                np.broadcast_to(u, grid), np.broadcast_to(v, grid), part.backdrop[rows]
            )
        for shape in np.unique(part.shape):
            rows = np.flatnonzero(part.shape == shape)
            grid = (len(rows), resolution, resolution)
            chunk[rows] = render_group(
                part.take(rows), chunk[rows], np.broadcast_to(u, grid), np.broadcast_to(v, grid)
            )
        result[start : start + len(part.shape)] = np.clip(chunk * 255 + 0.5, 0, 255)

    with ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool:
        list(pool.map(paint, range(0, count, CHUNK)))
    return result
