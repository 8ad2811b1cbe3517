"""Captions become conditioning, each distinct one encoded as seldom as can be."""

from collections.abc import Sequence

import torch

from noiseprobe.models.base import Conditioning, DiffusionModel


class Conditioner:
    """Gives the conditioning of captions, and keeps it where nothing changes it.

    Args:
        model: whose text encoders are asked.
        keep: whether they stay as they are, so that a caption is encoded once, without gradients.
    """

    def __init__(self, model: DiffusionModel, keep: bool = False) -> None:
        self.model = model
        self.keep = keep
        self._known: dict[str, Conditioning] = {}

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        """The conditioning, one row per caption; each distinct caption is encoded once."""
        distinct = sorted(set(captions))
        if self.keep:
            new = [caption for caption in distinct if caption not in self._known]
            with torch.no_grad():
                self._known |= self._encoded(new)
            known = self._known
        else:
            known = self._encoded(distinct)
        rows = [known[caption] for caption in captions]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _encoded(self, captions: Sequence[str]) -> dict[str, Conditioning]:
        """The conditioning of each caption, without the dimension of the batch."""
        if not captions:
            return {}
        rows = self.model.encode_captions(captions)
        return {
            caption: {name: each[row] for name, each in rows.items()}
            for row, caption in enumerate(captions)
        }
