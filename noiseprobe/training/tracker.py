"""Losses that tell, in anyone's training loop: evaluated, recorded, watched, and nothing disturbed.

A tracker needs neither diffusers nor the package's own driver, which uses it as well.
"""

import random
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import write_json
from noiseprobe.run.traces import (
    OF_A_TRACKER,
    TRACKED_COLUMNS,
    drop_after,
    parts,
    read_trace,
    write_part,
)
from noiseprobe.stopping import LossCriterion, Never
from noiseprobe.stopping.base import NonFiniteLossWarning, checked_whole
from noiseprobe.training.watching import Watch

Losses = Callable[[], Any]
"""Gives the losses of one fixed batch now, (B,): a tensor on any device, an array or a list."""

WRITE_SECONDS = 30.0
"""What was recorded is written at least so often."""


class Tracker:
    """Evaluates losses on fixed batches during a training, and says when to stop and what was best.

    Each of `losses` is evaluated without gradients, with `modules` in evaluation mode; afterwards
    every random state (of torch on all devices, numpy and Python), every module's mode and every
    gradient is what it was, so that training is bit for bit the same with a tracker and without.

    Args:
        losses: by name, a callable that gives the losses, (B,), of the same samples and draws at
            each call, such as `noiseprobe.fixed_losses` makes.
        watch: the name that decides; where there is one alone, that.
        criterion: a criterion of `noiseprobe.stopping` that looks at it: at the losses of the
            samples if it asks for them, as `Turn` does, else at their mean. None never stops.
        every: steps between evaluations: those at multiples of it are due.
        modules: torch modules to put into evaluation mode meanwhile.
        out: a folder, in which what was recorded is written every half minute, at a stop and by
            `close`: in the format of a run's traces, for `noiseprobe plot`, `dvar-replay` and
            `regret`. It must not hold a trace already, but one that `load_state_dict` goes on with.
        on_best: called with the step when what is watched is the best so far, such as to save
            weights.

    Raises:
        UserError: there are no losses; `watch` is none of them, or not said of several; `every` is
            no whole number of at least 1.

    Examples:
        >>> import numpy as np
        >>> from noiseprobe import Patience
        >>> curve = iter([0.9, 0.5, 0.6, 0.7])
        >>> tracker = Tracker({"l_val": lambda: np.full(4, next(curve))}, criterion=Patience(2))
        >>> [tracker.update(step) for step in range(4)]
        [False, False, False, True]
        >>> tracker.best_step
        1
    """

    def __init__(
        self,
        losses: Mapping[str, Losses],
        watch: str | None = None,
        criterion: LossCriterion | None = None,
        every: int = 1,
        modules: Sequence[Any] = (),
        out: Path | str | None = None,
        on_best: Callable[[int], object] | None = None,
    ) -> None:
        self.losses = dict(losses)
        if not self.losses:
            raise UserError("losses: none given; give at least one callable, by its name")
        if watch is None and len(self.losses) > 1:
            raise UserError(f"watch: which of {', '.join(self.losses)} decides? name it")
        self.watch = next(iter(self.losses)) if watch is None else watch
        if self.watch not in self.losses:
            raise UserError(f"watch: '{watch}' is none of the losses, {', '.join(self.losses)}")
        self.every = checked_whole("every", every, 1, "steps")
        self.modules = list(modules)
        self.directory = None if out is None else Path(out)
        self.on_best = on_best
        self._watch = Watch(self.watch, self.watch, criterion or Never())
        self._sizes: dict[str, int] = {}
        self.seconds = dict.fromkeys(self.losses, 0.0)  # that each took so far
        self._rows: list[dict[str, float]] = []
        self._samples: list[pd.DataFrame] = []
        self._written = 0
        self._written_at = time.monotonic()
        self._resumed = False

    def __repr__(self) -> str:
        """What it looks at, and what it said so far."""
        far = f", step={self._rows[-1]['step']:.0f}" if self._rows else ""
        said = {"best_step": self.best_step, "stop_step": self.stop_step}
        told = "".join(f", {name}={step}" for name, step in said.items() if step is not None)
        return f"Tracker('{self.watch}', {self._watch.criterion!r}{far}{told})"

    def update(self, step: int) -> bool:
        """Evaluate what is due at `step`; True means: stop now.

        Args:
            step: how many steps of training are done, more at each call. A call with 0, before
                training, records the start.

        Raises:
            UserError: `step` is not above the last one; a callable raises, or gives something else
                than the losses (B,) of as many samples as before; `out` holds another trace. What
                was recorded before is kept.

        Warns:
            NonFiniteLossWarning: a loss is NaN or infinite; its step and sample are named. The
                evaluation is recorded as it is. It is never the best, and no criterion that looks
                at losses stops on it.
        """
        if step % self.every:
            return False
        if self.directory and not self._resumed and not self._rows:
            self._require_vacant(self.directory)
        losses = self.measure(step)
        self._tell_of_wrong(step, losses)
        with warnings.catch_warnings(action="ignore", category=NonFiniteLossWarning):
            self._watch.see(step, losses[self.watch])
        ratio = getattr(self._watch.criterion, "ratio", None)
        if ratio is not None:
            self._rows[-1]["ratio"] = float(ratio)
        stops = self._watch.fires
        if stops or time.monotonic() - self._written_at > WRITE_SECONDS:
            self.close()
        if self.on_best and self._watch.best_step == step:
            self.on_best(step)
        return stops

    def measure(
        self, step: int, names: Collection[str] | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Evaluate and record losses now, whether due or not: (B,) by name.

        These are all, or those of `names`. Raises `UserError` as `update` does.
        """
        if self._rows and step <= self._rows[-1]["step"]:
            raise UserError(
                f"step {step}: it comes after step {self._rows[-1]['step']:.0f}; give how many "
                "steps are done, more at each call"
            )
        found: dict[str, NDArray[np.float64]] = {}
        with torch_without_gradients(), undisturbed(self.modules):
            for name, evaluate in self.losses.items():
                if names is not None and name not in names:
                    continue
                started = time.monotonic()
                found[name] = self._evaluated(name, evaluate, step)
                self.seconds[name] += time.monotonic() - started
        means = {name: float(losses.mean()) for name, losses in found.items()}
        spent = {f"{name}_seconds": seconds for name, seconds in self.seconds.items()}
        self._rows.append({"step": step} | means | spent)
        self.record(step, found)
        return found

    def record(self, step: int, losses: Mapping[str, NDArray[np.float64]]) -> None:
        """Add the losses (B,) of samples, by name, that were evaluated elsewhere."""
        for name, each in losses.items():
            rows = {"step": step, "name": name, "sample": np.arange(len(each)), "loss": each}
            self._samples.append(pd.DataFrame(rows))

    @property
    def best_step(self) -> int | None:
        """The step at which what is watched was best; None before a finite loss.

        Best is what the criterion keeps or, where it keeps none, the lowest mean.
        """
        return self._watch.best_step

    @property
    def stop_step(self) -> int | None:
        """The step at which the criterion first said stop; None if it did not yet."""
        return self._watch.fired_step

    def frame(self) -> pd.DataFrame:
        """One row per evaluation: `step`, the mean loss by name, `ratio` where the criterion has
        one (DVAR's), and `NAME_seconds`, what each of the losses took so far.
        """
        names = ["step", *self.losses]
        if any("ratio" in row for row in self._rows):
            names.append("ratio")
        names += [f"{name}_seconds" for name in self.losses]
        return pd.DataFrame(self._rows, columns=names).astype({"step": "int64"})

    def samples(self) -> pd.DataFrame:
        """One row per evaluation and sample: columns `noiseprobe.run.traces.TRACKED_COLUMNS`."""
        before = (
            []
            if self.directory is None
            else [read_trace(self._tracked, TRACKED_COLUMNS, OF_A_TRACKER)]
        )
        frames = [each for each in (*before, *self._samples) if len(each)]
        if not frames:
            return pd.DataFrame({name: pd.Series(dtype=of) for name, of in TRACKED_COLUMNS.items()})
        return pd.concat(frames, ignore_index=True).astype(TRACKED_COLUMNS)

    def close(self) -> None:
        """Write what was recorded since the last time into `out`; may be called at any time."""
        self._written_at = time.monotonic()
        if self.directory is None or self._written == len(self._rows):
            return
        if not parts(self._trained) and manifest.folder_of(self._trained) is None:
            manifest.begin(self.directory)  # one of a version without stays without
            self._write_about(self.directory)  # by which it is known for a tracker's
        self.write_samples(self._tracked)
        new = self.frame()[self._written :].rename(columns={"ratio": "dvar_ratio"})
        columns = {"step": "int64"} | dict.fromkeys(map(str, new.columns[1:]), "float64")
        write_part(self._trained, columns, new)
        self._write_about(self.directory)
        self._written = len(self._rows)

    def _write_about(self, directory: Path) -> None:
        about = {
            "losses": list(self.losses),
            "watch": self.watch,
            "criterion": repr(self._watch.criterion),
            "every": self.every,
            "best_step": self.best_step,
            "stop_step": self.stop_step,
        }
        write_json(directory / "tracker.json", about)

    def write_samples(self, directory: Path) -> None:
        """Write the losses of samples as a part of the trace in `directory`, and forget them."""
        if self._samples:
            rows = pd.concat(self._samples, ignore_index=True)
            write_part(directory, TRACKED_COLUMNS, rows)
            self._samples = []

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, of plain numbers, lists and dicts; writes what `out` lacks.

        The losses of samples are in it where there is no `out`.
        """
        self.close()
        watch = self._watch
        return {
            "rows": [dict(row) for row in self._rows],
            "samples": [] if self.directory else self.samples().to_dict("list"),
            "sizes": dict(self._sizes),
            "seconds": dict(self.seconds),
            "criterion": watch.criterion.state_dict(),
            "watch": {name: getattr(watch, name) for name in _OF_WATCH},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state` exactly; what `out` holds of later steps is removed.

        Raises `UserError` where the criterion was another, or a part of the trace in `out` is
        damaged.
        """
        self._watch.criterion.load_state_dict(dict(state["criterion"]))
        for name in _OF_WATCH:
            setattr(self._watch, name, state["watch"][name])
        self._rows = [dict(row) for row in state["rows"]]
        self._samples = [pd.DataFrame(state["samples"])] if state["samples"] else []
        self._sizes, self.seconds = dict(state["sizes"]), dict(state["seconds"])
        self._resumed, self._written = True, len(self._rows)
        if self.directory is not None:
            last = int(self._rows[-1]["step"]) if self._rows else -1
            for trace in (self._trained, self._tracked):
                drop_after(trace, last)
                for part in parts(trace):
                    manifest.check(part, OF_A_TRACKER)

    def _tell_of_wrong(self, step: int, losses: Mapping[str, NDArray[np.float64]]) -> None:
        for name, each in losses.items():
            wrong = np.flatnonzero(~np.isfinite(each))
            if len(wrong):
                more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
                warnings.warn(
                    f"losses['{name}'] at step {step}: sample {wrong[0]}{more} of {len(each)} is "
                    f"{each[wrong[0]]}; the value is recorded, and neither best nor a reason to "
                    "stop",
                    NonFiniteLossWarning,
                    stacklevel=3,
                )

    @property
    def _trained(self) -> Path:
        assert self.directory is not None
        return self.directory / "traces" / "train"

    @property
    def _tracked(self) -> Path:
        assert self.directory is not None
        return self.directory / "traces" / "tracked"

    def _require_vacant(self, directory: Path) -> None:
        if directory.is_file() or parts(self._trained):
            raise UserError(
                f"out: '{directory}' holds a trace already; choose another folder, or go on with "
                "load_state_dict"
            )

    def _evaluated(self, name: str, evaluate: Losses, step: int) -> NDArray[np.float64]:
        try:
            losses = _on_cpu(evaluate())
        except Exception as error:
            self.close()
            what = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(f"losses['{name}'] failed at step {step}: {what}") from error
        size = self._sizes.get(name, losses.size)
        wrong = ""
        if losses.ndim != 1 or not losses.size:
            wrong = f"shape {losses.shape}; give one loss per sample, (B,), unreduced"
        elif losses.size != size:
            wrong = f"{losses.size} losses, and {size} before; give those of the same samples"
        if wrong:
            self.close()
            raise UserError(f"losses['{name}'] gave at step {step} {wrong}")
        self._sizes[name] = size
        return losses


def _on_cpu(given: Any) -> NDArray[np.float64]:
    if hasattr(given, "detach"):  # a tensor, perhaps on a GPU and in a type that numpy lacks
        given = given.detach().cpu().double().numpy()
    return np.array(given, dtype=np.float64)


_OF_WATCH = ("fires", "fired_step", "best_step", "seen", "lowest")


@contextmanager
def undisturbed(modules: Sequence[Any] = ()) -> Iterator[None]:
    """Leave every random state, and the mode of each of `modules`, as they were.

    Random states are those of Python, numpy, and torch on all devices that are in use; what is not
    imported is left alone. Within, `modules` are in evaluation mode.
    """
    torch: Any = sys.modules.get("torch")
    modes = [(each, each.training) for module in modules for each in module.modules()]
    drawn, drawn_by_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with ExitStack() as stack:
        if torch is not None:
            devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
            stack.enter_context(torch.random.fork_rng(devices))
            if torch.backends.mps.is_available():
                stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
        try:
            for module in modules:
                module.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training
            random.setstate(drawn)
            np.random.set_state(drawn_by_numpy)  # noqa: NPY002


def torch_without_gradients() -> Any:
    """Torch's `no_grad`, where torch is imported."""
    torch: Any = sys.modules.get("torch")
    return ExitStack() if torch is None else torch.no_grad()
