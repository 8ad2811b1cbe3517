"""Surveys of people: blinded questionnaires from measured runs, and the answers read back.

`OUT/raters/` holds all that raters may see, `OUT/key.json` what they may not (docs/survey.md).
"""

import csv
import io
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from noiseprobe.analysis.stops import COMPARED, few_iterations, has_l_det, stops
from noiseprobe.analysis.survey_design import (
    ASKED,
    KINDS,
    WRONG,
    Form,
    Pair,
    Question,
    Rule,
    Trial,
    forms,
    key_of,
    pairs_of,
)
from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.core.files import write_json, written_whole
from noiseprobe.core.words import command, enumerated, in_spreadsheet, visible
from noiseprobe.pictures.strips import read_samples
from noiseprobe.plots.report.encoding import as_address
from noiseprobe.plots.survey.page import Asked, Questionnaire, page
from noiseprobe.run.directory import Run, installed_version
from noiseprobe.run.settings import RunConfig
from noiseprobe.stages.drawing import photographs_of
from noiseprobe.stages.survey_answers import KEY
from noiseprobe.training.concept import load_concept

RATERS, PICTURES = "raters", "pictures"
"""In the folder of a survey: what raters get, and the pictures in that."""

STRIPS = {"reconstruction": "training", "customization": "validation"}
"""Which prompts a question is about."""

REFERENCES = 3
"""Photographs that are shown beside a pair, at most; a further one is for catch trials."""

SIDE, QUALITY = 512, 92
"""Of pictures in a questionnaire; both of a pair are made alike."""

TOLOKA = {"left": "image_left", "right": "image_right"}
"""What Toloka's own template for two images beside each other calls its columns."""

Source = tuple[Any, ...]
"""Where a picture is: drawn, a photograph, or noise."""


@dataclass(frozen=True)
class Made:
    """What `make_survey` wrote.

    Attributes:
        out: its folder.
        survey: its name, in every answer.
        forms: questionnaires by name, with how many questions each has, catch trials included.
        pairs: how many pairs of pictures are asked, by kind.
        rule: who will be left out, in a sentence.
        skipped: what is not asked and why, a line each.
    """

    out: Path
    survey: str
    forms: dict[str, int]
    pairs: dict[str, int]
    rule: str
    skipped: list[str]


@dataclass(frozen=True)
class _Of:
    """What is shown of a run."""

    run: Run
    config: RunConfig
    steps: dict[str, int]
    noun: str
    photographs: list[Image.Image]

    @property
    def name(self) -> str:
        return str(self.run.directory)

    @property
    def concept(self) -> str:
        return self.config.concept.rstrip("/").rpartition("/")[2]

    def plain(self, caption: str) -> str:
        """A caption with the class noun in the place of the word that was learned."""
        words = "|".join(map(re.escape, (self.config.placeholder, self.config.rare_word)))
        thing = rf"(?<!\w)(?:{words})(?: {re.escape(self.noun)})?(?!\w)"
        return re.sub(thing, lambda _: self.noun, caption)


def make_survey(
    runs: Sequence[Run],
    out: Path,
    variants: Sequence[str] = ("dvar", "baseline"),
    *,
    most: int = 40,
    rule: Rule | None = None,
    ties: bool = False,
    seed: int = 0,
    url: str = "",
) -> Made:
    """Write a blinded survey of measured runs into the new folder `out`.

    Args:
        variants: criteria, of `noiseprobe.analysis.stops.COMPARED`; of each two the one that is
            named first is the one whose wins are counted.
        most: pairs in a questionnaire, at most.
        rule: catch trials, and how many may be missed (default: 6 and 1).
        ties: whether raters may say that they cannot tell.
        seed: of orders, sides and names of files.
        url: what stands before `pictures/` in the tables for crowd platforms.

    Raises:
        UserError: a variant is not known, `out` is not empty, or there is no pair to show.
    """
    rule = rule or Rule(6, 1)
    _require_variants(variants)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out {out}: it is not an empty folder; answers need their own survey")
    shown, skipped = _shown(runs, variants)
    drawn, more = _drawn(shown, variants)
    pairs = pairs_of(drawn, variants)
    skipped += more
    if not pairs:
        raise UserError(
            f"no pair to show: {skipped[0] if skipped else 'no pictures'}"
            + (f" (and {len(skipped) - 1} more like it)" if len(skipped) > 1 else "")
        )
    pictures = _Pictures({each.name: each for each in shown}, seed)
    asked = {(pair.run, pair.kind) for pair in pairs}
    trials = [trial for run, kind in sorted(asked) for trial in pictures.trials(run, kind)]
    made = forms(pairs, trials, rule, most, seed)
    by = f"noiseprobe {installed_version('noiseprobe')}"
    key = key_of(made, variants, rule, ties, skipped, by)
    _write(made, key, pictures, out, url)
    return Made(
        out,
        key["survey"],
        {form.name: len(form.questions) for form in made},
        {kind: sum(pair.kind == kind for pair in pairs) for kind in KINDS},
        rule.words,
        skipped,
    )


