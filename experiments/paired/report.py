"""What the tables of the study say: which curve to look at for one's money, and where it stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.paired.record import choosing, planned
from experiments.paired.stops import NAMES
from experiments.paired.tables import Tables
from noiseprobe.analysis.bootstrap import bootstrap_interval
from noiseprobe.cli.tables import markdown
from noiseprobe.core.files import written_whole
from noiseprobe.plots.saving import save
from noiseprobe.plots.style import (
    FONT_SIZE,
    INK,
    PAGE,
    colour_of,
    dress,
    look,
    new_figure,
    several_panels,
)
from noiseprobe.run.defaults import METHODS

ALL = "all methods"
FEWEST = 4  # concepts for an interval
FIGURE = "14-paired-loss"
EARLIER = {  # an earlier trial: raw EMA, L_det of 8 stratified, paired EMA
    ("textual-inversion", "banded-cup"): (0.66, 0.24, 0.083),
    ("textual-inversion", "patched-dog"): (1.92, 0.53, 0.145),
    ("dreambooth-lora", "banded-cup"): (0.18, 0.093, 0.059),
    ("dreambooth-lora", "split-fish"): (0.29, 0.153, 0.063),
    ("custom-diffusion", "banded-cup"): (0.22, 0.130, 0.114),
}
TRIED = ("raw EMA", "L_det 8 stratified", "paired EMA")
COMPARED = (
    ("timestep-adjusted", "raw EMA", "both free, both given the start"),
    ("paired EMA", "timestep-adjusted", "4 samples a step against none, which is given the start"),
    ("paired EMA", "L_det 4 stratified", "same price"),
    ("paired EMA", "L_det 8 stratified", "half the price"),
    ("paired EMA", "L_det 32 stratified", "same price if L_det is evaluated every 8th step"),
    ("post-stratified", "paired EMA", "same price"),
    ("antithetic", "plain thirds", "same price"),
    ("every 4th", "paired EMA", "a quarter of the price"),
    ("last 50: lagging reference", "last 50: differences of paired", "same price"),
)
LINES = {  # colour and style
    "L_det random": ("deterministic", "-o"),
    "L_det stratified": ("images", "-o"),
    "L_det antithetic": ("vae_noise", "-o"),
    "paired": ("noise", "-s"),
    "paired, post-stratified": ("noise", "D"),
    "training loss": ("timesteps", "x"),
    "training loss, timestep-adjusted": ("timesteps", "^"),
}
RARELY = 8


def write_report(tables: Tables, directory: Path, figures: Path) -> None:
    """Write `RESULTS.md` and the figure."""
    save(figure_of(tables["errors"]), figures / FIGURE)
    with written_whole(directory / "RESULTS.md") as beside:
        beside.write_text(report(tables), encoding="utf-8")


def by_concept(errors: pd.DataFrame, method: str) -> pd.DataFrame:
    """The errors (concepts, curves) of a method, or their means over all methods.

    Of the latter, concepts that lack a method are left out.
    """
    if method != ALL:
        errors = errors[errors["method"] == method]
        return errors.pivot(index="concept", columns="curve", values="error")
    counts = errors.groupby("concept")["method"].nunique()
    whole = errors[errors["concept"].isin(counts[counts == len(METHODS)].index)]
    return whole.groupby(["concept", "curve"])["error"].mean().unstack()


def told(values: pd.Series, digits: int = 3, sign: str = "") -> str:
    """A mean over concepts and its interval, if there are enough of them for one."""
    low, high = bootstrap_interval(values.to_numpy())
    form = f"{sign}.{digits}f"
    if np.isnan(low) or len(values) < FEWEST:
        return f"{values.mean():{form}}" if len(values) else "-"
    return f"{values.mean():{form}} ({low:{form}} to {high:{form}})"


def report(tables: Tables) -> str:
    """The findings as Markdown."""
    errors = tables["errors"]
    runs = errors.groupby("method", sort=False)["concept"].nunique()
    counts = ", ".join(f"{runs.get(method, 0)} {method}" for method in METHODS)
    lines = [
        "# What paired losses tell, and at what price",
        "",
        f"Made by `python -m experiments.paired` from {runs.sum()} of {len(planned())} planned "
        f"runs ({counts}); "
        "what every number means, and by what rules it was judged, was written before them "
        f"([RULES.md](RULES.md)). Means over concepts, with 95% bootstrap intervals from {FEWEST} "
        "concepts on, which are too narrow where there are few.",
        "",
        *unfinished(int(runs.sum())),
        *findings(errors),
        "",
        f"![Error by price](../../figures/{FIGURE}.png)",
        "",
        "## Error of the curve, as a share of the whole gain",
        "",
        "The training losses (raw, raw EMA, timestep-adjusted) are given the expected loss at the "
        "start, which they alone do not know.",
        "",
        "Price: forward passes of a sample per step, beyond the 12 of a training step of 4. "
        "L_det is as good at the steps at which it is evaluated, and costs less, if that is not "
        "every one. `lag alone` is the running mean of the truth itself (added after the rules): "
        "that part of the error of all running means is no noise.",
        "",
        error_table(errors),
        "",
        "## Which is better",
        "",
        "Error of the first less that of the second, on the same runs. Below 0: the first is "
        "nearer to the truth.",
        "",
        difference_table(errors),
        "",
        "## The earlier trial",
        "",
        "One seed each, then as now another; then errors of an earlier script.",
        "",
        earlier_table(errors),
        "",
        "## Is the standard error right?",
        "",
        "The truth is known from 512 draws at ten steps, and interpolated: it has an error of its "
        "own, with which the third column (from step 50, added after the rules) widens the "
        "interval, and between those steps the weights wander, which it does not see.",
        "",
        coverage_table(tables["coverage"]),
        "",
        "## Seconds",
        "",
        seconds_table(tables["seconds"]),
        "",
        "## Stops",
        "",
        *stops_text(tables["stops"]),
    ]
    return "\n".join(lines) + "\n"


def unfinished(runs: int) -> list[str]:
    """What to say where runs are missing."""
    missing = len(planned()) - runs
    if not missing:
        return []
    return [
        f"**Unfinished**: {missing} of the {len(planned())} runs are not made yet, so that the "
        "rules give no verdict. The same command goes on with them.",
        "",
    ]


def findings(errors: pd.DataFrame) -> list[str]:
    """Each comparison in a sentence: how much nearer, as a median ratio, and in how many runs."""
    wide = errors.pivot(index=["method", "concept"], columns="curve", values="error")
    lines = []
    for first, second, price in COMPARED:
        ratio = float((wide[first] / wide[second]).median())
        nearer = int((wide[first] < wide[second]).sum())
        lines.append(
            f"- {first} has {ratio:.2g} times the error of {second} ({price}; median of "
            f"{len(wide)} runs); it is nearer to the truth in {nearer}."
        )
    return lines


def error_table(errors: pd.DataFrame) -> str:
    """A row per curve, a column per method."""
    prices = errors.groupby("curve", sort=False)["price"].first()
    names = [*METHODS, ALL]
    found = {name: by_concept(errors, name) for name in names}
    cells = [["curve", "price", *names]]
    for curve, price in prices.items():
        own = [told(found[name][curve].dropna()) if curve in found[name] else "-" for name in names]
        cells.append([str(curve), f"{price:.3g}", *own])
    return markdown(cells)


def difference_table(errors: pd.DataFrame) -> str:
    """A row per comparison, a column per method, and in how many runs the first is nearer."""
    names = [*METHODS, ALL]
    found = {name: by_concept(errors, name) for name in names}
    wide = errors.pivot(index=["method", "concept"], columns="curve", values="error")
    cells = [["first", "second", "price", *names, "first is nearer in"]]
    for first, second, price in COMPARED:
        own = [
            told((found[name][first] - found[name][second]).dropna(), 3, "+")
            if first in found[name]
            else "-"
            for name in names
        ]
        count = f"{(wide[first] < wide[second]).sum()} of {len(wide)} runs"
        cells.append([first, second, price, *own, count])
    return markdown(cells, left=(0, 1, 2))


def earlier_table(errors: pd.DataFrame) -> str:
    """The earlier trial's numbers beside these."""
    cells = [["method", "concept", *(f"{curve}: then, now" for curve in TRIED)]]
    for (method, concept), then in EARLIER.items():
        own = errors[(errors["method"] == method) & (errors["concept"] == concept)]
        now = own.set_index("curve")["error"]
        if len(now):
            pairs = [f"{old:.2g}, {now[curve]:.2g}" for curve, old in zip(TRIED, then, strict=True)]
            cells.append([method, concept, *pairs])
    return markdown(cells, left=(0, 1))


