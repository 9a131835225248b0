import sqlite3

import pytest

from personalrm.errors import NewerVersion, StoreError
from personalrm.lm.cache import Cache, Entry, Unscored
from personalrm.lm.protocol import Reply, TokenChances, Usage

REPLY = Reply("yes 😀\u2028", "stop", Usage(3, 2, 1), (TokenChances("yes", (("yes", -0.1), ("no", -2.5))),), "m")


@pytest.fixture
def cache(tmp_path):
    opened = Cache(tmp_path / "cache.sqlite")
    opened.open()
    yield opened
    opened.close()


def test_an_answer_comes_back_as_it_went_in(cache, tmp_path):
    cache.keep([Entry(b"k" * 16, "u1", REPLY)])
    cache.close()
    assert Cache(tmp_path / "cache.sqlite").open() == {b"k" * 16}
    assert cache.find([b"k" * 16, b"x" * 16]) == [REPLY, None]


def test_an_answer_replaces_an_earlier_failure(cache):
    cache.keep([Entry(b"k", "u1", Unscored("refusal", 4))])
    assert cache.find([b"k"]) == [Unscored("refusal", 4)]
    cache.keep([Entry(b"k", "u1", REPLY)])
    assert (cache.find([b"k"]), cache.unscored_keys()) == ([REPLY], set())


def test_erasing_a_user_leaves_what_others_asked_too(cache):
    cache.keep([Entry(b"own", "u1", REPLY), Entry(b"both", "u1", REPLY), Entry(b"both", "u2", None)])
    assert cache.erase("u1") == 1
    assert cache.find([b"own", b"both"]) == [None, REPLY]
    assert cache.erase("u2") == 1
    assert cache.count() == 0


def test_an_erased_text_is_not_in_the_file_any_more(cache, tmp_path):
    cache.keep([Entry(b"k", "u1", Reply("a very secret sentence"))])
    cache.erase("u1")
    cache.close()
    assert b"very secret" not in (tmp_path / "cache.sqlite").read_bytes()


def test_user_ids_are_not_in_the_file(cache, tmp_path):
    cache.keep([Entry(b"k", "somebody-in-particular", REPLY)])
    cache.close()
    assert b"somebody-in-particular" not in (tmp_path / "cache.sqlite").read_bytes()


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\1" * 5000])
def test_a_damaged_file_is_set_aside_not_lost(tmp_path, content):
    (tmp_path / "cache.sqlite").write_bytes(content)
    cache = Cache(tmp_path / "cache.sqlite")
    assert cache.open() == set()
    assert cache.set_aside.read_bytes() == content
    cache.close()


def test_a_truncated_file_is_never_silently_wrong(cache, tmp_path):
    cache.keep([Entry(bytes([k, j]), "u1", Reply("x" * 500)) for k in range(100) for j in range(2)])
    cache.close()
    path = tmp_path / "cache.sqlite"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 // 4096 * 4096])
    again = Cache(path)
    assert again.open() == set()
    assert again.set_aside is not None
    again.close()


def test_a_newer_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "cache.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(NewerVersion, match="version 99"):
        Cache(path).open()
    assert path.exists()


def test_a_folder_in_its_place_is_one_sentence(tmp_path):
    with pytest.raises(StoreError, match="cannot be used"):
        Cache(tmp_path).open()