def _require_variants(variants: Sequence[str]) -> None:
    for name in variants:
        if name not in COMPARED:
            mend = did_you_mean(name, COMPARED, f"known are {enumerated(COMPARED)}")
            raise UserError(f"--variants: '{name}' is no criterion that is compared; {mend}")
    if len(set(variants)) < 2 or len(set(variants)) < len(variants):
        raise UserError(f"--variants {','.join(variants)}: give two or more, none of them twice")


def _shown(runs: Sequence[Run], variants: Sequence[str]) -> tuple[list[_Of], list[str]]:
    """The runs with the measured step at which each variant ends them, and why others are not."""
    traces, skipped = {}, []
    for run in runs:
        train = run.train_trace()
        if has_l_det(train):
            traces[str(run.directory)] = run, train, run.config
        else:
            skipped.append(f"{run.directory}: no L_det is recorded, so that no criterion ends it")
    few = {}
    if "few" in variants:
        by_method: dict[str, dict[str, Any]] = {}
        for name, (_, train, config) in traces.items():
            by_method.setdefault(config.method, {})[name] = train, config
        few = {method: few_iterations(each) for method, each in by_method.items()}
    found = []
    for run, train, config in traces.values():
        ends = stops(train, config, few.get(config.method))
        there = {name: run.nearest_checkpoint(ends[name].step) for name in variants if name in ends}
        skipped += [
            f"{run.directory}: it says nothing of {name} (train it with --checks)"
            for name in variants
            if name not in ends
        ]
        photographs = [_small(each) for each in photographs_of(config)]
        if not photographs:
            skipped.append(f"{run.directory}: the photographs in '{config.concept}' cannot be read")
            continue
        noun = load_concept(config.concept, config.class_noun, config.placeholder).class_noun
        found.append(_Of(run, config, there, noun, photographs))
    return found, skipped


def _small(photograph: Image.Image) -> Image.Image:
    """A photograph no larger than is shown on the best of screens: many are held at a time."""
    photograph.thumbnail((2 * SIDE, 2 * SIDE))
    return photograph


