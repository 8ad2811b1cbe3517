# ruff: noqa: B018, E402
# mypy: ignore-errors
# %% [markdown]
# # Photographs of mine: which checkpoint do I take?
#
# A LoRA on a folder of photographs, one of which is never trained on. Put your own folder, class
# and model into the settings; here it is a dog that comes with the package, and the bundled
# model.
# %%
import os

import matplotlib.pyplot as plt

import noiseprobe
from noiseprobe.analysis.picking import pick_of_run
from noiseprobe.plots.picks import plot_pick

small = bool(os.environ.get("NOISEPROBE_SMALL"))
settings = {
    "concept": "patched-dog",
    "method": "dreambooth-lora",
    "hold_out": "1",
    "stop": "turn",
    "steps": 20 if small else 300,
    "checkpoint_every": 10 if small else 20,
}
noiseprobe.run_all(noiseprobe.resolve(settings), "dog")
run = noiseprobe.Run.open("dog")
run
# %% [markdown]
# The loss on the photograph that was held out, at each checkpoint, on the same draws.
# %%
pick = pick_of_run(run)
pick
# %%
_ = plot_pick(pick.found, ax=plt.gca())
# %% [markdown]
# What it draws there, beside the first checkpoint.
# %%
from noiseprobe.training.preparing import prepare

ready = prepare(run.config, run)
sampler = noiseprobe.Sampler(ready.model)
pictures = []
for step in (0, pick.step):
    ready.method.restore(run.checkpoint(step))
    pictures += sampler.draw(ready.method.captions[:3], seed=1)
# %%
from PIL import Image

sheet = Image.new("RGB", (3 * 128, 2 * 128))
for place, picture in enumerate(pictures):
    sheet.paste(picture.resize((128, 128)), (place % 3 * 128, place // 3 * 128))
sheet
