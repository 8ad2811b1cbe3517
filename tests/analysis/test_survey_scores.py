"""Scores of surveys: known answers, and intervals that hold what simulated raters prefer."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from scipy.stats import binomtest, t

from experiments.survey.simulation import Population, answered, crossed, survey_key
from experiments.survey.studies import USUAL, caught, coverage, found, sides, strengths
from noiseprobe.analysis.survey_design import KNOWN, Pair, Rule, Trial, forms
from noiseprobe.analysis.survey_needed import Variances, needed, planned, power, variances
from noiseprobe.analysis.survey_scores import (
    PUBLISHED,
    agreement,
    bradley_terry,
    counted,
    joined,
    score,
    win_interval,
)
from noiseprobe.analysis.verdicts_survey import of_scores
from noiseprobe.core.errors import UserError

pytest.importorskip("statsmodels")
pytest.importorskip("krippendorff")

BASEBALL = {
    "Milwaukee": [0, 7, 9, 7, 7, 9, 11],
    "Detroit": [6, 0, 7, 5, 11, 9, 9],
    "Toronto": [4, 6, 0, 7, 7, 8, 12],
    "New York": [6, 8, 6, 0, 6, 7, 10],
    "Boston": [6, 2, 6, 7, 0, 7, 12],
    "Cleveland": [4, 4, 5, 6, 6, 0, 6],
    "Baltimore": [2, 4, 1, 3, 1, 7, 0],
}
"""Wins of the row over the column (Agresti, Categorical Data Analysis, 2002, table 10.10)."""


def of_counts(counts: dict[str, list[int]]) -> pd.DataFrame:
    """One answer a game; each by a rater and about a concept of its own."""
    names = list(counts)
    rows = [
        (first, second, win)
        for first, row in counts.items()
        for second, games in zip(names, row, strict=True)
        for a, b, win in [(first, second, 1.0)]
        for _ in range(games)
    ]
    table = pd.DataFrame(rows, columns=["first", "second", "win"])
    return table.assign(rater=np.arange(len(table)), concept=np.arange(len(table)))


def test_strengths_are_those_published_for_baseball() -> None:
    fitted = bradley_terry(of_counts(BASEBALL), list(BASEBALL), "Baltimore")
    published = {
        **{"Milwaukee": 1.581, "Detroit": 1.436, "Toronto": 1.294},
        **{"New York": 1.248, "Boston": 1.108, "Cleveland": 0.684},
    }
    assert {name: round(at, 3) for name, (at, _, _) in fitted.items()} == pytest.approx(
        published, abs=1.1e-3
    )


def test_strengths_without_a_bound_are_not_told() -> None:
    never = {"a": [0, 3, 4], "b": [0, 0, 2], "c": [0, 3, 0]}
    fitted = bradley_terry(of_counts(never), list(never), "c")
    assert all(math.isnan(value) for values in fitted.values() for value in values)


@pytest.mark.parametrize(
    ("said", "published"),
    [
        (["0100000000", "1110010010"], 0.095),
        (["aabbdcccedda", "babbbccceddd"], 0.692),
        (["123321412...", "1233224125.3", ".3332342251.", "12332441251."], 0.743),
    ],
)
def test_agreement_is_that_published_by_krippendorff(said: list[str], published: float) -> None:
    """Computing Krippendorff's Alpha-Reliability (2011), sections A, B and C."""
    rows = [(place, value) for row in said for place, value in enumerate(row) if value != "."]
    table = pd.DataFrame(rows, columns=["place", "chosen"])
    found, pairs = agreement(table.assign(kind="k", run="r", first="a", second="b"))
    assert found == pytest.approx(published, abs=5e-4)
    assert pairs == sum(sum(row[place] != "." for row in said) > 1 for place in range(len(said[0])))


def test_where_all_chose_the_same_or_nobody_saw_the_same_agreement_is_not_told() -> None:
    shown = {"kind": "k", "run": "r", "first": "a", "second": "b"}
    same = pd.DataFrame({"place": [0, 0, 1, 1], "chosen": ["a"] * 4}).assign(**shown)
    alone = pd.DataFrame({"place": [0, 1], "chosen": ["a", "b"]}).assign(**shown)
    assert math.isnan(agreement(same)[0])
    assert agreement(alone)[1] == 0


