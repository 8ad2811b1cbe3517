"""Import once, before any fork, all that commands import when they need it."""

import importlib
import pkgutil


def up() -> None:
    """Import every module of noiseprobe, and what libraries import late; start no thread."""
    import torch

    import noiseprobe

    torch.set_num_threads(1)
    for each in pkgutil.walk_packages(noiseprobe.__path__, "noiseprobe."):
        if not each.name.endswith("__main__") and ".assets" not in each.name:
            importlib.import_module(each.name)
    for name in (
        "diffusers.loaders.single_file_utils",
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
        "huggingface_hub.hf_api",
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg",
        "rich.progress",
        "transformers.models.clip.modeling_clip",
        "transformers.models.clip.tokenization_clip",
    ):
        importlib.import_module(name)
