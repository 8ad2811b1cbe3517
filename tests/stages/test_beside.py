"""Held-out photographs in a run: l_val, the paired loss, what is kept, refit and cross."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Silent
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.run.directory import Run, find_runs
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import reopen, start, train_stage
from noiseprobe.training.preparing import prepare
from tests.training.test_driver import numbers


@pytest.fixture
def held(given: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run that learns fast, and overfits."""
    rate = {
        "learning_rate": 0.01,
        "steps": 10,
        "checkpoint_every": 4,
        "val_batch": 4,
        "val_every": 1,
        "recent_steps": 4,
    }
    return given | rate | {"method": "dreambooth", "hold_out": "1", "track": ("paired", "recent")}


def trained(directory: Path, settings: dict[str, Any], reporter: Any = None) -> Run:
    config = resolve(settings)
    run, ready = start(config, directory)
    train_stage(run, config, ready, reporter or Silent())
    return run


def weights(folder: Path) -> bytes:
    return (folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()


def best_step(run: Run) -> int:
    trace = run.train_trace()
    return int(trace["step"].iloc[int(trace["l_val"].argmin())])


class InterruptAt(Silent):
    """Sends this process Ctrl-C when a step of the so-manieth training is reached."""

    def __init__(self, step: int, training: int = 1) -> None:
        self.step, self.training, self.seen = step, training, 0

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self.seen += name == "training"

    def advance(self, done: int, note: str = "") -> None:
        if (self.seen, done) == (self.training, self.step):
            os.kill(os.getpid(), signal.SIGINT)


def test_l_val_is_the_loss_of_the_held_out_photographs(
    held: dict[str, Any], tmp_path: Path
) -> None:
    run = trained(tmp_path / "run", held | {"val_every": 2})
    trace = run.train_trace().set_index("step")
    assert trace.index[trace["l_val"].notna()].tolist() == [0, 2, 4, 6, 8, 10]
    ready = prepare(run.config)
    everything = set(Path(held["concept"]).iterdir())
    assert set(ready.concept.held_out) == everything - set(ready.concept.photographs)
    ready.method.load(ready.method.read(run.checkpoint(8)))
    objective = ready.held_out
    assert objective is not None
    draws = objective.draws(0, "held-out", len(ready.method.captions))
    batch = fixed_batch(draws, 4, "stratified").batch
    captions = objective.captions(batch, ready.method.captions)
    with torch.no_grad():
        losses = objective.losses(batch, captions)
    assert trace["l_val"][8] == pytest.approx(losses.double().mean().item(), rel=1e-6)
    tracked = run.tracked_trace()
    here = tracked[(tracked["step"] == 8) & (tracked["name"] == "l_val")]
    assert here["loss"].tolist() == pytest.approx(losses.tolist(), rel=1e-6)


def test_held_out_photographs_are_seen_at_their_size(held: dict[str, Any]) -> None:
    ready = prepare(resolve(held | {"method": "custom-diffusion", "prior": False}))
    assert ready.held_out is not None
    assert ready.objective.mean.shape[0] == 50
    assert ready.objective.mask is not None
    assert ready.held_out.mean.shape[0] == 2, "as it is, and mirrored"
    assert ready.held_out.mask is None


def test_the_paired_loss_is_that_of_both_models_on_the_batch(
    held: dict[str, Any], tmp_path: Path
) -> None:
    run = trained(tmp_path / "run", held | {"paired_every": 3, "checkpoint_every": 1})
    trace = run.train_trace().set_index("step")
    assert trace.index[trace["paired"].notna()].tolist() == [3, 6, 9]
    ready = prepare(run.config)
    draws = ready.objective.draws(0, "train", len(ready.method.captions))
    batch = draws.batch(range(2), 6)
    found = []
    for step in (5, 0):
        ready.method.load(ready.method.read(run.checkpoint(step)))
        captions = ready.objective.captions(batch, ready.method.captions)
        with torch.no_grad():
            losses = ready.objective.losses(batch, captions)
        found.append(losses.double().mean().item())
    # The copy of all weights is in float16.
    assert trace["paired"][6] == pytest.approx(found[0] - found[1], abs=2e-4)
    assert abs(trace["paired"][6]) > 0.01


def test_the_recent_loss_is_that_of_a_stretch_against_its_first_weights(
    held: dict[str, Any], tmp_path: Path
) -> None:
    run = trained(tmp_path / "run", held | {"checkpoint_every": 1})
    trace = run.train_trace().set_index("step")
    assert trace.index[trace["recent"].notna()].tolist() == [4, 8]
    ready = prepare(run.config)
    draws = ready.objective.draws(0, "train", len(ready.method.captions))

    def losses(step: int, batch: Any) -> Any:
        ready.method.load(ready.method.read(run.checkpoint(step)))
        with torch.no_grad():
            captions = ready.objective.captions(batch, ready.method.captions)
            return ready.objective.losses(batch, captions).double().numpy()

    found = []
    for step in (7, 8):  # of the second half of steps 5 to 8
        batch = draws.batch(range(2), step)
        found.append(losses(step - 1, batch) - losses(4, batch))
    differences = np.concatenate(found)
    # The copy of all weights is in float16.
    assert trace["recent"][8] == pytest.approx(differences.mean(), rel=0.01)
    assert abs(trace["recent"][8]) > 1e-3
    tracked = run.tracked_trace()
    kept = tracked[(tracked["step"] == 8) & (tracked["name"] == "recent")]["loss"]
    assert kept.tolist() == pytest.approx(differences.tolist(), rel=0.05)
    assert kept.mean() == pytest.approx(trace["recent"][8])
    assert trace["recent_se"][8] == pytest.approx(kept.std(ddof=1) / 2)


@pytest.mark.parametrize("method", ["textual-inversion", "dreambooth-lora", "custom-diffusion"])
def test_the_starting_model_is_the_same_for_every_method(
    held: dict[str, Any], tmp_path: Path, method: str
) -> None:
    run = trained(
        tmp_path / "run",
        held | {"method": method, "steps": 3, "learning_rate": 1e-3, "prior": False},
    )
    paired = run.train_trace().set_index("step")["paired"]
    assert paired[1] == 0
    assert (paired[2:] != 0).all()


def test_what_is_tracked_changes_nothing_of_the_training(
    held: dict[str, Any], tmp_path: Path
) -> None:
    with_it = trained(tmp_path / "with", held)
    without = trained(tmp_path / "without", held | {"track": (), "val_batch": 1})
    assert weights(with_it.checkpoint(10)) == weights(without.checkpoint(10))
    same = ["loss", "grad_norm", "l_det"]
    pd.testing.assert_frame_equal(with_it.train_trace()[same], without.train_trace()[same])


def test_a_training_in_parts_keeps_its_starting_model(held: dict[str, Any], tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", held)
    config = resolve(held | {"steps": 4})
    run, ready = start(config, tmp_path / "parts")
    train_stage(run, config, ready)
    config = config.model_copy(update={"steps": 10})
    train_stage(run, config, ready)  # with the same live model, trained as it is
    pd.testing.assert_series_equal(run.train_trace()["paired"], whole.train_trace()["paired"])


@pytest.mark.parametrize("at", [3, 9])
def test_an_interrupted_run_goes_on_bit_for_bit(
    held: dict[str, Any], tmp_path: Path, at: int
) -> None:
    settings = held | {"watch": "l_val", "keep": "best"}
    whole = trained(tmp_path / "whole", settings)
    with pytest.raises(Interrupted):
        trained(tmp_path / "cut", settings, InterruptAt(at))
    run, config = reopen(tmp_path / "cut", {})
    train_stage(run, config, prepare(config, run))
    pd.testing.assert_frame_equal(numbers(run), numbers(whole))
    pd.testing.assert_frame_equal(run.tracked_trace(), whole.tracked_trace())
    assert run.checkpoint_steps() == whole.checkpoint_steps()
    assert weights(run.result_directory) == weights(whole.result_directory)


def test_the_result_is_the_best_by_what_is_watched_or_the_last(
    held: dict[str, Any], tmp_path: Path
) -> None:
    best = trained(tmp_path / "best", held | {"watch": "l_val", "keep": "best"})
    step = best_step(best)
    assert 0 < step < 10, "the settings make no turn; choose others"
    assert weights(best.result_directory) == weights(best.checkpoint(step))
    last = trained(tmp_path / "last", held | {"watch": "l_val", "keep": "last"})
    assert weights(last.result_directory) == weights(last.checkpoint(10))
    assert weights(last.result_directory) != weights(best.result_directory)


def test_refit_is_a_training_on_all_photographs(held: dict[str, Any], tmp_path: Path) -> None:
    run = trained(tmp_path / "run", held | {"refit": True})
    step = best_step(run)
    alone = {"steps": step, "hold_out": None, "track": ()}
    other = trained(tmp_path / "other", held | alone)
    assert weights(run.result_directory) == weights(other.checkpoint(step))
    assert len(find_runs([tmp_path])) == 2, "what lies beside a run is part of it"


def test_an_interrupted_refit_goes_on_with_its_run(held: dict[str, Any], tmp_path: Path) -> None:
    settings = held | {"refit": True}
    whole = trained(tmp_path / "whole", settings)
    with pytest.raises(Interrupted, match=f"--out {tmp_path / 'cut'} --resume"):
        trained(tmp_path / "cut", settings, InterruptAt(1, training=2))
    run, config = reopen(tmp_path / "cut", {})
    train_stage(run, config, prepare(config, run))
    assert weights(run.result_directory) == weights(whole.result_directory)


def test_cross_takes_the_steps_that_were_best_on_average(
    held: dict[str, Any], tmp_path: Path
) -> None:
    settings = held | {"hold_out": None, "cross": True, "track": (), "stop": None}
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", settings, InterruptAt(4, training=3))
    run, config = reopen(tmp_path / "run", {})
    config = train_stage(run, config, prepare(config, run))
    folds = run.cross_runs()
    names = sorted(path.name for path in Path(held["concept"]).iterdir())
    assert [fold.config.hold_out for fold in folds] == names
    curves = [fold.train_trace()["l_val"].to_numpy() for fold in folds]
    mean = np.mean([curve - curve[0] for curve in curves], axis=0)
    step = 1 + int(mean[1:].argmin())
    assert config.param == (f"steps={step}",)
    assert run.status["step"] == step
    fold = {"hold_out": names[2], "cross": False, "stop": "none"}
    alone = trained(tmp_path / "alone", settings | fold)
    assert weights(folds[2].checkpoint(10)) == weights(alone.checkpoint(10))
    whole = {"cross": False, "stop": "none", "steps": step}
    all_of_them = trained(tmp_path / "all", settings | whole)
    assert weights(run.result_directory) == weights(all_of_them.checkpoint(step))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hold_out": None, "refit": True}, "--refit: nothing is held out"),
        ({"cross": True}, "--cross: it holds each photograph out in turn; leave out --hold-out"),
        (
            {"hold_out": None, "watch": "l_val"},
            "--watch: l_val is the loss on held-out",
        ),
        ({"hold_out": None, "stop": "turn"}, "--stop: l_val is the loss on held-out photographs"),
        ({"stop": "recent-gain", "watch": "l_det"}, "--watch: recent-gain looks at recent"),
        ({"stop": "dvar", "watch": "recent"}, "--watch: recent-gain looks at recent"),
        ({"stop": "turn", "watch": "loss"}, "--watch: turn looks at the losses of samples"),
        ({"validation": "."}, "--validation: it takes the place of --hold-out"),
        ({"track": "pared"}, "--track: 'pared' given"),
        ({"train_batch_size": 1}, "give --train-batch-size 2 or more"),
        ({"watch": "l_vla"}, "did you mean 'l_val'?"),
        ({"hold_out": None, "cross": True, "stop": "patience"}, "leave out --stop"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    held: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    base = {key: value for key, value in held.items() if key != "stop"}
    with pytest.raises(UserError) as error:
        resolve(base | {"stop": None, "watch": None} | settings)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
