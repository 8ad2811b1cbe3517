"""Why a goal is missed, by device and part, as a profile shows."""

CAUSES = {
    ("cpu", "steps"): """
Why not more: the denoiser's forward and backward passes and, with a learned word, the text
encoder's are nearly all of our step (`python -m cProfile -s cumtime -m noiseprobe train --steps
100`), and both loops compute them alike. What the scripts do beside that can be saved, and on this
small model at 64 pixels it is less than a third of their step. Blocks are compiled on CUDA alone.
""",
    ("cpu", "probe"): """
Why not more: ours is nearly all denoiser, which theirs spends about as long on, beside the VAE and
the text encoder (`python -m cProfile -s cumtime -m experiments.bench --only probe`).
""",
    ("cpu", "forward"): """
Why not more: nothing is compiled on a CPU, so that both sides are the same code, and layers this
small are far from what one large product reaches.
""",
    ("cpu", "memory"): """
Where it is off: on a CPU the attention of Custom Diffusion is not fused, and keeps its weights for
the backward pass; the estimate is of a GPU.
""",
    ("cpu", "dvar"): """
Where a time is missed: a loss at a time is added in whole numbers, exactly. The brackets
show how this machine's pace varied meanwhile.
""",
    ("cpu", "start"): """
Why not less: `--help` imports mostly typer and rich (`python -X importtime -m noiseprobe
--help`). Up to the first step nearly all time goes into imports within diffusers and transformers
(`python -X importtime -m experiments.bench.first_step cpu FOLDER`): torch._dynamo, which one of
diffusers' utilities asks for, all of its transformers for the UNet, and scipy.stats for its
schedulers.
""",
    ("cpu", "growth"): """
Where it is off: a replay holds its log, with some 200 bytes for each point.
""",
}
"""Texts of `README.md`, shown where a row of the part misses its goal."""
