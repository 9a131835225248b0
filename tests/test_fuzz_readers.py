"""Whatever stands in a file, reading it gives a value or one sentence: every reader, on files that were changed at random.

Whole files are changed in their structure (a value for another, a key gone, one too many) and in their bytes (cut short,
flipped, nested without end). The seed is fixed; `make endure` tries fifty times as many, `FUZZ_SEED=7` other ones.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from tests.rewards.test_training import OPTIONS, fitting, line

from personalrm.bench.plan.spec import read_run_file, spec_of
from personalrm.bench.report.material import Material
from personalrm.bench.report.writing import build_sections
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.state import runs_in, validate_run
from personalrm.bench.results.summary import summarize
from personalrm.cli import main
from personalrm.datasets.building.build import Build, BuildSettings
from personalrm.datasets.building.model_stages import read_judges
from personalrm.datasets.building.publishing import read_manifest
from personalrm.datasets.published import load_benchmark
from personalrm.datasets.sources import open_source
from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import PersonalRMError
from personalrm.home.home import Home
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.induction.prepared import Preparation, prepare_prompts
from personalrm.lm.cache import CACHE_FILE, Cache, Unscored
from personalrm.lm.prices import price_of
from personalrm.lm.protocol import Reply, Usage
from personalrm.preferences.persona_prompts import (
    ExamplePersona,
    PersonaPrompt,
    persona_prompt_from_json,
    persona_prompt_to_dspy,
    persona_prompt_to_json,
)
from personalrm.preferences.prepared_prompts import read_prepared, write_prepared
from personalrm.preferences.reading.files import validate
from personalrm.preferences.reading.surveys import read_surveys
from personalrm.rewards.encoder_spec import EncoderSpec
from personalrm.rewards.methods import Recipe, reward_method
from personalrm.rewards.trained import combinations, open_store, open_trained, train_to_folder
from personalrm.rewards.training import Checkpoints, train
from personalrm.stylometry.encoder import StylometricEncoder
from personalrm.testing import tiny_users, write_pairs
from personalrm.typed_values import read_yaml

SEED = int(os.environ.get("FUZZ_SEED", "13"))
TIMES, ENDURING = 24, int(os.environ.get("FUZZ_TIMES", "1200"))
NASTY = (
    None, True, False, 0, -1, 3, 10**400, -(10**400), 1.5, 1e308, -1e308, float("nan"), float("inf"), "", " ", "x", "-1", "1e999",
    "\x00", "\ud800", "\u202e", "2024-13-45", "0000-00-00T99:99:99", "99999-01-01", "x" * 5000, [], {}, [[]], [{}], [None], {"": None},
    {"a": {"b": []}}, [1, "a", None], ["first"], {"role": "user", "content": None},
)  # fmt: skip
YAML_NASTY = (
    "!!python/object/apply:os.system ['touch OWNED']", "!!binary aGk=", "!!set {a, b}", "!!timestamp 2024-13-45", "2024-02-30",
    "!!omap [a: 1, a: 2]", "!!int 'x'", "!!float '.'", "!unknown x", "&a [*a]", "*nowhere", "{<<: 1}", "{<<: [a]}", "{? [a] : b}", "{? {a: b} : c}",
    "1" * 5000, "0x" + "f" * 5000, "1:99:99", "!!null x", ".nan", "-.inf", "'\x07'", "? ", "- ", "[", "}", "\t", "%TAG", "--- a\n--- b", "0o9", "{a: 1, a: 2}",
)  # fmt: skip
DEEP = 100_000


def nested(rng: random.Random, levels: int) -> object:
    """A value that many lists or objects lie around."""
    value: object = 1
    for _ in range(levels):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def another_value(rng: random.Random) -> object:
    return nested(rng, rng.choice([30, 70, 300])) if rng.random() < 0.1 else rng.choice(NASTY)


def with_a_change(value: object, rng: random.Random) -> object:
    """The value with one place in it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        how = rng.random()
        if how < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if how < 0.2:
            return value | {rng.choice(["", "x", "format_version", "\ud800", "a" * 200]): another_value(rng)}
        return value | {key: with_a_change(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        how = rng.random()
        if how < 0.1:
            return value[:place] + value[place + 1 :]
        if how < 0.2:
            return [*value, *value[place : place + 1]]
        return [*value[:place], with_a_change(value[place], rng), *value[place + 1 :]]
    return another_value(rng)


def changed_bytes(raw: bytes, rng: random.Random) -> bytes:
    """Bytes as a bad disk, a cut download or somebody's editor leaves them."""
    place = rng.randrange(len(raw) + 1)
    flipped = bytes([raw[place] ^ (1 << rng.randrange(8))]) if place < len(raw) else b"?"
    return rng.choice(
        [
            b"",
            raw[:place],
            raw[place:],
            raw[:place] + flipped + raw[place + 1 :],
            raw[:place]
            + rng.choice([b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\x1b[2J", b"1" * 6000])
            + raw[place:],
            raw + raw,
            raw.replace(b"\n", b"\r\n"),
            raw.decode("utf-8", "replace").encode("utf-16"),
            b"[" * DEEP,
            b'{"a":' * DEEP,
            b"- " * 3000,
            rng.randbytes(200),
            b"null",
            b"[]",
            b'"text"',
            b"1" * 5000,
        ]
    )


def changed(name: str, raw: bytes, rng: random.Random) -> bytes:
    """A file of that name with one change."""
    how = rng.random()
    if how < 0.3 or not raw:
        return changed_bytes(raw, rng)
    if name.endswith((".yaml", ".yml")):
        words = list(re.finditer(rb"[^\s\[\]{},:]+", raw))
        word = rng.choice(words)
        value = rng.choice(YAML_NASTY) if rng.random() < 0.6 else json.dumps(another_value(rng))
        return raw[: word.start()] + value.encode("utf-8", "surrogatepass") + raw[word.end() :]
    if name.endswith((".json", ".jsonl")):
        is_lines = name.endswith(".jsonl")
        parts = raw.splitlines() if is_lines else [raw]
        place = rng.randrange(len(parts))
        try:
            parts[place] = json.dumps(with_a_change(json.loads(parts[place]), rng)).encode("ascii")
        except ValueError:
            return changed_bytes(raw, rng)
        return b"\n".join(parts) + b"\n"
    return changed_bytes(raw, rng)


@dataclass(frozen=True)
class Case:
    """Files that are whole, which of them are changed, and what reads them."""

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    files: str = "*"
    """Those that are changed, as a pattern."""


def write(folder: Path, name: str, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")


RUN_FILE = """
name: mine
datasets:
  - {name: people, path: example, min_pairs: 3, users: all}
methods: [random, longer, population, personal, default, bradley_terry]
models:
  - {label: small, name: m, base_url: "http://localhost:8000/v1", key_variable: PERSONALRM_KEY_M, n_parameters: 8e9}
encoders: [{label: style}]
base_models: [{label: b, name: hub/b, device: cpu}]
reward_models: [{method: bradley_terry, settings: {lora: {rank: 4}}}]
shuffled_users: {embedded: 2}
by_context: {k: [0, 2], methods: [personal]}
budget: {max_calls: 10}
seeds: [0, 1]
"""
JUDGES = "judges:\n  - {model: openai/m, timeout: 3}\n  - {model: n, base_url: 'http://localhost:1/v1', headers: {a: b}, body: {x: [1]}}\n"
OURS = {
    "user_id": "u1", "conversation": [{"role": "user", "content": "Hi?"}], "chosen": "Yes.", "rejected": "No, not at all.",
    "timestamp": "2024-05-01T00:00:00Z", "order_index": 3, "split": "train", "pair_id": "p", "conversation_id": "c", "meta": {"a": 1},
}  # fmt: skip
ARENA = {"judge": "u1", "conversation_a": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}],
         "conversation_b": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "B"}], "winner": "model_a", "tstamp": 1.5}  # fmt: skip
RATED = {"user_id": "u1", "prompt": "Hi", "completions": [{"text": "a", "rating": 3}, {"text": "b", "rating": 1.5}]}
THUMBS = {
    "user_id": "u1",
    "prompt": [{"role": "user", "content": "Hi"}],
    "completion": "a",
    "regenerated": "b",
    "thumb": "up",
}
PRISM = {"user_id": "u1", "conversation_id": "c1", "turn": 0, "user_prompt": "Hi", "model_response": "a", "if_chosen": True, "score": 3,
         "interaction_id": "i", "utterance_id": "t", "conversation_history": []}  # fmt: skip
SURVEY = {
    "user_id": "u1",
    "age": "18-24",
    "religion": {"simplified": "a"},
    "location": {"birth_country": "x"},
    "self_description": "I",
}


def rows(*kinds: dict[str, object]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        write(folder, "a.jsonl", "".join(json.dumps(kind | {"n": n}) + "\n" for kind in kinds for n in range(3)))

    return make


def prompts(folder: Path) -> None:
    users = tiny_users(3)
    list(write_prepared(folder / "p.jsonl", prepare_prompts(EmbeddedFit(), users, Preparation(), min_pairs=2)))


def persona_prompt(folder: Path) -> None:
    prompt = PersonaPrompt(
        "Write.", (ExamplePersona("a", "b", ("0" * 16,)),), "me", provenance={"seen": ["0" * 16], "score": 1.5}
    )
    write(folder, "ours.json", persona_prompt_to_json(prompt))
    write(folder, "dspy.json", persona_prompt_to_dspy(prompt))


def read_persona_prompts(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        persona_prompt_from_json(path.read_text(encoding="utf-8", errors="replace"), where=path.name)


def run_folder(folder: Path) -> None:
    """A run of three methods, with prompts and a report of its own."""
    beside = folder.parent / "beside"
    beside.mkdir()
    write_pairs(beside / "people.jsonl", [pair for user in tiny_users(4) for pair in user])
    write(
        beside,
        "run.yaml",
        "name: r\nmethods: [longer, personal]\ndatasets: [{name: d, path: people.jsonl, min_pairs: 2}]\n",
    )
    assert (
        main(["bench", "run", "-c", str(beside / "run.yaml"), "--folder", str(folder), "--home", str(beside / "home")])
        == 0
    )


def read_run(folder: Path) -> None:
    runs_in(folder.parent)
    run = RunFolder(folder)
    run.timings()
    spec_of(run.info().settings, "x")
    validate_run(folder)
    for cell in run.readable_cells()[0][:3]:
        run.trainings(cell)
        run.prompts(cell)
        run.targets(cell.dataset)
        list(run.rows(cell))


def read_report(folder: Path) -> None:
    material = Material(summarize(folder), [RunFolder(folder)], "all")
    build_sections(material)


def trained(folder: Path) -> None:
    recipe = Recipe(reward_method("low_rank"), reward_method("low_rank").options({"n_iterations": 2}, where="x", faithful=False),
                    lambda: open_store(folder.parent / "embeddings", EncoderSpec()), None, None)  # fmt: skip
    train_to_folder(tiny_users(4), folder, recipe, encoder=EncoderSpec(), dev_percent=30)


def embedded(folder: Path) -> None:
    store = EmbeddingStore(folder, StylometricEncoder())
    store.rows([TextSequence(pair.conversation, pair.chosen) for pair in tiny_users(1)[0]])


def read_embedded(folder: Path) -> None:
    store = EmbeddingStore(folder, StylometricEncoder())
    store.vectors([TextSequence(pair.conversation, pair.rejected) for pair in tiny_users(1)[0]])
    _ = len(store.matrix("mean"))


def manifest(folder: Path) -> None:
    funnel = [
        {
            "name": "a",
            "title": "A",
            "n_pairs": 1,
            "n_users": 1,
            "n_pairs_removed": 0,
            "n_users_removed": 0,
            "removed": {},
            "examples": [],
            "notes": {},
        }
    ]
    write(
        folder,
        "manifest.json",
        {"format": "personalrm-dataset", "format_version": 1, "source": {"licence": "x"}, "funnel": funnel},
    )
    write(folder, "train.jsonl", "".join(json.dumps(OURS | {"chosen": f"Yes {n}."}) + "\n" for n in range(4)))


def read_benchmark(folder: Path) -> None:
    read_manifest(folder)
    load_benchmark(folder)


KEYS = [bytes([n]) * 16 for n in range(6)]


def answers(folder: Path) -> None:
    with Cache(folder / CACHE_FILE) as cache:
        for n, key in enumerate(KEYS):
            cache.keep(key, f"u{n % 2}", Unscored("no", 2) if n == 3 else Reply(f"{{}} first {n}", usage=Usage(3, 4)))


def read_answers(folder: Path) -> None:
    """Found, owned, added to and erased; what cannot be read is asked again, never another text."""
    with Cache(folder / CACHE_FILE) as cache:
        texts = [found.text for key in KEYS if isinstance(found := cache.find(key), Reply)]
        assert set(texts) <= {f"{{}} first {n}" for n in range(6)}
        cache.keep(b"x" * 16, "u1", Reply("new"))
        cache.report()
        cache.erase("u1")
        assert not cache.owns("u1")


def people(folder: Path) -> None:
    home = Home(folder)
    home.add(pair for user in tiny_users(3) for pair in user)
    home.fit()
    home.person("u0").edit(["Likes it short."])
    home.person("u1").hide(word="everybody")


def read_people(folder: Path) -> None:
    home = Home(folder)
    for listed in home.people():
        person = home.person(listed.user_id)
        assert person.prompt.user_id == listed.user_id and person.pairs and person.versions
    list(home.export())
    home.person("u2").delete()


def exported(folder: Path) -> None:
    home = folder.parent / "home"
    people(home)
    write(folder, "e.jsonl", "".join(json.dumps(line) + "\n" for line in Home(home).export()))


def built(folder: Path) -> None:
    """A dataset with its stages."""
    people = folder.parent / "people.jsonl"
    if not people.exists():
        write_pairs(people, [pair for user in tiny_users(4, 6) for pair in user])
    Build(folder, open_source(people), BuildSettings(min_pairs=2)).run()


def trained_half(folder: Path) -> None:
    module = line()
    train(module, fitting(module), OPTIONS, checkpoints=Checkpoints(folder / "checkpoint.safetensors", "data"))


def read_checkpoint(folder: Path) -> None:
    module = line()
    train(module, fitting(module), OPTIONS, checkpoints=Checkpoints(folder / "checkpoint.safetensors", "data"))


def in_table(write_table: Callable[[Any, Path], None], name: str) -> Callable[[Path], None]:
    """Our layout as a table of texts."""
    plain = {
        "user_id": "u1",
        "prompt": "Hi, you?",
        "chosen": 'Yes.\n"Two" lines',
        "rejected": "No",
        "timestamp": "2024-05-01",
    }
    columns = {name: [f"{value} {n}" if name == "prompt" else value for n in range(5)] for name, value in plain.items()}
    return lambda folder: write_table(pyarrow.table(columns), folder / name)


def in_gzip(folder: Path) -> None:
    (folder / "a.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps(OURS | {"n": n}) + "\n" for n in range(4)).encode())
    )


def policy(folder: Path) -> None:
    write(folder, "p.yaml", "poison: mix bleach\nother: '[a-z]+'\n")


def config(folder: Path) -> None:
    write(
        folder, "c.yaml", "seed: 1\nhome: h\nmodel: openai/m\nprices: p.json\nheader: '{}'\ntrials: 3\nskip-bad: true\n"
    )


def command(*arguments: str) -> Callable[[Path], object]:
    """A command that reads the file; it must end with a code of its own and never raise."""

    def read(folder: Path) -> object:
        (path,) = [path for path in folder.iterdir() if path.is_file()]
        try:
            return main([argument.format(file=path) for argument in arguments])
        except SystemExit as stop:
            return stop.code

    return read


CASES = {
    "run file": Case(lambda folder: write(folder, "run.yaml", RUN_FILE), lambda folder: read_run_file(folder / "run.yaml")),
    "judges file": Case(lambda folder: write(folder, "j.yaml", JUDGES), lambda folder: read_judges(folder / "j.yaml")),
    "settings file": Case(config, command("users", "--config", "{file}", "--home", "nowhere")),
    "policy": Case(policy, command("judge", "nowhere.jsonl", "--policy", "{file}", "--home", "nowhere")),
    "method settings": Case(lambda folder: write(folder, "s.yaml", "n_prototypes: 2\noptimization: {n_steps: 3}\nseed: 1\n"),
                            lambda folder: reward_method("pal").options(read_yaml(folder / "s.yaml", "settings file") or {}, where="s", faithful=False)),
    "sweep": Case(lambda folder: write(folder, "s.yaml", "n_bases: [2, 4]\noptimization.n_steps: [1, 2]\n"),
                  lambda folder: combinations(read_yaml(folder / "s.yaml", "sweep file"), where="s")),
    "prices": Case(lambda folder: write(folder, "p.json", {"m": [1, 0.5, 2], "n*": [0, 0, 0]}), lambda folder: price_of("m", folder / "p.json")),
    "persona prompt": Case(persona_prompt, read_persona_prompts),
    "prepared prompts": Case(prompts, lambda folder: read_prepared(folder / "p.jsonl")),
    "our layout": Case(rows(OURS), lambda folder: validate(folder / "a.jsonl")),
    "arena": Case(rows(ARENA), lambda folder: validate(folder / "a.jsonl")),
    "ratings": Case(rows(RATED), lambda folder: validate(folder / "a.jsonl")),
    "thumbs": Case(rows(THUMBS), lambda folder: validate(folder / "a.jsonl")),
    "prism": Case(rows(PRISM), lambda folder: validate(folder / "a.jsonl")),
    "list": Case(lambda folder: write(folder, "a.json", [OURS] * 3), lambda folder: validate(folder / "a.json")),
    "survey": Case(lambda folder: write(folder, "a.jsonl", "".join(json.dumps(SURVEY | {"user_id": f"u{n}"}) + "\n" for n in range(3))), lambda folder: read_surveys(folder / "a.jsonl")),
    "rows to judge": Case(rows({"user_id": "u", "prompt": "Hi", "first": "a", "second": "b", "completions": ["a", "b"]}), command("judge", "{file}", "--home", "nowhere")),
    "run folder": Case(run_folder, read_run, "**/*"),
    "report": Case(run_folder, read_report, "**/*"),
    "trained model": Case(trained, lambda folder: open_trained(folder, folder.parent / "embeddings"), "[mte]*"),
    "embeddings": Case(embedded, read_embedded),
    "built dataset": Case(manifest, read_benchmark),
    "stages": Case(built, built, ".work/*"),
    "answers of models": Case(answers, read_answers),
    "people": Case(people, read_people, "people.db"),
    "export": Case(exported, command("import", "{file}", "--home", "fresh")),
    "checkpoint": Case(trained_half, read_checkpoint),
    "CSV": Case(in_table(pyarrow.csv.write_csv, "a.csv"), lambda folder: validate(folder / "a.csv")),
    "Parquet": Case(in_table(pyarrow.parquet.write_table, "a.parquet"), lambda folder: validate(folder / "a.parquet")),
    "gzip": Case(in_gzip, lambda folder: validate(folder / "a.jsonl.gz")),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The whole files of each case, made once."""
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp("whole") / "folder"
            folder.mkdir()
            CASES[name].make(folder)
            made[name] = folder
        return made[name]

    return of


def try_out(name: str, whole: Path, place: Path, times: int, seed: int) -> list[str]:
    """What went wrong: exceptions that are not ours, and sentences that are none."""
    case, wrong = CASES[name], []
    files = [path for path in sorted(whole.glob(case.files)) if path.is_file()]
    for number in range(times):
        rng = random.Random(f"{seed} {name} {number}")
        folder = place / f"{number}" / "folder"
        shutil.copytree(whole, folder)
        for extra in (path for path in whole.parent.iterdir() if path != whole):
            os.symlink(extra, folder.parent / extra.name)
        target = folder / rng.choice(files).relative_to(whole)
        target.write_bytes(changed(target.name, target.read_bytes(), rng))
        try:
            case.read(folder)
        except PersonalRMError as error:
            if "Traceback" in str(error) or len(str(error)) > 4000:
                wrong.append(f"{number}: {target.name}: a sentence of {len(str(error))} characters")
        except BaseException as error:  # noqa: BLE001 -- whatever it is, it is listed
            wrong.append(f"{number}: {target.name}: {type(error).__name__}: {str(error)[:150]}")
        shutil.rmtree(folder.parent)
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_changed_file_is_read_or_refused_in_a_sentence(tmp_path, whole, name, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    CASES[name].read(whole(name))  # the whole files are read
    assert try_out(name, whole(name), tmp_path, TIMES, SEED) == []
    assert not (tmp_path / "OWNED").exists()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.endure
@pytest.mark.parametrize("name", CASES)
def test_many_changed_files_are_read_or_refused_in_a_sentence(tmp_path, whole, name, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert try_out(name, whole(name), tmp_path, ENDURING, SEED + 1) == []
    assert not (tmp_path / "OWNED").exists()
