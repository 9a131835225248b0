"""Changes of taste found: where there is none (false alarms), where there is one, and among real people.

`changing_taste.py` simulates; with PERSONALRM_DATA set it also looks at the real people, as
they are and with their conversations in random orders.
"""

import os
import sys

from _table import show
from simulations.changing import NEAR, ShareFound, count_found, find_in, priors_of, shuffled
from simulations.planted import plant_single_tastes, plant_users

from personalrm.preferences.people import example_users
from personalrm.preferences.reading.files import ReadOptions, read_pairs
from personalrm.stylometry.drift import LEAST_SIDE

FILES = ("prism_turn0_subset", "mt_bench_human", "coauthor_choices")
N_USERS, N_SHUFFLES = 200, 20


def figures(found: ShareFound) -> dict[str, object]:
    """A share with its interval."""
    share = 100 * found.n_found / found.n_timelines
    low, high = 100 * found.interval.low, 100 * found.interval.high
    return {
        "timelines": found.n_timelines,
        "found": found.n_found,
        "found %": f"{share:.1f} [{low:.1f}, {high:.1f}]",
        f"found within {NEAR}": found.n_near,
    }


def simulated() -> None:
    for n_pairs in (8, 14, 30, 60):
        many = [one.user for one in plant_users(N_USERS, n_pairs)]
        show(f"constant users of many tastes, {n_pairs} pairs", figures(count_found(many, priors_of(many))))
        constant = [one.user for one in plant_single_tastes(N_USERS, n_pairs)]
        changing = [one.user for one in plant_single_tastes(N_USERS, n_pairs, turns=True)]
        priors = priors_of(constant)
        show(f"constant users of one taste, {n_pairs} pairs", figures(count_found(constant, priors)))
        show(
            f"users of one taste that turns, {n_pairs} pairs", figures(count_found(changing, priors, turn=n_pairs // 2))
        )


def examples() -> None:
    users = example_users()
    turns = dict(zip([user.user_id for user in users], find_in(users, priors_of(users)), strict=True))
    named = {name: f"pair {line.first_pair(turn.first)[0]}" for name, (line, turn) in turns.items() if turn}
    show("example people", {"users": len(users), **named})


def real(name: str) -> None:
    path = os.path.join(os.environ["PERSONALRM_DATA"], f"{name}.jsonl.gz")
    users = list(read_pairs(path, ReadOptions(skip_bad=True)).values())
    priors = priors_of(users)
    able = [user for user in users if len({pair.conversation_key for pair in user.pairs}) >= 2 * LEAST_SIDE]
    show(name, {"users": len(users), **figures(count_found(able, priors))})
    show(f"{name}, conversations in random orders", figures(count_found(list(shuffled(able, N_SHUFFLES)), priors)))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for file in sys.argv[1:]:
            real(file)
    else:
        simulated()
        examples()
        for file in FILES if "PERSONALRM_DATA" in os.environ else ():
            real(file)
