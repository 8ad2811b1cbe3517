"""What holds of draws, layouts and designs, whatever is asked of them."""

import random
from dataclasses import fields, replace
from fractions import Fraction
from typing import get_args

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from noiseprobe.draws.draws import FRESH, Batch, Draws, Stream
from noiseprobe.draws.factors import CODE_ORDER, FACTORS, Layout, Setting, parse_setting
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.draws.sobol import SOBOL_ROWS, sobol_design

SHAPE = (1, 2, 2)
COLUMNS = [each.name for each in fields(Batch)]

seeds = st.integers(0, 2**53 - 1)
samples = st.integers(0, 9) | st.integers(0, 2**31 - 1)
replicates = st.integers(0, 3) | st.integers(FRESH, FRESH + 10_000)
subsets = st.sets(st.sampled_from(FACTORS)).map(lambda names: Setting("some", frozenset(names)))
rows = st.lists(st.tuples(samples, replicates, subsets), min_size=1, max_size=8)
keys = st.tuples(
    st.integers(0, 3),
    st.sampled_from(get_args(Stream)),
    st.sampled_from(FACTORS),
    replicates,
    st.integers(0, 3) | samples,
)


def make_draws(seed: int, stream: Stream = "probe", images: int = 5, captions: int = 7) -> Draws:
    return Draws(seed, stream, images, captions, 1000, SHAPE)


def batch_of(draws: Draws, asked: list[tuple[int, int, Setting]]) -> Batch:
    numbers, redraws, of = map(list, zip(*asked, strict=True))
    return draws.batch(numbers, redraws, of)


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)


@given(seed=seeds, asked=rows, before=rows, order=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_row_is_drawn_alike_in_any_batch_order_and_company(
    seed: int,
    asked: list[tuple[int, int, Setting]],
    before: list[tuple[int, int, Setting]],
    order: random.Random,
) -> None:
    whole = batch_of(make_draws(seed), asked)
    places = order.sample(range(len(asked)), len(asked))
    other = make_draws(seed)
    batch_of(other, before)
    cut = order.randint(0, len(asked))
    parts = [places[:cut], places[cut:]]
    for part in filter(None, parts):
        assert same(batch_of(other, [asked[place] for place in part]), whole[np.array(part)])


@given(seed=seeds, asked=rows, images=st.integers(1, 9), captions=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_a_factor_does_not_depend_on_what_the_others_choose_from(
    seed: int, asked: list[tuple[int, int, Setting]], images: int, captions: int
) -> None:
    one, other = make_draws(seed), make_draws(seed, images=images, captions=captions)
    here, there = batch_of(one, asked), batch_of(other, asked)
    for name in ("vae_noise", "timesteps", "noise", "views"):
        assert np.array_equal(getattr(here, name), getattr(there, name))
    # By inverse CDF, what is chosen of n is the n-th part that the same number lies in.
    assert (there.captions < captions).all()
    assert (np.abs(here.captions / 7 - there.captions / captions) < 1 / min(7, captions)).all()


@given(each=st.sets(keys, min_size=2, max_size=30))
@settings(max_examples=60, deadline=None)
def test_two_keys_never_draw_the_same(each: set[tuple[int, Stream, str, int, int]]) -> None:
    drawn = {make_draws(key[0], key[1]).draw(*key[2:]).tobytes() for key in each}
    assert len(drawn) == len(each)


@given(names=st.sets(st.sampled_from(FACTORS)), order=st.randoms(use_true_random=False))
def test_every_subset_has_one_name_and_one_code(names: set[str], order: random.Random) -> None:
    code = "".join("0" if factor in names else "1" for factor in CODE_ORDER)
    setting = parse_setting(code)
    assert setting.redrawn == names
    assert parse_setting(f" {setting.name} ") == setting
    if names:
        texts = [f"{factor} " for factor in order.sample(sorted(names), len(names))]
        assert parse_setting("+".join(texts)) == setting


@given(
    seed=seeds,
    size=st.integers(1, 40),
    layout=st.sampled_from(["stratified", "antithetic", "weighted"]),
    images=st.integers(1, 6),
    captions=st.integers(1, 9),
)
@settings(max_examples=80, deadline=None)
def test_a_layout_has_one_timestep_in_each_stratum(
    seed: int, size: int, layout: Layout, images: int, captions: int
) -> None:
    draws = replace(make_draws(seed, images=images, captions=captions), times=lambda u: u)
    fixed = fixed_batch(draws, size, layout)
    batch = fixed.batch
    assert [int(Fraction(time) * size) for time in batch.timesteps.tolist()] == [*range(size)]
    if layout == "antithetic":
        one, other = batch[: size - size % 2 : 2], batch[1::2]
        assert same(replace(other, noise=-other.noise, timesteps=one.timesteps), one)
        batch = batch[::2]
    for chosen, count in ((batch.images, images), (batch.captions, captions)):
        off = np.abs(np.bincount(chosen, minlength=count) - len(batch) / count)
        assert (off < (2 if len(batch) % count else 1)).all()
    assert np.isclose(fixed.weights(np.linspace(1, 2, size).tolist()).sum(), 1)
    again = make_draws(seed, images=images, captions=captions)
    again.batch(range(3), 2)
    assert same(fixed_batch(replace(again, times=lambda u: u), size, layout).batch, fixed.batch)


@given(
    seed=seeds,
    pairs=st.integers(1, 4),
    batch=st.integers(1, 4),
    images=st.integers(1, 3),
    captions=st.integers(1, 3),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_a_design_draws_for_each_row_what_its_name_says_and_nothing_twice(
    seed: int, pairs: int, batch: int, images: int, captions: int, order: random.Random
) -> None:
    draws = make_draws(seed, images=images, captions=captions)
    design = sobol_design(draws, pairs, batch)
    every = {
        (name, pair, sample)
        for name in SOBOL_ROWS
        for pair in range(1, pairs + 1)
        for sample in range(batch)
    }
    assert len(design) == len(every)
    assert set(design.keys()) == every
    drawn = design.batch(draws, slice(None))
    bytes_of = [
        b"".join(getattr(drawn, n)[k].tobytes() for n in COLUMNS) for k in range(len(drawn))
    ]
    assert len({*bytes_of}) == len(bytes_of), "each is evaluated once"
    assert set(design.which.tolist()) == {*range(len(drawn))}, "and none for nothing"
    from_b = np.array([SOBOL_ROWS[name] for name in design.names.tolist()])
    defined = draws.batch(design.samples, (2 * design.pairs - 1)[:, None] + from_b)
    assert same(drawn[design.which], defined)
    some = np.array(order.sample(range(len(design)), order.randint(1, len(design))))
    part = design.part(some)
    assert same(
        part.batch(make_draws(seed, images=images, captions=captions), slice(None))[part.which],
        defined[some],
    )


@given(seed=seeds, more=st.tuples(st.integers(1, 3), st.integers(1, 3)))
@settings(max_examples=20, deadline=None)
def test_a_larger_design_has_the_rows_of_the_smaller(seed: int, more: tuple[int, int]) -> None:
    draws = make_draws(seed, images=2, captions=2)
    small, large = sobol_design(draws, 2, 2), sobol_design(draws, 2 + more[0], 2 + more[1])
    there = {key: large.which[place] for place, key in enumerate(large.keys())}
    for place, key in enumerate(small.keys()):
        row = small.which[place]
        assert small.replicates[row].tolist() == large.replicates[there[key]].tolist()
