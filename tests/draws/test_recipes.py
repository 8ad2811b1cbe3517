"""Layouts of other trainers: times on known schedulers, what shares noise, and their sizes."""

from typing import Any

import numpy as np
import pytest
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from noiseprobe.core.errors import UserError
from noiseprobe.draws.draws import Batch, Draws
from noiseprobe.draws.factors import TRAINERS, Trainer
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.models.noise_paths import Diffusion, Flow, NoisePath

PHOTOGRAPHS = 3
IN_STABLE_DIFFUSION: dict[Trainer, list[int]] = {
    "kohya": [200, 400, 600, 800],
    "onetrainer": [499],
    "ai-toolkit": [250, 500, 750, 999],
    "diffusion-pipe": [100, 200, 300, 400, 500, 600, 700, 800, 900],
    "mlperf": [0, 125, 250, 375, 500, 625, 750, 875],
}


def draws(path: NoisePath, seed: int = 0, captions: int = 20) -> Draws:
    return Draws(
        seed=seed,
        stream="probe",
        num_images=PHOTOGRAPHS,
        num_captions=captions,
        num_timesteps=path.num_timesteps,
        latent_shape=(2, 3, 3),
        times=path.times,
        grid=path.grid,
    )


def laid_out(trainer: Trainer, path: NoisePath | None = None, **more: Any) -> Batch:
    path = path or Diffusion(DDPMScheduler())
    return fixed_batch(draws(path, **more), None, trainer).batch


def of_photograph(batch: Batch, photograph: int) -> Batch:
    return batch[np.flatnonzero(batch.images == photograph)]


@pytest.mark.parametrize("trainer", IN_STABLE_DIFFUSION)
def test_times_of_stable_diffusion_are_the_trainers(trainer: Trainer) -> None:
    batch = laid_out(trainer)
    assert sorted(set(batch.timesteps.tolist())) == IN_STABLE_DIFFUSION[trainer]
    assert batch.timesteps.dtype == np.int64
    if trainer != "mlperf":
        for photograph in range(PHOTOGRAPHS):
            own = of_photograph(batch, photograph).timesteps
            assert own.tolist() == IN_STABLE_DIFFUSION[trainer]


def test_simpletuner_takes_the_times_of_the_stock_schedulers() -> None:
    stock = DDPMScheduler(timestep_spacing="trailing")
    stock.set_timesteps(28)
    own = of_photograph(laid_out("simpletuner"), 0)
    assert own.timesteps.tolist() == sorted(stock.timesteps.tolist())
    flow = FlowMatchEulerDiscreteScheduler(shift=3.0)
    flow.sigma_min, flow.sigma_max = 1 / 1000, 1.0  # which are shifted once, not twice
    flow.set_timesteps(28)
    moved = of_photograph(laid_out("simpletuner", Flow(3.0)), 0)
    np.testing.assert_allclose(moved.timesteps, sorted(flow.timesteps.tolist()), rtol=1e-5)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("density", ["uniform", "logit-normal"])
def test_a_flow_is_evaluated_at_the_same_sigma_whatever_it_is_trained_at(
    shift: float, density: str
) -> None:
    path = Flow(shift, density=density)
    sigmas: dict[Trainer, list[float]] = {
        "kohya": [0.2, 0.4, 0.6, 0.8],
        "onetrainer": [0.5],
        "ai-toolkit": [0.25, 0.5, 0.75, 1],
        "mlperf": [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875],
    }
    for trainer, expected in sigmas.items():
        times = np.unique(laid_out(trainer, path).timesteps)
        assert np.isin(times, path.grid).all()
        np.testing.assert_allclose(times / 1000, expected, atol=shift / 1000)
    quantiles = path.times(np.arange(1, 10) / 10)
    assert np.unique(laid_out("diffusion-pipe", path).timesteps).tolist() == quantiles.tolist()


def test_noise_repeats_as_it_does_there() -> None:
    samples = {"kohya": 12, "diffusion-pipe": 27, "mlperf": 8}
    distinct = samples | {"ai-toolkit": PHOTOGRAPHS, "onetrainer": 1, "simpletuner": 1}
    for trainer in TRAINERS:
        noises = laid_out(trainer).noise
        assert len(np.unique(noises.reshape(len(noises), -1), axis=0)) == distinct[trainer]
    batch = laid_out("ai-toolkit")
    for photograph in range(PHOTOGRAPHS):
        own = of_photograph(batch, photograph).noise
        np.testing.assert_array_equal(own, np.broadcast_to(own[:1], own.shape))


def test_latents_are_drawn_once_per_photograph_or_are_the_mean() -> None:
    for trainer in TRAINERS:
        batch = laid_out(trainer)
        owners = len(batch) if trainer == "mlperf" else PHOTOGRAPHS
        latents = batch.vae_noise.reshape(len(batch), -1)
        assert len(np.unique(latents, axis=0)) == (1 if trainer == "onetrainer" else owners)
        assert latents.any() == (trainer != "onetrainer")


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_photograph_is_as_it_is_under_one_caption(trainer: Trainer) -> None:
    batch = laid_out(trainer)
    assert set(batch.views.tolist()) == {1}
    for photograph in range(PHOTOGRAPHS):
        assert len(set(of_photograph(batch, photograph).captions.tolist())) == 1
    assert (np.diff(batch.timesteps) >= 0).all()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_seed_draws_noise_and_captions_but_neither_times_nor_photographs(
    trainer: Trainer,
) -> None:
    first, again, other = (laid_out(trainer, seed=seed) for seed in (0, 0, 1))
    for name, array in vars(first).items():
        np.testing.assert_array_equal(getattr(again, name), array)
        fixed = name in ("images", "views", "timesteps")
        if fixed or (name == "vae_noise" and trainer == "onetrainer"):
            np.testing.assert_array_equal(getattr(other, name), array)
        else:
            assert not np.array_equal(getattr(other, name), array)


def test_a_size_that_a_layout_has_not_is_refused_with_those_that_it_has() -> None:
    own = draws(Diffusion(DDPMScheduler()))
    assert len(fixed_batch(own, 12, "kohya").batch) == 12
    assert len(fixed_batch(own, 16, "mlperf").batch) == 16
    with pytest.raises(UserError, match=r"--eval-batch: 8 given.*12, 4 of each of 3 photographs"):
        fixed_batch(own, 8, "kohya")
    with pytest.raises(UserError, match=r"--eval-batch: 12 given.*a multiple of 8"):
        fixed_batch(own, 12, "mlperf")
    with pytest.raises(UserError, match="stratified has no size of its own"):
        fixed_batch(own, None, "stratified")


def test_as_many_samples_of_mlperf_are_at_each_time() -> None:
    batch = fixed_batch(draws(Diffusion(DDPMScheduler())), 24, "mlperf").batch
    assert np.bincount(batch.timesteps // 125).tolist() == [3] * 8
    assert np.bincount(batch.images).tolist() == [8] * PHOTOGRAPHS
