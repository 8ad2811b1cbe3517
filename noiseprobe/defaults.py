"""What a setting is where it is not given, by the model's family; nothing is imported here."""

from typing import Any

BUNDLED_MODEL = "tiny-sd"

FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    # Voronov et al. 2023, textual inversion: at most 6100 steps, window 310, threshold 0.15.
    "stable-diffusion": {
        "steps": 6100,
        "window": 310,
        "threshold": 0.15,
        "learning_rate": 5e-3,
        "train_batch_size": 2,
        "eval_batch": 4,
        "checkpoint_every": 250,
        "probe_batch": 32,
        "replicates": 8,
    },
    # Chosen on measured traces of the bundled concepts: experiments/defaults/RESULTS.md.
    BUNDLED_MODEL: {
        "steps": 300,
        "window": 80,
        "threshold": 0.15,
        "learning_rate": 1e-3,
        "train_batch_size": 4,
        "eval_batch": 8,
        "checkpoint_every": 10,
        "probe_batch": 32,
        "replicates": 8,
    },
}


def family_of(model: str) -> str:
    """The family whose defaults apply to `--model`."""
    return BUNDLED_MODEL if model == BUNDLED_MODEL else "stable-diffusion"


def shown(key: str) -> str:
    """A setting's default for a help text, with that of the bundled model where it differs."""
    usual, bundled = (FAMILY_DEFAULTS[family][key] for family in FAMILY_DEFAULTS)
    differs = f"; {BUNDLED_MODEL}: {bundled:g}" if bundled != usual else ""
    return f"(default: {usual:g}{differs})"
