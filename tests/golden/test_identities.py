"""Names, bytes and figures of users' old work are what they were; what differs is told line by line."""

import json

import pytest
from tests.golden.identities import GOLDEN, PARTS_OF, differences, identities_of

pytestmark = pytest.mark.slow
KNOWN = json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("part", PARTS_OF)
def test_an_identity_is_what_it_was(part, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = json.loads(json.dumps(identities_of(part)))
    assert list(differences(KNOWN[part], found, part)) == []


def test_every_known_identity_is_computed():
    assert sorted(KNOWN) == sorted(PARTS_OF)


def test_a_difference_is_told_with_its_place():
    old, new = {"a": [1.0, 2.0], "b": "x"}, {"a": [1.00001, 3.0], "c": 1}
    assert list(differences(old, new, "part")) == [
        "part: a[1]: was 2.0, is 3.0",
        "part: b: was 'x', is None",
        "part: c: was None, is 1",
    ]
