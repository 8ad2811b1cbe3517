"""Replays over sources, as the command line does them: what is read, and what is printed of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from noiseprobe.analysis.replay import default_grid, replay, replay_criterion, replay_grid
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import check_file, written_whole
from noiseprobe.core.tables import aligned
from noiseprobe.logs import Log, Series, choose_tags, files_of, find_sources, read_logs
from noiseprobe.run.defaults import METHODS, defaults_of
from noiseprobe.stopping import CRITERIA, build, completed, criterion_named

Params = Mapping[str, Mapping[str, float]]
"""The parameters that were given, by criterion and name."""


@dataclass(frozen=True)
class Source:
    """One series to replay, and DVAR's window and threshold where it came from a run directory."""

    series: Series
    usual: dict[str, Any]


def read_sources(given: Sequence[Path], pattern: str | None) -> Iterator[tuple[Log, list[str]]]:
    """Each log that is meant, with its tags that match `pattern`.

    Raises:
        UserError: there is no such source or tag; the message names both.

    Warns:
        PassedOverWarning: something that was found inside a folder is left out; see `read_logs`.
    """
    yield from read_logs(given, lambda tags: choose_tags(tags, pattern))


def check_output(flag: str, path: Path, given: Sequence[Path]) -> None:
    """Raise `UserError` unless a file can be written at `path` without the loss of a source."""
    check_file(flag, path)
    if not path.exists():
        return
    if any(path.samefile(file) for source in find_sources(given) for file in files_of(source)):
        raise UserError(f"{flag} {path}: it is a source, and would be lost; name another file")


def series_to_replay(given: Sequence[Path], pattern: str | None) -> list[Source]:
    """All series that are meant; where one came from a run, the run's own DVAR settings count."""
    from noiseprobe.run.directory import Run

    sources = []
    for log, tags in read_sources(given, pattern):
        own: Any = Run(log.path).config if (log.path / "config.toml").is_file() else None
        usual = own.model_dump() if own else defaults_of("stable-diffusion", METHODS[0])
        chosen = {name: usual[name] for name in ("window", "threshold")}
        sources += [Source(log.series(tag), chosen) for tag in tags]
    return sources


def chosen_criteria(given: Sequence[str] | None, every: bool) -> list[str]:
    """The names of the criteria that are meant: those given, all that may stop, or DVAR alone.

    Raises:
        UserError: a name is unknown, or both were asked for.
    """
    if given and every:
        raise UserError("--all: it means every criterion; leave out --criterion")
    for name in given or []:
        criterion_named(name)
    if every:
        return [name for name in CRITERIA if name != "never"]
    return list(dict.fromkeys(given or ["dvar"]))


def parse_params(
    pairs: Sequence[str], criteria: Sequence[str], meant: Sequence[str] | None = None
) -> dict[str, dict[str, float]]:
    """`name=value`, or `criterion.name=value` where more than one criterion may be meant.

    A pair that names no criterion is of the only one of those `meant`, by default of `criteria`.

    Raises:
        UserError: a pair is malformed, or names a criterion or parameter that is not there.

    Example:
        >>> parse_params(["min-delta=0.01"], ["patience"])
        {'patience': {'min_delta': 0.01}}
    """
    plain = criteria if meant is None else meant
    params: dict[str, dict[str, float]] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        criterion, dot, name = key.rpartition(".")
        if not dot and len(plain) != 1:
            owners = [each for each in plain if name.replace("-", "_") in completed(each)]
            raise UserError(
                f"--param {pair}: of which criterion? write {(owners or plain)[0]}.{pair}"
            )
        if dot and criterion not in criteria:
            raise UserError(f"--param {pair}: {criterion!r} is not one of {', '.join(criteria)}")
        criterion = criterion or plain[0]
        try:
            value = float(text)
        except ValueError:
            raise UserError(
                f"--param {pair}: give a name and a number, such as --param patience=20"
            ) from None
        chosen, name = params.setdefault(criterion, {}), name.replace("-", "_")
        if name in chosen:
            raise UserError(f"--param {pair}: {name} is given twice; leave one of them out")
        chosen[name] = value
    for criterion, chosen in params.items():
        completed(criterion, chosen)
    return params


def dvar_params(
    params: Params, criteria: Sequence[str], window: int | None, threshold: float | None
) -> dict[str, dict[str, float]]:
    """DVAR's own flags as parameters, added to those it has in `params`.

    Raises:
        UserError: one was given, and DVAR is not among `criteria`.
    """
    flags = {"window": window, "threshold": threshold}
    given = {name: value for name, value in flags.items() if value is not None}
    if given and "dvar" not in criteria:
        name, value = next(iter(given.items()))
        raise UserError(
            f"--{name} {value}: it is DVAR's, which is not replayed; add --criterion dvar, or "
            f"leave out --{name}"
        )
    for name in given.keys() & params.get("dvar", {}).keys():
        raise UserError(f"--{name}: --param gives {name} as well; leave one of them out")
    try:
        build("dvar", given)
    except UserError as error:
        raise UserError(f"--{error}") from None
    return {"dvar": dict(params.get("dvar", {})) | given} if given else {}


def replay_all(
    sources: Sequence[Source], criteria: Sequence[str], params: Params
) -> list[dict[str, Any]]:
    """What `--json` prints: one object per series and criterion.

    Those of DVAR have the keys of `noiseprobe.analysis.replay.Replay` and, as the others, those of
    `noiseprobe.analysis.replay.CriterionReplay`.
    """
    return [
        _replayed(source, criterion, params.get(criterion, {}))
        for source in sources
        for criterion in criteria
    ]


