"""What a setting is where it is not given, by the model's family and the method.

Nothing is imported at the top, so that help pages answer at once.
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
    # Batches of diffusers' training scripts, sampling steps of its pipelines and, of -schnell, of
    # its documentation; else as above. A checkpoint after each tenth of the steps.
    "stable-diffusion-xl": (1, 4, 50, 50, 50, 200),
    "stable-diffusion-3": (1, 4, 50, 28, 50, 200),
    "flux": (1, 4, 50, 28, 50, 200),
    "flux-schnell": (1, 4, 50, 4, 50, 200),
    "sana": (1, 4, 50, 20, 50, 200),
    "pixart-sigma": (1, 4, 50, 20, 50, 200),
    # Chosen for runs of a minute on a laptop; what they show: experiments/defaults/RESULTS.md.
    BUNDLED_MODEL: (4, 8, 10, 25, 15, 64),
}

_BY_METHOD = ("steps", "learning_rate", "window", "threshold", "guidance", "patience", "eps")

# DVAR and the CLIP criterion are published for Stable Diffusion alone. Window and threshold by the
# number of steps: of 500 as for Custom Diffusion, of 1000 as for DreamBooth-LoRA. Patience and eps
# by method.
_DVAR_500, _DVAR_1000 = (180, 0.15), (440, 0.4)
_PATIENT, _HASTY = (6, 0.02), (3, 0.04)

_METHOD_DEFAULTS: dict[str, dict[str, tuple[float, ...]]] = {
    "stable-diffusion": {
        "textual-inversion": (6100, 5e-3, 310, 0.15, 7.5, 6, 0.02),
        "dreambooth": (1000, 2.5e-6, 440, 0.4, 6.0, 3, 0.04),
        "dreambooth-lora": (1000, 5e-4, 440, 0.4, 6.0, 3, 0.04),
        "custom-diffusion": (500, 1e-5, 180, 0.15, 6.0, 6, 0.02),
    },
    # Of the others, steps and rates are of SOURCES, and guidance is of the stock pipeline.
    "stable-diffusion-xl": {
        "textual-inversion": (500, 5e-4, *_DVAR_500, 5.0, *_PATIENT),
        "dreambooth": (1000, 1e-6, *_DVAR_1000, 5.0, *_HASTY),
        "dreambooth-lora": (500, 1e-4, *_DVAR_500, 5.0, *_HASTY),
        "custom-diffusion": (500, 1e-5, *_DVAR_500, 5.0, *_PATIENT),
    },
    "stable-diffusion-3": {
        "textual-inversion": (500, 5e-4, *_DVAR_500, 7.0, *_PATIENT),
        "dreambooth": (500, 1e-4, *_DVAR_500, 7.0, *_HASTY),
        "dreambooth-lora": (500, 4e-4, *_DVAR_500, 7.0, *_HASTY),
        "custom-diffusion": (500, 1e-5, *_DVAR_500, 7.0, *_PATIENT),
    },
    "flux": {
        "textual-inversion": (500, 5e-4, *_DVAR_500, 3.5, *_PATIENT),
        "dreambooth": (500, 1e-4, *_DVAR_500, 3.5, *_HASTY),
        "dreambooth-lora": (500, 1e-4, *_DVAR_500, 3.5, *_HASTY),
        "custom-diffusion": (500, 1e-5, *_DVAR_500, 3.5, *_PATIENT),
    },
    "sana": {
        "textual-inversion": (500, 5e-4, *_DVAR_500, 4.5, *_PATIENT),
        "dreambooth": (500, 1e-4, *_DVAR_500, 4.5, *_HASTY),
        "dreambooth-lora": (500, 1e-4, *_DVAR_500, 4.5, *_HASTY),
        "custom-diffusion": (500, 1e-5, *_DVAR_500, 4.5, *_PATIENT),
    },
    "pixart-sigma": {
        "textual-inversion": (500, 5e-4, *_DVAR_500, 4.5, *_PATIENT),
        "dreambooth": (1000, 1e-6, *_DVAR_1000, 4.5, *_HASTY),
        "dreambooth-lora": (500, 1e-4, *_DVAR_500, 4.5, *_HASTY),
        "custom-diffusion": (500, 1e-5, *_DVAR_500, 4.5, *_PATIENT),
    },
    # Window and threshold: those that experiments/comparison/CONFIRMED-stratified.md takes.
    BUNDLED_MODEL: {
        "textual-inversion": (300, 1e-3, 120, 0.4, 4.0, 6, 0.02),
        "dreambooth": (600, 7.5e-5, 60, 0.05, 4.0, 6, 0.02),
        "dreambooth-lora": (300, 5e-4, 80, 0.2, 4.0, 6, 0.02),
        "custom-diffusion": (300, 1e-4, 120, 0.1, 4.0, 6, 0.02),
    },
}
_PAPER, _NEAR_INVERSION = "Voronov et al. 2023", "none; nearest: textual inversion of SDXL"
_FLUX_RATE = "dreambooth/README_flux.md; the rate, for AdamW, of its script"

SOURCES: dict[str, tuple[str, str, str, str]] = {
    "stable-diffusion": (
        _PAPER,
        "none there; the rate of dreambooth/README.md, else as DreamBooth-LoRA",
        _PAPER,
        _PAPER,
    ),
    "stable-diffusion-xl": (
        "textual_inversion/README_sdxl.md",
        "none; nearest: steps as Stable Diffusion, the rate of text_to_image/README_sdxl.md",
        "dreambooth/README_sdxl.md",
        "none; nearest: Custom Diffusion of Stable Diffusion",
    ),
    "stable-diffusion-3": ("", "dreambooth/README_sd3.md", "dreambooth/README_sd3.md", ""),
    "flux": (_NEAR_INVERSION, _FLUX_RATE, _FLUX_RATE, ""),
    "sana": ("", "none; nearest: DreamBooth of SD3", "dreambooth/README_sana.md", ""),
    "pixart-sigma": ("", "none; nearest: DreamBooth of SDXL", "", ""),
}
"""Where steps and rates are published, for each of `METHODS`: a paper, or diffusers' examples.