def by_hand(seen: pd.DataFrame) -> tuple[float, float, float]:
    """The interval of `win_interval`, by sums over clusters."""
    rate, count = seen["win"].mean(), len(seen)
    away = seen.assign(away=seen["win"] - rate)

    def of(*by: str) -> float:
        sums = away.groupby([*by])["away"].sum()
        return float((sums**2).sum() / count**2 * len(sums) / (len(sums) - 1))

    alone = of("rater"), of("concept")
    spread = np.sqrt(max(sum(alone) - of("rater", "concept"), *alone)) / (rate * (1 - rate))
    far = t.ppf(0.975, min(seen["rater"].nunique(), seen["concept"].nunique()) - 1) * spread
    ends = 1 / (1 + np.exp(-(logit(rate) + np.array([-far, far]))))
    return rate, *ends


@pytest.mark.parametrize("seed", range(3))
def test_an_interval_is_that_of_sums_over_raters_and_concepts(seed: int) -> None:
    seen = crossed(Population(0.7, **USUAL), 12, 6, 3, np.random.default_rng(seed))
    seen = seen.sample(frac=0.8, random_state=seed)  # not everyone saw everything
    found = win_interval(seen["win"], seen["rater"], seen["concept"])
    assert found == pytest.approx(by_hand(seen), rel=1e-6)


def test_what_is_asked_twice_of_the_same_rater_makes_nothing_surer() -> None:
    seen = crossed(Population(0.6, **USUAL), 10, 6, 2, np.random.default_rng(0))
    twice = pd.concat([seen, seen])
    once = win_interval(seen["win"], seen["rater"], seen["concept"])
    again = win_interval(twice["win"], twice["rater"], twice["concept"])
    assert again == pytest.approx(once, rel=1e-6)


def test_where_all_answers_are_the_same_the_interval_is_the_exact_one() -> None:
    seen = crossed(Population(0.6), 10, 6, 2, np.random.default_rng(0))
    _, low, high = win_interval(np.ones(len(seen)), seen["rater"], seen["concept"])
    exact = binomtest(6, 6).proportion_ci(method="exact", confidence_level=0.95)
    assert high == 1
    assert low == pytest.approx(exact.low)
    low, high = win_interval(np.zeros(len(seen)), seen["rater"], seen["concept"])[1:]
    assert (low, high) == (0, pytest.approx(1 - exact.low))


def test_one_rater_and_one_concept_have_no_interval() -> None:
    assert all(map(math.isnan, win_interval([1, 0, 1], ["a"] * 3, ["b"] * 3)[1:]))


def test_intervals_hold_the_truth_as_often_as_they_say_and_naive_ones_do_not() -> None:
    count = 400
    held = coverage(Population(0.8, **USUAL), (20, 9, 4), count, seed=0)
    assert abs(held["both"] - 0.95) < 3 * math.sqrt(0.95 * 0.05 / count)
    assert held["independent"] < 0.75
    assert held["raters alone"] < 0.85


def test_a_hidden_preference_is_found_as_often_as_stated() -> None:
    count = 300
    seen = found(Population(0.65, **USUAL), (30, 18, 2), count, seed=0)
    assert 0.85 < seen["stated"] < 0.95
    error = math.sqrt(seen["stated"] * (1 - seen["stated"]) / count)
    assert abs(seen["found"] - seen["stated"]) < 3 * error
    assert abs(seen["estimated"] - seen["stated"]) < 0.05


def test_strengths_of_three_variants_are_held_as_often_as_stated() -> None:
    true = {"dvar": 0.5, "few": 0.2, "baseline": 0.0}
    assert strengths(true, (20, 9, 3), 60, seed=0) > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 120)


def test_variances_are_found_without_bias() -> None:
    population = Population(0.6, rater=0.6, concept=0.8, pair=0.6, rater_concept=0.6)
    rng = np.random.default_rng(0)
    rows = [vars(variances(crossed(population, 30, 12, 3, rng))) for _ in range(60)]
    table, truth = pd.DataFrame(rows), vars(population.variances())
    for name, true in truth.items():
        error = table[name].std() / math.sqrt(len(table))
        assert table[name].mean() == pytest.approx(true, abs=4 * error)
        assert error < 0.1 * true


