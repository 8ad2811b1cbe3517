"""A blinded survey of pairs: which questions, in which questionnaires, and what stands where.

The two questions are those of Voronov et al. 2023, section 5: which picture is more like the
reference object (pictures of training prompts), and which matches the prompt better (pictures of
validation prompts).
"""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from noiseprobe.core.errors import UserError

KINDS = ("reconstruction", "customization")
"""Like the reference object, of training prompts; like the prompt, of validation prompts."""

ASKED = {
    "reconstruction": "Which picture shows an object that is more like the one in the photographs?",
    "customization": "Which picture matches the description better?",
}
"""What raters are asked, by kind."""

KNOWN, WRONG = "known", "wrong"
"""The two sides of a catch trial: the photograph, and the picture of something else."""

MOST_TRIALS, VERSIONS = 50, ("a", "b")


@dataclass(frozen=True)
class Pair:
    """Two variants' pictures of one prompt and one noise.

    `place` is that of the prompt in the strip of the run. `first` is the variant whose wins count.
    """

    kind: str
    run: str
    method: str
    concept: str
    seed: int
    place: int
    prompt: str
    first: str
    second: str

    @property
    def sides(self) -> tuple[str, str]:
        """What is shown, before it is known on which side."""
        return self.first, self.second


@dataclass(frozen=True)
class Trial:
    """A catch trial: a photograph of the thing itself against a picture of something else."""

    kind: str
    run: str
    concept: str
    prompt: str
    number: int

    @property
    def sides(self) -> tuple[str, str]:
        """What is shown, the right answer first."""
        return KNOWN, WRONG


@dataclass(frozen=True)
class Question:
    """A pair or a catch trial as it is asked; `token` says nothing of what is on which side."""

    token: str
    about: Pair | Trial
    left: str
    right: str


@dataclass(frozen=True)
class Form:
    """One questionnaire: questions of one kind, in their order."""

    name: str
    kind: str
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Rule:
    """Who is left out, stated before anyone has answered.

    A rater who missed more than `missed` of `trials` catch trials, or that share of those which
    were answered, or answered none.
    """

    trials: int
    missed: int

    def __post_init__(self) -> None:
        if not 0 <= self.trials <= MOST_TRIALS:
            raise UserError(f"--trials {self.trials}: catch trials are 0 to {MOST_TRIALS} a form")
        if self.missed < 0 or self.missed >= max(self.trials, 1):
            raise UserError(
                f"--misses {self.missed}: of {self.trials} catch trials fewer may be missed; "
                "lower it, or add --trials"
            )

    def keeps(self, answered: int, missed: int) -> bool:
        """Whether a rater's answers count."""
        return not self.trials or (answered > 0 and missed * self.trials <= self.missed * answered)

    @property
    def guessed(self) -> float:
        """The chance that one who guesses every answer of a questionnaire is kept."""
        return float(binom.cdf(self.missed, self.trials, 0.5))

    @property
    def words(self) -> str:
        """The rule in a sentence."""
        if not self.trials:
            return "No catch trials are asked, and nobody is left out."
        return (
            f"Left out is a rater who answered no catch trial, or missed more than {self.missed} "
            f"in {self.trials} of them; one who guesses is kept with a chance of "
            f"{self.guessed:.0%}."
        )


def pairs_of(drawn: Sequence[Mapping[str, Any]], variants: Sequence[str]) -> list[Pair]:
    """The pairs of two variants each, of rows with the fields of `Pair` and a `variant`.

    Rows of one run, kind and place belong together.
    """
    together: dict[tuple[str, str, int], dict[str, Mapping[str, Any]]] = {}
    for row in drawn:
        together.setdefault((row["run"], row["kind"], row["place"]), {})[row["variant"]] = row
    found = []
    for rows in together.values():
        for first, second in itertools.combinations(variants, 2):
            if first in rows and second in rows:
                shared = {key: value for key, value in rows[first].items() if key != "variant"}
                found.append(Pair(**shared, first=first, second=second))
    return found


