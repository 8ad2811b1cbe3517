"""What was held to be so before the runs (`RULES.md`), and what the numbers say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from experiments.overfitting.criteria import KEEP_BEST, NEVER, REFERENCE, TURN
from experiments.overfitting.worth import (
    ALL_METHODS,
    JUDGES,
    Gap,
    by_method,
    difference,
    form_of,
    gap,
    per_concept,
)

if TYPE_CHECKING:
    from experiments.overfitting.report import Found

TRIAL = {
    ("dreambooth", 60): (-0.034, -0.007),
    ("dreambooth", 180): (-0.047, 0.019),
    ("dreambooth", 600): (-0.060, 0.082),
    ("dreambooth-lora", 120): (-0.023, -0.013),
    ("dreambooth-lora", 600): (-0.029, -0.005),
}
"""Change of the loss from step 0 in the trial, by method and step: trained on, and held out."""

UNSEEN = "loss_judge"


def trial_verdict(trial: float, here: Gap) -> str:
    """Whether the trial's change of the held-out loss is confirmed, contradicted or left open."""
    if here.verdict == "no difference shown":
        return "left open"
    return "confirmed" if (here.mean < 0) == (trial < 0) else "contradicted"


def claims(found: Found) -> list[str]:
    """One line for each claim, by the numbers of `RULES.md`."""
    best = found.best_steps()
    best["later"] = best["l_det"] - best["l_val"]
    table = found.table.merge(best[["concept", "method", "held", "l_val"]])
    table["off"] = table["kept"] - table["l_val"]
    stops = table[table["criterion"] == REFERENCE]
    lines = [
        "1. L_det has its best later than l_val, by so many steps: "
        + each_method(by_method(best), found.methods, "later", "later", "earlier"),
        f"2. {REFERENCE} stops elsewhere than where l_val is best, by so many steps: "
        + each_method(by_method(stops), found.methods, "off", "later", "earlier"),
        "3. Keeping the best of l_val, by the loss on unseen photographs: "
        + against(found, KEEP_BEST, UNSEEN, REFERENCE)
        + "; "
        + against(found, KEEP_BEST, UNSEEN, NEVER)
        + ".",
        "4. Turn on l_val, by the loss on unseen photographs: "
        + against(found, TURN, UNSEEN, REFERENCE)
        + ".",
        "5. Turn on l_val, by the loss on unseen photographs: "
        + against(found, TURN, UNSEEN, KEEP_BEST)
        + "; steps trained: "
        + difference(found.table, "stop", TURN, KEEP_BEST).said("+.0f")
        + ".",
        f"6. By pictures, turn on l_val against {REFERENCE}: "
        + "; ".join(
            f"{JUDGES[name]}: {one(name, difference(found.table, name, TURN, REFERENCE))}"
            for name in JUDGES
            if name != UNSEEN
        )
        + ".",
        "7. By the loss on unseen photographs, against turn on l_val: "
        + "; ".join(
            f"{name}: {one(UNSEEN, difference(found.table, UNSEEN, name, TURN))}"
            for name in ("patience on l_val", "dvar on l_val", "clip", "fixed")
        )
        + ".",
    ]
    if len(found.costs):
        pairs = (("refit", "held out"), ("cross", "held out"), ("cross", "refit"))
        told = [
            f"{name} against {other}: {one(UNSEEN, difference(found.costs, UNSEEN, name, other))}"
            for name, other in pairs
        ]
        lines.append(
            "8. Training again on all photographs, by the loss on unseen ones: "
            + "; ".join(told)
            + "."
        )
    else:
        lines.append("8. Training again on all photographs: no run yet.")
    return lines


def against(found: Found, criterion: str, judge: str, other: str) -> str:
    """What one criterion is worth against another, over all methods."""
    return f"against {other}, {one(judge, difference(found.table, judge, criterion, other))}"


def one(judge: str, found: Gap) -> str:
    """The verdict and the number behind it."""
    return f"**{found.verdict}**, {found.said(form_of(judge))}"


def each_method(
    groups: Mapping[str, pd.DataFrame],
    methods: Sequence[str],
    column: str,
    above: str,
    below: str,
) -> str:
    """For each method, and all, the mean of a column of steps and which side of 0 it is on."""
    told = []
    for method in (*methods, ALL_METHODS):
        own = gap(per_concept(groups[method], column))
        side = above if own.mean > 0 else below
        verdict = "no difference shown" if own.verdict == "no difference shown" else side
        told.append(f"{method} **{verdict}**, {own.said('+.0f')}")
    return "; ".join(told) + "."
