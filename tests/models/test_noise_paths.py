"""Noise paths, held against the schedulers and training utilities of stock diffusers."""

import inspect
import math
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    IPNDMScheduler,
)
from diffusers.pipelines.flux.pipeline_flux import calculate_shift as flux_shift
from diffusers.pipelines.stable_diffusion_3 import pipeline_stable_diffusion_3
from diffusers.training_utils import (
    compute_density_for_timestep_sampling,
    compute_loss_weighting_for_sd3,
    compute_snr,
)
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from noiseprobe.core.errors import UserError
from noiseprobe.draws.draws import Draws
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.models.base import scheduler_config
from noiseprobe.models.noise_paths import Diffusion, Flow, path_of

FLOW_DENSITIES = ("uniform", "logit-normal", "mode")
MIDDLES = (np.arange(100_000) + 0.5) / 100_000


def stock_times(density: str, shift: float, count: int) -> NDArray[np.float32]:
    """The times that diffusers' training scripts of flow matching draw."""
    torch.manual_seed(0)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheme = {"logit-normal": "logit_normal", "uniform": "none"}.get(density, density)
    drawn = compute_density_for_timestep_sampling(scheme, count, 0.0, 1.0, 1.29)
    indices = (drawn * scheduler.config.num_train_timesteps).long()
    times: NDArray[np.float32] = scheduler.timesteps[indices].numpy()
    return times


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("density", FLOW_DENSITIES)
def test_times_of_a_flow_have_the_distribution_that_stock_scripts_draw(
    density: str, shift: float
) -> None:
    ours = Flow(shift, density=density).times(MIDDLES)
    theirs = stock_times(density, shift, 200_000)
    # Ours are laid out evenly, so that the distance is that of their 200,000 draws alone.
    assert ks_2samp(ours, theirs).statistic < 1.95 / math.sqrt(200_000)
    assert set(np.unique(theirs)) <= set(Flow(shift).grid)


@pytest.mark.parametrize("other", FLOW_DENSITIES[1:])
def test_densities_differ(other: str) -> None:
    distance = ks_2samp(Flow(density=other).times(MIDDLES), stock_times("uniform", 1.0, 20_000))
    assert distance.statistic > 0.05


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("density", FLOW_DENSITIES)
def test_times_do_not_fall_as_u_grows(density: str, shift: float) -> None:
    path = Flow(shift, density=density)
    uniform = np.concatenate([[0.0], MIDDLES, [np.nextafter(1, 0)]])
    times = path.times(uniform)
    assert (np.diff(times) >= 0).all()
    assert times.shape == uniform.shape
    assert times[0] == path.grid[0]
    assert times[-1] == path.grid[-1] == 1000
    assert np.isfinite(times).all()


def test_every_time_of_a_uniform_flow_is_as_likely() -> None:
    path = Flow(3.0)
    found, count = np.unique(path.times((np.arange(5000) + 0.5) / 5000), return_counts=True)
    assert np.array_equal(found, path.grid)
    assert (count == 5).all()


def test_times_of_a_diffusion_are_whole_numbers_all_as_likely() -> None:
    times = Diffusion(DDPMScheduler(num_train_timesteps=50)).times((np.arange(100) + 0.5) / 100)
    assert times.dtype == np.int64
    assert np.array_equal(times, np.repeat(np.arange(50), 2))


def draws_of(path: Flow, seed: int) -> Draws:
    return Draws(
        seed=seed,
        stream="probe",
        num_images=3,
        num_captions=2,
        num_timesteps=path.num_timesteps,
        latent_shape=(1, 2, 2),
        times=path.times,
    )


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("density", FLOW_DENSITIES)
@pytest.mark.parametrize("layout", ["stratified", "antithetic", "weighted"])
def test_each_equal_part_of_a_flows_times_has_one_sample(
    layout: Any, density: str, seed: int
) -> None:
    path = Flow(3.0, density=density)
    batch = fixed_batch(draws_of(path, seed), 16, layout).batch
    ends = path.times(np.append(np.arange(16) / 16, np.nextafter(1, 0)))
    assert (ends[:-1] <= batch.timesteps).all()
    assert (batch.timesteps <= ends[1:]).all()
    if layout == "antithetic":
        assert np.array_equal(batch.noise[::2], -batch.noise[1::2])
        assert np.array_equal(batch.images[::2], batch.images[1::2])


