"""Noise paths: how a model mixes data and noise, what it is asked to predict, and when.

A path maps a uniform number u to a time, so that whatever lays u out evenly (a stratified batch, a
Sobol design) lays times out by their density. Times grow with the noise.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from numpy.typing import NDArray
from scipy.special import expit, ndtri
from torch import Tensor

from noiseprobe.core.errors import UserError

PREDICTIONS = ("epsilon", "v_prediction", "sample")
MODE_SCALE = 1.29
"""Of the times sampled by mode: that of diffusers' training script of SD3."""


class NoisePath(ABC):
    """Times, noisy latents, targets and weights of a training objective.

    `num_timesteps` is how many times there are. `weightings` are the weights of the loss that the
    path knows, by name; `densities` those of its times.
    """

    weightings: ClassVar[tuple[str, ...]]
    densities: ClassVar[tuple[str, ...]]
    num_timesteps: int
    weighting: str
    density: str

    @property
    @abstractmethod
    def grid(self) -> NDArray[Any]:
        """All times, the least noise first."""

    @abstractmethod
    def times(self, uniform: NDArray[np.float64]) -> NDArray[Any]:
        """The time of each uniform number in [0, 1), as the denoiser is told it: in the same shape.

        It does not fall as u grows.
        """

    @abstractmethod
    def noisy(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """The latents (B, C, h, w) with the noise that is theirs at `times` (B,)."""

    @abstractmethod
    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the denoiser should predict, (B, C, h, w)."""

    @abstractmethod
    def weights(self, times: Tensor) -> Tensor | None:
        """By what the loss of each sample is multiplied, (B,) float32; None: by 1."""

    def __post_init__(self) -> None:
        for flag, given, known in (
            ("--weighting", self.weighting, self.weightings),
            ("--times", self.density, self.densities),
        ):
            if given not in known:
                raise UserError(
                    f"{flag}: '{given}' given, but a model that predicts {self.told} has "
                    f"{', '.join(known)}; choose one of these"
                )

    @property
    @abstractmethod
    def told(self) -> str:
        """What the denoiser predicts, in a word."""

    @property
    def axis(self) -> str:
        """What the times are called on an axis."""
        return "timestep"


@dataclass
class Diffusion(NoisePath):
    """Discrete times of a variance-preserving process (Ho et al. 2020, arXiv 2006.11239).

    Noisy latents are √ᾱ·x + √(1 - ᾱ)·ε. The denoiser predicts ε (`epsilon`), x (`sample`) or
    √ᾱ·ε - √(1 - ᾱ)·x (`v_prediction`: Salimans & Ho 2022, arXiv 2202.00512). Weighting `min-snr`
    is that of Hang et al. 2023 (arXiv 2303.09556): min(SNR, γ) over SNR, over SNR + 1 for v, and
    over 1 for x.

    Args:
        scheduler: of it, betas and the kind of prediction are used.
        weighting: `none` or `min-snr`.
        snr_gamma: γ.
        density: `uniform`.
    """

    weightings = ("none", "min-snr")
    densities = ("uniform",)
    scheduler: DDPMScheduler
    weighting: str = "none"
    snr_gamma: float = 5.0
    density: str = "uniform"

    @property
    def num_timesteps(self) -> int:  # type: ignore[override]
        """How many times there are."""
        return int(self.scheduler.config.num_train_timesteps)

    @property
    def told(self) -> str:
        """The scheduler's word for it."""
        return str(self.scheduler.config.prediction_type)

    @property
    def grid(self) -> NDArray[np.int64]:
        """Whole numbers from 0."""
        return np.arange(self.num_timesteps)

    def times(self, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """Whole numbers, all as likely."""
        return (uniform * self.num_timesteps).astype(np.int64)

    def noisy(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """As the scheduler adds noise."""
        return self.scheduler.add_noise(latents, noise, times)

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """By the scheduler's kind of prediction."""
        match self.told:
            case "v_prediction":
                return self.scheduler.get_velocity(latents, noise, times)
            case "sample":
                return latents
            case _:
                return noise

    def weights(self, times: Tensor) -> Tensor | None:
        """None, or min(SNR, γ) over what turns it into a weight of this prediction."""
        if self.weighting == "none":
            return None
        kept = self.scheduler.alphas_cumprod.to(times.device)[times]
        snr = (kept / (1 - kept)).float()
        by = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[self.told]
        # Where nothing is left of the data (zero terminal SNR), 0 / 0 is a weight of 1 for ε.
        return torch.where(by == 0, 1.0, snr.clamp(max=self.snr_gamma) / by)


@dataclass
class Flow(NoisePath):
    """Rectified flow: noisy latents are (1 - σ)·x + σ·ε, and the denoiser predicts ε - x.

    Times are 1000·σ on a grid of `num_timesteps`, as in diffusers' training scripts of SD3, FLUX
    and Sana, moved towards noise by the `shift` s: σ becomes s·σ / (1 + (s - 1)·σ) (Esser et al.
    2024, arXiv 2403.03206, equation 23). Their density before that is uniform, `logit-normal` (with
    `logit_mean` and `logit_std`, of the data's share) or `mode` (ibid., section 3.1).

    Args:
        shift: s.
        num_timesteps: of the grid.
        weighting: `none`; `sigma-sqrt`: 1/σ²; `cosmap`: 2 / (π·(1 - 2σ + 2σ²)) (ibid.); or
            `preconditioned`: σ², which is the error of x that the prediction implies (Karras et al.
            2022, arXiv 2206.00364, section 5), and the usual one of SD3's script.
        density: of the times.
    """

    weightings = ("none", "sigma-sqrt", "cosmap", "preconditioned")
    densities = ("uniform", "logit-normal", "mode")
    shift: float = 1.0
    num_timesteps: int = 1000
    weighting: str = "none"
    density: str = "uniform"
    logit_mean: float = 0.0
    logit_std: float = 1.0

    @property
    def told(self) -> str:
        """What it is called."""
        return "flow"

    @property
    def axis(self) -> str:
        """Times are σ on a grid."""
        return f"{self.num_timesteps}·σ"

    @cached_property
    def grid(self) -> NDArray[np.float32]:
        """All times, the least noise first, as the stock scheduler computes them."""
        stock = FlowMatchEulerDiscreteScheduler(self.num_timesteps, shift=self.shift)
        return stock.timesteps.numpy()[::-1].copy()

    def times(self, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the grid, by inverse CDF."""
        share = self._share_of_data(np.asarray(uniform, dtype=np.float64))
        # Stock scripts count from the most noise; u = 0 is a share of exactly 1.
        place = np.minimum((share * self.num_timesteps).astype(np.int64), self.num_timesteps - 1)
        return self.grid[self.num_timesteps - 1 - place].astype(np.float64)

    def noisy(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """The mean of data and noise, weighted by σ."""
        sigma = self.sigmas(times).view(-1, *[1] * (latents.ndim - 1))
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """The velocity from data to noise."""
        return noise - latents

    def weights(self, times: Tensor) -> Tensor | None:
        """By σ; see the class."""
        sigma = self.sigmas(times)
        match self.weighting:
            case "sigma-sqrt":
                return sigma**-2
            case "cosmap":
                return 2 / (math.pi * (1 - 2 * sigma + 2 * sigma**2))
            case "preconditioned":
                return sigma**2
            case _:
                return None

    def sigmas(self, times: Tensor) -> Tensor:
        """σ of each time, (B,) float32."""
        return times.float() / self.num_timesteps

    def _share_of_data(self, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
        """1 where u is 0, falling, with the density that the stock scripts draw."""
        match self.density:
            case "logit-normal":
                drawn: NDArray[np.float64] = expit(
                    self.logit_mean - self.logit_std * ndtri(uniform)
                )
                return drawn
            case "mode":
                bent = np.cos(np.pi * uniform / 2) ** 2 - 1 + uniform
                return 1 - uniform - MODE_SCALE * bent
            case _:
                return 1 - uniform


def path_of(
    scheduler: Mapping[str, Any],
    name: str = "the model",
    tokens: int | None = None,
    *,
    shift: float | str | None = None,
    usual: Mapping[str, str] | None = None,
    **options: Any,
) -> NoisePath:
    """The path that a scheduler's configuration says, whatever sampler it belongs to.

    Args:
        scheduler: the configuration, such as of `scheduler_config.json`.
        name: what errors call the model.
        tokens: how many the denoiser sees of a picture, for a shift that depends on the resolution.
        shift: of a flow; None: as the configuration says; `auto`: by `tokens`.
        usual: `weighting` and `density`, of a path that knows them, where `options` say nothing.
        options: of `Diffusion` or `Flow`; None is their usual one.

    Raises:
        UserError: the configuration has no path that is known, or not such options.
    """
    given = {key: value for key, value in options.items() if value is not None}
    _check_numbers(shift, **given)
    kind = str(scheduler.get("_class_name", ""))
    flow = kind.startswith("FlowMatch") or bool(scheduler.get("use_flow_sigmas"))
    if flow or scheduler.get("prediction_type") == "flow_prediction":
        return _flow(scheduler, tokens, shift, _fitting(Flow, usual) | _kept(Flow, given))
    betas = [scheduler.get(key) for key in ("beta_start", "trained_betas")]
    # Those of CogVideoX change ᾱ after that.
    if "EDM" in kind or betas == [None, None] or "snr_shift_scale" in scheduler:
        raise UserError(
            f"{name}: of its scheduler {kind} no noise path is known; known are those with betas "
            "(such as DDPMScheduler) and flow matching (FlowMatchEulerDiscreteScheduler)"
        )
    if shift is not None:
        raise UserError("--shift: it belongs to flow matching, and this is none; leave it out")
    if (predicted := scheduler.get("prediction_type", "epsilon")) not in PREDICTIONS:
        raise UserError(
            f"{name}: prediction type '{predicted}' of its scheduler is not known; use a model "
            f"with {', '.join(PREDICTIONS)} or flow"
        )
    own = {key: value for key, value in scheduler.items() if not key.startswith("_")}
    made = DDPMScheduler.from_config(own)
    if not bool(made.alphas_cumprod.isfinite().all()):
        raise UserError(f"{name}: the betas of its scheduler are not finite; save it again")
    return Diffusion(made, **(_fitting(Diffusion, usual) | _kept(Diffusion, given)))


def _flow(
    scheduler: Mapping[str, Any], tokens: int | None, shift: float | str | None, given: Any
) -> Flow:
    told = float(scheduler.get("flow_shift") or scheduler.get("shift") or 1.0)
    if scheduler.get("use_dynamic_shifting"):
        told = 1.0  # as in training scripts: samplers alone shift by resolution
    if shift == "auto":
        told = resolution_shift(scheduler, tokens) if tokens else told
    elif shift is not None:
        told = float(shift)
    steps = int(scheduler.get("num_train_timesteps", 1000))
    return Flow(told, steps, **given)


def _check_numbers(
    shift: float | str | None,
    snr_gamma: float | None = None,
    weighting: str | None = None,
    **_: Any,
) -> None:
    """Raise `UserError` for a shift that is none, or a γ without the weighting that has it."""
    if shift not in (None, "auto") and not 0 < float(shift) < math.inf:
        raise UserError(f"--shift: {shift} given; give a number above 0, such as 3, or auto")
    if snr_gamma is not None and weighting != "min-snr":
        raise UserError("--snr-gamma: it belongs to --weighting min-snr; add that, or leave it out")


def resolution_shift(scheduler: Mapping[str, Any], tokens: int) -> float:
    """The shift that depends on the resolution: exp(μ), with μ linear in the tokens of a picture.

    As diffusers' samplers of FLUX and SD3 have it.
    """
    low, high = scheduler.get("base_shift") or 0.5, scheduler.get("max_shift") or 1.15
    first = scheduler.get("base_image_seq_len") or 256
    last = scheduler.get("max_image_seq_len") or 4096
    return math.exp(low + (high - low) * (tokens - first) / (last - first))


def _fitting(kind: type[NoisePath], usual: Mapping[str, str] | None) -> dict[str, str]:
    """What is usual, as far as a path of this kind knows it."""
    known = {"weighting": kind.weightings, "density": kind.densities}
    return {key: value for key, value in (usual or {}).items() if value in known[key]}


def _kept(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a path of this kind has."""
    return {key: value for key, value in given.items() if key in kind.__dataclass_fields__}  # type: ignore[attr-defined]
