"""What raters answered: win rates clustered by rater and concept, strengths, agreement.

Answers of one rater are alike, and so are answers about one concept. Both are clusters here
(Cameron, Gelbach & Miller, J. Bus. Econ. Stat. 29, 2011): the variance by rater, plus that by
concept, less that by both. An interval over answers as if all were independent would be far too
narrow (experiments/survey/RESULTS.md).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, stdtrit
from scipy.stats import beta

from noiseprobe.analysis.survey_design import KINDS, KNOWN, Rule
from noiseprobe.core.errors import UserError
from noiseprobe.run.defaults import METHODS

Floats = NDArray[np.float64]

INSTALL = "pip install 'noiseprobe[survey]'"
LEVEL = 0.95
_UPPER = 1 - (1 - LEVEL) / 2

PUBLISHED = {
    ("textual-inversion", "reconstruction"): 0.416,
    ("textual-inversion", "customization"): 0.799,
    ("custom-diffusion", "reconstruction"): 0.699,
    ("custom-diffusion", "customization"): 0.938,
}
"""How often DVAR was preferred to Baseline, by method and kind (Voronov et al. 2023, sec. 5)."""

OF_A_PAIR = ["kind", "run", "place", "first", "second"]
"""What makes two questions about the same two pictures."""


@dataclass(frozen=True)
class Scores:
    """What a survey found.

    Attributes:
        raters: rater, answered, trials (catch trials answered), missed, kept.
        wins: a row per kind, method and pair of variants: answers, raters, concepts, pairs (of
            pictures), win (how often `first` was preferred; a tie is half), low, high (95%), ties
            (share), left (how often the left picture was), everyone (win with raters that were
            left out), published.
        strengths: Bradley–Terry where there are more than two variants: kind, method, variant,
            strength (log-odds against `against`), low, high; NaN where they are not bounded.
        agreement: kind, method, alpha (Krippendorff's, nominal; NaN where it is not defined),
            pairs (of pictures that several raters saw).
    """

    raters: pd.DataFrame
    wins: pd.DataFrame
    strengths: pd.DataFrame
    agreement: pd.DataFrame


def score(key: Mapping[str, Any], answers: pd.DataFrame) -> Scores:
    """The scores of answers with columns rater, question (a token), answer (left, right, tie).

    Raises:
        UserError: there is no answer; one is to a question that the key has not, is none of its
            answers, or was given twice and differently; or no rater is kept.
    """
    known = joined(key, answers)
    rule = Rule(int(key["rule"]["trials"]), int(key["rule"]["missed"]))
    raters = raters_of(known, rule)
    kept = set(raters.loc[raters["kept"], "rater"])
    asked = known[~known["trial"]]
    order = {name: at for at, name in enumerate([*KINDS, *METHODS, *key["variants"]])}
    asked = asked.sort_values(
        ["kind", "method", "first", "second"],
        key=lambda names: names.map(order).fillna(len(order)),
        kind="stable",
    )
    counting = asked[asked["rater"].isin(kept)]
    if counting.empty:
        raise UserError(
            f"no rater of {len(raters)} passes the rule of the key ({rule.words}); ask more"
        )
    return Scores(
        raters,
        _wins(counting, asked),
        _strengths(counting, key["variants"]),
        _agreement(counting),
    )


def counted(key: Mapping[str, Any], answers: pd.DataFrame, scores: Scores) -> pd.DataFrame:
    """The answers about pairs, as `joined` gives them, of the raters that the scores kept."""
    known = joined(key, answers)
    kept = set(scores.raters.loc[scores.raters["kept"], "rater"])
    return known[~known["trial"] & known["rater"].isin(kept)]


def joined(key: Mapping[str, Any], answers: pd.DataFrame) -> pd.DataFrame:
    """Each answer with what was asked, the `chosen` side and `win`, 1 where `first` was chosen.

    Raises as `score`.
    """
    questions: Mapping[str, Mapping[str, Any]] = key["questions"]
    said = answers[["rater", "question", "answer"]].drop_duplicates()
    if said.empty:
        raise UserError("answers: there are none; give what the last page of a questionnaire saves")
    allowed = {"left", "right", *(["tie"] if key["ties"] else [])}
    for column, known in (("question", set(questions)), ("answer", allowed)):
        if strange := [each for each in said[column].unique() if each not in known]:
            mend = "give the --key of this survey" if column == "question" else "mend the file"
            raise UserError(f"answers: {column} '{strange[0]}' is none that the key has; {mend}")
    twice = said[said.duplicated(["rater", "question"])]
    if len(twice):
        row = twice.iloc[0]
        raise UserError(
            f"answers: rater '{row['rater']}' answered question '{row['question']}' twice, and "
            "differently; leave one file out, or name the raters apart"
        )
    about = pd.DataFrame([questions[token] for token in said["question"]], index=said.index)
    for column in ("method", "first", "second"):
        if column not in about:
            about[column] = None
    found = pd.concat([said, about], axis=1)
    found["trial"] = found["trial"].astype(bool)
    side = np.where(found["answer"] == "left", found["left"], found["right"])
    found["chosen"] = np.where(found["answer"] == "tie", "tie", side)
    found["win"] = np.where(found["answer"] == "tie", 0.5, found["chosen"] == found["first"])
    return found


def raters_of(known: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """Who answered, and whether the rule keeps them."""
    rows = []
    for rater, part in known.groupby("rater", sort=True):
        caught = part[part["trial"]]
        missed = int((caught["chosen"] != KNOWN).sum())
        row = {"rater": rater, "answered": int((~part["trial"]).sum()), "trials": len(caught)}
        rows.append(row | {"missed": missed, "kept": rule.keeps(len(caught), missed)})
    return pd.DataFrame(rows, columns=["rater", "answered", "trials", "missed", "kept"])


def _wins(kept: pd.DataFrame, everyone: pd.DataFrame) -> pd.DataFrame:
    rows = []
    by = ["kind", "method", "first", "second"]
    for (kind, method, first, second), part in kept.groupby(by, sort=False):
        win, low, high = win_interval(part["win"], part["rater"], part["concept"])
        every = everyone[(everyone[by] == [kind, method, first, second]).all(axis=1)]
        published = PUBLISHED.get((str(method), str(kind)))
        rows.append(
            {
                **{"kind": kind, "method": method, "first": first, "second": second},
                "answers": len(part),
                "raters": part["rater"].nunique(),
                "concepts": part["concept"].nunique(),
                "pairs": part.groupby(OF_A_PAIR).ngroups,
                **{"win": win, "low": low, "high": high},
                "ties": float((part["answer"] == "tie").mean()),
                "left": float((part["answer"] == "left").mean()),
                "everyone": float(every["win"].mean()),
                "published": published if (first, second) == ("dvar", "baseline") else None,
            }
        )
    return pd.DataFrame(rows)


def win_interval(
    wins: ArrayLike | pd.Series,
    raters: ArrayLike | pd.Series,
    concepts: ArrayLike | pd.Series,
) -> tuple[float, float, float]:
    """A win rate and its 95% interval, clustered by rater and by concept.

    Student's interval of the log-odds, with one degree of freedom less than the clusters of the
    kind of which there are fewer; the variance is never less than that by rater, or by concept,
    alone. Where only one rater or one concept is there, it is about that one alone. Where all
    answers are the same, the interval is the exact one (Clopper & Pearson, Biometrika 26, 1934) of
    as many independent answers as there are clusters of the rarer kind. NaN at the ends where both
    kinds have one cluster.
    """
    values = np.asarray(wins, dtype=np.float64)
    groups = _groups(raters, concepts)
    rate = float(values.mean())
    if not groups:
        return rate, math.nan, math.nan
    fewest = min(len(np.unique(group)) for group in groups)
    if np.ptp(values) == 0:
        won = rate * fewest
        low = beta.ppf(1 - _UPPER, won, fewest - won + 1) if rate > 0 else 0.0
        high = beta.ppf(_UPPER, won + 1, fewest - won) if rate < 1 else 1.0
        return rate, float(low), float(high)
    fitted, spread = _logistic(values, np.ones((len(values), 1)), groups)
    reach = stdtrit(fewest - 1, _UPPER) * math.sqrt(spread[0, 0])
    return rate, float(expit(fitted[0] - reach)), float(expit(fitted[0] + reach))


def _groups(*labels: ArrayLike | pd.Series) -> list[NDArray[np.int64]]:
    """Numbers for the labels of each kind that has several."""
    coded = [pd.factorize(np.asarray(each))[0].astype(np.int64) for each in labels]
    return [each for each in coded if each.max() > 0]


def _logistic(
    values: Floats, design: Floats, groups: Sequence[NDArray[np.int64]]
) -> tuple[Floats, Floats]:
    """Coefficients of a logistic regression, and their covariance clustered by the groups."""
    try:
        from statsmodels.genmod.families import Binomial
        from statsmodels.genmod.generalized_linear_model import GLM
        from statsmodels.stats.sandwich_covariance import cov_cluster, cov_cluster_2groups
    except ImportError:
        raise UserError(f"survey score: statsmodels is missing; {INSTALL}") from None
    fitted = GLM(values, design, family=Binomial()).fit()
    if len(groups) == 1:
        return fitted.params, cov_cluster(fitted, groups[0])
    found = cov_cluster_2groups(fitted, *groups)
    # The difference of three may be too small, or below 0, for each coefficient by chance.
    return fitted.params, max(found, key=lambda each: float(np.trace(each)))


def _strengths(kept: pd.DataFrame, variants: Sequence[str]) -> pd.DataFrame:
    columns = ["kind", "method", "variant", "against", "strength", "low", "high"]
    rows = []
    for (kind, method), part in kept.groupby(["kind", "method"], sort=False):
        there = [each for each in variants if each in {*part["first"], *part["second"]}]
        if len(there) < 3:
            continue
        against = "baseline" if "baseline" in there else there[-1]
        found = bradley_terry(part, there, against)
        for variant, (strength, low, high) in found.items():
            rows.append(dict(zip(columns, (kind, method, variant, against), strict=False)))
            rows[-1] |= {"strength": strength, "low": low, "high": high}
    return pd.DataFrame(rows, columns=columns)


def bradley_terry(
    answers: pd.DataFrame, variants: Sequence[str], against: str
) -> dict[str, tuple[float, float, float]]:
    """Strengths of variants: log-odds of being preferred to `against`, with 95% intervals.

    Bradley & Terry (Biometrika 39, 1952) as the logistic regression of `win` on which variants
    were shown; a tie is half a win of each. Intervals are clustered as in `win_interval`. NaN
    where some variants never lost to the others: then strengths have no bound (Ford, Am. Math.
    Monthly 64, 1957).

    Args:
        answers: columns first, second, win, rater, concept.
        variants: all that were compared.
        against: the one whose strength is 0; it is left out of the result.
    """
    others = [each for each in variants if each != against]
    if not _bounded(answers, variants):
        return dict.fromkeys(others, (math.nan, math.nan, math.nan))
    first, second = (answers[side].to_numpy()[:, None] for side in ("first", "second"))
    names = np.array(others, dtype=object)[None, :]
    design = (first == names).astype(np.float64) - (second == names)
    values = answers["win"].to_numpy(dtype=np.float64)
    groups = _groups(answers["rater"], answers["concept"])
    fitted, spread = _logistic(values, design, groups or [np.arange(len(values))])
    fewest = min((len(np.unique(group)) for group in groups), default=1)
    reach = np.full(len(others), math.nan)
    if groups:
        reach = stdtrit(fewest - 1, _UPPER) * np.sqrt(np.diag(spread))
    return {
        name: (float(at), float(at - far), float(at + far))
        for name, at, far in zip(others, fitted, reach, strict=True)
    }


def _bounded(answers: pd.DataFrame, variants: Sequence[str]) -> bool:
    """Whether from each variant to each other there is a way along wins."""
    places = {name: place for place, name in enumerate(variants)}
    first, second = answers["first"].map(places), answers["second"].map(places)
    wins = answers["win"].to_numpy(dtype=np.float64)
    rows, columns = np.r_[first, second], np.r_[second, first]
    size = len(variants)
    table = coo_array((np.r_[wins, 1 - wins], (rows, columns)), shape=(size, size)).tocsr()
    table.eliminate_zeros()
    return bool(connected_components(table, connection="strong")[0] == 1)


def _agreement(kept: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (kind, method), part in kept.groupby(["kind", "method"], sort=False):
        alpha, pairs = agreement(part)
        rows.append({"kind": kind, "method": method, "alpha": alpha, "pairs": pairs})
    return pd.DataFrame(rows)


def agreement(answers: pd.DataFrame) -> tuple[float, int]:
    """Krippendorff's α of which variant was chosen, nominal, and of how many pairs it is.

    1: all agree; 0: as chance would have it. NaN where all answers are the same, or no pair was
    seen by two raters. A rater who saw a pair on both sides counts with each of the answers.
    """
    counts = answers.groupby([*OF_A_PAIR, "chosen"]).size().unstack("chosen", fill_value=0)
    table = counts.to_numpy()
    several = table.sum(axis=1) > 1
    if not several.any() or (table[several].sum(axis=0) > 0).sum() < 2:
        return math.nan, int(several.sum())
    try:
        import krippendorff
    except ImportError:
        raise UserError(f"survey score: krippendorff is missing; {INSTALL}") from None
    found = krippendorff.alpha(value_counts=table, level_of_measurement="nominal")
    return float(found), int(several.sum())
