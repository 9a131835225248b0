import csv
import io

import pytest

from personalrm.bench.report.tables import Column, Table, TableRow, Value, as_csv, as_html, as_latex, as_markdown

NASTY = '<script>alert("x")</script> | _a_ & 50% #1 {b} \\c'
TABLE = Table(
    "accuracy",
    "Accuracy",
    "method",
    (Column("small", "ours"), Column("8B", "published")),
    (
        TableRow("Default", (Value("50.0", ("45.0", "55.0"), "="), Value("54.2")), "judges"),
        TableRow(NASTY, (Value("60.0", ("55.0", "65.0"), is_best=True), Value("\N{EN DASH}")), "judges"),
    ),
    ("Bold is best.",),
)


def test_html_has_caption_scopes_and_groups() -> None:
    page = as_html(TABLE)
    assert "<caption><span>Accuracy</span></caption>" in page
    assert page.count('scope="col"') == 3
    assert '<th scope="colgroup" colspan="1" class="group">published</th>' in page
    assert '<th scope="rowgroup" colspan="3" class="group">judges</th>' in page
    assert '<strong>60.0</strong> <span class="interval">[55.0, 65.0]</span>' in page


@pytest.mark.parametrize("write", [as_html, as_markdown])
def test_no_tag_of_somebody_else_survives(write) -> None:
    assert "<script" not in write(TABLE)
    assert "&lt;script&gt;" in write(TABLE)


def test_markdown_keeps_its_columns_whatever_the_text() -> None:
    lines = [line for line in as_markdown(TABLE).splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {4}
    assert "**60.0** [55.0, 65.0]" in as_markdown(TABLE)


def test_csv_gives_an_interval_columns_of_its_own() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(TABLE))))
    assert (rows[1]["ours: small"], rows[1]["ours: small low"], rows[1]["ours: small high"]) == ("60.0", "55.0", "65.0")
    assert rows[1]["method"] == NASTY
    assert rows[0]["ours: small"] == "50.0="


def test_a_cell_that_is_a_formula_is_no_formula_in_a_spreadsheet() -> None:
    table = Table("t", "c", "m", (Column("a"),), (TableRow("=1+1", (Value("-1.3"),)), TableRow("@x", (Value("-cmd"),))))
    assert as_csv(table).splitlines()[1:] == [",'=1+1,-1.3", ",'@x,'-cmd"]


@pytest.mark.parametrize("write", [as_html, as_markdown, as_csv, as_latex])
def test_nothing_that_turns_a_line_around_or_hides_in_it_survives(write) -> None:
    steering = "\u202e\u2066\u200b\x1b[2J\r\u2028\ufeff\U000e0041\x9b"
    table = Table("t", f"c{steering}", f"m{steering}", (Column(f"a{steering}"),),
                  (TableRow(f"h{steering}", (Value(f"v{steering}"),), f"g{steering}"),), (f"n{steering}",))  # fmt: skip
    text = write(table)
    assert [sign for sign in steering if sign in text and sign not in "[2J"] == []
    assert "u202e" in text


def test_latex_escapes_what_would_run() -> None:
    text = as_latex(TABLE)
    assert r"50\% \#1 \{b\} \textbackslash{}c" in text
    assert r"\textbf{60.0} {\scriptsize [55.0, 65.0]}" in text
    assert text.count(r"\\") == text.count("\\\\")
    assert text.startswith(r"\begin{table}") and text.endswith("\\end{table}\n")


def test_a_number_folds_before_its_interval_only_and_a_hash_is_no_number() -> None:
    values = (Value("46.2 \N{PLUS-MINUS SIGN} 11.3", ("38.5", "51.9")), Value("12ca1d72984b"))
    page = as_html(Table("t", "c", "m", (Column("a"), Column("b")), (TableRow("r", values),)))
    assert '<td class="number">46.2&nbsp;\N{PLUS-MINUS SIGN}&nbsp;11.3 <span class="interval">' in page
    assert '<td class="short">12ca1d72984b' in page
