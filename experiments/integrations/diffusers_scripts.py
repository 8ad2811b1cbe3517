"""Stops a training script of diffusers early, and keeps its best weights; the script is unchanged.

    python -m experiments.integrations.diffusers_scripts --held-out photos/held-out \\
        examples/dreambooth/train_dreambooth_lora_flux.py --instance_data_dir photos/training …

or `accelerate launch -m experiments.integrations.diffusers_scripts …`. In a script of your own that
has their shape, `stop_when` needs two lines (docs/hooks.md).

Read in huggingface/diffusers at 58eb52c: in each of its scripts, `accelerator.accumulate` begins a
step and `accelerator.log(…, step=global_step)` follows it, `args.max_train_steps` ends the epoch,
and the weights are saved afterwards.
"""

import argparse
import functools
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from experiments.integrations.stopping_loops import end_the_loop
from noiseprobe import Patience, Tracker, fixed_losses
from noiseprobe.core.errors import UserError
from noiseprobe.training.concept import TEMPLATES

_NUMBERED = {"": "_one", "_2": "_two", "_3": "_three"}
"""How the scripts number encoders, where the pipelines have no number, 2 and 3."""


def stop_when(tracker: Tracker, accelerator: Accelerator, args: Any, step: int = 0) -> None:
    """Ask `tracker` after each optimiser step of a loop that logs, and end the loop when told to.

    To be called by all processes, after `prepare`; the main one evaluates. At a stop,
    `args.max_train_steps` becomes the step that is reached, the epochs that are left find no batch,
    and the script saves as ever. `step` is how many steps were done before, where it resumes.
    """
    log, end, seen = accelerator.log, accelerator.end_training, step

    @functools.wraps(log)
    def logged(values: Any, step: int | None = None, *more: Any, **named: Any) -> None:
        nonlocal seen
        log(values, step, *more, **named)
        if step is None or step <= seen:  # gradients were accumulated, or a script logs twice
            return
        seen = step
        if _stops(accelerator, tracker, step):
            end_the_loop(accelerator, args, step)
            accelerator.print(f"stopped at step {step}; best was step {tracker.best_step}")

    @functools.wraps(end)
    def ended() -> None:
        tracker.close()
        end()

    accelerator.log, accelerator.end_training = logged, ended
    if step == 0 and accelerator.is_main_process:
        tracker.update(0)


def _stops(accelerator: Accelerator, tracker: Tracker, step: int) -> bool:
    if step % tracker.every:
        return False
    verdict = accelerator.is_main_process and tracker.update(step)
    return bool(broadcast(torch.tensor(int(verdict), device=accelerator.device)))


def parts_in(names: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a pipeline, under its names, from the variables of a script.

    Encoders are `text_encoder`, `text_encoder_one`, … or, where the script has let go of these
    names, in the list `text_encoders`.
    """
    found = {name: names.get(name) for name in ("unet", "transformer", "vae")}
    found["scheduler"] = names.get("noise_scheduler")
    for place, (number, word) in enumerate(_NUMBERED.items()):
        for part in ("tokenizer", "text_encoder"):
            listed = list(names.get(f"{part}s") or [])
            told = names.get(part + word)
            if told is None and not number:
                told = names.get(part)
            found[part + number] = listed[place] if told is None and place < len(listed) else told
    return {name: part for name, part in found.items() if part is not None}


def tracker_of(names: Mapping[str, Any], told: argparse.Namespace) -> Tracker:
    """A tracker of the loss on held-out photographs, from the variables of a script's `main`.

    Raises `UserError` where the script has let go of a part, or its prompt is not known.
    """
    args, accelerator = names["args"], names["accelerator"]
    inversion = getattr(args, "placeholder_token", None)
    prompt: str | Sequence[str] | None = told.prompt or getattr(args, "instance_prompt", None)
    if prompt is None and inversion:
        prompt = [template.format(inversion) for template in TEMPLATES]
    if prompt is None:
        raise UserError("--prompt: this script has none of its own; give one, as captions are")
    parts = parts_in(names)
    if lost := {"vae", "text_encoder"} - parts.keys():
        raise UserError(
            f"the script has let go of its {' and '.join(sorted(lost))}; leave out "
            "--pre_compute_text_embeddings and --cache_latents"
        )
    held_out = fixed_losses(
        parts,
        told.held_out,
        prompt,
        told.samples,
        resolution=args.resolution,
        center_crop=bool(args.center_crop) if inversion else True,
        flip=0.5 if inversion or getattr(args, "random_flip", False) else 0,
    )
    best = os.path.join(args.output_dir, "best")
    return Tracker(
        {"l_val": held_out},
        criterion=Patience(told.patience),
        every=told.every,
        out=os.path.join(args.output_dir, "tracked"),
        on_best=(lambda step: accelerator.save_state(best)) if told.best else None,
    )


def run(script: str, words: Sequence[str], told: argparse.Namespace) -> None:
    """Run a script as it stands, with its own arguments, and track it from its first step on."""
    begin = Accelerator.accumulate

    def begun(self: Accelerator, *models: Any) -> Any:
        Accelerator.accumulate = begin
        names = sys._getframe(1).f_locals  # of the script's `main`
        stop_when(tracker_of(names, told), self, names["args"], names["global_step"])
        return begin(self, *models)

    Accelerator.accumulate = begun
    before, sys.argv = sys.argv, [script, *words]
    sys.path.insert(0, str(Path(script).parent))
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        Accelerator.accumulate = begin
        sys.argv = before
        sys.path.remove(str(Path(script).parent))


def main(words: Sequence[str] | None = None) -> None:
    """Read what comes before the script, and run it."""
    parser = argparse.ArgumentParser(description="Stop a training script of diffusers early.")
    parser.add_argument("--held-out", required=True, help="photographs that are not trained on")
    parser.add_argument("--prompt", help="by default the script's own, or inversion's templates")
    parser.add_argument("--every", type=int, default=10, help="steps between evaluations")
    parser.add_argument("--patience", type=int, default=10, help="evaluations without a gain")
    parser.add_argument("--samples", type=int, default=16, help="of one evaluation")
    parser.add_argument("--no-best", dest="best", action="store_false", help="save no best weights")
    parser.add_argument("script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the script")
    told = parser.parse_args(words)
    try:
        run(told.script, told.arguments, told)
    except UserError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
