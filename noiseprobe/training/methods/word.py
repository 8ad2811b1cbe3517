"""The placeholder: a new word, whose vectors are trained while all other words stay as they are.

They are a parameter of their own rather than rows of the whole matrix, so that no other row has to
be put back after each step and the optimiser's state is as small as what is trained.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from noiseprobe.core.errors import UserError
from noiseprobe.models.base import DiffusionModel

WEIGHTS_NAME = "learned_embeds.safetensors"


class Word:
    """The placeholder's vectors, (num_vectors, width), attached to the model's text encoder.

    `initializer` is the word whose embedding training starts from, and must be one token of the
    model; None takes the class noun, and the mean of its tokens where it has several. Every vector
    starts from the same embedding, as in the diffusers example. `text` is what stands for all
    vectors in a caption. Raises `UserError` for a placeholder that the tokenizer already knows or
    an initializer of several tokens.
    """

    def __init__(
        self,
        model: DiffusionModel,
        placeholder: str,
        class_noun: str,
        initializer: str | None = None,
        num_vectors: int = 1,
    ) -> None:
        self.tokens = [placeholder, *(f"{placeholder}_{i}" for i in range(1, num_vectors))]
        self.text = " ".join(self.tokens)
        start = _initial_embedding(model, class_noun, initializer)
        first = _add_tokens(model.tokenizer, self.tokens)
        embedding = model.text_encoder.get_input_embeddings()
        self.vectors = nn.Parameter(start.repeat(num_vectors, 1))
        model.text_encoder.set_input_embeddings(
            _ExtendedEmbedding(embedding.weight, first, self.vectors)
        )

    @property
    def named(self) -> dict[str, nn.Parameter]:
        """The vectors, under the placeholder's name."""
        return {self.tokens[0]: self.vectors}

    def save(self, directory: Path) -> None:
        """Write `learned_embeds.safetensors`, for `load_textual_inversion`."""
        directory.mkdir(parents=True, exist_ok=True)
        vectors = self.vectors.detach().to("cpu", copy=True)
        save_file({self.tokens[0]: vectors}, directory / WEIGHTS_NAME)

    def read(self, directory: Path) -> dict[str, Tensor]:
        """The vectors that `save` wrote into `directory`."""
        return load_file(directory / WEIGHTS_NAME)


def _initial_embedding(model: DiffusionModel, class_noun: str, initializer: str | None) -> Tensor:
    word = class_noun if initializer is None else initializer
    ids = model.tokenizer.encode(word, add_special_tokens=False)
    if initializer is not None and len(ids) != 1:
        raise UserError(
            f"--initializer: '{initializer}' is {len(ids)} tokens for this model; "
            "give a word that is one, such as a plainer noun"
        )
    if not ids:
        raise UserError(f"--class: '{class_noun}' has no token in this model; give a noun")
    weight = model.text_encoder.get_input_embeddings().weight
    return weight[torch.tensor(ids, device=weight.device)].float().mean(0, keepdim=True)


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
        new = F.embedding((ids - self.first).clamp(min=0), self.vectors)
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
