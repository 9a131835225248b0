import numpy as np
import pytest

from personalrm.errors import BadInput
from personalrm.stats.derangements import derangements


@pytest.mark.parametrize("n", [2, 3, 10, 237])
def test_nobody_gets_their_own(n: int) -> None:
    rows = derangements(n)
    assert rows.shape == (20, n)
    assert (rows != np.arange(n)).all()
    assert (np.sort(rows, axis=1) == np.arange(n)).all()


def test_every_derangement_of_four_is_about_equally_likely() -> None:
    _, counts = np.unique(derangements(4, 9_000), axis=0, return_counts=True)
    assert len(counts) == 9
    assert counts.min() > 850


def test_the_seed_decides() -> None:
    assert derangements(30, seed=1).tolist() == derangements(30, seed=1).tolist()
    assert derangements(30, seed=1).tolist() != derangements(30, seed=2).tolist()


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_users_cannot_be_shuffled(n: int) -> None:
    with pytest.raises(BadInput, match="needs at least two users"):
        derangements(n)


def test_a_count_of_zero_is_empty_and_below_is_refused() -> None:
    assert derangements(5, 0).shape == (0, 5)
    with pytest.raises(BadInput, match="count must not be negative"):
        derangements(5, -1)
