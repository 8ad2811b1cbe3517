"""What a setting is where it is not given, by the model's family and the method.

Nothing is imported here, so that help pages answer at once.
"""

from typing import Any

BUNDLED_MODEL = "tiny-sd"
DEFAULT_CONCEPT = "banded-cup"

PUBLISHED_CLIP = "openai/clip-vit-base-patch32"
"""The CLIP of Voronov et al. 2023, for every model but the bundled one."""

METHODS = ("textual-inversion", "dreambooth", "dreambooth-lora", "custom-diffusion")
"""The names of the methods, in the order of all tables."""

_BY_FAMILY = (
    *("train_batch_size", "eval_batch", "checkpoint_every", "sampling_steps"),
    *("check_every", "num_class_images"),
)
_FAMILY_DEFAULTS: dict[str, tuple[int, ...]] = {
    # Voronov et al. 2023, in common to all methods.
    "stable-diffusion": (2, 4, 250, 50, 50, 200),
    # Chosen for runs of a minute on a laptop; what they show: experiments/defaults/RESULTS.md.
    BUNDLED_MODEL: (4, 8, 10, 25, 15, 64),
}

_BY_METHOD = ("steps", "learning_rate", "window", "threshold", "guidance", "patience", "eps")

_METHOD_DEFAULTS: dict[str, dict[str, tuple[float, ...]]] = {
    # The most steps, learning rate, guidance, DVAR's window and threshold and the CLIP criterion's
    # patience and eps of Voronov et al. 2023. Full DreamBooth is not among its methods: it learns
    # at 5e-6 with a batch of 2, as in the diffusers example, and stops as DreamBooth-LoRA does.
    "stable-diffusion": {
        "textual-inversion": (6100, 5e-3, 310, 0.15, 7.5, 6, 0.02),
        "dreambooth": (1000, 2.5e-6, 440, 0.4, 6.0, 3, 0.04),
        "dreambooth-lora": (1000, 5e-4, 440, 0.4, 6.0, 3, 0.04),
        "custom-diffusion": (500, 1e-5, 180, 0.15, 6.0, 6, 0.02),
    },
    # Window and threshold: those that experiments/comparison/CONFIRMED-stratified.md takes.
    BUNDLED_MODEL: {
        "textual-inversion": (300, 1e-3, 120, 0.4, 4.0, 6, 0.02),
        "dreambooth": (600, 7.5e-5, 60, 0.05, 4.0, 6, 0.02),
        "dreambooth-lora": (300, 5e-4, 80, 0.2, 4.0, 6, 0.02),
        "custom-diffusion": (300, 1e-4, 120, 0.1, 4.0, 6, 0.02),
    },
}

_CLIPPED = {"max_grad_norm": 1.0}
_ALSO: dict[str, dict[str, Any]] = {
    "dreambooth": _CLIPPED,
    "dreambooth-lora": _CLIPPED,
    "custom-diffusion": _CLIPPED | {"prior": True, "rescale": True, "center_crop": False},
}
_BUNDLED_ALSO: dict[str, dict[str, Any]] = {"dreambooth": {"checkpoint_every": 50}}

RATE_WITH_PRIOR = {"custom-diffusion": 2.0}
"""By what prior preservation multiplies a method's learning rate, as its publication does."""

_BY_OPTIMIZER: dict[str, dict[str, Any]] = {
    "prodigy": {"learning_rate": 1.0, "scale_lr": False},
}
"""Prodigy finds its rate, of which the learning rate is a factor (arXiv 2306.06101, section 6)."""

USUAL_CLIP = {"stable-diffusion": PUBLISHED_CLIP, BUNDLED_MODEL: "tiny-clip"}
"""The CLIP that compares what a family draws with photographs."""


def family_of(model: str) -> str:
    """The family whose defaults apply to `--model`."""
    return BUNDLED_MODEL if model == BUNDLED_MODEL else "stable-diffusion"


def defaults_of(model: str, method: str, optimizer: str = "adamw") -> dict[str, Any]:
    """Every default that depends on the model's family, the method or the optimizer."""
    family = family_of(model)
    common: dict[str, Any] = dict(zip(_BY_FAMILY, _FAMILY_DEFAULTS[family], strict=True))
    if method not in METHODS:
        return common
    own = dict(zip(_BY_METHOD, _METHOD_DEFAULTS[family][method], strict=True))
    rare = _BUNDLED_ALSO.get(method, {}) if family == BUNDLED_MODEL else {}
    return common | own | _ALSO.get(method, {}) | rare | _BY_OPTIMIZER.get(optimizer, {})


def shown(key: str) -> str:
    """A setting's default in words: one number, or one per method, and the bundled model's.

    Methods are those of `METHODS`, in their order.
    """
    usual, bundled = _listed("stable-diffusion", key), _listed(BUNDLED_MODEL, key)
    by_method = "by method " if " / " in usual + bundled else ""
    differs = f"; {BUNDLED_MODEL}: {bundled}" if bundled != usual else ""
    also = "; prodigy: 1" if key == "learning_rate" else ""
    return f"{by_method}{usual}{differs}{also}"


def _listed(family: str, key: str) -> str:
    values = [f"{defaults_of(family, method)[key]:g}" for method in METHODS]
    return " / ".join(values) if len(set(values)) > 1 else values[0]
