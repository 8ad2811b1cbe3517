"""FLUX.1, dev and schnell."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import FluxPipeline
from torch import Tensor

from noiseprobe.models.base import Conditioning, DiffusionModel

GUIDANCE = 3.5
"""What a guidance-distilled model is told in training: the default of diffusers' DreamBooth script.

The commands in its README tell it 1.
"""

SIDE = 128  # of the latents that the model was made for; no configuration says it
MAX_TOKENS = {True: 512, False: 256}  # of the T5, of dev and of schnell


class Flux(DiffusionModel):
    """A transformer on packed latents and words of a CLIP and a T5, trained as a flow.

    Black Forest Labs 2024. Latents go in as tokens of 2 × 2, and come out so.
    """

    pipeline_name = "FluxPipeline"
    encoder_names: ClassVar[Mapping[str, str]] = {
        "text_encoder": "tokenizer",
        "text_encoder_2": "tokenizer_2",
    }
    worded = ("text_encoder", "text_encoder_2")
    lora_targets = (
        *("attn.to_k", "attn.to_q", "attn.to_v", "attn.to_out.0"),
        *("attn.add_k_proj", "attn.add_q_proj", "attn.add_v_proj", "attn.to_add_out"),
        *("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
    )
    optional = ("image_encoder", "feature_extractor")
    patch = 2

    def __init__(self, *given: Any, **options: Any) -> None:
        self._places: dict[tuple[Any, ...], Tensor] = {}  # of tokens, by sides, device and type
        super().__init__(*given, **options)

    def usual_resolution(self) -> int:
        """1024 pixels, with a usual VAE."""
        return SIDE * self.vae_cell()

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """The T5's words (N, tokens, width) and the CLIP's pooled captions."""
        words, pooled, _ = self.stock.encode_prompt(
            list(captions),
            list(captions),
            device=self.text_device,
            max_sequence_length=MAX_TOKENS[self.guided],
        )
        return {"words": words, "pooled": pooled}

    @property
    def taken(self) -> int:
        """Channels of the latents that the transformer takes, 2 × 2 of them as one token."""
        return super().taken // 4

    @property
    def guided(self) -> bool:
        """Whether the transformer is told a guidance scale: FLUX.1-dev is, schnell is not."""
        return bool(self.denoiser.config.guidance_embeds)

    def predict(
        self, noisy: Tensor, times: Tensor, conditioning: Conditioning, places: Tensor
    ) -> Tensor:
        """What the transformer predicts, unpacked."""
        count, channels, height, width = noisy.shape
        device, dtype = noisy.device, noisy.dtype
        where = height // 2, width // 2, device, dtype
        if where not in self._places:
            self._places[where] = FluxPipeline._prepare_latent_image_ids(count, *where)
        packed = FluxPipeline._pack_latents(noisy, count, channels, height, width)
        words = conditioning["words"]
        predicted = self.denoiser(
            hidden_states=packed,
            timestep=(times / 1000).to(dtype),
            guidance=torch.full((count,), GUIDANCE, device=device) if self.guided else None,
            pooled_projections=conditioning["pooled"],
            encoder_hidden_states=words,
            txt_ids=torch.zeros(words.shape[1], 3, device=device, dtype=dtype),
            img_ids=self._places[where],
            return_dict=False,
        )[0]
        sides = height * self.cell, width * self.cell
        unpacked: Tensor = FluxPipeline._unpack_latents(predicted, *sides, self.cell)
        return unpacked

    def drawing_options(self, captions: Sequence[str], guidance: float) -> dict[str, Any]:
        """Captions as long as in training."""
        own = {"max_sequence_length": MAX_TOKENS[self.guided]}
        return super().drawing_options(captions, guidance) | own
