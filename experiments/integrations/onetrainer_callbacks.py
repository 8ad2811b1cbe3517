"""Stops a training of OneTrainer by its own validation loss, through its callbacks and commands.

In a copy of OneTrainer's `scripts/train.py`, before `trainer.train()`:

    from experiments.integrations.onetrainer_callbacks import follow
    follow(trainer, callbacks, commands, out="workspace/tracked")

with this repository on PYTHONPATH, and validation on. Written against Nerogar/OneTrainer at
23df383, tested with a stand-in of the same signatures. There, the callbacks are told the progress
and no loss; the validation losses, of the same noise each time, go to `trainer.tensorboard`, one
per concept; `commands.stop()` ends training after the step, and the script saves as ever.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.integrations.reported import Reported
from noiseprobe.stopping import LossCriterion

PREFIX, MEAN = "loss/validation_step/", "loss/validation_step/total_average"


def follow(
    trainer: Any,
    callbacks: Any,
    commands: Any,
    out: Path | str | None = None,
    criterion: LossCriterion | None = None,
    told: Callable[..., None] = lambda *_: None,
) -> Reported:
    """Judge each validation, and stop when it says so.

    `told` is what was to be told the progress before, such as a window's. OneTrainer swallows what
    a callback raises: a criterion that fails ends the stopping, and not the training.
    """
    reported, write = Reported(criterion, out), trainer.tensorboard.add_scalar
    step = 0

    def written(tag: str, value: float, global_step: int, *rest: Any, **named: Any) -> None:
        nonlocal step
        write(tag, value, global_step, *rest, **named)
        if tag.startswith(PREFIX) and tag != MEAN:
            reported.losses.append(float(value))
            step = global_step

    def progressed(progress: Any, max_step: int, max_epoch: int) -> None:
        told(progress, max_step, max_epoch)
        if reported.stops(step):
            print(f"stopped at step {step}; best was step {reported.tracker.best_step}")
            commands.stop()

    trainer.tensorboard.add_scalar = written
    callbacks.set_on_update_train_progress(progressed)
    return reported
