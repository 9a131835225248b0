"""Posterior modes of 1,000 users at once, beside scikit-learn's LogisticRegression in a loop.

Both sides minimise sum_i log(1 + exp(-w . d_i)) + precision / 2 |w|^2. scikit-learn wants
two classes, so every other row goes to it as (-d, 0) instead of (d, 1): the same term of
the sum, no row twice, C = 1 / precision. Coefficients are compared first; times, padding
included, are medians of five. Needs scikit-learn.

    python benchmarks/map_solver.py [--users 1000] [--rows 10] [--features 25] [--json FILE]
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from _table import median_of_five, parser_of, write_json

from personalrm.stats.bradley_terry import ChoiceProblem, fit_map_many

PRECISION = 10.0
SOLVERS = ("lbfgs", "newton-cholesky")


def make_problems(n_users: int, n_rows: int, n_features: int) -> list[ChoiceProblem]:
    """Users with tastes of their own; every row is an ordinary pair."""
    rng = np.random.default_rng(0)
    tastes = rng.normal(size=(n_users, n_features)) / np.sqrt(PRECISION)
    x = rng.normal(size=(n_users, n_rows, n_features))
    wins = rng.random((n_users, n_rows)) < 1.0 / (1.0 + np.exp(-np.einsum("urd,ud->ur", x, tastes)))
    x *= np.where(wins, 1.0, -1.0)[..., None]
    return [ChoiceProblem(rows, np.arange(n_rows)) for rows in x]


def ours(problems: list[ChoiceProblem]) -> Any:
    """Modes, shape `(users, features)`."""
    dim = problems[0].differences.shape[1]
    return fit_map_many(problems, np.zeros(dim), np.full(dim, PRECISION)).mode


def sklearn_loop(problems: list[ChoiceProblem], solver: str) -> Any:
    """The same modes by one LogisticRegression a user."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(fit_intercept=False, C=1.0 / PRECISION, tol=1e-10, solver=solver, max_iter=1000)
    y = np.arange(len(problems[0].groups)) % 2
    signs = np.where(y == 1, 1.0, -1.0)[:, None]
    return np.array([model.fit(problem.differences * signs, y).coef_[0] for problem in problems])


def measure(n_users: int, n_rows: int, n_features: int) -> dict[str, Any]:
    """Differences, times and ratios of both sides."""
    problems = make_problems(n_users, n_rows, n_features)
    modes = ours(problems)
    gaps = {solver: float(np.abs(modes - sklearn_loop(problems, solver)).max()) for solver in SOLVERS}
    for solver, gap in gaps.items():
        if gap > 1e-6:
            raise SystemExit(f"coefficients differ from scikit-learn's {solver} by {gap:.1e}, so times mean nothing")
    seconds = {"ours": median_of_five(lambda: ours(problems))}
    for solver in SOLVERS:
        seconds[solver] = median_of_five(lambda solver=solver: sklearn_loop(problems, solver))  # type: ignore[misc]
    return {
        "users": n_users,
        "rows": n_rows,
        "features": n_features,
        "machine": f"{platform.machine()}, python {platform.python_version()}, numpy {np.__version__}",
        "largest_difference": gaps,
        "seconds": seconds,
        "ratio": {solver: seconds[solver] / seconds["ours"] for solver in SOLVERS},
        "target_ratio": 20.0,
        "target_met": all(seconds[solver] >= 20.0 * seconds["ours"] for solver in SOLVERS),
    }


def main() -> None:
    """Print a table and JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=10, help="rows a user, at least two")
    parser.add_argument("--features", type=int, default=25)
    options = parser.parse_args()
    result = measure(options.users, options.rows, options.features)
    print(f"{'solver':<32}{'ms a user':>10}{'ratio':>8}{'largest difference':>20}")
    print(f"{'personalrm, all users at once':<32}{1e3 * result['seconds']['ours'] / options.users:>10.4f}")
    for solver in SOLVERS:
        milliseconds = 1e3 * result["seconds"][solver] / options.users
        gap, ratio = result["largest_difference"][solver], result["ratio"][solver]
        print(f"{'scikit-learn loop, ' + solver:<32}{milliseconds:>10.4f}{ratio:>7.1f}x{gap:>20.1e}")
    write_json(result, options.json)


if __name__ == "__main__":
    main()
