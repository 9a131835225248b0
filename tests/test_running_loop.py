"""The plain functions inside a running event loop, as in a notebook."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from personalrm import Message, SynthesizeMe, fit_users
from personalrm.cli import main
from personalrm.induction.settings import InductionSettings
from personalrm.testing import ScriptedLM, tiny_users, write_pairs
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import skilled

pytestmark = pytest.mark.slow
QUICK = InductionSettings(variant="both", n_trials=2)


def in_a_loop(function):
    """What a plain function gives back when it is called while an event loop runs in this very thread."""

    async def cell():
        asyncio.get_running_loop()
        return function()

    return asyncio.run(cell())


def test_the_embedded_engine_fits_and_judges() -> None:
    user = tiny_users(1)[0]
    model = in_a_loop(lambda: SynthesizeMe().fit(user))
    assert in_a_loop(lambda: model.predict((Message("user", "Hi?"),), "Yes.", "No, not at all.")).is_scored


def test_a_model_fits_judges_and_ranks_across_cells() -> None:
    """Each cell of a notebook is a loop's turn of its own; the model's connection outlives them."""
    question = (Message("user", "Hi?"),)
    with FakeServer(skilled(1.0)) as server:
        model = SynthesizeMe("fake", base_url=server.url, settings=QUICK)
        in_a_loop(lambda: model.fit(tiny_users(1)[0]))
        assert in_a_loop(lambda: model.predict(question, "Yes.", "No, not at all.")).choice == "second"
        assert in_a_loop(lambda: model.rank(question, ["Yes.", "No, not at all."])).best == 1
        in_a_loop(model.close)


def test_many_users_stream() -> None:
    prompts = in_a_loop(lambda: list(fit_users(tiny_users(3), lm=ScriptedLM(skilled()), settings=QUICK)))
    assert {prompt.user_id for prompt in prompts} == {"u0", "u1", "u2"}


def test_users_stream_while_the_loop_does_something_else() -> None:
    async def cell() -> int:
        seen = 0
        for _ in fit_users(tiny_users(3), lm=ScriptedLM(skilled()), settings=QUICK):
            await asyncio.sleep(0)
            seen += 1
        return seen

    assert asyncio.run(cell()) == 3


def test_a_thread_of_the_loop_may_fit_too() -> None:
    async def cell() -> str:
        model = SynthesizeMe(ScriptedLM(skilled()), settings=QUICK)
        return (await asyncio.to_thread(model.fit, tiny_users(1)[0])).prompt.user_id

    assert asyncio.run(cell()) == "u0"


@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_commands_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    people = write_pairs(tmp_path / "people.jsonl", [pair for user in tiny_users(3, 8) for pair in user])
    with FakeServer(skilled()) as server:
        flags = ["--model", "fake", "--base-url", server.url, "--trials", "2", "--home", str(tmp_path / "home")]
        assert in_a_loop(lambda: main([command, str(people), *flags])) == 0
    assert capsys.readouterr().out
