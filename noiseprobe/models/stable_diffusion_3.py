"""Stable Diffusion 3 and 3.5."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from noiseprobe.models.base import Conditioning, DiffusionModel

MAX_TOKENS = 77
"""Of the T5, as in diffusers' training script."""


class StableDiffusion3(DiffusionModel):
    """A transformer on pictures and words of two CLIPs and a T5, trained as a flow.

    Esser et al. 2024 (arXiv 2403.03206). Any of its text encoders may be missing. diffusers loads
    no learned words into its pipeline.
    """

    pipeline_name = "StableDiffusion3Pipeline"
    encoder_names: ClassVar[Mapping[str, str]] = {
        "text_encoder": "tokenizer",
        "text_encoder_2": "tokenizer_2",
        "text_encoder_3": "tokenizer_3",
    }
    lora_targets = (
        *("attn.add_k_proj", "attn.add_q_proj", "attn.add_v_proj", "attn.to_add_out"),
        *("attn.to_k", "attn.to_out.0", "attn.to_q", "attn.to_v"),
    )
    optional = ("text_encoder_3", "tokenizer_3", "image_encoder", "feature_extractor")
    weighting = "preconditioned"
    density = "logit-normal"
    skips_layers = True

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """Words (N, tokens, width) and pooled captions, as the stock pipeline joins them."""
        texts = list(captions)
        words, _, pooled, _ = self.stock.encode_prompt(
            texts,
            texts,
            texts,
            device=self.text_device,
            do_classifier_free_guidance=False,
            clip_skip=self.clip_skip,
            max_sequence_length=MAX_TOKENS,
        )
        return {"words": words, "pooled": pooled}

    def predict(
        self, noisy: Tensor, times: Tensor, conditioning: Conditioning, places: Tensor
    ) -> Tensor:
        """What the transformer predicts."""
        predicted: Tensor = self.denoiser(
            hidden_states=noisy,
            timestep=times,
            encoder_hidden_states=conditioning["words"],
            pooled_projections=conditioning["pooled"],
            return_dict=False,
        )[0]
        return predicted
