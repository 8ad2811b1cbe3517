"""What recorded losses say, in sentences: where they are best, what criteria make of them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from noiseprobe.analysis.origins import SAME
from noiseprobe.analysis.replay import best_index
from noiseprobe.analysis.sources import Source
from noiseprobe.analysis.trend import FEWEST, Trend, trend_of
from noiseprobe.analysis.verdicts import shown
from noiseprobe.core.words import command, enumerated, visible
from noiseprobe.logs import Series
from noiseprobe.logs.tags import is_held_out, is_training_loss
from noiseprobe.stopping import CRITERIA, to_be_high
from noiseprobe.stopping.params import shown_params

MOST_TOLD = 3
"""Traces of which each has its own sentences; more are summed up."""

FEWEST_JUDGED = 6
"""Traces: the differences of fewer all lie on one side of 0 by chance more than once in 20 times
(two-sided sign test), and a bootstrap over so few ends at the outermost of them."""

MOST_DRAWN = 24
"""Traces that one figure holds: more would be too small to read on one page."""


def of_losses(series: Series) -> list[str]:
    """Where a trace is best, how much worse its end is, and whether its values can tell at all."""
    known = series.values[np.isfinite(series.values)]
    name, best = visible(series.column), best_index(series)
    if best is None:
        return [f"{name} holds no number that is finite."]
    if len(known) == 1:
        return [f"{name} has one value, {shown(known[0])}, and nothing to compare it with."]
    if not np.ptp(known):
        return [
            f"{name} does not change: all its {len(known)} values are {shown(known[0])}. Where a "
            "criterion stops on it says nothing."
        ]
    trend = trend_of(series.values)
    if trend.noisy and not is_held_out(series.column):
        chance = "so that where it is lowest, or a criterion stops on it, is chance"
        told = "little" if trend.seen else "nothing"
        return [f"The curve of {name} tells {told}: {_noise(trend)}, {chance}."]
    last = int(np.flatnonzero(np.isfinite(series.values))[-1])
    way = "highest" if to_be_high(series.column) else "lowest"
    lowest, end = float(series.values[best]), float(series.values[last])
    told = f"{name} is {way} at step {series.steps[best]} ({shown(lowest)})"
    gap = abs(end - lowest)
    if best == last:
        told += ", its end: it may go on improving"
    elif not gap:
        told += f", and as good at its end, step {series.steps[last]}"
    else:
        told += f"; at its end, step {series.steps[last]}, it is {_worse(lowest, gap)} worse"
        if trend.chance(gap):
            told += ", no more than its noise from value to value would make it"
    sentences = [f"{told}."]
    if trend.noisy:
        sentences.append(f"Still, where it is {way} is not sure: {_noise(trend)}.")
    elif math.isnan(trend.ratio):
        sentences.append(f"{trend.points} values are too few to tell noise from trend.")
    return sentences


def of_criteria(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the criteria would have kept of one trace: `replayed` gives a row for each."""
    told = []
    hopeless = [row["criterion"] for row in rows if not row["could_fire"]]
    fired = [row for row in rows if row["stop_step"] is not None]
    calm = [row["criterion"] for row in rows if row["could_fire"] and row["stop_step"] is None]
    if len(fired) <= MOST_TOLD:
        told += [_of_criterion(row) for row in fired]
    else:
        known = [row for row in fired if row["loss_at_keep"] is not None]
        known.sort(key=lambda row: abs(row["loss_at_keep"] - row["best"]))
        kept = "None of them keeps a value that is finite."
        if known:
            first, last = known[0], known[-1]
            kept = (
                f"Nearest to the best keeps {first['criterion']}, {_kept(first)}; farthest "
                f"{last['criterion']}, {_kept(last)}."
            )
        told.append(f"Of {len(rows)} criteria {len(fired)} fire. {kept}")
    if calm:
        told.append(f"{_capital(enumerated(calm, 'and'))} would have gone on to the end.")
    if hopeless and hopeless != ["never"]:
        names = [name for name in hopeless if name != "never"]
        told.append(f"{_capital(enumerated(names))} cannot fire on so few values.")
    return told


