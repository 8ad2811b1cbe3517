"""A questionnaire as text: it runs its own script alone, and what is put into it stays data."""

import base64
import hashlib
import html
import json
import re

from noiseprobe.plots.survey.page import Asked, Questionnaire, page
from tests.stages.reported import HOSTILE


def made(prompt: str, *, ties: bool = False) -> str:
    asked = [Asked("q1", "a", "b", prompt, ["c"])]
    return page(Questionnaire("s", "f-1a", "Which?", ties, asked, dict.fromkeys("abc", "data:,")))


def test_only_its_own_script_may_run_and_nothing_may_be_loaded() -> None:
    text = made("a photo")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    (script,) = re.findall(r'<script type="module">(.*?)</script>', text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(policy)
    assert "default-src 'none'" in html.unescape(policy)
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text)


def test_a_hostile_prompt_ends_no_script_and_is_itself() -> None:
    text = made(HOSTILE)
    (data,) = re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(data)["questions"][0]["prompt"] == HOSTILE
    assert "<img src=x" not in text


def test_who_cannot_tell_may_say_so_only_where_ties_are_allowed() -> None:
    assert 'data-answer="tie"' in made("a photo", ties=True)
    assert 'data-answer="tie"' not in made("a photo")
