"""Which checkpoint to take, in sentences."""

from noiseprobe.analysis.picking import Pick
from noiseprobe.core.words import command, enumerated, visible

MOST_NAMED = 6
"""Steps that are named one by one."""


def of_pick(pick: Pick) -> list[str]:
    """Which checkpoint to take, how sure that is, and what the loss cannot see."""
    return [_take(pick), *_stop(pick), *_blind(pick), *_front(pick)]


def _take(pick: Pick) -> str:
    found, loss = pick.found, visible(pick.loss)
    if not pick.told:
        return (
            f"Which checkpoint to take cannot be told: by {loss} none of the {len(found.table)} is "
            "surely worse than the best."
        )
    at = f"{pick.unit} {found.step}"
    what = f"Take {visible(pick.take)}: {loss}" if pick.take else f"Take {at}: {loss}"
    lowest = float(found.table["loss"].iloc[found.best])
    if found.sure:
        return f"{what} is lowest at {at} ({lowest:.4g}), and surely so."
    others = [step for step in found.candidates if step != found.step]
    named = enumerated([str(step) for step in others], "and")
    if len(others) > MOST_NAMED:
        named = f"{len(others)} others from {others[0]} to {others[-1]}"
    return f"{what} is lowest at {at} ({lowest:.4g}); it cannot be told from {named}."


def _stop(pick: Pick) -> list[str]:
    if pick.stop_step is None:
        return []
    last = int(pick.found.table["step"].iloc[-1])
    if pick.stop_step == last:
        return ["It fell to the end: a longer training may be better."]
    if pick.found.step == last:
        return [
            f"Training could have stopped at {pick.unit} {pick.stop_step}: nothing after it is "
            "surely better. It was lowest at the end, so that a longer training may be."
        ]
    return [
        f"Training could have stopped at {pick.unit} {pick.stop_step}: nothing after it is surely "
        "better."
    ]


def _blind(pick: Pick) -> list[str]:
    if pick.held_out:
        return []
    if pick.training:
        return [
            "It is the loss of training batches, whose every value has draws of its own: "
            "overfitting cannot be seen from it, nor small progress; record a loss on held-out "
            "photographs."
        ]
    if pick.held_out is None:
        return [f"Whether {visible(pick.loss)} is of held-out photographs is not known."]
    return [
        "Overfitting cannot be seen from it, since it is on the photographs that were trained on: "
        "hold one out (--hold-out 1), or give others (--validation DIR)."
    ]


def _front(pick: Pick) -> list[str]:
    if pick.front.empty:
        return []
    steps = enumerated([str(int(step)) for step in pick.front["step"]], "and")
    many = f"{pick.unit}s" if len(pick.front) > 1 else pick.unit
    return [
        "By pictures, no checkpoint is better in both likeness and following the prompt than "
        f"{many} {steps}."
    ]


def next_of_pick(pick: Pick) -> str:
    """A command that is useful next."""
    if pick.of_run:
        return command("noiseprobe", "measure", pick.source) if pick.front.empty else ""
    return command("noiseprobe", "dvar-replay", pick.source, "--all")
