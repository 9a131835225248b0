"""Answers needed when the most telling pairs are asked first, against a random order.

Planted users (no data needed); with PERSONALRM_DATA set also real people, whose own context
pairs are the pool and whose targets are only scored. `--picture FILE.svg` draws the curves.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _table import show
from simulations.active import Growth, Pool, grow
from simulations.planted import plant_users

from personalrm.bench.report.pictures import as_svg
from personalrm.bench.runs.evaluation import in_development_half
from personalrm.datasets.targets import hold_out
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.reading.files import ReadOptions, read_pairs
from personalrm.stats.arrays import FloatArray
from personalrm.stylometry.features import difference
from personalrm.stylometry.observations import observe
from personalrm.stylometry.population import estimate_population

N_USERS, POOL, TARGETS, N_ANSWERS = 200, 100, 50, 40
REAL = {"prism_turn0_subset": 3, "coauthor_choices": 50}
MOST_POOL, MOST_TARGETS = 300, 300


def rows(pairs: Sequence[PreferencePair]) -> FloatArray:
    return np.array([difference(pair.conversation, pair.chosen, pair.rejected) for pair in pairs])


def planted_pools() -> list[Pool]:
    users = [one.user for one in plant_users(N_USERS, POOL + TARGETS)]
    shown = {user.user_id: user.pairs[:POOL] for user in users}
    population = estimate_population({user_id: observe(pairs[:20]) for user_id, pairs in shown.items()})
    return [
        Pool(user.user_id, rows(user.pairs[:POOL]), rows(user.pairs[POOL:]), population.prior_for(user.user_id))
        for user in users
    ]


def real_pools(name: str) -> list[Pool]:
    path = os.path.join(os.environ["PERSONALRM_DATA"], f"{name}.jsonl.gz")
    held_out = hold_out(read_pairs(path, ReadOptions(skip_bad=True)).values())
    population = estimate_population({user.user_id: observe(user.pairs) for user in held_out.context.values()})
    targets: dict[str, list[PreferencePair]] = {}
    for pair in held_out.targets:
        targets.setdefault(pair.user_id, []).append(pair)
    rng = np.random.default_rng(0)

    def some(pairs: Sequence[PreferencePair], most: int) -> list[PreferencePair]:
        return [pairs[place] for place in np.sort(rng.permutation(len(pairs))[:most])]

    return [
        Pool(
            user.user_id,
            rows(some(user.pairs, MOST_POOL)),
            rows(some(targets[user.user_id], MOST_TARGETS)),
            population.prior_for(user.user_id),
        )
        for user in held_out.context.values()
    ]


def report(title: str, growth: Growth) -> None:
    figures: dict[str, object] = {"users": len(growth.active)}
    last = int(growth.n_answers[-1])
    for step in sorted({1, 2, 3, 5, 10, 20, last} & set(growth.n_answers.tolist())):
        gap, interval = growth.difference(step)
        needed, between = growth.answers_needed(step)
        active, random = 100 * growth.active[:, step].mean(), 100 * growth.random[:, step].mean()
        figures[f"{step} answers: active, random"] = f"{active:.1f} {random:.1f}"
        figures[f"  difference after {step}"] = (
            f"{100 * gap:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
        )
        figures[f"  needed for random's accuracy after {step}"] = (
            f"{needed:.1f} [{between.low:.1f}, {between.high:.1f}]"
        )
    show(title, figures)


def picture(curves: dict[str, Growth]) -> str:
    values = [
        {"data": title, "order": order, "answers": int(k), "accuracy": round(100 * float(value), 3)}
        for title, growth in curves.items()
        for order, matrix in (("most telling first", growth.active), ("random order", growth.random))
        for k, value in zip(growth.n_answers, matrix.mean(axis=0), strict=True)
    ]
    return as_svg(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "data": {"values": values},
            "facet": {"field": "data", "type": "nominal", "title": None},
            "spec": {
                "width": 220,
                "height": 180,
                "mark": {"type": "line"},
                "encoding": {
                    "x": {"field": "answers", "type": "quantitative"},
                    "y": {
                        "field": "accuracy",
                        "type": "quantitative",
                        "scale": {"zero": False},
                        "title": "accuracy %, mean over users",
                    },
                    "color": {"field": "order", "type": "nominal", "title": None, "legend": {"orient": "bottom"}},
                    "strokeDash": {"field": "order", "type": "nominal", "title": None},
                },
            },
            "resolve": {"scale": {"x": "independent", "y": "independent"}},
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    curves = {"planted": grow(planted_pools(), N_ANSWERS)}
    report("planted users", curves["planted"])
    for name, n_answers in REAL.items() if "PERSONALRM_DATA" in os.environ else ():
        pools = real_pools(name)
        half = grow([pool for pool in pools if in_development_half(pool.user_id)], n_answers)
        report(f"{name}, development half", half)
        curves[name] = grow(pools, n_answers)
        report(f"{name}, all users", curves[name])
    if options.picture:
        options.picture.write_text(picture(curves), encoding="utf-8")


if __name__ == "__main__":
    main()
