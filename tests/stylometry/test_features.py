import numpy as np
import pytest

from personalrm.preferences.messages import Message
from personalrm.stylometry.feature_words import FEATURES, INDEX, NAMES
from personalrm.stylometry.features import difference, read

ASKED = (Message("user", "What should we cook on Sunday for the family dinner?"),)
PLAIN = "You can cook a soup on the stove and serve it with bread and some butter on the side."


def more_of(name: str, text: str, conversation=ASKED) -> float:
    return float(difference(conversation, text, PLAIN)[INDEX[name]])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("length", PLAIN + " " + PLAIN),
        ("sentence_length", PLAIN.rstrip(".") + " and then you can also put the salad on the table with the oil and the salt."),
        ("word_length", "Preparing vegetable casserole constitutes an appropriate alternative for considerable gatherings of the family."),
        ("lists", "You can:\n- cook a soup\n- bake the bread\n- serve it on the side"),
        ("layout", "## Sunday\n\nYou can cook a **soup** on the stove and serve it with bread and some butter."),
        ("paragraphs", "You can cook a soup on the stove.\n\nServe it with bread and some butter on the side."),
        ("exclamations", "You can cook a soup on the stove! Serve it with bread and some butter on the side!"),
        ("questions", "You can cook a soup on the stove. Do you like it with bread and some butter on the side?"),
        ("asides", "You can cook a soup (on the stove) and serve it with bread (and some butter) on the side."),
        ("numbers", "You can cook a soup for 40 minutes at 90 degrees and serve it with bread on the side."),
        ("emoji", PLAIN + " 🍲🙂"),
        ("links", PLAIN + " See https://example.org for more."),
        ("echo", "For the family dinner on Sunday you should cook a soup and serve it with bread."),
        ("hedging", "You could perhaps cook a soup on the stove and maybe serve it with bread, it depends."),
        ("refusals", "I'm sorry, but I cannot cook a soup for you. As an assistant I do not have a stove."),
        ("first_person", "I would cook a soup on the stove and I think that I would serve it with my bread."),
        ("second_person", "You can cook your soup on your stove and you serve it with your bread as you like."),
        ("warmth", "You can cook a lovely, warm soup with love and enjoy it together with your dear friends."),
        ("examples", "You can cook a soup, for example with leek, and serve it with bread such as rye."),
        ("names", "You can cook a soup from the book of Julia with bread from Paris and some butter from Normandy."),
        ("balance", "You can cook a soup, however bread is good too; on the other hand both sides have a point."),
        ("formality", "Moreover, individuals require an appropriate and significant soup, therefore it is essential."),
    ],
)  # fmt: skip
def test_a_text_with_more_of_a_property_has_a_higher_feature(name, text):
    assert more_of(name, text) > 0


def test_swapping_a_pair_negates_every_feature():
    longer = "I think you could cook two soups! See https://example.org 🙂"
    assert np.array_equal(difference(ASKED, longer, PLAIN), -difference(ASKED, PLAIN, longer))


def test_a_text_that_breaks_off_is_less_complete():
    assert more_of("complete", PLAIN.rstrip(".") + " and then") < 0


def test_english_features_are_silent_in_spanish():
    spanish = "Quizás podrías hacer una sopa con mucho amor y servirla con pan y con un poco de mantequilla."
    values = difference(ASKED, spanish, "Una sopa.")
    assert all(values[INDEX[feature.name]] == 0 for feature in FEATURES if feature.needs == "english")
    assert values[INDEX["length"]] > 0


def test_word_features_are_silent_in_a_script_without_spaces():
    values = difference((Message("user", "何を作る？"),), "スープを作りましょう！パンも添えて。", "スープ。")
    assert all(values[INDEX[feature.name]] == 0 for feature in FEATURES if feature.needs != "anything")
    assert values[INDEX["length"]] > 0
    assert values[INDEX["exclamations"]] > 0


@pytest.mark.parametrize(
    "text", [" ", "\n", "!!!", "🙂", "a" * 100_000, "\u202e", "| a | b |", "```", "0", "<b>", "é" * 50]
)
def test_any_text_has_finite_features(text):
    assert np.isfinite(read(text).values).all()
    assert len(read(text).values) == len(NAMES)
