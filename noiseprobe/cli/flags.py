"""The flags that are settings of a run: each declared once, and taken by name by commands."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from noiseprobe.run.defaults import METHODS, PUBLISHED_CLIP, shown

TRAINING, METHOD, PRIOR = "What is trained", "By method", "Prior preservation"
STOPPING, SAMPLING, PROBE = "When to stop", "CLIP checks", "Probe"
MACHINE = "Machine and files"


def option(help: str, panel: str, *names: str, **more: Any) -> Any:
    """A Typer option that belongs to a panel of the help page."""
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


Json = Annotated[bool, option("Print one JSON document, nothing else.", MACHINE, "--json")]
Debug = Annotated[bool, option("Show the traceback of an error.", MACHINE)]

SETTINGS: dict[str, tuple[Any, Any]] = {
    "concept": (
        str,
        option(
            "Folder with 3-6 photographs, or a bundled concept (default: banded-cup).",
            TRAINING,
            metavar="DIR|NAME",
        ),
    ),
    "class_noun": (
        str,
        option("What kind of thing it is, e.g. dog.", TRAINING, "--class", metavar="NOUN"),
    ),
    "placeholder": (str, option("The new word (default: <v>).", TRAINING)),
    "model": (
        str,
        option(
            "Stable Diffusion directory or hub id (default: tiny-sd, the bundled one).", TRAINING
        ),
    ),
    "method": (str, option(f"{', '.join(METHODS)} (default: the first).", TRAINING)),
    "center_crop": (
        bool,
        option("Crop photographs to a square, or squeeze them (default: crop).", TRAINING),
    ),
    "flip": (float, option("Share of photographs seen mirrored (default: 0.5).", TRAINING)),
    "rescale": (
        bool,
        option(
            "See photographs at random sizes, captions saying so (default: custom-diffusion only).",
            TRAINING,
        ),
    ),
    "instance_prompt": (
        str,
        option("The one training caption (default: caption templates; dreambooth: one).", TRAINING),
    ),
    "learning_rate": (float, option(f"AdamW's learning rate {shown('learning_rate')}.", TRAINING)),
    "scale_lr": (bool, option("Multiply it by the batch size (default: yes).", TRAINING)),
    "max_grad_norm": (
        float,
        option("Clip gradients to this norm (default: textual-inversion no, others 1).", TRAINING),
    ),
    "train_batch_size": (int, option(f"Samples per step {shown('train_batch_size')}.", TRAINING)),
    "seed": (int, option("Seed of every draw (default: 0).", TRAINING)),
    "initializer": (
        str,
        option(
            "Word of one token that the new one starts from, or best, worst (by CLIP) or random "
            "(default: the class noun).",
            METHOD,
        ),
    ),
    "num_vectors": (
        int,
        option("textual-inversion: vectors per placeholder (default: 1).", METHOD),
    ),
    "learnable_property": (
        str,
        option("textual-inversion: object (default) or style, for its captions.", METHOD),
    ),
    "rare_word": (str, option("DreamBooth's word for the thing (default: sks).", METHOD)),
    "train_text_encoder": (
        bool,
        option("DreamBooth and -lora: train it as well (default: no).", METHOD),
    ),
    "rank": (int, option(f"dreambooth-lora: rank of the adapters {shown('rank')}.", METHOD)),
    "lora_alpha": (float, option("dreambooth-lora: alpha (default: the rank).", METHOD)),
    "lora_targets": (
        str,
        option("dreambooth-lora: layers (default: to_q,to_k,to_v,to_out.0).", METHOD),
    ),
    "train_word": (
        bool,
        option("dreambooth-lora: learn the placeholder as well (default: yes).", METHOD),
    ),
    "attention": (
        str,
        option("custom-diffusion: crossattn_kv (default), or crossattn.", METHOD),
    ),
    "prior": (
        bool,
        option("Train on class images as well (default: custom-diffusion only).", PRIOR),
    ),
    "prior_weight": (float, option("Weight of their loss, which is added (default: 1).", PRIOR)),
    "class_images": (
        str,
        option(
            "Folder of class images, with a captions.txt or not; missing ones are drawn by the "
            "model (default: class-images in the run).",
            PRIOR,
            metavar="DIR",
        ),
    ),
    "num_class_images": (int, option(f"How many {shown('num_class_images')}.", PRIOR)),
    "class_prompt": (str, option("Their caption (default: a photo of a NOUN).", PRIOR)),
    "steps": (int, option(f"Most steps to train {shown('steps')}.", STOPPING)),
    "stop": (str, option("dvar (default), clip, fixed or none: run all --steps.", STOPPING)),
    "window": (int, option(f"DVAR: last values of L_det {shown('window')}.", STOPPING)),
    "threshold": (
        float,
        option(f"DVAR: stop below this variance ratio {shown('threshold')}.", STOPPING),
    ),
    "eval_batch": (
        int,
        option(f"Samples of the fixed batch of L_det {shown('eval_batch')}.", STOPPING),
    ),
    "fixed_batch": (
        str,
        option(
            "How L_det's batch is laid out: random, stratified (default), antithetic or weighted.",
            STOPPING,
        ),
    ),
    "eval_every": (int, option("Steps between values of L_det (default: 1).", STOPPING)),
    "patience": (
        int,
        option(f"CLIP rule: checks without a gain before it stops {shown('patience')}.", STOPPING),
    ),
    "eps": (float, option(f"CLIP rule: the least gain that counts {shown('eps')}.", STOPPING)),
    "checks": (
        bool,
        option("Check CLIP similarity whatever the rule (default: with --stop clip).", SAMPLING),
    ),
    "check_every": (int, option(f"Steps between checks {shown('check_every')}.", SAMPLING)),
    "samples": (int, option("Pictures per check (default: 8).", SAMPLING)),
    "clip": (
        str,
        option(
            f"CLIP directory or hub id (default: {PUBLISHED_CLIP}; tiny-sd: tiny-clip).", SAMPLING
        ),
    ),
    "sampling_steps": (
        int,
        option(f"Denoising steps per picture {shown('sampling_steps')}.", SAMPLING),
    ),
    "guidance": (float, option(f"Guidance scale {shown('guidance')}.", SAMPLING)),
    "sampling_seed": (int, option("Seed of the pictures (default: 1).", SAMPLING)),
    "settings": (
        str,
        option(
            "Comma-separated: deterministic, images, captions, vae_noise, timesteps, noise, "
            "original, a sum such as timesteps+noise, or a code such as 11110 (default: all "
            "seven).",
            PROBE,
        ),
    ),
    "replicates": (int, option(f"Redraws per setting {shown('replicates')}.", PROBE)),
    "probe_batch": (int, option(f"Samples per redraw {shown('probe_batch')}.", PROBE)),
    "micro_batch": (
        int,
        option("Samples that the denoiser takes at once (default: 64).", PROBE),
    ),
    "checkpoint_every": (
        int,
        option(f"Steps between checkpoints {shown('checkpoint_every')}.", MACHINE),
    ),
    "device": (str, option("auto (default), cuda, mps, cpu.", MACHINE)),
    "precision": (str, option("Of the denoiser: fp32 (default), bf16, fp16.", MACHINE)),
}
"""The flags that are settings of a run, each a key of `RunConfig`: its type and its option."""

PROBE_SETTINGS = ("settings", "replicates", "probe_batch", "micro_batch")


def taking(*keys: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of these settings; it reads them with `changed`."""

    def widen(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        context, *others = own.parameters.values()
        flags = [
            inspect.Parameter(
                key,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[SETTINGS[key][0] | None, SETTINGS[key][1]],
            )
            for key in keys
        ]
        others = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in others]

        @functools.wraps(command)
        def widened(*positional: Any, **named: Any) -> None:
            command(*positional, **{key: named[key] for key in named if key in own.parameters})

        # Required arguments first, then settings, then where files go.
        required = [each for each in others if each.default is inspect.Parameter.empty]
        rest = [each for each in others if each not in required]
        parameters = [context, *required, *flags, *rest]
        widened.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        widened.__annotations__ = {each.name: each.annotation for each in parameters}
        return widened

    return widen
