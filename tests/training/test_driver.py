"""The driver: resumption, stopping and tracking change nothing of what training computes."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Silent
from noiseprobe.draws.factors import LAYOUTS, Layout
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.stages.pipeline import reopen, train_stage
from noiseprobe.training.objective import MicroBatches
from noiseprobe.training.preparing import prepare


def trained(directory: Path, config: RunConfig, reporter: Any = None) -> Run:
    ready = prepare(config)
    run = Run.create(directory, config, "cpu")
    train_stage(run, config, ready, reporter)
    return run


def embedding(run: Run, step: int) -> bytes:
    return (run.checkpoint(step) / "learned_embeds.safetensors").read_bytes()


def numbers(run: Run) -> pd.DataFrame:
    trace = run.train_trace()
    return trace.loc[:, [not str(name).endswith("seconds") for name in trace]]


class InterruptAt(Silent):
    """Sends this process Ctrl-C when a step is reached."""

    def __init__(self, step: int) -> None:
        self.step = step

    def advance(self, done: int, note: str = "") -> None:
        if done == self.step:
            os.kill(os.getpid(), signal.SIGINT)


class KillAt(Silent):
    """Ends the process's work at a step without any chance to save, as a crash would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def advance(self, done: int, note: str = "") -> None:
        if done == self.step:
            raise MemoryError


def test_a_trace_has_one_row_per_step_and_starts_before_training(
    config: RunConfig, tmp_path: Path
) -> None:
    run = trained(tmp_path / "run", config)
    trace = run.train_trace()
    assert trace["step"].tolist() == list(range(7))
    assert math.isnan(trace["loss"][0])
    assert trace["l_det"].notna().all()
    assert trace[["loss", "grad_norm", "lr"]][1:].notna().all().all()
    assert trace["lr"][1] == config.learning_rate * config.train_batch_size
    assert trace["seconds"].is_monotonic_increasing
    assert run.checkpoint_steps() == [0, 2, 4, 6]
    assert run.status["stopped_by"] == "steps"


def test_training_lowers_the_deterministic_loss(given: dict[str, Any], tmp_path: Path) -> None:
    config = resolve(given | {"steps": 40, "learning_rate": 0.02, "checkpoint_every": 40})
    l_det = trained(tmp_path / "run", config).train_trace()["l_det"]
    assert l_det.iloc[-1] < l_det.iloc[0]


@pytest.mark.parametrize("interrupt", [InterruptAt, KillAt])
@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one(
    config: RunConfig, tmp_path: Path, interrupt: Callable[[int], Silent], step: int
) -> None:
    whole = trained(tmp_path / "whole", config)
    with pytest.raises((Interrupted, MemoryError)):
        trained(tmp_path / "cut", config, interrupt(step))
    cut, again = reopen(tmp_path / "cut", {})
    assert again == config.model_copy(update={"precision": "fp32"})
    train_stage(cut, again, prepare(again))
    assert cut.checkpoint_steps() == whole.checkpoint_steps()
    for checkpoint in whole.checkpoint_steps():
        assert embedding(cut, checkpoint) == embedding(whole, checkpoint)
    pd.testing.assert_frame_equal(numbers(cut), numbers(whole), check_exact=True)


