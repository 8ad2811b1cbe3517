"""The commands over recorded losses: replay criteria, list them, hold them against a judge."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noiseprobe.cli.flags import Debug, Json, PlotFile, check_plot, option
from noiseprobe.cli.tables import print_json, print_next, print_verdict, records, write_csv
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import check_file
from noiseprobe.core.words import visible
from noiseprobe.run.declaring import MACHINE, STOPPING

if TYPE_CHECKING:
    from noiseprobe.analysis.sources import Source

WHAT = "What is read"


def source(text: str) -> Path:
    """The path that a source is; raises `typer.BadParameter` for an empty one."""
    if not text:  # as of a variable that is not set: it would mean all that is here
        raise typer.BadParameter("an empty path; name a log, a folder or a pattern")
    return Path(text)


Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE...",
        parser=source,
        help="Runs, TensorBoard events, CSV, JSON Lines, Parquet, SQLite, MLflow, W&B, consoles; "
        "also folders and patterns.",
    ),
]
Tag = Annotated[
    str | None,
    option(
        "Which losses, a tag or a pattern (default: l_det, else a validation loss, else a training "
        "loss, else the only tag).",
        WHAT,
        "--tag",
        "--column",
    ),
]
Criteria = Annotated[
    list[str] | None,
    option("A criterion; repeatable. `noiseprobe criteria` lists them.", STOPPING, "--criterion"),
]
Params = Annotated[
    list[str] | None,
    option(
        "A parameter, patience=20 or window=20%; with several criteria, patience.patience=20; "
        "repeatable.",
        STOPPING,
        "--param",
        metavar="NAME=VALUE",
    ),
]


def dvar_replay(
    sources: Sources,
    window: Annotated[
        str | None,
        option(
            "DVAR: last values compared with all: how many, or a share such as 20% (default: a "
            "run's own; of any other log 70%).",
            STOPPING,
            metavar="N|SHARE%",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        option("DVAR: stop below this variance ratio (default: a run's own; 0.15).", STOPPING),
    ] = None,
    criterion: Criteria = None,
    param: Params = None,
    every: Annotated[bool, option("Compare all criteria.", STOPPING, "--all")] = False,
    grid: Annotated[
        bool, option("The stop step for a range of DVAR's windows and thresholds.", STOPPING)
    ] = False,
    tag: Tag = None,
    listing: Annotated[
        bool, option("List what is recorded: tags, points, steps.", WHAT, "--list")
    ] = False,
    csv: Annotated[Path | None, option("Write the table there.", MACHINE, metavar="FILE")] = None,
    plot: Annotated[
        Path | None,
        option(
            "Draw the losses with each criterion's stop; at most 24 traces.",
            MACHINE,
            metavar="FILE.png",
        ),
    ] = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Say where DVAR, or another criterion, would have stopped recorded losses.

    A run directory is replayed with its own window and threshold unless others are given.

    Any other log is replayed with windows that are shares of what was seen so far.
    """
    from noiseprobe.analysis import replay
    from noiseprobe.analysis import sources as recorded
    from noiseprobe.analysis import verdicts_recorded as verdicts
    from noiseprobe.cli.params import chosen_criteria, dvar_params, parse_params
    from noiseprobe.cli.text_recorded import cannot_fire, grid_table, list_table, replay_table

    dvar_alone: dict[str, object] = {
        "--criterion": criterion,
        "--param": param,
        "--all": every,
        "--window": window,
        "--threshold": threshold,
        "--plot": plot,
    }
    if listing:
        check_alone("--list", dvar_alone | {"--tag": tag, "--grid": grid, "--csv": csv})
        rows = recorded.listed(sources)
        print_json(rows) if json_output else print(list_table(rows))
        return
    if grid:
        check_alone("--grid", dvar_alone)
    check_outputs(csv, plot, sources)
    names = chosen_criteria(criterion, every)
    params = parse_params(param or [], names)
    params |= dvar_params(params, names, window, threshold)
    found = recorded.losses_of(sources, tag)
    replay.check_samples([each.trace for each in found], names)
    replays = [
        replay.replayed(each.trace, name, recorded.params_on(each, name, params.get(name, {})))
        | {"defaults": recorded.defaults_on(each, name, params.get(name, {}))}
        for each in found
        for name in names
    ]
    grids = [replay.grid_of(each.trace) for each in found] if grid else []
    if plot:
        from noiseprobe.plots.replays import write_replays

        write_replays([each.trace for each in found], replays, plot)
    if csv:
        write_rows(grids or replays, csv)
    if tag is None:
        for name in dict.fromkeys(each.trace.column for each in found):
            print(f"replayed: {visible(name)} (another: --tag)", file=sys.stderr)
    if not grid:
        for told in cannot_fire(replays):
            print(visible(told), file=sys.stderr)
    if json_output:
        print_json(grids if grid else with_verdicts(found, replays))
    elif grid:
        print(grid_table(grids))
    else:
        print_verdict(verdicts.of_replays(found, replays))
        print(replay_table(replays))
        print_next(verdicts.next_of_replay(sources, found, replays, tag))


