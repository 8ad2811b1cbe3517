"""Stable Diffusion 1.x and 2.x."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers.loaders import TextualInversionLoaderMixin
from torch import Tensor

from noiseprobe.core.errors import UserError
from noiseprobe.models.base import Conditioning, DiffusionModel, device_of, uploaded


class StableDiffusion(DiffusionModel):
    """A UNet that sees one CLIP's words by cross-attention (Rombach et al. 2022)."""

    pipeline_name = "StableDiffusionPipeline"
    denoiser_name = "unet"
    encoder_names: ClassVar[Mapping[str, str]] = {"text_encoder": "tokenizer"}
    worded = ("text_encoder",)
    optional = ("safety_checker", "feature_extractor", "image_encoder")
    skips_layers = True

    def __init__(self, *given: Any, **options: Any) -> None:
        self._tokens: dict[int, dict[str, Tensor]] = {}
        super().__init__(*given, **options)

    def changed(self) -> None:
        """Forget the tokens of captions as well."""
        super().changed()
        self._tokens.clear()

    def check(self) -> None:
        """Refuse UNets of SDXL as well."""
        if (beside := getattr(self.denoiser.config, "addition_embed_type", None)) is not None:
            raise UserError(
                f"model {self.name}: its unet takes '{beside}' beside the text, as SDXL does; give "
                "it as a StableDiffusionXLPipeline"
            )
        super().check()

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """The text encoder's last hidden state (N, tokens, width), as in the stock pipeline.

        With `clip_skip`, that of so many layers before, through the last layer's norm.
        """
        return self._encoded(captions, self.clip_skip or 0)

    def _encoded(self, captions: Sequence[str], skipped: int) -> Conditioning:
        [encoder] = self.encoders
        ids = uploaded(self._ids(encoder.tokenizer, captions), device_of(encoder.module))
        if not skipped:
            return {"words": encoder.module(ids)[0]}
        states = encoder.module(ids, output_hidden_states=True).hidden_states
        return {"words": _final_norm(encoder.module)(states[-(skipped + 1)])}

    def _ids(self, tokenizer: Any, captions: Sequence[str]) -> Tensor:
        """The tokens (N, tokens) of captions; of settled modules each is tokenized once."""
        known = self._tokens.setdefault(len(tokenizer), {}) if self._settled else {}
        if new := [each for each in dict.fromkeys(captions) if each not in known]:
            found = tokenizer(
                TextualInversionLoaderMixin().maybe_convert_prompt(new, tokenizer),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )
            known |= dict(zip(new, found.input_ids, strict=True))
        return torch.stack([known[each] for each in captions])

    def predict(
        self, noisy: Tensor, times: Tensor, conditioning: Conditioning, places: Tensor
    ) -> Tensor:
        """What the UNet predicts."""
        predicted: Tensor = self.denoiser(noisy, times, conditioning["words"], return_dict=False)[0]
        return predicted

    def drawing_options(self, captions: Sequence[str], guidance: float) -> dict[str, Any]:
        """Where layers are skipped, captions go in encoded.

        diffusers 0.42 asks for the last layer's norm under a name that it has in transformers 4. As
        there, no layer is skipped of the empty caption.
        """
        options = super().drawing_options(captions, guidance)
        if options.pop("clip_skip", None) is None:
            return options
        words = self.encode_captions(options.pop("prompt"))["words"]
        nothing = self._encoded([""], 0)["words"].expand_as(words)
        return options | {"prompt_embeds": words, "negative_prompt_embeds": nothing}

    def pipeline_options(self) -> dict[str, Any]:
        """No safety checker is asked for."""
        return {"requires_safety_checker": False}


def _final_norm(encoder: Any) -> Any:
    """Of a CLIP's text encoder, of which newer transformers have no `text_model`."""
    return getattr(encoder, "text_model", encoder).final_layer_norm
