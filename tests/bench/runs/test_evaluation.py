import math
import os
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from personalrm.bench.runs.evaluation import METHODS, evaluate, half_of, in_development_half
from personalrm.bench.runs.runner import draw_choices
from personalrm.datasets.targets import hold_out
from personalrm.errors import BadInput, UnknownName
from personalrm.preferences.reading.files import ReadOptions, read_pairs
from personalrm.preferences.users import User
from personalrm.stylometry.observations import observe
from personalrm.testing import tiny_pair, tiny_users

DATA = os.environ.get("PERSONALRM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="PERSONALRM_DATA is not set")
CHEAP = ("longer", "population", "shuffled_user", "personal")


def held(name):
    return hold_out(read_pairs(Path(DATA or "") / f"{name}.jsonl.gz", ReadOptions(skip_bad=True)).values())


def test_every_method_has_a_row_and_the_controls_are_what_they_must_be():
    evaluation = evaluate(hold_out(tiny_users(8, 8)))
    assert [row.method for row in evaluation.rows] == list(METHODS)
    assert evaluation["random"].accuracy.accuracy == evaluation["longer"].accuracy.accuracy == 0.5
    assert evaluation["personal"].accuracy.accuracy == 1.0
    assert evaluation["shuffled_user"].accuracy.accuracy < 0.6


def test_turning_the_targets_around_changes_no_prediction():
    users = tiny_users(8, 8)
    targets = {pair.hash for pair in hold_out(users).targets}
    turned = [User(u.user_id, tuple(p.reversed() if p.hash in targets else p for p in u)) for u in users]
    before, after = (evaluate(hold_out(one), methods=CHEAP) for one in (users, turned))
    assert np.allclose(before.correct("personal"), 1 - after.correct("personal"))


def test_users_without_targets_are_named():
    users = [
        *tiny_users(6, 6),
        User("lone", tiny_users(1, 1)[0].pairs),
        *[replace(u, user_id="x") for u in tiny_users(1, 2)],
    ]
    assert hold_out(users, min_pairs=1).without_target == ("lone",)
    assert set(hold_out(users).too_few) == {"lone", "x"}


def test_the_halves_hold_every_user_once():
    evaluation = evaluate(hold_out(tiny_users(12, 6)), methods=CHEAP)
    halves = [half_of(evaluation, in_development_half), half_of(evaluation, lambda user: not in_development_half(user))]
    assert sum(half.rows[0].accuracy.n_users for half in halves) == 12
    with pytest.raises(BadInput, match="no user"):
        half_of(evaluation, lambda user: False)


def test_rows_of_the_targets_item_leave_its_population():
    """Everybody but u0 likes short answers, all on one item; without that item nothing of it remains."""
    users = [replace(u, pairs=tuple(replace(p, meta={"item": p.order_index}) for p in u)) for u in tiny_users(6, 8)]
    with_item, without = (evaluate(hold_out(users), methods=["population"], leave_out=name) for name in (None, "item"))
    assert with_item.correct("population").shape == without.correct("population").shape
    with pytest.raises(UnknownName, match="'color'"):
        evaluate(hold_out(users), leave_out="color")


@pytest.mark.parametrize("named", [{}, {"pair_id": "p"}])
def test_an_item_leaves_the_population_whether_or_not_pair_ids_repeat(named):
    """Everybody likes long answers on item x only; the targets are on y, so without y all of them are missed."""
    items = [("x", k) for k in range(3)] + [("y", k) for k in range(3, 8)]
    users = [
        User(name, tuple(tiny_pair(name, k, likes_long=item == "x", meta={"item": item}, **named) for item, k in items))
        for name in ("a", "b", "c", "d", "e", "f")
    ]
    evaluation = evaluate(hold_out(users), methods=["population"], leave_out="item")
    assert evaluation["population"].accuracy.accuracy == 0.0


def test_one_user_is_judged_by_the_shipped_prior_and_a_note_says_so():
    evaluation = evaluate(hold_out(tiny_users(1, 10)))
    assert [row.method for row in evaluation.rows] == [name for name in METHODS if name != "shuffled_user"]
    assert len(evaluation.notes) == 1


def test_drawn_choices_are_whole_and_in_order():
    pairs = tiny_users(1, 10)[0].pairs
    drawn = draw_choices(pairs, 4, np.random.default_rng(0))
    assert (observe(drawn).n_choices, list(observe(drawn).groups)) == (4, [0, 1, 2, 3])
    assert [pair for pair in pairs if pair in drawn] == list(drawn)


def curve(users, numbers):
    return evaluate(hold_out(users), methods=["population"], by_context=numbers).curve


def test_the_curve_leaves_out_numbers_nobody_has():
    points = curve(tiny_users(8, 8), [1, 3, 500]).points
    assert [point.n_choices for point in points] == [1, 3]
    assert points[1].personal.macro >= points[0].population.macro


@needs_data
@pytest.mark.slow
def test_prism_shows_a_personal_gain_that_is_not_anybody_elses():
    """Not the headline figure (docs/measurements/real-people.md), only that it has not quietly been lost."""
    evaluation = evaluate(held("prism_turn0_subset"), methods=CHEAP)
    personal = evaluation["personal"]
    assert (personal.accuracy.n_users, personal.accuracy.n_pairs, personal.accuracy.n_unscored) == (237, 654, 0)
    assert personal.accuracy.accuracy > evaluation["shuffled_user"].accuracy.accuracy
    assert personal.against_reference is not None and personal.against_reference.difference > 0


@needs_data
@pytest.mark.slow
def test_personalization_does_not_hurt_where_taste_is_shared():
    evaluation = evaluate(held("mt_bench_human"), methods=["personal"], leave_out="choice_id")
    personal = evaluation["personal"]
    assert (personal.accuracy.n_users, personal.accuracy.n_pairs) == (64, 815)
    assert personal.against_reference is not None and personal.against_reference.difference > -0.01


@needs_data
@pytest.mark.slow
def test_every_coauthor_target_of_its_53_users_is_scored():
    """The largest data. 20 pairs a user to learn from, since this is about counts: all of them take a minute."""
    held_out = held("coauthor_choices")
    assert (len(set(held_out.user_ids)), len(held_out.targets)) == (53, 12522)
    assert len(held_out.without_target) == 8
    few = {name: replace(user, pairs=user.pairs[:20]) for name, user in held_out.context.items()}
    personal = evaluate(replace(held_out, context=few), methods=["personal"])["personal"].accuracy
    assert (personal.n_users, personal.n_pairs, personal.n_unscored) == (53, 12522, 0)


def test_the_curve_of_one_user_has_no_interval():
    points = curve(tiny_users(1, 10), [1, 2]).points
    assert [(point.n_choices, point.personal.n_users) for point in points] == [(1, 1), (2, 1)]
    assert math.isnan(points[0].personal.low)


def test_the_slope_by_context_is_that_of_the_means_over_pairs():
    found = curve(tiny_users(8, 8), [1, 3, 5])
    means = [point.personal.accuracy for point in found.points]
    assert found.personal.slope == pytest.approx(np.polyfit([1, 3, 5], means, 1)[0])
    assert found.gain.slope == pytest.approx(found.personal.slope - found.population.slope)
    assert found.personal.low <= found.personal.slope <= found.personal.high


def test_one_point_has_no_slope():
    assert curve(tiny_users(8, 8), [2]).slopes == {}


@pytest.mark.parametrize("leave_out", [None, "color"])
def test_the_folder_of_the_run_is_gone_afterwards(tmp_path, monkeypatch, leave_out):
    """Also when the run fails: nobody has a column `color`."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with nullcontext() if leave_out is None else pytest.raises(UnknownName, match="'color'"):
        evaluate(hold_out(tiny_users(4, 8)), methods=CHEAP, leave_out=leave_out)
    assert list(tmp_path.iterdir()) == []
