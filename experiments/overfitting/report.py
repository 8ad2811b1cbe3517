"""What the study found, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from experiments.overfitting.claims import TRIAL, claims, trial_verdict
from experiments.overfitting.criteria import REFERENCE, TURN, Params, Rule, endings, rules
from experiments.overfitting.design import ALL
from experiments.overfitting.raw import Curves
from experiments.overfitting.runs import PARTS, RESCALING
from experiments.overfitting.things import names_of
from experiments.overfitting.worth import (
    ALL_METHODS,
    FIRST,
    JUDGES,
    Gap,
    by_method,
    difference,
    form_of,
    gap,
    judged,
    per_concept,
    without_holding,
)
from noiseprobe.cli.tables import markdown
from noiseprobe.run.defaults import METHODS

BEST_OF = {
    "l_det": "L_det",
    "l_val": "l_val",
    "loss_judge": "loss on unseen photographs",
    "score": "likeness + prompt",
    "clip_train": "likeness to those trained on",
    "clip_held": "likeness to the held-out one",
    "clip_judge": "likeness to unseen ones",
    "prompt": "prompt following",
}
"""What has a best step, and what it is called."""

CHANGES = (60, 120, 180, 300, 600, 960)
"""The steps at which the change of losses is told."""


@dataclass(frozen=True)
class Found:
    """All that the report is made of.

    Attributes:
        held: the runs with a photograph held out; `whole`: those on all five.
        rules: the criteria, by name.
        table: where each criterion ends each run of `held`, and what the judges say of that.
        costs: what `worth.without_holding` returns; empty where there is no run on all five.
        sized: runs of `RESCALING` again, whose held-out photograph is seen at its size.
    """

    held: list[Curves]
    whole: list[Curves]
    rules: Mapping[str, Rule]
    table: pd.DataFrame
    costs: pd.DataFrame
    sized: list[Curves]

    @classmethod
    def of(
        cls,
        runs: Sequence[Curves],
        chosen: Mapping[str, Mapping[str, Params]],
        names: Sequence[str],
        sized: Sequence[Curves] = (),
    ) -> Found:
        """From the runs on the things of these names, and the parameters that were chosen.

        A thing that lacks a method is left out: the means over methods would be of others.
        """
        known = {(run.concept, run.method) for run in runs if run.held == 0}
        methods = {method for _, method in known}
        names = [name for name in names if all((name, method) in known for method in methods)]
        held = [run for run in runs if run.concept in names and run.held != ALL]
        whole = [run for run in runs if run.concept in names and run.held == ALL]
        by = rules(chosen)
        table = judged(endings(held, by), held)
        costs = without_holding(held, whole, by, TURN, REFERENCE)
        return cls(held, whole, by, table, costs, list(sized))

    @property
    def methods(self) -> list[str]:
        """The methods that there are runs of, in the order of all tables."""
        there = {run.method for run in self.held}
        return [method for method in METHODS if method in there]

    def best_steps(self) -> pd.DataFrame:
        """A row per run: the step at which each of `BEST_OF` is best, and the last step."""
        rows = [
            {"concept": run.concept, "method": run.method, "held": run.held, "last": run.last}
            | {name: run.best_step(name) for name in BEST_OF if run.has(name)}
            for run in self.held
        ]
        return pd.DataFrame(rows)

    def changes(self) -> pd.DataFrame:
        """A row per run and step of `CHANGES`: the change of L_det, l_val and the unseen loss."""
        rows = []
        for run in self.held:
            for step in CHANGES:
                if step <= run.last:
                    about = {"concept": run.concept, "method": run.method, "held": run.held}
                    rows.append(
                        about
                        | {"step": step}
                        | {
                            name: run.at(name, step) - run.at(name, 0)
                            for name in ("l_det", "l_val", "loss_judge")
                        }
                    )
        return pd.DataFrame(rows)


def report(found: Found) -> str:
    """`RESULTS.md`."""
    parts = [
        opening(found),
        losses_text(found),
        best_text(found),
        stops_text(found),
        worth_text(found),
        costs_text(found) if len(found.costs) else [],
        sized_text(found) if found.sized else [],
    ]
    body = [line for part in parts for line in part]
    intervals = sum(line.count(" to ") for line in body if line.startswith("|"))
    verdicts = ["## What is held to be so", "", *claims(found), ""]
    note = (
        f"The tables below have some {intervals} intervals of 95%: where nothing differs, one in "
        "twenty of them excludes 0 by chance."
    )
    return "\n".join([*body[:4], *verdicts, note, "", *body[4:]]).rstrip() + "\n"


def opening(found: Found) -> list[str]:
    """What was run."""
    concepts = {run.concept for run in found.held}
    once = [run for run in found.held if run.held == 0]
    again = {run.concept for run in found.held if run.held != 0}
    about = (
        f"Made by `python -m experiments.overfitting report` from `numbers.parquet`; the rules, "
        f"written before the runs, are in [RULES.md](RULES.md). {len(found.held)} runs: "
        f"{len(once)} of {len(concepts)} things by {len(found.methods)} methods, one of five "
        f"photographs held out; {len(found.held) - len(once)} with another one of {len(again)} of "
        f"these things; and {len(found.whole)} on all five. Intervals are 95%, over things."
    )
    if missing := planned() - len(found.held) - len(found.whole):
        about += (
            f" **Unfinished**: {missing} of {planned()} runs are not made yet; what is said here "
            "may change with them. The same commands go on."
        )
    return ["# When a fine-tune overfits, and what a stop is worth", "", about, ""]


def planned() -> int:
    """How many runs `RULES.md` has, beside those for choosing."""
    parts = [PARTS[name] for name in ("testing", "all", "folds")]
    return len(METHODS) * sum(len(names_of(group)) * len(helds) for group, helds in parts)


def losses_text(found: Found) -> list[str]:
    """How the losses change, and whether the trial is confirmed."""
    changes = found.changes()
    cells = [["method", "step", "L_det", "l_val", "loss on unseen photographs"]]
    for method in found.methods:
        for step in CHANGES:
            rows = changes[(changes["method"] == method) & (changes["step"] == step)]
            if len(rows):
                told = [
                    gap(per_concept(rows, name)).said("+.4f")
                    for name in ("l_det", "l_val", "loss_judge")
                ]
                cells.append([method, str(step), *told])
    lines = [
        "## The losses",
        "",
        "Change from step 0. L_det is on the four photographs that are trained on, l_val on the "
        "one that is held out, unseen photographs are four others.",
        "",
        markdown(cells, left=(0,)),
        "",
        "![Losses](figures/losses.png)",
        "",
        "The earlier trial, on one thing, beside it:",
        "",
    ]
    trial = [["method", "step", "trained on: trial", "here", "held out: trial", "here", "it is"]]
    for (method, step), (trained, held) in TRIAL.items():
        rows = changes[(changes["method"] == method) & (changes["step"] == step)]
        if len(rows):
            own = [gap(per_concept(rows, name)) for name in ("l_det", "l_val")]
            told = [f"{trained:+.3f}", own[0].said(), f"{held:+.3f}", own[1].said()]
            trial.append([method, str(step), *told, trial_verdict(held, own[1])])
    return [*lines, markdown(trial, left=(0, 6)), ""]


def best_text(found: Found) -> list[str]:
    """Where each measure has its best."""
    table = found.best_steps()
    names = [name for name in BEST_OF if name in table]
    cells = [["best of", *found.methods]]
    for name in names:
        row = [BEST_OF[name]]
        for method in found.methods:
            rows = table[table["method"] == method]
            own = gap(per_concept(rows, name)).said(".0f")
            ends = {"last": rows[name] >= rows["last"], "first": rows[name] == 0}
            shares = [f"{there.mean():.0%} {end}" for end, there in ends.items() if there.any()]
            row.append("; ".join([own, ", ".join(shares)]) if shares else own)
        cells.append(row)
    return [
        "## Where each has its best",
        "",
        "Mean step; and the share of runs whose best is the last step, or the first. Losses are "
        "evaluated every 5 steps or oftener, pictures and the unseen loss every 60 and at 15, 30 "
        "and 90.",
        "",
        markdown(cells, left=(0,)),
        "",
        "![Where each has its best](figures/best-steps.png)",
        "",
    ]


def stops_text(found: Found) -> list[str]:
    """How often, and how early, L_det's stop differs from that of the held-out loss."""
    table = found.table
    cells = [
        ["criterion", "method", "fires", "stops at", "keeps", "earlier", "near", "later", "by"]
    ]
    best = found.best_steps().set_index(["concept", "method", "held"])["l_val"]
    for name in found.rules:
        for method in found.methods:
            rows = table[(table["criterion"] == name) & (table["method"] == method)]
            at = pd.MultiIndex.from_frame(rows[["concept", "method", "held"]])
            off = rows.assign(off=rows["kept"].to_numpy() - best.loc[at].to_numpy())
            shares = [(off["off"] < -30), (off["off"].abs() <= 30), (off["off"] > 30)]
            cells.append(
                [
                    name,
                    method,
                    f"{rows['fired'].mean():.0%}",
                    f"{rows['stop'].median():.0f}",
                    f"{rows['kept'].median():.0f}",
                    *(f"{share.mean():.0%}" for share in shares),
                    gap(per_concept(off, "off")).said("+.0f"),
                ]
            )
    return [
        "## Stops, and the best of the held-out loss",
        "",
        "On how many runs a criterion fires; the median step at which training ends and whose "
        "weights are kept; how often that is more than 30 steps earlier than the best of l_val, "
        "near it, or more than 30 later, and by how many steps in the mean.",
        "",
        markdown(cells, left=(0, 1)),
        "",
    ]


