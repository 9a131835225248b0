import json
import random
import subprocess
import sys
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalrm.errors import BadInput
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.prompt_json import pair_to_dict
from personalrm.preferences.reading.files import Tally, iter_users, pairs_of_rows, read_pairs
from personalrm.preferences.reading.grouping import group_by_user
from personalrm.preferences.reading.layouts import read_own
from personalrm.preferences.reading.options import ReadOptions
from personalrm.preferences.reading.rows import iter_rows
from personalrm.testing import tiny_pair, tiny_users, write_pairs

PEAK = """
import resource, sys
from personalrm.preferences.reading.files import iter_users
n = sum(1 for _ in iter_users(sys.argv[1]))
print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


FULL = """
import resource
from personalrm.errors import StoreError
from personalrm.preferences.reading.grouping import group_by_user
from personalrm.testing import tiny_pair
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
try:
    list(group_by_user(enumerate(tiny_pair(number=k) for k in range(9)), report=print, in_memory=1))
except StoreError as error:
    print(error)
"""


def grouped(pairs, **options):
    return list(group_by_user(enumerate(pairs, 1), report=lambda line, error: None, **options))


def test_users_grouped_on_disk_equal_users_grouped_in_memory():
    pairs = [pair for user in tiny_users(20, 6) for pair in user]
    random.Random(0).shuffle(pairs)
    in_memory = {user.user_id: user.pairs for user in grouped(pairs)}
    assert {user.user_id: user.pairs for user in grouped(pairs, in_memory=10)} == in_memory


def test_users_come_in_order_of_first_appearance(tmp_path):
    path = write_pairs(tmp_path / "prefs.jsonl", [tiny_pair(name, k) for k in range(2) for name in ("b", "a", "c")])
    assert [user.user_id for user in iter_users(path)] == ["b", "a", "c"]


def test_meta_survives_grouping_on_disk():
    pairs = [tiny_pair(number=k, meta={"item": k}) for k in range(4)]
    (user,) = grouped(pairs, in_memory=1)
    assert [pair.meta["item"] for pair in user] == [0, 1, 2, 3]


@pytest.mark.parametrize("in_memory", [1, 100])
def test_copies_and_both_outcomes_are_counted_wherever_pairs_are_grouped(in_memory):
    (user,) = grouped([tiny_pair(), tiny_pair(), tiny_pair().reversed()], in_memory=in_memory)
    assert (len(user), user.n_duplicates, user.n_both_outcomes) == (2, 1, 1)


@pytest.mark.parametrize("in_memory", [1, 100])
def test_a_contradicting_split_is_reported_with_its_line(in_memory):
    reported = []
    pairs = [tiny_pair(split="target"), tiny_pair("u2"), tiny_pair(split="train")]
    list(group_by_user(enumerate(pairs, 1), report=lambda *one: reported.append(one), in_memory=in_memory))
    assert [(line, error.rule) for line, error in reported] == [(3, "context and target at once")]


def test_no_user_comes_out_before_a_bad_row_is_found(tmp_path):
    path = write_pairs(tmp_path / "prefs.jsonl", [tiny_pair("a"), tiny_pair("b")])
    path.write_text(path.read_text() + "{")
    with pytest.raises(BadInput, match="line 3"):
        next(iter_users(path))


def test_a_full_temporary_folder_is_told_in_one_sentence():
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)
    assert "the temporary folder cannot be written" in done.stdout


def test_a_grouping_on_disk_leaves_nothing_to_find_in_the_temporary_folder(tmp_path, monkeypatch):
    """A killed run cleans up nothing, so the texts must never have had a name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pairs = (tiny_pair(f"u{k}") for k in range(9))
    next(users := group_by_user(enumerate(pairs), report=print, in_memory=1))
    assert (list(tmp_path.iterdir()), sum(1 for _ in users)) == ([], 8)


def test_pairs_stream_in_the_order_of_the_rows(tmp_path):
    pairs = [tiny_pair(name, k) for k in range(3) for name in ("b", "a")]
    rows = iter_rows(write_pairs(tmp_path / "prefs.jsonl", pairs))
    assert [pair for _, pair in pairs_of_rows(rows, ReadOptions(), Tally(), where="prefs.jsonl")] == pairs


def test_a_pair_reads_back_as_it_was_written(tmp_path):
    pair = tiny_pair(conversation_id="c1", timestamp=12.5, split="validation")
    assert read_pairs(write_pairs(tmp_path / "prefs.jsonl", [pair]))["u1"].pairs == (pair,)


texts = st.text(min_size=1).filter(str.strip)
names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1)
turns = st.lists(st.builds(Message, st.sampled_from(["user", "assistant", "system", "tool"]), st.text()), max_size=4)


@settings(max_examples=30)
@given(names, turns, texts, texts, st.none() | st.floats(-1e10, 1e10), st.sampled_from([None, "train", "target"]))
def test_any_pair_survives_being_written_and_read(user_id, earlier, chosen, rejected, timestamp, split):
    conversation = (*earlier, Message("user", "and now?"))
    pair = PreferencePair(user_id, conversation, chosen, rejected + chosen, timestamp=timestamp, split=split)
    assert read_own(json.loads(json.dumps(pair_to_dict(pair))), ReadOptions()) == [pair]


@pytest.mark.slow
def test_memory_stays_flat_while_users_double(tmp_path):
    """Beyond the 50,000 pairs that are held; all pairs held would take 1.6 times the memory, users' names alone 1.04."""
    peaks = {}
    for n_users in (17_000, 34_000):
        path = tmp_path / f"{n_users}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for row in range(n_users * 3):
                user = row * 7919 % n_users
                file.write(f'{{"user_id": "u{user}", "prompt": "q{row}", "chosen": "a{row}", "rejected": "b"}}\n')
        done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
        n_read, peaks[n_users] = map(int, done.stdout.split())
        assert n_read == n_users
    assert peaks[34_000] < 1.08 * peaks[17_000]
