"""Data layouts of a package outside the repository: named by place or entry point, read like ours."""

import json

import pytest
from tests.fakes.outside_package import declare, outside_package, personalrm

from personalrm.errors import BadInput, PersonalRMError
from personalrm.preferences.reading.files import ReadOptions, Tally, iter_users, read_pairs, validate

MODULE = """
from pathlib import Path

from personalrm.errors import BadRow
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.reading.layouts import Dropped, Layout, read_own


def read_votes(row, options):
    if row["vote"] == "both":
        return [Dropped("tie")]
    if row["vote"] not in ("left", "right"):
        raise BadRow("vote is not left, right or both", field="vote", rule="unknown vote")
    sides = [row["left"], row["right"]]
    chosen, rejected = sides if row["vote"] == "left" else sides[::-1]
    return [PreferencePair(row["who"], (Message("user", row["asked"]),), chosen, rejected)]


def read_by_ours(row, options):
    yield from read_own({"user_id": row["who"], "prompt": row["asked"], "chosen": row["left"], "rejected": row["right"]}, options)


VOTES = Layout(read_votes, {"who", "asked", "left", "right", "vote"})


def read_talk(rows, options):
    best, worst = rows[0], rows[-1]
    return [PreferencePair(best["user_id"], (Message("user", "Tea?"),), best["said"], worst["said"])]


TALKS = Layout(read_talk, {"talk", "said"}, together=("talk",), check=lambda row: row["said"])
RATHER_PAIRS = Layout(read_votes, {"user_id", "chosen"})
ANGRY = Layout(read_votes, {"who"}, fits=lambda row: row["mood"])
SPELLED = Layout(read_votes, "who")
NUMBER = 3


def one_pair(row, options):
    return read_votes(row, options)[0]


def nothing(row, options):
    pass


def texts(row, options):
    return [row["left"]]


def divides(row, options):
    return [1 / 0]


def missing_column(row, options):
    return [row["voter"]]


def private_key(row, options):
    return [{}[row["asked"]]]


def half_done(row, options):
    yield from read_votes(row, options)
    raise ValueError(row["left"])


def dated(row, options):
    return [PreferencePair(row["who"], (Message("user", row["asked"]),), row["left"], row["right"], timestamp="soon")]


def turns_in_a_list(row, options):
    return [PreferencePair(row["who"], [Message("user", row["asked"])], row["left"], row["right"], order_index=1.0)]


def nobody_speaks(row, options):
    return [PreferencePair(row["who"], (Message("narrator", "x"), Message("user", "y")), row["left"], row["right"])]


def only_a_row(row):
    return []
"""
ROW = {"who": "ana", "asked": "Which tea?", "left": "Black.", "right": "Green.", "vote": "right"}
ANA = [("ana", "Green.", "Black.")]


@pytest.fixture
def elsewhere(tmp_path):
    modules = {"layouts": MODULE, "broken": "import nowhere_to_be_found\n"}
    with outside_package(tmp_path, modules, "[personalrm.layouts]\nvotes = elsewhere.layouts:VOTES\n") as folder:
        yield folder


def write(folder, *rows):
    path = folder / "votes.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def read(folder, layout, *rows, **options):
    pairs = read_pairs(write(folder, *rows), ReadOptions(layout, **options))
    texts = [(pair.user_id, pair.chosen, pair.rejected) for user in pairs.values() for pair in user]
    return pairs.tally.layout, texts


def problems(folder, layout, *rows):
    tally = Tally()
    list(iter_users(write(folder, *rows), ReadOptions(layout, skip_bad=True), tally=tally))
    return [(problem.line, problem.message) for problem in tally.problems]


@pytest.mark.parametrize("name", ["elsewhere.layouts:read_votes", "elsewhere.layouts:VOTES", "votes"])
def test_a_layout_is_named_by_its_function_its_layout_or_its_entry_point(elsewhere, name):
    assert read(elsewhere, name, ROW) == (name, ANA)


def test_a_layout_may_be_built_on_ours_and_yield_its_pairs(elsewhere):
    assert read(elsewhere, "elsewhere.layouts:read_by_ours", ROW | {"left": "Green.", "right": "Black."})[1] == ANA


def test_an_entry_point_is_recognized_by_its_columns(elsewhere):
    assert read(elsewhere, None, ROW) == ("votes", ANA)


def test_ours_are_recognized_first(elsewhere):
    declare(elsewhere, "[personalrm.layouts]\nrather = elsewhere.layouts:RATHER_PAIRS\n")
    row = {"user_id": "ana", "prompt": "Which tea?", "chosen": "Green.", "rejected": "Black."}
    assert read(elsewhere, None, row) == ("pairs", ANA)


def test_rows_of_a_conversation_are_read_together(elsewhere):
    rows = [{"user_id": "ana", "talk": talk, "said": said} for talk, said in [(1, "a"), (1, "b"), (2, "c"), (2, "d")]]
    assert read(elsewhere, "elsewhere.layouts:TALKS", *rows)[1] == [("ana", "a", "b"), ("ana", "c", "d")]


def test_a_bad_row_takes_its_conversation_with_it_and_names_its_line(elsewhere):
    rows = [{"user_id": "ana", "talk": 1, "said": "a"}, {"user_id": "ana", "talk": 1}]
    where = f"line {line_of('TALKS =')} of layouts.py"
    message = f"layout 'elsewhere.layouts:TALKS' looks up 'said' in {where}, {NOT_THERE}"
    assert problems(elsewhere, "elsewhere.layouts:TALKS", *rows) == [(2, message)]