def _replayed(source: Source, criterion: str, given: Mapping[str, float]) -> dict[str, Any]:
    if criterion != "dvar":
        return asdict(replay_criterion(source.series, criterion, given))
    params = completed(criterion, source.usual | dict(given))
    build("dvar", params)  # which refuses what is out of range, and half a window
    found = replay(source.series, int(params["window"]), params["threshold"])
    # DVAR keeps no best: the stop is the step to keep.
    kept = found.stop_step if found.stop_step is not None else int(source.series.steps[-1])
    more = {"tag": source.series.column, "criterion": criterion, "params": params}
    return asdict(found) | more | {"kept_step": kept}


def check_alone(what: str, given: Mapping[str, object]) -> None:
    """Raise `UserError` if another flag was given beside `what`, which would be without effect."""
    for flag, value in given.items():
        if value not in (None, False, []):
            raise UserError(f"{what}: {flag} has no effect beside it; leave one of them out")


def too_short(replays: Sequence[Mapping[str, Any]]) -> str:
    """A line that names a trace with fewer points than DVAR's window; "" where there is none."""
    short = [
        row
        for row in replays
        if row["criterion"] == "dvar" and row["points"] < row["params"]["window"]
    ]
    if not short:
        return ""
    more = f" (and {len(short) - 1} more like it)" if len(short) > 1 else ""
    return (
        f"{short[0]['trace']}: {short[0]['points']} points are fewer than DVAR's window of "
        f"{short[0]['params']['window']}, so that it cannot fire; give a smaller --window{more}"
    )


def grids_of(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """The stop steps of DVAR over a default grid, one object per series."""
    grids = []
    for source in sources:
        stops = replay_grid(source.series, *default_grid(len(source.series.values)))
        grids.append(
            {
                "trace": source.series.name,
                "tag": source.series.column,
                "thresholds": [float(each) for each in stops.columns],
                "windows": [int(each) for each in stops.index],
                "stop_steps": [
                    [None if cell != cell or cell is None else int(cell) for cell in row]
                    for row in stops.astype(object).where(stops.notna(), None).to_numpy()
                ],
            }
        )
    return grids


def listed(given: Sequence[Path]) -> list[dict[str, Any]]:
    """What is recorded where, as far as it can be read: one object per source and tag."""
    rows = []
    for log, tags in read_logs(given, list, partly=True):
        for tag in tags:
            series = log.series(tag)
            ends = {"first_step": int(series.steps[0]), "last_step": int(series.steps[-1])}
            rows.append({"trace": str(log.path), "tag": tag, "points": len(series.values)} | ends)
    return rows


def catalogue() -> list[dict[str, Any]]:
    """What `noiseprobe criteria --json` prints: one object per criterion."""
    return [
        {
            "name": name,
            "summary": (criterion.__doc__ or "").strip().splitlines()[0],
            "formula": criterion.formula,
            "parameters": completed(name),
            "grid": {key: list(values) for key, values in criterion.grid.items()},
            "source": criterion.source,
        }
        for name, criterion in CRITERIA.items()
    ]


def catalogue_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The criteria as a person reads them: a paragraph each."""
    return "\n\n".join(
        f"{row['name']}: {shown_params(row['parameters']) or 'no parameters'}\n"
        f"    stops when {row['formula']}\n"
        f"    {row['source']}"
        for row in rows
    )


def list_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per source and tag."""
    cells = [
        (
            row["trace"],
            row["tag"],
            str(row["points"]),
            f"{row['first_step']}..{row['last_step']}",
        )
        for row in rows
    ]
    return aligned([("trace", "tag", "points", "steps"), *cells])


def replay_table(replays: Sequence[Mapping[str, Any]]) -> str:
    """One line per trace and criterion: where it fires and what that saves."""
    rows = [
        (
            row["trace"],
            row["tag"],
            str(row["points"]),
            row["criterion"],
            shown_params(row["params"]),
            "never" if row["stop_step"] is None else str(row["stop_step"]),
            str(row["kept_step"]),
            "-" if row.get("ratio") is None else f"{row['ratio']:.3g}",
            f"{row['saved_fraction']:.0%}",
        )
        for row in replays
    ]
    heads = ("trace", "tag", "points", "criterion", "parameters")
    return aligned([(*heads, "stop step", "keep step", "ratio", "saved"), *rows], left=(0, 1, 3, 4))


def grid_table(grids: Sequence[Mapping[str, Any]]) -> str:
    """The stop steps of each trace, windows down, thresholds across."""
    return "\n\n".join(
        f"{grid['trace']}: stop step by window (down) and threshold (across)\n"
        + aligned(
            [
                ("", *(f"{threshold:g}" for threshold in grid["thresholds"])),
                *(
                    (str(window), *("-" if step is None else str(step) for step in row))
                    for window, row in zip(grid["windows"], grid["stop_steps"], strict=True)
                ),
            ]
        )
        for grid in grids
    )


def write_csv(
    replays: Sequence[Mapping[str, Any]], grids: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Write a row per trace and criterion, or with grids, per trace, window and threshold."""
    if grids:
        rows = [
            {"trace": grid["trace"], "tag": grid["tag"], "window": window}
            | {"threshold": threshold, "stop_step": step}
            for grid in grids
            for window, steps in zip(grid["windows"], grid["stop_steps"], strict=True)
            for threshold, step in zip(grid["thresholds"], steps, strict=True)
        ]
    else:
        rows = [dict(row) | {"params": shown_params(row["params"])} for row in replays]
    table = pd.DataFrame(rows)
    whole = [name for name in ("window", "stop_index", "stop_step") if name in table]
    with written_whole(path) as beside:
        table.astype(dict.fromkeys(whole, "Int64")).to_csv(beside, index=False)


def shown_params(params: Mapping[str, float]) -> str:
    """The parameters in one word each: `window=310 threshold=0.15`."""
    return " ".join(f"{name}={value:.12g}" for name, value in params.items())
