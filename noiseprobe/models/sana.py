"""Sana."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from noiseprobe.models.base import Conditioning, DiffusionModel


class Sana(DiffusionModel):
    """A linear transformer on deeply compressed latents and a language model's words, as a flow.

    Xie et al. 2024 (arXiv 2410.10629). Its autoencoder draws nothing. diffusers loads no learned
    words into its pipeline, and its training script encodes captions without an instruction.
    """

    pipeline_name = "SanaPipeline"

    def vae_cell(self) -> int:
        """The side of what a latent stands for, in pixels."""
        return int(2 ** (len(self.vae.config.encoder_block_out_channels) - 1))

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """The words (N, tokens, width), and which of them there are."""
        words, there, _, _ = self.stock.encode_prompt(
            list(captions), do_classifier_free_guidance=False, device=self.text_device
        )
        return {"words": words, "there": there}

    def predict(
        self, noisy: Tensor, times: Tensor, conditioning: Conditioning, places: Tensor
    ) -> Tensor:
        """What the transformer predicts."""
        predicted: Tensor = self.denoiser(
            hidden_states=noisy,
            encoder_hidden_states=conditioning["words"],
            encoder_attention_mask=conditioning["there"],
            timestep=times,
            return_dict=False,
        )[0]
        return predicted

    def drawing_options(self, captions: Sequence[str], guidance: float) -> dict[str, Any]:
        """Pictures of just the resolution, from captions encoded as in training."""
        own = {"use_resolution_binning": False, "complex_human_instruction": None}
        return super().drawing_options(captions, guidance) | own
