import numpy as np
import pytest

from personalrm.errors import BadInput, NoScoredPairs
from personalrm.stats.runs import run_mean, stars, student_t_bound


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 30, 301])
@pytest.mark.slow
def test_the_bound_is_students_t(freedom: int) -> None:
    from scipy import stats

    assert student_t_bound(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)
    assert student_t_bound(freedom, coverage=0.5) == pytest.approx(stats.t.ppf(0.75, freedom), rel=1e-9)


def test_one_degree_of_freedom_is_the_cauchy_distribution() -> None:
    assert student_t_bound(1, coverage=0.5) == pytest.approx(1.0)


def test_five_runs_by_hand() -> None:
    # s = 0.01 sqrt(2.5), over sqrt(5) 0.0070711; t(0.975, 4) = 2.776445.
    result = run_mean([0.58, 0.59, 0.60, 0.61, 0.62])
    assert (result.mean, result.n_runs) == (pytest.approx(0.60), 5)
    assert result.half_width == pytest.approx(0.0070711 * 2.776445, rel=1e-5)


def test_one_run_has_no_interval() -> None:
    assert np.isnan(run_mean([0.6]).half_width)


def test_stars_by_their_bounds() -> None:
    assert [stars(p) for p in (0.05, 0.049, 0.0099, 0.0009)] == ["", "*", "**", "***"]


def test_no_runs_and_no_freedom_are_errors() -> None:
    with pytest.raises(NoScoredPairs, match="no runs"):
        run_mean([])
    with pytest.raises(BadInput, match="at least 1"):
        student_t_bound(0)
