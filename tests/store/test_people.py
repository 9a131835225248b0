import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.people import damage, saved

from personalrm.errors import BadInput, CorruptFile, NewerVersion, StoreError, UnknownName, UnknownUser
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.users import User
from personalrm.store.people import PeopleStore
from personalrm.store.reading import PeopleReader
from personalrm.store.records import Forgot, Learned, StoredPair
from personalrm.store.tables import METADATA, REVISIONS
from personalrm.testing import tiny_pair


def prompt(user_id="u1", text="Likes tea."):
    return PersonalPrompt(user_id, Persona((Claim(text),)))


@pytest.fixture
def people(tmp_path):
    store = PeopleStore(tmp_path / "home")
    yield store
    store.close()


def test_a_saved_prompt_is_loaded_again(people):
    assert people.save(prompt()) == 1
    assert people.load("u1") == prompt()


def test_the_same_prompt_makes_no_new_version(people):
    assert [people.save(prompt()), people.save(prompt()), people.save(prompt(text="Likes coffee."))] == [1, 1, 2]
    assert [version.number for version in people.versions("u1")] == [1, 2]
    assert people.load("u1", 1) == prompt()


def test_an_earlier_version_becomes_the_newest_and_nothing_is_lost(people):
    people.save(prompt())
    people.save(prompt(text="Likes coffee."))
    assert (people.restore("u1", 1), people.load("u1"), people.load("u1", 2)) == (
        3, prompt(), prompt(text="Likes coffee."),
    )  # fmt: skip


def test_an_unknown_user_or_version_is_named(people):
    with pytest.raises(UnknownUser, match="'u9'"):
        people.load("u9")
    people.save(prompt())
    with pytest.raises(UnknownUser, match="no version 7"):
        people.load("u1", 7)


@pytest.mark.parametrize("user_id", ["../../etc/passwd", "/root", "a\\b", "🦊" * 3000, ".", "u'; DROP TABLE people"])
def test_no_user_id_is_a_path_or_a_statement(people, user_id):
    people.save(prompt(user_id))
    assert people.load(user_id).user_id == user_id
    assert [path.name for path in people.home.iterdir()] == ["people.db"]


def test_ids_that_differ_in_case_or_unicode_form_are_different_users(people):
    ids = ["Ann", "ann", "Åse", "A\u030ase"]
    for user_id in ids:
        people.save(prompt(user_id))
    assert people.user_ids() == sorted(ids)


@settings(max_examples=40, deadline=None)
@given(text=st.text(min_size=1).filter(str.strip), reason=st.text())
def test_any_text_of_a_choice_comes_back(tmp_path_factory, text, reason):
    """Lone surrogates and NUL among them, which databases do not take as they are."""
    store = PeopleStore(tmp_path_factory.mktemp("any"))
    pair = replace(tiny_pair("u1", 1), chosen=text, rejected=text + "!")
    store.add_pairs("u1", [StoredPair(pair, reason)])
    (kept,) = store.pairs("u1")
    store.close()
    readable = reason.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    assert (kept.pair, kept.reason) == (pair, readable)


@pytest.mark.parametrize("user_id", ["\ud800", "a\0b"])
def test_an_id_that_no_database_takes_is_refused_when_it_is_written_and_unknown_when_it_is_read(people, user_id):
    for similar in ("?", "a\ufffdb"):
        people.save(prompt(similar))
    people.delete(user_id)
    assert people.user_ids() == ["?", "a\ufffdb"]
    with pytest.raises(BadInput, match="no database takes"):
        people.add_pairs(user_id, [StoredPair(tiny_pair("u1", 1))])
    with pytest.raises(UnknownUser):
        people.versions(user_id)


def test_only_the_owner_may_read_the_database_whatever_the_mask(people):
    people.save(prompt())
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (people.home, people.home / "people.db")]
    assert modes == [0o700, 0o600]


def test_reading_a_home_that_is_not_there_makes_nothing(people):
    assert (people.user_ids(), list(people.listed()), people.count("u1"), people.pairs("u1")) == ([], [], (0, 0), ())
    assert not people.home.exists()


def test_a_damaged_version_names_one_to_go_back_to(people):
    people.save(prompt())
    people.save(prompt(text="Likes coffee."))
    damage(people.home, "u1", 2)
    with pytest.raises(CorruptFile, match=r"version 2 of user 'u1' is damaged.*go back to it with restore"):
        people.load("u1")


def test_a_damaged_version_is_passed_over_and_its_number_not_given_again(people):
    people.save(prompt())
    people.save(prompt(text="Likes coffee."))
    damage(people.home, "u1", 2)
    newest, sentence = people.newest_readable("u1")
    assert (newest, "passed over: v2" in sentence) == (prompt(), True)
    assert people.save(prompt(text="Likes milk.")) == 3