def test_noisy_latents_of_a_flow_are_those_of_the_stock_scheduler() -> None:
    path, scheduler = Flow(3.0), FlowMatchEulerDiscreteScheduler(shift=3.0)
    latents, noise = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    times = scheduler.timesteps[[0, 400, 700, 999]]
    theirs = scheduler.scale_noise(latents, times, noise)
    torch.testing.assert_close(path.noisy(latents, noise, times), theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(path.sigmas(times), scheduler.sigmas[[0, 400, 700, 999]])


@pytest.mark.parametrize(("ours", "theirs"), [("sigma-sqrt", "sigma_sqrt"), ("cosmap", "cosmap")])
def test_weights_of_a_flow_are_those_of_the_training_utilities(ours: str, theirs: str) -> None:
    times = torch.from_numpy(Flow(3.0).grid[::37].copy())
    expected = compute_loss_weighting_for_sd3(theirs, times / 1000)
    found = Flow(weighting=ours).weights(times)
    assert found is not None
    torch.testing.assert_close(found, expected)


def test_the_preconditioned_loss_is_the_error_of_the_implied_data() -> None:
    latents, noise, predicted = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    path, times = Flow(weighting="preconditioned"), torch.tensor([5.0, 200.0, 500.0, 900.0, 1000.0])
    sigma = (times / 1000)[:, None]
    implied = predicted * -sigma + path.noisy(latents, noise, times)
    expected = (implied - latents).square().mean(1)
    weights = path.weights(times)
    assert weights is not None
    found = (predicted - path.target(latents, noise, times)).square().mean(1) * weights
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_min_snr_is_that_of_the_stock_script(kind: str, gamma: float) -> None:
    scheduler = DDPMScheduler(prediction_type=kind)
    times = torch.tensor([0, 10, 300, 600, 999])
    snr = compute_snr(scheduler, times)
    capped = torch.stack([snr, gamma * torch.ones_like(times)], dim=1).min(dim=1)[0]
    by = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[kind]
    found = Diffusion(scheduler, "min-snr", gamma).weights(times)
    assert found is not None
    torch.testing.assert_close(found, capped / by)
    assert Diffusion(scheduler).weights(times) is None


@pytest.mark.parametrize(("kind", "last"), [("epsilon", 1.0), ("v_prediction", 0.0), ("sample", 0)])
def test_zero_terminal_snr_leaves_only_noise_and_finite_weights(kind: str, last: float) -> None:
    config = DDPMScheduler(prediction_type=kind, rescale_betas_zero_snr=True).config
    path = path_of(config, weighting="min-snr")
    latents, noise = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([999])
    torch.testing.assert_close(path.noisy(latents, noise, times), noise, rtol=0, atol=1e-6)
    found = path.weights(times)
    assert found is not None
    assert found.item() == pytest.approx(last, abs=1e-6)
    target = {"epsilon": noise, "v_prediction": -latents, "sample": latents}[kind]
    torch.testing.assert_close(path.target(latents, noise, times), target, rtol=0, atol=1e-6)


def schedulers_with_betas() -> list[str]:
    """Every scheduler class of diffusers that takes betas and computes ᾱ of them."""
    found = []
    for name in dir(diffusers):
        if name.endswith("Scheduler") and hasattr(kind := getattr(diffusers, name), "from_config"):
            taken = inspect.signature(kind.__init__).parameters
            if "beta_start" in taken and "snr_shift_scale" not in taken:
                found.append(name)
    return found


@pytest.mark.parametrize("name", schedulers_with_betas())
def test_betas_are_those_of_ddpm_whatever_the_sampler(name: str) -> None:
    kind = getattr(diffusers, name)
    given: dict[str, Any] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
    }
    if "num_train_timesteps" in inspect.signature(kind.__init__).parameters:
        given["num_train_timesteps"] = 500
    sampler = kind(**given)
    path = path_of(scheduler_config(sampler))
    assert isinstance(path, Diffusion)
    expected = DDPMScheduler(**given).alphas_cumprod
    assert torch.equal(path.scheduler.alphas_cumprod, expected)
    torch.testing.assert_close(sampler.alphas_cumprod, expected)
    assert path.num_timesteps == 500


def test_there_are_many_samplers_with_betas() -> None:
    assert len(schedulers_with_betas()) > 15


