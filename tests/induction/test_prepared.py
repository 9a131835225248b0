"""Who gets a prompt for training, and that no label slips into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from personalrm.errors import BadFile, BadInput, CorruptFile, TargetLeak
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.induction.fit_job import Fitted, Todo
from personalrm.induction.model_fit import ModelFit
from personalrm.induction.prepared import Preparation, prepare_prompts
from personalrm.induction.settings import InductionSettings
from personalrm.judging.model import open_model_judge
from personalrm.preferences.prepared_prompts import PreparedPrompt, PreparedPrompts, read_prepared, write_prepared
from personalrm.preferences.prompt_json import prompt_to_json
from personalrm.preferences.users import User
from personalrm.testing import ScriptedLM, tiny_pair, tiny_users
from personalrm.testing.skill import skilled


def prepared(users: Sequence[User], **options: object) -> tuple[list[PreparedPrompt], Preparation]:
    report = Preparation()
    engine = EmbeddedFit(InductionSettings())
    return list(prepare_prompts(engine, users, report, **options)), report  # type: ignore[arg-type]


def test_users_with_enough_choices_get_one_prompt_from_all_of_them() -> None:
    found, report = prepared([*tiny_users(2), User("few", (tiny_pair("few"),))])
    assert [(prepared.user_id, prepared.without, len(prepared.prompt.roles)) for prepared in found] == [
        ("u0", None, 6),
        ("u1", None, 6),
    ]
    assert (report.n_users, report.n_cross_fitted, report.n_too_few) == (2, 0, 1)


def test_a_cross_fitted_prompt_never_saw_its_conversation() -> None:
    users = tiny_users(2)
    found, report = prepared(users, cross_fitted=True)
    prompts = PreparedPrompts.of(found)
    assert report.n_cross_fitted == 12
    for pair in [pair for user in users for pair in user]:
        prompt = prompts.for_training(pair)
        assert prompt is not None and pair.hash not in prompt.roles and len(prompt.roles) == 5


def test_all_pairs_of_a_conversation_are_left_out_together() -> None:
    """A later turn of the conversation quotes the chosen completion."""
    pairs = tuple(replace(pair, conversation_id=f"c{n // 3}") for n, pair in enumerate(tiny_users(1)[0].pairs))
    found, _ = prepared([User("u0", pairs)], cross_fitted=True)
    assert [(prepared.without, len(prepared.prompt.roles)) for prepared in found] == [(None, 6), ("c0", 3), ("c1", 3)]


def test_only_the_conversations_asked_for_are_cross_fitted() -> None:
    users = tiny_users(2)
    key = users[0].pairs[2].conversation_key
    found, report = prepared(users, cross_fitted=True, only={"u0": {key, "nobody's"}})
    assert [(prepared.user_id, prepared.without) for prepared in found] == [("u0", None), ("u0", key), ("u1", None)]
    assert (report.n_users, report.n_cross_fitted) == (2, 1)


def test_what_may_be_known_decides_which_prompt_is_told() -> None:
    user = tiny_users(1)[0]
    key = user.pairs[2].conversation_key
    prompts = PreparedPrompts.of(prepared([user], cross_fitted=True)[0])
    assert prompts.for_context("u0", user.pairs) is prompts.whole["u0"]
    rest = [pair for pair in user.pairs if pair.conversation_key != key]
    assert prompts.for_context("u0", rest) is prompts.cross_fitted["u0", key]
    assert prompts.for_context("somebody", user.pairs) is None
    with pytest.raises(TargetLeak, match="the prompt of user 'u0' was made from 2 pairs outside the context"):
        prompts.for_context("u0", user.pairs[:4])


def test_a_user_of_one_conversation_cannot_be_cross_fitted() -> None:
    pairs = tuple(replace(pair, conversation_id="c") for pair in tiny_users(1)[0].pairs)
    found, report = prepared([User("u0", pairs)], cross_fitted=True)
    assert len(found) == 1 and report.n_single == 1


def test_targets_are_never_seen() -> None:
    declared = tuple(
        replace(pair, split="target" if n > 4 else "train") for n, pair in enumerate(tiny_users(1)[0].pairs)
    )
    found, _ = prepared([User("u0", declared)])
    assert len(found[0].prompt.roles) == 5
    held, _ = prepared([User("u0", tuple(tiny_pair("u0", n) for n in range(10)))], hold_out=True)
    assert len(held[0].prompt.roles) == 7


def test_a_training_pair_without_a_cross_fitted_prompt_gets_the_whole_one() -> None:
    prompts = PreparedPrompts.of(prepared(tiny_users(1))[0])
    assert prompts.for_training(tiny_pair("u0", 0)) is prompts.whole["u0"]
    assert prompts.for_training(tiny_pair("stranger")) is None


def test_a_language_model_prepares_prompts_too() -> None:
    judge = open_model_judge(ScriptedLM(skilled()))
    with judge.caller:
        report = Preparation()
        engine = ModelFit(judge, InductionSettings(variant="both", n_trials=2))
        found = list(prepare_prompts(engine, tiny_users(2), report, cross_fitted=True))
    assert (report.n_users, report.n_cross_fitted, report.failed) == (2, 12, {})
    assert all(prepared.without is None or len(prepared.prompt.roles) == 5 for prepared in found)


class Backwards(EmbeddedFit):
    """Hands the last prompt over first, as a model may whose answers come in another order."""

    def fit_each(self, todo: Iterable[Todo]) -> Iterator[Fitted]:
        yield from reversed(list(super().fit_each(todo)))


def test_prompts_come_in_the_order_of_the_users_however_they_are_made() -> None:
    found = list(prepare_prompts(Backwards(InductionSettings()), tiny_users(3), Preparation(), cross_fitted=True))
    assert found == prepared(tiny_users(3), cross_fitted=True)[0]


def test_prompts_go_through_a_file(tmp_path: Path) -> None:
    found, _ = prepared(tiny_users(2), cross_fitted=True)
    assert list(write_prepared(tmp_path / "p.jsonl", found)) == found
    read = read_prepared(tmp_path / "p.jsonl")
    assert set(read.whole) == {"u0", "u1"} and len(read.cross_fitted) == 12
    assert read.whole["u0"].persona == PreparedPrompts.of(found).whole["u0"].persona


def test_a_separator_within_a_conversation_does_not_cut_the_line(tmp_path: Path) -> None:
    pairs = tuple(replace(tiny_pair(number=n), chosen=f"One\u2028two\x85three \x0b {n}.") for n in range(6))
    found, _ = prepared([User("u0", tuple(replace(pair, user_id="u0") for pair in pairs))])
    assert list(write_prepared(tmp_path / "p.jsonl", found)) == found
    read = read_prepared(tmp_path / "p.jsonl").whole["u0"]
    assert prompt_to_json(read) == prompt_to_json(found[0].prompt)


@pytest.mark.parametrize("line", ["", "{", "3", '{"without": null}', '{"without": 3, "prompt": {}}', "[]"])
def test_a_line_that_is_no_prompt_is_corrupt(tmp_path: Path, line: str) -> None:
    (tmp_path / "p.jsonl").write_text(line + "\n")
    with pytest.raises(CorruptFile, match=r"line 1|not a whole"):
        read_prepared(tmp_path / "p.jsonl")


def test_a_missing_file_and_a_missing_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read"):
        read_prepared(tmp_path / "none")
    with pytest.raises(BadFile, match="cannot be written"):
        list(write_prepared(tmp_path / "none" / "p", []))


def test_no_choices_at_all_are_too_few_to_ask_for() -> None:
    with pytest.raises(BadInput, match="at least 1"):
        prepared(tiny_users(1), min_pairs=0)


def test_nothing_of_a_user_is_shown_by_repr() -> None:
    found, _ = prepared(tiny_users(1))
    assert "Prefers" not in repr(found[0]) + repr(PreparedPrompts.of(found))
