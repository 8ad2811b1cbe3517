"""NaN in a training: which sample it is, what is kept, and how the training goes on without."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Silent
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.stages.pipeline import reopen, train_stage
from noiseprobe.stages.reproducing import reproduce
from noiseprobe.training import changes
from noiseprobe.training.preparing import prepare
from noiseprobe.training.wrong_numbers import MOST_IN_A_ROW
from tests.training.test_driver import KillAt, embedding, numbers, trained
from tests.training.wrong import again, noise_of, plant


class Listening(Silent):
    """Keeps what is said; lets something happen when a step is reached."""

    def __init__(self, step: int = -1, happens: Any = None) -> None:
        self.said: list[str] = []
        self.step, self.happens = step, happens

    def advance(self, done: int, note: str = "") -> None:
        if done == self.step:
            self.happens()

    def note(self, message: str) -> None:
        self.said.append(message)


def state_of(run: Run) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run.state_file, weights_only=True)
    return state


def stopped(directory: Path, config: RunConfig) -> str:
    with pytest.raises(UserError) as error:
        trained(directory, config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_nan_loss_stops_before_its_step_and_the_line_reproduces_its_sample_alone(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path / "whole", config)
    with monkeypatch.context() as planted:
        plant(planted, noise_of(config, (4, 1)))
        told = stopped(tmp_path / "run", config)
        assert "the loss became nan at step 4 in sample 1 (photograph '0" in told
        assert "seed 0, stream train, replicate 4, sample 1" in told
        assert "lower --learning-rate" in told
        assert "--precision" not in told, "it is fp32 already"
        assert "loss=nan" in again(told)
        assert "weights_of=3" in again(told)
        other = reproduce(tmp_path / "run", 4, 0)
        assert math.isfinite(other.loss)
        assert other.grad_norm > 0
    run = Run.open(tmp_path / "run")
    assert (run.status["stage"], run.status["step"]) == ("training", 3)
    assert run.checkpoint_steps() == [0, 2]
    cut, same = reopen(run.directory, {})
    train_stage(cut, same, prepare(same))
    pd.testing.assert_frame_equal(numbers(cut), numbers(whole), check_exact=True)
    assert embedding(cut, 6) == embedding(whole, 6)


def test_a_nan_before_any_step_was_taken_is_not_blamed_on_the_learning_rate(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, noise_of(config, (1, 0)))
    told = stopped(tmp_path / "run", config)
    assert "at step 1 in sample 0" in told
    assert "learning-rate" not in told


@pytest.mark.parametrize("passes", [1, 2])
def test_a_skipped_step_changes_nothing_and_a_resumed_run_is_bit_identical(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    more = {"on_nan": "skip", "checkpoint_every": 1, "gradient_accumulation": passes}
    config = resolve(given | more)
    plant(monkeypatch, noise_of(config, (3, 2 * passes - 1), (4, 0)))
    heard = Listening()
    whole = trained(tmp_path / "whole", config, heard)
    trace = whole.train_trace()
    assert trace["skipped"].tolist()[1:] == [0, 0, 1, 1, 0, 0]
    assert math.isnan(trace["skipped"][0])
    assert trace["loss"].isna().tolist()[1:] == [False, False, True, True, False, False]
    assert len({embedding(whole, step) for step in (2, 3, 4)}) == 1
    assert embedding(whole, 5) != embedding(whole, 4)
    taken = [each["step"].item() for each in state_of(whole)["optimiser"]["state"].values()]
    assert taken == [4]
    assert [f"sample {2 * passes - 1} (" in heard.said[0], len(heard.said)] == [True, 2]
    assert "weights_of=2" in again(heard.said[0])
    with pytest.raises(MemoryError):
        trained(tmp_path / "cut", config, KillAt(4))
    cut, same = reopen(tmp_path / "cut", {})
    train_stage(cut, same, prepare(same))
    pd.testing.assert_frame_equal(numbers(cut), numbers(whole), check_exact=True)
    assert embedding(cut, 6) == embedding(whole, 6)


def test_too_many_skipped_steps_in_a_row_end_it(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = MOST_IN_A_ROW + 2
    config = resolve(given | {"on_nan": "skip", "steps": last + 2, "checkpoint_every": 100})
    plant(monkeypatch, noise_of(config, *((step, 0) for step in range(3, last + 1))))
    told = stopped(tmp_path / "run", config)
    assert f"{MOST_IN_A_ROW} steps in a row could not be taken" in told
    run = Run.open(tmp_path / "run")
    assert run.status["step"] == last - 1
    assert run.checkpoint_steps() == [0, 3], "the weights of the first are kept"
    again_config = reopen(run.directory, {})[1]
    with pytest.raises(UserError, match=f"at step {last} in"):
        train_stage(run, again_config, prepare(again_config))


def test_a_gradient_that_is_nan_while_the_loss_is_not_names_its_sample(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, noise_of(config, (4, 1)), gradient=True)
    told = stopped(tmp_path / "run", config)
    assert "the gradient became nan at step 4 in sample 1 (" in told
    found = again(told)
    assert "grad_norm=nan" in found
    assert "loss=nan" not in found


@pytest.mark.parametrize("gradient", [True, False])
def test_what_the_scaler_of_fp16_skips_is_not_counted_and_a_nan_loss_leaves_its_scale(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gradient: bool
) -> None:
    config = resolve(given | {"on_nan": "skip", "precision": "fp16"})
    plant(monkeypatch, noise_of(config, (3, 0)), gradient=gradient)
    run = trained(tmp_path / "run", config)
    scale = state_of(run)["scaler"]["scale"]
    assert (run.train_trace()["skipped"].sum(), scale) == ((0, 2**15) if gradient else (1, 2**16))


def test_a_nan_in_l_det_stops_or_is_left_out_and_the_weights_are_the_same(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path / "whole", config)
    plant(monkeypatch, noise_of(config, (0, 1), stream="probe"))
    told = stopped(tmp_path / "run", config)
    assert "l_det became nan at step 0 in sample" in told
    assert "learning-rate" not in told
    assert "loss=nan" in again(told)
    heard = Listening()
    skipped = config.model_copy(update={"on_nan": "skip"})
    run = trained(tmp_path / "skip", skipped, heard)
    assert run.train_trace()["l_det"].isna().all()
    assert embedding(run, 6) == embedding(whole, 6)
    assert len(heard.said) == 4
    assert "7 values of l_det were left out" in heard.said[-1]


def test_a_nan_under_the_starting_weights_is_told_of_the_paired_loss(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve(given | {"track": "paired"})
    plant(monkeypatch, noise_of(config, (3, 1)), times=1)
    told = stopped(tmp_path / "run", config)
    assert "paired became nan at step 3: sample 1 of its batch" in told
    assert "weights=0" in told
    assert Run.open(tmp_path / "run").status["step"] == 3


def test_weights_that_are_not_finite_are_told_and_never_written(
    given: dict[str, Any], tmp_path: Path
) -> None:
    often = resolve(given | {"checkpoint_every": 1})
    ready = prepare(often)
    vectors = ready.method.parameters()[0]
    run = Run.create(tmp_path / "run", often, "cpu")
    blown_up = Listening(3, lambda: vectors.data.fill_(torch.inf))
    with pytest.raises(UserError, match="--learning-rate: 1 trained tensors are not finite after"):
        train_stage(run, often, ready, blown_up)
    assert run.checkpoint_steps() == [0, 1, 2]
    assert all(each.isfinite().all() for each in state_of(run)["tensors"].values())
    config = resolve(given)
    ready = prepare(config)
    with torch.no_grad():
        ready.model.denoiser.conv_in.weight[0, 0, 0, 0] = torch.nan
    broken = Run.create(tmp_path / "broken", config, "cpu")
    with pytest.raises(
        UserError, match=r"--model: 1 of its weights are not finite before"
    ) as error:
        train_stage(broken, config, ready)
    assert "learning-rate" not in str(error.value)


def test_what_does_not_change_and_what_should_not_are_told_once(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LONG", 4)
    config = resolve(given | {"method": "dreambooth-lora", "checkpoint_every": 2})
    fine = Listening()
    trained(tmp_path / "fine", config, fine)
    assert not fine.said
    ready = prepare(config)
    first, _, third, *_ = ready.method.named
    ready.method.named[first].requires_grad_(False)
    ready.method.named[third].register_hook(torch.zeros_like)  # which weight decay changes still
    bias = ready.model.denoiser.conv_in.bias
    heard = Listening(3, lambda: bias.data.add_(1e-3))
    train_stage(Run.create(tmp_path / "run", config, "cpu"), config, ready, heard)
    still, changed, without = heard.said
    assert f"1 trained tensors have not changed in 2 steps, such as {first}" in still
    assert "1 frozen tensors have changed" in changed
    assert "conv_in.bias" in changed
    assert f"1 trained tensors have had no gradient for 4 steps, such as {third}" in without
