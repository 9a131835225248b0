"""How true the claims of personas are on users with planted tastes, at 12 and at 50 pairs."""

from _table import show
from simulations.planted import plant_users, score_claims

if __name__ == "__main__":
    for n_pairs in (12, 50):
        score = score_claims(plant_users(200, n_pairs))
        show(
            f"persona claims at {n_pairs} pairs",
            {
                "users": score.n_users,
                "claims": score.n_claims,
                "precision": score.precision,
                "low": score.interval.low,
                "high": score.interval.high,
                "recall": score.recall,
            },
        )
