"""The diffusion models: one interface, one file per family."""

from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noiseprobe.core.errors import UserError
from noiseprobe.run.defaults import BUNDLED_MODEL
from noiseprobe.run.families import FAMILIES, hub_file, index_of, pipeline_of

if TYPE_CHECKING:
    import torch

    from noiseprobe.models.base import DiffusionModel


def load_model(
    source: str = BUNDLED_MODEL,
    device: str = "auto",
    precision: str = "fp32",
    *,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | None = None,
    base: str | None = None,
    prediction: str | None = None,
    **options: Any,
) -> "DiffusionModel":
    """The model in a directory or file, or under a hub id (`tiny-sd`: the bundled one).

    All weights are frozen, in evaluation mode, and in float32 but for what `precision` says.

    Args:
        source: what is loaded.
        device: `auto` (CUDA, then MPS, then CPU) or a torch device.
        precision: of the denoiser: fp32, bf16 or fp16.
        variant: of the weights of a directory or hub id, such as fp16.
        revision: of a hub id: a branch, tag or commit.
        vae: a directory, file or hub id of another autoencoder.
        base: the pipeline's directory or hub id that a file's other parts come from.
        prediction: what the denoiser in a file predicts, if it does not say so.
        options: of `noiseprobe.models.base.DiffusionModel`.

    Raises:
        UserError: a model that cannot be loaded, a device that is not there, or a family that is
            not known.
    """
    where = model_location(source)
    made_for = pipeline_of(where, revision)
    single = Path(where).expanduser().is_file()
    _require_its_own(single, base=base, prediction=prediction, variant=variant)

    from noiseprobe.models.base import PRECISIONS
    from noiseprobe.models.loading import freeze, load_parts
    from noiseprobe.models.single_file import SingleFile
    from noiseprobe.models.vaes import load_vae

    if precision not in PRECISIONS:
        raise UserError(f"--precision: '{precision}' is none of {', '.join(PRECISIONS)}")
    chosen = pick_device(device)
    made = family(made_for)
    known = [part for part in made.part_names() if vae is None or part != "vae"]
    if single:
        file = SingleFile(Path(where).expanduser(), base, prediction, revision)
        parts = file.load(known, made.optional)
        usual = file.config_file("vae")
    else:
        index = index_of(where, revision)
        parts = load_parts(where, index, known, variant=variant, revision=revision)
        usual = Path(where).expanduser() / "vae" / "config.json"
    if vae is not None:
        here = single or Path(where).expanduser().is_dir()
        usual = usual if here else hub_file(where, "vae/config.json", revision)
        parts["vae"] = load_vae(vae, usual)
    freeze(parts, chosen)
    model = made(where, parts, **options)
    model.settle(precision)
    return model


def _require_its_own(single: bool, *, variant: str | None, **of_files: str | None) -> None:
    """Raise `UserError` where an option of files was given for a directory, or the reverse."""
    if single and variant is not None:
        raise UserError("--variant: a file is what it is; leave it out")
    for name, given in of_files.items():
        if given is not None and not single:
            raise UserError(f"--{name}: a directory or hub id says it itself; leave it out")


def family(pipeline: str) -> "type[DiffusionModel]":
    """The family of a known pipeline class."""
    module, kind = FAMILIES[pipeline].split(".")
    made: type[DiffusionModel] = getattr(import_module(f"noiseprobe.models.{module}"), kind)
    return made


def model_location(source: str, bundled: str = BUNDLED_MODEL) -> str:
    """The directory of the model `bundled` if `source` is its name, else `source` itself."""
    if source == bundled and not Path(source).is_dir():
        return str(files("noiseprobe.models") / "assets" / bundled)
    return source


def pick_device(device: str) -> "torch.device":
    """The torch device named `device`; `auto` takes CUDA, then MPS, then the CPU."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    # In this order: no such device, a torch built without its support, support without kernels.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"--device: '{device}' is not there ({str(error).splitlines()[0]}); try --device auto"
        ) from error
    return chosen
