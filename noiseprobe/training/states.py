"""The saved states of a training: the newest, and the one before it."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import keep_as, written_whole
from noiseprobe.core.progress import Reporter
from noiseprobe.run.directory import Run
from noiseprobe.run.traces import TRAIN_COLUMNS, first_step, gap_in, parts, read_part


def save_state(run: Run, state: dict[str, Any]) -> None:
    """Save `state` as the newest; what was the newest is kept as the one before."""
    if run.state_file.is_file():
        keep_as(run.state_file, run.state_before_file)
    with written_whole(run.state_file) as beside:
        torch.save(state, beside)


def load_state(run: Run, reporter: Reporter) -> dict[str, Any] | None:
    """The newest state that is whole and has a whole trace up to its step; None if none was saved.

    Where it is not the newest, the reporter is told.

    Raises:
        UserError: none is; training can only begin anew.
    """
    files = [each for each in (run.state_file, run.state_before_file) if each.exists()]
    wrong: list[str] = []
    if not files and manifest.known_entry(run.state_before_file) is not None:
        wrong.append(f"'{run.state_file}' is missing")
    for file in files:
        state, why = read_state(file)
        if state is not None:
            why = lacking(run, state["step"])
            if not why:
                for each in wrong:
                    reporter.note(f"warning: {each}; going on from step {state['step']}")
                return state
        wrong.append(why)
    if wrong:
        raise UserError(
            f"{wrong[0]}, and there is no earlier state to go on from; to train it anew from the "
            f"start: noiseprobe verify {run.directory} --repair"
        )
    return None


def lacking(run: Run, step: int) -> str:
    """What the trace of `run` lacks of a whole one up to `step`; empty if nothing."""
    seen: list[int] = []
    for part in parts(run.train_directory):
        if first_step(part) > step:
            break
        try:
            seen += read_part(part, TRAIN_COLUMNS, "")["step"].tolist()
        except UserError as error:
            return str(error).partition(";")[0]
    gap = gap_in(np.array(seen, dtype=np.int64), every=True)
    if gap or not seen or seen[-1] < step:
        gap = gap or f"the steps after {seen[-1] if seen else 0} are missing"
        return f"'{run.train_directory}': {gap}"
    return ""


def read_state(file: Path) -> tuple[dict[str, Any] | None, str]:
    """A state, and an empty text; or None, and why there is none."""
    for place, wrong in manifest.wrong_in(file):
        return None, f"'{place}' {wrong}"
    try:
        return torch.load(file, map_location="cpu", weights_only=True), ""
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        first = str(error).partition("\n")[0].partition(". ")[0]
        return None, f"'{file}' is damaged: {first or type(error).__name__}"
