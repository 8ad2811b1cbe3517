"""The one batch that L_det is evaluated on: how its draws are laid out and its losses averaged.

L_det has no redraw noise, but a bias: another fixed batch gives another curve. A layout that covers
timesteps and photographs evenly makes the curves of two batches more alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.draws.draws import Batch, Draws
from noiseprobe.draws.factors import TRAINERS, Layout
from noiseprobe.draws.recipes import recipe_batch


@dataclass(frozen=True)
class FixedBatch:
    """The draws of the fixed batch; `weighted` says how `weights` averages its losses."""

    batch: Batch
    weighted: bool

    def weights(self, first: Sequence[float]) -> NDArray[np.float64]:
        """The weight of each sample's loss, (B,) float64 with sum 1, from the losses at step 0."""
        return sample_weights(first, self.weighted)


def sample_weights(first: ArrayLike, weighted: bool) -> NDArray[np.float64]:
    """The weights that average the losses of a fixed batch, (B,) float64 with sum 1.

    With `weighted`, a sample has the inverse of its loss at step 0, `first` (B,), as weight. Each
    has a timestep bin of its own, so that every bin contributes equally at step 0, and L_det is the
    mean of losses relative to their first, in units of the harmonic mean of those. All weights are
    equal otherwise, and where a first loss is not above 0.
    """
    losses = np.asarray(first, dtype=np.float64)
    if weighted and np.all(np.isfinite(losses) & (losses > 0)):
        inverse = 1 / losses
        return inverse / inverse.sum()
    return np.full(len(losses), 1 / len(losses))


def fixed_batch(draws: Draws, size: int | None, layout: Layout = "random") -> FixedBatch:
    """The fixed batch of `size` samples from replicate 0 of `draws`.

    - `random`: as drawn, each sample independent of the others (Voronov et al. 2023).
    - `stratified`: a Latin hypercube (McKay, Beckman & Conover 1979): each of `size` equal parts of
      the timesteps has one sample, drawn by inverse CDF within it; so have photographs, views and
      captions, which are thereby balanced. Every single draw keeps its distribution.
    - `antithetic`: stratified timesteps; those of two neighbouring parts share photograph, view,
      caption and VAE noise, and have opposite noise, ε and -ε, so that what is odd in ε nearly
      cancels. The last of an odd `size` stays alone.
    - `weighted`: stratified, with every timestep bin of equal weight (`sample_weights`).
    - the name of a trainer, such as `kohya`: as it validates, at times of its own
      (`noiseprobe.draws.recipes`); as many samples as that takes, so that `size` may be None.

    With layouts other than `random`, samples are in the order of their timesteps, so that what two
    neighbours differ by is what differs within a part (`noiseprobe.stopping.Turn`).
    Of the first four, samples are as many draws of the same stream as with `random`, so that a
    layout is a pure function of seed and size; draws of the samples size … 2·size - 1 place a
    sample within its part.

    Raises:
        UserError: a trainer's layout has another size, or another layout is given none.
    """
    if layout in TRAINERS:
        return FixedBatch(recipe_batch(draws, layout, size), weighted=False)
    if size is None:
        raise UserError(f"--eval-batch: the layout {layout} has no size of its own; give one")
    batch = draws.batch(range(size), 0)
    if layout == "random":
        return FixedBatch(batch, weighted=False)
    timesteps = draws.choices("timesteps", _stratified(draws, "timesteps", size))[:, 0]
    if layout == "antithetic":
        return FixedBatch(_pairs(draws, batch, timesteps), weighted=False)
    images, views, captions = _balanced(draws, size)
    stratified = replace(batch, images=images, views=views, captions=captions, timesteps=timesteps)
    stratified = stratified[timesteps.argsort(kind="stable")]
    return FixedBatch(stratified, weighted=layout == "weighted")


def _pairs(draws: Draws, batch: Batch, timesteps: NDArray[Any]) -> Batch:
    size = len(timesteps)
    first = np.arange(size) // 2 * 2  # whose photograph, caption and noise each sample has
    images, views, captions = _balanced(draws, (size + 1) // 2)
    sign = np.where(np.arange(size) % 2, np.float32(-1), np.float32(1))
    return Batch(
        images=images[first // 2],
        views=views[first // 2],
        captions=captions[first // 2],
        vae_noise=batch.vae_noise[first],
        timesteps=np.sort(timesteps),
        noise=batch.noise[first] * sign.reshape(-1, *[1] * (batch.noise.ndim - 1)),
    )


def _balanced(draws: Draws, size: int) -> NDArray[Any]:
    """Photographs, views and captions, (3, size), each as often as any other of its kind."""
    chosen = [draws.choices(of, _stratified(draws, of, size)) for of in ("images", "captions")]
    return np.column_stack(chosen).T


def _stratified(draws: Draws, factor: str, size: int) -> NDArray[np.float64]:
    """Uniform numbers (size, k) of which each of `size` equal parts of [0, 1) holds one per column.

    The order of the drawn numbers says which part, and further draws say where in it.
    """
    drawn = np.array([draws.draw(factor, 0, sample) for sample in range(2 * size)])
    parts = drawn[:size].argsort(axis=0).argsort(axis=0)
    below_one = np.nextafter(1.0, 0.0)  # which the sum may otherwise round up to
    return np.minimum((parts + drawn[size:]) / size, below_one)
