"""Loading a model: a directory or hub id as diffusers saves pipelines, or one file of weights."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from noiseprobe.core.errors import UserError

LIBRARIES = ("diffusers", "transformers")


def load_parts(
    source: str,
    index: Mapping[str, Any],
    known: Iterable[str],
    dtypes: Mapping[str, torch.dtype] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Every part of a pipeline that `known` names and its index has.

    `dtypes` are those of parts that are not in float32. Raises `UserError` naming the part that
    cannot be loaded.
    """
    parts = {}
    for part in known:
        library, kind = index.get(part) or (None, None)
        if library is not None and kind is not None:
            dtype = (dtypes or {}).get(part, torch.float32)
            parts[part] = _load_part(source, part, library, kind, dtype=dtype, **options)
    return parts


def freeze(parts: Mapping[str, Any], device: torch.device, aside: Collection[str] = ()) -> None:
    """Put the modules on `device`, but for those `aside`; frozen, in evaluation mode.

    A UNet is laid out channels-last.
    """
    for name, module in parts.items():
        if isinstance(module, torch.nn.Module):
            module.requires_grad_(False).eval()
            if name not in aside:
                module.to(device)
        # A third faster on a CPU for the bundled model (experiments/bench), and on CUDA for all.
        if name == "unet" and device.type in ("cpu", "cuda"):
            module.to(memory_format=torch.channels_last)


def load_whole(kind: Any, source: str, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """The model that `kind.from_pretrained` loads, of diffusers or transformers, in `dtype`.

    Raises `ValueError` where weights are missing or of another shape, for both libraries would put
    random ones in their place.
    """
    model, told = kind.from_pretrained(
        source,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **options,
    )
    if missing := sorted(told["missing_keys"]):
        raise ValueError(f"it lacks {len(missing)} weights, such as {missing[0]}")
    if wrong := sorted(told["mismatched_keys"]):
        key, found, expected = wrong[0]
        raise ValueError(f"{key} is {tuple(found)}, not {tuple(expected)} as its config.json says")
    return model


@contextmanager
def loading(told: str, mend: str) -> Iterator[None]:
    """Turn whatever keeps a model from being loaded into one `UserError` line, with the reason."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0].split(". ")[0]
        raise UserError(f"{told} ({reason}); {mend}") from error


def local_directory(source: str) -> Path | None:
    """`source` as a directory if it is one on this machine, else None (then it is a hub id)."""
    path = Path(source).expanduser()
    return path if path.is_dir() else None


def _load_part(source: str, part: str, library: str, kind: str, **options: Any) -> Any:
    directory = local_directory(source)
    if directory is not None and not (directory / part).is_dir():
        raise UserError(
            f"--model: '{directory}' lacks the folder '{part}/'; "
            "give a directory saved by a pipeline's save_pretrained"
        )
    place = str(directory or source)
    where = directory / part if directory else f"{source} ({part})"
    mend = "check the path and its files, or the connection to the hub"
    if library not in LIBRARIES:
        raise UserError(
            f"--model: {where} is a {library}.{kind}; parts of {' and '.join(LIBRARIES)} are known"
        )
    with loading(f"--model: cannot load {where}", mend):
        maker = getattr(import_module(library), kind)
        if not hasattr(maker, "parameters"):
            return maker.from_pretrained(place, subfolder=part)
        return load_whole(maker, place, subfolder=part, **options)
