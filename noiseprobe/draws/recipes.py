"""The fixed batch as other trainers lay out their deterministic validation, on our own draws.

What is theirs: at which times a photograph is evaluated, which samples share their noise, what the
VAE gives, and that the loss is a plain mean. What is ours: the numbers of the noise, the
photographs, which here are those that are trained on, and a caption for each of them, which is
drawn once where photographs have none of their own. Photographs are seen as they are, not flipped;
where a method trains on them at random sizes, each at one of these.

Read in (repository, file, commit):

- `kohya`: kohya-ss/sd-scripts, train_network.py, 48d368f. Four times between the ends; the
  generator is seeded anew before each pass, so that each photograph and time has noise of its own.
  Latents are sampled once per photograph with `--cache_latents`, else at each time. Stable
  Diffusion, SDXL and SD3 take these times; FLUX, Lumina, HunyuanImage and Anima draw others.
- `onetrainer`: Nerogar/OneTrainer, modules/modelSetup/BaseStableDiffusionSetup.py and
  mixin/ModelSetupNoiseMixin.py, 23df383. One time, in the middle; seed 0 and batches of one, so
  that all photographs have the same noise. Latents are the posterior's mean.
- `simpletuner`: bghira/SimpleTuner, simpletuner/helpers/training/validation.py and trainer.py,
  bc8e6ab. The 28 times (`eval_timesteps`) of its scheduler, spaced `trailing`, or on a flow's grid;
  seed 0 before each batch, which is of one photograph (helpers/data_backend/dataset_types.py): one
  noise for all photographs and times. Latents are sampled once, into the cache. It takes the first
  `num_eval_images` photographs, 4 by default; here all of them are taken.
- `ai-toolkit`: ostris/ai-toolkit, jobs/process/BaseSDTrainProcess.py, 27a03a9. σ of 1, 0.75, 0.5
  and 0.25; noise from seed 42 + number of the photograph, the same at all σ; latents sampled once.
- `diffusion-pipe`: tdrussell/diffusion-pipe, train.py and models/sdxl.py, flux.py, 8f83dbf. Nine
  quantiles of the times that are trained at; seeded once per evaluation, so that each photograph
  and quantile has noise of its own. Latents are sampled once, into the cache.
- `mlperf`: mlcommons/training, text_to_image/README.md, aa344c7 (FLUX.1-schnell). Each sample has
  one of the times 0, 1/8 … 7/8, as many samples at each. Here each sample has latents and noise of
  its own, the same at each evaluation; the README does not say that theirs are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.draws.draws import Batch, Draws
from noiseprobe.draws.factors import Trainer

Times = NDArray[Any]
Shared = Literal["sample", "photograph", "all"]


@dataclass(frozen=True)
class Recipe:
    """How a trainer lays out its validation.

    Attributes:
        count: how many times there are.
        times: those of a model's draws, in the order of their noise.
        noise: what a draw of the noise belongs to: a `sample`, a `photograph` or `all` of them.
        latents: what a draw of the VAE belongs to; `None`: the posterior's mean is taken.
        in_turn: each sample has one of the times, where else each photograph has all of them.
    """

    count: int
    times: Callable[[Draws], Times]
    noise: Shared
    latents: Shared | None = "photograph"
    in_turn: bool = False


def recipe_size(trainer: Trainer, photographs: int, size: int | None = None) -> int:
    """How many samples a trainer's layout of so many photographs has; `size`, if that fits.

    Raises:
        UserError: it does not.
    """
    recipe = RECIPES[trainer]
    whole = recipe.count if recipe.in_turn else recipe.count * photographs
    if size is None or size == whole or (recipe.in_turn and size and size % whole == 0):
        return size or whole
    fits = f"{whole}, {recipe.count} of each of {photographs} photographs"
    raise UserError(
        f"--eval-batch: {size} given, but --fixed-batch {trainer} takes "
        f"{f'a multiple of {whole}' if recipe.in_turn else fits}; change it, or leave it out"
    )


def recipe_batch(draws: Draws, trainer: Trainer, size: int | None = None) -> Batch:
    """The fixed batch of a trainer's layout, in the order of its times.

    Args:
        draws: of which replicate 0 is taken.
        trainer: whose layout.
        size: samples; None: as many as the layout has of these photographs.

    Raises:
        UserError: the layout has another number of samples (`recipe_size`).
    """
    recipe, size = RECIPES[trainer], recipe_size(trainer, draws.num_images, size)
    times, sample = recipe.times(draws), np.arange(size)
    photograph = sample % draws.num_images if recipe.in_turn else sample // recipe.count
    owners = {"sample": sample, "photograph": photograph, "all": np.zeros_like(sample)}
    captions = [draws.draw("captions", 0, number) for number in photograph.tolist()]
    noise = _noise(draws, "noise", owners[recipe.noise])
    latents = _noise(draws, "vae_noise", owners[recipe.latents]) if recipe.latents else noise * 0
    batch = Batch(
        images=photograph,
        views=np.full(size, len(draws.view_shares) - 1),  # the last is the photograph as it is
        captions=draws.choices("captions", captions)[:, 0],
        vae_noise=latents,
        timesteps=times[sample % recipe.count],
        noise=noise,
    )
    return batch[batch.timesteps.argsort(kind="stable")]


def _noise(draws: Draws, factor: str, owners: NDArray[np.int64]) -> NDArray[np.float32]:
    drawn = [draws.draw(factor, 0, owner) for owner in owners.tolist()]
    return np.array(drawn, dtype=np.float32)


def _at(draws: Draws, places: ArrayLike) -> Times:
    """The times at `places` from 0 to `num_timesteps`: whole ones below, or of a flow the nearest.

    Of a flow, the place is 1000·σ.
    """
    wanted = np.asarray(places, dtype=np.float64)
    if _is_flow(draws):
        return draws.all_times[np.abs(draws.all_times - wanted[:, None]).argmin(axis=1)]
    return np.minimum(wanted.astype(np.int64), draws.num_timesteps - 1)


def _kohya(draws: Draws) -> Times:
    return _at(draws, np.linspace(0, draws.num_timesteps, 6)[1:-1])


def _onetrainer(draws: Draws) -> Times:
    middle = draws.num_timesteps // 2
    # It counts from 0 and takes σ = 1/1000 for the first of a flow: the middle is σ = 0.5.
    return _at(draws, [middle if _is_flow(draws) else max(middle - 1, 0)])


def _simpletuner(draws: Draws) -> Times:
    count = draws.num_timesteps
    if _is_flow(draws):
        places = np.linspace(0, count - 1, 28)
    else:  # `trailing`, as diffusers' schedulers space times
        places = np.sort(count - np.arange(28) * count / 28) - 1
    return draws.all_times[np.rint(places).astype(np.int64).clip(0)]


def _ai_toolkit(draws: Draws) -> Times:
    return _at(draws, np.rint(np.array([0.25, 0.5, 0.75, 1]) * draws.num_timesteps))


def _diffusion_pipe(draws: Draws) -> Times:
    return draws.choices("timesteps", np.arange(1, 10) / 10)[:, 0]


def _mlperf(draws: Draws) -> Times:
    return _at(draws, np.arange(8) / 8 * draws.num_timesteps)


def _is_flow(draws: Draws) -> bool:
    return bool(np.issubdtype(draws.all_times.dtype, np.floating))


RECIPES: dict[Trainer, Recipe] = {
    "kohya": Recipe(4, _kohya, "sample"),
    "onetrainer": Recipe(1, _onetrainer, "all", latents=None),
    "simpletuner": Recipe(28, _simpletuner, "all"),
    "ai-toolkit": Recipe(4, _ai_toolkit, "photograph"),
    "diffusion-pipe": Recipe(9, _diffusion_pipe, "sample"),
    "mlperf": Recipe(8, _mlperf, "sample", latents="sample", in_turn=True),
}
"""How each trainer lays out its validation; where that is to be read: above."""
