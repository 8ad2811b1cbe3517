"""Where DVAR fires in recorded losses: all of its ratios at once, over windows and thresholds.

A window that is a count takes numpy; one that is a share changes its length from loss to loss, and
`DVAR` itself is asked, at some microseconds per loss.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseprobe.stopping.dvar import DVAR
from noiseprobe.stopping.dvar_sums import RunningSums
from noiseprobe.stopping.window import window_after

NEVER = -1
"""Stands in a grid where DVAR never fires."""

_ROUNDING = 1e-9
"""How far, relatively, `dvar_ratios` may be off: it errs by about 1e-14 on traces of 1e6 points."""

_ROUGH = 1e-4
"""Where ratios by running sums may be off by more than this of a threshold, none are taken."""

_LARGEST, _SMALLEST_CHANGE = 1e150, 1e-140
"""Losses beyond these have squares that leave the range of a float64."""


def dvar_ratios(losses: ArrayLike, window: float, every: int = 1) -> NDArray[np.float64]:
    """The DVAR ratio at every index of a recorded trace, in O(n) time and memory with numpy.

    Windows are taken as the end of one block of `window` losses and the beginning of the next. Each
    part is centred on a loss of its own, its squares are summed as Welford's non-negative terms
    (Technometrics 4, 1962), and the parts are merged by Chan, Golub & LeVeque's formula (American
    Statistician 37, 1983, eq. 2.1), so that no offset and no earlier level of the loss cancels.

    Args:
        losses: shape (n,).
        window: how many of the last losses to compare with all of them, or which share, as in
            `DVAR`.
        every: the steps from one loss to the next; the window counts steps (`Held`).

    Returns:
        Shape (n,). NaN before `window` finite losses (5 where it is a share), where all losses so
        far are equal, and at a loss that is NaN or infinite: such a loss is left out of both
        variances.

    Raises:
        UserError: `window` is outside its range.

    Examples:
        >>> dvar_ratios([0.9, 0.5, 0.3, 0.25, 0.25], window=3).round(4)
        array([   nan,    nan, 1.    , 0.1782, 0.009 ])
    """
    window = DVAR(window).window
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"losses have shape {values.shape}, expected (n,)")
    values = _held(values, every)
    ratios = np.full(values.shape, np.nan)
    finite = np.isfinite(values)
    known = values[finite]
    places = np.flatnonzero(finite)[window_after(window, 0) - 1 :]
    ratios[places] = _finite_ratios(known, window, _variances(known))
    return ratios[::every]


def dvar_stops(
    losses: ArrayLike, window: float, thresholds: Sequence[float], every: int = 1
) -> list[int | None]:
    """Where `DVAR` fires in a recorded trace, for each threshold; None where it never does.

    The row of `dvar_grid` for one window, with the same arguments and errors.

    Examples:
        >>> dvar_stops([0.9, 0.5, 0.3, 0.25, 0.25], window=3, thresholds=[0.2, 0.1, 0.001])
        [3, 4, None]
    """
    (stops,) = dvar_grid(losses, [window], thresholds, every).tolist()
    return [None if stop == NEVER else stop for stop in stops]


def dvar_replayed(
    losses: ArrayLike, window: float, threshold: float, every: int = 1
) -> tuple[int | None, NDArray[np.float64]]:
    """What `dvar_stops` says of one threshold, with the ratios that `dvar_ratios` gives.

    Examples:
        >>> dvar_replayed([0.9, 0.5, 0.3, 0.25, 0.25], window=3, threshold=0.1)[0]
        4
    """
    limit = DVAR(threshold=threshold).threshold
    ratios = dvar_ratios(losses, window, every)
    first, last = (
        int(np.argmax(np.append(ratios < limit * factor, True)))
        for factor in (1 + _ROUNDING, 1 - _ROUNDING)
    )
    if first != last:  # rounding could decide
        return dvar_stops(losses, window, [threshold], every)[0], ratios
    return None if first == len(ratios) else first, ratios


def dvar_grid(
    losses: ArrayLike, windows: Sequence[float], thresholds: Sequence[float], every: int = 1
) -> NDArray[np.int64]:
    """Where `DVAR` fires in a recorded trace, for each window and threshold.

    The decisions are those of `DVAR` itself: where a ratio is so near to a threshold that rounding
    could decide, exact arithmetic decides instead.

    Args:
        losses: shape (n,); NaN and infinite ones are left out, as in `DVAR`.
        windows: how many of the last losses to compare with all of them, or which share.
        thresholds: the ratios below which to stop, each finite and above 0.
        every: the steps from one loss to the next; windows count steps (`Held`).

    Returns:
        Shape (windows, thresholds): 0-based indices into `losses`, `NEVER` where it does not fire.

    Raises:
        UserError: a window or a threshold is outside its range.

    Examples:
        >>> dvar_grid([0.9, 0.5, 0.3, 0.25, 0.25], windows=[2, 3], thresholds=[0.1, 0.001])
        array([[ 3,  4],
               [ 4, -1]])
    """
    values = _held(np.asarray(losses, dtype=np.float64), every)
    limits = np.array([DVAR(threshold=threshold).threshold for threshold in thresholds])
    finite = np.isfinite(values)
    places, known = np.append(np.flatnonzero(finite), NEVER), values[finite]
    decides = places[:-1] % every == 0
    variances = _variances(known)
    sums = RunningSums.of(known, variances) if variances is not None and len(windows) > 1 else None
    grid = np.full((len(windows), len(limits)), NEVER, dtype=np.int64)
    for row, window in enumerate(DVAR(window).window for window in windows):
        least = window_after(window, 0)
        if least > len(known):
            continue
        off = sums.error(int(window)) if sums is not None and window >= 1 else np.inf
        if sums is not None and off < _ROUGH * limits.min(initial=np.inf):
            least = sums.first(int(window)) + 1
            lowest, slack = sums.ratios(int(window)), np.full_like(limits, off)
        else:
            lowest, slack = _finite_ratios(known, window, variances), limits * _ROUNDING
            lowest[np.isnan(lowest)] = np.inf
        if every > 1:
            lowest[~decides[least - 1 :]] = np.inf
        # Negated, the lowest ratio so far rises, which is the order that searchsorted needs.
        np.negative(lowest, out=lowest)
        np.maximum.accumulate(lowest, out=lowest)
        first, last = (
            least - 1 + np.searchsorted(lowest, -limit, side="right")
            for limit in (limits + slack, limits - slack)
        )
        for doubtful in np.flatnonzero(first != last):
            until = known[: last[doubtful] + 1]
            first[doubtful] = _exact_stop(until, decides, window, limits[doubtful])
        grid[row] = places[first] // every
    return grid


def _held(values: NDArray[np.float64], every: int) -> NDArray[np.float64]:
    """The losses as they stand for steps: the first for one, each other one for `every`."""
    return values if every == 1 else np.append(values[:1], np.repeat(values[1:], every))


def _exact_stop(
    values: NDArray[np.float64], decides: NDArray[np.bool_], window: float, threshold: float
) -> int:
    """The first of the values at which DVAR fires and that decides; if none, how many decide."""
    criterion = DVAR(window, threshold)
    fires = (index for index, value in enumerate(values) if criterion.update(value))
    return next((index for index in fires if decides[index]), len(decides))


def _variances(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The variance up to each of the finite values, (n,), NaN where all are equal.

    None where the values take exact arithmetic.
    """
    changes = np.abs(np.diff(values / 2))
    largest = np.abs(values).max(initial=0)
    if largest > _LARGEST or changes[changes > 0].min(initial=1) < _SMALLEST_CHANGE:
        return None
    squares = _running_squares(values)[1]
    return np.where(squares > 0, squares, np.nan) / np.arange(1, len(values) + 1)


