"""What a survey of people found, in sentences."""

import math
from collections.abc import Mapping
from typing import Any

from noiseprobe.analysis.comparison import NAMES
from noiseprobe.analysis.survey_design import KINDS
from noiseprobe.analysis.survey_needed import MATTERS
from noiseprobe.analysis.survey_scores import Scores
from noiseprobe.core.words import enumerated, visible

FEW = 5
"""Clusters below which an interval is hardly more than a guess."""

_EACH = "In {where}, {first} was preferred to {second} in {win:.1%} of {answers} answers"


def of_scores(scores: Scores, plans: list[dict[str, Any]], skipped: int = 0) -> list[str]:
    """Who was left out, then each preference with what it needs and what was published."""
    left = scores.raters[~scores.raters["kept"]]
    told = []
    if len(left):
        names = enumerated([visible(each) for each in left["rater"][:8]])
        more = f" and {len(left) - 8} more" if len(left) > 8 else ""
        told.append(
            f"{len(left)} of {len(scores.raters)} raters are left out by the rule of the key: "
            f"{names}{more}."
        )
    for row, plan in zip(scores.wins.to_dict("records"), plans, strict=True):
        told += [_preference(row), *_published(row), *_needs(row, plan)]
    told += [_agreed(row) for row in scores.agreement.to_dict("records")]
    if skipped:
        told.append(
            f"Not everything was asked ({skipped} left out, as the key says): what is said here "
            "holds for the pairs that were."
        )
    return told


def _preference(row: Mapping[Any, Any]) -> str:
    names = {side: NAMES.get(row[side], row[side]) for side in ("first", "second")}
    each = _EACH.format(
        where=f"{row['kind']} ({row['method']})", win=row["win"], answers=row["answers"], **names
    )
    by = ", ".join(_count(row[f"{what}s"], what) for what in ("rater", "concept"))
    if math.isnan(row["low"]):
        return f"{each} ({by}): one rater and one concept say nothing of others."
    interval = f"{each} (95%: {row['low']:.1%} to {row['high']:.1%}; {by})"
    alone = [what for what in ("rater", "concept") if row[f"{what}s"] == 1]
    if alone:
        interval += f", of this one {alone[0]} alone"
    if row["low"] <= 0.5 <= row["high"]:
        return f"{interval}: which is preferred cannot be told."
    better = names["first"] if row["low"] > 0.5 else names["second"]
    few = [what for what in ("raters", "concepts") if 1 < row[what] < FEW]
    doubt = f", from few {enumerated(few)}" if few else ""
    return f"{interval}: {better} is preferred{doubt}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _published(row: Mapping[Any, Any]) -> list[str]:
    known = row["published"]
    if known is None or math.isnan(known):
        return []
    where = "within" if row["low"] <= known <= row["high"] else "outside"
    if math.isnan(row["low"]):
        return []
    return [
        f"Published for this question: {known:.1%}, which is {where} the interval; other concepts, "
        "another model and other raters were asked there (Voronov et al. 2023)."
    ]


def _needs(row: Mapping[Any, Any], plan: Mapping[str, Any]) -> list[str]:
    if plan["now"] is None:
        return []
    told = []
    if row["low"] <= 0.5 <= row["high"]:
        told.append(
            f"A survey of this size tells a preference of {MATTERS:.0%} with a chance of "
            f"{plan['power']:.0%}."
        )
    if plan["now"] <= plan["reach"]:
        return told
    raters = (
        f"{plan['raters']} raters with these {row['concepts']} concepts"
        if plan["raters"]
        else f"however many raters leave ± {100 * plan['most_raters']:.0f} with these "
        f"{row['concepts']} concepts"
    )
    concepts = (
        f"{plan['concepts']} concepts with these {row['raters']} raters"
        if plan["concepts"]
        else f"no number of concepts is enough with these {row['raters']} raters"
    )
    return [*told, f"For ± {100 * plan['reach']:.0f} points: {raters}; {concepts}."]


def _agreed(row: Mapping[Any, Any]) -> str:
    where = f"in {row['kind']} ({row['method']})"
    if not row["pairs"]:
        return f"Nobody saw what another saw {where}: how far raters agree is not known."
    if math.isnan(row["alpha"]):
        return f"All raters chose the same {where}; Krippendorff's α is not defined there."
    return (
        f"Raters agree {where} with Krippendorff's α = {row['alpha']:.2f}, over {row['pairs']} "
        "pairs (1: always, 0: as by chance)."
    )


def of_made(pairs: Mapping[str, int], forms: Mapping[str, int], rule: str) -> list[str]:
    """What a survey asks, and whom it will leave out."""
    asked = enumerated([f"{pairs[kind]} pairs of {kind}" for kind in KINDS if pairs[kind]])
    longest = max(forms.values())
    return [
        f"{asked}, in {len(forms)} questionnaires of at most {longest} questions; give each to as "
        "many raters as the others.",
        rule,
    ]
