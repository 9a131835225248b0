import pytest

from personalrm.preferences.personas import Claim, Persona
from personalrm.stylometry.claims import with_claims, write_persona
from personalrm.stylometry.feature_words import FEATURES, INDEX
from personalrm.stylometry.observations import observe
from personalrm.stylometry.sentences import LEVELS, Leaning, read_claim, read_leanings
from personalrm.stylometry.shipped import shipped_prior
from personalrm.testing import tiny_users


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("adverb", "size"), LEVELS)
def test_a_written_sentence_reads_back_to_its_feature_side_and_size(feature, sign, adverb, size):
    persona = write_persona([Leaning(feature.name, sign * size)], observe(tiny_users(1)[0].pairs))
    assert adverb in persona.text
    assert read_claim(persona.text) == [Leaning(feature.name, sign * size)]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Please keep it brief, I like short answers.", [("length", -0.25)]),
        ("Loves bullet points and emojis!", [("lists", 0.25), ("emoji", 0.25)]),
        ("Prefers far warmer, more positive wording.", [("warmth", 0.7)]),
        ("Likes far shorter answers and somewhat more lists.", [("length", -0.7), ("lists", 0.1)]),
        ("Does not like shorter answers.", []),
        ("Has two cats and lives near the sea.", []),
        ("", []),
    ],
)
def test_a_sentence_written_by_hand_is_understood_or_left_alone(sentence, expected):
    assert [(leaning.feature, leaning.shift) for leaning in read_claim(sentence)] == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Dislikes longer answers.", [("length", -0.25)]),
        ("Hates longer answers.", [("length", -0.25)]),
        ("Avoids far longer answers.", [("length", -0.7)]),
        ("Rejects shorter answers.", [("length", 0.25)]),
        ("Hates emojis and bullet points.", [("emoji", -0.25), ("lists", -0.25)]),
        ("Hates emojis, loves bullet points.", [("emoji", -0.25), ("lists", 0.25)]),
        ("Dislikes answers with no examples.", [("examples", 0.25)]),
        ("No more lists!", [("lists", -0.25)]),
        ("Prefers answers without more emoji.", [("emoji", -0.25)]),
        ("Prefers answers without any bullet points or headings.", [("lists", -0.25), ("layout", -0.25)]),
        ("Prefers less detailed answers.", [("length", -0.25)]),
        ("Wants anything but longer answers.", [("length", -0.25)]),
        ("Prefers short answers rather than long answers.", [("length", -0.25)]),
        ("Stop using emojis.", [("emoji", -0.25)]),
        ("Likes a few examples but few disclaimers.", [("examples", 0.25), ("refusals", -0.25)]),
        ("No emojis but bullet points.", [("emoji", -0.25), ("lists", 0.25)]),
        ("No fluff, short answers.", [("length", -0.25)]),
        ("No emojis, no lists, shorter answers.", [("emoji", -0.25), ("lists", -0.25), ("length", -0.25)]),
    ],
)
def test_a_word_against_a_phrase_turns_it_around(sentence, expected):
    assert [(leaning.feature, leaning.shift) for leaning in read_claim(sentence)] == expected


@pytest.mark.parametrize(
    "sentence",
    [
        "Hates emojis, short answers please.",
        "Hates answers without examples.",
        "No emojis, bullet points or headings.",
        "Has no interest in longer answers.",
        "Cares less about style and more about concise answers.",
        "Finds longer answers boring.",
        "Longer answers are avoided.",
        "Bullet points are terrible.",
        "Likes short answers to long answers.",
        "Prefers nothing else, never longer answers.",
        "Doesnt want longer answers.",
    ],
)
def test_a_sentence_whose_side_is_in_doubt_is_not_used(sentence):
    assert read_claim(sentence) == []


def test_a_sentence_that_matches_nothing_says_nothing_of_the_features():
    leanings = read_leanings(Persona((Claim("Has two cats."), Claim("Prefers shorter answers."))))
    assert [leaning.feature for leaning in leanings] == ["length"]
    assert read_claim("Has two cats.") == []


def test_a_claim_takes_the_place_of_the_population_mean():
    prior = shipped_prior()
    changed = with_claims(prior, [Leaning("length", -0.25)])
    assert changed.mean[INDEX["length"]] == prior.mean[INDEX["length"]] - 0.25


def test_evidence_is_the_pairs_that_differ_in_the_feature():
    pairs = tiny_users(2)[0].pairs[:3] + tuple(pair.reversed() for pair in tiny_users(2)[0].pairs[3:4])
    (claim,) = write_persona([Leaning("length", 0.8)], observe(pairs)).claims
    assert "3 of 4 pairs" in claim.text
    assert claim.contradicting == ("u0-p3",)
