# ruff: noqa: B018
# mypy: ignore-errors
# %% [markdown]
# # Which randomness hides the progress?
#
# Textual inversion of the bundled Stable Diffusion on five photographs of a cup. Every checkpoint
# is evaluated again with one of the five factors redrawn and the others fixed.
# %%
import os

from IPython.display import Image

import noiseprobe

small = bool(os.environ.get("NOISEPROBE_SMALL"))
config = noiseprobe.resolve({"steps": 20} if small else {})
noiseprobe.run_all(config, "run")
run = noiseprobe.Run.open("run")
run
# %% [markdown]
# The training loss jumps from step to step. L_det is the same loss on one batch that is drawn
# once and never again.
# %%
Image("run/figures/1-training.png", width=700)
# %% [markdown]
# Below, the loss at each checkpoint when only one factor is redrawn. What moves the loss more
# than the training does, hides it.
# %%
Image("run/figures/2-settings.png", width=900)
# %%
table = noiseprobe.noise_to_signal(run.probe_trace())
table
# %%
Image("run/figures/4-noise-to-signal.png", width=500)
