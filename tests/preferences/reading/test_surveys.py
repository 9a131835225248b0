"""PRISM's survey, and rows of our own, into what a user said of themselves."""

import json

import pytest

from personalrm.errors import BadInput
from personalrm.preferences.reading.surveys import read_surveys, survey_to_dict

PRISM = {
    "user_id": "user0",
    "survey_only": False,
    "stated_prefs": {"values": 40, "fluency": 80, "factuality": 95},
    "self_description": "I am a baker and read a lot.",
    "system_string": "Be short. Say when you are unsure.",
    "age": "25-34 years old",
    "gender": "Female",
    "employment_status": "Working full-time",
    "education": "Prefer not to say",
    "marital_status": "Never been married",
    "english_proficiency": "Fluent",
    "religion": {"self_described": "buddhist", "categorised": "Other", "simplified": "Other"},
    "ethnicity": {"self_described": "x", "categorised": "Asian", "simplified": "Asian"},
    "location": {"birth_country": "Nepal", "reside_country": "United Kingdom", "same_birth_reside_country": "No"},
}


@pytest.fixture
def write(tmp_path):
    def write_rows(*rows):
        path = tmp_path / "survey.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write_rows


def test_a_prism_survey_gives_demographics_in_the_order_of_the_survey(write):
    survey = read_surveys(write(PRISM))["user0"]
    assert list(survey.demographics) == [
        "age", "gender", "employment_status", "marital_status", "english_proficiency", "religion", "ethnicity",
        "birth_country", "reside_country",
    ]  # fmt: skip
    assert survey.demographics["ethnicity"] == "Asian"


def test_the_stated_preference_is_the_description_and_the_constitution(write):
    survey = read_surveys(write(PRISM))["user0"]
    assert survey.stated_preference == "I am a baker and read a lot.\n\nBe short. Say when you are unsure."


def test_a_survey_reads_back_as_it_was_written(write):
    survey = read_surveys(write(PRISM))["user0"]
    assert read_surveys(write(survey_to_dict(survey)))["user0"] == survey


def test_a_survey_shows_no_answer_in_its_repr(write):
    assert "baker" not in repr(read_surveys(write(PRISM)))


def test_answers_nobody_gave_are_not_there(write):
    survey = read_surveys(write({"user_id": "u", "age": None, "religion": None, "location": ""}))["u"]
    assert (dict(survey.demographics), survey.stated_preference) == ({}, "")


@pytest.mark.parametrize(
    ("row", "said"),
    [({}, "user_id is missing"), ({"user_id": "u", "religion": [1]}, "religion is a list"), ([], "not an object")],
)
def test_a_bad_row_is_refused_with_its_line(write, row, said):
    with pytest.raises(BadInput, match=f"line 2: .*{said}"):
        read_surveys(write(PRISM, row))


def test_two_surveys_of_one_user_are_refused(write):
    with pytest.raises(BadInput, match="two surveys"):
        read_surveys(write(PRISM, PRISM))
