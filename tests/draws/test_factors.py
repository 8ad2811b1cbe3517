"""Draws are pure functions of their key; a setting redraws its factors and no other."""

import pickle
import random

import numpy as np
import pytest
import torch
from scipy import stats

from noiseprobe.core.errors import UserError
from noiseprobe.draws.draws import Batch, Draws
from noiseprobe.draws.factors import (
    DETERMINISTIC,
    FACTORS,
    NAMED_SETTINGS,
    ORIGINAL,
    parse_setting,
    parse_settings,
)

COLUMNS = {
    "images": ("images", "views"),
    "captions": ("captions",),
    "vae_noise": ("vae_noise",),
    "timesteps": ("timesteps",),
    "noise": ("noise",),
}


def make_draws(seed: int = 7, stream: str = "probe") -> Draws:
    return Draws(seed, stream, 5, 27, 1000, (2, 4, 4))  # type: ignore[arg-type]


def same(first: Batch, second: Batch, factor: str) -> bool:
    pairs = [(getattr(first, name), getattr(second, name)) for name in COLUMNS[factor]]
    return all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("setting", NAMED_SETTINGS, ids=lambda setting: setting.name)
def test_a_setting_redraws_its_factors_and_no_other(setting: object) -> None:
    draws = make_draws()
    fixed = draws.batch(range(16), 0)
    redrawn = draws.batch(range(16), 3, setting)  # type: ignore[arg-type]
    for factor in FACTORS:
        assert same(fixed, redrawn, factor) == (factor not in setting.redrawn)  # type: ignore[attr-defined]


def test_a_draw_depends_on_its_key_alone() -> None:
    whole = make_draws().batch(range(12), 2)
    other = make_draws()
    other.batch(range(40, 60), 9)
    pieces = [other.batch([sample], 2) for sample in reversed(range(12))][::-1]
    for name in ("images", "views", "captions", "vae_noise", "timesteps", "noise"):
        joined = np.concatenate([getattr(piece, name) for piece in pieces])
        assert np.array_equal(getattr(whole, name), joined), name


def test_rows_of_one_batch_keep_their_own_replicate_and_setting() -> None:
    draws = make_draws()
    mixed = draws.batch([4, 4], [1, 2], [parse_setting("noise"), parse_setting("timesteps")])
    assert np.array_equal(mixed.noise[:1], draws.batch([4], 1).noise)
    assert np.array_equal(mixed.noise[1:], draws.batch([4], 0).noise)
    assert mixed.timesteps[1] == draws.batch([4], 2).timesteps[0]


@pytest.mark.parametrize("other", [make_draws(seed=8), make_draws(stream="train")])
def test_another_seed_or_stream_draws_something_else(other: Draws) -> None:
    first, second = make_draws().batch(range(32), 1), other.batch(range(32), 1)
    assert not any(same(first, second, factor) for factor in FACTORS)


def test_draws_leave_every_global_random_state_alone() -> None:
    def states() -> tuple[object, ...]:
        of_numpy = pickle.dumps(np.random.get_state())  # noqa: NPY002
        return random.getstate(), of_numpy, torch.get_rng_state().tolist()

    before = states()
    make_draws().batch(range(8), 1)
    assert states() == before


def test_draws_have_the_distribution_they_claim() -> None:
    batch = make_draws().batch(range(4000), 1)
    assert stats.chisquare(np.bincount(batch.images, minlength=5)).pvalue > 1e-3
    assert stats.chisquare(np.bincount(batch.captions, minlength=27)).pvalue > 1e-3
    assert stats.kstest(batch.timesteps / 1000, "uniform").pvalue > 1e-3
    assert stats.kstest(batch.noise.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(batch.vae_noise.ravel(), "norm").pvalue > 1e-3
    assert abs(batch.views.mean() - 0.5) < 0.04
    assert batch.timesteps.min() >= 0
    assert batch.timesteps.max() < 1000


def test_views_have_the_shares_they_are_given() -> None:
    shares = (0.1, 0.0, 0.6, 0.3)
    draws = Draws(7, "probe", 5, 27, 1000, (2, 4, 4), view_shares=shares)
    seen = np.bincount(draws.batch(range(4000), 1).views, minlength=4)
    assert seen[1] == 0
    assert stats.chisquare(seen[[0, 2, 3]], [400, 2400, 1200]).pvalue > 1e-3
    never = Draws(7, "probe", 5, 27, 1000, (2, 4, 4), view_shares=(0.0, 1.0))
    assert (never.batch(range(100), 1).views == 1).all()


def test_the_factors_of_one_sample_are_independent() -> None:
    batch = make_draws().batch(range(4000), 1)
    shared = np.corrcoef(batch.noise.reshape(4000, -1)[:, 0], batch.vae_noise[:, 0, 0, 0])[0, 1]
    assert abs(shared) < 0.06
    assert abs(stats.spearmanr(batch.timesteps, batch.captions).statistic) < 0.06


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("11110", "timesteps"),
        ("11101", "captions"),
        ("11011", "noise"),
        ("10111", "vae_noise"),
        ("01111", "images"),
        ("11111", "deterministic"),
        ("00000", "original"),
        ("11010", "timesteps+noise"),
        ("noise+timesteps", "timesteps+noise"),
    ],
)
def test_published_codes_and_sums_name_settings(code: str, name: str) -> None:
    assert parse_setting(code).name == name
    assert parse_setting(name) == parse_setting(code)


def test_one_setting_under_two_names_is_evaluated_once() -> None:
    assert parse_settings(["noise", "11011", "deterministic"]) == (
        parse_setting("noise"),
        DETERMINISTIC,
    )
    assert parse_setting("+".join(FACTORS)) == ORIGINAL


@pytest.mark.parametrize(("text", "mend"), [("timestep", "timesteps"), ("111", "choose from")])
def test_an_unknown_setting_is_refused_with_the_nearest(text: str, mend: str) -> None:
    with pytest.raises(UserError, match=mend):
        parse_setting(text)
