"""A tracker in the loops of other libraries, each run as it stands."""

import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.integrations import diffusers_loop
from experiments.integrations.task import HELD_OUT, Trained, losses_on, network

LOOPS = ("plain_pytorch", "accelerate_loop", "transformers_callback", "lightning_callback")


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Callable[..., Trained]:
    if request.param == "lightning_callback":
        pytest.importorskip("lightning")
    train: Callable[..., Trained] = import_module(f"experiments.integrations.{request.param}").train
    return train


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one) and one.keys() == other.keys()


def test_the_tracker_ends_the_loop_and_changes_no_bit_of_the_weights(
    loop: Callable[..., Trained],
) -> None:
    tracked = loop(steps=1000)
    assert tracked.tracker
    assert tracked.tracker.stop_step == tracked.steps < 1000
    assert same(tracked.weights, loop(steps=tracked.steps, tracks=False).weights)


def test_the_weights_of_the_best_step_are_kept(loop: Callable[..., Trained]) -> None:
    tracked = loop(steps=1000)
    assert tracked.tracker
    assert tracked.best
    best = tracked.tracker.best_step
    assert best is not None
    assert 0 < best < tracked.steps
    model = network().eval()
    model.load_state_dict(tracked.best)
    recorded = tracked.tracker.frame().set_index("step")["l_val"]
    with torch.no_grad():
        found = losses_on(model, HELD_OUT)().double().mean().item()
    assert found == pytest.approx(recorded[best], rel=1e-6)
    assert recorded[best] == recorded.min()
    assert f"stopped at step {tracked.steps}; best was step {best}" in tracked.told


def test_the_processes_of_accelerate_stop_together() -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    own = ["-m", "experiments.integrations.accelerate_loop"]
    told = subprocess.check_output([*launch, *own], text=True)
    ends = re.findall(r"ended after steps \[(\d+), (\d+)\]", told)
    assert len(ends) == 1
    assert ends[0][0] == ends[0][1]
    assert told.count("stopped at step") == 1


def test_a_checkpoint_of_lightning_has_what_the_tracker_saw(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    from experiments.integrations.lightning_callback import Regression, TrackerCallback
    from experiments.integrations.task import TRAINING
    from noiseprobe import Tracker

    def fitted(steps: int, checkpoint: Path | None = None) -> Any:
        model = Regression()
        losses = {"l_val": losses_on(model.network, HELD_OUT)}
        callback = TrackerCallback(Tracker(losses, every=2, modules=[model]))
        usual = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(
            max_steps=steps,
            accelerator="cpu",
            callbacks=[callback],
            enable_checkpointing=False,
            **usual,
        )
        data = torch.utils.data.TensorDataset(TRAINING.x[:8], TRAINING.y[:8])
        loader = torch.utils.data.DataLoader(data, batch_size=8)
        trainer.fit(model, loader, ckpt_path=checkpoint, weights_only=False)
        return trainer, callback.tracker

    trainer, _ = fitted(4)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = fitted(8, tmp_path / "half.ckpt")
    assert resumed.frame()["step"].tolist() == [0, 2, 4, 6, 8]


def test_a_loop_of_diffusers_is_tracked_and_not_disturbed(
    model_directory: Path, photographs: Path
) -> None:
    options: dict[str, Any] = {"model": str(model_directory), "photographs": photographs}
    tracked = diffusers_loop.train(**options, steps=6, every=2)
    plain = diffusers_loop.train(**options, steps=tracked.steps, tracks=False)
    assert same(tracked.weights, plain.weights)
    assert tracked.tracker
    frame = tracked.tracker.frame()
    assert frame["step"].tolist() == list(range(0, tracked.steps + 1, 2))
    assert frame[["l_det", "l_val"]].nunique().tolist() == [len(frame), len(frame)]
