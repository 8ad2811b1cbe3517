"""The study of the noise: means over concepts, and what its report says of them."""

import numpy as np
import pandas as pd
import pytest

from experiments.noise.report import over_concepts, report, with_trend
from experiments.noise_to_signal import methods as by_method
from noiseprobe.draws.factors import FACTORS

METHODS = ("textual-inversion", "custom-diffusion")


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    """Two methods, three concepts, two steps, two bins: numbers to be checked by hand."""
    shares, timesteps, learning = [], [], []
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
            for index in range(2):
                trend = "falling" if place else "none"
                learning.append(key | {"bin": index, "trend": trend})
    return {
        "shares": pd.DataFrame(shares),
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
    assert "| 500–999 | -10.0% (-20.0 to 0.0); 2 ▼ 0 ▲ |" in text


@pytest.fixture
def ratios() -> pd.DataFrame:
    """Two settings of three concepts, one of which cannot tell."""
    rows = []
    for place, concept in enumerate("abc"):
        for setting, size in (("timesteps", [10.2, np.inf, 30.0]), ("noise", [1.0, 0.5, 2.0])):
            ratio = np.sqrt(size[place] / 32) if np.isfinite(size[place]) else np.nan
            row = {"method": METHODS[0], "concept": concept, "setting": setting, "batch": 32}
            rows.append(row | {"needed_batch": size[place], "noise_to_signal": ratio})
    return pd.DataFrame(rows)


def test_the_median_batch_holds_where_one_concept_needs_infinitely_many(
    ratios: pd.DataFrame,
) -> None:
    found = by_method.median_batches(ratios)
    assert found["needed_batch"].to_dict() == {"timesteps": 30.0, "noise": 1.0}
    assert found["needed_high"].to_dict() == {"timesteps": np.inf, "noise": 2.0}


def test_ratios_of_a_method_are_geometric_means_and_count_what_cannot_be_told(
    ratios: pd.DataFrame,
) -> None:
    text = by_method.report(ratios)
    both = np.sqrt(np.sqrt(10.2 / 32 * 30 / 32))
    assert f"{both:.2g} (" in text
    assert "; 1 cannot be told)" in text
    assert "| timesteps | 30 (30 to inf) |" in text
    assert f"| noise | {1:.0f} (1 to 2) |" in text


def test_a_trend_needs_an_interval_without_zero() -> None:
    learning = pd.DataFrame(
        {"bin": [0, 1, 2], "change_low": [-2.0, -1.0, 0.5], "change_high": [-1.0, 1.0, 2.0]}
    )
    assert with_trend(learning)["trend"].tolist() == ["falling", "none", "rising"]
