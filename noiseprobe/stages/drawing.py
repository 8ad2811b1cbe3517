"""The figures of runs, drawn from what is recorded: into each one's folder, or across runs."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import remove
from noiseprobe.core.reading import json_of
from noiseprobe.run.directory import Run
from noiseprobe.run.holding import noticing_removal, require_own_places
from noiseprobe.run.settings import RunConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from PIL import Image

    from noiseprobe.analysis.run_tables import Analysis
    from noiseprobe.plots import Drawn

_NUMBERED = re.compile(r"\d+-[a-z-]+\.(png|svg)")
_OF_ANALYSIS = ("7-", "8-", "9-", "10-")


def ends_of(run: Run) -> dict[str, int]:
    """The checkpoint nearest to where each criterion ends the run, by name; none without L_det."""
    from noiseprobe.analysis.stops import has_l_det, stops

    train = run.train_trace()
    found = stops(train, run.config) if has_l_det(train) else {}
    return {name: run.nearest_checkpoint(stop.step) for name, stop in found.items()}


def plot_stage(run: Run) -> list[Path]:
    """Draw every figure whose data is there into the run's `figures/`; returns their paths.

    Those of `analyze` are drawn anew if they are there. A figure whose data is gone is removed.
    Raises `UserError` where the run is removed meanwhile.
    """
    require_own_places(run.directory)
    with noticing_removal(run.directory):
        return _draw(run)


def _draw(run: Run) -> list[Path]:
    from noiseprobe.analysis.run_tables import analyze
    from noiseprobe.analysis.stops import dvar_stop
    from noiseprobe.plots import draw_all

    config, figures = run.config, run.figures_directory
    train = run.train_trace()
    drawn = drawn_by_criterion(run) if run.samples_directory.is_dir() else []
    paths = draw_all(
        train,
        run.probe_trace(),
        config.threshold,
        dvar_stop(train, config),
        figures,
        drawn,
        run.num_timesteps,
        window=config.window,
        every=config.eval_every,
        seen=run.seen_trace(),
        ended=ended_by(run),
        photographs=photographs_of(config) if drawn else (),
    )
    paths += draw_held_out(run, train)
    before = {path for path in figures.glob("*") if _NUMBERED.fullmatch(path.name)}
    if any(path.name.startswith(_OF_ANALYSIS) for path in before):
        paths += draw_analysis(analyze(run), figures)
    for path in before.difference(paths):  # drawn from what has changed since
        remove(path)
    return list(dict.fromkeys(paths))


def plot_tracker(folder: Path) -> list[Path]:
    """Draw what a `Tracker` recorded in `folder` into its `figures/`; returns the paths.

    Raises `UserError` if it recorded nothing there.
    """
    from noiseprobe.analysis.tracked import changes
    from noiseprobe.plots import plot_tracked
    from noiseprobe.plots.saving import save

    run = Run(folder)
    try:
        manifest.check(run.tracker_file, "track the training anew")
        about = json_of(run.tracker_file)
        names, best, stop = list(about["losses"]), about["best_step"], about["stop_step"]
    except UserError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{run.tracker_file}' is damaged; track the training anew") from error
    tracked = run.tracked_trace()
    tables = {name: changes(tracked, name) for name in names}
    ax = plot_tracked(
        tables,
        best=None if best is None else (about["watch"], best),
        stop=None if stop is None else (about["criterion"], stop),
    )
    return save(ax, run.figures_directory / "11-held-out")


def draw_held_out(run: Run, train: "pd.DataFrame") -> list[Path]:
    """The figures of what was held out and paired, where there is some of it.

    The names are `11-held-out`, `12-paired`, `13-cross`, `14-gap` and `15-recent`.
    """
    from noiseprobe import plots
    from noiseprobe.analysis.crossing import crossed, recommended
    from noiseprobe.analysis.ending import ending_of
    from noiseprobe.analysis.gap import gap_by_timestep
    from noiseprobe.analysis.tracked import changes
    from noiseprobe.plots.saving import save

    figures: dict[str, Axes] = {}
    if train["l_val"].notna().any():
        tracked, best = run.tracked_trace(), ending_of(run).best_step
        both = {name: changes(tracked, name) for name in ("l_det", "l_val")}
        star = None if best is None else ("l_val", best)
        figures["11-held-out"] = plots.plot_tracked(both, best=star, stop=ended_by(run))
    if train["paired"].notna().any():
        figures["12-paired"] = plots.plot_paired(train)
    if train["recent"].notna().any():
        figures["15-recent"] = plots.plot_recent(train)
    folds = [fold.train_trace() for fold in run.cross_runs()]
    if folds and all(len(fold) for fold in folds):
        table = crossed(folds)
        figures["13-cross"] = plots.plot_cross(table, folds, recommended=recommended(table))
    probed, held = run.probe_trace(), run.held_out_trace()
    if len(probed) and len(held):
        bins = gap_by_timestep(probed, held, num_timesteps=run.num_timesteps)
        figures["14-gap"] = plots.plot_gap(bins, time_axis=run.time_axis)
    return [path for name, ax in figures.items() for path in save(ax, run.figures_directory / name)]


def ended_by(run: Run) -> tuple[str, int] | None:
    """The criterion that ended training and the step at which it did; None if none did."""
    from noiseprobe.analysis.comparison import NAMES

    status = run.status
    if status["stopped_by"] in (None, "interrupt", "steps"):
        return None
    return NAMES.get(status["stopped_by"], status["stopped_by"]), status["step"]


def photographs_of(config: RunConfig) -> "list[Image.Image]":
    """The concept's photographs; none where its folder is no longer as it was."""
    from noiseprobe.pictures.photographs import read_photograph
    from noiseprobe.training.concept import load_concept

    try:
        concept = load_concept(config.concept, config.class_noun, config.placeholder)
        return [read_photograph(path) for path in concept.photographs]
    except UserError:
        return []


