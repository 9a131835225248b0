import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.errors import BadInput
from personalrm.preferences.splits import n_of_share, split_context, split_user
from personalrm.testing import tiny_pair


def counts(n):
    split = split_user([tiny_pair(number=k) for k in range(n)])
    return len(split.train), len(split.validation), len(split.target)


@pytest.mark.parametrize(
    ("n", "expected"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (5, (3, 1, 1)), (10, (5, 2, 3))]
)
def test_the_split_follows_the_rule(n, expected):
    assert counts(n) == expected


@given(st.integers(1, 1000))
def test_context_is_seventy_per_cent_to_the_nearest_conversation(n):
    assert abs(n_of_share(n) - 0.7 * n) <= 0.5 + 1e-9


def test_a_conversation_never_straddles_a_border():
    pairs = [tiny_pair(number=k, conversation_id=f"c{k // 3}") for k in range(12)]
    split = split_user(pairs)
    owners = [{pair.conversation_id for pair in part} for part in (split.train, split.validation, split.target)]
    assert not (owners[0] & owners[1] or owners[1] & owners[2] or owners[0] & owners[2])


def test_equal_conversation_text_without_id_is_one_conversation():
    pairs = [tiny_pair(number=0), tiny_pair(number=0).reversed()]
    assert len(split_user(pairs).train) == 2


def test_declared_splits_are_obeyed():
    pairs = [tiny_pair(number=k, split=name) for k, name in enumerate(("target", "train", "validation"))]
    split = split_user(pairs)
    assert [len(part) for part in (split.train, split.validation, split.target)] == [1, 1, 1]
    assert split_context(pairs).target == ()


def test_two_users_cannot_be_split_together():
    with pytest.raises(BadInput, match="2 users"):
        split_user([tiny_pair("a"), tiny_pair("b")])


def test_timestamps_win_over_order_index():
    pairs = [tiny_pair(number=k, timestamp=float(-k)) for k in range(4)]
    assert split_user(pairs).target[0] is pairs[0]
