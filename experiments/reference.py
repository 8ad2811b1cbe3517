"""The settings of a run as a page of the documentation: python -m experiments.reference."""

from noiseprobe.run.defaults import BUNDLED_MODEL, METHODS, SHORT, SOURCES, of_family
from noiseprobe.run.settings import ABOUT, flag, kind, told_default

HEAD = """# Settings of a run

Each is a flag of the commands named, and a key of a TOML file for `--config`, with underscores for
dashes. Flags win over the file, the file over the defaults. A setting that belongs to a method or a
criterion is refused with another. This page is made by `python -m experiments.reference`.
"""

BY_FAMILY = """## Defaults by family

The family is that of the model's `model_index.json`, or of the names in its file. Sources are the
publication of the method (arXiv 2302.04841) and the examples of diffusers; "none" is where no
recipe is published, and what is taken instead is named. Their scripts add up the gradients of four
batches of one; here a step is one batch. DVAR's window and threshold are published for Stable
Diffusion alone: trainings of 500 steps take those of Custom Diffusion, which has as many, and of
1000 those of DreamBooth-LoRA. Guidance and sampling steps are those of the stock pipelines.
FLUX.1-schnell is as -dev, but draws in 4 steps at guidance 0. tiny-sd has settings of its own.
"""


def reference() -> str:
    """The page in Markdown: a table for each heading of the help, in its order."""
    panels: dict[str, list[str]] = {}
    for key, about in ABOUT.items():
        if not about.commands:
            continue
        cells = [about.metavar or kind_in_words(key), about.help, told_default(key)]
        cells = [cell.replace("|", "\\|").replace("<", "\\<") for cell in cells]
        row = [f"`{flag(key)}`", *cells, ", ".join(about.commands)]
        panels.setdefault(about.panel, []).append("| " + " | ".join(row) + " |")
    tables = [
        f"## {panel}\n\n| flag | value | what it is | default | commands |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        for panel, rows in panels.items()
    ]
    return "\n\n".join([HEAD.rstrip(), *tables, by_family()]) + "\n"


def by_family() -> str:
    """A table of the defaults that depend on the model's family."""
    shown = {
        "steps": "`--steps`",
        "learning_rate": "`--learning-rate`",
        "train_batch_size": "`--train-batch-size`",
        "window": "`--window`",
        "threshold": "`--threshold`",
        "guidance": "`--guidance`",
        "sampling_steps": "`--sampling-steps`",
        "checkpoint_every": "`--checkpoint-every`",
    }
    rows = []
    for family in SHORT:
        if family in (BUNDLED_MODEL, "flux-schnell"):
            continue
        for method, source in zip(METHODS, SOURCES[family], strict=True):
            if not source:
                continue
            own = of_family(family, method)
            cells = [SHORT[family], method, *(f"{own[key]:g}" for key in shown), source]
            rows.append("| " + " | ".join(cells) + " |")
    head = ["family", "method", *shown.values(), "steps and rate from"]
    return "\n".join([BY_FAMILY, "| " + " | ".join(head) + " |", "|" + "---|" * len(head), *rows])


def kind_in_words(key: str) -> str:
    """What a setting's value is."""
    words = {bool: "yes or no", int: "whole number", float: "number"}
    return words.get(kind(key), "text")


if __name__ == "__main__":
    print(reference(), end="")