def coverage_table(table: pd.DataFrame) -> str:
    """How often the interval holds the truth, and how wide it is."""
    heads = ["held", "held from step 50", "with the truth's own error", "se / gain"]
    cells = [["method", *heads, "se of the truth / gain", "runs"]]
    for method in METHODS:
        own = table[table["method"] == method]
        if len(own):
            names = ("held", "held_from_50", "held_both", "se", "floor")
            shown = [told(own[name], 3) for name in names]
            cells.append([method, *shown, str(len(own))])
    return markdown(cells)


def seconds_table(table: pd.DataFrame) -> str:
    """CPU milliseconds per step."""
    cells = [["method", "training step", "paired (4)", "L_det (4)", "paired / training"]]
    for method in METHODS:
        own = table[table["method"] == method]
        if len(own):
            train, start, l_det = (4 * own[name].mean() for name in ("train", "start", "l_det"))
            share = f"{start / train:.0%}"
            cells.append([method, f"{train:.0f} ms", f"{start:.0f} ms", f"{l_det:.0f} ms", share])
    return markdown(cells)


def stops_text(stops: pd.DataFrame) -> list[str]:
    """For chosen parameters and defaults: the stops on concepts for testing, and differences."""
    testing = stops[~stops["concept"].isin(choosing())]
    lines = []
    for way in ("chosen", "default"):
        own = testing[testing["way"] == way]
        if own.empty:
            lines += [f"No run for testing with {way} parameters yet.", ""]
            continue
        titles = {"chosen": "Parameters chosen on other concepts", "default": "Defaults"}
        lines += [f"### {titles[way]}", "", stops_table(own), ""]
        for name in NAMES[:-1]:
            lines += [verdict(own, name), ""]
    return lines[:-1]


