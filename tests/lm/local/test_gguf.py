"""What a GGUF file says of its model, and files that say nothing."""

import hashlib
import os
import random
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from tests.fakes.gguf_files import SMALL, gguf, of_kind, text

from personalrm.errors import BadFile
from personalrm.lm.local import gguf as reading
from personalrm.lm.local.gguf import hash_of_model, read_facts


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def written(tmp_path, content, name="m.gguf"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_the_facts_stand_in_the_header(tmp_path):
    facts = read_facts(written(tmp_path, gguf()))
    assert (facts.architecture, facts.name, facts.context_tokens, facts.n_layers) == ("llama", "Small", 4096, 2)
    # Keys and values, 2 layers, 2 heads of 16 numbers each, two bytes a number.
    assert facts.bytes_a_token == 2 * 2 * (16 + 16) * 2
    assert facts.has_chat_template and facts.writes


def test_layers_that_differ_are_counted_one_by_one(tmp_path):
    facts = read_facts(written(tmp_path, gguf({"llama.attention.head_count_kv": [1, 3]})))
    assert facts.bytes_a_token == 2 * 2 * (16 + 16) * 2


def test_heads_of_their_own_width_are_read(tmp_path):
    keys = {"llama.attention.key_length": 32, "llama.attention.value_length": 8}
    assert read_facts(written(tmp_path, gguf(keys))).bytes_a_token == 2 * 2 * (32 + 8) * 2


def test_a_base_model_has_no_template(tmp_path):
    assert not read_facts(written(tmp_path, gguf({"tokenizer.chat_template": None}))).has_chat_template


def test_an_encoder_writes_nothing(tmp_path):
    assert not read_facts(written(tmp_path, gguf({"general.architecture": "nomic-bert"}))).writes


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "does not begin as a GGUF file"),
        (b"PK\x03\x04 a zip", "does not begin as a GGUF file"),
        (gguf(magic=b"FUGG"), "does not begin as a GGUF file"),
        (b"GGUF", "cut short or damaged"),
        (gguf(version=1), "cut short or damaged"),
        (gguf(version=2**24), "cut short or damaged"),
        (gguf()[:90], "cut short or damaged"),
        (gguf()[:3000], "cut short or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "cut short or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62), "cut short or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 2**62), "cut short or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 77), "cut short or damaged"),
    ],
)
def test_what_is_no_gguf_file_is_refused_in_a_sentence(tmp_path, content, says):
    with pytest.raises(BadFile, match=says):
        read_facts(written(tmp_path, content))


def test_a_folder_and_a_file_that_is_not_there_are_refused(tmp_path):
    for path, says in ((tmp_path, "is a folder"), (tmp_path / "no.gguf", "is not there")):
        with pytest.raises(BadFile, match=says):
            read_facts(path)


def test_a_download_that_broke_off_is_found_by_where_its_tensors_are(tmp_path):
    assert read_facts(written(tmp_path, gguf(tensor_at=32))).n_layers == 2
    with pytest.raises(BadFile, match="cut short or damaged"):
        read_facts(written(tmp_path, gguf(tensor_at=64)))


def test_a_file_without_an_architecture_is_refused(tmp_path):
    with pytest.raises(BadFile, match="names no architecture"):
        read_facts(written(tmp_path, gguf({"general.architecture": None})))


def test_any_bytes_give_facts_or_a_sentence(tmp_path):
    whole = gguf()
    for seed in range(300):
        rng = random.Random(seed)
        place, size = rng.randrange(4, len(whole)), rng.randrange(1, 9)
        changed = whole[:place] + rng.randbytes(size) + whole[place + size :]
        with suppress(BadFile):
            read_facts(written(tmp_path, changed))


def test_the_hash_is_that_of_the_file_and_is_remembered(tmp_path, monkeypatch):
    path = written(tmp_path, gguf())
    assert hash_of_model(path) == hashlib.sha256(gguf()).hexdigest()
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert hash_of_model(path) == hashlib.sha256(gguf()).hexdigest()


def test_a_file_that_was_replaced_is_hashed_again(tmp_path):
    path = written(tmp_path, gguf())
    before = hash_of_model(path)
    other = gguf({"general.name": "Smale"})
    assert len(other) == len(gguf())
    path.write_bytes(other)
    os.utime(path, ns=(1, 1))
    assert hash_of_model(path) == hashlib.sha256(other).hexdigest() != before


def test_a_cache_folder_that_cannot_be_used_costs_time_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file", Path("/proc/nothing")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
        assert hash_of_model(written(tmp_path, gguf())) == hashlib.sha256(gguf()).hexdigest()


def test_a_damaged_memory_of_hashes_is_written_anew(tmp_path, cache_folder):
    for damage in ("[", "[1]", '{"a": null}', "[" * 100_000):
        place = cache_folder / "personalrm" / "gguf-hashes.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(damage)
        assert hash_of_model(written(tmp_path, gguf())) == hashlib.sha256(gguf()).hexdigest()


def test_a_model_in_parts_is_all_of_them(tmp_path):
    first, second = (f"m-0000{n}-of-00002.gguf" for n in (1, 2))
    path = written(tmp_path, gguf(), first)
    with pytest.raises(BadFile, match=second):
        read_facts(path)
    written(tmp_path, b"GGUF and more weights", second)
    assert read_facts(path).n_bytes == len(gguf()) + 21
    before = hash_of_model(path)
    written(tmp_path, b"GGUF and other weights", second)
    assert hash_of_model(path) != before


def test_a_long_list_is_passed_over(tmp_path):
    assert len(SMALL["tokenizer.ggml.token_type"]) > reading.LONGEST_LIST
    assert of_kind(SMALL["tokenizer.ggml.token_type"]) in gguf()
    assert read_facts(written(tmp_path, gguf())).n_layers == 2
