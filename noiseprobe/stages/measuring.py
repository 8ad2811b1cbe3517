"""What a checkpoint has learned: pictures drawn from it, and how alike they are to what was asked.

Written to `traces/metrics`, one part per checkpoint, with the pictures in `samples/`.
"""

import math
import time
from collections.abc import Callable, Sequence

from PIL import Image

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Reporter, Silent, stop_request
from noiseprobe.pictures.likeness import training_prompts
from noiseprobe.pictures.sampling import BrokenPicture, Sampler
from noiseprobe.pictures.similarity import mean_similarity
from noiseprobe.pictures.strips import save_strip
from noiseprobe.run.defaults import BUNDLED_MODEL
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import METRICS_COLUMNS, write_part
from noiseprobe.training.concept import VALIDATION_PROMPTS, Concept
from noiseprobe.training.preparing import Personalization

EACH = 2  # pictures per validation prompt, as in Voronov et al. 2023

Metric = Callable[[Sequence[Image.Image], Sequence[str]], float]
"""A number from pictures and their captions."""


def measure(
    run: Run,
    ready: Personalization,
    config: RunConfig,
    steps: Sequence[int],
    reporter: Reporter | None = None,
    extra: dict[str, Metric] | None = None,
) -> None:
    """Measure the checkpoints at `steps` that were not measured yet, or lack one of `extra`.

    `train_clip_img` and `val_clip_img` are the similarity to the photographs of what is drawn from
    `config.samples` training prompts and from validation prompts, two pictures each;
    `val_clip_txt` is that of the latter to the validation prompt with the class noun in the place
    of the placeholder. Each of `extra` is given the pictures and captions of the latter. Noise and
    prompts are the same at every checkpoint, so that what was measured before is kept. Raises
    `Interrupted` on Ctrl-C, between two checkpoints.
    """
    reporter = reporter or Silent()
    extra = extra or {}
    likeness = ready.likeness
    todo, before = unmeasured(run, steps, list(extra)), _measured(run)
    sampler = Sampler(ready.model, config.sampling_steps, config.guidance)
    trained = training_prompts(ready.method.captions, config.samples, config.sampling_seed)
    prompts = validation_prompts(ready.concept, config.model)
    asked = [prompt for prompt in prompts for _ in range(EACH)]
    plain = likeness.clip.embed_captions([each.format(ready.concept.class_noun) for each in asked])
    asked = [each.format(ready.method.thing) for each in asked]
    reporter.stage("measuring", len(steps), len(steps) - len(todo))
    with stop_request() as stop:
        for done, step in enumerate(todo, start=len(steps) - len(todo) + 1):
            ready.method.restore(run.checkpoint(step))
            started = time.monotonic()
            names = ["train_clip_img", "val_clip_img", "val_clip_txt", *extra]
            values = dict.fromkeys(names, math.nan)
            try:
                pictures = sampler.draw(trained, config.sampling_seed)
                validation = sampler.draw(asked, config.sampling_seed + 1)
            except BrokenPicture as error:
                skip_or_stop(error, run, step, config, reporter)
            else:
                seen = likeness.clip.embed_images(validation)
                values |= {
                    "train_clip_img": likeness.of(pictures),
                    "val_clip_img": mean_similarity(seen, likeness.photographs),
                    "val_clip_txt": float((seen * plain).sum(1).mean()),
                }
                values |= {name: metric(validation, asked) for name, metric in extra.items()}
                save_strip(pictures, trained, run.samples(step, "training"))
                save_strip(validation, asked, run.samples(step, "validation"))
            values["measure_seconds"] = time.monotonic() - started
            values = before.get(step, {}) | values
            rows = [{"step": step, "metric": name, "value": each} for name, each in values.items()]
            write_part(run.metrics_directory, METRICS_COLUMNS, rows)
            reporter.advance(done, f"checkpoint {step}")
            if stop.is_set() and step != todo[-1]:
                raise Interrupted(f"measuring stopped after step {step}; the same command goes on")


def skip_or_stop(
    error: BrokenPicture, run: Run, step: int, config: RunConfig, reporter: Reporter
) -> None:
    """Say which picture keeps a checkpoint from being measured; a `UserError` unless skipped."""
    if config.on_nan == "skip":
        reporter.note(f"warning: checkpoint {step}: {error}; its measures are left out")
        return
    raise UserError(
        f"--on-nan: checkpoint {step}: {error}; measure other --steps, or leave out what is not "
        f"finite: noiseprobe probe {run.directory} --on-nan skip, then this again"
    ) from error


def unmeasured(run: Run, steps: Sequence[int], extra: Sequence[str] = ()) -> list[int]:
    """Those of the steps that the metrics trace of `run` lacks, or one of the `extra` metrics."""
    found = _measured(run)
    return [step for step in steps if step not in found or not found[step].keys() >= {*extra}]


def _measured(run: Run) -> dict[int, dict[str, float]]:
    """What was measured before, by step and metric."""
    found: dict[int, dict[str, float]] = {}
    trace = run.metrics_trace()
    for step, metric, value in zip(trace["step"], trace["metric"], trace["value"], strict=True):
        found.setdefault(int(step), {})[str(metric)] = float(value)
    return found


def validation_prompts(concept: Concept, model: str) -> tuple[str, ...]:
    """Those of the concept, or places that the model knows."""
    known = BUNDLED_MODEL if model == BUNDLED_MODEL else "stable-diffusion"
    return concept.validation_prompts or VALIDATION_PROMPTS[known]