def stops_table(own: pd.DataFrame) -> str:
    """A row per method and criterion, and the differences below."""
    cells = [["method", "criterion", "parameters", "stop step", "share of gain forgone", "fires"]]
    for method in METHODS:
        for name in NAMES:
            rows = own[(own["method"] == method) & (own["criterion"] == name)]
            if len(rows):
                params = str(rows["params"].iloc[0])
                shown = [
                    told(rows["step"], 0),
                    told(rows["forgone"]),
                    f"{rows['fires'].mean():.0%}",
                ]
                cells.append([method, name, params, *shown])
    for name in NAMES[:-1]:
        for method, steps, forgone in gaps(own, name):
            shown = [told(steps, 0, "+"), told(forgone, 3, "+"), ""]
            cells.append([method, f"{name} less dvar", "", *shown])
    return markdown(cells, left=(0, 1, 2))


def gaps(own: pd.DataFrame, name: str) -> list[tuple[str, pd.Series, pd.Series]]:
    """A criterion less DVAR by concept, for each method and as means over methods."""
    wide = own.pivot(index=["method", "concept"], columns="criterion", values=["step", "forgone"])
    steps, forgone = (wide[of][name] - wide[of]["dvar"] for of in ("step", "forgone"))
    found = [
        (method, steps[method], forgone[method])
        for method in METHODS
        if method in steps.index.get_level_values(0)
    ]
    counts = steps.groupby("concept").size()
    whole = counts[counts == len(METHODS)].index
    means = [each.groupby("concept").mean().loc[whole] for each in (steps, forgone)]
    return [*found, (ALL, means[0], means[1])]


def verdict(own: pd.DataFrame, name: str) -> str:
    """Which criterion is better over all methods, by the rules."""
    _, steps, forgone = gaps(own, name)[-1]
    count = len(steps)
    if count < FEWEST:
        return f"Concepts with all methods: {count}, too few for a verdict on {name}."
    ends = [bootstrap_interval(each.to_numpy()) for each in (steps, forgone)]
    fewer, less = (high < 0 for _, high in ends)
    more, worse = (low > 0 for low, _ in ends)
    if (fewer and not worse) or (less and not more):
        said = f"{name} is better than dvar"
    elif (more and not less) or (worse and not fewer):
        said = f"dvar is better than {name}"
    else:
        said = f"neither {name} nor dvar is surely better"
    return f"By the rules, over {count} concepts with all methods: {said}."


def figure_of(errors: pd.DataFrame) -> Figure:
    """Error by price, a panel per method: L_det by layout and size, paired by how often."""
    shown = [method for method in METHODS if method in set(errors["method"])]
    with look():
        figure = new_figure(PAGE, 3.1)
        axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)
        panels = several_panels(axes, shown, PAGE, 3.1)
        for ax, method in zip(panels, shown, strict=True):
            own = errors[errors["method"] == method]
            means = own.groupby("curve")["error"].mean()
            prices = own.groupby("curve")["price"].first()
            for name, curves in lines_of(list(means.index)).items():
                x = [max(float(prices[curve]), 0.25) for curve in curves]
                y = [float(means[curve]) for curve in curves]
                colour, style = LINES[name]
                ax.plot(x, y, style, color=colour_of(colour), label=name, ms=3.5)
                if name == "L_det stratified":
                    rarely = [price / RARELY for price in x]
                    label = f"{name}, every {RARELY}th step"
                    ax.plot(rarely, y, ":o", color=colour_of(colour), label=label, mfc="w", ms=3.5)
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            ax.set_xticks([0.25, 1, 4, 16], ["0", "1", "4", "16"])
            ax.minorticks_off()
            count = own["concept"].nunique()
            ax.set_title(f"{method}\n{count} concept{'s' * (count > 1)}", loc="left", color=INK)
            dress(ax)
        panels[0].set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
        panels[0].set_ylabel("error of the curve\n(1: the whole gain)")
        figure.supxlabel(
            "price: samples passed forward per step, beyond training", fontsize=FONT_SIZE
        )
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def lines_of(curves: Sequence[str]) -> dict[str, list[str]]:
    """The curves of each line of the figure, by price."""
    sizes = (4, 8, 16, 32)
    found = {
        f"L_det {layout}": [f"L_det {size} {layout}" for size in sizes]
        for layout in ("random", "stratified", "antithetic")
    }
    found["paired"] = ["every 8th", "every 4th", "every 2nd", "paired EMA"]
    found["paired, post-stratified"] = ["post-stratified"]
    found["training loss"] = ["raw EMA"]
    found["training loss, timestep-adjusted"] = ["timestep-adjusted"]
    return {name: own for name, own in found.items() if set(own) <= set(curves)}
