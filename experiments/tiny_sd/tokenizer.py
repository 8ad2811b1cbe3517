"""The tokenizer: CLIP's byte-level BPE, with every word of the world as one token."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from experiments.tiny_sd.model import TOKENS

WORD_END = "</w>"


def build_tokenizer(words: Sequence[str]) -> CLIPTokenizer:
    """A tokenizer that knows each of `words` as one token; other text falls back to bytes.

    BPE replays its merges in the order in which it learned them, so merges learned on the words
    until nothing is left to merge join every word again.
    """
    learner = Tokenizer(BPE(end_of_word_suffix=WORD_END))
    learner.pre_tokenizer = Whitespace()
    trainer = BpeTrainer(
        vocab_size=100_000,
        min_frequency=1,
        show_progress=False,
        end_of_word_suffix=WORD_END,
    )
    learner.train_from_iterator([" ".join(words)], trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + WORD_END for letter in letters)]
    tokens += ["".join(merge) for merge in merges]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        model_max_length=TOKENS,
    )