Empty where what is trained could not be loaded by diffusers, which refuses the combination.
"""

_METHOD_DEFAULTS["flux-schnell"] = {  # which draws without guidance
    method: (*own[:4], 0.0, *own[5:]) for method, own in _METHOD_DEFAULTS["flux"].items()
}

_CLIPPED = {"max_grad_norm": 1.0}
_ALSO: dict[str, dict[str, Any]] = {
    "dreambooth": _CLIPPED,
    "dreambooth-lora": _CLIPPED,
    "custom-diffusion": _CLIPPED | {"prior": True, "rescale": True, "center_crop": False},
}
_LARGE = _FAMILY_DEFAULTS.keys() - {"stable-diffusion", BUNDLED_MODEL}
_OF_FAMILY_ALSO: dict[str, dict[str, dict[str, Any]]] = {
    BUNDLED_MODEL: {"dreambooth": {"checkpoint_every": 50}},
    # A checkpoint is a whole denoiser, of up to 48 GB.
    **{family: {"dreambooth": {"checkpoint_every": 250}} for family in _LARGE},
}

RATE_WITH_PRIOR = {"custom-diffusion": 2.0}
"""By what prior preservation multiplies a method's learning rate, as its publication does."""

_BY_OPTIMIZER: dict[str, dict[str, Any]] = {
    "prodigy": {"learning_rate": 1.0, "scale_lr": False},
}
"""Prodigy finds its rate, of which the learning rate is a factor (arXiv 2306.06101, section 6)."""

SHORT = {
    "stable-diffusion": "Stable Diffusion",
    "stable-diffusion-xl": "SDXL",
    "stable-diffusion-3": "SD3",
    "flux": "FLUX.1-dev",
    "flux-schnell": "FLUX.1-schnell",
    "sana": "Sana",
    "pixart-sigma": "PixArt-Σ",
    BUNDLED_MODEL: BUNDLED_MODEL,
}
"""What tables call each family."""


def usual_clip(model: str) -> str:
    """The CLIP that compares what a model draws with photographs."""
    return "tiny-clip" if model == BUNDLED_MODEL else PUBLISHED_CLIP


def family_of(model: str, revision: str | None = None) -> str:
    """The family whose defaults apply to `--model`: told by its index or file, without torch.

    Raises `UserError` for what is no model, or of no family that is known.
    """
    if model == BUNDLED_MODEL:
        return BUNDLED_MODEL
    from noiseprobe.run.families import FAMILIES, guided, pipeline_of

    family = FAMILIES[pipeline_of(model, revision)].split(".")[0].replace("_", "-")
    return "flux-schnell" if family == "flux" and not guided(model, revision) else family


def defaults_of(
    model: str, method: str, revision: str | None = None, optimizer: str = "adamw"
) -> dict[str, Any]:
    """Every default that depends on model, method or optimizer; see `family_of`."""
    return of_family(family_of(model, revision), method, optimizer)


def of_family(family: str, method: str, optimizer: str = "adamw") -> dict[str, Any]:
    """Every default of a family, a method and an optimizer."""
    common: dict[str, Any] = dict(zip(_BY_FAMILY, _FAMILY_DEFAULTS[family], strict=True))
    if method not in METHODS:
        return common
    own = dict(zip(_BY_METHOD, _METHOD_DEFAULTS[family][method], strict=True))
    rare = _OF_FAMILY_ALSO.get(family, {}).get(method, {})
    return common | own | _ALSO.get(method, {}) | rare | _BY_OPTIMIZER.get(optimizer, {})


def shown(key: str) -> str:
    """A setting's default in words: one number, or one per method, and the bundled model's.

    Methods are those of `METHODS`, in their order. Where other families differ, a page has them.
    """
    usual, bundled = listed("stable-diffusion", key), listed(BUNDLED_MODEL, key)
    by_method = "by method " if " / " in usual + bundled else ""
    others = {listed(family, key) for family in SHORT if family != BUNDLED_MODEL}
    elsewhere = "; other families: docs/settings.md" if others != {usual} else ""
    differs = f"; {BUNDLED_MODEL}: {bundled}" if bundled != usual else ""
    also = "; prodigy: 1" if key == "learning_rate" else ""
    return f"{by_method}{usual}{differs}{elsewhere}{also}"


def listed(family: str, key: str) -> str:
    """A setting's default of a family: one number, or one for each of `METHODS`."""
    values = [f"{of_family(family, method)[key]:g}" for method in METHODS]
    return " / ".join(values) if len(set(values)) > 1 else values[0]
