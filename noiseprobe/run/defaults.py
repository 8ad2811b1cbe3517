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

FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    # Voronov et al. 2023, in common to all methods.
    "stable-diffusion": {
        "train_batch_size": 2,
        "eval_batch": 4,
        "checkpoint_every": 250,
        "probe_batch": 32,
        "replicates": 8,
        "sampling_steps": 50,
        "check_every": 50,
        "num_class_images": 200,
        "rank": 4,
    },
    # Chosen for runs of a minute on a laptop; what they show: experiments/defaults/RESULTS.md.
    BUNDLED_MODEL: {
        "train_batch_size": 4,
        "eval_batch": 8,
        "checkpoint_every": 10,
        "probe_batch": 32,
        "replicates": 8,
        "sampling_steps": 25,
        "check_every": 15,
        "num_class_images": 64,
        "rank": 4,
    },
}

METHOD_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    # The most steps, learning rate, guidance, DVAR's window and threshold and the CLIP rule's
    # patience and eps of Voronov et al. 2023. Full DreamBooth is not among its methods: it learns
    # at 5e-6 with a batch of 2, as in the diffusers example, and takes DreamBooth-LoRA's rules.
    "stable-diffusion": {
        "textual-inversion": {
            "steps": 6100,
            "learning_rate": 5e-3,
            "window": 310,
            "threshold": 0.15,
            "guidance": 7.5,
            "patience": 6,
            "eps": 0.02,
        },
        "dreambooth": {
            "steps": 1000,
            "learning_rate": 2.5e-6,
            "window": 440,
            "threshold": 0.4,
            "guidance": 6.0,
            "patience": 3,
            "eps": 0.04,
            "max_grad_norm": 1.0,
        },
        "dreambooth-lora": {
            "steps": 1000,
            "learning_rate": 5e-4,
            "window": 440,
            "threshold": 0.4,
            "guidance": 6.0,
            "patience": 3,
            "eps": 0.04,
            "max_grad_norm": 1.0,
        },
        "custom-diffusion": {
            "steps": 500,
            "learning_rate": 1e-5,
            "window": 180,
            "threshold": 0.15,
            "guidance": 6.0,
            "patience": 6,
            "eps": 0.02,
            "max_grad_norm": 1.0,
            "prior": True,
            "rescale": True,
            "center_crop": False,
        },
    },
    # Window and threshold: those that experiments/comparison/CONFIRMED-stratified.md takes.
    BUNDLED_MODEL: {
        "textual-inversion": {
            "steps": 300,
            "learning_rate": 1e-3,
            "window": 120,
            "threshold": 0.4,
            "guidance": 4.0,
            "patience": 6,
            "eps": 0.02,
        },
        "dreambooth": {
            "steps": 600,
            "checkpoint_every": 50,
            "learning_rate": 7.5e-5,
            "window": 60,
            "threshold": 0.05,
            "guidance": 4.0,
            "patience": 6,
            "eps": 0.02,
            "max_grad_norm": 1.0,
        },
        "dreambooth-lora": {
            "steps": 300,
            "learning_rate": 5e-4,
            "window": 80,
            "threshold": 0.2,
            "guidance": 4.0,
            "patience": 6,
            "eps": 0.02,
            "max_grad_norm": 1.0,
        },
        "custom-diffusion": {
            "steps": 300,
            "learning_rate": 1e-4,
            "window": 120,
            "threshold": 0.1,
            "guidance": 4.0,
            "patience": 6,
            "eps": 0.02,
            "max_grad_norm": 1.0,
            "prior": True,
            "rescale": True,
            "center_crop": False,
        },
    },
}


RATE_WITH_PRIOR = {"custom-diffusion": 2.0}
"""By what prior preservation multiplies a method's learning rate, as its publication does."""

USUAL_CLIP = {"stable-diffusion": PUBLISHED_CLIP, BUNDLED_MODEL: "tiny-clip"}
"""The CLIP that compares what a family draws with photographs."""

VALIDATION_PROMPTS = {
    # Places for objects, among those of DreamBooth (Ruiz et al. 2022, supplement).
    "stable-diffusion": (
        "a photo of a {} on the beach",
        "a photo of a {} in the jungle",
        "a photo of a {} in the snow",
        "a photo of a {} on a cobblestone street",
        "a photo of a {} on top of a wooden floor",
        "a photo of a {} with a city in the background",
        "a photo of a {} with a mountain in the background",
        "a photo of a {} floating on top of water",
    ),
    # Places that the bundled model knows.
    BUNDLED_MODEL: (
        "a photo of a {} on the beach",
        "a photo of a {} in a forest",
        "a photo of a {} in the snow",
        "a photo of a {} in the desert",
        "a photo of a {} on a wooden floor",
        "a photo of a {} with a city in the background",
        "a photo of a {} with a mountain in the background",
        "a photo of a {} in the sea",
    ),
}
"""What is drawn to see whether a prompt is still followed; `{}` is the thing."""


def family_of(model: str) -> str:
    """The family whose defaults apply to `--model`."""
    return BUNDLED_MODEL if model == BUNDLED_MODEL else "stable-diffusion"


def defaults_of(model: str, method: str) -> dict[str, Any]:
    """Every default that depends on the model's family or on the method."""
    family = family_of(model)
    return FAMILY_DEFAULTS[family] | METHOD_DEFAULTS[family].get(method, {})


def shown(key: str) -> str:
    """A setting's default in words: one number, or one per method, and the bundled model's.

    Methods are those of `METHODS`, in their order.
    """
    usual, bundled = _listed("stable-diffusion", key), _listed(BUNDLED_MODEL, key)
    by_method = "by method " if " / " in usual + bundled else ""
    differs = f"; {BUNDLED_MODEL}: {bundled}" if bundled != usual else ""
    return f"{by_method}{usual}{differs}"


def _listed(family: str, key: str) -> str:
    values = [f"{defaults_of(family, method)[key]:g}" for method in METHODS]
    return " / ".join(values) if len(set(values)) > 1 else values[0]
