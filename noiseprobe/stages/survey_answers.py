"""The key of a survey and the answers to it, read from what raters saved or platforms export."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from noiseprobe.core.errors import UserError
from noiseprobe.core.reading import json_of, text_of
from noiseprobe.core.words import visible

KEY = "key.json"
"""In the folder of a survey: what is which, and the rule."""

COLUMNS = {
    "rater": ("rater", "WorkerId", "ASSIGNMENT:worker_id", "annotator"),
    "question": ("question", "Input.question", "INPUT:question"),
    "answer": ("answer", "Answer.answer", "OUTPUT:answer", "OUTPUT:result"),
}
"""What columns are called: by our questionnaires, MTurk, Toloka and Label Studio."""

_SURVEY = ("survey", "Input.survey", "INPUT:survey")


def read_key(place: Path) -> dict[str, Any]:
    """The key of the survey in a folder, or that in a file; raises `UserError` where none is."""
    file = place / KEY if place.is_dir() else place
    try:
        key = json_of(file)
    except FileNotFoundError:
        raise UserError(f"--key {place}: no {KEY} there; give the --out of survey make") from None
    except ValueError as error:
        raise UserError(f"--key {file}: it is no key of a survey ({error}); restore it") from None
    needed = {"survey", "variants", "ties", "rule", "questions"}
    if not isinstance(key, dict) or not needed <= key.keys():
        raise UserError(f"--key {file}: it is no key of a survey; give the --out of survey make")
    return key


def read_answers(places: Sequence[Path], survey: str) -> tuple[pd.DataFrame, list[str]]:
    """Answers, columns rater, question, answer; of files, or of the tables in folders.

    Read are the files that the questionnaires save, and what MTurk, Toloka and Label Studio
    export, by the names of their columns (`COLUMNS`). A row without an answer is left out, and
    counted in the notes that are returned as well.

    Raises:
        UserError: a file cannot be read, lacks a column, or is of another survey.
    """
    tables, notes = [], []
    for file in _files(places):
        table = _table_of(file)
        for name in _SURVEY:
            if name in table and (strange := set(table[name]) - {survey, ""}):
                told = visible(min(strange))
                raise UserError(f"{file}: it is of survey {told}, not {survey}; give its own --key")
        found = pd.DataFrame({name: _column(table, name, file) for name in COLUMNS})
        found["answer"] = found["answer"].str.lower()
        if (found.loc[found["answer"] != "", "rater"] == "").any():
            raise UserError(f"{file}: an answer has no rater; write who gave it")
        if empty := int((found["answer"] == "").sum()):
            notes.append(f"{file}: {empty} rows without an answer are left out")
        tables.append(found[found["answer"] != ""])
    return pd.concat(tables, ignore_index=True), notes


def _files(places: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for place in places:
        inside = sorted(place.glob("*.[ct]sv")) if place.is_dir() else [place]
        if not inside:
            raise UserError(f"'{place}' holds no table of answers (.csv or .tsv); check the path")
        found += inside
    return found


def _table_of(file: Path) -> pd.DataFrame:
    try:
        text = text_of(file).removeprefix("\ufeff")
    except FileNotFoundError:
        raise UserError(f"'{file}' is not there; check the path") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: it is no text in UTF-8; give the CSV as it was saved") from None
    head = text.partition("\n")[0]
    try:
        rows = io.StringIO(text)
        between = max("\t,;", key=head.count)  # ; is what some spreadsheets save
        table = pd.read_csv(rows, sep=between, dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: it is no table ({reason}); give the CSV as saved") from None
    return table


def _column(table: pd.DataFrame, name: str, file: Path) -> pd.Series:
    for called in COLUMNS[name]:
        if called in table:
            return table[called].fillna("").str.strip()
    there = visible(", ".join(map(str, table.columns))[:80])
    raise UserError(
        f"{file}: no column for the {name} ({', '.join(COLUMNS[name])}) among {there}; rename it"
    )
