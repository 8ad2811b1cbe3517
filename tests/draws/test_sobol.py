"""The Sobol design: which rows it has, what they share, and that those that coincide are one."""

import numpy as np

from noiseprobe.draws.draws import Batch, Draws
from noiseprobe.draws.factors import FACTORS
from noiseprobe.draws.sobol import SOBOL_ROWS, sobol_design

COLUMNS = {
    "images": ("images", "views"),
    "captions": ("captions",),
    "vae_noise": ("vae_noise",),
    "timesteps": ("timesteps",),
    "noise": ("noise",),
}


def make_draws(captions: int = 27, images: int = 5) -> Draws:
    return Draws(7, "probe", images, captions, 1000, (2, 4, 4))


def rows(draws: Draws, pairs: int = 6, batch: int = 4) -> dict[str, Batch]:
    """What each row of the design draws, as the engine evaluates it, by the row's name."""
    design = sobol_design(draws, pairs, batch)
    return {
        name: draws.batch(
            design.evaluated[design.which[design.names == name]],
            design.replicates[design.which[design.names == name]],
        )
        for name in SOBOL_ROWS
    }


def same(one: Batch, other: Batch, factor: str) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in COLUMNS[factor]]
    return all(np.array_equal(first, second) for first, second in pairs)


def test_a_row_takes_each_factor_from_the_draw_that_its_name_says() -> None:
    drawn = rows(make_draws())
    for name, batch in drawn.items():
        letter, _, exchanged = name.partition("_")
        for factor in FACTORS:
            first = letter[0] if factor != exchanged else {"A": "B", "B": "A"}[letter[0]]
            assert same(batch, drawn[first], factor), (name, factor)
            assert not same(drawn["A"], drawn["B"], factor)


def test_a_and_b_are_the_odd_and_even_redraws_of_everything() -> None:
    draws, pairs, batch = make_draws(), 3, 4
    drawn = rows(draws, pairs, batch)
    pair, sample = np.repeat([1, 2, 3], batch), np.tile(np.arange(batch), pairs)
    for factor in FACTORS:
        assert same(drawn["A"], draws.batch(sample, 2 * pair - 1), factor)
        assert same(drawn["B"], draws.batch(sample, 2 * pair), factor)


def test_one_factor_may_take_a_replicate_of_its_own() -> None:
    draws = make_draws()
    mixed = draws.batch([3], np.array([[1, 2, 3, 4, 5]]))
    for replicate, factor in enumerate(FACTORS, start=1):
        assert same(mixed, draws.batch([3], replicate), factor)


def test_rows_whose_draws_coincide_are_evaluated_once() -> None:
    everything = len(SOBOL_ROWS) * 6 * 4
    # One caption: AB_captions is A, and BA_captions is B. One image has two views: half coincide.
    draws = make_draws(captions=1, images=1)
    design = sobol_design(draws, 6, 4)
    views = [draws.batch(range(4), replicate).views for replicate in range(1, 13)]
    alike = sum(int((views[at] == views[at + 1]).sum()) for at in range(0, 12, 2))
    assert len(design.which) == everything
    assert len(design.evaluated) == everything - 2 * 6 * 4 - 2 * alike
    assert 0 < alike < 24


def test_what_was_left_out_draws_what_would_have_been_drawn() -> None:
    draws = make_draws(captions=2, images=1)
    design = sobol_design(draws, 6, 4)
    from_b = np.array([SOBOL_ROWS[str(name)] for name in design.names])
    full = draws.batch(design.samples, (2 * design.pairs - 1)[:, None] + from_b)
    short = draws.batch(design.evaluated[design.which], design.replicates[design.which])
    assert all(same(full, short, factor) for factor in FACTORS)
