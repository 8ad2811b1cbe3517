# ruff: noqa: B018
# mypy: ignore-errors
# %% [markdown]
# # The tracker in a loop of mine
#
# A network that learns to remove noise, in plain PyTorch. The tracker evaluates fixed batches,
# leaves the weights bit for bit as they would be without it, and stops where the held-out loss
# has surely risen from its best. That is the surer, the more is held out: here 64 samples. Of 16
# it finds no rise sure, and goes on to the end.
# %%
import os

import torch

import noiseprobe

small = bool(os.environ.get("NOISEPROBE_SMALL"))
torch.manual_seed(0)
clean, noise = torch.randn(84, 8), torch.randn(84, 8)
training, held_out = slice(0, 20), slice(20, 84)
model = torch.nn.Sequential(torch.nn.Linear(8, 256), torch.nn.ReLU(), torch.nn.Linear(256, 8))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)


def losses(part):
    """The loss (B,) of each sample of a part, under the weights now."""
    return (model(clean[part] + noise[part]) - clean[part]).square().mean(1)


tracker = noiseprobe.Tracker(
    {"l_det": lambda: losses(training), "l_val": lambda: losses(held_out)},
    watch="l_val",
    criterion=noiseprobe.Turn(),
    every=10,
    modules=[model],
)
# %%
tracker.update(0)
for step in range(1, 41 if small else 1001):
    batch = torch.randint(0, 20, (4,))
    noisy = clean[batch] + torch.randn(4, 8)
    loss = (model(noisy) - clean[batch]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if tracker.update(step):
        break
step, tracker.best_step
# %%
frame = tracker.frame()
frame.tail()
# %%
_ = frame.set_index("step")[["l_det", "l_val"]].plot(ylabel="loss")
