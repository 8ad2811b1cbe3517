"""What the study found: CSV files with the numbers, a report and a summary that say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.comparison.runs import DVAR
from experiments.curves import KEPT, Curves, best, geometric_mean, grid, grid_lines
from experiments.defaults.study import DRAWN, STUDIED, judged
from experiments.tiny_sd.concepts import tuned
from noiseprobe.analysis import published_noise_to_signal
from noiseprobe.analysis.bootstrap import bootstrap_interval
from noiseprobe.core.files import write_json, written_whole
from noiseprobe.draws.factors import FACTORS
from noiseprobe.pictures.similarity import Clip
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig


@dataclass(frozen=True)
class Found(Curves):
    """The study's numbers: one row per concept, one column per factor or step.

    `between` is the similarity between two photographs, `full` that of full fine-tuning as a share
    of it.
    """

    noise_to_signal: pd.DataFrame
    between: pd.Series
    full: pd.DataFrame
    config: RunConfig

    @classmethod
    def read(cls, out: Path, names: Sequence[str]) -> Found | None:
        """What is finished in `out`; None if nothing is."""
        places = {name: out / "inversion" / name for name in names}
        runs = {n: Run.open(path) for n, path in places.items() if (path / STUDIED).is_file()}
        if not runs:
            return None
        index = pd.Index(list(runs), name="concept")
        noise = [
            published_noise_to_signal(run.probe_trace())["noise_to_signal"] for run in runs.values()
        ]
        l_det = [run.train_trace().set_index("step")["l_det"] for run in runs.values()]
        clip, photographs = Clip.load(), out / "photographs"
        seen = [judged(run.directory, photographs / name, clip) for name, run in runs.items()]
        full = {
            name: judged(out / "full" / name, photographs / name, clip)
            for name in runs
            if (out / "full" / name / STUDIED).is_file()
        }
        shares = {name: curve / between for name, (curve, between) in full.items()}
        return cls(
            pd.DataFrame(l_det).set_axis(index),
            pd.DataFrame([curve for curve, _ in seen]).set_axis(index),
            pd.DataFrame(noise)[list(FACTORS)].set_axis(index),
            pd.Series([between for _, between in seen], index),
            pd.DataFrame(shares).T.rename_axis("concept"),
            next(iter(runs.values())).config,
        )

    def only(self, names: Sequence[str]) -> Found:
        """The same of some concepts."""
        rows = list(names)
        return replace(
            self,
            noise_to_signal=self.noise_to_signal.loc[rows],
            l_det=self.l_det.loc[rows],
            similarity=self.similarity.loc[rows],
            between=self.between.loc[rows],
        )


def write_results(out: Path, names: Sequence[str], directory: Path) -> None:
    """Write the CSV files, `RESULTS.md` and `summary.json` from what is finished in `out`."""
    found = Found.read(out, names)
    if found is None:
        return
    tables = {
        "noise_to_signal": found.noise_to_signal,
        "l_det": found.l_det.T,
        "similarity": found.similarity.T,
        "concepts": per_concept(found),
    }
    if len(found.full):
        tables["full_fine_tuning"] = found.full.T
    for stem, table in tables.items():
        with written_whole(directory / f"{stem}.csv") as beside:
            table.to_csv(beside, float_format="%.6g")
    write_json(directory / "summary.json", summary(found))
    with written_whole(directory / "RESULTS.md") as beside:
        beside.write_text(report(found), encoding="utf-8")


def per_concept(found: Found) -> pd.DataFrame:
    """One row per concept: similarities, and where DVAR stops with the default settings."""
    stops = found.stops(*DVAR[METHODS[0]])
    similarity = found.similarity
    return pd.DataFrame(
        {
            "chosen_on": similarity.index.isin(tuned()),
            "photograph_similarity": found.between,
            "similarity_first": similarity.iloc[:, 0],
            "similarity_last": similarity.iloc[:, -1],
            "similarity_best": similarity.max(axis=1),
            "best_step": similarity.idxmax(axis=1),
            "dvar_stop": stops,
            "similarity_at_stop": found.similarity_at(stops),
        }
    )


def summary(found: Found) -> dict[str, Any]:
    """What the study says, in numbers."""
    table = per_concept(found)
    first = table["similarity_first"]
    later = found.similarity.iloc[:, 1:].max(axis=1)
    result: dict[str, Any] = {
        "concepts": len(table),
        "steps": int(found.l_det.columns.max()),
        "noise_to_signal": {
            factor: geometric_mean(found.noise_to_signal[factor]) for factor in FACTORS
        },
        "inversion": {
            "rises_at_best": int((later > first).sum()),
            "rises_at_last": int((table["similarity_last"] > first).sum()),
            "first": interval(first),
            "last": interval(table["similarity_last"]),
            "best": interval(table["similarity_best"]),
            "between_photographs": interval(table["photograph_similarity"]),
        },
        "dvar": {
            part: stopping(table[rows], int(found.l_det.columns.max()))
            for part, rows in (
                ("chosen_on", table["chosen_on"]),
                ("confirmed_on", ~table["chosen_on"]),
            )
            if rows.any()
        },
    }
    if len(found.full):
        share = found.full.max(axis=1)
        result["full_fine_tuning"] = {
            "concepts": len(share),
            "share_of_photograph_similarity": interval(share),
            "share_at_step_0": interval(found.full[0]),
            "reach_nine_tenths": int((share >= 0.9).sum()),
        }
    return result


def stopping(table: pd.DataFrame, steps: int) -> dict[str, Any]:
    """How DVAR with the default settings does on some concepts, against training to the end."""
    fired = table["dvar_stop"].notna()
    kept = table["similarity_at_stop"] / table["similarity_last"]
    return {
        "concepts": len(table),
        "fires_on": int(fired.sum()),
        "stop_median": float(table["dvar_stop"].median()) if fired.any() else None,
        "stop_range": [float(table["dvar_stop"].min()), float(table["dvar_stop"].max())]
        if fired.any()
        else None,
        "steps_taken": interval(table["dvar_stop"].fillna(steps)),
        "similarity_at_stop": interval(table["similarity_at_stop"]),
        "similarity_at_last": interval(table["similarity_last"]),
        "similarity_kept": interval(kept),
    }


def interval(values: pd.Series) -> dict[str, float]:
    """Mean over concepts and its 95% bootstrap interval."""
    low, high = bootstrap_interval(values)
    return {"mean": float(values.mean()), "low": low, "high": high}


def report(found: Found) -> str:
    """The tables as Markdown."""
    config, said = found.config, summary(found)
    table = per_concept(found)
    window, threshold = DVAR[METHODS[0]]
    chosen_on = list(table.index[table["chosen_on"]])
    inversion = said["inversion"]
    lines = [
        "# What the analysis shows on the concepts of the bundled model",
        "",
        f"Made by `python -m experiments.defaults`: textual inversion of `{config.model}` on "
        f"{len(table)} concepts, {config.steps} steps of batch {config.train_batch_size}, learning "
        f"rate {config.learning_rate:g} x batch size, L_det on {config.eval_batch} random "
        "samples, "
        f"{config.replicates} replicates of {config.probe_batch} samples, seed {config.seed}. "
        "Intervals are 95% over concepts.",
        "",
        "## Noise-to-signal by factor, as published",
        "",
        "Standard deviation of the batch loss over redraws, over that of one fixed batch's loss "
        "over checkpoints. All concepts share one seed, and so one fixed batch and its few "
        "redraws, of which these intervals know nothing: "
        "[../noise_to_signal/METHODS.md](../noise_to_signal/METHODS.md) has the ratios to go by.",
        "",
        "| factor | geometric mean | interval | smallest | largest |",
        "|---|---:|---:|---:|---:|",
    ]
    for factor in FACTORS:
        mean, values = said["noise_to_signal"][factor], found.noise_to_signal[factor]
        lines.append(
            f"| {factor} | {mean['mean']:.2g} | {mean['low']:.2g} to {mean['high']:.2g} | "
            f"{values.min():.2g} | {values.max():.2g} |"
        )
    lines += [
        "",
        "## What is learned",
        "",
        f"Similarity of {DRAWN} drawn pictures to the photographs, as the bundled CLIP sees it; "
        f"between two photographs of one concept it is "
        f"{shown(inversion['between_photographs'])}.",
        "",
        "| textual inversion | similarity |",
        "|---|---:|",
        f"| step 0 | {shown(inversion['first'])} |",
        f"| step {said['steps']} | {shown(inversion['last'])} |",
        f"| best step of each concept | {shown(inversion['best'])} |",
        "",
        f"It is higher at the best step than at step 0 on {inversion['rises_at_best']} of "
        f"{len(table)} concepts, and at the last step on {inversion['rises_at_last']}. (The best "
        "of several steps flatters by being the best; the last step does not.)",
    ]
    if full := said.get("full_fine_tuning"):
        lines += [
            "",
            f"Fine-tuning the whole UNet on {full['concepts']} concepts brings the similarity from "
            f"{shown(full['share_at_step_0'])} to {shown(full['share_of_photograph_similarity'])} "
            "of that between two photographs (best step); it reaches nine tenths on "
            f"{full['reach_nine_tenths']} of them.",
        ]
    lines += [
        "",
        "## Where DVAR stops",
        "",
        f"Window {window} and threshold {threshold:g}, those of the comparison, were chosen on "
        f"{len(chosen_on)} concepts, by `../comparison/TUNING.md` ({', '.join(chosen_on)}), and "
        "tried on the others.",
        "",
        "| concepts | fires on | median step | range | similarity at the stop | "
        f"at step {said['steps']} | kept |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for part, row in said["dvar"].items():
        span = " to ".join(f"{step:.0f}" for step in row["stop_range"] or [])
        median = "-" if row["stop_median"] is None else f"{row['stop_median']:.0f}"
        lines.append(
            f"| {part.replace('_', ' ')} | {row['fires_on']} of {row['concepts']} | {median} | "
            f"{span} | {shown(row['similarity_at_stop'])} | {shown(row['similarity_at_last'])} | "
            f"{shown(row['similarity_kept'])} |"
        )
    if chosen_on:
        cells = grid(found.only(chosen_on))
        lines += ["", *grid_lines(cells, len(chosen_on))]
        if soonest := best(cells, len(chosen_on)):
            lines += [
                "",
                f"Of the cells that fire on all {len(chosen_on)} and keep {KEPT:.0%} of the gain "
                f"or more, window {soonest[0]} with threshold {soonest[1]:g} stops soonest.",
            ]
    return "\n".join(lines) + "\n"


def shown(value: dict[str, float]) -> str:
    """A mean with its interval."""
    return f"{value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
