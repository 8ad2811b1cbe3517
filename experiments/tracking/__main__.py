"""Hold stops and best steps on rare values against those on a value at every step.

    python -m experiments.tracking

Nothing is trained: which values there are changes no weight, so that recorded traces of every step
answer for any spacing. Writes `stops.csv`, `kept.csv` and `RESULTS.md` beside this file.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.comparison.runs import DVAR as PUBLISHED_LAYOUT
from experiments.overfitting.design import Design
from experiments.overfitting.raw import Curves, curves
from experiments.tracking.report import write_report
from noiseprobe.run.defaults import BUNDLED_MODEL, of_family
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.stopping import Turn, build, outcome

HERE = Path(__file__).parent
BUDGETS = (0.05, 0.1, 0.2, 0.5)
RECORDED_EVERY, RECORDED_SAMPLES = 5, 32
"""Of the held-out loss in the recorded runs."""


def main() -> None:
    """Replay, and write tables and report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.tracking", description=__doc__)
    parser.add_argument("--results", type=Path, default=HERE)
    chosen = parser.parse_args()
    experiments = HERE.parent
    traces = pd.read_parquet(experiments / "criteria" / "traces.parquet")
    runs = list(curves(pd.read_parquet(experiments / "overfitting" / "numbers.parquet")))
    stops = pd.DataFrame([*comparison_stops(traces), *default_stops(runs)])
    kept = pd.DataFrame([row for run in runs if len(run.l_val) for row in kept_rows(run)])
    write_report({"stops": stops, "kept": kept}, chosen.results)


def comparison_stops(traces: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """DVAR as in the comparison, on a random fixed batch; judged by CLIP at the check before."""
    for (method, concept), run in traces.groupby(["method", "concept"], observed=True):
        window, threshold = PUBLISHED_LAYOUT[str(method)]
        l_det = run.set_index("step")["l_det"]
        clip = run.set_index("step")["clip_img"].dropna()
        for row in stop_rows(str(method), l_det, window, threshold):
            clips = [float(clip.loc[: row[at]].iloc[-1]) for at in ("often", "rare")]
            own = {"set": "comparison", "concept": concept, "held": -1}
            yield own | row | {"clip": clips[1] - clips[0]}


def default_stops(runs: list[Curves]) -> Iterator[dict[str, Any]]:
    """DVAR at its defaults, on a stratified fixed batch; judged on photographs nobody trained on.

    Some time after the stop, L_det was recorded at every fifth step alone; between, it is taken as
    linear.
    """
    for run in runs:
        usual = of_family(BUNDLED_MODEL, run.method)
        steps, values = run.series("l_det")
        every = np.arange(steps[-1] + 1)
        l_det = pd.Series(np.interp(every, steps, values), every)
        for row in stop_rows(run.method, l_det, usual["window"], usual["threshold"]):
            judged = {
                name: run.at(column, row["rare"]) - run.at(column, row["often"])
                for name, column in (("clip", "clip_judge"), ("unseen", "loss_judge"))
            }
            yield {"set": "defaults", "concept": run.concept, "held": run.held} | row | judged


def stop_rows(
    method: str, l_det: pd.Series, window: float, threshold: float
) -> Iterator[dict[str, Any]]:
    """Where DVAR ends a run on L_det of every step, and of every few; its last step where not."""
    params = {"window": window, "threshold": threshold}
    often = outcome(build("dvar", params), l_det.to_numpy()).stop_index
    for budget in BUDGETS:
        every = resolve({"method": method, "track_budget": budget}).eval_every
        rare = l_det[l_det.index % every == 0]
        stop = outcome(build("dvar", params, every), rare.to_numpy()).stop_index
        yield {
            "method": method,
            "budget": budget,
            "every": every,
            "often": int(l_det.index[-1 if often is None else often]),
            "rare": int(rare.index[-1 if stop is None else stop]),
        }


def kept_rows(run: Curves) -> Iterator[dict[str, Any]]:
    """The best step of the held-out loss, with and without turn, on all values and on few."""
    steps = run.l_val.index.to_numpy(np.int64)
    reference = ending(run, steps, RECORDED_EVERY, RECORDED_SAMPLES)
    for budget in BUDGETS:
        config = held_out(run.method, budget)
        every = -(-config.val_every // RECORDED_EVERY) * RECORDED_EVERY
        rare = ending(run, steps, every, config.val_batch)
        for rule, (before, after) in {
            name: (reference[name], rare[name]) for name in ("never", "turn")
        }.items():
            yield {
                "method": run.method,
                "concept": run.concept,
                "held": run.held,
                "rule": rule,
                "budget": budget,
                "every": every,
                "samples": config.val_batch,
                "often": before[1],
                "rare": after[1],
                "unseen": run.at("loss_judge", after[0]) - run.at("loss_judge", before[0]),
                "clip": run.at("clip_judge", after[0]) - run.at("clip_judge", before[0]),
            }


def held_out(method: str, budget: float) -> RunConfig:
    """The settings of a run that a held-out loss ends, as long as the recorded ones."""
    given = {"method": method, "hold_out": "1", "stop": "turn", "steps": Design().steps[method]}
    return resolve(given | {"track_budget": budget})


def ending(run: Curves, steps: np.ndarray, every: int, samples: int) -> dict[str, tuple[int, int]]:
    """The step kept and the last one trained, of a whole run and of one that turn ends.

    Fewer samples are those of every so many strata of the batch.
    """
    among = RECORDED_SAMPLES // samples
    losses = run.l_val.to_numpy(np.float64)[steps % every == 0, among // 2 :: among]
    at = steps[steps % every == 0]
    turned = outcome(Turn(), losses, at)
    stop = len(at) - 1 if turned.stop_index is None else turned.stop_index
    best = int(at[np.argmin(losses.mean(axis=1))])
    return {"never": (best, int(steps[-1])), "turn": (int(at[turned.kept_index]), int(at[stop]))}


if __name__ == "__main__":
    main()