def forms(
    pairs: Sequence[Pair], trials: Sequence[Trial], rule: Rule, most: int, seed: int
) -> list[Form]:
    """The questionnaires: of each kind as few as hold `most` pairs each, in two versions.

    Every pair is asked once in version a and once in b. b has the sides swapped and the order
    reversed, so that over both each variant stands left as often as right, and early as often as
    late. Within a version half of the pairs stand each way (or one more). Concepts are dealt
    evenly, and catch trials, of which none comes twice before all of their kind did, are spread.
    """
    if most < 1:
        raise UserError(f"--questions {most}: a questionnaire needs at least one")
    rng = np.random.default_rng(seed)
    found = []
    for kind in KINDS:
        own = [pair for pair in pairs if pair.kind == kind]
        rng.shuffle(own)
        own.sort(key=lambda pair: (pair.method, pair.concept))
        count = math.ceil(len(own) / most)
        for number in range(count):
            asked = own[number::count]
            rng.shuffle(asked)
            catching = _chosen([each for each in trials if each.kind == kind], rule.trials, rng)
            found += _versions(f"{kind}-{number + 1}", kind, asked, catching, rng)
    return found


def _chosen(trials: Sequence[Trial], count: int, rng: np.random.Generator) -> list[Trial]:
    """`count` of the trials in random order, none twice before all were taken."""
    order = rng.permutation(len(trials))
    return [trials[order[place % len(order)]] for place in range(count)] if len(order) else []


def _versions(
    name: str, kind: str, pairs: Sequence[Pair], trials: Sequence[Trial], rng: np.random.Generator
) -> list[Form]:
    """The two versions of a questionnaire."""
    asked = [*_sided(pairs, rng), *_sided(trials, rng)]
    places = [*rng.permutation(len(pairs)), *_between(len(trials), len(pairs), rng)]
    ordered = [asked[place] for place in np.argsort(places, kind="stable")]
    swapped = [(about, not flipped) for about, flipped in reversed(ordered)]
    return [
        Form(name + version, kind, tuple(_question(about, flip, rng) for about, flip in order))
        for version, order in zip(VERSIONS, (ordered, swapped), strict=True)
    ]


def _sided(
    abouts: Sequence[Pair] | Sequence[Trial], rng: np.random.Generator
) -> list[tuple[Pair | Trial, bool]]:
    """Each with whether it is flipped: half of them, or one more, by chance."""
    flips = (rng.permutation(len(abouts)) + rng.integers(2)) % 2 == 0
    return list(zip(abouts, map(bool, flips), strict=True))


def _between(count: int, questions: int, rng: np.random.Generator) -> list[float]:
    """Places of catch trials: one in each of as many equal stretches, at random in it."""
    return [float((part + rng.random()) * questions / count) for part in range(count)]


def _question(about: Pair | Trial, flipped: bool, rng: np.random.Generator) -> Question:
    left, right = about.sides[::-1] if flipped else about.sides
    return Question(rng.bytes(6).hex(), about, left, right)


def key_of(
    made: Sequence[Form],
    variants: Sequence[str],
    rule: Rule,
    ties: bool,
    skipped: Sequence[str],
    by: str,
) -> dict[str, Any]:
    """What raters must not see: which side is what; the rule, and what was not asked."""
    questions = {
        question.token: {
            "form": form.name,
            "trial": isinstance(question.about, Trial),
            **asdict(question.about),
            "left": question.left,
            "right": question.right,
        }
        for form in made
        for question in form.questions
    }
    document: dict[str, Any] = {
        "made": by,
        "variants": list(variants),
        "ties": ties,
        "rule": asdict(rule) | {"words": rule.words},
        "skipped": list(skipped),
        "questions": questions,
    }
    text = json.dumps(document, sort_keys=True)
    return {"survey": hashlib.sha256(text.encode()).hexdigest()[:12], **document}
