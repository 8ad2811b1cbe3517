"""Sobol indices against functions whose indices are known, and against SALib."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from SALib.analyze import sobol as salib
from SALib.sample import sobol as sample
from SALib.test_functions import Ishigami, Sobol_G

from noiseprobe.analysis.sobol import (
    Estimator,
    first_order,
    sobol_indices,
    sobol_interactions,
    total,
)

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]
WEIGHTS = np.array([0.0, 1.0, 4.5, 9.0])


def ishigami_truth() -> tuple[Floats, Floats]:
    """Ishigami & Homma 1990 with a = 7, b = 0.1: first-order and total indices in closed form."""
    first = np.array([0.5 * (1 + 0.1 * np.pi**4 / 5) ** 2, 49 / 8, 0.0])
    mixed = 0.1**2 * np.pi**8 * (1 / 18 - 1 / 50)
    variance = first.sum() + mixed
    return first / variance, (first + np.array([mixed, 0, mixed])) / variance


def sobol_g_truth() -> tuple[Floats, Floats]:
    """Sobol's G function: the variance of a product of independent factors of mean 1."""
    parts = 1 / (3 * (1 + WEIGHTS) ** 2)
    variance = np.prod(1 + parts) - 1
    return parts / variance, parts * np.prod(1 + parts) / (1 + parts) / variance


def sobol_g(x: Floats) -> Floats:
    """Sobol's G function, Π (|4 x_i - 2| + w_i) / (1 + w_i), of points (n, k) in [0, 1]."""
    return ((np.abs(4 * x - 2) + WEIGHTS) / (1 + WEIGHTS)).prod(axis=-1)


CASES: dict[str, tuple[Function, float, float, tuple[Floats, Floats]]] = {
    "ishigami": (Ishigami.evaluate, -np.pi, np.pi, ishigami_truth()),
    "sobol_g": (sobol_g, 0.0, 1.0, sobol_g_truth()),
}