def of_replays(sources: Sequence[Source], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of all traces, and of the training losses beside them."""
    each = len(rows) // len(sources)
    if len(sources) > MOST_TOLD:
        return _summed_up(sources, rows)
    told = []
    for place, source in enumerate(sources):
        before = f"{visible(source.trace.name)}: " if len(sources) > 1 else ""
        found = of_losses(source.trace) + of_criteria(rows[place * each : (place + 1) * each])
        if source.training is not None and trend_of(source.training.values).noisy:
            found += of_losses(source.training)
        told += [before + sentence for sentence in found]
    return told + of_defaults(rows)


def of_defaults(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which parameters nobody gave, where they are from, and why; of `replayed` rows.

    Nothing is said of a criterion that has the parameters that `noiseprobe criteria` lists for it.
    """
    told = []
    runs = [row for row in rows if row.get("defaults") == "run"]
    if len(runs) > MOST_TOLD:
        told.append(f"DVAR has what each of {len(runs)} runs was started with.")
    else:
        told += [
            f"DVAR has what {visible(row['trace'])} was started with where no flag says otherwise: "
            f"{shown_params(row['params'])}."
            for row in runs
        ]
    free = {row["criterion"]: row for row in rows if row.get("defaults") == "any log"}
    windows = [
        f"{name} {shown_params({key: row['params'][key] for key in CRITERIA[name].scale_free})}"
        for name, row in free.items()
    ]
    if free:
        told.append(
            f"{_capital(enumerated(windows).replace(' ', ' has ', 1))} of all values so far, since "
            "no run directory says how often they were recorded: a share can fire on a log of any "
            "length, the published numbers of values cannot."
        )
    return told


def _summed_up(sources: Sequence[Source], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    told = []
    table = pd.DataFrame([dict(row) for row in rows])
    for name, of_one in table.groupby("criterion", sort=False):
        if not of_one["could_fire"].any() or name == "never":
            continue
        fires = of_one["stop_step"].notna()
        saved = f" and saves {of_one['saved_fraction'].mean():.0%} of all steps on average"
        told.append(
            f"{_capital(str(name))} fires on {fires.sum()} of {len(of_one)} traces"
            f"{saved if fires.any() else ''}."
        )
    noisy = [
        source
        for source in sources
        if is_training_loss(source.trace.column) and trend_of(source.trace.values).noisy
    ]
    if noisy:
        told.append(
            f"{len(noisy)} of them are training losses in which noise from one value to the next "
            "rules: where a criterion stops on these is chance."
        )
    return told + of_defaults(rows)


def next_of_replay(
    given: Sequence[Path],
    sources: Sequence[Source],
    rows: Sequence[Mapping[str, Any]],
    tag: str | None,
) -> str:
    """What to do after a replay of `given`: mend what cannot fire, else compare all criteria."""
    own = ["noiseprobe", "dvar-replay", *given, *(["--tag", tag] if tag is not None else [])]
    hopeless = any(not row["could_fire"] for row in rows if row["criterion"] == "dvar")
    points = min(np.count_nonzero(np.isfinite(each.trace.values)) for each in sources)
    if hopeless and points >= FEWEST:
        return command(*own, "--window", "50%")
    if len(rows) == len(sources):
        return command(*own, "--all")
    return command(*own, "--all", "--plot", "stops.png") if len(sources) <= MOST_DRAWN else ""


def of_regret(
    summary: pd.DataFrame,
    paired: pd.DataFrame,
    judge: str,
    maximize: bool,
    traces: int,
    origins: int | None = None,
) -> list[str]:
    """Which criterion stops nearest to the judge's best, and whether that is sure.

    Args:
        summary, paired: what `noiseprobe.analysis.regret` gives.
        judge: the judge's tag, which is to be high if `maximize`.
        traces: how many were judged.
        origins: of how many origins they are; by default each of its own.
    """
    known = summary[summary["regret"].notna()]
    way = "high" if maximize else "low"
    if known.empty:
        return [f"{visible(judge)} ({way} is good) improves on no trace: nothing to judge by."]
    best = float(known["regret"].min())
    same = known[np.isclose(known["regret"], best)]["criterion"].tolist()
    names = enumerated(same if len(same) <= MOST_TOLD else [f"{len(same)} criteria alike"], "and")
    told = [
        f"By {visible(judge)} ({way} is good), {names} stop{'s' * (len(same) == 1)} nearest to the "
        f"best: regret {best:.2f}, where 0 is the best and 1 the first value."
    ]
    distinct = traces if origins is None else origins
    if distinct < traces:
        told.append(
            f"The {traces} traces are of {distinct} origin{'s' * (distinct > 1)}: those of {SAME} "
            "count together as one."
        )
    if distinct < FEWEST_JUDGED:
        what = "trace" if distinct == traces else "origin"
        few = f"One {what} is" if distinct == 1 else f"{distinct} {what}s are"
        return [*told, f"{few} too few to tell criteria apart."]
    if paired.empty:
        return told
    against = str(paired["against"].iloc[0])
    better = paired[paired["regret_high"] < 0]["criterion"].tolist()
    worse = paired[paired["regret_low"] > 0]["criterion"].tolist()
    sure = [
        f"{enumerated(found)} {'is' if len(found) == 1 else 'are'} {how} than {against} (95% each)"
        for found, how in ((better, "better"), (worse, "worse"))
        if found
    ]
    sure = sure or [f"no criterion differs from {against} for sure: their intervals include 0"]
    return [*told, f"{_capital('; '.join(sure))}."]


def _of_criterion(row: Mapping[str, Any]) -> str:
    name, share = _capital(row["criterion"]), row["saved_fraction"]
    saved = f", which saves {share:.0%} of the steps" if share else ", its end"
    if row["kept_step"] == row["stop_step"]:
        return f"{name} would have stopped at {_kept(row)}{saved}."
    stop = row["stop_step"]
    return f"{name} would have stopped at step {stop}{saved}, and kept {_kept(row)}."


def _kept(row: Mapping[str, Any]) -> str:
    """The kept step with its value and how far that is from the best."""
    if row["loss_at_keep"] is None:
        return f"step {row['kept_step']}, whose value is not finite"
    gap = abs(row["loss_at_keep"] - row["best"])
    away = f", {_worse(row['best'], gap)} worse than the best" if gap else ", the best"
    return f"step {row['kept_step']} ({shown(row['loss_at_keep'])}{away})"


def _worse(best: float, gap: float) -> str:
    """A gap as a share of the best, or as it is where the best is about 0."""
    share = gap / abs(best) if best else math.inf
    return f"by {shown(gap)}" if share > 10 else f"{share:.{0 if share > 0.1 else 1}%}"


def _noise(trend: Trend) -> str:
    """Why values cannot tell."""
    ratio = f"(von Neumann's ratio {trend.ratio:.2f}; 2 is noise alone)"
    if not trend.seen:
        return f"from one value to the next there is nothing but noise {ratio}"
    return f"{trend.noise_share:.0%} of its variance is noise from one value to the next {ratio}"


def _capital(text: str) -> str:
    """How a sentence begins; DVAR is written in capitals."""
    text = "DVAR" + text.removeprefix("dvar") if text.startswith("dvar") else text
    return text[:1].upper() + text[1:]
