"""Checkpoints that other trainers left become a run: its settings, its captions, its trace."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Reporter, Silent, stop_request
from noiseprobe.core.reading import text_of
from noiseprobe.run.defaults import BUNDLED_MODEL
from noiseprobe.run.directory import Run
from noiseprobe.run.foreign import Series, find
from noiseprobe.run.foreign_files import CUSTOM, EMBEDDING, FLAG, LORA
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import TRAIN_COLUMNS, first_step, parts, write_part
from noiseprobe.stages.probing import probe
from noiseprobe.stopping import DVAR, dvar_ratios
from noiseprobe.training.objective import Objective
from noiseprobe.training.preparing import Personalization, prepare


def find_series(patterns: Sequence[str], given: dict[str, Any], caption: str | None) -> Series:
    """The checkpoints that `patterns` mean, on the model that is `given`, with their captions.

    `caption` is one line, or a file with a line per caption. Where there is none, each photograph
    has its own beside it; of a word that is taught, else, they are the templates of inversion.
    Raises `UserError`.
    """
    from dataclasses import replace

    from noiseprobe.models import model_location
    from noiseprobe.training.concept import TEMPLATES

    if "concept" not in given:
        raise UserError("--concept: none given; give the folder with the photographs")
    model = str(given.get("model", BUNDLED_MODEL))
    place = Path(model_location(model)).expanduser()
    series = find(patterns, str(place.resolve()) if place.exists() else model)
    words = [file for each in series.checkpoints for file, kind in each.files if kind == EMBEDDING]
    word = given.get("placeholder") or (_word_in(words[0]) if words else None)
    captions = _captions(caption) if caption is not None else ()
    if word and not captions and not any(Path(str(given["concept"])).glob("*.txt")):
        captions = tuple(template.format(word) for template in TEMPLATES)
    if words and word and captions and not any(word in each for each in captions):
        raise UserError(
            f"--caption: '{captions[0]}' has not the word '{word}' that '{words[0]}' teaches; "
            "write it where the thing is named"
        )
    return replace(series, captions=captions, word=word if words else None)


def _word_in(file: Path) -> str:
    from noiseprobe.training.methods.foreign_words import word_in

    word = word_in(file)
    if word is None:
        raise UserError(
            f"{FLAG}: '{file}' does not say its word; add --placeholder with the word that "
            "captions had"
        )
    return word


def _captions(given: str) -> tuple[str, ...]:
    file = Path(given).expanduser()
    text = given
    if len(given) < 1000 and file.is_file():
        try:
            text = text_of(file)
        except UnicodeDecodeError as error:
            raise UserError(
                f"--caption: '{given}' is no text; give one line per caption"
            ) from error
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not lines:
        raise UserError(f"--caption: '{given}' has no caption; give what training had")
    return lines


def settings_of(series: Series, given: dict[str, Any]) -> RunConfig:
    """The settings of a run about a series: those of the nearest method, and those `given`.

    Raises `UserError` as `noiseprobe.run.resolving.resolve` does.
    """
    from noiseprobe.training.concept import bundled_concepts

    kinds, held = series.kinds, given.get("validation") is not None
    concept = str(given["concept"])
    method = "dreambooth"
    if LORA in kinds:
        method = "dreambooth-lora"
    elif CUSTOM in kinds:
        method = "custom-diffusion"
    elif EMBEDDING in kinds:
        method = "textual-inversion"
    own: dict[str, Any] = {
        "method": method,
        "steps": max(series.steps),
        "stop": "none",
        "checkpoint_every": 1,
        "eval_every": 1,
        "val_every": 1,
        "val_batch": RunConfig.model_fields["val_batch"].default,
        "center_crop": True,
        **({"keep": "best", "watch": "l_val"} if held else {}),
        **({"train_word": EMBEDDING in kinds} if LORA in kinds else {}),
        **({"prior": False, "rescale": False} if CUSTOM in kinds else {}),
        **DVAR.scale_free,
    }
    if concept not in bundled_concepts() and not (Path(concept) / "concept.toml").is_file():
        own["class_noun"] = _noun(series)
    if series.word:
        own["placeholder"] = series.word
    return resolve(own | given)


def _noun(series: Series) -> str:
    """What a caption calls the thing, as far as its last word tells it."""
    words = series.captions[0].split() if series.captions and not series.word else ["thing"]
    return words[-1].strip(".,") or "thing"


def start_foreign(
    series: Series,
    config: RunConfig,
    out: Path | str,
    reporter: Reporter | None = None,
    budget: float | None = None,
    judged: bool = False,
) -> tuple[Run, Personalization]:
    """A new run in `out` about checkpoints of another trainer. Bad input leaves nothing behind.

    With a `budget` in seconds, redraws and samples are as many as it allows, of a probe or, where
    they are only to be `judged`, of `judge`.
    """
    from noiseprobe.stages.budget import fitted

    Run.require_vacant(out)
    ready = prepare(config, reporter=reporter, series=series)
    _ = ready.objective, ready.held_out  # which find what else is wrong
    for step in (series.steps[-1], 0):  # as does the last of the checkpoints
        ready.method.restore(series.at(step).path)
    if budget is not None:
        objective = deciding(ready) if judged else ready.objective
        ready.config, told = fitted(budget, series, ready.config, ready, objective)
        (reporter or Silent()).note(told)
    path = ready.model.path
    device = str(ready.model.device)
    run = Run.create(out, ready.config, device, path.num_timesteps, path.axis, series)
    with run.held():
        ready.cache.settle_in(run.cache_directory)
    return run, ready


def deciding(ready: Personalization) -> Objective:
    """What checkpoints are judged on: held-out photographs, where there are any."""
    return ready.held_out or ready.objective


def judge(run: Run, ready: Personalization, reporter: Reporter | None = None) -> None:
    """Evaluate at each checkpoint what decides which one to take, and no more.

    That is the loss with everything redrawn on held-out photographs, or where there are none, on
    those that were trained on; and L_det and l_val. Raises `Interrupted` on Ctrl-C; `judge` again
    goes on.
    """
    config, held = ready.config, ready.held_out is not None
    with run.held():
        follow(run, config, ready, reporter)
        probe(run, deciding(ready), ready.method, config, reporter, held_out=held)
        run.write_status("probed", run.checkpoint_steps()[-1], "steps")


def _ratio(known: dict[int, float], step: int, window: float) -> float:
    """What DVAR compares with its threshold at a step."""
    losses = [known[each] for each in sorted(known) if each <= step and math.isfinite(known[each])]
    if not math.isfinite(known[step]):
        return math.nan
    return float(dvar_ratios(losses, window)[-1])


def follow(
    run: Run, config: RunConfig, ready: Personalization, reporter: Reporter | None = None
) -> None:
    """The training trace of checkpoints that were trained elsewhere, as far as it is not there.

    `l_det`, and with held-out photographs `l_val`, at each of them, on the fixed batches of a
    training. Raises `Interrupted` on Ctrl-C, between two checkpoints.
    """
    from noiseprobe.training.fixed_losses import fixed_losses_of
    from noiseprobe.training.guarding import Guard
    from noiseprobe.training.objective import MicroBatches
    from noiseprobe.training.tracker import Tracker

    reporter = reporter or Silent()
    done = set(map(first_step, parts(run.train_directory)))
    steps = run.checkpoint_steps()
    todo = [step for step in steps if step not in done]
    if not todo:
        return
    micro = MicroBatches.of(ready.model, config.micro_batch, reporter)
    fixed = fixed_losses_of(ready.objective, ready.held_out, ready.method.captions, config, micro)
    tracker = Tracker(fixed, watch="l_det")
    guard = Guard(run, ready.objective, None, ready.method, config, reporter)
    before = run.train_trace()
    known = dict(zip(before["step"].tolist(), before["l_det"].tolist(), strict=True))
    reporter.stage("following", len(steps), len(done))
    with stop_request() as stop:
        for count, step in enumerate(todo, start=len(done) + 1):
            ready.method.restore(run.checkpoint(step))
            found = tracker.measure(step)
            for name, each in found.items():
                guard.note_tracked(name, step, fixed[name], each)
            guard.settle(step, lambda: None)
            means = {name: float(each.mean()) for name, each in found.items()}
            tracker.write_samples(run.tracked_directory)
            known[step] = means["l_det"]
            ratio = _ratio(known, step, config.window)
            row = {"step": step, "seconds": 0.0, "dvar_ratio": ratio} | means
            write_part(run.train_directory, TRAIN_COLUMNS, [row])
            reporter.advance(count, f"checkpoint {step}")
            if stop.is_set() and count < len(steps):
                raise Interrupted(
                    f"probing stopped after {count} of {len(steps)} checkpoints; go on with "
                    f"noiseprobe probe {run.directory}"
                )
    run.write_status("trained", steps[-1], "steps")
