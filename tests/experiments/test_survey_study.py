"""The study of surveys: its raters prefer what they are made to, its report is of its tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.survey.report import TABLES, report
from experiments.survey.simulation import Population, answered, crossed, survey_key
from noiseprobe.analysis.survey_scores import joined

HERE = Path(__file__).parents[2] / "experiments/survey"


def test_the_win_rate_and_what_answers_share_are_what_the_closed_form_says() -> None:
    population = Population(0.7, rater=0.5, concept=0.6, pair=0.3, rater_concept=0.4)
    seen = crossed(population, 1500, 1500, 1, np.random.default_rng(0))
    assert seen["win"].mean() == pytest.approx(0.7, abs=0.015)
    by_rater = seen.groupby("rater")["win"].mean()
    # With so many concepts what is left of them, and of chance, in a rater's mean is small.
    known = population.variances()
    left = (known.rater_concept + known.rest) / 1500
    assert by_rater.var() - left == pytest.approx(known.rater, rel=0.15)
    assert known.total == pytest.approx(0.7 * 0.3)


def test_raters_of_a_key_prefer_by_strength_and_see_both_versions() -> None:
    key = survey_key(20, 5, ("dvar", "baseline"), most=100)
    away = {"dvar": 0.5, "baseline": 0.0}
    known = joined(key, answered(key, away, Population(0.5), 100, np.random.default_rng(0)))
    asked = known[~known["trial"]]
    assert asked["win"].mean() == pytest.approx(0.6915, abs=3 * np.sqrt(0.21 / len(asked)))
    assert (asked["answer"] == "left").mean() == pytest.approx(0.5, abs=0.02)
    assert set(asked["form"]) == {"customization-1a", "customization-1b"}


def test_the_report_says_what_its_tables_say() -> None:
    tables = {name: pd.read_csv(HERE / f"{name}.csv") for name in TABLES}
    assert report(tables) == (HERE / "RESULTS.md").read_text(encoding="utf-8")
    tables["strengths"]["held"] = 0.1234
    tables["coverage"].loc[0, "both"] = 0.4321
    text = report(tables)
    assert "held in 12.3%" in text
    assert "*both* 43.2% to" in text
