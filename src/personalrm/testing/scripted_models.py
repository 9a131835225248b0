"""Three scripted models of different ability behind fake servers, for runs of the benchmark without a model.

They are no language models: each follows a rule with so much skill, and everything that
shows their numbers must say so (`scripted: true` in a run file).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import Rule, skilled

THREE_MODELS: Mapping[str, Rule] = {
    "scripted-small": skilled(0.6, writing=0.6),
    "scripted-medium": skilled(0.75, writing=0.8),
    "scripted-large": skilled(0.9),
}
"""By label; skill is the share of verdicts, writing the share of personas, that follow the rule."""


@contextmanager
def served(rules: Mapping[str, Rule]) -> Iterator[dict[str, str]]:
    """A fake server for each rule; gives the base URLs by label."""
    with ExitStack() as servers:
        yield {label: servers.enter_context(FakeServer(rule)).url for label, rule in rules.items()}
