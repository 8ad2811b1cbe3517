"""Stable Diffusion XL."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from noiseprobe.models.base import Conditioning, DiffusionModel


class StableDiffusionXL(DiffusionModel):
    """A UNet that sees two CLIPs' words, a pooled caption, and sizes (Podell et al. 2023)."""

    pipeline_name = "StableDiffusionXLPipeline"
    denoiser_name = "unet"
    encoder_names: ClassVar[Mapping[str, str]] = {
        "text_encoder": "tokenizer",
        "text_encoder_2": "tokenizer_2",
    }
    worded = ("text_encoder", "text_encoder_2")
    optional = ("image_encoder", "feature_extractor")
    skips_layers = True

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """Both encoders' words (N, tokens, width) side by side, and the second's pooled caption."""
        words, _, pooled, _ = self.stock.encode_prompt(
            list(captions),
            device=self.text_device,
            do_classifier_free_guidance=False,
            clip_skip=self.clip_skip,
        )
        return {"words": words, "pooled": pooled}

    def predict(
        self, noisy: Tensor, times: Tensor, conditioning: Conditioning, places: Tensor
    ) -> Tensor:
        """What the UNet predicts, told each photograph's size, its crop, and the size drawn."""
        drawn = torch.full_like(places[:, :2], self.resolution)
        beside = {
            "text_embeds": conditioning["pooled"],
            "time_ids": torch.cat([places, drawn], 1).to(noisy.dtype),
        }
        predicted: Tensor = self.denoiser(
            noisy, times, conditioning["words"], added_cond_kwargs=beside, return_dict=False
        )[0]
        return predicted
