"""Sentences say what the intervals allow, and no more."""

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from noiseprobe.analysis.ending import Ending, HeldOut, Stretch
from noiseprobe.analysis.run_tables import Analysis
from noiseprobe.analysis.verdicts import (
    of_analysis,
    of_comparison,
    of_ending,
    of_measures,
    of_noise,
    of_run,
    of_sweep,
)

Row = tuple[float, float, float]


def ratios(**factors: Row) -> pd.DataFrame:
    table = pd.DataFrame(factors, index=["noise_to_signal", "low", "high"]).T
    return table.assign(noise=table["noise_to_signal"], signal=1.0).rename_axis("setting")


CLEAR = {"captions": (0.1, 0.05, 0.3), "vae_noise": (0.02, 0.01, 0.03)}


def test_one_factor_far_above_the_others_hides_most() -> None:
    said = of_noise(ratios(timesteps=(15, 10, 31), images=(1.5, 1.01, 3), **CLEAR), 8)
    assert said == [
        "Redrawing timesteps hides the progress most: it moves the batch loss 15 times "
        "(95%: 10 to 31) as far as the training does.",
        "The same is true of images (1.5 times, 95%: 1.01 to 3).",
    ]


@pytest.mark.parametrize(
    ("replicates", "why"), [(2, "2 redraws are too few"), (8, "its interval includes 1")]
)
def test_of_a_factor_around_one_it_is_said_that_it_is_open(replicates: int, why: str) -> None:
    said = of_noise(ratios(timesteps=(8, 6, 11), images=(1.2, 0.7, 2.2), **CLEAR), replicates)
    assert said[1] == f"Whether images hides it too cannot be told: {why}."


@pytest.mark.parametrize(("replicates", "few"), [(2, "; 2 redraws are too few"), (8, "")])
def test_overlapping_intervals_cannot_be_told_apart(replicates: int, few: str) -> None:
    said = of_noise(ratios(images=(4, 2, 9), timesteps=(5, 3, 12), **CLEAR), replicates)
    told = "Whether timesteps or images hides it most cannot be told: their intervals overlap"
    assert said[1] == f"{told}{few}."
    assert " most: " not in said[0]


def test_what_surely_hides_the_progress_is_named_where_a_noisier_factor_is_less_sure() -> None:
    said = of_noise(ratios(images=(5, 0.8, 30), timesteps=(3, 1.5, 6), **CLEAR), 8)
    assert said == [
        "Redrawing timesteps hides the progress: it moves the batch loss 3 times (95%: 1.5 to 6) "
        "as far as the training does.",
        "Whether images or timesteps hides it most cannot be told: their intervals overlap.",
    ]


def test_intervals_that_just_do_not_touch_are_told_apart() -> None:
    said = of_noise(ratios(images=(2, 1.5, 2.99), timesteps=(5, 3, 12)), 8)
    assert "hides the progress most" in said[0]
    touching = of_noise(ratios(images=(2, 1.5, 3.0), timesteps=(5, 3, 12)), 8)
    assert "overlap" in touching[1]


def test_without_any_factor_surely_above_one_nothing_is_said_to_hide_it() -> None:
    clear = of_noise(ratios(timesteps=(0.6, 0.4, 0.9), **CLEAR), 8)
    assert clear == [
        "No factor hides the progress: redrawing timesteps, the noisiest, moves the batch loss "
        "only 0.6 times (95%: 0.4 to 0.9) as far as the training does."
    ]
    unsure = of_noise(ratios(timesteps=(3, 0.4, 20), noise=(1, 0.5, 2), **CLEAR), 8)
    assert unsure == [
        "Whether redrawing timesteps or noise hides the progress cannot be told, and no other "
        "factor does: their intervals include 1."
    ]


