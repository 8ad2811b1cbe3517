"""Stops a training of ai-toolkit by its own validation loss, as an extension of it.

In `extensions/noiseprobe/__init__.py` of ai-toolkit, with this repository on PYTHONPATH:

    from experiments.integrations.ai_toolkit_extension import extension
    AI_TOOLKIT_EXTENSIONS = [extension()]

and in the job, `type: noiseprobe_trainer` in place of `type: sd_trainer`, with `validation_config`
under `train`. Written against ostris/ai-toolkit at 27a03a9, tested with a stand-in of the same
signatures. There, `validate` takes the same images, sigmas and noise each time, and leaves
their mean in `additional_logs`; `end_step_hook` ends a step; `run` saves after the last.
"""

from typing import Any

from experiments.integrations.reported import Reported


class Stopped(Exception):
    """Leaves the loop of training, which nothing else ends before its last step."""


class Tracked:
    """A training process that stops; to stand before one: `class Mine(Tracked, SDTrainer)`."""

    reported: Reported
    verdict = False

    def validate(self) -> None:
        """Validate, and judge what it gave."""
        here: Any = self
        here.additional_logs.pop("val/loss", None)
        super().validate()  # type: ignore[misc]
        if "val/loss" in here.additional_logs:
            self.reported.losses.append(float(here.additional_logs["val/loss"]))
            self.verdict = self.reported.stops(here.step_num)

    def end_step_hook(self) -> None:
        """End the step, and training where it was said so."""
        super().end_step_hook()  # type: ignore[misc]
        if self.verdict:
            raise Stopped

    def run(self) -> None:
        """Train; at a stop save and end as after the last step."""
        here: Any = self
        if not hasattr(self, "reported"):
            self.reported = Reported(out=f"{here.save_root}/tracked")
        try:
            super().run()  # type: ignore[misc]
        except Stopped:
            best = self.reported.tracker.best_step
            print(f"stopped at step {here.step_num}; best was step {best}")
            here.accelerator.wait_for_everyone()
            if here.accelerator.is_main_process:
                here.save()
                here.logger.finish()
            here.accelerator.end_training()
            here.done_hook()
        finally:
            self.reported.tracker.close()


def extension() -> Any:
    """What ai-toolkit looks for: a class with `uid`, `name` and what makes the process."""
    from toolkit.extension import Extension  # type: ignore[import-not-found]

    def get_process(_: Any) -> Any:
        from extensions_built_in.sd_trainer.SDTrainer import (  # type: ignore[import-not-found]
            SDTrainer,
        )

        return type("TrackedTrainer", (Tracked, SDTrainer), {})

    named = {"uid": "noiseprobe_trainer", "name": "SD Trainer that stops"}
    return type("TrackedExtension", (Extension,), named | {"get_process": classmethod(get_process)})
