"""The commands `survey make` and `survey score`: what people prefer, asked blindly."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noiseprobe.cli.flags import Debug, Json, option
from noiseprobe.cli.tables import (
    between,
    cell,
    plain,
    print_json,
    print_next,
    print_verdict,
    records,
)
from noiseprobe.core.words import command, visible
from noiseprobe.run.declaring import MACHINE

if TYPE_CHECKING:
    import pandas as pd

    from noiseprobe.analysis.survey_scores import Scores

ASKING = "What is asked"


def make(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Measured runs, or folders that hold some."),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="A new folder: raters/ is for raters, key.json is not."),
    ],
    variants: Annotated[
        str,
        option(
            "Which criteria end a run: two or more of dvar, baseline, clip, few; counted are the "
            "wins of the one named first (default: dvar,baseline).",
            ASKING,
            metavar="A,B,...",
        ),
    ] = "dvar,baseline",
    questions: Annotated[
        int, option("Pairs in a questionnaire, at most (default: 40).", ASKING, metavar="N")
    ] = 40,
    trials: Annotated[
        int,
        option(
            "Catch trials in each questionnaire, with a known answer (default: 6).",
            ASKING,
            metavar="N",
        ),
    ] = 6,
    misses: Annotated[
        int,
        option(
            "How many of them a rater may miss and still count (default: 1).",
            ASKING,
            metavar="N",
        ),
    ] = 1,
    ties: Annotated[
        bool, option("Raters may say that they cannot tell.", ASKING, "--ties")
    ] = False,
    url: Annotated[
        str,
        option(
            "Where the folder raters/ will be on the web, for the tables for crowd platforms.",
            MACHINE,
            metavar="URL",
        ),
    ] = "",
    seed: Annotated[int, option("Of orders and sides (default: 0).", MACHINE)] = 0,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Write blinded questionnaires about what measured runs drew.

    Each pair shows what two criteria would have taken of one run, drawn of one prompt and noise.
    """
    from noiseprobe.analysis.survey_design import Rule
    from noiseprobe.analysis.verdicts_survey import of_made
    from noiseprobe.core.files import check_folder
    from noiseprobe.run.directory import find_runs
    from noiseprobe.stages.surveying import make_survey

    rule = Rule(trials, misses if trials else 0)
    check_folder("--out", out)
    named = [name.strip() for name in variants.split(",")]
    made = make_survey(
        find_runs(runs), out, named, most=questions, rule=rule, ties=ties, seed=seed, url=url
    )
    verdict = of_made(made.pairs, made.forms, made.rule)
    further = command("noiseprobe", "survey", "score", "ANSWERS", "--key", out)
    if json_output:
        print_json(
            {
                **{"out": str(out), "survey": made.survey, "forms": made.forms},
                **{"pairs": made.pairs, "skipped": made.skipped, "rule": made.rule},
                **{"verdict": verdict, "next": further},
            }
        )
        return
    for told in made.skipped:
        print(f"noiseprobe: not asked: {visible(told)}", file=sys.stderr)
    print_verdict(verdict)
    print(f"For raters: {visible(out / 'raters')}/\nKeep to yourself: {visible(out / 'key.json')}")
    print_next(further)


def score(
    answers: Annotated[
        list[Path],
        typer.Argument(metavar="ANSWERS...", help="Tables of answers, or folders that hold some."),
    ],
    key: Annotated[
        Path,
        typer.Option(metavar="DIR", help="What survey make wrote: its folder, or key.json."),
    ],
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Say what raters preferred, how surely, and how many more would tell.

    Intervals hold for other raters and other concepts like these: answers are clustered by both.
    """
    from noiseprobe.analysis import survey_scores
    from noiseprobe.analysis.survey_needed import planned
    from noiseprobe.analysis.verdicts_survey import of_scores
    from noiseprobe.stages.survey_answers import read_answers, read_key

    document = read_key(key)
    said, notes = read_answers(answers, document["survey"])
    for note in notes:
        print(f"noiseprobe: {visible(note)}", file=sys.stderr)
    scores = survey_scores.score(document, said)
    plans = planned(survey_scores.counted(document, said, scores), scores.wins)
    verdict = of_scores(scores, plans, len(document.get("skipped", [])))
    if json_output:
        print_json(_document(document, scores, plans, verdict))
        return
    print_verdict(verdict)
    print(_table(scores.wins))
    if len(scores.strengths):
        print(f"\n{_strengths(scores.strengths)}")


def _document(
    key: dict[str, Any], scores: "Scores", plans: list[dict[str, Any]], verdict: list[str]
) -> dict[str, Any]:
    return {
        "survey": key["survey"],
        "rule": key["rule"]["words"],
        "raters": records(scores.raters),
        "wins": records(scores.wins),
        "strengths": records(scores.strengths),
        "agreement": records(scores.agreement),
        "needed": plans,
        "verdict": verdict,
        "next": None,
    }


def _table(wins: "pd.DataFrame") -> str:
    head = ("question", "method", "first", "second", "preferred", "95%", "answers", "raters")
    rows = [
        (
            *(str(row[name]) for name in ("kind", "method", "first", "second")),
            *(cell(row["win"], ".1%"), between(row["low"], row["high"])),
            *(str(row["answers"]), str(row["raters"]), str(row["concepts"])),
            *(cell(row["everyone"], ".1%"), cell(row["left"], ".0%"), cell(row["ties"], ".0%")),
            cell(row["published"], ".1%"),
        )
        for row in wins.to_dict("records")
    ]
    more = ("concepts", "with those left out", "left side", "ties", "published")
    return plain([(*head, *more), *rows], left=(0, 1, 2, 3))


def _strengths(table: "pd.DataFrame") -> str:
    rows = [
        (
            *(str(row[name]) for name in ("kind", "method", "variant", "against")),
            *(cell(row["strength"], "+.2f"), between(row["low"], row["high"], "+.2f")),
        )
        for row in table.to_dict("records")
    ]
    head = ("question", "method", "variant", "against", "log-odds (Bradley–Terry)", "95%")
    return plain([head, *rows], left=(0, 1, 2, 3))
