"""Judges whose faults are known: the numbers of a run tell exactly these faults."""

import numpy as np
import pytest
from tests.fakes.known_judges import biased, deaf, mumbling, share_of_order

from personalrm.bench.plan.cells import Cell
from personalrm.bench.plan.spec import DatasetSpec, ModelSpec, RunSpec, ShuffledSpec
from personalrm.bench.results.arrays import measured_of
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.runs.data import load_dataset
from personalrm.bench.runs.models import Models
from personalrm.bench.runs.runner import Runner
from personalrm.lm.settings import Retry
from personalrm.preferences.people import example_users
from personalrm.stats.accuracy import correctness
from personalrm.testing import tiny_users, write_pairs
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import always_first, by_hash, failing, share_of_pair, skilled

pytestmark = pytest.mark.slow
BOTH = "persona_and_demonstrations"


@pytest.fixture
def run(tmp_path):
    """Runs methods with a scripted judge; gives the outcome of a cell and its rows."""

    def run_rule(rule, people, methods):
        path = write_pairs(tmp_path / "people.jsonl", [pair for user in people for pair in user])
        with FakeServer(rule, logprobs=False) as server:
            spec = RunSpec(
                "known",
                (DatasetSpec("people", path.name, min_pairs=3),),
                methods,
                (ModelSpec("judge", "judge", server.url, scripted=True),),
                trials=2,
                shuffled_users=ShuffledSpec(models=5),
            )
            folder = RunFolder(tmp_path / "run")
            datasets = {"people": load_dataset(spec.datasets[0], tmp_path)}
            models = Models(spec.models, tmp_path / "cache.sqlite", retry=Retry(base_s=0.001))
            reports = list(Runner(spec, datasets, folder, models, {}).run())
        assert all(report.is_done for report in reports)

        def cell(method, control=None):
            judged = Cell("people", method, "judge", control=control)
            rows = list(folder.rows(judged))
            return measured_of(judged, {0: rows}), rows

        return cell, datasets["people"].held_out.targets

    return run_rule


def test_a_position_bias_is_what_the_two_orders_disagree_on(run):
    cell, targets = run(biased(skilled(1.0), 0.4), example_users(), ("default",))
    is_biased = np.array([share_of_pair(pair.chosen, pair.rejected) < 0.4 for pair in targets])
    outcome, _ = cell("default")
    assert is_biased.any()
    assert outcome.orders.position_consistency == pytest.approx(1 - is_biased.mean())
    assert outcome.orders.first_share == pytest.approx(0.5 + is_biased.mean() / 2)
    assert int((outcome.margins == 0).sum()) == is_biased.sum()


def test_a_judge_that_ignores_the_persona_shows_no_gap_to_the_shuffled_users(run):
    cell, _ = run(deaf(), tiny_users(6, 8), ("default", BOTH))
    own, default, shuffled = cell(BOTH)[0], cell("default")[0], cell(BOTH, "shuffled_user")[0]
    assert own.margins.tolist() == default.margins.tolist()
    assert shuffled.margins.tolist() == np.repeat(own.margins, 5).tolist()


def test_a_judge_that_listens_shows_the_gap(run):
    cell, _ = run(skilled(1.0), tiny_users(6, 8), (BOTH,))
    own, shuffled = cell(BOTH)[0], cell(BOTH, "shuffled_user")[0]
    assert correctness(own.margins).mean() == 1.0
    assert correctness(shuffled.margins).mean() < 0.7


def test_replies_that_cannot_be_read_are_counted_pair_by_pair(run):
    cell, targets = run(mumbling(skilled(1.0), 1 / 3), example_users(), ("default",))
    fails = np.array(
        [[share_of_order(a, b) < 1 / 3 for a, b in ((p.chosen, p.rejected), (p.rejected, p.chosen))] for p in targets]
    )
    outcome, rows = cell("default")
    assert 0.2 < fails.mean() < 0.5
    assert outcome.n_unscored == int(fails.all(axis=1).sum()) > 0
    assert outcome.orders.n_half_scored == int((fails.sum(axis=1) == 1).sum()) > 0
    assert sum(bool(row.unscored) for row in rows) == int(fails.any(axis=1).sum())


def test_a_judge_of_positions_names_the_first_of_equals(run):
    cell, targets = run(always_first, example_users(), ("default",))
    outcome, rows = cell("default", "identical")
    assert outcome.orders.first_share == 1.0
    assert len(rows) == min(20, len(targets))
    assert {row.pair for row in rows} <= {pair.hash for pair in targets}


def test_a_judge_that_throws_a_coin_names_the_first_of_about_half_of_equals(run):
    outcome, _ = run(by_hash, example_users(), ("default",))[0]("default", "identical")
    assert 0.25 < outcome.orders.first_share < 0.75
    assert (outcome.margins == 0).all()


def test_equals_tell_on_which_pairs_a_judge_is_biased(run):
    cell, targets = run(biased(by_hash, 0.4), example_users(), ("default",))
    _, rows = cell("default", "identical")
    text = {pair.hash: pair.chosen for pair in targets}
    is_biased = [share_of_pair(text[row.pair], text[row.pair]) < 0.4 for row in rows]
    assert any(is_biased)
    assert all(row.chosen_first == 1.0 for row, biased in zip(rows, is_biased, strict=True) if biased)


def test_equals_are_asked_with_the_users_own_prompt(run):
    cell, _ = run(skilled(1.0), tiny_users(6, 8), (BOTH,))
    rows = cell(BOTH, "identical")[1]
    assert {row.reasoning for row in rows} == {"this person likes shorter answers", "this person likes longer answers"}


def test_equals_that_cannot_be_judged_are_unscored(run):
    cell, _ = run(failing, tiny_users(6, 8), ("default",))
    assert cell("default", "identical")[0].n_unscored == 12
