"""Views: what a photograph looks like in training, where the loss counts, what the caption says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from noiseprobe.core.errors import UserError
from noiseprobe.models.stable_diffusion import StableDiffusion
from noiseprobe.training.concept import Concept
from noiseprobe.training.objective import Objective
from noiseprobe.training.views import FAR, NEAR, Flips, Rescales, View


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """White, so that whatever is grey is not the photograph."""
    path = tmp_path / "white.png"
    Image.fromarray(np.full((64, 64, 3), 255, np.uint8)).save(path)
    return path


def test_flips_are_two_views_with_their_shares(concept: Concept) -> None:
    look = Flips(32, flip=0.3)
    flipped, plain = look(0, concept.photographs[0])
    assert torch.equal(flipped.pixels.flip(-1), plain.pixels)
    assert look.shares == (0.3, 0.7)


def test_a_rescaled_view_masks_what_is_not_the_photograph(photograph: Path) -> None:
    for view in Rescales(64, 16, count=60)(0, photograph):
        assert view.mask is not None
        white = (view.pixels > 0.9).all(0).float()
        inside = torch.nn.functional.interpolate(view.mask[None], scale_factor=4)[0, 0]
        assert white[inside == 1].all(), "the loss sees grey"
        assert inside.sum() >= 0.5 * white.sum(), "the loss misses most of the photograph"


def test_the_place_of_an_enlarged_view_is_in_its_own_pixels(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("RGB", (96, 64)).save(path)
    views = Rescales(32, 8, center_crop=True, flip=0, count=400)(0, path)
    near = np.array([view.place for view in views if view.prefix in NEAR])
    # The middle 32 of 48 pixels, at 1.2 to 1.4 times their size.
    assert (near[:, :2] == [64, 96]).all()
    assert near[:, 3].min() == round(8 * 1.2)
    assert near[:, 3].max() <= round(8 * 1.4) + round(32 * 1.4) - 32
    assert near[:, 2].min() == 0


def test_a_latent_too_large_for_a_shrunk_photograph_is_refused() -> None:
    Rescales(192, 6)
    with pytest.raises(UserError, match=r"^--rescale: at --resolution 160 .* give 192 or more"):
        Rescales(160, 5)


def test_captions_tell_the_size(photograph: Path) -> None:
    views = Rescales(64, 16, count=200)(0, photograph)

    def share(view: View) -> float:
        return float((view.pixels > 0.9).all(0).float().mean())

    far = [share(view) for view in views if view.prefix in FAR]
    near = [share(view) for view in views if view.prefix in NEAR]
    middle = [share(view) for view in views if not view.prefix]
    assert max(far) < 0.62**2
    assert min(near) == 1
    assert min(middle) >= 0.58**2
    assert len(near) / len(views) == pytest.approx(0.34, abs=0.1)


def test_views_depend_on_seed_and_number_alone(concept: Concept) -> None:
    path = concept.photographs[0]
    one, again = Rescales(32, 8, count=5)(0, path), Rescales(32, 8, count=9)(0, path)[:5]
    other = Rescales(32, 8, count=5, seed=1)(0, path)
    for first, second in zip(one, again, strict=True):
        assert torch.equal(first.pixels, second.pixels)
    assert any(
        not torch.equal(first.pixels, second.pixels)
        for first, second in zip(one, other, strict=True)
    )


def test_the_loss_leaves_out_what_the_mask_hides(model: StableDiffusion, concept: Concept) -> None:
    look = Rescales(model.resolution, model.latent_shape[-1], count=6)
    objective = Objective(model, concept.photographs, look)
    assert objective.mask is not None
    assert objective.mask.shape[:2] == objective.mean.shape[:2] == (6, len(concept.photographs))
    batch = objective.draws(0, "train", 1).batch(range(4), 1)
    words = objective.captions(batch, ["a dog"])
    with torch.no_grad():
        before = objective.losses(batch, words)
        hidden = objective.mask[batch.views, batch.images]
        shape = (4, *model.latent_shape)
        latents, noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
        timesteps = torch.from_numpy(batch.timesteps)
        told = model.encode_captions(words)
        masked = model.loss(latents, noise, timesteps, told, hidden)
        full = model.loss(latents, noise, timesteps, told, torch.ones_like(hidden))
        plain = model.loss(latents, noise, timesteps, told)
    assert before.isfinite().all()
    assert torch.allclose(full, plain)
    assert not torch.allclose(masked, plain)
    for image, view, caption in zip(
        batch.images, batch.views, objective.captions(batch, ["a dog"]), strict=True
    ):
        assert caption == look(image, concept.photographs[image])[view].prefix + " a dog" or (
            caption == "a dog" and look(image, concept.photographs[image])[view].prefix == ""
        )
