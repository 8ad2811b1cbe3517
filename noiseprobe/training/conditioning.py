"""Captions become conditioning, each distinct one encoded as seldom as can be."""

from collections.abc import Iterable, Sequence

import torch

from noiseprobe.models.base import Conditioning, DiffusionModel
from noiseprobe.models.placing import placed
from noiseprobe.training.cache import Cache, Kept, fingerprint, key_of

NAME = "captions"
"""Of the entry in the cache."""


class Conditioner:
    """Gives the conditioning of captions, and keeps it where nothing changes it.

    Args:
        model: whose text encoders are asked.
        keep: whether they stay as they are, so that a caption is encoded once, without gradients;
            the encoders are on the model's device meanwhile alone.
        cache: keeps what was encoded for the next time. Each caption is then encoded by itself, so
            that it does not matter beside which others it first comes.
    """

    def __init__(
        self, model: DiffusionModel, keep: bool = False, cache: Cache | None = None
    ) -> None:
        self.model = model
        self.keep = keep
        self.cache = cache
        self._known: dict[str, Conditioning] = {}
        if cache:
            self._key = encoders_key(model)
            self._known = _unpacked(cache.taken(NAME, self._key), model)

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        """The conditioning, one row per caption; each distinct caption is encoded once."""
        distinct = sorted(set(captions))
        if self.keep:
            self.learn(distinct)
            known = self._known
        else:
            known = self._encoded(distinct)
        rows = [known[caption] for caption in captions]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def learn(self, captions: Iterable[str]) -> None:
        """Encode the captions that are not known yet, to be kept."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self._known]
        if not new:
            return
        modules = [each.module for each in self.model.encoders]
        with torch.no_grad(), placed(modules, self.model.device):
            for some in [[each] for each in new] if self.cache else [new]:
                self._known |= self._encoded(some)
        if self.cache:
            self.cache.keep(NAME, self._key, _packed(self._known))

    def _encoded(self, captions: Sequence[str]) -> dict[str, Conditioning]:
        """The conditioning of each caption, without the dimension of the batch."""
        if not captions:
            return {}
        rows = self.model.encode_captions(captions)
        return {
            caption: {name: each[row] for name, each in rows.items()}
            for row, caption in enumerate(captions)
        }


def encoders_key(model: DiffusionModel) -> str:
    """What the conditioning of a caption depends on, in short."""
    parts = [type(model).__name__, str(model.clip_skip), repr(model.denoiser.config)]
    for each in model.encoders:
        parts += [each.name, repr(each.module.config), fingerprint(each.module)]
        parts += [repr(each.tokenizer), repr(sorted(each.tokenizer.get_vocab().items()))]
    return key_of(*parts, model.device.type)


def _packed(known: dict[str, Conditioning]) -> Kept:
    """The captions are told, in the order of their numbers in the names of the tensors."""
    tensors = {
        f"{number} {name}": each
        for number, row in enumerate(known.values())
        for name, each in row.items()
    }
    return Kept(tensors, list(known))


def _unpacked(kept: Kept | None, model: DiffusionModel) -> dict[str, Conditioning]:
    known: dict[str, Conditioning] = {}
    if kept is None:
        return known
    for label, each in kept.tensors.items():
        number, name = label.split(" ")
        known.setdefault(kept.told[int(number)], {})[name] = each.to(model.device)
    return known
