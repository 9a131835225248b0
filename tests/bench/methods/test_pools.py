"""What fine-tuned language models learn from: everything that is no target, or the users of other folds."""

from dataclasses import replace

import pytest

from personalrm.bench.methods.trained import PoolSettings, divide, pool_users
from personalrm.datasets.targets import HeldOut, hold_out
from personalrm.errors import BadInput
from personalrm.preferences.messages import Message
from personalrm.preferences.users import User
from personalrm.testing import tiny_pair, tiny_users

TEST = hold_out(tiny_users(6, 8))


def named(user_id, n_pairs=8):
    return User(user_id, tuple(tiny_pair(user_id, k) for k in range(n_pairs)))


def split_data(**fields):
    """Six test users, two train users, two dev users."""
    train, dev = ({name: named(name) for name in names} for names in (("t0", "t1"), ("d0", "d1")))
    return replace(TEST, train=train, dev=dev, **fields)


def hashes(pairs):
    return {pair.hash for pair in pairs}


def targets_of(held_out):
    return hashes(held_out.targets) | hashes(p for u in held_out.dev.values() for p in hold_out([u]).targets)


def test_with_train_dev_and_test_users_there_is_one_training_on_all_but_their_targets():
    held_out = split_data()
    (portion,) = divide(held_out).portions
    everybody = [p for users in (held_out.context, held_out.train, held_out.dev) for u in users.values() for p in u]
    assert hashes(portion.pairs) == hashes(everybody) - targets_of(held_out)
    assert hashes(p for one in portion.dev for p in one.targets) == targets_of(held_out) - hashes(held_out.targets)


def test_the_pool_of_train_users_holds_nobody_else():
    (portion,) = divide(split_data(), PoolSettings("train_users")).portions
    assert {pair.user_id for pair in portion.pairs} == {"t0", "t1"}


def test_the_papers_last_training_learns_from_dev_targets_and_nobody_chooses():
    held_out = split_data()
    (portion,) = divide(held_out, PoolSettings(pool_final="paper")).portions
    assert hashes(portion.pairs) >= targets_of(held_out) - hashes(held_out.targets)
    assert not hashes(portion.pairs) & hashes(held_out.targets)
    assert portion.dev == ()


def test_an_unfiltered_pair_of_a_targets_conversation_is_left_out_and_counted():
    target = replace(TEST.targets[0], conversation_id="talk")
    later = (*target.conversation, Message("assistant", target.chosen), Message("user", "And on day two?"))
    of_talk = replace(target, conversation=later, chosen="A.", rejected="B.", conversation_id="talk")
    fresh = tiny_pair("u0", 77, conversation_id="other")
    held_out = split_data(targets=(target, *TEST.targets[1:]), unfiltered=(target, of_talk, fresh, fresh))
    (portion,) = divide(held_out).portions
    assert (portion.n_left_out, portion.n_unfiltered) == (2, 1)
    assert fresh.hash in hashes(portion.pairs)
    (portion,) = divide(held_out, PoolSettings("plus_context")).portions
    assert (portion.n_left_out, portion.n_unfiltered) == (0, 0)


def test_a_conversation_without_a_name_is_known_by_its_opening():
    target = TEST.targets[0]
    later = (*target.conversation, Message("assistant", target.chosen), Message("user", "And on day two?"))
    unnamed = replace(target, conversation=later, chosen="A.", rejected="B.")
    somebody_else = replace(unnamed, user_id="x")
    (portion,) = divide(split_data(unfiltered=(unnamed, replace(unnamed, conversation_id="c"), somebody_else))).portions
    assert (portion.n_left_out, portion.n_unfiltered) == (2, 1)


def test_a_pair_that_is_context_and_target_is_not_learned_from():
    copy = TEST.targets[0]
    context = {**TEST.context, copy.user_id: User(copy.user_id, (*TEST.context[copy.user_id].pairs, copy))}
    (portion,) = divide(split_data(context=context)).portions
    assert portion.n_equal == 1
    assert copy.hash not in hashes(portion.pairs)


def test_without_such_a_split_nobody_is_scored_by_a_model_that_has_seen_them():
    held_out = replace(TEST, unfiltered=tuple(tiny_pair(f"u{n}", 90 + n) for n in range(6)))
    division = divide(held_out)
    for portion in division.portions:
        scored = {user_id for user_id in TEST.context if division.fold_of(user_id) == portion.fold}
        seen = {pair.user_id for pair in portion.pairs}
        stoppers = {pair.user_id for one in portion.dev for pair in (*one.context, *one.targets)}
        assert not scored & (seen | stoppers)
        assert not seen & stoppers
        assert not hashes(portion.pairs) & hashes(TEST.targets)


def test_without_dev_users_some_of_the_train_users_stop_the_training():
    train = {f"t{n}": named(f"t{n}") for n in range(30)}
    (portion,) = divide(replace(TEST, train=train)).portions
    stoppers = {pair.user_id for one in portion.dev for pair in one.targets}
    assert 0 < len(stoppers) < 30
    assert not stoppers & {pair.user_id for pair in portion.pairs}


def test_personas_are_written_from_no_target_and_of_nobody_with_too_few_pairs():
    users = pool_users(replace(split_data(), train={"t0": named("t0"), "few": named("few", 2)}), 5)
    assert {user.user_id for user in users} == {*TEST.context, "t0", "d0", "d1"}
    assert not hashes(pair for user in users for pair in user.pairs) & targets_of(split_data())


def test_a_pool_of_nobody_is_refused():
    with pytest.raises(BadInput, match="there are none; add users, or choose a wider pool"):
        divide(HeldOut({}, TEST.targets, (), (), dev={"d0": named("d0")}), PoolSettings("train_users"))