def test_ctrl_c_says_where_and_leaves_a_run_that_can_go_on(
    config: RunConfig, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="step 3"):
        trained(tmp_path / "run", config, InterruptAt(3))
    status = Run.open(tmp_path / "run").status
    assert (status["stage"], status["step"], status["stopped_by"]) == ("training", 3, "interrupt")
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_the_first_step_ends_at_it(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    asked.set()
    monkeypatch.setattr("noiseprobe.core.progress.STOP_SOON", asked)
    with pytest.raises(Interrupted, match="step 0"):
        trained(tmp_path / "run", config)


def test_a_finished_run_is_not_trained_again(config: RunConfig, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", config)
    before = numbers(run)
    train_stage(run, config, prepare(config))
    pd.testing.assert_frame_equal(numbers(run), before)


def test_more_steps_go_on_where_fewer_ended(
    given: dict[str, Any], config: RunConfig, tmp_path: Path
) -> None:
    whole = trained(tmp_path / "whole", config)
    trained(tmp_path / "short", resolve(given | {"steps": 4}))
    run, longer = reopen(tmp_path / "short", {"steps": 6})
    train_stage(run, longer, prepare(longer))
    pd.testing.assert_frame_equal(numbers(run), numbers(whole), check_exact=True)


def test_dvar_stops_training_at_the_step_that_the_definition_says(
    given: dict[str, Any], tmp_path: Path
) -> None:
    full = trained(tmp_path / "full", resolve(given | {"steps": 30, "checkpoint_every": 30}))
    l_det = full.train_trace()["l_det"].to_numpy()
    ratios = [np.var(l_det[k - 2 : k + 1]) / np.var(l_det[: k + 1]) for k in range(2, 31)]
    threshold = sorted(ratios)[8]
    expected = 2 + next(k for k, ratio in enumerate(ratios) if ratio < threshold)
    assert expected < 30
    config = resolve(
        given | {"steps": 30, "checkpoint_every": 30, "stop": "dvar", "threshold": threshold}
    )
    stopped = trained(tmp_path / "stopped", config)
    trace = stopped.train_trace()
    assert trace["step"].iloc[-1] == expected
    assert stopped.status["stopped_by"] == "dvar"
    assert stopped.checkpoint_steps() == [0, expected]
    assert trace["l_det"].tolist() == l_det[: expected + 1].tolist()
    np.testing.assert_allclose(trace["dvar_ratio"][2:], ratios[: expected - 1], rtol=1e-6)


def test_tracking_less_often_leaves_the_weights_alone(
    given: dict[str, Any], config: RunConfig, tmp_path: Path
) -> None:
    often = trained(tmp_path / "often", config)
    rarely = trained(tmp_path / "rarely", resolve(given | {"eval_every": 3, "eval_batch": 1}))
    assert embedding(often, 6) == embedding(rarely, 6)
    assert rarely.train_trace()["l_det"].notna().tolist() == [step % 3 == 0 for step in range(7)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_the_fixed_batch_changes_l_det_and_not_the_weights(
    given: dict[str, Any], config: RunConfig, tmp_path: Path, layout: Layout
) -> None:
    plain = trained(tmp_path / "stratified", config)
    chosen = resolve(given | {"fixed_batch": layout})
    laid_out = trained(tmp_path / "laid-out", chosen)
    assert embedding(laid_out, 6) == embedding(plain, 6)
    same = laid_out.train_trace()["l_det"].tolist() == plain.train_trace()["l_det"].tolist()
    assert same == (layout == "stratified")
    with pytest.raises(Interrupted):
        trained(tmp_path / "cut", chosen, InterruptAt(3))
    cut, again = reopen(tmp_path / "cut", {})
    train_stage(cut, again, prepare(again))
    pd.testing.assert_frame_equal(numbers(cut), numbers(laid_out), check_exact=True)


def test_weighted_l_det_starts_at_the_harmonic_mean_of_its_losses(
    given: dict[str, Any], tmp_path: Path
) -> None:
    config = resolve(given | {"fixed_batch": "weighted"})
    ready = prepare(config)
    draws = ready.objective.draws(config.seed, "probe", len(ready.method.captions))
    batch = fixed_batch(draws, config.eval_batch, "weighted").batch
    captions = ready.objective.captions(batch, ready.method.captions)
    with torch.no_grad():
        first = ready.objective.losses(batch, captions)
    l_det = trained(tmp_path / "run", config).train_trace()["l_det"]
    assert l_det[0] == pytest.approx(1 / (1 / first).mean().item(), rel=1e-6)


def test_global_random_states_neither_matter_nor_change(config: RunConfig, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = trained(tmp_path / "first", config)
    torch.manual_seed(2)
    ready = prepare(config)
    before = torch.get_rng_state()
    second = Run.create(tmp_path / "second", config, "cpu")
    train_stage(second, config, ready)
    assert torch.equal(torch.get_rng_state(), before)
    assert embedding(first, 6) == embedding(second, 6)


def test_a_loss_that_is_not_finite_is_reported_not_trained_on(
    given: dict[str, Any], tmp_path: Path
) -> None:
    config = resolve(given | {"learning_rate": 1e30, "steps": 20})
    with pytest.raises(UserError, match=r"l_det became nan at step .* lower --learning-rate"):
        trained(tmp_path / "run", config)


def test_training_works_outside_the_main_thread(config: RunConfig, tmp_path: Path) -> None:
    done: list[Run] = []
    thread = threading.Thread(target=lambda: done.append(trained(tmp_path / "run", config)))
    thread.start()
    thread.join()
    assert done[0].checkpoint_steps() == [0, 2, 4, 6]


def test_fp16_and_bf16_train_on_a_cpu(given: dict[str, Any], tmp_path: Path) -> None:
    full = trained(tmp_path / "fp32", resolve(given)).train_trace()
    for precision in ("bf16", "fp16"):
        run = trained(tmp_path / precision, resolve(given | {"precision": precision}))
        np.testing.assert_allclose(run.train_trace()["l_det"], full["l_det"], rtol=0.05)


def test_saving_costs_little_and_is_no_training_time(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve(given | {"checkpoint_every": 1})
    whole = trained(tmp_path / "whole", config)
    save, saved = torch.save, list[float]()

    def slow(*arguments: Any) -> None:
        time.sleep(0.3)
        saved.append(time.monotonic())
        save(*arguments)

    monkeypatch.setattr(torch, "save", slow)
    started = time.monotonic()
    with pytest.raises(MemoryError):
        trained(tmp_path / "cut", config, KillAt(5))
    assert len(saved) == 1, "the first state alone: another would cost more than its share"
    cut, again = reopen(tmp_path / "cut", {})
    train_stage(cut, again, prepare(again))
    assert len(saved) <= 3, "and of the second go one in the middle at most, and the last"
    seconds = cut.train_trace()["seconds"].max()
    assert seconds < time.monotonic() - started - 0.6
    pd.testing.assert_frame_equal(numbers(cut), numbers(whole), check_exact=True)
    assert embedding(cut, 6) == embedding(whole, 6)


def test_l_det_is_evaluated_in_parts_that_fit(given: dict[str, Any], tmp_path: Path) -> None:
    at_once = trained(tmp_path / "at-once", resolve(given | {"micro_batch": 3}))
    in_parts = trained(tmp_path / "in-parts", resolve(given | {"micro_batch": 2}))
    first, other = (run.train_trace()["l_det"] for run in (at_once, in_parts))
    np.testing.assert_allclose(other, first, rtol=1e-5)
    usual = MicroBatches.of(prepare(resolve(given)).objective.model, None, Silent())
    assert usual.size == 64
