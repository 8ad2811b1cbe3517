"""Which settings go together, and which of them a person may give."""

import inspect
from collections.abc import Mapping
from typing import Any

from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.run.defaults import defaults_of
from noiseprobe.run.families import require_its_files
from noiseprobe.run.settings import ABOUT, LOG_WITH, PER_SAMPLE, TRACKED, WATCHED, RunConfig, flag

POLYNOMIAL_END = 1e-7
"""The learning rate to which diffusers' schedule `polynomial` falls."""


def check_recorded(config: RunConfig) -> None:
    """Raise `UserError` where a criterion looks at what such a run does not record."""
    held = config.hold_out is not None or config.validation is not None
    if config.watch not in (None, *WATCHED):
        mend = did_you_mean(str(config.watch), WATCHED, f"choose one of {', '.join(WATCHED)}")
        raise UserError(f"--watch: '{config.watch}' given, but it is not recorded; {mend}")
    if unknown := [each for each in config.track if each not in TRACKED]:
        raise UserError(f"--track: '{unknown[0]}' given; choose {' or '.join(TRACKED)}")
    if unknown := [each for each in config.log_with if each not in LOG_WITH]:
        mend = did_you_mean(unknown[0], LOG_WITH, f"choose of {', '.join(LOG_WITH)}")
        raise UserError(f"--log-with: '{unknown[0]}' given; {mend}")
    if config.snr_gamma is not None and config.weighting != "min-snr":
        raise UserError("--snr-gamma: it belongs to --weighting min-snr; add that, or leave it out")
    if config.lr_warmup and config.lr_schedule == "constant":
        raise UserError(
            "--lr-warmup: a constant learning rate has none; add --lr-schedule constant_with_warmup"
        )
    if config.lr_schedule == "polynomial" and config.effective_learning_rate <= POLYNOMIAL_END:
        raise UserError(
            f"--learning-rate: polynomial falls to {POLYNOMIAL_END:g}, and the rate is "
            f"{config.effective_learning_rate:g}; give a higher one, or --lr-schedule linear"
        )
    for flag_of, given in (
        ("--gradient-checkpointing", config.gradient_checkpointing),
        ("--quantize", config.quantize),
    ):
        if config.compile == "on" and given:
            raise UserError(f"--compile: it does not go with {flag_of}; leave one of them out")
    if config.tracks("paired") and config.samples_per_step < 2:
        raise UserError(
            "--track: the error of the paired loss is told by the samples of a batch, and there is "
            "one; give --train-batch-size 2 or more"
        )
    if config.hold_out is not None and config.validation is not None:
        raise UserError("--validation: it takes the place of --hold-out; give one of them")
    if config.cross and held:
        raise UserError(
            "--cross: it holds each photograph out in turn; leave out --hold-out and --validation"
        )
    if config.refit and config.hold_out is None:
        raise UserError(
            "--refit: nothing is held out that could be added; add --hold-out 1, or leave it out"
        )
    if config.watched == "l_val" and not held and not config.cross:
        raise UserError(
            f"--{'stop' if config.watch is None else 'watch'}: l_val is the loss on held-out "
            "photographs, and there are none; add --hold-out 1 or --validation DIR"
        )
    if config.stop == "turn" and config.watched not in PER_SAMPLE:
        raise UserError(
            f"--watch: turn looks at the losses of samples, and {config.watched} has none; "
            f"choose one of {', '.join(PER_SAMPLE)}"
        )
    decides = config.stop != "none" or config.keep == "best"
    if decides and (config.stop == "recent-gain") != (config.watched == "recent"):
        raise UserError(
            "--watch: recent-gain looks at recent, and nothing else does; give neither or both"
        )


def require_its_own(given: Mapping[str, Any], config: RunConfig) -> None:
    """Raise `UserError` where a setting was given that counts with another method or criterion."""
    from noiseprobe.stopping import CRITERIA

    if given.get("watch", config.watched) != config.watched:
        raise UserError(
            f"--watch: the criterion {config.stop} looks at {config.watched}; leave it out"
        )
    if config.cross and {"stop", "watch", "keep"} & given.keys():
        raise UserError(
            "--cross: it takes as many steps as were best on average; leave out --stop, --watch "
            "and --keep"
        )
    require_its_files(
        config.model, variant=config.variant, base=config.base, prediction=config.prediction
    )
    usual = (
        defaults_of(config.model, config.method, config.revision, config.optimizer) if given else {}
    )
    for key in given:
        about, field = ABOUT[key], RunConfig.model_fields[key]
        if getattr(config, key) == usual.get(key, field.default):
            continue
        if about.methods and config.method not in about.methods:
            raise UserError(
                f"{flag(key)}: it belongs to {' and '.join(about.methods)}, not to "
                f"{config.method}; leave it out"
            )
        watched = {config.stop, "clip" if config.checks else ""}
        if about.criteria and config.stop != "none" and watched.isdisjoint(about.criteria):
            mend = "leave it out"
            if key in inspect.signature(CRITERIA.get(config.stop, object)).parameters:
                mend = f"write --param {key}={getattr(config, key)}"
            raise UserError(
                f"{flag(key)}: it belongs to --stop {about.criteria[0]}, not to {config.stop}; "
                f"{mend}"
            )
