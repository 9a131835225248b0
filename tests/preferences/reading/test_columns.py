import gzip
import shlex

import pytest

from personalrm.errors import BadInput, UnknownName
from personalrm.preferences.reading.columns import advise_columns, lookalike
from personalrm.preferences.reading.files import ReadOptions, read_pairs

TEA = [("ana", "Green.", "Black.")]


def read(tmp_path, text, name="votes.csv", options=None):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return [(pair.user_id, pair.chosen, pair.rejected) for user in read_pairs(path, options).values() for pair in user]


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("name", ["votes.csv", "votes.tsv"])
def test_the_separator_of_the_header_is_the_separator(tmp_path, separator, name):
    rows = (("user_id", "prompt", "chosen", "rejected"), ("ana", "Which tea?", "Green.", "Black."))
    assert read(tmp_path, "\n".join(separator.join(cells) for cells in rows), name) == TEA


def test_a_semicolon_inside_a_cell_is_text(tmp_path):
    assert read(tmp_path, "user_id,prompt,chosen,rejected\nana,Tea; which?,Green.,Black.\n") == TEA


def test_a_header_that_follows_bom_and_blank_line_end_is_read(tmp_path):
    assert read(tmp_path, "\ufeffuser_id;prompt;chosen;rejected\r\nana;Which tea?;Green.;Black.\r\n") == TEA


def test_a_packed_file_with_semicolons_is_read(tmp_path):
    path = tmp_path / "votes.csv.gz"
    path.write_bytes(gzip.compress(b"user_id;prompt;chosen;rejected\nana;Which tea?;Green.;Black.\n"))
    assert len(read_pairs(path)["ana"].pairs) == 1


@pytest.mark.parametrize("column", ["User_ID", "userId", "user id", "USER-ID", "annotator", "Rater ID"])
def test_a_user_column_of_another_name_is_named_with_the_one_to_rename_it_to(tmp_path, column):
    with pytest.raises(
        BadInput, match=f"rename column {column!r} to 'user_id', or pass --user-column {shlex.quote(column)}"
    ):
        read(tmp_path, f"{column},prompt,chosen,rejected\nana,Which tea?,Green.,Black.\n")


def test_a_user_column_of_another_name_can_be_named(tmp_path):
    text = "Rater ID,prompt,chosen,rejected\nana,Which tea?,Green.,Black.\n"
    assert read(tmp_path, text, options=ReadOptions(user_column="Rater ID")) == TEA


def test_without_any_user_column_the_options_are_named(tmp_path):
    with pytest.raises(BadInput, match="user_id is missing; add it, or pass --user-column or --default-user"):
        read(tmp_path, "prompt,chosen,rejected\nWhich tea?,Green.,Black.\n")


def test_winner_and_loser_are_to_be_renamed(tmp_path):
    with pytest.raises(UnknownName, match="rename 'winner' to 'chosen', 'loser' to 'rejected'"):
        read(tmp_path, "user_id,prompt,winner,loser\nana,Which tea?,Green.,Black.\n")


def test_capitals_are_to_be_renamed(tmp_path):
    with pytest.raises(UnknownName, match="'Prompt' to 'prompt', 'Chosen' to 'chosen', 'Rejected' to 'rejected'"):
        read(tmp_path, "user_id,Prompt,Chosen,Rejected\nana,Which tea?,Green.,Black.\n")


@pytest.mark.parametrize("vote", ["preference", "winner", "Choice"])
def test_two_sides_and_a_vote_are_to_be_written_as_chosen_and_rejected(vote):
    advice = advise_columns(["user_id", "prompt", "response_a", "response_b", vote])
    assert advice.startswith(f"write the text that {vote!r} prefers into 'chosen'")
    assert "'response_a', 'response_b' into 'rejected'" in advice


def test_texts_in_place_of_a_header_are_not_shown(tmp_path):
    with pytest.raises(UnknownName) as caught:
        read(tmp_path, "I am very ill, what now?;Rest, and ask.;Work on.\nx;y;z\n")
    assert "ill" not in str(caught.value)
    assert "first row that does not look like a header" in str(caught.value)


@pytest.mark.parametrize("names", [[], [""], ["user_id"], [None], ["ünïcode"], ["a" * 5000], [3, 4]])
def test_odd_columns_get_no_advice(names):
    assert advise_columns(names) == ""
    assert lookalike("chosen", names) == ""


@pytest.mark.parametrize("above", ["\n\n", "sep=;\n", '"sep=;"\r\n', "\n  \nsep=;\n"])
def test_lines_above_the_header_are_passed_over_and_counted(tmp_path, above):
    text = f"{above}user_id;prompt;chosen;rejected\nana;Which tea?;Green.;Black.\nana;Which tea?;Green.;\n"
    line = above.count("\n") + 3
    with pytest.raises(BadInput, match=f"line {line}: rejected is missing"):
        read(tmp_path, text)


def test_a_spreadsheet_and_a_folder_are_told_apart_from_data(tmp_path):
    (tmp_path / "votes.xlsx").write_bytes(b"PK")
    with pytest.raises(BadInput, match="saved as CSV first"):
        read_pairs(tmp_path / "votes.xlsx")
    with pytest.raises(BadInput, match="is a folder"):
        read_pairs(tmp_path)


def test_a_file_without_a_header_is_told_to_get_one(tmp_path):
    with pytest.raises(UnknownName, match="write the names of the columns there: user_id, prompt, chosen, rejected"):
        read(tmp_path, "ana,Which tea?,Green.,Black.\n" * 2)