def design(name: str, count: int, seed: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    function, low, high, (first, _) = CASES[name]
    inputs = len(first)
    a, b = np.random.default_rng(seed).uniform(low, high, (2, count, inputs))
    mixed = []
    for base, other in ((a, b), (b, a)):
        columns = []
        for index in range(inputs):
            changed = base.copy()
            changed[:, index] = other[:, index]
            columns.append(function(changed))
        mixed.append(np.column_stack(columns))
    return function(a), function(b), mixed[0], mixed[1]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("estimator", ["azzini", "saltelli", "jansen"])
def test_indices_of_known_functions_are_found(name: str, estimator: Estimator) -> None:
    first, whole = CASES[name][3]
    a, b, ab, ba = design(name, 20_000)
    names = [f"x{index}" for index in range(len(first))]
    table = sobol_indices(a, b, ab, ba, names=names, estimator=estimator)
    np.testing.assert_allclose(table["first"], first, atol=0.02)
    np.testing.assert_allclose(table["total"], whole, atol=0.02)
    assert list(table.index) == names


@pytest.mark.parametrize("name", CASES)
def test_second_order_indices_are_found(name: str) -> None:
    first, whole = CASES[name][3]
    names = [f"x{index}" for index in range(len(first))]
    table = sobol_interactions(*design(name, 40_000), names=names)
    found = table.set_index(["first", "second"])["share"]
    if name == "ishigami":
        truth = {("x0", "x1"): 0.0, ("x0", "x2"): whole[0] - first[0], ("x1", "x2"): 0.0}
    else:
        parts = 1 / (3 * (1 + WEIGHTS) ** 2)
        variance = np.prod(1 + parts) - 1
        truth = {
            (f"x{i}", f"x{j}"): parts[i] * parts[j] / variance for i, j in combinations(range(4), 2)
        }
    for pair, value in truth.items():
        assert found[pair] == pytest.approx(value, abs=0.03), pair


@pytest.mark.parametrize("name", CASES)
def test_estimates_are_those_of_salib(name: str) -> None:
    function, low, high, (first, _) = CASES[name]
    inputs = len(first)
    names = [f"x{index}" for index in range(inputs)]
    problem = {
        "num_vars": inputs,
        "names": names,
        "bounds": [[low, high]] * inputs,
    }
    points = sample.sample(problem, 1024, calc_second_order=True, seed=0)
    values = function(points)
    if name == "sobol_g":
        np.testing.assert_allclose(values[:50], Sobol_G.evaluate(points[:50], WEIGHTS))
    theirs = salib.analyze(problem, values, num_resamples=10, seed=0)
    blocks = values.reshape(1024, 2 * inputs + 2)
    a, b = blocks[:, 0], blocks[:, -1]
    ab, ba = blocks[:, 1 : inputs + 1], blocks[:, inputs + 1 : -1]
    ours = sobol_indices(a, b, ab, names=names)
    # SALib centres and scales the values first: the same up to rounding and a mean of Y.
    np.testing.assert_allclose(ours["first"], theirs["S1"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(ours["total"], theirs["ST"], rtol=1e-4)
    both = sobol_indices(a, b, ab, ba, names=names)
    np.testing.assert_allclose(both["first"], theirs["S1"], atol=0.02)
    np.testing.assert_allclose(both["total"], theirs["ST"], atol=0.02)
    mixed = sobol_interactions(a, b, ab, ba, names=names)["share"]
    upper = theirs["S2"][np.triu_indices(inputs, 1)]
    np.testing.assert_allclose(mixed, upper, atol=0.04)


@pytest.mark.parametrize("name", CASES)
def test_intervals_hold_the_truth_about_as_often_as_they_say(name: str) -> None:
    first, whole = CASES[name][3]
    a, b, ab, ba = design(name, 96 * 300)
    a, b = a.reshape(300, 96), b.reshape(300, 96)
    ab, ba = ab.reshape(300, 96, -1), ba.reshape(300, 96, -1)
    for truth, (_, low, high) in (
        (first, first_order(a, b, ab, ba)),
        (whole, total(a, b, ab, ba)),
    ):
        covered = ((low <= truth) & (truth <= high)).mean(axis=0)
        assert (covered > 0.88).all()
        assert covered.mean() < 0.985


def test_a_constant_or_too_few_pairs_give_nan_and_a_bad_pair_is_left_out() -> None:
    a, b, ab, ba = design("ishigami", 64)
    names = ["x0", "x1", "x2"]
    flat = sobol_indices(a * 0 + 3, b * 0 + 3, ab * 0 + 3, ba * 0 + 3, names=names)
    assert flat.isna().all(axis=None)
    tenth = np.full(7, 0.1)  # whose mean is not 0.1 to the last digit
    assert sobol_indices(tenth, tenth, np.full((7, 3), 0.1), names=names).isna().all(axis=None)
    assert sobol_indices(a[:1], b[:1], ab[:1], ba[:1], names=names).isna().all(axis=None)
    assert sobol_indices(a[:0], b[:0], ab[:0], ba[:0], names=names).isna().all(axis=None)
    spoilt = ab.copy()
    spoilt[5, 1] = np.nan
    kept = np.arange(64) != 5
    left = sobol_indices(a, b, spoilt, ba, names=names)
    assert left.equals(sobol_indices(a[kept], b[kept], ab[kept], ba[kept], names=names))


def test_indices_do_not_depend_on_the_unit_or_level_of_the_function() -> None:
    a, b, ab, ba = design("sobol_g", 128)
    names = ["x0", "x1", "x2", "x3"]
    plain = sobol_indices(a, b, ab, ba, names=names)
    moved = sobol_indices(*(5 + 0.01 * each for each in (a, b, ab, ba)), names=names)
    np.testing.assert_allclose(plain, moved, rtol=1e-6, atol=1e-9)


def test_the_default_estimator_needs_both_halves() -> None:
    a, b, ab, _ = design("ishigami", 8)
    with pytest.raises(ValueError, match="needs the rows ba"):
        first_order(a, b, ab)
