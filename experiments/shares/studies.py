"""How often each interval holds the truth, over many repetitions on the analytic model."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.shares.analytic import AnalyticModel
from noiseprobe.analysis.correlation import block_bootstrap
from noiseprobe.analysis.intervals import ratio_interval, spread_interval
from noiseprobe.analysis.sobol import Estimator, first_order, second_order, total
from noiseprobe.draws.factors import FACTORS

Floats = NDArray[np.float64]
Rows = tuple[Floats, Floats, Floats, Floats]


def design_losses(
    model: AnalyticModel, random: np.random.Generator, shape: tuple[int, int]
) -> Rows:
    """The losses of designs, (repetitions, pairs): a, b `shape`; ab, ba (*shape, factors)."""
    # Few repetitions at a time: the noises of all of them need not fit into memory.
    parts = [
        _design_losses(model, random, (len(part), shape[1]))
        for part in np.array_split(np.arange(shape[0]), -(-shape[0] // 50))
    ]
    a, b, ab, ba = (np.concatenate(each) for each in zip(*parts, strict=True))
    return a, b, ab, ba


def _design_losses(
    model: AnalyticModel, random: np.random.Generator, shape: tuple[int, int]
) -> Rows:
    a, b = model.draw(random, shape), model.draw(random, shape)
    ab = np.stack([model.loss(a | {factor: b[factor]}) for factor in FACTORS], axis=-1)
    ba = np.stack([model.loss(b | {factor: a[factor]}) for factor in FACTORS], axis=-1)
    return model.loss(a), model.loss(b), ab, ba


def batches(rows: Rows, size: int) -> Rows:
    """Pairs of batches of `size` samples, from pairs of single samples (repetitions, n)."""

    def mean(losses: Floats) -> Floats:
        cut = losses.reshape(losses.shape[0], -1, size, *losses.shape[2:])
        return cut.mean(axis=2)

    a, b, ab, ba = rows
    return mean(a), mean(b), mean(ab), mean(ba)


def coverage(truth: Floats, low: Floats, high: Floats) -> Floats:
    """The share of repetitions (first axis) whose interval holds the truth."""
    return ((low <= truth) & (truth <= high)).mean(axis=0)


def shares_study(
    model: AnalyticModel,
    pairs: int,
    size: int,
    repetitions: int,
    *,
    estimator: Estimator = "azzini",
    reverse: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Coverage and median width for `pairs` pairs of batches of `size`, by order and factor."""
    random = np.random.default_rng(seed)
    a, b, ab, ba = batches(design_losses(model, random, (repetitions, pairs * size)), size)
    given = ba if reverse else None
    first, whole = model.shares()
    found = {
        "first": (first, first_order(a, b, ab, given, estimator)),
        "total": (whole, total(a, b, ab, given)),
    }
    rows = []
    for order, (truth, (_, low, high)) in found.items():
        covered, width = coverage(truth, low, high), np.median(high - low, axis=0)
        rows += list(zip([order] * len(FACTORS), FACTORS, truth, covered, width, strict=True))
    return pd.DataFrame(rows, columns=["order", "factor", "truth", "coverage", "width"])


def second_order_study(
    model: AnalyticModel, pairs: int, size: int, repetitions: int, *, seed: int = 0
) -> pd.DataFrame:
    """The same for what two factors do only together."""
    random = np.random.default_rng(seed)
    rows = batches(design_losses(model, random, (repetitions, pairs * size)), size)
    _, low, high = second_order(*rows)
    names = [(one, two) for at, one in enumerate(FACTORS) for two in FACTORS[at + 1 :]]
    truth = np.array([model.interaction(*pair) for pair in names])
    width = np.median(high - low, axis=0)
    return pd.DataFrame(
        {
            "factors": [" × ".join(pair) for pair in names],
            "truth": truth,
            "coverage": coverage(truth, low, high),
            "width": width,
        }
    )


def interval_study(
    model: AnalyticModel, pairs: int, size: int, repetitions: int, *, seed: int = 0
) -> pd.DataFrame:
    """Coverage of total indices by three intervals for the same pairs, a column per factor."""
    random = np.random.default_rng(seed)
    a, b, ab, ba = batches(design_losses(model, random, (repetitions, pairs * size)), size)
    part = ((a[..., None] - ab) ** 2 + (b[..., None] - ba) ** 2) / 4
    whole = ((a - b) ** 2 + ((ab - ba) ** 2).sum(axis=-1)) / (2 * (len(FACTORS) + 1))
    _, truth = model.shares()
    methods: dict[str, Callable[[], tuple[Floats, Floats]]] = {
        "percentile bootstrap": lambda: _percentile(part, whole, random),
        "delta method": lambda: _delta(part, whole),
        "Fieller": lambda: ratio_interval(np.moveaxis(part, -1, -2), whole[:, None])[1:],
    }
    rows = {name: coverage(truth, *method()) for name, method in methods.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(FACTORS))


