"""The reward function in the shapes TRL hands in, and inside TRL's own GRPO trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.language.trl_rewards import reward_function
from personalrm.rewards.reward_model import ScoreItem


class LengthLover:
    """Rewards the length, times a state that is a number."""

    name = "length"

    def __init__(self) -> None:
        self.n_items = 0

    def condition(self, context: list[PreferencePair]) -> float:
        return 0.5

    def score_many(self, items: list[ScoreItem]) -> list[np.ndarray[Any, Any]]:
        self.n_items += len(items)
        return [np.array([item.state * len(text) for text in item.completions]) for item in items]


def reward(**options: Any) -> Any:
    return reward_function(LengthLover(), {"a": 1.0, "b": -1.0}, **options)  # type: ignore[arg-type]


def test_each_completion_is_scored_as_its_own_user() -> None:
    assert reward()(["q", "q", "q"], ["ab", "ab", "ab"], user_id=["a", "b", "x"]) == [2.0, -2.0, 1.0]


def test_conversational_rows_are_understood() -> None:
    prompts = [[{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]] * 2
    completions = [
        [{"role": "assistant", "content": "abc"}],
        [{"role": "assistant", "content": [{"type": "text", "text": "ab"}]}],
    ]
    found = reward()(
        prompts=prompts, completions=completions, completion_ids=[[1], [2]], user_id=["a", "a"], trainer_state=None
    )
    assert found == [3.0, 2.0]


def test_a_group_is_one_question() -> None:
    model = LengthLover()
    function = reward_function(model, {"a": 1.0})  # type: ignore[arg-type]
    assert function(["q", "r", "q"], ["1", "22", "333"], user_id=["a", "a", "a"]) == [1.0, 2.0, 3.0]
    assert model.n_items == 2


@pytest.mark.parametrize("empty", ["", "  ", [], [{"role": "assistant", "content": None}]])
def test_an_empty_completion_is_not_measured(empty: Any) -> None:
    assert reward()(["q", "q"], [empty, "ab"], user_id=["a", "a"]) == [None, 2.0]


def test_a_data_set_without_users_is_refused() -> None:
    with pytest.raises(BadInput, match="no column 'person'"):
        reward(column="person")(["q"], ["a"], user_id=["a"])


def test_unknown_users_are_refused_where_wanted() -> None:
    with pytest.raises(BadInput, match="'x' has no state"):
        reward(strict=True)(["q"], ["a"], user_id=["x"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # TRL's and its packages' own
def test_it_works_in_the_real_grpo_trainer(tmp_path: Path) -> None:
    from datasets import Dataset
    from tests.rewards.tiny import tiny_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    tokenizer.pad_token = "<|finetune_right_pad_id|>"
    seen: list[Any] = []
    function = reward()

    def noting(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        seen.append(columns["user_id"])
        return function(prompts, completions, **columns)

    config = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=2, num_generations=2, max_completion_length=4,
        max_steps=1, report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    rows = Dataset.from_dict({"prompt": [[{"role": "user", "content": "Where to?"}]] * 2, "user_id": ["a", "b"]})
    model = AutoModelForCausalLM.from_pretrained(tiny_model())
    trainer = GRPOTrainer(model=model, reward_funcs=noting, args=config, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    assert len(seen) == 1 and seen[0][0] == seen[0][1] and seen[0][0] in ("a", "b")
