"""PixArt-Σ."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from noiseprobe.models.base import Conditioning, DiffusionModel

TOLD_SIZES = 128
"""Of the latents of models that are told the size of a picture beside the text."""


class PixArtSigma(DiffusionModel):
    """A transformer that sees a T5's words by cross-attention, trained on ε.

    Chen et al. 2024 (arXiv 2403.04692). It learns the variance as well. diffusers loads neither
    learned words nor adapters into its pipeline.
    """

    pipeline_name = "PixArtSigmaPipeline"

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """The words (N, tokens, width), and which of them there are."""
        words, there, _, _ = self.stock.encode_prompt(
            list(captions), do_classifier_free_guidance=False, device=self.text_device
        )
        return {"words": words, "there": there}

    def predict(
        self, noisy: Tensor, times: Tensor, conditioning: Conditioning, places: Tensor
    ) -> Tensor:
        """What the transformer predicts, the variance with it."""
        sizes: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.denoiser.config.sample_size == TOLD_SIZES:
            count = len(noisy)
            sizes = {
                "resolution": torch.full((count, 2), self.resolution).to(noisy),
                "aspect_ratio": torch.ones(count, 1).to(noisy),
            }
        predicted: Tensor = self.denoiser(
            noisy,
            encoder_hidden_states=conditioning["words"],
            encoder_attention_mask=conditioning["there"],
            timestep=times,
            added_cond_kwargs=sizes,
            return_dict=False,
        )[0]
        return predicted

    def drawing_options(self, captions: Sequence[str], guidance: float) -> dict[str, Any]:
        """Pictures of just the resolution, from captions encoded as in training."""
        own = {"use_resolution_binning": False, "clean_caption": False}
        return super().drawing_options(captions, guidance) | own