def _drawn(shown: Sequence[_Of], variants: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """A row per run, kind, prompt and variant that may be shown, and why others may not."""
    rows: list[dict[str, Any]] = []
    skipped = []
    for each in shown:
        steps: dict[str, int] = {}
        same = []
        for variant in (name for name in variants if name in each.steps):
            step = each.steps[variant]
            if step in steps.values():
                same.append(
                    f"{variant} ends where another does (step {step}), so that they do not differ; "
                    "a run that went on (--stop none) says where each would have"
                )
            else:
                steps[variant] = step
        skipped += [f"{each.name}: {told}" for told in same]
        rows_here: dict[str, list[dict[str, Any]]] = {}
        for variant, step in steps.items():
            try:
                samples = read_samples(each.run, step)
            except (OSError, KeyError, AttributeError, ValueError):
                draw = command("noiseprobe", "measure", each.run.directory, "--steps", step)
                skipped.append(f"{each.name}: no pictures at step {step} ({variant}); {draw}")
                continue
            rows_here[variant] = [
                {
                    **{"kind": kind, "run": each.name, "method": each.config.method},
                    **{"concept": each.concept, "seed": each.config.seed, "place": place},
                    **{"prompt": each.plain(caption), "variant": variant},
                }
                for kind, strip in STRIPS.items()
                for place, (caption, _) in enumerate(samples[strip])
            ]
        prompts = [
            [(row["kind"], row["place"], row["prompt"]) for row in of_one]
            for of_one in rows_here.values()
        ]
        if prompts and any(other != prompts[0] for other in prompts[1:]):
            skipped.append(f"{each.name}: its steps were drawn from other prompts; measure it anew")
            continue
        rows += [row for of_one in rows_here.values() for row in of_one]
    return rows, skipped


class _Pictures:
    """All pictures of a survey by the names that raters see, which say nothing."""

    def __init__(self, shown: Mapping[str, _Of], seed: int) -> None:
        self._shown = shown
        self._rng = np.random.default_rng([seed, 1])
        # Strips of many runs would not fit into memory; they are asked for in the order of runs.
        self._samples = lru_cache(2)(lambda run, step: read_samples(shown[run].run, step))
        self.names: dict[Source, str] = {}

    def name(self, source: Source) -> str:
        """The key of a picture, new where it was not asked for."""
        return self.names.setdefault(source, self._rng.bytes(6).hex())

    def references(self, run: str) -> list[Source]:
        """The photographs of the thing that are shown beside pairs."""
        count = len(self._shown[run].photographs)
        return [("photograph", run, place) for place in range(min(max(count - 1, 1), REFERENCES))]

    def trials(self, run: str, kind: str) -> list[Trial]:
        """The catch trials about a run's concept."""
        each = self._shown[run]
        prompt = f"a photo of a {each.noun}" if kind == "customization" else ""
        count = len(self._wrong(run))
        return [Trial(kind, run, each.concept, prompt, number) for number in range(count)]

    def _wrong(self, run: str) -> list[Source]:
        """What is surely not the thing: other nouns' photographs, and noise."""
        noun = self._shown[run].noun
        others: dict[str, Source] = {}
        for name, each in self._shown.items():
            if each.noun != noun:
                others.setdefault(each.noun, ("photograph", name, 0))
        return [*list(others.values())[:3], ("noise", run)]

    def side(self, about: Pair | Trial, side: str) -> Source:
        """Where the picture of one side is."""
        if isinstance(about, Pair):
            return "drawn", about.run, self._shown[about.run].steps[side], about.kind, about.place
        if side == WRONG:
            return self._wrong(about.run)[about.number]
        return "photograph", about.run, len(self._shown[about.run].photographs) - 1

    def image(self, source: Source) -> Image.Image:
        """The pixels, and nothing that a file told beside them."""
        if source[0] == "noise":
            noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
            image = Image.fromarray(noise.astype(np.uint8)).resize((SIDE, SIDE))
        elif source[0] == "photograph":
            image = self._shown[source[1]].photographs[source[2]].convert("RGB")
            side = min(image.size)
            image = ImageOps.fit(image, (side, side))
        else:
            _, run, step, kind, place = source
            image = self._samples(run, step)[STRIPS[kind]][place][1].convert("RGB")
        clean = Image.new("RGB", image.size)
        clean.paste(image)
        return clean

    def asked(self, question: Question) -> Asked:
        """A question as raters see it."""
        about = question.about
        references = self.references(about.run) if about.kind == "reconstruction" else []
        return Asked(
            question.token,
            self.name(self.side(about, question.left)),
            self.name(self.side(about, question.right)),
            visible(about.prompt) if about.kind == "customization" else "",
            [self.name(each) for each in references],
        )


def _write(
    made: Sequence[Form], key: Mapping[str, Any], pictures: _Pictures, out: Path, url: str
) -> None:
    """Write what raters see, and the key last: where it is, the survey is whole."""
    raters = out / RATERS
    shown = {form.name: [pictures.asked(each) for each in form.questions] for form in made}
    addresses, moment = {}, time.time()
    for source, name in sorted(pictures.names.items(), key=lambda each: list(map(str, each[0]))):
        image = pictures.image(source)
        addresses[name] = as_address(_fitted(image), SIDE, QUALITY)
        with written_whole(raters / PICTURES / f"{name}.png") as beside:
            image.save(beside, "PNG")
    for name in addresses:  # when it was written would tell of which step a picture is
        os.utime(raters / PICTURES / f"{name}.png", (moment, moment))
    rows = []
    for form in made:
        asked = shown[form.name]
        used = {name for each in asked for name in (each.left, each.right, *each.references)}
        own = {name: addresses[name] for name in sorted(used)}
        text = Questionnaire(key["survey"], form.name, ASKED[form.kind], key["ties"], asked, own)
        _write_text(raters / f"{form.name}.html", page(text))
        rows += [_task(key["survey"], form, each, url) for each in asked]
    _write_text(raters / "tasks.csv", _table(rows, ","))
    toloka = [{f"INPUT:{TOLOKA.get(name, name)}": row[name] for name in row} for row in rows]
    _write_text(raters / "tasks-toloka.tsv", _table(toloka, "\t"))
    write_json(out / KEY, key)


def _fitted(image: Image.Image) -> Image.Image:
    """An image as large as a questionnaire shows it; small ones keep their pixels, larger."""
    times = SIDE // max(image.size)
    return image.resize((image.width * times, image.height * times), 0) if times > 1 else image


def _task(survey: str, form: Form, asked: Asked, url: str) -> dict[str, str]:
    """A row for a crowd platform."""

    def at(name: str) -> str:
        return f"{url.rstrip('/') + '/' if url else ''}{PICTURES}/{name}.png"

    places = [at(each) for each in asked.references]
    return {
        **{"survey": survey, "form": form.name, "question": asked.token},
        **{"asks": ASKED[form.kind], "prompt": in_spreadsheet(asked.prompt)},
        **{"left": at(asked.left), "right": at(asked.right)},
        **{f"reference_{n + 1}": "".join(places[n : n + 1]) for n in range(REFERENCES)},
    }


def _table(rows: Sequence[Mapping[str, str]], between: str) -> str:
    written = io.StringIO()
    table = csv.DictWriter(written, list(rows[0]), delimiter=between, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return written.getvalue()


def _write_text(path: Path, text: str) -> None:
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")
