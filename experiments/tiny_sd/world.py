"""The world that the bundled model knows: captioned scenes of one thing before a background.

Scene i of seed s is a pure function of (s, i): Philox is counter-based, so the uniform numbers of
any scene are reached without drawing those before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.tiny_sd.backgrounds import BACKGROUNDS, CLAUSES, Array
from experiments.tiny_sd.render import CHECKED, DOTTED, PLAIN, STRIPED, Pictures, render
from experiments.tiny_sd.shapes import SHAPES
from noiseprobe.training.concept import TEMPLATES

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.84, 0.12, 0.12),
    "orange": (0.96, 0.5, 0.08),
    "yellow": (0.97, 0.84, 0.15),
    "green": (0.15, 0.62, 0.22),
    "turquoise": (0.12, 0.73, 0.7),
    "blue": (0.13, 0.3, 0.82),
    "purple": (0.5, 0.2, 0.68),
    "pink": (0.97, 0.5, 0.7),
    "brown": (0.46, 0.27, 0.14),
    "white": (0.95, 0.95, 0.94),
    "gray": (0.55, 0.56, 0.58),
    "black": (0.1, 0.1, 0.12),
}
COLOUR_NAMES = tuple(COLOURS)
TEXTURES = ("plain", "striped", "dotted", "checked")
PATTERNS = (PLAIN, STRIPED, DOTTED, CHECKED)
GENERIC_NOUN = "object"

UNIFORMS = 48  # numbers per scene; Philox yields four per count, so a multiple of four


@dataclass(frozen=True)
class Scenes:
    """N scenes: what is in them (indices into the name tuples), their captions, their pictures."""

    shape: NDArray[np.int64]
    colour: NDArray[np.int64]
    texture: NDArray[np.int64]
    background: NDArray[np.int64]
    captions: tuple[str, ...]
    pictures: Pictures

    def render(self, resolution: int = 64) -> NDArray[np.uint8]:
        """Pixels, shape (N, resolution, resolution, 3)."""
        return render(self.pictures, resolution)


def uniforms(seed: int, start: int, count: int, stream: int = 0) -> NDArray[np.float64]:
    """Uniform numbers of scenes start … start + count - 1, shape (count, 48)."""
    bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(stream,)))
    bits.advance(start * (UNIFORMS // 4))
    return np.random.Generator(bits).random((count, UNIFORMS))


def choice(values: NDArray[np.float64], options: int) -> NDArray[np.int64]:
    """Uniform numbers in [0, 1) to indices below `options`."""
    return (values * options).astype(np.int64)


def role_colours(body: Array) -> Array:
    """The colours a thing of one hue is painted with, (N, 3) to (N, 6, 3), by role."""
    luma = body @ np.array([0.3, 0.59, 0.11], np.float32)
    # A dark thing shows its pattern lighter, every other thing shows it darker.
    towards = np.where((luma < 0.22)[:, None], np.float32(0.75), np.float32(0.0))
    second = body + np.float32(0.42) * (towards - body)
    accent = body + np.float32(0.24) * (towards - body)
    pale = body + np.float32(0.62) * (np.array([0.98, 0.95, 0.88], np.float32) - body)
    dark = np.broadcast_to(np.array([0.12, 0.09, 0.09], np.float32), body.shape)
    light = np.broadcast_to(np.array([0.99, 0.95, 0.75], np.float32), body.shape)
    return np.stack([body, accent, pale, dark, light, second], axis=1).astype(np.float32)


def poses(random: NDArray[np.float64], small: Array, large: Array, cropped: Array) -> Array:
    """Position, size and rotation, (N, 4), from four uniform numbers per picture."""
    size = 0.52 + 0.16 * random[:, 2]
    size = size + 0.16 * large + 0.08 * cropped - 0.16 * small
    room = np.maximum(0.95 - size, 0.1) + 0.12 * cropped
    x, y = (random[:, 0] * 2 - 1) * room * 0.7, (random[:, 1] * 2 - 1) * room * 0.6 - 0.04
    turn = (random[:, 3] * 2 - 1) * 0.3
    return np.stack([x, y, size, turn], axis=1).astype(np.float32)


def lights(random: NDArray[np.float64], dark: Array, bright: Array) -> Array:
    """Direction, strength and exposure of the light, (N, 3), from three uniform numbers each."""
    direction = np.pi * (0.12 + 0.76 * random[:, 0])
    strength = 0.14 + 0.16 * random[:, 1]
    exposure = 0.92 + 0.14 * random[:, 2] - 0.34 * dark + 0.16 * bright
    return np.stack([direction, strength, exposure], axis=1).astype(np.float32)


def write_caption(
    template: str, words: tuple[str, str, str], clauses: tuple[str, ...], draws: NDArray[np.float64]
) -> str:
    """Caption of a scene: each attribute is named or dropped by its own uniform number."""
    texture, colour, noun = words
    named = [colour] if draws[1] < 0.65 else []
    if (draws[0] < 0.6 and texture != "plain") or draws[0] < 0.2:
        named.insert(0, texture)
    named.append(GENERIC_NOUN if draws[2] < 0.06 else noun)
    caption = template.format(" ".join(named))
    if draws[3] < 0.7:
        caption += " " + clauses[int(draws[4] * len(clauses))]
    return caption


def draw_scenes(seed: int, start: int, count: int) -> Scenes:
    """Scenes start … start + count - 1 of the world of this seed."""
    random = uniforms(seed, start, count)
    shape, colour = choice(random[:, 0], len(SHAPES)), choice(random[:, 1], len(COLOURS))
    texture = choice(random[:, 2], len(TEXTURES))
    background = choice(random[:, 3], len(BACKGROUNDS))
    templates = [TEMPLATES[k] for k in choice(random[:, 4], len(TEMPLATES))]

    def says(*words: str) -> Array:
        return np.array([any(w in t for w in words) for t in templates], np.float32)

    body = np.array(list(COLOURS.values()), np.float32)[colour]
    body = np.clip(body + (random[:, 5:8] - 0.5).astype(np.float32) * np.float32(0.09), 0.03, 0.99)
    pictures = Pictures(
        shape=shape,
        background=background,
        pattern=np.array(PATTERNS)[texture],
        mark=np.zeros(count, np.int64),
        mark_colour=np.zeros((count, 3), np.float32),
        colours=role_colours(body.astype(np.float32)),
        pose=poses(random[:, 8:12], says("small"), says("large", "close-up"), says("cropped")),
        light=lights(random[:, 12:15], says("dark"), says("bright")),
        pattern_phase=random[:, 16:20].astype(np.float32),
        backdrop=random[:, 20:36].astype(np.float32),
    )
    captions = tuple(
        write_caption(
            templates[i],
            (TEXTURES[texture[i]], COLOUR_NAMES[colour[i]], SHAPES[shape[i]]),
            CLAUSES[BACKGROUNDS[background[i]]],
            random[i, 36:41],
        )
        for i in range(count)
    )
    return Scenes(shape, colour, texture, background, captions, pictures)


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption of the world can hold, sorted."""
    phrases = [*TEMPLATES, *SHAPES, *COLOURS, *TEXTURES, GENERIC_NOUN]
    phrases += [clause for options in CLAUSES.values() for clause in options]
    text = " ".join(phrases).replace("{}", " ").replace("-", " - ")
    return tuple(sorted(set(text.split())))
