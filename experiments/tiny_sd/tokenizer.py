"""The tokenizer: CLIP's byte-level BPE, with every word of the world as one token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from experiments.tiny_sd.model import TOKENS

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