def draw_analysis(found: "Analysis", out: Path) -> list[Path]:
    """Write the figure of each table into the folder `out`, as PNG and SVG; returns the paths.

    The names are `7-shares`, `8-needed-batch`, `9-loss-by-timestep` and, as `noiseprobe plot` has
    it, `5-correlation`.
    """
    from noiseprobe import plots
    from noiseprobe.plots.saving import save

    tables, figures = found.tables, dict[str, "Axes | list[Axes]"]()
    if "correlations" in tables:
        figures["5-correlation"] = plots.plot_correlation(tables["correlations"])
    if "shares" in tables:
        figures["7-shares"] = plots.plot_shares(
            tables["shares"], over=f"{found.pairs} pairs of draws"
        )
    if "signal_to_noise" in tables:
        figures["8-needed-batch"] = plots.plot_needed_batch(tables["signal_to_noise"])
    if "timestep_losses" in tables:
        losses, learning = tables["timestep_losses"], tables["learning_bins"]
        figures["9-loss-by-timestep"] = plots.plot_timesteps(
            losses, learning, time_axis=found.time_axis
        )
    return [path for name, axes in figures.items() for path in save(axes, out / name)]


def plot_across(runs: "Sequence[Run]", out: Path) -> list[Path]:
    """Draw figures over all runs into `out`: `stops`, and `correlation` where CLIP was checked."""
    import pandas as pd

    from noiseprobe.analysis import correlations
    from noiseprobe.analysis.comparison import raw_numbers
    from noiseprobe.plots import plot_correlation, plot_stops
    from noiseprobe.plots.saving import save

    paths = save(plot_stops(raw_numbers(runs)), out / "stops")
    told = pd.concat(
        [correlations(run.train_trace(), run.probe_trace(), run.num_timesteps) for run in runs]
    )
    if told["rho"].notna().any():
        paths += save(plot_correlation(told), out / "correlation")
    return paths


def drawn_by_criterion(run: Run) -> "list[Drawn]":
    """The pictures measured where each criterion ends the run, and at its last step, with captions.

    A row is named by the criteria that fire there; the last step by what ended training there.
    """
    from noiseprobe.analysis.comparison import NAMES
    from noiseprobe.analysis.stops import stops
    from noiseprobe.pictures.strips import read_samples
    from noiseprobe.plots import Drawn

    ended, rows = ended_by(run), dict[int, list[str]]()
    for name, stop in stops(run.train_trace(), run.config).items():
        names = rows.setdefault(run.nearest_checkpoint(stop.step), [])
        if name == "baseline":
            names.append(ended[0] if ended else f"all {stop.step} steps")
        elif stop.fired:
            names.append(NAMES[name])
    found = []
    for step, names in sorted(rows.items()):
        if run.samples(step, "training").is_file():
            samples = read_samples(run, step)
            title = ", ".join(dict.fromkeys(names)) + f"\nstep {step}"
            found.append(Drawn(title, samples["training"], samples["validation"]))
    return found
