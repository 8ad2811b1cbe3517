"""What was held to be so before the runs (`RULES.md`), and what the numbers say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from experiments.overfitting.criteria import KEEP_BEST, NEVER, REFERENCE, TURN
from experiments.overfitting.worth import (
    ALL_METHODS,
    FIRST,
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
        "3. Keeping the best of l_val" + by_first(found.table, KEEP_BEST, (REFERENCE, NEVER)),
        "4. Turn on l_val" + by_first(found.table, TURN, (REFERENCE,)),
        "5. Turn on l_val"
        + by_first(found.table, TURN, (KEEP_BEST,))
        + " Steps trained: "
        + difference(found.table, "stop", TURN, KEEP_BEST).said("+.0f")
        + ".",
        f"6. By pictures, turn on l_val against {REFERENCE}: "
        + "; ".join(
            f"{JUDGES[name]}: {one(name, difference(found.table, name, TURN, REFERENCE))}"
            for name in JUDGES
            if name not in FIRST
        )
        + ".",
        "7. Against turn on l_val, "
        + " ".join(
            f"{name}{by_first(found.table, name, (TURN,))}"
            for name in ("patience on l_val", "dvar on l_val", "clip", "fixed")
        ),
    ]
    if len(found.costs):
        costs = found.costs
        told = "8. Training again on all photographs: refit" + by_first(
            costs, "refit", ("held out",)
        )
        several = (costs["criterion"] == "cross").any()
        cross = by_first(costs, "cross", ("held out", "refit")) if several else ": no run yet."
        lines.append(told + " Cross" + cross)
    else:
        lines.append("8. Training again on all photographs: no run yet.")
    return lines


def by_first(table: pd.DataFrame, criterion: str, others: Sequence[str]) -> str:
    """What one criterion is worth against others by the two first judges, over all methods."""
    parts = []
    for judge in FIRST:
        gaps = []
        for other in others:
            than = f"against {other}, " if other != TURN else ""
            gaps.append(than + one(judge, difference(table, judge, criterion, other)))
        parts.append(f"by {JUDGES[judge]}, " + "; ".join(gaps))
    return ": " + "; ".join(parts) + "."


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
