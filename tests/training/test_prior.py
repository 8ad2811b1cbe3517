"""Prior preservation: where class images come from, and what they add to the loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Silent
from noiseprobe.pictures.sampling import Sampler
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import prepare_prior, start, train_stage
from noiseprobe.training.objective import losses_together
from noiseprobe.training.preparing import prepare
from noiseprobe.training.prior import draw_class_images, find_class_images

DREAMBOOTH = {
    "method": "dreambooth",
    "prior": True,
    "num_class_images": 5,
    "sampling_steps": 2,
    "train_batch_size": 1,
    "steps": 2,
}


@pytest.fixture
def config(given: dict[str, Any]) -> dict[str, Any]:
    return given | DREAMBOOTH


def folder_of(directory: Path, count: int) -> Path:
    directory.mkdir()
    for index in range(count):
        Image.new("RGB", (64, 64), (40 * index, 90, 10)).save(directory / f"{index}.png")
    return directory


def test_the_model_draws_what_a_run_lacks_and_goes_on_where_it_was_cut_off(
    config: dict[str, Any], tmp_path: Path
) -> None:
    run, ready = start(resolve(config), tmp_path / "run")
    prior = prepare_prior(run, run.config, ready)
    folder = run.directory / "class-images"
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 5
    assert list(prior.captions) == ["a photo of a dog"] * 5
    before = {name: (folder / name).read_bytes() for name in names}
    for name in names[2:]:
        (folder / name).unlink()
    prepare_prior(run, run.config, prepare(run.config))
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_ctrl_c_keeps_what_was_drawn(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    monkeypatch.setattr("noiseprobe.training.prior.AT_ONCE", 2)
    run, ready = start(resolve(config), tmp_path / "run")

    class Impatient(Silent):
        def advance(self, done: int, note: str = "") -> None:
            os.kill(os.getpid(), signal.SIGINT)

    images = find_class_images(run.config, ready.concept, run.directory)
    sampler = Sampler(ready.objective.model, 2)
    with pytest.raises(Interrupted, match="2 of 5 class images"):
        draw_class_images(images, sampler, 1, Impatient())
    left = find_class_images(run.config, ready.concept, run.directory)
    assert (len(left.paths), left.missing) == (2, 3)


def test_a_folder_with_captions_is_taken_as_it_is(config: dict[str, Any], tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "dogs", 3)
    (folder / "captions.txt").write_text("a dog\na clean dog\na nice dog\n")
    run, ready = start(resolve(config | {"class_images": str(folder)}), tmp_path / "run")
    prior = prepare_prior(run, run.config, ready)
    assert list(prior.captions) == ["a dog", "a clean dog", "a nice dog"]
    assert prior.objective.mean.shape[1] == 3
    assert len(list(folder.iterdir())) == 4


def test_a_folder_is_filled_up_where_there_is_a_prompt(
    config: dict[str, Any], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "dogs", 3)
    more = {"class_images": str(folder), "class_prompt": "a nice dog"}
    run, ready = start(resolve(config | more), tmp_path / "run")
    assert prepare_prior(run, run.config, ready).objective.mean.shape[1] == 5
    assert [path.name for path in sorted(folder.iterdir())][:3] == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("count", "captions", "told"),
    [
        (3, None, "has 3 of 5 class images, and there is no prompt"),
        (0, None, "has 0 of 5 class images, and there is no prompt"),
        (3, "one\ntwo\n", "has 2 lines for 3 images"),
        (0, "one\n", "has 1 lines for 0 images"),
    ],
)
def test_wrong_folders_are_told_of_before_anything_is_written(
    config: dict[str, Any], tmp_path: Path, count: int, captions: str | None, told: str
) -> None:
    folder = folder_of(tmp_path / "dogs", count)
    if captions:
        (folder / "captions.txt").write_text(captions)
    with pytest.raises(UserError, match=told):
        start(resolve(config | {"class_images": str(folder)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_prior_changes_training_and_only_by_its_weight(
    config: dict[str, Any], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "dogs", 5)
    common = config | {"class_images": str(folder), "seed": 3}

    def curves(name: str, **more: Any) -> np.ndarray:
        run, ready = start(resolve(common | more), tmp_path / name)
        train_stage(run, run.config, ready)
        return run.train_trace()[["loss", "grad_norm"]].to_numpy()[1:]

    without = curves("without", prior=False)
    np.testing.assert_allclose(curves("weightless", prior_weight=0.0), without, rtol=1e-4)
    assert (np.abs(curves("with") / without - 1) > 0.01).all()


@pytest.mark.parametrize("method", ["dreambooth", "custom-diffusion"])
def test_one_pass_over_photographs_and_class_images_gives_the_losses_of_two(
    config: dict[str, Any], tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "dogs", 5)
    more = {"class_images": str(folder), "method": method, "train_batch_size": 3}
    run, ready = start(resolve(config | more), tmp_path / "run")
    prior = prepare_prior(run, run.config, ready)
    captions = ready.method.captions
    batch = ready.objective.draws(0, "train", len(captions)).batch(range(3), 1)
    of_class = prior.objective.draws(0, "prior", 1).batch(range(2), 1)
    own, others = ready.objective.captions(batch, captions), prior.captions_of(of_class)
    asked = list[int]()
    real = ready.model.predict

    def predict(noisy: torch.Tensor, *rest: Any) -> torch.Tensor:
        asked.append(len(noisy))
        return real(noisy, *rest)

    monkeypatch.setattr(ready.model, "predict", predict)
    both = [(ready.objective, batch, own), (prior.objective, of_class, others)]
    with torch.no_grad():
        together = losses_together(both)
        apart = [ready.objective.losses(batch, own), prior.losses(of_class)]
    assert asked == [5, 3, 2]
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-5, atol=0)
    assert ready.objective.mask is None or method == "custom-diffusion"


def test_custom_diffusion_doubles_its_rate_with_a_prior() -> None:
    rate = {"learning_rate": 1.0, "train_batch_size": 3, "method": "custom-diffusion"}
    assert resolve(rate | {"prior": True}).effective_learning_rate == 6
    assert resolve(rate | {"prior": False}).effective_learning_rate == 3
    assert resolve(rate | {"prior": True, "method": "dreambooth"}).effective_learning_rate == 3