def spread_study(
    model: AnalyticModel,
    factor: str,
    replicates: Sequence[int],
    repetitions: int,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Coverage of the noise of a factor, by bootstrap of replicates and by χ², over 7 checkpoints.

    The truth is the noise over 20,000 replicates. A row for each number of `replicates`: that
    number, bootstrap, chi_square, width (of the latter, as a multiple of the truth).
    """
    random = np.random.default_rng(seed)
    models = [model.toward(progress) for progress in np.linspace(0, 0.9, 7)]
    fixed = model.draw(random, (32,))

    def losses(count: int) -> Floats:
        parts = []
        for part in np.array_split(np.arange(count), -(-count // 500)):
            drawn = model.draw(random, (len(part), 32))
            used = {each: drawn[each] if each == factor else fixed[each] for each in FACTORS}
            parts.append(np.stack([each.loss(used).mean(axis=-1) for each in models]))
        return np.concatenate(parts, axis=1)

    truth = losses(20_000).std(axis=1).mean()
    rows = []
    for number in replicates:
        redraws = losses(repetitions * number).reshape(len(models), repetitions, number)
        redraws = np.moveaxis(redraws, 1, 0)
        _, low, high = spread_interval(redraws)
        before = np.array([_percentile_spread(each, random) for each in redraws[:400]])
        found = float(coverage(truth, *before.T)), float(coverage(truth, low, high))
        rows.append((number, *found, float(np.median(high - low) / truth)))
    return pd.DataFrame(rows, columns=["replicates", "bootstrap", "chi_square", "width"])


def correlation_study(
    points: int, memory: float, repetitions: int, *, seed: int = 0
) -> dict[str, float]:
    """Coverage of the block bootstrap's interval for two correlated series with memory.

    Both are first-order autoregressive with the coefficient `memory` and innovations whose
    correlation is -0.6, and so is theirs: normal, so that Spearman's is 6/π arcsin(-0.6 / 2).
    """
    random = np.random.default_rng(seed)
    truth = 6 / np.pi * np.arcsin(-0.6 / 2)
    drawn = random.multivariate_normal([0, 0], [[1, -0.6], [-0.6, 1]], (repetitions, points + 100))
    series = np.zeros_like(drawn)
    for step in range(1, drawn.shape[1]):
        series[:, step] = memory * series[:, step - 1] + drawn[:, step]
    ends = [block_bootstrap(x, y, resamples=400) for x, y in np.moveaxis(series[:, 100:], -1, 1)]
    singles = [
        block_bootstrap(x, y, resamples=400, length=1)
        for x, y in np.moveaxis(series[:, 100:], -1, 1)
    ]
    return {
        "single_steps": float(coverage(truth, *np.array(singles).T)),
        "blocks": float(coverage(truth, *np.array(ends).T)),
    }


def _percentile(part: Floats, whole: Floats, random: np.random.Generator) -> tuple[Floats, Floats]:
    count = part.shape[1]
    ends = []
    for of_part, of_whole in zip(part, whole, strict=True):
        weights = random.multinomial(count, np.full(count, 1 / count), 400).astype("float64")
        shares = (weights @ of_part) / (weights @ of_whole)[:, None]
        ends.append(np.quantile(shares, [0.025, 0.975], axis=0))
    return np.stack(ends)[:, 0], np.stack(ends)[:, 1]


def _delta(part: Floats, whole: Floats) -> tuple[Floats, Floats]:
    share = part.mean(axis=1) / whole.mean(axis=1)[:, None]
    rest = part - share[:, None] * whole[..., None]
    error = rest.std(axis=1, ddof=1) / np.sqrt(part.shape[1]) / whole.mean(axis=1)[:, None]
    return share - 1.96 * error, share + 1.96 * error


def _percentile_spread(redraws: Floats, random: np.random.Generator) -> Floats:
    """Replicates with replacement, the same at every checkpoint, scaled by √(R/(R - 1))."""
    count = redraws.shape[-1]
    chosen = random.integers(0, count, (400, count))
    noise = redraws[:, chosen].std(axis=-1, ddof=1).mean(axis=0) * np.sqrt(count / (count - 1))
    return np.quantile(noise, [0.025, 0.975])
