import asyncio
import json
from dataclasses import replace

import pytest
from tests.fakes.people import saved, versions

from personalrm import Home, Message, Persona, PersonalPrompt, example_path, example_users
from personalrm.cli import main
from personalrm.errors import BadInput, BadRow, UnknownName, UnknownUser
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.personas import Claim
from personalrm.testing import tiny_pair, tiny_users
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import skilled

ASKED = (Message("user", "How do I cook rice?"),)
SHORT, LONG = "Boil it.", "First rinse the rice in cold water until it is clear, then boil it for twelve minutes."


@pytest.fixture
def home(tmp_path):
    with Home(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def mara(home):
    home.add(example_users()[0])
    person = home.person("mara")
    person.fit()
    return person


def test_a_person_is_added_fitted_judged_and_ranked(mara):
    assert mara.judge(ASKED, SHORT, LONG).choice == "first"
    assert mara.rank(ASKED, [LONG, SHORT]).best == 1
    assert (len(mara.pairs), len(mara.versions), len(mara.prompt.roles)) == (13, 1, 13)


def test_a_fit_of_what_is_stored_is_the_fit_of_the_file(home, tmp_path):
    """One path: what `personalrm fit` saves and what Python saves are the same."""
    assert main(["fit", str(example_path()), "--home", str(tmp_path / "file")]) == 0
    for user in example_users():
        home.add(user)
    report = home.fit()
    assert (report.n_fitted, versions(home.path)) == (13, versions(tmp_path / "file"))
    assert home.fit().n_unchanged == 13


def test_one_person_of_many_is_fitted_beside_all_the_others(home):
    for user in example_users():
        home.add(user)
    home.person("henrik").fit()
    alone = home.person("henrik").prompt
    home.fit()
    assert alone == home.person("henrik").prompt


def test_many_are_judged_at_once(home):
    for user in example_users()[:2]:
        home.add(user)
    home.fit()
    names = [user.user_id for user in example_users()[:2]]
    verdicts = home.judge([(name, ASKED, SHORT, LONG) for name in names])
    assert verdicts == [home.person(name).judge(ASKED, SHORT, LONG) for name in names]
    rankings = home.rank([(name, ASKED, (SHORT, LONG)) for name in names])
    assert rankings == [home.person(name).rank(ASKED, [SHORT, LONG]) for name in names]


def test_a_model_is_awaited(tmp_path):
    async def ask(home):
        person = home.person("u0")
        await person.fit_async()
        return await asyncio.gather(*(person.judge_async(ASKED, SHORT, LONG) for _ in range(3)))

    with FakeServer(skilled()) as server, Home(tmp_path, lm="fake", base_url=server.url) as home:
        home.add(tiny_users(1, 5)[0])
        verdicts = asyncio.run(ask(home))
    assert (len(set(verdicts)), verdicts[0].is_scored) == (1, True)


def test_choices_of_somebody_else_are_refused(home):
    with pytest.raises(BadInput, match="user 'u1' was given to user 'u2'"):
        home.person("u2").add([tiny_pair("u1", 1)])


def test_a_reason_is_kept_with_its_choice(home):
    pair = tiny_pair("u1", 1)
    home.person("u1").add([pair], reasons={pair.id: "it is shorter"})
    assert home.person("u1").pairs[0].reason == "it is shorter"


def test_nothing_stored_is_an_unknown_user(home):
    person = home.person("u9")
    for asked in (person.fit, person.export, person.delete, lambda: person.judge(ASKED, SHORT, LONG)):
        with pytest.raises(UnknownUser, match="'u9'"):
            asked()


def test_an_edit_is_a_version_and_is_exported_as_an_edit(mara):
    text = "Prefers far longer answers than most people."
    assert (mara.edit([text]), mara.edit([text]), mara.restore(1)) == (2, 2, 3)
    edits = [line["edit"] for line in mara.export() if "edit" in line]
    assert [(edit["number"], edit["kind"]) for edit in edits] == [(2, "added"), (2, "removed")]


def test_a_hidden_word_is_in_no_version_and_not_written_again(mara):
    assert mara.hide(word="Shorter  answers") == 1
    assert mara.persona.claims == ()
    mara.fit()
    assert mara.persona.claims == ()
    with pytest.raises(BadInput, match="hidden"):
        mara.edit(["Likes SHORTER answers a lot."])


def test_a_hidden_word_is_a_whole_word(mara):
    assert mara.hide(word="ort") == 0


def test_a_hidden_choice_is_learned_from_and_never_shown(mara):
    shown = mara.prompt.demonstrations[0].shown.pair
    weights = mara.prompt.weights
    assert mara.hide(pair=shown.id) == 1
    mara.fit()
    assert shown not in [demonstration.shown.pair for demonstration in mara.prompt.demonstrations]
    assert mara.prompt.weights == weights
    assert shown.chosen not in mara.prompt.__class__.__name__ + json.dumps(
        [line for line in mara.export() if "prompt" in line]
    )


def test_a_sentence_that_quotes_a_hidden_choice_goes(home):
    words = "my landlord in Aarhus raised the rent by nine percent"
    pair = replace(tiny_pair("u1", 1), chosen=f"So {words}, is that legal?")
    claims = (Claim(f"Once said {words.upper()}."), Claim("Likes short answers."))
    home.add([pair])
    home.store.save(PersonalPrompt("u1", Persona(claims), notes=(f"note: {words}",)))
    home.person("u1").hide(pair=pair.hash)
    assert (home.person("u1").persona.text, home.person("u1").prompt.notes) == ("Likes short answers.", ())


def test_a_word_that_steers_the_terminal_is_not_hidden(mara):
    with pytest.raises(BadInput, match="control characters"):
        mara.hide(word="a\x1b[31m")


def test_one_thing_is_hidden_at_a_time(mara):
    for given in ({}, {"pair": "x", "word": "y"}):
        with pytest.raises(BadInput, match="one of the two"):
            mara.hide(**given)


def test_a_forgotten_choice_is_in_no_version_and_in_no_byte(mara, home):
    mara.edit(["Prefers far longer answers than most people."])
    gone = mara.prompt.demonstrations[0].shown.pair
    forgotten = mara.forget(gone.id)
    assert (forgotten.n_pairs, forgotten.version, len(mara.pairs)) == (1, 3, 12)
    for version in mara.versions:
        prompt = mara.version(version.number)
        assert gone.hash not in prompt.roles
        assert all(gone.id not in claim.supporting + claim.contradicting for claim in prompt.persona.claims)
    home.close()
    content = b"".join(path.read_bytes() for path in home.path.rglob("*") if path.is_file())
    assert gone.chosen.encode() not in content


def test_a_file_does_not_bring_a_forgotten_choice_back(mara, home, capsys):
    gone = mara.pairs[0].pair
    mara.forget(gone.id)
    assert main(["fit", str(example_path()), "--home", str(home.path)]) == 0
    assert "1 choice left out, forgotten for good" in capsys.readouterr().out
    assert gone.hash not in mara.prompt.roles
    assert mara.add([gone]) == 0


def test_nothing_is_forgotten_by_a_wrong_name(mara):
    before = mara.export()
    with pytest.raises(UnknownName, match="no choice 'm0'"):
        mara.forget("m0")
    assert mara.export() == before


def test_with_the_last_choice_everything_learned_is_forgotten_and_no_import_brings_it_back(home):
    (user,) = tiny_users(1, 3)
    home.add(user)
    person = home.person(user.user_id)
    person.fit()
    person.edit(["Told us that he plays the nyckelharpa."])
    exported = person.export()
    *_, last = user.pairs
    assert [person.forget(pair.hash).n_versions for pair in user.pairs[:-1]] == [0, 0]
    n_versions = len(person.versions)
    assert (person.forget(last.hash).n_versions, n_versions >= 2) == (n_versions, True)
    assert list(home.export()) == []
    home.import_lines(exported)
    assert list(home.export()) == []


def test_what_a_model_learned_from_a_forgotten_choice_is_told_to_stay(tmp_path):
    (user,) = tiny_users(1)
    with FakeServer(skilled()) as server, Home(tmp_path / "home", lm="m", base_url=server.url) as home:
        home.add(user)
        person = home.person(user.user_id)
        person.fit()
        forgotten = person.forget(user.pairs[0].hash)
        assert (forgotten.made_by, forgotten.version, forgotten.n_versions) == (person.prompt.judge, None, 0)


def test_an_export_is_imported_whole_and_says_the_same_again(mara, home, tmp_path):
    mara.edit(["Prefers far longer answers than most people."])
    mara.hide(word="elephant")
    mara.hide(pair=mara.pairs[2].pair.id)
    with Home(tmp_path / "other") as other:
        imported = other.import_lines(home.export(with_dates=True))
        assert (imported.n_people, imported.n_new, imported.n_left_behind) == (1, imported.n_lines, 0)
        assert list(other.export(with_dates=True)) == list(home.export(with_dates=True))
        assert other.import_lines(home.export()).n_new == 0


def test_an_import_does_not_bring_back_what_was_forgotten(mara, home):
    before = mara.export()
    gone = mara.prompt.demonstrations[0].shown.pair
    mara.forget(gone.id)
    home.import_lines(before)
    assert gone.hash not in {stored.pair.hash for stored in mara.pairs}
    assert all(gone.hash not in mara.version(version.number).roles for version in mara.versions)


WRONG = [
    ([], "holds nothing that an export writes"),
    ({"user_id": "u"}, "holds nothing"),
    ({"user_id": "u", "pair": {}, "prompt": {}}, "holds pair and prompt"),
    ({"user_id": " ", "hidden_word": "x"}, "user_id of the lines line 2 is blank"),
    ({"user_id": 7, "hidden_word": "x"}, "user_id"),
    ({"user_id": "u", "hidden_wort": "x"}, "holds nothing"),
    ({"user_id": "u", "hidden_word": "x", "extra": 1}, "extra"),
    ({"user_id": "\ud800", "hidden_word": "x"}, "half a character"),
    ({"user_id": "u\0", "hidden_word": "x"}, "control characters"),
    ({"user_id": "u", "version": 0, "prompt": {}}, "version 0"),
    ({"user_id": "u", "version": 10**400, "prompt": {}}, "version"),
    ({"user_id": "u", "version": 1, "prompt": {}}, "format_version"),
    ({"user_id": "u", "pair": {"user_id": "u", "conversation": [], "chosen": "a", "rejected": "b"}}, "conversation"),
    ({"user_id": "u", "edit": {"number": 1, "kind": "changed", "sentence": "x"}}, "changed"),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=range(len(WRONG)))
def test_a_line_that_cannot_be_read_stops_an_import_before_anything_is_stored(home, line, message):
    good = {"user_id": "u", "hidden_word": "tea"}
    with pytest.raises(BadRow, match="nothing was imported") as refused:
        home.import_lines([good, line])
    assert message in str(refused.value)
    assert saved(home.path) == {}


def test_a_date_and_an_owner_of_another_line_are_refused(home):
    pair = next(iter(tiny_users(1)[0]))
    line = {"user_id": "other", "pair": {"user_id": pair.user_id, "conversation": [{"role": "user", "content": "?"}],
                                         "chosen": "a", "rejected": "b"}}  # fmt: skip
    with pytest.raises(BadRow, match="under user 'other'"):
        home.import_lines([line])
    with pytest.raises(BadRow, match="'yesterday'"):
        home.import_lines([line | {"date": "yesterday"}])


def test_a_version_whose_number_is_taken_gets_the_next(home):
    for text in ("Likes tea.", "Likes coffee."):
        home.store.save(PersonalPrompt("u", Persona((Claim(text),))))
    lines = list(home.export("u"))
    home.import_lines([lines[1] | {"version": 1}])
    assert [home.person("u").version(n).persona.text for n in (1, 2, 3)] == [
        "Likes tea.", "Likes coffee.", "Likes coffee.",
    ]  # fmt: skip


def test_a_demonstration_with_a_hidden_word_in_its_reasoning_goes(home):
    shown = Demonstration(OrderedPair(tiny_pair("u", 1), True), "since the clinic is near")
    home.store.save(PersonalPrompt("u", Persona(), demonstrations=(shown,)))
    assert home.person("u").hide(word="clinic") == 1
    assert home.person("u").prompt.demonstrations == ()
