"""What each criterion's stop is worth, by method: regret, steps, and differences from DVAR."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.criteria.any_log import section
from experiments.criteria.fresh import CONCEPTS
from noiseprobe.analysis.regret import Judged, paired, regret, summary
from noiseprobe.analysis.tuning import best_parameters, tune
from noiseprobe.cli.tables import markdown, with_interval
from noiseprobe.core.files import written_whole
from noiseprobe.plots.regret import counted, draw_differences
from noiseprobe.plots.saving import save
from noiseprobe.plots.style import FONT_SIZE, PAGE, look, new_figure, several_panels
from noiseprobe.stopping import CRITERIA, ON_MEANS, Grid

AGAINST = ("dvar", "never")
MIN_GAIN = (
    0.02  # what counts as a gain in CLIP similarity for the CLIP criterion (Voronov et al. 2023)
)
STUDIED = tuple(name for name in ON_MEANS if name != "gain-interval")
"""Those that were there when the fresh runs were made; experiments/paired has the other."""
SCALED = {"steps": tuple(range(15, 301, 15))}


def write_report(
    traces: Mapping[str, Sequence[Judged]],
    fresh: Mapping[str, Sequence[Judged]],
    directory: Path,
    figures: Path,
) -> None:
    """Write the numbers per run, the differences, `RESULTS.md`, and the figures.

    Both are by method: `traces` are those that parameters are chosen on, each for the others, and
    `fresh` those that had no part in any choice.
    """
    names = list(STUDIED)
    grids: dict[str, Grid] = {name: counts_alone(name) for name in names} | {"fixed": SCALED}
    settings: dict[str, Any] = {"grids": grids, "min_gain": MIN_GAIN}
    chosen = {method: best_parameters(traces[method], names, **settings) for method in fresh}
    raw = Tables.of({method: tune(runs, names, **settings) for method, runs in traces.items()})
    confirmed = Tables.of(
        {method: regret(runs, chosen[method], min_gain=MIN_GAIN) for method, runs in fresh.items()}
    )
    for prefix, tables in (("", raw), ("fresh_", confirmed)):
        for stem, table in (("regret", tables.raw), ("paired", tables.differences)):
            with written_whole(directory / f"{prefix}{stem}.csv") as beside:
                table.to_csv(beside, index=False, float_format="%.6g")
    save(figure_of(raw.differences), figures / "13-regret-comparison")
    save(figure_of(confirmed.differences), figures / "12-regret")
    with written_whole(directory / "RESULTS.md") as beside:
        text = report(raw, confirmed) + "\n" + "\n".join(section(traces, fresh, MIN_GAIN)) + "\n"
        beside.write_text(text, encoding="utf-8")


def counts_alone(name: str) -> Grid:
    """The grid of a criterion as it was when the fresh runs were made: windows that are counts."""
    grid = CRITERIA[name].grid
    return {
        key: tuple(value for value in values if key != "window" or value >= 1)
        for key, values in grid.items()
    }


@dataclass(frozen=True)
class Tables:
    """The numbers by run and criterion, and the differences from `AGAINST` by method and all."""

    raw: pd.DataFrame
    differences: pd.DataFrame

    @classmethod
    def of(cls, by_method: Mapping[str, pd.DataFrame]) -> Tables:
        """From the raw numbers of each method."""
        raw = pd.concat(
            [rows.assign(method=method) for method, rows in by_method.items()], ignore_index=True
        )
        differences = [
            paired(rows, against).assign(method=name)
            for name, rows in groups(raw).items()
            for against in AGAINST
        ]
        return cls(raw, pd.concat(differences, ignore_index=True))


def groups(raw: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of each method, and of all together."""
    by_method = {str(name): rows for name, rows in raw.groupby("method", sort=False)}
    return by_method | {"all methods": raw}