def _finite_ratios(
    values: NDArray[np.float64], window: float, variances: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """The ratio at each of the finite values from the first on at which there is a whole window.

    `variances` is what `_variances` says of the values.
    """
    criterion = DVAR(window, threshold=1.0)
    if len(values) < criterion.least:
        return np.empty(0)
    if variances is None or window < 1:
        ratios = []
        for value in values.tolist():
            criterion.update(value)
            ratios.append(criterion.ratio)
        return np.array(ratios[criterion.least - 1 :])
    count = int(window)
    return _window_squares(values, count) / (variances[count - 1 :] * count)


def _window_squares(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Σ(x − mean)² over the `window` values that end at each index from `window` − 1 on."""
    blocks = np.pad(values, (0, -len(values) % window), mode="edge").reshape(-1, window)
    # A window that ends at place j of a block has the j + 1 values up to there, and the last
    # window − 1 − j values of the block before; both lists run over j = 0 … window − 2.
    means, squares = _running_squares(blocks)
    back_means, back_squares = _running_squares(blocks[:-1, ::-1])
    heads = np.arange(1, window)
    merged = means[1:, :-1] - back_means[:, -2::-1]
    merged += blocks[1:, :1] - blocks[:-1, -1:]
    merged *= merged
    merged *= heads * (window - heads) / window
    merged += back_squares[:, -2::-1]
    squares[1:, :-1] += merged
    return squares.reshape(-1)[window - 1 : len(values)]


def _running_squares(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Over each beginning of the last axis: the mean less the first value, and Σ(x − mean)²."""
    counts = np.arange(1, values.shape[-1] + 1)
    squares = values - values[..., :1]
    means = np.cumsum(squares, axis=-1)
    means /= counts
    changes = squares[..., 1:]
    changes -= means[..., :-1]
    changes *= changes
    changes *= counts[:-1] / counts[1:]
    return means, np.cumsum(squares, axis=-1, out=squares)
