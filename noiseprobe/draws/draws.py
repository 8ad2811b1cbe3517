"""What is drawn of each factor.

A draw is a pure function of `(seed, stream, factor, replicate, sample)`: each such tuple keys a
counter-based generator of its own (Philox, Salmon et al. 2011, keyed through numpy's SeedSequence
spawn keys). Nothing depends on the device, the batch size, the order of evaluation or what was
drawn before, and no global random state is read or changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseprobe.draws.factors import FACTORS, ORIGINAL, Setting

_NOISES = ("vae_noise", "noise")

FRESH = 1_000_000
"""Replicates from here on are fresh at one checkpoint each: `FRESH` + its step is drawn there."""

Stream = Literal["probe", "train", "prior", "held-out"]
_STREAM_KEYS = {"probe": 0, "train": 1, "prior": 2, "held-out": 4}


@dataclass(frozen=True)
class Batch:
    """What was drawn for B samples; every array has B as its first axis.

    `images` int64 index of the photograph, `views` int64 index of how it is seen (flipped, …),
    `captions` int64 index of the template, `vae_noise` and `noise` float32 (B, C, h, w) standard
    normal, `timesteps` times of the noise path: int64, or float64 of a flow.
    """

    images: NDArray[np.int64]
    views: NDArray[np.int64]
    captions: NDArray[np.int64]
    vae_noise: NDArray[np.float32]
    timesteps: NDArray[Any]
    noise: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: slice | NDArray[np.int64]) -> "Batch":
        """Some of the samples, or all in another order."""
        return Batch(*(getattr(self, each.name)[part] for each in fields(self)))


@dataclass(frozen=True)
class Draws:
    """All draws of one stream of one seed, for one concept and model.

    The stream `probe` holds the fixed batch (replicate 0), its redraws (1, 2, …), and one more for
    each checkpoint (`FRESH` + step); in the stream `train` the replicate is the training step, as
    it is in `prior`, which draws class images; `held-out` is as `probe`, of photographs that are
    not trained on. Discrete factors map one uniform number by inverse CDF, so that a draw is
    defined for any number of photographs, templates and timesteps. `times` maps those of the
    timesteps (`noiseprobe.models.noise_paths`); None: to whole numbers below `num_timesteps`.
    `grid` are all times, the least noise first; None: those numbers. `view_shares` are the
    probabilities of a photograph's views; they sum to 1.
    """

    seed: int
    stream: Stream
    num_images: int
    num_captions: int
    num_timesteps: int
    latent_shape: tuple[int, ...]
    view_shares: tuple[float, ...] = (0.5, 0.5)
    times: Callable[[NDArray[np.float64]], NDArray[Any]] | None = None
    grid: NDArray[Any] | None = field(default=None, repr=False, compare=False)
    _fixed: dict[tuple[str, int], NDArray[Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def all_times(self) -> NDArray[Any]:
        """Every time, the least noise first: int64, or float64 of a flow."""
        if self.grid is None:
            return np.arange(self.num_timesteps)
        return self.grid.astype(np.result_type(self.grid, np.int64))

    def batch(
        self,
        samples: Sequence[int] | NDArray[np.int64],
        replicates: Sequence[int] | NDArray[np.int64] | int,
        settings: Sequence[Setting] | Setting = ORIGINAL,
    ) -> Batch:
        """The draws of the given samples, each under its own replicate and setting.

        `replicates` and `settings` are one value for all samples or one per sample; `replicates`
        may also be (samples, factors), one for each factor in the order of `FACTORS`. A factor that
        its setting does not redraw comes from replicate 0.
        """
        count = len(samples)
        each_setting = [settings] * count if isinstance(settings, Setting) else settings
        table = np.asarray(replicates)
        table = table if table.ndim == 2 else table.reshape(-1, 1)
        by_factor = np.broadcast_to(table, (count, len(FACTORS)))

        def drawn(factor: str) -> list[NDArray[Any]]:
            own = by_factor[:, FACTORS.index(factor)].tolist()
            return [
                self.draw(factor, replicate if factor in setting.redrawn else 0, int(sample))
                for sample, replicate, setting in zip(samples, own, each_setting, strict=True)
            ]

        images, views = self.choices("images", drawn("images")).T
        latents = (count, *self.latent_shape)
        return Batch(
            images=images,
            views=views,
            captions=self.choices("captions", drawn("captions"))[:, 0],
            vae_noise=np.array(drawn("vae_noise"), dtype=np.float32).reshape(latents),
            timesteps=self.choices("timesteps", drawn("timesteps"))[:, 0],
            noise=np.array(drawn("noise"), dtype=np.float32).reshape(latents),
        )

    def alike(
        self,
        factor: str,
        samples: NDArray[np.int64],
        first: NDArray[np.int64],
        second: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Whether each sample draws the same of a discrete factor in two replicates of it.

        False for noise, which never comes out the same twice.
        """
        if factor in _NOISES:
            return np.zeros(len(samples), dtype=np.bool_)
        one, other = (self._chosen(factor, samples, each) for each in (first, second))
        return (one == other).all(axis=1)

    def earliest(
        self, factor: str, samples: NDArray[np.int64], replicates: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The first of the `replicates` (n,) that draws the same of a factor for each sample, (n,).

        Of noise that is the replicate itself.
        """
        if factor in _NOISES:
            return replicates
        keys = np.column_stack([self._chosen(factor, samples, replicates), samples])
        _, which = np.unique(keys, axis=0, return_inverse=True)
        first = np.full(len(replicates), np.iinfo(np.int64).max)
        np.minimum.at(first, which.ravel(), replicates)
        return first[which.ravel()]

    def _chosen(
        self, factor: str, samples: NDArray[np.int64], replicates: NDArray[np.int64]
    ) -> NDArray[Any]:
        """What each sample draws of a discrete factor in its replicate, as `choices` gives it."""
        keys = list(zip(replicates.tolist(), samples.tolist(), strict=True))
        drawn = {key: self.draw(factor, *key) for key in dict.fromkeys(keys)}
        return self.choices(factor, [drawn[key] for key in keys])

    def choices(self, factor: str, uniform: ArrayLike) -> NDArray[Any]:
        """What uniform numbers choose of a discrete factor by inverse CDF.

        `uniform` is (n, k) in [0, 1), and what is returned (n, k) int64, or float64 for the times
        of a flow; k is 2 for images, which are a photograph and its view, and 1 for captions and
        timesteps.
        """
        numbers = np.asarray(uniform).reshape(-1, 2 if factor == "images" else 1)
        if factor == "captions":
            return _pick(numbers, self.num_captions)
        if factor == "timesteps":
            return self.times(numbers) if self.times else _pick(numbers, self.num_timesteps)
        views = np.searchsorted(np.cumsum(self.view_shares[:-1]), numbers[:, 1], side="right")
        return np.column_stack([_pick(numbers[:, 0], self.num_images), views])

    def draw(self, factor: str, replicate: int, sample: int) -> NDArray[Any]:
        """One draw of one factor: uniform numbers for discrete factors, a latent of noise else.

        The fixed draws (replicate 0) recur at every evaluation and are kept.
        """
        if replicate == 0 and (factor, sample) in self._fixed:
            return self._fixed[factor, sample]
        key = (_STREAM_KEYS[self.stream], FACTORS.index(factor), replicate, sample)
        seed = np.random.SeedSequence(self.seed, spawn_key=key)
        generator = np.random.Generator(np.random.Philox(seed))
        value: NDArray[Any]
        if factor in _NOISES:
            value = generator.standard_normal(self.latent_shape, dtype=np.float32)
        else:
            value = generator.random(2 if factor == "images" else 1)
        if replicate == 0:
            self._fixed[factor, sample] = value
        return value


@dataclass(frozen=True)
class Needed:
    """The m draws that n rows need, each of them once: row k is the draw `which[k]`, (n,).

    `replicates` is (m, factors), for each factor in the order of `FACTORS`; `samples` is (m,).
    """

    replicates: NDArray[np.int64]
    samples: NDArray[np.int64]
    which: NDArray[np.int64]

    def batch(self, draws: Draws, part: slice) -> Batch:
        """Some of them."""
        return draws.batch(self.samples[part], self.replicates[part])


def _pick(uniform: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    return (uniform * count).astype(np.int64)
