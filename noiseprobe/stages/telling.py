"""What a report tells of one run, gathered from its directory; nothing in it is changed."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from noiseprobe.analysis import noise_to_signal
from noiseprobe.analysis.ending import UNFINISHED, Ending, ending_of
from noiseprobe.analysis.noise import fewest_redraws
from noiseprobe.analysis.picking import LIKENESS, PROMPT, Pick, pick_of_run
from noiseprobe.analysis.replay import replayed
from noiseprobe.analysis.sources import losses_of, params_on
from noiseprobe.analysis.tracked import changes
from noiseprobe.analysis.verdicts import of_run, of_training
from noiseprobe.analysis.verdicts_picking import next_of_pick, of_pick
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import command, visible
from noiseprobe.draws.factors import FACTORS
from noiseprobe.pictures.strips import read_samples
from noiseprobe.plots.report.contents import (
    Checkpoints,
    Drawn,
    Losses,
    Picture,
    Pictures,
    RunReport,
)
from noiseprobe.plots.report.encoding import MOST_BYTES, as_address, spread
from noiseprobe.plots.samples import distinct
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig, flag
from noiseprobe.stages.again import again, worded
from noiseprobe.stages.drawing import ended_by, photographs_of
from noiseprobe.stopping import ON_MEANS

MOST_DRAWN = 24
"""Checkpoints whose pictures are shown, at most."""

MEASURED = 8
"""Checkpoints that are measured by the command that a report without pictures offers."""

Pairs = Sequence[tuple[str, Image.Image]]


def run_report(run: Run, pictures: bool = True) -> RunReport:
    """All that a report tells of a run; of what is not there, how to get it.

    Args:
        pictures: whether those that were drawn are wanted.

    Raises:
        UserError: the run is damaged; the message says where.
    """
    config, train, probe = run.config, run.train_trace(), run.probe_trace()
    ratios = noise_to_signal(probe) if len(probe) else pd.DataFrame()
    ending = ending_of(run) if len(train) else None
    pick = _pick(run)
    losses = _losses(run, train, ending)
    checkpoints = _checkpoints(run, train, pick, ending)
    shown = _pictures(run, config, checkpoints.take) if pictures else Pictures()
    told, further = _verdict(run, ending, ratios, probe, pick)
    single = [factor for factor in FACTORS if factor in ratios.index]
    return RunReport(
        name=run.directory.resolve().name,
        directory=str(run.directory),
        about=_about(config, run),
        verdict=told,
        picked=of_pick(pick) if pick else [],
        next=further,
        ratios=ratios.loc[single],
        redraws=(fewest_redraws(probe), int(probe["sample"].nunique())),
        losses=losses,
        checkpoints=checkpoints,
        pictures=shown,
        criteria=_criteria(run, train),
        settings=_settings(config),
        environment=_flat(run.environment),
        command=again(run, config),
        missing=_missing(run, ending, probe, checkpoints),
        row=_row(run, config, ending, ratios.loc[single], losses),
    )


def _pick(run: Run) -> Pick | None:
    try:
        return pick_of_run(run)
    except UserError:
        return None


def _verdict(
    run: Run, ending: Ending | None, ratios: pd.DataFrame, probe: pd.DataFrame, pick: Pick | None
) -> tuple[list[str], str]:
    """What `run` says of it, and the command that is useful next."""
    if ending is None:
        begin = command("noiseprobe", "run", "--out", run.directory, "--resume")
        return ["No step of its training is recorded yet."], begin
    redraws = fewest_redraws(probe)
    found = of_run(ending, ratios, redraws) if redraws else of_training(ending)
    further = found.next
    if pick is not None and len(probe) and ending.stopped_by not in UNFINISHED:
        further = next_of_pick(pick) or further
    return found.sentences, further


def _losses(run: Run, train: pd.DataFrame, ending: Ending | None) -> Losses:
    tracked, found = run.tracked_trace(), {}
    for name in ("l_det", "l_val"):
        own = train.loc[np.isfinite(train[name]), ["step", name]].rename(columns={name: "loss"})
        if len(own):
            table = changes(tracked, name)
            if table.empty:  # of a version that kept no samples
                first = own["loss"].iloc[0]
                table = own.assign(change=own["loss"] - first, low=math.nan, high=math.nan)
                found[name] = table
            else:
                found[name] = table.merge(own, on="step", how="left")
    best = None if ending is None or ending.best_step is None else ("l_val", ending.best_step)
    training = train.loc[np.isfinite(train["loss"]), ["step", "loss"]]
    return Losses(training, found, ended_by(run), best)


def _checkpoints(
    run: Run, train: pd.DataFrame, pick: Pick | None, ending: Ending | None
) -> Checkpoints:
    """The checkpoints, and steps that were measured whose checkpoint may be gone."""
    metrics = run.metrics_trace()
    steps = sorted({*run.checkpoint_steps(), *map(int, metrics["step"].unique())})
    table = pd.DataFrame({"step": pd.Series(steps, dtype="int64")})
    compared = ["loss", "difference", "low", "high", "candidate"]
    if pick is not None:
        table = table.merge(pick.found.table[["step", *compared]], on="step", how="left")
    else:
        table = table.assign(**dict.fromkeys(compared, math.nan))
    table["candidate"] = table["candidate"].astype(object).where(table["candidate"].notna(), None)
    wide = metrics.pivot_table("value", "step", "metric")
    for name, metric in (("likeness", LIKENESS), ("prompt", PROMPT)):
        table[name] = table["step"].map(wide[metric]) if metric in wide else math.nan
    for name in ("l_det", "l_val"):
        table[name] = table["step"].map(train.set_index("step")[name])
    return Checkpoints(
        table,
        loss=pick.loss if pick else "",
        front=[int(step) for step in pick.front["step"]] if pick else [],
        unit=run.foreign.unit if run.foreign else "step",
        take=_step_of(run, steps, ending.take if ending else None),
    )


def _step_of(run: Run, steps: Sequence[int], take: str | None) -> int | None:
    """Which step the checkpoint at a path is of; None where it is none of these."""
    if take is None:
        return None
    there = run.checkpoint_steps()
    return next(
        (step for step in steps if step in there and str(run.checkpoint(step)) == take), None
    )


def _pictures(run: Run, config: RunConfig, take: int | None) -> Pictures:
    """The photographs and what was drawn, of so many checkpoints as the page can hold."""
    noun = visible(config.class_noun or "thing")
    photographs = [
        Picture(as_address(each), f"Photograph {place} of the {noun}", "")
        for place, each in enumerate(photographs_of(config), start=1)
    ]
    measured = sorted({int(step) for step in run.metrics_trace()["step"]})
    steps = [step for step in measured if run.samples(step, "validation").is_file()]
    known: dict[int, Drawn] = {}
    most = MOST_DRAWN
    while True:
        chosen = spread(steps, most, take)
        for step in chosen:
            if step not in known and (drawn := _drawn(run, step)) is not None:
                known[step] = drawn
        found = {step: known[step] for step in chosen if step in known}
        size = sum(len(each.source) for drawn in found.values() for each in _all(drawn))
        room = MOST_BYTES - sum(len(each.source) for each in photographs)
        if size <= room or most <= 2:
            return Pictures(photographs, found, [step for step in steps if step not in found])
        most = max(2, min(most - 1, len(chosen) * room // size))


def _drawn(run: Run, step: int) -> Drawn | None:
    """The first pictures of the first distinct prompts of a step; None where they are damaged."""
    try:
        samples = read_samples(run, step)
    except (OSError, KeyError, AttributeError, ValueError):
        return None
    training, validation = (
        [_picture(step, *samples[kind][place]) for place in distinct(samples[kind])]
        for kind in ("training", "validation")
    )
    return Drawn(training, validation)


def _all(drawn: Drawn) -> list[Picture]:
    return [*drawn.training, *drawn.validation]


def _picture(step: int, caption: str, picture: Image.Image) -> Picture:
    told = visible(caption)
    return Picture(as_address(picture), f"Drawn at step {step}: {told}", told)


def criteria_of(source: Any) -> list[dict[str, Any]]:
    """What each criterion that may stop would have done on recorded losses, a row for each."""
    names = [name for name in ON_MEANS if name != "never"]
    return [replayed(source.trace, name, params_on(source, name, {})) for name in names]


def _criteria(run: Run, train: pd.DataFrame) -> list[dict[str, Any]]:
    if not np.isfinite(train["l_det"]).any():
        return []
    (source,) = losses_of([run.directory], "l_det")
    held = train.set_index("step")["l_val"].dropna()
    rows = criteria_of(source)
    for row in rows:
        there = held[held.index <= row["kept_step"]]
        row["held_out"] = float(there.iloc[-1]) if len(there) else None
    return rows


def _about(config: RunConfig, run: Run) -> str:
    concept, noun = Path(config.concept).name, config.class_noun
    what = f"{concept} ({noun})" if noun else concept
    series = run.foreign
    if series is not None:
        return visible(
            f"{len(series.checkpoints) - 1} checkpoints of another trainer, on {config.model}, "
            f"concept {what}"
        )
    return visible(f"{config.method} of {what}, on {config.model}, seed {config.seed}")


def _settings(config: RunConfig) -> dict[str, str]:
    """Every setting that has a value, by its flag."""
    values = config.model_dump(mode="json", exclude_none=True)
    return {flag(key): visible(worded(value)) for key, value in values.items()}


def _flat(document: dict[str, Any], before: str = "") -> dict[str, str]:
    """A document of any depth as one list of names and words."""
    found: dict[str, str] = {}
    for key, value in document.items():
        name = f"{before}{key}"
        if isinstance(value, dict):
            found |= _flat(value, f"{name}.")
        elif value is not None:
            found[visible(name)] = visible(value)
    return found


def _missing(
    run: Run, ending: Ending | None, probe: pd.DataFrame, checkpoints: Checkpoints
) -> list[tuple[str, str]]:
    """What is not there, in a sentence, and the command that makes it."""
    there, steps = run.directory, run.checkpoint_steps()
    if ending is None or not steps:
        return []
    found = []
    if run.foreign is None and ending.stopped_by in UNFINISHED:
        go_on = command("noiseprobe", "run", "--out", there, "--resume")
        found.append(("Its training is not at its end; this goes on with it.", go_on))
    if probe.empty:
        told = "What hides its progress was not measured; this evaluates its checkpoints."
        found.append((told, command("noiseprobe", "probe", there)))
    if checkpoints.table["likeness"].isna().all():
        some = ",".join(map(str, spread(steps, MEASURED)))
        told = "No pictures were drawn from its checkpoints; this draws and measures some."
        found.append((told, command("noiseprobe", "measure", there, "--steps", some)))
    return found


def _row(
    run: Run, config: RunConfig, ending: Ending | None, ratios: pd.DataFrame, losses: Losses
) -> dict[str, str]:
    """What a table of several runs says of one."""
    held, l_det = ending.held_out if ending else None, losses.tracked.get("l_det")
    known = ratios["noise_to_signal"].dropna() if len(ratios) else pd.Series(dtype=float)
    known = known[np.isfinite(known)]
    noisiest = f"{known.idxmax()} {known.max():.3g}" if len(known) else "–"
    stopped = ended_by(run)
    return {
        "run": visible(run.directory.resolve().name),
        "method": "another trainer's" if run.foreign else config.method,
        "concept": visible(Path(config.concept).name),
        "steps": str(ending.steps) if ending else "0",
        "ended by": stopped[0] if stopped else ("all steps" if ending else "–"),
        "L_det, last less first": f"{l_det['change'].iloc[-1]:+.4f}" if l_det is not None else "–",
        "held out, lowest at": str(held.best_step) if held else "–",
        "hides it most": noisiest,
    }