def worth_text(found: Found) -> list[str]:
    """What each criterion is worth by each judge, against DVAR on L_det."""
    lines = [
        "## What a stop is worth",
        "",
        f"Of the weights that each criterion keeps, less that of {REFERENCE} on the same runs; "
        "steps are all that were trained. Losses and copying are better when low. Bold: the "
        "interval excludes 0. The rule clip looks at likeness, to other photographs, by the CLIP "
        "that judges it: where it is better by that, it may be so by CLIP alone.",
        "",
        "![What a stop is worth](figures/worth.png)",
        "",
    ]
    groups = by_method(found.table)
    for method in (ALL_METHODS, *found.methods):
        cells = [["criterion", "steps", *JUDGES.values()]]
        rows = groups[method]
        reference = rows[rows["criterion"] == REFERENCE]
        own = [f"{gap(per_concept(reference, name)).mean:.3f}" for name in JUDGES]
        cells.append([f"{REFERENCE}, itself", f"{reference['stop'].mean():.0f}", *own])
        for name in found.rules:
            if name != REFERENCE:
                steps = rows.loc[rows["criterion"] == name, "stop"].mean()
                gaps = [told(judge, difference(rows, judge, name, REFERENCE)) for judge in JUDGES]
                cells.append([name, f"{steps:.0f}", *gaps])
        lines += [f"### {method}", "", markdown(cells, left=(0,)), ""]
    return lines


