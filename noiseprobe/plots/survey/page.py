"""The questionnaire: one HTML file that shows pairs, keeps what is answered, and gives it as CSV.

It holds no name of a variant, no path and no key: pictures are pixels, questions are tokens. As
the report, it forbids itself whatever it does not hold (Content Security Policy level 2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from noiseprobe.plots.whole_page import in_script, ours, policy, template

_HERE = "noiseprobe.plots.survey"


@dataclass(frozen=True)
class Asked:
    """A question as it is shown.

    Attributes:
        token: its name in the answers.
        left, right: keys of pictures.
        prompt: what the pictures were to show; "" where raters are not to know.
        references: keys of pictures of the reference object.
    """

    token: str
    left: str
    right: str
    prompt: str
    references: Sequence[str] = ()


@dataclass(frozen=True)
class Questionnaire:
    """One questionnaire.

    Attributes:
        survey, form: its names in the answers.
        asks: the question, the same for all pairs.
        ties: whether raters may say that they cannot tell.
        pictures: `data:` addresses by key.
    """

    survey: str
    form: str
    asks: str
    ties: bool
    questions: Sequence[Asked]
    pictures: Mapping[str, str] = field(repr=False)


def page(shown: Questionnaire) -> str:
    """The whole page."""

    script = _file("survey.js")
    data = {
        "survey": shown.survey,
        "form": shown.form,
        "ties": shown.ties,
        "pictures": dict(shown.pictures),
        "questions": [
            {
                **{"token": each.token, "left": each.left, "right": each.right},
                **{"prompt": each.prompt, "references": list(each.references)},
            }
            for each in shown.questions
        ],
    }
    return template(_HERE, "survey.html").render(
        shown=shown,
        policy=policy(script),
        style=ours(_file("survey.css")),
        data=ours(in_script(data)),
        script=ours(script),
    )


def _file(name: str) -> str:
    return (files(_HERE) / "page" / name).read_text(encoding="utf-8")