def test_learned_betas_are_read() -> None:
    betas = np.linspace(0.1, 0.2, 10).tolist()
    path = path_of(DDPMScheduler(10, trained_betas=betas).config)
    assert isinstance(path, Diffusion)
    torch.testing.assert_close(path.scheduler.betas, torch.tensor(betas))


def test_a_static_shift_and_that_of_flow_sigmas_are_read() -> None:
    stock = FlowMatchEulerDiscreteScheduler(shift=3.0)
    path = path_of(scheduler_config(stock))
    assert isinstance(path, Flow)
    assert np.array_equal(path.grid, stock.timesteps.numpy()[::-1])
    sampler = DPMSolverMultistepScheduler(
        use_flow_sigmas=True, flow_shift=2.5, prediction_type="flow_prediction"
    )
    found = path_of(scheduler_config(sampler))
    assert isinstance(found, Flow)
    assert found.shift == 2.5
    sampler.set_timesteps(1000)
    torch.testing.assert_close(
        torch.from_numpy(found.grid[::-1] / 1000), sampler.sigmas[:-1], rtol=2e-3, atol=2e-3
    )


def test_dynamic_shifting_belongs_to_samplers_and_a_given_shift_wins() -> None:
    dynamic = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    path = path_of(scheduler_config(dynamic), tokens=4096)
    assert isinstance(path, Flow)
    assert np.array_equal(path.grid, dynamic.timesteps.numpy()[::-1])
    given = path_of(scheduler_config(dynamic), shift=1.7)
    assert isinstance(given, Flow)
    assert given.shift == 1.7


@pytest.mark.parametrize("shift", [flux_shift, pipeline_stable_diffusion_3.calculate_shift])
@pytest.mark.parametrize("tokens", [16, 1024, 4096])
def test_a_shift_by_resolution_is_that_of_the_pipelines(shift: Any, tokens: int) -> None:
    stock = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    config = stock.config
    path = path_of(scheduler_config(stock), tokens=tokens, shift="auto")
    assert isinstance(path, Flow)
    ends = (config.base_image_seq_len, config.max_image_seq_len)
    expected = math.exp(shift(tokens, *ends, config.base_shift, config.max_shift))
    assert path.shift == pytest.approx(expected)
    # And as the sampler itself moves its σ.
    stock.set_timesteps(sigmas=[1.0, 0.5, 0.25], mu=math.log(expected))
    moved = [path.shift * s / (1 + (path.shift - 1) * s) for s in (1.0, 0.5, 0.25)]
    assert stock.sigmas[:3].tolist() == pytest.approx(moved, rel=1e-5)


@pytest.mark.parametrize(
    ("config", "options", "told"),
    [
        (
            scheduler_config(EDMEulerScheduler()),
            {},
            "of its scheduler EDMEulerScheduler no noise path is",
        ),
        (
            scheduler_config(IPNDMScheduler()),
            {},
            "of its scheduler IPNDMScheduler no noise path is known",
        ),
        (scheduler_config(CogVideoXDDIMScheduler()), {}, "CogVideoXDDIMScheduler no noise path is"),
        ({"_class_name": "SCMScheduler"}, {}, "of its scheduler SCMScheduler no noise path"),
        (DDPMScheduler().config, {"shift": 2.0}, "--shift: it belongs to flow matching"),
        (
            scheduler_config(FlowMatchEulerDiscreteScheduler()),
            {"shift": -1.0},
            "--shift: -1.0 given",
        ),
        (scheduler_config(FlowMatchEulerDiscreteScheduler()), {"shift": 0.0}, "--shift: 0.0 given"),
        (scheduler_config(FlowMatchEulerDiscreteScheduler()), {"shift": math.nan}, "--shift: nan"),
        (DDPMScheduler().config, {"snr_gamma": 3.0}, "--snr-gamma: it belongs to --weighting min-"),
        (DDPMScheduler().config, {"weighting": "cosmap"}, "--weighting: 'cosmap' given, but a"),
        (DDPMScheduler().config, {"density": "mode"}, "--times: 'mode' given, but a model that"),
        (
            scheduler_config(FlowMatchEulerDiscreteScheduler()),
            {"weighting": "min-snr"},
            "predicts flow has none, sigma-sqrt, cosmap, preconditioned; choose one of these",
        ),
        ({"beta_start": 1e-4, "prediction_type": "x"}, {}, "prediction type 'x' of its scheduler"),
    ],
)
def test_what_has_no_path_is_refused_in_one_line(
    config: Any, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError) as refused:
        path_of(config, "model small", **options)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
