"""Why a goal is missed, by device and part, as a profile shows."""

CAUSES = {
    ("cpu", "steps"): """
Why not more: the denoiser's forward and backward passes and, with a learned word, the text
encoder's are 97% of our step under cProfile, and both loops compute them alike. What the scripts do
beside that can be saved, and on this small model at 64 pixels it is less than a third of their
step. Blocks are compiled on CUDA alone.
""",
    ("cpu", "probe"): """
Why not more: all of ours is the denoiser, which is two fifths of theirs; the rest of the difference
are larger batches, and rows that are drawn alike.
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
Where a time is missed: a loss at a time is added in whole numbers, exactly; and this machine's pace
varies by half from minute to minute.
""",
    ("cpu", "start"): """
Why not less: `--help` imports pydantic (35% by `-X importtime`), rich with its Markdown (45%) and
importlib.metadata (15%). Of the first step's processor time nine tenths are imports, nearly all
within diffusers and transformers: torch._dynamo, which one of diffusers' utilities asks for, 2.3 s;
all of its transformers for the UNet, 1.7 s; scipy.stats for its schedulers, 0.9 s.
""",
    ("cpu", "growth"): """
Where it is off: a replay holds its log, with some 200 bytes for each point.
""",
}
"""Texts of `README.md`, shown where a row of the part misses its goal."""
