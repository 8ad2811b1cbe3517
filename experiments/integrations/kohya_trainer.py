"""Stops a network training of kohya's sd-scripts by its own validation loss, without a fork.

    cd sd-scripts
    accelerate launch -m experiments.integrations.kohya_trainer flux_train_network \\
        --validation_split 0.2 --validate_every_n_steps 50 --save_every_n_steps 50 …

with this repository on PYTHONPATH. Written against kohya-ss/sd-scripts at 48d368f, tested with a
stand-in of the same signatures. There, validation draws the same samples, timesteps and noise at
each pass; `process_batch` gives the loss of each, and `sample_images` is told the step after each
optimiser step.
"""

import importlib
import sys
from typing import Any

from experiments.integrations.reported import Reported
from experiments.integrations.stopping_loops import end_the_loop

TRAINERS = {
    "train_network": "NetworkTrainer",
    "sdxl_train_network": "SdxlNetworkTrainer",
    "sd3_train_network": "Sd3NetworkTrainer",
    "flux_train_network": "FluxNetworkTrainer",
}
"""The scripts whose trainers are NetworkTrainers, and what those are called."""


class Tracked:
    """A NetworkTrainer that stops; to stand before one: `class Mine(Tracked, NetworkTrainer)`.

    A pass of validation is judged when training goes on, so that one more step is trained than the
    last that was validated. The script then saves NAME as ever; the best step's weights are those
    of `--save_every_n_steps`, where it is the same as `--validate_every_n_steps`.
    """

    reported: Reported
    reached = 0
    stopped = False

    def process_batch(self, *given: Any, is_train: bool = True, **named: Any) -> Any:
        """Train on a batch, or take the loss of one that is not trained on."""
        named["is_train"] = is_train
        if is_train and self.reported.stops(self.reached):
            self.stop(given, named)
        loss = super().process_batch(*given, **named)  # type: ignore[misc]
        if not is_train:
            self.reported.losses.append(float(loss))
        return loss

    def sample_images(self, accelerator: Any, args: Any, epoch: Any, step: int, *rest: Any) -> None:
        """Note the step; draw what is asked for, but at the ends of epochs that are not trained."""
        ends_early = self.stopped and epoch is not None
        self.reached = step
        if not ends_early:
            super().sample_images(accelerator, args, epoch, step, *rest)  # type: ignore[misc]

    def train(self, args: Any) -> None:
        """Train, and judge what was validated last.

        Where it is validated after so many steps, it is not after each epoch as well.
        """
        if args.validate_every_n_steps:
            args.validate_every_n_epochs = sys.maxsize
        super().train(args)  # type: ignore[misc]
        self.reported.stops(self.reached)
        self.reported.tracker.close()

    def stop(self, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        """End with this step: no epoch that is left finds a batch, and none is saved as its own."""
        accelerator, args = _of("accelerator", given, named), _of("args", given, named)
        self.stopped = True
        end_the_loop(accelerator, args, self.reached + 1)
        args.save_every_n_epochs, args.validate_every_n_epochs = None, sys.maxsize
        best = self.reported.tracker.best_step
        accelerator.print(f"stopped at step {self.reached + 1}; best was step {best}")


_PLACES = {"accelerator": 8, "args": 9}
"""Of `process_batch`'s arguments after `self`."""


def _of(name: str, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return named[name] if name in named else given[_PLACES[name]]


def main() -> None:
    """Run a script of sd-scripts, the first argument, with a trainer that stops."""
    script = importlib.import_module(sys.argv.pop(1))
    from library import train_util  # type: ignore[import-not-found]

    kind = getattr(script, TRAINERS[script.__name__])
    parser = script.setup_parser()
    args = parser.parse_args()
    train_util.verify_command_line_training_args(args)
    args = train_util.read_config_from_file(args, parser)
    trainer = type(f"Tracked{kind.__name__}", (Tracked, kind), {})()
    trainer.reported = Reported(out=f"{args.output_dir}/tracked")
    trainer.train(args)


if __name__ == "__main__":
    main()
