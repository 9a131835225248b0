"""The search for the persona prompt beside random and exhaustive search, on a model with a planted best prompt."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import prompt_search

    return prompt_search


def searches(study, seeds):
    """Ours, and random search with at least as many calls."""
    found = [study.ours(seed, study.TRIALS[0.5], 0.0) for seed in seeds]
    others = [study.at_random(seed, one.n_calls, 0.0) for seed, one in zip(seeds, found, strict=True)]
    return found, others


@pytest.mark.slow
def test_the_planted_prompt_is_found_at_half_the_calls_of_exhaustive_search(study):
    exhaustive = study.at_random(0, None, 0.0)
    found, others = searches(study, range(8))
    assert exhaustive.found
    assert max(one.n_calls for one in found) <= exhaustive.n_calls / 2
    assert sum(one.found for one in found) >= 7 > sum(one.found for one in others)


@pytest.mark.endure
def test_it_is_found_in_at_least_45_of_50_seeds_and_more_often_than_at_random(study):
    found, others = searches(study, range(50))
    assert sum(one.found for one in found) >= 45
    assert sum(one.found for one in others) <= 30
    assert max(one.n_calls for one in found) <= study.at_random(0, None, 0.0).n_calls / 2
