"""The search knows numbers only: candidates, users, values; so it is tested on tables."""

import json

import numpy as np
import pytest

from personalrm.errors import NoScoredPairs, StoreError
from personalrm.induction.search.loop import START, Measurements, believe, search
from personalrm.induction.search.settings import SearchSettings
from personalrm.induction.search.trials_file import Combination, Trial, TrialsFile

SMALL = SearchSettings(n_trials=12, minibatch_size=4, full_eval_steps=3)
BEST = Combination(2, 1)


class World:
    """A table of values that remembers what was measured."""

    def __init__(self, n_users=12, missing=(), grid=(4, 3), better=0.5):
        rng = np.random.default_rng(3)
        self.grid = grid
        self.table = rng.normal(0.0, 0.1, (*grid, n_users)) + rng.normal(0.0, 0.3, n_users)
        self.table[BEST.instruction, BEST.examples] += better
        self.missing = set(missing)
        self.asked = []

    def measure(self, cell, users):
        self.asked += [(cell, user) for user in users]
        row = self.table[cell.instruction, cell.examples]
        return tuple(None if (cell, user) in self.missing else float(row[user]) for user in users)

    def search(self, settings=SMALL, trials=None):
        return search(self.grid, self.table.shape[2], self.measure, settings, trials)


def test_the_best_candidate_is_found_and_nothing_is_measured_twice():
    world = World()
    found = world.search()
    assert (found.best, len(world.asked)) == (BEST, len(set(world.asked)))
    assert found.n_measured == len(world.asked) < world.table.size


def test_the_scores_are_the_means_over_all_users():
    world = World()
    found = world.search()
    assert found.score == pytest.approx(world.table[2, 1].mean())
    assert found.start_score == pytest.approx(world.table[0, 0].mean())


def test_the_start_stays_where_nothing_is_better():
    world = World(better=0.0)
    world.table[:] = 0.25
    assert world.search().best == START


def test_the_same_seed_measures_the_same_and_another_seed_does_not():
    worlds = [World(), World(), World()]
    for world, seed in zip(worlds, (1, 1, 2), strict=True):
        world.search(SearchSettings(n_trials=6, minibatch_size=4, seed=seed))
    assert worlds[0].asked == worlds[1].asked != worlds[2].asked


def test_every_candidate_is_measured_when_there_are_trials_enough_and_then_the_search_ends():
    world = World()
    found = world.search(SearchSettings(n_trials=60, minibatch_size=12))
    assert (found.n_measured, len(found.full)) == (world.table.size, 12)


def test_unscored_users_are_left_out_of_the_mean_and_counted():
    world = World(missing=[(BEST, 0), (BEST, 1)])
    found = world.search()
    assert (found.best, found.n_unscored) == (BEST, 2)
    assert found.score == pytest.approx(world.table[2, 1, 2:].mean())


def test_a_candidate_that_leaves_half_of_the_users_unscored_cannot_win():
    assert World(missing=[(BEST, user) for user in range(6)]).search().best != BEST


def test_a_start_that_scores_nobody_is_an_error_and_not_a_zero():
    with pytest.raises(NoScoredPairs, match="no dev user could be scored"):
        World(missing=[(START, user) for user in range(12)]).search()


def test_one_candidate_and_one_user_are_enough():
    found = search((1, 1), 1, lambda cell, users: (0.5,), SMALL)
    assert (found.best, found.score, found.n_measured) == (START, 0.5, 1)


@pytest.mark.parametrize("n_lines", [1, 3, 7, 100])
def test_a_search_that_takes_up_trials_ends_like_one_that_was_never_stopped(tmp_path, n_lines):
    whole = World()
    path = tmp_path / "trials.jsonl"
    expected = whole.search(trials=TrialsFile(path, "s"))
    written = path.read_text()
    path.write_text("".join(written.splitlines(keepends=True)[:n_lines]) + '{"number": 9, "cell"')
    again = World()
    assert again.search(trials=TrialsFile(path, "s")) == expected
    assert path.read_text().startswith(written[:50]) and len(again.asked) <= len(whole.asked)
    if n_lines >= 3:
        assert len(again.asked) < len(whole.asked)


