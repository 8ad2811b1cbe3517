"""The layouts of the fixed batch cover what they say, and change no single draw's law."""

import numpy as np
import pytest
from scipy import stats

from noiseprobe.draws.draws import Draws
from noiseprobe.draws.factors import LAYOUTS, Layout
from noiseprobe.draws.fixed_batch import fixed_batch

EVEN = tuple(layout for layout in LAYOUTS if layout != "random")


def draws(seed: int = 0, images: int = 4, captions: int = 3) -> Draws:
    return Draws(seed, "probe", images, captions, 1000, (2, 3, 3))


def test_random_is_replicate_zero_as_drawn() -> None:
    fixed, plain = fixed_batch(draws(), 8).batch, draws().batch(range(8), 0)
    for name, array in vars(plain).items():
        np.testing.assert_array_equal(getattr(fixed, name), array)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_a_function_of_seed_and_size(layout: Layout) -> None:
    first, again = fixed_batch(draws(), 6, layout), fixed_batch(draws(), 6, layout)
    for name, array in vars(first.batch).items():
        np.testing.assert_array_equal(getattr(again.batch, name), array)
    other = fixed_batch(draws(seed=1), 6, layout)
    assert not np.array_equal(other.batch.timesteps, first.batch.timesteps)


@pytest.mark.parametrize("layout", EVEN)
@pytest.mark.parametrize("size", [1, 4, 7, 64])
def test_each_part_of_the_timesteps_has_one_sample(layout: Layout, size: int) -> None:
    parts = fixed_batch(draws(), size, layout).batch.timesteps * size // 1000
    # 1000 timesteps do not split evenly into 7 or 64 parts: the one at a border may be either's.
    assert np.abs(np.sort(parts) - np.arange(size)).max() <= (0 if 1000 % size == 0 else 1)
    assert len(parts) == size


@pytest.mark.parametrize("layout", EVEN)
def test_samples_are_in_the_order_of_their_timesteps(layout: Layout) -> None:
    batch, alone = fixed_batch(draws(), 16, layout).batch, draws().batch(range(16), 0)
    assert (np.diff(batch.timesteps) >= 0).all()
    if layout != "antithetic":
        noises = {noise.tobytes() for noise in alone.noise}
        assert {noise.tobytes() for noise in batch.noise} == noises


@pytest.mark.parametrize("layout", ["stratified", "weighted"])
def test_photographs_views_and_captions_are_balanced(layout: Layout) -> None:
    batch = fixed_batch(draws(images=4, captions=3), 24, layout).batch
    assert np.bincount(batch.images).tolist() == [6] * 4
    assert np.bincount(batch.views).tolist() == [12] * 2
    assert np.bincount(batch.captions).tolist() == [8] * 3


def test_photographs_are_not_bound_to_timesteps() -> None:
    late = [
        fixed_batch(draws(seed), 8, "stratified").batch.images[
            np.argmax(fixed_batch(draws(seed), 8, "stratified").batch.timesteps)
        ]
        for seed in range(400)
    ]
    assert stats.chisquare(np.bincount(late, minlength=4)).pvalue > 0.001


@pytest.mark.parametrize("size", [5, 8])
def test_antithetic_neighbours_share_all_but_the_sign_of_the_noise(size: int) -> None:
    batch = fixed_batch(draws(), size, "antithetic").batch
    one, two = np.arange(0, size - 1, 2), np.arange(1, size, 2)
    np.testing.assert_array_equal(batch.noise[one], -batch.noise[two])
    for name in ("images", "views", "captions", "vae_noise"):
        array = getattr(batch, name)
        np.testing.assert_array_equal(array[one], array[two])
    assert len(batch.noise) == size
    assert np.abs(np.diff(batch.timesteps)[one]).max() < 2 * 1000 / size


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_timestep_stays_equally_likely(layout: Layout) -> None:
    drawn = np.concatenate([fixed_batch(draws(s), 4, layout).batch.timesteps for s in range(500)])
    # Stratified counts vary less than multinomial ones, so that only too large a statistic fails.
    assert stats.chisquare(np.bincount(drawn // 100, minlength=10)).pvalue > 0.001
    # Within one part as well: where in it a sample lies is uniform.
    within = np.sort(drawn.reshape(500, 4), axis=1)[:, 1]
    if layout != "random":
        assert stats.kstest((within - 250) / 250, "uniform").pvalue > 0.001


def test_weights_let_every_bin_contribute_equally_at_the_start() -> None:
    first = [0.9, 0.3, 0.1, 0.02]
    weights = fixed_batch(draws(), 4, "weighted").weights(first)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights * first, (weights * first)[0])


@pytest.mark.parametrize("layout", ["random", "stratified", "antithetic"])
def test_other_layouts_weigh_all_samples_alike(layout: Layout) -> None:
    assert fixed_batch(draws(), 4, layout).weights([0.9, 0.3, 0.1, 0.02]).tolist() == [0.25] * 4


@pytest.mark.parametrize("broken", [0.0, -1.0, np.nan, np.inf])
def test_a_first_loss_that_cannot_weigh_leaves_equal_weights(broken: float) -> None:
    weights = fixed_batch(draws(), 2, "weighted").weights([0.5, broken])
    assert weights.tolist() == [0.5, 0.5]
