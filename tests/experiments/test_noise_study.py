"""The study of the noise: means over concepts, and what its report says of them."""

import numpy as np
import pandas as pd
import pytest

from experiments.noise.report import median_batches, over_concepts, report, with_trend
from noiseprobe.draws.factors import FACTORS

METHODS = ("textual-inversion", "custom-diffusion")


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    """Two methods, three concepts, two steps, two bins: numbers to be checked by hand."""
    shares, needed, timesteps, learning = [], [], [], []
    for method in METHODS:
        for place, concept in enumerate("abc"):
            key = {"method": method, "concept": concept}
            for step in (0, 60):
                for factor in FACTORS:
                    share = {"first": 0.1 * place, "total": 0.2 * place}
                    shares.append(key | {"step": step, "factor": factor} | share)
                for index in range(2):
                    edge = {"bin": index, "from": 500 * index, "to": 500 * (index + 1)}
                    found = {"loss": 1.0, "relative": -0.1 * place}
                    timesteps.append(key | {"step": step} | edge | found)
            for setting, size in (("timesteps", [10.2, np.inf, 30.0]), ("noise", [1.0, 0.5, 2.0])):
                needed.append(key | {"setting": setting, "batch": 32, "needed_batch": size[place]})
            for index in range(2):
                trend = "falling" if place else "none"
                learning.append(key | {"bin": index, "trend": trend})
    return {
        "shares": pd.DataFrame(shares),
        "needed_batch": pd.DataFrame(needed),
        "timesteps": pd.DataFrame(timesteps),
        "learning": pd.DataFrame(learning),
    }


def test_means_over_concepts_lie_within_their_intervals(tables: dict[str, pd.DataFrame]) -> None:
    found = over_concepts(tables["shares"], ["step", "factor"], ["first", "total"])
    assert len(found) == 2 * len(FACTORS)
    np.testing.assert_allclose(found["first"], 0.1)
    assert (found["first_low"] < 0.1).all()
    assert (found["first_high"] > 0.1).all()


def test_the_report_shows_each_method_and_counts_its_concepts(
    tables: dict[str, pd.DataFrame],
) -> None:
    text = report(tables)
    assert "2 methods on the bundled model, 3 concepts" in text
    assert "| custom-diffusion | images | 10.0% (" in text
    assert "| timesteps | 30 (30 to inf) |" in text
    assert "| 500–999 | -10.0% (-20.0 to 0.0); 2 ▼ 0 ▲ |" in text


def test_the_median_batch_holds_where_one_concept_needs_infinitely_many(
    tables: dict[str, pd.DataFrame],
) -> None:
    assert median_batches(tables["needed_batch"])["needed_batch"].to_dict() == {
        "timesteps": 30.0,
        "noise": 1.0,
    }


def test_a_trend_needs_an_interval_without_zero() -> None:
    learning = pd.DataFrame(
        {"bin": [0, 1, 2], "change_low": [-2.0, -1.0, 0.5], "change_high": [-1.0, 1.0, 2.0]}
    )
    assert with_trend(learning)["trend"].tolist() == ["falling", "none", "rising"]
