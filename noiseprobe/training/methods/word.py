"""The placeholder: a new word, whose vectors are trained while all other words stay as they are.

They are parameters of their own rather than rows of whole matrices, so that no other row has to be
put back after each step and the optimiser's state is as small as what is trained.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from noiseprobe.core.errors import UserError
from noiseprobe.models.base import DiffusionModel, Encoder


class Word:
    """The placeholder's vectors, (num_vectors, width) in each text encoder that carries it.

    `initializer` is the word whose embedding training starts from, and must be one token of the
    model; None takes the class noun, and the mean of its tokens where it has several. Every vector
    starts from the same embedding, as in the diffusers example. `text` is what stands for all
    vectors in a caption, as the stock pipeline has it. Raises `UserError` for a placeholder that a
    tokenizer already knows, an initializer of several tokens, or a family into which diffusers
    loads no learned words.
    """

    def __init__(
        self,
        model: DiffusionModel,
        placeholder: str,
        class_noun: str,
        initializer: str | None = None,
        num_vectors: int = 1,
    ) -> None:
        require_words(type(model))
        self.text = placeholder
        tokens = [placeholder, *(f"{placeholder}_{i}" for i in range(1, num_vectors))]
        carriers = [each for each in model.encoders if each.name in model.worded]
        starts = [_initial_embedding(each, class_noun, initializer) for each in carriers]
        self.named: dict[str, nn.Parameter] = {}
        self.files: dict[str, str] = {}
        for number, (carrier, start) in enumerate(zip(carriers, starts, strict=True), 1):
            name = placeholder if number == 1 else f"{placeholder} {number}"
            self.named[name] = _attach(carrier, tokens, start.repeat(num_vectors, 1))
            # As in diffusers' training script of SDXL.
            suffix = "" if number == 1 else f"_{number}"
            self.files[name] = f"learned_embeds{suffix}.safetensors"

    @property
    def vectors(self) -> nn.Parameter:
        """Those in the first text encoder."""
        return next(iter(self.named.values()))

    def save(self, directory: Path) -> None:
        """Write `learned_embeds.safetensors`, for `load_textual_inversion`; one per encoder."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, vectors in self.named.items():
            own = vectors.detach().to("cpu", copy=True)
            save_file({self.text: own}, directory / self.files[name])

    def read(self, directory: Path) -> dict[str, Tensor]:
        """The vectors that `save` wrote into `directory`, by the names of `named`."""
        return {name: load_file(directory / file)[self.text] for name, file in self.files.items()}


def require_words(family: type[DiffusionModel]) -> None:
    """Raise `UserError` for a family into which diffusers loads no learned words."""
    if not family.worded:
        adapted = ", or dreambooth-lora with --no-train-word" if family.takes_adapters() else ""
        raise UserError(
            f"--method: diffusers loads no learned words into {family.pipeline_name}; choose "
            f"dreambooth{adapted}"
        )


def _initial_embedding(encoder: Encoder, class_noun: str, initializer: str | None) -> Tensor:
    word = class_noun if initializer is None else initializer
    ids = encoder.tokenizer.encode(word, add_special_tokens=False)
    if initializer is not None and len(ids) != 1:
        raise UserError(
            f"--initializer: '{initializer}' is {len(ids)} tokens for this model; "
            "give a word that is one, such as a plainer noun"
        )
    if not ids:
        raise UserError(f"--class: '{class_noun}' has no token in this model; give a noun")
    weight = encoder.module.get_input_embeddings().weight
    return weight[torch.tensor(ids, device=weight.device)].float().mean(0, keepdim=True)


def _attach(encoder: Encoder, tokens: list[str], start: Tensor) -> nn.Parameter:
    """Add the tokens to an encoder; the parameter that holds their vectors."""
    first = _add_tokens(encoder.tokenizer, tokens)
    embedding = encoder.module.get_input_embeddings()
    vectors = nn.Parameter(start)
    encoder.module.set_input_embeddings(_ExtendedEmbedding(embedding.weight, first, vectors))
    return vectors


class _ExtendedEmbedding(nn.Module):
    """A frozen embedding matrix with trained rows appended at the ids from `first` on."""

    def __init__(self, weight: Tensor, first: int, vectors: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight
        self.first = first
        self.vectors = vectors

    def forward(self, ids: Tensor) -> Tensor:
        added = ids >= self.first
        known = F.embedding(ids.masked_fill(added, 0), self.weight)
        new = F.embedding((ids - self.first).clamp(min=0), self.vectors.to(known.dtype))
        return torch.where(added[..., None], new, known)


def _add_tokens(tokenizer: Any, tokens: list[str]) -> int:
    """Add the tokens to the tokenizer; the id of the first, the others follow."""
    vocabulary = tokenizer.get_vocab()
    for token in tokens:
        if token in vocabulary or f"{token}</w>" in vocabulary:
            raise UserError(
                f"--placeholder: the model's vocabulary already has '{token}'; choose another, "
                "such as '<my-dog>'"
            )
    first = len(tokenizer)
    tokenizer.add_tokens(tokens)
    return first
