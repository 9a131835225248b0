import csv
import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from personalrm.errors import BadInput, BadRow
from personalrm.preferences.reading.columns import list_columns
from personalrm.preferences.reading.files import ReadOptions, read_pairs, validate
from personalrm.preferences.reading.rows import iter_lines, iter_rows

ROW = {"user_id": "u1", "prompt": "Which tea?", "chosen": "Green tea.", "rejected": "Black tea."}


def write_csv(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0].keys(), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, table: dict[str, object]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(table), path)
    return path


@pytest.fixture
def expected(tmp_path):
    path = tmp_path / "expected.jsonl"
    path.write_text(json.dumps(ROW))
    return read_pairs(path)["u1"].pairs


@pytest.mark.parametrize("name", ["prefs.csv", "prefs.tsv"])
def test_csv_and_tsv_hold_the_same_pairs_as_json_lines(tmp_path, expected, name):
    assert read_pairs(write_csv(tmp_path / name, ROW))["u1"].pairs == expected


def test_a_json_list_holds_the_same_pairs(tmp_path, expected):
    (tmp_path / "prefs.json").write_text(json.dumps([ROW]))
    assert read_pairs(tmp_path / "prefs.json")["u1"].pairs == expected


def test_parquet_holds_the_same_pairs(tmp_path, expected):
    path = write_parquet(tmp_path / "prefs.parquet", {name: [value] for name, value in ROW.items()})
    assert read_pairs(path)["u1"].pairs == expected


@pytest.mark.parametrize("column", [("timestamp", "s"), ("date32", None)])
def test_a_row_whose_date_python_cannot_hold_is_a_bad_row_and_the_others_are_read(tmp_path, column):
    import pyarrow

    kind = getattr(pyarrow, column[0])(*filter(None, column[1:]))
    dates = pyarrow.array([10, 2**31 - 1 if column[0] == "date32" else 10**15, 20], type=kind)
    path = write_parquet(tmp_path / "prefs.parquet", {**{name: [value] * 3 for name, value in ROW.items()}, "x": dates})
    rows = list(iter_rows(path))
    assert [isinstance(row, BadRow) for _, row in rows] == [False, True, False]
    assert [number for number, _ in rows] == [1, 2, 3] and rows[1][1].line == 2


@pytest.mark.parametrize("name", ["prefs.jsonl", "prefs.json", "prefs.csv", "prefs.tsv", "prefs.parquet"])
def test_every_kind_may_be_gzipped(tmp_path, expected, name):
    plain = tmp_path / name
    if name.endswith(".parquet"):
        write_parquet(plain, {key: [value] for key, value in ROW.items()})
    elif name.endswith(("csv", "tsv")):
        write_csv(plain, ROW)
    else:
        plain.write_text(json.dumps([ROW] if name.endswith("json") else ROW))
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_pairs(packed)["u1"].pairs == expected


def test_mixed_line_ends_and_blank_lines_are_accepted(tmp_path):
    lines = [json.dumps(ROW | {"prompt": f"q{number}"}) for number in range(3)]
    path = tmp_path / "prefs.jsonl"
    path.write_bytes(f"{lines[0]}\r\n\r\n{lines[1]}\r{lines[2]}\n\n".encode())
    assert len(read_pairs(path)["u1"]) == 3


def test_lines_of_an_open_stream_are_read_with_their_numbers():
    numbered = list(iter_lines(io.StringIO(json.dumps(ROW) + "\n\n[]\n")))
    assert [number for number, _ in numbered] == [1, 3]
    assert numbered[0][1] == ROW


# CSV


def test_a_csv_cell_may_hold_a_conversation_as_json(tmp_path):
    turns = [{"role": role, "content": "a"} for role in ("user", "assistant", "user")]
    row = {"user_id": "u1", "conversation": json.dumps(turns), "chosen": "x", "rejected": "y"}
    assert len(read_pairs(write_csv(tmp_path / "prefs.csv", row))["u1"].pairs[0].conversation) == 3


