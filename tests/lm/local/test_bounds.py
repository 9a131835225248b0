"""Schemas with lengths, so that replies end."""

import json

import pytest

from personalrm.judging.model import PERSONA, REASONED, VERDICT
from personalrm.lm.local.bounds import _most_tokens, bounded

KINDS = [VERDICT, REASONED, PERSONA]


@pytest.mark.parametrize("schema", KINDS)
@pytest.mark.parametrize("max_tokens", [96, 200, 1024, 8192])
def test_the_longest_reply_fits(schema, max_tokens):
    held = bounded(schema, max_tokens)
    assert _most_tokens(held.content) <= max_tokens
    assert held.name == schema.name and held.content["required"] == schema.content["required"]


@pytest.mark.parametrize("schema", KINDS)
def test_more_room_gives_longer_replies_up_to_what_anybody_reads(schema):
    lengths = [_most_tokens(bounded(schema, n).content) for n in (64, 128, 256, 512, 1024, 4096, 8192)]
    assert lengths == sorted(lengths) and lengths[-1] == lengths[-2] < 2048


def test_the_labels_and_what_has_a_length_already_stay_as_they_are():
    held = bounded(VERDICT, 96).content["properties"]
    assert held["choice"] == VERDICT.content["properties"]["choice"]
    assert 0 < held["reasoning"]["maxLength"] <= 300
    shorter = type(VERDICT)("v", {"type": "object", "properties": {"a": {"type": "string", "maxLength": 5}}})
    assert bounded(shorter, 1024).content == shorter.content


def test_the_schema_itself_is_not_changed():
    before = json.dumps(PERSONA.content)
    assert bounded(PERSONA, 200).content["properties"]["claims"]["maxItems"] >= 1
    assert json.dumps(PERSONA.content) == before


def test_too_little_room_takes_the_shortest():
    assert bounded(PERSONA, 1).content["properties"]["claims"]["maxItems"] == 1
