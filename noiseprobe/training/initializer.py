"""The word that a placeholder starts from, chosen by how well it describes the photographs.

Voronov et al. 2023 start textual inversion from words that a CLIP finds the best, the worst, or
that are drawn at random.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Reporter

if TYPE_CHECKING:
    from noiseprobe.pictures.likeness import Likeness

CHOICES = ("best", "worst", "random")
_WORD = re.compile(r"[a-z]{3,}")
_AT_ONCE = 256


def candidates(tokenizer: Any, *others: Any) -> list[str]:
    """Every word of three letters or more that is one token of a CLIP tokenizer, sorted.

    It is one of each of the `others` as well, those of the encoders that carry the word beside.
    """
    every = (tokenizer, *others)
    words = (
        token.removesuffix("</w>") for token in tokenizer.get_vocab() if token.endswith("</w>")
    )
    return sorted(
        word
        for word in words
        if _WORD.fullmatch(word)
        and all(len(each.encode(word, add_special_tokens=False)) == 1 for each in every)
    )


def score(words: Sequence[str], likeness: "Likeness", reporter: Reporter) -> np.ndarray:
    """CLIP similarity (N,) of "a photo of a WORD" to the photographs, for each word."""
    reporter.stage("scoring initializers", len(words))
    scores = []
    for first in range(0, len(words), _AT_ONCE):
        captions = [f"a photo of a {word}" for word in words[first : first + _AT_ONCE]]
        scores.append(
            (likeness.clip.embed_captions(captions) @ likeness.photographs.T).mean(1).numpy()
        )
        reporter.advance(first + len(captions))
    return np.concatenate(scores)


def choose(
    how: str, tokenizers: Sequence[Any], likeness: "Likeness", seed: int, reporter: Reporter
) -> dict[str, Any]:
    """The chosen word as `word`, and the scores of all words as `scores`, the best first.

    `how` is one of `CHOICES`; the word is one token to each of the tokenizers, of which the first
    is a CLIP's. A random word depends on `seed` and needs no scores. Equal scores are
    told apart by the alphabet. Raises `UserError` where the model knows no such word.
    """
    words = candidates(*tokenizers)
    if not words:
        raise UserError(f"--initializer: the model has no one-token word for '{how}'; name one")
    if how == "random":
        drawn = np.random.Generator(np.random.Philox(seed)).integers(len(words))
        return {"chosen": how, "word": words[drawn]}
    scores = score(words, likeness, reporter)
    order = np.argsort(-scores, kind="stable")
    chosen = order[0] if how == "best" else order[-1]
    ranked = {words[index]: round(float(scores[index]), 6) for index in order}
    return {"chosen": how, "word": words[chosen], "scores": ranked}
