"""How often intervals of noise-to-signal hold the truth: simulated, and of a real pool of samples.

Both definitions are held against the same truth, that of the expected loss: √(V_f / B) / √S of
`noiseprobe.analysis.noise`, in closed form where losses are simulated, and over all samples of the
pool, of which a fixed batch is a small part.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.shares.analytic import AnalyticModel
from noiseprobe.analysis import noise_to_signal, published_noise_to_signal
from noiseprobe.draws.factors import FACTORS
from noiseprobe.run.traces import PROBE_COLUMNS

Floats = NDArray[np.float64]
Losses = Mapping[str, Floats]
"""The losses of each setting: (samples, checkpoints, replicates)."""

DEFINITIONS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "noise_to_signal": noise_to_signal,
    "published": published_noise_to_signal,
}


def simulated(
    model: AnalyticModel, progress: Floats, batch: int, replicates: int, random: np.random.Generator
) -> Losses:
    """What a probe of a fine-tune would measure that takes `model` along `progress`."""
    models = [model.toward(each) for each in progress]
    fixed, redrawn = model.draw(random, (batch, 1)), model.draw(random, (batch, replicates))
    found = {}
    for setting in ("deterministic", *FACTORS, "original"):
        fresh = FACTORS if setting == "original" else (setting,)
        used = {name: (redrawn if name in fresh else fixed)[name] for name in FACTORS}
        found[setting] = np.stack([each.loss(used) for each in models], axis=1)
    return found


def true_ratios(model: AnalyticModel, progress: Floats, batch: int) -> "pd.Series[float]":
    """Noise-to-signal of each factor in closed form."""
    models = [model.toward(each) for each in progress]
    signal = np.std([each.expected() for each in models], ddof=1)
    ratios = {}
    for factor in FACTORS:
        rest = [name for name in FACTORS if name != factor]
        added = np.mean([each.explained(FACTORS) - each.explained(rest) for each in models])
        ratios[factor] = float(np.sqrt(added / batch) / signal)
    return pd.Series(ratios)


def ratios_of_all(pool: Losses, batch: int) -> "pd.Series[float]":
    """The same over all samples of a pool, whose number is large beside `batch`."""
    table = noise_to_signal(as_trace(pool))
    samples = len(pool["deterministic"])
    return table["noise_to_signal"].loc[list(FACTORS)] * np.sqrt(samples / batch)


def rare_shares(pool: Losses) -> "pd.Series[float]":
    """The part of each factor's noise that the noisiest hundredth of the samples makes."""
    shares = {}
    for factor in FACTORS:
        each = np.sort(pool[factor].var(axis=2, ddof=1).mean(axis=1))
        shares[factor] = float(each[-max(len(each) // 100, 1) :].sum() / each.sum())
    return pd.Series(shares)


def batches_of(pool: Losses, batch: int, count: int, seed: int = 0) -> Iterator[Losses]:
    """`count` fixed batches: samples of the pool, drawn without replacement."""
    random = np.random.default_rng(seed)
    samples = len(pool["deterministic"])
    for _ in range(count):
        chosen = random.choice(samples, batch, replace=False)
        yield {setting: losses[chosen] for setting, losses in pool.items()}


def as_trace(losses: Losses) -> pd.DataFrame:
    """The probe trace that holds these losses."""
    frames = []
    for setting, values in losses.items():
        sample, step, replicate = np.indices(values.shape)
        number = replicate.ravel() + (setting != "deterministic")
        frame = {"step": step.ravel(), "setting": setting, "replicate": number}
        frame |= {"sample": sample.ravel(), "image": 0, "caption": 0, "timestep": 0}
        frames.append(pd.DataFrame(frame | {"loss": values.ravel()}))
    return pd.concat(frames, ignore_index=True)[list(PROBE_COLUMNS)].astype(PROBE_COLUMNS)


def covered(batches: Iterator[Losses], truth: "pd.Series[float]") -> pd.DataFrame:
    """By definition and factor, over batches: how often the interval held `truth`, and how wide.

    Columns definition, factor, truth, batches, told (share of batches with a ratio), coverage (of
    those), width (median of high / low), smallest and largest ratio and signal (2.5% and 97.5%).
    """
    rows = []
    for losses in batches:
        trace = as_trace(losses)
        for name, estimate in DEFINITIONS.items():
            table = estimate(trace).loc[list(FACTORS)]
            rows.append(table.assign(definition=name, truth=truth).rename_axis("factor"))
    raw = pd.concat(rows).reset_index()
    raw["held"] = (raw["low"] <= raw["truth"]) & (raw["truth"] <= raw["high"])
    raw["width"] = raw["high"] / raw["low"]
    found = []
    for (definition, factor), group in raw.groupby(["definition", "factor"], sort=False):
        told = group[group["noise_to_signal"].notna()]
        ends = told["noise_to_signal"].quantile([0.025, 0.975])
        signal = group["signal"].quantile([0.025, 0.975])
        found.append(
            {
                "definition": definition,
                "factor": factor,
                "truth": group["truth"].iloc[0],
                "batches": len(group),
                "told": len(told) / len(group),
                "coverage": told["held"].mean(),
                "width": told["width"].median(),
                "ratio_low": ends.iloc[0],
                "ratio_high": ends.iloc[1],
                "signal_low": signal.iloc[0],
                "signal_high": signal.iloc[1],
            }
        )
    return pd.DataFrame(found)
