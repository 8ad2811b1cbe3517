"""One sample of a training, a fixed batch or a probe, computed again alone."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Silent
from noiseprobe.draws.draws import Batch, Stream
from noiseprobe.draws.factors import parse_setting
from noiseprobe.draws.sobol import sobol_design
from noiseprobe.run.directory import Run
from noiseprobe.stages.pipeline import prepare_prior
from noiseprobe.stages.probing import Rows
from noiseprobe.training.fixed_losses import fixed_losses_of
from noiseprobe.training.methods.base import Method
from noiseprobe.training.objective import MicroBatches, Objective
from noiseprobe.training.preparing import Personalization, prepare
from noiseprobe.training.states import read_state

Of = Literal["train", "prior", "l_det", "l_val", "probe", "held-out", "sobol"]
"""What a sample belongs to: a training batch, one of class images, a fixed batch, or a probe."""


@dataclass(frozen=True)
class Reproduced:
    """One sample alone.

    Attributes:
        loss: of the sample, in units of the training objective, not weighted.
        grad_norm: the norm of its gradient; NaN of checkpoints of another trainer.
        weights_of: after how many steps the weights are that it was computed with.
        photograph, view, caption, timestep: what the sample sees.
    """

    loss: float
    grad_norm: float
    weights_of: int
    photograph: str
    view: int
    caption: str
    timestep: float


def reproduce(
    run: Path | str,
    step: int,
    sample: int,
    of: Of = "train",
    setting: str = "original",
    replicate: int = 1,
    weights: int | None = None,
) -> Reproduced:
    """Compute one sample of a run again, alone: its loss, its gradient, and what it sees.

    Nothing is written. What an error line says of a number that is not finite calls this.

    Args:
        run: the run directory.
        step: of a training batch the step that takes it, from 1; else after how many steps it was.
        sample: its index in the batch, from 0.
        of: what it belongs to.
        setting: of a sample of a probe; of the Sobol design its row.
        replicate: the redraw; of the Sobol design the pair.
        weights: after how many steps; by default those that it was computed with. Where these are
            not kept, those of the last checkpoint before: `weights_of` says which.

    Raises:
        UserError: there is no such run, sample or setting.

    Examples:
        >>> import noiseprobe
        >>> noiseprobe.reproduce("runs/dog", 120, 3).loss  # doctest: +SKIP
        nan
    """
    opened = Run.open(run)
    config = opened.config
    ready = prepare(config, opened)
    objective, batch, captions = _drawn(opened, ready, of, step, sample, setting, replicate)
    trains = of in ("train", "prior")
    wanted = step - trains if weights is None else weights
    weights_of = _load(opened, ready.method, wanted, step if trains else wanted)
    with torch.set_grad_enabled(bool(ready.method.parameters())):
        loss = objective.losses(batch, captions).sum()
    return Reproduced(
        loss=loss.item(),
        grad_norm=_gradient_norm(loss, ready.method),
        weights_of=weights_of,
        photograph=objective.names[int(batch.images[0])],
        view=int(batch.views[0]),
        caption=captions[0],
        timestep=float(batch.timesteps[0]),
    )


def _gradient_norm(loss: Tensor, method: Method) -> float:
    """NaN where nothing is trained here, as with the checkpoints of another trainer."""
    if not loss.requires_grad:
        return math.nan
    found = torch.autograd.grad(loss, method.parameters(), allow_unused=True)
    norm = torch.nn.utils.get_total_norm([each for each in found if each is not None])
    return float(norm)


def _drawn(
    run: Run,
    ready: Personalization,
    of: Of,
    step: int,
    sample: int,
    setting: str,
    replicate: int,
) -> tuple[Objective, Batch, list[str]]:
    """The objective, what was drawn for the sample, and its caption."""
    config, method, objective = ready.config, ready.method, ready.objective
    if of not in get_args(Of):
        raise UserError(f"of: '{of}' given; choose one of {', '.join(get_args(Of))}")
    if of in ("l_val", "held-out") and ready.held_out is None:
        raise UserError(f"of: '{of}' given, but '{run.directory}' holds no photograph out")
    if of == "prior":
        if not config.prior:
            raise UserError(f"of: 'prior' given, but '{run.directory}' has no class images")
        prior = prepare_prior(run, config, ready)
        batch = prior.objective.draws(config.seed, "prior", 1).batch([sample], step)
        return prior.objective, batch, prior.captions_of(batch)
    if of in ("l_det", "l_val"):
        parts = MicroBatches.of(ready.model, config.micro_batch, Silent())
        each = fixed_losses_of(objective, ready.held_out, method.captions, config, parts)[of]
        if not 0 <= sample < len(each.fixed.batch):
            raise UserError(f"sample: {sample} given; {of} has {len(each.fixed.batch)}")
        objective, batch = each.objective, each.fixed.batch[sample : sample + 1]
    elif of == "train":
        draws = objective.draws(config.seed, "train", len(method.captions))
        batch = draws.batch([sample], step)
    else:
        objective = ready.held_out or objective if of == "held-out" else objective
        stream: Stream = "held-out" if of == "held-out" else "probe"
        draws = objective.draws(config.seed, stream, len(method.captions))
        if of == "sobol":
            design = sobol_design(draws, replicate, sample + 1)
            row = design.keys().index((setting, replicate, sample))
            batch = design.part(np.array([row])).batch(draws, slice(0, 1))
        else:
            rows = Rows([parse_setting(setting)], np.array([replicate]), np.array([sample]))
            batch = rows.batch(draws, slice(0, 1))
    return objective, batch, objective.captions(batch, method.captions)


def _load(run: Run, method: Method, wanted: int, step: int) -> int:
    """Put the weights after `wanted` steps into the model, or the last ones before that are kept.

    Those after `step` are the same where that one was skipped. Returns after how many steps they
    are.
    """
    for file in (run.state_file, run.state_before_file):
        state = read_state(file)[0] if file.is_file() else None
        if state is not None and state["step"] == wanted:
            method.load(state["tensors"])
            return wanted
    known = run.checkpoint_steps()
    if step != wanted and step in known and wanted not in known:
        trace = run.train_trace().set_index("step")["skipped"]
        if trace.get(step) == 1:
            method.restore(run.checkpoint(step))
            return wanted
    before = [each for each in known if each <= wanted]
    if not before:
        raise UserError(f"'{run.directory}' keeps no weights of step {wanted} or before")
    method.restore(run.checkpoint(before[-1]))
    return before[-1]
