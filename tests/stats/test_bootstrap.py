import numpy as np
import pytest

from personalrm.errors import BadInput, NoScoredPairs
from personalrm.stats.bootstrap import cluster, clustered_mean, paper_interval


def test_a_cluster_holds_the_sum_and_count_of_one_user() -> None:
    clusters = cluster(np.array([1.0, 0.5, 0.0]), ["b", "a", "b"])
    assert clusters.sums.tolist() == [0.5, 1.0]
    assert clusters.counts.tolist() == [1.0, 2.0]


def test_ids_that_differ_only_in_a_trailing_nul_are_different_users() -> None:
    assert len(cluster(np.array([1.0, 0.0]), ["a", "a\0"]).sums) == 2


def test_the_order_of_rows_does_not_change_the_interval() -> None:
    values, users = np.array([1.0, 0.0, 0.5, 1.0]), ["a", "b", "c", "a"]
    assert clustered_mean(cluster(values, users)) == clustered_mean(cluster(values[::-1], users[::-1]))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    clusters = cluster(np.random.default_rng(1).random(50), [str(n % 20) for n in range(50)])
    assert clustered_mean(clusters, seed=3) == clustered_mean(clusters, seed=3)
    assert clustered_mean(clusters, seed=3) != clustered_mean(clusters, seed=4)


@pytest.mark.slow
def test_with_one_pair_a_user_the_interval_is_scipys_percentile_bootstrap() -> None:
    from scipy import stats

    values = np.random.default_rng(2).random(80)
    ours = clustered_mean(cluster(values, [str(n) for n in range(80)])).micro_interval
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.high == pytest.approx(theirs.high, abs=0.004)


def test_copies_of_a_users_pairs_do_not_narrow_the_interval() -> None:
    values, users = np.random.default_rng(3).random(20), [str(n) for n in range(20)]
    once = clustered_mean(cluster(values, users))
    tenfold = clustered_mean(cluster(np.tile(values, 10), users * 10))
    assert tenfold.micro_interval.low == pytest.approx(once.micro_interval.low)


def test_two_users_are_drawn_as_aa_ab_or_bb() -> None:
    mean = clustered_mean(cluster(np.array([1.0, 0.0, 0.0, 0.0]), ["a", "b", "b", "b"]))
    assert (mean.micro, mean.micro_interval.low, mean.micro_interval.high) == (0.25, 0.0, 1.0)
    assert mean.macro == 0.5


def test_one_user_has_no_interval() -> None:
    mean = clustered_mean(cluster(np.array([1.0, 0.0]), ["a", "a"]))
    assert mean.micro == 0.5
    assert np.isnan([mean.micro_interval.low, mean.macro_interval.high]).all()


def test_chunks_of_users_are_all_filled() -> None:
    mean = clustered_mean(cluster(np.full(3_000, 0.25), [str(n) for n in range(3_000)]), n_resamples=800)
    assert (mean.micro_interval.low, mean.macro_interval.high) == (0.25, 0.25)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    owner = np.repeat(np.arange(60), 8)
    users = [str(user) for user in owner]
    hits = 0
    for _ in range(200):
        correct = (rng.random(480) < rng.beta(3.0, 2.0, size=60)[owner]).astype(float)
        interval = clustered_mean(cluster(correct, users), n_resamples=500, seed=1).micro_interval
        hits += interval.low <= 0.6 <= interval.high
    assert 0.89 <= hits / 200 <= 0.99


@pytest.mark.slow
def test_the_papers_interval_is_scipys_basic_bootstrap_over_judgements() -> None:
    from scipy import stats

    correct = np.array([1.0] * 60 + [0.5] * 10 + [0.0] * 30)
    ours = paper_interval(correct)
    theirs = stats.bootstrap((correct,), np.mean, method="basic", rng=np.random.default_rng(0)).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.006)
    assert ours.high == pytest.approx(theirs.high, abs=0.006)


def test_the_papers_interval_ignores_who_judged() -> None:
    correct, users = np.repeat([1.0, 0.0] * 5, 20), [str(n // 20) for n in range(200)]
    ours = clustered_mean(cluster(correct, users)).micro_interval
    paper = paper_interval(correct)
    assert ours.high - ours.low > 3 * (paper.high - paper.low)


def test_no_values_are_an_error() -> None:
    with pytest.raises(NoScoredPairs):
        cluster(np.array([]), [])
    with pytest.raises(NoScoredPairs):
        paper_interval(np.array([]))


def test_unequal_lengths_and_no_resamples_are_errors() -> None:
    with pytest.raises(BadInput, match="every value needs one user"):
        cluster(np.array([1.0]), ["a", "b"])
    with pytest.raises(BadInput, match="n_resamples must be at least 1, got 0"):
        clustered_mean(cluster(np.array([1.0, 0.0]), ["a", "b"]), n_resamples=0)
