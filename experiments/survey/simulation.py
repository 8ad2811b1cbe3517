"""Raters who do not exist, whose preferences are known exactly.

An answer is a win where a normal variable exceeds 0: a level, plus what the rater, the concept,
the pair of pictures and the rater with the concept add, plus chance (the probit model of crossed
random effects). So the win rate over all raters, concepts and pairs has a closed form, and the
variances of an answer are those of two normals that share some of these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import multivariate_normal, norm

from noiseprobe.analysis.survey_design import (
    KNOWN,
    Pair,
    Rule,
    Trial,
    forms,
    key_of,
)
from noiseprobe.analysis.survey_needed import Variances


@dataclass(frozen=True)
class Population:
    """All raters, concepts and pairs.

    `win` is how often the first variant is preferred; the others are standard deviations of what
    answers share, where chance has 1.
    """

    win: float
    rater: float = 0.0
    concept: float = 0.0
    pair: float = 0.0
    rater_concept: float = 0.0

    @property
    def total(self) -> float:
        """The standard deviation of the normal variable."""
        parts = self.rater**2 + self.concept**2 + self.pair**2 + self.rater_concept**2
        return float(np.sqrt(1 + parts))

    @property
    def level(self) -> float:
        """What all answers share."""
        return float(norm.ppf(self.win) * self.total)

    def variances(self) -> Variances:
        """The variances of an answer that is 1 or 0."""

        def shared(*deviations: float) -> float:
            """The covariance of two answers that share these."""
            rho = sum(each**2 for each in deviations) / self.total**2
            z = norm.ppf(self.win)
            both = multivariate_normal(cov=[[1, rho], [rho, 1]], allow_singular=True).cdf([z, z])
            return float(both - self.win**2)

        rater, concept = shared(self.rater), shared(self.concept)
        pair = shared(self.concept, self.pair) - concept
        both = shared(self.rater, self.concept, self.rater_concept) - rater - concept
        rest = self.win * (1 - self.win) - rater - concept - pair - both
        return Variances(rater, concept, pair, both, rest)


def crossed(
    population: Population, raters: int, concepts: int, pairs: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Answers of raters who each see every pair: columns rater, concept, pair, win."""
    rater, concept, pair = (
        axis.ravel()
        for axis in np.meshgrid(*map(np.arange, (raters, concepts, pairs)), indexing="ij")
    )
    each = concept * pairs + pair
    away = population.level + rng.standard_normal(len(rater))
    away += population.rater * rng.standard_normal(raters)[rater]
    away += population.concept * rng.standard_normal(concepts)[concept]
    away += population.pair * rng.standard_normal(concepts * pairs)[each]
    both = rng.standard_normal((raters, concepts))[rater, concept]
    away += population.rater_concept * both
    return pd.DataFrame(
        {"rater": rater, "concept": concept, "pair": each, "win": (away > 0).astype(np.float64)}
    )


def survey_key(
    concepts: int,
    pairs: int,
    variants: tuple[str, ...] = ("dvar", "baseline"),
    rule: Rule | None = None,
    most: int = 40,
    seed: int = 0,
    ties: bool = False,
) -> dict[str, Any]:
    """The key of a survey of runs that do not exist, of one kind and method."""
    shared = {"kind": "customization", "method": "textual-inversion", "seed": 0}
    asked = [
        Pair(
            **shared,  # type: ignore[arg-type]
            run=f"run-{concept}",
            concept=f"concept-{concept}",
            place=place,
            prompt="a photo of a dog",
            first=first,
            second=second,
        )
        for concept in range(concepts)
        for place in range(pairs)
        for n, first in enumerate(variants)
        for second in variants[n + 1 :]
    ]
    trials = [
        Trial("customization", f"run-{concept}", f"concept-{concept}", "a photo of a dog", 0)
        for concept in range(concepts)
    ]
    rule = rule or Rule(6, 1)
    return key_of(forms(asked, trials, rule, most, seed), variants, rule, ties, [], "simulation")


def answered(
    key: Mapping[str, Any],
    strengths: Mapping[str, float],
    population: Population,
    raters: int,
    rng: np.random.Generator,
    *,
    attention: float = 1.0,
    guessing: int = 0,
) -> pd.DataFrame:
    """What raters answer to questionnaires, one each, in turn; columns rater, question, answer.

    A variant of more strength is preferred more often: its `strengths` are added to what raters,
    concepts and pairs of `population` (whose `win` says nothing here) add for the one against the
    other. `attention` is how often a catch trial is answered right, and the last `guessing` raters
    answer all by chance.
    """
    by_form: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for token, about in key["questions"].items():
        by_form.setdefault(about["form"], []).append((token, about))
    effects: dict[tuple[object, ...], float] = {}

    def effect(size: float, *of: object) -> float:
        if of not in effects:
            effects[of] = size * rng.standard_normal()
        return effects[of]

    rows = []
    for rater in range(raters):
        questions = list(by_form.values())[rater % len(by_form)]
        for token, about in questions:
            if rater >= raters - guessing:
                left = rng.random() < 0.5
            elif about["trial"]:
                left = (about["left"] == KNOWN) == (rng.random() < attention)
            else:
                sides = about["first"], about["second"]
                concept, place = about["concept"], about["place"]
                away = strengths[sides[0]] - strengths[sides[1]] + rng.standard_normal()
                away += effect(population.rater, "rater", rater, *sides)
                away += effect(population.concept, "concept", concept, *sides)
                away += effect(population.pair, "pair", concept, place, *sides)
                away += effect(population.rater_concept, "both", rater, concept, *sides)
                left = (about["left"] == sides[0]) == (away > 0)
            rows.append((f"r{rater}", token, "left" if left else "right"))
    return pd.DataFrame(rows, columns=["rater", "question", "answer"])
