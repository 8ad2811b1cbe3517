"""A diffusion model small enough that every variance share of its loss has a closed form.

Latents are d numbers, each N(0, 1) in the world that the denoiser was made for; photograph j has
the posterior mean μ_j and standard deviation s. With x_t = a x_0 + b ε, a² + b² = 1, the best
denoiser of such a world knows E[ε | x_t] = b (x_t - a m) / (a² + b²); caption c shifts its centre m
to m_c, as an imperfect text would. The residual is linear in both noises,

    ε - ε̂ = p ε - q z - h,   g = b,   p = 1 - g b,   q = g a s,   h = g a (μ_j - m_c),

so that the mean of the loss |ε - ε̂|²/d over any subset of factors is a quadratic form in Gaussians
whose coefficients are finite sums over timesteps, photographs and captions.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noiseprobe.draws.factors import FACTORS

Floats = NDArray[np.float64]
_DISCRETE = ("timesteps", "images", "captions")


@dataclass(frozen=True)
class AnalyticModel:
    """The model: `photographs` (J, d) are the μ_j, `captions` (C, d) the m_c, `signal` (T,) the a.

    `posterior` is s, the standard deviation of the VAE's posterior.
    """

    photographs: Floats
    captions: Floats
    signal: Floats
    posterior: float = 0.1

    @classmethod
    def make(cls, dimensions: int, seed: int = 0, timesteps: int = 200) -> "AnalyticModel":
        """Four photographs, five captions and a linear schedule of β from 1e-4 to 0.1."""
        random = np.random.default_rng(seed)
        signal = np.sqrt(np.cumprod(1 - np.linspace(1e-4, 0.1, timesteps)))
        photographs = random.normal(0, 1, (4, dimensions))
        return cls(photographs, random.normal(0, 0.25, (5, dimensions)), signal)

    def toward(self, progress: float) -> "AnalyticModel":
        """What a fine-tune makes of it: captions moved by `progress` (0…1) to the photographs."""
        centre = self.photographs.mean(axis=0)
        captions = (1 - progress) * self.captions + progress * centre
        return AnalyticModel(self.photographs, captions, self.signal, self.posterior)

    @property
    def _weights(self) -> tuple[Floats, Floats, Floats]:
        """p, q and the factor g a of h, by timestep."""
        noise = np.sqrt(1 - self.signal**2)
        drift = noise * self.signal
        return 1 - noise**2, drift * self.posterior, drift

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> dict[str, NDArray]:
        """Independent draws of all factors: indices `shape`, noises (*shape, d)."""
        wide = (*shape, self.photographs.shape[1])
        return {
            "images": random.integers(0, len(self.photographs), shape),
            "captions": random.integers(0, len(self.captions), shape),
            "vae_noise": random.standard_normal(wide),
            "timesteps": random.integers(0, len(self.signal), shape),
            "noise": random.standard_normal(wide),
        }

    def loss(self, drawn: dict[str, NDArray]) -> Floats:
        """The loss of each sample; draws may broadcast against each other."""
        p, q, drift = (each[drawn["timesteps"], None] for each in self._weights)
        apart = self.photographs[drawn["images"]] - self.captions[drawn["captions"]]
        residual = p * drawn["noise"] - q * drawn["vae_noise"] - drift * apart
        return (residual**2).mean(axis=-1)

    def expected(self) -> float:
        """The mean of the loss over all factors, exactly."""
        p, q, drift = self._weights
        apart = self.photographs[:, None] - self.captions[None]
        return float((p**2 + q**2).mean() + (drift**2).mean() * (apart**2).mean(-1).mean())

    def explained(self, given: Collection[str]) -> float:
        """Var(E[loss | given]): what the factors `given` explain together, exactly."""
        p, q, drift = self._weights
        apart = self.photographs[:, None] - self.captions[None]
        d = self.photographs.shape[1]
        h = drift[:, None, None, None] * apart
        axes = tuple(axis for axis, name in enumerate(_DISCRETE) if name not in given)

        def over(values: Floats) -> Floats:
            return values.mean(axis=axes, keepdims=True)

        each = np.ones(h.shape[:3])
        p, q = p[:, None, None] * each, q[:, None, None] * each
        mean = over(d * (p**2 + q**2) + (h**2).sum(axis=-1))
        spread = np.zeros(mean.shape)
        if "noise" in given:
            spread += 2 * d * over(p**2) ** 2 + 4 * (over(p[..., None] * h) ** 2).sum(axis=-1)
        if "vae_noise" in given:
            spread += 2 * d * over(q**2) ** 2 + 4 * (over(q[..., None] * h) ** 2).sum(axis=-1)
        if "noise" in given and "vae_noise" in given:
            spread += 4 * d * over(p * q) ** 2
        return float(mean.var() + spread.mean()) / d**2

    def shares(self) -> tuple[Floats, Floats]:
        """The true first-order and total Sobol indices of the five factors, (5,) each."""
        everything = self.explained(FACTORS)
        first = [self.explained([factor]) for factor in FACTORS]
        rest = [self.explained([each for each in FACTORS if each != factor]) for factor in FACTORS]
        return np.array(first) / everything, 1 - np.array(rest) / everything

    def interaction(self, one: str, other: str) -> float:
        """The true second-order Sobol index of two factors."""
        alone = self.explained([one]) + self.explained([other])
        return (self.explained([one, other]) - alone) / self.explained(FACTORS)
