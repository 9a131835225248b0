"""Sources and benchmark sets in exactly the layouts the hub has them in, written here; never the network."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest
from benchmarks.simulations.raw_sources import arena_rows, prism_rows, survey_rows, write_lines

from personalrm.datasets.published import PUBLISHED, load_benchmark
from personalrm.datasets.snapshots import data_files, split_of
from personalrm.datasets.sources import SOURCES, open_source
from personalrm.errors import BadFile, BadInput, UnknownName


def parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path


def saved_to_disk(folder, rows):
    """What `datasets.Dataset.save_to_disk` leaves: a stream of record batches and JSON beside it."""
    folder.mkdir(parents=True)
    table = pyarrow.Table.from_pylist(list(rows))
    with (
        pyarrow.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file,
        pyarrow.ipc.new_stream(file, table.schema) as stream,
    ):
        stream.write_table(table)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": null}')
    (folder / "dataset_info.json").write_text('{"features": {}}')


def battles(n=20):
    return [row for row, _ in arena_rows(5, n // 5)]


def pairs_of(source):
    return [pair for _, pair in source.pairs()]


@pytest.fixture
def jsonl_pairs(tmp_path):
    return pairs_of(open_source(write_lines(tmp_path / "reference.jsonl", iter(battles()))))


def test_a_parquet_snapshot_of_arena_holds_the_same_pairs(tmp_path, jsonl_pairs):
    rows = battles()
    parquet(tmp_path / "hub" / "data" / "train-00000-of-00002-cced8514c7ed782a.parquet", rows[:9])
    parquet(tmp_path / "hub" / "data" / "train-00001-of-00002-cced8514c7ed782a.parquet", rows[9:])
    (tmp_path / "hub" / "README.md").write_text("card")
    assert pairs_of(open_source(tmp_path / "hub")) == jsonl_pairs


def test_a_set_that_datasets_saved_to_disk_holds_the_same_pairs(tmp_path, jsonl_pairs):
    saved_to_disk(tmp_path / "saved" / "train", battles())
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert pairs_of(open_source(tmp_path / "saved")) == jsonl_pairs


def test_gzipped_lines_hold_the_same_pairs(tmp_path, jsonl_pairs):
    path = tmp_path / "arena.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in battles()).encode()))
    assert pairs_of(open_source(path)) == jsonl_pairs


@pytest.mark.parametrize("name", [*SOURCES, *(one.hub_name for one in SOURCES.values())])
def test_a_name_fetches_the_real_hub_name(tmp_path, name):
    asked = []
    write_lines(tmp_path / "hub" / "conversations.jsonl", (row for row, _ in prism_rows(3, 2)))

    def fetch(*wanted):
        asked.append(wanted[0])
        return tmp_path / "hub"

    open_source(name, fetch=fetch)
    assert asked == [(SOURCES.get(name) or next(one for one in SOURCES.values() if one.hub_name == name)).hub_name]


def test_prism_comes_with_the_survey_of_its_folder(tmp_path):
    write_lines(tmp_path / "conversations.jsonl", (row for row, _ in prism_rows(3, 2)))
    write_lines(tmp_path / "survey.jsonl", survey_rows(3))
    source = open_source(tmp_path)
    assert list(source.surveys()) == ["user0", "user1", "user2"]
    assert source.surveys()["user1"].stated_preference == "I am person 1.\n\nBe kind and brief."


def test_the_hubs_parquet_conversion_of_prism_is_read_by_configuration(tmp_path):
    parquet(tmp_path / "conversations" / "train" / "0000.parquet", (row for row, _ in prism_rows(3, 2)))
    parquet(tmp_path / "survey" / "train" / "0000.parquet", survey_rows(3))
    source = open_source(tmp_path)
    assert (len(pairs_of(source)), len(source.surveys())) == (sum(len(one) for _, one in prism_rows(3, 2)), 3)


def test_prisms_utterances_hold_the_same_choices(tmp_path):
    rows = [row for row, _ in prism_rows(4, 3)]
    write_lines(tmp_path / "conversations.jsonl", iter(rows))
    write_lines(tmp_path / "utterances.jsonl", (one for row in rows for one in utterances(row)))
    conversations, said = open_source(tmp_path), open_source(tmp_path, config="utterances")
    chosen = [(pair.user_id, pair.conversation, pair.chosen, pair.rejected) for pair in pairs_of(conversations)]
    assert [(pair.user_id, pair.conversation, pair.chosen, pair.rejected) for pair in pairs_of(said)] == chosen
    assert conversations.n_responses == said.n_responses


def utterances(row):
    """A row of `conversations` as rows of `utterances`."""
    prompts = {one["turn"]: one["content"] for one in row["conversation_history"] if one["role"] == "user"}
    for one in row["conversation_history"]:
        if one["role"] == "model":
            named = {name: row[name] for name in ("conversation_id", "user_id", "conversation_type")}
            said = {"user_prompt": prompts[one["turn"]], "model_response": one["content"]}
            yield named | said | {name: one[name] for name in ("turn", "within_turn_id", "score", "if_chosen")}


def test_battles_of_several_turns_keep_their_own_earlier_answers(tmp_path):
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "More"},
    ]
    other = [turns[0], {"role": "assistant", "content": "B"}, turns[2]]
    row = battles()[0] | {"winner": "model_a"}
    row["conversation_a"] = [*turns, {"role": "assistant", "content": "A2"}]
    row["conversation_b"] = [*other, {"role": "assistant", "content": "B2"}]
    (pair,) = pairs_of(open_source(write_lines(tmp_path / "a.jsonl", iter([row]))))
    assert (len(pair.conversation), pair.chosen, pair.rejected) == (
        1,
        "A\n\n[user]: More\n\nA2",
        "B\n\n[user]: More\n\nB2",
    )


def test_a_source_nobody_knows_is_refused_with_the_names():
    with pytest.raises(UnknownName, match="lmsys/chatbot_arena_conversations"):
        open_source("lmsys/nothing")


def row(user, number, split):
    said = [{"role": "user", "content": f"Question {number}?"}]
    texts = {
        "chosen": {"role": "assistant", "content": f"Yes {number}."},
        "rejected": {"role": "assistant", "content": "No."},
    }
    return {"user_id": user, "conversation_id": f"{user}-{number}", "context": said, **texts, "split": split}


def published_rows(prefix, sizes, n_targets):
    """Rows of as many users as there are sizes; the first `n_targets` rows, one by one over the users, are targets."""
    for k, size in enumerate(sizes):
        for number in range(size):
            yield row(f"{prefix}{k}", number, "test" if number < n_targets[k] else "train" if number % 2 else "val")


def published_arena(folder, *, n_test_targets=284, n_train=23):
    """Files as the hub has them: 23, 19 and 89 users, 1,338 pairs, 284 targets of test users."""
    sizes = {"train": [10] * n_train, "val": [10] * 19, "test": [11] * 28 + [10] * 61}
    for split, own in sizes.items():
        targets = [3] * len(own)
        if split == "test":
            targets = [4] * 17 + [3] * 72 if n_test_targets == 284 else [3] * 89
        parquet(folder / "data" / f"{split}-00000-of-00001.parquet", published_rows(split, own, targets))


def test_the_published_set_passes_its_checks(tmp_path):
    published_arena(tmp_path)
    found = load_benchmark("arena-personalized", fetch=lambda name, patterns: tmp_path)
    assert [check.what for check in found.checks if check.holds] == [
        "train users", "dev users", "test users", "target pairs of test users", "pairs in all", "users in all"]  # fmt: skip
    assert (found.failed_checks, len(found.users["test"])) == ((), 89)


def test_a_published_set_that_differs_says_in_what(tmp_path):
    published_arena(tmp_path, n_test_targets=267, n_train=22)
    found = load_benchmark("MichaelR207/chatbot_arena_personalized_0125", fetch=lambda name, patterns: tmp_path)
    assert [check.line() for check in found.failed_checks] == [
        "FAILED: train users: expected 23, found 22",
        "FAILED: target pairs of test users: expected 284, found 267",
        "FAILED: pairs in all: expected 1,338, found 1,328",
        "FAILED: users in all: expected 131, found 130",
    ]


def test_a_local_copy_can_be_held_against_the_published_counts(tmp_path):
    published_arena(tmp_path)
    assert load_benchmark(tmp_path).checks == ()
    assert load_benchmark(tmp_path, published="arena-personalized").failed_checks == ()


def test_the_expected_counts_are_those_of_the_published_sets():
    arena, prism = (PUBLISHED[name].expected for name in ("arena-personalized", "prism-personalized"))
    assert (arena.n_target_pairs, tuple(arena.users.values()), arena.n_pairs) == (284, (23, 19, 89), 1_338)
    assert (prism.n_target_pairs, tuple(prism.users.values()), prism.n_pairs) == (3_033, (280, 65, 378), 16_705)


def test_users_can_be_split_by_a_column(tmp_path):
    rows = [
        row(f"u{k}", number, "train") | {"user_split": ("train", "val", "test")[k % 3]}
        for k in range(6)
        for number in range(2)
    ]
    found = load_benchmark(write_lines(tmp_path / "all.jsonl", iter(rows)))
    assert {name: [user.user_id for user in users] for name, users in found.users.items()} == {
        "train": ["u0", "u3"], "dev": ["u1", "u4"], "test": ["u2", "u5"]}  # fmt: skip


def test_files_without_any_split_of_users_are_refused(tmp_path):
    with pytest.raises(BadFile, match="does not say which users"):
        load_benchmark(write_lines(tmp_path / "all.jsonl", iter([row("u", 0, "train")])))


def test_a_user_in_two_splits_is_refused(tmp_path):
    for name in ("train", "test"):
        write_lines(tmp_path / "x" / f"{name}.jsonl", iter([row("u", 0, "train")]))
    with pytest.raises(BadInput, match="in two splits"):
        load_benchmark(tmp_path / "x")


def test_an_unknown_split_of_users_is_refused(tmp_path):
    with pytest.raises(UnknownName, match="'holdout'"):
        load_benchmark(write_lines(tmp_path / "a.jsonl", iter([row("u", 0, "train") | {"user_split": "holdout"}])))


def test_a_damaged_arrow_stream_is_refused(tmp_path):
    saved_to_disk(tmp_path / "train", battles())
    path = tmp_path / "train" / "data-00000-of-00001.arrow"
    path.write_bytes(b"garbage" + path.read_bytes()[:50])
    with pytest.raises(BadFile, match="not a whole Arrow stream"):
        pairs_of(open_source(tmp_path / "train"))


def test_hidden_files_and_cards_are_no_data(tmp_path):
    write_lines(tmp_path / ".cache" / "old.jsonl", iter([{}]))
    write_lines(tmp_path / "data" / "test-00000-of-00001.jsonl", iter([{}]))
    (tmp_path / "dataset_infos.json").write_text("{}")
    (file,) = data_files(tmp_path)
    assert (file.name, split_of(file, tmp_path)) == ("test-00000-of-00001.jsonl", "test")
