"""Tables of runs say what is known, and that the rest is not."""

import math
from dataclasses import replace

import pandas as pd

from noiseprobe.analysis.run_tables import Analysis
from noiseprobe.cli.text_runs import analysis_text, ending_table
from tests.analysis.test_verdicts import ENDED


def last_line(text: str) -> list[str]:
    return text.splitlines()[-1].split()


def test_the_end_of_a_training_without_a_finite_l_det_is_a_dash() -> None:
    train = pd.DataFrame({"step": [0, 131], "l_det": [0.25, math.nan]})
    never = replace(ENDED, fired={"dvar": None})
    assert last_line(ending_table(never, train)) == ["all", "steps", "131", "0.25000"]
    diverged = train.assign(l_det=math.nan)
    assert last_line(ending_table(never, diverged)) == ["all", "steps", "131", "-"]


def test_a_needed_batch_without_an_upper_end_is_told_with_its_lower_one() -> None:
    numbers = {"signal": 1.0, "noise": 9.0, "progress": 0.01, "batch": 32.0, "needed_batch": 2592.0}
    for low, high, told in (
        (1000.5, 5000.0, "1,001 to 5,000"),
        (1000.5, math.inf, "1,001 or more"),
        (math.nan, math.nan, "-"),
    ):
        table = pd.DataFrame(numbers | {"needed_low": low, "needed_high": high}, ["original"])
        text = analysis_text(Analysis("run", {"signal_to_noise": table}))
        assert text.endswith(told)
