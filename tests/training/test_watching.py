"""Every criterion can end a training, as it would have ended it in replay."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from noiseprobe.analysis.replay import replay_criterion
from noiseprobe.analysis.sources import losses_of, params_on
from noiseprobe.analysis.stops import dvar_stop
from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Silent
from noiseprobe.logs import read_series
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.traces import samples_of
from noiseprobe.stages.pipeline import reopen, train_stage
from noiseprobe.stopping import CRITERIA, ON_MEANS, build, outcome
from noiseprobe.training.preparing import prepare
from noiseprobe.training.watching import fired, recorded, watches
from tests.training.test_driver import InterruptAt, KillAt, embedding, numbers, trained

EARLY: dict[str, list[str]] = {
    "dvar": [],
    "gain-share": ["window=6", "threshold=0.9"],
    "gain-interval": ["window=2", "share=0.9", "confidence=0.6"],
    "recent-gain": ["share=0.6", "confidence=0.5"],
    "patience": ["patience=3", "min-delta=0.05"],
    "ema-plateau": ["halflife=2", "patience=3", "min_delta=0.05"],
    "relative-range": ["window=4", "threshold=1"],
    "theil-sen": ["window=4", "alpha=0.01"],
    "generalization-loss": ["alpha=0.001"],
    "uprising": ["strips=1", "length=1"],
    "turn": ["confidence=0.6"],
    "fixed": ["steps=9"],
    "never": [],
}
"""Parameters with which each criterion fires early in a short run."""

STEPS = 16


def settings(given: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
    own: dict[str, Any] = {"window": 5, "threshold": 0.9} if name == "dvar" else {}
    if name == "turn":  # of which L_det has the samples; with such a rate it falls and stays above
        own |= {"watch": "l_det", "eval_batch": 32, "learning_rate": 500}
    if name == "recent-gain":
        own |= {"recent_steps": 4}
    plain = {key: value for key, value in given.items() if key not in ("window", "threshold")}
    long = {"steps": STEPS, "checkpoint_every": 5, "stop": name, "param": EARLY[name]}
    long |= {"learning_rate": 0.5}  # so large that L_det rises now and then
    return plain | long | own | more


def test_every_criterion_is_tried() -> None:
    assert EARLY.keys() == CRITERIA.keys()


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *((name, "recent" if name == "recent-gain" else "l_det") for name in CRITERIA),
        *((name, "loss") for name in ON_MEANS),
    ],
)
def test_a_criterion_stops_a_training_where_it_stops_its_replay(
    given: dict[str, Any], tmp_path: Path, name: str, column: str
) -> None:
    config = resolve(settings(given, name, watch=column))
    whole = trained(tmp_path / "whole", config.model_copy(update={"stop": "none", "param": ()}))
    series = read_series(whole.directory, column)
    params = {"window": 5, "threshold": 0.9} if name == "dvar" else config.params
    of_samples = samples_of(whole.tracked_trace(), column).to_numpy()
    values = series.values if name in ON_MEANS else of_samples
    found = outcome(build(name, params), values, series.steps)
    expected = STEPS if found.stop_index is None else int(series.steps[found.stop_index])
    if column != "loss" and name != "never":
        assert expected < STEPS, "it must fire for this to show anything"
    run = trained(tmp_path / "run", config)
    assert run.train_trace()["step"].iloc[-1] == expected
    stopped_by = name if found.stop_index is not None else "steps"
    assert run.status["stopped_by"] == stopped_by
    told = fired(recorded(run.train_trace(), run.tracked_trace(), config)[0])
    if name != "never":
        assert next(iter(told.values())) == (None if found.stop_index is None else expected)
    assert embedding(run, expected) == embedding(whole, expected) if expected % 5 == 0 else True


@pytest.mark.parametrize("cut", [InterruptAt, KillAt])
@pytest.mark.parametrize("name", CRITERIA)
def test_a_resumed_run_stops_as_an_uninterrupted_one(
    given: dict[str, Any], tmp_path: Path, name: str, cut: type[Silent]
) -> None:
    config = resolve(settings(given, name))
    whole = trained(tmp_path / "whole", config)
    last = int(whole.train_trace()["step"].iloc[-1])
    with pytest.raises((Interrupted, MemoryError)):
        trained(tmp_path / "cut", config, cut(last - 1))  # type: ignore[call-arg]
    run, again = reopen(tmp_path / "cut", {})
    assert again == config.model_copy(update={"precision": "fp32"})
    train_stage(run, again, prepare(again))
    assert embedding(run, last) == embedding(whole, last)
    assert run.status["stopped_by"] == whole.status["stopped_by"]
    pd.testing.assert_frame_equal(numbers(run), numbers(whole), check_exact=True)


def test_patience_on_similarity_is_the_published_clip_criterion(
    given: dict[str, Any], tmp_path: Path
) -> None:
    plain = {key: value for key, value in given.items() if key not in ("window", "threshold")}
    pictures = {"clip": "tiny-clip", "samples": 2, "sampling_steps": 1, "check_every": 2}
    published = plain | pictures | {"stop": "clip", "patience": 2, "eps": 0.01, "steps": 12}
    ours = plain | pictures | {"stop": "patience", "watch": "clip_img", "steps": 12}
    ours |= {"param": ["patience=2", "min-delta=0.01"]}
    one = trained(tmp_path / "one", resolve(published))
    other = trained(tmp_path / "other", resolve(ours))
    assert one.status["stopped_by"] == "clip"
    assert other.status["stopped_by"] == "patience"
    assert one.status["step"] == other.status["step"] < 12
    pd.testing.assert_frame_equal(numbers(one), numbers(other), check_exact=True)


def test_one_run_says_where_each_watched_criterion_would_have_ended_it(
    given: dict[str, Any], tmp_path: Path
) -> None:
    given |= {"stop": "none", "steps": STEPS, "window": 5, "threshold": 0.9}
    run: Run = trained(tmp_path / "run", resolve(given | {"checkpoint_every": STEPS}))
    told = fired(recorded(run.train_trace(), run.tracked_trace(), run.config)[0])
    assert list(told) == ["dvar"]
    assert told["dvar"] is not None
    assert run.checkpoint_steps() == sorted({0, told["dvar"], STEPS})


def test_rare_values_end_a_run_where_its_replay_says(given: dict[str, Any], tmp_path: Path) -> None:
    own = {"steps": STEPS, "eval_every": 2, "threshold": 0.9, "checkpoint_every": STEPS}
    whole: Run = trained(tmp_path / "whole", resolve(given | own | {"stop": "none", "window": 5}))
    (told,) = fired(recorded(whole.train_trace(), whole.tracked_trace(), whole.config)[0]).values()
    assert told is not None
    assert told % 2 == 0
    assert dvar_stop(whole.train_trace(), whole.config) == told
    (source,) = losses_of([whole.directory], "l_det")
    found = replay_criterion(source.trace, "dvar", params_on(source, "dvar", {}))
    assert (found.stop_step, found.every) == (told, 2)
    stopped = trained(tmp_path / "stopped", resolve(given | own | {"stop": "dvar", "window": 5}))
    assert stopped.status["step"] == told


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"stop": "dvar", "window": 120}, "needs 120 values of l_det, and 60 steps give 61"),
        ({"stop": "patience", "param": ["patience=80"]}, "81 values of l_det, and 60 steps"),
        ({"stop": "none", "window": 120}, "needs 120"),
        ({"stop": "dvar", "window": 60}, ""),
        (
            {"stop": "dvar", "window": 120, "eval_every": 10},
            "needs 13 values of l_det, and 60 steps give 7; give a smaller --window, such as 20 or",
        ),
        ({"stop": "dvar", "window": 60, "eval_every": 10}, ""),
        ({"stop": "patience", "watch": "loss", "param": ["patience=60"]}, "61 values of loss"),
    ],
)
def test_a_criterion_that_cannot_fire_is_told_of(chosen: dict[str, Any], told: str) -> None:
    config = resolve({"steps": 60, "eval_every": 1} | chosen)
    said = watches(config)[0].cannot_fire(config)
    assert (told in said) if told else said == ""


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"stop": "patience", "window": 9}, "--window: it belongs to --stop dvar, not to patience"),
        ({"stop": "gain-share", "window": 9}, "write --param window=9"),
        ({"stop": "clip", "threshold": 0.9}, "--threshold: it belongs to --stop dvar, not to clip"),
        ({"patience": 2}, "--patience: it belongs to --stop clip, not to dvar"),
        ({"param": ["window=9"]}, "--param: DVAR has --window and --threshold"),
        ({"stop": "patience", "param": ["patients=9"]}, "no parameter 'patients'"),
        ({"stop": "patience", "param": ["patience=0"]}, "patience 0: give a whole number"),
        ({"stop": "patience", "param": ["patience"]}, "--param patience: give a name and a number"),
        ({"stop": "patiense"}, "did you mean 'patience'"),
        ({"stop": "clip", "watch": "loss"}, "--watch: the criterion clip looks at clip_img"),
        ({"rank": 8}, "--rank: it belongs to dreambooth-lora, not to textual-inversion"),
        ({"method": "dreambooth", "num_vectors": 2}, "--num-vectors: it belongs to textual-inv"),
    ],
)
def test_what_belongs_to_another_method_or_criterion_is_refused(
    chosen: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        resolve(chosen)


def test_all_words_for_all_steps_are_one() -> None:
    assert {resolve({"stop": word}).stop for word in ("none", "fixed", "never")} == {"none"}
    assert resolve({"stop": "fixed", "param": ["steps=9"]}).stop == "fixed"