def test_a_csv_completion_that_happens_to_be_json_stays_text(tmp_path):
    row = ROW | {"chosen": '{"a": 1}', "rejected": "[1, 2]"}
    (pair,) = read_pairs(write_csv(tmp_path / "prefs.csv", row))["u1"]
    assert (pair.chosen, pair.rejected) == ('{"a": 1}', "[1, 2]")


@pytest.mark.parametrize("options", [None, ReadOptions(user_column="rater")])
@pytest.mark.parametrize("last", ["It's over.", "Should I tell my boss?"])
def test_a_csv_without_a_header_is_refused_without_showing_its_cells(tmp_path, options, last):
    path = tmp_path / "prefs.csv"
    path.write_text(f"u1,Should I tell my boss?,my illness,{last}\nu1,q,a,b\n")
    with pytest.raises(BadInput, match="4 columns in a first row that does not look like a header") as caught:
        read_pairs(path, options)
    assert "boss" not in str(caught.value)
    assert "illness" not in str(caught.value)


def test_at_most_twelve_columns_are_listed():
    assert list_columns(range(10, 40)) == "columns 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21"


@pytest.mark.slow
def test_a_csv_cell_of_ten_megabytes_is_read(tmp_path):
    (pair,) = read_pairs(write_csv(tmp_path / "prefs.csv", ROW | {"chosen": "x" * 10_000_000}))["u1"]
    assert len(pair.chosen) == 10_000_000


def test_a_bad_csv_row_is_named_by_the_line_it_begins_on(tmp_path):
    rows = [ROW | {"prompt": "two\nlines"}, ROW | {"prompt": "two\nlines", "chosen": ""}]
    (problem,) = validate(write_csv(tmp_path / "prefs.csv", *rows)).problems
    assert (problem.line, problem.field) == (4, "chosen")


def test_a_csv_row_with_more_cells_than_the_header_is_a_bad_row(tmp_path):
    path = write_csv(tmp_path / "prefs.csv", ROW)
    path.write_text(path.read_text() + "u1,q,a,b,c,d\n")
    assert validate(path).bad_by_rule == {"more cells than the header": 1}


def test_a_lone_surrogate_in_a_json_cell_is_a_bad_row(tmp_path):
    turns = '[{"role": "user", "content": "\\ud800"}]'
    path = write_csv(tmp_path / "prefs.csv", ROW | {"prompt": turns}, ROW)
    assert validate(path).bad_by_rule == {"lone surrogate": 1}


def test_a_column_is_known_from_the_header_even_when_its_first_cell_is_empty(tmp_path):
    rows = [ROW | {"rater": ""}, ROW | {"rater": "r1"}]
    path = write_csv(tmp_path / "prefs.csv", *rows)
    assert list(read_pairs(path, ReadOptions(user_column="rater", skip_bad=True))) == ["r1"]


# Parquet


def test_a_parquet_time_without_zone_is_utc_and_nanoseconds_are_cut(tmp_path):
    import pyarrow

    moment = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    times = pyarrow.array([int(moment) * 10**9 + 123], pyarrow.timestamp("ns"))
    path = write_parquet(
        tmp_path / "prefs.parquet", {name: [value] for name, value in ROW.items()} | {"timestamp": times}
    )
    assert read_pairs(path)["u1"].pairs[0].timestamp == moment


def test_rows_of_many_parquet_batches_are_numbered_through(tmp_path):
    path = write_parquet(tmp_path / "prefs.parquet", {name: [value] * 600 for name, value in ROW.items()})
    assert [number for number, _ in iter_rows(path)] == list(range(1, 601))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1.7e9, 1.7e9),
        (1.7e12, 1.7e9),
        ("1700000000", 1.7e9),
        ("2023-11-14T22:13:20Z", 1.7e9),
        ("2023-11-14 22:13:20", 1.7e9),
    ],
)
def test_times_are_read_as_seconds_milliseconds_or_iso_dates(tmp_path, value, seconds):
    path = tmp_path / "prefs.jsonl"
    path.write_text(json.dumps(ROW | {"timestamp": value}))
    assert read_pairs(path)["u1"].pairs[0].timestamp == seconds