def test_what_it_drops_and_its_bad_rows_are_counted(elsewhere):
    report = validate(
        write(elsewhere, ROW, ROW | {"vote": "both"}, ROW | {"vote": "x"}), ReadOptions("elsewhere.layouts:VOTES")
    )
    assert (report.n_pairs, report.warnings) == (1, ("1 dropped: tie",))
    assert [(problem.line, problem.rule) for problem in report.problems] == [(3, "unknown vote")]


def test_a_pair_is_read_as_a_row_of_our_own_layout(elsewhere):
    pairs = read_pairs(write(elsewhere, ROW), ReadOptions("elsewhere.layouts:turns_in_a_list"))
    (pair,) = pairs["ana"]
    assert isinstance(pair.conversation, tuple) and pair.order_index == 1 and isinstance(pair.order_index, int)


def line_of(text):
    return MODULE[: MODULE.index(text)].count("\n") + 1


NOT_THERE = (
    "which is not there; if it is a column, write its name as the file has it, or raise BadRow for rows without it"
)
WRONG = {
    "one_pair": "returned something of type PreferencePair, not a list of PreferencePair; correct it",
    "nothing": "returned nothing, not a list of PreferencePair; correct it",
    "texts": "returned a list with a text, not a list of PreferencePair; correct it",
    "divides": f"raised ZeroDivisionError in line {line_of('1 / 0')} of layouts.py; correct it there",
    "missing_column": f"looks up 'voter' in line {line_of('voter')} of layouts.py, {NOT_THERE}",
    "private_key": f"looks up a name in line {line_of('{}[row')} of layouts.py, {NOT_THERE}",
    "half_done": f"raised ValueError in line {line_of('raise ValueError')} of layouts.py; correct it there",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_function_that_does_something_else_makes_bad_rows_that_show_no_text(elsewhere, name):
    assert problems(elsewhere, f"elsewhere.layouts:{name}", ROW) == [
        (1, f"layout 'elsewhere.layouts:{name}' {WRONG[name]}")
    ]


def test_fields_of_a_pair_that_fit_no_row_of_ours_make_bad_rows(elsewhere):
    assert problems(elsewhere, "elsewhere.layouts:dated", ROW) == [
        (1, "timestamp is neither an ISO date nor seconds since 1970")
    ]
    ((line, message),) = problems(elsewhere, "elsewhere.layouts:nobody_speaks", ROW)
    assert line == 1 and "role 'narrator'" in message


NASTY = {
    "elsewhere.layouts:read_vote": "no function or Layout 'read_vote' .*; did you mean 'read_votes'",
    "elsewhere.layouts:NUMBER": "no function or Layout 'NUMBER'",
    "elsewhere.layouts:Layout": "no function or Layout 'Layout'",
    "elsewhere.nowhere:VOTES": "module 'elsewhere.nowhere' of .* is not found; install its package, or add its folder",
    "elsewhere.broken:VOTES": "needs 'nowhere_to_be_found'; install that",
    "elsewhere layouts:VOTES": "does not name a function or Layout; write package.module:name",
    "elsewhere.layouts:only_a_row": "cannot be called with a row and ReadOptions; let it take these two parameters",
    "elsewhere.layouts:SPELLED": "columns of layout .* is 'who', not names of columns; write them as a set or tuple",
    "vote": "unknown layout 'vote'; did you mean 'votes'",
}


@pytest.mark.parametrize("name", NASTY)
def test_what_is_not_a_layout_is_refused_in_one_sentence(elsewhere, name):
    with pytest.raises(PersonalRMError, match=NASTY[name]) as caught:
        read(elsewhere, name, ROW)
    assert "\n" not in str(caught.value)


def test_an_entry_point_with_the_name_of_one_of_ours_is_refused(elsewhere):
    declare(elsewhere, "[personalrm.layouts]\narena = elsewhere.layouts:VOTES\nvotes = elsewhere.layouts:VOTES\n")
    with pytest.raises(BadInput, match=r"entry point 'arena' of personalrm.layouts .* has the name of one of ours"):
        read(elsewhere, "votes", ROW)
    with pytest.raises(BadInput, match="has the name of one of ours"):
        read(elsewhere, None, ROW)


def test_one_that_fails_to_recognize_rows_is_named(elsewhere):
    declare(elsewhere, "[personalrm.layouts]\nangry = elsewhere.layouts:ANGRY\n")
    with pytest.raises(BadInput, match="rows cannot be recognized: layout 'angry' looks up 'mood' in line"):
        read(elsewhere, None, ROW)


@pytest.mark.slow  # commands, each in a process of its own
def test_the_command_line_and_a_run_file_take_it(elsewhere):
    rows = [ROW | {"who": who, "asked": f"Which tea {k}?"} for who in ("ana", "ben") for k in range(6)]
    write(elsewhere, *rows, ROW | {"vote": "both"})
    (elsewhere / "run.yaml").write_text(
        'name: r\ndatasets: [{name: d, path: votes.jsonl, layout: "elsewhere.layouts:VOTES"}]\nmethods: [longer]\n'
    )
    assert json.loads(personalrm(elsewhere, "validate", "votes.jsonl", "--json").stdout)["layout"] == "votes"
    fitted = personalrm(elsewhere, "fit", "votes.jsonl", "--layout", "elsewhere.layouts:read_votes")
    assert fitted.returncode == 0, fitted.stderr
    evaluated = personalrm(elsewhere, "evaluate", "votes.jsonl", "--layout", "votes", "--json")
    assert evaluated.returncode == 0 and json.loads(evaluated.stdout), evaluated.stderr
    ran = personalrm(elsewhere, "bench", "run", "-c", "run.yaml", "--folder", "run", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["n_done"]) == (0, 1), ran.stderr
    refused = personalrm(elsewhere, "validate", "votes.jsonl", "--layout", "elsewhere.layouts:vote")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1) and "Traceback" not in refused.stderr
