"""A GGUF file as a model: its process, its size on this machine, its identity; llama.cpp is a stand-in here."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.fakes.gguf_files import gguf, run_by_stand_in

from personalrm.errors import BadFile, MissingExtra, ModelUnavailable, UnknownName
from personalrm.judging.checking import check_model
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.local import model as local
from personalrm.lm.local.gguf import GGUFFacts
from personalrm.lm.local.model import LocalModel, Size, fitting_size
from personalrm.lm.local.speed import measure_speed
from personalrm.lm.opening import ModelName, found_in, open_model
from personalrm.preferences.messages import Message
from personalrm.preferences.verdicts import Question

ASKED = [Question("u", (Message("user", f"How, on day {n}?"),), "x" * (20 + n), "y" * (90 - n)) for n in range(5)]
GIB = 2**30
SEVEN_BILLION = GGUFFacts("llama", "", 131_072, 32, 131_072, 4 * GIB, has_chat_template=True)


@pytest.fixture(autouse=True)
def stand_in(tmp_path, monkeypatch):
    run_by_stand_in(tmp_path, monkeypatch)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.gguf"
    path.write_bytes(gguf())
    return path


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def awaited(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.mark.slow
def test_a_file_is_asked_like_any_model_and_its_process_goes_with_the_caller(file):
    lm = open_model(ModelName(str(file)))
    with Caller(lm, cache=Cache(":memory:")) as caller:
        verdicts = ModelJudge(caller).judge(ASKED)
        assert [verdict.choice for verdict in verdicts] == ["second"] * 5  # the longer one
        pid = lm._process.pid
        assert is_running(pid)
    assert not is_running(pid)


@pytest.mark.slow
def test_a_check_tells_slots_and_context(file):
    with Caller(LocalModel(file)) as caller:
        check = check_model(ModelJudge(caller))
    assert (check.problem, check.model, check.context_tokens) == ("", "small.gguf", 4096)
    assert check.n_slots >= 1 and check.takes_schema and check.gives_logprobs


@pytest.mark.slow
def test_the_process_ends_when_ours_is_killed(file):
    script = f"""
