"""Which checkpoint of a training to take, by the loss that tells most of those recorded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.analysis.best_of import BestOf, best_of_samples, best_of_series
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import in_markdown
from noiseprobe.logs import Series
from noiseprobe.logs.tags import is_held_out, is_training_loss
from noiseprobe.run.directory import Run
from noiseprobe.run.foreign import find
from noiseprobe.run.foreign_files import FLAG
from noiseprobe.run.traces import samples_of
from noiseprobe.stopping import as_losses

LIKENESS, PROMPT = "train_clip_img", "val_clip_txt"
"""Of what `noiseprobe measure` finds: likeness to the photographs, and following the prompt."""


@dataclass(frozen=True)
class Pick:
    """The checkpoint to take, and how sure that is.

    Attributes:
        source: the run or log.
        loss: which one decided, as a person would call it.
        held_out: whether it is on photographs that were not trained on, so that it sees
            overfitting; None where the log does not say.
        training: whether it is the loss of training batches, each with draws of its own.
        found: the comparison.
        paths: the checkpoints that are there, by step; empty where none are known.
        unit: what a step is: `step`, or `epoch` where checkpoints say no more.
        of_run: whether the source is a run directory, rather than a log.
        front: a row per measured step that no other is better than in both likeness and prompt
            following; empty where they were not measured.
    """

    source: str
    loss: str
    held_out: bool | None
    training: bool
    found: BestOf
    paths: dict[int, str]
    front: pd.DataFrame
    unit: str = "step"
    of_run: bool = False

    def _repr_markdown_(self) -> str:
        """In a notebook: what to take, and how sure that is."""
        from noiseprobe.analysis.verdicts_picking import of_pick

        return in_markdown(of_pick(self))

    @property
    def told(self) -> bool:
        """Whether the loss tells any checkpoints apart."""
        return len(self.found.candidates) < len(self.found.table)

    @property
    def step(self) -> int | None:
        """The step to take, where the loss is lowest; None where it cannot be told."""
        return self.found.step if self.told else None

    @property
    def take(self) -> str | None:
        """The checkpoint at that step; None where it cannot be told, or is not there."""
        return None if self.step is None else self.paths.get(self.step)

    @property
    def stop_step(self) -> int | None:
        """The first step that cannot be told from the best: no later one is surely better."""
        return self.found.candidates[0] if self.told else None


def pick_of_run(run: Run) -> Pick:
    """Pick among the checkpoints of a run.

    Deciding is, of what was evaluated at two checkpoints or more: the probe of held-out
    photographs; the held-out loss of training; the probe; L_det. Raises `UserError` if none was.
    """
    steps = run.checkpoint_steps()
    for name, held_out, losses in _evaluated(run):
        there = losses.reindex([step for step in steps if step in losses.index])
        there = there.loc[np.isfinite(there.to_numpy()).all(axis=1).tolist()]
        if len(there) > 1 and there.shape[1] > 1:
            found = best_of_samples(there.index, there.to_numpy())
            paths = {step: str(run.checkpoint(step)) for step in steps}
            front = pareto_front(run.metrics_trace())
            unit = run.foreign.unit if run.foreign else "step"
            source = str(run.directory)
            return Pick(source, name, held_out, False, found, paths, front, unit, of_run=True)
    raise UserError(
        f"'{run.directory}': no loss is known at two checkpoints; probe them: noiseprobe probe "
        f"{run.directory}"
    )


def _evaluated(run: Run) -> Iterator[tuple[str, bool, pd.DataFrame]]:
    """What was evaluated on the same draws at checkpoints: (steps, samples) each."""
    tracked = run.tracked_trace()
    yield "the held-out loss of the probe", True, _of_probe(run.held_out_trace())
    yield "the held-out loss l_val", True, samples_of(tracked, "l_val")
    yield "the loss of the probe", False, _of_probe(run.probe_trace())
    yield "L_det", False, samples_of(tracked, "l_det")


def _of_probe(trace: pd.DataFrame) -> pd.DataFrame:
    """The losses (steps, samples) under the setting in which all is drawn anew."""
    drawn = trace[trace["setting"] == "original"]
    return drawn.pivot(index="step", columns=["replicate", "sample"], values="loss").dropna(axis=1)


def pick_of_series(series: Series, paths: Mapping[int, str] | None = None) -> Pick:
    """Pick along one recorded loss; among checkpoints, where their `paths` by step are given.

    Where the losses of its samples are known, as a `Tracker` keeps them, these are compared; of
    checkpoints then those at whose very step they are. Raises `UserError` for too few values, or
    where fewer than two checkpoints lie within the steps of the series.
    """
    values: NDArray[np.float64] = as_losses(series.column, series.values)
    samples = series.samples
    known_at: NDArray[np.bool_] = np.isfinite(values)
    try:
        if samples is not None and samples.shape[1] > 1:
            known_at = np.isfinite(samples).all(axis=1) & known_at
            if paths is not None:
                known_at &= np.isin(
                    series.steps, _two_of(paths, series.steps[known_at], exact=True)
                )
            found = best_of_samples(series.steps[known_at], samples[known_at])
        else:
            at = None if paths is None else _two_of(paths, series.steps[known_at])
            found = best_of_series(series.steps, values, at)
    except UserError as error:
        raise UserError(f"{series.name}, {series.column}: {error}") from None
    held = is_held_out(series.column)
    training = not held and is_training_loss(series.column)
    known = True if held else False if training else None
    there = set(found.table["step"]) if paths else ()
    chosen = {step: path for step, path in (paths or {}).items() if step in there}
    return Pick(series.name, series.column, known, training, found, chosen, _nothing())


def _two_of(paths: Mapping[int, str], steps: NDArray[np.int64], exact: bool = False) -> list[int]:
    """The checkpoints of which a series tells, two or more.

    They are at its steps, or unless `exact` between two of them, or no farther from the ends than
    two of them are apart.
    """
    if exact:
        found = sorted(paths.keys() & set(steps.tolist()))
    else:
        apart = int(np.diff(np.unique(steps)).max(initial=0)) if len(steps) else 0
        ends = (int(steps[0]) - apart, int(steps[-1]) + apart) if len(steps) else (0, -1)
        found = sorted(step for step in paths if ends[0] <= step <= ends[1])
    if len(found) < 2:
        raise UserError(
            f"{len(found)} of {len(paths)} --checkpoints are of steps of which it tells "
            f"({_span(steps.tolist())}; they are of {_span(sorted(paths))}); give those of that "
            "training"
        )
    return found


def _span(steps: Sequence[int]) -> str:
    return f"{steps[0]} to {steps[-1]}" if steps else "none"


def pareto_front(metrics: pd.DataFrame) -> pd.DataFrame:
    """The measured steps that no other beats in both likeness and prompt following.

    Args:
        metrics: `Run.metrics_trace`.

    Returns:
        Columns step, likeness, prompt, by step.
    """
    wide = metrics.pivot_table(index="step", columns="metric", values="value")
    if not {LIKENESS, PROMPT} <= set(wide.columns):
        return _nothing()
    points = wide[[LIKENESS, PROMPT]].dropna()
    values = points.to_numpy()
    beaten = [
        bool(((values >= own).all(axis=1) & (values > own).any(axis=1)).any()) for own in values
    ]
    front = points[~np.array(beaten, dtype=bool)].rename(
        columns={LIKENESS: "likeness", PROMPT: "prompt"}
    )
    return front.rename_axis(columns=None).reset_index()


def _nothing() -> pd.DataFrame:
    return pd.DataFrame({"step": [], "likeness": [], "prompt": []})


def pick_of(
    path: Path, tag: str | None = None, paths: Mapping[int, str] | None = None
) -> list[Pick]:
    """The picks of a run, or of each loss that is meant by `tag` in a log (`losses_of`).

    Of a log, they are among the checkpoints whose `paths` by step are given. Raises `UserError` for
    what is neither, or tells nothing.
    """
    from noiseprobe.analysis.sources import losses_of

    if tag is None and paths is None and (path / "config.toml").is_file():
        return [pick_of_run(Run(path))]
    return [pick_of_series(source.trace, paths) for source in losses_of([path], tag, undo=True)]


def paths_of(patterns: Sequence[str]) -> dict[int, str]:
    """The checkpoints that patterns, files or folders mean, by step; no weights are read.

    Raises `UserError` where there are none, or they do not say their steps.
    """
    series = find(patterns, "")
    if series.unit != "step":
        raise UserError(
            f"{FLAG}: they say epochs and no steps, which a log counts; name them as "
            "my-step00000100, or probe them (--model, --concept)"
        )
    return {each.step: str(each.path) for each in series.checkpoints if each.files}
