"""Coverage of intervals, power, and what the rule of catch trials keeps, by simulation."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import binomtest, norm, t

from experiments.survey.simulation import Population, answered, crossed, survey_key
from noiseprobe.analysis.survey_design import Rule
from noiseprobe.analysis.survey_needed import power, variances
from noiseprobe.analysis.survey_scores import (
    OF_A_PAIR,
    bradley_terry,
    joined,
    raters_of,
    win_interval,
)

USUAL = {"rater": 0.3, "concept": 0.4, "pair": 0.4, "rater_concept": 0.2}
"""What answers share: about a fifth of the variance of the normal variable."""

INTERVALS = ("both", "normal", "points", "bootstrap", "raters alone", "independent")
"""Ours; by the normal quantile instead of Student's; on win rates instead of log-odds; the
bootstrap of both kinds of clusters; two that leave clusters out."""

Size = tuple[int, int, int]
"""Raters, concepts, and pairs of each concept that every rater sees."""


def coverage(
    population: Population, size: Size, repetitions: int, seed: int, forms: int = 1
) -> dict[str, float]:
    """How often intervals hold the true win rate; the median width of ours.

    With several `forms` each rater sees the pairs of one of them.
    """
    rng = np.random.default_rng(seed)
    held = dict.fromkeys(INTERVALS, 0)
    widths = []
    for _ in range(repetitions):
        seen = crossed(population, *size, rng)
        seen = seen[seen["pair"] % forms == seen["rater"] % forms]
        for name, (low, high) in intervals(seen, rng).items():
            held[name] += bool(low <= population.win <= high)
            widths += [high - low] if name == "both" else []
    shares = {name: count / repetitions for name, count in held.items()}
    return shares | {"width": float(np.median(widths))}


def intervals(seen: pd.DataFrame, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """95% intervals of the win rate by each of `INTERVALS`."""
    wins, raters, concepts = (seen[name].to_numpy() for name in ("win", "rater", "concept"))
    rate, low, high = win_interval(wins, raters, concepts)
    alone = win_interval(wins, raters, np.zeros(len(seen)))
    exact = binomtest(int(wins.sum()), len(seen)).proportion_ci(method="wilson")
    normal = points = low, high
    if 0 < rate < 1:
        freedom = min(len(np.unique(raters)), len(np.unique(concepts))) - 1
        spread = (logit(high) - logit(rate)) / t.ppf(0.975, freedom)
        away = norm.ppf(0.975) * spread
        normal = expit(logit(rate) - away), expit(logit(rate) + away)
        reach = t.ppf(0.975, freedom) * spread * rate * (1 - rate)
        points = rate - reach, rate + reach
    found = ((low, high), normal, points, pigeonhole(seen, rng), alone[1:], tuple(exact))
    return dict(zip(INTERVALS, found, strict=True))


def pigeonhole(seen: pd.DataFrame, rng: np.random.Generator, draws: int = 400) -> tuple[float, ...]:
    """The percentile interval of a bootstrap of raters and concepts (Owen, Ann. Appl. Stat. 1)."""
    table = seen.groupby(["rater", "concept"])["win"].agg(["sum", "size"]).unstack(fill_value=0)
    raters, concepts = (
        rng.multinomial(count, np.full(count, 1 / count), draws)
        for count in (len(table), table["sum"].shape[1])
    )
    won, asked = (
        np.einsum("br,rc,bc->b", raters, table[part].to_numpy(), concepts, optimize=True)
        for part in ("sum", "size")
    )
    return tuple(np.quantile(won / asked, [0.025, 0.975]))


def found(population: Population, size: Size, repetitions: int, seed: int) -> dict[str, float]:
    """How often a survey of a size tells the win rate from one half, and how often it should.

    `stated` is the power from the true variances; `estimated` the median of those from the
    variances that each survey finds, as `noiseprobe survey score` states it.
    """
    rng = np.random.default_rng(seed)
    told, stated = 0, []
    for _ in range(repetitions):
        seen = crossed(population, *size, rng)
        _, low, high = win_interval(seen["win"], seen["rater"], seen["concept"])
        told += not low <= 0.5 <= high
        stated.append(power(variances(seen), *size, population.win))
    known = power(population.variances(), *size, population.win)
    middle = float(np.nanmedian(stated))
    return {"found": told / repetitions, "stated": known, "estimated": middle}


def components(population: Population, size: Size, repetitions: int, seed: int) -> pd.DataFrame:
    """The mean of the variances that surveys find, beside the true ones and their spread."""
    rng = np.random.default_rng(seed)
    rows = [vars(variances(crossed(population, *size, rng))) for _ in range(repetitions)]
    table = pd.DataFrame(rows)
    truth = pd.Series(vars(population.variances()))
    error = table.std() / np.sqrt(repetitions)
    return pd.DataFrame({"truth": truth, "mean": table.mean(), "error": error})


def strengths(true: dict[str, float], size: Size, repetitions: int, seed: int) -> float:
    """How often Bradley–Terry's intervals hold the strengths, over surveys of several variants.

    Answers follow a probit model and strengths are log-odds: the true ones are those that fit the
    exact win rates best.
    """
    rng = np.random.default_rng(seed)
    names, against = tuple(true), tuple(true)[-1]
    effects = Population(0.5, rater=0.3, concept=0.3)
    raters, concepts, pairs = size
    key = survey_key(concepts, pairs, names, most=1000)
    rates = [
        (first, second, norm.cdf((true[first] - true[second]) / effects.total))
        for first, second in combinations(names, 2)
    ]
    exact = pd.DataFrame(rates, columns=["first", "second", "win"]).assign(rater=0, concept=0)
    truth = bradley_terry(exact, names, against)
    held = []
    for _ in range(repetitions):
        known = joined(key, answered(key, true, effects, raters, rng))
        fitted = bradley_terry(known[~known["trial"]], names, against)
        held += [low <= truth[name][0] <= high for name, (_, low, high) in fitted.items()]
    return float(np.mean(held))


def caught(rule: Rule, attention: float, raters: int, seed: int) -> dict[str, float]:
    """What share of attentive raters, and of those who guess, the rule keeps."""
    rng = np.random.default_rng(seed)
    key = survey_key(6, 2, rule=rule)
    population = Population(0.5)
    answers = answered(
        key,
        {"dvar": 0.0, "baseline": 0.0},
        population,
        2 * raters,
        rng,
        attention=attention,
        guessing=raters,
    )
    kept = raters_of(joined(key, answers), rule).set_index("rater")["kept"]
    honest = [f"r{each}" for each in range(raters)]
    return {
        "attentive": float(kept[honest].mean()),
        "guessing": float(kept.drop(honest).mean()),
        "stated": rule.guessed,
    }


def sides(key: dict[str, object], of: Sequence[str] = OF_A_PAIR) -> "pd.Series[float]":
    """How often each pair's first variant stands left, over all questionnaires."""
    questions = pd.DataFrame(list(key["questions"].values()))  # type: ignore[attr-defined]
    asked = questions[~questions["trial"].astype(bool)]
    return asked.assign(left=asked["left"] == asked["first"]).groupby(list(of))["left"].mean()
