"""Judges each checkpoint as it is written: for SimpleTuner's --post_checkpoint_script, and others.

    --post_checkpoint_script='python -m experiments.integrations.after_checkpoint --model BASE
        --held-out photos/held-out --caption "a photo of sks dog" --out runs/judged
        {local_checkpoint_path}'

With `--interrupt` the trainer, which has started this, is sent SIGINT when training is to stop;
without, what is printed says so. Written against bghira/SimpleTuner at bc8e6ab, which starts the
command in the background from its main process, up to two at a time, and swallows its exit code;
tested with a stand-in that starts it the same way.
"""

import argparse
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from noiseprobe import Patience, Tracker
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import write_json
from noiseprobe.core.progress import Silent
from noiseprobe.stages.foreign import find_series, settings_of
from noiseprobe.training.fixed_losses import fixed_losses_of
from noiseprobe.training.objective import MicroBatches
from noiseprobe.training.preparing import prepare


def judge(told: argparse.Namespace) -> str:
    """Evaluate the loss on held-out photographs of one checkpoint; what it says of all so far.

    The first time, that of the base model is taken as well. Nothing else is kept in memory: what
    was seen lies in `--out`, in the format of a run. Raises `UserError`.
    """
    given = {"concept": told.held_out, "model": told.model, "eval_batch": told.samples}
    series = find_series([told.checkpoint], given | {"placeholder": told.placeholder}, told.caption)
    config = settings_of(series, given | told.more)
    ready = prepare(config, series=series)
    micro = MicroBatches.of(ready.model, config.micro_batch, Silent())
    fixed = fixed_losses_of(ready.objective, None, ready.method.captions, config, micro)
    tracker = Tracker({"l_val": fixed["l_det"]}, None, Patience(told.patience), out=told.out)
    state = Path(told.out) / "seen.json"
    if state.is_file():
        tracker.load_state_dict(json.loads(state.read_text(encoding="utf-8")))
    seen = [] if tracker.frame().empty else tracker.frame()["step"].tolist()
    for step in series.steps:
        if step and seen and step <= seen[-1]:
            return f"step {step}: left out, for step {seen[-1]} was judged before"
        if step not in seen:
            ready.method.restore(series.at(step).path)
            tracker.update(step)
    write_json(state, tracker.state_dict())
    if tracker.stop_step is None:
        return f"step {series.steps[-1]}: go on; best so far was step {tracker.best_step}"
    if told.interrupt:
        os.kill(os.getppid(), signal.SIGINT)
    return f"stop: at step {tracker.stop_step}; best was step {tracker.best_step}"


def main(words: Sequence[str] | None = None) -> None:
    """Read the flags, judge and print."""
    parser = argparse.ArgumentParser(description="Judge a checkpoint as it is written.")
    parser.add_argument("--model", required=True, help="what is trained, as in noiseprobe probe")
    parser.add_argument("--held-out", required=True, help="photographs that are not trained on")
    parser.add_argument("--caption", help="what training has; by default the files beside them")
    parser.add_argument("--placeholder", help="a learned word that its file does not say")
    parser.add_argument("--out", required=True, help="folder of what was seen so far")
    parser.add_argument("--samples", type=int, default=16, help="of one evaluation")
    parser.add_argument("--patience", type=int, default=5, help="checkpoints without a gain")
    parser.add_argument("--resolution", type=int, help="as training shows photographs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--interrupt", action="store_true", help="end the trainer at a stop")
    parser.add_argument("checkpoint")
    told = parser.parse_args(words)
    told.more = {"device": told.device, "fixed_batch": "stratified"}
    if told.resolution:
        told.more["resolution"] = told.resolution
    Path(told.out).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(Path(told.out) / "lock"):
            print(judge(told), flush=True)
    except UserError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