def test_a_prompt_of_another_user_is_damage_and_a_newer_one_is_not(people):
    people.save(prompt())
    damage(people.home, "u1", 1, '{"format_version": 9}')
    with pytest.raises(NewerVersion):
        people.newest_readable("u1")
    people.save(prompt("u2"))
    with sqlite3.connect(people.home / "people.db") as database:
        database.execute("UPDATE prompts SET content = (SELECT content FROM prompts WHERE person_id = 2)")
    with pytest.raises(CorruptFile, match="is the prompt of user 'u2'"):
        people.load("u1")


@pytest.mark.parametrize("content", [b"no database" * 99, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_database_is_one_clear_error_and_stays_as_it_is(people, content):
    people.home.mkdir()
    (people.home / "people.db").write_bytes(content)
    with pytest.raises(CorruptFile, match=r"people\.db' is damaged"):
        people.user_ids()
    with pytest.raises(CorruptFile):
        people.save(prompt())
    assert (people.home / "people.db").read_bytes() == content


def test_a_database_without_a_table_is_damaged(people):
    people.save(prompt())
    people.close()
    with sqlite3.connect(people.home / "people.db") as database:
        database.execute("DROP TABLE edits")
    with pytest.raises(CorruptFile, match="no such table"):
        list(people.export())


def test_a_home_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "home").write_text("")
    with pytest.raises(StoreError, match="cannot be"):
        PeopleStore(tmp_path / "home").save(prompt())


def test_a_database_of_a_later_version_is_refused(people):
    people.save(prompt())
    people.close()
    with sqlite3.connect(people.home / "people.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(NewerVersion, match="'9999'"):
        people.user_ids()


def test_the_migrations_make_the_tables_that_are_declared(people):
    """A database whose migrations were begun and lost everything is brought here from nothing."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine

    people.home.mkdir()
    engine = create_engine(f"sqlite:///{people.home / 'people.db'}")
    REVISIONS.create(engine)
    people.save(prompt())
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    assert people.load("u1") == prompt()


def test_what_is_shown_is_the_same_whether_sqlalchemy_reads_it_or_not(people):
    """A store that has written asks SQLAlchemy, as one on a server does; a fresh one asks SQLite."""
    for user_id in ("a", "b", "b", "c"):
        people.save(prompt(user_id, f"Likes tea {people.count(user_id)[0]}."))
    fresh = PeopleReader(people.home)
    assert [list(store.listed(2)) for store in (fresh, people)] == [list(people.listed())[:2]] * 2
    for store in (fresh, people):
        assert (store.n_people(), store.load("b"), store.load("b", 1)) == (
            3, prompt("b", "Likes tea 1."), prompt("b", "Likes tea 0."),
        )  # fmt: skip
    assert fresh.versions("b") == people.versions("b")


def test_a_database_of_an_older_revision_is_brought_here_by_who_shows_it(people):
    people.save(prompt())
    people.close()
    with sqlite3.connect(people.home / "people.db") as database:
        for table in ("edits", "pairs", "prompts", "people", "hidden_words", "tombstones", "facts"):
            database.execute(f"DROP TABLE {table}")
        database.execute("DELETE FROM alembic_version")
    reader = PeopleReader(people.home)
    assert (list(reader.listed()), reader.n_people()) == ([], 0)
    reader.close()


def test_alembic_is_not_imported_for_a_database_of_today(people):
    people.save(prompt())
    code = (
        "import sys; from personalrm.store.people import PeopleStore; "
        f"PeopleStore({str(people.home)!r}).pairs('u1'); print('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_choices_are_kept_once_in_their_order_with_their_reasons(people):
    pairs = [tiny_pair("u1", number) for number in range(3)]
    stored = [StoredPair(pair, f"because {number}") for number, pair in enumerate(pairs)]
    assert [people.add_pairs("u1", stored[:2]), people.add_pairs("u1", stored)] == [2, 1]
    kept = people.pairs("u1")
    assert [(entry.pair, entry.reason) for entry in kept] == [(entry.pair, entry.reason) for entry in stored]
    assert all(datetime.fromisoformat(entry.date) for entry in kept)


def test_a_row_that_says_why_gives_its_reason(people):
    people.add_pairs("u1", [StoredPair(replace(tiny_pair("u1", 1), meta={"reason": "shorter"}))])
    assert people.pairs("u1")[0].reason == "shorter"


def test_everybody_is_listed_by_id_with_what_the_newest_version_says(people):
    people.save(prompt("b"))
    people.save(prompt("b", "Likes coffee."))
    people.add_pairs("a", [StoredPair(tiny_pair("a", 1))])
    rows = [(person.user_id, person.n_versions, person.n_sentences, person.engine) for person in people.listed()]
    assert rows == [("a", 0, 0, ""), ("b", 2, 1, "embedded")]


def test_more_people_than_one_page_of_the_list_are_listed_once(people, monkeypatch):
    monkeypatch.setattr("personalrm.store.reading.LISTED_AT_ONCE", 2)
    for number in range(5):
        people.save(prompt(f"u{number}"))
        people.save(prompt(f"u{number}", "Likes coffee."))
    assert [(person.user_id, person.n_versions) for person in people.listed()] == [(f"u{n}", 2) for n in range(5)]


def test_deleted_is_deleted_to_the_byte_and_nobody_else_is(people):
    for number in range(40):  # enough to split pages, which leaves copies in their slack
        pairs = [replace(tiny_pair(f"u{number}", k), chosen=f"secret{number:02d} " * 40) for k in range(8)]
        people.save(prompt(f"u{number}", f"Likes secret{number:02d}."), pairs=pairs)
    before = saved(people.home)
    people.delete("u7")
    content = b"".join(path.read_bytes() for path in people.home.rglob("*"))
    assert (b"secret07" in content, b'"u7"' in content, b"secret08" in content) == (False, False, True)
    assert saved(people.home) == {key: line for key, line in before.items() if key[0] != "u7"}


def test_a_tombstone_holds_no_id_and_another_home_has_another(tmp_path):
    hashes = []
    for name in ("a", "b"):
        store = PeopleStore(tmp_path / name)
        store.save(prompt("someone@example.org"))
        store.delete("someone@example.org")
        with sqlite3.connect(tmp_path / name / "people.db") as database:
            hashes += [row[0] for row in database.execute("SELECT hash FROM tombstones")]
    assert len(set(hashes)) == 2
    assert not any("someone" in value for value in hashes)


def test_who_was_deleted_during_a_fit_is_not_stored_again_and_the_others_are(people):
    people.save(prompt("a"))
    beginning = people.last_erasure()
    people.delete("a")
    sentences = people.save_fitted([Learned(prompt("a"), ()), Learned(prompt("b"), ())], since=beginning)
    assert ("deleted while this fit ran" in sentences[0], sentences[1], people.user_ids()) == (True, "", ["b"])


def test_a_later_fit_may_store_who_was_deleted_before(people):
    people.save(prompt("a"))
    people.delete("a")
    assert people.save_fitted([Learned(prompt("a"), ())], since=people.last_erasure()) == [""]


def test_who_forgot_a_choice_during_a_fit_is_not_stored_with_it(people):
    pair = tiny_pair("a", 1)
    people.save(prompt("a"), pairs=[pair])
    beginning = people.last_erasure()
    people.forget("a", pair.hash, lambda kept, _: kept)
    (sentence,) = people.save_fitted([Learned(prompt("a", "Likes coffee."), [pair])], since=beginning)
    assert ("forgotten while this fit ran" in sentence, people.pairs("a")) == (True, ())


def test_what_was_learned_goes_with_the_last_choice_and_not_before(people):
    first, second = tiny_pair("a", 1), tiny_pair("a", 2)
    people.save(prompt("a"), pairs=[first, second])
    people.save_edit(prompt("a", "Likes coffee."), added=["Likes coffee."], removed=["Likes tea."])
    people.hide("a", word="rye", change=lambda kept, _: kept)
    assert people.forget("a", first.hash, lambda kept, _: kept) == Forgot(1, 0)
    assert [version.number for version in people.versions("a")] == [1, 2]
    assert people.forget("a", second.hash, lambda kept, _: kept) == Forgot(1, 2)
    assert list(people.export("a")) == [{"user_id": "a", "hidden_word": "rye"}]
    people.close()
    assert b"Likes" not in (people.home / "people.db").read_bytes()


def test_who_was_erased_since_a_fit_began_is_known_by_their_tombstones(people):
    users = [User(user_id, (tiny_pair(user_id, 1),)) for user_id in ("a", "b", "c")]
    people.delete("a")
    beginning = people.last_erasure()
    assert people.erased_since(beginning, users) == []
    people.delete("b")
    people.save(prompt("c"), pairs=users[2].pairs)
    people.forget("c", users[2].pairs[0].hash, lambda kept, _: kept)
    assert people.erased_since(beginning, users) == ["b", "c"]


@pytest.mark.parametrize("again", ["same", "same name"])
def test_a_forgotten_choice_does_not_come_back(people, again):
    pair = replace(tiny_pair("a", 1), pair_id="p1")
    people.add_pairs("a", [StoredPair(pair)])
    assert people.forget("a", "p1", lambda kept, _: kept).n_pairs == 1
    returned = pair if again == "same" else replace(pair, chosen="put in other words")
    assert (returned in people.forgotten(), people.add_pairs("a", [StoredPair(returned)])) == (True, 0)


def test_a_choice_that_is_not_there_cannot_be_forgotten_or_hidden(people):
    people.save(prompt("a"))
    for erase in (people.forget, lambda user, name, change: people.hide(user, pair=name, change=change)):
        with pytest.raises(UnknownName, match="no choice 'p9'"):
            erase("a", "p9", lambda kept, _: kept)
        with pytest.raises(UnknownUser, match="'nobody'"):
            erase("nobody", "p9", lambda kept, _: kept)


def test_a_version_that_cannot_be_read_goes_with_a_forgotten_choice(people):
    """It may hold the choice."""
    people.save(prompt("a"), pairs=[tiny_pair("a", 1)])
    damage(people.home, "a", 1)
    people.forget("a", tiny_pair("a", 1).hash, lambda kept, _: kept)
    assert people.count("a") == (0, 0)


def test_an_export_is_the_same_whenever_it_was_learned_and_says_when_if_asked(people, tmp_path):
    other = PeopleStore(tmp_path / "other")
    for store in (people, other):
        store.save(prompt(), pairs=[tiny_pair("u1", 1)])
    assert list(people.export()) == list(other.export())
    assert all(datetime.fromisoformat(line["date"]) for line in people.export("u1", with_dates=True))


def test_an_export_reports_a_damaged_version_and_goes_on(people):
    people.save(prompt("a"))
    people.save(prompt("b"))
    damage(people.home, "a")
    with pytest.raises(CorruptFile, match="version 1 of user 'a'"):
        list(people.export())
    reported = []
    assert [line["user_id"] for line in people.export(report=reported.append)] == ["b"]
    assert len(reported) == 1


def test_edits_are_kept_with_the_version_they_made(people):
    people.save(prompt())
    people.save_edit(prompt(text="Likes coffee."), added=["Likes coffee."], removed=["Likes tea."])
    assert [line["edit"] for line in people.export("u1") if "edit" in line] == [
        {"number": 2, "kind": "added", "sentence": "Likes coffee."},
        {"number": 2, "kind": "removed", "sentence": "Likes tea."},
    ]


def test_threads_that_save_at_once_give_each_version_its_number(people):
    texts = [f"Likes tea {number}." for number in range(20)]
    with ThreadPoolExecutor(4) as writers:
        numbers = list(writers.map(lambda text: people.save(prompt(text=text)), texts))
    assert sorted(numbers) == list(range(1, 21))
    assert [people.load("u1", number) for number in numbers] == [prompt(text=text) for text in texts]


@pytest.mark.slow
def test_two_processes_may_save_into_one_home(people):
    code = (
        "import sys\nfrom personalrm.store.people import PeopleStore\n"
        "from personalrm.preferences.personal_prompts import PersonalPrompt\n"
        "from personalrm.preferences.personas import Claim, Persona\n"
        "people = PeopleStore(sys.argv[1])\n"
        "for k in range(20): people.save(PersonalPrompt('u1', Persona((Claim(f'{sys.argv[2]} {k}'),))))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(people.home), name]) for name in ("a", "b")]
    assert [process.wait() for process in running] == [0, 0]
    texts = [people.load("u1", version.number).persona.text for version in people.versions("u1")]
    assert sorted(texts) == sorted(f"{name} {k}" for name in ("a", "b") for k in range(20))


def test_a_full_disk_is_one_clear_error_and_loses_nothing(people):
    people.save(prompt())
    code = (
        "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from personalrm.store.people import PeopleStore\n"
        "from personalrm.preferences.personal_prompts import PersonalPrompt\n"
        "from personalrm.preferences.personas import Claim, Persona\nfrom personalrm.errors import StoreError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "try: PeopleStore(sys.argv[1]).save(PersonalPrompt('u1', Persona((Claim('x' * 99_999),))))\n"
        "except StoreError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(people.home)]
    assert "cannot be written" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert people.load("u1") == prompt()


@pytest.mark.parametrize(
    ("url", "message"),
    [("nothing", "cannot be read"), ("mysql://u:pw@host/x", "'mysql' are not supported"), ("", "cannot be read")],
)
def test_a_database_of_another_kind_is_refused_without_its_password(tmp_path, url, message):
    with pytest.raises(BadInput, match=message) as refused:
        PeopleStore(tmp_path, url).user_ids()
    assert "pw" not in str(refused.value)
