"""The diffusion models: one interface, one file per family."""

from collections.abc import Collection
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noiseprobe.core.errors import UserError
from noiseprobe.run.defaults import BUNDLED_MODEL
from noiseprobe.run.families import (
    FAMILIES,
    hub_file,
    index_of,
    pipeline_of,
    require_its_files,
)

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
    masters: Collection[str] = (),
    quantize: str | None = None,
    aside: bool = False,
    **options: Any,
) -> "DiffusionModel":
    """The model in a directory or file, or under a hub id (`tiny-sd`: the bundled one).

    All weights are frozen and in evaluation mode. The VAE is in float32, for what it encodes is
    what is learned, and float16 is not enough for that of SDXL.

    Args:
        source: what is loaded.
        device: `auto` (CUDA, then MPS, then CPU) or a torch device.
        precision: of the denoiser and the text encoders: auto, fp32, bf16 or fp16.
        variant: of the weights of a directory or hub id, such as fp16.
        revision: of a hub id: a branch, tag or commit.
        vae: a directory, file or hub id of another autoencoder.
        base: the pipeline's directory or hub id that a file's other parts come from.
        prediction: what the denoiser in a file predicts, if it does not say so.
        masters: `denoiser`, `encoders`: those that are in float32 until `settle` is called, for
            what is trained starts from them.
        quantize: `nf4` or `int8`: how the denoiser's weights are kept
            (`noiseprobe.models.quantising`).
        aside: leave text encoders and VAE on the CPU, for whoever brings them in when needed.
        options: of `noiseprobe.models.base.DiffusionModel`.

    Raises:
        UserError: a model that cannot be loaded, a device that is not there, or a family that is
            not known.
    """
    where = model_location(source)
    made_for = pipeline_of(where, revision)
    single = Path(where).expanduser().is_file()
    require_its_files(where, variant=variant, base=base, prediction=prediction)

    import torch

    from noiseprobe.models.base import PRECISIONS
    from noiseprobe.models.loading import freeze, load_parts, loading, require_finite
    from noiseprobe.models.quantising import quantise, require_library
    from noiseprobe.models.single_file import SingleFile
    from noiseprobe.models.vaes import load_vae

    chosen = pick_device(device)
    precision = pick_precision(precision, chosen)
    if precision not in PRECISIONS:
        raise UserError(f"--precision: '{precision}' is none of auto, {', '.join(PRECISIONS)}")
    if quantize:
        require_library(quantize)
    made = family(made_for)
    if options.get("clip_skip") is not None:
        made.require_skips()
    known = [part for part in made.part_names() if vae is None or part != "vae"]
    own = {"denoiser": [made.denoiser_name], "encoders": list(made.encoder_names)}
    halved = [part for kind, parts in own.items() if kind not in masters for part in parts]
    dtypes = dict.fromkeys(halved, PRECISIONS[precision])
    if single:
        file = SingleFile(Path(where).expanduser(), base, prediction, revision, variant)
        loaded = file.load(known, made.optional, dtypes)
        usual = file.config_file("vae")
    else:
        index = index_of(where, revision)
        loaded = load_parts(where, index, known, dtypes, variant=variant, revision=revision)
        usual = Path(where).expanduser() / "vae" / "config.json"
    if vae is not None:
        here = single or Path(where).expanduser().is_dir()
        usual = usual if here else hub_file(where, "vae/config.json", revision)
        loaded["vae"] = load_vae(vae, usual)
    for part in known:
        if part not in loaded and part not in made.optional:
            raise UserError(f"--model: '{source}' has no {part}; save the whole pipeline again")
    require_finite(loaded, source)
    if quantize:  # before it goes to a device that may hold it only so
        quantise(loaded[made.denoiser_name], quantize, PRECISIONS[precision], chosen)
    freeze(loaded, chosen, loaded.keys() - {made.denoiser_name} if aside else ())
    with loading(f"--model: '{source}' cannot be used", "check its configurations"):
        model = made(where, loaded, **options)
    if not masters:
        model.settle(precision)
    if precision != "fp32" and chosen.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, for what stays in float32
    return model


def pick_precision(precision: str, device: "torch.device") -> str:
    """The precision named `precision`; `auto` takes bf16 on a GPU that has it, else fp32."""
    import torch

    if precision != "auto":
        return precision
    has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has_it else "fp32"


def family(pipeline: str) -> "type[DiffusionModel]":
    """The family of a known pipeline class."""
    module, kind = FAMILIES[pipeline].split(".")
    made: type[DiffusionModel] = getattr(import_module(f"noiseprobe.models.{module}"), kind)
    return made


def family_at(source: str, revision: str | None = None) -> "type[DiffusionModel]":
    """The family of the model in a directory or file, or under a hub id; raises `UserError`."""
    return family(pipeline_of(model_location(source), revision))


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
        float(torch.zeros((), device=chosen))  # which tensors of shapes alone, "meta", have not
    # In this order: no such device, a torch built without its support, support without kernels.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"--device: '{device}' is not there ({str(error).splitlines()[0]}); try --device auto"
        ) from error
    return chosen
