"""The tables of the study: what they say of numbers whose answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from experiments.curves import best, geometric_mean, grid
from experiments.defaults.study import judged, save, strip
from experiments.defaults.tables import Found, interval, report, summary
from experiments.tiny_sd.concepts import tuned
from noiseprobe.draws.factors import FACTORS
from noiseprobe.pictures.similarity import Clip
from noiseprobe.run.resolving import resolve
from noiseprobe.training.concept import BUNDLED_CONCEPTS, load_concept

STEPS = 200
NAMES = pd.Index([*tuned()[:2], "one-else", "another-else"], name="concept")


@pytest.fixture
def found() -> Found:
    """Four concepts: L_det falls to a plateau at step 50 on all but the last,
    which falls ever faster."""
    steps = np.arange(STEPS + 1)
    falls = np.maximum(1 - steps / 50, 0) + 1e-3 * np.sin(steps)
    l_det = pd.DataFrame([falls, falls, falls, 1 - (steps / STEPS) ** 2], NAMES, steps)
    similarity = pd.DataFrame([[0.2, 0.68, 0.7]] * 3 + [[0.2, 0.1, 0.1]], NAMES, [0, 100, 200])
    noise = pd.DataFrame([[2.0] * 5, [8.0] * 5, [2.0] * 5, [8.0] * 5], NAMES, list(FACTORS))
    full = pd.DataFrame({0: [0.1, 0.3], 40: [0.95, 0.5]}, ["a", "b"])
    between = pd.Series([0.8] * 4, NAMES)
    return Found(l_det, similarity, noise, between, full, resolve({"steps": STEPS}))


def test_a_stop_is_found_and_similarity_read_between_checkpoints(found: Found) -> None:
    stops = found.stops(50, 0.1)
    assert stops.isna().tolist() == [False, False, False, True]
    assert 80 <= stops.iloc[0] <= 110
    at = found.similarity_at(pd.Series([50.0, 150.0, 200.0, np.nan], NAMES))
    assert at.tolist() == pytest.approx([0.44, 0.69, 0.7, 0.1])


def test_the_summary_counts_what_rises_and_what_is_reached(found: Found) -> None:
    said = summary(found)
    assert (said["concepts"], said["steps"]) == (4, STEPS)
    assert (said["inversion"]["rises_at_best"], said["inversion"]["rises_at_last"]) == (3, 3)
    assert said["noise_to_signal"]["images"]["mean"] == pytest.approx(4.0)
    full = said["full_fine_tuning"]
    assert (full["concepts"], full["reach_nine_tenths"]) == (2, 1)
    assert full["share_of_photograph_similarity"]["mean"] == pytest.approx((0.95 + 0.5) / 2)
    parts = said["dvar"]
    assert (parts["chosen_on"]["concepts"], parts["confirmed_on"]["concepts"]) == (2, 2)
    assert (parts["chosen_on"]["fires_on"], parts["confirmed_on"]["fires_on"]) == (2, 1)


def test_the_grid_knows_what_was_kept(found: Found) -> None:
    cells = grid(found.only([*NAMES[:2]]))
    early = cells[(cells["window"] == 20) & (cells["threshold"] == 0.4)].iloc[0]
    late = cells[(cells["window"] == 100) & (cells["threshold"] == 0.02)].iloc[0]
    assert early["fires"] == late["fires"] == 2
    assert early["median"] < late["median"]
    assert early["gain"] < late["gain"] <= 1
    window, threshold = best(cells, 2) or (0, 0.0)
    row = cells[(cells["window"] == window) & (cells["threshold"] == threshold)].iloc[0]
    assert (row["fires"], row["gain"] >= 0.9) == (2, True)
    assert row["median"] == cells[(cells["fires"] == 2) & (cells["gain"] >= 0.9)]["median"].min()
    assert best(cells, 3) is None


def test_a_report_says_all_of_it_also_where_nothing_fires(found: Found) -> None:
    text = report(found)
    assert "3 of 4 concepts" in text
    falling = 1 - (np.arange(STEPS + 1) / STEPS) ** 2
    never = pd.DataFrame([falling] * 4, NAMES)
    assert "0 of 2 | -" in report(replace(found, l_det=never))


def test_intervals_hold_the_mean_and_shrink_with_the_number() -> None:
    random = np.random.default_rng(3)
    for function in (interval, geometric_mean):
        few, many = (function(pd.Series(random.lognormal(size=size))) for size in (8, 800))
        for found in (few, many):
            assert found["low"] < found["mean"] < found["high"]
        assert many["high"] - many["low"] < few["high"] - few["low"]


def test_what_was_drawn_is_judged_step_by_step(tmp_path: Path) -> None:
    folder = BUNDLED_CONCEPTS / "banded-cup"
    photographs = [Image.open(path) for path in load_concept(folder, None).photographs]
    blank = [Image.new("RGB", (64, 64), "white")] * 2
    save(blank, strip(tmp_path, 0))
    save(photographs, strip(tmp_path, 20))
    curve, between = judged(tmp_path, folder, Clip.load())
    assert [*curve.index] == [0, 20]
    assert curve[0] < between < curve[20], "photographs are most like themselves"
