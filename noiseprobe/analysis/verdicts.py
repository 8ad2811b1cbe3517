"""What was found, in sentences: one source for the terminal, JSON and pages.

Sentences follow from intervals. Where those overlap, or hold the value that would make no
difference, the sentence says that it cannot be told.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from noiseprobe.analysis.bootstrap import FEWEST, interval_of_units
from noiseprobe.analysis.ending import UNFINISHED, Ending
from noiseprobe.analysis.run_tables import Analysis
from noiseprobe.analysis.verdicts_held_out import of_held_out, of_stretch
from noiseprobe.core.words import command, enumerated, in_markdown, visible
from noiseprobe.draws.factors import FACTORS

ENOUGH = 7
"""Redraws, the default: with fewer, more of them are the first advice."""

LARGER = 128
"""Samples of a batch that may show a progress which the usual 32 do not."""

MOST_NAMED = 8
"""Run directories that a command names one by one."""


@dataclass(frozen=True)
class Verdict:
    """What a person reads first: sentences, and one command that is useful next ("": none)."""

    sentences: list[str]
    next: str = ""

    def _repr_markdown_(self) -> str:
        """In a notebook: the sentences, the first of which says most."""
        return in_markdown(self.sentences)

    @property
    def document(self) -> dict[str, Any]:
        """The keys of a JSON document."""
        return {"verdict": self.sentences, "next": self.next or None}


def of_run(ending: Ending, ratios: pd.DataFrame, replicates: int) -> Verdict:
    """Of a run that was trained and probed.

    Args:
        ending: how its training ended.
        ratios: what `noiseprobe.analysis.noise_to_signal` gives of its probe.
        replicates: the fewest redraws that a setting has there.
    """
    if ending.stopped_by in UNFINISHED:
        further = command("noiseprobe", "run", "--out", Path(ending.run), "--resume")
        return Verdict([*of_noise(ratios, replicates), *of_ending(ending)], further)
    standing = _standing(ratios)
    asks = standing is not None and bool(standing.open or standing.rivals)
    probe = "noiseprobe", "probe", Path(ending.run)
    if replicates < ENOUGH and (asks or standing is None):
        more = command(*probe, "--replicates", ENOUGH)
    elif standing is None and ratios["signal"].notna().any():
        more = command(*probe, "--probe-batch", LARGER)
    elif ending.foreign:
        more = command("noiseprobe", "pick", Path(ending.run))
    else:
        more = command("noiseprobe", "analyze", Path(ending.run))
    return Verdict([*of_noise(ratios, replicates), *of_ending(ending)], more)


def of_training(ending: Ending) -> Verdict:
    """Of a run that was trained alone."""
    return Verdict(of_ending(ending), command("noiseprobe", "probe", Path(ending.run)))


@dataclass(frozen=True)
class _Standing:
    """The factors by noise to signal, the largest first, and what their intervals allow to say."""

    table: pd.DataFrame
    hides: list[str]
    open: list[str]
    rivals: list[str]


def _standing(ratios: pd.DataFrame) -> _Standing | None:
    known = ratios.loc[[factor for factor in FACTORS if factor in ratios.index]]
    known = known.replace(math.inf, math.nan).sort_values(
        "noise_to_signal", ascending=False, kind="stable", na_position="last"
    )
    if known["noise_to_signal"].isna().all():
        return None
    known = known.fillna({"low": 0.0, "high": math.inf})  # whatever cannot be told may be anything
    names = [str(name) for name in known.index]
    hides = [name for name in names if known["low"][name] > 1]
    may = [name for name in names if known["low"][name] <= 1 <= known["high"][name]]
    rivals = [name for name in names[1:] if known["high"][name] >= known["low"][names[0]]]
    return _Standing(known, hides, may, rivals)


def of_noise(ratios: pd.DataFrame, replicates: int) -> list[str]:
    """Which factor hides the progress, by how much, and what cannot be told."""
    few = f"{_count(replicates, 'redraw')} {'is' if replicates == 1 else 'are'} too few"
    standing = _standing(ratios)
    if standing is None:
        why = _why_unknown(ratios) if replicates > 1 else few
        return [f"How much each factor hides the progress cannot be told: {why}."]
    table, hides, may = standing.table, standing.hides, standing.open
    rows, top = table.to_dict("index"), str(table.index[0])
    why = f": {few}" if replicates < ENOUGH else ""
    if not hides and not may:
        return [
            f"No factor hides the progress: redrawing {top}, the noisiest, moves the batch loss "
            f"only {_times(rows[top])} as far as the training does."
        ]
    if not hides:
        sure = "no other factor does" if len(may) < len(table) else "of no factor is it sure"
        told = f"Whether redrawing {enumerated(may, 'or')} hides the progress cannot be told, and "
        return [f"{told}{sure}{why or f': {_whose(may)} 1'}."]
    sure = hides[0]  # the noisiest, unless its own interval holds 1
    first = (
        f"Redrawing {sure} hides the progress{'' if standing.rivals else ' most'}: it moves the "
        f"batch loss {_times(rows[sure])} as far as the training does."
    )
    if standing.rivals:
        both = enumerated([top, *standing.rivals], "or")
        told = f"Whether {both} hides it most cannot be told: their intervals overlap"
        return [first, f"{told}{f'; {few}' if why else ''}."]
    rest = [f"{name} ({_times(rows[name], ', 95%: {}')})" for name in hides[1:]]
    parts = [f"the same is true of {enumerated(rest)}"] if rest else []
    if may:
        reason = why or f": {_whose(may)} 1"
        parts.append(f"whether {enumerated(may, 'or')} hides it too cannot be told{reason}")
    told = "; ".join(parts)
    return [first, f"{told[0].upper()}{told[1:]}."] if told else [first]


def _why_unknown(ratios: pd.DataFrame) -> str:
    """Why no factor has a ratio, although redraws are many enough."""
    if not any(factor in ratios.index for factor in FACTORS):
        return "no factor was redrawn alone"
    if ratios["signal"].isna().all():
        return "fewer than two checkpoints, or samples, have losses that are finite"
    if ratios["low"].notna().any():
        return "no progress of the expected loss shows in these samples"
    return "fewer than three samples were probed, or not the same ones in all settings"


def of_ending(ending: Ending) -> list[str]:
    """When training ended and why, what that saved, and which checkpoint to take."""
    took = f"({ending.seconds:.0f} s)"
    if ending.foreign:
        return _of_foreign(ending, *ending.foreign)
    if ending.stopped_by in UNFINISHED:
        return [f"Training is at step {ending.steps} of at most {ending.most}, and may go on."]
    if ending.why:
        saved = ending.most - ending.steps
        share = f", {saved / ending.most:.0%}" if ending.most else ""
        told = [
            f"{named(ending.stopped_by)} stopped the training at step {ending.steps} of at most "
            f"{ending.most} {took}, which saves {_count(saved, 'step')}{share}: {ending.why}."
        ]
    else:
        told = [f"All {ending.steps} steps were taken {took}; {_said(ending.fired)}."]
        told += [f"{line}." for line in ending.cannot_fire]
    if ending.skipped:
        told.append(
            f"{_count(ending.skipped, 'step')} of them changed nothing: a loss or gradient was not "
            "finite there (--on-nan skip)."
        )
    told += of_held_out(ending) + of_stretch(ending)
    if ending.take:
        place = visible(ending.result or ending.take)
        told.append(f"Take the checkpoint {ending.take_why}: {place}")
    return told


def _of_foreign(ending: Ending, count: int, unit: str) -> list[str]:
    """Of checkpoints that another trainer left."""
    told = [
        f"{_count(count, 'checkpoint')} of another trainer, up to {unit} {ending.steps}; "
        f"{_said(ending.fired)}."
    ]
    if ending.held_out is None:
        told.append(
            "Which of them to take cannot be told: overfitting does not show in the loss on what "
            "was trained on. --validation, with photographs that were not, shows it."
        )
    told += of_held_out(ending)
    if ending.take:
        told.append(f"Take the checkpoint {ending.take_why}: {visible(ending.take)}")
    return told


def named(criterion: str | None) -> str:
    """A criterion as a sentence begins with it."""
    return {"dvar": "DVAR", "clip": "The CLIP criterion"}.get(criterion or "", str(criterion))


def _said(fired: Mapping[str, int | None]) -> str:
    """What each watched criterion would have done."""
    told = [
        f"{named(name)} did not fire" if step is None else f"{named(name)} fired at step {step}"
        for name, step in fired.items()
    ]
    return "; ".join(told).replace("; The", "; the")


def of_analysis(found: Analysis) -> Verdict:
    """What makes the noise, what batch would show progress, and where the loss still changes."""
    tables = found.tables
    told = _of_shares(tables["shares"]) if "shares" in tables else []
    if "signal_to_noise" in tables:
        told += _of_batch(tables["signal_to_noise"])
    if len(learning := tables.get("learning_bins", pd.DataFrame())):
        told.append(_of_bins(learning))
    if "correlations" in tables:
        told.append(_of_correlations(tables["correlations"]))
    if "shares" in tables:
        return Verdict(told, command("noiseprobe", "measure", Path(found.run)))
    return Verdict(told, command("noiseprobe", "probe", Path(found.run), "--design", "sobol"))


def _of_shares(table: pd.DataFrame) -> list[str]:
    last = table[table["step"] == table["step"].max()].set_index("factor")
    known = last[last[["first", "first_low", "first_high"]].notna().all(axis=1)]
    known = known.sort_values("first", ascending=False, kind="stable")
    if len(known) < len(FACTORS):
        return ["Which factor makes most of the noise cannot be told: too few pairs were probed."]
    top, *rest = (str(name) for name in known.index)
    rivals = [name for name in rest if known["first_high"][name] >= known["first_low"][top]]
    if rivals:
        both = enumerated([top, *rivals], "or")
        return [f"Whether {both} makes most of the noise cannot be told: their intervals overlap."]
    low, high = known["first_low"][top], known["first_high"][top]
    return [
        f"Alone, {top} makes {known['first'][top]:.0%} of the variance of the batch loss "
        f"(95%: {low:.0%} to {high:.0%}), more than any other factor."
    ]


def _of_batch(table: pd.DataFrame) -> list[str]:
    if "original" not in table.index:
        return []
    needed, batch = (float(table[name]["original"]) for name in ("needed_batch", "batch"))
    if math.isnan(needed):
        return []
    here = f"; here it had {batch:.0f}" if batch == batch else ""
    low, high = (float(table[f"needed_{end}"]["original"]) for end in ("low", "high"))
    least = f"at least {math.ceil(low):,}" if low > 0 else ""
    if math.isinf(needed):
        would = f"a batch that would show it has {least} samples (95%)" if least else ""
        unknown = "what batch would show it cannot be told"
        return [f"Through all the noise no progress is seen: {would or unknown}{here}."]
    reach = f"{math.ceil(low):,} to {math.ceil(high):,}" if math.isfinite(high) else least
    reach = f" (95%: {reach})" if reach else ""
    return [
        f"A training loss would need some {math.ceil(needed):,} samples{reach} per batch to show "
        f"its progress as large as its noise{here}."
    ]


def _of_bins(table: pd.DataFrame) -> str:
    places = {
        way: [f"{row['from']}-{row['to'] - 1}" for row in rows.to_dict("records")]
        for way, rows in table.groupby("trend", sort=False)
    }
    told = [
        f"still {verb} at timesteps {enumerated(places[way])}"
        for way, verb in (("falling", "falls"), ("rising", "rises"))
        if way in places
    ]
    if not told:
        return "Over the last third of the checkpoints no timestep's loss changes for sure."
    return f"Over the last third of the checkpoints the loss {enumerated(told)}.".replace(
        "still rises", "rises"
    )


def _of_correlations(table: pd.DataFrame) -> str:
    sure = table[table["high"] < 0].sort_values("rho").reset_index().to_dict("records")
    if not sure:
        return (
            "Whether any trace tells the similarity of the pictures cannot be told from this run."
        )
    row = sure[0]
    return (
        f"{row['trace']} falls as the pictures' similarity rises (rank correlation "
        f"{row['rho']:.2f}, 95%: {row['low']:.2f} to {row['high']:.2f})."
    )


def of_comparison(
    raw: pd.DataFrame, summary: pd.DataFrame, given: Sequence[Path], runs: Sequence[Path]
) -> Verdict:
    """What DVAR saves of each method's steps, and what that costs in similarity.

    Args:
        raw, summary: what `noiseprobe.analysis.comparison` gives.
        given: where runs were looked for.
        runs: the run directories that were found there.
    """
    told = []
    for method, rows in summary.groupby("method", sort=False):
        means = rows.set_index("variant")
        told.append(f"{method}: {_of_method(raw[raw['method'] == method], means)}.")
    fewest = int(raw.groupby("method")["concept"].nunique().min())
    if 1 < fewest < FEWEST:
        told.append(
            f"With {fewest} concepts the intervals of the table are too narrow; have {FEWEST} or "
            "more."
        )
    if len(runs) > MOST_NAMED:
        checked = "clip" in set(raw["variant"])
        judged = command("noiseprobe", "regret", *given, "--judge", "clip_img")
        return Verdict(told, judged if checked else "")
    if raw["val_clip_img"].isna().any():
        return Verdict(told, command("noiseprobe", "measure", *runs))
    return Verdict(told, command("noiseprobe", "plot", *runs, "--across", "figures-across"))


def _of_method(raw: pd.DataFrame, means: pd.DataFrame) -> str:
    """What DVAR makes of the runs of one method."""
    fired = raw[raw["variant"] == "dvar"]["fired"]
    ends = raw.pivot_table("step", ["concept", "seed"], "variant")
    if not fired.any():
        return "DVAR fired in no run, and saves nothing"
    if fired.all() and (ends["dvar"] == ends["baseline"]).all():
        return (
            "all training ended where DVAR fired, so that there is nothing to compare; a run with "
            "--stop none --checks answers for all criteria"
        )
    steps, times = means["step"], 1 / means["speedup"]["dvar"]
    return (
        f"DVAR takes {steps['dvar']:.0f} of {steps['baseline']:.0f} steps, and {times:.2f} times "
        f"the time with what it costs itself; {_of_similarity(raw)}"
    )


def _of_similarity(raw: pd.DataFrame) -> str:
    """How the pictures differ from those of the last step, over the same concepts."""
    means = raw.pivot_table("val_clip_img", "concept", "variant", dropna=False)
    if not {"dvar", "baseline"} <= set(means.columns):
        return "what that costs in similarity to the photographs was not measured"
    gaps = (means["dvar"] - means["baseline"]).dropna().to_numpy()
    if not len(gaps):
        return "what that costs in similarity to the photographs was not measured"
    mean, (low, high) = float(gaps.mean()), interval_of_units(gaps)
    if math.isnan(low):
        return f"similarity to the photographs differs by {mean:+.3f}, and one concept is too few"
    interval = f"({mean:+.3f}, 95%: {low:+.3f} to {high:+.3f})"
    if low <= 0 <= high:
        return f"a difference in similarity to the photographs cannot be told {interval}"
    return f"its pictures are {'less' if mean < 0 else 'more'} like the photographs {interval}"


def of_measures(measured: Mapping[str, pd.DataFrame]) -> Verdict:
    """At which measured step pictures are most like the photographs, and follow prompts best."""
    told = []
    for run, trace in measured.items():
        wide = trace.pivot_table("value", "step", "metric")
        parts = [
            f"{what} at step {wide[metric].idxmax()} ({wide[metric].max():.3f})"
            for metric, what in (
                ("val_clip_img", "most like the photographs"),
                ("val_clip_txt", "follow the prompts best"),
            )
            if metric in wide and wide[metric].notna().any()
        ]
        if len(wide) < 2:
            told.append(f"{visible(run)}: one step was measured; nothing to compare it with.")
        elif parts:
            told.append(
                f"{visible(run)}: of {len(wide)} measured steps pictures are {parts[0]}"
                f"{f' and {parts[1]}' if parts[1:] else ''}; how sure, one run cannot tell."
            )
    return Verdict(told, command("noiseprobe", "table", *map(Path, measured)))


def of_sweep(done: Sequence[str], failed: Mapping[str, str], out: Path | str) -> Verdict:
    """How many runs of a sweep are there; `out` is their folder, or the address of a bucket."""
    lost = f"; {len(failed)} failed, and the same command tries them again" if failed else ""
    told = f"{_count(len(done), 'run')} of {len(done) + len(failed)} trained and measured{lost}."
    looks = ["table", out] if isinstance(out, Path) else ["fetch", out, "runs", "--traces"]
    return Verdict([told], command("noiseprobe", *looks) if done else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _whose(names: Sequence[str]) -> str:
    return "its interval includes" if len(names) == 1 else "their intervals include"


def _times(row: Mapping[Any, float], interval: str = " (95%: {})") -> str:
    low, high = (shown(float(row[name])) for name in ("low", "high"))
    reach = f"{low} to {high}" if math.isfinite(row["high"]) else f"at least {low}"
    reach = reach if row["low"] > 0 else f"at most {high}"
    return f"{shown(float(row['noise_to_signal']))} times{interval.format(reach)}"


def shown(value: float) -> str:
    """A number in a sentence: three digits, or whole where it is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
