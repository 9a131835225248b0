import pytest

from personalrm.wording import count, install_hint, kind_of


@pytest.mark.parametrize(
    ("n", "noun", "told"),
    [(0, "user", "0 users"), (1, "user", "1 user"), (2, "query", "2 queries"), (2, "survey", "2 surveys"),
     (1_000, "pair", "1,000 pairs"), (1, "query", "1 query")],
)  # fmt: skip
def test_a_count_has_its_noun_in_the_right_number(n, noun, told):
    assert count(n, noun) == told


def test_a_value_is_told_in_words_with_its_article():
    told = [kind_of(value) for value in (True, 1, 1.5, "a", [], {}, None, b"")]
    assert told == ["true or false", "a whole number", "a number", "a text", "a list", "keys and values", "empty",
                    "something of type bytes"]  # fmt: skip


def test_an_extra_can_be_installed_in_a_clone_too():
    assert install_hint("plots") == "pip install 'personalrm[plots]', in a clone pip install -e '.[plots]'"
