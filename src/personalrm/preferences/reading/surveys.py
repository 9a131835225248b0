"""What users said of themselves in a survey.

Reads PRISM's `survey` (Kirk et al. 2024) and rows of our own (`user_id`, `demographics`,
`stated_preference`), from any kind of file that preferences may have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from personalrm.errors import BadInput, BadRow
from personalrm.preferences.reading import fields
from personalrm.preferences.reading.rows import Numbered, Row, iter_rows
from personalrm.wording import count, kind_of

PLAIN = ("age", "gender", "employment_status", "education", "marital_status", "english_proficiency")
"""Demographic questions of PRISM whose answer is one text."""
CATEGORIZED = ("religion", "ethnicity")
"""Questions answered in the person's own words, with a category beside them: the category is taken."""
PLACES = ("birth_country", "reside_country")
"""Of the question `location`."""
NO_ANSWER = frozenset({"", "nan", "none", "null", "prefer not to say"})
LISTED = 20


@dataclass(frozen=True, repr=False)
class Survey:
    """One user's answers; private, so `repr` shows no text."""

    user_id: str
    demographics: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Field -> answer, in the order of the survey; a question left open is not there."""
    stated_preference: str = ""
    """How they would like to be answered, in their own words; empty where they did not say."""

    def __repr__(self) -> str:
        return f"Survey(user_id={self.user_id!r}, demographics={len(self.demographics)})"


def read_surveys(path: str | Path) -> dict[str, Survey]:
    """The survey of every user of a file, by user id.

    Args:
        path: PRISM's `survey` or rows that `survey_to_dict` made: .jsonl, .json, .csv, .tsv or .parquet, also .gz.

    Raises:
        BadFile: If the file cannot be read.
        BadInput: If rows are bad, listing them.
    """
    return surveys_from_rows(iter_rows(path), where=str(path))


def surveys_from_rows(rows: Iterable[Numbered], *, where: str) -> dict[str, Survey]:
    """The survey of every user of these rows, by user id.

    Raises:
        BadInput: If rows are bad or two are of one user, listing them.
    """
    surveys: dict[str, Survey] = {}
    problems: list[str] = []
    for line, row in rows:
        try:
            if isinstance(row, BadRow):
                raise row
            survey = _survey(row)
            if survey.user_id in surveys:
                raise BadRow(f"user {survey.user_id!r} has two surveys; keep one", field="user_id", rule="two surveys")
            surveys[survey.user_id] = survey
        except BadRow as error:
            problems.append(f"\n  {where} line {line}: {error}")
    if problems:
        more = f"\n  ... and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        raise BadInput(f"{where!r} has {count(len(problems), 'bad row')}; fix them:{''.join(problems[:LISTED])}{more}")
    return surveys


def survey_to_dict(survey: Survey) -> dict[str, Any]:
    """The survey as a row that `read_surveys` reads back."""
    return {
        "user_id": survey.user_id,
        "demographics": dict(survey.demographics),
        "stated_preference": survey.stated_preference,
    }


def _survey(row: Row) -> Survey:
    user_id = fields.read_id(row, "user_id")
    if "demographics" in row:
        given = _mapping(row, "demographics")
        demographics = {str(name): answer for name, value in given.items() if (answer := _answer(value))}
        return Survey(user_id, MappingProxyType(demographics), _answer(row.get("stated_preference")))
    answers = {name: _answer(row.get(name)) for name in PLAIN}
    for name in CATEGORIZED:
        parts = _mapping(row, name)
        categories = (_answer(parts.get(key)) for key in ("simplified", "categorised", "self_described"))
        answers[name] = next(filter(None, categories), "")
    places = _mapping(row, "location")
    answers |= {name: _answer(places.get(name)) for name in PLACES}
    demographics = {name: answer for name, answer in answers.items() if answer}
    # PRISM asks for a description of oneself, and how the model ought to be (`system_string`)
    stated = filter(None, (_answer(row.get("self_description")), _answer(row.get("system_string"))))
    return Survey(user_id, MappingProxyType(demographics), "\n\n".join(stated))


def _mapping(row: Row, name: str) -> Mapping[str, Any]:
    """The answers of a question with several parts; CSV holds them as JSON."""
    value = row.get(name)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            raise BadRow(f"{name} is not JSON", field=name, rule="not JSON") from None
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        return {"self_described": value}
    if not isinstance(value, Mapping):
        raise BadRow(f"{name} is {kind_of(value)}, not answers by name", field=name, rule="wrong type")
    return value


def _answer(value: Any) -> str:
    """A text or number as text; empty where nothing was said."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = str(value).strip()
    return "" if text.lower() in NO_ANSWER else text
