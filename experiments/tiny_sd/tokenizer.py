"""The tokenizer: CLIP's byte-level BPE, with every word of the world as one token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import CLIPTokenizer

from experiments.tiny_sd.model import TOKENS
from experiments.tiny_sd.world import vocabulary
from noiseprobe.core.files import written_whole

WORD_END = "</w>"


def build_tokenizer(words: Sequence[str]) -> CLIPTokenizer:
    """A tokenizer that knows each of `words` as one token; other text falls back to bytes."""
    merges = learn_merges(words)
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + WORD_END for letter in letters), *map("".join, merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        model_max_length=TOKENS,
    )


def saved_tokenizer(directory: Path) -> CLIPTokenizer:
    """The tokenizer that the cached captions were read with, made now if there is none."""
    if not directory.is_dir():
        with written_whole(directory) as beside:
            build_tokenizer(vocabulary()).save_pretrained(beside)
    return CLIPTokenizer.from_pretrained(directory)  # nosec B615 # a folder


def tokenise(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids (N, 32), padded and cut as the stock pipeline does."""
    return tokenizer(
        captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    ).input_ids


def learn_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair merges (Sennrich et al. 2016, algorithm 1) until every word is one token.

    BPE replays its merges in the order in which it learned them, and so joins every word again.
    The trainer of the tokenizers library breaks ties by chance, and here nearly all pairs tie: two
    runs of the recipe would not number their tokens alike. Here the first pair in order wins.
    """
    spelled = [[*word[:-1], word[-1] + WORD_END] for word in words]
    merges = []
    while any(len(word) > 1 for word in spelled):
        counts = Counter(pair for word in spelled for pair in pairwise(word))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        spelled = [merged(word, best) for word in spelled]
    return merges


def merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    """The word with every occurrence of `pair` joined, from the left."""
    joined: list[str] = []
    for token in word:
        if joined and (joined[-1], token) == pair:
            joined[-1] += token
        else:
            joined.append(token)
    return joined
