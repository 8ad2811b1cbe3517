"""The commands over recorded losses: replay criteria, list them, hold them against a judge."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from noiseprobe.cli.flags import Debug, Json, option
from noiseprobe.cli.report import print_json
from noiseprobe.core.errors import UserError
from noiseprobe.run.settings import MACHINE, STOPPING

WHAT = "What is read"


def _source(text: str) -> Path:
    if not text:  # as of a variable that is not set: it would mean all that is here
        raise typer.BadParameter("an empty path; name a log, a folder or a pattern")
    return Path(text)


Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE...",
        parser=_source,
        help="Runs, TensorBoard events, CSV, JSON Lines, Parquet, trainer_state.json; also folders "
        "and patterns.",
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
        "A parameter, patience=20; with several criteria, patience.patience=20; repeatable.",
        STOPPING,
        "--param",
        metavar="NAME=VALUE",
    ),
]


def dvar_replay(
    sources: Sources,
    window: Annotated[
        int | None, option("DVAR: last values compared with all (default: 310).", STOPPING)
    ] = None,
    threshold: Annotated[
        float | None, option("DVAR: stop below this variance ratio (default: 0.15).", STOPPING)
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
    """
    from noiseprobe.analysis import replaying

    dvar_alone: dict[str, object] = {
        "--criterion": criterion,
        "--param": param,
        "--all": every,
        "--window": window,
        "--threshold": threshold,
        "--plot": plot,
    }
    if listing:
        others = {"--tag": tag, "--grid": grid, "--csv": csv}
        replaying.check_alone("--list", dvar_alone | others)
        rows = replaying.listed(sources)
        print_json(rows) if json_output else print(replaying.list_table(rows))
        return
    if grid:
        replaying.check_alone("--grid", dvar_alone)
    if csv and csv == plot:
        raise UserError(f"--plot {plot}: --csv writes there as well; name another file")
    for flag, path in {"--csv": csv, "--plot": plot}.items():
        if path:
            replaying.check_output(flag, path, sources)
    names = replaying.chosen_criteria(criterion, every)
    params = replaying.parse_params(param or [], names)
    params |= replaying.dvar_params(params, names, window, threshold)
    series = replaying.series_to_replay(sources, tag)
    replays = replaying.replay_all(series, names, params)
    grids = replaying.grids_of(series) if grid else []
    if plot:
        from noiseprobe.plots.replays import write_replays

        write_replays([source.series for source in series], replays, plot)
    if csv:
        replaying.write_csv(replays, grids, csv)
    if tag is None:
        for name in dict.fromkeys(source.series.column for source in series):
            print(f"replayed: {name} (another: --tag)", file=sys.stderr)
    if not grid and (told := replaying.too_short(replays)):
        print(told, file=sys.stderr)
    if json_output:
        print_json(grids if grid else replays)
    else:
        print(replaying.grid_table(grids) if grid else replaying.replay_table(replays))


def criteria(json_output: Json = False, debug: Debug = False) -> None:
    """List the stopping criteria: formula, parameters with their defaults, source."""
    from noiseprobe.analysis import replaying

    rows = replaying.catalogue()
    print_json(rows) if json_output else print(replaying.catalogue_text(rows))


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
            "Choose parameters on other traces: leave-one-out, or on this share of them and "
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
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Say how far from a judge's best each criterion stops: mean and 95% interval over traces.

    0 is the best of the judge, 1 its first value. Criteria are at their defaults unless tuned.
    """
    from noiseprobe.analysis import judging, replaying
    from noiseprobe.analysis.regret import paired, summary
    from noiseprobe.analysis.regret import regret as raw_numbers
    from noiseprobe.analysis.tuning import tune as tuned_numbers
    from noiseprobe.core.files import written_whole
    from noiseprobe.stopping import CRITERIA

    if seed < 0:
        raise UserError(f"--seed {seed}: give a whole number of 0 or more")
    if csv:
        replaying.check_output("--csv", csv, sources)
    chosen = replaying.chosen_criteria(criterion, every=False) if criterion else list(CRITERIA)
    if against not in CRITERIA:
        raise UserError(f"--against {against}: choose one of {', '.join(CRITERIA)}")
    names = list(dict.fromkeys([*chosen, against]))
    params = replaying.parse_params(param or [], names, meant=chosen)
    if tune and params:
        raise UserError("--param: --tune chooses the parameters; leave one of them out")
    traces = judging.judged_traces(sources, judge, tag, maximize)
    if tune:
        raw = tuned_numbers(traces, names, tune, seed=seed, min_gain=min_gain)
    else:
        given = {name: params.get(name, {}) for name in names}
        raw = raw_numbers(traces, given, min_gain=min_gain)
    means, differences = summary(raw, seed=seed), paired(raw, against, seed=seed)
    if csv:
        with written_whole(csv) as beside:
            raw.to_csv(beside, index=False)
    if tag is None:
        print(f"losses: {', '.join(judging.losses(traces))} (another: --tag)", file=sys.stderr)
    if json_output:
        print_json(judging.document(traces, raw, means, differences))
    else:
        print(judging.report_text(traces, raw, means, differences))
