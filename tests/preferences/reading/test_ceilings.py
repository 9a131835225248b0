"""What a small file may not do to memory and disk: a few kilobytes of gzip unpack to gigabytes."""

import errno
import gzip
import io
import os
import tempfile

import pytest

from personalrm.errors import BadFile
from personalrm.preferences.reading import rows
from personalrm.preferences.reading.rows import bounded_lines, iter_lines, iter_rows


def packed(path, piece, n_pieces):
    """A gzip file of many members."""
    path.write_bytes(gzip.compress(piece, 1) * n_pieces)
    return path


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.tsv.gz"])
def test_a_line_without_an_end_is_one_sentence(tmp_path, name, monkeypatch):
    monkeypatch.setattr(rows, "LONGEST_LINE", 2**16)
    with pytest.raises(BadFile, match=r"line 1 of .* is longer than 65,536 characters"):
        list(iter_rows(packed(tmp_path / name, b" " * 2**16, 4)))


def test_a_line_without_an_end_on_standard_input_is_one_sentence(monkeypatch):
    monkeypatch.setattr(rows, "LONGEST_LINE", 8)
    with pytest.raises(BadFile, match="line 2 of 'standard input'"):
        list(iter_lines(bounded_lines(io.StringIO("{}\n" + "x" * 9), "standard input")))


def test_a_quoted_cell_without_an_end_is_a_bad_row(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "LONGEST_LINE", 2**12)
    path = packed(tmp_path / "a.csv.gz", b"x\n" * 2**10, 6)
    path.write_bytes(gzip.compress(b'chosen,rejected\n"') + path.read_bytes())
    assert isinstance(next(iter_rows(path))[1], Exception)


def test_a_list_without_an_end_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "LONGEST_LIST", 2**16)
    with pytest.raises(BadFile, match="write it as JSON lines"):
        list(iter_rows(packed(tmp_path / "a.json.gz", b"[" * 2**16, 2)))


def test_lines_up_to_the_ceiling_are_read(monkeypatch):
    monkeypatch.setattr(rows, "LONGEST_LINE", 8)
    assert list(bounded_lines(io.StringIO("1234567\n12\n3"), "x")) == ["1234567\n", "12\n", "3"]


def test_parquet_that_unpacks_to_far_more_than_its_size_is_given_up_on_the_way(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(rows, "LEAST_UNPACKED", 2**21)
    monkeypatch.setattr(rows, "MOST_UNPACKED", 2)
    with pytest.raises(BadFile, match="unpacks to more than 2,097,152 bytes"):
        list(iter_rows(packed(tmp_path / "a.parquet.gz", b"\0" * 2**20, 40)))


def test_a_temporary_folder_without_room_is_named(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")

    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(BadFile, match="set TMPDIR"):
        list(iter_rows(packed(tmp_path / "a.parquet.gz", b"PAR1", 1)))
