"""Which runs the comparison is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.tiny_sd.concepts import every, tuned, write
from noiseprobe.draws.factors import Layout
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.sweep import WATCHED, Sweep

WIDELY = ("textual-inversion", "dreambooth-lora", "custom-diffusion")
PROBE_EVERY = 60
REPLICATES = 4
FEWER = 12  # concepts for full DreamBooth, and for confirming
EVERY_STEP = {"eval_every": 1}
PUBLISHED: Layout = "random"  # of the fixed batch, in the method's source
DVAR = {  # window and threshold, as `TUNING.md` picks them for that layout
    "textual-inversion": (120, 0.4),
    "dreambooth": (20, 0.1),
    "dreambooth-lora": (50, 0.15),
    "custom-diffusion": (80, 0.4),
}


def photographs(out: Path) -> Path:
    """The folder of all concepts' photographs, written now if it is not there yet."""
    folder = out / "photographs"
    if not folder.is_dir():
        write(every(), folder)
    return folder


def tuning_sweep(out: Path, workers: int, layout: Layout) -> Sweep:
    """All methods on the twelve concepts that window and threshold are chosen on, not probed.

    L_det is evaluated at every step here and in `confirming_sweep`: windows count steps.
    """
    runs = out / ("tuning" if layout == PUBLISHED else f"tuning-{layout}")
    chosen = [(method, tuned()) for method in METHODS]
    return _sweep(out, runs, chosen, workers, layout, EVERY_STEP)


def confirming_sweep(
    out: Path,
    workers: int,
    layout: Layout,
    methods: Sequence[str] = METHODS,
    part: int = 0,
) -> Sweep:
    """Methods on twelve concepts that nothing was chosen on, not probed; `part` says which twelve.

    Each concept has a seed of its own, and with it a fixed batch of its own: a window may suit the
    one batch that it was chosen on.
    """
    names = others()[part * FEWER : (part + 1) * FEWER]
    chosen = [(method, names) for method in methods]
    sweep = _sweep(out, out / f"confirming-{layout}", chosen, workers, layout, EVERY_STEP)
    runs = {
        place: config.model_copy(update={"seed": own_seed(place.name)})
        for place, config in sweep.runs.items()
    }
    return replace(sweep, runs=runs)


def comparison_sweep(out: Path, workers: int) -> Sweep:
    """Three methods on all concepts that nothing was chosen on, full DreamBooth on twelve of them.

    L_det is evaluated as often as it is by default, within a tenth of the time of training.
    """
    names = others()
    chosen = [(method, names) for method in WIDELY] + [("dreambooth", names[:FEWER])]
    return _sweep(out, out / "runs", chosen, workers, PUBLISHED, probe=PROBE_EVERY)


def others() -> list[str]:
    """The concepts that nothing was chosen on, in an order drawn by lot."""
    names = sorted(thing.name for thing in every() if thing.name not in tuned())
    return [str(name) for name in np.random.Generator(np.random.Philox(0)).permutation(names)]


def own_seed(name: str) -> int:
    """The seed of a concept that nothing was chosen on, from 1: no other concept's."""
    return 1 + others().index(name)


def _sweep(
    out: Path,
    runs: Path,
    chosen: Iterable[tuple[str, Sequence[str]]],
    workers: int,
    layout: Layout,
    given: Mapping[str, object] | None = None,
    probe: int = 0,
) -> Sweep:
    folder = photographs(out)
    return Sweep(
        {
            runs / method / name: resolve(
                WATCHED
                | {
                    "concept": str(folder / name),
                    "method": method,
                    "replicates": REPLICATES,
                    "window": DVAR[method][0],
                    "threshold": DVAR[method][1],
                    "fixed_batch": layout,
                    "device": "cpu",
                }
                | dict(given or {})
            )
            for method, names in chosen
            for name in names
        },
        workers,
        threads=1,
        probe=probe,
    )