def test_a_survey_in_forms_varies_as_much_as_is_planned_with() -> None:
    population = Population(0.6, rater=0.3, concept=0.4, pair=0.8, rater_concept=0.6)
    rng, rates = np.random.default_rng(0), []
    for _ in range(1500):
        seen = crossed(population, 12, 6, 3, rng)
        rates.append(seen["win"][seen["pair"] % 3 == seen["rater"] % 3].mean())
    expected = population.variances().of_mean(12, 6, 3, answers=1)
    assert np.var(rates) == pytest.approx(float(expected), rel=4 * math.sqrt(2 / 1500))
    assert float(expected) > 1.2 * float(population.variances().of_mean(12, 6, 3))


def test_what_a_precision_needs_reaches_it_and_one_less_does_not() -> None:
    of = Variances(0.01, 0.02, 0.01, 0.005, 0.2)
    plan = needed(of, raters=20, concepts=9, pairs=4)
    assert plan.now > plan.reach
    assert plan.raters is None  # nine concepts alone leave more
    assert plan.most_raters > plan.reach
    assert plan.concepts is not None
    assert needed(of, 20, plan.concepts, 4).now <= 0.05 < needed(of, 20, plan.concepts - 1, 4).now
    plan = needed(of, raters=20, concepts=100, pairs=4)
    assert plan.raters is not None
    assert needed(of, plan.raters, 100, 4).now <= 0.05 < needed(of, plan.raters - 1, 100, 4).now


def test_power_without_a_preference_is_the_level_and_grows_with_raters() -> None:
    of = Variances(0.02, 0.005, 0.0, 0.0, 0.2)
    assert power(of, 20, 20, 2, 0.5) == pytest.approx(0.05)
    assert power(of, 20, 20, 2, 0.6) < power(of, 40, 20, 2, 0.6)


def test_forms_are_balanced_in_sides_order_and_concepts() -> None:
    shared = {"kind": "customization", "method": "m", "seed": 0, "prompt": ""}
    pairs = [
        Pair(run=c, concept=c, place=place, first="a", second="b", **shared)  # type: ignore[arg-type]
        for c in "uvw"
        for place in range(7)
    ]
    trials = [Trial("customization", c, c, "", 0) for c in "uvw"]
    made = forms(pairs, trials, Rule(4, 0), most=8, seed=3)
    assert [form.name for form in made] == [f"customization-{n}{v}" for n in "123" for v in "ab"]
    asked = [question.about for form in made for question in form.questions]
    assert sorted(map(str, asked)) == sorted(map(str, [*pairs, *pairs, *caught_in(asked)]))
    for a, b in zip(made[::2], made[1::2], strict=True):
        assert [each.about for each in b.questions] == [each.about for each in a.questions][::-1]
        assert [each.left for each in b.questions] == [each.right for each in a.questions][::-1]
        for form in (a, b):
            of_pairs = [each for each in form.questions if isinstance(each.about, Pair)]
            left = sum(each.left == each.about.sides[0] for each in of_pairs)
            assert abs(2 * left - len(of_pairs)) <= 1
            known = [each.left == KNOWN for each in form.questions if each not in of_pairs]
            assert sorted(known) == [False, False, True, True]
            assert {each.about.concept for each in of_pairs} == {"u", "v", "w"}
    tokens = [question.token for form in made for question in form.questions]
    assert len(set(tokens)) == len(tokens)


def caught_in(asked: list[Pair | Trial]) -> list[Trial]:
    return [each for each in asked if isinstance(each, Trial)]


def test_over_all_questionnaires_each_variant_stands_left_as_often_as_right() -> None:
    assert set(sides(survey_key(5, 3, ("dvar", "few", "baseline"), most=7))) == {0.5}


def test_the_rule_keeps_who_guesses_as_seldom_as_it_says_and_who_looks() -> None:
    rule = Rule(6, 1)
    assert rule.guessed == 7 / 64
    kept = caught(rule, 0.99, 400, seed=0)
    assert abs(kept["guessing"] - 7 / 64) < 3 * math.sqrt(7 / 64 * 57 / 64 / 400)
    assert kept["attentive"] > 0.98
    assert rule.keeps(6, 1)
    assert not rule.keeps(6, 2)
    assert not rule.keeps(3, 1)  # a larger share of what was answered
    assert not rule.keeps(0, 0)
    assert Rule(0, 0).keeps(0, 0)