def costs_text(found: Found) -> list[str]:
    """What holding one photograph out costs."""
    names = [name for name in JUDGES if name in found.costs]
    things = found.costs["concept"].nunique()
    lines = [
        "## What holding one out costs",
        "",
        f"On {things} of the things. The run with one photograph held out, at the step that turn "
        "keeps, and, less it: training on all five for as many steps (refit), for the steps at "
        "which the mean l_val of the runs with one held out is least (cross), until DVAR stops it, "
        "and to the end. Steps: the median of those whose weights are judged, and the mean of all "
        "that were trained.",
        "",
    ]
    groups = by_method(found.costs)
    for method in (ALL_METHODS, *found.methods):
        rows = groups.get(method, found.costs[:0])
        if not len(rows):
            continue
        cells = [["weights", "steps", "all trained", *(JUDGES[name] for name in names)]]
        for name in rows["criterion"].unique():
            of_one = rows[rows["criterion"] == name]
            steps = [f"{of_one['kept'].median():.0f}", f"{of_one['spent'].mean():.0f}"]
            if name == "held out":
                values = [f"{gap(per_concept(of_one, judge)).mean:.3f}" for judge in names]
            else:
                values = [told(judge, difference(rows, judge, name, "held out")) for judge in names]
            cells.append([name, *steps, *values])
        lines += [f"### {method}", "", markdown(cells, left=(0,)), ""]
    return lines


def sized_text(found: Found) -> list[str]:
    """What l_val tells where training rescales photographs, and those held out are not."""
    known = {(run.concept, run.held) for run in found.sized}
    before = [
        run for run in found.held if run.method == RESCALING and (run.concept, run.held) in known
    ]
    cells = [["l_val sees it", "best of l_val", "best of the unseen loss", "turn fires", "keeps"]]
    heads = [JUDGES[judge] for judge in FIRST]
    cells[0] += [f"{head}, less {REFERENCE}" for head in heads]
    for name, runs in (("as trained on", before), ("at its size", found.sized)):
        if not runs:
            continue
        table = judged(endings(runs, found.rules), runs)
        turn = table[table["criterion"] == TURN]
        best = [
            pd.DataFrame(
                {
                    "concept": [run.concept for run in runs],
                    "method": RESCALING,
                    "step": [run.best_step(column) for run in runs],
                }
            )
            for column in ("l_val", "loss_judge")
        ]
        cells.append(
            [
                name,
                *(gap(per_concept(each, "step")).said(".0f") for each in best),
                f"{turn['fired'].mean():.0%}",
                f"{turn['kept'].median():.0f}",
                *(told(judge, difference(table, judge, TURN, REFERENCE)) for judge in FIRST),
            ]
        )
    return [
        "## Held-out photographs at their size",
        "",
        f"Added after the runs above. {RESCALING} trains on photographs at random sizes, on grey, "
        "and in those runs l_val saw the held-out one so as well. What such views teach is learned "
        "once for all photographs, so that l_val fell on. The package has held-out photographs at "
        f"their size since then; {len(found.sized)} of those runs again, all else alike:",
        "",
        markdown(cells, left=(0,)),
        "",
    ]


def told(judge: str, found: Gap) -> str:
    """A difference with its interval, bold where that excludes 0."""
    words = found.said(form_of(judge))
    return words if found.verdict == "no difference shown" else f"**{words}**"
