"""Tracked losses are evaluated as rarely as their budget asks, unless a person says how often."""

from typing import Any

import pytest

from noiseprobe.core.errors import UserError
from noiseprobe.run.pacing import SMALLEST, passes_of_step
from noiseprobe.run.resolving import read_toml, resolve, resumed, write_toml
from noiseprobe.run.settings import RunConfig

METHODS = ("textual-inversion", "dreambooth", "dreambooth-lora", "custom-diffusion")
TRACKED: list[dict[str, Any]] = [
    {},
    {"hold_out": "1"},
    {"hold_out": "1", "stop": "turn"},
    {"hold_out": "1", "track": "paired"},
    {"track": "paired", "watch": "paired"},
    {"cross": True},
]


def spent(config: RunConfig) -> float:
    """What tracking takes of a step, both in passes of one sample."""
    assert config.eval_batch is not None
    passes = config.eval_batch / config.eval_every
    if config.hold_out or config.cross:
        passes += config.val_batch / config.val_every
    if config.tracks("paired"):
        passes += config.samples_per_step / config.paired_every
    return passes / passes_of_step(config)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tracked", TRACKED, ids=lambda tracked: "+".join(tracked) or "l_det")
@pytest.mark.parametrize("budget", [0.02, 0.1, 0.5])
def test_all_that_is_tracked_keeps_within_the_budget_and_uses_it(
    method: str, tracked: dict[str, Any], budget: float
) -> None:
    config = resolve({"method": method, "track_budget": budget} | tracked)
    assert 0.6 * budget < spent(config) <= budget + 1e-9


def test_each_loss_has_a_value_at_the_end_whatever_that_takes() -> None:
    config = resolve({"hold_out": "1", "track": "paired", "steps": 4, "eval_batch": 10**15})
    assert (config.eval_every, config.val_every, config.paired_every) == (4, 4, 4)


def test_a_dearer_step_affords_more_values() -> None:
    usual = resolve({})
    assert usual.eval_every == 10  # 8 samples, of 10% of forward and backward of 4
    assert resolve({"gradient_accumulation": 2}).eval_every == 5
    assert resolve({"gradient_checkpointing": True}).eval_every == 7
    assert resolve({"method": "dreambooth"}).eval_every == 7
    assert resolve({"method": "custom-diffusion", "prior": False}).eval_every == 10
    assert resolve({"track_budget": "100%"}).eval_every == 1


def test_checkpoints_have_a_held_out_loss() -> None:
    for method in METHODS:
        for steps in (100, 300, 2000):
            config = resolve({"method": method, "hold_out": "1", "stop": "turn", "steps": steps})
            every, checkpoints = config.val_every, config.checkpoint_every
            assert every % checkpoints == 0 or checkpoints % every == 0 or every == steps


def test_what_decides_is_seen_more_often_than_what_does_not() -> None:
    by_dvar = resolve({"hold_out": "1", "val_batch": 8})
    by_turn = resolve({"hold_out": "1", "val_batch": 8, "stop": "turn"})
    assert by_dvar.eval_every < by_turn.eval_every
    assert by_turn.val_every < by_dvar.val_every


def test_a_held_out_loss_has_fewer_samples_where_it_would_be_seen_too_rarely() -> None:
    sizes = [
        resolve({"hold_out": "1", "stop": "turn", "steps": steps}).val_batch
        for steps in (100, 300, 5000)
    ]
    assert sizes == [SMALLEST, 16, 32]
    assert resolve({"hold_out": "1", "steps": 100, "val_batch": 20}).val_batch == 20


def test_what_a_person_says_is_not_changed() -> None:
    own = {"eval_every": 3, "val_every": 4, "paired_every": 6, "val_batch": 5}
    config = resolve(own | {"hold_out": "1", "track": "paired"})
    assert {key: getattr(config, key) for key in own} == own


def test_the_pace_is_written_and_stays_when_a_run_goes_on(tmp_path: Any) -> None:
    config = resolve({"track_budget": "20%"})
    write_toml(config, tmp_path / "config.toml")
    assert read_toml(tmp_path / "config.toml")["track_budget"] == "20%"
    assert resolve({}, tmp_path / "config.toml") == config
    assert resumed(config, {"steps": 1000}).eval_every == config.eval_every
    with pytest.raises(UserError, match="--track-budget: this run was started with"):
        resumed(config, {"track_budget": "10%"})


@pytest.mark.parametrize("given", ["0", "-5%", "some", "nan", True, ""])
def test_a_budget_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(UserError, match=r"^--track-budget: .* such as 10%"):
        resolve({"track_budget": given})
