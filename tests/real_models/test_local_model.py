"""A real language model of 135M parameters, run by llama.cpp here: what a command promises of any model, seen of one.

How well it judges is not asked: a model so small hardly reads. Replies are short, and there are four pairs.
"""

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from personalrm.judging.model import ModelJudge, open_model_judge
from personalrm.judging.options import JudgeOptions
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.local.model import LocalModel
from personalrm.lm.protocol import Request, Sampling
from personalrm.preferences.messages import Message
from personalrm.preferences.people import example_path
from personalrm.preferences.verdicts import Question

pytestmark = pytest.mark.lm
SHORT = ("--max-tokens", "96", "--trials", "2")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """One person with four pairs."""
    path = tmp_path_factory.mktemp("people") / "people.jsonl"
    lines = Path(example_path()).read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([line for line in lines if json.loads(line)["user_id"] == "henrik"][:4]) + "\n")
    return path


def command(*arguments):
    return [sys.executable, "-m", "personalrm", *map(str, arguments)]


def run(*arguments):
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def home(smollm2, people, tmp_path_factory):
    """A home with a fit that was killed while it asked, then finished by the same command."""
    home = tmp_path_factory.mktemp("home") / "home"
    fit = command("fit", people, "--model", smollm2, "--home", home, *SHORT)
    first = subprocess.Popen(fit, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cache = home / "cache.sqlite"
    while not (cache.exists() and cache.stat().st_size > 1000) and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert cache.stat().st_size > 1000
    code, out, err = run("fit", people, "--model", smollm2, "--home", home, *SHORT, "--json")
    assert code in (0, 3), err  # 3 where replies could not be read, which a model so small gives
    return home, json.loads(out)


def test_a_killed_fit_goes_on_with_what_was_answered(home):
    folder, report = home
    assert report["n_fitted"] == 1
    assert sum(usage["n_cached"] for usage in report["usage"].values()) >= 1
    code, out, err = run("show", "henrik", "--home", folder)
    assert code == 0 and out.startswith("henrik  learned from 4 pairs by the smollm2-135m.gguf engine\n"), err


@pytest.mark.usefixtures("home")
def test_no_process_of_the_model_is_left():
    orphans = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            is_model = b"personalrm.lm.local.child" in (folder / "cmdline").read_bytes()
            if is_model and "PPid:\t1\n" in (folder / "status").read_text():
                orphans.append(folder.name)
    assert orphans == []


def test_check_tells_what_it_can_do(smollm2):
    code, out, err = run("check", "--model", smollm2)
    assert code == 0, err
    assert out.startswith("smollm2-135m.gguf  answers\n")
    assert "  yes  keeps to a JSON schema" in out and "  yes  gives log-probabilities" in out
    assert "8,192 tokens of context" in out


def test_it_judges_and_ranks_for_the_person(smollm2, home, tmp_path):
    rows = tmp_path / "rows.jsonl"
    row = {"user_id": "henrik", "prompt": "Is it worth repairing?", "first": "Yes.", "second": "It might well be."}
    rows.write_text(json.dumps(row | {"completions": ["Yes.", "It might well be."]}))
    code, out, err = run("judge", rows, "--model", smollm2, "--home", home[0], "--json", "--max-tokens", 96)
    verdict = json.loads(out)
    assert code in (0, 3) and (0 < verdict["probability"] < 1 if code == 0 else verdict["user_id"]), err
    code, out, err = run("rank", rows, "--model", smollm2, "--home", home[0], "--json", "--max-tokens", 96)
    assert code in (0, 1, 3), err
    assert sorted(json.loads(out)["order"]) == [0, 1] if code == 0 else out or err


@pytest.fixture(scope="module")
def caller(smollm2):
    with Caller(LocalModel(smollm2)) as caller:
        yield caller


def test_probabilities_come_from_its_log_probabilities(caller):
    judge = ModelJudge(caller, JudgeOptions(max_tokens=96))
    asked = [
        Question("u", (Message("user", f"Name {n} fruits."),), "Apple. " * n, "I would rather not.") for n in (2, 5)
    ]
    scored = [verdict for verdict in judge.judge(asked) if verdict.is_scored]
    assert scored and all(0 < verdict.probability < 1 for verdict in scored)


def test_a_schema_holds_it(caller):
    judge = ModelJudge(caller, JudgeOptions(max_tokens=96))
    question = Question("u", (Message("user", "Hello?"),), "Hello.", "Good day to you.")
    outcome = caller.ask_all([Ask(lambda: judge.judge_request(question, "judge"), lambda reply: reply)])[0]
    if outcome.value is not None:  # else it was cut off in mid-sentence each time
        assert json.loads(outcome.value.text)["choice"] in ("first", "second")


def test_a_prompt_beyond_its_context_is_told_and_costs_nothing_else(caller):
    long = Request((Message("user", "word " * 9000),), Sampling(max_tokens=8))
    short = Request((Message("user", "Say yes."),), Sampling(max_tokens=64))
    asks = [Ask(lambda request=request: request, lambda reply: reply.text) for request in (long, short)]
    outcomes = caller.ask_all(asks)
    assert outcomes[0].reason.startswith("context too long")
    assert outcomes[1].value or outcomes[1].reason.startswith("cut off")


def test_the_same_seed_gives_the_same_reply_in_another_process(smollm2, tmp_path):
    replies, request = [], Request((Message("user", "Name a color."),), Sampling(max_tokens=48))
    for n in range(2):
        judge = open_model_judge(str(smollm2), cache=tmp_path / f"c{n}", options=JudgeOptions(max_tokens=48))
        with judge.caller as caller:
            replies.append(caller.ask_all([Ask(lambda: request, lambda reply: reply.text)])[0].value)
    assert replies[0] and replies[0] == replies[1]
