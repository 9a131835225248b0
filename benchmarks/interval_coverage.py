"""How often the user-clustered interval covers the truth: 1,000 simulated tables at 60, 89 and 237 users.

Every user has their own accuracy, drawn from a Beta distribution, and 1 + Poisson(7) pairs, so
users differ in level and in size. Beside it the paper's interval over single judgements.

    python benchmarks/interval_coverage.py
"""

from __future__ import annotations

import numpy as np

from personalrm.stats.bootstrap import cluster, clustered_mean, paper_interval

TRUTH, N_TABLES, N_RESAMPLES = 0.6, 1_000, 2_000


def coverage(n_users: int, *, n_tables: int = N_TABLES, seed: int = 0) -> tuple[float, float, float]:
    """Share of the tables whose interval holds the truth: ours micro, ours macro, the paper's."""
    rng = np.random.default_rng([seed, n_users])
    hits = np.zeros(3)
    for table in range(n_tables):
        level = rng.beta(6.0, 4.0, size=n_users)  # mean 0.6
        owner = np.repeat(np.arange(n_users), 1 + rng.poisson(7.0, size=n_users))
        correct = (rng.random(len(owner)) < level[owner]).astype(float)
        mean = clustered_mean(cluster(correct, [str(user) for user in owner]), n_resamples=N_RESAMPLES, seed=table)
        paper = paper_interval(correct, n_resamples=N_RESAMPLES, seed=table)
        for place, interval in enumerate((mean.micro_interval, mean.macro_interval, paper)):
            hits[place] += interval.low <= TRUTH <= interval.high
    micro, macro, paper_share = (hits / n_tables).tolist()
    return micro, macro, paper_share


if __name__ == "__main__":
    print(f"coverage of 95 % intervals over {N_TABLES:,} simulated tables, {N_RESAMPLES:,} resamples each")
    print("users   clustered, micro   clustered, macro   paper's (single judgements)")
    for n_users in (60, 89, 237):
        micro, macro, paper = coverage(n_users)
        print(f"{n_users:5}   {micro:16.1%}   {macro:16.1%}   {paper:27.1%}")