def test_where_no_progress_shows_in_the_samples_it_says_so_and_a_larger_batch_is_next() -> None:
    blind = ratios(timesteps=(math.nan, 3, math.inf), noise=(math.nan, 0.1, math.inf))
    assert of_noise(blind, 8) == [
        "How much each factor hides the progress cannot be told: no progress of the expected loss "
        "shows in these samples."
    ]
    assert of_run(ENDED, blind, 8).next.endswith("--probe-batch 128")
    nothing = of_noise(blind.assign(signal=math.nan), 8)
    assert "fewer than two checkpoints, or samples" in nothing[0]
    few = of_noise(ratios(timesteps=(math.nan,) * 3), 8)
    assert "fewer than three samples" in few[0]
    together = of_noise(ratios(original=(9, 8, 10)), 8)
    assert "no factor was redrawn alone" in together[0]


def test_what_is_unknown_or_unbounded_is_not_told() -> None:
    unbounded = of_noise(ratios(timesteps=(9, 3, math.inf), **CLEAR), 8)
    assert "(95%: at least 3)" in unbounded[0]
    unknown = of_noise(ratios(timesteps=(9, 3, 20), noise=(math.nan, math.nan, math.nan)), 8)
    assert unknown[1].startswith("Whether timesteps or noise hides it most cannot be told")
    open_below = of_noise(ratios(timesteps=(9, 0, 20), **CLEAR), 2)
    assert open_below == [
        "Whether redrawing timesteps hides the progress cannot be told, and no other factor "
        "does: 2 redraws are too few."
    ]
    for nothing in (ratios(timesteps=(math.nan,) * 3), ratios(noise=(math.inf,) * 3)):
        (said,) = of_noise(nothing, 1)
        assert said == (
            "How much each factor hides the progress cannot be told: 1 redraw is too few."
        )


ENDED = Ending(
    run="my runs/dog",
    steps=131,
    most=300,
    seconds=20.4,
    stopped_by="dvar",
    why="the variance fell",
    fired={"dvar": 131},
    cannot_fire=[],
    take="my runs/dog/checkpoints/step-00000131",
    take_why="where it stopped",
)


OFFER = (
    "Whether it overfits cannot be seen, since no photograph was held out: --hold-out 1 holds one "
    "out, --cross each in turn."
)


def test_an_ending_says_when_why_what_was_saved_and_what_to_take() -> None:
    assert of_ending(ENDED) == [
        "DVAR stopped the training at step 131 of at most 300 (20 s), which saves 169 steps, 56%: "
        "the variance fell.",
        OFFER,
        "Take the checkpoint where it stopped: my runs/dog/checkpoints/step-00000131",
    ]
    whole = replace(
        ENDED,
        steps=300,
        stopped_by="steps",
        why="",
        fired={"patience": None, "dvar": 131},
        cannot_fire=["Patience(patience=400) cannot fire"],
        take=None,
    )
    assert of_ending(whole) == [
        "All 300 steps were taken (20 s); patience did not fire; DVAR fired at step 131.",
        "Patience(patience=400) cannot fire.",
        OFFER,
    ]


def test_an_ending_says_how_the_held_out_loss_went() -> None:
    held = replace(ENDED, held_out=HeldOut(40, 0.1, 0.05, 0.07), result="my runs/dog/result")
    told = of_ending(held)
    assert "lowest at step 40: 0.0500, from 0.1000 at the start to 0.0700 at the end." in told[1]
    assert told[2] == "Take the checkpoint where it stopped: my runs/dog/result"
    never = replace(ENDED, held_out=HeldOut(0, 0.1, 0.1, 0.2))
    assert of_ending(never)[1] == "The held-out loss was never below its start, 0.1000."
    stretch = Stretch(100, 150, 0.001, -0.0012, 0.0032, 0.04)
    assert of_ending(replace(ENDED, stretch=stretch))[2] == (
        "Steps 100 to 150 brought the training loss down by 0.0010 (95%: -0.0012 to 0.0032); all "
        "stretches together brought 0.0400."
    )
    row = {"step": 30.0, "mean": -0.02, "low": -0.03, "high": -0.01, "folds": 5.0}
    assert of_ending(replace(ENDED, crossed=row))[1] == (
        "With each of 5 photographs left out once, the held-out loss is lowest on average after 30 "
        "steps: -0.0200 (95%: -0.0300 to -0.0100) against its start."
    )


