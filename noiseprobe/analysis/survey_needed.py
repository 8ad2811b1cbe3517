"""How many raters, concepts and pairs a win rate needs: what makes answers differ, and by how much.

An answer is a rater's habit, a concept's and a picture pair's own, a rater's about a concept, and
chance: crossed random effects, whose variances are told apart by which of them two answers share.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit, stdtrit
from scipy.stats import nct

from noiseprobe.analysis.survey_scores import OF_A_PAIR

Floats = NDArray[np.float64]

REACH = 0.05
"""Half of the width of the interval that is planned for."""

MATTERS = 0.6
"""A preference that one would want to find: three of five."""

MOST = 100_000
"""Raters or concepts; where as many do not help, none do."""

_UPPER = 0.975


@dataclass(frozen=True)
class Variances:
    """Variances of an answer (1: a win, 0: none), each at least 0; NaN where unknown."""

    rater: float
    concept: float
    pair: float
    rater_concept: float
    rest: float

    @property
    def total(self) -> float:
        """The variance of one answer."""
        return self.rater + self.concept + self.pair + self.rater_concept + self.rest

    def of_mean(
        self,
        raters: Floats | float,
        concepts: Floats | float,
        pairs: float,
        answers: float | None = None,
    ) -> Floats:
        """The variance of the win rate where `pairs` pairs are asked of each concept.

        `answers` is how many of them each rater answers, on average over all concepts; all unless
        given. Below 1 a rater sees so large a share of the concepts.
        """
        each = pairs if answers is None else answers
        both = np.multiply(raters, concepts)
        alone = self.rater / np.asarray(raters) + self.concept / np.asarray(concepts)
        seen = self.pair / np.multiply(concepts, pairs) + self.rater_concept / (both * min(each, 1))
        return np.asarray(alone + seen + self.rest / (both * each))

    def shares(self) -> dict[str, float]:
        """Intraclass correlations: the share of the total that raters, … are."""
        names = ("rater", "concept", "pair", "rater_concept")
        return {name: getattr(self, name) / self.total if self.total else 0.0 for name in names}


def variances(answers: pd.DataFrame) -> Variances:
    """The variances, by moments: how alike two answers are that share a rater, a concept, ….

    Each is a difference of mean products over pairs of answers, which has no bias in however
    unbalanced a survey (Koch, Technometrics 10, 1968), except that one below 0 is taken as 0. NaN
    where no two answers differ in both rater and concept.

    Args:
        answers: columns win, rater, concept, and `pair`, the label of what was shown.
    """
    y = answers["win"].to_numpy(dtype=np.float64)
    sums: dict[str, tuple[float, float]] = {
        "all": (y.sum() ** 2, float(len(y)) ** 2),
        "one": (float((y**2).sum()), float(len(y))),
    }
    for name, by in (
        ("rater", ["rater"]),
        ("concept", ["concept"]),
        ("pair", ["pair"]),
        ("rater_concept", ["rater", "concept"]),
        ("rater_pair", ["rater", "pair"]),
    ):
        found = answers.groupby(by, sort=False)["win"].agg(["sum", "size"])
        sums[name] = float((found["sum"] ** 2).sum()), float((found["size"] ** 2).sum())

    def mean(*terms: tuple[int, str]) -> float:
        top, count = (sum(sign * sums[name][part] for sign, name in terms) for part in (0, 1))
        return top / count if count > 0.5 else np.nan

    apart = mean((1, "all"), (-1, "rater"), (-1, "concept"), (1, "rater_concept"))
    rater = mean((1, "rater"), (-1, "rater_concept"))
    concept = mean((1, "concept"), (-1, "rater_concept"), (-1, "pair"), (1, "rater_pair"))
    pair = mean((1, "pair"), (-1, "rater_pair"))
    both = mean((1, "rater_concept"), (-1, "rater_pair"))
    if np.isnan(apart):
        return Variances(np.nan, np.nan, np.nan, np.nan, np.nan)
    # Where a concept has one pair, both are one: what is found is counted as the concept's.
    of_concept = (pair if np.isnan(concept) else concept) - apart
    of_pair = pair - concept
    of_both = both - rater - (apart + of_concept) + apart
    kept = [
        max(float(np.nan_to_num(each)), 0.0)
        for each in (rater - apart, of_concept, of_pair, of_both)
    ]
    total = float((y**2).mean()) - apart
    rest = max(total - sum(kept), 0.0)
    return Variances(kept[0], kept[1], kept[2], kept[3], rest)


@dataclass(frozen=True)
class Needed:
    """What a precision needs.

    Attributes:
        reach: half of the width of the 95% interval that is asked for.
        now: that of this survey's size.
        most_raters: that which however many raters leave with as many concepts.
        raters: how many reach it with as many concepts; None where no number does.
        concepts: how many reach it with as many raters; None where no number does.
        pairs: pairs of pictures that are asked of each concept.
        answers: how many of these each rater answers, on average over all concepts.
    """

    reach: float
    now: float
    most_raters: float
    raters: int | None
    concepts: int | None
    pairs: float
    answers: float


def needed(
    found: Variances,
    raters: int,
    concepts: int,
    pairs: float,
    answers: float | None = None,
    reach: float = REACH,
) -> Needed:
    """What a 95% interval of ± `reach` needs, from the variances that a survey found.

    `pairs` and `answers` are those of `Variances.of_mean`, and stay.
    """
    each = pairs if answers is None else answers
    return Needed(
        reach,
        float(_reach(found, raters, concepts, pairs, each)),
        float(_reach(found, MOST, concepts, pairs, each)),
        _fewest(found, None, concepts, pairs, each, reach),
        _fewest(found, raters, None, pairs, each, reach),
        pairs,
        each,
    )


def power(
    found: Variances,
    raters: int,
    concepts: int,
    pairs: float,
    win: float,
    answers: float | None = None,
) -> float:
    """The chance that a survey of this size tells a win rate of `win` from one half.

    By the noncentral t distribution of the log-odds, with one degree of freedom less than the
    rarer clusters; how near that comes is in experiments/survey/RESULTS.md.
    """
    freedom = min(raters, concepts) - 1
    spread = np.sqrt(found.of_mean(raters, concepts, pairs, answers)) / (win * (1 - win))
    away = logit(win) / spread
    far = stdtrit(freedom, _UPPER)
    return float(nct.sf(far, freedom, away) + nct.cdf(-far, freedom, away))


def _reach(
    found: Variances,
    raters: Floats | float,
    concepts: Floats | float,
    pairs: float,
    answers: float,
) -> Floats:
    fewest = np.maximum(np.minimum(raters, concepts) - 1, 1)
    far: Floats = stdtrit(fewest, _UPPER)
    return np.asarray(far * np.sqrt(found.of_mean(raters, concepts, pairs, answers)))


def _fewest(
    found: Variances,
    raters: int | None,
    concepts: int | None,
    pairs: float,
    answers: float,
    reach: float,
) -> int | None:
    """How many of what is None, from 2 on, reach it."""
    counts = np.arange(2.0, MOST + 1)
    there = _reach(
        found,
        counts if raters is None else float(raters),
        counts if concepts is None else float(concepts),
        pairs,
        answers,
    )
    enough = np.flatnonzero(there <= reach)
    return int(counts[enough[0]]) if len(enough) else None


def planned(known: pd.DataFrame, wins: pd.DataFrame) -> list[dict[str, Any]]:
    """What each row of `wins` needs for ± 5 points, with what makes its answers differ.

    Args:
        known: answers that count, as `noiseprobe.analysis.survey_scores.joined` gives them.
        wins: those of `Scores`.

    Returns:
        A row each: kind, method, first, second, the shares of the variance of an answer, the
        attributes of `Needed`, and `power`, the chance to tell a preference of 60% with this size;
        None where two answers never differ in both rater and concept.
    """
    by = ["kind", "method", "first", "second"]
    rows = []
    for row in wins.to_dict("records"):
        part = known[(known[by] == [row[name] for name in by]).all(axis=1)]
        labelled = part.assign(pair=part.groupby(OF_A_PAIR).ngroup())
        found = variances(labelled)
        size = int(row["raters"]), int(row["concepts"])
        told: dict[str, Any] = {name: row[name] for name in by}
        if math.isnan(found.total) or min(size) < 2:
            rows.append(told | dict.fromkeys(["shares", *Needed.__annotations__, "power"]))
            continue
        pairs, each = row["pairs"] / size[1], row["answers"] / (size[0] * size[1])
        plan = needed(found, *size, pairs, each)
        told |= {"shares": found.shares(), **asdict(plan)}
        rows.append(told | {"power": power(found, *size, pairs, MATTERS, each)})
    return rows