def test_who_prefers_a_side_alone_prefers_no_variant() -> None:
    key = survey_key(6, 4, rule=Rule(0, 0))
    rows = [
        (f"r{version}{rater}", token, "left")
        for token, about in key["questions"].items()
        for version in [about["form"][-1]]
        for rater in range(5)
    ]
    answers = pd.DataFrame(rows, columns=["rater", "question", "answer"])
    (row,) = score(key, answers).wins.to_dict("records")
    assert (row["win"], row["left"]) == (0.5, 1.0)


def test_a_score_says_who_was_left_out_what_was_found_and_what_was_published() -> None:
    key = survey_key(9, 4)
    better = {"dvar": 1.0, "baseline": 0.0}
    of = Population(0.5, **USUAL)
    answers = answered(key, better, of, 24, np.random.default_rng(0), guessing=4)
    scores = score(key, answers)
    guessing = scores.raters[scores.raters["rater"].isin([f"r{n}" for n in range(20, 24)])]
    assert scores.raters["kept"].sum() == 20 + guessing["kept"].sum() < 24
    (row,) = scores.wins.to_dict("records")
    assert row["low"] > 0.5
    assert row["everyone"] < row["win"]
    assert row["published"] == PUBLISHED["textual-inversion", "customization"]
    plans = planned(counted(key, answers, scores), scores.wins)
    told = " ".join(of_scores(scores, plans, skipped=2))
    assert f"{(~scores.raters['kept']).sum()} of 24 raters are left out" in told
    assert f"DVAR was preferred to Baseline in {row['win']:.1%}" in told
    assert "DVAR is preferred" in told
    assert "Published for this question: 79.9%" in told
    assert "Not everything was asked (2 left out" in told


def test_of_three_variants_strengths_are_told_in_their_order() -> None:
    true = {"dvar": 0.0, "few": 1.2, "baseline": -0.6}
    key = survey_key(8, 3, tuple(true), most=100)
    answers = answered(key, true, Population(0.5, rater=0.2), 20, np.random.default_rng(0))
    scores = score(key, answers)
    assert list(zip(scores.wins["first"], scores.wins["second"], strict=True)) == [
        *[("dvar", "few"), ("dvar", "baseline"), ("few", "baseline")]
    ]
    found = scores.strengths.set_index("variant")
    assert list(found.index) == ["dvar", "few"]
    assert set(found["against"]) == {"baseline"}
    ends = found[["low", "high"]].to_numpy(dtype=np.float64)
    assert 0 < ends[0, 0] < ends[0, 1] < ends[1, 0]
    told = scores.wins.set_index(["first", "second"])["published"]
    assert told["dvar", "baseline"] == PUBLISHED["textual-inversion", "customization"]
    assert told.drop(("dvar", "baseline")).isna().all()


def test_a_tie_is_half_a_win() -> None:
    key = survey_key(4, 4, rule=Rule(0, 0), ties=True)
    rows = [(f"r{n}", token, "tie") for token in key["questions"] for n in range(3)]
    answers = pd.DataFrame(rows, columns=["rater", "question", "answer"])
    (row,) = score(key, answers).wins.to_dict("records")
    assert (row["win"], row["ties"]) == (0.5, 1.0)
    assert row["low"] < 0.5 < row["high"]
    with pytest.raises(UserError, match="answer 'tie' is none that the key has"):
        score(key | {"ties": False}, answers)


def test_answers_that_are_wrong_are_told() -> None:
    key = survey_key(3, 2)
    answers = answered(
        key, {"dvar": 0.0, "baseline": 0.0}, Population(0.5), 6, np.random.default_rng(0)
    )
    other = answers.assign(answer=answers["answer"].map({"left": "right", "right": "left"}))
    assert len(joined(key, pd.concat([answers, answers]))) == len(answers)  # a file given twice
    with pytest.raises(UserError, match="there are none; give what"):
        score(key, answers[:0])
    with pytest.raises(UserError, match=r"rater 'r0' answered question '.*' twice"):
        joined(key, pd.concat([answers, other]))
    with pytest.raises(UserError, match="question 'nope' is none"):
        joined(key, answers.assign(question="nope"))
    with pytest.raises(UserError, match="no rater of 6 passes the rule"):
        score(key, other[[key["questions"][each]["trial"] for each in other["question"]]])


def test_without_the_extra_scoring_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "statsmodels.genmod.families", None)
    with pytest.raises(UserError, match=r"pip install 'noiseprobe\[survey\]'"):
        win_interval([1, 0, 1, 1], [0, 0, 1, 1], [0, 1, 0, 1])