def test_more_redraws_come_next_only_where_they_may_tell_more() -> None:
    sure, unsure = ratios(timesteps=(15, 10, 31), **CLEAR), ratios(timesteps=(3, 0.4, 20))
    more = "noiseprobe probe 'my runs/dog' --replicates 7"
    assert of_run(ENDED, unsure, 2).next == more
    assert of_run(ENDED, ratios(), 0).next == more
    for table, replicates in ((sure, 2), (unsure, 8)):
        assert of_run(ENDED, table, replicates).next == "noiseprobe analyze 'my runs/dog'"


def shares(top: Row, other: Row) -> pd.DataFrame:
    names = ("images", "captions", "vae_noise", "timesteps", "noise")
    rows = [(0.01, 0.0, 0.02)] * 2 + [other, top] + [(0.01, 0.0, 0.02)]
    table = pd.DataFrame(rows, columns=["first", "first_low", "first_high"])
    return table.assign(step=9, factor=names)


def test_an_analysis_says_what_makes_the_noise_and_what_batch_would_show_progress() -> None:
    numbers = {"needed_batch": 1933.2, "needed_low": 1100.5, "needed_high": 3500.0, "batch": 32.0}
    batch = pd.DataFrame(numbers, ["original"])
    bins = pd.DataFrame(
        {"from": [0, 100], "to": [100, 200], "trend": ["rising", "falling"], "bin": [0, 1]}
    )
    told = pd.DataFrame(
        {"rho": [-0.9, -0.95], "low": [-1.0, -1.0], "high": [-0.7, 0.1]}, ["l_det", "loss"]
    ).rename_axis("trace")
    tables = {
        "shares": shares((0.93, 0.9, 0.96), (0.1, 0.05, 0.2)),
        "signal_to_noise": batch,
        "learning_bins": bins,
        "correlations": told,
    }
    found = of_analysis(Analysis("run", tables))
    assert found.sentences == [
        "Alone, timesteps makes 93% of the variance of the batch loss (95%: 90% to 96%), more than "
        "any other factor.",
        "A training loss would need some 1,934 samples (95%: 1,101 to 3,500) per batch to show "
        "its progress as large as its noise; here it had 32.",
        "Over the last third of the checkpoints the loss still falls at timesteps 100-199 and "
        "rises at timesteps 0-99.",
        "l_det falls as the pictures' similarity rises (rank correlation -0.90, 95%: -1.00 to "
        "-0.70).",
    ]
    near = {"shares": shares((0.5, 0.3, 0.6), (0.4, 0.2, 0.5))}
    assert of_analysis(Analysis("run", near)).sentences == [
        "Whether timesteps or vae_noise makes most of the noise cannot be told: their intervals "
        "overlap."
    ]
    open_above = {"signal_to_noise": batch.assign(needed_high=math.inf)}
    assert (
        "1,934 samples (95%: at least 1,101)"
        in of_analysis(Analysis("run", open_above)).sentences[0]
    )
    none = {"signal_to_noise": batch.assign(needed_batch=math.inf, needed_high=math.inf)}
    assert of_analysis(Analysis("run", none)).sentences == [
        "Through all the noise no progress is seen: a batch that would show it has at least 1,101 "
        "samples (95%); here it had 32."
    ]
    unknown = {"signal_to_noise": none["signal_to_noise"].assign(needed_low=math.nan)}
    assert "cannot be told" in of_analysis(Analysis("run", unknown)).sentences[0]
    assert of_analysis(Analysis("run", none)).next == "noiseprobe probe run --design sobol"