import asyncio, os, sys
from personalrm.lm.local.model import LocalModel
model = LocalModel({str(file)!r})
asyncio.run(model._started())
print(model._process.pid, flush=True)
sys.stdin.read()
"""
    ours = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = int(ours.stdout.readline())
    assert is_running(pid)
    ours.send_signal(signal.SIGKILL)
    ours.wait()
    for stream in (ours.stdin, ours.stdout):
        stream.close()
    assert awaited(lambda: not is_running(pid))


@pytest.mark.slow
def test_a_process_that_dies_is_told_and_what_was_answered_is_kept(file, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_LLAMA", "dies at the second request")
    with Caller(LocalModel(file), cache=Cache(tmp_path / "c")) as caller:
        judge = ModelJudge(caller)
        judge.judge(ASKED[:1])
        with pytest.raises(ModelUnavailable, match=r"'small.gguf' ended \(killed, as it is where memory is short"):
            judge.judge(ASKED)
    monkeypatch.setenv("FAKE_LLAMA", "")
    with Caller(LocalModel(file), cache=Cache(tmp_path / "c")) as caller:
        assert all(verdict.is_scored for verdict in ModelJudge(caller).judge(ASKED))
        assert caller.ledger.total.n_cached == 1


@pytest.mark.slow
def test_a_model_that_llama_cpp_cannot_load_is_told_with_its_words(file, monkeypatch):
    monkeypatch.setenv("FAKE_LLAMA", "dies at load")
    with Caller(LocalModel(file)) as caller, pytest.raises(ModelUnavailable) as caught:
        ModelJudge(caller).judge(ASKED[:1])
    assert "cannot be run (exit code 1: load: error loading model: unknown architecture 'new')" in str(caught.value)


@pytest.mark.slow
def test_a_process_that_is_loading_is_ended_too(file, monkeypatch):
    monkeypatch.setenv("FAKE_LLAMA", "takes long to load")
    model = LocalModel(file)

    async def started_and_closed():
        starting = asyncio.create_task(model._started())
        while model._process is None:
            await asyncio.sleep(0.02)
        pid = model._process.pid
        await asyncio.sleep(1.0)  # it imports, then loads
        await model.close()
        with pytest.raises(ModelUnavailable):
            await starting
        return pid

    assert not is_running(asyncio.run(started_and_closed()))


@pytest.mark.slow
def test_speed_is_measured_and_the_process_goes(file):
    model = LocalModel(file)
    speed = measure_speed(model)
    assert speed.read > 0 and speed.written > 0 and model._process is None
    assert speed.hours(3600 * 10, 0) == pytest.approx(10 / speed.read)


def test_the_identity_is_the_file_wherever_it_lies(file, tmp_path):
    moved = tmp_path / "another name.gguf"
    moved.write_bytes(file.read_bytes())
    assert LocalModel(file).identity == LocalModel(moved).identity
    moved.write_bytes(gguf({"general.name": "Other"}))
    assert LocalModel(file).identity != LocalModel(moved).identity
    assert LocalModel(file, body={"top_k": 1}).identity != LocalModel(file).identity
    assert str(tmp_path) not in LocalModel(file).identity


def test_names_that_end_in_gguf_are_files_unless_a_server_has_them(file):
    assert isinstance(open_model(ModelName(str(file))), LocalModel)
    assert ModelName("a/Model.GGUF").is_file and ModelName("a/m.gguf").is_on_this_machine
    assert not ModelName("m.gguf", "http://localhost:8080/v1").is_file
    assert not ModelName("openai/m.gguf").is_file
    with pytest.raises(BadFile, match="is not there"):
        open_model(ModelName("nowhere/m.gguf"))
    with pytest.raises(UnknownName, match=r"\.gguf file"):
        open_model(ModelName("nowhere/m"))


def test_an_encoder_is_refused_as_a_model(tmp_path):
    (tmp_path / "e.gguf").write_bytes(gguf({"general.architecture": "bert"}))
    with pytest.raises(BadFile, match="holds an encoder"):
        LocalModel(tmp_path / "e.gguf")


def test_the_extra_is_named_where_it_is_missing(file, monkeypatch):
    monkeypatch.setattr(local, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"personalrm\[local\]"):
        LocalModel(file)


def test_files_are_found_in_the_first_folder_that_has_them(file, tmp_path):
    assert found_in([tmp_path / "no", tmp_path], "small.gguf") == str(file)
    assert found_in([tmp_path / "no"], "small.gguf") == "small.gguf"


@pytest.mark.parametrize(
    ("memory_gib", "size"),
    [
        (64, Size(4, 33_024, 8)),
        (24, Size(2, 33_024, 8)),
        (12, Size(1, 33_024, 8)),
        (8, Size(1, 8_256, 8)),
        (6, Size(1, 2_064, 8)),
    ],
)
def test_as_many_slots_and_as_much_context_as_memory_has_room_for(memory_gib, size):
    assert fitting_size(SEVEN_BILLION, n_cores=8, memory_bytes=memory_gib * GIB) == size


def test_few_cores_write_one_reply_at_a_time_unless_a_gpu_does():
    sized = {"memory_bytes": 64 * GIB}
    assert fitting_size(SEVEN_BILLION, n_cores=1.5, **sized) == Size(1, 33_024, 2)
    assert fitting_size(SEVEN_BILLION, n_cores=4, **sized).n_slots == 2
    assert fitting_size(SEVEN_BILLION, n_cores=2, **sized, has_gpu=True).n_slots == 4


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded():
    with pytest.raises(ModelUnavailable, match=r"needs 5.8 GiB of memory and 4.0 are free"):
        fitting_size(SEVEN_BILLION, n_cores=4, memory_bytes=4 * GIB)


def test_a_judge_sends_no_longer_prompts_than_the_model_reads(file):
    lm = LocalModel(file)
    judge = ModelJudge(Caller(lm))
    assert judge.options.max_prompt_tokens == lm.context_tokens - judge.options.max_tokens
    long = Question(
        "u", tuple(Message("user" if n % 2 == 0 else "assistant", "word " * 900) for n in range(31)), "a", "b"
    )
    assert judge.judge_request(long, "judge").n_characters < 4096 * 5


def test_what_other_programs_may_read_holds_no_path_and_no_key(file):
    assert str(file.parent) not in repr(ModelName(str(file)).name) or os.sep in ModelName(str(file)).name
    assert json.loads(LocalModel(file).identity)[1] == "gguf"
