"""An attribute classifier, trained apart from the model, that says what a picture shows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.tiny_sd.backgrounds import BACKGROUNDS
from experiments.tiny_sd.schedule import Budget, Journal, cosine
from experiments.tiny_sd.shapes import SHAPES
from experiments.tiny_sd.train_vae import pixels
from experiments.tiny_sd.world import COLOUR_NAMES, TEXTURES, Scenes, draw_scenes

CLASSES = {
    "shape": len(SHAPES),
    "colour": len(COLOUR_NAMES),
    "texture": len(TEXTURES),
    "background": len(BACKGROUNDS),
}
EVERYTHING = "everything"
PEAK_LEARNING_RATE = 2e-3
SEED = 77  # scenes apart from those of the model
POOL = 1024


class Classifier(nn.Module):
    """A small convolutional network with one head per attribute."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 256), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(256, n) for name, n in CLASSES.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (N, classes) of each attribute, for images (N, 3, 64, 64) in [-1, 1]."""
        features = self.trunk(images)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def says(self, images: Tensor) -> dict[str, Tensor]:
        """The most likely class (N,) of each attribute."""
        parts = [self(part) for part in images.split(128)]
        return {name: torch.cat([part[name].argmax(1) for part in parts]) for name in CLASSES}


def train_classifier(
    out: Path, budget: Budget, device: torch.device, batch: int = 64
) -> Classifier:
    """Train, or go on training; the state is `out`/classifier.pt.

    Half of the pictures are softened, so that how a decoder draws does not throw it off.
    """
    torch.manual_seed(SEED)
    classifier = Classifier().to(device).train()
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.01)
    journal = Journal(
        out / "classifier.pt", {"classifier": classifier, "optimiser": optimiser}, device
    )
    journal.resume()
    pool_index = -1
    while (progress := budget.progress(journal.step, journal.seconds)) < 1:
        first = journal.step * batch
        if first // POOL != pool_index:
            pool_index = first // POOL
            scenes = draw_scenes(SEED, pool_index * POOL, POOL)
            images, truth = pixels(scenes.render()), labels(scenes)
        rows = slice(first % POOL, first % POOL + batch)
        for group in optimiser.param_groups:
            group["lr"] = cosine(progress, PEAK_LEARNING_RATE)
        shown = images[rows].clone()
        shown[::2] = soften(shown[::2])
        logits = classifier(shown.to(device))
        losses = [F.cross_entropy(logits[name], truth[name][rows].to(device)) for name in CLASSES]
        loss = torch.stack(losses).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        journal.tick(f"classifier's loss {loss.item():.3f}")
    journal.save()
    return classifier.eval()


def soften(images: Tensor) -> Tensor:
    """The pictures at half size and back."""
    small = F.interpolate(images, scale_factor=0.5, mode="area")
    return F.interpolate(small, size=images.shape[-2:], mode="bilinear", antialias=False)


def labels(scenes: Scenes) -> dict[str, Tensor]:
    """The true class (N,) of each attribute."""
    return {name: torch.from_numpy(getattr(scenes, name)) for name in CLASSES}


def right(classifier: Classifier, images: Tensor, truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Whether the classifier sees each attribute, and all of them, as it should be, (N,) each."""
    said = classifier.says(images.to(next(classifier.parameters()).device))
    seen = {name: said[name].cpu() == truth[name] for name in CLASSES}
    return seen | {EVERYTHING: torch.stack([*seen.values()]).all(0)}


def accuracy(classifier: Classifier, images: Tensor, truth: dict[str, Tensor]) -> dict[str, float]:
    """Share of pictures (N, 3, 64, 64) in which the classifier is right, by attribute."""
    seen = right(classifier, images, truth)
    return {name: float(hits.float().mean()) for name, hits in seen.items()}