def compared(gains: list[float], stop: int = 100) -> tuple[pd.DataFrame, pd.DataFrame]:
    raw = pd.DataFrame(
        [
            ("m", f"c{place}", 0, variant, step, True, 0.5 + gain * (variant == "dvar"))
            for place, gain in enumerate(gains)
            for variant, step in (("baseline", 300), ("dvar", stop))
        ],
        columns=["method", "concept", "seed", "variant", "step", "fired", "val_clip_img"],
    )
    summary = pd.DataFrame(
        {
            "method": "m",
            "variant": ["baseline", "dvar"],
            "step": [300.0, float(stop)],
            "speedup": [1.0, 2.0],
        }
    )
    return raw, summary


@pytest.mark.parametrize(
    ("gains", "told"),
    [
        ([-0.1, -0.12, -0.11, -0.09], "its pictures are less like the photographs (-0.105"),
        ([0.1, 0.12, 0.11], "its pictures are more like the photographs (+0.110"),
        ([-0.1, 0.12, 0.0, 0.01], "a difference in similarity to the photographs cannot be told"),
        ([-0.047, -0.02], "cannot be told (-0.034, 95%: -0.205 to +0.138)"),  # Student's
        ([-0.1], "differs by -0.100, and one concept is too few"),
        ([math.nan, math.nan], "was not measured"),
    ],
)
def test_a_comparison_says_what_is_saved_and_whether_a_loss_is_sure(
    gains: list[float], told: str
) -> None:
    found = of_comparison(*compared(gains), [Path("runs")], [Path("runs/a")])
    assert told in found.sentences[0]
    assert "DVAR takes 100 of 300 steps, and 0.50 times the time" in found.sentences[0]
    after = "measure runs/a" if math.isnan(gains[0]) else "plot runs/a --across figures-across"
    assert found.next == f"noiseprobe {after}"
    many = [Path(f"runs/{number}") for number in range(99)]
    raw, summary = compared(gains)
    assert of_comparison(raw, summary, [Path("runs")], many).next == ""
    checked = pd.concat([raw, raw.assign(variant="clip")])
    judged = "noiseprobe regret runs --judge clip_img"
    assert of_comparison(checked, summary, [Path("runs")], many).next == judged


def test_with_few_concepts_intervals_are_said_to_be_too_narrow() -> None:
    told = "With 2 concepts the intervals of the table are too narrow; have 6 or more."
    for gains, expected in (([0.1, 0.2], [told]), ([0.1] * 6, []), ([0.1], [])):
        found = of_comparison(*compared(gains), [Path("runs")], [Path("runs/a")])
        assert found.sentences[1:] == expected


def test_runs_that_dvar_ended_are_not_compared_with_themselves() -> None:
    found = of_comparison(*compared([0.0, 0.0], stop=300), [Path("runs")], [Path("runs/a")])
    assert "there is nothing to compare" in found.sentences[0]


def test_of_measured_steps_the_highest_is_named_and_one_is_no_comparison() -> None:
    trace = pd.DataFrame(
        [(0, "val_clip_img", 0.3), (90, "val_clip_img", 0.5), (0, "val_clip_txt", 0.4)],
        columns=["step", "metric", "value"],
    )
    (said,) = of_measures({"runs/a": trace}).sentences
    assert said == (
        "runs/a: of 2 measured steps pictures are most like the photographs at step 90 (0.500) and "
        "follow the prompts best at step 0 (0.400); how sure, one run cannot tell."
    )
    (alone,) = of_measures({"runs/a": trace[trace["step"] == 0]}).sentences
    assert alone == "runs/a: one step was measured; nothing to compare it with."


def test_a_sweep_counts_what_is_done() -> None:
    found = of_sweep(["a", "b"], {"c": "no"}, Path("out dir"))
    assert found.sentences[0].startswith("2 runs of 3 trained and measured; 1 failed")
    assert found.next == "noiseprobe table 'out dir'"
    assert of_sweep([], {"c": "no"}, Path("out")).next == ""