def with_verdicts(
    found: "Sequence[Source]", rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each replay with what it says in sentences."""
    from noiseprobe.analysis.verdicts_recorded import of_replays

    each = len(rows) // len(found)
    return [
        {**row, "verdict": of_replays([found[place // each]], [row])}
        for place, row in enumerate(rows)
    ]


def check_alone(what: str, given: Mapping[str, object]) -> None:
    """Raise `UserError` if another flag was given beside `what`, which would be without effect."""
    for flag, value in given.items():
        if value not in (None, False, []):
            raise UserError(f"{what}: {flag} has no effect beside it; leave one of them out")


def check_outputs(csv: Path | None, plot: Path | None, given: Sequence[Path]) -> None:
    """Raise `UserError` unless both files, where they are given, can be written."""
    if csv and csv == plot:
        raise UserError(f"--plot {plot}: --csv writes there as well; name another file")
    check_plot(plot)
    for flag, path in {"--csv": csv, "--plot": plot}.items():
        if path:
            check_output(flag, path, given)


def check_output(flag: str, path: Path, given: Sequence[Path]) -> None:
    """Raise `UserError` unless a file can be written at `path` without the loss of a source."""
    from noiseprobe.logs import files_of, find_sources

    sources = find_sources(given) if path.exists() else []
    if any(path.samefile(file) for source in sources for file in files_of(source)):
        raise UserError(f"{flag} {path}: it is a source, and would be lost; name another file")
    check_file(flag, path)


def write_rows(found: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a row per trace and criterion, or of grids, per trace, window and threshold."""
    import pandas as pd

    from noiseprobe.stopping.params import shown_params

    rows: list[dict[str, Any]] = []
    for each in found:
        if "params" in each:
            row = dict(each) | {"params": shown_params(each["params"])}
            if "window" in each:
                row["window"] = f"{each['window']:.12g}"
            rows.append(row)
            continue
        for window, steps in zip(each["windows"], each["stop_steps"], strict=True):
            for threshold, step in zip(each["thresholds"], steps, strict=True):
                place = {"trace": each["trace"], "tag": each["tag"], "window": f"{window:.12g}"}
                rows.append(place | {"threshold": threshold, "stop_step": step})
    table = pd.DataFrame(rows)
    whole = [name for name in ("stop_index", "stop_step") if name in table]
    write_csv(table.astype(dict.fromkeys(whole, "Int64")), path)


def criteria(plot: PlotFile = None, json_output: Json = False, debug: Debug = False) -> None:
    """List the stopping criteria: formula, parameters with their defaults, source.

    --plot draws what each does on three made losses: one that levels off, one that turns, a noisy
    one.
    """
    from noiseprobe.cli.text_recorded import catalogue_text
    from noiseprobe.stopping import CRITERIA, completed

    check_plot(plot)
    if plot:
        from noiseprobe.plots import plot_criteria
        from noiseprobe.plots.saving import save_one

        save_one(plot_criteria(), plot)
    rows = [
        {
            "name": name,
            "summary": (criterion.__doc__ or "").strip().splitlines()[0],
            "formula": criterion.formula,
            "parameters": completed(name),
            "scale_free": dict(criterion.scale_free),
            "grid": {key: list(values) for key, values in criterion.grid.items()},
            "source": criterion.source,
        }
        for name, criterion in CRITERIA.items()
    ]
    print_json(rows) if json_output else print(catalogue_text(rows))


def regret(
    sources: Sources,
    judge: Annotated[
        str,
        typer.Option(
            help="Tag of the judge in each source: a validation loss, a CLIP similarity.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ],
    tag: Tag = None,
    maximize: Annotated[
        bool | None,
        option(
            "Whether the judge is to be high (default: if its tag says clip, similarity, accuracy, "
            "acc, score, psnr or ssim, and not loss or error).",
            WHAT,
            "--maximize/--minimize",
        ),
    ] = None,
    criterion: Criteria = None,
    param: Params = None,
    tune: Annotated[
        str | None,
        option(
            "Choose parameters on other origins: leave-one-out, or on this share of them and "
            "report the rest, e.g. 0.5.",
            STOPPING,
            metavar="leave-one-out|SHARE",
        ),
    ] = None,
    min_gain: Annotated[
        float,
        option("Leave out traces whose judge gains no more than this (default: 0).", WHAT),
    ] = 0.0,
    against: Annotated[
        str,
        option(
            "The criterion that others are held against: dvar (default), never, another.", STOPPING
        ),
    ] = "dvar",
    seed: Annotated[int, option("Of the bootstrap and of the share (default: 0).", MACHINE)] = 0,
    csv: Annotated[
        Path | None, option("Write a row per trace and criterion.", MACHINE, metavar="FILE")
    ] = None,
    plot: PlotFile = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Say how far from a judge's best each criterion stops: mean and 95% interval over origins.

    0 is the best of the judge, 1 its first value. Parameters are as in dvar-replay unless tuned.

    Logs of one folder, or with the same bytes, are of one origin: they count as one.
    """
    from noiseprobe.analysis.regret import paired, summary
    from noiseprobe.analysis.regret import regret as raw_numbers
    from noiseprobe.analysis.replay import check_samples
    from noiseprobe.analysis.sources import judged_losses
    from noiseprobe.analysis.tuning import tune as tuned_numbers
    from noiseprobe.analysis.verdicts_recorded import of_regret
    from noiseprobe.cli.params import chosen_criteria, parse_params
    from noiseprobe.cli.text_recorded import regret_text
    from noiseprobe.core.words import command
    from noiseprobe.stopping import CRITERIA, ON_MEANS

    if seed < 0:
        raise UserError(f"--seed {seed}: give a whole number of 0 or more")
    check_outputs(csv, plot, sources)
    chosen = chosen_criteria(criterion, every=False) if criterion else list(ON_MEANS)
    if against not in CRITERIA:
        raise UserError(f"--against {against}: choose one of {', '.join(CRITERIA)}")
    names = list(dict.fromkeys([*chosen, against]))
    params = parse_params(param or [], names, meant=chosen)
    if tune and params:
        raise UserError("--param: --tune chooses the parameters; leave one of them out")
    traces = judged_losses(sources, judge, tag, maximize)
    check_samples([judged.trace for judged in traces], names)
    if tune:
        raw = tuned_numbers(traces, names, tune, seed=seed, min_gain=min_gain)
    else:
        given = {name: params.get(name, {}) for name in names}
        raw = raw_numbers(traces, given, min_gain=min_gain)
    means, differences = summary(raw, seed=seed), paired(raw, against, seed=seed)
    if csv:
        write_csv(raw, csv)
    if plot:
        from noiseprobe.plots import plot_regret
        from noiseprobe.plots.saving import save_one

        save_one(plot_regret(means, differences), plot)
    losses = list(dict.fromkeys(judged.trace.column for judged in traces))
    origins = len({judged.origin for judged in traces})
    if tag is None:
        print(f"losses: {visible(', '.join(losses))} (another: --tag)", file=sys.stderr)
    if not json_output:
        first = traces[0]
        print_verdict(
            of_regret(means, differences, first.judge.column, first.maximize, len(traces), origins)
        )
        print(regret_text(traces, raw, means, differences))
        again = ["noiseprobe", "regret", *sources, "--judge", judge]
        again += ["--tag", tag] if tag is not None else []
        further = ["--against", "never"] if tune or origins < 3 else ["--tune", "leave-one-out"]
        print_next(command(*again, *further))
        return
    print_json(
        {
            "losses": losses,
            "judge": traces[0].judge.column,
            "maximize": traces[0].maximize,
            "origins": origins,
            "summary": records(means),
            "paired": records(differences),
            "traces": [row | {"params": json.loads(row["params"])} for row in records(raw)],
        }
    )