def report(first: Tables, fresh: Tables) -> str:
    """The findings as Markdown."""
    lines = [
        "# Was the stop right?",
        "",
        "Made by `python -m experiments.criteria`. Criteria see L_det; the judge is the CLIP "
        "similarity of what is drawn from training prompts to the photographs, at each check. "
        "Regret is (best − judge at the stop) / (best − first): 0 at the best step, 1 where "
        "nothing was gained. Runs whose similarity never rises by more than "
        f"{MIN_GAIN:g} are left out. Mean and 95% bootstrap interval over runs; the best of "
        "some 20 noisy checks flatters, so that no criterion can come near 0. `never` goes on to "
        "the last step. All runs of a data set share one seed, and so one fixed batch: the "
        "intervals do not tell of what another batch would give.",
        "",
        "## Fresh runs",
        "",
        f"{CONCEPTS} new things and another training seed, trained by `python -m "
        "experiments.criteria --fresh runs/criteria` after every criterion and its grid were "
        "written (`fresh.parquet`). Parameters are those with the least mean regret over the runs "
        "of the same method in the comparison.",
        *tables_by_method(fresh),
        "",
        "![Regret less that of DVAR, on fresh runs](../../figures/12-regret.png)",
        "",
        *(verdict(fresh.differences, against) for against in AGAINST),
        "",
        "## Runs of the comparison",
        "",
        "The runs of the comparison on the bundled model (`traces.parquet`), with parameters "
        "chosen by leave-one-out among the runs of the method. `gain-share` is our own, and its "
        "form was found on these very runs, among six that were tried: the fresh runs are its "
        "test.",
        *tables_by_method(first),
        "",
        "![Regret less that of DVAR](../../figures/13-regret-comparison.png)",
        "",
        *(verdict(first.differences, against) for against in AGAINST),
    ]
    return "\n".join(lines) + "\n"


def tables_by_method(tables: Tables) -> list[str]:
    """A table for each method and for all together, each with its heading."""
    lines = []
    for method, rows in groups(tables.raw).items():
        means = summary(rows).to_dict("records")
        differences = tables.differences
        of_method = differences[differences["method"] == method].to_dict("records")
        gaps: dict[Any, Any] = {(gap["criterion"], gap["against"]): gap for gap in of_method}
        lines += [
            "",
            f"### {method}",
            "",
            f"{means[0]['traces']:.0f} runs, {means[0]['left_out']:.0f} left out.",
            "",
        ]
        heads = ["criterion", "chosen most often", "regret", "median", "less DVAR's"]
        cells = [[*heads, "less never's", "steps / best", "never fires"]]
        for row in means:
            name = str(row["criterion"])
            own = [
                name,
                often(rows.loc[rows["criterion"] == name, "params"]),
                shown(row, "regret"),
                f"{row['regret_median']:.2f}",
                *(
                    shown(gaps[name, other], "regret", "+") if (name, other) in gaps else ""
                    for other in AGAINST
                ),
                shown(row, "steps_spent"),
                f"{row['never']:.0%}",
            ]
            cells.append(own)
        lines.append(markdown(cells, left=(0, 1)))
    return lines


def verdict(differences: pd.DataFrame, against: str) -> str:
    """Which criteria differ from one by an interval without 0, over all methods together."""
    pooled = differences[
        (differences["method"] == "all methods") & (differences["against"] == against)
    ]
    named = {"dvar": "DVAR", "never": "going on to the last step"}[against]
    better = [row["criterion"] for _, row in pooled.iterrows() if row["regret_high"] < 0]
    worse = [row["criterion"] for _, row in pooled.iterrows() if row["regret_low"] > 0]
    return (
        f"Over all methods, by paired intervals that exclude 0: better than {named}: "
        f"{', '.join(better) or 'none'}; worse: {', '.join(worse) or 'none'}.\n"
    )


def often(params: pd.Series) -> str:
    """The parameters that were chosen for most runs."""
    chosen = json.loads(str(params.value_counts().index[0]))
    return ", ".join(f"{name} {value:g}" for name, value in chosen.items())


def shown(row: Any, name: str, sign: str = "") -> str:
    """A mean and its interval."""
    return with_interval(row, name, f"{sign}.2f", "{} ({} to {})")


def figure_of(differences: pd.DataFrame) -> Figure:
    """One panel per method, on one scale: each criterion's regret less DVAR's, with interval."""
    differences = differences[differences["against"] == "dvar"]
    methods = list(dict.fromkeys(differences["method"]))
    names = list(dict.fromkeys(differences["criterion"]))
    with look():
        figure = new_figure(PAGE, 0.9 + 0.2 * len(names))
        axes = figure.subplots(1, len(methods), sharex=True)
        panels = several_panels(axes, methods, PAGE, PAGE)
        for place, (ax, method) in enumerate(zip(panels, methods, strict=True)):
            rows = differences[differences["method"] == method]
            draw_differences(ax, rows, names)
            ax.set_title(f"{method}\n{counted(rows['traces'])}", loc="left", pad=14)
            ax.set_xlabel("")
            ax.tick_params(axis="y", labelleft=place == 0)
        figure.supxlabel(
            "regret less that of DVAR on the same trace (left: better), with 95% intervals",
            fontsize=FONT_SIZE,
        )
    return figure
