"""Which tool wrote a log, by its kind and its tags."""

from collections.abc import Sequence

from noiseprobe.core.words import metric_of

KOHYA, MUSUBI, ONETRAINER = "kohya's sd-scripts", "musubi-tuner", "OneTrainer"
SIMPLETUNER, AI_TOOLKIT, DIFFUSION_PIPE = "SimpleTuner", "ai-toolkit", "diffusion-pipe"

KOHYA_STEPS = "loss/validation/step_average"
KOHYA_EPOCHS = "loss/validation/epoch_average"

_BY_KIND = {
    "ai-toolkit log": AI_TOOLKIT,
    "trackio": "trackio",
    "MLflow": "MLflow",
    "MLPerf log": "MLPerf",
    "trainer state": "transformers",
    "run directory": "noiseprobe",
}


def tool_of(kind: str, tags: Sequence[str]) -> str | None:
    """The tool that wrote a log of this kind with these tags; None where they do not tell.

    The tags of trainers come before the kind, since several trainers log by way of one tracker.

    Examples:
        >>> tool_of("TensorBoard events", ["loss/train_step", "smooth_loss/train_step"])
        'OneTrainer'
    """
    names = {metric_of(tag) for tag in tags}
    if names & {KOHYA_STEPS, KOHYA_EPOCHS, "loss/epoch_average"}:
        return KOHYA
    if {"loss/current", "loss/average"} <= names:
        return MUSUBI if "loss/epoch" in names else KOHYA
    if "smooth_loss/train_step" in names or any(
        name.startswith("loss/validation_step/") for name in names
    ):
        return ONETRAINER
    if any(name.startswith("loss/val/") for name in names) and "train_loss" in names:
        return SIMPLETUNER
    if any(name.startswith("EVAL/loss") or "/EVAL/loss" in name for name in names):
        return DIFFUSION_PIPE
    if {"val/loss", "loss/loss"} <= names:
        return AI_TOOLKIT
    if "train/global_avg_loss" in names:
        return "finetrainers"
    return _BY_KIND.get(kind)


def fixed_timesteps(tool: str | None, tag: str) -> str | None:
    """Whose validation at a few timesteps alone a trace is: the tool's name; None for others."""
    name = metric_of(tag)
    if name in (KOHYA_STEPS, KOHYA_EPOCHS):
        return KOHYA
    if name.startswith("loss/validation_step/"):
        return ONETRAINER
    return AI_TOOLKIT if tool == AI_TOOLKIT and name == "val/loss" else None