def test_a_whole_file_of_trials_asks_nothing(tmp_path):
    expected = World().search(trials=TrialsFile(tmp_path / "t", "s"))
    world, trials = World(), TrialsFile(tmp_path / "t", "s")
    assert (world.search(trials=trials), world.asked) == (expected, [])
    assert trials.trials


def test_trials_of_another_search_are_not_used(tmp_path):
    World().search(trials=TrialsFile(tmp_path / "t", "one"))
    world = World()
    world.search(trials=TrialsFile(tmp_path / "t", "other"))
    assert len(world.asked) > 0
    assert json.loads((tmp_path / "t").read_text().splitlines()[0])["search"] == "other"


@pytest.mark.parametrize("text", ["", "\n", "not json", "[]", '{"search": "s"}\n[1]', '{"search": "s"}\n{"number": 0}'])
def test_a_damaged_file_of_trials_is_begun_anew(tmp_path, text):
    (tmp_path / "t").write_text(text)
    world = World()
    assert world.search(trials=TrialsFile(tmp_path / "t", "s")).best == BEST
    assert len((tmp_path / "t").read_text().splitlines()) > 10


def test_a_file_that_cannot_be_read_or_written_is_a_sentence(tmp_path):
    (tmp_path / "t").write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match="cannot be read"):
        TrialsFile(tmp_path / "t", "s")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be"):
        TrialsFile(tmp_path / "file" / "t", "s").add(Trial(0, START, (0,), (0.5,), True))


def test_instructions_are_learned_about_across_example_sets():
    """Instruction 1 was good with sets 0 and 1, so it is expected to be good with set 2, which was never tried."""
    instruction, examples = np.array([0, 0, 0, 1, 1]).repeat(8), np.array([0, 1, 2, 0, 1]).repeat(8)
    value = np.where(instruction == 1, 0.5, 0.0) + np.tile(np.linspace(-0.1, 0.1, 8), 5)
    belief = believe(Measurements(instruction, examples, np.tile(np.arange(8), 5), value), 2, 3, 8)
    assert belief.expected[1, 2] > belief.expected[0, 2] + 0.2


def test_users_who_are_easier_do_not_make_a_candidate_look_better():
    """Candidate 1 was measured on the two easy users only; on those candidate 0 did as well."""
    rows = Measurements(
        np.array([0] * 6 + [1] * 2), np.zeros(8, dtype=int), np.array([0, 1, 2, 3, 4, 5, 0, 1]),
        np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]),
    )  # fmt: skip
    belief = believe(rows, 2, 1, 6)
    assert belief.expected[1, 0] - belief.expected[0, 0] < 0.25


def test_the_belief_is_the_normal_posterior_of_a_closed_form():
    """One cell, one user: prior precision of the sum and the data give the mean by hand."""
    value = np.array([0.2, 0.4])
    belief = believe(Measurements(*np.zeros((3, 2), dtype=int), value), 1, 1, 1)
    noise = np.var(value)
    means = []
    for share in (0.02, 0.08, 0.3):
        effects = 1.0 + noise * (share + share + 0.5 * share)  # m, a, b, c
        total = effects + noise  # and d
        means.append(effects / (total + noise / 2) * value.mean())
    assert min(abs(belief.expected[0, 0] - mean) for mean in means) < 1e-9


def test_a_draw_scatters_around_the_expected_values():
    rows = Measurements(np.arange(4) % 2, np.zeros(4, dtype=int), np.arange(4), np.array([0.0, 1.0, 0.0, 1.0]))
    belief = believe(rows, 2, 1, 4)
    draws = np.array([belief.draw(np.random.default_rng(seed)) for seed in range(2000)])
    assert np.abs(draws.mean(axis=0) - belief.expected).max() < 0.1
    assert draws.std(axis=0).min() > 0.05
