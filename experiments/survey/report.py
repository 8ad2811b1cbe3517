"""RESULTS.md, made from what the studies found."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.survey.studies import INTERVALS, USUAL
from noiseprobe.cli.tables import markdown
from noiseprobe.core.files import written_whole

TABLES = ("coverage", "power", "components", "rules", "strengths")


def write_report(out: Path) -> None:
    """Write RESULTS.md into the folder `out`, which has the `TABLES`."""
    tables = {name: pd.read_csv(out / f"{name}.csv") for name in TABLES}
    with written_whole(out / "RESULTS.md") as beside:
        beside.write_text(report(tables), encoding="utf-8")


def report(tables: Mapping[str, pd.DataFrame]) -> str:
    """The whole page."""
    covered, power, parts = tables["coverage"], tables["power"], tables["components"]
    rules, several = tables["rules"], tables["strengths"].iloc[0]
    count = int(covered["surveys"].iloc[0])
    usual = covered[covered["kind"].str.startswith("usual")]
    error = 196 * np.sqrt(0.95 * 0.05 / count)
    shared = ", ".join(f"{name.replace('_', ' and ')} {value:g}" for name, value in USUAL.items())
    gap = (power["found"] - power["stated"]).abs().max()
    high = int((power["stated"] > power["found"]).sum())
    return "\n".join(
        [
            "# What a survey finds of raters whose preferences are known",
            "",
            f"`python -m experiments.survey`; {count} surveys for each row, so that a coverage of "
            f"95% is known to ± {error:.1f} points. An answer is a win where a normal variable is "
            "above 0; raters, concepts, pairs of pictures, and raters with a concept add to it, "
            f"with standard deviations ({shared}; chance has 1) that are *usual* here by "
            "assumption: no survey of ours was at hand.",
            "",
            "## Coverage of the 95% interval of a win rate",
            "",
            "*both*: clustered by rater and concept, what `noiseprobe survey score` prints. The "
            "same with the *normal* quantile instead of Student's t, and in *points* instead of "
            "log-odds. *bootstrap*: percentiles over redrawn raters and concepts (400 draws). "
            "*raters alone*: by rater, as if the concepts were all there are. *independent*: "
            "Wilson's interval over all answers. With *4 forms* each rater sees a quarter of the "
            "pairs.",
            "",
            _table(covered, list(INTERVALS), ["width"]),
            "",
            "Over the usual rows the truth is held in: "
            + ", ".join(
                f"*{name}* {usual[name].min():.1%} to {usual[name].max():.1%}" for name in INTERVALS
            )
            + f". Where answers share nothing, *both* holds it in {_share_of(covered, 'none')}.",
            "",
            f"Bradley–Terry strengths of three variants (20 raters, 9 concepts, "
            f"{several['surveys']:.0f} surveys): held in {several['held']:.1%}.",
            "",
            "## Power",
            "",
            "*found*: how often the interval leaves out one half. *stated*: by the true variances. "
            "*estimated*: the median of what `survey score` states, from the variances of each "
            "survey alone.",
            "",
            _table(power, ["found", "stated", "estimated"], []),
            "",
            f"What is stated is off by at most {100 * gap:.0f} points, and too high in {high} of "
            f"{len(power)} rows.",
            "",
            "## What makes answers differ",
            "",
            "The variances of an answer (1 or 0) that surveys of 20 raters, 9 concepts and 4 pairs "
            "find, on average; `error` is the standard error of that average. A variance below 0 "
            "is taken as 0, so that small ones are found a little too large.",
            "",
            markdown(
                [
                    ("what", "truth", "found", "error"),
                    *(
                        (str(row["what"]), *(f"{row[each]:.4f}" for each in _FOUND))
                        for row in parts.to_dict("records")
                    ),
                ]
            ),
            "",
            "## The rule of catch trials",
            "",
            "Share of raters that a rule keeps; *attention* is how often an attentive rater "
            "answers a catch trial right.",
            "",
            markdown(
                [
                    ("trials", "may be missed", "attention", "attentive", "guessing", "stated"),
                    *(
                        (
                            f"{row['trials']:.0f}",
                            f"{row['missed']:.0f}",
                            *(f"{row[each]:.1%}" for each in _KEPT),
                        )
                        for row in rules.to_dict("records")
                    ),
                ]
            ),
            "",
        ]
    )


_FOUND = ("truth", "mean", "error")
_KEPT = ("attention", "attentive", "guessing", "stated")


def _share_of(covered: pd.DataFrame, kind: str) -> str:
    return f"{covered.loc[covered['kind'] == kind, 'both'].iloc[0]:.1%}"


def _table(table: pd.DataFrame, shares: list[str], numbers: list[str]) -> str:
    head = ("what is shared", "raters", "concepts", "pairs of each", "win rate")
    rows = [
        (
            str(row["kind"]),
            *(str(row[name]) for name in ("raters", "concepts", "pairs")),
            f"{row['win']:.0%}",
            *(f"{row[name]:.1%}" for name in shares),
            *(f"{row[name]:.2f}" for name in numbers),
        )
        for row in table.to_dict("records")
    ]
    return markdown([(*head, *shares, *numbers), *rows])
